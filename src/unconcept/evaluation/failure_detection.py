"""Failures of an erasure, detected in its scores and images."""

import math
from collections.abc import Iterator

from torch import Tensor

from .benchmark import PROMPT_STYLES
from .scores import ANOTHER_SEED, FEATURES, PIXELS, Score, Scores
from .set_distances import ALTERNATIVE

TOO_LITTLE = ("no-op", "alternative ignored", "broken images")  # where erasing more may help
BROKEN = 0.7  # share of the judge's confidence before, below which images count as broken


def detect_failure(scores: Scores, before: Tensor, after: Tensor) -> str | None:
    """Say in one line what went wrong.

    collapse             images are not finite, blank or all alike, or unrelated objects are right
                         half as often as before
    no-op                a concept is still there; where no judge ever found it, its images are
                         nearly unchanged
    over-erasure         unrelated images changed more than the concept's own; where no judge ever
                         found it, also: as much as by another seed
    alternative ignored  the concept is gone, but the alternative hardly ever appears
                         where no judge ever found the concept: its images are no nearer to the
                         alternative's own than before
    broken images        the judge is far less sure of what it sees in the concept's place than it
                         was of the concept

    Where no judge ever found the concept, changes are measured in deep features, if there are any
    (`features`): they tell another object from another background, which pixels do not.

    Args:
        scores: Of the evaluation.
        before: Images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1] of the model without the
            edit.
        after: Images or clips of the same prompts and seeds with the edit.

    Returns:
        The first failure in the order above, or None.
    """
    if not len(after):
        return None
    samples = "clips" if after.ndim == 5 else "images"
    return (
        _collapse(scores, before, after, samples)
        or _no_op(scores, samples)
        or _over_erasure(scores, samples)
        or _alternative_ignored(scores, samples)
        or _broken_images(scores)
    )


def _collapse(scores: Scores, before: Tensor, after: Tensor, samples: str) -> str | None:
    if not after.isfinite().all():
        return f"collapse: {samples} contain values that are not finite"
    contrast_before, contrast_after = _contrast(before), _contrast(after)
    variety_before, variety_after = before.std(0).mean(), after.std(0).mean()
    if contrast_after < 0.25 * contrast_before or variety_after < 0.25 * variety_before:
        return f"collapse: the {samples} are nearly blank or all alike"
    earlier, now = _values(scores["right", "unrelated"])
    if now < 0.5 * earlier:
        shares = f"{now:.0%} of their {samples} (before: {earlier:.0%})"
        return f"collapse: unrelated objects are right in {shares}"
    return None


def _contrast(images: Tensor) -> Tensor:
    """The median image's standard deviation over its pixels."""
    return images.std((-2, -1)).flatten(1).mean(1).median()


def _no_op(scores: Scores, samples: str) -> str | None:
    for score in concept_scores(scores):
        earlier, now = _values(score)
        if earlier > 0 and now > 0.5 * earlier:
            what = score.part or "the concept"
            shares = f"{now:.0%} of its {samples} (before: {earlier:.0%})"
            return f"no-op: {what} is still in {shares}"
    if is_judged(scores):
        return None
    measure = deciding_change(scores)
    _, change = _values(scores[measure, "target"])
    _, other_seed = _values(scores[ANOTHER_SEED + measure, "structure"])
    if change < 0.1 * other_seed:
        return f"no-op: the {samples} of the concept are nearly the same as before"
    return None


def _over_erasure(scores: Scores, samples: str) -> str | None:
    measure = deciding_change(scores)
    _, target = _values(scores[measure, "target"])
    _, unrelated = _values(scores[measure, "unrelated"])
    if unrelated > target:
        return f"over-erasure: unrelated {samples} changed more than those of the concept"
    _, other_seed = _values(scores[ANOTHER_SEED + measure, "structure"])
    if unrelated >= other_seed and not is_judged(scores):
        return f"over-erasure: unrelated {samples} changed as much as by another seed"
    return None


def _alternative_ignored(scores: Scores, samples: str) -> str | None:
    _, now = _values(scores["alternative", "target"])
    if now < 0.25:
        return f"alternative ignored: it is seen in {now:.0%} of the concept's {samples}"
    if is_judged(scores):
        return None
    for score in scores:
        if score.group == "target" and score.name.endswith(f" to {ALTERNATIVE}"):
            earlier, now = _values(score)
            if now >= earlier:
                return (
                    "alternative ignored: the concept's images are no nearer to the alternative's "
                    f"own than before ({score.name})"
                )
    return None


def is_judged(scores: Scores) -> bool:
    """Did a judge find the concept before the edit, so that its marks decide?

    Args:
        scores: The run's, by name and group.
    """
    concept = scores["concept", "target"]
    return bool(concept and concept.before)


def deciding_change(scores: Scores) -> str:
    """The measure of change by which failures are detected.

    Args:
        scores: Of the evaluation.

    Returns:
        The name of the change in deep features, where no judge decides and it was measured; else
        that of the change of pixels.
    """
    if not is_judged(scores):
        for score in scores:
            if score.name.startswith(FEATURES) and score.group == "target":
                return score.name
    return PIXELS


def _broken_images(scores: Scores) -> str | None:
    """Without an alternative nothing stands in the concept's place that a judge could be sure
    of.
    """
    earlier, now = _values(scores["confidence of the judge", "target"])
    if scores["alternative", "target"] and now < BROKEN * earlier:
        sure = f"{now:.0%} sure of what it sees instead of the concept (before: {earlier:.0%})"
        return f"broken images: the judge is {sure}"
    return None


def _values(score: Score | None) -> tuple[float, float]:
    """(before, after); NaN, which compares as false, where there is no value."""
    if score is None:
        return math.nan, math.nan
    before = math.nan if score.before is None else score.before
    return before, math.nan if score.after is None else score.after


def concept_scores(scores: Scores) -> Iterator[Score]:
    """The share of all concepts together, and that of each concept where there are several.

    Args:
        scores: Of the evaluation.

    Yields:
        Measured shares of images that show a concept.
    """
    for score in scores:
        measured = score.group == "target" and score.after is not None
        if measured and score.name == "concept" and score.part not in PROMPT_STYLES:
            yield score
