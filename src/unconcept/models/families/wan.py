"""Wan 2.1 and 2.2: text-to-video by flow matching, with cross-attention on UMT5's states.

Wan 2.2 A14B has two transformers ("experts"): `transformer` for high noise levels and
`transformer_2` for low ones. An edit holds changes of both.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers.pipelines.wan.pipeline_wan import WanPipeline, prompt_clean
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor, nn

from ..conditioning import pick
from ..consistency import check_present
from ..cross_attention import GROUPS, CrossModel, reads_states
from ..flow_matching import MultistepFlowModel
from ..interface import Condition, Site
from ..pipeline_model import STATES
from ..t5_text_encoder import T5Prompts
from ..token_embeddings import run_text_encoder
from ..video import CausalVideoModel, ClipSize

PROJECTED = "projected"  # name for `linear_input`: token states behind the text embedder

SECOND = "transformer_2"  # the expert for low noise levels


def reads_text(path: str) -> bool:
    """The first layer of the text embedder, through which all blocks read the prompt.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `condition_embedder.text_embedder.linear_1.weight` alone.
    """
    return path == "condition_embedder.text_embedder.linear_1.weight"


def in_attention_blocks(path: str) -> bool:
    """Every matrix of the transformer blocks.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `blocks.0.ffn.net.2.weight`, False for `blocks.0.ffn.net.2.bias`.
    """
    return path.startswith("blocks.") and path.endswith(".weight") and "norm" not in path


def in_all_but_cross_attention(path: str) -> bool:
    """Everything except for cross-attention and the first and last layers.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `blocks.0.attn1.to_q.weight`, False for `blocks.0.attn2.to_q.weight` and
        `proj_out.weight`.
    """
    return path.startswith("blocks.") and ".attn2." not in path


READERS = {PROJECTED: reads_states, STATES: reads_text}

TRANSFORMER = {
    **GROUPS,
    "context embedder": reads_text,
    "attention blocks": in_attention_blocks,
    "all but cross-attention": in_all_but_cross_attention,
}

SCHEDULERS = {"unipc": UniPCMultistepScheduler, "euler": FlowMatchEulerDiscreteScheduler}


class Wan(T5Prompts, CausalVideoModel, CrossModel, MultistepFlowModel):
    """The `Model` around a WanPipeline. Latents are [N, C, F, H, W]."""

    family = "wan"
    network = "transformer"
    encoders = ("text_encoder",)
    groups = TRANSFORMER
    readers = READERS
    schedulers = SCHEDULERS
    multistep = UniPCMultistepScheduler

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        self.patch = tuple(self.denoiser.config["patch_size"])
        self.boundary = -1.0  # the timestep below which the second expert predicts
        if pipe.transformer_2 is not None:
            check_present(pipe, [SECOND])
            second = getattr(pipe.transformer_2, "_orig_mod", pipe.transformer_2)
            second.eval().requires_grad_(False)
            self.components: Mapping[str, nn.Module] = {**self.components, SECOND: second}
            self.boundary = float(pipe.config["boundary_ratio"]) * self.timesteps

    @classmethod
    def widths_read(cls, pipe: Any) -> dict[str, int]:
        check_present(pipe, cls.encoders)
        return {"text_dim": pipe.text_encoder.config.d_model}

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, WanPipeline)

    def usual_clip_size(self) -> ClipSize:
        return ClipSize(frames=81, height=480, width=832)

    @property
    def denoiser_names(self) -> tuple[str, ...]:
        """The transformers, that for high noise levels first."""
        return tuple(name for name in (self.network, SECOND) if name in self.components)

    def weight_group(self, name: str) -> tuple[Site, ...]:
        """The tensors of a weight group, in both experts.

        Args:
            name: One of `groups`.
        """
        sites = list(super().weight_group(name))
        if SECOND in self.components:
            for site in tuple(sites):
                path = site.name.removeprefix(f"{self.network}.")
                reads = f"{SECOND}.{site.reads}" if site.reads == PROJECTED else site.reads
                sites.append(Site(f"{SECOND}.{path}", reads))
        return tuple(sites)

    def cross_attentions(self) -> dict[str, int]:
        widths = super().cross_attentions()
        if SECOND in self.components:
            for site, width in tuple(widths.items()):
                widths[f"{SECOND}.{site.removeprefix(f'{self.network}.')}"] = width
        return widths

    def tokenize(self, prompts: Sequence[str]) -> Condition:
        """Token ids of prompts, which are cleaned as in the pipeline.

        Args:
            prompts: N prompts; "" is the empty prompt ∅.

        Returns:
            Ids [N, tokens] by text encoder.
        """
        return super().tokenize([prompt_clean(prompt) for prompt in prompts])

    def encode_from(self, vectors: Condition, ids: Condition) -> Condition:
        """Encode token embeddings with UMT5: padding is masked, and its states are zeros.

        Args:
            vectors: Token embeddings by text encoder [N, tokens, width].
            ids: Token ids by text encoder [N, tokens].

        Returns:
            The condition, N rows, with gradients to `vectors`.
        """
        mask = (ids["text_encoder"] != self.pipe.tokenizer.pad_token_id).long()
        output = run_text_encoder(
            self.pipe.text_encoder, vectors["text_encoder"], ids["text_encoder"], mask
        )
        states = output.last_hidden_state * mask[..., None]
        return {STATES: states.to(self.dtype)}

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        """Compute what keys and values or the text embedder multiply.

        Args:
            name: `PROJECTED`, of the second expert with its name before it, or an entry of the
                condition.
            condition: N encoded prompts.

        Returns:
            [N, tokens, width]
        """
        if name in condition:
            return condition[name]
        expert: Any = self.components[SECOND if name.startswith(f"{SECOND}.") else self.network]
        return expert.condition_embedder.text_embedder(condition[STATES])

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the flow, each row with the expert for its noise level.

        Args:
            x: Noisy latents [N, C, F, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            condition: N encoded prompts.

        Returns:
            The flow v = n − x_0 [N, C, F, H, W].
        """
        high = t >= self.boundary
        if self.boundary < 0 or x.device.type == "meta" or bool(high.all()):
            return self.predict_with(self.pipe.transformer, x, t, condition)
        second = self.pipe.transformer_2
        if not bool(high.any()):
            return self.predict_with(second, x, t, condition)
        low = ~high
        first = self.predict_with(self.pipe.transformer, x[high], t[high], pick(condition, high))
        rest = self.predict_with(second, x[low], t[low], pick(condition, low))
        order = torch.cat([high.nonzero(), low.nonzero()]).flatten()
        return torch.cat([first, rest])[order.argsort()]

    def predict_with(self, expert: Any, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the flow with one expert.

        Args:
            expert: A transformer.
            x: Noisy latents [N, C, F, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.

        Returns:
            The flow v = n − x_0 [N, C, F, H, W].
        """
        if self.pipe.config.get("expand_timesteps"):  # one timestep for each token
            frames, height, width = x.shape[2:]
            tokens = frames * (height // 2) * (width // 2)
            t = t[:, None].expand(-1, tokens)
        return expert(
            hidden_states=x,
            timestep=t,
            encoder_hidden_states=condition[STATES],
            return_dict=False,
        )[0]

    def predict_everywhere(self, x: Tensor, t: Tensor, condition: Condition) -> None:
        """Send all rows through both experts, whatever their noise levels.

        Args:
            x: Noisy latents [N, C, F, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.
        """
        for name in self.denoiser_names:
            self.predict_with(self.components[name], x, t, condition)

    def latent_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the autoencoder's latents [1, C, 1, 1, 1]."""
        config = self.pipe.vae.config
        mean, std = torch.tensor(config["latents_mean"]), torch.tensor(config["latents_std"])
        return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)
