"""From what the command line was given to what shall be done, without touching torch's weights yet."""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .concept import Concept
from .errors import InputError
from .methods import AllButOne
from .settings import check_keys, override, read_yaml

KEYS = ["concepts", "model", "method", "out", "seed", "settings"]
CONCEPT_KEYS = [f.name for f in dataclasses.fields(Concept)]


@dataclass(frozen=True)
class Plan:
    concepts: tuple[Concept, ...]
    model: str
    method: AllButOne
    out: Path
    seed: int

    def describe(self) -> str:
        lines = [f"erase    {concept}" for concept in self.concepts]
        settings = ", ".join(f"{f.name}={getattr(self.method, f.name)}" for f in dataclasses.fields(self.method))
        return "\n".join(
            [
                *lines,
                f"model    {self.model}",
                f"method   all-but-one: {settings}",
                f"out      {self.out}",
                f"seed     {self.seed}",
            ]
        )


def plan(
    names: Sequence[str], *, to: str | None, method: str, config: Path | None, keep: Sequence[str], synonyms: Sequence[str],
    seed: int, model: str, out: Path | None,
) -> Plan:  # fmt: skip
    """The command line's words win over the file's."""
    file = read_yaml(config) if config else {}
    check_keys(file, KEYS, str(config))
    if file.get("method", method) != "all-but-one" or method != "all-but-one":
        raise InputError(f'unknown method "{method if method != "all-but-one" else file["method"]}": all-but-one is what there is so far')
    if to is not None and len(names) > 1:
        raise InputError("--to goes with one concept; give several as pairs: unconcept erase pig=cow fox=wolf")
    more = {"keep": tuple(keep), "synonyms": tuple(synonyms)}
    concepts = [Concept.parse(name, to, **more) for name in names] or from_file(file.get("concepts", []), str(config))
    if not concepts:
        raise InputError("nothing to erase was named, for example: unconcept erase pig --to cow")
    settings = override(AllButOne(), file.get("settings", {}), f"{config} / settings")
    seed = seed or int(file.get("seed", 0))
    settings = replace(settings, tune=replace(settings.tune, seed=seed))
    slug = re.sub(r"[^a-z0-9]+", "-", " ".join(c.erase for c in concepts).lower()).strip("-")
    target = out or Path(file.get("out", Path("unconcept-out") / (slug or "concept")))
    return Plan(tuple(concepts), model if model != "emoji" else str(file.get("model", model)), settings, target, seed)


def plan_methods(
    names: Sequence[str], methods: Sequence[str], *, to: str | None, seed: int, model: str, out: Path | None
) -> dict[str, Plan]:  # fmt: skip
    """One plan for each entry of `methods`: a method's name, or a YAML file, which goes by its own name."""
    plans = {}
    for entry in methods:
        file = Path(entry) if entry.endswith((".yaml", ".yml")) else None
        given: dict[str, Any] = dict(to=to, keep=(), synonyms=(), seed=seed, model=model, out=out)
        made = plan(names, method="all-but-one" if file else entry, config=file, **given)
        folder = out or made.out.with_name(f"compare-{made.out.name}")
        plans[file.stem if file else entry] = replace(made, out=folder)
    return plans


def from_file(entries: object, where: str) -> list[Concept]:
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
