"""CogVideoX 2B, 5B and 1.5: text-to-video with one attention over the prompt and the clip.

Every block has the same projections for text and video tokens. The prompt alone is read by
`patch_embed.text_proj`, before the first block.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.pipelines.cogvideo.pipeline_cogvideox import CogVideoXPipeline
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from ...errors import InputError
from ..attention_share import joint_share, modules_at, record_maps, split_heads, to_maps
from ..conditioning import per_row
from ..consistency import check_present
from ..interface import Condition
from ..pipeline_model import STATES, in_all
from ..t5_text_encoder import T5Prompts
from ..transformer_blocks import in_attention_blocks
from ..video import CausalVideoModel, ClipSize


def reads_states(path: str) -> bool:
    """The projection of the token states, through which all blocks read the prompt.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `patch_embed.text_proj.weight` alone.
    """
    return path == "patch_embed.text_proj.weight"


def in_keys_and_values(path: str) -> bool:
    """Keys and values, which text and video tokens share.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `transformer_blocks.0.attn1.to_k.weight`, False for
        `transformer_blocks.0.attn1.to_k.bias`.
    """
    return path.endswith((".attn1.to_k.weight", ".attn1.to_v.weight"))


def in_attention(path: str) -> bool:
    """All projections of the attention, which text and video tokens share.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `transformer_blocks.0.attn1.to_out.0.bias`; also for the norms of queries and keys.
    """
    return ".attn1." in path


def in_all_but_attention(path: str) -> bool:
    """Everything in the blocks except for the attention.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `transformer_blocks.0.ff.net.2.weight`, False for
        `transformer_blocks.0.attn1.to_q.weight`.
    """
    return path.startswith("transformer_blocks.") and ".attn1." not in path


TRANSFORMER = {
    "cross-attention keys and values": in_keys_and_values,
    "cross-attention": in_attention,
    "context embedder": reads_states,
    "prompt embedders": reads_states,
    "attention blocks": in_attention_blocks,
    "all but cross-attention": in_all_but_attention,
    "all": in_all,
}


READERS = {STATES: reads_states}

SCHEDULERS = {"ddim": CogVideoXDDIMScheduler, "dpm-solver++": DPMSolverMultistepScheduler}


class CogVideoX(T5Prompts, CausalVideoModel):
    """The `Model` around a CogVideoXPipeline. Latents are [N, F, C, H, W]; it predicts velocity.

    Its own sampler is DDIM. The pipeline's `use_dynamic_cfg`, which is off by default, is not
    supported.
    """

    family = "cogvideox"
    network = "transformer"
    encoders = ("text_encoder",)
    groups = TRANSFORMER
    readers = READERS
    schedulers = SCHEDULERS
    time_axis = 1

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        self.scheduler: Any = CogVideoXDDIMScheduler.from_config(pipe.scheduler.config)
        if self.scheduler.config["prediction_type"] != "v_prediction":
            raise InputError("this CogVideoX does not predict velocity (v_prediction)")
        self.alphas = self.scheduler.alphas_cumprod
        self.timesteps = len(self.alphas)
        self.frame_step = 2 * self.time_ratio  # the autoencoder decodes two latent frames at once
        config = self.denoiser.config
        side = config["patch_size"]
        self.patch = (config.get("patch_size_t") or 1, side, side)

    @classmethod
    def widths_read(cls, pipe: Any) -> dict[str, int]:
        check_present(pipe, cls.encoders)
        return {"text_embed_dim": pipe.text_encoder.config.d_model}

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, CogVideoXPipeline)

    def usual_clip_size(self) -> ClipSize:
        config = self.denoiser.config
        return ClipSize(
            frames=config["sample_frames"],
            height=config["sample_height"] * self.space_ratio,
            width=config["sample_width"] * self.space_ratio,
        )

    def make_scheduler(self, sampler: str, steps: int) -> Any:
        """DDIM, or DPM-Solver++ on the same noise schedule.

        Args:
            sampler: One of `samplers`.
            steps: Sampling steps.

        Returns:
            The scheduler, set to these steps.
        """
        if sampler == "ddim":
            return super().make_scheduler(sampler, steps)
        before = torch.cat([torch.ones(1, dtype=self.alphas.dtype), self.alphas[:-1]])
        scheduler = DPMSolverMultistepScheduler(
            num_train_timesteps=self.timesteps,
            trained_betas=(1 - self.alphas / before).tolist(),
            prediction_type="v_prediction",
            timestep_spacing=self.scheduler.config["timestep_spacing"],
            rescale_betas_zero_snr=bool(self.alphas[-1] == 0),
        )
        scheduler.set_timesteps(steps)
        return scheduler

    def rotary(self, x: Tensor) -> Any:
        """The rotary position embedding of the video tokens, or None.

        Args:
            x: Latents [N, F, C, H, W].
        """
        if not self.denoiser.config["use_rotary_positional_embeddings"]:
            return None
        height, width = x.shape[-2] * self.space_ratio, x.shape[-1] * self.space_ratio
        return self.pipe._prepare_rotary_positional_embeddings(height, width, x.shape[1], x.device)

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the velocity v = √ᾱ n − √(1−ᾱ) x_0.

        Args:
            x: Noisy latents [N, F, C, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.

        Returns:
            v [N, F, C, H, W].
        """
        return self.pipe.transformer(
            hidden_states=x,
            encoder_hidden_states=condition[STATES],
            timestep=t,
            image_rotary_emb=self.rotary(x),
            return_dict=False,
        )[0]

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = √ᾱ_t x + √(1 − ᾱ_t) n.

        Args:
            x: Clean latents [N, F, C, H, W].
            noise: Standard normal noise n [N, F, C, H, W].
            t: Timesteps [N], whole numbers from 0 to `timesteps` − 1.

        Returns:
            x_t [N, F, C, H, W].
        """
        signal = per_row(self.alphas.to(x.device)[t].to(x.dtype), x)
        return signal.sqrt() * x + (1 - signal).sqrt() * noise

    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The velocity v = √ᾱ n − √(1 − ᾱ) x.

        Args:
            x: Clean latents [N, F, C, H, W].
            noise: Standard normal noise n [N, F, C, H, W].
            t: Timesteps [N].

        Returns:
            v [N, F, C, H, W].
        """
        signal = per_row(self.alphas.to(x.device)[t].to(x.dtype), x)
        return signal.sqrt() * noise - (1 - signal).sqrt() * x

    def weight(self, t: Tensor) -> Tensor:
        """n = √ᾱ v + √(1−ᾱ) x_t, so that an error of v counts ᾱ."""
        return self.alphas.to(t.device)[t]

    @torch.no_grad()
    def invert(self, latents: Tensor, prompts: Sequence[str], *, steps: int, upto: int) -> Tensor:
        """DDIM inversion without guidance.

        Args:
            latents: Clean latents x_0 [N, F, C, H, W].
            prompts: N prompts that describe them.
            steps: Sampling steps of the whole trajectory.
            upto: How many of them are inverted, 1 to `steps`.

        Returns:
            Noisy latents [N, F, C, H, W] from which `trajectory(..., skip=steps - upto)` continues.
        """
        scheduler = self.make_scheduler("ddim", steps)
        condition = self.encode(prompts)
        x, before = latents, torch.ones(())
        for step in scheduler.timesteps.flip(0)[:upto]:
            v = self.predict(x, step.expand(len(x)).to(self.device), condition)
            ᾱ = self.alphas[step]
            x_0 = before.sqrt() * x - (1 - before).sqrt() * v
            noise = before.sqrt() * v + (1 - before).sqrt() * x
            x = (ᾱ.sqrt() * x_0 + (1 - ᾱ).sqrt() * noise).to(latents.dtype)
            before = ᾱ
        return x

    def cross_attentions(self) -> dict[str, int]:
        """The shared attentions; an adapter changes their output for the video tokens."""
        widths = {}
        for path, module in self.denoiser.named_modules():
            if path.endswith(".attn1"):
                widths[f"{self.network}.{path}"] = module.to_out[0].out_features
        return widths

    @torch.no_grad()
    def attention(
        self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]
    ) -> dict[str, Tensor]:
        """Attention of the video tokens to some text tokens, as the model computes it.

        The softmax is over text and video tokens, after the norms of queries and keys and the
        rotary embedding; only the text's columns are returned.

        Args:
            x: Noisy latents [N, F, C, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.
            tokens: Positions of the tokens among the token states.

        Returns:
            By module [N, frames, h, w] in [0, 1], mean over heads and sum over tokens.
        """
        rotary = self.rotary(x)
        modules = modules_at(self.components, self.cross_attentions())

        def to_map(module: Any, args: tuple, kwargs: dict) -> Tensor:
            return to_maps(text_share(module, kwargs, rotary, tokens), x, self.token_frames(x))

        return record_maps(modules, to_map, partial(self.predict, x, t, condition))

    def to_vae(self, latents: Tensor) -> Tensor:
        """As in the pipeline: frames that only fill the last patch are dropped from the front."""
        frames = (self.frames - 1) // self.time_ratio + 1
        padding = latents.shape[1] - frames
        return latents[:, padding:].transpose(1, 2) / self.pipe.vae.config["scaling_factor"]

    def from_vae(self, latents: Tensor) -> Tensor:
        latents = latents.transpose(1, 2) * self.pipe.vae.config["scaling_factor"]
        padding = self.latent_frames - latents.shape[1]
        return torch.cat([latents[:, :1].expand(-1, padding, -1, -1, -1), latents], dim=1)


def text_share(module: Any, kwargs: dict, rotary: Any, tokens: Sequence[int]) -> Tensor:
    """How much of the attention of each video token goes to some text tokens.

    Args:
        module: An attention over [text; video].
        kwargs: Its named arguments.
        rotary: Rotary embedding of the video tokens, or None.
        tokens: Positions of the text tokens.

    Returns:
        [N, video tokens] in [0, 1]: mean over heads and sum over tokens.
    """
    text = kwargs["encoder_hidden_states"]
    both = torch.cat([text, kwargs["hidden_states"]], dim=1)
    n = text.shape[1]
    q = split_heads(module.to_q(both), module.norm_q, module.heads).clone()
    k = split_heads(module.to_k(both), module.norm_k, module.heads).clone()
    if rotary is not None:
        turn: Any = apply_rotary_emb  # for pyright: what it returns depends on its arguments
        q[:, :, n:] = turn(q[:, :, n:], rotary)
        k[:, :, n:] = turn(k[:, :, n:], rotary)
    return joint_share(q[:, :, n:], k, tokens, None)
