"""What is read off a tokenizer of transformers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def whole_words(tokenizer: Any) -> tuple[str, ...]:
    """Words that are one token, in tokenizers that mark whole words as CLIP's does ("cat</w>").

    Args:
        tokenizer: Any tokenizer of transformers.

    Returns:
        The words of three letters or more, sorted.
    """
    words = []
    for token in tokenizer.get_vocab():
        word = token.removesuffix("</w>")
        if token.endswith("</w>") and len(word) > 2 and word.isascii() and word.isalpha():
            words.append(word)
    return tuple(sorted(words))


def texts_behind(tokenizer: Any, prompts: Sequence[str], limit: int) -> list[str]:
    """The part of each prompt that is not read.

    Args:
        tokenizer: A tokenizer of transformers.
        prompts: N prompts.
        limit: Tokens of a prompt that are read, special tokens apart.

    Returns:
        N texts; "" where the whole prompt is read.
    """
    texts = []
    for ids in tokenizer(list(prompts), add_special_tokens=False).input_ids if prompts else ():
        texts.append(tokenizer.decode(ids[limit:]).strip() if len(ids) > limit else "")
    return texts


def token_counts(tokenizer: Any, prompts: Sequence[str], limit: int) -> Tensor:
    """How many tokens each prompt has, special tokens included.

    Args:
        tokenizer: A tokenizer of transformers.
        prompts: N prompts.
        limit: The most that are counted.

    Returns:
        Counts [N].
    """
    if not prompts:
        return torch.tensor([], dtype=torch.long)
    ids = tokenizer(list(prompts), truncation=True, max_length=limit).input_ids
    return torch.tensor([len(row) for row in ids])
