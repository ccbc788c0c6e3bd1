"""Load the embedded models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from ...concepts.concept import Concept
from ...config.options import EMBEDDED_STEPS
from ...errors import InputError
from ..families.animatediff import AnimateDiff
from ..families.stable_diffusion import StableDiffusion
from ..families.stable_diffusion_3 import StableDiffusion3
from ..interface import Model
from ..video import ClipSize
from .concepts import complete_motion, completed
from .motions import FRAMES, PHRASES
from .vocabulary import LEXICON, WORDS

FOLDER = Path(__file__).parent

PIPELINE = FOLDER / "pipeline"

FLOW = FOLDER / "flow"

VIDEO = FOLDER / "video"

MOTION = "motion.safetensors"  # in VIDEO: motion modules and text cross-attention

GUIDANCE = 5.0  # at which the models were evaluated


class EmojiVocabulary:
    """A model whose whole vocabulary is known: its captions were made from one table."""

    def complete(self, concepts: Sequence[Concept]) -> tuple[Concept, ...]:
        """Add kind, synonyms, members of a category, neighbors and prompt templates.

        Args:
            concepts: All concepts of one run; see `Model.complete`.
        """
        return completed(concepts)


class Emoji(EmojiVocabulary, StableDiffusion):
    """The embedded model with Stable Diffusion's U-Net."""

    def usual_steps(self) -> int:
        return EMBEDDED_STEPS["emoji"]


class EmojiFlow(EmojiVocabulary, StableDiffusion3):
    """The embedded model with Stable Diffusion 3's transformer."""


class EmojiVideo(EmojiVocabulary, AnimateDiff):
    """The embedded U-Net with AnimateDiff's motion modules."""

    def complete(self, concepts: Sequence[Concept]) -> tuple[Concept, ...]:
        """As for images; a phrase that names a motion is a concept as well.

        Args:
            concepts: All concepts of one run; see `Model.complete`.
        """
        others = iter(completed([c for c in concepts if c.erase not in PHRASES]))
        results = []
        for concept in concepts:
            is_motion = concept.erase in PHRASES
            results.append(complete_motion(concept) if is_motion else next(others))
        return tuple(results)

    def usual_steps(self) -> int:
        return EMBEDDED_STEPS["emoji-video"]

    def usual_clip_size(self) -> ClipSize:
        side = self.denoiser.config["sample_size"] * self.space_ratio
        return ClipSize(frames=FRAMES, height=side, width=side)


def load(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Model:
    """Load `emoji`, the embedded U-Net. Its weights are stored as fp16.

    Args:
        device: Where it computes.
        dtype: Data type of the weights.

    Returns:
        The model.

    Raises:
        InputError: This copy of the package is without the weights.
    """
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
        StableDiffusionPipeline,
    )

    if not PIPELINE.exists():
        raise InputError(
            "the weights of the embedded model are not in this copy: "
            "make them with `make embedded-model`, or give --model"
        )
    pipe = StableDiffusionPipeline.from_pretrained(
        PIPELINE,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        safety_checker=None,
        feature_extractor=None,
    )
    pipe.unet.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
    pipe.set_progress_bar_config(disable=True)
    model = Emoji(pipe.to(device), WORDS)
    model.guidance = GUIDANCE
    model.lexicon = LEXICON
    return model


