"""SLD: safe latent diffusion.

Source      Schramowski, Brack, Deiseroth, Kersting. CVPR 2023, arXiv 2211.05105;
            code ml-research/safe-latent-diffusion.
Idea        While sampling, push the image away from the concept where it moves towards it.
Equation    ε̂ = ε*(x,∅) + s_g (ε*(x,c) − ε*(x,∅) − γ_t)                     e: the concept's name
            γ_t = μ ⊙ (ε*(x,e) − ε*(x,∅)) + s_m ν_t,      ν_{t+1} = β ν_t + (1 − β) γ_t
            μ = min(1, s |ε*(x,c) − ε*(x,e)|) where ε*(x,c) − ε*(x,e) < λ, else 0
            γ_t = 0 in the first δ steps
Cost        No training. Two additional network calls in every sampling step of every image.
Problems    Whoever runs the model can leave it out. Strong settings leave images of the concept
            without content. No alternative can be chosen.
Differences from the official code
            e is the concept's name; theirs is a list of unsafe contents by default. γ_t is computed
            with ε*(x,∅), which costs a call of its own; theirs uses a negative prompt instead where
            one is passed, and ours subtracts γ_t from its prediction, too. Without guidance
            (s_g = 1) ours subtracts γ_t as well; theirs does nothing then. Its safety checker is
            not implemented.
"""

from dataclasses import asdict, dataclass

import torch

from ..callbacks import ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..edits.adapters import build_adapter
from ..edits.edit import Edit
from ..edits.guidance_adapters import SafeGuidance
from ..edits.provenance import make_card, model_identity
from ..errors import InputError
from ..models.interface import Model


@dataclass(frozen=True, kw_only=True)
class SLD:
    """Defaults are the authors' "strong".

    Their settings of (warmup, scale, threshold, momentum, beta): weak (15, 200, 0, 0, 0), medium
    (10, 1000, 0.01, 0.3, 0.4), strong (7, 2000, 0.025, 0.5, 0.7), max (0, 5000, 1, 0.5, 0.7).

    scale      s, for predictions of noise: those of a model that predicts velocity are converted
    threshold  λ, likewise
    warmup     δ, in steps of the sampler, whatever their number
    momentum   s_m
    beta       β
    """

    scale: float = 2000.0
    threshold: float = 0.025
    warmup: int = 7
    momentum: float = 0.5
    beta: float = 0.7

    def __post_init__(self):
        if self.scale < 0 or self.warmup < 0:
            raise InputError("scale and warmup must be 0 or more")
        if not 0 <= self.beta < 1:
            raise InputError(f"beta is {self.beta}: it must be at least 0 and below 1")

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Guide away from the concept's name; several concepts stand in one prompt, with commas,
        as the authors' list of unsafe contents does.

        Synonyms and the alternative are not used.
        """
        if len(model.denoiser_names) > 1:
            raise InputError(
                "this model has two denoisers, and SLD's momentum goes on from step to step in one"
            )
        concepts = model.complete(concepts)
        together = ", ".join(concept.erase for concept in concepts)
        tensors = SafeGuidance.tensors(model, together)
        for setting, value in asdict(self).items():
            tensors[setting] = torch.tensor(value)
        tensors["noise"] = model.weight(torch.arange(model.timesteps)).sqrt()
        site = model.component_name(model.denoiser)
        card = {**make_card("sld", self, concepts, model), **model_identity(model, ())}
        return Edit({}, card, {site: build_adapter(SafeGuidance.kind, tensors)})
