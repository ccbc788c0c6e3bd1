"""A concept: what to erase, what to give instead, what to keep, and how it is phrased."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError
from .templates import TEMPLATES, Kind, article, rotated


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

    def pairs_ending_with_concept(self) -> list[tuple[str, str]]:
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
        return [(t, name) for i, t in enumerate(templates) for name in rotated(names, i)]

    def __str__(self) -> str:
        return self.erase if self.alternative is None else f"{self.erase} → {self.alternative}"
