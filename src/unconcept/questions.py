"""Which questions an erasure is asked: those of the world when the judge knows it, else prompts whose pictures speak for themselves."""

import csv
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .concept import Concept, article
from .errors import InputError
from .judges import Judge, load_judge, name_of
from .models import EMBEDDED
from .models.base import Model, nearest
from .options import Look

T = TypeVar("T")
log = logging.getLogger(__name__)

GROUPS = ("target", "synonym", "implied", "neighbour", "unrelated")
WAYS = ("plain", "colour", "style", "scene", "own")  # in which a question may ask
NEAR = 5  # words that are asked as neighbours of each concept of a model whose world nobody knows


@dataclass(frozen=True)
class Ask:
    """A prompt of one group about one word, for models whose answers nobody knows beforehand."""

    prompt: str
    group: str
    name: str
    way: str = "plain"
    instead: str = ""
    seed: int | None = None


class Plain:
    """The questions for a model whose world nobody knows. Without a judge, pictures and their changes can be shown, and presence is not scored.

    With one (unconcept.judges, or any callable of that kind): a name is seen where its probability is the highest among the concept, its
    synonyms, the alternative and the vocabulary. A judge that does not know all words (`knows`) is asked about those that it knows.

    near: for each concept the words to ask as its neighbours, from the nearest on (`ranked`); no more than half of all words.
    real: real pictures [M, 3, H, W] in [0, 1], of anything.
    """

    def __init__(
        self,
        concepts: Sequence[Concept],
        vocabulary: Sequence[str],
        n: Mapping[str, int],
        own: Sequence[Ask] = (),
        judge: Judge | None = None,
        near: Sequence[Sequence[str]] = (),
        real: Tensor | None = None,
    ):
        self.concepts, self.judge, self.pictures = tuple(concepts), judge, real
        self.erased = {name for c in concepts for name in (c.erase, *c.synonyms)}
        erased = {name.casefold() for name in self.erased}  # a tokenizer reads "Dog" as "dog"
        knows = getattr(judge, "knows", lambda name: True)
        for word in [c.erase for c in concepts if not knows(c.erase)]:
            raise InputError(f'the judge does not know "{word}": take a CLIP folder as --judge')
        others = [w for w in dict.fromkeys([*(w for c in concepts for w in c.keep), *vocabulary]) if w.casefold() not in erased]
        known = [w for w in others if knows(w)]
        own_names = [n for c in concepts for n in (c.erase, *c.synonyms, c.alternative or c.erase) if knows(n)]
        self.names = list(dict.fromkeys([*own_names, *known]))  # that a picture may be said to show
        words = known or others  # where the judge knows none, how far the pictures move still tells something
        few = min(NEAR, len(words) // (2 * len(concepts)))
        neighbours = [[w for w in order if w in words][:few] for order in near]
        rest = [w for w in words if not any(w in some for some in neighbours)]
        styles = {w for c in concepts if c.kind == "style" for w in c.keep}

        targets = [[(c, *pair) for pair in c.with_(synonyms=()).pairs()] for c in concepts]
        synonyms = [[(c, *pair) for pair in c.with_(erase=c.synonyms[0], synonyms=c.synonyms[1:]).pairs()] for c in concepts if c.synonyms]
        self.questions = [
            Ask(prompt, group, c.erase, instead=instead if c.alternative else "")
            for group, pairs in (("target", targets), ("synonym", synonyms))
            for c, prompt, instead in by_turns(pairs, n.get(group, 0))
        ]
        self.questions += [
            Ask(article(f"{w} picture" if w in styles else w), group, w)
            for group, asked in (("neighbour", neighbours), ("unrelated", [rest]))
            for w in by_turns(asked, n.get(group, 0))
        ]
        self.questions += own

    def real(self, group: str) -> Tensor | None:
        """Real pictures to measure a group by: of the unrelated ones, where any were given."""
        return self.pictures if group == "unrelated" else None

    def marks(self, pictures: Tensor) -> dict[str, Tensor]:
        """The judge's marks [N]: 0, 1, or NaN where a mark does not apply; empty without a judge."""
        if self.judge is None:
            return {}
        said, n = self.judge(pictures, self.names), len(self.names)
        if tuple(said.shape) not in ((len(pictures), n), (len(pictures), n + 1)):
            raise InputError(
                f"the judge said {list(said.shape)} of {len(pictures)} pictures and {n} names: [{len(pictures)}, {n}] is expected"
            )
        if said.shape[1] == n and self.erased.issuperset(self.names):
            raise InputError(
                "the judge knows nothing but what is erased, and sees it in every picture: it needs a column for none of the names"
            )
        seen = [[*self.names, ""][i] for i in said.argmax(1).tolist()]
        marks = {name: torch.full((len(seen),), math.nan) for name in ("concept", "alternative", "right")}
        for i, (q, word) in enumerate(zip(self.questions, seen)):
            if q.group in ("target", "synonym", "implied"):
                asked = [c for c in self.concepts if c.erase == q.name] or self.concepts
                marks["concept"][i] = any(word in (c.erase, *c.synonyms) for c in asked)
                if q.instead and (instead := [c.alternative for c in asked if c.alternative in self.names]):
                    marks["alternative"][i] = word in instead
                continue
            marks["concept"][i] = word in self.erased  # where nobody asked for it: before, this is where the judge errs
            if q.name in self.names:
                marks["right"][i] = word == q.name
        return marks

    def values(self, pictures: Tensor) -> dict[str, Tensor]:
        """How well each picture fits its prompt [N], by name, where the judge can tell."""
        if self.judge is None or not hasattr(self.judge, "agreement"):
            return {}
        return {f"CLIP score, cosine, {name_of(self.judge)}": self.judge.agreement(pictures, [q.prompt for q in self.questions])}


def by_turns(lists: Sequence[Sequence[T]], n: int) -> list[T]:
    """`n` items, one of each list in turn, each list from the start again where it ends; none of empty lists."""
    lists = [items for items in lists if items]
    return [lists[i % len(lists)][i // len(lists) % len(lists[i % len(lists)])] for i in range(n if lists else 0)]


def ranked(net: Model, concepts: Sequence[Concept], batch: int = 16) -> list[list[str]]:
    """For each concept what it names to keep, then all other words, both from the nearest on, by cosine of centred token states."""
    words = list(dict.fromkeys([*(w for c in concepts for w in (c.erase, *c.keep)), *net.vocabulary]))
    prompts = [article(word) for word in words]
    states = torch.cat([net.encode(prompts[i : i + batch])[net.words].float().cpu() for i in range(0, len(prompts), batch)])
    orders = nearest(states, [words.index(c.erase) for c in concepts]).tolist()
    return [sorted((words[i] for i in order), key=lambda word: word not in c.keep) for c, order in zip(concepts, orders)]


def read_prompts(path: Path) -> list[Ask]:
    """The user's own prompts: a CSV file with the column prompt, and if wanted seed and group (target where it is not said)."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            rows = [(table.line_num, row) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not rows or "prompt" not in rows[0][1]:
        raise InputError(f"{path} needs a first line with the column names prompt, seed, group")
    asks = []
    for line, row in rows:
        if not (row["prompt"] or "").strip():
            raise InputError(f"line {line} of {path}: the prompt is empty")
        group, seed = row.get("group") or "target", row.get("seed") or row.get("evaluation_seed")
        if group not in GROUPS:
            raise InputError(f'line {line} of {path}: the group "{group}" is none of {", ".join(GROUPS)}')
        try:
            asks.append(Ask(row["prompt"], group, "", way="own", seed=int(float(seed)) if seed else None))
        except (ValueError, OverflowError) as error:
            raise InputError(f'line {line} of {path}: the seed "{seed}" is no number') from error
    return asks


def prepare(
    net: Model,
    model: str,
    concepts: Sequence[Concept],
    n: Mapping[str, int],
    seed: int,
    prompts: Path | None = None,
    look: Look = Look(),
):
    """(the concepts in full, their exam, what is known of the judge or None). Where a group has no questions, more of unrelated ones are asked.

    prompts: the user's own, asked besides. A judge or real pictures in `look` are an InputError where the embedded model has its own.
    """
    total = sum(n.values())
    own = read_prompts(prompts) if prompts else []
    if model in EMBEDDED:
        from .models.emoji import exam, known, quality

        concepts = known.completed(concepts)
        if all(known.knows(concept) for concept in concepts):
            if look.judge is not None or look.real is not None:
                raise InputError(f'"{model}" has a judge and real pictures of its own for this: leave --judge and --real away')
            mine = [exam.Question(**asdict(ask)) for ask in own]
            near = known.near_in_words(lambda prompts: net.encode(prompts)[net.words], concepts)
            ask = lambda n: exam.Exam(concepts, n, seed, mine, near)
            return concepts, ask(filled(n, total - len(ask(n).questions) + len(mine))), quality()["judge"]
    known = None if look.judge is None else load_judge(look.judge)
    order, real = ranked(net, concepts) if n.get("neighbour") else (), pictures_in(look.real) if look.real else None
    ask = lambda n: Plain(concepts, net.vocabulary, n, own, known, order, real)
    plain = ask(filled(n, total - len(ask(n).questions) + len(own)))
    for word in [c.alternative for c in concepts if c.alternative and c.alternative not in plain.names]:
        log.warning('the judge does not know "%s": whether it comes instead is not scored', word)
    return tuple(concepts), plain, {"name": name_of(known)} if known else None


def filled(n: Mapping[str, int], missing: int) -> dict[str, int]:
    return {**n, "unrelated": n.get("unrelated", 0) + missing}


def pictures_in(folder: Path, size: int = 224, most: int = 10_000) -> Tensor:
    """The pictures of a folder [N, 3, size, size] in [0, 1], cut to squares: `most` at most, in the order of their names."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))[:most]
    if not files:
        raise InputError(f"there are no pictures in {folder}: --real takes a folder of PNG, JPEG or WebP files")
    try:
        made = [ImageOps.fit(Image.open(file).convert("RGB"), (size, size), Image.Resampling.BILINEAR) for file in files]
    except OSError as error:
        raise InputError(f"a picture in {folder} cannot be read: {error}") from error
    return torch.from_numpy(np.stack([np.asarray(image) for image in made])).permute(0, 3, 1, 2).float() / 255


def undrawn(exam, concepts: Sequence[Concept], before: Tensor) -> list[str]:
    """A line for each concept that the model does not draw in the first place, as far as anybody can tell."""
    if not len(before):
        return []
    if isinstance(exam, Plain) and exam.judge is None:
        return ["no judge knows this concept here: its presence is not scored, look at before-after.png"]
    marks, lines = exam.marks(before)["concept"], []
    for concept in concepts:
        own = marks[[i for i, q in enumerate(exam.questions) if q.group == "target" and q.name == concept.erase]]
        if len(own) and own.mean() < 0.5:
            lines.append(f'the model hardly draws "{concept.erase}": the judge finds it in {own.mean():.0%} of {len(own)} pictures')
    return lines


def too_long(net: Model, concepts: Sequence[Concept]) -> Iterator[str]:
    """A line for each phrasing that the text encoder cuts."""
    for prompt in {prompt for concept in concepts for pair in concept.pairs() for prompt in pair}:
        if lost := net.overflow(prompt):
            yield f'the prompt "{prompt}" is longer than the text encoder takes; this is cut: "{lost}"'
