"""Freeze behaviour before a refactoring: hashes of edits, samples and scores at seed 0.

    python tests/support/frozen.py --out now.json                # record all cases
    python tests/support/frozen.py --out now.json --only rank    # cases with "rank" in the name
    python tests/support/frozen.py --against before.json         # record and compare
    python tests/support/frozen.py --compare now.json --against before.json

Every case loads its own model and starts from seed 0, so a case gives the same hash alone and in
a full run. Trainings are short: bit equality of the code path is checked, not the erasure.
Hashes are comparable on one machine with one version of torch only; both are stored beside them.

Deep imports name the new module first and the module's former place second.
"""

import argparse
import hashlib
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import unconcept
from unconcept.methods import METHODS

# One CPU thread, here and in the command line's process.
ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
COMPLETED = ("unconcept.models.emoji.concepts", "unconcept.models.emoji.known")
LOOK = ("unconcept.config.options", "unconcept.options")

PIG = ("pig=cow",)
THREE = ("pig=cow", "castle=house", "guitar=violin")
REPLAY = {"trajectories": 4, "points": 2, "sampling_steps": 4}  # All but One
TUNE = {"steps": 3, "batch_size": 4, "check": 1, "seed": 0}
FEW_WORDS = 24
ONLINE = {"steps": 4, "lr": 1e-3, "sampling_steps": 3}  # methods that sample in every step
EVALUATION_STEPS = 4
SAMPLED = ("a pig", "a castle and a guitar", "a watercolor of a cat")


@dataclass(frozen=True)
class Erasure:
    """One short training.

    Attributes:
        concepts: As the command line takes them, "pig=cow".
        method: A key of `METHODS`.
        settings: Fields of the method that differ from its defaults.
        tune: Fields of `Tune` that differ from its defaults; None for a method without `tune`.
        model: An embedded model's name.
        words: How many words of the vocabulary are used; None for all. Few make whitening fast.
    """

    concepts: Sequence[str] = PIG
    method: str = "all-but-one"
    settings: Mapping[str, Any] = field(default_factory=dict)
    tune: Mapping[str, Any] | None = None
    model: str = "emoji"
    words: int | None = None

    def run(self) -> dict[str, Any]:
        """Train, then sample with the edit on.

        Returns:
            "edit": the edit's fingerprint; "samples": the hash of latents sampled with it.
        """
        model = unconcept.load(self.model)
        model.vocabulary = model.vocabulary[: self.words]
        settings = dict(self.settings)
        if self.tune is not None:
            settings["tune"] = unconcept.Tune(**self.tune)
        edit = METHODS[self.method](**settings)(model, *completed(self.concepts))
        if not any(tensor.abs().max() > 0 for tensor in edit.tensors().values()):
            raise RuntimeError("the edit is zero: this case would freeze nothing")
        seeds = range(len(SAMPLED))
        with edit.on(model):
            latents = sample(model, list(SAMPLED), seeds)
        return {"edit": edit.fingerprint(), "samples": hash_of(latents)}


@dataclass(frozen=True)
class Concepts:
    """What the embedded model adds to concepts: synonyms, retained words, prompt templates."""

    concepts: Sequence[str]

    def run(self) -> dict[str, Any]:
        return {"": text_hash([asdict(concept) for concept in completed(self.concepts)])}


@dataclass(frozen=True)
class Scores:
    """report.json of a short `erase` with a closed form, through Python or the command line."""

    command_line: bool = False

    def run(self) -> dict[str, Any]:
        """Erase and evaluate with a fresh image cache.

        Returns:
            "edit": the edit's fingerprint; "rows": the hash of `scores`; "stored": `scores`.
        """
        with tempfile.TemporaryDirectory() as folder:
            out, cache = Path(folder, "out"), Path(folder, "cache")
            if self.command_line:
                erase_by_command(out, cache)
            else:
                erase_by_function(out, cache)
            report = json.loads((out / "report.json").read_text())
        rows = report["scores"]
        edit = report["settings"]["edit_sha256"]
        return {"edit": edit, "rows": text_hash(rows), "stored": rows}


def erase_by_function(out: Path, cache: Path) -> None:
    unconcept.erase(
        [unconcept.Concept.parse("pig=cow")],
        model="emoji",
        method=METHODS["uce"](),
        out=out,
        seed=0,
        extent="short",
        look=imported(LOOK, "Look")(steps=EVALUATION_STEPS),
        cache=cache,
    )


