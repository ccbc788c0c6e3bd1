"""Use your own classifier as the judge of an erasure.

python examples/custom_judge.py --model path/to/model
"""

import argparse
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from unconcept import Concept, erase
from unconcept.config import Look
from unconcept.methods import UCE

EMBEDDED = str(resources.files("unconcept.models.emoji") / "pipeline")


COLOURS = {"pig": (0.9, 0.6, 0.7), "cow": (0.7, 0.7, 0.7)}


class ColourJudge:
    """A toy: an image shows the name whose typical colour is nearest to its mean colour.

    Put your classifier here.
    """

    name = "mean colour"

    def knows(self, name: str) -> bool:
        """Does the judge know this name?"""
        return name in COLOURS

    def __call__(self, images: Tensor, names: Sequence[str]) -> Tensor:
        """Probabilities [N, len(names) + 1] for images [N, 3, H, W] in [0, 1].

        The last column is "none of these".
        """
        means = images.mean((2, 3))
        grey = (0.5, 0.5, 0.5)
        typical = torch.tensor([COLOURS.get(name, grey) for name in names] + [grey])
        return torch.softmax(-torch.cdist(means, typical), dim=1)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--out", type=Path, default=Path("unconcept-out/judged"))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)

    report = erase(
        [Concept(erase="pig", alternative="cow")],
        model=options.model,
        method=UCE(tokens="last"),
        out=options.out,
        look=Look(judge=ColourJudge(), steps=2 if options.quick else 25),
    )
    print("judged by", report["settings"]["judge"]["name"])
    print(options.out / "report.html")


if __name__ == "__main__":
    main()
