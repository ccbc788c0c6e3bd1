"""HunyuanVideo 1.0: text-to-video with joint attention, distilled from guidance.

A language model encodes the prompt inside a template; a small transformer of its own (the token
refiner) reads its states first. CLIP adds a pooled state.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import (
    DEFAULT_PROMPT_TEMPLATE,
    HunyuanVideoPipeline,
)
from torch import Tensor

from ..attention_share import joint_share, modules_at, record_maps, split_heads, to_maps
from ..consistency import check_present
from ..interface import Condition
from ..joint_attention import DISTILLED, GROUPS, POOLED, JointModel, reads_pooled
from ..llm_text_encoder import Chat
from ..pipeline_model import STATES
from ..video import CausalVideoModel, ClipSize

MASK = "encoder_attention_mask"  # [N, tokens]: which tokens are not padding

GUIDANCE_SCALE = 1000.0  # the guidance scale is an input of the network, times this


def reads_states(path: str) -> bool:
    """The first layer of the token refiner, through which all blocks read the token states.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `context_embedder.proj_in.weight` alone.
    """
    return path == "context_embedder.proj_in.weight"


def in_prompt_embedders(path: str) -> bool:
    """Everything that reads the encoded prompt directly, token by token or pooled.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `context_embedder.proj_in.weight` and
        `time_text_embed.text_embedder.linear_1.weight`.
    """
    return reads_states(path) or reads_pooled(path)


READERS = {STATES: reads_states, POOLED: reads_pooled}

TRANSFORMER = {
    **GROUPS,
    "context embedder": reads_states,
    "prompt embedders": in_prompt_embedders,
}


class HunyuanVideo(Chat, CausalVideoModel, JointModel):
    """The `Model` around a HunyuanVideoPipeline. Latents are [N, C, F, H, W].

    It samples without an unconditional branch: the guidance scale is an input of the network. In a
    loss it is 1, and ∅ is the empty prompt, which the model was not trained to answer as an
    unconditional one. The pipeline's `true_cfg_scale` is not used.
    """

    family = "hunyuan-video"
    encoders = ("text_encoder", "text_encoder_2")
    groups = TRANSFORMER
    readers = READERS
    uses_cfg = False
    evenly_spaced = True
    limit = 256
    dropped = DEFAULT_PROMPT_TEMPLATE["crop_start"]
    remark = DISTILLED

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        config = self.denoiser.config
        self.patch = (config["patch_size_t"], config["patch_size"], config["patch_size"])

    @classmethod
    def widths_read(cls, pipe: Any) -> dict[str, int]:
        check_present(pipe, cls.encoders)
        return {
            "text_embed_dim": pipe.text_encoder.config.hidden_size,
            "pooled_projection_dim": pipe.text_encoder_2.config.hidden_size,
        }

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, HunyuanVideoPipeline)

    def usual_clip_size(self) -> ClipSize:
        return ClipSize(frames=129, height=720, width=1280)

    def in_template(self, prompt: str) -> str:
        return DEFAULT_PROMPT_TEMPLATE["template"].format(prompt)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """The language model's states behind the template's start, their mask, CLIP's pooled state.

        Args:
            prompts: N prompts; "" is the empty prompt ∅.
        """
        if self.device.type == "meta":
            states, mask = self.meta_states(len(prompts), self.denoiser.config["text_embed_dim"])
            width = self.denoiser.config["pooled_projection_dim"]
            pooled = torch.empty(len(prompts), width, device="meta", dtype=self.dtype)
            return {STATES: states, MASK: mask.to(self.dtype), POOLED: pooled}
        self.warn_of_truncation(prompts)
        states, pooled, mask = self.pipe.encode_prompt(
            list(prompts), device=self.device, max_sequence_length=self.limit
        )
        return {
            STATES: states.to(self.dtype),
            MASK: mask.to(self.dtype),
            POOLED: pooled.to(self.dtype),
        }

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the flow at guidance scale 1; padding tokens are masked.

        Args:
            x: Noisy latents [N, C, F, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            condition: N encoded prompts.

        Returns:
            The flow v = n − x_0 [N, C, F, H, W].
        """
        return self.predict_at(x, t, condition, 1.0)

    def guided(
        self, x: Tensor, t: Tensor, null: Condition, condition: Condition, guidance: float
    ) -> Tensor:
        """One network call, with the guidance scale as an input.

        Args:
            x: Noisy latents [N, C, F, H, W].
            t: Timesteps [N].
            null: Not used: there is no unconditional branch.
            condition: N encoded prompts.
            guidance: The guidance scale.

        Returns:
            The flow v = n − x_0 [N, C, F, H, W].
        """
        return self.predict_at(x, t, condition, guidance)

    def predict_at(self, x: Tensor, t: Tensor, condition: Condition, guidance: float) -> Tensor:
        """Predict the flow at a guidance scale.

        Args:
            x: Noisy latents [N, C, F, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.
            guidance: The guidance scale; a network without this input ignores it.

        Returns:
            The flow [N, C, F, H, W].
        """
        scale = None
        if self.denoiser.config["guidance_embeds"]:
            scale = torch.full((len(x),), guidance * GUIDANCE_SCALE, device=x.device, dtype=x.dtype)
        return self.pipe.transformer(
            hidden_states=x,
            timestep=t,
            encoder_hidden_states=condition[STATES],
            encoder_attention_mask=condition[MASK],
            pooled_projections=condition[POOLED],
            guidance=scale,
            return_dict=False,
        )[0]

    def cross_attentions(self) -> dict[str, int]:
        """The joint attentions; an adapter changes their output for the video tokens."""
        config = self.denoiser.config
        width = config["num_attention_heads"] * config["attention_head_dim"]
        widths = {}
        for kind in ("transformer_blocks", "single_transformer_blocks"):
            for i in range(len(self.denoiser.get_submodule(kind))):
                widths[f"{self.network}.{kind}.{i}.attn"] = width
        return widths

    @torch.no_grad()
    def attention(
        self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]
    ) -> dict[str, Tensor]:
        """Attention of the video tokens to some text tokens, as the model computes it.

        The softmax is over video and text tokens, after the norms of queries and keys and the
        rotary embedding; padding is masked.

        Args:
            x: Noisy latents [N, C, F, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.
            tokens: Positions of the tokens among the token states.

        Returns:
            By module [N, frames, h, w] in [0, 1], mean over heads and sum over tokens.
        """
        modules = modules_at(self.components, self.cross_attentions())

        def to_map(module: Any, args: tuple, kwargs: dict) -> Tensor:
            return to_maps(text_share(module, kwargs, tokens), x, self.token_frames(x))

        return record_maps(modules, to_map, partial(self.predict, x, t, condition))


