"""UCE: unified concept editing, and RECE on top of it. Closed forms: nothing is trained.

Source      Gandikota, Orgad, Belinkov, Materzyńska, Bau. WACV 2024, arXiv 2308.14761, eq. 7; code rohitgandikota/unified-concept-editing.
            Gong, Chen, Wei, Chen, Jiang. ECCV 2024, arXiv 2407.12383 (RECE); code CharlesGong12/RECE.
Idea        Every key and value matrix maps the concept's token to where it maps the guide's, and others to where it mapped them.
Equation    W = W* + s Σ (W* g − W* c) cᵀ · (λI + s Σ c cᵀ + p Σ k kᵀ)⁻¹          c: erased, g: guide, k: preserved tokens [width]
            RECE: c' = (ρI + Σ WᵀW)⁻¹ (Σ WᵀW*) c  finds what still means c under the edited W (sums over matrices); then c' is erased too
Cost        One pass of the text encoder, one solve of a [width, width] system for each matrix; seconds.
Problems    It knows the token embeddings it was given: other phrasings of the concept put other embeddings there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..concept import Concept
from ..edit import Edit, card_of, identity
from ..errors import InputError
from ..models.base import Model, Site
from ..train import Progress, Report


@dataclass(frozen=True, kw_only=True)
class UCE:
    """Defaults are the authors'. What is mapped are phrasings that end with the concept ("a picture of a pig"), as theirs do.

    erase, preserve  s and p, weights of what is erased and of what is kept (a concept's `keep`)
    lam              λ, how firmly everything else is held
    tokens           "last": the last token of the prompt alone (the newer code); "all": it and every token behind it (the older, λ = 0.1)
    """

    erase: float = 1.0
    preserve: float = 1.0
    lam: float = 0.5
    tokens: Literal["last", "all"] = "last"

    def __call__(self, model: Model, *concepts: Concept, report: Report = lambda progress: None) -> Edit:
        """Map the phrasings of the concepts to those of the alternative; without one, to the empty prompt."""
        report(Progress("closed form", 0, 1))
        pairs = [pair for concept in concepts for pair in concept.at_the_end()]
        kept = [word for concept in concepts for word in concept.keep]
        sites = readers(model)
        c, g, k = self.states(model, sites[0].reads, [c for c, _ in pairs], [g for _, g in pairs], kept)
        W = {site.name: getattr(*site.find(model.components)).detach().cpu().double() for site in sites}
        deltas = {name: self.solve(w, c, w @ g.T, k) for name, w in W.items()}
        card = card_of("uce", self, concepts, model)
        return self.edit(model, deltas, card)

    def solve(self, W: Tensor, c: Tensor, v: Tensor, k: Tensor) -> Tensor:
        """ΔW [out, width] that brings c [N, width] to v [out, N] and leaves k [M, width] where they are."""
        M = self.lam * torch.eye(W.shape[1], dtype=W.dtype) + self.erase * c.T @ c + self.preserve * k.T @ k
        return torch.linalg.solve(M, (self.erase * (v - W @ c.T) @ c).T).T

    def states(self, model: Model, reads: str, *lists: Sequence[str]) -> tuple[Tensor, ...]:
        """What the matrices multiply [N, width] for lists of prompts, the same number for every prompt: row by row they belong together."""
        read = lambda prompts: model.reading(reads, model.encode(prompts)).double().cpu()
        encoded = [(read(prompts or [""]), model.ends(prompts or [""])) for prompts in lists]
        room = 1 if self.tokens == "last" else min(s.shape[1] - int(ends.max()) for s, ends in encoded)
        return tuple(torch.cat([s[end : end + room] for s, end in zip(states, ends.tolist())]) for states, ends in encoded)

    @staticmethod
    def edit(model: Model, deltas: Mapping[str, Tensor], card: dict) -> Edit:
        return Edit({name: delta.float() for name, delta in deltas.items()}, {**card, **identity(model)})


def readers(model: Model) -> tuple[Site, ...]:
    """The key and value matrices, which must multiply the text encoder's token states themselves."""
    sites = model.group("cross-attention keys and values")
    if not all(site.reads for site in sites):
        raise InputError(
            "a closed form needs key and value matrices that read the token states as they come; in this model layers stand in between"
        )
    return sites


@dataclass(frozen=True, kw_only=True)
class RECE(UCE):
    """Erase what still means the concept after UCE, `rounds` times. The empty prompt is always kept.

    ridge  ρ: 0.1 for what is easily found again, 1e-3 for styles (the authors' values)
    """

    preserve: float = 0.1
    rounds: int = 2
    ridge: float = 0.1
    lam: float = 0.1
    tokens: Literal["last", "all"] = "all"

    def __post_init__(self):
        if self.rounds < 1 or self.ridge <= 0:
            raise InputError("rounds is at least 1, and ridge above 0")

    def __call__(self, model: Model, *concepts: Concept, report: Report = lambda progress: None) -> Edit:
        first = UCE(erase=self.erase, preserve=self.preserve, lam=self.lam, tokens=self.tokens)(model, *concepts, report=report)
        pairs = [pair for concept in concepts for pair in concept.at_the_end()]
        kept = ["", *(word for concept in concepts for word in concept.keep)]
        sites = readers(model)
        c, g, k = self.states(model, sites[0].reads, [c for c, _ in pairs], [g for _, g in pairs], kept)
        W0 = {site.name: getattr(*site.find(model.components)).detach().cpu().double() for site in sites}
        W = {name: w + first.deltas[name].double() for name, w in W0.items()}
        for turn in range(self.rounds):
            report(Progress("closed form, what is left of it", turn, self.rounds))
            found = self.find(list(W.values()), list(W0.values()), c)
            W = {name: w + self.solve(w, found, w @ g.T, k) for name, w in W.items()}
        card = card_of("rece", self, concepts, model)
        return self.edit(model, {name: w - W0[name] for name, w in W.items()}, card)

    def find(self, W: Sequence[Tensor], W0: Sequence[Tensor], c: Tensor) -> Tensor:
        """c' [N, width]: what the edited matrices W map to where W0 mapped c."""
        M = self.ridge * torch.eye(c.shape[1], dtype=c.dtype) + torch.stack([w.T @ w for w in W]).sum(0)
        return torch.linalg.solve(M, torch.stack([w.T @ w0 for w, w0 in zip(W, W0)]).sum(0) @ c.T).T
