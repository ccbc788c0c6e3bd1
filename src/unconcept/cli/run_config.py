"""From what the command line was given to what shall be done, without touching torch's weights yet."""

import dataclasses
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from ..concepts.concept import Concept
from ..config.options import Quantized
from ..config.overrides import check_keys, override, read_yaml
from ..errors import InputError
from ..methods import METHODS

KEYS = ["concepts", "model", "method", "out", "quantize", "seed", "settings"]

CONCEPT_KEYS = [f.name for f in dataclasses.fields(Concept)]


@dataclass(frozen=True)
class Plan:
    concepts: tuple[Concept, ...]
    name: str
    model: str
    method: Any  # a dataclass of methods.METHODS
    out: Path
    seed: int
    quantize: Quantized | None = None  # what is not tuned

    def describe(self) -> str:
        lines = [f"erase    {concept}" for concept in self.concepts]
        settings = ", ".join(f"{f.name}={getattr(self.method, f.name)}" for f in dataclasses.fields(self.method))
        return "\n".join(
            [
                *lines,
                f"model    {self.model}",
                f"method   {self.name}: {settings}",
                f"out      {self.out}",
                f"seed     {self.seed}",
            ]
        )


def plan(
    names: Sequence[str], *, to: str | None, method: str | None, config: Path | None, keep: Sequence[str], synonyms: Sequence[str],
    seed: int | None, model: str, out: Path | None, preset: str | None = None,
) -> Plan:  # fmt: skip
    """The command line's words win over the file's, and the file's over the preset's."""
    file = read_yaml(config) if config else {}
    check_keys(file, KEYS, str(config))
    name = method or file.get("method", "all-but-one")
    if name not in METHODS:
        near = difflib.get_close_matches(str(name), METHODS, 1, 0.4)
        raise InputError(f'unknown method "{name}": ' + (f'did you mean "{near[0]}"?' if near else f"one of {', '.join(METHODS)}"))
    if to is not None and len(names) > 1:
        raise InputError("--to goes with one concept; give several as pairs: unconcept erase pig=cow fox=wolf")
    more = {"keep": tuple(keep), "synonyms": tuple(synonyms)}
    if not names and (to or keep or synonyms):
        raise InputError("--to, --keep and --synonym go with a concept that is named beside them; those of a file stand in the file")
    if len(names) > 1 and synonyms:
        raise InputError("--synonym goes with one concept; give the synonyms of several in a --config file")
    concepts = [Concept.parse(name, to, **more) for name in names] or concepts_from_file(file.get("concepts", []), str(config))
    if not concepts:
        raise InputError("nothing to erase was named, for example: unconcept erase pig --to cow")
    for key, kind in {"seed": int, "model": str, "out": str, "settings": dict}.items():
        if key in file and not isinstance(file[key], kind):
            raise InputError(
                f"{key} in {config} is {file[key]!r}: it must be {'keys and values' if kind is dict else 'a whole number' if kind is int else 'words'}"
            )
    seed = int(file.get("seed", 0)) if seed is None else seed
    model = model if model != "emoji" else str(file.get("model", model))
    chosen = preset_settings(settings_for_model(name, model), preset) if preset else settings_for_model(name, model)
    quantize = file.get("quantize") or (preset and read_preset(preset).get("quantize")) or None
    if quantize not in (None, *get_args(Quantized)):
        raise InputError(f"quantize is {quantize}: one of {', '.join(get_args(Quantized))}")
    settings = with_seed(override(chosen, file.get("settings", {}), f"{config} / settings"), seed)
    slug = re.sub(r"[^a-z0-9]+", "-", " ".join(c.erase for c in concepts).lower()).strip("-")
    target = out or Path(file.get("out", Path("unconcept-out") / (slug or "concept")))
    return Plan(tuple(concepts), name, model, settings, target, seed, quantize)


def settings_for_model(name: str, model: str) -> Any:
    """The method with its defaults; on an embedded model, with those that were chosen for it."""
    from ..models.emoji.loading import FLOW, FOLDER

    method, file = METHODS[name](), {"emoji": FOLDER / "methods.yaml", "emoji-flow": FLOW / "methods.yaml"}.get(model)
    return override(method, read_yaml(file).get(name, {}), "methods.yaml") if file else method


def preset_settings(method: Any, preset: str) -> Any:
    """The method with the settings of a file in presets/, by its name."""
    return override(method, read_preset(preset)["settings"], f"preset {preset}")


def read_preset(preset: str) -> dict:
    known = {file.stem: file for file in sorted((Path(__file__).parent / "presets").glob("*.yaml"))}
    if preset not in known:
        raise InputError(f'unknown preset "{preset}": one of {", ".join(known)}')
    return read_yaml(known[preset])


def with_seed(method: Any, seed: int) -> Any:
    """The method with the run's seed, where it draws anything."""
    fields = {f.name for f in dataclasses.fields(method)}
    if "tune" in fields:
        return replace(method, tune=replace(method.tune, seed=seed))
    return replace(method, seed=seed) if "seed" in fields else method


def plan_methods(
    names: Sequence[str], methods: Sequence[str], *, to: str | None, seed: int, model: str, out: Path | None
) -> dict[str, Plan]:  # fmt: skip
    """One plan for each entry of `methods`: a method's name, or a YAML file, which goes by its own name; "all" are all methods."""
    plans = {}
    for entry in METHODS if list(methods) == ["all"] else methods:
        file = Path(entry) if entry.endswith((".yaml", ".yml")) else None
        given: dict[str, Any] = dict(to=to, keep=(), synonyms=(), seed=seed, model=model, out=out)
        made = plan(names, method=None if file else entry, config=file, **given)
        if made.quantize:
            raise InputError(f"quantize in {file} is for erase: methods are compared on the model as it is")
        plans[file.stem if file else entry] = replace(made, out=out or made.out.with_name(f"compare-{made.out.name}"))
    return plans


def concepts_from_file(entries: object, where: str) -> list[Concept]:
    """Concepts of a YAML list: "pig=cow", or a mapping with the fields of Concept."""
    if not isinstance(entries, list):
        raise InputError(f"concepts in {where} must be a list")
    concepts = []
    for entry in entries:
        if isinstance(entry, dict):
            check_keys(entry, CONCEPT_KEYS, f"{where} / concepts")
            if "erase" not in entry:
                raise InputError(f"a concept in {where} has no erase")
            concepts.append(Concept.read(entry))
        else:
            concepts.append(Concept.parse(str(entry)))
    return concepts
