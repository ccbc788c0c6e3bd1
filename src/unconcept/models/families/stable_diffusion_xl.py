"""Stable Diffusion XL: the same U-Net with two text encoders, a pooled state and image sizes."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from torch import Tensor

from ..interface import Condition
from ..pipeline_model import STATES
from ..token_embeddings import padded_ids, run_text_encoder
from .stable_diffusion import StableDiffusion

POOLED = "text_embeds"  # [N, width of the second encoder]: one state of the whole prompt

SIZES = "time_ids"  # [N, 6]


class StableDiffusionXL(StableDiffusion):
    """The `Model` around a StableDiffusionXLPipeline (base).

    The refiner has one encoder and other sizes; it is not supported. The empty prompt ∅ is what
    the pipeline itself guides away from: zeros if its configuration says
    `force_zeros_for_empty_prompt`, and otherwise the states of "".
    """

    family = "stable-diffusion-xl"
    encoders = ("text_encoder", "text_encoder_2")

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        if pipe.vae.dtype == torch.float16 and pipe.vae.config["force_upcast"]:
            pipe.vae.to(torch.float32)  # this autoencoder overflows in half precision

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, StableDiffusionXLPipeline)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Both encoders' last but one hidden states side by side, and the second's pooled state.

        The sizes are (height, width, 0, 0, height, width).
        """
        self.warn_of_truncation(prompts)
        states, _, pooled, _ = self.pipe.encode_prompt(
            list(prompts), device=self.device, do_classifier_free_guidance=False
        )
        filled = torch.tensor([bool(prompt) for prompt in prompts], device=states.device)
        return self.condition(states, pooled, filled)

    def tokenize(self, prompts: Sequence[str]) -> Condition:
        ids = {}
        for name, tokenizer in self.tokenizers().items():
            rows = padded_ids(tokenizer, list(prompts), tokenizer.model_max_length)
            ids[name] = rows.to(self.device)
        return ids

    def tokenizers(self) -> dict[str, Any]:
        """The tokenizer of each text encoder."""
        return {"text_encoder": self.pipe.tokenizer, "text_encoder_2": self.pipe.tokenizer_2}

    def encode_from(self, vectors: Condition, ids: Condition) -> Condition:
        """Encode token embeddings: both encoders' states side by side, the second's pooled state.

        Args:
            vectors: Token embeddings by text encoder [N, tokens, width], before positions are
                added.
            ids: Token ids by text encoder [N, tokens]; they tell where a prompt ends.

        Returns:
            The condition, N rows, with gradients to `vectors`.
        """
        states = []
        pooled = torch.empty(0)
        for name in self.tokenizers():
            output = run_text_encoder(self.components[name], vectors[name], ids[name])
            states.append(output.hidden_states[-2])
            pooled = output[0]
        empty = self.tokenize([""])["text_encoder"]
        filled = (ids["text_encoder"] != empty).any(1)
        return self.condition(torch.cat(states, dim=-1), pooled, filled)

    def condition(self, states: Tensor, pooled: Tensor, filled: Tensor) -> Condition:
        """Put a condition together.

        Args:
            states: Token states [N, tokens, width].
            pooled: Pooled states [N, width].
            filled: Which prompts are not empty [N].

        Returns:
            States, pooled states and sizes in the denoiser's precision.
        """
        if self.pipe.config["force_zeros_for_empty_prompt"]:
            states, pooled = states * filled[:, None, None], pooled * filled[:, None]
        size = self.image_shape
        sizes = torch.tensor([[*size, 0, 0, *size]] * len(states))
        return {
            STATES: states.to(self.dtype),
            POOLED: pooled.to(self.dtype),
            SIZES: sizes.to(self.device, self.dtype),
        }

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict noise or velocity, whichever the model was trained for.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.

        Returns:
            ε or v [N, C, H, W].
        """
        added = {POOLED: condition[POOLED], SIZES: condition[SIZES]}
        return self.pipe.unet(x, t, condition[STATES], added_cond_kwargs=added, return_dict=False)[
            0
        ]
