"""The lexicon: WordNet's nouns, with what they mean, what they are kinds of, and how common they
are.

It is one packaged file, a gzipped text that `pretraining/lexicon.py` makes from WordNet 3.1:

    the name of the format and WordNet's copyright notice, an empty line;
    a line for each meaning (a synset of WordNet) with fields separated by tabs: its topic; the
    numbers of the meanings that it is a kind of; its nouns with their counts in WordNet's corpus
    ("pig:7|hog"), the best known first; whether the first noun means that first of all (1), often
    (2) or seldom (3), and its rank among all words of image captions (nothing for meanings that
    have proper or scientific names alone); its gloss; an empty line;
    a line for each noun: the noun in lower case, and the numbers of its meanings, the most frequent
    first.

Meanings are numbered by their lines, from 0. The file is read once, when the first noun is looked
up.
"""

import functools
import gzip
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FORMAT = "# unconcept lexicon 1"

DATA = Path(__file__).parent / "wordnet-nouns.txt.gz"

# Topics (WordNet's lexicographer files) of what an image can show.
ANIMAL, ARTIFACT, BODY, FOOD, NATURE, PERSON, PHENOMENON, PLANT = 5, 6, 8, 13, 17, 18, 19, 20

DRAWABLE = (ANIMAL, ARTIFACT, BODY, FOOD, NATURE, PERSON, PHENOMENON, PLANT)

# How many of the words that represent all other prompts come from each topic.
RETAINED = {ARTIFACT: 46, ANIMAL: 14, FOOD: 12, PLANT: 8, PERSON: 8, NATURE: 10, PHENOMENON: 2}

# A noun with more direct kinds than that ("animal", "tool") is a class, not a thing to draw.
MOST_KINDS = 25

# A class with more kinds than that ("instrument", "mammal") has little in common.
WIDE, WIDEST = 700, 2500

# Neighbours have a lower rank; where there are few, any but the rarest.
COMMON_RANK, RARE_RANK = 75_000, 150_000

NEIGHBOURS = 16

# How often WordNet's corpus must have counted a noun that is retained.
COUNTED = 4

# Frequent nouns of drawable topics that nobody prompts for.
UNUSUAL = frozenset(
    """
    cover equipment feed female guy link load mine piece product release stuff surface unit
    """.split()  # noqa: SIM905  (a list of words is easier to read as words)
)

# How many times a meaning that an image can show counts in the choice of meanings: a "church" is a
# building.
IN_IMAGES = 3

# What a plural may end with, and its singular then.
ENDINGS = (("ies", "y"), ("ves", "f"), ("s", ""), ("es", ""), ("men", "man"))

# What a gloss says a thing is: "an adult female" hog, "a" vehicle "carrying many passengers".
STOP = (
    "of|for|with|in|on|to|by|from|at|as|than|like|that|which|who|whose|where|or|and|used|having|"
    "around|near|under|over|inside|outside|between|into|behind|beside|above|against|along|through|"
    "within|without|adjoining|surrounding|containing|holding|resembling|attached"
)
HEAD = rf"^(?:\([^)]*\) )?(?:(?!(?:{STOP})\b)[\w'-]+,? ){{0,5}}?"
END = rf"(?=$|[;,:.()]| (?:{STOP}|\w+ed|\w+ing|kept)\b)"


@dataclass(frozen=True)
class Entry:
    """What the lexicon says of a noun in one of its meanings.

    synonyms    other nouns with the same meaning
    members     kinds of it, the most frequent first: "gun" and "sword" of "weapon"
    neighbours  things that resemble it without being it: "sheep" of "pig"
    gloss       what it means
    number      of the meaning
    """

    synonyms: tuple[str, ...]
    members: tuple[str, ...]
    neighbours: tuple[str, ...]
    gloss: str
    number: int


