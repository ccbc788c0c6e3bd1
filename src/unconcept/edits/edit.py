"""Edit: an erasure as a value. Changed tensors and adapters on named sites, to be put on a model, dialled, taken off, saved and loaded.

W = W* + s · Δ,    y = E_s(f(x))          s: how much of the edit is on (1: as trained, 0: the model as it was)
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..concepts.concept import Concept
from ..errors import InputError
from ..models.interface import Model, Site
from .adapters import KINDS, build_adapter
from .hooks import attach_adapter, attach_adapters
from .parameters import swap_parameters
from .provenance import model_identity, named_tensors, sample_numbers
from .weight_deltas import Deltas

log = logging.getLogger(__name__)


# What is on which module: the untouched tensors, the edits (by their fingerprints) in the order in which they were applied, and the handles of adapters.
_handles: WeakKeyDictionary[nn.Module, list[tuple[str, RemovableHandle]]] = WeakKeyDictionary()

_originals: WeakKeyDictionary[nn.Module, dict[str, Tensor]] = WeakKeyDictionary()

_applied: WeakKeyDictionary[nn.Module, list[tuple[str, Tensor, str]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Edit:
    """Δ of every changed tensor by site name ("unet.….to_k.weight"; of `Deltas`, some are kept as pairs U V), a card that says what it is and
    for which model, and adapters by the name of the module that they sit behind ("unet.….attn2")."""

    deltas: Mapping[str, Tensor]
    card: Mapping = field(default_factory=dict)
    adapters: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def on(self, model: Model) -> Iterator[None]:
        """The edit is on inside the `with`, and the model is bit for bit the same after it."""
        sites = {name: Site(name, "").find(model.components) for name in self.deltas}
        tensors = {name: (w := getattr(owner, p)) + self.deltas[name].to(w) for name, (owner, p) in sites.items()}
        with swap_parameters(model.components, tensors), attach_adapters(model.components, self.adapters):
            yield

    @torch.no_grad()
    def apply(self, model, *, force: bool = False) -> None:
        """Put the edit on a model (or on its diffusers pipeline) to stay. Several edits add up. An edit of another model is refused."""
        from ..models.loading import wrap

        model, key = wrap(model), self.fingerprint()
        if doubt := self.check(model, force=force):
            log.warning(doubt)
        for name, delta in self.deltas.items():
            owner, parameter = Site(name, "").find(model.components)
            weight = getattr(owner, parameter)
            _originals.setdefault(owner, {}).setdefault(parameter, weight.detach().clone())
            _applied.setdefault(owner, []).append((parameter, delta, key))
            _settle(owner, parameter)
        for site, adapter in self.adapters.items():
            _handles.setdefault(_module(model, site), []).append((key, attach_adapter(model.components, site, adapter)))

    @torch.no_grad()
    def remove(self, model) -> None:
        """Take the edit off again: bit for bit what was there without it. Nothing happens where it is not on. An edit that was loaded anew is the same one."""
        from ..models.loading import wrap

        key = self.fingerprint()
        for name in self.deltas:
            owner, parameter = Site(name, "").find(wrap(model).components)
            _applied[owner] = [e for e in _applied.get(owner, []) if e[0] != parameter or e[2] != key]
            _settle(owner, parameter)
        for site in self.adapters:
            handles = _handles.pop(_module(wrap(model), site), [])
            for _, handle in (h for h in handles if h[0] == key):
                handle.remove()
            _handles[_module(wrap(model), site)] = [h for h in handles if h[0] != key]

    def check(self, model: Model, *, force: bool = False) -> str | None:
        """Is this edit made for this model? By the hash of its weights, taken as they are without any edit; in another precision, by some of them.
        Another model is an InputError; with `force` it is returned as a line to show. Another architecture is an error in any case."""
        doubt = None
        with without_edits(model):
            wanted, found = self.card.get("model_sha256"), model.fingerprint()
            if wanted and wanted != found and not self.knows(dict(named_tensors(model.components))):
                doubt = f"this edit was made for another model (sha256 {wanted[:12]}…, this one has {found[:12]}…)"
                if not force:
                    raise InputError(f"{doubt}: --force to try all the same")
        missing = [name for name in (*self.deltas, *(f"{site}.*" for site in self.adapters)) if not _has(model, name)]
        if missing:
            raise InputError(f"this model has no weight {missing[0]}: the edit was made for another architecture")
        return doubt

    def knows(self, tensors: Mapping[str, Tensor]) -> bool:
        """Are these the weights that the edit was made for, but for rounding to half precision? `tensors`: by name, "unet.….weight"."""
        looks: Mapping[str, Sequence[float]] = self.card.get("model_weights") or {}
        alike = lambda name, seen: torch.allclose(sample_numbers(tensors[name]), torch.tensor(seen), rtol=2**-7, atol=1e-6)
        return bool(looks) and all(name in tensors and alike(name, seen) for name, seen in looks.items())

    def fingerprint(self) -> str:
        """sha256 of the edit's numbers."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def scale(self, s: float) -> "Edit":
        """The edit dialled to `s` times its strength."""
        adapters = {site: build_adapter(adapter.kind, adapter.state_dict()) for site, adapter in self.adapters.items()}
        for adapter in adapters.values():
            adapter.strength.mul_(s)
        return replace(self, deltas=Deltas.of(self.deltas) * s, adapters=adapters)

    def __add__(self, other: "Edit") -> "Edit":
        """Both erasures as one: the changes added up. Edits of two models, or with adapters behind the same module, are refused.

        The card says what both say, and all concepts.
        """
        if self.card.get("model_sha256") != other.card.get("model_sha256"):
            raise InputError("these edits were made for two models: they cannot be one")
        if both := self.adapters.keys() & other.adapters.keys():
            raise InputError(f"both edits have an adapter behind {min(both)}: apply them one after the other instead")
        concepts = [*self.card.get("concepts", ()), *other.card.get("concepts", ())]
        shared = {key: value for key, value in self.card.items() if other.card.get(key) == value}
        deltas = Deltas.of(self.deltas) + Deltas.of(other.deltas)
        return Edit(deltas, {**shared, "concepts": concepts}, {**self.adapters, **other.adapters})

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the edit is made of, by name: what is saved, counted and hashed."""
        inside = {f"{site}:{name}": t for site, adapter in self.adapters.items() for name, t in adapter.state_dict().items()}
        return {name: t.detach().contiguous() for name, t in {**Deltas.of(self.deltas).tensors(), **inside}.items()}

    def save(self, path: str | Path) -> Path:
        """One .safetensors file, the card in its metadata. Written whole or not at all."""
        from ..io.weights import write_safetensors

        card = {**self.card, **({"adapters": {site: adapter.kind for site, adapter in self.adapters.items()}} if self.adapters else {})}
        return write_safetensors(self.tensors(), Path(path), {"unconcept": json.dumps(card)})

    @classmethod
    def load(cls, path: str | Path) -> "Edit":
        """An edit from its file, or from the folder that `unconcept erase` wrote."""
        from ..io.weights import open_safetensors

        path = Path(path)
        file = path / "edit.safetensors" if path.is_dir() else path
        tensors, metadata = open_safetensors(file)
        if "unconcept" not in metadata:
            raise InputError(f"{file} holds weights, but is no edit of unconcept")
        card = json.loads(metadata["unconcept"])
        adapters, changed = {}, dict(tensors)
        for site, kind in card.get("adapters", {}).items():
            if kind not in KINDS:
                raise InputError(f'{file} holds an adapter of the kind "{kind}", which this version does not know')
            inside = {name: changed.pop(name) for name in tensors if name.startswith(f"{site}:")}
            adapters[site] = build_adapter(kind, {name.partition(":")[2]: t for name, t in inside.items()})
        return cls(Deltas.read(changed), card, adapters)


def edit_between(model: Model, erased: Model, concepts: Sequence[Concept]) -> Edit:
    """The edit that makes `erased` of `model`: what an erased pipeline of another tool has different, in every tensor of the components."""
    ours, theirs = dict(named_tensors(model.components)), dict(named_tensors(erased.components))
    if other := sorted(
        name for name in ours.keys() | theirs.keys() if name not in ours or name not in theirs or ours[name].shape != theirs[name].shape
    ):
        raise InputError(f"the two models are not of one architecture: {other[0]} is another")
    deltas = {name: theirs[name].float() - w.float() for name, w in ours.items() if not torch.equal(theirs[name], w)}
    if not deltas:
        raise InputError("the two models are the same to the last weight: there is no erasure to measure")
    return Edit(
        deltas, {"method": None, "settings": {}, "concepts": [asdict(c) for c in concepts], "family": model.family, **model_identity(model)}
    )


def _module(model: Model, site: str) -> nn.Module:
    component, _, path = site.partition(".")
    return model.components[component].get_submodule(path)


def _has(model: Model, name: str) -> bool:
    try:
        owner, parameter = Site(name, "").find(model.components)
    except (AttributeError, KeyError):
        return False
    return parameter == "*" or hasattr(owner, parameter)


def _settle(owner: nn.Module, parameter: str) -> None:
    """Write W* + Σ Δ of the edits that are on; W* itself when none is."""
    if owner not in _originals or parameter not in _originals[owner]:
        return
    weight, original = getattr(owner, parameter), _originals[owner][parameter]
    deltas = [delta for name, delta, _ in _applied.get(owner, []) if name == parameter]
    weight.copy_(sum((d.to(original) for d in deltas), original))
    if not deltas:
        del _originals[owner][parameter]


def has_adapters(model: Model) -> bool:
    """Does any applied edit hold adapters on this model?"""
    return any(_handles.get(module) for component in model.components.values() for module in component.modules())


@contextmanager
def without_edits(model: Model) -> Iterator[None]:
    """Inside, every applied edit is looked through: the weights are those that it was put on."""
    tensors = {}
    for component, module in model.components.items():
        for path, owner in module.named_modules():
            for parameter, original in _originals.get(owner, {}).items():
                tensors[f"{component}.{path}.{parameter}"] = nn.Parameter(original, requires_grad=False)
    places = [(*Site(name, "").find(model.components), tensor) for name, tensor in tensors.items()]
    current = [owner._parameters[name] for owner, name, _ in places]
    try:
        for owner, name, tensor in places:
            owner._parameters[name] = tensor
        yield
    finally:
        for (owner, name, _), parameter in zip(places, current):
            owner._parameters[name] = parameter
