"""report.json as docs/reference/report-json.md describes it, and the words made of it."""

from huggingface_hub import ModelCard

from unconcept.evaluation.scores import PIXELS, unmeasured_score
from unconcept.export.model_card import card
from unconcept.reporting import report as reports


def score(name, group, before, after):
    return {
        "name": name,
        "group": group,
        "before": before,
        "after": after,
        "n": 50,
        "ci95": [after, after],
        "better": None,
    }


def test_the_sentence_says_what_came_of_it():
    report = {
        "failure": None,
        "concept": [{"erase": "pig", "alternative": "cow"}],
        "scores": [
            score("concept", "target", 0.9, 0.02),
            score("alternative", "target", 0.0, 0.95),
            score("right", "unrelated", 0.98, 0.97),
            score(PIXELS, "target", None, 0.12),
            score(PIXELS, "unrelated", None, 0.006),
            score(f"control, another seed: {PIXELS}", "structure", None, 0.116),
        ],
    }
    sentence = reports.verdict_sentence(report)
    for words in (
        "pig in 2.0 % of 50",
        "before: 90.0 %",
        "alternative in 95.0 %",
        "right in 97.0 %",
        "0.006",
        "0.120",
        "another seed: 0.116",
    ):
        assert words in sentence
    assert "did not work: no-op" in reports.verdict_sentence(
        {**report, "failure": "no-op: still there"}
    )


def test_what_is_not_measured_is_no_zero():
    [line] = reports.table([unmeasured_score("KID", "target", "too few images").to_json()])
    assert (line["a"], line["low"], line["n"]) == ("–", "–", 0)
    assert "too few images" in line["name"]


def test_the_card_carries_the_licence_of_the_base(tmp_path):
    """And says which model it is an adapter of, where that is one of a hub."""
    report = {
        "concept": [{"erase": "pig", "alternative": "cow"}],
        "method": {"name": "esd"},
        "model": {"name": "emoji", "sha256": "ab"},
        "cost": {"tuned_parameters": 1, "edit_bytes": 2},
        "versions": {"unconcept": "1"},
    }

    def data(model: str) -> dict:
        text = card({**report, "model": {"name": model, "sha256": "ab"}}, "pig", "It worked.")
        return ModelCard(text).data.to_dict()

    assert data("emoji")["license"] == "apache-2.0"
    hub = data("owner/name")
    assert (hub["base_model"], hub["base_model_relation"], "license" in hub) == (
        "owner/name",
        "adapter",
        False,
    )
    (tmp_path / "README.md").write_text(
        "---\nlicense: other\nlicense_name: openrail\nlicense_link: LICENSE.md\n---\n# A model\n"
    )
    fields = data(str(tmp_path))
    assert (
        fields["license"],
        fields["license_name"],
        fields["license_link"],
        "base_model" in fields,
    ) == (
        "other",
        "openrail",
        "LICENSE.md",
        False,
    )
    (tmp_path / "README.md").write_text("# A model\n")
    assert "license" not in data(str(tmp_path))
