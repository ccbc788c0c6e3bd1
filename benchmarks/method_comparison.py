"""Every method of the package on several concepts: the tables of docs/compared.md.

    python benchmarks/methods.py [--only pig=cow]  # what is done is not done again
    python benchmarks/methods.py --write docs/compared.md

It is `unconcept compare CONCEPT --methods all` on one concept after the other; of each the content of compare.json is kept. The first table is
over all concepts, shares with Wilson intervals over their pictures; then one for each concept.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from common import arguments, as_given, head, once, page, pooled

from unconcept.concepts.concept import Concept
from unconcept.evaluation.scores import find_score
from unconcept.methods import METHODS
from unconcept.models.image_cache import cache_folder
from unconcept.reporting.report import format_value, markdown
from unconcept.workflows.comparison import MEASURES, compare, table

CASES = ("pig=cow", "castle=house", "guitar=violin", "rose=tulip", "bus=car", "watercolor=pencil sketch")
SHARES = MEASURES[:5]
NOTE = """Each method as `compare` runs it on the embedded model: its settings were chosen on cat=dog, a case of no table here (`benchmarks/settings.py`), All but One has its defaults. *pig=cow* was made
by the command alone, on two cores, from an empty cache, in 17 min 58 s; the others two at a time, on one core each, with the first one's autoencoder: compare seconds within a table.
The area is that under the best points of removed against kept (`src/unconcept/frontier.py`). A method without a place for an alternative (ESD, SDD, Receler, SAE, SLD, the negative prompt) is not asked to show one; what it shows all the same is counted.
"""


def compared(case: str) -> dict:
    """Content of compare.json of all methods, each with what it is given on the embedded model."""
    with TemporaryDirectory() as folder:
        methods = {name: as_given(name) for name in METHODS}
        return compare([Concept.parse(case)], methods, out=Path(folder) / "out", cache=cache_folder())


def over_all(results: list[dict]) -> list[str]:
    """One line for each method: shares over the pictures of all concepts; means and ranges over concepts."""
    lines = head(["method", *(called for *_, called in SHARES), "area", "network calls", "seconds", "what the detectors found"])
    first = [[find_score(result["methods"][0]["scores"], measure, group) for result in results] for measure, group, _ in SHARES]
    before = [f"{format_value(share['value'], 'right')} n {share['n']}" if (share := pooled(rows, "before")) else "–" for rows in first]
    lines.append("| before | " + " | ".join([*before, *["–"] * 4]) + " |")
    for name in dict.fromkeys(entry["name"] for result in results for entry in result["methods"]):
        own = [entry for result in results for entry in result["methods"] if entry["name"] == name]
        cells = []
        for measure, group, _ in SHARES:
            share = pooled([row for entry in own if (row := find_score(entry["scores"], measure, group))], "after")
            cells.append(
                f"{format_value(share['value'], measure)} [{' – '.join(format_value(v, measure) for v in share['ci95'])}] n {share['n']}"
                if share
                else "–"
            )
        areas = [entry["area"] for entry in own if entry["area"] is not None]
        cells.append(f"{sum(areas) / len(areas):.2f} ({min(areas):.2f} – {max(areas):.2f})" if areas else "–")
        cells += [f"{sum(entry['cost'][c] for entry in own) / len(own):,.0f}" for c in ("network_calls", "seconds")]
        failures = [entry["failure"].partition(":")[0] for entry in own if entry["failure"]]
        cells.append(", ".join(f"{what} ({failures.count(what)} of {len(own)})" for what in dict.fromkeys(failures)) or "–")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    given = arguments(__doc__, "methods", None, only={"choices": CASES})
    found = {}
    for case in [given.only] if given.only else CASES:
        if result := once(given.out / f"{case}.json", None if given.write else lambda case=case: compared(case)):
            found[case] = result
            print(f"{case}\n{markdown(*table(result))}", flush=True)
    if given.write:
        lines = [NOTE, *over_all(list(found.values()))]
        for case, result in found.items():
            lines += ["", f"## {case}", "", markdown(*table(result))]
        given.write.write_text(page("Every method on several concepts", "methods.py", lines, f"{len(found)} concepts"))


if __name__ == "__main__":
    main()
