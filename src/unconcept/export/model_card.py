"""The model card of an erasure, or of what it was exported to: README.md with the fields that a hub reads, the licence of the base among them."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

CARD = """---
{data}
---
# {title}

An edit made by [unconcept](https://github.com/unconcept/unconcept) {version}: it takes *{erase}* out of `{model}`{instead}.

    unconcept generate "a prompt" --model {model} --edit edit.safetensors

{verdict}

- method: {method}
- base model sha256: `{sha}`
- the file holds {parameters:,} changed numbers in {bytes:,} bytes, and nothing else of the model; whatever licence the model has goes for it too.

Pictures from the same seeds before and after are in `before-after.png`, scores with intervals in `report.html` and `report.json`.

{promise}
"""

EXPORTED = """---
{data}
---
# Without {erase}

Exported by [unconcept](https://github.com/unconcept/unconcept) {version}: *{erase}* was taken out{instead}.

- method: {method}
- base model sha256: `{sha}`
- whatever licence the base model has goes for this too.

{promise}
"""

PROMISE = """What it does not promise: that the concept can never be brought back. Whoever has the weights can train it in again, and prompts
made for the purpose may reach it."""

TAGS = ("unconcept", "concept-erasure")

LICENCE = ("license", "license_name", "license_link")


def card(report: dict, title: str, verdict: str) -> str:
    """Of the content of report.json."""
    from huggingface_hub import ModelCardData

    model, cost = report["model"]["name"], report["cost"]
    hub = {"base_model": model, "base_model_relation": "adapter"} if is_hub_id(model) else {}
    tags = [*TAGS, report["method"]["name"]]
    data = ModelCardData(library_name="diffusers", pipeline_tag="text-to-image", tags=tags, **licence(model), **hub)
    return CARD.format(
        data=data.to_yaml(), title=title, version=report["versions"]["unconcept"], model=model, verdict=verdict, method=report["method"]["name"],
        sha=report["model"]["sha256"], parameters=cost["tuned_parameters"], bytes=cost["edit_bytes"], promise=PROMISE, **concept_words(report["concept"]),
    )  # fmt: skip


def export_card(edit: Mapping[str, Any], base: Mapping[str, Any], model: str = "") -> str:
    """Of what an edit was exported to. `edit`: its card; `base`: what `base_of` knows.

    model: of a whole pipeline, the base, by name or folder: the fields and the text of its own card are kept, but for scores, which were another model's.
    """
    from huggingface_hub import ModelCardData

    fields, text = own_card(model) if model else ({}, "")
    kept = {key: value for key, value in {**base, **fields}.items() if key not in ("model-index", "tags")}
    tags = [*fields.get("tags", ()), *TAGS]
    data = ModelCardData(**{"library_name": "diffusers", "pipeline_tag": "text-to-image", **kept, "tags": tags})
    made = EXPORTED.format(
        data=data.to_yaml(), version=version("unconcept"), method=edit.get("method") or "not known", sha=edit.get("model_sha256") or "not known",
        promise=PROMISE, **concept_words(edit.get("concepts", ())),
    )  # fmt: skip
    return f"{made}\n## The base model's own card\n\n{text.strip()}\n" if text.strip() else made


def concept_words(concepts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The concepts' words in a card."""
    instead = "".join(f", with *{c['alternative']}* in place of *{c['erase']}*" for c in concepts if c.get("alternative"))
    return {"erase": ", ".join(c["erase"] for c in concepts), "instead": instead}


def is_hub_id(model: str) -> bool:
    return model.count("/") == 1 and not Path(model).exists() and not model.startswith((".", "/", "~"))


def licence(model: str) -> dict[str, Any]:
    """What the base's own card says of its licence, by the fields of a hub's card; nothing where it says nothing, or is not on this disk."""
    fields, _ = own_card(model)
    return {key: fields[key] for key in LICENCE if fields.get(key)}


def base_of(edit: Path) -> dict[str, Any]:
    """What the card beside an edit, or in its folder, says of the edit's base: its licence and its hub id, by the fields of a hub's card."""
    fields, _ = own_card(str(edit if edit.is_dir() else edit.parent))
    ours = TAGS[0] in (fields.get("tags") or ())
    return {key: fields[key] for key in (*LICENCE, "base_model") if fields.get(key)} if ours else {}


def own_card(model: str) -> tuple[dict[str, Any], str]:
    """(fields, text) of a model's own card, of a hub's model as it lies in the hub's cache on this disk; nothing where it is not there."""
    from huggingface_hub import ModelCard

    if not (file := readme(model)).is_file():
        return {}, ""
    said = file.read_text(encoding="utf-8", errors="replace")
    try:
        card = ModelCard(said, ignore_metadata_errors=True)
        return card.data.to_dict(), card.text
    except (ValueError, yaml.YAMLError):  # fields that are none
        return {}, said


def readme(model: str) -> Path:
    """Where a model's own card is, or would be."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    from ..models.emoji.loading import FOLDER
    from ..models.loading import EMBEDDED

    if not is_hub_id(model):
        return (FOLDER if model in EMBEDDED else Path(model)) / "README.md"
    try:
        cached = try_to_load_from_cache(model, "README.md")
    except HFValidationError:  # a path that is not there
        cached = None
    return Path(cached) if isinstance(cached, str) else Path(model) / "README.md"
