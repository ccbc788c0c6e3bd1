"""Every row of a report moves the right way: edits of one kind and another, of a model that draws what is asked for out of the atlas.

So the embedded model's own judge can say what is there.
"""

import re
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.linear_model import Scaled
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from unconcept.concepts.concept import Concept
from unconcept.evaluation.benchmark import PromptCase
from unconcept.evaluation.emoji import benchmark as exam
from unconcept.evaluation.emoji import rendering as drawings
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark, EmojiCase
from unconcept.evaluation.emoji.judge import Verdict
from unconcept.evaluation.frontier import Point, point
from unconcept.evaluation.judges import Clip
from unconcept.evaluation.metrics.distribution import kid
from unconcept.evaluation.metrics.similarity import psnr
from unconcept.evaluation.prompt_benchmark import PromptBenchmark
from unconcept.evaluation.runner import Evaluation, evaluate
from unconcept.evaluation.scores import CHANGES, PIXELS, find_score, scores
from unconcept.models.emoji import concepts as known
from unconcept.models.emoji import vocabulary as world

WORD, STYLE, COLOUR = world.WORDS.index, world.STYLES.index, list(world.COLOURS).index


@cache
def draw(q: EmojiCase, seed: int) -> Tensor:
    """What a question asks for [3, 64, 64]: drawings of one of the atlas's hands, mirrored and moved as the seed says."""
    label = np.array((q.object, q.other, max(q.style, 0), max(q.colour, 0)), drawings.LABELS)[()]
    return torch.from_numpy(drawings.render_image(label, np.random.default_rng(seed))).permute(2, 0, 1) / 255


def ask(group: str, word: str, other: str = "", style: str = "", colour: str = "", way: str = "plain") -> EmojiCase:
    """hog and farm animal: what they are drawn as is a pig."""
    says = lambda word: f"a {style or 'picture'} of a {word}{other and f' and a {other}'}{colour and f' on a {colour} background'}"
    pig, index = word in ("pig", "hog", "farm animal"), lambda find, word: find(word) if word else -1
    drawn = "pig" if pig else word
    return EmojiCase(
        says(word), group, drawn, WORD(drawn), index(WORD, other), index(STYLE, style), index(COLOUR, colour), way,
        instead=says("cow") if group == "target" else "",
    )  # fmt: skip


COLOURS, PARTNERS = tuple(world.COLOURS), ("key", "bus", "tulip", "guitar")
STYLES = ("3d render", "line icon", "sepia", "blueprint")
ASKED = [
    *(ask(group, word, **{way: value}, way="scene" if way == "other" else way)
      for group, words in (("target", ["pig"] * 4), ("unrelated", ("castle", "rocket", "apple", "umbrella")))
      for way, values in (("colour", COLOURS[1:5]), ("colour", COLOURS[5:9]), ("other", PARTNERS), ("style", STYLES))
      for word, value in zip(words, values)),
    ask("synonym", "hog", colour="blue"), ask("synonym", "hog", style="sepia"), ask("synonym", "hog", other="key"),
    ask("implied", "farm animal", colour="red"), ask("implied", "farm animal", style="line icon"),
    ask("neighbour", "horse", colour="green"), ask("neighbour", "dog", style="sepia"), ask("neighbour", "cat", other="key"),
]  # fmt: skip


@dataclass(frozen=True)
class Change:
    """An edit of the model that draws. does: (question, seed, picture) -> picture; drifts: how much ε(∅) is off."""

    does: Callable[[EmojiCase, int, Tensor], Tensor]
    drifts: float

    @contextmanager
    def on(self, model):
        model.edit = self
        yield
        model.edit = EDITS["nothing"]

    def fingerprint(self) -> str:
        return ""


def noisy(q: EmojiCase, seed: int, picture: Tensor, size: float = 0.07) -> Tensor:
    return (picture + size * torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))).clamp(0, 1)


def another(q: EmojiCase, seed: int, picture: Tensor) -> Tensor:
    """Something else, from another seed: a cow for the pig and a pig for all else, beside a gem, in another style, on another colour."""
    thing = WORD("pig" if q.object != WORD("pig") else "gem" if q.group == "implied" else "cow")
    style, other = STYLE("cartoon" if q.style > 0 else "sepia"), WORD("gem") if q.other >= 0 else -1
    return draw(replace(q, object=thing, other=other, style=style, colour=(max(q.colour, 0) + 5) % len(COLOURS)), seed + 1)


def aimed(q: EmojiCase, seed: int, picture: Tensor) -> Tensor:
    """What an erasure should be: a cow where a pig was, and next to nothing anywhere else."""
    return draw(replace(q, object=WORD("cow")), seed) if q.object == WORD("pig") else noisy(q, seed, picture, 0.01)


EDITS = {
    "nothing": Change(lambda q, seed, picture: picture, 0.0),
    "noise": Change(noisy, 0.1),
    "others": Change(another, 0.5),
    "aimed": Change(aimed, 0.1),
}


