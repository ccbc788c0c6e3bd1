"""Savings of memory: the settings of a run that need less of it, and what they cost.

Settings are tried from the cheapest to the most expensive in time and fidelity:

gradient accumulation    micro-batches: some percent of time
gradient checkpointing   activations are computed twice: about a third more time in training
8-bit Adam               the optimizer's moments are rounded
low rank                 the trained change has rank 8
bf16                     the weights are rounded to 8 bits of precision (the default on a GPU)
int8, nf4                the weights that are not trained are rounded to 8 or 4 bits
CPU offload              all weights wait in CPU memory, and every network call copies them to the
                         GPU: many times slower, and for the closed form alone, because the
                         backward pass of a training keeps the copies

Text encoders leave a GPU for the CPU while an edit is trained, and conditions and predictions of
the original model are recorded before: both in every run.
"""

import itertools
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any

from ..config.options import Precision, Quantized, Source
from ..methods.all_but_one import AllButOne
from ..models.devices import choose_device
from ..models.loading import default_precision
from ..training.config import Tune
from ..training.distributed import process_count

GRADIENT_ACCUMULATION = (1, 2, 4, 8, 16, 32)

RANK = 8

QUANTIZATIONS: tuple[Quantized, ...] = ("int8", "nf4")

SAVING_KEYS = ("gradient_accumulation", "gradient_checkpointing", "adam_8bit", "rank")

COSTS = {
    "gradient_accumulation": "smaller batches are less efficient",
    "gradient_checkpointing": "a third more time in training",
    "adam_8bit": "rounded moments of Adam",
    "rank": "a trained change of low rank",
    "dtype": "rounded weights, and slow on some CPUs",
    "quantize": "rounded frozen weights, also for the images",
    "cpu_offload": "every network call copies all weights to the GPU: many times slower",
}


@dataclass(frozen=True)
class Setting:
    """How a run is done, as far as its memory depends on it.

    method       the erasing method
    dtype        precision of the weights
    quantize     how weights that are not trained are held
    cpu_offload  do all weights wait in CPU memory?
    """

    method: Any
    dtype: Precision
    quantize: Quantized | None = None
    cpu_offload: bool = False

    def savings(self, requested: "Setting") -> dict[str, Any]:
        """The settings in which this differs from another, by the names that users know.

        Args:
            requested: The other one; its method is of the same class.

        Returns:
            By name ("gradient_accumulation", "rank", "dtype", ...) the values of this setting.
        """
        changes: dict[str, Any] = {}
        if isinstance(self.method, AllButOne):
            for key, value in asdict(self.method.tune).items():
                if value != getattr(requested.method.tune, key):
                    changes[key] = value
        if self.dtype != requested.dtype:
            changes["dtype"] = self.dtype
        if self.quantize != requested.quantize:
            changes["quantize"] = self.quantize
        if self.cpu_offload != requested.cpu_offload:
            changes["cpu_offload"] = self.cpu_offload
        return changes

    def with_savings(self, savings: dict[str, Any]) -> "Setting":
        """This setting with what `savings` returned.

        Args:
            savings: Values by name; names that are not there stay as they are.
        """
        changes = {key: savings[key] for key in SAVING_KEYS if key in savings}
        method = self.method
        if changes:
            method = replace(method, tune=replace(method.tune, **changes))
        return Setting(
            method,
            savings.get("dtype", self.dtype),
            savings.get("quantize", self.quantize),
            savings.get("cpu_offload", self.cpu_offload),
        )


def asked_setting(source: Source, method: Any, quantize: Quantized | None) -> Setting:
    """A run as requested.

    Args:
        source: The model, its device and precision.
        method: The erasing method.
        quantize: How weights that are not trained are held.
    """
    device = choose_device(source.device)
    return Setting(method, source.dtype or default_precision(source.model, device), quantize)


def fixed_settings(source: Source, requested: Setting, named: Collection[str]) -> set[str]:
    """Names of settings that the user chose, and that no saving changes.

    Args:
        source: The model; a precision that is named in it is the user's.
        requested: The run as requested. What differs from the defaults was chosen.
        named: Keys of `tune` that a file or a preset sets, whatever their values.
    """
    fixed = set(named)
    if source.dtype:
        fixed.add("dtype")
    if requested.quantize:
        fixed.add("quantize")
    tune = getattr(requested.method, "tune", None)
    for key in SAVING_KEYS:
        if tune is not None and getattr(tune, key) != getattr(Tune(), key):
            fixed.add(key)
    return fixed


