"""A concept: what to erase, what appears instead, what to keep, and prompts that name it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import InputError, brief
from .templates import TEMPLATES, Kind, article, plural, rotated
from .words import (
    QUOTES,
    check_encodable,
    check_one_name,
    check_words,
    describes_style,
    same_name,
    style_name,
)

SEVERAL = "give several as words of their own, unconcept erase pig horse dog"


@dataclass(frozen=True, kw_only=True)
class Concept:
    """One concept to erase.

    erase        the concept, as a prompt names it: "pig", "van gogh style"
    alternative  what appears instead; None: nothing, and the rest of the prompt stays
    synonyms     other names for it, erased along with it
    keep         words that must not change; empty: a list of common ones
    kind         "object" gets an article in prompts (see `article`), "style" does not
    templates    prompts with {} for the concept ({s}: in the plural); empty: those of its kind.
                 From "[{} and ]a chair"
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
        if not isinstance(self.kind, str) or self.kind not in TEMPLATES:
            raise InputError(
                f"kind is {brief(self.kind)}: it must be one of {', '.join(TEMPLATES)} "
                "(a character is an object)"
            )
        for template in self.templates:
            if "{}" not in template and "{s}" not in template:
                raise InputError(f'the template "{template}" has no {{}} for the concept')

    def _check_types(self) -> None:
        if not isinstance(self.erase, str):
            raise InputError(f"erase is {brief(self.erase)}: it must be words{QUOTES}")
        if not isinstance(self.alternative, str | None):
            raise InputError(f"alternative is {brief(self.alternative)}: it must be words{QUOTES}")
        check_encodable(f"{self.erase} {self.alternative}", "the concept")
        for field in ("synonyms", "keep", "templates"):
            check_words(getattr(self, field), field)

    def _check_alternative(self, alternative: str) -> None:
        if not alternative.strip():
            raise InputError("the alternative is empty: name one, or leave --to away")
        if any(same_name(alternative, name) for name in (self.erase, *self.synonyms)):
            raise InputError(
                f'the alternative "{alternative}" is the concept itself: '
                "choose something else, or leave --to away"
            )

    @classmethod
    def parse(cls, text: str, alternative: str | None = None, **fields: Any) -> "Concept":
        """Read a concept as the command line writes it.

        Args:
            text: "pig", "pig=cow", or for the style "van gogh": "van gogh style", "in the style of
                van gogh", "by van gogh".
            alternative: What appears instead, unless `text` names it.
            **fields: Further fields of the concept.

        Raises:
            InputError: There are two alternatives, several concepts in one text, or a field is
                wrong.
        """
        erase, sign, after = text.partition("=")
        if sign and alternative is not None:
            raise InputError(
                f'"{text}" names an alternative and --to names another: keep one of them'
            )
        check_one_name(erase, "the concept", SEVERAL)
        if sign:
            alternative = after
        if alternative is not None:
            check_one_name(alternative, "the alternative", "there is one for each concept")
            alternative = alternative.strip()
        erase = erase.strip()
        if style := style_name(erase):
            fields = {"kind": "style", **fields}
            erase = style
        if fields.get("kind") == "style":
            alternative = _without_style(alternative)
            for field in ("synonyms", "keep"):
                fields[field] = tuple(_without_style(word) for word in fields.get(field, ()))
        elif alternative and describes_style(alternative):
            raise InputError(
                f'the alternative "{alternative}" is a style, and "{erase}" an object: '
                f'name the style "{erase} style" if it is one'
            )
        return cls(erase=erase, alternative=alternative, **fields)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Concept":
        """Build a concept from a mapping, as YAML and JSON hold it.

        Args:
            values: The fields by name; lists instead of tuples are allowed, and nothing instead of
                an empty list.

        Raises:
            InputError: It is not a mapping, or a field is wrong or unknown.
        """
        if not isinstance(values, Mapping) or "erase" not in values:
            raise InputError(f"{brief(values)} is not a concept: it has no erase")
        known = {field.name for field in fields(cls)}
        arguments: dict[str, Any] = {}
        for key, value in values.items():
            if key not in known:
                raise InputError(f'unknown key "{key}" in a concept: known are {sorted(known)}')
            if key in ("synonyms", "keep", "templates"):
                value = () if value is None else value
                value = tuple(value) if isinstance(value, list) else value
            arguments[key] = value.strip() if isinstance(value, str) else value
        return cls(**arguments)

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
            The prompt, without the brackets of the template.
        """
        subject = article(words) if self.kind == "object" else words
        text = template.partition("=>")[0].strip().replace("[", "").replace("]", "")
        return text.replace("{}", subject).replace("{s}", plural(words))

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


def _without_style(words: Any) -> Any:
    """ "monet" for "monet style" or "in the style of monet"; all else as it is."""
    return (style_name(words) or words) if isinstance(words, str) else words
