"""Every method with settings that make it quick on a tiny model. A new method adds one row."""

from dataclasses import replace

from unconcept import AllButOne, Concept, Tune
from unconcept.methods.concept_ablation import ConceptAblation
from unconcept.methods.esd import ESD
from unconcept.methods.negative_prompt import NegativePrompt
from unconcept.methods.receler import Receler
from unconcept.methods.sae import SAE
from unconcept.methods.sdd import SDD
from unconcept.methods.sld import SLD
from unconcept.methods.speed import SPEED
from unconcept.methods.spm import SPM
from unconcept.methods.t2v_unlearning import T2VUnlearning
from unconcept.methods.uce import RECE, UCE

TUNE = Tune(steps=4, batch_size=4, check=2, lr=1e-3, seed=1)
QUICK = dict(trajectories=10, points=2, sampling_steps=2, tune=TUNE)
WALK = dict(steps=3, lr=1e-3, sampling_steps=2)
ROWS = {
    "all-but-one": AllButOne(),
    "all-but-one, then the loss": AllButOne(**QUICK, rho=0.1, until=0.0, rounds=1),
    "all-but-one, from nothing": AllButOne(**QUICK, rho=0.1, start="none", rounds=1),
    "all-but-one, joint, no keep term": AllButOne(
        **QUICK, surgical=False, rho=0.0, start="none", rounds=1
    ),
    "all-but-one, against an adversary": AllButOne(
        **QUICK, rho=0.1, adversary=2, attacks=2, start="none", rounds=1
    ),
    "all-but-one, paraphrases": AllButOne(**QUICK, rho=0.1, paraphrase=0.5, start="none", rounds=1),
    "concept-ablation": ConceptAblation(**WALK, images=3),
    "concept-ablation, frozen": ConceptAblation(**WALK, images=3, frozen=True),
    "esd": ESD(**WALK),
    "esd, the newer form": ESD(**WALK, form="newer", eta=2.0, group="x-strict"),
    "esd, from the teacher, an attribute": ESD(
        **WALK, walk="teacher", erase_from="animal", eta=2.0
    ),
    "negative-prompt": NegativePrompt(),
    "rece": RECE(),
    "receler": Receler(**WALK, attacks=2, rank=4, tokens=3),
    "sae": SAE(features=512, active=8, steps=20, top=16, batch_size=16, cache=False),
    "sdd": SDD(**WALK, average=0.5),
    "sld": SLD(warmup=0),
    "speed": SPEED(),
    "speed, keys and values, no filter": SPEED(params="KV", filter=False, augment=0),
    "spm": SPM(**WALK),
    "t2v-unlearning": T2VUnlearning(**WALK, rank=4, trajectories=2, points=2),
    "uce": UCE(),
    "uce, all tokens": UCE(tokens="all", lam=0.1),
}
CONCEPTS = (
    Concept(erase="pig", alternative="cow"),
    Concept(erase="bomb", alternative="ball", keep=("cat",)),
)
REFUSALS = {  # what a family cannot do, and how it says so
    "stable-diffusion-xl": {SAE: "several text encoders"},
    "stable-diffusion-3": (
        JOINT := {
            SAE: "several text encoders",
            Receler: "no cross-attention",
            T2VUnlearning: "no cross-attention",
        }
    ),
    "flux": {**JOINT, NegativePrompt: "distilled", SLD: "distilled"},
    "flux-2-klein": (CHAT := {**JOINT, SAE: "inside a template"}),
    "qwen-image": CHAT,
    "z-image": {**CHAT, NegativePrompt: "lists", SLD: "lists"},
    "sana": {SAE: "inside a template"},
}
# A tiny random model needs long words and other settings where a template of hundreds of tokens
# surrounds the prompt, or where one network has a large influence.
LONG = tuple(
    Concept(erase=f"{a} " * 6, alternative=f"{b} " * 6, keep=("cat",))
    for a, b in (("pig", "cow"), ("bomb", "ball"))
)
HARD = {
    "flux": dict(tune=replace(TUNE, lr=3e-4)),
    "flux-2-klein": {},
    "qwen-image": dict(tune=replace(TUNE, batch_size=8)),
    "sana": dict(tune=replace(TUNE, lr=1e-5)),
    "z-image": dict(trajectories=12),
}
