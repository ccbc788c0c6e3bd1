"""Every measure of a report: worked by hand where the rest of the tests does not, and moved the right way by edits of one kind and another.

The model of these tests draws what is asked for out of the atlas, so that the embedded model's own judge can say what is there.
"""

import math
import re
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from unconcept import Concept, Edit
from unconcept.evaluate import Evaluation, evaluate
from unconcept.frontier import Point, point
from unconcept.judges import Clip
from unconcept.metrics import difference, drift, kid, psnr
from unconcept.models.emoji import drawings, exam, world
from unconcept.models.emoji.exam import Exam, Question
from unconcept.models.emoji.judge import NONE, Judge, Verdict
from unconcept.questions import Ask, Plain
from unconcept.scores import CHANGES, PIXELS, find, median_row, scores, selectivity
from unconcept.whole import distances

WORD, STYLE, COLOUR = world.WORDS.index, world.STYLES.index, list(world.COLOURS).index


def flat(*values: float) -> Tensor:
    """Grey pictures."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).clone()


# By hand: ε(∅).


class Scaled:
    """Of the seed s it predicts x = (s + 1, s + 1); an edit multiplies that by 1 + (s + 1) · t / 100. It walks over t = 20 and 10."""

    max_batch, device, edited = 4, torch.device("cpu"), False

    def trajectory(self, prompts, seeds, *, steps, guidance):
        assert (list(prompts), guidance) == ([""] * len(seeds), 1.0), "what no prompt can avoid"
        x = torch.tensor([float(s + 1) for s in seeds]).view(-1, 1, 1, 1).expand(-1, 1, 1, 2)
        for t in (20, 10, -1):
            yield x, torch.full((len(x),), t)

    def encode(self, prompts):
        return {"states": torch.zeros(len(prompts), 1, 1)}

    def predict(self, x, t, condition):
        assert (t > 0).all(), "a finished picture is predicted nothing of"
        return x * (1 + self.edited * x[:, :1, :1, :1] * t.view(-1, 1, 1, 1) / 100)

    @contextmanager
    def on(self):
        self.edited = True
        yield
        self.edited = False


def test_drift_by_hand():
    """Seed 0 is off by 20 % and by 10 % of itself: 0.15; seeds 1 and 2 by two and three times as much. More points than go in at once."""
    model = Scaled()
    torch.testing.assert_close(drift(model, model.on(), seeds=3, steps=2, first=0), torch.tensor([0.15, 0.30, 0.45]))


@pytest.mark.parametrize("factor", [0.0, 0.1, -0.25])
def test_drift_of_an_edit_that_scales_the_output(model, factor):
    """Weight and bias of the last layer times 1 + f: so is all that the network says, wherever it is asked. The drift is |f|."""
    last = {name: model.denoiser.get_parameter(f"conv_out.{name}") for name in ("weight", "bias")}
    edit = Edit({f"unet.conv_out.{name}": factor * tensor for name, tensor in last.items()})
    torch.testing.assert_close(drift(model, edit.on(model), seeds=2, steps=2), torch.full((2,), abs(factor)), rtol=1e-4, atol=1e-6)


# By hand: ratios and medians.


def asks(**groups: int) -> SimpleNamespace:
    return SimpleNamespace(questions=[Ask("", group, "") for group, n in groups.items() for _ in range(n)])


def test_selectivity_by_hand():
    """The concept's pictures changed by .4, the median of .3 .4 .5; unrelated ones by .1, the median of .05 .05 .1 .3 .3: 4. Neighbours do not
    count. Drawn anew, the medians are the least or the most often enough (7 of 27 of three; 32 % of five, of which two are the same) that
    2.5 % of the ratios are .3 / .3, and 2.5 % are .5 / .05. Of constants, the interval has no width."""
    before = flat(*[0.0] * 10)
    row = selectivity(asks(target=3, neighbour=2, unrelated=5), before, flat(0.3, 0.4, 0.5, 0.9, 0.9, 0.05, 0.05, 0.1, 0.3, 0.3))
    assert (row["after"], row["ci95"], row["n"]) == (4.0, [1.0, 10.0], 8)
    before = flat(*[0.0] * 8)
    row = selectivity(asks(target=3, neighbour=2, unrelated=3), before, flat(0.4, 0.4, 0.4, 0.9, 0.9, 0.1, 0.1, 0.1))
    assert (row["after"], row["ci95"], row["n"]) == (4.0, [4.0, 4.0], 6)
    assert selectivity(asks(target=4, unrelated=4), before, flat(*[0.2] * 8))["after"] == 1.0, "no aim at all"
    still = selectivity(asks(target=4, unrelated=4), before, flat(*[0.2] * 4, *[0.0] * 4))
    assert (still["after"], still["ci95"], still["n"]) == (None, None, 0)
    assert selectivity(asks(target=8), before, before)["after"] is None


def test_the_bootstrap_of_a_constant_has_no_width():
    row = median_row("x", "target", torch.full((25,), 0.25), "lower")
    assert (row["after"], row["n"], row["ci95"]) == (0.25, 25, [0.25, 0.25])


def test_the_bootstrap_of_a_median_by_hand():
    """Of 1 … n, drawn n times with replacement, the median is k or less where (n + 1) / 2 draws or more are:

        P(median ≤ k) = Σ_{j ≥ (n+1)/2} C(n, j) (k/n)^j (1 - k/n)^(n-j)

    For n = 17: 0.008 at k = 4 and 0.036 at k = 5, so the 2.5 % quantile is 5; by symmetry the 97.5 % quantile is 13.
    """
    n = 17
    below = lambda k: sum(math.comb(n, j) * (k / n) ** j * (1 - k / n) ** (n - j) for j in range((n + 1) // 2, n + 1))
    low = next(k for k in range(1, n + 1) if below(k) >= 0.025)
    high = next(k for k in range(1, n + 1) if below(k) >= 0.975)
    values = torch.randperm(n, generator=torch.Generator().manual_seed(3)) + 1.0
    row = median_row("x", "target", values, "lower")
    assert (low, high) == (5, 13)
    assert (row["after"], row["ci95"], row["n"]) == (9.0, [low, high], n)


def test_what_is_no_number_has_no_median():
    row = median_row("x", "target", torch.tensor([0.1, math.nan, math.inf]), "lower")
    assert (row["after"], row["ci95"], row["n"], row["reason"]) == (None, None, 0, "2 of 3 values are no numbers")


# By hand: pairs of shares.


def pairs(both: int, second: int, first: int, neither: int) -> tuple[Tensor, Tensor]:
    """(before, after) by how many pairs are 1 in both, in the second only, in the first only, in neither."""
    before = [1.0] * both + [0.0] * second + [1.0] * first + [0.0] * neither
    after = [1.0] * (both + second) + [0.0] * (first + neither)
    return torch.tensor(before), torch.tensor(after)


def test_the_difference_of_pairs_by_hand():
    """8 of 10 before, 4 of those after, no new one: a, b, c, d = 4, 0, 4, 2 and p - q = 0.4 - 0.8. Wilson: 4 of 10 in [.16818, .68733],
    8 of 10 in [.49016, .94332]. φ = (ad - bc - n/2) / √(4·6·8·2) = (8 - 5) / 19.596 = .15309.

        low   -0.4 - √(.23182² - 2φ·.23182·.14332 + .14332²) = -0.4 - √(.05374 - .01017 + .02054) = -0.4 - .25320
        high  -0.4 + √(.28733² - 2φ·.28733·.30984 + .30984²) = -0.4 + √(.08256 - .02726 + .09600) = -0.4 + .38898
    """
    before, after = pairs(4, 0, 4, 2)
    assert difference(before, after) == {"value": -0.4, "ci95": [pytest.approx(-0.6532, abs=1e-4), pytest.approx(-0.0110, abs=1e-4)]}
    nan = torch.tensor([math.nan])
    more = torch.cat([before, nan, torch.ones(1)]), torch.cat([after, torch.ones(1), nan])
    assert difference(*more) == difference(before, after), "half a pair is none"


def test_the_difference_of_pairs_as_published():
    """Complete response before and after consolidation (Cavo et al. 2012): 59, 6, 16, 80. Newcombe's square-and-add interval in Fagerland,
    Lydersen & Laake's Statistical Analysis of Contingency Tables, chapter 8 (as the R package contingencytables prints it): -0.0621, from
    -0.1186 to -0.0046."""
    assert difference(*pairs(59, 6, 16, 80)) == {"value": -0.0621, "ci95": [-0.1186, -0.0046]}


def test_the_difference_of_pairs_at_the_ends():
    """Nothing of n is left: φ is 0, for one of its margins is empty. p - q = -1; Wilson says 0 of 8 is in [0, .3244], 8 of 8 in [.6756, 1]:
    high = -1 + √(.3244² + .3244²) = -.5412."""
    assert difference(*pairs(0, 0, 8, 0)) == {"value": -1.0, "ci95": [-1.0, pytest.approx(-0.5412, abs=1e-4)]}


# By hand: other models' judges.


def stub_clip(looks: list, reads: dict[str, tuple], scale: float = 1.0) -> Clip:
    """A CLIP whose features are given: of the pictures in their order, of texts by the text."""
    clip = object.__new__(Clip)
    clip.name, clip.model = "stub", SimpleNamespace(logit_scale=torch.tensor(scale).log())
    clip.look = lambda pictures, batch=32: torch.tensor(looks)
    clip.read = lambda texts: torch.tensor([reads[text] for text in texts])
    return clip


def test_the_clip_score_by_hand():
    """Pictures at (.6, .8); a text at (1, 0) has the cosine .6 with it, one at (0, 1) .8, one at (-.8, .6) 0, its opposite -1."""
    reads = {"a pig": (1.0, 0.0), "a cow": (0.0, 1.0), "a tree": (-0.8, 0.6), "nothing": (-0.6, -0.8)}
    clip = stub_clip([(0.6, 0.8)] * 4, reads)
    torch.testing.assert_close(clip.agreement(flat(*[0.0] * 4), list(reads)), torch.tensor([0.6, 0.8, 0.0, -1.0]))
    names = {"a photo of a pig": (1.0, 0.0), "a photo of a cow": (0.0, 1.0)}
    own = [Ask(prompt, "target", "pig") for prompt in ("a pig", "a cow", "a tree")]
    plain = Plain([Concept(erase="pig", alternative="cow")], (), {}, own, stub_clip([(0.6, 0.8)] * 3, reads | names))
    found = scores(plain, flat(0.0, 0.0, 0.0), flat(0.0, 0.0, 0.0))
    row = find(found, "CLIP score, cosine, stub", "target")
    assert (row["before"], row["after"], row["n"], row["better"]) == (pytest.approx(0.6), pytest.approx(0.6), 3, "higher"), "the median"


def test_zero_shot_probabilities_by_hand():
    """Cosines .6 and .8 at a scale of 5 ln 3: the logits are ln 3 apart, so the probabilities are 1/4 and 3/4."""
    clip = stub_clip([(0.6, 0.8)], {"a photo of a pig": (1.0, 0.0), "a photo of an owl": (0.0, 1.0)}, scale=5 * math.log(3))
    torch.testing.assert_close(clip(flat(0.0), ["pig", "owl"]), torch.tensor([[0.25, 0.75]]))


def test_the_marks_of_any_judge_by_hand():
    """The names are pig, hog, cow, cat; what has the highest probability is seen. A synonym is the concept; an alternative is looked for
    where one is asked for; a question without a name has no right answer."""
    said = torch.tensor([
        [0.4, 0.3, 0.2, 0.1],  # target: the concept
        [0.2, 0.5, 0.2, 0.1],  # target: by its other name
        [0.1, 0.2, 0.6, 0.1],  # target: what was to come instead
        [0.1, 0.2, 0.6, 0.1],  # synonym, that asks for nothing instead
        [0.1, 0.1, 0.1, 0.7],  # implied: something else
        [0.1, 0.1, 0.1, 0.7],  # unrelated: a cat
        [0.3, 0.2, 0.3, 0.2],  # unrelated: no cat
        [0.1, 0.1, 0.1, 0.7],  # the user's own
    ])  # fmt: skip
    own = [
        *[Ask("a pig", "target", "pig", instead="a cow")] * 3, Ask("a hog", "synonym", "pig"), Ask("a farm animal", "implied", "pig"),
        *[Ask("a cat", "unrelated", "cat")] * 2, Ask("a cat at dawn", "unrelated", "", way="own"),
    ]  # fmt: skip
    asked = []
    judge = lambda pictures, names: asked.append(list(names)) or said
    plain = Plain([Concept(erase="pig", synonyms=("hog",), alternative="cow")], ("cat",), {}, own, judge)
    marks = plain.marks(flat(*[0.0] * 8))
    nan, check = math.nan, lambda name, *marked: torch.testing.assert_close(marks[name], torch.tensor(marked), equal_nan=True)
    assert asked == [["pig", "hog", "cow", "cat"]]
    check("concept", 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    check("alternative", 0.0, 0.0, 1.0, nan, nan, nan, nan, nan)
    check("right", nan, nan, nan, nan, nan, 1.0, 0.0, nan)
    assert plain.values(flat(*[0.0] * 8)) == {}, "this judge reads no prompts"
    said = torch.cat([said, torch.full((8, 1), 0.55)], 1)  # a column more: none of them, where it is the highest
    marks = plain.marks(flat(*[0.0] * 8))
    check("concept", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    check("alternative", 0.0, 0.0, 1.0, nan, nan, nan, nan, nan)
    check("right", nan, nan, nan, nan, nan, 1.0, 0.0, nan)
    assert Plain(plain.concepts, ("cat",), {}, own).marks(flat(*[0.0] * 8)) == {}


# By hand: the embedded model's judge and its exam.


class Fixed(nn.Module):
    def __init__(self, output: Tensor):
        super().__init__()
        self.output = output

    def forward(self, pictures: Tensor) -> Tensor:
        return self.output.expand(len(pictures), *self.output.shape[1:])


def test_a_logit_is_the_log_of_a_mean_by_hand():
    """The score of class 0 is ln 3 on the left half and ln 1 on the right one: over the whole ln((3 + 1) / 2), over the halves ln 3, 0."""
    judge, score = Judge(), torch.zeros(1, 128, 8, 8)
    score[:, 0, :, :4] = math.log(3)
    judge.features, judge.objects = Fixed(score), nn.Identity()
    said = judge(torch.zeros(1, 3, 64, 64))
    assert [said[area][0, 0].item() for area in ("whole", "left", "right")] == pytest.approx([math.log(2), math.log(3), 0.0], abs=1e-6)


def test_the_verdict_by_hand():
    """Pig against cow, nothing else is possible. First picture: 9 to 1, and in the mirror 1 to 1; the mean of the logits is √9 to 1: a pig,
    for .75 ≥ .6. Second: 5 to 4 in both, .5556 < .6: none is seen, a pig is suspected. What is left in the mirror is right outside."""
    pig, cow, key = WORD("pig"), WORD("cow"), WORD("key")
    first, second = torch.zeros(3, 64, 64), torch.ones(3, 64, 64)
    first[..., 32:] = 0.5  # its brighter half is the right one, in the mirror the left one

    def say(pictures: Tensor) -> dict[str, Tensor]:
        out = {area: torch.full((len(pictures), NONE + 1), -1e4) for area in ("whole", "left", "right")}
        for i, p in enumerate(pictures):
            as_it_is, mirrored = p[..., 32:].mean() > p[..., :32].mean(), p[..., 32:].mean() < p[..., :32].mean()
            odds = (9, 1) if as_it_is else (1, 1) if mirrored else (5, 4)
            out["whole"][i, [pig, cow]] = torch.tensor(odds).float().log()
            out["left"][i, key if mirrored else pig] = out["right"][i, pig if mirrored else key] = 0.0
        manner = torch.zeros(len(pictures), len(world.STYLES))
        manner[:, STYLE("neon")] = 1.0
        return {**out, "style": manner, "colour": -torch.arange(len(world.COLOURS)).float().expand(len(pictures), -1)}

    net = Judge()
    net.forward = say
    seen = net.look(torch.stack([first, second]))
    assert (seen.whole.tolist(), seen.guess["whole"].tolist()) == ([pig, NONE], [pig, pig])
    torch.testing.assert_close(seen.objects[:, [pig, cow]], torch.tensor([[3 / 4, 1 / 4], [5 / 9, 4 / 9]]))
    assert (seen.left[0], seen.right[0]) == (pig, key)
    assert (seen.style.tolist(), seen.colour.tolist()) == ([STYLE("neon")] * 2, [0, 0])


def judged(monkeypatch, sights: list[dict]) -> None:
    """The exam's judge sees these: the word of an object in `whole`, `left` and `right` (None: none of these), `guess` of the same where it
    differs, style, colour, and the probabilities of some objects."""
    index = lambda word: NONE if word is None else WORD(word)
    area = lambda name, *more: torch.tensor([index(next((s[k] for k in (*more, name) if k in s), None)) for s in sights])
    objects = torch.zeros(len(sights), NONE + 1)
    for i, s in enumerate(sights):
        for word, p in s.get("objects", {}).items():
            objects[i, index(word)] = p
    seen = Verdict(
        whole=area("whole"), left=area("left"), right=area("right"), objects=objects,
        guess={name: area(name, f"guess {name}") for name in ("whole", "left", "right")},
        style=torch.tensor([STYLE(s.get("style", "cartoon")) for s in sights]),
        colour=torch.tensor([COLOUR(s.get("colour", "white")) for s in sights]),
    )  # fmt: skip
    monkeypatch.setattr(exam, "load_judge", lambda: SimpleNamespace(look=lambda pictures: seen))


def test_the_marks_of_the_exam_by_hand(monkeypatch):
    """pig → cow and neon → sepia. Beside each question, what is seen and why it gets what it gets; marks in the order concept, alternative,
    right, other, style, background, all; "-": does not apply."""
    scene, farm, nan = dict(object=WORD("pig"), other=WORD("key"), way="scene"), "a farm animal", math.nan
    table = [
        # Not seen, only suspected: it counts as the concept, and not as right. The key is there; nothing else was asked for.
        (Question("a pig and a key", "target", "pig", **scene), dict(left=None, right="key", **{"guess left": "pig"}), "1 0 0 1 - - 1"),
        # Both halves, whichever side: the alternative is there, and so is the key.
        (Question("a pig and a key", "target", "pig", **scene), dict(left="key", right="cow"), "0 1 0 1 - - 1"),
        # The whole picture is not asked about where there are two.
        (Question("a hog and a key", "synonym", "pig", **scene), dict(whole="pig", left="fox", right="fox"), "0 0 0 0 - - 0"),
        # The style is kept, the background is not: not all.
        (
            Question("a pixel art of a pig on blue", "target", "pig", WORD("pig"), style=STYLE("pixel art"), colour=COLOUR("blue")),
            dict(whole="cow", style="pixel art", colour="pink"),
            "0 1 0 - 1 0 0",
        ),
        # What may imply it names nothing to come instead, and nothing that would be right.
        (Question(farm, "implied", "pig", way="plain"), dict(whole="cow"), "0 - - - - - -"),
        # A style that goes is no style that stays: of "style" nothing is asked; the object is not what the question is about.
        (Question("a neon car", "target", "neon", WORD("car"), style=STYLE("neon")), dict(whole="fox", style="sepia"), "0 1 0 - - - -"),
        (Question("a neon car", "target", "neon", WORD("car"), style=STYLE("neon")), dict(whole="car", style="neon"), "1 0 1 - - - -"),
        # What stays: the concept is looked for all the same. Its object is there, its style is another; suspected is not right.
        (Question("a halftone horse", "neighbour", "horse", WORD("horse"), style=STYLE("halftone")), dict(whole="horse"), "0 - 1 - 0 - 0"),
        (Question("a horse", "neighbour", "horse", WORD("horse")), {"whole": None, "guess whole": "horse"}, "0 - 0 - - - 0"),
        # Nobody asked for a pig, and one is suspected; nobody asked for neon, and so the car is drawn.
        (Question("a dog", "unrelated", "dog", WORD("dog")), {"whole": None, "guess whole": "pig"}, "1 - 0 - - - 0"),
        (Question("a car", "unrelated", "car", WORD("car")), dict(whole="car", style="neon"), "1 - 1 - - - 1"),
        # Another style: right is the style.
        (Question("sepia car", "neighbour", "sepia", WORD("car"), style=STYLE("sepia")), dict(whole="bus", style="sepia"), "0 - 1 - 1 - 1"),
        (
            Question("a bus and a key on a red background", "unrelated", "bus", WORD("bus"), WORD("key"), colour=COLOUR("red")),
            dict(left="key", right="bus", colour="red"),
            "0 - 1 1 - 1 1",
        ),
    ]  # fmt: skip
    judged(monkeypatch, [sight for _, sight, _ in table])
    asked = Exam(
        [Concept(erase="pig", alternative="cow"), Concept(erase="neon", alternative="sepia", kind="style")], {}, own=[q for q, *_ in table]
    )
    marks = asked.marks(torch.zeros(len(table), 3, 64, 64))
    assert list(marks) == ["concept", "alternative", "right", "other", "style", "background", "all"]
    for i, (q, _, wanted) in enumerate(table):
        got = torch.stack([mark[i] for mark in marks.values()])
        torch.testing.assert_close(
            got, torch.tensor([nan if w == "-" else float(w) for w in wanted.split()]), equal_nan=True, msg=f"{i}: {q} {got}"
        )


def test_the_confidence_of_the_judge_by_hand(monkeypatch):
    """The largest probability of an object: .7, whatever is left; "none of these" is no object, however sure the judge is of it."""
    judged(monkeypatch, [{"objects": {"pig": 0.7, "cow": 0.2, None: 0.1}}, {"objects": {"pig": 0.06, "cow": 0.04, None: 0.9}}])
    asked = Exam([Concept(erase="pig")], {}, own=[Question("a pig", "target", "pig", WORD("pig"))] * 2)
    torch.testing.assert_close(asked.values(torch.zeros(2, 3, 64, 64))["confidence of the judge"], torch.tensor([0.7, 0.06]))


# By hand: whole sets.


class Mean:
    name = "mean"

    def __call__(self, pictures: Tensor) -> Tensor:
        return pictures.mean((1, 2, 3))[:, None]


def test_the_distance_to_the_alternative_by_hand():
    """(x·y/D + 1)³ with D = 1: ones among themselves 8, halves 1.25³, across 1.5³. Before, halves to ones: 8 + 1.953125 - 2 · 3.375 =
    3.203125. After, ones to ones: 0. Pictures of questions that have no alternative, and of other groups, are left out."""
    own = [*[Ask("a pig", "target", "pig", instead="a cow")] * 16, Ask("a pig", "target", "pig"), Ask("a cat", "unrelated", "cat")]
    plain = SimpleNamespace(questions=own, real=lambda group: None)
    spread = lambda grey: flat(*[grey] * 15, grey + 1e-4)  # for of features that are all the same nothing is said
    before, after = (torch.cat([spread(grey), flat(0.2, 0.2)]) for grey in (0.5, 1.0))
    rows = distances(plain, before, after, Mean(), lambda: (spread(1.0), spread(1.0)))
    row = find(rows, "KID mean to the alternative's own pictures", "target")
    assert (row["before"], row["after"], row["n"]) == (pytest.approx(3.203125, abs=1e-2), pytest.approx(0.0, abs=1e-3), 16)
    assert find(rows, "control: KID mean to the alternative's own pictures, those themselves", "structure")["after"] == pytest.approx(
        0.0, abs=1e-3
    )


# The right way: four edits of a model that draws.


@cache
def draw(q: Question, seed: int) -> Tensor:
    """What a question asks for [3, 64, 64]: drawings of one of the atlas's hands, mirrored and moved as the seed says."""
    label = np.array((q.object, q.other, max(q.style, 0), max(q.colour, 0)), drawings.LABELS)[()]
    return torch.from_numpy(drawings.picture(label, np.random.default_rng(seed))).permute(2, 0, 1) / 255


