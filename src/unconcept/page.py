"""The report as one web page that needs nothing else: pictures inside, no network, readable on a phone, light and dark."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from .sheets import GROUP_TITLES, to_image

THUMB = 160  # pixels: 200 pairs of larger pictures stay below 3 MB


def page(
    report: dict, questions: Sequence, before: Tensor, after: Tensor, *, title: str, verdict: str, rows: Sequence[dict], facts: Sequence
) -> str:
    """HTML of report.json's content, with its words and its picture pairs [N, 3, H, W] in [0, 1], one for each question."""
    groups = []
    for group, heading in GROUP_TITLES.items():
        shown = [i for i, q in enumerate(questions) if q.group == group]
        if shown:
            groups.append((heading, [{"prompt": questions[i].prompt, "before": embed(before[i]), "after": embed(after[i])} for i in shown]))
    most = max((row["ci95"][1] for row in report["scores"] if "change" in row["name"] and row["ci95"]), default=1.0)
    return render(
        "report.html", r=report, title=title, verdict=verdict, groups=groups, facts=facts, most=most, small=before.shape[-1] < THUMB,
        rows=[{**words, "bar": bar(row, most)} for words, row in zip(rows, report["scores"])],
    )  # fmt: skip


def render(template: str, **words) -> str:
    from jinja2 import Environment, PackageLoader

    return Environment(loader=PackageLoader("unconcept"), autoescape=True, trim_blocks=True).get_template(template).render(**words)


def bar(row: dict, most: float) -> dict | None:
    """Where a score's dots and its interval are drawn, in percent of the line: shares from 0 to 1, changes from 0 to `most`."""
    if row["after"] is None or row["name"].startswith(("selectivity", "drift", "KID", "control: KID")):
        return None
    top = most if "change" in row["name"] else 1.0
    values = {"low": row["ci95"][0], "high": row["ci95"][1], "now": row["after"], "then": row["before"]}
    return {name: None if value is None else round(100 * min(max(value / top, 0), 1), 1) for name, value in values.items()}


def embed(picture: Tensor) -> str:
    """A data URI of a picture [3, H, W]: small ones as they are, larger ones as thumbnails."""
    image, file = to_image(picture, picture.shape[-1]), io.BytesIO()
    small = image.width <= THUMB
    if not small:
        image = image.resize((THUMB, THUMB * image.height // image.width), Image.Resampling.LANCZOS)
    image.save(file, "webp", lossless=small, quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def embed_file(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
