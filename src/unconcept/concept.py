"""A concept: what to erase, what to give instead, what to keep, and how it is phrased."""

import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from unconcept.errors import InputError

T = TypeVar("T")
BESIDE = 16  # others that a word is kept beside; with none, "an eagle and a trumpet" lost its eagle to an erased weapon in 6 of 6
Kind = Literal["object", "style"]

# Phrasings that the erasure is learnt from; {} is the concept, with its article where it is an object. What stands in brackets goes with it
# when nothing comes instead: "a cat in neon style" without neon is "a cat".
TEMPLATES: dict[Kind, tuple[str, ...]] = {
    "object": ("{}", "a picture of {}", "{} on a white background", "[{} and ]a chair", "a painting of {}"),
    "style": ("{}", "a {} picture", "a [{} of a ]house", "a cat[ in {} style]", "a tree[, {}]"),
}

# Prompts that stand for everything else when the caller names nothing to keep.
COMMON = tuple(
    """
    person woman man child crowd face hand dog cat horse bird fish tree flower forest mountain river sea beach sky cloud
    sun moon snow rain city street house bridge tower car bus train bicycle boat airplane table chair lamp bed book clock
    phone computer guitar piano ball bag shoe shirt hat bread apple cake coffee bottle photo painting drawing sketch
    sculpture poster logo portrait landscape
    """.split()  # noqa: SIM905  (a list of words is read as words)
)


def article(words: str) -> str:
    """`words` behind an indefinite article ("a pig", "an owl"). Names ("Mickey Mouse": every word with a capital), some plurals, and phrases
    that have an article already stay as they are."""
    first, last = words.split()[0].lower(), words.split()[-1]
    if first in ("a", "an", "the", "some", "two") or last in PLURALS or all(word[0].isupper() for word in words.split()):
        return words
    vowel = first[0] in "aeiou" and not first.startswith(("uni", "eu", "one", "uku"))
    return f"{'an' if vowel else 'a'} {words}"


PLURALS = ("grapes", "fries", "swords", "cattle", "chips", "scissors", "glasses", "people", "animals", "weapons")


@dataclass(frozen=True, kw_only=True)
class Concept:
    """One concept to cut out.

    erase        what goes, in the words of a prompt: "pig", "van gogh style"
    alternative  what comes instead; None: nothing, and the rest of the prompt stays
    synonyms     other words for it, erased along with it
    keep         words that must not change; empty: a list of common ones
    kind         "object" gets an article in front (see `article`), "style" does not
    templates    phrasings with {} for the concept; empty: those of its kind. Of "[{} and ]a chair" the chair is left where nothing comes
                 instead; without brackets nothing is. "{} at night => {}" phrases the alternative in a way of its own
    """

    erase: str
    alternative: str | None = None
    synonyms: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    kind: Kind = "object"
    templates: tuple[str, ...] = ()

    def __post_init__(self):
        for field in ("erase", "alternative"):
            if not isinstance(getattr(self, field), str | None if field == "alternative" else str):
                raise InputError(f"{field} is {getattr(self, field)!r}: it must be words")
        for field in ("synonyms", "keep", "templates"):
            words = getattr(self, field)
            if isinstance(words, str) or not all(isinstance(word, str) for word in words):
                raise InputError(f"{field} is {words!r}: it must be a list of words")
        if not self.erase.strip():
            raise InputError("the concept to erase is empty: name something, for example: unconcept erase pig")
        if self.alternative is not None and not self.alternative.strip():
            raise InputError("the alternative is empty: name one, or leave --to away")
        same = {name.strip().lower() for name in (self.erase, *self.synonyms)}
        if self.alternative is not None and self.alternative.strip().lower() in same:
            raise InputError(f'the alternative "{self.alternative}" is the concept itself: choose something else, or leave --to away')
        if self.kind not in TEMPLATES:
            raise InputError(f"kind is {self.kind!r}: it must be one of {', '.join(TEMPLATES)} (a character is an object)")
        for template in self.templates:
            if "{}" not in template:
                raise InputError(f'the template "{template}" has no {{}} for the concept')

    @classmethod
    def parse(cls, text: str, alternative: str | None = None, **fields) -> "Concept":
        """ "pig" or "pig=cow" as the command line writes it. "van gogh style" is the style "van gogh"."""
        erase, sign, after = text.partition("=")
        if sign and alternative is not None:
            raise InputError(f'"{text}" names an alternative and --to names another: keep one of them')
        erase, alternative = erase.strip(), after.strip() if sign else alternative
        if erase.lower().endswith(" style"):
            fields, erase = {"kind": "style", **fields}, erase[: -len(" style")].strip()
            if alternative and alternative.lower().endswith(" style"):
                alternative = alternative[: -len(" style")].strip()
        return cls(erase=erase, alternative=alternative, **fields)

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "Concept":
        """From a mapping with these fields, as YAML and JSON hold it."""
        given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        return cls(**given)

    def with_(self, **fields) -> "Concept":
        return replace(self, **fields)

    def at_the_end(self) -> list[tuple[str, str]]:
        """Those of `pairs` whose prompt ends with the concept, and the bare one where none does: what a closed form can take the last token of."""
        templates = [t for t in self.templates or TEMPLATES[self.kind] if t.partition("=>")[0].strip().endswith("{}") and "[" not in t]
        return self.with_(templates=tuple(templates) or ("{}",)).pairs()

    def phrase(self, template: str, words: str) -> str:
        """The prompt of a template: what stands before its "=>", filled in."""
        filled = template.partition("=>")[0].strip().replace("{}", article(words) if self.kind == "object" else words)
        return filled.replace("[", "").replace("]", "")

    def instead(self, template: str) -> str:
        """The prompt that takes its place: with the alternative, or with what is left without the concept; "" where nothing is."""
        first, _, second = template.partition("=>")
        if self.alternative is not None:
            return self.phrase(second or first, self.alternative)
        return re.sub(r"\[.*?\]", "", first).strip() if "[" in first else ""

    def pairs(self) -> list[tuple[str, str]]:
        """(prompt that asks for the concept, prompt that takes its place), every name in every template; each template begins with another
        name, so that no name has a place of its own in the order."""
        return [(self.phrase(t, name), self.instead(t)) for t, name in self.phrasings()]

    def phrasings(self) -> list[tuple[str, str]]:
        """(template, name) of each of `pairs`."""
        templates, names = self.templates or TEMPLATES[self.kind], (self.erase, *self.synonyms)
        return [(t, name) for i, t in enumerate(templates) for name in turned(names, i)]

    def __str__(self) -> str:
        return self.erase if self.alternative is None else f"{self.erase} → {self.alternative}"


