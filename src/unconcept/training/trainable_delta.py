"""What a training changes: Δ of the tensors of a weight group, and the student that has it applied.

full rank    Δ = A P         A [out, in] begins at 0;  P: the identity, or the whitening of the
                             matrix's input. Where a step reads fewer rows x than a linear layer
                             has columns, the layer returns y + A (P x), and Δ is not computed
low rank     Δ = U D P       U [out, rank] begins at 0, D [rank, in] is random;  a linear layer
                             returns y + U (D P x), and Δ is not computed
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
from ..edits.weight_deltas import Deltas
from ..models.interface import Model


class TrainableDelta:
    """Δ = 0 of a weight group, to be trained.

    Args:
        model: Its tensors are read, never written.
        group: Name of the weight group.
        rank: Of Δ; None: full rank.
        P: Whitening matrix by the name of the tensor; tensors without one have the identity.
        rows: Token states that a matrix reads in a micro-batch, at most.
        generator: Draws D.

    Attributes:
        weights: The model's tensors by name.
        from_zero: Parameters that begin at 0.
        from_random: Parameters that begin at random.
        trained: Both, for an optimizer.
    """

    def __init__(
        self,
        model: Model,
        group: str,
        *,
        rank: int | None = None,
        P: Mapping[str, Tensor] | None = None,
        rows: float = math.inf,
        generator: torch.Generator | None = None,
    ):
        self.components = model.components
        self.rank = rank
        self.P = P or {}
        self.rows = rows
        self.owners: dict[str, Any] = {}
        self.weights: dict[str, Tensor] = {}
        for site in model.weight_group(group):
            owner, parameter = site.find(model.components)
            self.owners[site.name] = owner
            self.weights[site.name] = getattr(owner, parameter).detach()

        self.A: dict[str, Tensor] = {}
        self.U: dict[str, Tensor] = {}
        self.D: dict[str, Tensor] = {}
        for name, w in self.weights.items():
            if rank is None:
                self.A[name] = torch.zeros_like(w, dtype=torch.float32, requires_grad=True)
            else:
                columns = w[0].numel()
                D = torch.randn(rank, columns, generator=generator) / columns**0.5
                self.U[name] = torch.zeros(len(w), rank, device=w.device, requires_grad=True)
                self.D[name] = D.to(w.device).requires_grad_()
        self.from_zero = [*self.A.values(), *self.U.values()]
        self.from_random = [*self.D.values()]
        self.trained = self.from_zero + self.from_random

    def whitened(self, name: str, A: Tensor) -> Tensor:
        """A P, or D P.

        Args:
            name: Of the tensor; its P is the identity where it has none.
            A: [n, in]

        Returns:
            [n, in]
        """
        return A @ self.P[name].to(A) if name in self.P else A

    def deltas(self, without: Collection[str] = ()) -> dict[str, Tensor]:
        """Δ by the name of the tensor, with gradients where they are enabled.

        Args:
            without: Names to leave out.

        Returns:
            Tensors of the weights' shapes, in single precision.
        """
        deltas = {}
        for name, w in self.weights.items():
            if name in without:
                continue
            if self.rank is None:
                deltas[name] = self.whitened(name, self.A[name])
            else:
                deltas[name] = (self.U[name] @ self.whitened(name, self.D[name])).view_as(w)
        return deltas

    def stored(self) -> Deltas:
        """Δ as an edit holds it: a change of low rank as its factors, where those are smaller."""
        if self.rank is None:
            return Deltas(self.deltas())
        factored = [name for name, weight in self.weights.items() if weight.ndim == 2]
        pairs = {name: (self.U[name], self.whitened(name, self.D[name])) for name in factored}
        small = Deltas.small(pairs)
        return Deltas({**small.whole, **self.deltas(without=factored)}, small.pairs)

    @contextmanager
    def on(self, deltas: Mapping[str, Tensor] | None = None) -> Iterator[None]:
        """Inside, the model is the student.

        Args:
            deltas: Applied instead of the present Δ.
        """
        factored = self.factored_layers() if deltas is None else {}
        if deltas is None:
            deltas = self.deltas(without=factored)
        edited = {}
        for name, delta in deltas.items():
            w = self.weights[name]
            edited[name] = w + delta.to(w)
        with ExitStack() as stack:
            stack.enter_context(swap_parameters(self.components, edited))
            shared = SharedProjection()
            for name, layer in factored.items():
                up, down = self.factors(name, shared)
                stack.enter_context(add_low_rank(layer, up, down))
            yield

    def factors(
        self, name: str, shared: "SharedProjection"
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Δ x as up · down(x).

        Args:
            name: Of a factored layer's weight.
            shared: Computes P x once for layers of full rank that read the same x.

        Returns:
            up [out, n], and the function that takes x [..., in] to [..., n].
        """
        if self.rank is None:
            A = self.A[name]
            return A, functools.partial(shared, P=self.P[name].to(A))
        return self.U[name], functools.partial(project_rows, P=self.whitened(name, self.D[name]))

    def factored_layers(self) -> dict[str, nn.Linear]:
        """The layers that add Δ x to their output instead of getting a new weight.

        These are all linear layers in a low-rank training, and in one of full rank those behind a P
        that read fewer rows than they have columns.
        """
        layers = {}
        for name, owner in self.owners.items():
            if not isinstance(owner, nn.Linear) or not name.endswith(".weight"):
                continue
            if self.rank is not None or (name in self.P and self.rows < owner.in_features):
                layers[name] = owner
        return layers


def project_rows(x: Tensor, P: Tensor) -> Tensor:
    """P x of rows, in the precision of P.

    Args:
        x: [..., in]
        P: [n, in]

    Returns:
        [..., n]
    """
    return linear(x.to(P), P)


class SharedProjection:
    """P x, computed once for all layers that read the same x through the same P.

    Where a gradient goes back through x every layer has its own, since gradient checkpointing may
    compute them again.
    """

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
    """Inside, the layer returns y + up · down(x).

    Args:
        layer: Gets a forward hook.
        up: [out, n].
        down: Takes x [..., in] to [..., n].
    """

    def add(module: nn.Module, args: tuple, y: Tensor) -> Tensor:
        return y + linear(down(args[0]), up).to(y)

    handle = layer.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