def load_flow(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Model:
    """Load `emoji-flow`: the same images and words with Stable Diffusion 3's transformer.

    It was trained by flow matching. Its two text encoders are one and the same; it does not have a
    T5, nor tokens of zeros in T5's place.

    Args:
        device: Where it computes.
        dtype: Data type of the weights.

    Returns:
        The model.

    Raises:
        InputError: This copy of the package is without the weights.
    """
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
    from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
        StableDiffusion3Pipeline,
    )
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    if not (FLOW / "transformer").exists():
        raise InputError(
            "the weights of the embedded transformer are not in this copy: "
            "make them with `python -m pretraining.mmdit`"
        )
    tokenizer = CLIPTokenizer.from_pretrained(PIPELINE / "tokenizer")
    text_encoder = text_encoder_with_projection()
    vae = AutoencoderKL.from_pretrained(PIPELINE / "vae")
    vae.register_to_config(shift_factor=0.0)
    components: dict[str, Any] = {
        "transformer": SD3Transformer2DModel.from_pretrained(FLOW / "transformer"),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=1.0),
        "vae": vae,
        "text_encoder": text_encoder,
        "tokenizer": tokenizer,
        "text_encoder_2": text_encoder,
        "tokenizer_2": tokenizer,
        "text_encoder_3": None,
        "tokenizer_3": None,
    }
    pipe = StableDiffusion3Pipeline(**components)
    pipe.set_progress_bar_config(disable=True)
    model = EmojiFlow(pipe.to(device, dtype), WORDS)
    model.t5_tokens = 0
    model.guidance = GUIDANCE
    model.lexicon = LEXICON
    return model


def load_video(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Model:
    """Load `emoji-video`: short clips of moving emoji, by AnimateDiff's architecture.

    Args:
        device: Where it computes.
        dtype: Data type of the weights.

    Returns:
        The model. Its clips have `motions.FRAMES` frames.

    Raises:
        InputError: This copy of the package is without the weights.
    """
    if not (VIDEO / MOTION).exists():
        raise InputError(
            "the weights of emoji-video are not in this copy: "
            "make them with `python -m pretraining video` (hours on two cores)"
        )
    return load_video_from(VIDEO, device, dtype)


def load_video_from(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Model:
    """Load `emoji-video` with the motion modules of a folder.

    Args:
        folder: Its `motion.safetensors` holds what the U-Net does not share with `emoji`'s, and
            `config.json` its layout.
        device: Where it computes.
        dtype: Data type of the weights.
    """
    from diffusers.models.unets.unet_motion_model import UNetMotionModel
    from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline
    from safetensors.torch import load_file

    config: Any = UNetMotionModel.load_config(folder / "config.json")
    unet: Any = UNetMotionModel.from_config(config)
    image = load_file(PIPELINE / "unet" / "diffusion_pytorch_model.safetensors")
    unet.load_state_dict(image | load_file(folder / MOTION))
    parts = load_image_parts(dtype)
    pipe = AnimateDiffPipeline(
        **parts,
        unet=unet.to(dtype).eval(),
        motion_adapter=cast("Any", None),  # in the U-Net
    )
    pipe.set_progress_bar_config(disable=True)
    model = EmojiVideo(pipe.to(device), WORDS)
    model.guidance = GUIDANCE
    model.lexicon = LEXICON
    return model


def load_image_parts(dtype: torch.dtype) -> dict[str, Any]:
    """The components that `emoji-video` shares with `emoji`: all but the U-Net.

    Args:
        dtype: Data type of the weights.
    """
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from transformers.models.clip.modeling_clip import CLIPTextModel
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    return {
        "vae": AutoencoderKL.from_pretrained(PIPELINE / "vae", dtype=dtype),
        "text_encoder": CLIPTextModel.from_pretrained(PIPELINE / "text_encoder", dtype=dtype),
        "tokenizer": CLIPTokenizer.from_pretrained(PIPELINE / "tokenizer"),
        "scheduler": DDIMScheduler.from_pretrained(PIPELINE / "scheduler"),
    }


def text_encoder_with_projection() -> Any:
    """The embedded text encoder with the projection that SD3's pipeline expects: the identity."""
    from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

    plain = CLIPTextModel.from_pretrained(PIPELINE / "text_encoder")
    projected = CLIPTextModelWithProjection(plain.config)
    projected.text_model.load_state_dict(plain.state_dict())
    torch.nn.init.eye_(projected.text_projection.weight)
    return projected
