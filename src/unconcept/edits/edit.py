"""Edit: an erasure as a value, which is applied, scaled, removed, added, saved and loaded.

W = W* + s · Δ,    y = E_s(f(x))          s: strength (1: as trained, 0: the original model)
"""

import hashlib
import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
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
from .card import read_card
from .hooks import attach_adapter, attach_adapters
from .parameters import swap_parameters
from .provenance import Comparison, compare_weights, model_identity, named_tensors
from .trimming import trim
from .weight_deltas import Deltas
from .wrappers import check_in_memory, check_shape, fuse_again

log = logging.getLogger(__name__)

LARGEST = 65504.0  # of half precision

# What is applied, by module. Edits are identified by their fingerprints.
_originals: WeakKeyDictionary[nn.Module, dict[str, Tensor]] = WeakKeyDictionary()
# (parameter, Δ, fingerprint), in the order in which the edits were applied
_applied: WeakKeyDictionary[nn.Module, list[tuple[str, Tensor, str]]] = WeakKeyDictionary()
# (fingerprint, handle of the adapter)
_handles: WeakKeyDictionary[nn.Module, list[tuple[str, RemovableHandle]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Mismatch:
    """What is said of a model that an edit was not made for; refused: without --force."""

    text: str
    refused: bool


@dataclass(frozen=True)
class Edit:
    """An erasure: changed tensors, adapters, and a card that describes it.

    deltas    Δ of every changed tensor by name ("unet.….to_k.weight"); `Deltas` stores some of
              them as low-rank factors
    card      what the edit is, and for which model
    adapters  by the name of the module that they sit behind ("unet.….attn2")
    """

    deltas: Mapping[str, Tensor]
    card: Mapping = field(default_factory=dict)
    adapters: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def on(self, model: Model) -> Iterator[None]:
        """Inside the `with`, the edit is applied; afterwards the model is bit for bit the same.

        Args:
            model: To be edited.
        """
        edited = {}
        for name in self.deltas:
            owner, parameter = Site(name, "").find(model.components)
            weight = getattr(owner, parameter)
            edited[name] = weight + self.deltas[name].to(weight)
        adapters = attach_adapters(model.components, self.adapters)
        with swap_parameters(model.components, edited), adapters:
            fuse_again(model.components, self.deltas)
            yield
        fuse_again(model.components, self.deltas)

    @torch.no_grad()
    def apply(self, model, *, force: bool = False) -> None:
        """Apply the edit until it is removed. Several edits add up.

        Args:
            model: A `Model` or a diffusers pipeline. It changes only if the whole edit fits.
            force: Apply an edit that was made for other weights of the same architecture, or one
                that is applied already.

        Raises:
            InputError: The edit was made for another model, or is applied already.
        """
        from ..models.loading import wrap

        model = wrap(model)
        fingerprint = self.fingerprint()
        has_content = bool(self.deltas or self.adapters)
        if has_content and not force and self._is_applied(model, fingerprint):
            raise InputError("this edit is applied to the model already: --force applies it twice")
        if warning := self.check(model, force=force):
            log.warning(warning)
        for name, delta in self.deltas.items():
            owner, parameter = Site(name, "").find(model.components)
            originals = _originals.setdefault(owner, {})
            originals.setdefault(parameter, getattr(owner, parameter).detach().clone())
            _applied.setdefault(owner, []).append((parameter, delta, fingerprint))
            _write_weight(owner, parameter)
        fuse_again(model.components, self.deltas)
        for site, adapter in self.adapters.items():
            handle = attach_adapter(model.components, site, adapter)
            _handles.setdefault(_module(model, site), []).append((fingerprint, handle))

    @torch.no_grad()
    def remove(self, model) -> None:
        """Remove the edit; the model is bit for bit what it is without it.

        An edit that was loaded again from its file is the same edit.

        Args:
            model: A `Model` or a diffusers pipeline.

        Raises:
            InputError: The edit is not applied to this model object. (The weights of an exported
                pipeline and of a copy of a pipeline cannot be taken back.)
        """
        from ..models.loading import wrap

        model = wrap(model)
        fingerprint = self.fingerprint()
        if not self._is_applied(model, fingerprint):
            raise InputError("this edit is not applied to this model: there is nothing to remove")
        for name in self.deltas:
            owner, parameter = Site(name, "").find(model.components)
            remaining = []
            for entry in _applied.get(owner, []):
                if entry[0] != parameter or entry[2] != fingerprint:
                    remaining.append(entry)
            _applied[owner] = remaining
            _write_weight(owner, parameter)
        fuse_again(model.components, self.deltas)
        for site in self.adapters:
            module = _module(model, site)
            others = []
            for key, handle in _handles.pop(module, []):
                if key == fingerprint:
                    handle.remove()
                else:
                    others.append((key, handle))
            _handles[module] = others

    def _is_applied(self, model: Model, fingerprint: str) -> bool:
        """Whether `apply` put this edit on these modules."""
        for name in self.deltas:
            if not _has(model, name):
                return False
            owner, parameter = Site(name, "").find(model.components)
            entries = _applied.get(owner, [])
            return any(entry[0] == parameter and entry[2] == fingerprint for entry in entries)
        for site in self.adapters:
            if not _has(model, f"{site}.*"):
                return False
            return any(key == fingerprint for key, _ in _handles.get(_module(model, site), []))
        return True  # an edit without any content is on every model

    def check(self, model: Model, *, force: bool = False) -> str | None:
        """Check whether the edit fits this model.

        Models are compared by the hash of their weights without any applied edit; where that
        differs, by a few numbers of the tensors that the edit changes and of others.

        Args:
            model: To be edited.
            force: Return a warning instead of raising where the weights are others.

        Returns:
            None where they are the weights that the edit was made for, in any precision. A warning
            where the model is a relative of it, such as a fine-tune, or `force` is set.

        Raises:
            InputError: Another model, without `force`; another architecture; a weight that cannot
                be changed where it is; numbers that are not finite.
        """
        self.check_numbers()
        for name in self.deltas:
            if _has(model, name):
                check_in_memory(model, name)
        warning = self._compare(model)
        if warning and warning.refused and not force:
            raise InputError(f"{warning.text}: --force applies it anyway")
        for name in (*self.deltas, *(f"{site}.*" for site in self.adapters)):
            if not _has(model, name):
                raise InputError(
                    f"this model has no weight {name}: the edit was made for another architecture"
                )
        for name, delta in self.deltas.items():
            owner, parameter = Site(name, "").find(model.components)
            check_shape(name, getattr(owner, parameter), delta)
        return warning.text if warning else None

    def _compare(self, model: Model) -> "Mismatch | None":
        """What is to be said of a model whose weights are not those of the card."""
        expected = self.card.get("model_sha256")
        if not expected:
            return None
        with without_edits(model):
            actual = model.fingerprint()
            if expected == actual:
                return None
            comparison = self.compare(dict(named_tensors(model.components)))
        if comparison.applied:
            return Mismatch("this edit is in the weights of this model already", True)
        if comparison.same:
            return None
        if comparison.related:
            return Mismatch(
                "this edit was made for a relative of this model, whose weights differ by up to "
                f"{comparison.distance:.1%}: look at the images",
                False,
            )
        return Mismatch(
            f"this edit was made for another model "
            f"(sha256 {expected[:12]}…, this one has {actual[:12]}…)",
            True,
        )

    def check_numbers(self) -> None:
        """Check that every number is finite and fits half precision.

        Raises:
            InputError: One does not.
        """
        for name, tensor in self.tensors().items():
            if tensor.is_floating_point() and not bool((tensor.abs() <= LARGEST).all()):
                raise InputError(
                    f"the edit holds numbers that are not finite or above {LARGEST:,.0f} "
                    f"in {name}: it is damaged"
                )

    def compare(self, tensors: Mapping[str, Tensor]) -> Comparison:
        """Compare weights with those that the edit was made for.

        Args:
            tensors: By name, "unet.….weight"; some of the model's are enough.

        Returns:
            The comparison. Where the card has no numbers to compare, they count as unrelated.
        """
        samples: Mapping[str, Sequence[float]] = self.card.get("model_weights") or {}
        if not samples.keys() & tensors.keys():
            return Comparison(0, False, False, float("inf"))
        return compare_weights(samples, self.deltas, tensors)

    def fingerprint(self) -> str:
        """sha256 of the edit's tensors."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def scale(self, s: float) -> "Edit":
        """The edit at `s` times its strength.

        Args:
            s: 1: as it is, 0: the original model; any other number.

        Returns:
            A new edit, whose card holds its strength.
        """
        if s == 1:
            return self
        adapters = {}
        for site, adapter in self.adapters.items():
            adapters[site] = build_adapter(adapter.kind, adapter.state_dict())
            adapters[site].strength.mul_(s)
        card = {**self.card, "strength": s * self.card.get("strength", 1)}
        return Edit(Deltas.of(self.deltas) * s, card, adapters)

    def trimmed(self, *, rank: int | None = None, share: float | None = None) -> "Edit":
        """The edit with every matrix cut to a lower rank: smaller, and often cleaner.

        Args:
            rank: Rank of each matrix, at most; or
            share: Relative error that each matrix may have, from 0 to 1.

        Returns:
            A new edit, whose card says how it was trimmed. Adapters stay as they are.

        Raises:
            InputError: Neither or both are given, or a number is out of range.
        """
        limit = {"rank": rank} if rank is not None else {"share": share}
        deltas = trim(self.deltas, rank=rank, share=share)
        return Edit(deltas, {**self.card, "trimmed": limit}, self.adapters)

    def __add__(self, other: "Edit") -> "Edit":
        """Both erasures as one edit.

        The card has the entries on which both agree, and the concepts of both.

        Args:
            other: An edit of the same model, without adapters behind the same modules.

        Returns:
            The sum.

        Raises:
            InputError: The edits cannot be added.
        """
        if self.card.get("model_sha256") != other.card.get("model_sha256"):
            raise InputError("these edits were made for two models: they cannot be added")
        if both := self.adapters.keys() & other.adapters.keys():
            raise InputError(
                f"both edits have an adapter behind {min(both)}: "
                "apply them one after the other instead"
            )
        concepts = [*self.card.get("concepts", ()), *other.card.get("concepts", ())]
        shared = {}
        for key, value in self.card.items():
            if other.card.get(key) == value:
                shared[key] = value
        deltas = Deltas.of(self.deltas) + Deltas.of(other.deltas)
        return Edit(deltas, {**shared, "concepts": concepts}, {**self.adapters, **other.adapters})

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the edit consists of, by name: what is saved, counted and hashed."""
        tensors = Deltas.of(self.deltas).tensors()
        for site, adapter in self.adapters.items():
            for name, tensor in adapter.state_dict().items():
                tensors[f"{site}:{name}"] = tensor
        return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}

    def save(self, path: str | Path) -> Path:
        """Write the edit to one safetensors file with the card in its metadata.

        Args:
            path: Of the file, which is written completely or not at all.

        Returns:
            The path.
        """
        from ..io.weights import write_safetensors

        card = dict(self.card)
        if self.adapters:
            card["adapters"] = {site: adapter.kind for site, adapter in self.adapters.items()}
        return write_safetensors(self.tensors(), Path(path), {"unconcept": json.dumps(card)})

    @classmethod
    def load(cls, path: str | Path) -> "Edit":
        """Read an edit.

        Args:
            path: A file that `save` wrote, or a folder that `unconcept erase` wrote.

        Returns:
            The edit.

        Raises:
            InputError: The file is not an edit, is damaged, or has adapters that are unknown here.
        """
        from ..io.weights import open_safetensors

        path = Path(path)
        file = path / "edit.safetensors" if path.is_dir() else path
        tensors, metadata = open_safetensors(file)
        if "unconcept" not in metadata:
            raise InputError(f"{file} holds weights, but it is not an edit of unconcept")
        card = read_card(metadata["unconcept"], file)
        deltas = dict(tensors)
        adapters = {}
        for site, kind in card.get("adapters", {}).items():
            if kind not in KINDS:
                raise InputError(
                    f'{file} holds an adapter of the kind "{kind}", '
                    "which this version does not support"
                )
            state = {}
            for name in tensors:
                if name.startswith(f"{site}:"):
                    state[name.partition(":")[2]] = deltas.pop(name)
            adapters[site] = build_adapter(kind, state)
        edit = cls(Deltas.read(deltas), card, adapters)
        edit.check_numbers()
        return edit


def edit_between(model: Model, erased: Model, concepts: Sequence[Concept]) -> Edit:
    """The edit that turns one model into another: an erasure that another tool made.

    Args:
        model: The original.
        erased: The same architecture with other weights.
        concepts: What was erased, for the card.

    Returns:
        The difference of every tensor that differs.

    Raises:
        InputError: The architectures differ, or no tensor does.
    """
    before, after = dict(named_tensors(model.components)), dict(named_tensors(erased.components))
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after or before[name].shape != after[name].shape:
            raise InputError(
                f"the two models do not have the same architecture: {name} differs in shape or is "
                "missing in one of them"
            )
    deltas = {}
    for name, weight in before.items():
        if not torch.equal(after[name], weight):
            deltas[name] = after[name].float() - weight.float()
    if not deltas:
        raise InputError(
            "the two models are the same to the last weight: there is no erasure to measure"
        )
    card = {
        "method": None,
        "settings": {},
        "concepts": [asdict(concept) for concept in concepts],
        "family": model.family,
    }
    return Edit(deltas, {**card, **model_identity(model, deltas)})


def has_adapters(model: Model) -> bool:
    """Whether any applied edit has adapters on a model.

    Args:
        model: With or without applied edits.

    Returns:
        True where its outputs depend on more than its weights.
    """
    modules = itertools.chain(*(component.modules() for component in model.components.values()))
    return any(_handles.get(module) for module in modules)


@contextmanager
def without_edits(model: Model) -> Iterator[None]:
    """Inside, the model has its original weights, whatever edits are applied; adapters stay.

    Args:
        model: With or without applied edits.
    """
    originals = {}
    for component, module in model.components.items():
        for path, owner in module.named_modules():
            for parameter, original in _originals.get(owner, {}).items():
                name = f"{component}.{path}.{parameter}"
                originals[name] = nn.Parameter(original, requires_grad=False)
    with swap_parameters(model.components, originals):
        yield


def _module(model: Model, site: str) -> nn.Module:
    component, _, path = site.partition(".")
    return model.components[component].get_submodule(path)


def _has(model: Model, name: str) -> bool:
    try:
        owner, parameter = Site(name, "").find(model.components)
    except (AttributeError, KeyError):
        return False
    return parameter == "*" or hasattr(owner, parameter)


def _write_weight(owner: nn.Module, parameter: str) -> None:
    """Write W* + Σ Δ of the applied edits; W* itself without any."""
    if owner not in _originals or parameter not in _originals[owner]:
        return
    original = _originals[owner][parameter]
    deltas = [delta for name, delta, _ in _applied.get(owner, []) if name == parameter]
    weight = sum((delta.to(original) for delta in deltas), original)
    getattr(owner, parameter).copy_(weight)
    if not deltas:
        del _originals[owner][parameter]
