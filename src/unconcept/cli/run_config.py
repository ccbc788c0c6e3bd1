"""From the words of a command line to what shall be run.

Everything that can be checked without torch is checked first; the method's class comes last.
"""

import dataclasses
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from ..concepts.concept import Concept
from ..concepts.contradictions import check_distinct
from ..concepts.words import QUOTES, check_one_name, check_words, style_name
from ..config.options import Quantized
from ..config.overrides import check_keys, override, read_yaml
from ..config.ranges import check_numbers, check_settings
from ..errors import InputError, brief
from ..io.output_folder import check_out
from ..methods import METHODS
from .input_checks import check_concepts, check_model, check_path
from .method_settings import AUTHORS, read_preset, settings_for_model, with_seed
from .suggestions import unknown_name

KEYS = ["concepts", "model", "method", "out", "quantize", "seed", "settings"]

# What the values of these keys must be, and how that is called.
KINDS: dict[str, tuple[type, str]] = {
    "seed": (int, "a whole number"),
    "model": (str, "words"),
    "method": (str, "words"),
    "quantize": (str, "words"),
    "out": (str, "words"),
    "settings": (dict, "keys and values"),
}

CONCEPT_KEYS = [field.name for field in dataclasses.fields(Concept)]


INDENT = " " * 9


@dataclass(frozen=True)
class Request:
    """What the user typed, before the config file and the preset are read.

    concepts  "pig" or "pig=cow"; empty: those of the config file
    to        the alternative of a single concept
    seed      None: the config file's, or 0
    out       None: the config file's, or unconcept-out/CONCEPT
    force     may `out` be replaced; None: nothing is written there
    """

    concepts: tuple[str, ...]
    to: str | None = None
    keep: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    method: str | None = None
    preset: str | None = None
    config: Path | None = None
    model: str = "emoji"
    seed: int | None = None
    out: Path | None = None
    force: bool | None = None


@dataclass(frozen=True)
class Plan:
    """What shall be run.

    name      the method's name
    method    an instance of one of methods.METHODS
    quantize  how the weights that are not trained are held
    fixed     keys of `tune` that the config file or the preset sets
    """

    concepts: tuple[Concept, ...]
    name: str
    model: str
    method: Any
    out: Path
    seed: int
    quantize: Quantized | None = None
    fixed: tuple[str, ...] = ()

    def describe(self) -> str:
        """The plan in lines for people, hyperparameters included."""
        settings = ", ".join(describe_settings(self.method))
        lines = [f"erase    {concept}" for concept in self.concepts]
        lines += [f"model    {self.model}", f"method   {self.name}"]
        lines += textwrap.wrap(settings, 80, initial_indent=INDENT, subsequent_indent=INDENT)
        lines += [f"output   {self.out}", f"seed     {self.seed}"]
        return "\n".join(lines)


def describe_settings(settings: Any, prefix: str = "") -> list[str]:
    """The fields of a dataclass, nested ones in turn: "lam=1.0", "tune.lr=0.001".

    Args:
        settings: An instance of a dataclass, such as a method with its hyperparameters.
        prefix: Stands before each name; a nested dataclass gets its field's name and a dot.

    Returns:
        One string "name=value" per field, in the order of the fields; None is written "none".
    """
    parts = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            parts += describe_settings(value, f"{prefix}{field.name}.")
        else:
            parts.append(f"{prefix}{field.name}={'none' if value is None else value}")
    return parts


def plan(request: Request) -> Plan:
    """Put together the command line, the config file and the preset, which win in this order.

    Args:
        request: What the user typed.

    Returns:
        The plan of one run.

    Raises:
        InputError: Something is wrong, missing or contradictory. But for hyperparameters, this is
            found before torch is imported.
    """
    for option in ("method", "preset"):
        value = getattr(request, option)
        if value is not None and not value.strip():
            raise InputError(f"--{option} is blank: name one, or leave it away")
    check_path(request.config, "the settings file")
    file = read_yaml(request.config) if request.config else {}
    check_file(file, request.config)
    name = request.method or file.get("method", "all-but-one")
    if name not in METHODS:
        raise unknown_name("method", str(name), list(METHODS))
    preset = read_preset(request.preset, name) if request.preset else {}
    model = request.model if request.model != "emoji" else str(file.get("model", request.model))
    check_model(model)
    concepts = concepts_of(request, file)
    check_concepts(concepts, model)
    quantize = file.get("quantize") or preset.get("quantize") or None
    if quantize not in (None, *get_args(Quantized)):
        raise InputError(f"quantize is {quantize}: one of {', '.join(get_args(Quantized))}")
    seed = file.get("seed", 0) if request.seed is None else request.seed
    check_numbers(seed=seed)
    out = request.out or Path(file.get("out", Path("unconcept-out") / folder_name(concepts)))
    if request.force is not None:
        check_out(out, request.force)

    chosen_for = "" if request.preset == AUTHORS else model
    method = settings_for_model(name, chosen_for)  # from here on torch is loaded
    if preset:
        method = override(method, preset["settings"], f"preset {request.preset}")
    method = override(method, file.get("settings", {}), f"{request.config} / settings")
    check_settings(method)
    fixed = tuned_keys(preset) + tuned_keys(file)
    method = with_seed(method, seed)
    return Plan(tuple(concepts), name, model, method, out, seed, quantize, fixed)


