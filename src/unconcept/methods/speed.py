"""SPEED: concept erasure in the null space of what is retained. A closed form, nothing is trained.

Source      Li, Xu, Ouyang, Bi, Zou, Xie, Feng, He. ICLR 2026, arXiv 2503.07392; code
            Ouxiang-Li/SPEED (Apache-2.0), read for its defaults.
Idea        Change each value matrix only in directions that the states of retained prompts do not
            use. Only those retained states count that the erasure would move most. More of them
            are drawn around each one, along the direction that the matrix amplifies least.
Equation    Δ = W (C* − C1) P [I − M K (Kᵀ P M K)⁻¹ Kᵀ P] M        M = (C1 P + ρI)⁻¹
            C1 = mean e eᵀ,   C* = mean a eᵀ        e: state of the concept's last token, a: of the
                              alternative's, as columns [width]
            P: projector on the eigenvectors of R = mean r rᵀ whose eigenvalue is below a threshold
            r: retained states, and r + p pᵀ z drawn around them (p: right singular vector of W's
            smallest singular value, z ~ N(0, I)). Of both, only those count for which
            ‖W (C* − C1)(I + C1)⁻¹ r‖ is at least its mean
            K = [start token, 3 cluster centres of the other states of ∅]: Δ K = 0
Cost        One pass of the text encoder over the retained words, one singular value decomposition
            for each matrix; seconds.
Problems    The threshold is absolute: how many directions stay free depends on the scale of the
            text encoder's states. Only the last token is mapped.
Differences from the official code
            Phrasings: "a pig", "a picture of a pig", "a painting of a pig", and synonyms; theirs
            the bare word. Retained words are the model's vocabulary and what the concept names to
            keep; theirs are lists of 1,352 instances, 1,734 artists or 1,000 celebrities. Clusters
            and noise are seeded. For "nudity" theirs maps all tokens; that option is not part of
            this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..concepts.templates import article
from ..concepts.words import canonical, number_forms
from ..edits.edit import Edit
from ..edits.provenance import make_card, model_identity
from ..edits.weight_deltas import Deltas, Pair
from ..errors import InputError
from ..models.interface import Model, Site
from ..training.prompt_states import prompt_readers, states_of, states_of_prompts, weight_of

STYLE = "art"  # what an erased style becomes where no alternative is named

NAME_ENDINGS: dict[str, tuple[str, ...]] = {
    "V": ("to_v.weight",),
    "K": ("to_k.weight",),
    "KV": ("to_v.weight", "to_k.weight"),
}


@dataclass(frozen=True, kw_only=True)
class SPEED:
    """Defaults are the authors'. Without an alternative an object becomes the empty prompt, and a
    style becomes "art".

    params     which matrices change: "V" values, "K" keys, "KV" both. Where a transformer's context
               embedder is the only matrix that reads prompts, that one changes
    threshold  eigenvalues of R below this count as 0
    rho        ρ
    filter     use only the retained states that the erasure would move at least as far as the mean
    augment    states that are drawn around each retained one; 0: none
    centres    number of clusters of the states of ∅
    words      largest number of words of the model's lexicon that are retained
    seed       of clusters, noise and the choice of words
    """

    params: Literal["V", "K", "KV"] = "V"
    threshold: float = 0.1
    rho: float = 1.0
    filter: bool = True
    augment: int = 10
    centres: int = 3
    words: int = 1352
    seed: int = 0

    def __post_init__(self):
        if self.params not in ("V", "K", "KV"):
            raise InputError(f"params is {self.params!r}: it must be V, K or KV")
        if self.threshold <= 0 or self.rho <= 0:
            raise InputError("threshold and rho are above 0")
        if self.augment < 0 or self.centres < 1 or self.words < 1:
            raise InputError("augment is 0 or more, centres and words are 1 or more")

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Map the last token of every phrasing of the concepts to that of the alternative.

        Args:
            model: The model, which is not changed.
            concepts: The concepts to erase.
            progress: Called once, before the matrices are solved.

        Returns:
            One edit for all concepts.
        """
        concepts = model.complete(concepts)
        progress(Progress("closed form", 0, 1))
        sites = self.sites(model)
        reads = sites[0].reads
        concept_prompts: list[str] = []
        alternative_prompts: list[str] = []
        for concept in concepts:
            if concept.kind == "style" and concept.alternative is None:
                concept = concept.with_(alternative=STYLE)
            for concept_prompt, alternative_prompt in concept.pairs_ending_with_concept():
                concept_prompts.append(concept_prompt)
                alternative_prompts.append(alternative_prompt)
        e = last_states(model, reads, concept_prompts)
        a = last_states(model, reads, alternative_prompts)
        r = last_states(model, reads, self.retained(model, concepts))
        K = self.unchanged(states_of(model, reads, model.encode([""]))[0])

        generator = torch.Generator().manual_seed(self.seed)
        pairs = {}
        for site in sites:
            U, V = self.solve(weight_of(model, site), e, a, r, K, generator)
            pairs[site.name] = (U.float(), V.float())
        card = {**make_card("speed", self, concepts, model), **model_identity(model, pairs)}
        return Edit(Deltas.small(pairs), card)

    def sites(self, model: Model) -> tuple[Site, ...]:
        """The matrices of `params`; in some transformers, the context embedder.

        Args:
            model: Its matrices that read token states are searched.

        Returns:
            At least one site: all that read token states where none has one of the endings.

        Raises:
            InputError: The model has no matrix that reads the prompt's states as they come.
        """
        sites = prompt_readers(model, pooled=False)
        chosen = tuple(site for site in sites if site.name.endswith(NAME_ENDINGS[self.params]))
        return chosen or sites

    def retained(self, model: Model, concepts: Sequence[Concept]) -> list[str]:
        """Prompts of one word each whose states are to stay as they are.

        Args:
            model: Says its vocabulary and its lexicon.
            concepts: The concepts to erase; their names, singular and plural, are left out.

        Returns:
            What the concepts name to keep, the vocabulary, and at most `words` random words of the
            lexicon, with their articles.
        """
        erased: set[str] = set()
        words: list[str] = []
        for concept in concepts:
            for name in (concept.erase, *concept.synonyms):
                erased |= number_forms(name)
            words += concept.keep
        words += model.vocabulary
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(model.lexicon), generator=generator).tolist()
        for i in order[: self.words]:
            words.append(model.lexicon[i])
        return [article(word) for word in dict.fromkeys(words) if canonical(word) not in erased]

    def unchanged(self, null: Tensor) -> Tensor:
        """K: the start token of ∅, and cluster centres of its other states.

        Args:
            null: The states of ∅ [tokens, width].

        Returns:
            [width, 1 + centres]; fewer columns where ∅ has fewer tokens.
        """
        if len(null) == 1:
            return null.T
        return torch.cat([null[:1], cluster_centres(null[1:], self.centres, self.seed)]).T

    def solve(
        self, W: Tensor, e: Tensor, a: Tensor, r: Tensor, K: Tensor, generator: torch.Generator
    ) -> Pair:
        """Solve for the change Δ of one matrix.

        Args:
            W: The matrix [out, width].
            e: States of the concepts' last tokens, as rows [n, width].
            a: States of the alternatives' last tokens, as rows [n, width].
            r: Retained states, as rows [m, width].
            K: States that do not change, as columns [width, k].
            generator: Draws the noise around retained states.

        Returns:
            U [out, n] and V [n, width] with Δ = U V.
        """
        n, identity = len(e), torch.eye(W.shape[1], dtype=W.dtype)
        C1, difference = e.T @ e / n, (a - e).T @ e / n
        P = self.null_space(W, difference @ torch.linalg.inv(identity + C1), r, generator)
        M = torch.linalg.inv(C1 @ P + self.rho * identity)
        constraint = M @ K @ torch.linalg.pinv(K.T @ P @ M @ K) @ K.T @ P
        return W @ (a - e).T / n, e @ P @ (identity - constraint) @ M

    def null_space(
        self, W: Tensor, change: Tensor, r: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The projector P on the directions that retained states do not use.

        Args:
            W: The matrix [out, width].
            change: (C* − C1)(I + C1)⁻¹ [width, width], the change that retained states would
                undergo without P.
            r: Retained states, as rows [m, width].
            generator: Draws the noise z.

        Returns:
            P [width, width].
        """
        D = W @ change
        if self.filter:
            r = r[above_mean(D, r)]
        if self.augment:
            p = torch.linalg.svd(W)[2][-1]
            z = torch.randn(self.augment, *r.shape, generator=generator, dtype=r.dtype)
            drawn = (r + (z @ p)[..., None] * p).flatten(0, 1)
            r = torch.cat([r, drawn[above_mean(D, drawn)] if self.filter else drawn])
        values, vectors = torch.linalg.eigh(r.T @ r / len(r))
        free = vectors[:, values < self.threshold]
        return free @ free.T


def above_mean(D: Tensor, rows: Tensor) -> Tensor:
    """Which rows D moves at least as far as it moves them on average.

    Args:
        D: Linear map [out, width].
        rows: [m, width]

    Returns:
        Booleans [m]: ‖D row‖ is the mean of all ‖D row‖ or more.
    """
    lengths = (rows @ D.T).norm(dim=1)
    return lengths >= lengths.mean()


def last_states(model: Model, reads: str, prompts: Sequence[str]) -> Tensor:
    """What the matrices multiply at the last token of each prompt.

    Args:
        model: Encodes the prompts.
        reads: Name of the state that the matrices read (`Site.reads`).
        prompts: N prompts.

    Returns:
        [N, width] in double precision on the CPU.
    """
    states = states_of_prompts(model, reads, prompts)
    ends = model.last_token_index(prompts).tolist()
    return torch.stack([tokens[end] for tokens, end in zip(states, ends, strict=True)])


def cluster_centres(rows: Tensor, k: int, seed: int, rounds: int = 50) -> Tensor:
    """Centres of clusters by k-means (Lloyd 1982), started from k random rows.

    Args:
        rows: [n, width]
        k: Number of clusters.
        seed: Of the rows that k-means starts from.
        rounds: Largest number of rounds; it ends earlier where no centre moves.

    Returns:
        Centres [k, width]; `rows` itself where it has k rows or fewer.
    """
    if len(rows) <= k:
        return rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    centres = rows[order[:k]]
    for _ in range(rounds):
        nearest = torch.cdist(rows, centres).argmin(1)
        moved = centres.clone()
        for i in range(k):
            members = rows[nearest == i]
            if len(members):
                moved[i] = members.mean(0)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres
