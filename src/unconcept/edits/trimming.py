"""Cut the change of every matrix to a lower rank: a smaller file, and often a cleaner edit.

Δ ≈ Σ_{i ≤ r} s_i u_i v_iᵀ      the best approximation of rank r (Eckart & Young 1936)

Much of what a training adds is noise, which costs size and moves images of other prompts.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..config.ranges import check_numbers
from ..errors import InputError
from .weight_deltas import Deltas, Pair, is_smaller

RANKS = (1, 2, 4, 8, 16, 32)  # that `cut_by_loss` tries

SHARES = (0.7, 0.5, 0.3, 0.2, 0.1, 0.05)  # relative errors that it tries

SingularValues = tuple[Tensor, Tensor, Tensor]


def trim(
    deltas: Mapping[str, Tensor], *, rank: int | None = None, share: float | None = None
) -> Deltas:
    """Cut every matrix to a lower rank.

    Args:
        deltas: Δ by name. Tensors that are not matrices, such as biases and convolutions, stay.
        rank: At most so many singular values of each matrix; None: as many as `share` needs.
        share: Relative error ‖Δ − Δ'‖ / ‖Δ‖ (Frobenius) that each matrix may have, from 0 to 1; the
            smallest rank of at least 1 with at most that error is taken. None: no such limit.

    Returns:
        The deltas, as factors where those take fewer numbers. Factors of `rank` or less stay as
        they are, to the bit.

    Raises:
        InputError: Neither or both are given, or a number is out of range.
    """
    return Trimmer(deltas).cut(rank=rank, share=share)


class Trimmer:
    """Cuts the same deltas in several ways; every matrix is decomposed once."""

    def __init__(self, deltas: Mapping[str, Tensor]):
        """Decompose nothing yet.

        Args:
            deltas: Δ by name.
        """
        self.deltas = Deltas.of(deltas)
        self._values: dict[str, SingularValues | None] = {}

    def values(self, name: str) -> SingularValues | None:
        """`singular_values` of one change.

        Args:
            name: Of one of the deltas. It is decomposed at the first call.

        Returns:
            (U [out, n], S [n], V [n, in]); None where Δ is not a matrix.
        """
        if name not in self._values:
            self._values[name] = singular_values(self.deltas, name)
        return self._values[name]

    def cut(self, *, rank: int | None = None, share: float | None = None) -> Deltas:
        """`trim`.

        Args:
            rank: Rank of each matrix, at most; or
            share: Relative error that each matrix may have.
        """
        check_numbers(rank=rank)
        if (rank is None) == (share is None):
            raise InputError("trimming takes either a rank or a share")
        if share is not None and not 0 <= share <= 1:
            raise InputError(f"share is {share}: it must be from 0 to 1")
        whole: dict[str, Tensor] = {}
        pairs: dict[str, Pair] = {}
        for name in self.deltas:
            pair = self.deltas.pairs.get(name)
            if pair is not None and rank is not None and len(pair[1]) <= rank:
                pairs[name] = pair
                continue
            values = self.values(name)
            if values is None:
                whole[name] = self.deltas[name]
                continue
            chosen = rank if rank is not None else rank_of_share(values[1], share or 0.0)
            U, V = balanced_factors(values, chosen)
            if is_smaller(U, V):
                pairs[name] = U, V
            elif chosen < len(values[1]):
                whole[name] = U @ V
            else:
                whole[name] = self.deltas[name]
        return Deltas(whole, pairs)

    def cut_by_loss(self, loss: Callable[[Deltas], float]) -> tuple[Deltas, dict[str, Any]]:
        """The lowest rank whose loss is not above that of the whole change.

        One rank for all matrices and one relative error for all matrices are tried, from the
        smallest result to the largest.

        Args:
            loss: Of deltas, such as the held-out loss of a training.

        Returns:
            The deltas, and how they were chosen: "rank" or "share" (neither where the whole change
            is best), "loss", "whole" (the loss without a cut) and "numbers".
        """
        largest = count_numbers(self.deltas)
        cuts: list[tuple[int, dict[str, Any], Deltas]] = []
        for rank in RANKS:
            cuts.append(self._numbered({"rank": rank}))
        for share in SHARES:
            cuts.append(self._numbered({"share": share}))
        cuts.sort(key=operator.itemgetter(0))
        whole = loss(self.deltas)
        for numbers, limit, deltas in cuts:
            if numbers >= largest:
                break
            value = loss(deltas)
            if value <= whole:
                return deltas, {**limit, "loss": value, "whole": whole, "numbers": numbers}
        return self.deltas, {"loss": whole, "whole": whole, "numbers": largest}

    def _numbered(self, limit: dict[str, Any]) -> tuple[int, dict[str, Any], Deltas]:
        deltas = self.cut(**limit)
        return count_numbers(deltas), limit, deltas


def count_numbers(deltas: Mapping[str, Tensor]) -> int:
    """How many numbers a file of the deltas holds.

    Args:
        deltas: Δ by name. Pairs count as their factors U and V, not as their product.
    """
    return sum(tensor.numel() for tensor in Deltas.of(deltas).tensors().values())


def singular_values(deltas: Deltas, name: str) -> SingularValues | None:
    """The singular value decomposition of a change; of a pair through its factors.

    Args:
        deltas: Δ by name.
        name: Of the change.

    Returns:
        (U [out, n], S [n], V [n, in]) in single precision; None where Δ is not a matrix.
    """
    if name in deltas.pairs:
        up, down = deltas.pairs[name]
        Q, R = torch.linalg.qr(up.float())
        P, T = torch.linalg.qr(down.float().T)
        left, S, right = torch.linalg.svd(R @ T.T, full_matrices=False)
        return Q @ left, S, right @ P.T
    delta = deltas[name]
    if delta.ndim != 2:
        return None
    return torch.linalg.svd(delta.float(), full_matrices=False)


def rank_of_share(S: Tensor, share: float) -> int:
    """The smallest rank whose relative error is at most a share.

    Args:
        S: Singular values, the largest first.
        share: Frobenius norm of the error over that of the matrix, 0 or more.

    Returns:
        From 1 to len(S).
    """
    tails = S.square().flip(0).cumsum(0).flip(0)  # squared error of keeping the first 0, 1, ...
    errors = (tails / S.square().sum().clamp(min=1e-30)).sqrt()
    return max(1, int((errors > share).sum()))


def balanced_factors(values: SingularValues, rank: int) -> Pair:
    """Two factors of equal norm, which is best for half precision.

    Args:
        values: U, S and V of `singular_values`.
        rank: 1 or more; more than there are singular values gives all of them.

    Returns:
        (U [out, r], V [r, in]).
    """
    U, S, V = values
    rank = max(1, min(rank, len(S)))
    root = S[:rank].sqrt()
    return (U[:, :rank] * root).contiguous(), (root[:, None] * V[:rank]).contiguous()
