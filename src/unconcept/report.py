"""What `erase` leaves behind: the before/after sheet, report.json (schema 1), report.html and the model card."""

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GROUP_TITLES = {
    "target": "the concept", "synonym": "its synonyms", "neighbour": "near neighbours", "unrelated": "unrelated", "structure": "controls",
}  # fmt: skip

HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>unconcept: {{ title }}</title>
<style>
 body { font: 16px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1e; background: #fff }
 h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
 .sub { color: #666; margin-top: 0 } img { width: 100%; border: 1px solid #ddd; border-radius: 6px }
 table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums } th { text-align: left; font-weight: 600 }
 td, th { padding: .3rem .6rem; border-bottom: 1px solid #eee } td.n, th.n { text-align: right }
 .bad { background: #fdecea; border-left: 4px solid #c0392b; padding: .6rem 1rem } .good { color: #1a7f37 } .worse { color: #c0392b }
 dl { display: grid; grid-template-columns: max-content auto; gap: .2rem 1.2rem } dt { color: #666 } dd { margin: 0; overflow-wrap: anywhere }
</style>
<h1>{{ title }}</h1>
<p class="sub">{{ r.method.name }} on {{ r.model.name }}, {{ "%.0f"|format(r.cost.seconds) }} s</p>
{% if r.failure %}<p class="bad">{{ r.failure }}</p>{% endif %}
{% for w in r.warnings %}<p class="bad">{{ w }}</p>{% endfor %}
<h2>Same seeds, before and after</h2>
<img src="before-after.png" alt="pictures before and after, from the same seeds">
<h2>Scores</h2>
<table><tr><th>group</th><th>measure</th><th class="n">before</th><th class="n">after</th><th class="n">95 % interval</th><th class="n">n</th><th>better</th></tr>
{% for s in rows %}<tr><td>{{ s.title }}</td><td>{{ s.name }}</td><td class="n">{{ s.b }}</td><td class="n">{{ s.a }}</td><td class="n">{{ s.ci }}</td><td class="n">{{ s.n }}</td><td>{{ s.better }}</td></tr>
{% endfor %}</table>
<p class="sub">Shares are of pictures, with Wilson intervals; changes are medians against the picture of the same seed before, with bootstrap intervals.{% if r.settings.judge %}
 The judge is a network of its own, trained on pictures only; on pictures it never saw it is right in {% for k, v in r.settings.judge.items() %}{{ "%.1f"|format(100 * v[0]) }} % ({{ k }}, n = {{ v[1] }}){{ ", " if not loop.last }}{% endfor %}.{% endif %}</p>
<h2>Cost and settings</h2>
<dl>{% for k, v in facts %}<dt>{{ k }}</dt><dd>{{ v }}</dd>{% endfor %}</dl>
</html>
"""

CARD = """# {title}

An edit made by [unconcept](https://github.com/unconcept/unconcept) {version}: it takes *{erase}* out of `{model}`{instead}.

    unconcept generate "a prompt" --model {model} --edit edit.safetensors

- method: {method}
- base model sha256: `{sha}`
- the file holds {parameters:,} changed numbers in {bytes:,} bytes, and nothing else of the model; whatever licence the model has goes for it too.

Pictures from the same seeds before and after are in `before-after.png`, scores with intervals in `report.html` and `report.json`.

What it does not promise: that the concept can never be brought back. Whoever has the weights can train it in again, and prompts
made for the purpose may reach it.
"""


def to_image(picture: Tensor, size: int) -> Image.Image:
    """A picture [3, H, W] in [0, 1], `size` pixels wide; small ones are enlarged without smoothing."""
    array = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(array)
    smooth = image.width > size or size % image.width
    return image.resize((size, size * image.height // image.width), Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)


def sheet(questions: Sequence, before: Tensor, after: Tensor, columns: int = 8, size: int = 128) -> Image.Image:
    """Before above after, from the same seeds, in a band for each group; the prompt stands under each pair."""
    groups = [g for g in GROUP_TITLES if any(q.group == g for q in questions)]
    font, bold = ImageFont.load_default(13), ImageFont.load_default(17)
    gap, head, foot, left = 6, 34, 48, 64
    band = head + 2 * size + gap + foot
    page = Image.new("RGB", (left + columns * (size + gap) + gap, len(groups) * band + gap), "white")
    draw = ImageDraw.Draw(page)
    for row, group in enumerate(groups):
        top, chosen = row * band + gap, [i for i, q in enumerate(questions) if q.group == group][:columns]
        draw.text((gap, top + 6), GROUP_TITLES[group], fill="black", font=bold)
        for line, (pictures, title) in enumerate(((before, "before"), (after, "after"))):
            y = top + head + line * (size + gap)
            draw.text((gap, y + size // 2 - 8), title, fill="#666", font=font)
            for column, i in enumerate(chosen):
                page.paste(to_image(pictures[i], size), (left + column * (size + gap), y))
        for column, i in enumerate(chosen):
            text = "\n".join(textwrap.wrap(questions[i].prompt, 20)[:2])
            draw.multiline_text((left + column * (size + gap), top + head + 2 * size + gap + 4), text, fill="#333", font=font, spacing=2)
    return page


def grid(pictures: Tensor, columns: int = 4, size: int = 256) -> Image.Image:
    columns = min(columns, len(pictures))
    tiles = [to_image(p, size) for p in pictures]
    page = Image.new("RGB", (columns * tiles[0].width, -(-len(tiles) // columns) * tiles[0].height), "white")
    for i, tile in enumerate(tiles):
        page.paste(tile, (i % columns * tile.width, i // columns * tile.height))
    return page


def say(value: float | None, name: str) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if "change" in name or "ssim" in name else f"{100 * value:.1f} %"


def table(rows: Sequence[dict]) -> list[dict]:
    """The rows of report.json in words."""
    return [
        {
            "title": GROUP_TITLES[row["group"]], "name": row["name"], "b": say(row["before"], row["name"]), "a": say(row["after"], row["name"]),
            "ci": " – ".join(say(v, row["name"]) for v in row["ci95"]), "n": row["n"], "better": row["better"] or "–",
        }
        for row in rows
    ]  # fmt: skip


def title(report: dict) -> str:
    return "; ".join(c["erase"] + (f" → {c['alternative']}" if c["alternative"] else " erased") for c in report["concept"])


def write(folder: Path, report: dict, image: Image.Image) -> None:
    """report.json, report.html, README.md and before-after.png in `folder`."""
    from jinja2 import Environment

    (folder / "report.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    cost, method = report["cost"], report["method"]
    facts = [
        ("network calls", f"{cost['network_calls']:,} (one picture through the denoiser, forward)"),
        ("peak memory", f"{cost['peak_memory_bytes'] / 2**30:.2f} GiB"),
        ("changed numbers", f"{cost['tuned_parameters']:,}, {cost['edit_bytes']:,} bytes"),
        *((k, v) for k, v in method["settings"].items()),
        *((k, v) for k, v in report["settings"].items() if k != "judge"),
        *((k, v) for k, v in report["versions"].items()),
        ("model sha256", report["model"]["sha256"]),
    ]
    page = Environment(autoescape=True).from_string(HTML)
    (folder / "report.html").write_text(page.render(r=report, title=title(report), rows=table(report["scores"]), facts=facts))
    concepts = report["concept"]
    instead = "".join(f", with *{c['alternative']}* in place of *{c['erase']}*" for c in concepts if c["alternative"])
    (folder / "README.md").write_text(
        CARD.format(
            title=title(report), version=report["versions"]["unconcept"], erase=", ".join(c["erase"] for c in concepts),
            model=report["model"]["name"], instead=instead, method=method["name"], sha=report["model"]["sha256"],
            parameters=cost["tuned_parameters"], bytes=cost["edit_bytes"],
        )
    )  # fmt: skip
    image.save(folder / "before-after.png")
