"""Adapters of the denoiser as a whole: nothing in it changes, but what guidance is made of.

They sit behind the denoiser like any adapter, and may ask it again with another prompt. Guidance stays where it is, in the sampler:
ε(∅) + s · (ε(c) − ε(∅)) of what leaves here is the guidance of the method. That costs network calls in every picture.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models.interface import Condition, Model
from ..models.pipeline_model import STATES

# What else a condition may hold, as diffusers' denoisers call it.
OTHERS = ("pooled_projections", "encoder_attention_mask", "encoder_hidden_states_mask")


@dataclass(frozen=True)
class DenoiserCall:
    """What the denoiser was asked: t [N] and its condition; `again(rows, condition)` is its answer at some rows to another condition [1, ...]."""

    t: Tensor
    condition: Condition
    again: Callable[[Tensor, Condition], Tensor]


def read_denoiser_call(module: nn.Module, args: tuple, kwargs: dict) -> DenoiserCall:
    """The question behind one call of a diffusers denoiser, however its arguments were passed."""
    call = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    sample = "sample" if "sample" in call else "hidden_states"
    x, t = call[sample], torch.as_tensor(call["timestep"], device=call[sample].device).expand(len(call[sample]))
    nested = call.get("added_cond_kwargs") or {}
    said = {**{name: call[name] for name in (STATES, *OTHERS) if call.get(name) is not None}, **nested}

    def again(rows: Tensor, condition: Condition) -> Tensor:
        like = lambda value: value.to(x.device, x.dtype if value.is_floating_point() else value.dtype)
        spread = {name: like(value).expand(int(rows.sum()), *value.shape[1:]) for name, value in condition.items()}
        inside = {"added_cond_kwargs": {name: spread.pop(name) for name in nested}} if nested else {}
        return module.forward(**{**call, sample: x[rows], "timestep": t[rows], **spread, **inside, "return_dict": False})[0]

    return DenoiserCall(t, said, again)


class GuidanceAdapter(nn.Module):
    """The conditions [1, ...] of the empty prompt and of what is erased, as tensors null_… and concept_…"""

    strength: Tensor
    timestep_scale: Tensor  # what the denoiser is told times this is t

    def __init__(self, tensors: Condition):
        super().__init__()
        for name, tensor in {"strength": torch.ones(()), "timestep_scale": torch.ones(()), **tensors}.items():
            self.register_buffer(name, tensor.detach().clone())

    @classmethod
    def of(cls, tensors: Condition):
        return cls(tensors)

    @staticmethod
    def tensors(model: Model, concept: str) -> dict[str, Tensor]:
        """For a prompt that names what is erased."""
        if not model.uses_cfg:
            raise InputError("this method changes what guidance is made of, and this model is distilled: it samples without making any")
        if not {"sample", "hidden_states"} & set(inspect.signature(model.denoiser.forward).parameters):
            raise InputError(
                "this method asks the denoiser a second time, and this model's takes lists of pictures, which it cannot be asked with"
            )
        return {"timestep_scale": torch.tensor(float(model.timestep_scale))} | {
            f"{role}_{name}": value
            for role, prompt in (("null", ""), ("concept", concept))
            for name, value in model.encode([prompt]).items()
        }

    def condition(self, role: str) -> dict[str, Tensor]:
        return {name.removeprefix(f"{role}_"): value for name, value in self.named_buffers() if name.startswith(f"{role}_")}

    def unprompted(self, condition: Condition) -> Tensor:
        """Which rows were asked with the empty prompt [N]. Not to the bit: batches of another size round otherwise."""
        states, null = condition[STATES], self.condition("null")[STATES].to(condition[STATES])
        n = min(states.shape[1], null.shape[1])  # a pipeline may pad no further than its longest prompt
        states, null = states[:, :n], null[:, :n]
        return (states - null).flatten(1).norm(dim=1) <= 1e-2 * null.norm()


class NegativePrompt(GuidanceAdapter):
    """ε(∅) ← ε(∅) + s (ε(concept) − ε(∅))"""

    kind = "negative-prompt"

    def forward(self, y: Tensor, asked: DenoiserCall) -> Tensor:
        rows = self.unprompted(asked.condition)
        if not rows.any():
            return y
        return y.index_put((rows,), y[rows] + self.strength * (asked.again(rows, self.condition("concept")) - y[rows]))


class SafeGuidance(GuidanceAdapter):
    """ε(c) ← ε(c) − s γ_t for every prompt c but the empty one; γ_t is in methods/sld.py. noise [T] turns outputs into ε: ε = noise[t] · output + …"""

    kind = "safe-guidance"
    noise: Tensor
    scale: Tensor
    threshold: Tensor
    warmup: Tensor
    momentum: Tensor
    beta: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__(tensors)
        self.last, self.step, self.gathered = -1, 0, torch.zeros(())

    def forward(self, y: Tensor, asked: DenoiserCall) -> Tensor:
        rows = ~self.unprompted(asked.condition)
        if not rows.any():
            return y
        said, concept, null = y[rows], asked.again(rows, self.condition("concept")), asked.again(rows, self.condition("null"))
        t = (self.timestep_scale * asked.t[rows]).round().long().clamp(max=len(self.noise) - 1)
        noise = self.noise.to(y)[t].view(-1, *[1] * (said.ndim - 1))  # some denoisers answer in patches [N, tokens, width]
        difference = noise * (said - concept)
        mu = torch.where(difference < self.threshold, (self.scale * difference.abs()).clamp(max=1), 0.0)
        self.follow(int(t[0]), said)
        gamma = mu * (concept - null) + self.momentum * self.gathered.to(y)
        self.gathered = self.beta * self.gathered.to(y) + (1 - self.beta) * gamma
        return y.index_put((rows,), said - self.strength * gamma) if self.step > int(self.warmup) else y

    def follow(self, t: int, like: Tensor) -> None:
        """Count the steps of a trajectory; where t does not fall, or the batch is another one, a new one begins."""
        begins = t >= self.last or self.gathered.shape != like.shape
        self.step = 1 if begins else self.step + 1
        self.gathered = torch.zeros_like(like) if begins else self.gathered
        self.last = t
