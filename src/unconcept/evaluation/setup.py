"""Choose the benchmark for a model and its concepts, with the judge and the real images that it needs."""

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
from ..models.interface import Model
from ..models.loading import EMBEDDED
from .benchmark import read_prompts
from .judges import judge_name, load_judge
from .prompt_benchmark import PromptBenchmark, log, rank_words


def prepare(
    net: Model,
    model: str,
    concepts: Sequence[Concept],
    n: Mapping[str, int],
    seed: int,
    prompts: Path | None = None,
    look: Look = Look(),
):
    """(the concepts in full, their exam, what is known of the judge or None). Where a group has no questions, more of unrelated ones are asked.

    prompts: the user's own, asked besides. A judge or real pictures in `look` are an InputError where the embedded model has its own.
    """
    total = sum(n.values())
    own = read_prompts(prompts) if prompts else []
    if model in EMBEDDED:
        from ..models.emoji import concepts as known
        from .emoji import benchmark as exam
        from .emoji.judge import quality

        concepts = known.completed(concepts)
        if all(known.knows(concept) for concept in concepts):
            if look.judge is not None or look.real is not None:
                raise InputError(f'"{model}" has a judge and real pictures of its own for this: leave --judge and --real away')
            mine = [exam.EmojiCase(**asdict(ask)) for ask in own]
            near = known.near_in_words(lambda prompts: net.encode(prompts)[net.prompt_states_key], concepts)
            ask = lambda n: exam.EmojiBenchmark(concepts, n, seed, mine, near)
            return concepts, ask(fill_counts(n, total - len(ask(n).cases) + len(mine))), quality()["judge"]
    known = None if look.judge is None else load_judge(look.judge)
    order, real = rank_words(net, concepts) if n.get("neighbour") else (), load_images(look.real) if look.real else None
    ask = lambda n: PromptBenchmark(concepts, net.vocabulary, n, own, known, order, real)
    plain = ask(fill_counts(n, total - len(ask(n).cases) + len(own)))
    for word in [c.alternative for c in concepts if c.alternative and c.alternative not in plain.names]:
        log.warning('the judge does not know "%s": whether it comes instead is not scored', word)
    return tuple(concepts), plain, {"name": judge_name(known)} if known else None


def fill_counts(n: Mapping[str, int], missing: int) -> dict[str, int]:
    return {**n, "unrelated": n.get("unrelated", 0) + missing}


def load_images(folder: Path, size: int = 224, most: int = 10_000) -> Tensor:
    """The pictures of a folder [N, 3, size, size] in [0, 1], cut to squares: `most` at most, in the order of their names."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))[:most]
    if not files:
        raise InputError(f"there are no pictures in {folder}: --real takes a folder of PNG, JPEG or WebP files")
    try:
        made = [ImageOps.fit(Image.open(file).convert("RGB"), (size, size), Image.Resampling.BILINEAR) for file in files]
    except OSError as error:
        raise InputError(f"a picture in {folder} cannot be read: {error}") from error
    return torch.from_numpy(np.stack([np.asarray(image) for image in made])).permute(0, 3, 1, 2).float() / 255


def undrawn_warnings(exam, concepts: Sequence[Concept], before: Tensor) -> list[str]:
    """A line for each concept that the model does not draw in the first place, as far as anybody can tell."""
    if not len(before):
        return []
    if isinstance(exam, PromptBenchmark) and exam.judge is None:
        return ["no judge knows this concept here: its presence is not scored, look at before-after.png"]
    marks, lines = exam.marks(before)["concept"], []
    for concept in concepts:
        own = marks[[i for i, q in enumerate(exam.cases) if q.group == "target" and q.name == concept.erase]]
        if len(own) and own.mean() < 0.5:
            lines.append(f'the model hardly draws "{concept.erase}": the judge finds it in {own.mean():.0%} of {len(own)} pictures')
    return lines
