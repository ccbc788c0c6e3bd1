"""Open a model by name, folder, single file or hub id."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from ..concepts.retain import DEFAULT_VOCABULARY
from ..config.options import Precision, Prediction, Quantized, Source
from ..errors import InputError, UnknownShapesError
from ..io.hub_access import hub_answers
from ..io.weights import PICKLES
from . import quantization, single_file
from .consistency import check_complete, check_finite
from .devices import PRECISIONS, choose_device
from .families.animatediff import AnimateDiff, AnimateDiffXL
from .families.cogvideox import CogVideoX
from .families.flux import Flux
from .families.flux2 import Flux2Klein
from .families.ltx import LTX
from .families.qwen_image import QwenImage
from .families.sana import Sana
from .families.stable_diffusion import StableDiffusion
from .families.stable_diffusion_3 import StableDiffusion3
from .families.stable_diffusion_xl import StableDiffusionXL
from .families.wan import Wan
from .families.z_image import ZImage
from .folder import INDEX, check_folder, check_weights, only_variant, read_json
from .interface import Model
from .offloading import offload
from .video import VideoModel

if TYPE_CHECKING:
    from typing_extensions import Unpack

EMBEDDED = ("emoji", "emoji-flow")

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
)

SUPPORTED = (
    "Stable Diffusion 1.x, 2.x, XL and 3.x, Flux.1, Flux.2 Klein, Qwen-Image, Z-Image and Sana, "
    "and for video Wan, AnimateDiff, CogVideoX and LTX-Video"
)

# What `--prediction` takes.
PREDICTION_CHOICES: Mapping[Prediction, single_file.Prediction] = {
    "epsilon": single_file.Prediction("epsilon", False),
    "v": single_file.Prediction("v_prediction", False),
    "v-zero-snr": single_file.Prediction("v_prediction", True),
}

HUB_ADVICE = (
    "it is out of reach, or HF_HUB_OFFLINE is set, and the model was not downloaded before; give a "
    "folder on disk, or try again with a network"
)

# Errors of huggingface_hub, httpx and the system without an answer of the hub.
OUT_OF_REACH = (
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "ConnectError",
    "ConnectTimeout",
    "ReadTimeout",
    "ConnectionError",
    "gaierror",
)

# Pipelines that share a family's components and do something else with them.
RELATIVES = re.compile(r"Img2Img|Inpaint(ing)?|PAG")


class SourceFields(TypedDict, total=False):
    """Keywords of `load`, which are fields of `Source`; `config` is its `base_config`."""

    config: str | Path | None
    prediction: Prediction | None
    device: str | None
    dtype: Precision | None
    frames: int | None
    height: int | None
    width: int | None
    variant: str | None
    revision: str | None


def set_clip_size(model: Model, source: Source) -> Model:
    """Give a text-to-video model the frames, height and width of its source.

    Args:
        model: Any model.
        source: Whose size is not set where it is None.

    Returns:
        The model.

    Raises:
        InputError: It samples images, or cannot sample clips of that size.
    """
    size = (source.frames, source.height, source.width)
    if size == (None, None, None):
        return model
    if not isinstance(model, VideoModel):
        raise InputError(
            "--frames, --height and --width are for text-to-video models, and this one samples "
            "images"
        )
    model.set_clip_size(*size)
    return model


def wrap(pipe: Any, vocabulary: tuple[str, ...] | None = None) -> Model:
    """Put a `Model` around a diffusers pipeline.

    Args:
        pipe: The pipeline; a Model is returned as it is. Of an image-to-image or inpainting
            pipeline the text-to-image model of the same components is taken.
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
    """The line for a pipeline that is not any family's."""
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