class Drawn(Scaled):
    """A model whose latents are its pictures. Its second sampler is a pixel off."""

    samplers, edit = ("one", "another"), EDITS["nothing"]
    asked = {q.prompt: q for q in ASKED} | {q.instead: replace(q, object=WORD("cow")) for q in ASKED if q.instead}

    def sample(self, prompts, seeds, sampling):
        made = [self.edit.does(q, seed, draw(q, seed)) for q, seed in zip((self.conditions[p] for p in prompts), seeds)]
        return torch.stack(made).roll(self.samplers.index(sampling.sampler), 3)

    def decode(self, latents):
        return latents

    def predict(self, x, t, condition):
        return x * (1 + self.edit.drifts)


class Cells:
    """A feature space: of each of 8 x 8 cells the mean, and how far its pixels lie from it."""

    name = "8x8"

    def __call__(self, pictures: Tensor) -> Tensor:
        mean, square = (interpolate(p, (8, 8), mode="area") for p in (pictures, pictures.square()))
        return torch.cat([mean - 0.5, (square - mean.square()).clamp(min=0).sqrt()], 1).flatten(1)


class Reader(Clip):
    """A CLIP that reads the words of objects, and looks with the embedded model's judge."""

    def __init__(self):
        self.name, self.model = "reader", SimpleNamespace(logit_scale=torch.tensor(10.0).log())

    def look(self, pictures: Tensor, batch: int = 32) -> Tensor:
        return normalize(exam.load_judge().look(pictures).objects[:, :-1], dim=1)

    def read(self, texts) -> Tensor:
        names = lambda thing: "|".join(map(re.escape, (thing.word, *thing.synonyms, *thing.categories)))
        return normalize(
            torch.tensor([[float(bool(re.search(rf"\b({names(t)})\b", text))) for t in world.OBJECTS] for text in texts]), dim=1
        )


@pytest.fixture(scope="module")
def judge():
    """The embedded model's, that looks at the same pictures once."""
    look, seen = exam.load_judge().look, {}

    def again(pictures: Tensor) -> Verdict:
        key = pictures.numpy().tobytes()
        seen[key] = seen[key] if key in seen else look(pictures)
        return seen[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exam, "load_judge", lambda: SimpleNamespace(look=again))
        yield


CONCEPT = known.complete(Concept(erase="pig", alternative="cow"))
EXAM = EmojiBenchmark([CONCEPT], {}, own=[replace(q, object=-1) if q.group == "implied" else q for q in ASKED])


@pytest.fixture(scope="module")
def found(judge) -> dict[str, Evaluation]:
    """By edit: every row that `evaluate` gives with the embedded model's judge, and those of the same pictures by any judge. The changes of
    pairs are slow: not again where they are the same, nor of the edit that only ratios and distances are asked of."""
    plain = PromptBenchmark([CONCEPT], world.WORDS, {}, [PromptCase(q.prompt, q.group, q.name, q.way, q.instead) for q in ASKED], Reader())
    out = {}
    for name, edit in EDITS.items():
        with pytest.MonkeyPatch.context() as patch:
            if name == "aimed":
                patch.setattr("unconcept.evaluation.scores.CHANGES", {})
            made = evaluate(Drawn(), edit, EXAM, controls=4, features=Cells())
            patch.setattr("unconcept.evaluation.scores.CHANGES", {})
            told = [{**row, "name": f"any judge: {row['name']}"} for row in scores(plain, made.before, made.after)]
        out[name] = replace(made, rows=[*made.rows, *told])
    return out


UP, DOWN = ("nothing", "noise", "others"), ("others", "noise", "nothing")
SHARES = {  # of which a little noise may change none
    "concept": DOWN, "concept, nobody asked": UP, "alternative": UP, "right": DOWN, "other": DOWN, "style": DOWN, "background": DOWN,
    "all": DOWN, "CLIP score, cosine, reader": DOWN,
}  # fmt: skip
GROWS = SHARES | {name: DOWN if name.startswith("ssim") else UP for name in (*CHANGES, "feature change, 1-cos 8x8")} | {
    "confidence of the judge": ("noise", "nothing"),  # of other pictures that are whole it is as sure; and of two or three, chance decides
    "KID 8x8 to real pictures": UP,
    "KID 8x8 to real pictures, of what comes instead": ("aimed", "nothing"),
    "KID 8x8 to the original's pictures": UP,
    "KID 8x8 to the alternative's own pictures": ("aimed", "nothing"),
    "drift of the unconditional prediction": UP,
    "selectivity, pixel change of target / unrelated": ("noise", "aimed"),
}  # fmt: skip


def kind(row: dict) -> str:
    """The key of a row in GROWS: its name, without the part that it is about."""
    name = row["name"].removeprefix("any judge: ")
    if (share := name.partition(":")[0]) in SHARES:
        return "concept, nobody asked" if share == "concept" and row["group"] in ("neighbour", "unrelated") else share
    return f"{name}, of what comes instead" if (name, row["group"]) == ("KID 8x8 to real pictures", "target") else name


