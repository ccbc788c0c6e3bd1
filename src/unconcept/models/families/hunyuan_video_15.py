"""HunyuanVideo 1.5: text-to-video with joint attention and classifier-free guidance.

A language model encodes the prompt inside a template; a small transformer of its own (the token
refiner) reads its states first. ByT5 encodes what stands in quotation marks, which is written into
the clip. The same network makes clips from an image, whose inputs are zeros here.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from diffusers.guiders.classifier_free_guidance import ClassifierFreeGuidance
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5 import (
    HunyuanVideo15Pipeline,
    format_text_input,
)
from torch import Tensor

from ...errors import InputError
from ..attention_share import joint_share, modules_at, record_maps, split_heads, to_maps
from ..consistency import check_present
from ..interface import Condition
from ..joint_attention import DISTILLED, GROUPS, JointModel, in_all_but_text_attention
from ..llm_text_encoder import Chat
from ..pipeline_model import STATES
from ..video import CausalVideoModel, ClipSize
from .hunyuan_video import MASK, reads_states

GLYPHS = "encoder_hidden_states_2"  # [N, tokens, width]: ByT5's states of text in quotation marks
GLYPH_MASK = "encoder_attention_mask_2"  # [N, tokens]: all zeros for prompts without such text

MEAN = "mean of the token states"  # name for `linear_input`: of those that are not padding

OUTSIDE = ("time_embed.", "image_embedder.")

# Settings of a guider, and the values at which it is plain classifier-free guidance.
PLAIN_GUIDANCE = {
    "guidance_rescale": 0.0,
    "use_original_formulation": False,
    "start": 0.0,
    "stop": 1.0,
}


def reads_mean(path: str) -> bool:
    """The layer through which the token refiner's modulation reads the mean of the token states.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `context_embedder.time_text_embed.text_embedder.linear_1.weight` alone.
    """
    return path == "context_embedder.time_text_embed.text_embedder.linear_1.weight"


def in_prompt_embedders(path: str) -> bool:
    """Everything that reads the language model's states directly, token by token or their mean.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `context_embedder.proj_in.weight` and
        `context_embedder.time_text_embed.text_embedder.linear_1.weight`.
    """
    return reads_states(path) or reads_mean(path)


def in_all_but_cross_attention(path: str) -> bool:
    """Everything except for the text tokens' projections and the first and last layers.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `transformer_blocks.0.attn.to_q.weight`, False for
        `transformer_blocks.0.attn.add_k_proj.weight` and
        `time_embed.timestep_embedder.linear_1.weight`.
    """
    return in_all_but_text_attention(path) and not path.startswith(OUTSIDE)


READERS = {STATES: reads_states, MEAN: reads_mean}

TRANSFORMER = {
    **GROUPS,
    "context embedder": reads_states,
    "prompt embedders": in_prompt_embedders,
    "all but cross-attention": in_all_but_cross_attention,
}


class HunyuanVideo15(Chat, CausalVideoModel, JointModel):
    """The `Model` around a HunyuanVideo15Pipeline. Latents are [N, C, F, H, W].

    The pipeline's guider sets the guidance scale. At scale 1, as in checkpoints that are distilled
    from guidance, there is no unconditional branch.
    """

    family = "hunyuan-video-1.5"
    encoders = ("text_encoder", "text_encoder_2")
    groups = TRANSFORMER
    readers = READERS
    evenly_spaced = True
    channels_per_latent = (2, 1)  # noisy latents, and latents of the image
    mask_channels = 1  # where the image is

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        check_guider(pipe)
        super().__init__(pipe, vocabulary)
        config = self.denoiser.config
        self.patch = (config["patch_size_t"], config["patch_size"], config["patch_size"])
        self.limit = pipe.tokenizer_max_length
        self.dropped = pipe.prompt_template_encode_start_idx
        self.uses_cfg = self.guidance != 1
        self.remark = "" if self.uses_cfg else DISTILLED

    @classmethod
    def widths_read(cls, pipe: Any) -> dict[str, int]:
        check_present(pipe, cls.encoders)
        return {
            "text_embed_dim": pipe.text_encoder.config.hidden_size,
            "text_embed_2_dim": pipe.text_encoder_2.config.d_model,
        }

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, HunyuanVideo15Pipeline)

    def usual_guidance(self, parameter: str = "guidance_scale") -> float:
        guider = self.pipe.guider
        return float(getattr(guider, parameter)) if guider._enabled else 1.0

    def usual_clip_size(self) -> ClipSize:
        width, height = self.pipe.default_aspect_ratio
        pixels = self.pipe.video_processor.calculate_default_height_width(
            height, width, self.pipe.target_size
        )
        return ClipSize(frames=121, height=pixels[0], width=pixels[1])

    @property
    def latent_channels(self) -> int:
        return self.denoiser.config["out_channels"]

    def in_template(self, prompt: str) -> str:
        (chat,) = format_text_input([prompt], self.pipe.system_message)
        return self.pipe.tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True
        )

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """The language model's states behind the template's start, ByT5's, and both masks.

        Args:
            prompts: N prompts; "" is the empty prompt ∅.
        """
        if self.device.type == "meta":
            states, mask = self.meta_states(len(prompts), self.denoiser.config["text_embed_dim"])
            tokens, width = (
                self.pipe.tokenizer_2_max_length,
                self.denoiser.config["text_embed_2_dim"],
            )
            glyphs = states.new_empty(len(prompts), tokens, width)
            glyph_mask = states.new_empty(len(prompts), tokens)
            return {
                STATES: states,
                MASK: mask.to(self.dtype),
                GLYPHS: glyphs,
                GLYPH_MASK: glyph_mask,
            }
        self.warn_of_truncation(prompts)
        states, mask, glyphs, glyph_mask = self.pipe.encode_prompt(
            list(prompts), device=self.device, dtype=self.dtype, batch_size=len(prompts)
        )
        return {STATES: states, MASK: mask, GLYPHS: glyphs, GLYPH_MASK: glyph_mask}

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        """The token states, or the mean of those that are not padding.

        Args:
            name: `Site.reads` of the matrix.
            condition: N encoded prompts.

        Returns:
            [N, tokens, width], or [N, width] for the mean.
        """
        if name != MEAN:
            return super().linear_input(name, condition)
        states, mask = condition[STATES], condition[MASK][..., None]
        return (states * mask).sum(1) / mask.sum(1)

    def network_input(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy latents with zeros for the image, and the state of no image.

        The pipeline passes 729 such states, which are masked like this one: the prediction is the
        same.

        Args:
            x: Noisy latents [N, C, F, H, W].

        Returns:
            [N, 2 C + 1, F, H, W] and zeros [N, 1, width].
        """
        n, channels, *places = x.shape
        image = x.new_zeros(n, channels + self.mask_channels, *places)
        no_image = x.new_zeros(n, 1, self.denoiser.config["image_embed_dim"])
        return torch.cat([x, image], dim=1), no_image

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the flow; padding tokens are masked.

        Args:
            x: Noisy latents [N, C, F, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            condition: N encoded prompts.

        Returns:
            The flow v = n − x_0 [N, C, F, H, W].
        """
        if x.device.type == "meta":
            return self.predict_shapes(x, t, condition)
        latents, no_image = self.network_input(x)
        return self.pipe.transformer(
            hidden_states=latents,
            timestep=t.to(x.dtype),
            encoder_hidden_states=condition[STATES],
            encoder_attention_mask=condition[MASK],
            encoder_hidden_states_2=condition[GLYPHS],
            encoder_attention_mask_2=condition[GLYPH_MASK],
            image_embeds=no_image,
            return_dict=False,
        )[0]

    def predict_shapes(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The same computation on the device "meta", where diffusers cannot order tokens by a mask.

        Args:
            x: Noisy latents [N, C, F, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.

        Returns:
            [N, C, F, H, W]
        """
        network = self.denoiser
        latents, no_image = self.network_input(x)
        embedded_t = network.time_embed(t.to(x.dtype))
        image = network.image_embedder(no_image)
        glyphs = network.context_embedder_2(condition[GLYPHS])
        text = network.context_embedder(condition[STATES], t, condition[MASK])
        text = torch.cat([image, glyphs, text], dim=1)
        mask = x.new_ones(text.shape[:2])
        hidden, rotary = network.x_embedder(latents), network.rope(latents)
        for block in network.transformer_blocks:
            run = block
            if network.gradient_checkpointing and torch.is_grad_enabled():
                run = partial(network._gradient_checkpointing_func, block)
            hidden, text = run(hidden, text, embedded_t, mask, rotary)
        flow = network.proj_out(network.norm_out(hidden, embedded_t))
        return flow.reshape(x.shape)

    def cross_attentions(self) -> dict[str, int]:
        """The joint attentions; an adapter changes their output for the video tokens."""
        config = self.denoiser.config
        width = config["num_attention_heads"] * config["attention_head_dim"]
        widths = {}
        for i in range(config["num_layers"]):
            widths[f"{self.network}.transformer_blocks.{i}.attn"] = width
        return widths

    @torch.no_grad()
    def attention(
        self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]
    ) -> dict[str, Tensor]:
        """Attention of the video tokens to some text tokens, as the model computes it.

        The softmax is over video and text tokens, after the norms of queries and keys and the
        rotary embedding; padding is masked and gets 0.

        Args:
            x: Noisy latents [N, C, F, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.
            tokens: Positions of the tokens among the language model's token states.

        Returns:
            By module [N, frames, h, w] in [0, 1], mean over heads and sum over tokens.
        """
        modules = modules_at(self.components, self.cross_attentions())
        places = text_places(condition[MASK], condition[GLYPH_MASK], images=1)

        def to_map(module: Any, args: tuple, kwargs: dict) -> Tensor:
            share = text_share(module, kwargs, places, tokens)
            return to_maps(share, x, self.token_frames(x))

        return record_maps(modules, to_map, partial(self.predict, x, t, condition))


