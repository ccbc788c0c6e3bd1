"""The result of a run: the content of report.json and the folder that holds it."""

import hashlib
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ..concepts.concept import Concept
from ..edits.edit import Edit
from ..evaluation.failure_detection import detect_failure
from ..evaluation.runner import Evaluation, Extent
from ..io.output_folder import whole_folder
from ..models.interface import Model
from ..profiling.usage import peak_memory
from ..reporting import report as reports


def summary(
    edit: Edit, net: Model, model: str, concepts: Sequence[Concept], judged, found: Evaluation, extent: Extent, cost: dict, start: float,
    warnings: Sequence[str], given: dict, prompts: Path | None,
) -> dict:  # fmt: skip
    """The content of report.json, schema 1."""
    return {
        "schema": 1,
        "concept": [{k: getattr(c, k) for k in ("erase", "alternative", "synonyms", "keep")} for c in concepts],
        "method": {"name": edit.card.get("method"), "settings": edit.card.get("settings", {})},
        "model": {"name": model, "family": net.family, "sha256": edit.card.get("model_sha256")},
        "cost": {
            "seconds": round(time.perf_counter() - start, 1),
            **cost,
            "peak_memory_bytes": peak_memory(),
            "tuned_parameters": sum(t.numel() for t in edit.tensors().values()),
            "edit_bytes": 0,
        },
        "scores": found.rows,
        "settings": {
            "evaluation": extent,
            "seed": given["seed"],
            "sampler": net.samplers[0],
            "steps": given["steps"],
            "guidance": given["guidance"],
            "judge": judged,
            "edit_sha256": edit.fingerprint(),
            "prompts_sha256": hashlib.sha256(prompts.read_bytes()).hexdigest() if prompts else None,
            "device": net.device.type,
            "dtype": str(net.dtype).removeprefix("torch."),
        },
        "versions": {name: version(name) for name in ("unconcept", "torch", "diffusers", "transformers")},
        "warnings": list(warnings),
        "failure": detect_failure(found.rows, found.before, found.after),
    }


def write_results(out: Path, force: bool, edit: Edit, result: dict, benchmark, found: Evaluation) -> dict:
    with whole_folder(out, force) as folder:
        result["cost"]["edit_bytes"] = edit.save(folder / "edit.safetensors").stat().st_size
        reports.write(folder, result, benchmark.cases, found.before, found.after)
    return result
