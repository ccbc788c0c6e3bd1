"""Sana: flow matching in a deeply compressed latent, with a cross-attention on what a language model made of the prompt."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.sana.pipeline_sana import SanaPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from ...errors import InputError
from ..cross_attention import GROUPS, CrossModel, reads
from ..flow_matching import FlowModel
from ..interface import Condition
from ..llm_text_encoder import WITHIN
from ..pipeline_model import STATES

MASK, CAPTIONS = "encoder_attention_mask", "captions"  # [N, tokens]: which tokens there are; and the token states, projected and normed

EMBEDDER = {"context embedder": lambda path: path == "caption_projection.linear_1.weight"}

READERS = {CAPTIONS: reads, STATES: EMBEDDER["context embedder"]}

TRANSFORMER = {
    **GROUPS,
    **EMBEDDER,
    "attention blocks": lambda path: path.startswith("transformer_blocks.") and path.endswith(".weight") and "norm" not in path,
    "all but cross-attention": lambda path: ".attn2." not in path and not path.startswith(("proj_out", "time_embed", "caption_")),
}

SCHEDULERS = {"dpm-solver++": DPMSolverMultistepScheduler, "euler": FlowMatchEulerDiscreteScheduler}

INSTRUCTION = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default  # stands before every prompt but ∅


class Sana(CrossModel, FlowModel):
    """The `Model` around a SanaPipeline (not Sprint, which is distilled). Its own sampler is DPM-Solver++ on flow matching's noise levels."""

    family = "sana"
    network = "transformer"
    encoders = ("text_encoder",)
    groups = TRANSFORMER
    readers = READERS
    schedulers = SCHEDULERS

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, SanaPipeline)

    @staticmethod
    def schedule(config: Any) -> Any:
        shift = float(config.get("flow_shift") or config.get("shift") or 1.0)
        return DPMSolverMultistepScheduler.from_config(config, use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=shift)

    def steps(self, sampler: str, steps: int) -> Any:
        if sampler != "euler":
            return super().steps(sampler, steps)
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=self.timesteps, shift=self.scheduler.config["flow_shift"])
        scheduler.set_timesteps(steps)
        return scheduler

    def text_layer(self) -> str:
        raise InputError(WITHIN)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Token states of each prompt behind the pipeline's instruction to the language model, of ∅ without one; and which tokens there are."""
        self.warn_of_cuts(prompts)
        said = [self.read(prompt) for prompt in prompts]
        return {STATES: torch.cat([s for s, _ in said]).to(self.dtype), MASK: torch.cat([mask for _, mask in said])}

    def read(self, prompt: str) -> tuple[Tensor, Tensor]:
        instruction = INSTRUCTION if prompt else None
        given = dict(device=self.device, complex_human_instruction=instruction, do_classifier_free_guidance=False)
        return self.pipe.encode_prompt([prompt], **given)[:2]

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        if name != CAPTIONS:
            return condition[name]
        return self.denoiser.caption_norm(self.denoiser.caption_projection(condition[STATES]))

    def truncated_text(self, prompt: str) -> str:
        ids = self.pipe.tokenizer(prompt, add_special_tokens=False).input_ids
        return self.pipe.tokenizer.decode(ids[298:]).strip() if len(ids) > 298 else ""

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        """The last token that there is; the tokenizer sets none behind a prompt."""
        return self.encode(prompts)[MASK].long().cumsum(1).argmax(1).cpu()

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        scaled = t * self.denoiser.config["timestep_scale"]
        given = dict(encoder_hidden_states=condition[STATES], encoder_attention_mask=condition[MASK], timestep=scaled)
        return self.pipe.transformer(x, **given, return_dict=False)[0]

    @torch.no_grad()
    def latents(self, pictures: Tensor) -> Tensor:
        pictures = (pictures * 2 - 1).to(self.device, self.pipe.vae.dtype)
        return self.pipe.vae.encode(pictures).latent.to(self.dtype) * self.pipe.vae.config["scaling_factor"]
