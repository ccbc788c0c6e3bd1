"""The lexicon: what belongs to a concept, and what is near it, from WordNet's nouns."""

import functools
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from . import wordnet
from .glosses import class_words, described_as, mentions
from .wordnet import WordNet, is_name

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
COMMON_RANK = 75_000

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


@dataclass(frozen=True)
class Entry:
    """The lexicon's entry for a noun in one of its meanings.

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
    """Looks concepts up in WordNet. Meanings are numbers."""

    def __init__(self, graph: WordNet):
        """Look concepts up in a graph.

        Args:
            graph: The meanings and what they are kinds of.
        """
        self.graph = graph

    def choose_sense(
        self, noun: str, alternative: str | None = None, synonyms: Sequence[str] = ()
    ) -> int | None:
        """The meaning that a noun has in a prompt.

        It is the meaning that shares most nouns, its kinds' included, with the caller's synonyms.
        If several do, it is the most frequent one, where a meaning that an image can show counts
        `IN_IMAGES` times. Among equally frequent ones a meaning of the alternative's topic is
        preferred ("crane=heron" is a bird), then one that an image can show.

        Args:
            noun: The noun.
            alternative: What appears instead of the concept.
            synonyms: Other names of the concept.

        Returns:
            Its number. None for words that are not in the lexicon, and for names.
        """
        noun = self.graph.singular(noun)
        senses = self.graph.senses(noun)
        topics = [self.graph.topic(sense) for sense in self.graph.senses(alternative or "")[:1]]
        others = {synonym.lower() for synonym in synonyms} - {noun.lower()}
        best: tuple[int, ...] = ()
        chosen = None
        for number in senses:
            counts = self.graph.counts(number)
            written = [word for word in counts if word.lower() == noun.lower()] or list(counts)
            if all(is_name(word) for word in written) or not (
                noun.islower() or noun in counts or noun.isupper()
            ):
                continue
            nouns = set(counts)
            for kind in self.graph.kinds[number]:
                nouns.update(self.graph.counts(kind))
            shared = len(others & {word.lower() for word in nouns})
            topic = self.graph.topic(number)
            weight = counts[written[0]] * (IN_IMAGES if topic in DRAWABLE else 1)
            key = (shared, weight, topic in topics, topic in DRAWABLE)
            if not best or key > best:
                best, chosen = key, number
        return chosen

    def look_up(
        self, noun: str, alternative: str | None = None, synonyms: Sequence[str] = ()
    ) -> Entry | None:
        """The lexicon's entry for a noun.

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
        names = without([name for meaning in same for name in self.graph.names(meaning)], taken)
        members = self.graph.common_first(kinds - self.around(alternative), most_places=2)
        members = without(members, taken | set(names))
        neighbours = without(self.neighbours(same, kinds), {noun, *names, *members})
        return Entry(
            tuple(names),
            tuple(members),
            tuple(neighbours[:NEIGHBOURS]),
            self.graph.gloss(number),
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
            kinds |= self.graph.descendants(meaning)
        nouns = []
        for noun in self.graph.counts(same[0]):
            if self.graph.senses(noun)[0] == same[0]:
                nouns.append(noun)
        topic, pattern = self.graph.rows[same[0]][0], described_as(nouns)
        for number, row in enumerate(self.graph.rows):
            if row[0] != topic or number in kinds or not any(noun in row[4] for noun in nouns):
                continue
            if pattern.search(row[4]):
                kinds |= {number, *self.graph.descendants(number)}
        return kinds - set(same) - {*self.graph.ancestors(same[0])}

    def around(self, alternative: str | None) -> set[int]:
        """The alternative's most frequent meaning with its kinds and all that it is a kind of.

        Args:
            alternative: What appears instead of the concept; None, or a word that is not in the
                lexicon: nothing.

        Returns:
            Numbers of meanings, which must not become members of the concept.
        """
        senses = self.graph.senses(alternative or "")[:1]
        meanings = set(senses)
        for number in senses:
            meanings |= {*self.graph.ancestors(number), *self.graph.descendants(number)}
        return meanings

    def same_things(self, number: int) -> list[int]:
        """A meaning, and its parent where WordNet has a scientist's class between two synonyms.

        "Pig" is a kind of "swine", and most other kinds of swine are described as pigs or hogs:
        then "swine" is another word for "pig".

        Args:
            number: Of the meaning.
        """
        parents = self.graph.parents(number)
        if len(parents) != 1:
            return [number]
        others = [kind for kind in self.graph.kinds[parents[0]] if kind != number]
        pattern = described_as(self.graph.counts(number))
        described = [kind for kind in others if pattern.search(self.graph.gloss(kind))]
        return [number, *parents] if len(described) >= max(2, len(others) / 2) else [number]

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
        topic = self.graph.topic(number)
        if topic not in DRAWABLE:
            return []
        names = self.graph.counts(number)
        above = [*self.graph.ancestors(number)]
        passed = {*same, *kinds, *above}
        nouns: dict[str, None] = {}
        rare: list[int] = []
        for parent in above:
            around = self.graph.descendants(parent, WIDEST)
            too_wide = len(around) > (WIDE if len(nouns) > NEIGHBOURS / 4 else WIDEST)
            if self.graph.topic(parent) != topic or len(nouns) >= 2 * NEIGHBOURS or too_wide:
                break
            others = []
            for other in around - passed:
                same_topic = self.graph.topic(other) == topic
                if same_topic and not mentions(self.graph.gloss(other), names):
                    others.append(other)
            nouns.update(dict.fromkeys(self.graph.common_first(others, most_rank=COMMON_RANK)))
            rare += others
            passed |= around
        for noun in self.graph.common_first(rare):
            if len(nouns) < NEIGHBOURS / 2:
                nouns[noun] = None
        if not nouns:  # a wide class, such as "bird"
            others = [other for other in self.common if self.graph.topic(other) == topic]
            nouns.update(dict.fromkeys(self.graph.common_first(set(others) - passed)))
        classes = class_words(self.graph.gloss(number))
        return [noun for noun in nouns if noun not in classes]

    @functools.cached_property
    def common(self) -> list[int]:
        """Drawable things that WordNet's corpus names, the most common first."""
        numbers = []
        for number, row in enumerate(self.graph.rows):
            if int(row[0]) not in RETAINED or ":" not in row[2] or not row[3].startswith("1 "):
                continue
            noun, _, count = row[2].partition("|")[0].partition(":")
            if int(count or 0) < COUNTED or " " in noun or len(noun) < 3 or noun in UNUSUAL:
                continue
            if len(self.graph.kinds[number]) <= MOST_KINDS:
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
            near = {entry.number, *self.graph.ancestors(entry.number)}
            for parent in self.graph.parents(entry.number):
                near |= self.graph.descendants(parent)
        left = dict(RETAINED)
        nouns: dict[str, None] = {}
        for number in self.common:
            noun, topic = self.graph.main_noun(number), self.graph.topic(number)
            if left[topic] and number not in near and noun not in taken and noun not in nouns:
                left[topic] -= 1
                nouns[noun] = None
        return list(nouns)

    def is_drawable(self, number: int) -> bool:
        """Can an image show a meaning?

        Args:
            number: A meaning of the graph; its topic decides.
        """
        return self.graph.topic(number) in DRAWABLE


@functools.cache
def read() -> Lexicon:
    """The lexicon of the packaged nouns, read at the first call."""
    return Lexicon(wordnet.read())


def without(nouns: Iterable[str], taken: Collection[str]) -> list[str]:
    """The nouns that are not taken, each once.

    Args:
        nouns: Any.
        taken: Nouns in any case.
    """
    taken = {noun.lower() for noun in taken}
    return [noun for noun in dict.fromkeys(nouns) if noun.lower() not in taken]
