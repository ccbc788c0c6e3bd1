"""Results of attacks that were run before: an interrupted run resumes, and controls are shared.

The untouched model and the floor are attacked once for all erasures of a concept.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..io.weights import open_safetensors, write_safetensors


@dataclass(frozen=True)
class Outcome:
    """What one attack did to one model.

    images    [N, 3, H, W] in [0, 1]
    found     what its search found
    measures  further numbers by name
    forward   network calls of search and sampling, without gradients
    backward  and with them
    seconds   of both
    """

    images: Tensor
    found: str
    measures: Mapping[str, float]
    forward: int
    backward: int
    seconds: float


def store_key(*parts: object) -> str:
    """A hash of everything that outcomes depend on.

    Args:
        *parts: What `repr` tells apart.
    """
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def read_outcomes(folder: Path | None, key: str) -> dict[str, Outcome] | None:
    """Read outcomes.

    Args:
        folder: Of the store; None: there is none.
        key: `store_key`.

    Returns:
        Outcomes by label; None where there are none, or a damaged file.
    """
    if folder is None or not (file := folder / f"{key}.safetensors").exists():
        return None
    try:
        tensors, metadata = open_safetensors(file)
        outcomes = {}
        for label, fields in json.loads(metadata["outcomes"]).items():
            outcomes[label] = Outcome(images=tensors[label].float() / 255, **fields)
        return outcomes
    except (InputError, KeyError, ValueError, TypeError):
        return None


def write_outcomes(folder: Path | None, key: str, outcomes: Mapping[str, Outcome]) -> None:
    """Keep outcomes for a later run.

    Args:
        folder: Of the store; None: nothing is kept.
        key: `store_key`.
        outcomes: By label.
    """
    if folder is None or not outcomes:
        return
    tensors, facts = {}, {}
    for label, outcome in outcomes.items():
        tensors[label] = (outcome.images * 255).round().to(torch.uint8)
        facts[label] = {k: v for k, v in asdict(outcome).items() if k != "images"}
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(tensors, folder / f"{key}.safetensors", {"outcomes": json.dumps(facts)})
