"""Edit: an erasure as a value. Changed tensors on named sites, to be put on a model, dialled, taken off, saved and loaded.

W = W* + s · Δ          s: how much of the edit is on (1: as trained, 0: the model as it was)
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .errors import InputError
from .models.base import Model, Site


@contextmanager
def swapped(components: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside: the named tensors stand where the parameters stood, gradients flow through them. Outside: the very parameters again."""
    places = [(*Site(name, "").find(components), tensor) for name, tensor in tensors.items()]
    originals = [owner._parameters.pop(name) for owner, name, _ in places]
    try:
        for owner, name, tensor in places:
            setattr(owner, name, tensor)
        yield
    finally:
        for (owner, name, _), original in zip(places, originals):
            owner.__dict__.pop(name, None)
            owner._parameters[name] = original


# What is on which module: the untouched tensors, and the edits in the order in which they were applied.
_originals: WeakKeyDictionary[nn.Module, dict[str, Tensor]] = WeakKeyDictionary()
_applied: WeakKeyDictionary[nn.Module, list[tuple[str, Tensor, int]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Edit:
    """Δ of every changed tensor by site name ("unet.….to_k.weight"), with a card that says what it is and for which model."""

    deltas: Mapping[str, Tensor]
    card: Mapping = field(default_factory=dict)

    @contextmanager
    def on(self, model: Model) -> Iterator[None]:
        """The edit is on inside the `with`, and the model is bit for bit the same after it."""
        sites = {name: Site(name, "").find(model.components) for name in self.deltas}
        tensors = {name: (w := getattr(owner, p)) + self.deltas[name].to(w) for name, (owner, p) in sites.items()}
        with swapped(model.components, tensors):
            yield

    @torch.no_grad()
    def apply(self, model, *, force: bool = False) -> None:
        """Put the edit on a model (or on its diffusers pipeline) to stay. Several edits add up. An edit of another model is refused."""
        from .models import wrap

        model = wrap(model)
        if not force:
            self.check(model)
        for name, delta in self.deltas.items():
            owner, parameter = Site(name, "").find(model.components)
            weight = getattr(owner, parameter)
            _originals.setdefault(owner, {}).setdefault(parameter, weight.detach().clone())
            _applied.setdefault(owner, []).append((parameter, delta, id(self)))
            _settle(owner, parameter)

    @torch.no_grad()
    def remove(self, model) -> None:
        """Take the edit off again: bit for bit what was there without it. Nothing happens where it is not on."""
        from .models import wrap

        for name in self.deltas:
            owner, parameter = Site(name, "").find(wrap(model).components)
            _applied[owner] = [e for e in _applied.get(owner, []) if e[0] != parameter or e[2] != id(self)]
            _settle(owner, parameter)

    def check(self, model: Model) -> None:
        """Is this edit made for this model? By the hash of its weights, taken as they are without any edit."""
        wanted, found = self.card.get("model_sha256"), base_fingerprint(model)
        if wanted and wanted != found:
            raise InputError(
                f"this edit was made for another model (sha256 {wanted[:12]}…, this one has {found[:12]}…): --force to try all the same"
            )
        missing = [name for name in self.deltas if not _has(model, name)]
        if missing:
            raise InputError(f"this model has no weight {missing[0]}: the edit was made for another architecture")

    def scale(self, s: float) -> "Edit":
        """The edit dialled to `s` times its strength."""
        return replace(self, deltas={name: delta * s for name, delta in self.deltas.items()})

    def save(self, path: str | Path) -> Path:
        """One .safetensors file, the card in its metadata. Written whole or not at all."""
        from safetensors.torch import save_file

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        save_file(
            {n: d.contiguous() for n, d in self.deltas.items()},
            part,
            metadata={"unconcept": json.dumps(dict(self.card))},
        )
        part.replace(path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Edit":
        """An edit from its file, or from the folder that `unconcept erase` wrote."""
        from .files import open_safetensors

        path = Path(path)
        file = path / "edit.safetensors" if path.is_dir() else path
        tensors, metadata = open_safetensors(file)
        if "unconcept" not in metadata:
            raise InputError(f"{file} holds weights, but is no edit of unconcept")
        return cls(tensors, json.loads(metadata["unconcept"]))


def _has(model: Model, name: str) -> bool:
    try:
        owner, parameter = Site(name, "").find(model.components)
    except (AttributeError, KeyError):
        return False
    return hasattr(owner, parameter)


def _settle(owner: nn.Module, parameter: str) -> None:
    """Write W* + Σ Δ of the edits that are on; W* itself when none is."""
    if owner not in _originals or parameter not in _originals[owner]:
        return
    weight, original = getattr(owner, parameter), _originals[owner][parameter]
    deltas = [delta for name, delta, _ in _applied.get(owner, []) if name == parameter]
    weight.copy_(sum((d.to(original) for d in deltas), original))


def base_fingerprint(model: Model) -> str:
    """The model's fingerprint with every applied edit looked through."""
    tensors = {}
    for component, module in model.components.items():
        for path, owner in module.named_modules():
            for parameter, original in _originals.get(owner, {}).items():
                tensors[f"{component}.{path}.{parameter}"] = nn.Parameter(original, requires_grad=False)
    with _original_parameters(model, tensors):
        return model.fingerprint()


@contextmanager
def _original_parameters(model: Model, tensors: Mapping[str, nn.Parameter]) -> Iterator[None]:
    places = [(*Site(name, "").find(model.components), tensor) for name, tensor in tensors.items()]
    current = [owner._parameters[name] for owner, name, _ in places]
    try:
        for owner, name, tensor in places:
            owner._parameters[name] = tensor
        yield
    finally:
        for (owner, name, _), parameter in zip(places, current):
            owner._parameters[name] = parameter
