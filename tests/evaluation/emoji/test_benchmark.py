"""The embedded model's judge and its exam, worked by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from unconcept.concepts.concept import Concept
from unconcept.evaluation.emoji import benchmark as exam
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark, EmojiCase
from unconcept.evaluation.emoji.judge import NONE, Judge, Verdict
from unconcept.models.emoji import vocabulary as world

WORD, STYLE, COLOUR = world.WORDS.index, world.STYLES.index, list(world.COLOURS).index


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
        (EmojiCase("a pig and a key", "target", "pig", **scene), dict(left=None, right="key", **{"guess left": "pig"}), "1 0 0 1 - - 1"),
        # Both halves, whichever side: the alternative is there, and so is the key.
        (EmojiCase("a pig and a key", "target", "pig", **scene), dict(left="key", right="cow"), "0 1 0 1 - - 1"),
        # The whole picture is not asked about where there are two.
        (EmojiCase("a hog and a key", "synonym", "pig", **scene), dict(whole="pig", left="fox", right="fox"), "0 0 0 0 - - 0"),
        # The style is kept, the background is not: not all.
        (
            EmojiCase("a pixel art of a pig on blue", "target", "pig", object=WORD("pig"), style=STYLE("pixel art"), colour=COLOUR("blue")),
            dict(whole="cow", style="pixel art", colour="pink"),
            "0 1 0 - 1 0 0",
        ),
        # What may imply it names nothing to come instead, and nothing that would be right.
        (EmojiCase(farm, "implied", "pig", way="plain"), dict(whole="cow"), "0 - - - - - -"),
        # A style that goes is no style that stays: of "style" nothing is asked; the object is not what the question is about.
        (EmojiCase("a neon car", "target", "neon", object=WORD("car"), style=STYLE("neon")), dict(whole="fox", style="sepia"), "0 1 0 - - - -"),
        (EmojiCase("a neon car", "target", "neon", object=WORD("car"), style=STYLE("neon")), dict(whole="car", style="neon"), "1 0 1 - - - -"),
        # What stays: the concept is looked for all the same. Its object is there, its style is another; suspected is not right.
        (EmojiCase("a halftone horse", "neighbour", "horse", object=WORD("horse"), style=STYLE("halftone")), dict(whole="horse"), "0 - 1 - 0 - 0"),
        (EmojiCase("a horse", "neighbour", "horse", object=WORD("horse")), {"whole": None, "guess whole": "horse"}, "0 - 0 - - - 0"),
        # Nobody asked for a pig, and one is suspected; nobody asked for neon, and so the car is drawn.
        (EmojiCase("a dog", "unrelated", "dog", object=WORD("dog")), {"whole": None, "guess whole": "pig"}, "1 - 0 - - - 0"),
        (EmojiCase("a car", "unrelated", "car", object=WORD("car")), dict(whole="car", style="neon"), "1 - 1 - - - 1"),
        # Another style: right is the style.
        (EmojiCase("sepia car", "neighbour", "sepia", object=WORD("car"), style=STYLE("sepia")), dict(whole="bus", style="sepia"), "0 - 1 - 1 - 1"),
        (
            EmojiCase("a bus and a key on a red background", "unrelated", "bus", object=WORD("bus"), other=WORD("key"), colour=COLOUR("red")),
            dict(left="key", right="bus", colour="red"),
            "0 - 1 1 - 1 1",
        ),
    ]  # fmt: skip
    judged(monkeypatch, [sight for _, sight, _ in table])
    asked = EmojiBenchmark(
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
    asked = EmojiBenchmark([Concept(erase="pig")], {}, own=[EmojiCase("a pig", "target", "pig", object=WORD("pig"))] * 2)
    torch.testing.assert_close(asked.values(torch.zeros(2, 3, 64, 64))["confidence of the judge"], torch.tensor([0.7, 0.06]))
