"""UCE: unified concept editing, and RECE on top of it. Closed forms: nothing is trained.

Source      Gandikota, Orgad, Belinkov, Materzyńska, Bau. WACV 2024, arXiv 2308.14761, eq. 7; code rohitgandikota/unified-concept-editing.
            Gong, Chen, Wei, Chen, Jiang. ECCV 2024, arXiv 2407.12383 (RECE); code CharlesGong12/RECE.
Idea        Every key and value matrix maps the concept's token to where it maps the guide's, and others to where it mapped them. In transformers,
            whose keys and values read what layers made of the tokens, this is done to the context embedder, the one matrix that reads them as they come.
Equation    W = W* + s Σ (W* g − W* c) cᵀ · (λI + s Σ c cᵀ + p Σ k kᵀ)⁻¹          c: erased, g: guide, k: preserved tokens [width]
            ΔW = U V exactly, of rank N, the number of tokens c (RECE's ranks add up): the edit holds U and V where they are smaller than ΔW
            RECE: c' = (ρI + Σ WᵀW)⁻¹ (Σ WᵀW*) c  finds what still means c under the edited W (sums over matrices); then c' is erased too
Cost        One pass of the text encoder, one solve of a [width, width] system for each matrix; seconds.
Problems    It knows the token embeddings it was given: other phrasings of the concept put other embeddings there.
Differences from the official code
            Prompts: "a pig", "a picture of a pig", "a painting of a pig"; theirs "pig", and with --expand_prompts five more. Without an alternative the
            guide is ∅, also for a style, where theirs is "art". Where nothing is named to keep, ∅ is kept; in the newer code nothing is.
            p is 1 by default; the older code's is 1 over the number of what is kept, and .1 at least, and it keeps a list of artists where a style goes.
            In Flux theirs changes the layer that reads the pooled state, too. Its projection (technique "tensor") is not part of this.
            RECE: c' is sought of the concept's last token and those behind it; theirs of every token. Theirs goes on from a UCE at λ = 0.5, and for
            nudity takes the round of three that a detector likes best; here all is done at one λ, and the last of two is taken.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback
from ..concepts.concept import Concept
from ..edits.edit import Edit
from ..edits.provenance import make_card, model_identity
from ..edits.weight_deltas import Deltas, Pair, stack_pairs
from ..errors import InputError
from ..models.interface import Model, Site


@dataclass(frozen=True, kw_only=True)
class UCE:
    """Defaults are the authors'. What is mapped are phrasings that end with the concept ("a picture of a pig"), as theirs do.

    erase, preserve  s and p, weights of what is erased and of what is kept (a concept's `keep`)
    lam              λ, how firmly everything else is held
    tokens           "last": the last token of the prompt alone (the newer code); "all": it and every token behind it, and of what is kept, ∅ among
                     it, every token (the older; λ is 0.1 in its function, and 0.5 where its script calls it)
    """

    erase: float = 1.0
    preserve: float = 1.0
    lam: float = 0.5
    tokens: Literal["last", "all"] = "last"

    def __call__(self, model: Model, *concepts: Concept, progress: ProgressCallback = lambda progress: None) -> Edit:
        """Map the phrasings of the concepts to those of the alternative; without one, to the empty prompt."""
        concepts = model.complete(concepts)
        progress(Progress("closed form", 0, 1))
        W, c, g, k = self.system(model, concepts)
        return self.edit(model, {name: self.pair(w, c, w @ g.T, k) for name, w in W.items()}, make_card("uce", self, concepts, model))

    def system(self, model: Model, concepts: Sequence[Concept]) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """(W* [out, width] by name, and the token states that they multiply, row by row: c [N, width], g [N, width], k [M, width])."""
        sites, pairs = readers(model), [pair for concept in concepts for pair in concept.pairs_ending_with_concept()]
        c, g = self.states(model, sites[0].reads, [c for c, _ in pairs], [g for _, g in pairs])
        k = self.kept_states(model, sites[0].reads, self.kept([word for concept in concepts for word in concept.keep]))
        return {site.name: getattr(*site.find(model.components)).detach().cpu().double() for site in sites}, c, g, k

    def kept(self, named: Sequence[str]) -> list[str]:
        return list(named) if named and self.tokens == "last" else ["", *named]

    def pair(self, W: Tensor, c: Tensor, v: Tensor, k: Tensor) -> Pair:
        """(U [out, N], V [N, width]), exactly ΔW = U V: U = s (v − W cᵀ), V = c (λI + s Σ c cᵀ + p Σ k kᵀ)⁻¹.

        It brings c [N, width] to v [out, N] and leaves k [M, width] where they are.
        """
        M = self.lam * torch.eye(W.shape[1], dtype=W.dtype) + self.erase * c.T @ c + self.preserve * k.T @ k
        return self.erase * (v - W @ c.T), torch.linalg.solve(M, c.T).T  # M is symmetric

    def solve(self, W: Tensor, c: Tensor, v: Tensor, k: Tensor) -> Tensor:
        """ΔW [out, width]."""
        U, V = self.pair(W, c, v, k)
        return U @ V

    def states(self, model: Model, reads: str, *lists: Sequence[str]) -> tuple[Tensor, ...]:
        """What the matrices multiply [N, width] for lists of prompts that belong together one by one: of each as many tokens as the longest of
        those that belong together has behind it."""
        states, ends = [read(model, reads, prompts) for prompts in lists], [model.last_token_index(prompts).tolist() for prompts in lists]
        rooms = [1 if self.tokens == "last" else states[0].shape[1] - max(together) for together in zip(*ends)]
        rows = [torch.cat([s[end : end + room] for s, end, room in zip(every, own, rooms)]) for every, own in zip(states, ends)]
        return tuple(rows)

    def kept_states(self, model: Model, reads: str, prompts: Sequence[str]) -> Tensor:
        """[M, width]: of prompts to keep the last token, or all of them, the start token's too."""
        states = read(model, reads, prompts)
        return states.flatten(0, 1) if self.tokens == "all" else states[range(len(prompts)), model.last_token_index(prompts).tolist()]

    @staticmethod
    def remark(model: Model) -> str:
        """What must be known of a closed form in this model; "" for nothing."""
        return "" if reads_prompts(model, KEYS) else EMBEDDER

    @staticmethod
    def edit(model: Model, pairs: Mapping[str, Pair], card: dict) -> Edit:
        """In single precision: of each pair the product, where that is smaller."""
        deltas = Deltas.small(pairs)
        whole = {name: delta.float() for name, delta in deltas.whole.items()}
        return Edit(
            Deltas(whole, {name: (U.float(), V.float()) for name, (U, V) in deltas.pairs.items()}), {**card, **model_identity(model)}
        )


KEYS, CONTEXT = "cross-attention keys and values", "context embedder"

EMBEDDER = (
    "no key or value matrix of this model reads the token states as they come: the closed form is solved for the context embedder alone; "
    "what a pooled state, or a second encoder's tokens, say of the concept stays"
)


def read(model: Model, reads: str, prompts: Sequence[str]) -> Tensor:
    """What a matrix multiplies for prompts [N, tokens, width], in double precision."""
    return model.linear_input(reads, model.encode(prompts)).double().cpu()


def reads_prompts(model: Model, group: str) -> tuple[Site, ...]:
    """The sites of a weight group, if all of them multiply what the prompt alone gives."""
    with suppress(InputError):  # it has no such group
        sites = model.weight_group(group)
        return sites if all(site.reads for site in sites) else ()
    return ()


def readers(model: Model) -> tuple[Site, ...]:
    """The key and value matrices, where they multiply the text encoder's token states themselves; else the context embedder."""
    if sites := reads_prompts(model, KEYS) or reads_prompts(model, CONTEXT):
        return sites
    raise InputError("a closed form needs a matrix that reads the token states as they come: in this model there is none")


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

    def __call__(self, model: Model, *concepts: Concept, progress: ProgressCallback = lambda progress: None) -> Edit:
        concepts = model.complete(concepts)
        progress(Progress("closed form", 0, 1))
        W0, c, g, k = self.system(model, concepts)
        pairs = {name: self.pair(w, c, w @ g.T, k) for name, w in W0.items()}
        for turn in range(self.rounds):
            progress(Progress("closed form, what is left of it", turn, self.rounds))
            W = {name: w + pairs[name][0] @ pairs[name][1] for name, w in W0.items()}
            found = self.find(list(W.values()), list(W0.values()), c)
            pairs = {name: stack_pairs(pairs[name], self.pair(w, found, w @ g.T, k)) for name, w in W.items()}
        return self.edit(model, pairs, make_card("rece", self, concepts, model))

    def kept(self, named: Sequence[str]) -> list[str]:
        return ["", *named]

    def find(self, W: Sequence[Tensor], W0: Sequence[Tensor], c: Tensor) -> Tensor:
        """c' [N, width]: what the edited matrices W map to where W0 mapped c."""
        M = self.ridge * torch.eye(c.shape[1], dtype=c.dtype) + torch.stack([w.T @ w for w in W]).sum(0)
        return torch.linalg.solve(M, torch.stack([w.T @ w0 for w, w0 in zip(W, W0)]).sum(0) @ c.T).T
