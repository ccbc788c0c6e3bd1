"""The progress bar on stderr, and the table at the end on stdout."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from ..callbacks import Progress
from ..reporting.report import table


class ProgressBar:
    """Call it with a Progress: one line a stage, with the time left and the losses."""

    def __init__(self):
        self.console, self.stage = Console(stderr=True), None
        columns = (
            TextColumn("{task.description:<42}"),
            BarColumn(30),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
        )
        self.rich = RichProgress(*columns, TextColumn("{task.fields[note]}"), console=self.console, disable=not self.console.is_terminal)

    def __enter__(self) -> "ProgressBar":
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        diffusers_logging.disable_progress_bar()  # one bar is enough
        transformers_logging.disable_progress_bar()
        self.rich.start()
        return self

    def __exit__(self, *error) -> None:
        self.rich.stop()

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self.stage:
            if self.stage is not None:
                self.rich.update(self.task, completed=self.total)
            self.stage, self.total = progress.stage, progress.total
            self.task = self.rich.add_task(progress.stage, total=progress.total, note="")
            if not self.console.is_terminal:
                self.console.print(progress.stage, highlight=False)
        note = "" if progress.loss is None else f"loss {progress.loss:.4f}"
        note += "" if progress.held_out is None else f", best held-out {progress.held_out:.4f}"
        self.rich.update(self.task, completed=progress.done, note=note)

    def finish(self, result: dict, out: Path) -> None:
        """The table, and where everything is."""
        console = Console()
        view = Table(*("group", "measure"), box=None, pad_edge=False)
        for name in ("before", "after", "95 % interval", "n"):
            view.add_column(name, justify="right")
        last = None
        for row in table(result["scores"]):
            view.add_row(
                row["title"] if row["title"] != last else "",
                row["name"],
                row["b"],
                row["a"],
                f"{row['low']} – {row['high']}",
                str(row["n"]),
            )
            last = row["title"]
        if view.rows:
            console.print(view)
        for warning in result["warnings"]:
            console.print(f"note: {warning}", style="yellow", soft_wrap=True, highlight=False)
        if result["failure"]:
            console.print(f"the erasure did not work: {result['failure']}", style="red", soft_wrap=True, highlight=False)
        cost = result["cost"]
        erasing = "" if cost["training_seconds"] is None else f", of them {cost['training_seconds']:.0f} s for the erasing itself"
        console.print(f"{cost['seconds']:.0f} s{erasing}", highlight=False)
        console.print(f"report: {out / 'report.html'}", soft_wrap=True, highlight=False)