def erase_by_command(out: Path, cache: Path) -> None:
    """Exit code 3 is allowed: it ran, but few sampling steps do not show the alternative."""
    words = ["erase", "pig=cow", "--method", "uce", "--evaluate", "short", "--seed", "0"]
    words += ["--steps", str(EVALUATION_STEPS), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "unconcept", *words],
        env={**os.environ, "UNCONCEPT_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 3):
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr}")


def all_but_one(*concepts: str) -> Erasure:
    """A short training of All but One with its defaults."""
    return Erasure(concepts, settings=REPLAY, tune=TUNE)


def variant(concepts: Sequence[str] = PIG, model: str = "emoji", **settings: Any) -> Erasure:
    """A short training of All but One; `tune` among the settings holds fields of `Tune`."""
    tune = {**TUNE, **settings.pop("tune", {})}
    return Erasure(
        concepts,
        settings={**REPLAY, **settings},
        tune=tune,
        model=model,
        words=FEW_WORDS,
    )


def by_method(method: str, **settings: Any) -> Erasure:
    return Erasure(method=method, settings=settings)


CASES: dict[str, Erasure | Concepts | Scores] = {
    "concepts: pig=cow": Concepts(PIG),
    "concepts: watercolor=pencil sketch": Concepts(("watercolor=pencil sketch",)),
    "concepts: weapon": Concepts(("weapon",)),
    "concepts: three": Concepts(THREE),
    "all-but-one: pig=cow": all_but_one("pig=cow"),
    "all-but-one: castle=house": all_but_one("castle=house"),
    "all-but-one: watercolor=pencil sketch": all_but_one("watercolor=pencil sketch"),
    "all-but-one: weapon": all_but_one("weapon"),
    "all-but-one: three": all_but_one(*THREE),
    "all-but-one: defaults but for length": Erasure(
        settings={"trajectories": 4, "points": 4},
        tune={"steps": 15, "seed": 0},
    ),
    "all-but-one: adversary": variant(adversary=2),
    "all-but-one: paraphrase": variant(paraphrase=0.5),
    "all-but-one: joint": variant(surgical=False),
    "all-but-one: groups": variant(THREE, together=2),
    "all-but-one: rank": variant(tune={"rank": 4}),
    "all-but-one: not whitened": variant(tune={"whiten": None, "lr": 1e-4}),
    "all-but-one: onset, parts": variant(onset=0.8, tune={"gradient_accumulation": 2}),
    "all-but-one: emoji-flow": variant(
        model="emoji-flow",
        tune={"group": "prompt embedders"},
    ),
    "concept-ablation": by_method("concept-ablation", **ONLINE, images=3),
    "concept-ablation: frozen": by_method("concept-ablation", **ONLINE, images=3, frozen=True),
    "esd": by_method("esd", **ONLINE),
    "esd: newer form": by_method("esd", **ONLINE, form="newer", eta=2.0, group="x-strict"),
    "esd: attribute": by_method("esd", **ONLINE, walk="teacher", erase_from="animal", eta=2.0),
    "negative-prompt": by_method("negative-prompt"),
    "rece": by_method("rece"),
    "receler": by_method("receler", **ONLINE, attacks=2, rank=4, tokens=3),
    "sae": by_method(
        "sae", features=512, active=8, steps=50, batch_size=16, prompts=512, cache=False
    ),
    "sdd": by_method("sdd", **ONLINE, average=0.5),
    "sld": by_method("sld", warmup=0),
    "spm": by_method("spm", **ONLINE),
    "uce": by_method("uce"),
    "uce: all tokens": by_method("uce", tokens="all", lam=0.1),
    "uce: emoji-flow": Erasure(method="uce", model="emoji-flow"),
    "scores: erase()": Scores(),
    "scores: command line": Scores(command_line=True),
}


def imported(modules: Sequence[str], name: str) -> Any:
    """`name` from the first of `modules` that is there."""
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if not module.startswith(error.name or ""):
                raise
    raise ImportError(f"{name} is in none of {', '.join(modules)}")


def completed(concepts: Sequence[str]) -> tuple[unconcept.Concept, ...]:
    """The concepts as `unconcept erase` trains them on an embedded model."""
    parsed = [unconcept.Concept.parse(words) for words in concepts]
    return imported(COMPLETED, "completed")(parsed)


