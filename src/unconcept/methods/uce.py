"""UCE: unified concept editing, and RECE on top of it. Closed forms: nothing is trained.

Source      Gandikota, Orgad, Belinkov, Materzyńska, Bau. WACV 2024, arXiv 2308.14761, eq. 7;
            code rohitgandikota/unified-concept-editing.
            Gong, Chen, Wei, Chen, Jiang. ECCV 2024, arXiv 2407.12383 (RECE); code
            CharlesGong12/RECE.
Idea        Every key and value matrix maps the concept's token to where it maps the guide's, and
            other tokens to where it mapped them. Transformers read the tokens in deeper layers
            only; there the context embedder is changed, the one matrix that reads them as they
            come.
Equation    W = W* + s Σ (W* g − W* c) cᵀ · (λI + s Σ c cᵀ + p Σ k kᵀ)⁻¹
            c: erased, g: guide, k: preserved tokens [width]
            ΔW = U V exactly, of rank N, the number of tokens c (RECE's ranks add up): the edit
            holds U and V where they are smaller than ΔW
            RECE: c' = (ρI + Σ WᵀW)⁻¹ (Σ WᵀW*) c  finds what still means c under the edited W
            (sums over matrices); then c' is erased, too
Cost        One pass of the text encoder, one solve of a [width, width] system for each matrix;
            seconds.
Problems    It maps the token states that it is given: other phrasings of the concept have other
            states.
Differences from the official code
            Prompts: "a pig", and the same of each synonym; theirs "pig", and with --expand_prompts
            five more (`phrasings`). Without an alternative the guide is ∅, also for a style,
            where theirs is "art". Where no retained word is named, ∅ is preserved; in the newer
            code nothing is. p is 1 by default; in the older code it is 1 over the number of
            preserved tokens, at least 0.1, and a list of artists is preserved where a style is
            erased. In Flux theirs also changes the layer that reads the pooled state. Its
            projection (technique "tensor") is not part of this.
            RECE: c' is sought for the concept's last token and those behind it; theirs for every
            token. Theirs continues from a UCE at λ = 0.5, and for nudity takes the round of three
            that a detector likes best; here every round has the same λ, and the second and last
            one is taken.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..edits.edit import Edit
from ..edits.provenance import make_card, model_identity
from ..edits.weight_deltas import Deltas, Pair, stack_pairs
from ..errors import InputError
from ..models.interface import Model, Site

KEYS, CONTEXT = "cross-attention keys and values", "context embedder"

EMBEDDER = (
    "no key or value matrix of this model reads the token states as they come: the closed form is "
    "solved for the context embedder alone; what a pooled state, or a second encoder's tokens, "
    "say of the concept stays"
)


class System(NamedTuple):
    """What a closed form is solved from: W* [out, width] by name, and rows of token states."""

    W: dict[str, Tensor]
    c: Tensor
    g: Tensor
    k: Tensor


@dataclass(frozen=True, kw_only=True)
class UCE:
    """Defaults are the authors', but for the phrasings.

    erase, preserve  s and p, weights of the erased and of the preserved tokens (a concept's `keep`)
    lam              λ, how firmly everything else is held
    tokens           "last": the last token of each prompt (the newer code); "all": it and every
                     token behind it, and of preserved prompts, ∅ among them, every token (the
                     older code; λ is 0.1 in its function, and 0.5 where its script calls it)
    phrasings        "article": each name once, an object with its article, "a pig"; "bare": each
                     name alone, "pig" (the authors'); "all": every template that ends with the
                     concept, "a picture of a pig" among them
    """

    erase: float = 1.0
    preserve: float = 1.0
    lam: float = 0.5
    tokens: Literal["last", "all"] = "last"
    phrasings: Literal["article", "bare", "all"] = "article"

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Map phrasings of the concepts to those of the alternative; without one, to the empty
        prompt.

        Args:
            model: The model, which is not changed.
            concepts: The concepts to erase, completed with what the model knows of them.
            progress: Called once, before the systems are solved.

        Returns:
            One edit for all concepts.
        """
        concepts = model.complete(concepts)
        progress(Progress("closed form", 0, 1))
        W, c, g, k = self.system(model, concepts)
        pairs = {name: self.pair(w, c, w @ g.T, k) for name, w in W.items()}
        return build_edit(model, pairs, make_card("uce", self, concepts, model))

    def system(self, model: Model, concepts: Sequence[Concept]) -> System:
        """The matrices, and the token states that they multiply.

        Args:
            model: The model that encodes the prompts.
            concepts: The concepts, completed.

        Returns:
            W* by name, and c [N, width], g [N, width], k [M, width], all in double precision on
            the CPU.
        """
        sites = readers(model)
        concept_prompts: list[str] = []
        guide_prompts: list[str] = []
        retained: list[str] = []
        for concept in concepts:
            for concept_prompt, guide_prompt in self.prompt_pairs(concept):
                concept_prompts.append(concept_prompt)
                guide_prompts.append(guide_prompt)
            retained += concept.keep
        c, g = self.states(model, sites[0].reads, concept_prompts, guide_prompts)
        k = self.preserved_states(model, sites[0].reads, self.preserved_prompts(retained))
        W = {}
        for site in sites:
            W[site.name] = getattr(*site.find(model.components)).detach().cpu().double()
        return System(W, c, g, k)

    def prompt_pairs(self, concept: Concept) -> list[tuple[str, str]]:
        """The prompts whose tokens are mapped, and those that they are mapped to.

        Args:
            concept: The concept, completed.

        Returns:
            (prompt that ends with a name of the concept, prompt of the guide) of each.
        """
        if self.phrasings == "all":
            return concept.pairs_ending_with_concept()
        if self.phrasings == "article":
            return concept.with_(templates=("{}",)).pairs()
        names = (concept.erase, *concept.synonyms)
        return [(name, concept.alternative or "") for name in names]

    def preserved_prompts(self, retained: Sequence[str]) -> list[str]:
        """The preserved prompts, ∅ among them where no word is named or all tokens are used.

        Args:
            retained: Words that are retained, of all concepts; each is a prompt.
        """
        return list(retained) if retained and self.tokens == "last" else ["", *retained]

    def pair(self, W: Tensor, c: Tensor, v: Tensor, k: Tensor) -> Pair:
        """Solve for the change of one matrix: U = s (v − W cᵀ), V = c (λI + s Σ c cᵀ + p Σ k kᵀ)⁻¹.

        Args:
            W: The matrix [out, width].
            c: States to erase [N, width].
            v: What the matrix shall make of them [out, N].
            k: States to preserve [M, width].

        Returns:
            U [out, N] and V [N, width], exactly ΔW = U V.
        """
        identity = torch.eye(W.shape[1], dtype=W.dtype)
        M = self.lam * identity + self.erase * c.T @ c + self.preserve * k.T @ k
        return self.erase * (v - W @ c.T), torch.linalg.solve(M, c.T).T  # M is symmetric

    def solve(self, W: Tensor, c: Tensor, v: Tensor, k: Tensor) -> Tensor:
        """The change of one matrix as a whole.

        Args:
            W: The matrix [out, width].
            c: States to erase [N, width].
            v: What the matrix shall make of them [out, N].
            k: States to preserve [M, width].

        Returns:
            ΔW [out, width].
        """
        U, V = self.pair(W, c, v, k)
        return U @ V

    def states(
        self, model: Model, reads: str, concepts: Sequence[str], guides: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """The states of concept prompts and of their guides, row by row.

        With `tokens="all"`, each pair of prompts gives as many trailing tokens as both have,
        counted from the last token of the words.

        Args:
            model: The model that encodes the prompts.
            reads: The name of the state that the matrices multiply.
            concepts: Prompts of the concepts.
            guides: The guide's prompt for each of them.

        Returns:
            c [N, width] and g [N, width].
        """
        concept_states = read_states(model, reads, concepts)
        guide_states = read_states(model, reads, guides)
        concept_ends = model.last_token_index(concepts).tolist()
        guide_ends = model.last_token_index(guides).tolist()
        c: list[Tensor] = []
        g: list[Tensor] = []
        for i, (concept_end, guide_end) in enumerate(zip(concept_ends, guide_ends)):
            n = 1
            if self.tokens == "all":
                n = concept_states.shape[1] - max(concept_end, guide_end)
            c.append(concept_states[i, concept_end : concept_end + n])
            g.append(guide_states[i, guide_end : guide_end + n])
        return torch.cat(c), torch.cat(g)

    def preserved_states(self, model: Model, reads: str, prompts: Sequence[str]) -> Tensor:
        """The states of preserved prompts: the last token of each, or all of them.

        Args:
            model: The model that encodes the prompts.
            reads: The name of the state that the matrices multiply.
            prompts: The preserved prompts.

        Returns:
            k [M, width], with `tokens="all"` the start tokens' states among them.
        """
        states = read_states(model, reads, prompts)
        if self.tokens == "all":
            return states.flatten(0, 1)
        return states[range(len(prompts)), model.last_token_index(prompts).tolist()]

    @staticmethod
    def remark(model: Model) -> str:
        """What a user must know about closed forms in this model; "" for nothing.

        Args:
            model: The model that is to be edited.
        """
        return "" if sites_that_read_prompts(model, KEYS) else EMBEDDER


@dataclass(frozen=True, kw_only=True)
class RECE(UCE):
    """Erase what still means the concept after UCE, `rounds` times. The empty prompt is always
    preserved.

    ridge  ρ: 0.1 for what is easily found again, 1e-3 for styles (the authors' values)
    """

    preserve: float = 0.1
    rounds: int = 2
    ridge: float = 0.1
    lam: float = 0.1
    tokens: Literal["last", "all"] = "all"
    phrasings: Literal["article", "bare", "all"] = "all"

    def __post_init__(self):
        if self.rounds < 1 or self.ridge <= 0:
            raise InputError("rounds is at least 1, and ridge above 0")

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """UCE, then `rounds` times: find what still means the concept, and erase that, too.

        Args:
            model: The model, which is not changed.
            concepts: The concepts to erase, completed with what the model knows of them.
            progress: Called before each round.

        Returns:
            One edit for all concepts.
        """
        concepts = model.complete(concepts)
        progress(Progress("closed form", 0, 1))
        W0, c, g, k = self.system(model, concepts)
        pairs = {name: self.pair(w, c, w @ g.T, k) for name, w in W0.items()}
        for turn in range(self.rounds):
            progress(Progress("closed form, remaining concept", turn, self.rounds))
            W = {name: w + pairs[name][0] @ pairs[name][1] for name, w in W0.items()}
            remaining = self.find(list(W.values()), list(W0.values()), c)
            for name, w in W.items():
                pairs[name] = stack_pairs(pairs[name], self.pair(w, remaining, w @ g.T, k))
        return build_edit(model, pairs, make_card("rece", self, concepts, model))

    def preserved_prompts(self, retained: Sequence[str]) -> list[str]:
        """∅ and the retained words."""
        return ["", *retained]

    def find(self, W: Sequence[Tensor], W0: Sequence[Tensor], c: Tensor) -> Tensor:
        """Find what the edited matrices map to where the original ones mapped the concept.

        Args:
            W: The edited matrices [out, width].
            W0: The original matrices [out, width].
            c: The concept's states [N, width].

        Returns:
            c' [N, width].
        """
        gram = torch.stack([w.T @ w for w in W]).sum(0)
        cross = torch.stack([w.T @ w0 for w, w0 in zip(W, W0)]).sum(0)
        M = self.ridge * torch.eye(c.shape[1], dtype=c.dtype) + gram
        return torch.linalg.solve(M, cross @ c.T).T


def build_edit(model: Model, pairs: Mapping[str, Pair], card: dict) -> Edit:
    """An edit in single precision, which holds the product of a pair where that is smaller.

    Args:
        model: The model that the edit belongs to.
        pairs: U [out, N] and V [N, width] by the name of the matrix.
        card: The edit's entries on its method and concepts.
    """
    deltas = Deltas.small(pairs)
    whole = {name: delta.float() for name, delta in deltas.whole.items()}
    small = {name: (U.float(), V.float()) for name, (U, V) in deltas.pairs.items()}
    return Edit(Deltas(whole, small), {**card, **model_identity(model, (*whole, *small))})


def read_states(model: Model, reads: str, prompts: Sequence[str]) -> Tensor:
    """What a matrix multiplies for prompts, in double precision on the CPU.

    Args:
        model: The model that encodes the prompts.
        reads: The name of the state that the matrix multiplies.
        prompts: N prompts.

    Returns:
        States [N, tokens, width].
    """
    return model.linear_input(reads, model.encode(prompts)).double().cpu()


def sites_that_read_prompts(model: Model, group: str) -> tuple[Site, ...]:
    """The matrices of a weight group, if all of them multiply states that the prompt alone gives.

    Args:
        model: The model.
        group: The name of the weight group.

    Returns:
        Its sites; none where the model has no such group, or a matrix reads something else.
    """
    with suppress(InputError):  # it has no such group
        sites = model.weight_group(group)
        return sites if all(site.reads for site in sites) else ()
    return ()


def readers(model: Model) -> tuple[Site, ...]:
    """The key and value matrices where they multiply the text encoder's states, else the context
    embedder.

    Args:
        model: Any model.

    Returns:
        At least one site, each with a name for `Model.linear_input`.

    Raises:
        InputError: The model has no matrix that reads token states as they come.
    """
    if sites := sites_that_read_prompts(model, KEYS) or sites_that_read_prompts(model, CONTEXT):
        return sites
    raise InputError(
        "a closed form needs a matrix that reads the token states as they come: this model has none"
    )
