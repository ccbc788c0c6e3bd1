"""report.json, checked against its documentation."""

import json
import numbers
import re
from pathlib import Path

import pytest

from unconcept.evaluation.benchmark import GROUPS

DOCS = (Path(__file__).parents[2] / "docs/reference/report-json.md").read_text()


def check(report: dict) -> None:
    """Check schema 1: exactly the documented keys; scores are numbers or have a reason."""
    table = DOCS.split("## report.json, schema 1")[1]
    documented = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert list(report) == documented
    for key in ("method", "model", "cost", "settings"):
        named = re.search(rf"^\| `{key}` \| `\{{([^}}]*)\}}`", table, re.MULTILINE)[1]
        assert list(report[key]) == named.split(", "), key
    assert report["schema"] == 1
    hashes = report["settings"]["edit_sha256"], report["settings"]["prompts_sha256"]
    assert re.fullmatch("[0-9a-f]{64}", hashes[0])
    assert hashes[1] is None or re.fullmatch("[0-9a-f]{64}", hashes[1])
    for row in report["scores"]:
        assert set(row) - {"reason", "difference"} == {
            "name",
            "group",
            "before",
            "after",
            "n",
            "ci95",
            "better",
        }
        assert row["group"] in (*GROUPS, "structure")
        assert row["better"] in ("higher", "lower", None)
        if row["after"] is None:
            assert (row["n"], row["ci95"]) == (0, None)
            assert row["reason"]
        else:
            assert isinstance(row["after"], numbers.Real)
            assert row["n"] > 0
            low, high = row["ci95"]
            assert low <= row["after"] <= high, row
            if apart := row.get("difference"):
                assert apart["value"] == pytest.approx(row["after"] - row["before"], abs=2e-4)
                assert apart["ci95"][0] <= apart["value"] <= apart["ci95"][1]
    json.dumps(report, allow_nan=False)
