"""A concept: what to erase, what appears instead, what to keep, and prompts that name it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError
from .templates import TEMPLATES, Kind, article, plural, rotated


@dataclass(frozen=True, kw_only=True)
class Concept:
    """One concept to erase.

    erase        the concept, as a prompt names it: "pig", "van gogh style"
    alternative  what appears instead; None: nothing, and the rest of the prompt stays
    synonyms     other names for it, erased along with it
    keep         words that must not change; empty: a list of common ones
    kind         "object" gets an article in prompts (see `article`), "style" does not
    templates    prompts with {} for the concept ({s}: in the plural); empty: those of its kind. From "[{} and ]a chair"
                 the chair remains without an alternative; without brackets nothing does. A template
                 "{} at night => {}" has its own text for the alternative
    """

    erase: str
    alternative: str | None = None
    synonyms: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    kind: Kind = "object"
    templates: tuple[str, ...] = ()

    def __post_init__(self):
        self._check_types()
        if not self.erase.strip():
            raise InputError(
                "the concept to erase is empty: name something, for example: unconcept erase pig"
            )
        if self.alternative is not None:
            self._check_alternative(self.alternative)
        if self.kind not in TEMPLATES:
            raise InputError(
                f"kind is {self.kind!r}: it must be one of {', '.join(TEMPLATES)} "
                "(a character is an object)"
            )
        for template in self.templates:
            if "{}" not in template and "{s}" not in template:
                raise InputError(f'the template "{template}" has no {{}} for the concept')

    def _check_types(self) -> None:
        if not isinstance(self.erase, str):
            raise InputError(f"erase is {self.erase!r}: it must be words")
        if not isinstance(self.alternative, str | None):
            raise InputError(f"alternative is {self.alternative!r}: it must be words")
        for field in ("synonyms", "keep", "templates"):
            words = getattr(self, field)
            if isinstance(words, str) or not all(isinstance(word, str) for word in words):
                raise InputError(f"{field} is {words!r}: it must be a list of words")

    def _check_alternative(self, alternative: str) -> None:
        if not alternative.strip():
            raise InputError("the alternative is empty: name one, or leave --to away")
        names = {name.strip().lower() for name in (self.erase, *self.synonyms)}
        if alternative.strip().lower() in names:
            raise InputError(
                f'the alternative "{alternative}" is the concept itself: '
                "choose something else, or leave --to away"
            )

    @classmethod
    def parse(cls, text: str, alternative: str | None = None, **fields: Any) -> "Concept":
        """Read a concept as the command line writes it.

        Args:
            text: "pig", "pig=cow", or "van gogh style" for the style "van gogh".
            alternative: What appears instead, unless `text` names it.
            **fields: Further fields of the concept.

        Raises:
            InputError: There are two alternatives, or a field is wrong.
        """
        erase, sign, after = text.partition("=")
        if sign and alternative is not None:
            raise InputError(
                f'"{text}" names an alternative and --to names another: keep one of them'
            )
        erase = erase.strip()
        if sign:
            alternative = after.strip()
        if erase.lower().endswith(" style"):
            fields = {"kind": "style", **fields}
            erase = erase[: -len(" style")].strip()
            if alternative and alternative.lower().endswith(" style"):
                alternative = alternative[: -len(" style")].strip()
        return cls(erase=erase, alternative=alternative, **fields)

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "Concept":
        """Build a concept from a mapping, as YAML and JSON hold it.

        Args:
            fields: The fields by name; lists instead of tuples are allowed.

        Raises:
            InputError: A field is wrong.
        """
        values: dict[str, Any] = {}
        for key, value in fields.items():
            values[key] = tuple(value) if isinstance(value, list) else value
        return cls(**values)

    def with_(self, **fields: Any) -> "Concept":
        """The concept with some fields replaced.

        Args:
            **fields: The new values by name.
        """
        return replace(self, **fields)

    def pairs_ending_with_concept(self) -> list[tuple[str, str]]:
        """Those of `pairs` whose prompt ends with the concept, so that it has the last token.

        Returns:
            The pairs; those of the template "{}" if no template ends with the concept.
        """
        templates = []
        for template in self.templates or TEMPLATES[self.kind]:
            prompt = template.partition("=>")[0].strip()
            if prompt.endswith("{}") and "[" not in template:
                templates.append(template)
        return self.with_(templates=tuple(templates) or ("{}",)).pairs()

    def phrase(self, template: str, words: str) -> str:
        """Fill a template.

        Args:
            template: Its text before "=>" is used.
            words: What replaces {}, with an article if the concept is an object; {s} is replaced
                by their plural.

        Returns:
            The prompt, without brackets.
        """
        subject = article(words) if self.kind == "object" else words
        filled = template.partition("=>")[0].strip().replace("{}", subject)
        filled = filled.replace("{s}", plural(words))
        return filled.replace("[", "").replace("]", "")

    def instead(self, template: str) -> str:
        """The prompt that replaces a filled template.

        Args:
            template: One of the concept's templates.

        Returns:
            The prompt with the alternative. Without an alternative, the rest of the template
            without its brackets, or "" if it does not have brackets.
        """
        text, _, alternative_text = template.partition("=>")
        if self.alternative is not None:
            return self.phrase(alternative_text or text, self.alternative)
        return re.sub(r"\[.*?\]", "", text).strip() if "[" in text else ""

    def pairs(self) -> list[tuple[str, str]]:
        """Prompt pairs: every name of the concept in every template.

        Returns:
            (prompt that names the concept, prompt that replaces it). Each template begins with
            another name, so that no name always comes at the same place of the order.
        """
        return [
            (self.phrase(template, name), self.instead(template))
            for template, name in self.phrasings()
        ]

    def phrasings(self) -> list[tuple[str, str]]:
        """The (template, name) of each of `pairs`."""
        templates = self.templates or TEMPLATES[self.kind]
        names = (self.erase, *self.synonyms)
        phrasings = []
        for i, template in enumerate(templates):
            for name in rotated(names, i):
                phrasings.append((template, name))
        return phrasings

    def __str__(self) -> str:
        return self.erase if self.alternative is None else f"{self.erase} → {self.alternative}"