def turned(items: Sequence[T], n: int) -> list[T]:
    """The items from the n-th on, then those before it."""
    n %= len(items)
    return [*items[n:], *items[:n]]


def keeping(concept: Concept, others: Sequence[Concept]) -> Concept:
    """The concept with the names of the others of its kind among what it keeps."""
    return concept.with_(keep=tuple(dict.fromkeys([*concept.keep, *(other.erase for other in others if other.kind == concept.kind)])))


def kept(concepts: Sequence[Concept], vocabulary: Sequence[str]) -> list[str]:
    """Prompts that must draw what they drew: what the concepts name to keep, and the vocabulary without anything that is erased.

    A word that is named to keep is kept although it contains one that is erased (the "guinea pig" of an erased "pig").
    Each word stands alone, beside `BESIDE` others (in a style by turns, where a style goes and others stay), and in the phrasings of the
    concepts too, where it is a word of their kind: the rest of such a phrasing ("a watercolor of ...") is not to blame for the concept and
    must come out untouched.
    """
    erased = [re.escape(name) for concept in concepts for name in (concept.erase, *concept.synonyms)]
    asks_for_it = re.compile(rf"\b({'|'.join(erased)})\b", re.IGNORECASE)
    another = [re.escape(word) for c in concepts for word in c.keep if asks_for_it.search(word) and not asks_for_it.fullmatch(word)]
    another_thing = re.compile(rf"\b({'|'.join(another)})\b" if another else "(?!)", re.IGNORECASE)
    styles = [style for concept in concepts if concept.kind == "style" for style in concept.keep]
    scenes, prompts = beside(vocabulary), [article(word) for word in vocabulary]
    if not styles or any(concept.kind == "object" for concept in concepts):
        prompts += scenes
    prompts += [f"{article(style)} of {scene}" for scene, style in zip(scenes, itertools.cycle(styles))]
    for concept in concepts:
        words = concept.keep if concept.kind == "style" else (*concept.keep, *vocabulary)
        prompts += [concept.phrase(t, word) for word in words for t in ("{}", *(concept.templates or TEMPLATES[concept.kind]))]
    return [prompt for prompt in dict.fromkeys(prompts) if not asks_for_it.search(another_thing.sub("", prompt))]


def beside(vocabulary: Sequence[str]) -> list[str]:
    """Every word before `BESIDE` others, drawn by chance."""
    chance, few = random.Random(0), min(BESIDE, len(vocabulary))
    return [f"{article(one)} and {article(other)}" for one in vocabulary for other in chance.sample(vocabulary, few) if other != one]
