"""Sana: flow matching in strongly compressed latents, with cross-attention on a language model."""

import inspect
from collections.abc import Sequence

import torch
from diffusers.pipelines.sana.pipeline_sana import SanaPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor

from ...errors import InputError
from ..cross_attention import GROUPS, CrossModel, reads_states
from ..flow_matching import MultistepFlowModel
from ..interface import Condition
from ..llm_text_encoder import WITHIN
from ..pipeline_model import STATES
from ..tokenizers import texts_behind
from ..transformer_blocks import in_attention_blocks

MASK = "encoder_attention_mask"  # [N, tokens]: which tokens are not padding

CAPTIONS = "captions"  # name for `linear_input`: token states, projected and normalized

TOKENS = 298  # of a prompt that are read, start and end tokens aside


def reads_captions(path: str) -> bool:
    """The first layer of the caption projection.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `caption_projection.linear_1.weight` alone.
    """
    return path == "caption_projection.linear_1.weight"


def in_all_but_cross_attention(path: str) -> bool:
    """Everything except for cross-attention and the first and last layers.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `transformer_blocks.0.attn1.to_q.weight`, False for
        `transformer_blocks.0.attn2.to_q.weight` and `proj_out.weight`.
    """
    outside = ("proj_out", "time_embed", "caption_")
    return ".attn2." not in path and not path.startswith(outside)


READERS = {CAPTIONS: reads_states, STATES: reads_captions}

TRANSFORMER = {
    **GROUPS,
    "context embedder": reads_captions,
    "attention blocks": in_attention_blocks,
    "all but cross-attention": in_all_but_cross_attention,
}

SCHEDULERS = {"dpm-solver++": DPMSolverMultistepScheduler, "euler": FlowMatchEulerDiscreteScheduler}

# Precedes every prompt except for the empty one.
INSTRUCTION = (
    inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
)


class Sana(CrossModel, MultistepFlowModel):
    """The `Model` around a SanaPipeline (not Sprint, which is distilled).

    Its own sampler is DPM-Solver++ on flow matching's noise levels.
    """

    family = "sana"
    network = "transformer"
    encoders = ("text_encoder",)
    groups = TRANSFORMER
    readers = READERS
    schedulers = SCHEDULERS
    multistep = DPMSolverMultistepScheduler

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, SanaPipeline)

    def text_layer(self) -> str:
        raise InputError(WITHIN)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Token states of each prompt after the pipeline's instruction, and their mask.

        The empty prompt has no instruction.
        """
        self.warn_of_truncation(prompts)
        states: dict[int, Tensor] = {}
        masks: dict[int, Tensor] = {}
        for instruction in (INSTRUCTION, None):
            rows = [
                i for i, prompt in enumerate(prompts) if (prompt == "") == (instruction is None)
            ]
            if not rows:
                continue
            encoded, present, *_ = self.pipe.encode_prompt(
                [prompts[row] for row in rows],
                device=self.device,
                complex_human_instruction=instruction,
                do_classifier_free_guidance=False,
            )
            states.update(zip(rows, encoded))
            masks.update(zip(rows, present))
        return {
            STATES: torch.stack([states[i] for i in range(len(prompts))]).to(self.dtype),
            MASK: torch.stack([masks[i] for i in range(len(prompts))]),
        }

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        """Compute what keys and values or the caption projection multiply.

        Args:
            name: `CAPTIONS` for token states behind projection and norm, else an entry of the
                condition.
            condition: N encoded prompts.

        Returns:
            [N, tokens, width]
        """
        if name != CAPTIONS:
            return condition[name]
        return self.denoiser.caption_norm(self.denoiser.caption_projection(condition[STATES]))

    def truncated_texts(self, prompts: Sequence[str]) -> list[str]:
        return texts_behind(self.pipe.tokenizer, prompts, TOKENS)

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        """The last token that is not padding; the tokenizer does not append an end token."""
        return self.encode(prompts)[MASK].long().cumsum(1).argmax(1).cpu()

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the flow; padding tokens are masked.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            condition: N encoded prompts.

        Returns:
            The flow v = n − x_0 [N, C, H, W].
        """
        return self.pipe.transformer(
            x,
            encoder_hidden_states=condition[STATES],
            encoder_attention_mask=condition[MASK],
            timestep=t * self.denoiser.config["timestep_scale"],
            return_dict=False,
        )[0]

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        scaled = (images * 2 - 1).to(self.device, self.pipe.vae.dtype)
        clean = self.pipe.vae.encode(scaled).latent.to(self.dtype)
        return clean * self.pipe.vae.config["scaling_factor"]
