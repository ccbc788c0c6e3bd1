"""Stage 7: the judge.

It is trained on pictures alone: clean, blurred and noisy ones, and pictures of none of its objects.
Its examination is on pictures drawn anew from seeds that the training never uses, unknown objects
included that it never saw. From which probability on it is sure (`judge.SURE`) was chosen on other
pictures still, and other unknown objects.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unconcept.evaluation.emoji.judge import NONE, SURE, Judge
from unconcept.evaluation.emoji.rendering import LABELS, render_image
from unconcept.models.emoji.vocabulary import COLOURFUL, OBJECTS, STYLES, WORDS

from .checkpoint import Checkpoint, cosine
from .dataset import UNKNOWN, draw_label

SCENES = 0.35  # of a batch; of all pictures they are a seventh, and their objects are small
UNKNOWNS = 12_288  # pictures of unknown objects
BATCH = 96  # of them FEW of unknown objects and 4 of nothing
FEW = BATCH // 6
LR = 2e-3
KEEPS_COLOUR = torch.tensor([style in COLOURFUL for style in STYLES])


def to_unit(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def roughen(x: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the pictures as they are, the others soft or noisy or both: samples are, and the
    judge must not mind.
    """
    n = len(x)
    small = nn.functional.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True)
    soft = nn.functional.interpolate(small, size=x.shape[-1], mode="bilinear")
    blur = (
        torch.rand(n, 1, 1, 1, generator=generator)
        * (torch.rand(n, 1, 1, 1, generator=generator) < 0.4)
        * 0.8
    )
    noise = (
        0.08
        * torch.rand(n, 1, 1, 1, generator=generator)
        * (torch.rand(n, 1, 1, 1, generator=generator) < 0.4)
    )
    return (x + blur * (soft - x) + noise * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def nothing(n: int, rng: np.random.Generator) -> np.ndarray:
    """Pictures [n, 64, 64, 3] of nothing: blanks, noise, soft blobs, and empty backgrounds with a
    little noise.
    """
    out = np.empty((n, 64, 64, 3), np.float32)
    for i in range(n):
        kind, base = rng.integers(4), rng.random(3)
        grain = rng.random((64, 64, 3))
        if kind == 0:
            out[i] = base
        elif kind == 1:
            out[i] = grain
        elif kind == 2:
            coarse = rng.random((rng.integers(2, 9),) * 2 + (3,))
            out[i] = torch.nn.functional.interpolate(
                torch.from_numpy(coarse).permute(2, 0, 1)[None], (64, 64), mode="bicubic"
            )[0].permute(1, 2, 0)
        else:
            out[i] = base + 0.15 * (grain - 0.5)
    return np.uint8(np.clip(out, 0, 1) * 255)


def unknown(n: int, rng: np.random.Generator, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of unknown objects, with their labels (a points behind the last known object)."""
    labels = np.array([draw_label(rng) for _ in range(n)], LABELS)
    labels["b"], labels["a"] = -1, len(OBJECTS) + rng.choice(indices, n)
    return np.stack([render_image(label, rng, unknown=UNKNOWN) for label in labels]), labels


def cached_unknown(
    work: Path, rng: np.random.Generator, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """UNKNOWNS of them, drawn once."""
    file = work / "unknown.npz"
    if not file.exists():
        pictures, labels = unknown(UNKNOWNS, rng, indices)
        np.savez(file.with_suffix(".part.npz"), pictures=pictures, labels=labels)
        file.with_suffix(".part.npz").replace(file)
    made = np.load(file)
    return made["pictures"], made["labels"]


def loss(outputs: dict[str, Tensor], a: Tensor, b: Tensor, style: Tensor, colour: Tensor) -> Tensor:
    """a, b: object or NONE; b = -1: one object. style = -1: style and colour do not count."""
    ce = nn.functional.cross_entropy
    single, scene, styled = b < 0, b >= 0, style >= 0
    coloured = styled & KEEPS_COLOUR[style.clamp(min=0)]
    total = (
        ce(outputs["whole"][single], a[single])
        + ce(outputs["style"][styled], style[styled])
        + ce(outputs["colour"][coloured], colour[coloured])
    )
    if scene.any():
        total = total + 0.5 * (
            ce(outputs["left"][scene], a[scene]) + ce(outputs["right"][scene], b[scene])
        )
    return total


def train(work: Path, pictures: np.ndarray, labels: np.ndarray, unknowns: int, steps: int) -> Judge:
    torch.manual_seed(0)
    judge = Judge().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=LR, weight_decay=5e-2)
    checkpoint = Checkpoint(work / "judge.pt", judge=judge, optimizer=optimizer)
    if checkpoint.step < steps:
        rng = np.random.default_rng(4)
        even = np.arange(0, unknowns, 2)  # the odd ones are for choosing and examining
        none_pictures, none_labels = cached_unknown(work, rng, even)
        scenes, singles = np.flatnonzero(labels["b"] >= 0), np.flatnonzero(labels["b"] < 0)
        judge.train()
    start = time.time()
    for step in range(checkpoint.step, steps):
        rng, generator = np.random.default_rng([5, step]), torch.Generator().manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = LR * cosine(step, steps, warmup=50, floor=0.0)
        known = BATCH - FEW - 4
        i = np.where(
            rng.random(known) < SCENES, rng.choice(scenes, known), rng.choice(singles, known)
        )
        j = rng.integers(UNKNOWNS, size=FEW)
        rows = np.concatenate([labels[i], none_labels[j]])
        x = to_unit(np.concatenate([pictures[i], none_pictures[j], nothing(4, rng)]))
        a, b, style, colour = (
            torch.from_numpy(np.append(rows[k], [-1] * 4).astype(np.int64)) for k in LABELS.names
        )
        a = torch.where((a < 0) | (a > NONE), NONE, a)
        x = roughen(x, generator).contiguous(memory_format=torch.channels_last)
        value = loss(judge(x), a, b, style, colour)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        if step % 50 == 49:
            print(
                f"judge {step + 1}/{steps} loss {value:.3f} {time.time() - start:.0f}s",
                file=sys.stderr,
                flush=True,
            )
        if step % 200 == 199 or step == steps - 1:
            checkpoint.save(step + 1)
    return judge.eval()


def examine(
    judge: Judge,
    unknowns: int,
    n: int = 2048,
    seed: int = 987_654,
    first: int = 3,
    sure: float = SURE,
) -> dict[str, tuple[float, int]]:
    """(share right, n) on pictures drawn anew. first: 3 or 1, which half of the unknown objects
    that the training left out.
    """
    rng = np.random.default_rng(seed)
    labels = np.array([draw_label(rng) for _ in range(n)], LABELS)
    seen = judge.look(to_unit(np.stack([render_image(label, rng) for label in labels])), sure=sure)
    a, b, style, colour = (torch.from_numpy(labels[k].astype(np.int64)) for k in LABELS.names)
    single, coloured = b < 0, KEEPS_COLOUR[style]
    others = judge.look(to_unit(unknown(n // 2, rng, np.arange(first, unknowns, 4))[0]), sure=sure)
    blank = judge.look(to_unit(nothing(n // 4, rng)), sure=sure)
    tests = {
        "object": (seen.whole == a)[single],
        "both objects of a scene": ((seen.left == a) & (seen.right == b))[~single],
        "style": seen.style == style,
        "background": (seen.colour == colour)[coloured],
        "none for unknown objects": others.whole == NONE,
        "none for noise and blanks": blank.whole == NONE,
    }
    return {
        name: (round(right.float().mean().item(), 4), len(right)) for name, right in tests.items()
    }


def thresholds(judge: Judge, unknowns: int) -> dict[float, dict[str, tuple[float, int]]]:
    """`examine` with several values of SURE, on pictures and unknown objects that the examination
    does not have.
    """
    return {
        sure: examine(judge, unknowns, seed=987_656, first=1, sure=sure)
        for sure in (0.4, 0.5, 0.6, 0.7, 0.8)
    }


def confusions(judge: Judge, n: int = 4096, most: int = 4) -> dict[str, list[str]]:
    """For each object the others that the judge finds likeliest in its pictures, from pictures
    drawn anew: its nearest neighbours by eye.
    """
    rng = np.random.default_rng(987_655)
    labels = [label for label in (draw_label(rng) for _ in range(2 * n)) if label["b"] < 0][:n]
    seen = judge.look(to_unit(np.stack([render_image(label, rng) for label in labels]))).objects[
        :, :NONE
    ]
    a = torch.tensor([int(label["a"]) for label in labels])
    mean = torch.stack([seen[a == i].mean(0) for i in range(NONE)]).fill_diagonal_(0)
    return {
        WORDS[i]: [WORDS[j] for j in row] for i, row in enumerate(mean.topk(most).indices.tolist())
    }
