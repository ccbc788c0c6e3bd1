"""Negative prompt: the baseline that needs no method.

Source      Common practice with classifier-free guidance (Ho, Salimans 2022, arXiv 2207.12598);
            as composition: Liu et al. 2022, arXiv 2206.01714.
Idea        Guide away from the concept instead of away from the empty prompt.
Equation    ε̂ = ε*(x,n) + s (ε*(x,c) − ε*(x,n))          n: the concept's name, instead of ∅
Cost        No training. A third network call in every sampling step of every image.
Problems    Every image changes, since ∅ is part of all of them. Whoever runs the model can leave it
            out. No alternative can be chosen.
Differences from the official code
            None known: images equal those of diffusers' own negative prompt. A negative prompt that
            the user passes to the pipeline stays, and the concept is not added to it.
"""

from dataclasses import dataclass

from ..callbacks import ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..edits.adapters import build_adapter
from ..edits.edit import Edit
from ..edits.guidance_adapters import NegativePrompt as Adapter
from ..edits.provenance import make_card, model_identity
from ..models.interface import Model


@dataclass(frozen=True, kw_only=True)
class NegativePrompt:
    """synonyms: name them as well, behind the concept."""

    synonyms: bool = True

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Put all concepts in one negative prompt, with commas. The alternative is not used."""
        concepts = model.complete(concepts)
        names = []
        for concept in concepts:
            names.append(concept.erase)
            if self.synonyms:
                names.extend(concept.synonyms)
        tensors = Adapter.tensors(model, ", ".join(names))
        card = {**make_card("negative-prompt", self, concepts, model), **model_identity(model, ())}
        adapters = {}
        for site in model.denoiser_names:
            adapters[site] = build_adapter(Adapter.kind, tensors)
        return Edit({}, card, adapters)
