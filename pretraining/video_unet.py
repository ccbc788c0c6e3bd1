"""The embedded U-Net with motion modules between its layers: diffusers' UNetMotionModel.

Two things differ from a fresh AnimateDiff adapter, and the class stays diffusers' own:

* `proj_out` of every motion module is zero, so that the video model begins as the image model,
  frame by frame.
* Half of the temporal attention heads begin as a soft lookup of the frame's own position. In
  diffusers' block the position code is added to queries, keys and values alone, never to the hidden
  state, and fresh heads attend evenly to all frames: their output is the mean over the frames, in
  which the frame's index is lost. "Left" is a product of the words and the index, so that a fresh
  adapter has next to nothing to multiply. Measured in docs/results/embedded-model.md.
"""

from collections.abc import Iterator, Sequence

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import (
    AnimateDiffTransformer3D,
    MotionAdapter,
    UNetMotionModel,
)
from torch import Tensor, nn

from unconcept.models.emoji.motions import FRAMES

ADAPTER = dict(
    motion_layers_per_block=1,
    motion_num_attention_heads=4,
    motion_max_seq_length=16,
    use_motion_mid_block=True,
)

# Resolutions at which nothing about a motion is decided, and half of a step's cost.
FINE = ("down_blocks.0.", "up_blocks.2.")


def inflate(unet: UNet2DConditionModel) -> UNetMotionModel:
    """The video model that predicts what the image model predicts, frame by frame."""
    adapter = MotionAdapter(
        block_out_channels=unet.config["block_out_channels"],
        motion_norm_num_groups=unet.config["norm_num_groups"],
        **ADAPTER,
    )
    inflated = UNetMotionModel.from_unet2d(unet, adapter)
    for module in motion_modules(inflated).values():
        nn.init.zeros_(module.proj_out.weight)
        nn.init.zeros_(module.proj_out.bias)
        for block in module.transformer_blocks:
            look_up_own_frame(block.attn1, block.pos_embed.pe[0])
            look_up_own_frame(block.attn2, block.pos_embed.pe[0])
    inflated.set_attn_processor(AttnProcessor2_0())
    return inflated


def motion_modules(unet: UNetMotionModel) -> dict[str, AnimateDiffTransformer3D]:
    modules = {}
    for name, module in unet.named_modules():
        if isinstance(module, AnimateDiffTransformer3D):
            modules[name] = module
    return modules


@torch.no_grad()
def look_up_own_frame(attention: Attention, codes: Tensor, rank: int = 3, gain: float = 4) -> None:
    """Let the first half of the heads attend to the frame itself and to the frames around it.

    With the singular vectors P − mean(P) = A S Vᵀ of the position codes, queries and keys are both
    β S⁻¹ Vᵀ of their input, so that the product for the frames f and g is β² A_f · A_g.

    Args:
        attention: A temporal self-attention.
        codes: P, the position codes [frames, width].
        rank: How many singular vectors are used; later ones hardly differ between frames.
        gain: Logit of a frame with itself minus that with the frame least similar to it.
    """
    centred = codes[:FRAMES] - codes[:FRAMES].mean(0)
    a, s, v = torch.linalg.svd(centred, full_matrices=False)
    similar = a[:, :rank] @ a[:, :rank].T
    spread = similar.diagonal().mean() - similar.min()
    width = attention.to_q.weight.shape[0] // attention.heads
    beta = (gain * width**0.5 / spread) ** 0.5
    for head in range(attention.heads // 2):
        rows = slice(head * width, (head + 1) * width)
        for weight in (attention.to_q.weight, attention.to_k.weight):
            weight[rows] *= 0.2
            weight[rows][:rank] = beta * v[:rank] / s[:rank, None]


def pass_through(hidden_states: Tensor, num_frames: int = 1) -> Tensor:
    """What a motion module computes whose `proj_out` is zero."""
    return hidden_states


def skip_fine(unet: UNetMotionModel) -> None:
    """Leave out the motion modules at full resolution, as long as their `proj_out` is zero."""
    for name, module in motion_modules(unet).items():
        if name.startswith(FINE):
            module.forward = pass_through


def choose_frames(unet: UNetMotionModel, codes: Sequence[Tensor], frames: Sequence[int]) -> None:
    """Give the motion modules the position codes of some frames of a clip.

    Args:
        unet: Its position codes are replaced.
        codes: The codes of all frames, of every block; see `position_codes`.
        frames: Which frames the next forward pass is about.
    """
    for block, code in zip(temporal_blocks(unet), codes, strict=True):
        block.pos_embed.pe = code[:, list(frames)]


def position_codes(unet: UNetMotionModel) -> list[Tensor]:
    return [block.pos_embed.pe for block in temporal_blocks(unet)]


def temporal_blocks(unet: UNetMotionModel) -> Iterator[nn.Module]:
    for module in motion_modules(unet).values():
        yield from module.transformer_blocks


def trained_parameters(unet: UNetMotionModel, fine: bool) -> dict[str, nn.Parameter]:
    """Motion modules and text cross-attention; the image model's other weights stay.

    Args:
        unet: The video model; its other parameters stop requiring a gradient.
        fine: The motion modules at full resolution as well.
    """
    trained = {}
    for name, parameter in unet.named_parameters():
        if "motion_modules" in name:
            chosen = fine or not name.startswith(FINE)
        else:
            chosen = ".attn2." in name
        parameter.requires_grad_(chosen)
        if chosen:
            trained[name] = parameter
    return trained
