"""Concept Ablation, model-based.

Source      Kumari, Zhang, Wang, Shechtman, Zhang, Zhu. ICCV 2023, arXiv 2303.13516;
            code nupurkmr9/concept-ablation.
Idea        On noisy images of the anchor, predict for the concept what is predicted for the anchor.
Equation    L(θ) = E ‖ε_θ(x,c) − sg ε_θ(x,a)‖²,      x: noisy images of the anchor a
            with `frozen`: the target is ε*(x,a)
Cost        `images` images of the anchor, sampled once; then one forward and backward pass and one
            call of the target for each step.
Problems    An anchor must be named. Its images must be sampled first. Nothing preserves ε_θ(·,∅).
Differences from the official code
            32 images instead of 1,000, of our prompts for the anchor instead of captions by a
            language model or from a file, by the family's own sampler in 50 steps instead of
            DPM-Solver++ in 25. They stay latents; theirs go through JPEG and the encoder, whose
            noise is sampled.
            In a prompt the concept replaces the anchor; for a style they append ", in the style of"
            to the caption.
            Images are not resized, cropped or mirrored, and prompts do not mention it ("zoomed in",
            "very small"), so the loss has no mask.
            They multiply the learning rate by batch size and number of processes (--scale_lr; 8e-6
            on one GPU), clip the gradient at 1, and use a weight decay of 1e-2; ours does none of
            this. The term on the anchor's images (--with_prior_preservation), the noise-based loss
            and memorized images are not implemented.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..config.ranges import SEEDS
from ..edits.edit import Edit
from ..edits.provenance import make_card
from ..errors import InputError
from ..models.interface import Condition, Model, Sampling
from ..training.online_trainer import OnlineTraining, StudentContext, train_online
from ..training.replay_trainer import Student

SAMPLED_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class ConceptAblation:
    """Defaults are the authors', except for the number of images (theirs: 1000).

    frozen          the target is the original model's prediction; False, as in their code: the
                    student's own
    group           weight group that is trained
    steps, lr       number of training steps, and their learning rate
    batch_size      noisy images in a step
    images          number of images of the anchor
    sampling_steps, guidance   sampling steps and CFG scale of these images
    seed            of the images, and of everything that is drawn in training
    """

    frozen: bool = False
    group: str = "cross-attention keys and values"
    steps: int = 100
    lr: float = 2e-6
    batch_size: int = 4
    images: int = 32
    sampling_steps: int = 50
    guidance: float = 6.0
    seed: int = 0

    def loss(
        self,
        student: Student,
        x: Tensor,
        t: Tensor,
        c: Condition,
        a: Condition,
        teacher_a: Tensor | None,
    ) -> Tensor:
        """L(θ) of the module's docstring.

        Args:
            student: Predicts ε_θ(x, ·) for x [N, C, H, W], t [N] and a condition.
            x: Noisy latents [N, C, H, W], noised images of the anchor.
            t: Timesteps [N].
            c: Conditions of the concept's prompts, N rows.
            a: Conditions of the anchor's prompts, N rows.
            teacher_a: With `frozen` ε*(x,a) [N, C, H, W], else None: the student's own prediction
                for a is the target.

        Returns:
            A scalar; only ε_θ(x,c) has gradients.
        """
        with torch.no_grad():
            target = student(x, t, a) if teacher_a is None else teacher_a
        return (student(x, t, c) - target).square().mean()

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Make each concept its alternative, the anchor."""
        concepts = model.complete(concepts)
        for concept in concepts:
            if concept.alternative is None:
                raise InputError(
                    f'Concept Ablation needs an anchor: name what replaces "{concept.erase}" (--to)'
                )
        pairs = [pair for concept in concepts for pair in concept.pairs()]
        progress(Progress("sampling images of the anchor", 0, 1))
        latents = self.anchor_latents(model, [anchor for _, anchor in pairs])

        def draw(step: int, student: StudentContext, generator: torch.Generator) -> tuple:
            rows = torch.randint(len(latents), (self.batch_size,), generator=generator)
            t = torch.randint(model.timesteps, (self.batch_size,), generator=generator)
            t = t.to(latents.device)
            noise = torch.randn(latents[rows].shape, generator=generator).to(latents)
            x = model.add_noise(latents[rows], noise, t)
            drawn = [pairs[row % len(pairs)] for row in rows.tolist()]
            c = model.encode([prompt for prompt, _ in drawn])
            a = model.encode([anchor for _, anchor in drawn])
            with torch.no_grad():
                teacher_a = model.predict(x, t, a) if self.frozen else None
            return x, t, c, a, teacher_a

        training = OnlineTraining(group=self.group, steps=self.steps, lr=self.lr, seed=self.seed)
        card = make_card("concept-ablation", self, concepts, model)
        return train_online(model, draw, self.loss, training, card=card, progress=progress)

    def anchor_latents(self, model: Model, prompts: list[str]) -> Tensor:
        """Images of the anchor, as latents.

        Args:
            model: Samples them.
            prompts: Used in turn; every image has its own seed.

        Returns:
            Finished latents [images, C, H, W].
        """
        prompts = [prompts[i % len(prompts)] for i in range(self.images)]
        latents = []
        for start in range(0, len(prompts), SAMPLED_AT_ONCE):
            chunk = prompts[start : start + SAMPLED_AT_ONCE]
            seeds = [(self.seed + start + i) % SEEDS for i in range(len(chunk))]
            latents.append(model.sample(chunk, seeds, Sampling(self.sampling_steps, self.guidance)))
        return torch.cat(latents)
