"""What the judge says about the images or clips of an attack."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..evaluation.benchmark import Benchmark, PromptCase
from ..evaluation.clip_benchmark import ClipBenchmark
from ..evaluation.clips import LATE, curve, mean_over_clips, returns_late, share_of_frames
from ..evaluation.metrics.proportions import proportion
from ..reporting.samples import benchmark_records


@dataclass(frozen=True)
class Judged:
    """Images or clips, and the benchmark that judges them.

    benchmark  its cases are those of the images
    images     [N, 3, H, W] or [N, F, 3, H, W] in [0, 1]
    """

    benchmark: Benchmark
    images: Tensor

    @classmethod
    def of(
        cls, benchmark: Benchmark, cases: Sequence[PromptCase], images: Tensor, whole: bool = False
    ) -> "Judged":
        """Images of some cases.

        Args:
            benchmark: Has the judge.
            cases: N cases, what the images were prompted with.
            images: N images or clips.
            whole: The prompts were replaced by others: one object is looked for.
        """
        if whole:
            cases = [as_plain(case) for case in cases]
        return cls(benchmark.with_cases(cases), images)

    def concept(self) -> Tensor:
        """Whether the judge finds the concept; in a clip, in any frame that must show it.

        Returns:
            [N] of 0, 1, or NaN without a judge.
        """
        unknown = torch.full((len(self.images),), torch.nan)
        return self.benchmark.marks(self.images).get("concept", unknown)

    def over_frames(self) -> dict[str, Any] | None:
        """In which frames of the clips the judge finds the concept.

        Returns:
            {"share of frames", "late return", "curve"}, each {value, n, ci95} with intervals over
            clips, the last a list with an entry for each frame; None of images, without a judge,
            and where single frames do not tell (motions).
        """
        if not isinstance(self.benchmark, ClipBenchmark):
            return None
        frames = self.benchmark.look(self.images).marks.get("concept")
        if frames is None or bool(frames.isnan().all()):
            return None
        known = ~frames.isnan().all(1)
        late = None
        if frames.shape[1] >= LATE:
            late = proportion(returns_late(frames).where(known, torch.nan))
        return {
            "share of frames": mean_over_clips(share_of_frames(frames)),
            "late return": late,
            "curve": curve(frames),
        }

    def records(self, seeds: Sequence[int], **facts: Any) -> list[dict]:
        """Lines of samples.jsonl.

        Args:
            seeds: N seeds of the initial noise.
            **facts: Keys that all of them share.
        """
        return benchmark_records(self.benchmark, self.images, seeds, **facts)


def as_plain(case: Any) -> Any:
    """The case of an image with one object, whatever its prompt was.

    Args:
        case: A case of the embedded models' benchmark; of other benchmarks it is returned as it is.

    Returns:
        A copy without a second object, style and colour, which the judge then does not look for.
    """
    return replace(case, other=-1, style=-1, colour=-1) if hasattr(case, "other") else case
