"""An edit of a base model on a fine-tune of it: does the erasure carry over?

    python benchmarks/fine_tune.py [--steps 100] [--n 20] [--pair pig=cow]

`emoji` is trained on, all of its U-Net, with drawings of another hand. Then the edit of
the base and an edit of the fine-tune itself are measured on the fine-tune.
"""

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, head, once
from torch.nn.functional import mse_loss

from unconcept import AllButOne, Concept, Edit, load
from unconcept.edits import edit_between
from unconcept.evaluation.emoji.rendering import SETS, render_image
from unconcept.evaluation.runner import Measures, evaluate
from unconcept.evaluation.setup import prepare
from unconcept.models.interface import Model
from unconcept.models.sampling import ImageSampler, Sampling

sys.path.insert(0, str(Path(__file__).parents[1]))

from pretraining.captions import caption
from pretraining.dataset import draw_label

BATCH = 16
ONE_SET = tuple({style: name for name, style in SETS.items()}.values())  # the last of each style


def fine_tune(steps: int) -> Model:
    """`emoji`, trained on for some steps."""
    model = load("emoji")
    pipe: Any = model.pipe  # pyright: ignore[reportAttributeAccessIssue]
    denoiser: Any = model.denoiser
    optimizer = torch.optim.AdamW(denoiser.requires_grad_(True).parameters(), lr=1e-4)
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        labels = [draw_label(rng) for _ in range(BATCH)]
        drawn = np.stack([render_image(label, rng, ONE_SET, True) for label in labels])
        x = model.latents(torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255)
        noise = torch.randn(x.shape, generator=generator)
        t = torch.randint(1000, (BATCH,), generator=generator)
        condition = model.encode([caption(label, rng) for label in labels])
        prediction = model.predict(model.add_noise(x, noise, t), t, condition)
        loss = mse_loss(prediction, pipe.scheduler.get_velocity(x, noise, t))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step + 1} of {steps}: {loss.item():.4f}", file=sys.stderr, flush=True)
    denoiser.requires_grad_(False)
    return model


def scores(model: Model, edit: Edit, pair: str, n: int) -> list[dict[str, Any]]:
    """Scores of an edit on a model, against the same model without."""
    counts = {"target": n, "neighbour": n // 2, "unrelated": 0}
    benchmark = prepare(model, model.complete([Concept.parse(pair)]), counts, 1)
    sampler = ImageSampler(model, Sampling(steps=10, seed=1))
    return evaluate(sampler, edit, benchmark, measures=Measures(0, False, None)).scores.to_json()


def measure(options: Any) -> dict[str, Any]:
    """The edit of the base on the fine-tune, and the fine-tune's own edit."""
    base = load("emoji")
    concept = Concept.parse(options.pair)
    edit = AllButOne()(base, concept)
    tuned = fine_tune(options.steps)
    change = edit_between(base, tuned, [])
    distances = []
    weights = dict(base.denoiser.state_dict())
    for name, delta in change.deltas.items():
        weight = weights[name.partition(".")[2]]
        if weight.ndim > 1:
            distances.append(float(delta.norm() / weight.norm()))
    return {
        "warning": edit.check(tuned),
        "median distance": float(np.median(distances)),
        "largest distance": max(distances),
        "base on fine-tune": scores(tuned, edit, options.pair, options.n),
        "own": scores(tuned, AllButOne()(tuned, concept), options.pair, options.n),
    }


def main() -> None:
    options = arguments(
        __doc__, "fine-tune", 20, steps={"type": int, "default": 100}, pair={"default": "pig=cow"}
    )
    file = options.out / f"{options.pair} {options.steps} {options.n}.json"
    row = once(file, functools.partial(measure, options))
    if not row:
        return
    print(row["warning"], f"median distance {row['median distance']:.2%}")
    print("\n".join(head(["edit", "measure", "group", "before", "after", "n"])))
    for name in ("base on fine-tune", "own"):
        for score in row[name]:
            cells = [name, score["name"], score["group"], score["before"], score["after"]]
            print("| " + " | ".join(map(str, [*cells, score["n"]])) + " |")


if __name__ == "__main__":
    main()
