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
        to the end of the context
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

FREE_SHARE = 0.25  # of the directions, where the states of ∅ would hold all: so many are free

# Singular values of the states of ∅ below this share of the largest one count as 0.
RANK_TOLERANCE = 1e-4

PROMPTS_AT_ONCE = 32  # prompts of a concept that are encoded together

# Wider states are multiplied in single precision, a few thousand at a time, and the products are
# added in double precision: at SDXL's width of 2048 that halves the time of the closed form.
DOUBLE_WIDTH = 1024
ROWS_AT_ONCE = 4096
FOLDS = 4  # every fourth prompt of a concept is held out while λ is chosen
HALVINGS = 7  # of λ, at most

WORD = re.compile(r"\s*[\w'-]+|\s*[^\w\s]")

Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """Settings of the closed form.

    lam   λ: weight of the movement of retained states. At λ = 10, moving them by one percent costs
          as much as missing ten percent of the concept's change
    left  largest share of the concept's change that may be missing on held-out prompts. Where more
          is missing, λ is halved until it is not, or until retained states move by that share
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
class Moments:
    """Sums over the states of concepts, each concept divided by its E_c.

    P  Σ x xᵀ [width, width]
    R  Σ d xᵀ [width, width]
    Q  Σ d dᵀ [width, width]
    """

    P: Tensor
    R: Tensor
    Q: Tensor

    @classmethod
    def of(cls, rows: Sequence[tuple[Tensor, Tensor]]) -> "Moments":
        """The sums over some prompts of one concept, not yet divided.

        Args:
            rows: x and d [n, width] of each prompt.
        """
        x, d = (torch.cat(parts) for parts in zip(*rows, strict=True))
        return cls(product(x, x), product(d, x), product(d, d))

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.P + other.P, self.R + other.R, self.Q + other.Q)

    def divided(self, G: Tensor) -> "Moments":
        """The sums divided by E_c = Σ dᵀ G d, so that tr(G Q) is 1.

        Args:
            G: Metric of changes [width, width].
        """
        E = trace(G, self.Q)
        return Moments(self.P / E, self.R / E, self.Q / E)


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
        S = torch.linalg.solve(A, moments.R.T).T
        if K.shape[1]:
            AK = torch.linalg.solve(A, K)
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
        missing = S @ moments.P @ S.T - S @ moments.R.T - moments.R @ S.T + moments.Q
        return float(trace(self.G, missing) / trace(self.G, moments.Q))

    def share_moved(self, S: Tensor) -> float:
        """Share of their energy by which retained states move: E ‖S e‖² / E ‖e‖²."""
        return float(trace(self.G, S @ self.C @ S.T) / trace(self.G, self.C))

    def choose_lambda(self, settings: ClosedForm) -> float:
        """The largest of λ, λ/2, λ/4, ... at which little enough is missing on held-out prompts.

        The search ends early where retained states would move by more than `settings.left`. Where
        no λ reaches `settings.left`, the result is the λ with the smallest share missing; an
        improvement of less than two percent does not count.
        """
        lam, best, least_missing = settings.lam, settings.lam, float("inf")
        for _ in range(HALVINGS + 1):
            S = self.solve(self.fit, lam, settings.mu)
            if lam < settings.lam and self.share_moved(S) > settings.left:
                break
            missing = self.share_missing(self.test, S)
            if missing < 0.98 * least_missing:
                best, least_missing = lam, missing
            if missing <= settings.left:
                break
            lam /= 2
        return best

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
        moments = self.all_prompts
        return float(trace(self.G, S @ A @ S.T - S @ moments.R.T - moments.R @ S.T + moments.Q))


def trace(G: Tensor, M: Tensor) -> Tensor:
    """tr(G M), without the product of the matrices.

    Args:
        G: Symmetric [n, n].
        M: [n, n].

    Returns:
        A scalar.
    """
    return (G * M.T).sum()


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
        lam = system.choose_lambda(settings)
        S = system.solve(system.all_prompts, lam, settings.mu)
        A = system.all_prompts.P + system.metric(lam, settings.mu)
        U, V = system.reduce_rank(S, A, settings.trim)
        held_out = system.share_missing(system.test, system.solve(system.fit, lam, settings.mu))
        facts[name] = {
            "lam": lam,
            "left": held_out,
            "moved": system.share_moved(U @ V),
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
        gram = product(W, W)
        G += gram / trace(gram, C)
    all_prompts: list[Moments] = []
    fit: list[Moments] = []
    test: list[Moments] = []
    for concept in concepts:
        rows = list(concept_rows(model, name, concept, prefixes))
        fit_rows = [row for i, row in enumerate(rows) if i % FOLDS != FOLDS - 1]
        test_rows = rows[FOLDS - 1 :: FOLDS] or fit_rows
        of_fit, of_test = Moments.of(fit_rows), Moments.of(test_rows)
        all_prompts.append((of_fit + of_test).divided(G))
        fit.append(of_fit.divided(G))
        test.append(of_test.divided(G))
    return System(
        sum_of(all_prompts),
        sum_of(fit),
        sum_of(test),
        C,
        unchanged_basis(model, name),
        G,
        len(concepts),
    )


def product(a: Tensor, b: Tensor) -> Tensor:
    """aᵀ b in double precision; of wide rows nearly so (`DOUBLE_WIDTH`).

    Args:
        a: [n, k].
        b: [n, m].

    Returns:
        [k, m] in double precision.
    """
    if b.shape[1] <= DOUBLE_WIDTH:
        return a.T @ b
    total = torch.zeros(a.shape[1], b.shape[1], dtype=torch.double)
    for rows, others in zip(a.split(ROWS_AT_ONCE), b.split(ROWS_AT_ONCE), strict=True):
        total += rows.float().T @ others.float()
    return total


def sum_of(parts: Sequence[Moments]) -> Moments:
    """The sum of one or more moments."""
    return functools.reduce(operator.add, parts)


def states_of(model: Model, name: str, condition: Condition) -> list[Tensor]:
    """What a matrix multiplies for each prompt of a condition.

    Tokens that an attention mask hides are left out. Where a mask hides every token of a prompt,
    attention sees all of them, and so does this.

    Args:
        model: Computes the input of the matrix.
        name: Of the states that the matrix reads (`Site.reads`).
        condition: N encoded prompts.

    Returns:
        N tensors [visible tokens, width] in double precision on the CPU; of a pooled state, which
        has no tokens, [1, width].
    """
    states = model.linear_input(name, condition).detach().cpu().double()
    if states.ndim == 2:
        return [row[None] for row in states]
    masks = []
    for key, value in condition.items():
        if "mask" in key and value.shape == states.shape[:2]:
            masks.append(value)
    if not masks:
        return list(states)
    visible = masks[0].cpu().bool()
    visible = visible | ~visible.any(1, keepdim=True)
    return [prompt_states[seen] for prompt_states, seen in zip(states, visible, strict=True)]


def states_of_prompts(model: Model, name: str, prompts: Sequence[str]) -> list[Tensor]:
    """`states_of` for any number of prompts, encoded in batches.

    Args:
        model: Encodes the prompts.
        name: Of the states that the matrix reads (`Site.reads`).
        prompts: N prompts.

    Returns:
        N tensors [visible tokens, width] in double precision on the CPU.
    """
    states: list[Tensor] = []
    for condition in encode_points(model, prompts):
        states += states_of(model, name, condition)
    return states


def second_moments(model: Model, names: Sequence[str], prompts: Sequence[str]) -> dict[str, Tensor]:
    """E e eᵀ over all states of some prompts, one batch of prompts in memory at a time.

    Args:
        model: Encodes the prompts, each once.
        names: Of the states that the matrices read (`Site.reads`).
        prompts: One or more.

    Returns:
        By name [width, width] in double precision on the CPU.
    """
    totals = {name: torch.zeros((), dtype=torch.double) for name in names}
    counts = dict.fromkeys(names, 0)
    for condition in encode_points(model, prompts):
        for name in names:
            states = torch.cat(states_of(model, name, condition))
            totals[name] = totals[name] + product(states, states)
            counts[name] += len(states)
    return {name: total / counts[name] for name, total in totals.items()}


def unchanged_basis(model: Model, name: str) -> Tensor:
    """An orthonormal basis of the states of the empty prompt, which must not change.

    Where a long template surrounds ∅, its states may fill all directions and leave the concept
    none: then only the strongest ones are held, and a `FREE_SHARE` of all is free.

    Args:
        model: Encodes ∅.
        name: Of the states that the matrices read (`Site.reads`).

    Returns:
        K [width, m]; m is 0 where all states of ∅ are 0.
    """
    states = states_of(model, name, model.encode([""]))[0]
    if not states.any():
        return states.new_zeros(states.shape[1], 0)
    _, values, right = torch.linalg.svd(states, full_matrices=False)
    basis, width = right[values > RANK_TOLERANCE * values[0]], states.shape[1]
    if len(basis) == width:
        basis = basis[: int((1 - FREE_SHARE) * width)]
    return basis.T


def concept_rows(
    model: Model, name: str, concept: Concept, prefixes: set[tuple[str, ...]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The states of each prompt of a concept, and how they should change.

    Args:
        model: Encodes the prompts.
        name: Of the states that the matrices read (`Site.reads`).
        concept: The concept, with its alternative, synonyms and templates.
        prefixes: Beginnings of retained prompts (`word_prefixes`), which are not part of the
            concept's name.

    Yields:
        x [n, width] and d [n, width] of each prompt.
    """
    empty = empty_prompt_state(model, name)
    pairs = []
    for template, word in concept.phrasings():
        pairs.append((concept.phrase(template, word), alternative_prompt(concept, template)))
    for start in range(0, len(pairs), PROMPTS_AT_ONCE):
        prompts, others = zip(*pairs[start : start + PROMPTS_AT_ONCE], strict=True)
        characters: list[Span] = []
        other_characters: list[Span] = []
        for prompt, other in zip(prompts, others, strict=True):
            span, other_span = differing_spans(prompt, other, prefixes)
            characters.append(span)
            other_characters.append(other_span)
        spans = zip(
            token_spans(model, prompts, characters),
            token_spans(model, others, other_characters),
            strict=True,
        )
        before = states_of_prompts(model, name, prompts)
        after = states_of_prompts(model, name, others)
        for x, y, (tokens, other_tokens) in zip(before, after, spans, strict=True):
            if len(x) == 1 and len(y) == 1:  # a pooled state
                yield x, y - x
            else:
                x_rows, y_rows = paired_rows(x, y, tokens, other_tokens, empty)
                yield x_rows, y_rows - x_rows


