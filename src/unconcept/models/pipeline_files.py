"""Pipelines opened from files: a diffusers folder, a hub repository, a single file, or shapes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..config.options import Prediction, Source
from ..errors import InputError, UnknownShapesError
from ..io.hub_access import HUB_ADVICE, hub_answers, is_out_of_reach, reason_of
from ..io.weights import PICKLES
from . import single_file
from .devices import PRECISIONS
from .family_table import wrap
from .folder import INDEX, check_folder, check_weights, only_variant
from .source_checks import check_built, check_single_file, check_source

# What `--prediction` takes.
PREDICTION_CHOICES: Mapping[Prediction, single_file.Prediction] = {
    "epsilon": single_file.Prediction("epsilon", False),
    "v": single_file.Prediction("v_prediction", False),
    "v-zero-snr": single_file.Prediction("v_prediction", True),
}


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


def with_prediction(pipe: Any, source: Source) -> Any:
    """Make a pipeline's scheduler agree with what the network was trained to predict.

    The user's choice has priority, then the metadata of a single file, then the scheduler's
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


def diagnosis(source: Source) -> str | None:
    """Why a folder cannot be opened, in terms of its files instead of a library's error.

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
