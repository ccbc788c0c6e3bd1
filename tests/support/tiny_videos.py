"""Tiny text-to-video pipelines of every family with random weights, like tiny_pipelines."""

import torch

from support.tiny_pipelines import tiny_language, tiny_parts, tiny_xl

SIZES = {  # frames, height, width of a tiny clip: none of them is a square
    "wan": (5, 16, 32),
    "wan, two experts": (5, 16, 32),
    "wan, a timestep per token": (5, 16, 32),
    "ltx": (9, 32, 64),
    "hunyuan-video": (5, 16, 32),
    "hunyuan-video-1.5": (5, 16, 32),
    "animatediff": (3, 16, 16),
    "animatediff-xl": (3, 16, 16),
    "cogvideox": (9, 16, 32),
    "cogvideox, two latent frames a patch": (9, 16, 32),
}


def tiny_t5(kind: str):
    """(tokenizer, encoder) of T5 or UMT5: one token for each letter."""
    import transformers

    torch.manual_seed(0)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(c), -3.0) for c in range(33, 127)]
    tokenizer = transformers.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=20)
    size = dict(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    config = getattr(transformers, f"{kind}Config")(**size)
    return tokenizer, getattr(transformers, f"{kind}EncoderModel")(config).eval()


def sharpen(network, names: tuple[str, ...]) -> None:
    """Make prompts matter: with random weights attention is even."""
    for name, weight in network.named_parameters():
        if name.endswith(names):
            weight.data.mul_(5)


def tiny_wan(experts: int = 1, per_token: bool = False):
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
    from diffusers.pipelines.wan.pipeline_wan import WanPipeline
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    tokenizer, text_encoder = tiny_t5("UMT5")
    transformers = []
    for _ in range(experts):
        transformer = WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=32,
            freq_dim=32,
            ffn_dim=32,
            num_layers=2,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=32,
        )
        sharpen(transformer, ("attn2.to_q.weight", "attn2.to_k.weight", "attn2.to_v.weight"))
        sharpen(transformer, ("attn2.norm_q.weight", "text_embedder.linear_2.weight"))
        transformers.append(transformer)
    vae = AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.5, 1.0, 2.0],
        scale_factor_spatial=4,
    )
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return WanPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=vae,
        scheduler=scheduler,
        transformer=transformers[0],
        transformer_2=transformers[1] if experts == 2 else None,
        boundary_ratio=0.7 if experts == 2 else None,
        expand_timesteps=per_token,
    )


def tiny_adapter(**more):
    from diffusers.models.unets.unet_motion_model import MotionAdapter

    torch.manual_seed(1)
    return MotionAdapter(
        block_out_channels=(8, 16),
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=4,
        **more,
    )


def tiny_animatediff():
    from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline

    return AnimateDiffPipeline(**tiny_parts(), motion_adapter=tiny_adapter())


def tiny_animatediff_xl():
    from diffusers.pipelines.animatediff.pipeline_animatediff_sdxl import AnimateDiffSDXLPipeline

    image = tiny_xl()
    names = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet")
    parts = {name: image.components[name] for name in names}
    scheduler = tiny_parts()["scheduler"]
    adapter = tiny_adapter(use_motion_mid_block=False)
    return AnimateDiffSDXLPipeline(**parts, scheduler=scheduler, motion_adapter=adapter)


def tiny_cogvideox(patch_t: int | None = None):
    from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
    from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import CogVideoXPipeline
    from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler

    tokenizer, text_encoder = tiny_t5("T5")
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=32,
        num_layers=2,
        sample_width=8,
        sample_height=4,
        sample_frames=9,
        patch_size=2,
        patch_size_t=patch_t,
        patch_bias=patch_t is None,
        temporal_compression_ratio=4,
        max_text_seq_length=20,
        use_rotary_positional_embeddings=True,
    )
    sharpen(transformer, ("attn1.to_q.weight", "attn1.to_v.weight", "text_proj.weight"))
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 3,
        up_block_types=("CogVideoXUpBlock3D",) * 3,
        block_out_channels=(8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    scheduler = CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=3.0,
        timestep_spacing="trailing",
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
    )
    return CogVideoXPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=vae,
        transformer=transformer,
        scheduler=scheduler,
    )


def tiny_ltx():
    from diffusers.models.autoencoders.autoencoder_kl_ltx import AutoencoderKLLTXVideo
    from diffusers.models.transformers.transformer_ltx import LTXVideoTransformer3DModel
    from diffusers.pipelines.ltx.pipeline_ltx import LTXPipeline
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )

    tokenizer, text_encoder = tiny_t5("T5")
    torch.manual_seed(0)
    transformer = LTXVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=2,
        caption_channels=32,
    )
    sharpen(transformer, ("attn2.to_k.weight", "attn2.to_v.weight"))
    vae = AutoencoderKLLTXVideo(
        latent_channels=4,
        block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, True, False),
        decoder_spatio_temporal_scaling=(True, True, True, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4,
        patch_size=1,
        patch_size_t=1,
        scaling_factor=0.5,
    )
    vae.latents_mean.copy_(torch.linspace(-0.5, 0.5, 4))
    vae.latents_std.copy_(torch.linspace(0.5, 2, 4))
    return LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae.eval(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer.eval(),
    )


