"""WordNet's nouns: what they mean, what they are kinds of, and how common they are.

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
from collections.abc import Iterable, Iterator
from pathlib import Path

FORMAT = "# unconcept lexicon 1"

DATA = Path(__file__).parent / "wordnet-nouns.txt.gz"

# A noun with a higher rank is too rare to be prompted for.
RARE_RANK = 150_000

# What a plural may end with, and its singular then.
ENDINGS = (("ies", "y"), ("ves", "f"), ("s", ""), ("es", ""), ("men", "man"))


class WordNet:
    """The graph of meanings. Meanings are numbers."""

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
        """The singular of a noun that is only in the lexicon as such; any other noun itself.

        Args:
            noun: In capitals or not. An ending is only taken off a plural in lower case.
        """
        if noun.lower() in self.nouns:
            return noun
        for ending, singular in ENDINGS:
            if noun.endswith(ending) and noun[: -len(ending)] + singular in self.nouns:
                return noun[: -len(ending)] + singular
        return noun

    def topic(self, number: int) -> int:
        """The topic of a meaning, one of WordNet's lexicographer files.

        Args:
            number: A meaning, by its line in the packaged file, from 0.

        Returns:
            The file's number in WordNet, for example 5 for animals.
        """
        return int(self.rows[number][0])

    def parents(self, number: int) -> list[int]:
        """What a meaning is directly a kind of.

        Args:
            number: A meaning, by its line in the packaged file, from 0.

        Returns:
            Numbers of its hypernyms; [] at the top of the graph.
        """
        return [int(parent) for parent in self.rows[number][1].split()]

    def gloss(self, number: int) -> str:
        """What a meaning is, in a few words.

        Args:
            number: A meaning, by its line in the packaged file, from 0.

        Returns:
            WordNet's definition: "domestic swine".
        """
        return self.rows[number][4]

    def counts(self, number: int) -> dict[str, int]:
        """The nouns of a meaning as they are written, and how often each was counted.

        Args:
            number: A meaning, by its line in the packaged file, from 0.

        Returns:
            Occurrences of each noun with this meaning in WordNet's corpus, 0 or more; the best
            known noun first.
        """
        counts = {}
        for part in self.rows[number][2].split("|"):
            noun, _, count = part.partition(":")
            counts[noun] = int(count or 0)
        return counts

    def ancestors(self, number: int) -> Iterator[int]:
        """What a meaning is a kind of, the nearest first.

        Args:
            number: A meaning, by its line in the packaged file, from 0.

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
            number: A meaning, by its line in the packaged file, from 0.
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
        """The noun by which a meaning is known best.

        Args:
            number: A meaning, by its line in the packaged file, from 0.
        """
        return self.rows[number][2].partition("|")[0].partition(":")[0]

    def place_and_rank(self, number: int) -> tuple[int, int] | None:
        """How surely the main noun shows a meaning, and how common it is.

        Args:
            number: A meaning, by its line in the packaged file, from 0.

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


@functools.cache
def read() -> WordNet:
    """The packaged nouns, read at the first call."""
    return WordNet(gzip.decompress(DATA.read_bytes()).decode())


def is_name(noun: str) -> bool:
    """Is a noun written as a name: does each of its words begin with a capital?

    Args:
        noun: A noun or phrase of the lexicon, as it is written there.
    """
    return all(word[0].isupper() for word in noun.split())
