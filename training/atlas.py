"""Stage 1. The atlas: one sheet of 128 px drawings per emoji set, transparent, lossless WebP, in the order of `OBJECTS`.

Needs the npm packages of package-lock.json (`npm ci --ignore-scripts --legacy-peer-deps`); everything after it needs only the sheets.
"""

import hashlib
import io
import json
import subprocess
from pathlib import Path

import resvg_py
from PIL import Image

from unconcept.models.emoji.world import OBJECTS

HERE = Path(__file__).parent
SHEETS = HERE.parent / "src/unconcept/models/emoji/atlas"
SIZE, COLUMNS = 128, 12
SETS = {  # which style each set's drawings are
    "noto": "cartoon",
    "noto-v1": "cartoon",
    "twemoji": "cartoon",
    "emojione": "cartoon",
    "fluent-emoji-flat": "cartoon",
    "fluent-emoji": "3d render",
    "fluent-emoji-high-contrast": "line icon",
    "emojione-monotone": "line icon",
}


def svg(icons: dict, name: str) -> str:
    """The icon as an SVG document with a square view box (some are not square, and a rasteriser would round them)."""
    while name not in icons["icons"]:
        name = icons["aliases"][name]["parent"]
    icon = icons["icons"][name]
    w, h = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    side = max(w, h)
    x, y = icon.get("left", 0) - (side - w) / 2, icon.get("top", 0) - (side - h) / 2
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'{head} viewBox="{x} {y} {side} {side}" width="{side}" height="{side}">{icon["body"]}</svg>'


def drawing(icons: dict, name: str) -> Image.Image:
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg(icons, name), width=256, height=256, skip_system_fonts=True))
    return Image.open(io.BytesIO(png)).convert("RGBA").resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def make() -> None:
    if not (HERE / "node_modules").exists():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--legacy-peer-deps"], cwd=HERE, check=True)
    SHEETS.mkdir(exist_ok=True)
    rows = -(-len(OBJECTS) // COLUMNS)
    for name in SETS:
        icons = json.loads((HERE / f"node_modules/@iconify-json/{name}/icons.json").read_text())
        sheet = Image.new("RGBA", (COLUMNS * SIZE, rows * SIZE))
        for i, thing in enumerate(OBJECTS):
            sheet.paste(drawing(icons, thing.slug), (i % COLUMNS * SIZE, i // COLUMNS * SIZE))
        sheet.save(SHEETS / f"{name}.webp", lossless=True, quality=100, method=6)
    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(SHEETS.glob("*.webp"))}
    (SHEETS / "sha256.json").write_text(json.dumps(sums, indent=1) + "\n")


if __name__ == "__main__":
    make()
