"""The model card of an erasure, or of what it was exported to.

README.md with the fields that the Hub reads, the licence of the base model among them.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from ..io.text import in_code_span, in_markdown, one_line

CARD = """---
{data}
---
# {title}

An edit made by [unconcept](https://github.com/unconcept/unconcept) {version}.
{claim}

    unconcept generate "a prompt" --model {model} --edit edit.safetensors

{verdict}

- method: {method}
- base model sha256: {sha}
- the file holds {parameters:,} changed parameters in {bytes:,} bytes and nothing else of the model;
  the base model's licence applies to it too

{images}Scores with intervals are in `report.html` and `report.json`.

{promise}
"""

EXPORTED = """---
{data}
---
# Without {erase}

Exported by [unconcept](https://github.com/unconcept/unconcept) {version}:
*{erase}* was taken out{instead}.

- method: {method}
- base model sha256: {sha}
- the base model's licence applies to this too

{promise}
"""

IMAGES = """![Images from the same seeds, before and after](before-after.png)

"""

PROMISE = """This does not promise that the concept can never be brought back. Whoever has the
weights can train it in again, and prompts made for the purpose may reach it."""

TAGS = ("unconcept", "concept-erasure")

LICENCE = ("license", "license_name", "license_link")


def card(report: Mapping[str, Any], title: str, verdict: str) -> str:
    """The model card of an erasure.

    Args:
        report: The content of report.json.
        title: The heading.
        verdict: What came of it, in a sentence.

    Returns:
        The text of README.md.
    """
    from huggingface_hub import ModelCardData

    clips = report.get("settings", {}).get("frames")
    model, method, cost = report["model"]["name"], report["method"]["name"], report["cost"]
    relation = {}
    if is_hub_id(model):
        relation = {"base_model": model, "base_model_relation": "adapter"}
    data = ModelCardData(
        library_name="diffusers",
        pipeline_tag="text-to-video" if clips else "text-to-image",
        tags=[*TAGS, method],
        **licence(model),
        **relation,
    )
    words = concept_words(report["concept"])
    claim = f"It takes *{words['erase']}* out of {in_code_span(model)}{words['instead']}."
    if report.get("failure"):
        claim = f"It was to take *{words['erase']}* out of {in_code_span(model)}, and did not work."
    return CARD.format(
        data=data.to_yaml(),
        title=in_markdown(title),
        version=report["versions"]["unconcept"],
        model=one_line(model),
        verdict=in_markdown(verdict),
        method=in_markdown(method),
        sha=in_code_span(report["model"]["sha256"]),
        parameters=cost["tuned_parameters"],
        bytes=cost["edit_bytes"],
        claim=claim,
        images=IMAGES if report.get("scores") else "",
        promise=PROMISE,
    )


def export_card(edit: Mapping[str, Any], base: Mapping[str, Any], model: str = "") -> str:
    """The model card of what an edit was exported to.

    Args:
        edit: The edit's own card.
        base: What is known of its base model (`base_of`).
        model: For a whole pipeline, the base by name or folder: the fields and text of its card
            are kept, but for scores, which were another model's.

    Returns:
        The text of README.md.
    """
    from huggingface_hub import ModelCardData

    fields, text = own_card(model) if model else ({}, "")
    known = {"library_name": "diffusers", "pipeline_tag": "text-to-image", **base, **fields}
    known.pop("model-index", None)
    known["tags"] = [*fields.get("tags", ()), *TAGS]
    new_card = EXPORTED.format(
        data=ModelCardData(**known).to_yaml(),
        version=version("unconcept"),
        method=in_markdown(edit.get("method") or "not known"),
        sha=in_code_span(edit.get("model_sha256") or "not known"),
        promise=PROMISE,
        **concept_words(edit.get("concepts", ())),
    )
    if not text.strip():
        return new_card
    return f"{new_card}\n## The base model's own card\n\n{text.strip()}\n"


def concept_words(concepts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The concepts' words in a card: what is erased, and what comes instead of it.

    Args:
        concepts: Records with the key `erase`, and `alternative` where there is one.

    Returns:
        "erase" and "instead", escaped for Markdown; "instead" begins with a comma, or is "".
    """
    instead = ""
    for concept in concepts:
        if alternative := concept.get("alternative"):
            erased = in_markdown(concept["erase"])
            instead += f", with *{in_markdown(alternative)}* in place of *{erased}*"
    names = [in_markdown(concept["erase"]) for concept in concepts]
    return {"erase": ", ".join(names), "instead": instead}


def is_hub_id(model: str) -> bool:
    """Is a model's name a repository of the Hub, owner/name?

    Args:
        model: As the user named it: an embedded model, a path or a Hub id. The Hub is not asked.
    """
    is_path = Path(model).exists() or model.startswith((".", "/", "~"))
    return model.count("/") == 1 and not is_path


def licence(model: str) -> dict[str, Any]:
    """The licence that a base model's card names.

    Args:
        model: By name, folder or Hub id.

    Returns:
        The licence fields of a Hub card; nothing if the card names none, or is not on this disk.
    """
    fields, _ = own_card(model)
    return {key: fields[key] for key in LICENCE if fields.get(key)}


def base_of(edit: Path) -> dict[str, Any]:
    """The base model in the card beside an edit.

    Args:
        edit: The edit's file or folder.

    Returns:
        Its licence and Hub id, by the fields of a Hub card; nothing if the card is not ours.
    """
    fields, _ = own_card(str(edit if edit.is_dir() else edit.parent))
    if TAGS[0] not in (fields.get("tags") or ()):
        return {}
    return {key: fields[key] for key in (*LICENCE, "base_model") if fields.get(key)}


def own_card(model: str) -> tuple[dict[str, Any], str]:
    """A model's own card, from this disk; of the Hub's models from the Hub's cache.

    Args:
        model: By name, folder or Hub id.

    Returns:
        (fields, text); nothing if it is not there.
    """
    from huggingface_hub import ModelCard

    file = readme(model)
    if not file.is_file():
        return {}, ""
    content = file.read_text(encoding="utf-8", errors="replace")
    try:
        card = ModelCard(content, ignore_metadata_errors=True)
        return card.data.to_dict(), card.text
    except (ValueError, yaml.YAMLError):  # its fields cannot be parsed
        return {}, content


def readme(model: str) -> Path:
    """Where a model's own card is, or would be.

    Args:
        model: An embedded model's name, a folder, or a Hub id, of which the local cache is
            searched.

    Returns:
        A path, which may not exist.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    from ..models import EMBEDDED, emoji

    if model in EMBEDDED:
        return emoji.FOLDER / "README.md"
    if not is_hub_id(model):
        return Path(model) / "README.md"
    try:
        cached = try_to_load_from_cache(model, "README.md")
    except HFValidationError:  # a path that does not exist
        cached = None
    return Path(cached) if isinstance(cached, str) else Path(model) / "README.md"