def load(
    source: str | Path | Source,
    *,
    quantize: Quantized | None = None,
    keep_precise: str = "",
    cpu_offload: bool = False,
    **fields: "Unpack[SourceFields]",
) -> Model:
    """Load a model.

    Args:
        source: What `--model` accepts: "emoji" or "emoji-flow", a diffusers folder, a .safetensors
            file, or a hub id. Or a whole `Source`.
        quantize: Hold the linear layers of the denoiser's blocks in 4 or 8 bits.
        keep_precise: Weight group that is not quantized, because an edit of it is trained.
        cpu_offload: Leave the weights in CPU memory; a layer's are on the device while it computes.
            Much slower, and for passes without gradients (`models.offloading`).
        **fields: Fields of `Source`. `config`: for a single file, a diffusers folder of the same
            architecture; without it diffusers asks the hub. `prediction`: what the network
            predicts, where the files say it wrongly or not at all. `variant`: of the weights, such
            as "fp16"; a folder with one variant alone does not need it. `revision`: of a hub
            repository. `frames`, `height` and `width`: of the clips of a text-to-video model.
            `device` and `dtype`: None is explained at `Source`; with the device "meta" only shapes
            are built and no weights are read.

    Returns:
        The model on its device.

    Raises:
        InputError: The model does not exist, cannot be opened, or is not supported; or is to be
            quantized and offloaded.
    """
    if quantize and cpu_offload:
        raise InputError(f"quantized weights ({quantize}) cannot wait in CPU memory (cpu_offload)")
    source = as_source(source, fields)
    device = choose_device(source.device)
    if source.model in EMBEDDED and source.prediction:
        raise InputError(f"--prediction is for your own models, and {source.model} is embedded")
    if device.type == "meta" and source.model != "emoji-flow":
        return set_clip_size(wrap_opened(open_without_weights(source), source), source)
    precision = PRECISIONS[source.dtype or default_precision(source.model, device)]
    if source.model in EMBEDDED:
        from . import emoji

        load_embedded = emoji.load if source.model == "emoji" else emoji.load_flow
        model: Any = load_embedded(dtype=precision)
    else:
        model = wrap_opened(open_pipeline(source, precision), source)
    if quantize:
        quantization.quantize(model, quantize, keep_precise, device)
    if source.model not in EMBEDDED:
        check_complete(model.pipe, source.model)
    if cpu_offload:
        offload(model, device)
    else:
        model.pipe.to(device)
    if source.model not in EMBEDDED:
        check_finite(model.pipe, source.model)
    return set_clip_size(model, source)


def wrap_opened(pipe: Any, source: Source) -> Model:
    """`wrap` a pipeline that was opened from files, whose settings may be anything.

    Args:
        pipe: The pipeline.
        source: Its source, for the message.

    Raises:
        InputError: See `wrap`; or a setting has a wrong type.
    """
    try:
        return wrap(pipe)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        raise InputError(
            f'"{source.model}" cannot be used: a setting in its configurations is missing or '
            f"wrong ({reason_of(error)})"
        ) from error


def open_without_weights(source: Source) -> Any:
    """The pipeline of a source on the device "meta": shapes alone.

    Args:
        source: A folder or hub id, or a single file with base_config.

    Returns:
        The pipeline.

    Raises:
        InputError: There is no such model, it is not one, or a single file without base_config.
    """
    from .meta_device import build_without_weights

    dtype = PRECISIONS[source.dtype or "fp32"]
    path = Path(source.model)
    if path.is_dir() and not (path / INDEX).exists():
        check_folder(path)
    if path.suffix != ".safetensors" or path.is_dir():
        return with_prediction(build_without_weights(source.model, dtype), source)
    if path.exists():
        check_single_file(path, source)
    if source.base_config is None:
        raise UnknownShapesError(
            "a single file does not say its shapes: give --base-config, the diffusers folder of "
            "the same architecture"
        )
    return with_prediction(build_without_weights(source.base_config, dtype), source)


def as_source(source: str | Path | Source, fields: Mapping[str, Any]) -> Source:
    """A `Source` from what `load` receives.

    Args:
        source: A name, a path, or a whole Source.
        fields: Keywords of `load`; they replace those of a Source.
    """
    if not isinstance(source, Source):
        source = Source(str(source))
    changes = dict(fields)
    if "config" in changes:
        config = changes.pop("config")
        changes["base_config"] = None if config is None else str(config)
    return replace(source, **changes)


def default_precision(name: str | Path, device: torch.device) -> Precision:
    """The precision where none is named: fp32 on the CPU and for the embedded models.

    Args:
        name: The model's name or path.
        device: Where it will be.
    """
    return "fp32" if device.type == "cpu" or str(name) in EMBEDDED else "bf16"


