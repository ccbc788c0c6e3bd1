"""Erase one concept, evaluate it and write the report: what `unconcept erase pig --to cow` does.

python examples/erase_concept.py
python examples/erase_concept.py --concept "van gogh style" --to "dry brushing" --model MODEL
"""

import argparse
from pathlib import Path

from unconcept import AllButOne, Concept, erase


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--concept", default="pig")
    parser.add_argument("--to", default="cow")
    parser.add_argument("--out", type=Path, default=Path("unconcept-out/example"))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)

    report = erase(
        [Concept.parse(options.concept, options.to)],
        model=options.model,
        method=AllButOne(),
        out=options.out,
        extent="none" if options.quick else "short",
    )
    print(report["failure"] or "no failure was detected")
    for score in report["scores"]:
        if score["name"] in ("concept", "alternative", "right"):
            print(f"{score['group']:10} {score['name']:12} {score['after']:.3f}  n {score['n']}")
    print(options.out / "report.html")


if __name__ == "__main__":
    main()
