"""Which states of a concept's prompt become which states of its alternative's; see `closed_form`.

Tokens of the two names are paired from the last one back, the tokens behind the names in order.
"""

import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..concepts.concept import Concept
from ..models.interface import Model
from .prompt_states import empty_prompt_state, states_of_prompts, thin

PROMPTS_AT_ONCE = 32  # prompts of a concept that are encoded together

WORD = re.compile(r"\s*[\w'-]+|\s*[^\w\s]")

Span = tuple[int, int]


def concept_rows(
    model: Model, name: str, concept: Concept, prefixes: set[tuple[str, ...]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The states of each prompt of a concept, and how they should change.

    Args:
        model: Encodes the prompts.
        name: Of the states that the matrices read (`Site.reads`).
        concept: The concept, with its alternative, synonyms and templates.
        prefixes: Beginnings of retained prompts (`word_prefixes`), which are not part of the
            concept's name.

    Yields:
        x [n, width] and d [n, width] of each prompt.
    """
    empty = empty_prompt_state(model, name)
    pairs = []
    for template, word in concept.phrasings():
        pairs.append((concept.phrase(template, word), alternative_prompt(concept, template)))
    for start in range(0, len(pairs), PROMPTS_AT_ONCE):
        prompts, others = zip(*pairs[start : start + PROMPTS_AT_ONCE], strict=True)
        characters: list[Span] = []
        other_characters: list[Span] = []
        for prompt, other in zip(prompts, others, strict=True):
            span, other_span = differing_spans(prompt, other, prefixes)
            characters.append(span)
            other_characters.append(other_span)
        spans = zip(
            token_spans(model, prompts, characters),
            token_spans(model, others, other_characters),
            strict=True,
        )
        ends = (model.last_token_index(prompts) + 1).tolist()
        before = states_of_prompts(model, name, prompts)
        after = states_of_prompts(model, name, others)
        for x, y, (tokens, other_tokens), end in zip(before, after, spans, ends, strict=True):
            if len(x) == 1 and len(y) == 1:  # a pooled state
                yield x, y - x
            else:
                words = max(0, end - tokens[1])
                x_rows, y_rows = paired_rows(x, y, tokens, other_tokens, words, empty)
                yield x_rows, y_rows - x_rows


def paired_rows(
    x: Tensor, y: Tensor, tokens: Span, other_tokens: Span, words: int, empty: Tensor
) -> tuple[Tensor, Tensor]:
    """Pair the states of two prompts, from the concept's first token to the end of the context.

    Args:
        x: States of the concept's prompt [tokens, width].
        y: States of the alternative's prompt [tokens, width].
        tokens: First and last token of the concept in x. The tokens behind it are paired in order,
            as far as both prompts have them.
        other_tokens: First and last token of the alternative in y.
        words: How many tokens behind the concept belong to the prompt, its end token included.
        empty: The state that the concept's tokens become without an alternative [width].

    Returns:
        Rows of x, and the states that they become; both [n, width]. Of many tokens behind the
        prompt, some stand for all (`thin`).
    """
    places: list[int] = []
    targets: list[Tensor] = []
    for place, other_place in align_tokens(tokens, other_tokens):
        places.append(place)
        targets.append(empty if other_place is None else y[other_place])
    last, other_last = tokens[1], other_tokens[1]
    behind = min(len(x) - last, len(y) - other_last)
    x_behind, y_behind = x[last + 1 : last + behind], y[other_last + 1 : other_last + behind]
    x_rows = torch.cat([x[places], x_behind[:words], thin(x_behind[words:])])
    y_rows = torch.cat([torch.stack(targets), y_behind[:words], thin(y_behind[words:])])
    return x_rows, y_rows


def align_tokens(tokens: Span, other_tokens: Span) -> list[tuple[int, int | None]]:
    """Pair the tokens of the concept with those of the alternative, from the last one back.

    Args:
        tokens: First and last token of the concept.
        other_tokens: First and last token of the alternative; empty (last before first) without
            one.

    Returns:
        (token of the concept, token of the alternative that it becomes). Where the alternative has
        fewer tokens, the surplus ones become its last; without an alternative, None.
    """
    first, last = tokens
    other_first, other_last = other_tokens
    pairs: list[tuple[int, int | None]] = []
    for place in range(min(first, last), last + 1):
        other_place = other_last - (last - place)
        if other_last < other_first:
            pairs.append((place, None))
        elif other_place < other_first:
            pairs.append((place, other_last))
        else:
            pairs.append((place, other_place))
    return pairs


def alternative_prompt(concept: Concept, template: str) -> str:
    """The prompt with the alternative in place of the concept.

    Args:
        concept: The concept.
        template: One of its templates, with {} for the concept.

    Returns:
        The prompt; without an alternative, what is left when the concept's words are taken out:
        "on a blue background".
    """
    if concept.alternative is not None or "[" in template:
        return concept.instead(template)
    return template.partition("=>")[0].replace("{}", "").replace("{s}", "").strip(" ,")


def token_spans(model: Model, prompts: Sequence[str], characters: Sequence[Span]) -> list[Span]:
    """Convert spans of characters to spans of tokens.

    Args:
        model: Counts the tokens of the text before the start and before the end of each span.
        prompts: N prompts.
        characters: (start, end) in each prompt.

    Returns:
        (first, last) token of each span, both within it; `last` is `first` − 1 where the span is
        empty.
    """
    heads: list[str] = []
    parts: list[str] = []
    for prompt, (start, end) in zip(prompts, characters, strict=True):
        heads.append(prompt[:start].strip())
        parts.append(prompt[:end].strip())
    firsts = (model.last_token_index(heads) + 1).tolist()
    lasts = model.last_token_index(parts).tolist()
    return list(zip(firsts, lasts, strict=True))


def differing_spans(prompt: str, other: str, prefixes: set[tuple[str, ...]]) -> tuple[Span, Span]:
    """Find the one part in which two prompts differ, word by word.

    A word with which a retained prompt begins, too, is not part of the concept's name: the "a" of
    "a pig", although the other prompt is "an owl".

    Args:
        prompt: The concept's prompt.
        other: The alternative's prompt.
        prefixes: Beginnings of retained prompts (`word_prefixes`).

    Returns:
        (start, end) of that part in `prompt` and in `other`, in characters.
    """
    words, other_words = WORD.findall(prompt), WORD.findall(other)
    shorter = min(len(words), len(other_words))
    same_before = 0
    while same_before < shorter and words[same_before].strip() == other_words[same_before].strip():
        same_before += 1
    same_behind = 0
    while (
        same_behind < shorter - same_before
        and words[-1 - same_behind].strip() == other_words[-1 - same_behind].strip()
    ):
        same_behind += 1
    end, other_end = len(words) - same_behind, len(other_words) - same_behind
    first = same_before
    while first < end - 1 and tuple(word.strip() for word in words[: first + 1]) in prefixes:
        first += 1
    span = total_length(words[:first]), total_length(words[:end])
    return span, (total_length(other_words[:same_before]), total_length(other_words[:other_end]))


def total_length(words: Sequence[str]) -> int:
    """Number of characters of all words.

    Args:
        words: Matches of WORD, which begin with the blanks in front of the word.
    """
    return sum(map(len, words))


def word_prefixes(prompts: Sequence[str]) -> set[tuple[str, ...]]:
    """Every beginning of every prompt, in words.

    Args:
        prompts: Retained prompts.

    Returns:
        ("a",), ("a", "red") and ("a", "red", "bus") for "a red bus"; words and punctuation marks,
        without blanks.
    """
    beginnings = set()
    for prompt in prompts:
        words = tuple(word.strip() for word in WORD.findall(prompt))
        beginnings.update(words[:n] for n in range(1, len(words) + 1))
    return beginnings
