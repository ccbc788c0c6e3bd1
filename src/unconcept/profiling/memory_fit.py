"""`--memory`: the cheapest savings with which a run fits into the memory that it may take."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..concepts.concept import Concept
from ..config.options import EMBEDDED, Precision, Source
from ..errors import InputError
from ..io.units import format_bytes
from ..methods.all_but_one import AllButOne
from ..models.devices import choose_device
from ..models.interface import Condition
from ..models.loading import load
from ..models.source_checks import check_built, check_source
from .cpu_memory import estimate_cpu_memory
from .memory_estimate import MemoryEstimate, Passes, estimate_memory
from .memory_savings import Setting, asked_setting, choices, describe_savings
from .usage import free_memory

SMALL = 1 / 1000  # share of the free memory up to which a model's files are not worth a prediction

HEADROOM = 0.9  # share of the free memory that a run is fitted into

WORTHWHILE = 0.9  # a saving after an error must need at most this share of what was needed before


class EncodeOnce:
    """Stands in for `encode` of a model on the device "meta", and keeps the condition of ∅.

    Every prediction asks for its shapes, and a large text encoder takes seconds by shapes, too.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Condition]):
        """Encode nothing yet.

        Args:
            encode: The model's own.
        """
        self.encode = encode
        self.empty: Condition | None = None

    def __call__(self, prompts: Sequence[str]) -> Condition:
        if list(prompts) != [""]:
            return self.encode(prompts)
        if self.empty is None:
            self.empty = self.encode(prompts)
        return self.empty


class MemoryPredictor:
    """Predicts what settings of one run need on its device, from shapes alone."""

    def __init__(self, source: Source, concepts: Sequence[Concept]):
        """Read nothing yet.

        Args:
            source: The model.
            concepts: What is erased.
        """
        self.source = source
        self.concepts = concepts
        self.device = choose_device(source.device)
        self._passes: dict[Precision, Passes] = {}
        self._needed: list[tuple[Setting, int]] = []

    def passes(self, dtype: Precision) -> Passes:
        """The model in a precision, on torch's meta device.

        Args:
            dtype: Precision of the weights. The model is built at the first call for it, and kept.

        Returns:
            What passes through it cost; they are counted when that is looked up.

        Raises:
            InputError: The source cannot be loaded.
        """
        if dtype not in self._passes:
            model = load(replace(self.source, device="meta", dtype=dtype))
            check_built(self.source, model)
            self.put(dtype, model)
        return self._passes[dtype]

    def put(self, dtype: Precision, model: Any) -> None:
        """Predict from a model that was built before.

        Args:
            dtype: Its precision.
            model: A PipelineModel on the device "meta".
        """
        model.encode = EncodeOnce(model.encode)
        self._passes[dtype] = Passes(model)

    def estimate(self, setting: Setting) -> MemoryEstimate:
        """`estimate_memory` of a setting.

        Args:
            setting: The method and how its model is held; the concepts are the run's.

        Returns:
            Bytes by what they are for.
        """
        passes = self.passes(setting.dtype)
        n = len(self.concepts)
        return estimate_memory(
            passes.model, setting.method, n, setting.quantize, passes, setting.cpu_offload
        )

    @property
    def offloads(self) -> bool:
        """Has the device memory of its own, so that weights can wait in the CPU's?"""
        return self.device.type not in ("cpu", "mps")

    def needed(self, setting: Setting) -> int:
        """Bytes of device memory at the worst moment; on the CPU all memory of the run.

        Args:
            setting: The method and how its model is held. Each setting is estimated once.
        """
        for known, size in self._needed:
            if known == setting:
                return size
        estimate = self.estimate(setting)
        size = estimate.peak_with_sampling
        if self.device.type == "cpu":
            model = self.passes(setting.dtype).model
            beside = estimate_cpu_memory(model, setting.method, self.concepts).whole
            training = estimate.while_training + estimate.text_encoders
            size = beside + max(training, size)
        self._needed.append((setting, size))
        return size

    def choose(self, requested: Setting, fixed: Collection[str], limit: int) -> Setting:
        """The cheapest setting that fits.

        Args:
            requested: The run as requested.
            fixed: Names of settings that stay as they are.
            limit: Bytes.

        Returns:
            The requested one where that fits.

        Raises:
            InputError: Nothing fits; the error names the setting that comes closest.
        """
        if self.needed(requested) <= limit:
            return requested
        closest, least = requested, self.needed(requested)
        for settings in choices(requested, fixed, self.offloads):
            smallest = self.needed(settings[-1])
            if smallest <= limit:
                for setting in settings[:-1]:
                    if self.needed(setting) <= limit:
                        return setting
                return settings[-1]
            if smallest < least:
                closest, least = settings[-1], smallest
        raise InputError(self.nothing_fits(requested, closest, least, limit))

    def nothing_fits(self, requested: Setting, closest: Setting, least: int, limit: int) -> str:
        """The line for a run that no saving makes fit.

        Args:
            requested: The run as requested.
            closest: The setting that needs least.
            least: Bytes that it needs.
            limit: Bytes that there are.
        """
        savings = describe_savings(closest.savings(requested)) or "the settings as they are"
        remedy = "--memory off tries it all the same"
        if find_spec("bitsandbytes") is None and not closest.quantize:
            remedy = f"pip install 'unconcept[quant]' allows 8- and 4-bit weights; {remedy}"
        if self.offloads and requested.method.trains:
            remedy = f"cpu_offload is for the closed form, and this run trains; {remedy}"
        return (
            f"{self.source.model} does not fit into {format_bytes(limit)}: with {savings} it "
            f"needs {format_bytes(least)}, and no saving needs less ({remedy})"
        )

    def next(self, requested: Setting, current: Setting, fixed: Collection[str]) -> Setting | None:
        """What to try where a setting ran out of memory although it should have fitted.

        Args:
            requested: The run as requested.
            current: The setting that ran out.
            fixed: Names of settings that stay as they are.

        Returns:
            The next setting that needs a tenth less; None if there is none.
        """
        limit, passed = WORTHWHILE * self.needed(current), False
        for settings in choices(requested, fixed, self.offloads):
            for setting in settings:
                if passed and self.needed(setting) <= limit:
                    return setting
                passed = passed or setting == current
        return None


