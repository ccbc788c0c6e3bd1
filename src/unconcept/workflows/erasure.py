"""The main job: train an edit that erases concepts, evaluate it, and write one folder."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..concepts.contradictions import check_distinct
from ..config.options import Training
from ..config.ranges import check_settings
from ..edits.edit import Edit
from ..errors import InputError
from ..evaluation.benchmark import Benchmark, truncation_warnings
from ..evaluation.failure_detection import TOO_LITTLE, detect_failure
from ..evaluation.features import features_or_none
from ..evaluation.runner import Evaluation, Measures, evaluate, images_before
from ..evaluation.setup import undrawn_warnings
from ..evaluation.strength_curve import measure_strengths
from ..io.output_folder import check_out
from ..io.units import format_bytes
from ..methods import Method, method_caveat
from ..methods.all_but_one import AllButOne
from ..models.emoji.loading import EmojiVocabulary
from ..models.interface import Model
from ..models.loading import load
from ..models.sampling import ImageSampler
from ..profiling.memory_estimate import FP32_BYTES, changed_numbers
from ..profiling.memory_fit import is_out_of_memory
from ..profiling.memory_savings import describe_savings
from ..profiling.usage import count_calls
from ..training.config import Tune
from ..training.distributed import is_first, process_count
from ..training.resume import checkpointed, discard
from . import monitoring
from .memory import MemoryPlan
from .options import EvaluationOptions
from .results import RunRecord, software_versions, write_results

log = logging.getLogger(__name__)

MANY_NUMBERS = 10_000_000  # of an edit, from which on its size is announced

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import EvaluationKeywords


def erase(
    concepts: Sequence[Concept],
    *,
    method: Method | None = None,
    strict: bool = False,
    lexicon: bool = True,
    training: Training | None = None,
    **options: Unpack[EvaluationKeywords],
) -> dict:
    """Erase concepts, evaluate the edit, and write a folder.

    The folder holds edit.safetensors, before-after.png, scores.png, report.json, report.html,
    report.md, README.md, samples.jsonl, and the images at full size in images/.

    Args:
        concepts: What to erase.
        method: The erasing method with its hyperparameters; None: `AllButOne()`.
        strict: Refuse a concept that the model cannot draw in the first place, instead of a
            warning.
        lexicon: Complete the concepts with the lexicon, on a model that is not embedded.
        training: How the training is saved, resumed and watched; None: not at all.
        **options: Fields of `EvaluationOptions`: `out` (the folder, required), `model`, `force`,
            `progress`, `seed`, `extent`, `prompts`, `look`, `cache`.

    Returns:
        The content of report.json. Its `failure` is None, or one line about what went wrong. Of
        several processes (torchrun) only the first evaluates and writes; the others return {}.

    Raises:
        InputError: Something of the input is wrong; nothing was written.
        RunError: The training failed; nothing was written.
    """
    run = _Erasure(method or AllButOne(), training or Training(save_every=0), options)
    run.lexicon = lexicon
    return run(concepts, strict)


class _Erasure:
    """One run of `erase`: what its steps have in common."""

    lexicon: bool = True
    memory: MemoryPlan

    def __init__(self, method: Method, training: Training, options: EvaluationKeywords):
        self.started = time.perf_counter()
        self.method = method
        self.training = training
        self.options = EvaluationOptions(**options)
        self.stage = LastStage(self.options.progress)
        if self.options.progress is not no_progress:  # which saves reports of sampling steps
            self.options = replace(self.options, progress=self.stage)

    def __call__(self, concepts: Sequence[Concept], strict: bool) -> dict:
        check_distinct(concepts)
        check_settings(self.method)
        check_out(self.options.out, self.options.force)
        self.check_training(strict)
        self.memory = MemoryPlan(
            self.options.source, self.method, concepts, self.training, self.options.cache
        )
        self.memory.choose()
        while True:
            try:
                report = self.attempt(concepts, strict)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            else:
                self.memory.forget()
                return report
            # Outside the `except`, whose traceback holds the model.
            free_unused_memory()
            self.memory.retry(self.stage.name)

    def attempt(self, concepts: Sequence[Concept], strict: bool) -> dict:
        """The run with the present settings of the memory plan.

        Args:
            concepts: What to erase.
            strict: Refuse a concept that the model cannot draw.

        Returns:
            The content of report.json.
        """
        self.method = self.memory.setting.method
        model = self.load_model()
        if not self.lexicon:
            model.completes = False
        concepts = model.complete(concepts)
        benchmark = self.options.benchmark(model, concepts)
        sampler = self.options.sampler(model)
        record = RunRecord(self.options, model, benchmark, sampler.sampling, self.started)
        record.memory = self.memory.to_json()
        record.warnings += truncation_warnings(model, concepts)
        record.warnings += self.caveats(model)
        before = torch.zeros(0)
        if is_first():
            before = images_before(sampler, benchmark)
            warnings = undrawn_warnings(benchmark, before)
            if strict and warnings:
                raise InputError(f"{warnings[0]} (--strict refuses that)")
            record.warnings += warnings
        began = time.perf_counter()
        state = self.state_folder(model, concepts)
        edit = self.train(record, state, self.monitored(sampler, benchmark, before))
        if not is_first():
            return {}
        record.training_seconds = round(time.perf_counter() - began, 1)
        if self.training.sample_every:
            record.warnings.append(
                "seconds and network calls of the training include those of its samples"
            )
        full = self.options.extent == "full"
        features = features_or_none() if benchmark.cases else None
        measures = Measures(self.options.controls(model), full, features)
        evaluation = evaluate(sampler, edit, benchmark, before=before, measures=measures)
        while stronger := stronger_method(self.method, evaluation):
            fitted = self.memory.fitted(stronger)
            if fitted is None:
                record.warnings.append(
                    "too little was erased, and a training does not fit into the memory"
                )
                break
            record.warnings.append("too little was erased: erased again with stronger settings")
            log.warning("too little was erased: erasing again with stronger settings")
            self.method = fitted
            calls = record.network_calls or 0
            edit = self.train(record, None, nullcontext(self.options.progress))
            record.network_calls = calls + (record.network_calls or 0)
            record.training_seconds = round(time.perf_counter() - began, 1)
            evaluation = evaluate(sampler, edit, benchmark, before=before, measures=measures)
        curve = None
        # The embedded models have pages of results, and clips take long.
        if not (isinstance(model, EmojiVocabulary) or model.frames):
            curve = measure_strengths(sampler, edit, benchmark, evaluation)
        report = write_results(record, edit, evaluation, curve)
        self.move_samples()
        if state:
            discard(state)
        return report

    def check_training(self, strict: bool) -> None:
        training = self.training
        training.check()
        negative = min(training.save_every, training.sample_every) < 0
        if negative or (training.resume and not training.save_every):
            raise InputError(
                "save-every and sample-every count steps, 0 or more; "
                "with --resume save-every must be above 0"
            )
        if training.resume and not self.options.cache:
            raise InputError(
                "--resume continues from files in the cache, which cannot be written: "
                "UNCONCEPT_CACHE names another folder"
            )
        if strict and self.options.extent == "none":
            raise InputError(
                "--strict needs images of the concept: it cannot be combined with --extent none"
            )

    def load_model(self) -> Model:
        quantize = self.memory.setting.quantize
        precise = trained_weight_group(self.method) if quantize else ""
        return load(
            self.memory.run_source,
            quantize=quantize,
            keep_precise=precise,
            cpu_offload=self.memory.setting.cpu_offload,
        )

    def caveats(self, model: Model) -> list[str]:
        """What must be known of this method in this model."""
        lines = [line for line in (model.remark, method_caveat(self.method, model)) if line]
        quantize = self.memory.setting.quantize
        if quantize:
            lines.append(
                f"weights that are not trained were held in {quantize}, "
                "also for the images before and after"
            )
        if self.memory.savings:
            savings = describe_savings(self.memory.savings)
            lines.append(f"to fit into the memory, the run used {savings}")
        return lines

    def state_folder(self, model: Model, concepts: Sequence[Concept]) -> Path | None:
        """Where the training's state is saved; None where it is not."""
        if not self.options.cache or not self.training.save_every:
            return None
        method = self.memory.state_method(self.method)
        return training_folder(self.options.cache, model, method, concepts)

    def train(
        self,
        record: RunRecord,
        state: Path | None,
        progress: AbstractContextManager[ProgressCallback],
    ) -> Edit:
        """Run the method, and record what it costs."""
        resume = self.training.resume or self.memory.retried
        there = bool(state and state.exists())
        if there and not resume:
            record.warnings.append(
                "an interrupted training of this exact command was started anew "
                "(--resume continues it)"
            )
        if self.training.resume and not there:
            record.warnings.append(
                "--resume found no training of this command, these settings, weights and versions: "
                "it was started anew"
            )
        with ExitStack() as inside:
            calls = inside.enter_context(count_calls(record.model))
            saved = None
            if state:
                every = self.training.save_every
                saved = inside.enter_context(checkpointed(state, every=every, resume=resume))
            report = inside.enter_context(progress)
            announce_size(record.model, self.method)
            edit = self.method(record.model, *record.benchmark.concepts, progress=report)
        if self.memory.savings:
            edit = replace(edit, card={**edit.card, "memory": self.memory.savings})
        record.network_calls = calls["n"]
        if saved and saved.resumed_from:
            record.warnings.append(
                f"the training was resumed at step {saved.resumed_from}: "
                "seconds and network calls count from there"
            )
        return edit

    @contextmanager
    def monitored(
        self, sampler: ImageSampler, benchmark: Benchmark, before: Tensor
    ) -> Iterator[ProgressCallback]:
        """The run's progress callback, with samples and tracked losses of the training added."""
        out, training = self.options.out, self.training
        progress = self.options.progress
        samples = sibling_path(out, "samples.png")
        if training.sample_every and is_first() and benchmark.cases:
            sheet = monitoring.SampleSheet(samples, training.sample_every)
            progress = monitoring.sample_while_training(progress, sampler, benchmark, before, sheet)
        tracking = nullcontext(progress)
        if training.track and is_first():
            logs = sibling_path(out, "logs")
            tracking = monitoring.track_losses(
                progress, training.track, logs, out.name, vars(self.method)
            )
        try:
            with tracking as tracked:
                yield tracked
        except BaseException:
            samples.unlink(missing_ok=True)  # a run that did not end leaves nothing
            raise

    def move_samples(self) -> None:
        samples = sibling_path(self.options.out, "samples.png")
        if self.training.sample_every and samples.exists():
            samples.replace(self.options.out / "samples.png")


