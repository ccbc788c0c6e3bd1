"""Purification of real images (drawings of the emoji atlas) with the original and with erased
models.

    python benchmarks/purification.py [--n 100]  # finished results are not computed again
    python benchmarks/result_pages.py purification

Half of the images show the concept alone, half beside another object, on all backgrounds. The
caption says what the image shows. Control: inversion and sampling with the untouched model, which
should reproduce the image.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import arguments, as_given, cell, head, once, plain

from unconcept import Concept, Edit, load
from unconcept.concepts.templates import article
from unconcept.evaluation.emoji.judge import load_judge
from unconcept.evaluation.emoji.rendering import LABELS, ONE_HAND, render_image
from unconcept.evaluation.metrics.proportions import proportion
from unconcept.evaluation.metrics.similarity import psnr
from unconcept.evaluation.scores import median_score
from unconcept.models.emoji.concepts import complete
from unconcept.models.emoji.vocabulary import COLOURS, OBJECTS, STYLES, find
from unconcept.reporting.image_grid import columns
from unconcept.workflows.purification import Inversion, purify

CASES = ("pig=cow", "castle=house")
METHODS: dict[str, Callable[..., Edit]] = {
    "All but One": as_given("all-but-one"),
    "ESD": as_given("esd"),
    "SDD": as_given("sdd"),
}
ROWS = 8  # of an image grid
SETTINGS = (
    {"strength": 1.0, "guidance": 1.0},
    {"strength": 1.0, "guidance": 3.0},
    {"strength": 0.8, "guidance": 3.0},
)


def drawn(concept: Concept, n: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray, list[str]]:
    """Images [n, 3, 64, 64] of the concept, their labels and captions. Every second image has
    another object on its right, never the alternative.
    """
    rng, (own, instead) = (
        np.random.default_rng([77, seed]),
        map(index, (concept.erase, concept.alternative)),
    )
    others = [i for i in range(len(OBJECTS)) if i not in (own, instead)]
    labels = np.array(
        [
            (
                own,
                rng.choice(others) if i % 2 else -1,
                STYLES.index("cartoon"),
                rng.integers(len(COLOURS)),
            )
            for i in range(n)
        ],
        LABELS,
    )
    made = np.stack([render_image(label, rng, ONE_HAND, aligned=True) for label in labels])
    things = [
        article(concept.erase) + (f" and {article(OBJECTS[b].word)}" if b >= 0 else "")
        for b in labels["b"]
    ]
    captions = [
        f"{thing} on {article(list(COLOURS)[c])} background"
        for thing, c in zip(things, labels["colour"])
    ]
    return torch.from_numpy(made).permute(0, 3, 1, 2).float() / 255, labels, captions


def index(word: str) -> int:
    """The index of an object in the vocabulary of the embedded model."""
    return OBJECTS.index(find(word))  # pyright: ignore


def marks(images: torch.Tensor, labels: np.ndarray, concept: Concept) -> dict[str, dict | None]:
    """Shares of images in which the judge sees the concept, its alternative, the same background,
    and the other object of a scene.
    """
    seen, scene = load_judge().look(images), torch.from_numpy(labels["b"] >= 0)
    b, colour = (torch.from_numpy(labels[key].astype(np.int64)) for key in ("b", "colour"))

    def shows(i, by):
        return torch.where(scene, (by["left"] == i) | (by["right"] == i), by["whole"] == i).float()

    rows = {
        "concept": shows(index(concept.erase), seen.guess),  # an uncertain detection counts as well
        "alternative": shows(index(concept.alternative), vars(seen)),
        "background": (seen.colour == colour).float(),
        "other": ((seen.left == b) | (seen.right == b)).float()[scene],
    }
    return {name: proportion(row) for name, row in rows.items()}


def measure(case: str, n: int, make: Callable[..., Edit], out: Path) -> list[dict]:
    model, concept = load("emoji"), complete(Concept.parse(case))
    edit = make(model, concept)
    real, labels, captions = drawn(concept, n)
    rows, _ = [], out.mkdir(parents=True, exist_ok=True)
    for settings in SETTINGS:
        control, made = purify(real, model, edit, captions, Inversion(**settings))
        loop, change = psnr(real, control), psnr(control, made)
        found = {
            "real": marks(real, labels, concept),
            "control": marks(control, labels, concept),
            "purified": marks(made, labels, concept),
        }
        rows.append(
            {
                "settings": settings,
                "control_psnr": median_score("PSNR", "control", loop, "higher").to_json(),
                "changed_psnr": median_score("PSNR", "purified", change, None).to_json(),
                "marks": found,
            }
        )
        name = " ".join(str(v) for v in settings.values())
        shown = [
            type("Row", (), {"prompt": caption, "group": "target"})() for caption in captions[:ROWS]
        ]
        columns(shown, {"real": real, "control": control, "purified": made}, rows=ROWS).save(
            out / f"{case} {name}.webp", quality=85
        )
    return rows


def decibel(row: dict) -> str:
    """A median with its interval."""
    return f"{row['after']:.1f} [{row['ci95'][0]:.1f} – {row['ci95'][1]:.1f}]"


def main() -> None:
    given, names = (
        arguments(__doc__, "purification", 100),
        ("concept", "alternative", "background", "other"),
    )
    print(
        "\n".join(
            head(
                [
                    "",
                    "edit",
                    "strength, guidance",
                    "PSNR of the control to the image, dB",
                    "of the purified to the control",
                    *names,
                ]
            )
        )
    )
    for case in CASES:
        for name, make in METHODS.items():
            folder = plain(given.out / name)
            run = functools.partial(measure, case, given.n, make, folder)
            for row in once(folder / f"{case}-{given.n}.json", run) or ():
                for stage in ("control", "purified") if name == "All but One" else ("purified",):
                    setting, edit = (
                        ", ".join(str(v) for v in row["settings"].values()),
                        name if stage == "purified" else "none (control)",
                    )
                    cells = [cell(row["marks"][stage][mark]) for mark in names]
                    loops = (
                        decibel(row["control_psnr"]),
                        decibel(row["changed_psnr"]) if stage == "purified" else "–",
                    )
                    print(
                        f"| {case} | {edit} | {setting} | " + " | ".join((*loops, *cells)) + " |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
