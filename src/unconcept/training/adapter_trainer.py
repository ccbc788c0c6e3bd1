"""Train adapters behind modules of a model. The model's own weights get no gradients."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..callbacks import Progress, ProgressCallback, no_progress
from ..edits.adapters import Eraser, build_adapter
from ..edits.edit import Edit
from ..edits.hooks import attach_adapters
from ..edits.provenance import model_identity
from ..models.interface import Model
from .distributed import require_single_process
from .early_stopping import require_finite
from .resume import TrainingState, resumable

StudentContext = Callable[[], AbstractContextManager]

# loss(student): a scalar; inside `with student():` the model has the adapters
AdapterLoss = Callable[[StudentContext], Tensor]


@dataclass(frozen=True, kw_only=True)
class AdapterTraining:
    """How `train_adapters` trains.

    steps       number of steps
    lr          learning rate of Adam, constant
    decay       decoupled weight decay; 0: plain Adam
    generator   of all random numbers that the loss draws
    loss_state  tensors that the loss changes in place from step to step, by name
    """

    steps: int
    lr: float
    decay: float = 0.0
    generator: torch.Generator
    loss_state: Mapping[str, Tensor] = field(default_factory=dict)


def untrained_erasers(model: Model, rank: int, seed: int) -> dict[str, Eraser]:
    """An eraser behind each attention that reads the prompt, which changes nothing yet.

    Args:
        model: To be edited.
        rank: Hidden units of an eraser.
        seed: Of their random weights.

    Returns:
        Erasers by site, on the CPU, in single precision.

    Raises:
        InputError: The model has no such attention.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {site: Eraser(width, rank) for site, width in model.cross_attentions().items()}


def train_adapters(
    model: Model,
    erasers: Mapping[str, Eraser],
    loss: AdapterLoss,
    training: AdapterTraining,
    *,
    card: Mapping,
    progress: ProgressCallback = no_progress,
) -> Edit:
    """Minimize a loss by training adapters.

    Args:
        model: To be edited; its own tensors are never written.
        erasers: By site; trained in place.
        loss: `loss(student)` returns a scalar with gradients; it is called once in every step.
        training: Hyperparameters, the random generator and the state of the loss.
        card: What the edit says about itself; identity of the model and training are added.
        progress: Called after every step.

    Returns:
        The edit of the last step.

    Raises:
        RunError: The loss is not finite.
        InputError: There are several processes.
    """
    require_single_process()
    parameters = [p for eraser in erasers.values() for p in eraser.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=training.lr)
    if training.decay:
        optimizer = torch.optim.AdamW(parameters, lr=training.lr, weight_decay=training.decay)

    def student() -> AbstractContextManager:
        for eraser in erasers.values():
            eraser.added = None
        return attach_adapters(model.components, erasers)

    state = TrainingState(optimizer, training.generator, training.loss_state)
    for step in resumable(state, training.steps):
        value = loss(student)
        with student():  # gradient checkpointing runs modules again
            value.backward()
        require_finite(value.item(), step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress(Progress("training", step, training.steps, value.item(), on=student))

    adapters = {}
    for site, eraser in erasers.items():
        adapters[site] = build_adapter(eraser.kind, eraser.state_dict())
    card = {**card, **model_identity(model, ()), "training": {"steps": training.steps}}
    return Edit({}, card, adapters)


def mark_concept(maps: Tensor, threshold: float, each_frame: bool = True) -> Tensor:
    """Where an image or clip shows a concept: its attention map, min-max normalized, thresholded.

    Args:
        maps: Attention to the concept's tokens [N, h, w], of clips [N, frames, h, w].
        threshold: τ, in [0, 1].
        each_frame: Normalize every frame by itself, so that something is marked in each of them;
            false: all frames of a clip together.

    Returns:
        [N, frames, h, w] in {0, 1}; an image is one frame.
    """
    return (normalize_frames(maps, each_frame) >= threshold).float()


def normalize_frames(maps: Tensor, each_frame: bool = True) -> Tensor:
    """Attention maps, moved and scaled to [0, 1].

    Args:
        maps: [N, h, w], of clips [N, frames, h, w].
        each_frame: Every frame by itself; false: all frames of a clip together.

    Returns:
        [N, frames, h, w]; an image is one frame.
    """
    maps = maps[:, None] if maps.ndim == 3 else maps
    dims = (2, 3) if each_frame else (1, 2, 3)
    low, high = maps.amin(dims, keepdim=True), maps.amax(dims, keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-8)


def outside_energy(added: Tensor, marked: Tensor) -> Tensor:
    """Σ (E(o)·(1 − M))² / Σ (1 − M), what an eraser adds where the concept is not.

    Args:
        added: E(o): [N, frames · h · w, width] or [N · frames, h · w, width].
        marked: M [N, frames, H, W] in {0, 1}, resized to the eraser's places.

    Returns:
        A scalar; the mean over the width is taken.
    """
    n, frames, height, width = marked.shape
    added = added.reshape(n, frames, -1, added.shape[-1])
    h = round((added.shape[2] * height / width) ** 0.5)
    inside = interpolate(marked, (h, added.shape[2] // h), mode="nearest").flatten(2)
    outside = 1 - inside[..., None]
    squares = ((added * outside) ** 2).mean(3, keepdim=True)
    return squares.sum() / outside.sum().clamp(min=1)
