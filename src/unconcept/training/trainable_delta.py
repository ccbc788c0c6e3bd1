"""What a training changes: Δ of the tensors of a weight group, and the student that has it on.

whole        Δ = A P           A [out, in] begins at 0;  P: the identity, or the whitening of what the matrix reads;
                               where a step reads fewer rows x than a linear layer has columns it gives y + A (P x), and Δ is not made
of a rank    Δ = U D P         U [out, rank] begins at 0, D [rank, in] at random;  a linear layer gives y + U (D P x), and Δ is never made
"""

import functools
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..edits.parameters import swap_parameters
from ..models.interface import Model


class TrainableDelta:
    """`trained` is what an optimizer gets. P by the name of a tensor; where there is none it is the identity. rows: token states that a step reads."""

    def __init__(
        self, model: Model, group: str, *, rank: int | None = None, P: Mapping[str, Tensor] | None = None, rows: float = math.inf,
        generator: torch.Generator | None = None,
    ):  # fmt: skip
        sites = model.weight_group(group)
        self.components, self.rank, self.P, self.rows = model.components, rank, P or {}, rows
        self.owners: dict[str, Any] = {site.name: site.find(model.components)[0] for site in sites}
        self.weights = {site.name: getattr(*site.find(model.components)).detach() for site in sites}
        self.A, self.U, self.D = {}, {}, {}
        for name, w in self.weights.items():
            if rank is None:
                self.A[name] = torch.zeros_like(w, dtype=torch.float32, requires_grad=True)
            else:
                begin = torch.randn(rank, w[0].numel(), generator=generator) / w[0].numel() ** 0.5
                self.U[name] = torch.zeros(len(w), rank, device=w.device, requires_grad=True)
                self.D[name] = begin.to(w.device).requires_grad_()
        self.from_zero, self.from_chance = [*self.A.values(), *self.U.values()], [*self.D.values()]
        self.trained = self.from_zero + self.from_chance

    def behind(self, name: str, A: Tensor) -> Tensor:
        """A P, or D P."""
        return A @ self.P[name].to(A) if name in self.P else A

    def deltas(self, but: Collection[str] = ()) -> dict[str, Tensor]:
        """Δ of every tensor, with gradients where they are on."""
        if self.rank is None:
            return {name: self.behind(name, a) for name, a in self.A.items() if name not in but}
        return {name: (u @ self.behind(name, self.D[name])).view_as(self.weights[name]) for name, u in self.U.items() if name not in but}

    @contextmanager
    def on(self, deltas: Mapping[str, Tensor] | None = None) -> Iterator[None]:
        """Inside, the student stands in the model's place: with Δ as it is now, or with these."""
        beside = self.linears() if deltas is None else {}
        made = self.deltas(but=beside) if deltas is None else deltas
        with ExitStack() as inside:
            inside.enter_context(
                swap_parameters(self.components, {name: self.weights[name] + d.to(self.weights[name]) for name, d in made.items()})
            )
            seen = SharedProjection()
            for name, layer in beside.items():
                if self.rank is None:
                    up, down = self.A[name], functools.partial(seen, P=self.P[name].to(self.A[name]))
                else:
                    up, down = self.U[name], functools.partial(project_rows, P=self.behind(name, self.D[name]))
                inside.enter_context(add_low_rank(layer, up, down))
            yield

    def linears(self) -> dict[str, nn.Linear]:
        """The layers that a change can stand beside: one of low rank, or one behind a P where that is less to multiply."""
        layers = {n: o for n, o in self.owners.items() if isinstance(o, nn.Linear) and n.endswith(".weight")}
        return {n: o for n, o in layers.items() if self.rank is not None or (n in self.P and self.rows < o.in_features)}


def project_rows(x: Tensor, P: Tensor) -> Tensor:
    """P x, row by row."""
    return linear(x.to(P), P)


class SharedProjection:
    """P x, once for all layers that read the same x through the same P, where no gradient goes back through x."""

    def __init__(self):
        self.last: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Tensor, P: Tensor) -> Tensor:
        if x.requires_grad:
            return project_rows(x, P)
        if id(P) not in self.last or self.last[id(P)][0] is not x:
            self.last[id(P)] = x, project_rows(x, P)
        return self.last[id(P)][1]


@contextmanager
def add_low_rank(layer: nn.Linear, up: Tensor, down: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, the layer gives y + up (down x)."""
    handle = layer.register_forward_hook(lambda _, args, y: y + linear(down(args[0]), up).to(y))
    try:
        yield
    finally:
        handle.remove()