def paired_rows(
    x: Tensor, y: Tensor, tokens: Span, other_tokens: Span, empty: Tensor
) -> tuple[Tensor, Tensor]:
    """Pair the states of two prompts, from the concept's first token to the end of the context.

    Args:
        x: States of the concept's prompt [tokens, width].
        y: States of the alternative's prompt [tokens, width].
        tokens: First and last token of the concept in x. The tokens behind it are paired in order,
            as far as both prompts have them.
        other_tokens: First and last token of the alternative in y.
        empty: The state that the concept's tokens become without an alternative [width].

    Returns:
        Rows of x, and the states that they become; both [n, width].
    """
    places: list[int] = []
    targets: list[Tensor] = []
    for place, other_place in align_tokens(tokens, other_tokens):
        places.append(place)
        targets.append(empty if other_place is None else y[other_place])
    last, other_last = tokens[1], other_tokens[1]
    behind = min(len(x) - last, len(y) - other_last)
    x_rows = torch.cat([x[places], x[last + 1 : last + behind]])
    y_rows = torch.cat([torch.stack(targets), y[other_last + 1 : other_last + behind]])
    return x_rows, y_rows


def alternative_prompt(concept: Concept, template: str) -> str:
    """The prompt with the alternative in place of the concept.

    Args:
        concept: The concept.
        template: One of its templates, with {} for the concept.

    Returns:
        The prompt; without an alternative, what is left when the concept's words are taken out:
        "on a blue background".
    """
    if concept.alternative is not None or "[" in template:
        return concept.instead(template)
    return template.partition("=>")[0].replace("{}", "").replace("{s}", "").strip(" ,")


