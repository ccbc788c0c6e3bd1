"""A pipeline of shapes: every network is built from its configuration, on torch's meta device, and no weight is read."""

import importlib
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError


def ghost(name: str | Path, dtype: torch.dtype, device: str = "meta") -> Any:
    """The pipeline of a diffusers folder, of a hub id (whose configurations are fetched), or the embedded one.

    On another device than "meta" its weights are random ones.
    """
    from diffusers.models.modeling_utils import ModelMixin
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from transformers.modeling_utils import PreTrainedModel

    from .emoji.loading import PIPELINE

    place = str(PIPELINE if str(name) == "emoji" else name)
    if place.endswith(".safetensors"):
        raise InputError("a single file does not say its shapes: give the diffusers folder of the same architecture")
    networks, usual = {}, torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        index: Any = DiffusionPipeline.load_config(place)
        for part, entry in index.items():
            library, called = entry if isinstance(entry, list | tuple) else (None, "")
            kind: Any = getattr(importlib.import_module(library), called, None) if library in ("diffusers", "transformers") else None
            with torch.device(device):
                if is_a(kind, ModelMixin):
                    networks[part] = kind.from_config(kind.load_config(place, subfolder=part))
                elif is_a(kind, PreTrainedModel):
                    # eager attention alone never looks at a value, to decide by it
                    config: Any = kind.config_class
                    networks[part] = kind._from_config(
                        config.from_pretrained(place, subfolder=part), attn_implementation="eager", dtype=dtype
                    )
        return DiffusionPipeline.from_pretrained(place, safety_checker=None, feature_extractor=None, **networks)
    except (OSError, ValueError) as error:
        raise InputError(f'"{name}" cannot be opened: {str(error).splitlines()[0]}') from error
    finally:
        torch.set_default_dtype(usual)


def is_a(kind: Any, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)