def open_pipeline(source: Source, dtype: torch.dtype) -> Any:
    """Open the diffusers pipeline of a source.

    Args:
        source: A folder, file or hub id, with base_config, variant and revision.
        dtype: Data type of the weights.

    Returns:
        The pipeline, on the CPU.

    Raises:
        InputError: There is no such model, or it cannot be opened.
    """
    path = Path(source.model)
    if path.suffix in (*PICKLES, ".safetensors") and not path.is_dir():
        return with_prediction(open_single_file(path, source, dtype), source)
    check_source(source)
    if path.is_dir() and not source.variant:
        source = replace(source, variant=only_variant(path))
    pipe = with_prediction(open_pretrained(source, dtype), source)
    if path.is_dir():
        check_weights(path, pipe.components, source.variant)
    return pipe


def check_source(source: Source) -> None:
    """Check all that can be known of a model before it is opened.

    Args:
        source: The model.

    Raises:
        InputError: There is no such model, its files are damaged, or it is something else.
    """
    name = source.model
    path = Path(name)
    if name in EMBEDDED:
        return
    if path.suffix in (*PICKLES, ".safetensors") and not path.is_dir():
        check_single_file(path, source)
    elif path.is_dir():
        check_folder(path)
    elif path.exists():
        raise InputError(f"{path} is neither a diffusers folder nor a .safetensors file")
    elif name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(
            f'there is no model "{name}": give "emoji" or "emoji-flow", a diffusers folder, '
            "a .safetensors file, or a hub id like owner/name"
        )


def check_built(source: Source, model: Any) -> None:
    """Do the files of a folder hold every tensor of a model that was built without weights?

    Args:
        source: The model's.
        model: A PipelineModel on any device.

    Raises:
        InputError: One is missing.
    """
    path = Path(source.model)
    if path.is_dir():
        check_weights(path, model.pipe.components, source.variant)


def check_single_file(path: Path, source: Source) -> single_file.Header:
    """Check that a file is a Stable Diffusion checkpoint, and that its base_config fits.

    Args:
        path: The file.
        source: With base_config.

    Returns:
        The header of the file.

    Raises:
        InputError: It is not, or the base_config is not a diffusers folder of its kind.
    """
    header = single_file.Header.read(path)
    if problem := single_file.problem_of(header):
        raise InputError(f"{path} is {problem}")
    config = source.base_config
    if config is None:
        return header
    folder = Path(config)
    if not folder.is_dir():
        if folder.exists() or config.count("/") != 1 or config.startswith((".", "/", "~")):
            raise InputError(
                f"--base-config {config} is not a folder: give a diffusers folder of the same "
                "architecture"
            )
        return header  # a hub id
    if not (folder / INDEX).exists():
        raise InputError(f"--base-config {config} is not a diffusers folder: it has no {INDEX}")
    index = read_json(folder / INDEX)
    class_name = str(index.get("_class_name")) if isinstance(index, dict) else ""
    if ("XL" in class_name) != single_file.is_xl(header):
        kind = "Stable Diffusion XL" if single_file.is_xl(header) else "Stable Diffusion 1.x or 2.x"
        raise InputError(
            f"{path} is a checkpoint of {kind}, and --base-config {config} is the folder of a "
            f"{class_name}: give a folder of the same architecture"
        )
    return header


def with_prediction(pipe: Any, source: Source) -> Any:
    """Make a pipeline's scheduler agree with what the network was trained to predict.

    What the user says counts first, then what a single file says of itself, then the scheduler's
    own configuration. With a terminal signal-to-noise ratio of zero, timesteps are spaced
    "trailing" (Lin et al. 2023, arXiv 2305.08891).

    Args:
        pipe: A diffusers pipeline.
        source: With `prediction`.

    Returns:
        The pipeline.

    Raises:
        InputError: The model's family does not have a choice, or a single file contradicts itself.
    """
    path = Path(source.model)
    stated = single_file.Prediction()
    if path.suffix == ".safetensors" and path.is_file() and not source.prediction:
        stated = single_file.prediction_of(single_file.Header.read(path))
    if source.prediction:
        stated = PREDICTION_CHOICES[source.prediction]
    if stated == single_file.Prediction():
        return pipe
    config = dict(pipe.scheduler.config)
    if "prediction_type" not in config or not hasattr(pipe, "unet"):
        raise InputError(
            f"--prediction is for Stable Diffusion 1.x, 2.x and XL, not for {type(pipe).__name__}"
        )
    config["prediction_type"] = stated.kind or config["prediction_type"]
    if stated.zero_snr and config["prediction_type"] == "epsilon":
        raise InputError(
            f"{path} says ztsnr (zero terminal SNR) and does not say that it predicts v: give "
            "--prediction v-zero-snr, or --prediction epsilon"
        )
    if stated.zero_snr is not None:
        config["rescale_betas_zero_snr"] = stated.zero_snr
    if stated.zero_snr:
        config["timestep_spacing"] = "trailing"
    pipe.scheduler = type(pipe.scheduler).from_config(config)
    return pipe


