"""What attacks on tokens share: the table of embeddings, banned tokens, and inserted tokens."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..concepts.concept import Concept
from ..errors import InputError
from ..models.interface import Condition, Model

# Which tokens a prompt consists of: (tokens read at most, index of the last token, new tokens) ->
# indices; old tokens come first, new ones are counted on from them.
Placement = Callable[[int, int, int], list[int]]

SHORTEST = 3  # letters: shorter pieces are parts of too many words to be banned

EVERY = 3  # tokens of the prompt between two of P4D-K


def named_as(concept: Concept, prompts: Sequence[str], name: str) -> tuple[str, ...]:
    """Prompts in which the concept is called something else.

    Args:
        concept: Its names are replaced, whatever their case.
        prompts: Those that contain none of them become "a picture of NAME".
        name: The other name.
    """
    names = sorted((concept.erase, *concept.synonyms), key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b", re.IGNORECASE)
    renamed = []
    for prompt in prompts:
        text, count = pattern.subn(lambda match: name, prompt)
        renamed.append(text if count else f"a picture of {name}")
    return tuple(renamed)


@dataclass(frozen=True)
class TokenTable:
    """The tokens that an attack may use.

    encoder  name of the text encoder
    allowed  ids [V]
    vectors  their embeddings [V, width], in single precision
    """

    encoder: str
    allowed: Tensor
    vectors: Tensor
    tokenizer: Any

    @classmethod
    def of(cls, model: Model, concept: Concept) -> "TokenTable":
        """The tokens of a model without those that spell the concept.

        Args:
            model: With a single text encoder.
            concept: Tokens that are part of one of its names, or contain one, are banned.

        Raises:
            InputError: The model has several text encoders, or hides its tokens.
        """
        embedded, _ = model.embed([""])
        if len(embedded) > 1:
            raise InputError("attacks on tokens are implemented for models with one text encoder")
        (name,) = embedded
        tokenizer = model.pipe.tokenizer  # type: ignore[attr-defined]
        banned = banned_tokens(tokenizer, (concept.erase, *concept.synonyms))
        table = embedding_table(model, name).cpu()
        allowed = [i for i in range(min(len(table), len(tokenizer))) if i not in banned]
        ids = torch.tensor(allowed)
        return cls(name, ids, table[ids], tokenizer)

    def draw(self, n: int, seed: int) -> Tensor:
        """Random tokens, the same for the same seed.

        Args:
            n: How many.
            seed: Of the draw.

        Returns:
            Indices into `allowed` [n].
        """
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(len(self.allowed), (n,), generator=generator)

    def text(self, rows: Tensor) -> str:
        """The text of tokens.

        Args:
            rows: Indices into `allowed` [n].
        """
        return str(self.tokenizer.decode(self.allowed[rows].tolist())).strip()


def embedding_table(model: Model, encoder: str) -> Tensor:
    """The embeddings of all tokens.

    Args:
        model: Has the text encoder.
        encoder: Its name in `components`.

    Returns:
        [V, width] in single precision.
    """
    module: Any = model.components[encoder]
    return module.get_input_embeddings().weight.detach().float()


def banned_tokens(tokenizer: Any, names: Sequence[str]) -> set[int]:
    """Tokens that spell a name or a part of it, and those that are not text.

    They are found by their decoded text: "pig" inside a word and "pig" at its end have two ids.

    Args:
        tokenizer: Any tokenizer of transformers.
        names: Of the concept.

    Returns:
        Token ids.
    """
    words = []
    for name in names:
        words += [name.lower(), *name.lower().split()]
    banned = set(tokenizer.all_special_ids)
    for token, i in tokenizer.get_vocab().items():
        text = tokenizer.decode([i]).strip().lower() or token.lower()
        spelled = len(text) >= SHORTEST and any(text in word for word in words)
        if spelled or any(len(word) >= SHORTEST and word in text for word in words):
            banned.add(i)
    return banned


def in_front(length: int, last: int, n: int) -> list[int]:
    """New tokens between the start token and the prompt, as in UnlearnDiffAtk.

    Args:
        length: Tokens that the encoder reads.
        last: Index of the prompt's last token.
        n: New tokens.
    """
    return [0, *range(length, length + n), *range(1, length)][:length]


def alone(length: int, last: int, n: int) -> list[int]:
    """New tokens instead of the prompt, as in P4D-N.

    Args:
        length: Tokens that the encoder reads.
        last: Index of the prompt's last token.
        n: New tokens.
    """
    rest = [*range(last + 1, length), *[length - 1] * length]
    return [0, *range(length, length + n), *rest][:length]


def in_between(length: int, last: int, n: int) -> list[int]:
    """A new token after every third of the prompt, the rest behind it, as in P4D-K.

    Args:
        length: Tokens that the encoder reads.
        last: Index of the prompt's last token.
        n: New tokens.
    """
    order, new = [0], list(range(length, length + n))
    for place in range(1, last + 1):
        order.append(place)
        if place % EVERY == 0 and new:
            order.append(new.pop(0))
    return [*order, *new, *range(last + 1, length)][:length]


def encode_inserted(
    model: Model, table: TokenTable, new: tuple[Tensor, Tensor], place: Placement, prompts
) -> Condition:
    """Encode prompts with new tokens in them.

    Args:
        model: Its text encoder is used.
        table: Says which encoder.
        new: Embeddings [n, width], through which gradients may go, and token ids [n].
        place: Where the tokens stand.
        prompts: N prompts.

    Returns:
        The condition, N rows.
    """
    embedded, ids = model.embed(prompts)
    vectors, old = embedded[table.encoder], ids[table.encoder]
    added, added_ids = new[0].to(vectors), new[1].to(old)
    length, n = old.shape[1], len(added)
    ends = model.last_token_index(prompts).tolist()
    order = torch.tensor([place(length, end, n) for end in ends], device=old.device)
    all_ids = torch.cat([old, added_ids.expand(len(old), n)], 1)
    all_vectors = torch.cat([vectors, added.expand(len(old), *added.shape)], 1)
    rows = torch.arange(len(old), device=old.device)[:, None]
    return model.encode_from(
        {table.encoder: all_vectors[rows, order]}, {table.encoder: all_ids[rows, order]}
    )


def nearest_tokens(P: Tensor, table: Tensor) -> Tensor:
    """The token with the largest cosine to each vector.

    Args:
        P: [n, width].
        table: [V, width].

    Returns:
        Indices into `table` [n].
    """
    P, table = torch.nn.functional.normalize(P), torch.nn.functional.normalize(table)
    return (P @ table.T).argmax(1)


def project_to_simplex(A: Tensor) -> Tensor:
    """The nearest rows that are probabilities (Duchi et al. 2008, figure 1).

    Args:
        A: [n, V].

    Returns:
        [n, V], each row at least 0 and with the sum 1.
    """
    ordered = A.sort(1, descending=True).values
    excess = ordered.cumsum(1) - 1
    count = torch.arange(1, A.shape[1] + 1, device=A.device)
    support = (ordered - excess / count > 0).sum(1, keepdim=True)
    threshold = excess.gather(1, support - 1) / support
    return (A - threshold).clamp(min=0)
