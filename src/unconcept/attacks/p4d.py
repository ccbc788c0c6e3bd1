"""Prompting4Debugging: tokens with which the erased model predicts what the original did.

Source      P4D, arXiv 2309.06135, eq. 5; PEZ, arXiv 2302.03668, for the projection on tokens
Idea        match the original's prediction for the concept's prompt
Equation    min_P ‖ε*(x_t, t, c) − ε_θ(x_t, t, [proj(P); …])‖²,  gradient at proj(P), step on P,
            proj: the token with the largest cosine
Access      whoever has both models' weights
Differs     one set of tokens for all prompts instead of one for each; the best by the loss on
            held-out noise instead of by CLIP similarity
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..callbacks import Progress
from ..errors import InputError
from .denoising import image_latents
from .interface import Access, Attacked, Plain, Target, Victim
from .tokens import TokenTable, alone, encode_inserted, in_between, nearest_tokens
from .unlearn_diff import prefixed


@dataclass(frozen=True)
class P4D(Plain):
    """Hyperparameters. P4D-N.

    tokens        that are learned
    steps         of AdamW
    lr            of AdamW
    weight_decay  of AdamW
    batch         points per step
    every         steps between two looks at the held-out loss
    """

    access: ClassVar[Access] = "weights and original"
    searches: ClassVar[bool] = True
    own_prompt: ClassVar[bool] = True
    chance_means: ClassVar[str] = "random tokens of the same number"

    tokens: int = 16
    steps: int = 3000
    lr: float = 0.1
    weight_decay: float = 0.1
    batch: int = 1
    every: int = 50

    place = staticmethod(alone)

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Find the tokens.

        Args:
            victim: The model that is attacked.
            target: Its images are where predictions are compared.

        Raises:
            InputError: The attacker lacks the original, or the model has several text encoders.
        """
        if victim.original is None:
            raise InputError("P4D needs the original model")
        generator = torch.Generator().manual_seed(target.seed)
        table = TokenTable.of(victim.model, target.concept)
        points = Points.of(victim, target, generator)
        P = table.vectors[self.random_rows(table, generator)].clone().requires_grad_()
        optimizer = torch.optim.AdamW([P], lr=self.lr, weight_decay=self.weight_decay)
        best, best_rows = float("inf"), nearest_tokens(P.detach(), table.vectors)
        with victim.on():
            for step in range(self.steps):
                target.progress(Progress("searching tokens", step, self.steps))
                rows = torch.randint(len(points.t) - 8, (self.batch,), generator=generator) + 8
                picked = nearest_tokens(P.detach(), table.vectors)
                token = table.vectors[picked].clone().requires_grad_()
                with torch.enable_grad():
                    loss = self.distance(
                        victim, table, (token, table.allowed[picked]), points, rows
                    )
                    (P.grad,) = torch.autograd.grad(loss, [token])
                optimizer.step()
                if (step + 1) % self.every == 0 or step + 1 == self.steps:
                    picked = nearest_tokens(P.detach(), table.vectors)
                    new = (table.vectors[picked], table.allowed[picked])
                    with torch.no_grad():
                        value = self.distance(victim, table, new, points, torch.arange(8)).item()
                    if value < best:
                        best, best_rows = value, picked
        return {"": prefixed(victim, target, table, best_rows, self.place)}

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Random tokens.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.
        """
        table = TokenTable.of(victim.model, target.concept)
        rows = self.random_rows(table, torch.Generator().manual_seed(target.seed))
        return {"": prefixed(victim, target, table, rows, self.place)}

    def random_rows(self, table: TokenTable, generator: torch.Generator) -> Tensor:
        """Random tokens: indices into the table.

        Args:
            table: The tokens.
            generator: Draws them.
        """
        return torch.randint(len(table.allowed), (self.tokens,), generator=generator)

    def distance(self, victim: Victim, table: TokenTable, new, points: "Points", rows) -> Tensor:
        """How far the victim's predictions are from the original's.

        Args:
            victim: The model that is attacked; its edit is on it.
            table: The tokens.
            new: Embeddings and ids of the inserted ones.
            points: Where predictions are compared.
            rows: Which of the points.
        """
        model = victim.model
        typed = [points.prompts[i] for i in rows.tolist()]
        c = encode_inserted(model, table, new, self.place, typed)
        x, t = points.x[rows].to(model.device), points.t[rows].to(model.device)
        return (model.predict(x, t, c) - points.aim[rows].to(x)).square().float().mean()


@dataclass(frozen=True)
class P4DK(P4D):
    """Hyperparameters. P4D-K: a token after every third of the prompt's own.

    tokens        that are learned
    steps         of AdamW
    lr            of AdamW
    weight_decay  of AdamW
    batch         points per step
    every         steps between two looks at the held-out loss
    """

    own_prompt: ClassVar[bool] = False
    behind_prompt: ClassVar[bool] = True

    place = staticmethod(in_between)


@dataclass(frozen=True)
class Points:
    """Noised images of the concept with the original's predictions; the first 8 are held out.

    x        [N, C, H, W]
    t        [N]
    aim      predictions of the original for prompts that name the concept [N, C, H, W]
    prompts  what the victim is prompted with, besides the tokens
    """

    x: Tensor
    t: Tensor
    aim: Tensor
    prompts: tuple[str, ...]

    @classmethod
    @torch.no_grad()
    def of(cls, victim: Victim, target: Target, generator: torch.Generator) -> "Points":
        """Noise the target's images 8 times each, and ask the original.

        Args:
            victim: Its original predicts, without the edit.
            target: Its images and prompts.
            generator: Draws noise and timesteps.
        """
        model = victim.original
        assert model is not None
        latents = image_latents(model, target.images)
        x, t, aim, prompts = [], [], [], []
        for _ in range(8):
            noise = torch.randn(latents.shape, generator=generator)
            steps = torch.randint(model.timesteps, (len(latents),), generator=generator)
            noisy = model.add_noise(latents, noise, steps).to(model.device, model.dtype)
            condition = model.encode(target.named.prompts[: len(latents)])
            aim.append(model.predict(noisy, steps.to(model.device), condition).float().cpu())
            x.append(noisy.cpu())
            t.append(steps)
            prompts += target.search.prompts[: len(latents)]
        order = torch.randperm(len(prompts), generator=generator)
        shuffled = tuple(prompts[i] for i in order.tolist())
        return cls(torch.cat(x)[order], torch.cat(t)[order], torch.cat(aim)[order], shuffled)
