"""Adapters of the denoiser as a whole: they change what guidance is computed from.

They sit behind the denoiser like any adapter and may call it again with another prompt. Guidance
itself stays in the sampler: ε(∅) + s · (ε(c) − ε(∅)), computed from the adapter's outputs, is the
guidance of the method. The extra calls are made in every sampling step of every image.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models.conditioning import per_row
from ..models.interface import Condition, Model
from ..models.pipeline_model import STATES

# Arguments of diffusers' denoisers that are part of a condition, besides the token states.
OTHERS = ("pooled_projections", "encoder_attention_mask", "encoder_hidden_states_mask")


@dataclass(frozen=True)
class DenoiserCall:
    """The inputs of one call of the denoiser.

    t              timesteps [N]
    condition      conditions [N, ...]
    predict_again  `predict_again(rows, condition)`: the prediction [M, ...] at the M selected rows
                   (bool [N]) under another condition [1, ...]
    """

    t: Tensor
    condition: Condition
    predict_again: Callable[[Tensor, Condition], Tensor]


def read_denoiser_call(module: nn.Module, args: tuple, kwargs: dict) -> DenoiserCall:
    """The inputs of a call of a diffusers denoiser, however its arguments were passed.

    Args:
        module: The denoiser.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        Its inputs under common names.
    """
    arguments = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    sample = "sample" if "sample" in arguments else "hidden_states"
    x = arguments[sample]
    timestep = torch.as_tensor(arguments["timestep"], device=x.device)
    if timestep.ndim < 2:  # else one for each token of each row
        timestep = timestep.expand(len(x))
    nested = arguments.get("added_cond_kwargs") or {}
    entries = {name: arguments.get(name) for name in (STATES, *OTHERS)}
    condition, rows_each = {}, {}
    for name, value in {**entries, **nested}.items():
        if value is not None:
            rows_each[name] = max(1, len(value) // len(x))  # a clip's states come once per frame
            condition[name] = value[:: rows_each[name]]

    def predict_again(rows: Tensor, other: Condition) -> Tensor:
        repeated = {}
        for name, value in other.items():
            dtype = x.dtype if value.is_floating_point() else value.dtype
            value = value.to(x.device, dtype)
            number = int(rows.sum()) * rows_each.get(name, 1)
            repeated[name] = value.expand(number, *value.shape[1:])
        changed = {sample: x[rows], "timestep": timestep[rows], "return_dict": False}
        if nested:
            changed["added_cond_kwargs"] = {name: repeated.pop(name) for name in nested}
        return module.forward(**{**arguments, **changed, **repeated})[0]

    t = timestep if timestep.ndim == 1 else timestep.amax(1)
    return DenoiserCall(t, condition, predict_again)


class GuidanceAdapter(nn.Module):
    """Base class: holds the conditions [1, ...] of the empty prompt and of the erased concept.

    Args:
        tensors: The conditions as `null_{name}` and `concept_{name}`, and the method's settings.
    """

    strength: Tensor
    timestep_scale: Tensor  # t divided by the denoiser's own timestep

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        defaults = {"strength": torch.ones(()), "timestep_scale": torch.ones(())}
        for name, tensor in {**defaults, **tensors}.items():
            self.register_buffer(name, tensor.detach().clone())

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]):
        """An adapter from its state dict.

        Args:
            tensors: What `tensors` returns, or the state dict of a saved adapter; copied.
        """
        return cls(tensors)

    @staticmethod
    def tensors(model: Model, concept: str) -> dict[str, Tensor]:
        """The tensors for a model and a prompt.

        Args:
            model: To be edited.
            concept: Prompt that names what is erased.

        Returns:
            Arguments of the constructor.

        Raises:
            InputError: The model does not use classifier-free guidance, or its denoiser cannot be
                called a second time.
        """
        if not model.uses_cfg:
            raise InputError(
                "this method modifies classifier-free guidance, "
                "but this model is guidance-distilled and does not use it"
            )
        parameters = inspect.signature(model.denoiser.forward).parameters
        if not {"sample", "hidden_states"} & set(parameters):
            raise InputError(
                "this method calls the denoiser a second time on a part of the batch, "
                "but this model's denoiser takes lists of images"
            )
        tensors = {"timestep_scale": torch.tensor(float(model.timestep_scale))}
        for role, prompt in (("null", ""), ("concept", concept)):
            for name, value in model.encode([prompt]).items():
                tensors[f"{role}_{name}"] = value
        return tensors

    def condition(self, role: str) -> dict[str, Tensor]:
        """A condition that the adapter holds.

        Args:
            role: "null" or "concept".

        Returns:
            Tensors [1, ...] by name.
        """
        prefix = f"{role}_"
        condition = {}
        for name, value in self.named_buffers():
            if name.startswith(prefix):
                condition[name.removeprefix(prefix)] = value
        return condition

    def unprompted(self, condition: Condition) -> Tensor:
        """Which rows of a condition are the empty prompt's.

        They are compared with a tolerance, since batches of another size are rounded differently,
        and on as many tokens as both have: a pipeline may pad to its longest prompt only.

        Args:
            condition: Of N rows.

        Returns:
            bool [N]
        """
        states = condition[STATES]
        null = self.condition("null")[STATES].to(states)
        n = min(states.shape[1], null.shape[1])
        distance = (states[:, :n] - null[:, :n]).flatten(1).norm(dim=1)
        return distance <= 1e-2 * null[:, :n].norm()


class NegativePrompt(GuidanceAdapter):
    """ε(∅) ← ε(∅) + s (ε(concept) − ε(∅))"""

    kind = "negative-prompt"

    def forward(self, y: Tensor, call: DenoiserCall) -> Tensor:
        """Change the denoiser's output at the rows of the empty prompt.

        Args:
            y: Output of the denoiser [N, C, H, W].
            call: Inputs of that call of the denoiser, with which it can predict again.

        Returns:
            The output [N, C, H, W]; `y` itself where no row is of the empty prompt.
        """
        rows = self.unprompted(call.condition)
        if not rows.any():
            return y
        negative = call.predict_again(rows, self.condition("concept"))
        return y.index_put((rows,), y[rows] + self.strength * (negative - y[rows]))


class SafeGuidance(GuidanceAdapter):
    """ε(c) ← ε(c) − s γ_t for every prompt c but the empty one; γ_t is defined in methods/sld.py.

    noise [T] converts outputs to noise: ε = noise[t] · output + a term without the prompt.
    """

    kind = "safe-guidance"
    noise: Tensor
    scale: Tensor
    threshold: Tensor
    warmup: Tensor
    momentum: Tensor
    beta: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__(tensors)
        self.last_t = -1
        self.step = 0
        self.velocity = torch.zeros(())  # ν_t

    def forward(self, y: Tensor, call: DenoiserCall) -> Tensor:
        """Change the denoiser's output at the rows of all prompts but the empty one.

        The momentum ν_t goes on from the previous step: calls must come in the order of a
        trajectory.

        Args:
            y: Output of the denoiser [N, C, H, W].
            call: Inputs of that call of the denoiser, with which it can predict again.

        Returns:
            The output [N, C, H, W]; `y` itself where all rows are of the empty prompt, and during
            the warm-up.
        """
        rows = ~self.unprompted(call.condition)
        if not rows.any():
            return y
        prompted = y[rows]
        concept = call.predict_again(rows, self.condition("concept"))
        null = call.predict_again(rows, self.condition("null"))
        t = (self.timestep_scale * call.t[rows]).round().long().clamp(max=len(self.noise) - 1)
        difference = per_row(self.noise.to(y)[t], prompted) * (prompted - concept)
        scaled = (self.scale * difference.abs()).clamp(max=1)
        mu = torch.where(difference < self.threshold, scaled, 0.0)
        self.count_step(int(t[0]), prompted)
        gamma = mu * (concept - null) + self.momentum * self.velocity.to(y)
        self.velocity = self.beta * self.velocity.to(y) + (1 - self.beta) * gamma
        if self.step <= int(self.warmup):
            return y
        return y.index_put((rows,), prompted - self.strength * gamma)

    def count_step(self, t: int, like: Tensor) -> None:
        """Count the steps of a trajectory.

        A new trajectory begins where t does not decrease or the shape of the batch changes.

        Args:
            t: Of this step.
            like: Prediction of this step; the momentum begins as zeros of its shape.
        """
        if t >= self.last_t or self.velocity.shape != like.shape:
            self.step = 1
            self.velocity = torch.zeros_like(like)
        else:
            self.step += 1
        self.last_t = t
