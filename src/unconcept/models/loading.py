"""Open a model by name, folder, single file or hub id."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from ..concepts.retain import DEFAULT_VOCABULARY
from ..config.options import Precision, Quantized, Source
from ..errors import InputError
from ..io.weights import PICKLES, check_safetensors, names_in
from . import quantization
from .devices import PRECISIONS, choose_device
from .families.flux import Flux
from .families.flux2 import Flux2Klein
from .families.qwen_image import QwenImage
from .families.sana import Sana
from .families.stable_diffusion import StableDiffusion
from .families.stable_diffusion_3 import StableDiffusion3
from .families.stable_diffusion_xl import StableDiffusionXL
from .families.z_image import ZImage
from .interface import Model

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
)

SUPPORTED = (
    "Stable Diffusion 1.x, 2.x, XL and 3.x, Flux.1, Flux.2 Klein, Qwen-Image, Z-Image and Sana"
)

# "diffusion_pytorch_model.fp16.safetensors", in one file or in several: the variant is "fp16"
WEIGHTS_NAME = re.compile(r"[^.]+(?:\.([^.-]+))?(?:-\d+-of-\d+)?\.safetensors")


class SourceFields(TypedDict, total=False):
    """Keywords of `load`, which are fields of `Source`; `config` is its `base_config`."""

    config: str | Path | None
    device: str | None
    dtype: Precision | None
    variant: str | None
    revision: str | None


def wrap(pipe: Any, vocabulary: tuple[str, ...] | None = None) -> Model:
    """Put a `Model` around a diffusers pipeline.

    Args:
        pipe: The pipeline; a Model is returned as it is.
        vocabulary: Words that represent all other prompts. None: common ones, and concepts are
            completed with the lexicon. Who chooses the words completes concepts themselves.

    Returns:
        The model, which uses the pipeline's own modules.

    Raises:
        InputError: The pipeline's family is not supported.
    """
    if isinstance(pipe, FAMILIES):
        return pipe
    for family in FAMILIES:
        if family.fits(pipe):
            model = family(pipe, DEFAULT_VOCABULARY if vocabulary is None else vocabulary)
            model.completes = vocabulary is None
            return model
    raise InputError(f"{type(pipe).__name__} is not supported; supported are {SUPPORTED}")


def load(
    source: str | Path | Source,
    *,
    quantize: Quantized | None = None,
    keep_precise: str = "",
    **fields: "Unpack[SourceFields]",
) -> Model:
    """Load a model.

    Args:
        source: What `--model` accepts: "emoji" or "emoji-flow", a diffusers folder, a .safetensors
            file, or a hub id. Or a whole `Source`.
        quantize: Hold the linear layers of the denoiser's blocks in 4 or 8 bits.
        keep_precise: Weight group that is not quantized, because an edit of it is trained.
        **fields: Fields of `Source`. `config`: for a single file, a diffusers folder of the same
            architecture; without it diffusers asks the hub. `variant`: of the weights, such as
            "fp16"; a folder with one variant alone does not need it. `revision`: of a hub
            repository. `device` and `dtype`: None is explained at `Source`; with the device
            "meta" only shapes are built and no weights are read.

    Returns:
        The model on its device.

    Raises:
        InputError: The model does not exist, cannot be opened, or is not supported.
    """
    source = as_source(source, fields)
    device = choose_device(source.device)
    if device.type == "meta" and source.model != "emoji-flow":
        from .meta_device import build_without_weights

        return wrap(build_without_weights(source.model, PRECISIONS[source.dtype or "fp32"]))
    precision = PRECISIONS[source.dtype or default_precision(source.model, device)]
    if source.model in EMBEDDED:
        from . import emoji

        load_embedded = emoji.load if source.model == "emoji" else emoji.load_flow
        model: Any = load_embedded(dtype=precision)
    else:
        model = wrap(open_pipeline(source, precision))
    if quantize:
        quantization.quantize(model, quantize, keep_precise, device)
    model.pipe.to(device)
    return model


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
    name = source.model
    path = Path(name)
    if path.suffix in (*PICKLES, ".safetensors"):
        check_safetensors(path)
        return open_single_file(path, source.base_config, dtype)
    if path.is_dir():
        check_folder(path)
        if not source.variant:
            source = replace(source, variant=only_variant(path))
    elif path.exists():
        raise InputError(f"{path} is neither a diffusers folder nor a .safetensors file")
    elif name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(
            f'there is no model "{name}": give "emoji" or "emoji-flow", a diffusers folder, '
            "a .safetensors file, or a hub id like owner/name"
        )
    return open_pretrained(source, dtype)


def check_folder(path: Path) -> None:
    """Check that a folder is a diffusers pipeline with complete safetensors weights.

    Args:
        path: The folder.

    Raises:
        InputError: It is not.
    """
    if not (path / "model_index.json").exists():
        raise InputError(f"{path} is not a diffusers pipeline: it has no model_index.json")
    weights = sorted(path.glob("*/*.safetensors"))
    pickles = sorted(file for file in path.glob("*/*") if file.suffix in PICKLES)
    if not weights and pickles:
        raise InputError(
            f"{path} holds only pickled weights ({pickles[0].name}), which are not read: "
            "convert it to safetensors first"
        )
    for file in weights:
        check_safetensors(file)


def only_variant(path: Path) -> str | None:
    """The variant of a folder's weights, if all files have the same one.

    Args:
        path: A diffusers folder.

    Returns:
        Such as "fp16"; None if there are weights without a variant, or several variants.
    """
    variants = set()
    for file in path.glob("*/*.safetensors"):
        match = WEIGHTS_NAME.fullmatch(file.name)
        if match:
            variants.add(match[1])
    return variants.pop() if len(variants) == 1 else None


def open_pretrained(source: Source, dtype: torch.dtype) -> Any:
    """Open a folder or a hub repository with diffusers.

    Args:
        source: Its name, variant and revision.
        dtype: Data type of the weights.

    Raises:
        InputError: It cannot be opened.
    """
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    try:
        return DiffusionPipeline.from_pretrained(
            source.model,
            dtype=dtype,
            variant=source.variant,
            revision=source.revision,
            use_safetensors=True,
            safety_checker=None,
            feature_extractor=None,
        )
    except Exception as error:  # diffusers raises many kinds of errors for a broken folder
        problem = "cannot be opened"
        if not Path(source.model).is_dir():
            problem = "is not a folder here, and cannot be loaded from the hub"
        reason = (str(error) or "no reason given").splitlines()[0]
        raise InputError(f'"{source.model}" {problem}: {type(error).__name__}: {reason}') from error


def open_single_file(path: Path, config: str | None, dtype: torch.dtype) -> Any:
    """Open a Stable Diffusion checkpoint of one file.

    Args:
        path: The .safetensors file.
        config: A diffusers folder of the same architecture; None: diffusers asks the hub.
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

    options = {} if config is None else {"config": config}
    is_xl = any(name.startswith("conditioner.embedders.") for name in names_in(path))
    pipeline = StableDiffusionXLPipeline if is_xl else StableDiffusionPipeline
    try:
        return pipeline.from_single_file(str(path), dtype=dtype, safety_checker=None, **options)
    except Exception as error:  # diffusers' converter raises many kinds of errors
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path} cannot be opened as a Stable Diffusion checkpoint: {reason}"
        ) from error
