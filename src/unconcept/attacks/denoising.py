"""The loss of learning from images: how badly a model predicts the noise in them.

L = ‖target(x_0, n, t) − ε_θ(x_t, t, c)‖²,    x_t from x_0 and noise n at a random t
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..models.conditioning import pick, to_device
from ..models.interface import Condition, Model


def denoising_loss(
    model: Model,
    latents: Tensor,
    condition: Condition,
    generator: torch.Generator,
    t: Tensor | None = None,
) -> Tensor:
    """The mean squared error of the native prediction at a random timestep of each row.

    Args:
        model: The student; an edit is on it already.
        latents: Clean latents [N, C, H, W].
        condition: N rows, through which gradients may go.
        generator: Draws noise and timesteps, on the CPU.
        t: Timesteps [N] instead of random ones.

    Returns:
        A scalar.
    """
    noise = torch.randn(latents.shape, generator=generator)
    if t is None:
        t = torch.randint(model.timesteps, (len(latents),), generator=generator)
    x, noise, t = (
        latents.to(model.device, model.dtype),
        noise.to(model.device, model.dtype),
        t.to(model.device),
    )
    prediction = model.predict(model.add_noise(x, noise, t), t, condition)
    return (prediction - model.target(x, noise, t)).square().float().mean()


def learn(
    trained: Sequence[Tensor],
    loss: Callable[[], Tensor],
    optimizer: torch.optim.Optimizer,
) -> float:
    """One optimisation step on tensors, without touching the gradients of anything else.

    Args:
        trained: The tensors.
        loss: Computes the scalar loss.
        optimizer: Of `trained`.

    Returns:
        The loss.
    """
    with torch.enable_grad():
        value = loss()
        gradients = torch.autograd.grad(value, trained, allow_unused=True)
    for tensor, gradient in zip(trained, gradients):
        tensor.grad = gradient
    optimizer.step()
    return value.item()


def image_latents(model: Model, images: Tensor) -> Tensor:
    """Latents of images, on the CPU.

    Args:
        model: Its autoencoder is used.
        images: Images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1].

    Returns:
        Latents of N images or clips in single precision.
    """
    at_once = 1 if model.frames else 64
    return torch.cat([model.latents(part).float().cpu() for part in images.split(at_once)])


def rows_of(condition: Condition, index: Tensor, device: torch.device) -> Condition:
    """Some rows of a condition on a device.

    Args:
        condition: N rows.
        index: Which of them.
        device: Where to.
    """
    return to_device(device, pick(condition, index.to(next(iter(condition.values())).device)))
