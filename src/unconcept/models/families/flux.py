"""Flux.1: two kinds of transformer blocks on T5's token states, distilled from guidance."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from torch import Tensor

from ..consistency import check_present
from ..interface import Condition
from ..joint_attention import DISTILLED, POOLED, JointModel
from ..patchify import Patched, packed, unpacked
from ..pipeline_model import STATES
from ..token_embeddings import padded_ids, run_text_encoder
from ..tokenizers import texts_behind, token_counts

T5_TOKENS = 512

SCHNELL_STEPS = 4  # of its model card


class Flux(Patched, JointModel):
    """The `Model` around a FluxPipeline.

    Latents are [N, C, H, W] here; the transformer receives them in patches of 2 x 2.

    Such a model samples without an unconditional branch: the guidance scale is an input of the
    network (dev) or does not exist (schnell). In a loss it is 1, as in the published ways to train
    the model. ∅ is the empty prompt, which the model was not trained to answer as an unconditional
    one.
    """

    family = "flux"
    encoders = ("text_encoder", "text_encoder_2")
    uses_cfg = False
    channels_per_latent = (4, 4)
    timestep_scale = 1000.0
    evenly_spaced = True
    remark = DISTILLED

    @classmethod
    def widths_read(cls, pipe: Any) -> dict[str, int]:
        check_present(pipe, cls.encoders)
        return {
            "joint_attention_dim": pipe.text_encoder_2.config.d_model,
            "pooled_projection_dim": pipe.text_encoder.config.hidden_size,
        }

    def usual_steps(self) -> int:
        """Schnell is distilled to few steps."""
        return super().usual_steps() if self.denoiser.config["guidance_embeds"] else SCHNELL_STEPS

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, FluxPipeline)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """T5's token states, and CLIP's pooled state."""
        self.warn_of_truncation(prompts)
        states, pooled, _ = self.pipe.encode_prompt(list(prompts), None, device=self.device)
        return {STATES: states.to(self.dtype), POOLED: pooled.to(self.dtype)}

    def tokenize(self, prompts: Sequence[str]) -> Condition:
        clip = padded_ids(self.pipe.tokenizer, list(prompts), self.pipe.tokenizer_max_length)
        t5 = padded_ids(self.pipe.tokenizer_2, list(prompts), T5_TOKENS)
        return {"text_encoder": clip.to(self.device), "text_encoder_2": t5.to(self.device)}

    def encode_from(self, vectors: Condition, ids: Condition) -> Condition:
        """Encode token embeddings: T5's token states, and CLIP's pooled state.

        Args:
            vectors: Token embeddings by text encoder [N, tokens, width], before positions are
                added.
            ids: Token ids by text encoder [N, tokens]; they tell where a prompt ends.

        Returns:
            The condition, N rows, with gradients to `vectors`.
        """
        outputs = {}
        for name in self.encoders:
            outputs[name] = run_text_encoder(self.components[name], vectors[name], ids[name])
        return {
            STATES: outputs["text_encoder_2"].last_hidden_state.to(self.dtype),
            POOLED: outputs["text_encoder"].pooler_output.to(self.dtype),
        }

    def truncated_texts(self, prompts: Sequence[str]) -> list[str]:
        """What T5 does not read. CLIP, which only gives a pooled state here, reads less."""
        return texts_behind(self.pipe.tokenizer_2, prompts, T5_TOKENS - 1)

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        """T5 has an end token and not a start token."""
        lengths = token_counts(self.pipe.tokenizer_2, prompts, T5_TOKENS)
        return (lengths - 2).clamp(min=0)

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict at guidance scale 1.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            condition: N encoded prompts.

        Returns:
            The flow v = n − x_0 [N, C, H, W].
        """
        return self.predict_at(x, t, condition, 1.0)

    def guided(
        self, x: Tensor, t: Tensor, null: Condition, condition: Condition, guidance: float
    ) -> Tensor:
        """One network call, with the guidance scale as an input.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            null: Not used: there is no unconditional branch.
            condition: N encoded prompts.
            guidance: The guidance scale; schnell ignores it.

        Returns:
            The flow v = n − x_0 [N, C, H, W].
        """
        return self.predict_at(x, t, condition, guidance)

    def predict_at(self, x: Tensor, t: Tensor, condition: Condition, guidance: float) -> Tensor:
        """Predict at a guidance scale.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.
            guidance: The guidance scale; schnell ignores it.

        Returns:
            The flow [N, C, H, W].
        """
        h, w = x.shape[2:]
        positions = torch.zeros(h // 2, w // 2, 3, device=x.device, dtype=x.dtype)
        positions[..., 1] = torch.arange(h // 2)[:, None]
        positions[..., 2] = torch.arange(w // 2)
        scale = None
        if self.denoiser.config["guidance_embeds"]:
            scale = torch.full((len(x),), guidance, device=x.device)
        output = self.pipe.transformer(
            hidden_states=packed(x),
            timestep=(t / self.timestep_scale).to(x.dtype),
            encoder_hidden_states=condition[STATES],
            pooled_projections=condition[POOLED],
            img_ids=positions.flatten(0, 1),
            txt_ids=positions.new_zeros(condition[STATES].shape[1], 3),
            guidance=scale,
            return_dict=False,
        )[0]
        return unpacked(output, h, w)
