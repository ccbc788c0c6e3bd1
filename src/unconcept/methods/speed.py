"""SPEED: concept erasure in the null space of what is retained. A closed form, nothing is trained.

Source      Li, Xu, Ouyang, Bi, Zou, Xie, Feng, He. ICLR 2026, arXiv 2503.07392; code
            Ouxiang-Li/SPEED (Apache-2.0), read for its defaults.
Idea        Change each value matrix only along directions that the retained prompts leave free. Of
            these prompts only those are used that the erasure would move most, and noise along a
            direction that the matrix hardly reads adds more of them.
Equation    Δ = W (C* − C1) P [I − M K (Kᵀ P M K)⁻¹ Kᵀ P] M        M = (C1 P + ρI)⁻¹
            C1 = mean e eᵀ,   C* = mean a eᵀ        e: last token of the concept, a: of the
                              alternative, as columns [width]
            P projects on the eigenvectors of R = mean r rᵀ with an eigenvalue below a threshold;
            r: retained states, and r + p pᵀ z (p: right singular vector of W's smallest singular
            value, z ~ N(0, I)), each kept where ‖W (C* − C1)(I + C1)⁻¹ r‖ is above its mean
            K = [start token, 3 cluster centres of the other states of ∅]: these do not change
Cost        One pass of the text encoder over the retained words, one singular value decomposition
            for each matrix; seconds.
Problems    The threshold is absolute: how many directions it leaves depends on the scale of the
            text encoder. Only the last token is mapped.
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
from ..models.conditioning import encode_points
from ..models.interface import Model, Site
from ..training.closed_form import prompt_readers, states_of, weight_of

STYLE = "art"  # what an erased style becomes where no alternative is named


@dataclass(frozen=True, kw_only=True)
class SPEED:
    """Defaults are the authors'. Without an alternative an object becomes the empty prompt, and a
    style "art".

    params     which matrices change: "V" values, "K" keys, "KV" both. The context embedder of a
               transformer changes in any case
    threshold  eigenvalues of R below this count as 0
    rho        ρ
    filter     keep only the retained states that the erasure would move more than the mean
    augment    states that are drawn around each retained one; 0: none
    centres    clusters of the states of ∅
    words      at most so many words of the model's lexicon are retained
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
        """Map the last token of every phrasing of the concepts to that of the alternative."""
        concepts = model.complete(concepts)
        progress(Progress("closed form", 0, 1))
        sites = self.sites(model)
        reads = sites[0].reads
        instead = [
            c.with_(alternative=STYLE) if c.kind == "style" and c.alternative is None else c
            for c in concepts
        ]
        phrasings = [pair for concept in instead for pair in concept.pairs_ending_with_concept()]
        e, a = (last_states(model, reads, prompts) for prompts in zip(*phrasings, strict=True))
        r = last_states(model, reads, self.retained(model, concepts))
        K = self.unchanged(states_of(model, reads, model.encode([""]))[0])

        generator = torch.Generator().manual_seed(self.seed)
        pairs = {}
        for site in sites:
            U, V = self.solve(weight_of(model, site), e, a, r, K, generator)
            pairs[site.name] = (U.float(), V.float())
        return Edit(
            Deltas.small(pairs),
            {**make_card("speed", self, concepts, model), **model_identity(model)},
        )

    def sites(self, model: Model) -> tuple[Site, ...]:
        """The matrices of `params`; of a transformer, the context embedder."""
        sites = prompt_readers(model, pooled=False)
        letters = {"V": "to_v.weight", "K": "to_k.weight"}
        chosen = tuple(
            site
            for site in sites
            if any(site.name.endswith(letters[letter]) for letter in self.params)
        )
        return chosen or sites

    def retained(self, model: Model, concepts: Sequence[Concept]) -> list[str]:
        """Prompts of single words that stay what they are."""
        erased: set[str] = set()
        for concept in concepts:
            for name in (concept.erase, *concept.synonyms):
                erased |= number_forms(name)
        named = [word for concept in concepts for word in concept.keep]
        order = torch.randperm(
            len(model.lexicon), generator=torch.Generator().manual_seed(self.seed)
        ).tolist()
        some = [model.lexicon[i] for i in order[: self.words]]
        return [
            article(word)
            for word in dict.fromkeys([*named, *model.vocabulary, *some])
            if canonical(word) not in erased
        ]

    def unchanged(self, null: Tensor) -> Tensor:
        """K [width, 1 + centres]: the start token of ∅, and cluster centres of its other states
        [tokens, width].
        """
        if len(null) == 1:
            return null.T
        return torch.cat([null[:1], cluster_centres(null[1:], self.centres, self.seed)]).T

    def solve(
        self, W: Tensor, e: Tensor, a: Tensor, r: Tensor, K: Tensor, generator: torch.Generator
    ) -> Pair:
        """(U [out, n], V [n, width]) with Δ = U V, for states as rows: e, a [n, width], r [m,
        width], K [width, k].
        """
        n, eye = len(e), torch.eye(W.shape[1], dtype=W.dtype)
        C1, Cdiff = e.T @ e / n, (a - e).T @ e / n
        P = self.null_space(W, Cdiff @ torch.linalg.inv(eye + C1), r, generator)
        M = torch.linalg.inv(C1 @ P + self.rho * eye)
        held = M @ K @ torch.linalg.pinv(K.T @ P @ M @ K) @ K.T @ P
        return W @ (a - e).T / n, e @ P @ (eye - held) @ M

    def null_space(
        self, W: Tensor, change: Tensor, r: Tensor, generator: torch.Generator
    ) -> Tensor:
        """P [width, width]: the projector on what the retained states leave free. change: (C* −
        C1)(I + C1)⁻¹.
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
    """Which rows [m] D moves at least as far as it does on average."""
    lengths = (rows @ D.T).norm(dim=1)
    return lengths >= lengths.mean()


def last_states(model: Model, reads: str, prompts: Sequence[str]) -> Tensor:
    """What the matrices multiply at the last token of each prompt [N, width]."""
    states = [
        own
        for condition in encode_points(model, prompts)
        for own in states_of(model, reads, condition)
    ]
    return torch.stack(
        [
            own[end]
            for own, end in zip(states, model.last_token_index(prompts).tolist(), strict=True)
        ]
    )


def cluster_centres(rows: Tensor, k: int, seed: int, rounds: int = 50) -> Tensor:
    """Centres [k, width] of k-means (Lloyd 1982) over rows [n, width], begun at k of them; fewer
    rows are their own centres.
    """
    if len(rows) <= k:
        return rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    centres = rows[order[:k]]
    for _ in range(rounds):
        nearest = torch.cdist(rows, centres).argmin(1)
        new = [rows[nearest == i].mean(0) if (nearest == i).any() else centres[i] for i in range(k)]
        if torch.equal(torch.stack(new), centres):
            break
        centres = torch.stack(new)
    return centres