def worth_predicting(source: Source, free: int) -> bool:
    """Is a model large enough, for the free memory, to predict what a run needs?

    Args:
        source: The model.
        free: Bytes.
    """
    if source.model in EMBEDDED:
        return False
    path = Path(source.model)
    files = path.rglob("*.safetensors") if path.is_dir() else [path]
    present = [file.stat().st_size for file in files if file.is_file()]
    return not present or sum(present) > SMALL * free


def predictor_or_none(
    source: Source, method: Any, concepts: Sequence[Concept]
) -> MemoryPredictor | None:
    """What predicts the memory of a run.

    Args:
        source: The model.
        method: The erasing method.
        concepts: What is erased.

    Returns:
        None where nothing can be predicted: of other methods than All but One, of a single file
        without --base-config, and of a model that cannot be opened, which its loading explains.
    """
    if not isinstance(method, AllButOne):
        return None
    predictor = MemoryPredictor(source, concepts)
    try:
        check_source(source)
        predictor.passes(asked_setting(source, method, None).dtype)
    except InputError:
        return None
    return predictor


def memory_limit(memory: str, device: torch.device) -> int | None:
    """Bytes that a run may take.

    Args:
        memory: "auto", or a number of GiB.
        device: Whose free memory counts for "auto".

    Returns:
        For "auto" nine tenths of what is free; None where the system does not say.
    """
    if memory != "auto":
        return int(float(memory) * 2**30)
    return with_headroom(free_memory(device))


def with_headroom(free: int | None) -> int | None:
    """The part of the free memory that is planned with; allocators need the rest.

    Args:
        free: Bytes; None where the system does not say.
    """
    return None if free is None else int(HEADROOM * free)


def is_out_of_memory(error: BaseException) -> bool:
    """Did an allocation fail, on a GPU or on the CPU?

    Args:
        error: Any exception. RuntimeErrors of torch are recognized by their text.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    refused = "can't allocate memory" in text or "could not create a primitive" in text
    return isinstance(error, RuntimeError) and refused
