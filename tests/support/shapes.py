"""The true shapes of published models, for ghosts of them: configurations without weights."""

import json
from pathlib import Path

from support.tiny_pipelines import TINY

SD_VAE = dict(
    block_out_channels=[128, 256, 512, 512], layers_per_block=2, norm_num_groups=32,
    down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
)  # fmt: skip
CLIP_L = dict(
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    vocab_size=49408,
    max_position_embeddings=77,
)
CLIP_G = {
    **CLIP_L,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
T5_XXL = dict(
    d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, vocab_size=32128,
    feed_forward_proj="gated-gelu", is_gated_act=True, dense_act_fn="gelu_new",
)  # fmt: skip
QWEN_3 = dict(
    hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32,
    num_key_value_heads=8, head_dim=128, vocab_size=151936,
    layer_types=["full_attention"] * 36, max_window_layers=36,
)  # fmt: skip
SHAPES = {  # of the published configurations
    "stable-diffusion": {
        "unet": dict(
            sample_size=64, block_out_channels=[320, 640, 1280, 1280], layers_per_block=2,
            norm_num_groups=32, attention_head_dim=8, cross_attention_dim=768,
            down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
            up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        ),
        "vae": {**SD_VAE, "sample_size": 512}, "text_encoder": CLIP_L,
    },
    "stable-diffusion-xl": {
        "unet": dict(
            sample_size=128, block_out_channels=[320, 640, 1280], layers_per_block=2,
            norm_num_groups=32, attention_head_dim=[5, 10, 20], cross_attention_dim=2048,
            transformer_layers_per_block=[1, 2, 10],
            down_block_types=["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
            up_block_types=["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"], addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816, use_linear_projection=True,
        ),
        "vae": {**SD_VAE, "sample_size": 1024}, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G,
    },
    "stable-diffusion-3": {  # 3.5 medium
        "transformer": dict(
            sample_size=128, in_channels=16, out_channels=16, num_layers=24,
            num_attention_heads=24, attention_head_dim=64, joint_attention_dim=4096,
            caption_projection_dim=1536, pooled_projection_dim=2048, pos_embed_max_size=384,
            dual_attention_layers=list(range(13)), qk_norm="rms_norm",
        ),
        "vae": {**SD_VAE, "sample_size": 1024, "latent_channels": 16},
        "text_encoder": {**CLIP_L, "projection_dim": 768}, "text_encoder_2": CLIP_G,
        "text_encoder_3": T5_XXL,
    },
    "flux": {
        "transformer": dict(
            in_channels=64, num_layers=19, num_single_layers=38, attention_head_dim=128,
            num_attention_heads=24, joint_attention_dim=4096,
            pooled_projection_dim=768, guidance_embeds=True, axes_dims_rope=[16, 56, 56],
        ),
        "vae": {**SD_VAE, "sample_size": 1024, "latent_channels": 16}, "text_encoder": CLIP_L,
        "text_encoder_2": T5_XXL,
    },
    "z-image": {
        "transformer": dict(
            dim=3840, n_layers=30, n_refiner_layers=2, n_heads=30, n_kv_heads=30, in_channels=16,
            cap_feat_dim=2560, axes_dims=[32, 48, 48], axes_lens=[1536, 512, 512],
        ),
        "vae": {**SD_VAE, "sample_size": 1024, "latent_channels": 16},
        "text_encoder": QWEN_3,
    },
    "flux-2-klein": {  # of 4 billion
        "transformer": dict(
            in_channels=128, num_layers=5, num_single_layers=20, attention_head_dim=128,
            num_attention_heads=24, joint_attention_dim=7680, mlp_ratio=3.0,
            axes_dims_rope=[32, 32, 32, 32], timestep_guidance_channels=256,
        ),
        "vae": dict(latent_channels=32),
        "text_encoder": QWEN_3,
    },
    "qwen-image": {
        "transformer": dict(
            in_channels=64, out_channels=16, num_layers=60, attention_head_dim=128,
            num_attention_heads=24, joint_attention_dim=3584, axes_dims_rope=[16, 56, 56],
        ),
        "vae": dict(z_dim=16),
        "text_encoder": {
            "text_config": dict(
                hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
                num_attention_heads=28, num_key_value_heads=4, vocab_size=152064,
                layer_types=["full_attention"] * 28, max_window_layers=28,
            ),
        },
    },
    "sana": {
        "transformer": dict(
            in_channels=32, out_channels=32, num_layers=20, num_attention_heads=70,
            attention_head_dim=32, num_cross_attention_heads=20, cross_attention_head_dim=112,
            cross_attention_dim=2240, caption_channels=2304, sample_size=32,
        ),
        "vae": dict(latent_channels=32),
        "text_encoder": dict(
            hidden_size=2304, intermediate_size=9216, num_hidden_layers=26, num_attention_heads=8,
            num_key_value_heads=4, head_dim=256, vocab_size=256000,
            layer_types=["full_attention"] * 26,
        ),
    },
}  # fmt: skip


def folder(kind: str, place: Path) -> Path:
    """A diffusers folder of the family, its configurations in the true shapes; its weights are the
    tiny ones, and are not read.
    """
    TINY[kind]().save_pretrained(place)
    for part, more in SHAPES[kind].items():
        file = place / part / "config.json"
        file.write_text(json.dumps(deep(json.loads(file.read_text()), more)))
    return place


def deep(own: dict, more: dict) -> dict:
    """`more` over `own`, where both have sections, inside them."""
    return own | {
        key: deep(own.get(key, {}), value) if isinstance(value, dict) else value
        for key, value in more.items()
    }