def choices(
    requested: Setting, fixed: Collection[str], offloads: bool = False
) -> Iterator[list[Setting]]:
    """Ways to run, from the cheapest to the most expensive.

    Args:
        requested: The run as requested.
        fixed: Names of settings that stay as they are.
        offloads: Whether weights may wait in CPU memory, if nothing is trained.

    Yields:
        Settings that differ in gradient accumulation alone, by its size; the last needs least.
    """
    quantized = find_spec("bitsandbytes") is not None
    tunes = tune_choices(requested.method, fixed, quantized)
    for dtype, bits in precisions(requested, fixed, quantized):
        for row in tunes:
            yield [Setting(replace(requested.method, tune=tune), dtype, bits) for tune in row]
    if offloads and not requested.method.trains and requested.quantize is None:
        for dtype, bits in precisions(requested, {*fixed, "quantize"}, quantized):
            yield [Setting(requested.method, dtype, bits, cpu_offload=True)]


def tune_choices(method: AllButOne, fixed: Collection[str], quantized: bool) -> list[list[Tune]]:
    """The settings of `tune` that `choices` tries for one precision.

    Args:
        method: As requested.
        fixed: Names of settings that stay as they are.
        quantized: Is bitsandbytes installed?

    Returns:
        Rows that differ in gradient accumulation alone. One, as it is, where nothing is trained.
    """
    tune = method.tune
    if not method.trains:
        return [[tune]]
    accumulations = possible_accumulations(tune)
    savings: dict[str, list[Any]] = {
        "rank": [None, RANK],
        "adam_8bit": [False, True] if quantized else [False],
        "gradient_checkpointing": [False, True],
    }
    for key in savings:
        if key in fixed:
            savings[key] = [getattr(tune, key)]
    if "gradient_accumulation" in fixed:
        accumulations = [tune.gradient_accumulation]
    rows = []
    for values in itertools.product(*savings.values()):
        row = replace(tune, **dict(zip(savings, values, strict=True)))
        rows.append([replace(row, gradient_accumulation=n) for n in accumulations])
    return rows


def possible_accumulations(tune: Tune) -> list[int]:
    """Numbers of micro-batches that the batch can be divided into, over all processes.

    Args:
        tune: Its batch size is that of all processes together.

    Returns:
        Numbers per process, the smallest first; the present one alone where none divides the batch.
    """
    counts = [n for n in GRADIENT_ACCUMULATION if tune.batch_size % (n * process_count()) == 0]
    return counts or [tune.gradient_accumulation]


def precisions(
    requested: Setting, fixed: Collection[str], quantized: bool
) -> list[tuple[Precision, Quantized | None]]:
    """Precisions of the weights, the requested one first.

    Args:
        requested: The run as requested.
        fixed: Names of settings that stay as they are.
        quantized: Is bitsandbytes installed?
    """
    dtype: Precision = requested.dtype
    options: list[tuple[Precision, Quantized | None]] = [(dtype, requested.quantize)]
    if "dtype" not in fixed and dtype == "fp32":
        dtype = "bf16"
        options.append((dtype, requested.quantize))
    if "quantize" not in fixed and quantized:
        for bits in QUANTIZATIONS:
            options.append((dtype, bits))
    return options


def describe_savings(savings: dict[str, Any]) -> str:
    """Savings by the names of their settings: "gradient_accumulation 4, quantize nf4".

    Args:
        savings: What `Setting.savings` returned; a switch that is on is named without a value.
    """
    parts = []
    for key, value in savings.items():
        parts.append(key if value is True else f"{key} {value}")
    return ", ".join(parts)


def describe_costs(savings: dict[str, Any]) -> str:
    """What savings cost.

    Args:
        savings: What `Setting.savings` returned, with keys of `COSTS`.

    Returns:
        A phrase for each of them, separated by semicolons.
    """
    return "; ".join(COSTS[key] for key in savings)
