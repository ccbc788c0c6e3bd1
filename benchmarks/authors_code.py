"""The authors' own code of peers, run on our models as methods of the pair benchmark.

    git clone https://github.com/Ouxiang-Li/SPEED CHECKOUTS/SPEED
    git clone https://github.com/rohitgandikota/unified-concept-editing CHECKOUTS/UCE
    UNCONCEPT_CHECKOUTS=CHECKOUTS python benchmarks/pairs.py run --methods speed-authors uce-authors

Nothing of theirs is in this repository: their function is called from their file, with their
defaults, and what it returns becomes an edit. Commits measured: SPEED 6d3df0c, UCE 28c81ed.

Both get the names that our methods get (the concept and its synonyms, with their articles, each
mapped to the alternative), because a list of names is what their command lines take. SPEED also
gets our retained words, with articles. UCE preserves nothing: that is its default, and preserving
our words made it move other images further.
"""

import argparse
import contextlib
import importlib.util
import io
import os
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from unconcept import Concept
from unconcept.concepts.templates import article
from unconcept.edits.edit import Edit
from unconcept.edits.provenance import make_card, model_identity
from unconcept.edits.weight_deltas import Deltas
from unconcept.methods.speed import SPEED, cluster_centres
from unconcept.models import Model

SPEED_DEFAULTS = {
    "params": "V",
    "aug_num": 10,
    "threshold": 1e-1,
    "retain_scale": 1.0,
    "lamb": 0.0,
    "disable_filter": False,
}


@dataclass(frozen=True)
class AuthorsCode:
    """A method whose matrices come from its authors' code.

    name: of the method. solve: from a model and concepts to the new matrices, by name of the
    U-Net's state dict.
    """

    name: str
    solve: Callable[[Model, Sequence[Concept]], dict[str, Tensor]]

    def __call__(self, model: Model, *concepts: Concept) -> Edit:
        concepts = model.complete(concepts)
        deltas = {}
        for name, matrix in self.solve(model, concepts).items():
            before = model.denoiser.get_parameter(name)
            deltas[f"unet.{name}"] = (matrix - before).detach().float().contiguous()
        card = make_card(self.name, SPEED(), concepts, model)
        return Edit(Deltas(deltas), {**card, "settings": {}, **model_identity(model, deltas)})


def named_pairs(concepts: Sequence[Concept]) -> list[tuple[str, str]]:
    """Every name of every concept with its article, and the alternative's; "" without one."""
    pairs = []
    for concept in concepts:
        write = article if concept.kind == "object" else str
        alternative = "" if concept.alternative is None else write(concept.alternative)
        for name in dict.fromkeys((concept.erase, *concept.synonyms)):
            pairs.append((write(name), alternative))
    return pairs


def speed(model: Model, concepts: Sequence[Concept]) -> dict[str, Tensor]:
    """`edit_model` of train_erase_null.py with its default arguments."""
    clusters = ModuleType("kmeans_pytorch")
    clusters.kmeans = kmeans  # pyright: ignore[reportAttributeAccessIssue]
    utils = ModuleType("src.utils")
    utils.seed_everything = torch.manual_seed  # pyright: ignore[reportAttributeAccessIssue]
    stand_ins = {"kmeans_pytorch": clusters, "src": ModuleType("src"), "src.utils": utils}
    stand_ins["pandas"] = ModuleType("pandas")  # reads their CSV files, from the command line only
    module = imported(checkout("SPEED") / "train_erase_null.py", stand_ins)
    pairs = named_pairs(concepts)
    targets = [name for name, _ in pairs]
    retained = [text for text in SPEED().retained(model, concepts) if text not in targets]
    width = pipeline_of(model).unet.config.cross_attention_dim
    torch.manual_seed(0)
    with quiet():
        edited = module.edit_model(
            args=argparse.Namespace(**SPEED_DEFAULTS),
            pipeline=pipeline_of(model),
            target_concepts=targets,
            anchor_concepts=[alternative for _, alternative in pairs],
            retain_texts=list(dict.fromkeys(retained)),
            baseline="SPEED",
            emb_size=width,
            device="cpu",
        )
    return edited


def kmeans(X: Tensor, num_clusters: int, distance: str, device: str) -> tuple[None, Tensor]:
    """Stands in for the function of the package kmeans_pytorch, which needs a GPU."""
    return None, cluster_centres(X, num_clusters, 0)


def uce(model: Model, concepts: Sequence[Concept]) -> dict[str, Tensor]:
    """`UCE` of trainscripts/uce_sd_erase.py with its default arguments."""
    module: Any = imported(checkout("UCE") / "trainscripts" / "uce_sd_erase.py", {})
    torch.set_grad_enabled(True)  # their file turns gradients off where it is imported
    module.device, module.torch_dtype = "cpu", torch.float32
    pairs = named_pairs(concepts)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), quiet():
        module.UCE(
            pipeline_of(model),
            [name for name, _ in pairs],
            [alternative for _, alternative in pairs],
            [],
            1,
            1,
            0.5,
            folder,
            "edited",
        )
        return load_file(Path(folder) / "edited.safetensors")


METHODS = {
    "speed-authors": AuthorsCode("speed-authors", speed),
    "uce-authors": AuthorsCode("uce-authors", uce),
}


def pipeline_of(model: Model) -> Any:
    """The diffusers pipeline of a model of ours."""
    return model.pipe  # pyright: ignore[reportAttributeAccessIssue]


def checkout(name: str) -> Path:
    """The folder of a checkout of a peer's code."""
    folder = Path(os.environ.get("UNCONCEPT_CHECKOUTS", "checkouts")) / name
    if not folder.is_dir():
        raise SystemExit(f"{folder} is missing: this module's first lines say how to get it")
    return folder


def imported(file: Path, stand_ins: dict[str, ModuleType]) -> ModuleType:
    """A script as a module, with stand-ins for packages that it does not need here."""
    spec = importlib.util.spec_from_file_location(f"authors_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        spec.loader.exec_module(module)
    finally:
        for name, old in before.items():
            if old is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = old
    return module


@contextlib.contextmanager
def quiet() -> Iterator[types.SimpleNamespace]:
    """Suppress what their code prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield types.SimpleNamespace()
