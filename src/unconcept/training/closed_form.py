"""The closed form of All but One: a linear map of prompt states that turns the concept into its
alternative, solved instead of trained.

A matrix W* that multiplies prompt states x [width] becomes W* (I + S). One S serves every matrix
that reads the same states:

    min over S     Σ_c  Σ_i ‖S x_i − d_i‖² / Σ_i ‖d_i‖²  +  λ √N · E ‖S e‖² / E ‖e‖²
                   (share of the change that is missing)    (share that retained states move)
    subject to     S k = 0 for every k in K

    S = R A⁻¹ [I − K (Kᵀ A⁻¹ K)⁻¹ Kᵀ A⁻¹]        A = P + λ √N (C + μ c̄ I) / tr(G C)
    P = Σ_c Σ_i x_i x_iᵀ / E_c,   R = Σ_c Σ_i d_i x_iᵀ / E_c,   E_c = Σ_i d_iᵀ G d_i

x_i     states of the prompts of concept c, N concepts: from the concept's first token of its own
        to the end of the context
d_i     y_i − x_i, where y_i is the state of the alternative's prompt at the same distance from the
        end of the alternative
C, c̄    second moment of the states e of retained prompts, and its mean eigenvalue
K       states that do not change at all: those of the empty prompt ∅, the start token among them
G       Σ W*ᵀW* / tr(W* C W*ᵀ) over the matrices: ‖·‖² above is taken of what the matrices give,
        each by its own scale

Both terms are shares, so λ does not depend on the width of the states, on their scale, or on the
scale of a matrix. The second term is the ‖A‖² that weight decay on the whitened update holds in
training (docs/methods/formulation.md), the constraint is the unconditional term of the loss at λ →
∞: ε(x, ∅) stays as it was. Holding ∅ by a constraint is SPEED's idea (ICLR 2026, arXiv 2503.07392).
"""

import functools
import operator
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from ..concepts.concept import Concept
from ..edits.weight_deltas import Deltas, Pair
from ..errors import InputError
from ..models.conditioning import encode_points
from ..models.interface import Condition, Model, Site

