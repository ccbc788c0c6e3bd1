"""Thousands of generated inputs and signals in one process: none may end in a surprise.

    python tests/soak/soak.py [--inputs 10000] [--signals 200] [--seed 0] [--state FILE]

Inputs go to the parsers (concepts, CSV, YAML, cards, safetensors headers, reports) and to the
command line, whose work is stubbed: no model is loaded, no image sampled. Every input is drawn from
the seed and its number alone; with --state, a soak that was interrupted continues where it stopped.

    tracebacks  a command printed one
    unhandled   a parser raised something else than an InputError, or a command ended with
                "(--debug shows where)"
    lost        a command that failed left something behind, or changed what was there; a signal
                left neither the whole output nor nothing
    wrong code  an exit code that is not documented, or another one than that of the signal

Prints the counts as JSON, and every input that was counted as a fault. Exit code 1: there are some.
"""

import argparse
import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script

import torch
from PIL import Image
from support.stubbed_work import stubbed_work
from support.tiny_pipelines import tiny_pipeline

from unconcept import Concept, Edit, InputError, wrap
from unconcept.cli import entry_point, progress_bar
from unconcept.cli.run_config import Request, concepts_from_file, concepts_of
from unconcept.config.overrides import read_yaml
from unconcept.edits.card import read_card
from unconcept.evaluation.benchmark import read_prompts
from unconcept.io.peer_weights import check_own_edit
from unconcept.io.weights import open_safetensors

CODES = (0, 1, 2, 3)

EVERY = 8  # of the inputs, one goes to the command line

WORDS = (
    "pig", "cow", "a pig", "", " ", "pig=cow", "pig=cow=dog", "pig; horse", "pig, dog", "[b] pig",
    "in the style of van gogh", "van gogh style", "\x1b[31mred", "‮abc", "💥", "ж" * 130, "[/red]",
    "<img src=x onerror=alert(1)>", "../../etc", "--help", "-1", "null", "~", "*a", "{}", "{s}",
    "line\nbreak", "nul\x00", "\udcff", "x" * 5000, "pigs", "Pig", "%s", "$(touch PWNED)", "“pig”",
)  # fmt: skip

NUMBERS = (
    "0", "-1", "1", "2", "999", "1000", "1e9", "nan", "inf", "-inf", "1e400", "0.5", "", "1_0",
    "18446744073709551615", "18446744073709551616", "9" * 400, "0x10", "1.5", "true", "١",
)  # fmt: skip

YAML = (
    "&a [*a, *a]", "!!python/object/apply:os.system ['touch PWNED']", "{", "- - - ", "[" * 3000,
    "? [a]: b", "a: &x [1]\nb: [*x, *x]", "<<: {a: 1}", "no", "2026-01-01", "1:30", "!!binary aGk=",
    "concepts: [{erase: null}]", "concepts: pig", "seed: 1.5", "settings: {lam: .nan}", "\t- a",
)  # fmt: skip


class Draw:
    """Inputs from one random generator."""

    def __init__(self, seed: str):
        self.random = random.Random(seed)

    def word(self) -> str:
        if self.random.random() < 0.2:
            letters = [chr(self.random.choice((9, 10, 27, 32, 34, 44, 61, 91, 233, 8238)))]
            letters += [
                chr(self.random.randrange(32, 0x2FF)) for _ in range(self.random.randrange(9))
            ]
            self.random.shuffle(letters)
            return "".join(letters)
        return self.random.choice(WORDS)

    def number(self) -> str:
        return self.random.choice(NUMBERS)

    def value(self, depth: int = 0):
        """Anything that JSON holds."""
        kind = self.random.randrange(8 if depth < 3 else 6)
        if kind < 6:
            plain = (None, True, self.word(), 3, float("nan"), 10**40)
            return plain[kind]
        size = self.random.randrange(3)
        if kind == 6:
            return [self.value(depth + 1) for _ in range(size)]
        return {self.word(): self.value(depth + 1) for _ in range(size)}

    def content(self) -> bytes:
        return self.random.randbytes(self.random.randrange(60))

    def damaged(self, content: bytes) -> bytes:
        """Cut short, or with some bytes changed."""
        changed = bytearray(content)
        if self.random.random() < 0.4:
            return bytes(changed[: self.random.randrange(len(changed) + 1)])
        for _ in range(self.random.randrange(1, 4)):
            changed[self.random.randrange(len(changed))] = self.random.randrange(256)
        return bytes(changed)


