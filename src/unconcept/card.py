"""The model card of an erasure: README.md with the fields that a hub reads, the licence of the base among them."""

from pathlib import Path
from typing import Any

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

What it does not promise: that the concept can never be brought back. Whoever has the weights can train it in again, and prompts
made for the purpose may reach it.
"""


def card(report: dict, title: str, verdict: str) -> str:
    """Of the content of report.json."""
    from huggingface_hub import ModelCardData

    model, concepts, cost = report["model"]["name"], report["concept"], report["cost"]
    hub = {"base_model": model, "base_model_relation": "adapter"} if is_hub_id(model) else {}
    tags = ["unconcept", "concept-erasure", report["method"]["name"]]
    data = ModelCardData(library_name="diffusers", pipeline_tag="text-to-image", tags=tags, **licence(model), **hub)
    instead = "".join(f", with *{c['alternative']}* in place of *{c['erase']}*" for c in concepts if c["alternative"])
    return CARD.format(
        data=data.to_yaml(), title=title, version=report["versions"]["unconcept"], erase=", ".join(c["erase"] for c in concepts), model=model,
        instead=instead, verdict=verdict, method=report["method"]["name"], sha=report["model"]["sha256"], parameters=cost["tuned_parameters"],
        bytes=cost["edit_bytes"],
    )  # fmt: skip


def is_hub_id(model: str) -> bool:
    return model.count("/") == 1 and not Path(model).exists() and not model.startswith((".", "/", "~"))


def licence(model: str) -> dict[str, Any]:
    """What the base's own card says of its licence, by the fields of a hub's card; nothing where it says nothing, or is not on this disk."""
    from huggingface_hub import ModelCard

    from .models import EMBEDDED
    from .models.emoji import FOLDER

    file = (FOLDER if model in EMBEDDED else Path(model)) / "README.md"
    if not file.is_file():
        return {}
    try:
        said = ModelCard.load(file).data.to_dict()
    except ValueError:  # a card without fields
        return {}
    return {key: said[key] for key in ("license", "license_name", "license_link") if said.get(key)}
