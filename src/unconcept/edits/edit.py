"""Edit: an erasure as a value, which is applied, scaled, removed, added, saved and loaded.

W = W* + s · Δ,    y = E_s(f(x))          s: strength (1: as trained, 0: the original model)
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..models.interface import Model, Site
from .adapters import KINDS, build_adapter
from .applied_edits import (
    add_adapters,
    add_changes,
    has_adapter,
    has_changes,
    remove_adapters,
    remove_changes,
)
from .card import read_card
from .compatibility import check_finite, check_fit, compare_with_card, has_site
from .hooks import attach_adapters
from .parameters import swap_parameters
from .provenance import Comparison
from .trimming import trim
from .weight_deltas import Deltas
from .wrappers import fuse_again

log = logging.getLogger(__name__)


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
        from ..models.family_table import wrap

        model = wrap(model)
        fingerprint = self.fingerprint()
        has_content = bool(self.deltas or self.adapters)
        if has_content and not force and self._is_applied(model, fingerprint):
            raise InputError("this edit is applied to the model already: --force applies it twice")
        if warning := self.check(model, force=force):
            log.warning(warning)
        add_changes(model, self.deltas, fingerprint)
        add_adapters(model, self.adapters, fingerprint)

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
        from ..models.family_table import wrap

        model = wrap(model)
        fingerprint = self.fingerprint()
        if not self._is_applied(model, fingerprint):
            raise InputError("this edit is not applied to this model: there is nothing to remove")
        remove_changes(model, self.deltas, fingerprint)
        remove_adapters(model, self.adapters, fingerprint)

    def _is_applied(self, model: Model, fingerprint: str) -> bool:
        """Whether `apply` put this edit on these modules: its first weight or adapter tells."""
        for name in self.deltas:
            return has_site(model, name) and has_changes(model, name, fingerprint)
        for site in self.adapters:
            return has_site(model, f"{site}.*") and has_adapter(model, site, fingerprint)
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
        return check_fit(model, self.card, self.deltas, self.adapters, force)

    def check_numbers(self) -> None:
        """Check that every number is finite and fits half precision.

        Raises:
            InputError: One does not.
        """
        check_finite(self.tensors())

    def compare(self, tensors: Mapping[str, Tensor]) -> Comparison:
        """Compare weights with those that the edit was made for.

        Args:
            tensors: By name, "unet.….weight"; some of the model's are enough.

        Returns:
            The comparison. Where the card has no numbers to compare, they count as unrelated.
        """
        return compare_with_card(self.card, self.deltas, tensors)

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
