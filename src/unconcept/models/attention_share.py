"""How much of the attention of each place goes to some tokens of the prompt."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

QUERIES_AT_ONCE = 1024  # places whose attention to all tokens is in memory at a time


def record_maps(
    modules: Mapping[str, nn.Module],
    to_map: Callable[[Any, tuple, dict], Tensor],
    predict: Callable[[], Any],
) -> dict[str, Tensor]:
    """Compute a map beside each attention, while the network predicts.

    The model's own attention need not form this matrix.

    Args:
        modules: The attentions, by name.
        to_map: Of an attention, its positional and its named arguments.
        predict: Runs the network once.

    Returns:
        The map of each attention.
    """
    maps: dict[str, Tensor] = {}
    handles = []
    for site, module in modules.items():

        def record(module: Any, args: tuple, kwargs: dict, site: str = site) -> None:
            maps[site] = to_map(module, args, kwargs)

        handles.append(module.register_forward_pre_hook(record, with_kwargs=True))
    try:
        predict()
    finally:
        for handle in handles:
            handle.remove()
    return maps


def modules_at(components: Mapping[str, nn.Module], sites: Iterable[str]) -> dict[str, nn.Module]:
    """Modules of a pipeline, by the names that edits use.

    Args:
        components: Of the pipeline, by name.
        sites: "transformer.blocks.0.attn2": a component, and a path in it.
    """
    modules = {}
    for site in sites:
        component, _, path = site.partition(".")
        modules[site] = components[component].get_submodule(path)
    return modules


def to_maps(share: Tensor, x: Tensor, frames: int) -> Tensor:
    """Put the values of places where the places are.

    Args:
        share: One value for each place: [N, frames · h · w] or [N · frames, h · w].
        x: Latents of N images or clips, whose last two axes are height and width.
        frames: Frames of tokens.

    Returns:
        [N, h, w], of clips [N, frames, h, w].
    """
    height, width = x.shape[-2:]
    h = round((share.numel() / (len(x) * frames) * height / width) ** 0.5)
    maps = share.reshape(len(x), frames, h, -1)
    return maps if x.ndim == 5 else maps[:, 0]


def cross_share(module: Any, args: tuple, kwargs: dict, tokens: Sequence[int]) -> Tensor:
    """How much of the attention of each place goes to some tokens, in one call of an attention.

    Args:
        module: An attention of diffusers.
        args: Its positional arguments.
        kwargs: Its named arguments.
        tokens: Positions of the tokens.

    Returns:
        [N, places] in [0, 1]: mean over heads and sum over tokens.
    """
    # not every attention names what it passes on to its processor
    names = list(inspect.signature(module.forward).parameters)
    arguments = {**dict(zip(names, args)), **kwargs}
    q = split_heads(module.to_q(arguments["hidden_states"]), module.norm_q, module.heads)
    k = split_heads(module.to_k(arguments["encoder_hidden_states"]), module.norm_k, module.heads)
    mask = arguments.get("attention_mask")
    share = torch.zeros(q.shape[0], q.shape[2], device=q.device)
    for head in range(module.heads):  # one at a time: a clip has many places
        scores = (q[:, head] @ k[:, head].transpose(1, 2)).float() * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores + mask.reshape(len(scores), -1, scores.shape[-1])
        share += scores.softmax(-1)[..., list(tokens)].sum(-1)
    return share / module.heads


def split_heads(y: Tensor, norm: Any, heads: int) -> Tensor:
    """Split queries or keys by head and normalize them, each head or all of them together.

    Args:
        y: [N, places, heads · d].
        norm: The attention's norm of them, of width d or heads · d; None: they have none.
        heads: Number of heads.

    Returns:
        [N, heads, places, d]
    """
    if norm is not None and norm.weight.numel() == y.shape[-1]:
        return norm(y).unflatten(-1, (heads, -1)).transpose(1, 2)
    split = y.unflatten(-1, (heads, -1)).transpose(1, 2)
    return split if norm is None else norm(split)


def joint_share(q: Tensor, k: Tensor, columns: Sequence[int], hidden: Tensor | None) -> Tensor:
    """How much of a joint attention's queries goes to some of its keys.

    The softmax is over all keys; only some columns are formed, a part of the queries at a time.

    Args:
        q: Queries [N, heads, places, d].
        k: Keys of all tokens [N, heads, tokens, d].
        columns: Positions among the keys.
        hidden: Keys that are not attended to, bool [N, tokens]; None: all are.

    Returns:
        [N, places] in [0, 1]: mean over heads and sum over columns.
    """
    heads = q.shape[1]
    chunks = []
    for queries in q.split(QUERIES_AT_ONCE, dim=2):
        share = torch.zeros(q.shape[0], queries.shape[2], device=q.device)
        for head in range(heads):
            scores = (queries[:, head] @ k[:, head].transpose(1, 2)).float()
            scores = scores * q.shape[-1] ** -0.5
            if hidden is not None:
                scores = scores.masked_fill(hidden[:, None], -torch.inf)
            whole = scores.logsumexp(-1, keepdim=True)
            share += (scores[..., list(columns)] - whole).exp().sum(-1)
        chunks.append(share / heads)
    return torch.cat(chunks, dim=1)