def text_share(module: Any, kwargs: dict, tokens: Sequence[int]) -> Tensor:
    """How much of the attention of each video token goes to some text tokens.

    Blocks with two streams have projections of their own for the text; those with one project
    [video; text] together.

    Args:
        module: An attention over [video; text].
        kwargs: Its named arguments.
        tokens: Positions of the text tokens.

    Returns:
        [N, video tokens] in [0, 1]: mean over heads and sum over tokens.
    """
    video, text = kwargs["hidden_states"], kwargs["encoder_hidden_states"]
    q = split_heads(module.to_q(video), module.norm_q, module.heads)
    k = split_heads(module.to_k(video), module.norm_k, module.heads)
    if module.add_k_proj is None:
        k_text = split_heads(module.to_k(text), module.norm_k, module.heads)
    else:
        k_text = split_heads(module.add_k_proj(text), module.norm_added_k, module.heads)
    turn: Any = apply_rotary_emb  # for pyright: what it returns depends on its arguments
    q, k = turn(q, kwargs["image_rotary_emb"]), turn(k, kwargs["image_rotary_emb"])
    n = k.shape[2]
    hidden = ~kwargs["attention_mask"].reshape(len(q), -1)
    columns = [n + token for token in tokens]
    return joint_share(q, torch.cat([k, k_text], dim=2), columns, hidden)
