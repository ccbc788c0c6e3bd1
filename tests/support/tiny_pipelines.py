"""Tiny pipelines of every family with random weights: the classes of diffusers, a few kilobytes."""

import re
from collections.abc import Sequence

import torch

from support.contexts import shorten


def tiny_parts(prediction: str = "epsilon", width: int = 16, **unet_more) -> dict:
    """Tokenizer, text encoder, U-Net, autoencoder and scheduler."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from transformers.models.clip.modeling_clip import CLIPTextModel
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    torch.manual_seed(0)
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = [
        *letters,
        *(letter + "</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    tokenizer = CLIPTokenizer(
        vocab={t: i for i, t in enumerate(vocabulary)}, merges=[], model_max_length=24
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=2,
        **unet_more,
    )
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    scheduler = DDIMScheduler(
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )
    return dict(
        vae=vae,
        text_encoder=CLIPTextModel(tiny_text(tokenizer)),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
    )


def tiny_text(tokenizer, width: int = 16):
    from transformers.models.clip.configuration_clip import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=24,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def tiny_pipeline(prediction: str = "epsilon"):
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
        StableDiffusionPipeline,
    )

    return StableDiffusionPipeline(
        **tiny_parts(prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_xl(second: int = 16):
    """Stable Diffusion XL; `second` is the width of the second text encoder."""
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
        StableDiffusionXLPipeline,
    )
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
    from transformers.models.clip.modeling_clip import CLIPTextModelWithProjection

    added = dict(
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=16 + 6 * 4,
    )
    parts = tiny_parts(width=16 + second, **added)
    euler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        timestep_spacing="leading",
        steps_offset=1,
    )
    other = CLIPTextModelWithProjection(tiny_text(parts["tokenizer"], second))
    return StableDiffusionXLPipeline(
        **{**parts, "scheduler": euler}, text_encoder_2=other, tokenizer_2=parts["tokenizer"]
    )


def tiny_3():
    """Two CLIP encoders and T5; blocks with and without a second attention of the image."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
    from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
        StableDiffusion3Pipeline,
    )
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )
    from transformers.models.clip.modeling_clip import CLIPTextModelWithProjection
    from transformers.models.t5.configuration_t5 import T5Config
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    shorten("stable-diffusion-3")
    tokenizer = tiny_parts()["tokenizer"]
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
    )
    sharpen(transformer)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        sample_size=16,
        shift_factor=0.06,
        scaling_factor=1.5,
        use_quant_conv=False,
        use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    t5 = T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=tokenizer,
        text_encoder=CLIPTextModelWithProjection(tiny_text(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(tiny_text(tokenizer)),
        text_encoder_3=t5,
    )


def tiny_flux(dev: bool = True):
    """CLIP and T5, one block of each kind: dev (a guidance input, shifted schedule) or schnell."""
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )
    from transformers.models.clip.modeling_clip import CLIPTextModel

    shorten("flux")
    three = tiny_3()
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=dev,
        axes_dims_rope=(2, 2, 4),
    )
    sharpen(transformer)
    pipe = FluxPipeline(
        transformer=transformer,
        vae=three.vae,
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0 if dev else 1.0, use_dynamic_shifting=dev
        ),
        tokenizer=three.tokenizer,
        tokenizer_2=three.tokenizer,
        text_encoder=CLIPTextModel(tiny_text(three.tokenizer)),
        text_encoder_2=three.text_encoder_3,
    )
    pipe.default_sample_size = 8
    return pipe


def sharpen(transformer) -> None:
    """Make prompts matter: with random weights attention is even, and pooled states dominate."""
    for name, weight in transformer.named_parameters():
        if name in ("context_embedder.weight", "txt_in.weight") or name.endswith(
            ("attn.to_q.weight", "attn.add_k_proj.weight", "attn.add_v_proj.weight")
        ):
            weight.data.mul_(10)
        if name.endswith(("attn.norm_q.weight", "attn.norm_added_k.weight")):
            weight.data.mul_(5)
    if hasattr(getattr(transformer, "time_text_embed", None), "text_embedder"):
        transformer.time_text_embed.text_embedder.linear_2.weight.data.mul_(0.05)


