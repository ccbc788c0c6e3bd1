"""A tiny Stable Diffusion pipeline with random weights: the real diffusers classes, small enough for any laptop; and the command line."""

import sys

import pytest
import torch

from unconcept import cli

torch.set_num_threads(2)


def tiny_parts(prediction: str = "epsilon", width: int = 16, **unet_more) -> dict:
    """Tokenizer, text encoder, U-Net, autoencoder and scheduler."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from transformers.models.clip.modeling_clip import CLIPTextModel
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    torch.manual_seed(0)
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={t: i for i, t in enumerate(vocabulary)}, merges=[], model_max_length=24)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width, attention_head_dim=2, **unet_more,
    )  # fmt: skip
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type=prediction)
    return dict(vae=vae, text_encoder=CLIPTextModel(tiny_text(tokenizer)), tokenizer=tokenizer, unet=unet, scheduler=scheduler)


def tiny_text(tokenizer):
    from transformers.models.clip.configuration_clip import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, projection_dim=16, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=24, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip


def tiny_pipeline(prediction: str = "epsilon"):
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    return StableDiffusionPipeline(**tiny_parts(prediction), safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def tiny_xl():
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
    from transformers.models.clip.modeling_clip import CLIPTextModelWithProjection

    added = dict(addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=16 + 6 * 4)
    parts = tiny_parts(width=32, **added)
    euler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, timestep_spacing="leading", steps_offset=1
    )
    second = CLIPTextModelWithProjection(tiny_text(parts["tokenizer"]))
    return StableDiffusionXLPipeline(**{**parts, "scheduler": euler}, text_encoder_2=second, tokenizer_2=parts["tokenizer"])


def tiny_3():
    """Two CLIP encoders and T5, one block with and one without a second attention of the picture, flow matching."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
    from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
    from transformers.models.clip.modeling_clip import CLIPTextModelWithProjection
    from transformers.models.t5.configuration_t5 import T5Config
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    tokenizer = tiny_parts()["tokenizer"]
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=3, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=32,
        caption_projection_dim=16, pooled_projection_dim=32, pos_embed_max_size=8, dual_attention_layers=(0,),
    )  # fmt: skip
    sharpened(transformer)
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4, sample_size=16, shift_factor=0.06,
        scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    t5 = T5EncoderModel(T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2))
    return StableDiffusion3Pipeline(
        transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), tokenizer=tokenizer, tokenizer_2=tokenizer,
        tokenizer_3=tokenizer, text_encoder=CLIPTextModelWithProjection(tiny_text(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(tiny_text(tokenizer)), text_encoder_3=t5,
    )  # fmt: skip


def tiny_flux(dev: bool = True):
    """CLIP and T5, one block of each kind; as dev (told its guidance, a shifted schedule) or as schnell."""
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
    from transformers.models.clip.modeling_clip import CLIPTextModel

    three = tiny_3()
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=32,
        pooled_projection_dim=16, guidance_embeds=dev, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    sharpened(transformer)
    pipe = FluxPipeline(
        transformer=transformer, vae=three.vae, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0 if dev else 1.0, use_dynamic_shifting=dev),
        tokenizer=three.tokenizer, tokenizer_2=three.tokenizer, text_encoder=CLIPTextModel(tiny_text(three.tokenizer)),
        text_encoder_2=three.text_encoder_3,
    )  # fmt: skip
    pipe.default_sample_size = 8
    return pipe


def sharpened(transformer) -> None:
    """At random weights words hardly matter: hundreds of them are looked at alike, and most of a prompt comes in by the pooled state. Not here."""
    for name, weight in transformer.named_parameters():
        if name == "context_embedder.weight" or name.endswith(("attn.to_q.weight", "attn.add_k_proj.weight", "attn.add_v_proj.weight")):
            weight.data.mul_(10)
        if name.endswith(("attn.norm_q.weight", "attn.norm_added_k.weight")):
            weight.data.mul_(5)
    transformer.time_text_embed.text_embedder.linear_2.weight.data.mul_(0.05)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Pictures of tests stay with the tests."""
    monkeypatch.setenv("UNCONCEPT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(params=["epsilon", "v_prediction", "xl", "3", "flux"])
def pipe(request):
    return {"xl": tiny_xl, "3": tiny_3, "flux": tiny_flux}.get(request.param, lambda: tiny_pipeline(request.param))()


@pytest.fixture
def model():
    from unconcept import wrap

    return wrap(tiny_pipeline(), ("cat", "dog", "house", "tree"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A diffusers folder on disk."""
    path = tmp_path_factory.mktemp("model") / "tiny"
    tiny_pipeline().save_pretrained(path)
    return path


def state(module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def same(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> bool:
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


QUICK = """
settings:
  trajectories: 4
  points: 2
  sampling_steps: 3
  tune: {steps: 2, batch: 2, check: 1}
"""


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """The command line in an empty folder: words -> (exit code, stdout, stderr). Without the second feature space, which is slow."""
    monkeypatch.chdir(tmp_path)
    for module in ("erasing", "compare"):
        monkeypatch.setattr(f"unconcept.{module}.features_or_none", lambda: None)

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["unconcept", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return command


@pytest.fixture
def quick(tmp_path):
    file = tmp_path / "quick.yaml"
    file.write_text(QUICK)
    return file
