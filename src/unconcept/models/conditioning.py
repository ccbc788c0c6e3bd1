"""Conditions of many points: rows selected, joined, mixed, and encoded in batches."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .interface import Condition, Model

# Conditions are encoded at most this many numbers at once: 16 prompts of Flux.1, 567 of
# Stable Diffusion 1.x.
MAX_CONDITION_NUMBERS = 2**25


@dataclass(frozen=True, eq=False)
class PromptConditions(Mapping[str, Tensor]):
    """The conditions of N points that share M distinct prompts.

    By name it returns tensors of N rows, gathered when they are needed.

    each   condition of every distinct prompt, M rows
    which  the prompt of every point [N], an index into `each`
    """

    each: Condition
    which: Tensor

    def __getitem__(self, name: str) -> Tensor:
        return self.each[name][self.which]

    def __iter__(self) -> Iterator[str]:
        return iter(self.each)

    def __len__(self) -> int:
        return len(self.each)

    @classmethod
    def of(cls, condition: Condition) -> "PromptConditions":
        """Convert any condition; its rows are then distinct prompts.

        Args:
            condition: N rows; a PromptConditions is returned as it is.
        """
        if isinstance(condition, cls):
            return condition
        rows = next(iter(condition.values()))
        return cls(condition, torch.arange(len(rows), device=rows.device))

    def rows(self, index: Tensor | slice) -> "PromptConditions":
        """The conditions of some of the points.

        Args:
            index: Which of the N points.
        """
        return PromptConditions(self.each, self.which[index])


# The conditions of ∅ of models without weights.
WITHOUT_WEIGHTS: MutableMapping[Model, Condition] = WeakKeyDictionary()


def empty_condition(model: Model) -> Condition:
    """The condition of the empty prompt.

    Args:
        model: Encodes it. A model on the device "meta" has shapes alone, which never change: it is
            encoded once. That takes seconds where a language model encodes prompts.

    Returns:
        One row.
    """
    if model.device.type != "meta":
        return model.encode([""])
    if model not in WITHOUT_WEIGHTS:
        WITHOUT_WEIGHTS[model] = model.encode([""])
    return WITHOUT_WEIGHTS[model]


def encode_points(model: Model, prompts: Sequence[str]) -> Iterator[Condition]:
    """Encode prompts in batches of at most `MAX_CONDITION_NUMBERS` numbers.

    Args:
        model: The model whose text encoders are used.
        prompts: N prompts.

    Yields:
        The conditions of consecutive prompts.
    """
    numbers = sum(tensor[0].numel() for tensor in model.encode([""]).values())
    batch = max(1, MAX_CONDITION_NUMBERS // numbers)
    for i in range(0, len(prompts), batch):
        yield model.encode(prompts[i : i + batch])


def gather_conditions(model: Model, prompts: Sequence[str]) -> Condition:
    """Encode prompts into CPU memory.

    Args:
        model: The model whose text encoders are used.
        prompts: N prompts.

    Returns:
        Their conditions, N rows, on the CPU.
    """
    gathered: dict[str, Tensor] = {}
    done = 0
    for batch in encode_points(model, prompts):
        size = len(next(iter(batch.values())))
        for name, tensor in batch.items():
            if name not in gathered:
                gathered[name] = tensor.new_empty(len(prompts), *tensor.shape[1:], device="cpu")
            gathered[name][done : done + size] = tensor
        done += size
    return gathered


@torch.no_grad()
def predict_in_batches(
    model: Model, x: Tensor, t: Tensor, condition: Condition, batch_size: int | None = None
) -> Tensor:
    """The model's prediction at many points that lie in CPU memory.

    Args:
        model: The model, on any device.
        x: Noisy latents [N, C, H, W].
        t: Timesteps [N].
        condition: N rows.
        batch_size: Points predicted at once; None: `model.max_batch`.

    Returns:
        Predictions [N, C, H, W] in single precision, on the CPU.
    """
    batch_size = batch_size or model.max_batch
    device = model.device
    conditions = PromptConditions.of(condition)
    predictions = []
    for i in range(0, len(t), batch_size):
        points = slice(i, i + batch_size)
        prompts = to_device(device, conditions.rows(points))
        prediction = model.predict(x[points].to(device), t[points].to(device), prompts)
        predictions.append(prediction.float().cpu())
    return torch.cat(predictions)


def to_device(device: torch.device, condition: Condition) -> Condition:
    """Move a condition.

    Args:
        device: Where to.
        condition: N rows.
    """
    return {name: value.to(device) for name, value in condition.items()}


def pick(condition: Condition, index: Tensor | slice) -> Condition:
    """Select rows of a condition.

    Args:
        condition: N rows.
        index: Which of them.
    """
    return {name: value[index] for name, value in condition.items()}


def join(*conditions: Condition) -> Condition:
    """Concatenate conditions into one batch.

    Args:
        *conditions: Conditions with the same entries.
    """
    joined = {}
    for name in conditions[0]:
        joined[name] = torch.cat([condition[name] for condition in conditions])
    return joined


def per_row(v: Tensor, like: Tensor) -> Tensor:
    """Shape a factor of every sample so that it multiplies latents of any rank.

    Args:
        v: One number per sample [N].
        like: Latents [N, ...] of images or videos.

    Returns:
        `v` as [N, 1, ..., 1] with as many dimensions as `like`.
    """
    return v.view(-1, *[1] * (like.ndim - 1))


def where_rows(which: Tensor, a: Condition, b: Condition) -> Condition:
    """Rows of `a` where `which` is true, and rows of `b` elsewhere.

    Args:
        which: Booleans [N].
        a: N rows.
        b: N rows.
    """
    mixed = {}
    for name, rows in b.items():
        mixed[name] = torch.where(per_row(which.to(rows.device), rows), a[name], rows)
    return mixed


def rank_by_similarity(states: Tensor, queries: Sequence[int]) -> Tensor:
    """Rank all prompts by how similar they are to some of them.

    Args:
        states: Token states [N, tokens, width].
        queries: Which rows to compare with.

    Returns:
        For each query all N rows, most similar first: indices [len(queries), N]. Similarity is
        the cosine of the centered states.
    """
    states = states.flatten(1)
    states = normalize(states - states.mean(0), dim=1)
    return (states @ states.T)[list(queries)].argsort(1, descending=True)
