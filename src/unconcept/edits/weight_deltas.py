"""Changes of tensors by name, stored in full or as low-rank factors.

Δ = U V          U [out, r], V [r, in]: exact, in r (out + in) numbers instead of out · in
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import InputError

UP, DOWN = ":up", ":down"  # in a file, behind the name of a tensor that is stored as factors

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Deltas(Mapping[str, Tensor]):
    """Δ by the name of the tensor; U V is multiplied when it is looked up.

    whole  tensors Δ
    pairs  factors (U, V)
    """

    whole: Mapping[str, Tensor]
    pairs: Mapping[str, Pair] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.pairs:
            return self.whole[name]
        U, V = self.pairs[name]
        return U @ V

    def __iter__(self) -> Iterator[str]:
        yield from self.whole
        yield from self.pairs

    def __len__(self) -> int:
        return len(self.whole) + len(self.pairs)

    @classmethod
    def of(cls, deltas: Mapping[str, Tensor]) -> "Deltas":
        """Any mapping of tensors as `Deltas`.

        Args:
            deltas: Δ by name.

        Returns:
            The same tensors.
        """
        return deltas if isinstance(deltas, cls) else cls(deltas)

    @classmethod
    def small(cls, pairs: Mapping[str, Pair]) -> "Deltas":
        """The products of pairs, each stored as factors where that takes fewer numbers.

        Args:
            pairs: (U [out, r], V [r, in]) by name.

        Returns:
            Δ = U V of every name.
        """
        whole, factored = {}, {}
        for name, (U, V) in pairs.items():
            if is_smaller(U, V):
                factored[name] = U, V
            else:
                whole[name] = U @ V
        return cls(whole, factored)

    def __mul__(self, s: float) -> "Deltas":
        whole = {name: delta * s for name, delta in self.whole.items()}
        pairs = {name: (U * s, V) for name, (U, V) in self.pairs.items()}
        return Deltas(whole, pairs)

    def __add__(self, other: "Deltas") -> "Deltas":
        """The sum; the ranks of two pairs add up."""
        whole, alone, shared = {}, {}, {}
        for name in dict.fromkeys((*self, *other)):
            if name in self.pairs and name in other.pairs:
                shared[name] = stack_pairs(self.pairs[name], other.pairs[name])
            elif name in self and name in other:
                whole[name] = self[name] + other[name]
            else:
                source = self if name in self else other
                if name in source.pairs:
                    alone[name] = source.pairs[name]
                else:
                    whole[name] = source[name]
        summed = Deltas.small(shared)
        return Deltas({**whole, **summed.whole}, {**alone, **summed.pairs})

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, as a file stores them; `read` reads them."""
        tensors = dict(self.whole)
        for name, (U, V) in self.pairs.items():
            tensors[name + UP] = U
            tensors[name + DOWN] = V
        return tensors

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor]) -> "Deltas":
        """The deltas that `tensors` describes.

        Args:
            tensors: As the method `tensors` returned them.

        Returns:
            The deltas.

        Raises:
            InputError: A factor has no partner, or does not fit it.
        """
        whole, pairs = {}, {}
        for key, tensor in tensors.items():
            if key.endswith(UP):
                name = key.removesuffix(UP)
                pairs[name] = checked_pair(name, tensor, tensors.get(name + DOWN))
            elif not key.endswith(DOWN):
                whole[key] = tensor
            elif key.removesuffix(DOWN) + UP not in tensors:
                raise InputError(f"{key} has no partner: the file is damaged")
        return cls(whole, pairs)


def checked_pair(name: str, U: Tensor, V: Tensor | None) -> Pair:
    """Two factors, if they can be multiplied.

    Args:
        name: Of the tensor that they give, for the message.
        U: Should be [out, r].
        V: Should be [r, in].

    Returns:
        (U, V).

    Raises:
        InputError: They cannot.
    """
    fits = V is not None and U.ndim == V.ndim == 2 and U.shape[1] == V.shape[0]
    if V is None or not fits or not (U.is_floating_point() and V.is_floating_point()):
        raise InputError(f"the factors of {name} do not fit each other: the file is damaged")
    return U, V


def is_smaller(U: Tensor, V: Tensor) -> bool:
    """Whether factors have fewer numbers than their product.

    Args:
        U: [out, r]
        V: [r, in]

    Returns:
        True where they are worth storing.
    """
    return U.numel() + V.numel() < len(U) * V.shape[1]


def stack_pairs(*pairs: Pair) -> Pair:
    """The pair whose product is the sum of the pairs' products.

    Args:
        *pairs: (U [out, r], V [r, in]) of any ranks.

    Returns:
        (U, V) whose rank is the sum of the ranks.
    """
    ups = [U for U, _ in pairs]
    downs = [V for _, V in pairs]
    return torch.cat(ups, 1), torch.cat(downs)