def empty_prompt_state(model: Model, name: str) -> Tensor:
    """The state that the concept's tokens become where nothing appears instead.

    Args:
        model: Encodes ∅.
        name: Of the states that the matrices read (`Site.reads`).

    Returns:
        The state of ∅ behind its start token [width].
    """
    states = states_of(model, name, model.encode([""]))[0]
    return states[min(int(model.last_token_index([""])[0]) + 1, len(states) - 1)]


def token_spans(model: Model, prompts: Sequence[str], characters: Sequence[Span]) -> list[Span]:
    """Convert spans of characters to spans of tokens.

    Args:
        model: Counts the tokens of the text before the start and before the end of each span.
        prompts: N prompts.
        characters: (start, end) in each prompt.

    Returns:
        (first, last) token of each span, both within it; `last` is `first` − 1 where the span is
        empty.
    """
    heads: list[str] = []
    parts: list[str] = []
    for prompt, (start, end) in zip(prompts, characters, strict=True):
        heads.append(prompt[:start].strip())
        parts.append(prompt[:end].strip())
    firsts = (model.last_token_index(heads) + 1).tolist()
    lasts = model.last_token_index(parts).tolist()
    return list(zip(firsts, lasts, strict=True))


def align_tokens(tokens: Span, other_tokens: Span) -> list[tuple[int, int | None]]:
    """Pair the tokens of the concept with those of the alternative, from the last one back.

    Args:
        tokens: First and last token of the concept.
        other_tokens: First and last token of the alternative; empty (last before first) without
            one.

    Returns:
        (token of the concept, token of the alternative that it becomes). Where the alternative has
        fewer tokens, the surplus ones become its last; without an alternative, None.
    """
    first, last = tokens
    other_first, other_last = other_tokens
    pairs: list[tuple[int, int | None]] = []
    for place in range(min(first, last), last + 1):
        other_place = other_last - (last - place)
        if other_last < other_first:
            pairs.append((place, None))
        elif other_place < other_first:
            pairs.append((place, other_last))
        else:
            pairs.append((place, other_place))
    return pairs