def tiny_language(kind: str = "Qwen3", layers: int = 3, words: Sequence[str] = ()):
    """(tokenizer, language model) like Qwen's, with a chat template.

    Args:
        kind: Which one.
        layers: Of the language model.
        words: That are one token; all else has one token for each byte.
    """
    import tokenizers
    import transformers
    from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

    torch.manual_seed(0)
    vocabulary = [
        *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
    ]
    tokenizer = Qwen2Tokenizer(vocab={t: i for i, t in enumerate(vocabulary)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.add_tokens(list(words))
    turn = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    tokenizer.chat_template = (
        "{% for m in messages %}" + turn + "{% endfor %}<|im_start|>assistant\n"
    )
    size = dict(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    if kind == "Qwen3":
        return tokenizer, transformers.Qwen3ForCausalLM(
            transformers.Qwen3Config(**size, head_dim=8)
        ).eval()
    size |= dict(rope_scaling={"type": "default", "mrope_section": [1, 1, 2]})
    sees = dict(depth=1, hidden_size=16, num_heads=2, intermediate_size=16, out_hidden_size=16)
    config = transformers.Qwen2_5_VLConfig(text_config=size, vision_config=sees)
    return tokenizer, transformers.Qwen2_5_VLForConditionalGeneration(config).eval()


def tiny_z_image():
    from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
    from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )

    shorten("z-image")
    tokenizer, text_encoder = tiny_language()
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=16,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[2, 2, 4],
        axes_lens=[1024, 32, 32],
    )
    for name, weight in transformer.named_parameters():
        if name in ("x_pad_token", "cap_pad_token"):
            torch.nn.init.normal_(weight)
        if name.startswith(("context_refiner.", "layers.")) and name.endswith(
            (".to_q.weight", ".to_k.weight", ".to_v.weight")
        ):
            weight.data.mul_(5)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipe = ZImagePipeline(
        scheduler=scheduler,
        vae=tiny_3().vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
    )
    pipe.default_sample_size = 8
    return pipe


# Those of Qwen-Image's template in front of the prompt: as tokens they are the 34 of the real one.
QWEN_TEMPLATE = (
    "system Describe the image by detailing the color, shape, size, texture, quantity, text, "
    "spatial relationships of the objects and background user"
)
QWEN_WORDS = ["system", "Describe", "user", *sorted(set(re.findall(r" \w+", QWEN_TEMPLATE)))]


def tiny_qwen_image(words: Sequence[str] = QWEN_WORDS):
    from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage
    from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformer2DModel
    from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )

    shorten("qwen-image")
    tokenizer, text_encoder = tiny_language("Qwen2.5-VL", words=words)
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(2, 2, 4),
    )
    sharpen(transformer)
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.5, 1.0, 2.0],
    )
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipe = QwenImagePipeline(
        scheduler=scheduler,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
    )
    pipe.default_sample_size = 8
    return pipe


def tiny_flux2(distilled: bool = False, layers: int = 4):
    """Flux.2 Klein; with 28 layers of the text encoder the pipeline reads the 9th, 18th and 27th,
    with fewer the first three.
    """
    from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
    from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
    from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )

    shorten("flux-2-klein")
    tokenizer, text_encoder = tiny_language(layers=layers)
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=48,
        axes_dims_rope=(2, 2, 2, 2),
        timestep_guidance_channels=16,
        guidance_embeds=False,
    )
    sharpen(transformer)
    vae = AutoencoderKLFlux2(
        latent_channels=4,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2)
    parts = dict(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
    )
    pipe = Flux2KleinPipeline(**parts, transformer=transformer, is_distilled=distilled)
    pipe.default_sample_size = 8
    return pipe


def tiny_sana():
    from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC
    from diffusers.models.transformers.sana_transformer import SanaTransformer2DModel
    from diffusers.pipelines.sana.pipeline_sana import SanaPipeline
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
    from transformers.models.gemma.tokenization_gemma import GemmaTokenizer
    from transformers.models.gemma2.configuration_gemma2 import Gemma2Config
    from transformers.models.gemma2.modeling_gemma2 import Gemma2Model

    from unconcept.models.families.sana import INSTRUCTION

    shorten("sana")
    torch.manual_seed(0)
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = ["<pad>", "<eos>", "<bos>", "<unk>", "\n", "▁", *letters]
    tokenizer = GemmaTokenizer(vocab={t: i for i, t in enumerate(vocabulary)}, merges=[])
    # letter by letter the instruction has thousands of tokens: here each line is one
    tokenizer.add_tokens(sorted({line for line in INSTRUCTION if line}))
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=8,
    )
    for name, weight in transformer.named_parameters():
        if name.endswith((".attn2.to_q.weight", ".attn2.to_k.weight", ".attn2.to_v.weight")):
            weight.data.mul_(5)
    vae = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        scaling_factor=0.4,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
    )
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=Gemma2Model(config).eval(),
        vae=vae,
        transformer=transformer,
        scheduler=scheduler,
    )


TINY = {
    "stable-diffusion": tiny_pipeline,
    "stable-diffusion-xl": tiny_xl,
    "stable-diffusion-3": tiny_3,
    "flux": tiny_flux,
    "flux-2-klein": tiny_flux2,
    "qwen-image": tiny_qwen_image,
    "z-image": tiny_z_image,
    "sana": tiny_sana,
}
