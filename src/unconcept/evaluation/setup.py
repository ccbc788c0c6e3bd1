"""Choose the benchmark for a model and its concepts, with its judge and real images."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..concepts.concept import Concept
from ..config.options import Look
from ..errors import InputError
from ..io.images import images_in, read_rgb
from ..models.emoji.loading import EmojiVocabulary
from ..models.interface import Model
from .benchmark import Benchmark, PromptCase, read_prompts
from .clip_benchmark import ClipBenchmark
from .judges import load_judge
from .prompt_benchmark import PromptBenchmark, log, rank_words

# 151 million parameters, 0.6 GB.
SMALL_JUDGE = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"

NO_JUDGE = f"not scored without a judge: --judge {SMALL_JUDGE}"


def prepare(
    model: Model,
    concepts: Sequence[Concept],
    n: Mapping[str, int],
    seed: int,
    prompts: Path | None = None,
    look: Look = Look(),
) -> Benchmark:
    """Build the benchmark of a run.

    The embedded models have one with known answers, where they know all concepts; every other model
    gets a `PromptBenchmark`. A text-to-video model gets either for the frames of its clips. Where a
    group has fewer prompts than `n` asks for, more unrelated ones are added, so that the total is
    the same.

    Args:
        model: The model that is evaluated.
        concepts: Completed concepts (`Model.complete`).
        n: Number of prompts by group.
        seed: Of the choice of prompts.
        prompts: A CSV file of the user's own prompts, added to them.
        look: The judge and the real images, for a model without its own.

    Returns:
        The benchmark.

    Raises:
        InputError: A file cannot be read, the judge does not know a concept, `look` names a judge
            or real images although the model has its own, or clips cannot be judged.
    """
    added = read_prompts(prompts) if prompts else []
    if model.frames and look.real is not None:
        raise InputError("--real is for images, and this is a text-to-video model")
    if isinstance(model, EmojiVocabulary):
        from ..models.emoji.concepts import knows, knows_motion

        known = True
        for concept in concepts:
            known &= knows(concept) or bool(model.frames and knows_motion(concept))
        if known:
            return _emoji_benchmark(model, concepts, n, seed, added, look)
    benchmark = _prompt_benchmark(model, concepts, n, added, look)
    return ClipBenchmark(benchmark, model.frames) if model.frames else benchmark


def _emoji_benchmark(
    model: Model,
    concepts: Sequence[Concept],
    n: Mapping[str, int],
    seed: int,
    added: Sequence[PromptCase],
    look: Look,
) -> Benchmark:
    from ..models.emoji.concepts import near_in_words
    from .emoji.benchmark import EmojiBenchmark
    from .emoji.cases import EmojiCase
    from .emoji.clip_benchmark import EmojiClipBenchmark, MovingEmojiPrompts, check_judged_size

    if look.judge is not None or look.real is not None:
        raise InputError(
            "this model has its own judge and real images for this concept: "
            "leave --judge and --real away"
        )
    added_cases = [EmojiCase(**asdict(case)) for case in added]
    likely = near_in_words(lambda prompts: model.encode(prompts)[model.prompt_states_key], concepts)
    kind = MovingEmojiPrompts if model.frames else EmojiBenchmark
    n = fill_counts(n, kind(concepts, n, seed, added_cases, likely), added)
    benchmark = kind(concepts, n, seed, added_cases, likely)
    if not model.frames:
        return benchmark
    if benchmark.cases:
        check_judged_size(model)
    return EmojiClipBenchmark(benchmark)


def _prompt_benchmark(
    model: Model,
    concepts: Sequence[Concept],
    n: Mapping[str, int],
    added: Sequence[PromptCase],
    look: Look,
) -> Benchmark:
    judge = None if look.judge is None else load_judge(look.judge)
    near = rank_words(model, concepts) if n.get("neighbour") else ()
    real_images = load_images(look.real) if look.real else None
    first = PromptBenchmark(concepts, model.vocabulary, n, added, judge, near)
    n = fill_counts(n, first, added)
    benchmark = PromptBenchmark(concepts, model.vocabulary, n, added, judge, near)
    benchmark.real_images = real_images
    for concept in concepts:
        if concept.alternative and concept.alternative not in benchmark.names:
            log.warning(
                'the judge does not know "%s": whether it appears instead is not scored',
                concept.alternative,
            )
    return benchmark


def fill_counts(
    n: Mapping[str, int], benchmark: Benchmark, added: Sequence[PromptCase]
) -> dict[str, int]:
    """Replace prompts that a benchmark does not have by unrelated ones.

    Args:
        n: Number of requested prompts by group.
        benchmark: What these numbers gave.
        added: The user's own prompts in it, which do not count.

    Returns:
        `n` with more unrelated prompts.
    """
    missing = sum(n.values()) - (len(benchmark.cases) - len(added))
    return {**n, "unrelated": n.get("unrelated", 0) + missing}


def load_images(folder: Path, size: int = 224, most: int = 10_000) -> Tensor:
    """Load real images, center-cropped to squares and resized.

    Args:
        folder: PNG, JPEG and WebP files, in subfolders, too; hidden files are left out.
        size: Height and width in pixels.
        most: How many are loaded at most, in the order of their paths.

    Returns:
        [N, 3, size, size] in [0, 1].

    Raises:
        InputError: There are no images, or one cannot be read.
    """
    files = images_in(folder, most)
    if not files:
        raise InputError(
            f"there are no images in {folder}: --real takes a folder of PNG, JPEG or WebP files"
        )
    pixels = []
    for file in files:
        square = ImageOps.fit(read_rgb(file), (size, size), Image.Resampling.BILINEAR)
        pixels.append(np.asarray(square))
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255


def undrawn_warnings(benchmark: Benchmark, before: Tensor) -> list[str]:
    """Warn about concepts that the model does not draw in the first place.

    Args:
        benchmark: Its judge decides.
        before: Images [N, 3, H, W] of its cases without the edit; empty where none were made.

    Returns:
        A line for each such concept, or one line where no judge knows them.
    """
    if not len(before):
        return []
    marks = benchmark.marks(before)
    if not marks:
        return [NO_JUDGE]
    warnings = []
    for concept in benchmark.concepts:
        members = []
        for i, case in enumerate(benchmark.cases):
            if case.group == "target" and case.name == concept.erase:
                members.append(i)
        seen = marks["concept"][members]
        if len(seen) and seen.mean() < 0.5:
            warnings.append(
                f'the model hardly draws "{concept.erase}": the judge finds it in '
                f"{seen.mean():.0%} of {len(seen)} images"
            )
    return warnings
