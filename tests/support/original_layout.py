"""The layout of the original releases: a tiny pipeline as one .safetensors file, as model sites
hand them out.
"""

import re

import torch

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}  # fmt: skip
# Where the tiny U-Net's blocks stand in the original layout: one layer a block, two on the way up,
# an upsampling behind the first two.
PLACES = {
    "conv_in": "input_blocks.0.0", "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.attentions.0": "input_blocks.1.1",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0", "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.1.conv",
    "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.attentions.0": "output_blocks.2.1", "up_blocks.1.resnets.1": "output_blocks.3.0",
    "up_blocks.1.attentions.1": "output_blocks.3.1",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip


def original_name(name: str) -> str:
    place = next(p for p in sorted(PLACES, key=len, reverse=True) if name.startswith(p))
    rest = name.removeprefix(place)
    for ours, theirs in RESNET.items():
        rest = rest.replace(f".{ours}.", f".{theirs}.") if "resnets" in place else rest
    return f"model.diffusion_model.{PLACES[place]}{rest}"


ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
VAE = (
    (r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{1 - int(m[1])}.upsample"),
    (r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{1 - int(m[1])}.block.{m[2]}"),
    (r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
)


def autoencoder(vae) -> dict[str, torch.Tensor]:
    """Of two levels."""
    found = {}
    for name, tensor in vae.state_dict().items():
        if "attentions" in name:
            head, inside = name.split("mid_block.attentions.0.")
            layer, _, kind = inside.rpartition(".")
            shaped = tensor[:, :, None, None] if tensor.dim() == 2 else tensor
            found[f"first_stage_model.{head}mid.attn_1.{ATTENTION[layer]}.{kind}"] = shaped.clone()
            continue
        for ours, theirs in VAE:
            name = re.sub(ours, theirs, name)
        found[f"first_stage_model.{name}"] = tensor
    return found


def clip(encoder, prefix: str) -> dict[str, torch.Tensor]:
    return {
        f"{prefix}transformer.text_model.{name.removeprefix('text_model.')}": t
        for name, t in encoder.state_dict().items()
        if "position_ids" not in name
    }


OPEN = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def open_clip(encoder, prefix: str) -> dict[str, torch.Tensor]:
    known = {name.removeprefix("text_model."): t for name, t in encoder.state_dict().items()}
    found = {
        "token_embedding.weight": known["embeddings.token_embedding.weight"],
        "positional_embedding": known["embeddings.position_embedding.weight"],
        "ln_final.weight": known["final_layer_norm.weight"],
        "ln_final.bias": known["final_layer_norm.bias"],
        "text_projection": known["text_projection.weight"].T.contiguous(),
    }
    for name, tensor in known.items():
        layer, _, inside = name.removeprefix("encoder.layers.").partition(".")
        part, _, kind = inside.rpartition(".")
        if layer.isdigit() and part in OPEN:
            found[f"transformer.resblocks.{layer}.{OPEN[part]}.{kind}"] = tensor
        elif layer.isdigit() and part == "self_attn.q_proj":
            three = [known[name.replace("q_proj", p)] for p in ("q_proj", "k_proj", "v_proj")]
            found[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(three)
    return {f"{prefix}model.{name}": t for name, t in found.items()}


def single_file(pipe) -> dict[str, torch.Tensor]:
    """Every tensor of a tiny Stable Diffusion or XL pipeline by its original name."""
    unet = {original_name(name): t for name, t in pipe.unet.state_dict().items()}
    if hasattr(pipe, "text_encoder_2"):
        read = clip(pipe.text_encoder, "conditioner.embedders.0.") | open_clip(
            pipe.text_encoder_2, "conditioner.embedders.1."
        )
    else:
        read = clip(pipe.text_encoder, "cond_stage_model.")
    return {
        name: t.contiguous().clone() for name, t in (unet | autoencoder(pipe.vae) | read).items()
    }
