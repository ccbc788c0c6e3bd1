"""Changes of tensors by name, kept as they are or as what they are made of.

Δ = U V          U [out, r], V [r, in]: exactly, in r (out + in) numbers instead of out · in
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

UP, DOWN = ":up", ":down"  # behind the name of a tensor, in a file

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Deltas(Mapping[str, Tensor]):
    """By name it gives Δ as a whole; that of a pair is made when it is asked for."""

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
        return deltas if isinstance(deltas, cls) else cls(deltas)

    @classmethod
    def small(cls, pairs: Mapping[str, Pair]) -> "Deltas":
        """Of these pairs; those that take no less room than their product as it."""
        smaller = {name: pair for name, pair in pairs.items() if is_smaller(*pair)}
        return cls({name: U @ V for name, (U, V) in pairs.items() if name not in smaller}, smaller)

    def __mul__(self, s: float) -> "Deltas":
        return Deltas({name: delta * s for name, delta in self.whole.items()}, {name: (U * s, V) for name, (U, V) in self.pairs.items()})

    def __add__(self, other: "Deltas") -> "Deltas":
        """Ranks add up."""
        both = {name: stack_pairs(pair, other.pairs[name]) for name, pair in self.pairs.items() if name in other.pairs}
        summed = Deltas.small(both)
        alone = {
            name: pair for pairs, there in ((self.pairs, other), (other.pairs, self)) for name, pair in pairs.items() if name not in there
        }
        rest = [name for name in dict.fromkeys((*self, *other)) if name not in both and name not in alone]
        whole = {
            name: self[name] + other[name] if name in self and name in other else (self if name in self else other)[name] for name in rest
        }
        return Deltas({**whole, **summed.whole}, {**alone, **summed.pairs})

    def tensors(self) -> dict[str, Tensor]:
        """As a file holds them."""
        return {**self.whole, **{f"{name}{end}": t for name, pair in self.pairs.items() for end, t in zip((UP, DOWN), pair)}}

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor]) -> "Deltas":
        """What `tensors` gave."""
        pairs = {name: (t, tensors[name + DOWN]) for key, t in tensors.items() if (name := key.removesuffix(UP)) != key}
        return cls({name: t for name, t in tensors.items() if not name.endswith((UP, DOWN))}, pairs)


def is_smaller(U: Tensor, V: Tensor) -> bool:
    return U.numel() + V.numel() < len(U) * V.shape[1]


def stack_pairs(*pairs: Pair) -> Pair:
    """The pair whose product is the sum of their products."""
    return torch.cat([U for U, _ in pairs], 1), torch.cat([V for _, V in pairs])
