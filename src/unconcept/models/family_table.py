"""Model families: which one a pipeline belongs to, and a `Model` around it."""

import re
from typing import Any

from ..concepts.retain import DEFAULT_VOCABULARY
from ..errors import InputError
from .families.animatediff import AnimateDiff, AnimateDiffXL
from .families.cogvideox import CogVideoX
from .families.flux import Flux
from .families.flux2 import Flux2Klein
from .families.hunyuan_video import HunyuanVideo
from .families.hunyuan_video_15 import HunyuanVideo15
from .families.ltx import LTX
from .families.qwen_image import QwenImage
from .families.sana import Sana
from .families.stable_diffusion import StableDiffusion
from .families.stable_diffusion_3 import StableDiffusion3
from .families.stable_diffusion_xl import StableDiffusionXL
from .families.wan import Wan
from .families.z_image import ZImage
from .interface import Model

FAMILIES = (
    StableDiffusion,
    StableDiffusionXL,
    StableDiffusion3,
    Flux,
    Flux2Klein,
    QwenImage,
    ZImage,
    Sana,
    Wan,
    AnimateDiff,
    AnimateDiffXL,
    CogVideoX,
    LTX,
    HunyuanVideo,
    HunyuanVideo15,
)

SUPPORTED = (
    "Stable Diffusion 1.x, 2.x, XL and 3.x, Flux.1, Flux.2 Klein, Qwen-Image, Z-Image and Sana, "
    "and for video Wan, AnimateDiff, CogVideoX, HunyuanVideo (1.0, 1.5) and LTX-Video"
)

# Pipelines that share a family's components and do something else with them.
RELATIVES = re.compile(r"Img2Img|Inpaint(ing)?|PAG")


def wrap(pipe: Any, vocabulary: tuple[str, ...] | None = None) -> Model:
    """Put a `Model` around a diffusers pipeline.

    Args:
        pipe: The pipeline; a Model is returned as it is. An image-to-image or inpainting
            pipeline stands for the text-to-image model of the same components.
        vocabulary: Words that represent all other prompts. None: common ones, and concepts are
            completed with the lexicon. Who chooses the words completes concepts themselves.

    Returns:
        The model, which uses the pipeline's own modules.

    Raises:
        InputError: The pipeline's family is not supported, or its parts do not fit together.
    """
    if isinstance(pipe, FAMILIES):
        return pipe
    candidates = [pipe]
    if not any(family.fits(pipe) for family in FAMILIES):
        candidates = [text_to_image(pipe)]
    for family in FAMILIES:
        if family.fits(candidates[0]):
            model = family(candidates[0], DEFAULT_VOCABULARY if vocabulary is None else vocabulary)
            model.completes = vocabulary is None
            return model
    raise InputError(unsupported(pipe))


def text_to_image(pipe: Any) -> Any:
    """The text-to-image pipeline of the same components.

    Args:
        pipe: A diffusers pipeline, such as one for image-to-image or inpainting.

    Returns:
        A pipeline that shares its modules; None where diffusers has none of these components.
    """
    import diffusers

    kind: Any = None
    for base in type(pipe).__mro__:
        if RELATIVES.search(base.__name__) and "Control" not in base.__name__:
            kind = getattr(diffusers, RELATIVES.sub("", base.__name__), None)
            break
    if kind is None or not any(family.fits(object.__new__(kind)) for family in FAMILIES):
        return None
    components, optional = kind._get_signature_keys(kind)
    parts = {}
    for component in components:
        parts[component] = pipe.components.get(component)
    for setting in optional:
        if setting in pipe.config:
            parts[setting] = pipe.config[setting]
    return kind(**parts)


def unsupported(pipe: Any) -> str:
    """The line for a pipeline that is not any family's.

    Args:
        pipe: An object that no family fits, such as a pipeline with a ControlNet.

    Returns:
        The message of an InputError: what is wrong, and which pipeline to use instead.
    """
    name = type(pipe).__name__
    if "ControlNet" in name or "Adapter" in name:
        parent = RELATIVES.sub("", re.sub(r"(XS|Union)?(ControlNet|Adapter)(XS|Union)?", "", name))
        return (
            f"{name} holds a ControlNet or an adapter besides the model: use the text-to-image "
            f"pipeline ({parent}), for example apply an edit to it, and make this one from it with "
            f"{name}.from_pipe(pipe, ...), which shares its weights"
        )
    line = f"{name} is not supported; supported are {SUPPORTED}"
    if hasattr(pipe, "unet") or hasattr(pipe, "transformer"):
        line += (
            ". If it has the components of one of these, apply an edit to that text-to-image "
            f"pipeline, and make this one from it with {name}.from_pipe(pipe)"
        )
    return line
