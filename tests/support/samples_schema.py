"""samples.jsonl, checked against its documentation and its folder."""

import json
import re
from pathlib import Path

from PIL import Image

from unconcept.evaluation.benchmark import GROUPS

DOCS = (Path(__file__).parents[2] / "docs/reference/files.md").read_text()


def read_samples(folder: Path) -> list[dict]:
    """The records of a folder, after a check of each."""
    table = DOCS.split("## samples.jsonl")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    text = (folder / "samples.jsonl").read_text(encoding="utf-8")
    assert str(folder.resolve().parent) not in text, "no path of this machine"
    records = [json.loads(line) for line in text.splitlines()]
    for record in records:
        assert list(record) == documented
        assert record["group"] in (*GROUPS, None)
        assert record["stage"] in ("before", "after")
        assert (record["stage"] == "before") == (record["strength"] == 0)
        assert (record["judged"] is None) == (record["probabilities"] == {})
        for probability in record["probabilities"].values():
            assert probability is None or 0 <= probability <= 1
        assert all(isinstance(mark, bool) for mark in record["marks"].values())
        if record["file"] is not None:
            with Image.open(folder / record["file"]) as image:
                image.verify()
    return records
