"""Noise probe: trajectories with more injected noise than the sampler would take.

Source      When Are Concepts Erased From Diffusion Models?, arXiv 2505.17013, §4
Idea        noise leads away from the paths on which the erasure was trained
Equation    DDIM with η ≥ 1 and injected noise times a scale (`ddim.py`)
Access      whoever sets the sampler
Differs     the authors keep the best of 24 trajectories by the classifier that also reports, each
            with new initial noise. Here η and scale are chosen on other seeds, and all start from
            the noise of the case's own seed
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from ..config.ranges import SEEDS
from .ddim import NoisyWalk, noisy_images
from .interface import Access, Attacked, Cases, Plain, Target, Victim
from .sampling import Walk, sample

OTHER_SEEDS = 2**40  # from the seed of a case to that of its control


@dataclass(frozen=True)
class Noise(Plain):
    """Hyperparameters.

    etas    of DDIM
    scales  of the injected noise
    """

    access: ClassVar[Access] = "images"
    clips: ClassVar[bool] = True
    chance_means: ClassVar[str] = "deterministic sampling with other seeds"

    etas: tuple[float, ...] = (1.0, 1.17, 1.34, 1.51, 1.68, 1.85)
    scales: tuple[float, ...] = (1.0, 1.02, 1.03, 1.04)

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """The best setting on the search cases.

        Args:
            victim: The model that is attacked.
            target: Its search cases decide.

        Raises:
            InputError: The model is not Stable Diffusion's U-Net.
        """
        walks = []
        for eta in self.etas:
            for scale in self.scales:
                walks.append(NoisyWalk(eta, scale, seed=target.seed))
        return {"": best_walk(victim, target, walks)}

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Other initial noise, and none injected.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.
        """

        def sample_cases(cases: Cases) -> Tensor:
            seeds = tuple((seed + OTHER_SEEDS) % SEEDS for seed in cases.seeds)
            other = Cases(cases.prompts, seeds, cases.instead)
            return sample(victim, other, Walk(target.sampling))

        return {"": Attacked(sample_cases)}


def best_walk(victim: Victim, target: Target, walks: list[NoisyWalk]) -> Attacked:
    """The walk that shows the concept in the most images of the search cases.

    Args:
        victim: The model that is attacked.
        target: Its search cases decide.
        walks: Two or more; a single one is not tried.
    """
    best, best_share = walks[0], -1.0
    for walk in walks if len(walks) > 1 else ():
        images = noisy_images(victim, target.search, target.sampling, walk)
        share = target.share(images)
        if share > best_share:
            best, best_share = walk, share
    setting = f"the best of {len(walks)} settings: η {best.eta:g}, noise × {best.scale:g}"
    if best.gradient is not None:
        setting += f", gradient × {best.strength:g}"
    sample_cases = partial(noisy_images, victim, sampling=target.sampling, walk=best)
    return Attacked(sample_cases, setting)