class LastStage:
    """Passes reports on, and remembers the stage of the last one."""

    def __init__(self, progress: ProgressCallback):
        """Remember nothing yet.

        Args:
            progress: Receives the reports.
        """
        self.progress = progress
        self.name = ""

    def __call__(self, report: Progress) -> None:
        self.name = report.stage
        self.progress(report)


def free_unused_memory() -> None:
    """Give back what nothing refers to any more, so that a run can begin anew."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def announce_size(model: Model, method: Method) -> None:
    """Say how large the edit will be, before it is trained.

    Args:
        model: That is edited.
        method: Only All but One with training is announced.
    """
    if not isinstance(method, AllButOne) or not method.trains:
        return
    numbers = changed_numbers(model, method)
    if numbers >= MANY_NUMBERS:
        size = format_bytes(numbers * FP32_BYTES)
        log.warning("the edit will hold up to %s numbers: %s", f"{numbers:,}", size)


def stronger_method(method: Method, evaluation: Evaluation) -> Method | None:
    """The method with stronger settings, where too little was erased and it has such settings.

    Args:
        method: The method that made the edit.
        evaluation: What became of it.

    Returns:
        None where nothing failed, where more would not help, and in a run of several processes.
    """
    failure = detect_failure(evaluation.scores, evaluation.before, evaluation.after)
    if process_count() > 1 or not (failure and failure.startswith(TOO_LITTLE)):
        return None
    stronger = getattr(method, "stronger", None)
    return stronger() if stronger else None


def trained_weight_group(method: Method) -> str:
    """The weight group that a method trains, which is not quantized.

    Args:
        method: The erasing method.

    Returns:
        The name of the group.

    Raises:
        InputError: The method does not train a weight group.
    """
    tune: Tune | None = getattr(method, "tune", None)
    if tune is None:
        raise InputError(
            f"--quantize is for methods that train a weight group: {type(method).__name__} does not"
        )
    return tune.group


def sibling_path(out: Path, name: str) -> Path:
    """A path beside the output folder, for what is written while a run is not finished.

    Args:
        out: The output folder.
        name: What is appended to its name.

    Returns:
        out.name
    """
    return out.with_name(f"{out.name}.{name}")


def training_folder(cache: Path, model: Model, method: Method, concepts: Sequence[Concept]) -> Path:
    """The folder for the state of one particular training.

    Args:
        cache: The image cache; trainings are saved beside it.
        model: With its weights, device and precision.
        method: With its settings.
        concepts: Completed concepts.

    Returns:
        A path that differs where any of these or the installed software differs.
    """
    job = [
        type(method).__name__,
        repr(method),
        [asdict(concept) for concept in concepts],
        model.image_cache_key(),
        list(software_versions().values()),
    ]
    return cache.parent / "trainings" / hashlib.sha256(json.dumps(job).encode()).hexdigest()[:32]
