"""CCE: a word that is learned from a few images through the erased model draws the concept again.

Source      Circumventing Concept Erasure Methods (CCE), arXiv 2308.01508, eq. 2;
            textual inversion, arXiv 2208.01618
Idea        the concept's name is gone, its place in the space of word embeddings is not
Equation    v* = argmin_v  ‖ε − ε_θ(x_t, t, E("a photo of <v>"))‖²,  x_0 from images of the concept
Access      whoever has the weights, and a few images; the original is not needed
Differs     the word begins at the mean of all embeddings instead of at that of "object"
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..callbacks import Progress
from ..concepts.concept import Concept
from ..models.interface import Condition, Model
from .denoising import denoising_loss, image_latents, learn
from .interface import Access, Attacked, Cases, Plain, Target, Victim
from .sampling import Walk, encoded_by, sample
from .tokens import embedding_table, named_as

PLACEHOLDER = "*"


@dataclass(frozen=True)
class TextualInversion(Plain):
    """Hyperparameters.

    steps    of the optimizer
    lr       of AdamW
    batch    images per step; the authors' 4, accumulated over 4 steps
    vectors  embeddings that are learned, one behind the other
    """

    access: ClassVar[Access] = "weights"
    searches: ClassVar[bool] = True
    clips: ClassVar[bool] = True
    chance_means: ClassVar[str] = "a random word embedding of the same size"

    steps: int = 5000
    lr: float = 5e-3
    batch: int = 16
    vectors: int = 1

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Learn the word.

        Args:
            victim: The model that is attacked.
            target: Its images are learned from.

        Raises:
            InputError: The family does not give access to its text encoder's input.
        """
        model, generator = victim.model, torch.Generator().manual_seed(target.seed)
        latents = image_latents(model, target.images)
        prompts = disguised(target.concept, target.named.prompts, self.vectors)
        words = mean_embeddings(model, self.vectors)
        trained = [vector.requires_grad_() for vector in words.values()]
        optimizer = torch.optim.AdamW(trained, lr=self.lr)

        with victim.on():
            for step in range(self.steps):
                target.progress(Progress("learning a word", step, self.steps))
                for group in optimizer.param_groups:
                    group["lr"] = self.lr_at(step)
                rows = torch.randint(len(latents), (self.batch,), generator=generator)
                typed = [prompts[i] for i in rows.tolist()]

                def loss(rows: Tensor = rows, typed: Sequence[str] = typed) -> Tensor:
                    condition = encode_words(model, words, typed)
                    return self.loss(model, latents[rows], condition, generator)

                learn(trained, loss, optimizer)
        return {"": self.spoken(victim, target, words)}

    def lr_at(self, step: int) -> float:
        """The learning rate.

        Args:
            step: From 0 to `steps` − 1.
        """
        return self.lr

    def loss(
        self, model: Model, latents: Tensor, condition: Condition, generator: torch.Generator
    ) -> Tensor:
        """What the words are learned by.

        Args:
            model: The erased model.
            latents: Clean latents [N, C, H, W].
            condition: N rows, through which gradients go.
            generator: Draws noise and timesteps, on the CPU.

        Returns:
            A scalar.
        """
        return denoising_loss(model, latents, condition, generator)

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Random words as far from the mean as the model's own.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.
        """
        generator = torch.Generator().manual_seed(target.seed)
        words = {}
        for name, mean in mean_embeddings(victim.model, self.vectors).items():
            deviation = embedding_table(victim.model, name).std(0)
            noise = torch.randn(mean.shape, generator=generator).to(mean)
            words[name] = mean + deviation * noise
        return {"": self.spoken(victim, target, words)}

    def spoken(self, victim: Victim, target: Target, words: Condition) -> Attacked:
        """Cases in which the learned word stands for the concept's name.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled, and what the concept is called.
            words: Embeddings [vectors, width] by text encoder.
        """
        words = {name: vector.detach() for name, vector in words.items()}
        encode = partial(encode_words, victim.model, words)
        walk = Walk(target.sampling, around=partial(encoded_by, encode=encode))

        def sample_cases(cases: Cases) -> Tensor:
            prompts = disguised(target.concept, cases.prompts, self.vectors)
            return sample(victim, Cases(prompts, cases.seeds, cases.instead), walk)

        return Attacked(sample_cases)


def disguised(concept: Concept, prompts: Sequence[str], vectors: int) -> tuple[str, ...]:
    """Prompts with placeholders in place of the concept's name.

    Args:
        concept: Its names are replaced.
        prompts: Those without any of its names become "a picture of *".
        vectors: Number of placeholders.
    """
    return named_as(concept, prompts, " ".join([PLACEHOLDER] * vectors))


def mean_embeddings(model: Model, vectors: int) -> dict[str, Tensor]:
    """The mean of all token embeddings, several times.

    Args:
        model: Its text encoders are read.
        vectors: How many times.

    Returns:
        [vectors, width] in single precision by text encoder.
    """
    embedded, _ = model.embed([""])
    means = {}
    for name in embedded:
        mean = embedding_table(model, name).mean(0)
        means[name] = mean.expand(vectors, -1).clone()
    return means


def encode_words(model: Model, words: Condition, prompts: Sequence[str]) -> Condition:
    """Encode prompts whose placeholders have embeddings of their own.

    Args:
        model: Its text encoders are used.
        words: [vectors, width] by text encoder, through which gradients may go.
        prompts: N prompts with placeholders.

    Returns:
        The condition, N rows.
    """
    embedded, ids = model.embed(prompts)
    _, single = model.embed([PLACEHOLDER])
    _, letter = model.embed(["a"])  # has the same tokens around it
    replaced = {}
    for name, vectors in embedded.items():
        token = single[name][0][~torch.isin(single[name][0], letter[name][0])][-1]
        places = ids[name] == token
        order = (places.cumsum(1) - 1) % len(words[name])
        learned = words[name].to(vectors)[order]
        replaced[name] = torch.where(places[..., None], learned, vectors)
    return model.encode_from(replaced, ids)
