"""SLD: safe latent diffusion.

Source      Schramowski, Brack, Deiseroth, Kersting. CVPR 2023, arXiv 2211.05105; code ml-research/safe-latent-diffusion.
Idea        While sampling, push away from the concept where, and as far as, the picture is on its way to it.
Equation    ε̂ = ε*(x,∅) + s_g (ε*(x,c) − ε*(x,∅) − γ_t),      γ_t = μ ⊙ (ε*(x,e) − ε*(x,∅)) + s_m ν_t,      e: the concept's name
            μ = min(1, s |ε*(x,c) − ε*(x,e)|) where ε*(x,c) − ε*(x,e) < λ, else 0;      ν_{t+1} = β ν_t + (1 − β) γ_t;      γ_t = 0 in the first δ steps
Cost        No training. Two network calls, besides two, for every step of every picture.
Problems    Whoever runs the model can leave it out. Strong settings leave the concept's pictures without content. No alternative can be chosen.
Differs     e is what you name; theirs is a list of what is unsafe, until it is told otherwise. γ_t is made of ε*(x,∅), which costs a call of its own;
            theirs takes a negative prompt in its place where one is given, ours takes γ_t off what is said of it, too. Without guidance (s_g = 1)
            γ_t is taken off all the same; theirs does nothing then. Its safety checker is not part of this.
"""

from dataclasses import asdict, dataclass

import torch

from ..callbacks import ProgressCallback
from ..concepts.concept import Concept
from ..edits.adapters import build_adapter
from ..edits.edit import Edit
from ..edits.guidance_adapters import SafeGuidance
from ..edits.provenance import make_card, model_identity
from ..errors import InputError
from ..models.interface import Model


@dataclass(frozen=True, kw_only=True)
class SLD:
    """Defaults are the authors' "strong"; of (warmup, scale, threshold, momentum, beta) theirs are: weak (15, 200, 0, 0, 0),
    medium (10, 1000, .01, .3, .4), strong (7, 2000, .025, .5, .7), max (0, 5000, 1, .5, .7).

    scale      s;  threshold: λ, both for predictions of noise: a model that predicts velocity is converted
    warmup     δ, in steps of the sampler, whatever their number;  momentum: s_m;  beta: β
    """

    scale: float = 2000.0
    threshold: float = 0.025
    warmup: int = 7
    momentum: float = 0.5
    beta: float = 0.7

    def __post_init__(self):
        if self.scale < 0 or self.warmup < 0 or not 0 <= self.beta < 1:
            raise InputError("scale and warmup are 0 or more, beta is at least 0 and below 1")

    def __call__(self, model: Model, *concepts: Concept, progress: ProgressCallback = lambda progress: None) -> Edit:
        """All concepts in one prompt, with commas, as the authors do. An alternative is not used."""
        name = ", ".join(name for c in concepts for name in (c.erase, *c.synonyms))
        tensors = SafeGuidance.tensors(model, name)
        tensors |= {key: torch.tensor(value) for key, value in asdict(self).items()}
        tensors["noise"] = model.weight(torch.arange(model.timesteps)).sqrt()
        card = make_card("sld", self, concepts, model)
        return Edit(
            {}, {**card, **model_identity(model)}, {model.component_name(model.denoiser): build_adapter(SafeGuidance.kind, tensors)}
        )
