"""Relearning: a LoRA trained on a few images of the concept, and the share shown along the way.

Source      Erased or Dormant?, arXiv 2505.16174; MemoRa, arXiv 2510.03263; the loss is DreamBooth's
            (arXiv 2208.12242) without its prior
Idea        how few images and steps bring back what was erased? A model that never knew the concept
            must learn it from nothing
Equation    min_{U,D} ‖ε − ε_{θ+UD}(x_t, t, c)‖²,  x_0 from k images, c their prompts
Access      whoever has the weights, and k images
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..callbacks import Progress
from ..models.interface import Model
from ..training.trainable_delta import TrainableDelta
from .denoising import denoising_loss, image_latents, learn, rows_of
from .interface import Attacked, Cases, Plain, Target, Victim
from .sampling import Walk, sample

GROUPS = ("attention blocks", "all")  # the first that a model has: also sites the edit left alone


@dataclass(frozen=True)
class Relearning(Plain):
    """Hyperparameters.

    images  that are learned from
    marks   steps after which the model is sampled
    rank    of the LoRA
    lr      of AdamW
    batch   images per step
    """

    clips: ClassVar[bool] = True
    chance_means: ClassVar[str] = "the same training on as many unrelated images"

    images: int = 4
    marks: tuple[int, ...] = (10, 30, 100, 300)
    rank: int = 4
    lr: float = 1e-4
    batch: int = 1

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Learn from images of the concept.

        Args:
            victim: The model that is attacked.
            target: Its images, with their prompts.
        """
        return self.curve(victim, target, target.images, target.named)

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Learn from unrelated images.

        Args:
            victim: The model that is attacked.
            target: Its other images, with their prompts.
        """
        return self.curve(victim, target, target.other_images, target.others)

    def curve(
        self, victim: Victim, target: Target, images: Tensor, cases: Cases
    ) -> Mapping[str, Attacked]:
        """Train, and keep the weights at every mark.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.
            images: [N, 3, H, W] in [0, 1], N >= `images`.
            cases: Their prompts.

        Returns:
            One entry per mark.
        """
        model, generator = victim.model, torch.Generator().manual_seed(target.seed)
        latents = image_latents(model, images[: self.images])
        rows: dict[str, Attacked] = {}
        with victim.on():
            condition = model.encode(cases.prompts[: self.images])
            group = next(name for name in GROUPS if has_group(model, name))
            lora = TrainableDelta(model, group, rank=self.rank, generator=generator)
            optimizer = torch.optim.AdamW(lora.trained, lr=self.lr)
            for step in range(1, max(self.marks) + 1):
                target.progress(Progress("relearning", step - 1, max(self.marks)))
                index = torch.randint(len(latents), (self.batch,), generator=generator)

                def loss(index: Tensor = index) -> Tensor:
                    c = rows_of(condition, index, model.device)
                    with lora.on():
                        return denoising_loss(model, latents[index], c, generator)

                learn(lora.trained, loss, optimizer)
                if step in self.marks:
                    label = f"{self.images} images, {step} steps"
                    rows[label] = self.relearned(victim, target, lora)
        return rows

    def relearned(self, victim: Victim, target: Target, lora: TrainableDelta) -> Attacked:
        """The victim with the LoRA as it is now.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.
            lora: Its present Δ is copied.
        """
        deltas = {name: delta.detach().clone() for name, delta in lora.deltas().items()}

        def around(model: Model):
            return lora.on(deltas)

        return Attacked(partial(sample, victim, walk=Walk(target.sampling, around=around)))


def has_group(model: Model, name: str) -> bool:
    """Does a model have a weight group?

    Args:
        model: Any.
        name: Of the group.
    """
    return name in getattr(model, "groups", ())
