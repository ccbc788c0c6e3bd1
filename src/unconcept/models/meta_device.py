"""Pipelines without weights: every network is built from its configuration alone.

On torch's meta device they have shapes and take no memory.
"""

import importlib
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, UnknownShapesError
from ..io.hub_access import hub_answers


def build_without_weights(name: str | Path, dtype: torch.dtype, device: str = "meta") -> Any:
    """Build the pipeline of a diffusers folder, of a hub id, or the embedded one.

    Args:
        name: Folder or hub id (whose configurations are downloaded), or "emoji".
        dtype: Data type of the weights.
        device: "meta" for shapes alone; on other devices the weights are random.

    Returns:
        The pipeline.

    Raises:
        InputError: It cannot be opened, or is a single file.
    """
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    from .emoji.loading import PIPELINE

    place = str(PIPELINE if str(name) == "emoji" else name)
    if place.endswith(".safetensors"):
        raise UnknownShapesError(
            "a single file does not say its shapes: "
            "give the diffusers folder of the same architecture"
        )
    networks = {}
    dtype_before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        from_here = Path(place).is_dir() or not hub_answers(place, None)
        index: Any = DiffusionPipeline.load_config(place, local_files_only=from_here)
        with torch.device(device):
            for component, entry in index.items():
                network = build_network(place, component, entry, dtype)
                if network is not None:
                    networks[component] = network
        pipe: Any = DiffusionPipeline.from_pretrained(
            place,
            safety_checker=None,
            feature_extractor=None,
            local_files_only=from_here,
            **networks,
        )
        pipe.register_modules(**networks)  # diffusers reads a pipeline's optional networks anew
        return pipe
    except Exception as error:  # both libraries raise many kinds of errors for a broken folder
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise InputError(f'"{name}" cannot be opened: {type(error).__name__}: {reason}') from error
    finally:
        torch.set_default_dtype(dtype_before)


def build_network(place: str, component: str, entry: Any, dtype: torch.dtype) -> Any:
    """Build one component of a pipeline, on the current device.

    Args:
        place: The pipeline's folder or hub id.
        component: The component's name.
        entry: Its entry in model_index.json: [library, class name].
        dtype: Data type of the weights.

    Returns:
        The network; None for tokenizers, schedulers and settings.
    """
    from diffusers.models.modeling_utils import ModelMixin
    from transformers.modeling_utils import PreTrainedModel

    if not isinstance(entry, list | tuple) or entry[0] not in ("diffusers", "transformers"):
        return None
    network: Any = getattr(importlib.import_module(entry[0]), entry[1], None)
    if is_subclass(network, ModelMixin):
        return network.from_config(network.load_config(place, subfolder=component))
    if is_subclass(network, PreTrainedModel):
        config = network.config_class.from_pretrained(place, subfolder=component)
        # other attention implementations branch on tensor values, which do not exist here
        return network._from_config(config, attn_implementation="eager", dtype=dtype)
    return None


def is_subclass(value: Any, base: type) -> bool:
    """Is a value a class, and derived from another?

    Args:
        value: Anything.
        base: The class that it may be derived from.
    """
    return isinstance(value, type) and issubclass(value, base)