KEYS, POOLED, CONTEXT = "cross-attention keys and values", "prompt embedders", "context embedder"
ROOM = 4  # states of ∅ are held exactly in at most one of so many directions
EXACT = 1e-4  # singular values of the states of ∅ below this share of the largest count as 0
PROMPTS = 32  # of a concept that are encoded at once
FOLDS = 4  # every fourth prompt of a concept is held out while λ is chosen
WORD = re.compile(r"\s*[\w'-]+|\s*[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """Settings of the closed form.

    lam   λ: how many percent of the concept may be left to spare one percent of movement of
          retained states
    left  share of the concept's change that may be missing on prompts that were held out; where
          more is missing, λ is lowered until it is not, or until retained states move by that share
    mu    μ: what a direction costs that no retained prompt uses, as a share of the mean
    trim  share of the objective that a cut in rank may cost
    """

    lam: float = 10.0
    left: float = 0.15
    mu: float = 1e-3
    trim: float = 0.002

    def __post_init__(self):
        if min(self.lam, self.mu, self.left) <= 0 or self.trim < 0:
            raise InputError(
                "lam, left and mu of the closed form are above 0, and trim is 0 or more"
            )


@dataclass(frozen=True)
class Moments:
    """Sums over the states of concepts, each concept by its own energy: P = Σ x xᵀ, R = Σ d xᵀ, Q
    = Σ d dᵀ, all [width, width].
    """

    P: Tensor
    R: Tensor
    Q: Tensor

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.P + other.P, self.R + other.R, self.Q + other.Q)

    def __truediv__(self, number: float | Tensor) -> "Moments":
        return Moments(self.P / number, self.R / number, self.Q / number)


@dataclass(frozen=True)
class System:
    """What S is solved from, for the matrices that read one kind of state. In double precision, in
    CPU memory.

    whole      moments of all prompts of the concepts
    fit, test  the same without every fourth prompt, and of those prompts alone: to measure what is
               missing on prompts held out
    C          second moment [width, width] of the states of retained prompts
    K          orthonormal basis [width, m] of the states that must not change
    G          how the matrices see a change of a state [width, width]
    concepts   N
    """

    whole: Moments
    fit: Moments
    test: Moments
    C: Tensor
    K: Tensor
    G: Tensor
    concepts: int = 1

    def metric(self, lam: float, mu: float) -> Tensor:
        """λ √N (C + μ c̄ I) / tr(G C)."""
        ridge = mu * self.C.diagonal().mean() * torch.eye(len(self.C), dtype=self.C.dtype)
        return lam * self.concepts**0.5 * (self.C + ridge) / trace(self.G, self.C)

    def solve(self, moments: Moments, lam: float, mu: float) -> Tensor:
        """S [width, width] of the equation above."""
        A, K = moments.P + self.metric(lam, mu), self.K
        S = torch.linalg.solve(A, moments.R.T).T
        if K.shape[1]:
            AK = torch.linalg.solve(A, K)
            S = S - S @ K @ torch.linalg.solve(K.T @ AK, AK.T)
        return S

    def left(self, moments: Moments, S: Tensor) -> float:
        """Share of the concepts' change that is missing."""
        missing = S @ moments.P @ S.T - S @ moments.R.T - moments.R @ S.T + moments.Q
        return float(trace(self.G, missing) / trace(self.G, moments.Q))

    def moved(self, S: Tensor) -> float:
        """Share of the energy of retained states by which they move."""
        return float(trace(self.G, S @ self.C @ S.T) / trace(self.G, self.C))

    def choose(self, settings: ClosedForm) -> float:
        """λ of the settings, or the largest of its halves at which no more is missing on held-out
        prompts than may be, as long as retained states move by no more than that share either.
        """
        lam, best, best_left = settings.lam, settings.lam, float("inf")
        for _ in range(8):
            S = self.solve(self.fit, lam, settings.mu)
            if lam < settings.lam and self.moved(S) > settings.left:
                break
            missing = self.left(self.test, S)
            if missing < 0.98 * best_left:
                best, best_left = lam, missing
            if missing <= settings.left:
                break
            lam /= 2
        return best

    def trimmed(self, S: Tensor, A: Tensor, share: float) -> Pair:
        """(U [width, r], V [r, width]): of all S of rank r the one with the lowest objective, of
        the smallest rank whose objective is at most `share` higher. That is the singular value
        decomposition of S between square roots of G and A (reduced-rank regression).
        """
        ridge = 1e-9 * self.G.diagonal().mean() * torch.eye(len(S), dtype=S.dtype)
        g, a = torch.linalg.cholesky(self.G + ridge), torch.linalg.cholesky(A)
        left, values, right = torch.linalg.svd(g.T @ S @ a)
        cost = (
            values.square().flip(0).cumsum(0).flip(0)
        )  # of leaving out the r-th and all behind it
        rank = max(1, int((cost > share * self.objective(S, A)).sum()))
        U = torch.linalg.solve_triangular(g.T, left[:, :rank] * values[:rank], upper=True)
        V = torch.linalg.solve_triangular(a, right[:rank], upper=False, left=False)
        return U, V

    def objective(self, S: Tensor, A: Tensor) -> float:
        """The sum of both terms at S, where A is that of `whole`."""
        R = self.whole.R
        return float(trace(self.G, S @ A @ S.T - S @ R.T - R @ S.T + self.whole.Q))


def trace(G: Tensor, M: Tensor) -> Tensor:
    """tr(G M) for a symmetric G."""
    return (G * M.T).sum()


@torch.no_grad()
def solve(
    model: Model, concepts: Sequence[Concept], retained: Sequence[str], settings: ClosedForm
) -> tuple[Deltas, dict]:
    """The changes of all matrices that read prompts, and what was chosen and measured, by the name
    of the state.

    Args:
        model: The model; it is not changed.
        concepts: What is erased, each with its alternative.
        retained: Prompts whose states C is made of; ∅ is added.
        settings: λ, μ and how much may be missing.
    """
    sites, pairs, facts = prompt_readers(model), {}, {}
    for name in dict.fromkeys(site.reads for site in sites):
        weights = {s.name: weight_of(model, s) for s in sites if s.reads == name}
        system = build(model, name, concepts, retained, weights)
        lam = system.choose(settings)
        S = system.solve(system.whole, lam, settings.mu)
        A = system.whole.P + system.metric(lam, settings.mu)
        U, V = system.trimmed(S, A, settings.trim)
        held_out = system.left(system.test, system.solve(system.fit, lam, settings.mu))
        facts[name] = {"lam": lam, "left": held_out, "moved": system.moved(U @ V), "rank": len(V)}
        for site, W in weights.items():
            pairs[site] = ((W @ U).float(), V.float())
    return Deltas.small(pairs), facts


def build(
    model: Model,
    name: str,
    concepts: Sequence[Concept],
    retained: Sequence[str],
    weights: dict[str, Tensor],
) -> System:
    """The system of the matrices that read `name`."""
    C = second_moment(model, name, ["", *retained])
    G = torch.zeros_like(C)
    for W in weights.values():
        seen = W.T @ W
        G += seen / trace(seen, C)
    prefixes = word_prefixes(retained)
    whole, fit, test = [], [], []
    for concept in concepts:
        rows = list(concept_rows(model, name, concept, prefixes))
        seen = [row for i, row in enumerate(rows) if i % FOLDS != FOLDS - 1] or rows
        held_out = rows[FOLDS - 1 :: FOLDS] or rows
        for parts, chosen in ((whole, rows), (fit, seen), (test, held_out)):
            parts.append(moments(chosen, G))
    return System(
        sum_of(whole), sum_of(fit), sum_of(test), C, unchanged_basis(model, name), G, len(concepts)
    )


def moments(rows: Sequence[tuple[Tensor, Tensor]], G: Tensor) -> Moments:
    """P, R and Q of rows x, d [n, width], divided by their energy."""
    x, d = (torch.cat(parts) for parts in zip(*rows, strict=True))
    Q = d.T @ d
    return Moments(x.T @ x, d.T @ x, Q) / trace(G, Q)


def sum_of(parts: Sequence[Moments]) -> Moments:
    return functools.reduce(operator.add, parts)


def states_of(model: Model, name: str, condition: Condition) -> list[Tensor]:
    """What a matrix multiplies for each prompt of a condition [tokens that are seen, width]; of a
    pooled state one row. Attention whose mask hides every token sees all of them.
    """
    states = model.linear_input(name, condition).detach().cpu().double()
    if states.ndim == 2:
        return [row[None] for row in states]
    masks = [
        value
        for key, value in condition.items()
        if "mask" in key and value.shape == states.shape[:2]
    ]
    if not masks:
        return list(states)
    seen = masks[0].cpu().bool()
    seen |= ~seen.any(1, keepdim=True)
    return [own[there] for own, there in zip(states, seen, strict=True)]


def second_moment(model: Model, name: str, prompts: Sequence[str]) -> Tensor:
    """E e eᵀ [width, width] over all states of the prompts."""
    total, n = torch.zeros((), dtype=torch.double), 0
    for condition in encode_points(model, prompts):
        for states in states_of(model, name, condition):
            total, n = total + states.T @ states, n + len(states)
    return total / n


def unchanged_basis(model: Model, name: str) -> Tensor:
    """An orthonormal basis [width, m] of the states of the empty prompt: of its strongest
    directions, where a long template around ∅ would leave the concept no room.
    """
    states = states_of(model, name, model.encode([""]))[0]
    if not states.any():
        return states.new_zeros(states.shape[1], 0)
    _, values, right = torch.linalg.svd(states, full_matrices=False)
    strongest = right[: max(1, states.shape[1] // ROOM)]
    return strongest[values[: len(strongest)] > EXACT * values[0]].T


def concept_rows(
    model: Model, name: str, concept: Concept, prefixes: set[tuple[str, ...]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """(x, d) [n, width] of each prompt of a concept: its states, and how they shall change."""
    nothing = nothing_state(model, name)
    pairs = [
        (concept.phrase(template, word), rest_of(concept, template))
        for template, word in concept.phrasings()
    ]
    for start in range(0, len(pairs), PROMPTS):
        part = pairs[start : start + PROMPTS]
        spans = [differing(prompt, other, prefixes) for prompt, other in part]
        before, after = (gather(model, name, prompts) for prompts in zip(*part, strict=True))
        firsts, lasts = places(model, [prompt for prompt, _ in part], [span[:2] for span in spans])
        other_firsts, other_lasts = places(
            model, [other for _, other in part], [span[2:] for span in spans]
        )
        for i, (x, y) in enumerate(zip(before, after, strict=True)):
            if len(x) == 1 and len(y) == 1:  # a pooled state
                yield x, y - x
                continue
            own = aligned_own(firsts[i], lasts[i], other_firsts[i], other_lasts[i])
            targets = [nothing if other is None else y[other] for _, other in own]
            behind = min(len(x) - lasts[i], len(y) - other_lasts[i])
            x_rows = torch.cat(
                [x[[place for place, _ in own]], x[lasts[i] + 1 : lasts[i] + behind]]
            )
            y_rows = torch.cat(
                [torch.stack(targets), y[other_lasts[i] + 1 : other_lasts[i] + behind]]
            )
            yield x_rows, y_rows - x_rows


def rest_of(concept: Concept, template: str) -> str:
    """The prompt with the alternative; without one, what is left when the concept's words are
    taken out: "on a blue background".
    """
    if concept.alternative is not None or "[" in template:
        return concept.instead(template)
    return template.partition("=>")[0].replace("{}", "").replace("{s}", "").strip(" ,")


def nothing_state(model: Model, name: str) -> Tensor:
    """The state of ∅ behind its start token [width]: what the concept's own tokens become where
    nothing comes instead.
    """
    states = states_of(model, name, model.encode([""]))[0]
    return states[min(int(model.last_token_index([""])[0]) + 1, len(states) - 1)]


def places(
    model: Model, prompts: Sequence[str], spans: Sequence[tuple[int, int]]
) -> tuple[list[int], list[int]]:
    """The first and the last token of a span of characters of each prompt; the last lies before
    the first where the span is empty.
    """
    firsts = (
        model.last_token_index(
            [prompt[:start].strip() for prompt, (start, _) in zip(prompts, spans, strict=True)]
        )
        + 1
    )
    lasts = model.last_token_index(
        [prompt[:end].strip() for prompt, (_, end) in zip(prompts, spans, strict=True)]
    )
    return firsts.tolist(), lasts.tolist()


def aligned_own(
    first: int, last: int, other_first: int, other_last: int
) -> list[tuple[int, int | None]]:
    """(place of a token of the concept, place of the token of the alternative that it becomes):
    from the last one back, and the alternative's last one where it has fewer tokens; None where
    nothing comes instead.
    """
    found: list[tuple[int, int | None]] = []
    for place in range(min(first, last), last + 1):
        target = other_last - (last - place)
        if other_last < other_first:
            found.append((place, None))
        else:
            found.append((place, target if target >= other_first else other_last))
    return found


def gather(model: Model, name: str, prompts: Sequence[str]) -> list[Tensor]:
    return [
        states
        for condition in encode_points(model, prompts)
        for states in states_of(model, name, condition)
    ]


def differing(prompt: str, other: str, prefixes: set[tuple[str, ...]]) -> tuple[int, int, int, int]:
    """(start, end) of what differs between two prompts, in characters of the first and of the
    second.

    Words with which a retained prompt begins, too, are not the concept's own: the "a" of "a pig"
    and "an owl".
    """
    one, two = WORD.findall(prompt), WORD.findall(other)
    shorter = min(len(one), len(two))
    k = 0
    while k < shorter and one[k].strip() == two[k].strip():
        k += 1
    j = 0
    while j < shorter - k and one[-1 - j].strip() == two[-1 - j].strip():
        j += 1
    first = k
    while first < len(one) - j - 1 and tuple(word.strip() for word in one[: first + 1]) in prefixes:
        first += 1
    ends = length(one[: len(one) - j]), length(two[: len(two) - j])
    return length(one[:first]), ends[0], length(two[:k]), ends[1]


def length(words: Sequence[str]) -> int:
    return sum(map(len, words))


def word_prefixes(prompts: Sequence[str]) -> set[tuple[str, ...]]:
    """Every beginning of every prompt, in words."""
    beginnings = set()
    for prompt in prompts:
        words = tuple(word.strip() for word in WORD.findall(prompt))
        beginnings.update(words[:n] for n in range(1, len(words) + 1))
    return beginnings


def weight_of(model: Model, site: Site) -> Tensor:
    owner, parameter = site.find(model.components)
    return getattr(owner, parameter).detach().cpu().double()


def prompt_readers(model: Model, *, pooled: bool = True) -> tuple[Site, ...]:
    """The matrices that multiply what the prompt alone gives: keys and values where they read the
    text encoder's states, else the layers that embed the prompt's token states and, with `pooled`,
    its pooled state.
    """
    for group in (KEYS, *([POOLED] if pooled else []), CONTEXT):
        with suppress(InputError):  # the model has no such group
            sites = model.weight_group(group)
            if all(site.reads for site in sites):
                return sites
    raise InputError(
        "a closed form needs a matrix that reads the prompt's states as they come: "
        "this model has none"
    )