def differing_spans(prompt: str, other: str, prefixes: set[tuple[str, ...]]) -> tuple[Span, Span]:
    """Find the one part in which two prompts differ, word by word.

    A word with which a retained prompt begins, too, is not part of the concept's name: the "a" of
    "a pig", although the other prompt is "an owl".

    Args:
        prompt: The concept's prompt.
        other: The alternative's prompt.
        prefixes: Beginnings of retained prompts (`word_prefixes`).

    Returns:
        (start, end) of that part in `prompt` and in `other`, in characters.
    """
    words, other_words = WORD.findall(prompt), WORD.findall(other)
    shorter = min(len(words), len(other_words))
    same_before = 0
    while same_before < shorter and words[same_before].strip() == other_words[same_before].strip():
        same_before += 1
    same_behind = 0
    while (
        same_behind < shorter - same_before
        and words[-1 - same_behind].strip() == other_words[-1 - same_behind].strip()
    ):
        same_behind += 1
    end, other_end = len(words) - same_behind, len(other_words) - same_behind
    first = same_before
    while first < end - 1 and tuple(word.strip() for word in words[: first + 1]) in prefixes:
        first += 1
    span = total_length(words[:first]), total_length(words[:end])
    return span, (total_length(other_words[:same_before]), total_length(other_words[:other_end]))


def total_length(words: Sequence[str]) -> int:
    """Number of characters of all words."""
    return sum(map(len, words))


def word_prefixes(prompts: Sequence[str]) -> set[tuple[str, ...]]:
    """Every beginning of every prompt, in words."""
    beginnings = set()
    for prompt in prompts:
        words = tuple(word.strip() for word in WORD.findall(prompt))
        beginnings.update(words[:n] for n in range(1, len(words) + 1))
    return beginnings


def weight_of(model: Model, site: Site) -> Tensor:
    """A weight of the model, as the closed forms compute with it.

    Args:
        model: The model; it is not changed.
        site: Which weight.

    Returns:
        W* [out, width] in double precision on the CPU.
    """
    owner, parameter = site.find(model.components)
    return getattr(owner, parameter).detach().cpu().double()


def prompt_readers(model: Model, *, pooled: bool = True) -> tuple[Site, ...]:
    """The matrices that multiply states which depend on the prompt alone.

    Args:
        model: The model.
        pooled: Include the layer that embeds the prompt's pooled state, in transformers.

    Returns:
        Keys and values where they read the text encoder's states; otherwise the layers that embed
        the prompt's token states and, with `pooled`, its pooled state.

    Raises:
        InputError: The model has no such matrix.
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