def open_pretrained(source: Source, dtype: torch.dtype) -> Any:
    """Open a folder or a hub repository with diffusers.

    Args:
        source: Its name, variant and revision.
        dtype: Data type of the weights.

    Raises:
        InputError: It cannot be opened.
    """
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    is_here = Path(source.model).is_dir()
    try:
        return DiffusionPipeline.from_pretrained(
            source.model,
            local_files_only=is_here or not hub_answers(source.model, source.revision),
            dtype=dtype,
            variant=source.variant,
            revision=source.revision,
            use_safetensors=True,
            safety_checker=None,
            feature_extractor=None,
        )
    except Exception as error:  # diffusers raises many kinds of errors for a broken folder
        name = source.model
        if Path(name).is_dir():
            reason = diagnosis(source) or f'"{name}" cannot be opened: {reason_of(error)}'
            raise InputError(reason) from error
        reason = HUB_ADVICE if is_out_of_reach(error) else reason_of(error)
        raise InputError(
            f'"{name}" is not a folder here, and cannot be loaded from the hub: {reason}'
        ) from error


def diagnosis(source: Source) -> str | None:
    """Why a folder cannot be opened, in words of its own files instead of a library's.

    Args:
        source: A folder.

    Returns:
        A setting that does not fit the others, or a tensor that does not fit the settings; None if
        nothing is known.
    """
    try:
        check_built(source, wrap(open_without_weights(source)))
    except InputError as problem:
        return None if "cannot be opened" in str(problem) else str(problem)
    except Exception:  # the error that is being explained is the better one
        return None
    return None


def is_out_of_reach(error: BaseException | None) -> bool:
    """Is this the error of a hub that was not contacted, or did not answer?"""
    while error is not None:
        if type(error).__name__ in OUT_OF_REACH or "cached snapshot folder" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def reason_of(error: Exception) -> str:
    """The first line of another library's error, with its kind."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    return f"{type(error).__name__}: {lines[0]}"


def open_single_file(path: Path, source: Source, dtype: torch.dtype) -> Any:
    """Open a Stable Diffusion checkpoint of one file.

    Args:
        path: The .safetensors file.
        source: With base_config, a diffusers folder of the same architecture; None: diffusers asks
            the hub.
        dtype: Data type of the weights.

    Raises:
        InputError: It cannot be opened.
    """
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
        StableDiffusionPipeline,
    )
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
        StableDiffusionXLPipeline,
    )

    header = check_single_file(path, source)
    config = source.base_config
    options = {} if config is None else {"config": config}
    is_xl = single_file.is_xl(header)
    pipeline = StableDiffusionXLPipeline if is_xl else StableDiffusionPipeline
    try:
        return pipeline.from_single_file(str(path), dtype=dtype, safety_checker=None, **options)
    except Exception as error:  # diffusers' converter raises many kinds of errors
        kind = f"Stable Diffusion {'XL' if is_xl else '1.x or 2.x'} checkpoint"
        if config is None:
            reason = "the hub is out of reach" if is_out_of_reach(error) else reason_of(error)
            raise InputError(
                f"{path} looks like a {kind}, but its configuration could not be read from the "
                f"hub ({reason}): give --base-config FOLDER, a diffusers folder of the same "
                "architecture"
            ) from error
        reason = reason_of(error)
        if "meta tensor" in reason:
            reason = "not all tensors of the architecture are in the file"
        raise InputError(
            f"{path} cannot be opened as a {kind} with --base-config {config}: {reason}; is the "
            "download complete, and the architecture the same?"
        ) from error
