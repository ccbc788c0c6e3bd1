"""The card of an exported model: what it takes from the card of its base, and its base's name."""

import shutil

import huggingface_hub
from huggingface_hub import ModelCard

from unconcept.export.formats import export
from unconcept.export.model_card import base_of, licence


def test_a_pipelines_own_card_is_kept(edit, folder, tmp_path):
    """Its licence, its other fields and its text; not its scores, which are another model's.

    What was erased stands before it.
    """
    base = shutil.copytree(folder, tmp_path / "base")
    scores = """model-index:
- name: x
  results:
  - task: {type: t}
    dataset: {type: d, name: d}
    metrics: [{type: fid, value: 3}]
"""
    (base / "README.md").write_text(
        f"---\nlicense: other\nlicense_link: L.md\ntags: [art]\nwidget: [a]\n{scores}---\n"
        "# Tiny\n\nMade by ünïcode.\n"
    )
    out = export(edit, "pipeline", tmp_path / "out", model=str(base))
    card = ModelCard((out / "README.md").read_text(encoding="utf-8"))
    fields = card.data.to_dict()
    assert (fields["license"], fields["license_link"], fields["widget"]) == ("other", "L.md", ["a"])
    assert fields["tags"] == ["art", "unconcept", "concept-erasure"]
    assert "model-index" not in fields
    assert card.text.index("*pig* was taken out") < card.text.index("# Tiny\n\nMade by ünïcode.")
    bare = export(edit, "pipeline", tmp_path / "two", model=str(folder))
    assert ModelCard((bare / "README.md").read_text()).data.to_dict()["library_name"] == "diffusers"
    (base / "README.md").write_text("---\n{no: [fields\n---\n# Tiny\n")
    assert (
        "# Tiny"
        in (export(edit, "pipeline", tmp_path / "three", model=str(base)) / "README.md").read_text()
    )


def test_the_licence_of_a_model_of_the_hub(tmp_path, monkeypatch):
    """It is read from the card in the hub's cache, without a network call."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    (cached / "snapshots" / "abc").mkdir(parents=True)
    (cached / "snapshots" / "abc" / "README.md").write_text(
        "---\nlicense: other\nlicense_name: openrail\nlanguage: en\n---\n# A model\n"
    )
    assert licence("owner/name") == {"license": "other", "license_name": "openrail"}
    assert licence("owner/other") == licence("no such/place") == {}


def test_the_base_of_an_edit_is_told_by_the_card_beside_it(tmp_path):
    """The edit's own; a card of something else says nothing of it."""
    (tmp_path / "README.md").write_text(
        "---\ntags: [unconcept]\nlicense: mit\nbase_model: owner/name\n"
        "library_name: diffusers\n---\n"
    )
    assert (
        base_of(tmp_path)
        == base_of(tmp_path / "edit.safetensors")
        == {"license": "mit", "base_model": "owner/name"}
    )
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# The model\n")
    assert base_of(tmp_path) == {}
