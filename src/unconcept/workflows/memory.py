"""The memory of a run: savings that are chosen before it, and more where they were too few."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..concepts.concept import Concept
from ..config.options import Source, Training
from ..errors import InputError, RunError
from ..io.units import format_bytes
from ..methods import Method
from ..methods.all_but_one import AllButOne
from ..profiling.memory_fit import (
    MemoryPredictor,
    memory_limit,
    predictor_or_none,
    worth_predicting,
)
from ..profiling.memory_savings import (
    asked_setting,
    describe_costs,
    describe_savings,
    fixed_settings,
)
from ..training.distributed import process_count

log = logging.getLogger(__name__)


class MemoryPlan:
    """The settings of one run, as far as its memory depends on them.

    requested      as the user requested them
    setting    as the run uses them
    predicted  bytes that the run is predicted to need; None where nothing was predicted
    limit      bytes that it may take; None where nothing was predicted
    retried    did the run go on with another setting after it ran out of memory?
    """

    def __init__(
        self,
        source: Source,
        method: Method,
        concepts: Sequence[Concept],
        training: Training,
        cache: Path | None,
    ):
        """Choose nothing yet.

        Args:
            source: The model.
            method: The erasing method.
            concepts: What is erased.
            training: What memory the run may take, and which settings stay.
            cache: The image cache; what was chosen after an error is remembered beside it.
        """
        self.source = source
        self.concepts = concepts
        self.training = training
        self.requested = asked_setting(source, method, training.quantize)
        self.setting = self.requested
        self.fixed = fixed_settings(source, self.requested, training.fixed)
        self.predicted: int | None = None
        self.limit: int | None = None
        self.retried = False
        self._predictor: MemoryPredictor | None = None
        self._file = remembered_file(cache, source, method, concepts) if cache else None

    @property
    def savings(self) -> dict[str, Any]:
        """The settings in which the run differs from what was requested."""
        return self.setting.savings(self.requested)

    @property
    def run_source(self) -> Source:
        """The model in the precision that was chosen."""
        if self.setting.dtype == self.requested.dtype:
            return self.source
        return replace(self.source, dtype=self.setting.dtype)

    def choose(self) -> None:
        """Choose savings, if the run needs any, and say which.

        Raises:
            InputError: Nothing fits.
        """
        if self.training.memory == "off":
            return
        if remembered := self.remembered():
            self.setting = self.requested.with_savings(remembered)
            return
        device = MemoryPredictor(self.source, self.concepts).device
        limit = memory_limit(self.training.memory, device)
        automatic = self.training.memory == "auto"
        if limit is None or (automatic and not worth_predicting(self.source, limit)):
            return
        predictor = self.predictor()
        if predictor is None:
            if not automatic:
                log.warning("--memory has no effect: what this run needs cannot be predicted")
            return
        try:
            self.setting = predictor.choose(self.requested, self.fixed, limit)
            self.predicted, self.limit = predictor.needed(self.setting), limit
        except InputError:
            raise
        except Exception as error:  # what works with numbers may not work with shapes alone
            log.warning("the memory of this run could not be predicted: %s", error)
            return
        if self.savings:
            log.warning(
                "to fit into %s: %s (%s); %s are predicted",
                format_bytes(limit),
                describe_savings(self.savings),
                describe_costs(self.savings),
                format_bytes(self.predicted),
            )

    def fitted(self, method: Method) -> Method | None:
        """Another method for the model that is loaded, with savings if it needs any.

        Args:
            method: Trains where the first one did not, for example.

        Returns:
            None where nothing fits.
        """
        predictor = self._predictor
        if self.setting.cpu_offload and trains(method):
            return None
        if predictor is None or self.limit is None:
            return method
        requested = replace(self.setting, method=method)
        fixed = {*fixed_settings(self.source, requested, self.training.fixed), "dtype", "quantize"}
        try:
            return predictor.choose(requested, fixed, self.limit).method
        except InputError:
            return None

    def retry(self, stage: str) -> None:
        """Choose the next saving for a run that ran out of memory, and say so.

        Args:
            stage: What the run was doing.

        Raises:
            RunError: There is none.
        """
        where = f"out of memory while {stage}" if stage else "out of memory"
        if self.training.memory == "off":
            raise RunError(f"{where}: --memory auto chooses settings that need less")
        predictor = self.predictor()
        following = None
        if predictor is not None:
            following = predictor.next(self.requested, self.setting, self.fixed)
        if following is None:
            raise RunError(f"{where}, and no saving is left; a training goes on with --resume")
        self.setting, self.retried = following, True
        self.remember()
        savings = describe_savings(self.savings)
        if process_count() > 1:
            raise RunError(f"{where}: --resume goes on with {savings}")
        log.warning("%s: going on with %s (%s)", where, savings, describe_costs(self.savings))

    def predictor(self) -> MemoryPredictor | None:
        """What predicts the run's memory; None where nothing can."""
        if self._predictor is None:
            self._predictor = predictor_or_none(self.source, self.requested.method, self.concepts)
        return self._predictor

    def state_method(self, method: Method) -> Method:
        """The method by which a training's state is found again.

        Micro-batches and recomputed activations change nothing that is saved.

        Args:
            method: With the savings of this run.
        """
        if not isinstance(method, AllButOne):
            return method
        tune = self.requested.method.tune
        same = replace(
            method.tune,
            gradient_accumulation=tune.gradient_accumulation,
            gradient_checkpointing=tune.gradient_checkpointing,
        )
        return replace(method, tune=same)

    def remembered(self) -> dict[str, Any]:
        """The savings that an earlier run of this command went on with, for --resume."""
        if not (self.training.resume and self._file and self._file.exists()):
            return {}
        try:
            return dict(json.loads(self._file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def remember(self) -> None:
        """Write the savings for a later --resume."""
        if self._file:
            with contextlib.suppress(OSError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._file.write_text(json.dumps(self.savings), encoding="utf-8")

    def forget(self) -> None:
        """Remove what `remember` wrote: the run has ended."""
        if self._file:
            self._file.unlink(missing_ok=True)

    def to_json(self) -> dict[str, Any]:
        """What report.json says of the memory."""
        return {
            "option": self.training.memory,
            "limit_bytes": self.limit,
            "predicted_bytes": self.predicted,
            "savings": self.savings,
        }


def trains(method: Method) -> bool:
    """Does a method train, as far as it says? All but One's closed form does not.

    Args:
        method: Without a property `trains` it counts as one that does.
    """
    return bool(getattr(method, "trains", True))


def remembered_file(
    cache: Path, source: Source, method: Method, concepts: Sequence[Concept]
) -> Path:
    """Where savings are remembered for one command.

    Args:
        cache: The image cache; trainings are saved beside it.
        source: The model.
        method: As requested.
        concepts: As they were typed.
    """
    command = [
        type(method).__name__,
        repr(method),
        [asdict(concept) for concept in concepts],
        repr(source),
    ]
    name = hashlib.sha256(json.dumps(command).encode()).hexdigest()[:32]
    return cache.parent / "trainings" / f"{name}.memory.json"
