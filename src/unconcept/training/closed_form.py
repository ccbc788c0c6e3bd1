"""The closed form of All but One: a linear map of prompt states that turns the concept into its
alternative, solved instead of trained.

A matrix W* that multiplies prompt states x [width] becomes W* (I + S). One S serves every matrix
that reads the same states:

    min over S     Σ_c  Σ_i ‖S x_i − d_i‖² / Σ_i ‖d_i‖²  +  λ √N · E ‖S e‖² / E ‖e‖²
                   (share of the change that is missing)    (share that retained states move)
    subject to     S k = 0 for every k in K

    S = R A⁻¹ [I − K (Kᵀ A⁻¹ K)⁻¹ Kᵀ A⁻¹]        A = P + λ √N (C + μ c̄ I) / tr(G C)
    P = Σ_c Σ_i x_i x_iᵀ / E_c,   R = Σ_c Σ_i d_i x_iᵀ / E_c,   E_c = Σ_i d_iᵀ G d_i

N       number of concepts
x_i     states of the prompts of concept c: from the first token that only the concept's prompt has
        to the end of the context. Of more than 32 states behind the prompt's end some stand for
        all, here and in C (prompt_states.thin)
d_i     y_i − x_i, the change that x_i should undergo. y_i is a state of the alternative's prompt:
        tokens of the two names are paired from the last one back, the tokens behind the names in
        order
C, c̄    second moment of the states e of retained prompts, and its mean eigenvalue
K       states that do not change at all: those of the empty prompt ∅, its start token included
G       Σ W*ᵀW* / tr(W* C W*ᵀ) over the matrices. Every ‖·‖² above is vᵀ G v: the change of what
        the matrices return, each matrix relative to its own scale

Both terms are shares, so λ does not depend on the width of the states, on their scale, or on the
scale of a matrix. The second term corresponds to weight decay ‖A‖² on the whitened update in
training (docs/methods/formulation.md). The constraint corresponds to the unconditional term of the
loss at λ → ∞: ε(x, ∅) stays as it was. Holding ∅ by a constraint is SPEED's idea (ICLR 2026, arXiv
2503.07392).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..concepts.concept import Concept
from ..edits.weight_deltas import Deltas, Pair
from ..errors import InputError
from ..models.interface import Model
from .moments import Moments, gram, inner, trace
from .prompt_states import prompt_readers, second_moments, unchanged_basis, weight_of
from .state_pairs import concept_rows, word_prefixes

FOLDS = 4  # every fourth prompt of a concept is held out while λ is chosen
HALVINGS = 7  # of λ, at most
PRICE = 10.0  # of moving retained states by a share, in shares of the concept's change


@dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """Settings of the closed form.

    lam   λ: weight of the movement of retained states. At λ = 10, moving them by one percent costs
          as much as missing ten percent of the concept's change
    left  largest share of the concept's change that may be missing on held-out prompts. Where more
          is missing, λ is halved until it is not, or until a half would cost retained states more
          than it brings
    mu    μ: cost of a direction that no retained prompt uses, as a share of the mean cost
    trim  share of the objective by which a lower rank of S may increase it
    """

    lam: float = 20.0
    left: float = 0.15
    mu: float = 1e-3
    trim: float = 0.002

    def __post_init__(self):
        if min(self.lam, self.mu, self.left) <= 0 or self.trim < 0:
            raise InputError(
                "lam, left and mu of the closed form are above 0, and trim is 0 or more"
            )


@dataclass(frozen=True)
class System:
    """What S is solved from, for the matrices that read one kind of state.

    Everything is in double precision, in CPU memory.

    all_prompts  moments of all prompts of the concepts
    fit          moments without every fourth prompt
    test         moments of every fourth prompt alone, on which a solution of `fit` is measured
    C            second moment of the states of retained prompts [width, width]
    K            orthonormal basis of the states that must not change [width, m]
    G            weighs a change of a state by what the matrices return for it [width, width]
    concepts     N, number of concepts
    """

    all_prompts: Moments
    fit: Moments
    test: Moments
    C: Tensor
    K: Tensor
    G: Tensor
    concepts: int = 1

    def metric(self, lam: float, mu: float) -> Tensor:
        """Cost of moving states: λ √N (C + μ c̄ I) / tr(G C).

        Args:
            lam: λ, above 0.
            mu: μ, 0 or more; above 0 it makes the matrix invertible.

        Returns:
            A symmetric matrix [width, width].
        """
        ridge = mu * self.C.diagonal().mean() * torch.eye(len(self.C), dtype=self.C.dtype)
        return lam * self.concepts**0.5 * (self.C + ridge) / trace(self.G, self.C)

    def solve(self, moments: Moments, lam: float, mu: float) -> Tensor:
        """Minimize the objective of the module's docstring over S, subject to S K = 0.

        Args:
            moments: P and R of the prompts to fit.
            lam: λ, above 0.
            mu: μ, above 0.

        Returns:
            S [width, width].
        """
        A, K = moments.P + self.metric(lam, mu), self.K
        solved = torch.cholesky_solve(torch.cat([moments.R.T, K], 1), torch.linalg.cholesky(A))
        S, AK = solved[:, : len(A)].T, solved[:, len(A) :]
        if K.shape[1]:
            S = S - S @ K @ torch.linalg.solve(K.T @ AK, AK.T)
        return S

    def share_missing(self, moments: Moments, S: Tensor) -> float:
        """Share of the concepts' change that S does not bring about: Σ ‖S x − d‖² / Σ ‖d‖².

        Args:
            moments: Of the prompts to measure on.
            S: The linear map of states [width, width].

        Returns:
            0: every state becomes that of the alternative; 1: as without S; above 1: S leads away.
        """
        return self.squares_missing(moments.P, moments, S) / float(moments.E)

    def squares_missing(self, A: Tensor, moments: Moments, S: Tensor) -> float:
        """tr G (S A Sᵀ − S Rᵀ − R Sᵀ) + E. With A = P that is Σ ‖S x − d‖².

        Args:
            A: P, or P and the metric [width, width].
            moments: R and E.
            S: The linear map of states [width, width].
        """
        return float(inner(self.G @ S, S @ A - 2 * moments.R) + moments.E)

    def share_moved(self, S: Tensor) -> float:
        """Share of their energy by which retained states move: E ‖S e‖² / E ‖e‖².

        Args:
            S: The linear map of states [width, width].

        Returns:
            0 where no retained state moves. A move counts by what the matrices make of it (G).
        """
        return float(inner(self.G @ S, S @ self.C) / trace(self.G, self.C))

    def share_moved_by(self, U: Tensor, V: Tensor) -> float:
        """`share_moved` of S = U V, without the product.

        Args:
            U: [width, r].
            V: [r, width].
        """
        return float(trace(U.T @ self.G @ U, V @ self.C @ V.T) / trace(self.G, self.C))

    def choose_lambda(self, settings: ClosedForm) -> tuple[float, float]:
        """Halve λ as long as too much is missing on held-out prompts, and each half is worth it.

        A half is worth it where it takes away more of the missing share than PRICE times the share
        by which it moves retained states further: what moving them costs at λ = PRICE. Names that
        the model does not know, such as a rare synonym, are not brought along at the expense of
        everything else.

        Args:
            settings: `lam` is where λ begins, `left` the missing share that is good enough; μ
                stays.

        Returns:
            λ, at least 2^−HALVINGS times `lam`, and the share that is missing on held-out prompts.
        """
        lam = settings.lam
        missing, moved = self.shares(lam, settings.mu)
        for _ in range(HALVINGS):
            if missing <= settings.left:
                break
            less_missing, more_moved = self.shares(lam / 2, settings.mu)
            if missing - less_missing <= PRICE * (more_moved - moved):
                break
            lam, missing, moved = lam / 2, less_missing, more_moved
        return lam, missing

    def shares(self, lam: float, mu: float) -> tuple[float, float]:
        """What a solution of `fit` leaves missing on held-out prompts, and by how much it moves
        retained states: `share_missing` and `share_moved`.

        Args:
            lam: λ, above 0.
            mu: μ, above 0.
        """
        S = self.solve(self.fit, lam, mu)
        return self.share_missing(self.test, S), self.share_moved(S)

    def reduce_rank(self, S: Tensor, A: Tensor, share: float) -> Pair:
        """Replace S by a product of the smallest rank that costs little.

        The best S of each rank comes from the singular value decomposition of gᵀ S a, where
        G = g gᵀ and A = a aᵀ (reduced-rank regression).

        Args:
            S: Solution at full rank [width, width].
            A: Of the equation in the module's docstring, for `all_prompts` [width, width].
            share: By which the objective may rise, as a share of its value at S; 0 or more.

        Returns:
            U [width, r] and V [r, width] with r of 1 or more. V K = 0, as S K = 0.
        """
        ridge = 1e-9 * self.G.diagonal().mean() * torch.eye(len(S), dtype=S.dtype)
        g, a = torch.linalg.cholesky(self.G + ridge), torch.linalg.cholesky(A)
        M = g.T @ S @ a
        squares, right = torch.linalg.eigh(M.T @ M)  # of the singular values, the largest last
        # Entry r: what the objective rises by without the singular values from the r-th on.
        cost = squares.clamp(min=0).cumsum(0).flip(0)
        rank = max(1, int((cost > share * self.objective(S, A)).sum()))
        right = right.flip(1)[:, :rank]
        U = torch.linalg.solve_triangular(g.T, M @ right, upper=True)
        V = torch.linalg.solve_triangular(a, right.T, upper=False, left=False)
        return U, V

    def objective(self, S: Tensor, A: Tensor) -> float:
        """The sum of both terms of the objective over all prompts.

        Args:
            S: The linear map of states [width, width].
            A: Of the equation in the module's docstring, for `all_prompts` [width, width].

        Returns:
            0 or more.
        """
        return self.squares_missing(A, self.all_prompts, S)


@torch.no_grad()
def solve(
    model: Model, concepts: Sequence[Concept], retained: Sequence[str], settings: ClosedForm
) -> tuple[Deltas, dict]:
    """Solve for the changes W* S of all matrices that read prompts.

    Args:
        model: The model; it is not changed.
        concepts: What is erased, each with its alternative.
        retained: Prompts whose states C is made of; ∅ is added.
        settings: λ, μ, the share that may be missing, and the cost of a lower rank.

    Returns:
        The changes by the name of the matrix. And by the name of the state that matrices read:
        "lam" (the λ that was chosen), "left" (share missing on held-out prompts), "moved" (share
        by which retained states move) and "rank".
    """
    sites = prompt_readers(model)
    pairs: dict[str, Pair] = {}
    facts: dict[str, dict] = {}
    names = list(dict.fromkeys(site.reads for site in sites))
    moments = second_moments(model, names, ["", *retained])
    prefixes = word_prefixes(retained)
    for name in names:
        weights = {}
        for site in sites:
            if site.reads == name:
                weights[site.name] = weight_of(model, site)
        system = build_system(model, name, concepts, prefixes, weights, moments[name])
        lam, held_out = system.choose_lambda(settings)
        S = system.solve(system.all_prompts, lam, settings.mu)
        A = system.all_prompts.P + system.metric(lam, settings.mu)
        U, V = system.reduce_rank(S, A, settings.trim)
        facts[name] = {
            "lam": lam,
            "left": held_out,
            "moved": system.share_moved_by(U, V),
            "rank": len(V),
        }
        for matrix, W in weights.items():
            pairs[matrix] = ((W @ U).float(), V.float())
    return Deltas.small(pairs), facts


def build_system(
    model: Model,
    name: str,
    concepts: Sequence[Concept],
    prefixes: set[tuple[str, ...]],
    weights: dict[str, Tensor],
    C: Tensor,
) -> System:
    """Encode the concepts' prompts, and sum up what S is solved from.

    Args:
        model: Encodes the prompts.
        name: Of the states that the matrices read (`Site.reads`).
        concepts: What is erased, each with its alternative.
        prefixes: Beginnings of retained prompts (`word_prefixes`).
        weights: W* [out, width] of every matrix that reads these states.
        C: Second moment of these states of retained prompts [width, width].

    Returns:
        The system.
    """
    G = torch.zeros_like(C)
    for W in weights.values():
        squares = gram(W)
        G += squares / trace(squares, C)
    all_prompts, fit, test = (Moments.zero(len(C)) for _ in range(3))
    for concept in concepts:
        rows = list(concept_rows(model, name, concept, prefixes))
        fit_rows = [row for i, row in enumerate(rows) if i % FOLDS != FOLDS - 1]
        test_rows = rows[FOLDS - 1 :: FOLDS] or fit_rows
        of_fit, of_test = Moments.of(fit_rows, G), Moments.of(test_rows, G)
        all_prompts.add_concept([of_fit, of_test])
        fit.add_concept([of_fit])
        test.add_concept([of_test])
    return System(all_prompts, fit, test, C, unchanged_basis(model, name), G, len(concepts))
