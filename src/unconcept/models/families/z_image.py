"""Z-Image: one stream of text and image tokens, with time and sign reversed."""

from collections.abc import Sequence

import torch
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from torch import Tensor

from ..interface import Condition
from ..joint_attention import JointModel
from ..llm_text_encoder import Chat
from ..pipeline_model import STATES, in_all

MASK = "mask"  # [N, tokens]: which tokens are not padding

NORMALIZED = "normed"  # name for `linear_input`: token states behind the embedder's norm

OUTSIDE = ("context_refiner.", "cap_embedder.", "all_final_layer.", "t_embedder.")


# Text tokens are alone in the context refiner, before they join the image's stream.
def in_refiner_keys_and_values(path: str) -> bool:
    """Keys and values of the context refiner.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `context_refiner.0.attention.to_k.weight`, False for
        `context_refiner.0.attention.to_q.weight`.
    """
    ends = ("attention.to_k.weight", "attention.to_v.weight")
    return path.startswith("context_refiner.") and path.endswith(ends)


def in_refiner_attention(path: str) -> bool:
    """The whole attention of the context refiner.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `context_refiner.0.attention.to_out.0.weight`, False for its norms of queries and
        keys.
    """
    return path.startswith("context_refiner.") and ".attention.to_" in path


def reads_states(path: str) -> bool:
    """The linear layer of the context embedder.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `cap_embedder.1.weight` alone.
    """
    return path == "cap_embedder.1.weight"


def in_self_attention(path: str) -> bool:
    """The attention of the joint stream.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `layers.0.attention.to_q.weight`, False for the refiners' attention.
    """
    return path.startswith("layers.") and ".attention.to_" in path


def in_attention_blocks(path: str) -> bool:
    """Every matrix of the joint stream's blocks.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `layers.0.feed_forward.w1.weight`, False for norms and biases.
    """
    return path.startswith("layers.") and path.endswith(".weight") and "norm" not in path


def in_all_but_cross_attention(path: str) -> bool:
    """Everything except for what reads text alone and the first and last layers.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `layers.0.attention.to_q.weight`, False for
        `context_refiner.0.attention.to_q.weight`.
    """
    return not path.startswith(OUTSIDE)


GROUPS = {
    "cross-attention keys and values": in_refiner_keys_and_values,
    "cross-attention": in_refiner_attention,
    "context embedder": reads_states,
    "prompt embedders": reads_states,
    "self-attention": in_self_attention,
    "attention blocks": in_attention_blocks,
    "all but cross-attention": in_all_but_cross_attention,
    "all": in_all,
}

READERS = {NORMALIZED: reads_states}


class ZImage(Chat, JointModel):
    """The `Model` around a ZImagePipeline.

    Its transformer receives (1000 − t) / 1000 and predicts x_0 − n; here t and v are those of
    flow_matching.py. The pipeline's `guidance_scale` g means c + g (c − u), so our scale is
    s = g + 1. Turbo is made for g = 0, that is s = 1.
    """

    family = "z-image"
    encoders = ("text_encoder",)
    evenly_spaced = True
    groups = GROUPS
    readers = READERS

    def usual_guidance(self, parameter: str = "guidance_scale") -> float:
        return super().usual_guidance(parameter) + 1

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, ZImagePipeline)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """For images of 1,024 pixels, the pipeline's default."""
        side = getattr(self.pipe, "default_sample_size", 1024 // self.pipe.vae_scale_factor)
        return self.denoiser.in_channels, side, side

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """The language model's last but one hidden states, padded with zeros, and their mask."""
        if self.device.type == "meta":
            width = self.denoiser.cap_embedder[1].in_features
            states, mask = self.meta_states(len(prompts), width)
            return {STATES: states, MASK: mask}
        self.warn_of_truncation(prompts)
        encoded, _ = self.pipe.encode_prompt(
            list(prompts), device=self.device, do_classifier_free_guidance=False
        )
        rows, masks = [], []
        for states in encoded:
            length, width = states.shape
            rows.append(torch.cat([states, states.new_zeros(self.limit - length, width)]))
            masks.append(torch.arange(self.limit) < length)
        return {
            STATES: torch.stack(rows).to(self.dtype),
            MASK: torch.stack(masks).to(self.device),
        }

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        """Compute the input of the context embedder: token states behind its norm.

        Args:
            name: `NORMALIZED`, or an entry of the condition.
            condition: N encoded prompts.

        Returns:
            [N, tokens, width]
        """
        if name == NORMALIZED:
            return self.denoiser.cap_embedder[0](condition[STATES])
        return condition[name]

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the flow; padding tokens are cut off, since the transformer takes no mask.

        It takes the time 1 − σ and predicts x_0 − n: the sign is turned around.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            condition: N encoded prompts.

        Returns:
            The flow v = n − x_0 [N, C, H, W].
        """
        states, mask = condition[STATES], condition[MASK]
        texts = list(states)
        if not mask.is_meta:
            texts = [row[present] for row, present in zip(states, mask)]
        time = 1 - t / self.timesteps
        output = self.pipe.transformer(list(x.unsqueeze(2)), time, texts, return_dict=False)[0]
        return -torch.stack(output).squeeze(2)
