"""One bar over the whole run: it knows the work beforehand, and only moves forward."""

import io
from unittest.mock import Mock

import pytest
from rich.console import Console

from unconcept import AllButOne, Tune
from unconcept.callbacks import Progress
from unconcept.cli.progress_bar import ProgressBar, TimeLeft
from unconcept.methods import ESD
from unconcept.profiling.network_calls import network_calls
from unconcept.profiling.stages import Stage, comparison_stages, erasure_stages

PLAN = [
    Stage("images before", ("before",), 10),
    Stage("training", ("training",), 30),
    Stage("images after", ("after",), 10),
]


def test_the_bar_is_over_the_whole_run():
    bar, places = ProgressBar(PLAN), []
    for stage, done in (
        ("images before", 5),
        ("images before", 10),
        ("training", 0),
        ("training", 5),
        ("closing", 0),
        ("images after", 10),
    ):
        bar(Progress(stage, done, 10))
        places.append(bar.completed)
    assert places == [5, 10, 10, 25, 25, 50]
    assert bar.rich.tasks[0].total == 50
    assert len(bar.rich.tasks) == 1


def test_a_stage_that_runs_again_has_the_bar_to_itself():
    """`erase` tries stronger settings after a weak erasure: the plan does not know beforehand."""
    bar = ProgressBar(PLAN)
    for stage in ("images before", "training", "images after"):
        bar(Progress(stage, 10, 10))
    assert bar.completed == 50
    bar(Progress("training", 3, 10))
    assert bar.completed == 0.3
    bar(Progress("images after", 1, 2))
    assert bar.completed == 0.5


def test_a_stage_that_names_nothing_takes_what_comes_next():
    bar = ProgressBar([PLAN[0], Stage("erasing", (), 30), PLAN[2]])
    bar(Progress("images before", 1, 1))
    bar(Progress("closed form", 1, 2))
    assert bar.completed == 25
    bar(Progress("images after", 0, 1))
    assert bar.completed == 40


def test_without_a_plan_a_stage_has_the_bar_to_itself():
    bar = ProgressBar()
    bar(Progress("sampling", 1, 4))
    assert bar.completed == 0.25
    bar(Progress("sampling", 4, 4))
    assert bar.completed == 1


def test_what_the_bar_shows(monkeypatch):
    """In a terminal of 80 columns: the stage, its count, the share, the time that is left, the
    losses.
    """
    screen = io.StringIO()
    bar = ProgressBar(PLAN)
    bar.rich.live.console = bar.console = Console(file=screen, force_terminal=True, width=80)
    bar(Progress("training", 12, 100, loss=0.5, held_out=0.25))
    bar.console.print(bar.rich.get_renderable())
    shown = screen.getvalue()
    for text in ("training 12/100", "%", "loss 0.5000, held-out 0.2500"):
        assert text in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (90.0, "90 s left"), (1234.0, "21 min left")]
)
def test_the_time_that_is_left(seconds, text):
    task = Mock(time_remaining=seconds, finished=False)
    assert TimeLeft().render(task).plain == text


@pytest.mark.parametrize("concepts", [1, 7])
def test_the_plan_holds_all_of_the_work(concepts):
    method = AllButOne(tune=Tune(steps=10))
    stages = erasure_stages(method, concepts, 25, "short")
    calls = network_calls(method, concepts)

    def by_title(word: str) -> float:
        return sum(stage.work for stage in stages if word in stage.title)

    assert by_title("recording") == calls.recording
    assert by_title("training") == calls.held_out + 3 * calls.training
    assert by_title("images before") == by_title("images after") == 55 * 25 * 2
    assert len([stage for stage in stages if "training" in stage.title]) == len(
        method.groups(concepts)
    )


def test_the_plan_of_a_comparison_goes_method_by_method():
    stages = comparison_stages(
        {"all-but-one": AllButOne(start="none"), "esd": ESD()}, 1, 25, "short"
    )
    bar = ProgressBar(stages)
    for stage in (
        "images before",
        "all-but-one: recording concept prompts",
        "all-but-one: training",
        "images after",
        "esd: training",
    ):
        bar(Progress(stage, 1, 1))
    assert bar.plan[bar.position].title == "esd: erasing"


def test_without_evaluation_images_only_the_erasing_counts():
    assert {
        stage.title
        for stage in ProgressBar(erasure_stages(AllButOne(start="none"), 1, 25, "none")).plan
    } == {"recording", "training"}