class Soak:
    """One process full of inputs.

    place   an empty folder, in which everything happens
    counts  of inputs and of faults
    """

    def __init__(self, place: Path):
        self.place = place
        self.counts: Counter = Counter()
        self.faults: list[str] = []
        self.model = wrap(tiny_pipeline(), ("cat", "dog"))
        self.folder = place / "model"
        tiny_pipeline().save_pretrained(self.folder)
        self.home = place / "home"
        self.home.mkdir()
        self.edit = self.home / "edit.safetensors"
        self.small_edit().save(self.edit)
        Image.new("RGB", (8, 8)).save(self.home / "image.png")
        (self.home / "report.json").write_text('{"schema": 1, "scores": []}')
        self.before = self.listing()

    def small_edit(self) -> Edit:
        site = self.model.weight_group("cross-attention keys and values")[0]
        weight = getattr(*site.find(self.model.components))
        concepts = [{"erase": "pig", "alternative": "cow"}]
        return Edit({site.name: torch.ones_like(weight)}, {"method": "uce", "concepts": concepts})

    def listing(self) -> dict[str, int]:
        return {str(path): path.stat().st_size for path in sorted(self.home.rglob("*"))}

    # Parsers

    def parse_one(self, draw: Draw) -> None:
        parser = draw.random.choice(self.parsers())
        self.counts[f"parser: {parser.__name__}"] += 1
        try:
            parser(draw)
        except InputError:
            self.counts["refused"] += 1
        except Exception as error:
            self.fault("unhandled", f"{parser.__name__}: {type(error).__name__}: {error}")

    def parsers(self) -> list[Callable[[Draw], object]]:
        return [
            self.concept, self.options, self.yaml, self.entries, self.prompts, self.card,
            self.header, self.weights,
        ]  # fmt: skip

    def concept(self, draw: Draw) -> object:
        return Concept.parse(draw.word(), draw.random.choice((None, draw.word())))

    def options(self, draw: Draw) -> object:
        words = tuple(draw.word() for _ in range(draw.random.randrange(3)))
        more = tuple(draw.word() for _ in range(draw.random.randrange(3)))
        return concepts_of(Request(words, keep=more, synonyms=more[:1]), {})

    def entries(self, draw: Draw) -> object:
        fields = ("erase", "alternative", "synonyms", "keep", "kind", "templates", "other")
        entry = {name: draw.value() for name in draw.random.sample(fields, 3)}
        return concepts_from_file([entry, draw.value()], "file.yaml")

    def yaml(self, draw: Draw) -> object:
        file = self.place / "file.yaml"
        text = draw.random.choice(YAML + WORDS) + "\n" + draw.random.choice(YAML)
        content = text.encode(errors="surrogatepass")
        file.write_bytes(content if draw.random.random() < 0.7 else draw.damaged(content))
        return read_yaml(file)

    def prompts(self, draw: Draw) -> object:
        file = self.place / "file.csv"
        heads = ("prompt", "seed", "group", "evaluation_seed", " Prompt ", draw.word())
        head = draw.random.sample(heads, 3)
        rows = []
        for _ in range(draw.random.randrange(4)):
            rows.append([draw.word(), draw.number(), draw.word()])
        text = "\n".join(",".join(row) for row in [head, *rows])
        file.write_bytes(text.encode(errors="surrogatepass"))
        return read_prompts(file)

    def card(self, draw: Draw) -> object:
        names = ("concepts", "method", "settings", "adapters", "model_weights", "family", "other")
        card = {name: draw.value() for name in draw.random.sample(names, 3)}
        text = json.dumps(card)
        if draw.random.random() < 0.3:
            text = draw.damaged(text.encode()).decode(errors="replace")
        return read_card(text, self.edit)

    def header(self, draw: Draw) -> object:
        file = self.place / "file.safetensors"
        tensors = {}
        for _ in range(draw.random.randrange(3)):
            shape = draw.random.choice(([1], [2**31, 2**33], [0], [-1], "a"))
            offsets = draw.random.choice(([0, 4], [4, 0], [0, 2**63]))
            tensors[draw.word()] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        tensors["__metadata__"] = draw.random.choice(({"unconcept": draw.word()}, draw.value()))
        head = json.dumps(tensors).encode()
        length = draw.random.choice((len(head), len(head), 0, 2**64 - 1, 2**30))
        file.write_bytes(length.to_bytes(8, "little") + head + draw.content())
        check_own_edit(file)
        return open_safetensors(file)

    def weights(self, draw: Draw) -> object:
        file = self.place / "file.safetensors"
        file.write_bytes(draw.damaged(self.edit.read_bytes()))
        return Edit.load(file)

    # The command line

    def command(self, draw: Draw) -> list[str]:
        """The words of one command, most of which are wrong."""
        files = [str(self.edit), str(self.folder), "missing", draw.word(), str(self.home)]
        choose = draw.random.choice
        command = choose(("erase", "generate", "evaluate", "compare", "purify", "export", "show"))
        words = [command]
        subject = {
            "erase": [draw.word()],
            "generate": [draw.word()],
            "compare": [draw.word(), "--methods", choose(("uce", "uce,sld", draw.word()))],
            "evaluate": ["--edit", choose(files)],
            "purify": [choose((str(self.home / "image.png"), *files)), "--edit", choose(files)],
            "export": [choose(files), "--as", choose(("lora", "kohya", "pipeline", draw.word()))],
            "show": [choose((*files, "uce", "methods"))],
        }
        words += subject[command]
        if command == "erase":
            words += ["--method", choose(("uce", "sld", draw.word()))]
        options = {
            "--steps": draw.number, "--images": draw.number, "--seed": draw.number,
            "--guidance": draw.number, "--rank": draw.number, "--to": draw.word,
            "--keep": draw.word, "--synonym": draw.word, "--strength": draw.number,
            "--preset": draw.word, "--config": lambda: choose(files), "--extent": lambda: "none",
            "--prompts": lambda: choose(files), "--dtype": draw.word, "--caption": draw.word,
        }  # fmt: skip
        for name in draw.random.sample(sorted(options), draw.random.randrange(3)):
            words += [name, options[name]()]
        if command in ("erase", "evaluate", "compare") and "--extent" not in words:
            words += ["--extent", "none"]
        if command != "show":
            words += ["--model", choose((str(self.folder), str(self.folder), choose(files)))]
            words += ["--out", choose(("out", "out", "a/b/out", draw.word(), str(self.home)))]
        return [word for word in words if "\x00" not in word]

    def run(self, words: list[str]) -> tuple[int, str]:
        """(exit code, what was printed)"""
        out, err = io.StringIO(), io.StringIO()
        code = 0
        with (
            mock.patch.object(sys, "argv", ["unconcept", *words]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                entry_point.main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        return code, out.getvalue() + err.getvalue()

    def command_one(self, draw: Draw) -> None:
        words = self.command(draw)
        self.counts[f"command: {words[0]}"] += 1
        try:
            code, text = self.run(words)
        except Exception as error:
            self.fault("unhandled", f"{words}: {type(error).__name__}: {error}")
            self.clean()
            return
        self.counts[f"exit code {code}"] += 1
        if "Traceback (most recent" in text:
            self.fault("tracebacks", f"{words}: {text[-300:]}")
        if "(--debug shows where)" in text:
            self.fault("unhandled", f"{words}: {text[-300:]}")
        if code not in CODES:
            self.fault("wrong code", f"{words}: {code}")
        now = self.listing()
        added = [name for name in now if name not in self.before]
        changed = [name for name in self.before if now.get(name) != self.before[name]]
        if changed or (code in (1, 2) and added):
            self.fault("lost", f"{words}: left {added[:5]}, changed {changed[:5]}")
        self.clean()

    # Signals

    def signal_one(self, draw: Draw) -> None:
        """A signal at one of the reports of progress of a run, or while something is written."""
        edit, image = str(self.edit), str(self.home / "image.png")
        few = ["--extent", "none", "--model", str(self.folder), "--out", "out"]
        out = ["--model", str(self.folder), "--out", "out"]
        words = draw.random.choice(
            (
                ["erase", "pig", "--to", "cow", "--method", "uce", *few],
                ["evaluate", "--edit", edit, *few],
                ["compare", "pig", "--to", "cow", "--methods", "uce", *few],
                ["purify", image, "--edit", edit, *out],
                ["generate", "a pig", "--images", "2", *out],
                ["export", edit, "--as", "pipeline", *out],
            )
        )
        number = draw.random.choice((signal.SIGINT, signal.SIGTERM))
        moment = draw.random.randrange(8)
        with self.signal_at(moment, number) as events:
            code, text = self.run(words)
        if events[0] <= moment:  # the run had fewer events: again, at one that it has
            self.clean()
            moment %= events[0]
            with self.signal_at(moment, number):
                code, text = self.run(words)
        self.counts["signals"] += 1
        there = (self.home / "out").exists()
        if code != 128 + number:
            self.fault("wrong code", f"{words}: {code} after signal {number}: {text[-300:]}")
        complete = "is complete" in text
        hidden = [name for name in self.listing() if "/.unconcept-" in name or ".part" in name]
        if hidden or there != complete:
            self.fault("lost", f"{words}, signal {number} at {moment}: {text[-200:]}, {hidden}")
        if "Traceback (most recent" in text:
            self.fault("tracebacks", f"{words}: {text[-300:]}")
        self.clean()

    @contextlib.contextmanager
    def signal_at(self, moment: int, number: int):
        """Send a signal at the so-manyth event: a report of progress, a file, a rename.

        Yields:
            A list with the number of events so far.
        """
        events = [0]

        def event() -> None:
            events[0] += 1
            if events[0] == moment + 1:
                os.kill(os.getpid(), number)

        show, rename, touch = progress_bar.ProgressBar.__call__, os.rename, Path.touch

        def shown(bar, progress) -> None:
            show(bar, progress)
            event()

        def renamed(*names, **settings) -> None:
            event()
            rename(*names, **settings)
            event()

        def touched(path, *args, **settings) -> None:
            event()
            touch(path, *args, **settings)
            event()

        with (
            mock.patch.object(progress_bar.ProgressBar, "__call__", shown),
            mock.patch("os.rename", renamed),
            mock.patch.object(Path, "touch", touched),
        ):
            yield events

    def fault(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        self.faults.append(f"{kind}: {text[:600]!r}")
        print(self.faults[-1], flush=True)

    def clean(self) -> None:
        for path in sorted(self.home.rglob("*"), reverse=True):
            if str(path) not in self.before:
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--signals", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, help="JSON of what is done so far")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    if chosen.state:
        chosen.state.parent.mkdir(parents=True, exist_ok=True)
    state = {"next": 0, "counts": {}, "faults": [], "seconds": 0.0}
    if chosen.state and chosen.state.exists():
        state = json.loads(chosen.state.read_text())
    total = chosen.inputs + chosen.signals
    with tempfile.TemporaryDirectory() as place:
        os.environ["UNCONCEPT_CACHE"] = str(Path(place) / "cache")
        soak = Soak(Path(place))
        soak.counts, soak.faults = Counter(state["counts"]), state["faults"]
        os.chdir(soak.home)
        before = state["seconds"]
        with stubbed_work(soak.model):
            for number in range(state["next"], total):
                draw = Draw(f"{chosen.seed} {number}")
                if number >= chosen.inputs:
                    soak.signal_one(draw)
                elif number % EVERY:
                    soak.parse_one(draw)
                else:
                    soak.command_one(draw)
                state["next"] = number + 1
                if chosen.state and (number % 100 == 99 or number + 1 == total):
                    state["seconds"] = round(before + time.process_time() - began, 1)
                    state |= {"counts": dict(soak.counts), "faults": soak.faults}
                    chosen.state.write_text(json.dumps(state, indent=1))
        os.chdir("/")
    print(json.dumps({"inputs": chosen.inputs, **dict(sorted(soak.counts.items()))}, indent=1))
    return 1 if soak.faults else 0


if __name__ == "__main__":
    sys.exit(main())
