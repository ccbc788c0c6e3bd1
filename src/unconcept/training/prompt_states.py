"""States of prompts, as the matrices that read them multiply them; see `closed_form`."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from ..errors import InputError
from ..models.conditioning import encode_points
from ..models.interface import Condition, Model, Site
from .moments import gram

KEYS, POOLED, CONTEXT = "cross-attention keys and values", "prompt embedders", "context embedder"

FREE_SHARE = 0.25  # of the directions, where the states of ∅ would hold all: so many are free

MOST_ROWS_BEHIND = 32  # states behind the end of a prompt that enter sums

# Singular values of the states of ∅ below this share of the largest one count as 0.
RANK_TOLERANCE = 1e-4


def prompt_readers(model: Model, *, pooled: bool = True) -> tuple[Site, ...]:
    """The matrices that multiply states which depend on the prompt alone.

    Args:
        model: The model.
        pooled: Include the layer that embeds the prompt's pooled state, in transformers.

    Returns:
        Keys and values where they read the text encoder's states; otherwise the layers that embed
        the prompt's token states and, with `pooled`, its pooled state.

    Raises:
        InputError: The model has no such matrix.
    """
    for group in (KEYS, *([POOLED] if pooled else []), CONTEXT):
        with suppress(InputError):  # the model has no such group
            sites = model.weight_group(group)
            if all(site.reads for site in sites):
                return sites
    raise InputError(
        "a closed form needs a matrix that reads the prompt's states as they come: "
        "this model has none"
    )


def weight_of(model: Model, site: Site) -> Tensor:
    """A weight of the model, as the closed forms compute with it.

    Args:
        model: The model; it is not changed.
        site: Which weight.

    Returns:
        W* [out, width] in double precision on the CPU.
    """
    owner, parameter = site.find(model.components)
    return getattr(owner, parameter).detach().cpu().double()


def states_of(model: Model, name: str, condition: Condition) -> list[Tensor]:
    """What a matrix multiplies for each prompt of a condition.

    Tokens that an attention mask hides are left out. Where a mask hides every token of a prompt,
    attention sees all of them, and so does this.

    Args:
        model: Computes the input of the matrix.
        name: Of the states that the matrix reads (`Site.reads`).
        condition: N encoded prompts.

    Returns:
        N tensors [visible tokens, width] in double precision on the CPU; of a pooled state, which
        has no tokens, [1, width].
    """
    states = model.linear_input(name, condition).detach().cpu().double()
    if states.ndim == 2:
        return [row[None] for row in states]
    masks = []
    for key, value in condition.items():
        if "mask" in key and value.shape == states.shape[:2]:
            masks.append(value)
    if not masks:
        return list(states)
    visible = masks[0].cpu().bool()
    visible = visible | ~visible.any(1, keepdim=True)
    return [prompt_states[seen] for prompt_states, seen in zip(states, visible, strict=True)]


def thin(rows: Tensor) -> Tensor:
    """Replace many rows by at most `MOST_ROWS_BEHIND` evenly spaced ones of the same total weight.

    The states behind a prompt's last token differ little from one to the next: sums of products
    over all of them are close to sums over a few.

    Args:
        rows: [n, width].

    Returns:
        [m, width], each row times √(n / m); the same tensor where n is small.
    """
    n = len(rows)
    if n <= MOST_ROWS_BEHIND:
        return rows
    every = -(-n // MOST_ROWS_BEHIND)
    chosen = rows[::every]
    return chosen * (n / len(chosen)) ** 0.5


def states_of_prompts(model: Model, name: str, prompts: Sequence[str]) -> list[Tensor]:
    """`states_of` for any number of prompts, encoded in batches.

    Args:
        model: Encodes the prompts.
        name: Of the states that the matrix reads (`Site.reads`).
        prompts: N prompts.

    Returns:
        N tensors [visible tokens, width] in double precision on the CPU.
    """
    states: list[Tensor] = []
    for condition in encode_points(model, prompts):
        states += states_of(model, name, condition)
    return states


def second_moments(model: Model, names: Sequence[str], prompts: Sequence[str]) -> dict[str, Tensor]:
    """E e eᵀ over all states of some prompts, one batch of prompts in memory at a time.

    Args:
        model: Encodes the prompts, each once.
        names: Of the states that the matrices read (`Site.reads`).
        prompts: One or more.

    Returns:
        By name [width, width] in double precision on the CPU.
    """
    totals = {name: torch.zeros((), dtype=torch.double) for name in names}
    counts = dict.fromkeys(names, 0)
    ends = (model.last_token_index(prompts) + 2).tolist()  # behind the end token
    for condition in encode_points(model, prompts):
        for name in names:
            rows: list[Tensor] = []
            for states, end in zip(states_of(model, name, condition), ends, strict=False):
                rows += [states[:end], thin(states[end:])]
                counts[name] += len(states)
            totals[name] = totals[name] + gram(torch.cat(rows))
        ends = ends[len(next(iter(condition.values()))) :]
    return {name: total / counts[name] for name, total in totals.items()}


def unchanged_basis(model: Model, name: str) -> Tensor:
    """An orthonormal basis of the states of the empty prompt, which must not change.

    Where a long template surrounds ∅, its states may fill all directions and leave the concept
    none: then only the strongest ones are held, and a `FREE_SHARE` of all is free.

    Args:
        model: Encodes ∅.
        name: Of the states that the matrices read (`Site.reads`).

    Returns:
        K [width, m]; m is 0 where all states of ∅ are 0.
    """
    states = states_of(model, name, model.encode([""]))[0]
    if not states.any():
        return states.new_zeros(states.shape[1], 0)
    _, values, right = torch.linalg.svd(states, full_matrices=False)
    basis, width = right[values > RANK_TOLERANCE * values[0]], states.shape[1]
    if len(basis) == width:
        basis = basis[: int((1 - FREE_SHARE) * width)]
    return basis.T


def empty_prompt_state(model: Model, name: str) -> Tensor:
    """The state that the concept's tokens become where nothing appears instead.

    Args:
        model: Encodes ∅.
        name: Of the states that the matrices read (`Site.reads`).

    Returns:
        The state of ∅ behind its start token [width].
    """
    states = states_of(model, name, model.encode([""]))[0]
    return states[min(int(model.last_token_index([""])[0]) + 1, len(states) - 1)]
