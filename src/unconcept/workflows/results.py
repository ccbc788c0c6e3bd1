"""The result of a run: the content of report.json, and the folder that holds it."""

import hashlib
import time
from dataclasses import dataclass, field
from importlib.metadata import version

from ..edits.edit import Edit
from ..evaluation.benchmark import Benchmark
from ..evaluation.failure_detection import detect_failure
from ..evaluation.runner import Evaluation
from ..io.output_folder import whole_folder
from ..models.interface import Model
from ..models.sampling import Sampling
from ..profiling.usage import peak_memory
from ..reporting import report as reports
from .options import EvaluationOptions, RunOptions


def software_versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    return {name: version(name) for name in ("unconcept", "torch", "diffusers", "transformers")}


def concept_records(benchmark: Benchmark) -> list[dict]:
    """What report.json says of the concepts."""
    records = []
    for concept in benchmark.concepts:
        records.append(
            {
                "erase": concept.erase,
                "alternative": concept.alternative,
                "synonyms": concept.synonyms,
                "keep": concept.keep,
            }
        )
    return records


@dataclass
class RunRecord:
    """What a run does and costs, filled in as it proceeds.

    options           of the run
    model             the original model
    benchmark         prompts and judge
    sampling          of the evaluation images
    started           `time.perf_counter()` at the start of the run
    training_seconds  None: nothing was trained
    network_calls     images that went forward through the denoiser during the training; None:
                      nothing was trained
    warnings          a line each
    """

    options: EvaluationOptions
    model: Model
    benchmark: Benchmark
    sampling: Sampling
    started: float
    training_seconds: float | None = None
    network_calls: int | None = None
    warnings: list[str] = field(default_factory=list)

    def to_report(self, edit: Edit, evaluation: Evaluation) -> dict:
        """The content of report.json, schema 1.

        Args:
            edit: The edit that the run is about.
            evaluation: Its scores and images.

        Returns:
            All but the size of the edit's file, which `write_results` adds.
        """
        failure = detect_failure(evaluation.scores, evaluation.before, evaluation.after)
        return {
            "schema": 1,
            "concept": concept_records(self.benchmark),
            "method": {
                "name": edit.card.get("method"),
                "settings": edit.card.get("settings", {}),
            },
            "model": {
                "name": self.options.source.model,
                "family": self.model.family,
                "sha256": edit.card.get("model_sha256"),
            },
            "cost": self._cost(edit),
            "scores": evaluation.scores.to_json(),
            "settings": self._settings(edit),
            "versions": software_versions(),
            "warnings": list(self.warnings),
            "failure": failure,
        }

    def _cost(self, edit: Edit) -> dict:
        return {
            "seconds": round(time.perf_counter() - self.started, 1),
            "training_seconds": self.training_seconds,
            "network_calls": self.network_calls,
            "peak_memory_bytes": peak_memory(),
            "tuned_parameters": sum(tensor.numel() for tensor in edit.tensors().values()),
            "edit_bytes": 0,
        }

    def _settings(self, edit: Edit) -> dict:
        prompts = self.options.prompts
        return {
            "evaluation": self.options.extent,
            "seed": self.options.seed,
            "sampler": self.sampling.sampler,
            "steps": self.sampling.steps,
            "guidance": self.sampling.guidance,
            "judge": self.benchmark.judge_card,
            "edit_sha256": edit.fingerprint(),
            "prompts_sha256": hashlib.sha256(prompts.read_bytes()).hexdigest() if prompts else None,
            "device": self.model.device.type,
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }


def write_results(
    options: RunOptions, edit: Edit, report: dict, benchmark: Benchmark, evaluation: Evaluation
) -> None:
    """Write the folder of a run, completely or not at all.

    Args:
        options: The folder, and whether it may replace an earlier run's.
        edit: Saved as edit.safetensors.
        report: The content of report.json; the size of the edit's file is added to it.
        benchmark: The prompts of the images.
        evaluation: The images.
    """
    with whole_folder(options.out, options.force) as folder:
        report["cost"]["edit_bytes"] = edit.save(folder / "edit.safetensors").stat().st_size
        reports.write(folder, report, benchmark.cases, evaluation.before, evaluation.after)