@pytest.mark.parametrize("name", GROWS)
def test_every_row_moves_the_right_way(name, found):
    """From edit to edit, in all groups and parts."""
    many = 16 if name.startswith("confidence") else 1
    rows = [row for row in found["noise"].rows if kind(row) == name and row["n"] >= many]
    assert rows
    for row in rows:
        values = [find_score(found[edit].rows, row["name"], row["group"])["after"] for edit in GROWS[name]]
        steps = [b - a for a, b in zip(values, values[1:])]
        # The agreement of two or three pictures may rise by a hair under little noise; it falls for other pictures all the same.
        hair = -0.001 if name.startswith("CLIP") and row["n"] < 16 else 0
        assert min(steps) >= hair if name in SHARES or hair else min(steps) > 0, (row["name"], row["group"], values)
        assert values[-1] > values[0], (row["name"], row["group"], values)


def test_no_row_is_forgotten(found):
    """What a report says anew needs a line in GROWS, and what it does not say has a reason."""
    unaimed = "selectivity, pixel change of target / unrelated"
    controls = lambda made: [row for row in made.rows if row["name"].startswith("control")]
    for edit, made in ((edit, found[edit]) for edit in UP):
        measured = {kind(row) for row in made.rows if row["after"] is not None and row not in controls(made)}
        assert measured == set(GROWS) - ({unaimed} if edit == "nothing" else set())
        assert all(row["reason"] for row in made.rows if row["after"] is None)
        assert controls(made) == controls(found["nothing"]) != [], "they are made without any edit"


def test_an_edit_that_does_nothing_changes_no_row(found):
    """Shares and values are what they were, changes 0, likeness 1; and every share's difference is after less before, whatever the edit."""
    rows = [row for row in found["nothing"].rows if row["after"] is not None and not row["name"].startswith(("control", "KID"))]
    for row in rows:
        was = row["before"] if row["before"] is not None else 1.0 if row["name"].startswith("ssim") else 0.0
        assert row["after"] == pytest.approx(was, abs=1e-4), row
    for row in (row for made in found.values() for row in made.rows if "difference" in row):
        low, high = row["difference"]["ci95"]
        assert row["difference"]["value"] == pytest.approx(row["after"] - row["before"], abs=1e-3)
        assert low <= row["difference"]["value"] <= high


def test_only_an_aimed_edit_is_selective(found):
    selective = lambda edit: find_score(found[edit].rows, "selectivity, pixel change of target / unrelated", "structure")
    assert selective("nothing") is None
    assert 0.5 < selective("noise")["after"] < 2
    assert 0.5 < selective("others")["after"] < 2
    assert selective("aimed")["ci95"][0] > 5


def test_the_judge_believes_more_noise_less(judge):
    """Of more and more noise: what is right, and all that is asked for; and how sure the judge is. Of nothing but noise, no part of it."""
    pictures = torch.stack([draw(q, seed) for seed, q in enumerate(EXAM.cases)])
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    more = [(pictures + size * noise).clamp(0, 1) for size in (0.0, 0.15, 0.25)] + [(0.5 + noise).clamp(0, 1)]
    for name in ("right", "all"):
        shares = [EXAM.marks(p)[name].nanmean().item() for p in more]
        assert shares == sorted(shares, reverse=True)
        assert len(set(shares)) == 4, shares
        assert shares[0] > 0.95 > 0.1 > shares[-1]
    sure = [EXAM.values(p)["confidence of the judge"].median().item() for p in more]
    assert sure == sorted(sure, reverse=True)
    assert sure[0] > 0.9 > 0.5 > sure[-1]


def test_the_corners_of_the_plane(found):
    """What does nothing: (0, 1). Noise, or something else of all: (1, 0). What an erasure should be: (1, nearly 1)."""
    made, seed = found["nothing"], find_score(found["nothing"].rows, f"control, another seed: {PIXELS}", "structure")["after"]
    noise = torch.rand(made.before.shape, generator=torch.Generator().manual_seed(0))
    at = lambda after: point(EXAM, 1.0, made.before, after, seed)
    assert at(made.after) == Point(1.0, 0.0, 1.0)
    assert at(noise) == at(found["others"].after) == Point(1.0, 1.0, 0.0)
    assert at(found["aimed"].after).removed == 1.0
    assert 0.9 < at(found["aimed"].after).kept < 1.0


def test_psnr_moves_the_right_way(found):
    same, noise, others = (psnr(found[edit].before, found[edit].after).min().item() for edit in UP)
    assert same == 100.0 > noise > others


def test_the_distance_of_whole_sets_moves_the_right_way(found):
    """To the original's own pictures, of all groups at once: none, some, much."""
    see = Cells()
    same, noise, others = (kid(see(found[edit].before), see(found[edit].after))["value"] for edit in UP)
    assert same <= 0.0 < others
    assert same < noise < others
