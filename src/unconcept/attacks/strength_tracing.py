"""Tracing: whether the concept comes back while the strength of the edit is lowered to 0.

Source      When Are Concepts Erased From Diffusion Models?, arXiv 2505.17013, dynamic tracing
Idea        whoever has the edit as a file can subtract it: at strength 0 the model is the original
Equation    W = W* + s Δ,  s from 0 to 1
Access      whoever has the edit beside the model, instead of merged weights
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import InputError
from .interface import Attacked, Plain, Target, Victim
from .sampling import plain


@dataclass(frozen=True)
class StrengthTracing(Plain):
    """Hyperparameters.

    strengths  of the edit
    """

    clips: ClassVar[bool] = True

    strengths: tuple[float, ...] = (0.25, 0.5, 0.75)

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """One row for each strength.

        Args:
            victim: The model with its edit.
            target: Says how images are sampled.

        Raises:
            InputError: There is no edit to turn down.
        """
        edit: Any = victim.edit
        if edit is None:
            raise InputError("there is no edit to turn down")
        rows = {}
        for strength in self.strengths:
            weaker = Victim(victim.model, edit.scale(strength), victim.original)
            rows[f"strength {strength:g}"] = plain(weaker, target)
        return rows
