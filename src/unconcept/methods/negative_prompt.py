"""Negative prompt: the baseline that everybody has.

Source      Common practice with classifier-free guidance (Ho, Salimans 2022, arXiv 2207.12598); as composition: Liu et al. 2022, arXiv 2206.01714.
Idea        Guide away from the concept instead of away from nothing.
Equation    ε̂ = ε*(x,n) + s (ε*(x,c) − ε*(x,n))          n: the concept's name, where ∅ stood
Cost        No training. A third network call, besides two, for every step of every picture.
Problems    Every picture changes, since ∅ is a part of all of them. Whoever runs the model can leave it out. No alternative can be chosen.
Differs     Nothing known: pictures are those of diffusers' own negative prompt. Where one is given besides, it stays, and the concept is not added to it.
"""

from dataclasses import dataclass

from ..callbacks import ProgressCallback
from ..concepts.concept import Concept
from ..edits.adapters import build_adapter
from ..edits.edit import Edit
from ..edits.guidance_adapters import NegativePrompt as Adapter
from ..edits.provenance import make_card, model_identity
from ..models.interface import Model


@dataclass(frozen=True, kw_only=True)
class NegativePrompt:
    """synonyms: name them, too, behind the concept."""

    synonyms: bool = True

    def __call__(self, model: Model, *concepts: Concept, progress: ProgressCallback = lambda progress: None) -> Edit:
        """All concepts in one negative prompt, with commas. An alternative is not used."""
        names = [name for c in concepts for name in (c.erase, *(c.synonyms if self.synonyms else ()))]
        tensors = Adapter.tensors(model, ", ".join(names))
        card = make_card("negative-prompt", self, concepts, model)
        return Edit({}, {**card, **model_identity(model)}, {model.component_name(model.denoiser): build_adapter(Adapter.kind, tensors)})