def sample(model: Any, prompts: Sequence[str], seeds: Sequence[int]) -> torch.Tensor:
    """Latents of `prompts`, before and after steps and guidance became one object."""
    try:
        from unconcept.models.interface import Sampling
    except ImportError:
        return model.sample(prompts, seeds, steps=EVALUATION_STEPS, guidance=5.0)
    return model.sample(prompts, seeds, Sampling(EVALUATION_STEPS, guidance=5.0))


def hash_of(tensor: torch.Tensor) -> str:
    numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(numbers.tobytes()).hexdigest()


def text_hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def processor_seconds() -> float:
    """Of this process and of those that it has waited for: the same on a busy machine."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def environment() -> dict[str, str]:
    """What hashes may depend on besides the code."""
    names = ("torch", "diffusers", "transformers", "numpy")
    versions = {name: version(name) for name in names}
    processor = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    for line in cpu.read_text().splitlines() if cpu.exists() else ():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    capability = torch.backends.cpu.get_cpu_capability()
    return {"processor": processor, "capability": capability, **versions}


def chosen(only: str | None) -> list[str]:
    """Cases by their exact name, else all whose name contains `only`."""
    if only is None:
        return list(CASES)
    return [only] if only in CASES else [name for name in CASES if only in name]


def record(names: Sequence[str]) -> dict[str, Any]:
    """Run the cases.

    Returns:
        "environment"; "frozen": hashes by the case's name and what was hashed; "rows": scores by
        case; "seconds" of CPU time and "errors" by case.
    """
    os.environ.update(ALONE)
    torch.set_num_threads(1)
    result: dict[str, Any] = {"environment": environment(), "frozen": {}, "rows": {}}
    result |= {"seconds": {}, "errors": {}}
    for name in names:
        start = processor_seconds()
        torch.manual_seed(0)
        try:
            hashes = CASES[name].run()
        except Exception as error:  # the other cases still tell something
            traceback.print_exc()
            result["errors"][name] = f"{type(error).__name__}: {error}"
            hashes = {}
        if "stored" in hashes:
            result["rows"][name] = hashes.pop("stored")
        for what, value in hashes.items():
            result["frozen"][f"{name} | {what}" if what else name] = value
        seconds = round(processor_seconds() - start, 1)
        result["seconds"][name] = seconds
        print(f"{seconds:6.1f} s  {name}", file=sys.stderr, flush=True)
    total = sum(result["seconds"].values())
    print(f"{total:6.1f} s of CPU time, imports apart", file=sys.stderr)
    return result


def compare(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Print a table of what was recorded now beside the baseline.

    Returns:
        True where all that was recorded now is equal, and nothing failed.
    """
    for name, value in before["environment"].items():
        if now["environment"].get(name) != value:
            print(f"note: {name} is {now['environment'].get(name)}, the baseline's is {value}")
    equal = not now["errors"]
    width = max(map(len, [*now["frozen"], *now["errors"], ""]))
    for name, value in now["frozen"].items():
        if name not in before["frozen"]:
            print(f"{name:{width}}  new")
        elif before["frozen"][name] == value:
            print(f"{name:{width}}  equal")
        else:
            print(f"{name:{width}}  DIFFERENT  {before['frozen'][name][:12]} -> {value[:12]}")
            equal = False
    for name, error in now["errors"].items():
        print(f"{name:{width}}  FAILED  {error}")
    for name, rows in now["rows"].items():
        print_rows(name, rows, before["rows"].get(name, rows))
    return equal


def print_rows(name: str, now: Sequence[Mapping], before: Sequence[Mapping]) -> None:
    """The score rows that differ."""
    if len(now) != len(before):
        print(f"{name}: {len(before)} rows before, {len(now)} now")
    for old, new in zip(before, now):
        if old != new:
            print(f"{name}\n  before {json.dumps(old)}\n  now    {json.dumps(new)}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--only", help="a case, or a part of the names of several")
    parser.add_argument("--against", type=Path, help="a baseline; a difference is exit code 1")
    parser.add_argument("--compare", type=Path, help="an earlier --out file: run nothing")
    options = parser.parse_args()
    names = chosen(options.only)
    if not names:
        parser.error(f"no case has {options.only} in its name: {', '.join(CASES)}")
    if not options.out and not options.against:
        parser.error("give --out, --against, or both")
    result = json.loads(options.compare.read_text()) if options.compare else record(names)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    if options.against:
        return 0 if compare(result, json.loads(options.against.read_text())) else 1
    return 1 if result["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
