"""Stage 1: the atlas.

One sheet of 128 px drawings per emoji set, transparent, lossless WebP, in the order of `OBJECTS`.

Needs the npm packages of package-lock.json (`npm ci --ignore-scripts --legacy-peer-deps`);
everything after it needs only the sheets.
"""

import hashlib
import io
import json
import re
import subprocess
from pathlib import Path

import resvg_py
from PIL import Image

from unconcept.evaluation.emoji.rendering import COLUMNS, SETS, SHEETS, SIZE
from unconcept.models.emoji.vocabulary import OBJECTS

HERE = Path(__file__).parent
OBJECT_GROUPS = (
    3,
    4,
    5,
    6,
    7,
)  # emojibase: animals and nature, food and drink, travel and places, activities, objects
COMMON_WORDS = {
    "of",
    "a",
    "and",
    "the",
    "with",
    "red",
    "face",
    "big",
    "great",
    "white",
    "fast",
    "food",
    "spring",
    "magic",
}
LOOKALIKES = {  # no word in common with ours, and yet what a person might call by one of ours
    "taxi", "oncoming-taxi", "sport-utility-vehicle", "trolleybus", "minibus", "houses", "ox",
    "water-buffalo", "boar", "ewe", "bird",
    "bouquet", "shortcake", "teacup-without-handle", "gorilla", "leopard", "rat", "turkey", "dove",
    "tangerine", "soft-ice-cream",
    "paw-prints", "volleyball", "baseball", "tram", "metro", "station",
}  # fmt: skip


def svg(icons: dict, name: str) -> str:
    """The icon as an SVG document with a square view box (some are not square, and a rasteriser
    would round them).
    """
    while name not in icons["icons"]:
        name = icons["aliases"][name]["parent"]
    icon = icons["icons"][name]
    w, h = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    side = max(w, h)
    x, y = icon.get("left", 0) - (side - w) / 2, icon.get("top", 0) - (side - h) / 2
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    box = f'viewBox="{x} {y} {side} {side}" width="{side}" height="{side}"'
    return f"{head} {box}>{icon['body']}</svg>"


def drawing(icons: dict, name: str) -> Image.Image:
    png = bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg(icons, name), width=256, height=256, skip_system_fonts=True
        )
    )
    return (
        Image.open(io.BytesIO(png)).convert("RGBA").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    )


def unknown_slugs() -> list[str]:
    """Objects in all eight sets that are none of ours and resemble none: what the judge must call
    "none of these".
    """
    known = {
        word
        for t in OBJECTS
        for text in (t.word, t.slug, *t.synonyms)
        for word in re.split(r"[ -]", text)
    } - COMMON_WORDS
    sets = [
        json.loads((HERE / f"node_modules/@iconify-json/{name}/icons.json").read_text())
        for name in SETS
    ]
    drawn = set.intersection(*({*s["icons"], *s.get("aliases", {})} for s in sets))
    rows = json.loads((HERE / "node_modules/emojibase-data/en/data.json").read_text())
    slugs = [
        re.sub("[^a-z0-9]+", "-", row["label"].lower()).strip("-")
        for row in rows
        if row.get("group") in OBJECT_GROUPS
    ]
    return [
        s for s in slugs if s in drawn and s not in LOOKALIKES and not set(s.split("-")) & known
    ]


def make_unknown(folder: Path) -> int:
    """Sheets of the unknown objects, and how many there are."""
    slugs = unknown_slugs()
    folder.mkdir(exist_ok=True)
    for name in SETS:
        if not (folder / f"{name}.webp").exists():
            write_sheet(name, slugs, folder / f"{name}.webp", method=0)
    return len(slugs)


def write_sheet(name: str, slugs: list[str], path: Path, method: int) -> None:
    icons = json.loads((HERE / f"node_modules/@iconify-json/{name}/icons.json").read_text())
    sheet = Image.new("RGBA", (COLUMNS * SIZE, -(-len(slugs) // COLUMNS) * SIZE))
    for i, slug in enumerate(slugs):
        sheet.paste(drawing(icons, slug), (i % COLUMNS * SIZE, i // COLUMNS * SIZE))
    part = path.with_name(f"{path.name}.part")
    sheet.save(part, "webp", lossless=True, quality=100, method=method)
    part.replace(path)


def packages() -> None:
    """The npm packages of package-lock.json, once."""
    if not (HERE / "node_modules/.package-lock.json").exists():  # npm writes it last
        subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--legacy-peer-deps"], cwd=HERE, check=True
        )


def sums() -> dict[str, str]:
    """sha256 of every sheet that was finished."""
    return (
        json.loads((SHEETS / "sha256.json").read_text())
        if (SHEETS / "sha256.json").exists()
        else {}
    )


def finished(name: str) -> bool:
    """Is the sheet there, as sha256.json has it?"""
    sheet = SHEETS / f"{name}.webp"
    return (
        sheet.exists() and sums().get(sheet.name) == hashlib.sha256(sheet.read_bytes()).hexdigest()
    )


def make() -> None:
    """The sheets that are not there yet, one by one."""
    SHEETS.mkdir(exist_ok=True)
    for name in SETS:
        if finished(name):
            continue
        sheet = SHEETS / f"{name}.webp"
        write_sheet(name, [thing.slug for thing in OBJECTS], sheet, method=6)
        known = {**sums(), sheet.name: hashlib.sha256(sheet.read_bytes()).hexdigest()}
        part = SHEETS / "sha256.json.part"
        part.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
        part.replace(SHEETS / "sha256.json")


if __name__ == "__main__":
    make()