def check_guider(pipe: Any) -> None:
    """Does the pipeline sample with plain classifier-free guidance?

    Args:
        pipe: A HunyuanVideo15Pipeline.

    Raises:
        InputError: It has another guider, or one with further settings.
    """
    check_present(pipe, ["guider"])
    guider = pipe.guider
    advice = (
        "only plain classifier-free guidance is supported: set pipe.guider = "
        "diffusers.ClassifierFreeGuidance(guidance_scale=...), or change guider/guider_config.json"
    )
    if type(guider) is not ClassifierFreeGuidance:
        raise InputError(f"the guider of this pipeline is {type(guider).__name__}; {advice}")
    for name, plain in PLAIN_GUIDANCE.items():
        if guider.config[name] != plain:
            raise InputError(
                f"the guider of this pipeline has {name} {guider.config[name]}; {advice}"
            )


def text_places(mask: Tensor, glyph_mask: Tensor, images: int) -> Tensor:
    """Where the text tokens stand in the blocks: what is not padding comes first.

    The order is [ByT5's, the language model's], then the padding of [image, ByT5's, the language
    model's]; padding of the image is all of it.

    Args:
        mask: Of the language model's tokens [N, L].
        glyph_mask: Of ByT5's tokens [N, G].
        images: Number of states of the image.

    Returns:
        Places among the text tokens of the blocks [N, L + images + G]: of the language model's
        tokens, then of all others.
    """
    n = len(mask)
    padding = [
        torch.ones(n, images, device=mask.device),
        1 - glyph_mask.float(),
        1 - mask.float(),
    ]
    order = torch.cat(padding, dim=1).argsort(dim=1, stable=True)
    places = order.argsort(dim=1)
    return torch.cat([places[:, -mask.shape[1] :], places[:, : -mask.shape[1]]], dim=1)


