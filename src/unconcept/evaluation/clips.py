"""What a clip shows, and how it moves: measures for text-to-video models.

Frames of a clip are not independent. Every measure is first reduced to one number for each clip,
and intervals are over clips.

A judge sees frames. Its marks are [N, F] for N clips of F frames: 1 where the concept is
seen in a frame, 0 where not, NaN where the frame need not show anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from .features import Features
from .judges import Judge
from .metrics.proportions import proportion
from .scores import bootstrap_indices

LATE = 3  # the last third of the frames is late, the first third is early


def frame_probabilities(judge: Judge, clips: Tensor, names: Sequence[str]) -> Tensor:
    """Ask a judge of images about every frame.

    Args:
        judge: Images [M, 3, H, W] and names -> probabilities [M, len(names)] or one column more.
        clips: [N, F, 3, H, W] in [0, 1].
        names: What the judge chooses from.

    Returns:
        [N, F, columns].
    """
    return judge(clips.flatten(0, 1), names).unflatten(0, clips.shape[:2])


def frame_marks(probabilities: Tensor, wanted: Sequence[int]) -> Tensor:
    """Where one of some names has the highest probability.

    Args:
        probabilities: [N, F, names].
        wanted: Indices of names that count as the concept: its own and its synonyms'.

    Returns:
        Marks [N, F] of 0 and 1.
    """
    best = probabilities.argmax(2)
    return torch.isin(best, torch.tensor(list(wanted), device=best.device)).float().cpu()


def seen_in_any(marks: Tensor) -> Tensor:
    """Is the concept seen in at least one frame?

    An erasure that holds in nine of ten frames may fail here for every clip.

    Args:
        marks: [N, F] of 0, 1 or NaN.

    Returns:
        [N] of 0 and 1; NaN where no frame counts.
    """
    seen = (marks == 1).any(1).float()
    return seen.where(~marks.isnan().all(1), torch.nan)


def seen_in_most(marks: Tensor) -> Tensor:
    """Is something seen in more than half of the frames?

    Args:
        marks: [N, F] of 0, 1 or NaN.

    Returns:
        [N] of 0 and 1; NaN where no frame counts.
    """
    share = share_of_frames(marks)
    return (share > 0.5).float().where(~share.isnan(), torch.nan)


def share_of_frames(marks: Tensor) -> Tensor:
    """Share of a clip's frames in which the concept is seen.

    Args:
        marks: [N, F] of 0, 1 or NaN.

    Returns:
        [N] in [0, 1]; NaN where no frame counts.
    """
    return marks.nanmean(1)


def first_frame(marks: Tensor) -> Tensor:
    """Index of the first frame in which the concept is seen.

    Args:
        marks: [N, F] of 0, 1 or NaN.

    Returns:
        [N] from 0 to F − 1; NaN where it is never seen.
    """
    seen = marks == 1
    return seen.float().argmax(1).float().where(seen.any(1), torch.nan)


def last_frame(marks: Tensor) -> Tensor:
    """Index of the last frame in which the concept is seen.

    Args:
        marks: [N, F] of 0, 1 or NaN.

    Returns:
        [N] from 0 to F − 1; NaN where it is never seen.
    """
    return marks.shape[1] - 1 - first_frame(marks.flip(1))


def longest_run(marks: Tensor) -> Tensor:
    """The largest number of frames in a row in which the concept is seen.

    Args:
        marks: [N, F] of 0, 1 or NaN.

    Returns:
        [N] from 0 to F.
    """
    run = longest = torch.zeros(len(marks))
    for seen in (marks == 1).T:
        run = (run + 1) * seen
        longest = torch.maximum(longest, run)
    return longest


def returns_late(marks: Tensor) -> Tensor:
    """Is the concept seen in the last third of the frames, and not in the first?

    Temporal re-emergence, as PROBE calls it (arXiv 2603.21547).

    Args:
        marks: [N, F] of 0, 1 or NaN, F of 3 or more.

    Returns:
        [N] of 0 and 1.
    """
    third = marks.shape[1] // LATE
    early, late = (marks[:, :third] == 1).any(1), (marks[:, -third:] == 1).any(1)
    return (late & ~early).float()


def identity_switches(objects: Tensor) -> Tensor:
    """How often what is seen changes from one frame to the next.

    Args:
        objects: Index of the most probable name in each frame [N, F].

    Returns:
        [N] from 0 to F − 1.
    """
    return (objects.diff(dim=1) != 0).sum(1).float()


def curve(marks: Tensor) -> list[dict | None]:
    """Share of clips in which the concept is seen at each frame: PROBE's curve over time.

    Args:
        marks: [N, F] of 0, 1 or NaN.

    Returns:
        For each frame {value, n, ci95} with a Wilson interval over clips.
    """
    return [proportion(frame) for frame in marks.T]


def flicker(clips: Tensor) -> Tensor:
    """1 − mean |x_f − x_{f+1}|: 1 for a clip that does not change.

    VBench's temporal flickering (arXiv 2311.17982), which is meant for static scenes alone.

    Args:
        clips: [N, F, 3, H, W] in [0, 1], F of 2 or more.

    Returns:
        [N] in [0, 1].
    """
    return 1 - clips.diff(dim=1).abs().flatten(1).mean(1)


def motion_degree(clips: Tensor) -> Tensor:
    """mean |x_{f+1} − x_f|: how much a clip changes from frame to frame.

    Args:
        clips: [N, F, 3, H, W] in [0, 1], F of 2 or more.

    Returns:
        [N] in [0, 1]; 0 for a still clip.
    """
    return clips.diff(dim=1).abs().flatten(1).mean(1)


def roughness(clips: Tensor) -> Tensor:
    """mean |x_f − ½ (x_{f−1} + x_{f+1})|: how far a frame is from the mean of its neighbours.

    Args:
        clips: [N, F, 3, H, W] in [0, 1], F of 3 or more.

    Returns:
        [N] in [0, 1]; 0 for a still clip and for one that fades evenly.
    """
    between = (clips[:, :-2] + clips[:, 2:]) / 2
    return (clips[:, 1:-1] - between).abs().flatten(1).mean(1)


def subject_consistency(clips: Tensor, features: Features) -> Tensor:
    """mean over f > 1 of ½ [max(0, cos(φ_f, φ_{f−1})) + max(0, cos(φ_f, φ_1))].

    VBench's formula (arXiv 2311.17982) with other features: name them with every number, since
    VBench's are DINO's.

    Args:
        clips: [N, F, 3, H, W] in [0, 1], F of 2 or more.
        features: φ, of frames.

    Returns:
        [N] in [0, 1].
    """
    φ = features(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
    previous = cosine_similarity(φ[:, 1:], φ[:, :-1], dim=2).clamp(min=0)
    first = cosine_similarity(φ[:, 1:], φ[:, :1], dim=2).clamp(min=0)
    return ((previous + first) / 2).mean(1)


def top_k(probabilities: Tensor, wanted: int, k: int) -> Tensor:
    """Is a name among the k most probable ones of a frame?

    Args:
        probabilities: [N, F, names].
        wanted: Index of the name.
        k: 1 or more, at most the number of names.

    Returns:
        Marks [N, F] of 0 and 1.
    """
    return (probabilities.topk(k, dim=2).indices == wanted).any(2).float().cpu()


def erased_rate(probabilities: Tensor, erased: int, k: int) -> Tensor:
    """ESR-k of T2VUnlearning, for each clip: 1 − top-k accuracy of the erased name over frames.

    Args:
        probabilities: Of clips whose prompts name the concept [N, F, names].
        erased: Index of its name.
        k: 1 and 5 in the paper.

    Returns:
        [N] in [0, 1].
    """
    return 1 - top_k(probabilities, erased, k).mean(1)


def preserved_rate(probabilities: Tensor, named: Sequence[int], k: int) -> Tensor:
    """PSR-k of T2VUnlearning, for each clip: top-k accuracy of what its prompt names.

    Args:
        probabilities: Of clips whose prompts name something else [N, F, names].
        named: Index of what each clip's prompt names [N].
        k: 1 and 5 in the paper.

    Returns:
        [N] in [0, 1].
    """
    rates = []
    for clip, name in zip(probabilities, named, strict=True):
        rates.append(top_k(clip[None], name, k).mean(1))
    return torch.cat(rates)


def mean_over_clips(values: Tensor) -> dict | None:
    """The mean of a measure over clips.

    Args:
        values: One number for each clip [N]; NaN where it does not apply.

    Returns:
        {value, n, ci95}, with a bootstrap interval over clips; None where none applies.
    """
    values = values[~values.isnan()]
    n = len(values)
    if n == 0:
        return None
    means = values[bootstrap_indices(n)].mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975])).tolist()
    value = values.mean().item()
    return {"value": round(value, 4), "n": n, "ci95": [round(low, 4), round(high, 4)]}


@dataclass(frozen=True)
class ClipScores:
    """How much of a concept some clips show. Entries are {value, n, ci95}, intervals over clips.

    any          share of clips that show it in at least one frame
    share        mean share of frames that show it
    late_return  share of clips that show it in the last third of the frames and not in the first
    curve        share of clips that show it, frame by frame
    """

    any: dict | None
    share: dict | None
    late_return: dict | None
    curve: list[dict | None]

    @classmethod
    def of(cls, marks: Tensor) -> "ClipScores":
        """Score the marks of frames.

        Args:
            marks: [N, F] of 0, 1 or NaN; F of 3 or more.
        """
        return cls(
            any=proportion(seen_in_any(marks)),
            share=mean_over_clips(share_of_frames(marks)),
            late_return=proportion(returns_late(marks)),
            curve=curve(marks),
        )
