"""Flux.1: two kinds of transformer blocks and T5's token states; it is distilled, and told its guidance instead of making it."""

from collections.abc import Sequence

import torch
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from torch import Tensor

from ..interface import Condition
from ..joint_attention import POOLED, JointModel
from ..patchify import Patched, packed, unpacked
from ..pipeline_model import STATES


class Flux(Patched, JointModel):
    """The `Model` around a FluxPipeline. Latents are [N, C, H, W] here; the transformer sees them in patches of 2 × 2.

    Such a model samples without an unconditional branch: `guidance` is a number that it is told (dev) or nothing at all (schnell). In a loss it is told
    1, where the published ways to train it stand, too; ∅ is the empty prompt, which it was not trained to answer as an unconditional model.
    """

    family = "flux"
    encoders = ("text_encoder", "text_encoder_2")
    uses_cfg = False
    timestep_scale = 1000.0
    evenly = True
    remark = (
        "this model is distilled from guidance and samples without an unconditional branch: in the loss its answer to the empty prompt, at guidance 1, "
        "stands for ε(∅); what is held by λ is that answer"
    )

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, FluxPipeline)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """T5's token states, and CLIP's pooled one."""
        self.warn_of_cuts(prompts)
        states, pooled, _ = self.pipe.encode_prompt(list(prompts), None, device=self.device)
        return {STATES: states.to(self.dtype), POOLED: pooled.to(self.dtype)}

    def truncated_text(self, prompt: str) -> str:
        """What T5 does not see. CLIP, which only gives a pooled state here, sees less."""
        ids = self.pipe.tokenizer_2(prompt, add_special_tokens=False).input_ids
        return self.pipe.tokenizer_2.decode(ids[511:]).strip() if len(ids) > 511 else ""

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        """T5 has an end token and no start token."""
        lengths = [len(self.pipe.tokenizer_2(p, truncation=True, max_length=512).input_ids) for p in prompts]
        return (torch.tensor(lengths) - 2).clamp(min=0)

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.told(x, t, condition, 1.0)

    def guided(self, x: Tensor, t: Tensor, null: Condition, asked: Condition, guidance: float) -> Tensor:
        """One call: guidance is told, not made."""
        return self.told(x, t, asked, guidance)

    def told(self, x: Tensor, t: Tensor, condition: Condition, guidance: float) -> Tensor:
        h, w = x.shape[2:]
        place = torch.zeros(h // 2, w // 2, 3, device=x.device, dtype=x.dtype)
        place[..., 1], place[..., 2] = torch.arange(h // 2)[:, None], torch.arange(w // 2)
        out = self.pipe.transformer(
            hidden_states=packed(x), timestep=(t / self.timestep_scale).to(x.dtype), encoder_hidden_states=condition[STATES],
            pooled_projections=condition[POOLED], img_ids=place.flatten(0, 1), txt_ids=place.new_zeros(condition[STATES].shape[1], 3),
            guidance=torch.full((len(x),), guidance, device=x.device) if self.denoiser.config["guidance_embeds"] else None, return_dict=False,
        )[0]  # fmt: skip
        return unpacked(out, h, w)
