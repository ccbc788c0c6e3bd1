"""The result of a run: the content of report.json, and the folder that holds it."""

import hashlib
import time
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version

from ..edits.edit import Edit
from ..evaluation.benchmark import Benchmark
from ..evaluation.failure_detection import detect_failure
from ..evaluation.runner import Evaluation, sampling_seeds
from ..evaluation.strength_curve import StrengthCurve
from ..io.output_folder import whole_folder
from ..models.interface import Model
from ..models.sampling_options import ResolvedSampling
from ..profiling.usage import peak_memory
from ..reporting import report as reports
from ..reporting.image_files import image_file, write_images
from ..reporting.samples import benchmark_records, write_samples
from .options import EvaluationOptions

# A version is read from a text of hundreds of lines.
installed_version = cache(version)


def software_versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    names = ("unconcept", "torch", "diffusers", "transformers")
    return {name: installed_version(name) for name in names}


def describe_edit(edit: Edit, name: str, model: Model) -> dict:
    """What report.json says of the method and the model.

    Args:
        edit: That the run is about.
        name: Of the model, as the user gave it.
        model: The original model.
    """
    return {
        "method": {
            "name": edit.card.get("method"),
            "settings": edit.card.get("settings", {}),
        },
        "model": {
            "name": name,
            "family": model.family,
            "sha256": edit.card.get("model_sha256"),
        },
    }


def concept_records(benchmark: Benchmark) -> list[dict]:
    """What report.json says of the concepts.

    Args:
        benchmark: Its concepts are completed.

    Returns:
        One entry per concept, with the keys erase, alternative, synonyms and keep.
    """
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
    strength          how much of the edit was evaluated
    training_seconds  None: nothing was trained
    network_calls     images that went forward through the denoiser during the training; None:
                      nothing was trained
    memory            what it may take, and the savings that were chosen; None: nothing was chosen
    warnings          a line each; the report has each once
    """

    options: EvaluationOptions
    model: Model
    benchmark: Benchmark
    sampling: ResolvedSampling
    started: float
    strength: float = 1.0
    training_seconds: float | None = None
    network_calls: int | None = None
    memory: dict | None = None
    warnings: list[str] = field(default_factory=list)

    def to_report(
        self, edit: Edit, evaluation: Evaluation, curve: StrengthCurve | None = None
    ) -> dict:
        """The content of report.json, schema 1.

        Args:
            edit: The edit that the run is about.
            evaluation: Its scores and images.
            curve: The concept at several strengths, where it was measured.

        Returns:
            All but the size of the edit's file, which `write_results` adds.
        """
        failure = detect_failure(evaluation.scores, evaluation.before, evaluation.after)
        return {
            "schema": 1,
            "concept": concept_records(self.benchmark),
            **describe_edit(edit, self.options.source.model, self.model),
            "cost": self._cost(edit),
            "scores": evaluation.scores.to_json(),
            "settings": self._settings(edit),
            "versions": software_versions(),
            "warnings": list(dict.fromkeys(self.warnings)),
            "failure": failure,
            "strengths": curve.rows if curve else [],
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
            "memory": self.memory,
            "frames": self.model.frames,
        }


def write_results(
    record: RunRecord, edit: Edit, evaluation: Evaluation, curve: StrengthCurve | None = None
) -> dict:
    """Write the folder of a run, completely or not at all.

    Args:
        record: Of the run: the folder, whether it may replace an earlier run's, and all else that
            the report says.
        edit: Saved as edit.safetensors.
        evaluation: Its scores and images.
        curve: The concept at several strengths of the edit, where it was measured.

    Returns:
        The content of report.json.
    """
    options, cases = record.options, record.benchmark.cases
    report = record.to_report(edit, evaluation, curve)
    pairs = {"before": evaluation.before, "after": evaluation.after}
    with whole_folder(options.out, options.force) as folder:
        report["cost"]["edit_bytes"] = edit.save(folder / "edit.safetensors").stat().st_size
        write_images(folder, pairs, range(len(cases)))
        write_samples(folder, _sample_records(record, edit, evaluation))
        reports.write(folder, report, cases, evaluation, curve)
    return report


def _sample_records(record: RunRecord, edit: Edit, evaluation: Evaluation) -> list[dict]:
    """The lines of samples.jsonl: all images before, then all images after."""
    seeds = sampling_seeds(record.benchmark, record.sampling.seed)
    stages = {
        "before": (evaluation.before, {"method": None, "strength": 0.0}),
        "after": (
            evaluation.after,
            {"method": edit.card.get("method"), "strength": record.strength},
        ),
    }
    records = []
    for stage, (images, facts) in stages.items():
        some = benchmark_records(record.benchmark, images, seeds, stage=stage, **facts)
        for i, line in enumerate(some):
            records.append({**line, "file": image_file(i, stage)})
    return records