class Lexicon:
    """WordNet's nouns. Meanings are numbers."""

    def __init__(self, text: str):
        """Take the packaged file apart.

        Args:
            text: Its content.
        """
        notice, meanings, nouns = text.split("\n\n", 2)
        if not notice.startswith(FORMAT):
            raise ValueError(f"the lexicon does not begin with {FORMAT!r}")
        self.rows = [line.split("\t") for line in meanings.split("\n")]
        self.nouns = dict(line.split("\t") for line in nouns.rstrip("\n").split("\n"))
        self.kinds: list[list[int]] = [[] for _ in self.rows]
        for number, row in enumerate(self.rows):
            for parent in row[1].split():
                self.kinds[int(parent)].append(number)

    def senses(self, noun: str) -> list[int]:
        """The meanings of a noun, the most frequent first.

        Args:
            noun: In capitals or not; a plural is looked up as its singular.

        Returns:
            Their numbers; [] for words that are not in the lexicon.
        """
        entry = self.nouns.get(self.singular(noun).lower(), "")
        return [int(number) for number in entry.split()]

    def singular(self, noun: str) -> str:
        """The singular of a noun that is only in the lexicon as such; any other noun itself."""
        if noun.lower() in self.nouns:
            return noun
        for ending, singular in ENDINGS:
            if noun.endswith(ending) and noun[: -len(ending)] + singular in self.nouns:
                return noun[: -len(ending)] + singular
        return noun

    def topic(self, number: int) -> int:
        """The topic of a meaning, one of WordNet's lexicographer files."""
        return int(self.rows[number][0])

    def parents(self, number: int) -> list[int]:
        """What a meaning is directly a kind of."""
        return [int(parent) for parent in self.rows[number][1].split()]

    def gloss(self, number: int) -> str:
        """What a meaning is, in a few words."""
        return self.rows[number][4]

    def counts(self, number: int) -> dict[str, int]:
        """The nouns of a meaning as they are written, and how often each was counted."""
        counts = {}
        for part in self.rows[number][2].split("|"):
            noun, _, count = part.partition(":")
            counts[noun] = int(count or 0)
        return counts

    def ancestors(self, number: int) -> Iterator[int]:
        """What a meaning is a kind of, the nearest first.

        Args:
            number: Of the meaning.

        Yields:
            Each of them once.
        """
        level = self.parents(number)
        passed = set()
        while level:
            above: list[int] = []
            for parent in level:
                if parent not in passed:
                    passed.add(parent)
                    yield parent
                    above += self.parents(parent)
            level = above

    def descendants(self, number: int, most: int | None = None) -> set[int]:
        """All kinds of a meaning, and kinds of these; without itself.

        Args:
            number: Of the meaning.
            most: Stop where there are more than so many.
        """
        everything: set[int] = set()
        waiting = list(self.kinds[number])
        while waiting and (most is None or len(everything) <= most):
            kind = waiting.pop()
            if kind not in everything:
                everything.add(kind)
                waiting += self.kinds[kind]
        return everything

    def main_noun(self, number: int) -> str:
        """The noun by which a meaning is known best."""
        return self.rows[number][2].partition("|")[0].partition(":")[0]

    def place_and_rank(self, number: int) -> tuple[int, int] | None:
        """How surely the main noun shows a meaning, and how common it is.

        Returns:
            (1 if the noun means that first of all, 2 if often, 3 if seldom; rank of the noun
            among all words, the less the more common). None where the meaning has proper or
            scientific names alone.
        """
        place, _, rank = self.rows[number][3].partition(" ")
        return (int(place), int(rank)) if place else None

    def common_first(
        self, numbers: Iterable[int], most_places: int = 1, most_rank: int = RARE_RANK
    ) -> list[str]:
        """The main nouns of some meanings, the most common first.

        Args:
            numbers: Of the meanings.
            most_places: 1: only those that their noun means first of all; 2: often.
            most_rank: Only nouns with a lower rank; the rarest are left out in any case.
        """
        ranked = []
        for number in numbers:
            known = self.place_and_rank(number)
            if known and known[0] <= most_places and known[1] < most_rank:
                ranked.append((known[1], number))
        return list(dict.fromkeys(self.main_noun(number) for _, number in sorted(ranked)))

    def names(self, number: int) -> list[str]:
        """The nouns of a meaning that mean nothing else more often, the best known first.

        Args:
            number: Of the meaning; scientific and proper names of it are left out.
        """
        counts = self.counts(number)
        names = []
        for noun in counts:
            is_latin = noun[0].isupper() and noun.split()[-1] not in self.nouns
            if not is_name(noun) and not is_latin and self.is_frequent(noun, number):
                names.append(noun)
        return names

    def is_frequent(self, noun: str, number: int) -> bool:
        """Is no other meaning of a noun more frequent than this one?

        Args:
            noun: A lemma.
            number: Of one of its meanings.
        """
        count = self.counts(number)[noun]
        for other in self.senses(noun):
            for word, n in self.counts(other).items():
                if word.lower() == noun.lower() and n > count:
                    return False
        return True

    def choose_sense(
        self, noun: str, alternative: str | None = None, synonyms: Sequence[str] = ()
    ) -> int | None:
        """The meaning that a noun has in a prompt.

        It is the one that shares most nouns, its kinds' included, with the caller's synonyms,
        else the most frequent
        one, where one that an image can show counts `IN_IMAGES` times. Where several are equally
        frequent, one of the alternative's topic is preferred
        ("crane=heron" is a bird), then one that an image can show.

        Args:
            noun: The noun.
            alternative: What appears instead of the concept.
            synonyms: Other names of the concept.

        Returns:
            Its number. None for words that are not in the lexicon, and for names.
        """
        noun = self.singular(noun)
        senses = self.senses(noun)
        topics = [self.topic(number) for number in self.senses(alternative or "")[:1]]
        others = {synonym.lower() for synonym in synonyms} - {noun.lower()}
        best: tuple[int, ...] = ()
        chosen = None
        for number in senses:
            counts = self.counts(number)
            written = [word for word in counts if word.lower() == noun.lower()] or list(counts)
            if all(is_name(word) for word in written) or not (
                noun.islower() or noun in counts or noun.isupper()
            ):
                continue
            nouns = set(counts)
            for kind in self.kinds[number]:
                nouns.update(self.counts(kind))
            shared = len(others & {word.lower() for word in nouns})
            topic = self.topic(number)
            weight = counts[written[0]] * (IN_IMAGES if topic in DRAWABLE else 1)
            key = (shared, weight, topic in topics, topic in DRAWABLE)
            if not best or key > best:
                best, chosen = key, number
        return chosen

    def look_up(
        self, noun: str, alternative: str | None = None, synonyms: Sequence[str] = ()
    ) -> Entry | None:
        """What the lexicon says of a noun.

        Args:
            noun: The noun.
            alternative: What appears instead of it; it and its kinds are not among the members.
            synonyms: Other names, which choose between meanings.

        Returns:
            The entry. None for words that are not in the lexicon, and for names.
        """
        number = self.choose_sense(noun, alternative, synonyms)
        if number is None:
            return None
        same = self.same_things(number)
        kinds = self.kinds_of(same)
        taken = {noun, alternative or ""}
        names = without([name for meaning in same for name in self.names(meaning)], taken)
        members = self.common_first(kinds - self.around(alternative), most_places=2)
        members = without(members, taken | set(names))
        neighbours = without(self.neighbours(same, kinds), {noun, *names, *members})
        return Entry(
            tuple(names),
            tuple(members),
            tuple(neighbours[:NEIGHBOURS]),
            self.gloss(number),
            number,
        )

    def kinds_of(self, same: Sequence[int]) -> set[int]:
        """The kinds of a concept, also those that WordNet puts elsewhere and describes by its name.

        "A bus: a vehicle carrying many passengers" stands beside "vehicle" in WordNet, not below.

        Args:
            same: The concept's meanings, its own first.
        """
        kinds: set[int] = set()
        for meaning in same:
            kinds |= self.descendants(meaning)
        nouns = [noun for noun in self.counts(same[0]) if self.senses(noun)[0] == same[0]]
        topic, pattern = self.rows[same[0]][0], re.compile(HEAD + pattern_of(nouns) + END)
        for number, row in enumerate(self.rows):
            if row[0] != topic or number in kinds or not any(noun in row[4] for noun in nouns):
                continue
            if pattern.search(row[4]):
                kinds |= {number, *self.descendants(number)}
        return kinds - set(same) - {*self.ancestors(same[0])}

    def around(self, alternative: str | None) -> set[int]:
        """The alternative's most frequent meaning with its kinds and all that it is a kind of."""
        senses = self.senses(alternative or "")[:1]
        meanings = set(senses)
        for number in senses:
            meanings |= {*self.ancestors(number), *self.descendants(number)}
        return meanings

    def same_things(self, number: int) -> list[int]:
        """A meaning, and its parent where WordNet has a scientist's class between two synonyms.

        "Pig" is a kind of "swine", and most other kinds of swine are described as pigs or hogs:
        then "swine" is another word for "pig".

        Args:
            number: Of the meaning.
        """
        parents = self.parents(number)
        if len(parents) != 1:
            return [number]
        others = [kind for kind in self.kinds[parents[0]] if kind != number]
        described = [kind for kind in others if self.is_described(kind, number)]
        return [number, *parents] if len(described) >= max(2, len(others) / 2) else [number]

    def is_described(self, kind: int, number: int) -> bool:
        """Does the gloss of a meaning say that it is another: "an adult female hog"?

        Args:
            kind: Number of the meaning with the gloss.
            number: Of the other.
        """
        return bool(re.search(HEAD + pattern_of(self.counts(number)) + END, self.gloss(kind)))

    def mentions(self, kind: int, number: int) -> bool:
        """Does the gloss of a meaning use a noun of another?

        Args:
            kind: Number of the meaning with the gloss.
            number: Of the other.
        """
        return bool(re.search(rf"\b{pattern_of(self.counts(number))}", self.gloss(kind)))

    def neighbours(self, same: Sequence[int], kinds: Collection[int]) -> list[str]:
        """Nouns that resemble a concept: other kinds of what it is a kind of.

        Args:
            same: The concept's meanings, its own first.
            kinds: Their kinds, which do not count.

        Returns:
            Those of the nearest class first, the most common first in each; more than `NEIGHBOURS`
            where the concept's topic has so many.
        """
        number = same[0]
        topic = self.topic(number)
        if topic not in DRAWABLE:
            return []
        above = [*self.ancestors(number)]
        passed = {*same, *kinds, *above}
        nouns: dict[str, None] = {}
        rare: list[int] = []
        for parent in above:
            around = self.descendants(parent, WIDEST)
            too_wide = len(around) > (WIDE if len(nouns) > NEIGHBOURS / 4 else WIDEST)
            if self.topic(parent) != topic or len(nouns) >= 2 * NEIGHBOURS or too_wide:
                break
            others = []
            for other in around - passed:
                if self.topic(other) == topic and not self.mentions(other, number):
                    others.append(other)
            nouns.update(dict.fromkeys(self.common_first(others, most_rank=COMMON_RANK)))
            rare += others
            passed |= around
        for noun in self.common_first(rare):
            if len(nouns) < NEIGHBOURS / 2:
                nouns[noun] = None
        if not nouns:  # a wide class, such as "bird"
            others = [other for other in self.common if self.topic(other) == topic]
            nouns.update(dict.fromkeys(self.common_first(set(others) - passed)))
        head = re.search(rf"{HEAD}[\w-]+{END}", self.gloss(number))
        is_a = set(head[0].split()) if head else set()  # "a vehicle", of a bus
        return [noun for noun in nouns if noun not in is_a]

    @functools.cached_property
    def common(self) -> list[int]:
        """Drawable things that WordNet's corpus names, the most common first."""
        numbers = []
        for number, row in enumerate(self.rows):
            if int(row[0]) not in RETAINED or ":" not in row[2] or not row[3].startswith("1 "):
                continue
            noun, _, count = row[2].partition("|")[0].partition(":")
            if int(count or 0) < COUNTED or " " in noun or len(noun) < 3 or noun in UNUSUAL:
                continue
            if len(self.kinds[number]) <= MOST_KINDS:
                numbers.append((int(row[3][2:]) / math.sqrt(int(count)), number))
        return [number for _, number in sorted(numbers)]

    def retained(self, entry: Entry | None, taken: Collection[str]) -> list[str]:
        """Common nouns that have nothing to do with a concept.

        Args:
            entry: The concept's; None: nothing is known of it.
            taken: Nouns that are left out.

        Returns:
            `sum(RETAINED.values())` nouns of all topics; the same ones every time.
        """
        near: set[int] = set()
        if entry is not None:
            near = {entry.number, *self.ancestors(entry.number)}
            for parent in self.parents(entry.number):
                near |= self.descendants(parent)
        left = dict(RETAINED)
        nouns: dict[str, None] = {}
        for number in self.common:
            noun, topic = self.main_noun(number), self.topic(number)
            if left[topic] and number not in near and noun not in taken and noun not in nouns:
                left[topic] -= 1
                nouns[noun] = None
        return list(nouns)


@functools.cache
def read() -> Lexicon:
    """The packaged lexicon, read at the first call."""
    return Lexicon(gzip.decompress(DATA.read_bytes()).decode())


def is_name(noun: str) -> bool:
    """Is a noun written as a name: does each of its words begin with a capital?"""
    return all(word[0].isupper() for word in noun.split())


def pattern_of(nouns: Iterable[str]) -> str:
    """A pattern for some nouns and their plurals; without any, nothing fits."""
    choices = "|".join(map(re.escape, nouns))
    return rf"(?:{choices})s?\b" if choices else "(?!)"


def without(nouns: Iterable[str], taken: Collection[str]) -> list[str]:
    """The nouns that are not taken, each once.

    Args:
        nouns: Any.
        taken: Nouns in any case.
    """
    taken = {noun.lower() for noun in taken}
    return [noun for noun in dict.fromkeys(nouns) if noun.lower() not in taken]
