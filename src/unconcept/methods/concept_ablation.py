"""Concept Ablation, model-based.

Source      Kumari, Zhang, Wang, Shechtman, Zhang, Zhu. ICCV 2023, arXiv 2303.13516; code nupurkmr9/concept-ablation.
Idea        Say of the anchor's noisy pictures, when asked for the concept, what is said when asked for the anchor.
Equation    L(θ) = E ‖ε_θ(x,c) − sg ε_θ(x,a)‖²,      x: noisy pictures of the anchor a;  with `frozen`: ε*(x,a)
Cost        As many pictures of the anchor as `pictures`, once; then one forward and backward, and one call of the target.
Problems    An anchor must be named. Pictures must be made first. Nothing holds ε_θ(·,∅).
Differs     Pictures: 32 for their 1,000, of our phrasings of the anchor for captions by a language model or from a file, by the family's own sampler
            in 50 steps for DPM-Solver++ in 25; they stay latents, theirs go through JPEG and the encoder, whose noise is drawn.
            Prompts: the concept stands where the anchor stood; of a style they put ", in the style of" behind the caption.
            No picture is resized, cropped or mirrored, and no prompt told so ("zoomed in", "very small"); so there is no mask in the loss.
            Their learning rate is multiplied by the batch and the number of processes (--scale_lr), 8e-6 on one card; the gradient is clipped at
            1, and weights decay by 1e-2: none of that here. Not here, too: the term on the anchor's pictures (--with_prior_preservation), the
            noise-based loss, and memorised pictures.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback
from ..concepts.concept import Concept
from ..edits.edit import Edit
from ..edits.provenance import make_card
from ..errors import InputError
from ..models.interface import Condition, Model
from ..training.online_trainer import train_online
from ..training.replay_trainer import Student


@dataclass(frozen=True, kw_only=True)
class ConceptAblation:
    """Defaults are the authors', but for the number of pictures (theirs: 1000).

    frozen  the target is the original model, not the student as it stands (their code takes the latter)
    """

    frozen: bool = False
    group: str = "cross-attention keys and values"
    steps: int = 100
    lr: float = 2e-6
    batch: int = 4
    pictures: int = 32
    sampling_steps: int = 50
    guidance: float = 6.0
    seed: int = 0

    def loss(self, student: Student, x: Tensor, t: Tensor, c: Condition, a: Condition, said: Tensor | None) -> Tensor:
        """said: ε*(x,a) where it is `frozen`."""
        with torch.no_grad():
            target = student(x, t, a) if said is None else said
        return (student(x, t, c) - target).square().mean()

    def __call__(self, model: Model, *concepts: Concept, progress: ProgressCallback = lambda progress: None) -> Edit:
        """Each concept becomes its alternative, the anchor."""
        for concept in concepts:
            if concept.alternative is None:
                raise InputError(f'Concept Ablation needs an anchor: say what comes instead of "{concept.erase}" (--to)')
        pairs = [pair for concept in concepts for pair in concept.pairs()]
        progress(Progress("pictures of the anchor", 0, 1))
        anchors = [pairs[i % len(pairs)][1] for i in range(self.pictures)]
        latents = torch.cat(
            [
                model.sample(anchors[i : i + 16], range(self.seed + i, self.seed + i + len(anchors[i : i + 16])), steps=self.sampling_steps, guidance=self.guidance)
                for i in range(0, len(anchors), 16)
            ]
        )  # fmt: skip

        def draw(step: int, on: Callable[[], AbstractContextManager], generator: torch.Generator):
            rows = torch.randint(len(latents), (self.batch,), generator=generator)
            t = torch.randint(model.timesteps, (self.batch,), generator=generator).to(latents.device)
            x = model.add_noise(latents[rows], torch.randn(latents[rows].shape, generator=generator).to(latents), t)
            c, a = (model.encode([pairs[r % len(pairs)][k] for r in rows.tolist()]) for k in (0, 1))
            with torch.no_grad():
                return x, t, c, a, model.predict(x, t, a) if self.frozen else None

        card = make_card("concept-ablation", self, concepts, model)
        return train_online(model, self.group, draw, self.loss, steps=self.steps, lr=self.lr, seed=self.seed, card=card, progress=progress)
