"""LTX-Video: text-to-video by flow matching in strongly compressed latents, with cross-attention.

The autoencoder makes one latent pixel of 32 x 32 pixels and 8 frames, and the transformer receives
each of them as a token.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.ltx.pipeline_ltx import LTXPipeline
from torch import Tensor

from ...errors import InputError
from ..consistency import check_present
from ..cross_attention import GROUPS, CrossModel, reads_states
from ..flow_matching import FlowModel
from ..interface import Condition
from ..latent_space import to_unit_range
from ..pipeline_model import STATES
from ..t5_text_encoder import T5Prompts
from ..transformer_blocks import in_attention_blocks
from ..video import CausalVideoModel, ClipSize

MASK = "encoder_attention_mask"  # [N, tokens]: which tokens are not padding

CAPTIONS = "captions"  # name for `linear_input`: token states behind the caption projection

FRAME_RATE = 25  # frames a second, the pipeline's default; a part of the position embedding

DECODING_TIMESTEP = 0.0  # the pipeline's default, for autoencoders with the noise level as an input


def reads_text(path: str) -> bool:
    """The first layer of the caption projection, through which all blocks read the prompt.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `caption_projection.linear_1.weight` alone.
    """
    return path == "caption_projection.linear_1.weight"


def in_all_but_cross_attention(path: str) -> bool:
    """Everything in the blocks except for cross-attention.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `transformer_blocks.0.attn1.to_q.weight`, False for
        `transformer_blocks.0.attn2.to_q.weight` and `proj_out.weight`.
    """
    return path.startswith("transformer_blocks.") and ".attn2." not in path


READERS = {CAPTIONS: reads_states, STATES: reads_text}

TRANSFORMER = {
    **GROUPS,
    "context embedder": reads_text,
    "attention blocks": in_attention_blocks,
    "all but cross-attention": in_all_but_cross_attention,
}


class LTX(T5Prompts, CausalVideoModel, CrossModel, FlowModel):
    """The `Model` around an LTXPipeline. Latents are [N, C, F, H, W] here, tokens in the network.

    LTX-2, which makes sound as well, has another pipeline and is not supported.
    """

    family = "ltx"
    network = "transformer"
    encoders = ("text_encoder",)
    groups = TRANSFORMER
    readers = READERS
    evenly_spaced = True

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        sides = (pipe.transformer_temporal_patch_size, pipe.transformer_spatial_patch_size)
        if sides != (1, 1):
            raise InputError("this LTX transformer has patches of more than one latent pixel")

    @classmethod
    def widths_read(cls, pipe: Any) -> dict[str, int]:
        check_present(pipe, cls.encoders)
        return {"caption_channels": pipe.text_encoder.config.d_model}

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, LTXPipeline)

    def usual_clip_size(self) -> ClipSize:
        return ClipSize(frames=161, height=512, width=704)

    @property
    def image_tokens(self) -> int:
        """Tokens of a clip in the transformer, on which the noise schedule's shift depends."""
        _, frames, height, width = self.latent_shape
        return frames * height * width

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """T5's last hidden states, and which of them are not padding.

        Args:
            prompts: N prompts; "" is the empty prompt ∅.
        """
        condition = super().encode(prompts)
        if self.device.type == "meta":
            shape = condition[STATES].shape[:2]
            return {**condition, MASK: torch.ones(shape, dtype=self.dtype, device="meta")}
        return {**condition, MASK: self.mask_of(self.tokenize(prompts))}

    def encode_from(self, vectors: Condition, ids: Condition) -> Condition:
        """Encode token embeddings with T5: its last hidden states, and which are not padding.

        Args:
            vectors: Token embeddings by text encoder [N, tokens, width].
            ids: Token ids by text encoder [N, tokens].

        Returns:
            The condition, N rows, with gradients to `vectors`.
        """
        return {**super().encode_from(vectors, ids), MASK: self.mask_of(ids)}

    def mask_of(self, ids: Condition) -> Tensor:
        """Which tokens are not padding.

        Args:
            ids: Token ids by text encoder [N, tokens].

        Returns:
            [N, tokens] of 0 and 1.
        """
        present = ids["text_encoder"] != self.pipe.tokenizer.pad_token_id
        return present.to(self.device, self.dtype)

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        """Compute what keys and values or the caption projection multiply.

        Args:
            name: `CAPTIONS` for token states behind the projection, else an entry of the condition.
            condition: N encoded prompts.

        Returns:
            [N, tokens, width]
        """
        if name != CAPTIONS:
            return condition[name]
        return self.denoiser.caption_projection(condition[STATES])

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the flow; padding tokens are masked.

        Args:
            x: Noisy latents [N, C, F, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            condition: N encoded prompts.

        Returns:
            The flow v = n − x_0 [N, C, F, H, W].
        """
        frames, height, width = x.shape[2:]
        flow = self.pipe.transformer(
            hidden_states=x.flatten(2).transpose(1, 2),
            encoder_hidden_states=condition[STATES],
            timestep=t,
            encoder_attention_mask=condition[MASK],
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=(
                self.time_ratio / FRAME_RATE,
                self.space_ratio,
                self.space_ratio,
            ),
            return_dict=False,
        )[0]
        return flow.transpose(1, 2).unflatten(2, (frames, height, width))

    def decode_batch(self, latents: Tensor) -> Tensor:
        vae = self.pipe.vae
        clean = self.to_vae(latents).to(vae.dtype)
        timestep = None
        if vae.config["timestep_conditioning"]:
            timestep = torch.full((len(clean),), DECODING_TIMESTEP).to(clean)
        video = vae.decode(clean, timestep, return_dict=False)[0]
        return to_unit_range(video.transpose(1, 2))

    def latent_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the autoencoder's latents [1, C, 1, 1, 1]."""
        vae = self.pipe.vae
        std = vae.latents_std / vae.config["scaling_factor"]
        return vae.latents_mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)
