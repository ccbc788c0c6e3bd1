"""The progress bar on stderr: one bar over the whole run, with the time that is left."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.progress import BarColumn, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from ..callbacks import Progress
from ..io.text import plain_console, visible
from ..io.units import format_duration

if TYPE_CHECKING:
    from ..profiling.stages import Stage

STAGE_WIDTH = 36  # columns of a stage and its count
TEXT_WIDTH = 47  # columns of a stage with its losses: bar and time fit into 80 beside it
BAR_WIDTH = 12
SPEED_WINDOW = 120.0  # seconds; their speed predicts the time left


class TimeLeft(ProgressColumn):
    """The time that is left, as "12 min left"; nothing before the first units are done."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Draw the column.

        Args:
            task: The bar's task.
        """
        if task.finished or task.time_remaining is None:
            return Text("")
        return Text(f"{format_duration(task.time_remaining)} left", style="progress.remaining")


class ProgressBar:
    """Call it with a `Progress`: it moves one bar over all planned stages.

    Without a plan, and from a stage on that runs a second time, the bar shows the stage alone.
    """

    def __init__(self, plan: Sequence["Stage"] = ()):
        """Prepare a bar; `with` shows it.

        Args:
            plan: The stages of the run in their order, with the work of each.
        """
        self.plan = [stage for stage in plan if stage.work > 0]
        self.total = sum(stage.work for stage in self.plan)
        self.position = 0  # in the plan
        self.stage: str | None = None
        self.console = plain_console(stderr=True)
        self.rich = RichProgress(
            TextColumn(f"{{task.description:<{STAGE_WIDTH}}}", markup=False),
            BarColumn(BAR_WIDTH),
            TaskProgressColumn(),
            TimeLeft(),
            console=self.console,
            disable=not self.console.is_terminal,
            speed_estimate_period=SPEED_WINDOW,
        )
        self.task = self.rich.add_task("starting", total=self.total or None)

    def __enter__(self) -> "ProgressBar":
        hide_other_bars()
        self.rich.start()
        return self

    def __exit__(self, *error) -> None:
        self.rich.stop()

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self.stage:
            self.stage = progress.stage
            if self.repeats(progress.stage):
                self.plan = []
            self.position = self.find(progress.stage)
            if not self.console.is_terminal:
                self.console.print(visible(progress.stage))
        done = progress.done + progress.part
        share = min(1.0, done / progress.total) if progress.total else 0.0
        completed, total = share, 1.0
        if self.plan:
            finished = sum(stage.work for stage in self.plan[: self.position])
            completed, total = finished + share * self.plan[self.position].work, self.total
        self.rich.update(
            self.task,
            description=describe(progress),
            completed=max(completed, self.completed) if self.plan else completed,
            total=total,
        )

    def repeats(self, stage: str) -> bool:
        """Does a finished stage of the plan run again, as when `erase` tries stronger settings?

        Args:
            stage: The stage's name as it is reported.

        Returns:
            True if only stages before the present one have a name that the report's contains.
        """
        matches = [any(name in stage for name in planned.names) for planned in self.plan]
        return any(matches) and not any(matches[self.position :])

    @property
    def completed(self) -> float:
        """Network calls that are done."""
        return self.rich.tasks[0].completed

    def find(self, stage: str) -> int:
        """The position in the plan of the stage that a report belongs to.

        Args:
            stage: The stage's name as it is reported.

        Returns:
            The next planned stage, from the present one on, whose names the report's contains; for
            a name that is in none of them the present stage, or the one after it if that takes
            whatever is reported.
        """
        for i in range(self.position, len(self.plan)):
            if any(name in stage for name in self.plan[i].names):
                return i
        following = self.position + 1
        if following < len(self.plan) and not self.plan[following].names:
            return following
        return self.position


def hide_other_bars() -> None:
    """Diffusers and transformers draw bars of their own while they load: one bar is enough."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def describe(progress: Progress) -> str:
    """The stage with its count and losses, as far as they fit: "training 12/100, loss 0.0312".

    Args:
        progress: A report of a run; its count is shown where there is more than one unit.

    Returns:
        At most `TEXT_WIDTH` characters: a long stage is cut, and losses that do not fit are left
        out.
    """
    count = f" {progress.done}/{progress.total}" if progress.total > 1 else ""
    text = f"{visible(progress.stage)[: STAGE_WIDTH - len(count)]}{count}"
    for name, loss in (("loss", progress.loss), ("held-out", progress.held_out)):
        part = "" if loss is None else f", {name} {loss:.4f}"
        if len(text + part) <= TEXT_WIDTH:
            text += part
    return text
