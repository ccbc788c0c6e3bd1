"""Receler: reliable concept erasing by lightweight erasers.

Source      Huang, Chang, Tsai, Lai, Yang, Wang. ECCV 2024, arXiv 2311.17717; code jasper0314-huang/Receler.
Idea        Leave the weights alone; a small perceptron behind each cross-attention takes the concept out, only where the picture shows it,
            and against an adversary that looks for token states that bring it back.
Equation    L = E ‖ε_θ(x,c̃) − [ε*(x,∅) − η g*(x,c)]‖² + w R,       g*(x,c) = ε*(x,c) − ε*(x,∅)
            R = mean over blocks of Σ (E(o)·(1 − M))² / Σ (1 − M),  M: where attention to the concept's tokens, min-max normalised, is τ or more
            c̃: the states of c with `tokens` learnt ones behind the concept's, P ← P − lr Adam(∇ ‖ε_θ(x,c̃) − ε*(x,c)‖²), `attacks` times a step
Cost        Half a guided trajectory, three calls of the teacher, and `attacks` forwards and backwards, for every training step.
Problems    Slow. The edit is modules, not weights: other tools cannot merge it. Nothing holds ε_θ(·,∅).
Differs     x_t is met at its own t of the sampler's grid; theirs draws t anew, within the part of the schedule that the sampler's step stands for.
            The erasers learn from one more forward, behind the last step of the attack; theirs learn from that step's own, with the P before it.
            Adam of P begins anew for every training step; theirs goes on. The attention maps take a forward of their own.
            M comes from the maps nearest to 16 x 16; theirs from maps of 16 x 16 alone, and it stops where a model has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..callbacks import Progress, ProgressCallback
from ..concepts.concept import Concept
from ..edits.adapters import Eraser, build_adapter
from ..edits.edit import Edit
from ..edits.hooks import attach_adapters
from ..edits.provenance import make_card, model_identity
from ..errors import InputError, RunError
from ..models.interface import Condition, Model
from ..training.adversary import Adversary
from ..training.distributed import require_single_process
from ..training.replay import sample_point
from ..training.replay_trainer import Student
from ..training.resume import resumable_steps


@dataclass(frozen=True, kw_only=True)
class Receler:
    """Defaults are the authors'.

    attacks, attack_lr  of the inner adversary, per step; tokens: how many states it may choose, behind the concept's own
    local               w, weight of R;  threshold: τ
    """

    eta: float = 1.0
    rank: int = 128
    steps: int = 500
    lr: float = 3e-4
    attacks: int = 50
    attack_lr: float = 0.1
    tokens: int = 16
    local: float = 0.1
    threshold: float = 0.1
    sampling_steps: int = 50
    guidance: float = 3.0
    seed: int = 0

    def __post_init__(self):
        if self.attacks < 1:
            raise InputError("attacks is at least 1: the erasing happens inside the last of them")

    def loss(self, student: Student, x: Tensor, t: Tensor, c: Condition, target: Tensor) -> Tensor:
        """The first term; c holds the adversary's states, target is ε*(x,∅) − η g*(x,c)."""
        return (student(x, t, c) - target).square().mean()

    def locality(self, erasers: Mapping[str, Eraser], mask: Tensor) -> Tensor:
        """R for the erasers' last outputs, each [N, h·w, width]; mask [N, 1, H, W] in {0, 1}."""
        terms = []
        for eraser in erasers.values():
            assert eraser.added is not None
            side = round(eraser.added.shape[1] ** 0.5)
            outside = 1 - interpolate(mask, (side, side), mode="nearest").flatten(2).transpose(1, 2)
            terms.append(((eraser.added * outside) ** 2).mean(2, keepdim=True).sum() / outside.sum().clamp(min=1))
        return torch.stack(terms).mean()

    def __call__(self, model: Model, *concepts: Concept, progress: ProgressCallback = lambda progress: None) -> Edit:
        """Erase the concepts, one name drawn for each step. An alternative is not used."""
        require_single_process()
        generator = torch.Generator().manual_seed(self.seed)
        names = [name for concept in concepts for name in (concept.erase, *concept.synonyms)]
        sites = model.cross_attentions()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            erasers = {site: Eraser(width, self.rank) for site, width in sites.items()}
        optimizer = torch.optim.Adam([p for e in erasers.values() for p in e.parameters()], lr=self.lr)
        width = model.encode([""])[model.prompt_states_key].shape[2]
        adversary = Adversary(
            len(names), self.tokens, width, model.prompt_states_key, steps=self.attacks, lr=self.attack_lr, generator=generator
        )
        on = lambda: attach_adapters(model.components, erasers)
        for step in resumable_steps(self.steps, optimizer, generator, {"adversary": adversary.P}):
            of = torch.randint(len(names), (1,), generator=generator)
            name = names[int(of)]
            x, t = sample_point(model, [name], on, generator, steps=self.sampling_steps, guidance=self.guidance)
            c, null, ends = model.encode([name]), model.encode([""]), model.last_token_index([name])
            with torch.no_grad():
                said, unasked = model.predict(x, t, c), model.predict(x, t, null)
                target = unasked - self.eta * (said - unasked)
                mask = self.mask(model.attention(x, t, c, list(range(1, int(ends) + 1))))
            with on():
                adversary.attack(model.predict, x, t, c, ends, of, said)
                optimizer.zero_grad(set_to_none=True)
                value = self.loss(model.predict, x, t, adversary.disguised(c, ends, of), target)
                value = value + self.local * self.locality(erasers, mask)
                value.backward()
            if not torch.isfinite(value):
                raise RunError(f"the loss became {value.item()} at step {step}; nothing was kept. Try a lower learning rate.")
            optimizer.step()
            progress(Progress("training", step, self.steps, value.item(), on=on))
        card = make_card("receler", self, concepts, model)
        kept = {site: build_adapter(eraser.kind, eraser.state_dict()) for site, eraser in erasers.items()}
        return Edit({}, {**card, **model_identity(model), "training": {"steps": self.steps}}, kept)

    def mask(self, maps: Mapping[str, Tensor]) -> Tensor:
        """M [N, 1, h, w] out of attention maps [N, h, w] by site: those nearest to 16 x 16, their mean, min-max normalised."""
        side = min((m.shape[1] for m in maps.values()), key=lambda s: abs(s - 16))
        mean = torch.stack([m for m in maps.values() if m.shape[1] == side]).mean(0)
        low, high = mean.amin((1, 2), keepdim=True), mean.amax((1, 2), keepdim=True)
        return ((mean - low) / (high - low).clamp(min=1e-8) >= self.threshold).float()[:, None]