def ask(group: str, word: str, other: str = "", style: str = "", colour: str = "", way: str = "plain") -> Question:
    """hog and farm animal: what they are drawn as is a pig."""
    says = lambda word: f"a {style or 'picture'} of a {word}{other and f' and a {other}'}{colour and f' on a {colour} background'}"
    pig, index = word in ("pig", "hog", "farm animal"), lambda find, word: find(word) if word else -1
    drawn = "pig" if pig else word
    return Question(
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

    does: Callable[[Question, int, Tensor], Tensor]
    drifts: float

    @contextmanager
    def on(self, model):
        model.edit = self
        yield
        model.edit = EDITS["nothing"]

    def fingerprint(self) -> str:
        return ""


def noisy(q: Question, seed: int, picture: Tensor, size: float = 0.07) -> Tensor:
    return (picture + size * torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))).clamp(0, 1)


def another(q: Question, seed: int, picture: Tensor) -> Tensor:
    """Something else, from another seed: a cow for the pig and a pig for all else, beside a gem, in another style, on another colour."""
    thing = WORD("pig" if q.object != WORD("pig") else "gem" if q.group == "implied" else "cow")
    style, other = STYLE("cartoon" if q.style > 0 else "sepia"), WORD("gem") if q.other >= 0 else -1
    return draw(replace(q, object=thing, other=other, style=style, colour=(max(q.colour, 0) + 5) % len(COLOURS)), seed + 1)


