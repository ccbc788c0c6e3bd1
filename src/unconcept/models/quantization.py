"""A denoiser whose linear layers take a quarter or half of their memory while an edit of the others is trained: bitsandbytes' NF4 and int8.

nf4    4 bits, blocks of 64 numbers of one scale (Dettmers et al. 2023, QLoRA)
int8   8 bits, one scale a row, outliers apart (Dettmers et al. 2022, LLM.int8())
"""

import importlib
import re
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn

from ..config.options import Quantized
from ..errors import InputError
from .pipeline_model import PipelineModel

IN_BLOCKS = re.compile(r"\.\d+\.")

BYTES = {"nf4": 0.5 + 4 / 64, "int8": 1.0}  # of a number, its share of the scales included


def quantize(model: PipelineModel, kind: Quantized, whole: str, device: torch.device) -> None:
    """Quantise the linear layers of the denoiser's blocks but those of the weight group `whole`, and move each to `device`, one at a time.

    The model keeps the fingerprint of its own weights: what is trained beside quantised layers is an edit of the model as it was.
    """
    try:
        made: Any = importlib.import_module("bitsandbytes.nn")
    except ImportError:
        raise InputError(f"{kind} weights need bitsandbytes: pip install 'unconcept[quant]'") from None
    model.base_sha256, model.quantized = model.fingerprint(), kind
    for path, layer in list(linears(model, whole)):
        shape: Any = dict(input_features=layer.in_features, output_features=layer.out_features, bias=layer.bias is not None, device="meta")
        new: Any
        if kind == "nf4":
            new = made.LinearNF4(**shape, compute_dtype=layer.weight.dtype)
            new.weight = made.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
        else:
            new = made.Linear8bitLt(**shape, has_fp16_weights=False)
            new.weight = made.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
        new.bias = layer.bias
        parent, _, name = path.rpartition(".")
        setattr(model.denoiser.get_submodule(parent), name, new.to(device))


def linears(model: Any, whole: str) -> Iterator[tuple[str, nn.Linear]]:
    """The layers that `quantize` takes, by their path in the denoiser: of its blocks. What stands before and behind them is small, and errors there
    are large: the last two of `emoji-flow`'s in NF4 change its predictions by 28 %, all attention by 12 %."""
    kept: Collection[str] = {site.name for site in model.weight_group(whole)}
    component = model.component_name(model.denoiser)
    for path, layer in model.denoiser.named_modules():
        if type(layer) is nn.Linear and IN_BLOCKS.search(path) and f"{component}.{path}.weight" not in kept:
            yield path, layer


def saved(model: Any, kind: Quantized, whole: str) -> int:
    """Bytes that quantising saves, from shapes."""
    weights = [layer.weight for _, layer in linears(model, whole)]
    return int(sum(w.numel() * (w.element_size() - BYTES[kind]) for w in weights))
