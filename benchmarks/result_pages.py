"""Write the tables, CSV files and plots of docs/results from what benchmarks/results holds.

    python benchmarks/result_pages.py                       # every page
    python benchmarks/result_pages.py speed robustness      # these pages

The text of a page is written by hand. This script replaces the lines between
`<!-- table: NAME -->` and `<!-- /table -->` and writes the CSV file beside the page, with one
row per measurement.
"""

import argparse
import csv
import re
from pathlib import Path

from pages.ablations import ablations
from pages.default_transfer import default_transfer
from pages.lexicon import lexicon
from pages.main_results import main_results
from pages.method_comparison import method_comparison
from pages.pairs import pairs
from pages.purification import purification
from pages.robustness import robustness
from pages.rows import COLUMNS, PAGES, Page, Row
from pages.several_concepts import several_concepts
from pages.speed import speed
from pages.training_step import training_step
from pages.transformer import transformer
from pages.trim import trim
from pages.video import video

BUILDERS = {
    "pairs": pairs,
    "default-transfer": default_transfer,
    "lexicon": lexicon,
    "trim": trim,
    "main-results": main_results,
    "ablations": ablations,
    "method-comparison": method_comparison,
    "speed": speed,
    "several-concepts": several_concepts,
    "robustness": robustness,
    "purification": purification,
    "training-step": training_step,
    "transformer": transformer,
    "video": video,
}


def write(name: str, page: Page) -> None:
    """Write NAME.csv and NAME.png, and replace the tables of NAME.md."""
    with (PAGES / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in page.rows:
            writer.writerow([getattr(row, column) for column in COLUMNS])
    if page.panels:
        draw(PAGES / f"{name}.png", page.panels, page.x_label)
    if page.figure is not None:
        page.figure.savefig(PAGES / f"{name}.png", dpi=110)
    file = PAGES / f"{name}.md"
    text = file.read_text(encoding="utf-8")
    for table_name, lines in page.tables.items():
        pattern = rf"(<!-- table: {table_name} -->\n).*?(<!-- /table -->)"
        body = "\n".join(["", *lines, "", ""])
        text, count = re.subn(
            pattern, lambda match, body=body: match[1] + body + match[2], text, flags=re.DOTALL
        )
        if not count:
            raise SystemExit(f"{file} has no place for the table {table_name}")
    file.write_text(text, encoding="utf-8")


def draw(file: Path, panels: dict[str, dict[str, list[tuple[float, Row]]]], x_label: str) -> None:
    """One panel per share; lines with 95 % intervals on a logarithmic axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(panels), 3.6), layout="constrained")
    every_x = set()
    for axes, (title, lines) in zip(
        figure.subplots(1, len(panels), sharex=True, sharey=True), panels.items(), strict=True
    ):
        for name, points in lines.items():
            x = [at for at, _ in points]
            y = [row.after for _, row in points]
            below = [row.after - row.low for _, row in points]
            above = [row.high - row.after for _, row in points]
            axes.errorbar(x, y, [below, above], marker="o", capsize=2, label=name)
            every_x.update(x)
        axes.set(title=title, xscale="log", xlabel=x_label, ylim=(-0.03, 1.03))
        axes.spines[["top", "right"]].set_visible(False)
        if len(every_x) < 6:
            axes.set_xticks(sorted(every_x), [f"{at:,.0f}" for at in sorted(every_x)])
            axes.minorticks_off()
    figure.axes[0].set_ylabel("share of images, 95 % interval")
    figure.axes[0].legend(frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="*", choices=[*BUILDERS, []], help="default: every page")
    for name in parser.parse_args().pages or BUILDERS:
        page = BUILDERS[name]()
        if not page.rows:
            print(f"{name}: left as it is, there are no measurements")
            continue
        write(name, page)
        print(name)


if __name__ == "__main__":
    main()