def aimed(q: Question, seed: int, picture: Tensor) -> Tensor:
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

    def sample(self, prompts, seeds, *, steps, guidance, sampler):
        made = [self.edit.does(q, seed, draw(q, seed)) for q, seed in zip((self.asked[p] for p in prompts), seeds)]
        return torch.stack(made).roll(self.samplers.index(sampler), 3)

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


CONCEPT = exam.complete(Concept(erase="pig", alternative="cow"))
EXAM = Exam([CONCEPT], {}, own=[replace(q, object=-1) if q.group == "implied" else q for q in ASKED])


@pytest.fixture(scope="module")
def found(judge) -> dict[str, Evaluation]:
    """By edit: every row that `evaluate` gives with the embedded model's judge, and those of the same pictures by any judge. The changes of
    pairs are slow: not again where they are the same, nor of the edit that only ratios and distances are asked of."""
    plain = Plain([CONCEPT], world.WORDS, {}, [Ask(q.prompt, q.group, q.name, q.way, q.instead) for q in ASKED], Reader())
    out = {}
    for name, edit in EDITS.items():
        with pytest.MonkeyPatch.context() as patch:
            if name == "aimed":
                patch.setattr("unconcept.scores.CHANGES", {})
            made = evaluate(Drawn(), edit, EXAM, controls=4, features=Cells())
            patch.setattr("unconcept.scores.CHANGES", {})
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
        values = [find(found[edit].rows, row["name"], row["group"])["after"] for edit in GROWS[name]]
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
    selective = lambda edit: find(found[edit].rows, "selectivity, pixel change of target / unrelated", "structure")
    assert selective("nothing") is None
    assert 0.5 < selective("noise")["after"] < 2
    assert 0.5 < selective("others")["after"] < 2
    assert selective("aimed")["ci95"][0] > 5


def test_the_judge_believes_more_noise_less(judge):
    """Of more and more noise: what is right, and all that is asked for; and how sure the judge is. Of nothing but noise, no part of it."""
    pictures = torch.stack([draw(q, seed) for seed, q in enumerate(EXAM.questions)])
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
    made, seed = found["nothing"], find(found["nothing"].rows, f"control, another seed: {PIXELS}", "structure")["after"]
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
