"""Classifier guidance: a classifier of noisy latents leads the erased model to the concept.

Source      When Are Concepts Erased From Diffusion Models?, arXiv 2505.17013, §4; arXiv 2105.05233
Idea        the prompt is blind, the image space is not
Equation    ε ← ε_cfg − s √(1 − ᾱ_t) ∇_x log p(concept | x_t, t)
Access      whoever runs the sampler, and has images
Differs     one classifier of a hidden layer of 256 instead of 1,024 and 512; trained on the few
            images that the attacker has, and as many of other things. Strength and η are chosen on
            other seeds
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from ..callbacks import Progress
from ..errors import InputError
from ..models.families.stable_diffusion import StableDiffusion
from .ddim import Gradient, NoisyWalk
from .denoising import image_latents, learn
from .interface import Access, Attacked, Plain, Target, Victim
from .noise import best_walk


@dataclass(frozen=True)
class ClassifierGuidance(Plain):
    """Hyperparameters.

    scales  strengths of the gradient
    etas    of DDIM
    steps   of AdamW, for the classifier
    lr      of AdamW
    """

    access: ClassVar[Access] = "images"
    chance_means: ClassVar[str] = "guided as strongly by a classifier of two random sets of others"

    scales: tuple[float, ...] = (30.0, 50.0, 75.0, 125.0)
    etas: tuple[float, ...] = (1.0, 1.17, 1.34, 1.51, 1.68, 1.85)
    steps: int = 2000
    lr: float = 1e-4

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Train the classifier and choose the strength.

        Args:
            victim: The model that is attacked.
            target: Its images are what the classifier learns.

        Raises:
            InputError: The model is not Stable Diffusion's U-Net.
        """
        return self.guided(victim, target, (target.images, target.other_images))

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """The same with a classifier that tells two sets of unrelated images apart.

        Args:
            victim: The model that is attacked.
            target: Its other images are what the classifier learns.
        """
        half = len(target.other_images) // 2
        return self.guided(victim, target, (target.other_images[:half], target.other_images[half:]))

    def guided(
        self, victim: Victim, target: Target, images: tuple[Tensor, Tensor]
    ) -> Mapping[str, Attacked]:
        """Sample with a classifier's gradient.

        Args:
            victim: The model that is attacked.
            target: Its search cases decide.
            images: What the classifier learns to recognise, and what not [N, 3, H, W] in [0, 1].
        """
        model = victim.model
        if not isinstance(model, StableDiffusion):
            raise InputError("classifier guidance walks by DDIM, which this family does not")
        positive, negative = (image_latents(model, part) for part in images)
        classifier = NoisyClassifier(positive[0].numel())
        self.train(classifier, model, positive, negative, target)
        gradient = gradient_of(classifier, model.alphas)
        walks = []
        for scale in self.scales:
            for eta in self.etas:
                walks.append(NoisyWalk(eta, gradient=gradient, strength=scale, seed=target.seed))
        return {"": best_walk(victim, target, walks)}

    def train(
        self,
        classifier: "NoisyClassifier",
        model: StableDiffusion,
        positive: Tensor,
        negative: Tensor,
        target: Target,
    ) -> None:
        """Train on noisy latents, more often on very noisy ones.

        Args:
            classifier: Changed in place.
            model: Mixes the noise.
            positive: Latents of the concept [N, C, H, W].
            negative: Latents of other things [M, C, H, W].
            target: Has the seed, and receives the progress.
        """
        generator = torch.Generator().manual_seed(target.seed)
        latents = torch.cat([positive, negative])
        labels = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))])
        weight = torch.tensor(len(negative) / len(positive))
        trained = list(classifier.parameters())
        optimizer = torch.optim.AdamW(trained, lr=self.lr, weight_decay=1e-3)
        for step in range(self.steps):
            if step % 100 == 0:
                target.progress(Progress("training a classifier", step, self.steps))
            rows = torch.randint(len(latents), (32,), generator=generator)
            uniform = torch.rand(len(rows), generator=generator)
            t = (uniform ** (1 / 3) * (model.timesteps - 1)).long()
            noise = torch.randn(latents[rows].shape, generator=generator)
            x = model.add_noise(latents[rows], noise, t)

            def loss(x: Tensor = x, t: Tensor = t, rows: Tensor = rows) -> Tensor:
                logits = classifier(x, model.alphas[t])
                return binary_cross_entropy_with_logits(logits, labels[rows], pos_weight=weight)

            learn(trained, loss, optimizer)
        classifier.requires_grad_(False)


class NoisyClassifier(nn.Module):
    """Is the concept in these noisy latents?"""

    def __init__(self, numbers: int, width: int = 256):
        """Two layers.

        Args:
            numbers: Of a sample's latents.
            width: Of the hidden layer.
        """
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.latents = nn.Linear(numbers, width)
            self.time = nn.Linear(2, width)
            self.logit = nn.Linear(width, 1)

    def forward(self, x: Tensor, ᾱ: Tensor) -> Tensor:
        """Logits [N].

        Args:
            x: [N, C, H, W].
            ᾱ: [N].
        """
        time = self.time(torch.stack([ᾱ.sqrt(), (1 - ᾱ).sqrt()], 1))
        return self.logit(nn.functional.silu(self.latents(x.flatten(1)) + time))[:, 0]


def gradient_of(classifier: NoisyClassifier, alphas: Tensor) -> Gradient:
    """∇_x log p(concept | x_t, t).

    Args:
        classifier: On the CPU.
        alphas: ᾱ of every timestep.
    """

    def gradient(x: Tensor, t: Tensor) -> Tensor:
        leaf = x.detach().float().cpu().requires_grad_()
        with torch.enable_grad():
            likelihood = logsigmoid(classifier(leaf, alphas[t.cpu()])).sum()
        return torch.autograd.grad(likelihood, [leaf])[0]

    return gradient