def tiny_hunyuan_video():
    import transformers
    from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import (
        AutoencoderKLHunyuanVideo,
    )
    from diffusers.models.transformers.transformer_hunyuan_video import (
        HunyuanVideoTransformer3DModel,
    )
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import (
        DEFAULT_PROMPT_TEMPLATE,
        HunyuanVideoPipeline,
    )
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )

    tokenizer, _ = tiny_language()
    # Llama's tokens before the prompt are as many as the pipeline cuts off; so are these.
    before = DEFAULT_PROMPT_TEMPLATE["template"].partition("{}")[0]
    tokenizer.add_tokens(["<|eot_id|>"])
    surplus = len(tokenizer(before).input_ids) - DEFAULT_PROMPT_TEMPLATE["crop_start"]
    tokenizer.add_tokens([before[: surplus + 1]])
    assert len(tokenizer(before).input_ids) == DEFAULT_PROMPT_TEMPLATE["crop_start"]
    torch.manual_seed(0)
    llama = transformers.LlamaModel(
        transformers.LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
    )
    clip = tiny_parts()
    clip_config = transformers.CLIPTextConfig(
        **{**clip["text_encoder"].config.to_dict(), "max_position_embeddings": 77}
    )
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        text_embed_dim=16,
        pooled_projection_dim=clip_config.hidden_size,
        rope_axes_dim=(2, 4, 4),
    )
    sharpen(
        transformer, ("add_k_proj.weight", "add_v_proj.weight", "context_embedder.proj_in.weight")
    )
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(8,) * 4,
        layers_per_block=1,
        norm_num_groups=4,
    )
    return HunyuanVideoPipeline(
        text_encoder=llama.eval(),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=transformers.CLIPTextModel(clip_config).eval(),
        tokenizer_2=clip["tokenizer"],
    )


def tiny_hunyuan_video_15():
    import transformers
    from diffusers.guiders.classifier_free_guidance import ClassifierFreeGuidance
    from diffusers.models.autoencoders.autoencoder_kl_hunyuanvideo15 import (
        AutoencoderKLHunyuanVideo15,
    )
    from diffusers.models.transformers.transformer_hunyuan_video15 import (
        HunyuanVideo15Transformer3DModel,
    )
    from diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5 import (
        HunyuanVideo15Pipeline,
    )
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )
    from transformers.models.byt5.tokenization_byt5 import ByT5Tokenizer

    tokenizer, qwen = tiny_language("Qwen2.5-VL", layers=4)
    tokenizer_2 = ByT5Tokenizer(extra_ids=0)
    byt5 = transformers.T5Config(
        vocab_size=len(tokenizer_2), d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2
    )
    torch.manual_seed(0)
    transformer = HunyuanVideo15Transformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=2,
        num_refiner_layers=1,
        text_embed_dim=16,
        text_embed_2_dim=8,
        image_embed_dim=8,
        rope_axes_dim=(2, 4, 4),
        task_type="t2v",
    )
    sharpen(
        transformer, ("add_k_proj.weight", "add_v_proj.weight", "context_embedder.proj_in.weight")
    )
    sharpen(transformer, ("context_embedder.proj_in.weight", "add_v_proj.weight"))
    vae = AutoencoderKLHunyuanVideo15(
        latent_channels=4,
        block_out_channels=(8, 8, 8),
        layers_per_block=1,
        spatial_compression_ratio=4,
        temporal_compression_ratio=4,
        scaling_factor=0.5,
    )
    pipe = HunyuanVideo15Pipeline(
        text_encoder=qwen.model.language_model.eval(),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        text_encoder_2=transformers.T5EncoderModel(byt5).eval(),
        tokenizer_2=tokenizer_2,
        guider=ClassifierFreeGuidance(guidance_scale=5.0),
    )
    pipe.system_message = "Describe."
    before = "<|im_start|>system\nDescribe.<|im_end|>\n<|im_start|>user\n"
    pipe.prompt_template_encode_start_idx = len(tokenizer(before).input_ids)
    pipe.tokenizer_max_length = 40
    pipe.tokenizer_2_max_length = 6
    return pipe


MAKERS = {
    "wan": tiny_wan,
    "wan, two experts": lambda: tiny_wan(experts=2),
    "wan, a timestep per token": lambda: tiny_wan(per_token=True),
    "ltx": tiny_ltx,
    "hunyuan-video": tiny_hunyuan_video,
    "hunyuan-video-1.5": tiny_hunyuan_video_15,
    "animatediff": tiny_animatediff,
    "animatediff-xl": tiny_animatediff_xl,
    "cogvideox": tiny_cogvideox,
    "cogvideox, two latent frames a patch": lambda: tiny_cogvideox(patch_t=2),
}


def tiny_video(name: str):
    """A pipeline of `MAKERS` whose clips are tiny."""
    from unconcept import wrap

    pipe = MAKERS[name]()
    pipe.set_progress_bar_config(disable=True)
    set_tiny(wrap(pipe, ()), name)
    return pipe


def set_tiny(model, name: str) -> None:
    frames, height, width = SIZES[name]
    model.set_clip_size(frames, height, width)
