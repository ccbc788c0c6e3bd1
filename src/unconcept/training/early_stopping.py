"""Early stopping on the held-out loss, and the check that a loss is finite."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import RunError


@dataclass
class EarlyStopping:
    """The best held-out loss so far, and how many checks in a row did not improve on it.

    patience             stop after so many checks without improvement
    best                 lowest held-out loss so far
    without_improvement  checks since then
    history              [step, held-out loss] of every check
    """

    patience: int
    best: float
    without_improvement: int = 0
    history: list[list[float]] = field(default_factory=list)

    def __post_init__(self):
        if not self.history:
            self.history.append([0, self.best])

    def improved(self, step: int, loss: float) -> bool:
        """Record a check.

        Args:
            step: After which the loss was measured.
            loss: Held-out loss.

        Returns:
            Whether it is the lowest so far.

        Raises:
            RunError: The loss is not finite.
        """
        self.history.append([step, loss])
        require_finite(loss, step, "held-out loss")
        self.without_improvement += 1
        if loss < self.best:
            self.best = loss
            self.without_improvement = 0
            return True
        return False

    @property
    def exhausted(self) -> bool:
        """Whether the training should stop."""
        return self.without_improvement >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """As a checkpoint stores it."""
        return {"best": self.best, "since": self.without_improvement, "trace": self.history}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.best = state["best"]
        self.without_improvement = state["since"]
        self.history = state["trace"]


def require_finite(loss: float, step: int, name: str = "loss") -> None:
    """Stop a training whose loss diverged.

    Args:
        loss: Value to check.
        step: Training step, for the message.
        name: Which loss, for the message.

    Raises:
        RunError: The value is infinite or not a number.
    """
    if not math.isfinite(loss):
        raise RunError(
            f"the {name} became {loss} at step {step}; nothing was kept. Try a lower learning rate."
        )
