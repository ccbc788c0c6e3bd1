"""Stage 4.

The tokenizer: CLIP's byte-pair encoding, cut to its first merges and those that our words need.

Merges are in the order in which they were learnt, so a prefix (closed under what its members are
made of) is a valid encoding, and every byte stays in the vocabulary: unseen words are spelt in
pieces, never unknown.
"""

import gzip
import importlib.util
from pathlib import Path

from transformers.models.clip.tokenization_clip import CLIPTokenizer

from unconcept.models.emoji.vocabulary import CATEGORIES, COLOURS, OBJECTS, STYLES

START, END, LENGTH, PREFIX = "<|startoftext|>", "<|endoftext|>", 32, 4000


def clip_merges() -> list[tuple[str, str]]:
    """The 48,894 merges of CLIP, from the vocabulary file of the package open_clip_torch (MIT); the
    package is not imported.
    """
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "pip install --no-deps open_clip_torch: its vocabulary file is needed once, "
            "to cut the tokenizer"
        )
    lines = (
        gzip.decompress((Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz").read_bytes())
        .decode()
        .split("\n")
    )
    return [(a, b) for a, b in (line.split() for line in lines[1 : 49152 - 256 - 2 + 1])]


def bytes_in_order() -> list[str]:
    """CLIP's printable stand-ins for the 256 bytes, in its order (Radford et al. 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(rest))]


def pieces(word: str, rank: dict[tuple[str, str], int]) -> set[tuple[str, str]]:
    """The merges that the full encoding uses to spell `word`."""
    parts, used = [*word[:-1], word[-1] + "</w>"], set()
    while len(parts) > 1:
        pair = min(zip(parts, parts[1:]), key=lambda p: rank.get(p, 10**9))
        if pair not in rank:
            break
        used.add(pair)
        i = next(i for i, p in enumerate(zip(parts, parts[1:])) if p == pair)
        parts[i : i + 2] = ["".join(pair)]
    return used


def make() -> CLIPTokenizer:
    merges = clip_merges()
    rank = {pair: i for i, pair in enumerate(merges)}
    phrases = [t.word for t in OBJECTS] + [s for t in OBJECTS for s in t.synonyms]
    phrases += [
        *CATEGORIES,
        *STYLES,
        *COLOURS,
        "background picture style left right next to the of and in on a an two",
    ]
    words = {
        word for phrase in phrases for word in phrase.replace("-", " ").replace("'", " ").split()
    }
    kept = set(merges[:PREFIX]).union(*(pieces(word, rank) for word in words))
    chosen = [pair for pair in merges if pair in kept]
    alphabet = bytes_in_order()
    vocabulary = [
        *alphabet,
        *(b + "</w>" for b in alphabet),
        *("".join(p) for p in chosen),
        START,
        END,
    ]
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(dict.fromkeys(vocabulary))},
        merges=chosen,
        model_max_length=LENGTH,
    )
