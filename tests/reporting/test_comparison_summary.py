"""The end of `compare` in a terminal."""

from unconcept.evaluation.scores import PIXELS
from unconcept.reporting.comparison_summary import comparison_lines


def score(name: str, group: str, before: float, after: float) -> dict:
    low, high = max(0.0, after - 0.16), min(1.0, after + 0.16)
    return {
        "name": name,
        "group": group,
        "before": before,
        "after": after,
        "ci95": [low, high],
        "n": 20,
    }


def method(name: str, concept: float, failure: str | None = None) -> dict:
    scores = [
        score("concept", "target", 1.0, concept),
        score("alternative", "target", 0.0, 1.0 - concept),
        score("right", "neighbour", 1.0, 1.0),
        score("right", "unrelated", 1.0, 1.0),
        score(PIXELS, "unrelated", 0.0, 0.002),
    ]
    return {"name": name, "scores": scores, "cost": {"seconds": 4.2}, "failure": failure}


def test_one_line_per_method_within_80_columns():
    failure = "no-op: the concept is still in more than half as many of its images as before"
    methods = [method("concept-ablation", 0.0), method("a-file-with-a-long-name", 1.0, failure)]
    lines = comparison_lines({"methods": methods})
    assert max(map(len, lines)) <= 80
    head, images, before, first, second, empty, *rest = lines
    assert head.split("  ")[0] == "method"
    assert images.split() == ["images", "20", "20", "20", "20"]
    assert before.split() == ["before", "100", "0", "100", "100"]
    assert first.startswith("concept-ablation 0 [0–16]")
    assert first.endswith(" 4")
    assert second.startswith("a-file-with-a-lo 100 [84–100]")
    assert empty == ""
    assert " ".join(rest) == f"a-file-with-a-long-name: {failure}".replace("no-op:", "not erased,")


def test_without_a_judge_it_shows_how_far_images_moved():
    entry = method("uce", 0.0)
    entry["scores"] = [row for row in entry["scores"] if row["name"] == PIXELS]
    head, *_, last = comparison_lines({"methods": [entry]})
    assert "unrelated moved" in head
    assert "0.002 [0.000–0.162]" in last
