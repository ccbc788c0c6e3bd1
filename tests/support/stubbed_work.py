"""The command line without its work: no model is loaded, no image sampled, nothing scored.

What remains is what a run does around the work: arguments, files, progress, errors and signals.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch

from unconcept.callbacks import Progress
from unconcept.evaluation.runner import Evaluation
from unconcept.evaluation.scores import Scores
from unconcept.models.sampling import ImageSampler

WORKFLOWS = ("erasure", "edit_evaluation", "comparison", "purification", "generation")

SIZE = 8  # of images


def grey_images(self, prompts, seeds, *, edit=None, stage="images") -> torch.Tensor:
    """`ImageSampler.images`, with its progress and without its work."""
    for i in range(len(prompts)):
        self.progress(Progress(stage, i, len(prompts)))
    return torch.full((len(prompts), 3, SIZE, SIZE), 0.5)


def unscored(sampler, edit, benchmark, before=None, **settings) -> Evaluation:
    """`evaluate`, with images and without scores."""
    drawn = grey_images(sampler, ["a pig"] * len(benchmark.cases), [], stage="images after")
    return Evaluation(Scores(), drawn, drawn)


def not_purified(images, model, edit, captions, inversion, progress) -> tuple:
    for i in range(2):
        progress(Progress("purification", i, 2))
    return images, images


@contextlib.contextmanager
def stubbed_work(model: Any) -> Iterator[None]:
    """Replace the work of all workflows.

    Args:
        model: What every run loads.
    """
    with contextlib.ExitStack() as patches:
        for name in WORKFLOWS:
            loads = mock.patch(f"unconcept.workflows.{name}.load", return_value=model)
            patches.enter_context(loads)
        for name in WORKFLOWS[:3]:
            patches.enter_context(mock.patch(f"unconcept.workflows.{name}.evaluate", unscored))
            features = mock.patch(f"unconcept.workflows.{name}.features_or_none", return_value=None)
            patches.enter_context(features)
        calls = mock.patch("unconcept.workflows.comparison.calls_per_image", return_value=1)
        patches.enter_context(calls)
        patches.enter_context(mock.patch("unconcept.workflows.purification.purify", not_purified))
        patches.enter_context(mock.patch.object(ImageSampler, "images", grey_images))
        yield
