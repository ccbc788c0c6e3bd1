"""The report as one web page that needs nothing else: pictures inside, no network, readable on a phone, light and dark."""

import base64
import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from PIL import Image
from torch import Tensor

from .image_grid import GROUP_TITLES, to_image

PAIRS = 100  # are shown

SMALL, THUMB = 64, 160  # pixels: up to the first a picture stays as it is, beyond the second it is made smaller

QUALITIES = (80, 65, 50, 35, 20, 5)  # of WebP: the best that fits

ROOM = 2_700_000  # characters for all pictures: the page stays below 3 MB


def page(report: dict, questions: Sequence, before: Tensor, after: Tensor, *, rows: Sequence[dict], **words) -> str:
    """HTML of report.json's content, with its words and its picture pairs [N, 3, H, W] in [0, 1], one for each question."""
    shown = pick_spread(questions)
    pictures = encode_to_fit([thumbnail(p[i]) for i in shown for p in (before, after)])
    pairs = [(questions[i], *pair) for i, pair in zip(shown, zip(pictures[::2], pictures[1::2]))]
    return render(
        "report.html", r=report, **words, small=before.shape[-1] < THUMB, shown=len(shown), conditions=len(questions),
        groups=[(GROUP_TITLES[group], list(some)) for group, some in groupby(pairs, key=lambda pair: pair[0].group)],
        rows=[{**said, "bar": bar(row, report["scores"])} for said, row in zip(rows, report["scores"])],
    )  # fmt: skip


def pick_spread(questions: Sequence, most: int = PAIRS) -> list[int]:
    """Which questions are shown, group by group: as many of each, as far as it has them, evenly over it."""
    groups = [[i for i, q in enumerate(questions) if q.group == group] for group in GROUP_TITLES]
    each = max(k for k in range(len(questions) + 1) if sum(min(k, len(of)) for of in groups) <= most)
    return [of[j * len(of) // min(each, len(of))] for of in groups for j in range(min(each, len(of)))]


def render(template: str, **words) -> str:
    from jinja2 import Environment, PackageLoader

    return (
        Environment(loader=PackageLoader("unconcept.reporting"), autoescape=True, trim_blocks=True).get_template(template).render(**words)
    )


def bar(row: dict, rows: Sequence[dict]) -> dict | None:
    """Where a score's dots and its interval are drawn, in percent of the line: shares from 0 to 1, changes from 0 to the largest of their kind."""
    if row["after"] is None or row["name"].startswith(("selectivity", "drift", "KID", "FID", "control: ")):
        return None
    kind = lambda r: r["name"].rpartition(": ")[2]
    top = max(r["ci95"][1] for r in rows if r["ci95"] and kind(r) == kind(row)) if "change" in kind(row) else 1.0
    top = top or 1.0  # nothing changed
    values = {"low": row["ci95"][0], "high": row["ci95"][1], "now": row["after"], "then": row["before"]}
    return {name: None if value is None else round(100 * min(max(value / top, 0), 1), 1) for name, value in values.items()}


def embed(picture: Tensor) -> str:
    """A data URI of a picture [3, H, W]: small ones as they are, larger ones as thumbnails."""
    return encode(thumbnail(picture))


def thumbnail(picture: Tensor) -> Image.Image:
    image = to_image(picture, picture.shape[-1])
    image.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
    return image


def encode(image: Image.Image, quality: int = QUALITIES[0]) -> str:
    file = io.BytesIO()
    image.save(file, "webp", lossless=max(image.size) <= SMALL and quality == QUALITIES[0], quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def encode_to_fit(images: Sequence[Image.Image], room: int = ROOM) -> list[str]:
    """Data URIs that fit into `room` together, at the best quality that does."""
    for quality in QUALITIES:
        uris = [encode(image, quality) for image in images]
        if sum(map(len, uris)) <= room:
            break
    return uris


def embed_file(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
