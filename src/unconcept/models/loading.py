"""Open a model by name, folder, single file or hub id."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from ..config.options import EMBEDDED, Precision, Prediction, Quantized, Source
from ..errors import InputError
from ..io.hub_access import reason_of
from . import quantization
from .consistency import check_complete, check_finite
from .devices import PRECISIONS, choose_device
from .family_table import wrap
from .interface import Model
from .offloading import offload
from .pipeline_files import open_pipeline, open_without_weights
from .video import VideoModel

if TYPE_CHECKING:
    from typing_extensions import Unpack


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
        source: What `--model` accepts: "emoji", "emoji-flow" or "emoji-video", a diffusers folder,
            a .safetensors file, or a hub id. Or a whole `Source`.
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
    if device.type == "meta" and source.model not in ("emoji-flow", "emoji-video"):
        return set_clip_size(wrap_opened(open_without_weights(source), source), source)
    precision = PRECISIONS[source.dtype or default_precision(source.model, device)]
    if source.model in EMBEDDED:
        from . import emoji

        loaders = {
            "emoji": emoji.load,
            "emoji-flow": emoji.load_flow,
            "emoji-video": emoji.load_video,
        }
        model: Any = loaders[source.model](dtype=precision)
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
