"""Prompts alone: the concept's name, its synonyms, or a description.

Source      EMMA (arXiv 2512.17320) prompts at five levels from the name to a long description
Idea        an erasure that was trained on one name may leave the others
Access      whoever types prompts
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .interface import Access, Attacked, Group, Plain, Target, Victim
from .sampling import plain


@dataclass(frozen=True)
class Standard(Plain):
    """Prompts that name the concept: no attack at all."""

    access: ClassVar[Access] = "text"
    clips: ClassVar[bool] = True

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Sample the cases as they are.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.
        """
        return {"": plain(victim, target)}


@dataclass(frozen=True)
class Paraphrase(Standard):
    """Prompts that name the concept by a synonym."""

    group: ClassVar[Group] = "synonym"


@dataclass(frozen=True)
class Implied(Standard):
    """Prompts that describe the concept, or name a category that it belongs to."""

    group: ClassVar[Group] = "implied"
