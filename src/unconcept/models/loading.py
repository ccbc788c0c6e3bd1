"""Open a model by name, folder, single file or hub id."""

import re
from pathlib import Path
from typing import Any

import torch

from ..concepts.retain import DEFAULT_VOCABULARY
from ..config.options import Precision, Quantized, Source
from ..errors import InputError
from ..io.weights import PICKLES, check_safetensors, names_in
from . import quantization as quantized
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

EMBEDDED = ("emoji", "emoji-flow")

FAMILIES = (StableDiffusion, StableDiffusionXL, StableDiffusion3, Flux, Flux2Klein, QwenImage, ZImage, Sana)


def wrap(pipe, vocabulary: tuple[str, ...] = DEFAULT_VOCABULARY) -> Model:
    """The `Model` around a diffusers pipeline (a Model is given back as it is). `vocabulary`: words that stand for everything else."""
    if isinstance(pipe, FAMILIES):
        return pipe
    for family in FAMILIES:
        if family.fits(pipe):
            return family(pipe, vocabulary)
    raise InputError(
        f"{type(pipe).__name__} is not supported yet; supported: Stable Diffusion 1.x, 2.x, XL and 3.x, Flux.1, Flux.2 Klein, Qwen-Image, Z-Image, Sana"
    )


def load(
    name: str | Path | Source, *, config: str | Path | None = None, device: str | None = None, dtype: Precision | None = None,
    variant: str | None = None, revision: str | None = None, quantize: Quantized | None = None, whole: str = "",
) -> Model:  # fmt: skip
    """A model by what `--model` takes: "emoji" or "emoji-flow", a diffusers folder, a .safetensors single file, or a hub id.

    config: for a single file, a diffusers folder of the same architecture; without it diffusers asks the hub.
    variant, revision: of the weights of a folder or repository ("fp16"), and of a repository. A folder that holds one variant alone is read as it is.
    device, dtype: where and how precisely it computes; None: as `Source` says. "meta": shapes alone, nothing is loaded.
    quantize: hold the linear layers of the denoiser's blocks in 4 or 8 bits, but those of the weight group `whole`, which an edit is trained of.
    """
    if isinstance(name, Source):
        given: dict[str, Any] = dict(
            config=name.base_config, device=name.device, dtype=name.dtype, variant=name.variant, revision=name.revision
        )
        return load(name.model, **given, quantize=quantize, whole=whole)
    where = choose_device(device)
    if where.type == "meta" and str(name) != "emoji-flow":
        from .meta_device import ghost

        return wrap(ghost(name, PRECISIONS[dtype or "fp32"]))
    precision = PRECISIONS[dtype or default_precision(name, where)]
    if str(name) in EMBEDDED:
        from . import emoji

        model: Any = (emoji.load if str(name) == "emoji" else emoji.load_flow)(dtype=precision)
    else:
        model = wrap(open_pipeline(name, config, precision, variant, revision))
    if quantize:
        quantized.quantize(model, quantize, whole, where)
    model.pipe.to(where)
    return model


def default_precision(name: str | Path, where: torch.device) -> Precision:
    return "fp32" if where.type == "cpu" or str(name) in EMBEDDED else "bf16"


def open_pipeline(name: str | Path, config: str | Path | None, dtype: torch.dtype, variant: str | None, revision: str | None) -> Any:
    """The pipeline behind a name."""
    path = Path(name)
    if path.suffix in (*PICKLES, ".safetensors"):
        check_safetensors(path)
        return _single_file(path, config, dtype)
    if path.is_dir():
        check_folder(path)
        variant = variant or only_variant(path)
    elif path.exists():
        raise InputError(f"{path} is neither a diffusers folder nor a .safetensors file")
    elif str(name).count("/") != 1 or str(name).startswith((".", "/", "~")):
        raise InputError(
            f'there is no model "{name}": give "emoji" or "emoji-flow", a diffusers folder, a .safetensors file, or a hub id like owner/name'
        )
    return _pretrained(str(name), dtype=dtype, variant=variant, revision=revision)


def check_folder(path: Path) -> None:
    """Is `path` a diffusers pipeline with whole safetensors weights?"""
    if not (path / "model_index.json").exists():
        raise InputError(f"{path} is no diffusers pipeline: it has no model_index.json")
    weights = sorted(path.glob("*/*.safetensors"))
    pickles = sorted(f for f in path.glob("*/*") if f.suffix in PICKLES)
    if not weights and pickles:
        raise InputError(f"{path} holds only pickled weights ({pickles[0].name}), which are not read: convert it to safetensors first")
    for file in weights:
        check_safetensors(file)


def only_variant(path: Path) -> str | None:
    """Of the folder's weights, where there are none without ("diffusion_pytorch_model.fp16.safetensors", in parts or whole)."""
    weights = [re.fullmatch(r"[^.]+(?:\.([^.-]+))?(?:-\d+-of-\d+)?\.safetensors", file.name) for file in path.glob("*/*.safetensors")]
    found = {match[1] for match in weights if match}
    return found.pop() if len(found) == 1 else None


def _pretrained(name: str, **given: Any):
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    try:
        return DiffusionPipeline.from_pretrained(name, **given, use_safetensors=True, safety_checker=None, feature_extractor=None)
    except Exception as error:  # diffusers raises whatever a folder's files make it stumble over
        what = "cannot be opened" if Path(name).is_dir() else "is no folder here, and cannot be had from the hub"
        raise InputError(f'"{name}" {what}: {type(error).__name__}: {(str(error) or "no reason given").splitlines()[0]}') from error


def _single_file(path: Path, config: str | Path | None, dtype: torch.dtype):
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

    options = {} if config is None else {"config": str(config)}
    kind = (
        StableDiffusionXLPipeline if any(name.startswith("conditioner.embedders.") for name in names_in(path)) else StableDiffusionPipeline
    )
    try:
        return kind.from_single_file(str(path), dtype=dtype, safety_checker=None, **options)
    except Exception as error:  # diffusers raises whatever its converter stumbles over
        raise InputError(
            f"{path} cannot be opened as a Stable Diffusion checkpoint: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error