def tuned_keys(file: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of `tune` that a config file or a preset sets.

    Args:
        file: The content of a config file or of a preset; {} for none.

    Returns:
        Keys below `settings: tune:`, which no memory saving may change; () if there are none.
    """
    tune = (file.get("settings") or {}).get("tune")
    return tuple(tune) if isinstance(tune, dict) else ()


def check_file(file: Mapping[str, Any], path: Path | None) -> None:
    """Are the keys of a config file known, and its values of the right kind?

    Args:
        file: The content of the config file; empty if there is none.
        path: Where the file lies, for the messages; None if there is none.

    Raises:
        InputError: A key is unknown, or a value has the wrong type.
    """
    check_keys(file, KEYS, str(path))
    for key, (kind, description) in KINDS.items():
        value = file.get(key)
        if key in file and (isinstance(value, bool) or not isinstance(value, kind)):
            raise InputError(f"{key} in {path} is {brief(value)}: it must be {description}")
    for key in ("model", "out"):
        if key in file and not file[key].strip():
            raise InputError(f"{key} in {path} is blank: name one, or leave it away")


def concepts_of(request: Request, file: Mapping[str, Any]) -> list[Concept]:
    """The concepts of the command line; those of the config file if it names none.

    Args:
        request: What the user typed.
        file: The content of the config file; its key "concepts" is read.

    Returns:
        At least one concept, in the order in which they were named.

    Raises:
        InputError: No concept is named, or --to, --keep or --synonym does not go with the concepts.
    """
    names = request.concepts
    if request.to is not None and len(names) > 1:
        raise InputError(
            "--to goes with one concept; give several as pairs: unconcept erase pig=cow fox=wolf"
        )
    if not names and (request.to or request.keep or request.synonyms):
        raise InputError(
            "--to, --keep and --synonym go with a concept that is named beside them; "
            "those of a config file stand in the file"
        )
    if len(names) > 1 and request.synonyms:
        raise InputError(
            "--synonym goes with one concept; give the synonyms of several in a --config file"
        )
    if not names:
        concepts = concepts_from_file(file.get("concepts", []), str(request.config))
    else:
        words: dict[str, Any] = {"keep": request.keep, "synonyms": request.synonyms}
        for option, listed in (("--keep", request.keep), ("--synonym", request.synonyms)):
            check_words(listed, option)
            for word in listed:
                check_one_name(word, option, f"give {option} once for each")
        concepts = [Concept.parse(name, request.to, **words) for name in names]
    check_distinct(concepts)
    if not concepts:
        raise InputError("nothing to erase: name a concept, as in unconcept erase pig --to cow")
    return concepts


def concepts_from_file(entries: object, where: str) -> list[Concept]:
    """Read the concepts of a YAML list.

    Args:
        entries: "pig=cow", or a mapping with the fields of Concept, for each.
        where: The file's name, for messages.

    Returns:
        One concept per entry.

    Raises:
        InputError: It is not a list, or an entry has unknown keys or no `erase`.
    """
    if not isinstance(entries, list):
        raise InputError(f"concepts in {where} must be a list")
    concepts = []
    for entry in entries:
        if isinstance(entry, dict):
            check_keys(entry, CONCEPT_KEYS, f"{where} / concepts")
            if "erase" not in entry:
                raise InputError(f"a concept in {where} has no erase")
            concepts.append(Concept.read(with_kind(entry)))
        elif isinstance(entry, str):
            concepts.append(Concept.parse(entry))
        else:
            raise InputError(f"a concept in {where} is {brief(entry)}: it must be words{QUOTES}")
    return concepts


def with_kind(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """A concept of a YAML file, as a style where its words name one and it has no kind.

    Args:
        entry: Its fields: "van gogh style" is read as the command line reads it.
    """
    style = style_name(entry["erase"]) if isinstance(entry["erase"], str) else None
    if style is None or "kind" in entry:
        return entry
    changes: dict[str, Any] = {"erase": style, "kind": "style"}
    if isinstance(entry.get("alternative"), str):
        changes["alternative"] = style_name(entry["alternative"]) or entry["alternative"]
    return {**entry, **changes}


def folder_name(concepts: Sequence[Concept]) -> str:
    """A folder's name from the words of the concepts.

    Args:
        concepts: The concepts of the run, in the order in which the name has them.

    Returns:
        Lower-case ASCII letters and digits, joined by hyphens: "van-gogh"; "concept" where none
        remain.
    """
    words = " ".join(concept.erase for concept in concepts).lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "concept"


def plan_methods(request: Request, methods: Sequence[str]) -> dict[str, Plan]:
    """Plan a comparison.

    Args:
        request: What all methods have in common; its `method` and `config` are ignored.
        methods: Names of methods and YAML files of settings; ["all"]: every method.

    Returns:
        A plan for each method or file, by its name.

    Raises:
        InputError: As `plan`, and a file chooses a quantization.
    """
    entries = [entry.strip() for entry in methods]
    if entries == ["all"]:
        entries = list(METHODS)
    for entry in entries:  # all names are checked before the first class is imported
        if is_yaml(entry):
            check_path(Path(entry), "the settings file")
        elif entry not in METHODS:
            raise unknown_name("method", entry, ["all", *METHODS])
    plans = {}
    for entry in entries:
        file = Path(entry) if is_yaml(entry) else None
        one = plan(replace(request, method=None if file else entry, config=file))
        if one.quantize:
            raise InputError(
                f"quantize in {file} is for erase: methods are compared on the model as it is"
            )
        out = request.out or one.out.with_name(f"compare-{one.out.name}")
        name = file.stem if file else entry
        if name in plans:
            raise InputError(f'two of --methods are called "{name}": rename one, or drop it')
        plans[name] = replace(one, out=out)
    return plans


def is_yaml(entry: str) -> bool:
    """Is an entry of `--methods` a file of settings?

    Args:
        entry: One of the values between commas: the name of a method, or a path.

    Returns:
        Whether it ends in .yaml or .yml; the file need not exist.
    """
    return entry.endswith((".yaml", ".yml"))