def text_share(module: Any, kwargs: dict, places: Tensor, tokens: Sequence[int]) -> Tensor:
    """How much of the attention of each video token goes to some text tokens.

    Args:
        module: An attention over [video; text].
        kwargs: Its named arguments.
        places: See `text_places`.
        tokens: Positions of the text tokens.

    Returns:
        [N, video tokens] in [0, 1]: mean over heads and sum over tokens.
    """
    video, text = kwargs["hidden_states"], kwargs["encoder_hidden_states"]
    q = split_heads(module.to_q(video), module.norm_q, module.heads)
    k = split_heads(module.to_k(video), module.norm_k, module.heads)
    k_text = split_heads(module.add_k_proj(text), module.norm_added_k, module.heads)
    k_text = torch.take_along_dim(k_text, places[:, None, :, None], dim=2)
    padding = ~torch.take_along_dim(kwargs["attention_mask"].bool(), places, dim=1)
    turn: Any = apply_rotary_emb  # for pyright: what it returns depends on its arguments
    q, k = turn(q, kwargs["image_rotary_emb"]), turn(k, kwargs["image_rotary_emb"])
    n = k.shape[2]
    columns = [n + token for token in tokens]
    hidden = torch.cat([padding.new_zeros(len(q), n), padding], dim=1)
    return joint_share(q, torch.cat([k, k_text], dim=2), columns, hidden)
