"""The interface of all attacks: the attacked model, what an attacker may use, and the result."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from ..callbacks import ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..models.interface import Model
from ..models.sampling import AppliedEdit
from ..models.sampling_options import ResolvedSampling

# What an attacker needs. Each includes what stands before it.
Access = Literal["text", "text encoder", "images", "weights", "weights and original"]

# Which prompts the attacked model receives.
Group = Literal["target", "synonym", "implied"]


@dataclass(frozen=True)
class Cases:
    """Prompts, and what belongs to each of them.

    prompts  N prompts
    seeds    N seeds of the initial noise
    instead  N prompts with the alternative in place of the concept; "" where there is none
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    instead: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    def first(self, n: int) -> "Cases":
        """The first n cases.

        Args:
            n: How many, 0 or more; with more than there are, all of them are taken.

        Returns:
            New cases, in the same order.
        """
        return Cases(self.prompts[:n], self.seeds[:n], self.instead[:n])


@dataclass(frozen=True)
class Victim:
    """The model that is attacked.

    model     its weights, without the edit
    edit      the erasure, which is put on for the attack; None: a control without one
    original  the model before the erasure, for attacks that need it; None: the attacker lacks it
    """

    model: Model
    edit: AppliedEdit | None = None
    original: Model | None = None

    def on(self) -> AbstractContextManager:
        """Inside the `with`, the edit is on the model."""
        return nullcontext() if self.edit is None else self.edit.on(self.model)


@dataclass(frozen=True)
class Target:
    """What an attack is to bring back, and what the attacker may try it on.

    Nothing in here is reported: an attack selects on these prompts, seeds and images, and is
    measured on others.

    concept        the erased concept, completed
    search         cases that the attacked model is prompted with during the search
    named          the same cases with prompts that name the concept; differs from `search` where a
                   control types prompts without it
    images         [N, 3, H, W] in [0, 1] of the concept, image i shows named prompt i; of a
                   text-to-video model clips [N, F, 3, H, W]
    others         cases of other things
    other_images   M images or clips, the i-th shows prompt i of `others`
    share          the share of images of `search` in which the judge finds the concept
    sampling       how images are sampled
    seed           of everything random in a search
    progress       receives reports during a search
    """

    concept: Concept
    search: Cases
    named: Cases
    images: Tensor
    others: Cases
    other_images: Tensor
    share: Callable[[Tensor], float]
    sampling: ResolvedSampling
    seed: int = 0
    progress: ProgressCallback = no_progress


@dataclass(frozen=True)
class Attacked:
    """A model under attack, ready to be sampled.

    sample    images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1] of N cases
    found     what the search found, in words; "" where there is nothing to read
    measures  further numbers by name, filled in by `sample`
    """

    sample: Callable[[Cases], Tensor]
    found: str = ""
    measures: dict[str, float] = field(default_factory=dict)


class Attack(Protocol):
    """A frozen dataclass of hyperparameters, whose defaults are those of its authors.

    access         what the attacker needs
    group          the prompts that the attacked model receives
    searches       does it search? Then controls aim the search at a concept that was not erased,
                   and at the untouched model
    own_prompt     does it replace the whole prompt?
    behind_prompt does it add to a prompt? Then a control adds it to prompts without the concept
    clips          does it attack text-to-video models, too?
    chance_means   what `chance` measures, for the report
    """

    access: ClassVar[Access]
    group: ClassVar[Group]
    searches: ClassVar[bool]
    own_prompt: ClassVar[bool]
    behind_prompt: ClassVar[bool]
    clips: ClassVar[bool]
    chance_means: ClassVar[str]

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Search, and return what can be sampled.

        Args:
            victim: The model that is attacked.
            target: What to bring back.

        Returns:
            One entry per row of the report, by its label; "" for the only one.

        Raises:
            InputError: The model does not give access to what the attack needs.
        """
        ...

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """The control: the same procedure without what makes it an attack.

        Args:
            victim: The erased model.
            target: What to bring back.

        Returns:
            As `prepare`, with the same labels; empty where the attack has no such control.
        """
        ...


@dataclass(frozen=True)
class Plain:
    """Defaults of the class attributes of an attack, and no control."""

    access: ClassVar[Access] = "weights"
    group: ClassVar[Group] = "target"
    searches: ClassVar[bool] = False
    own_prompt: ClassVar[bool] = False
    behind_prompt: ClassVar[bool] = False
    clips: ClassVar[bool] = False
    chance_means: ClassVar[str] = ""

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """No control.

        Args:
            victim: The erased model.
            target: What to bring back.
        """
        return {}
