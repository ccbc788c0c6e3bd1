"""Erase two concepts one by one, add the edits, save the sum and load it again.

python examples/combine_edits.py
"""

import argparse
from pathlib import Path

from unconcept import Concept, Edit, load
from unconcept.methods import UCE


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--out", type=Path, default=Path("unconcept-out/both.safetensors"))
    options = parser.parse_args(arguments)

    model = load(options.model)
    method = UCE(tokens="last")
    pig = method(model, Concept(erase="pig", alternative="cow"))
    castle = method(model, Concept(erase="castle", alternative="house"))

    both = pig + castle.scale(0.9)
    both.save(options.out)
    again = Edit.load(options.out)
    assert again.fingerprint() == both.fingerprint()
    with again.on(model):
        print(
            "the model without",
            " and ".join(concept["erase"] for concept in again.card["concepts"]),
        )
    print(options.out)


if __name__ == "__main__":
    main()
