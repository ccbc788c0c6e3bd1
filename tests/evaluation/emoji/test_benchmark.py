"""The embedded model's judge and its benchmark, worked out by hand."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from unconcept.concepts.concept import Concept
from unconcept.evaluation.emoji import benchmark
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark, EmojiCase
from unconcept.evaluation.emoji.judge import NONE, Judge, Verdict
from unconcept.models.emoji import vocabulary

OBJECT = vocabulary.WORDS.index
STYLE = vocabulary.STYLES.index
COLOUR = list(vocabulary.COLOURS).index

PIG_TO_COW = Concept(erase="pig", alternative="cow")
NEON_TO_SEPIA = Concept(erase="neon", alternative="sepia", kind="style")


class Fixed(nn.Module):
    def __init__(self, output: Tensor):
        super().__init__()
        self.output = output

    def forward(self, images: Tensor) -> Tensor:
        return self.output.expand(len(images), *self.output.shape[1:])


def test_a_logit_is_the_log_of_a_mean_by_hand():
    """The score of class 0 is ln 3 on the left half and ln 1 on the right half.

    Over the whole that gives ln((3 + 1) / 2), over the halves ln 3 and 0.
    """
    judge, scores = Judge(), torch.zeros(1, 128, 8, 8)
    scores[:, 0, :, :4] = math.log(3)
    judge.features, judge.objects = Fixed(scores), nn.Identity()
    logits = judge(torch.zeros(1, 3, 64, 64))
    values = [logits[area][0, 0].item() for area in ("whole", "left", "right")]
    assert values == pytest.approx([math.log(2), math.log(3), 0.0], abs=1e-6)


def test_the_verdict_by_hand():
    """Pig against cow; nothing else is possible.

    First image: 9 to 1, and 1 to 1 in its mirror image. The mean of the logits is √9 to 1, a
    probability of 0.75 ≥ 0.6: a pig. Second image: 5 to 4 in both, 0.5556 < 0.6: nothing is seen, a
    pig is suspected. What is left in the mirror image is right in the image.
    """
    pig, cow, key = OBJECT("pig"), OBJECT("cow"), OBJECT("key")
    first, second = torch.zeros(3, 64, 64), torch.ones(3, 64, 64)
    first[..., 32:] = 0.5  # its brighter half is the right one, in the mirror image the left one

    def logits(images: Tensor) -> dict[str, Tensor]:
        areas = {}
        for area in ("whole", "left", "right"):
            areas[area] = torch.full((len(images), NONE + 1), -1e4)
        for i, image in enumerate(images):
            left, right = image[..., :32].mean(), image[..., 32:].mean()
            odds = (9, 1) if right > left else (1, 1) if right < left else (5, 4)
            areas["whole"][i, [pig, cow]] = torch.tensor(odds).float().log()
            areas["left"][i, key if right < left else pig] = 0.0
            areas["right"][i, pig if right < left else key] = 0.0
        style = torch.zeros(len(images), len(vocabulary.STYLES))
        style[:, STYLE("neon")] = 1.0
        colour = -torch.arange(len(vocabulary.COLOURS)).float().expand(len(images), -1)
        return {**areas, "style": style, "colour": colour}

    judge = Judge()
    judge.forward = logits
    verdict = judge.look(torch.stack([first, second]))
    assert verdict.whole.tolist() == [pig, NONE]
    assert verdict.guess["whole"].tolist() == [pig, pig]
    probabilities = torch.tensor([[3 / 4, 1 / 4], [5 / 9, 4 / 9]])
    torch.testing.assert_close(verdict.objects[:, [pig, cow]], probabilities)
    assert (verdict.left[0], verdict.right[0]) == (pig, key)
    assert (verdict.style.tolist(), verdict.colour.tolist()) == ([STYLE("neon")] * 2, [0, 0])


@dataclass(frozen=True)
class Seen:
    """What the judge sees in an image: words of objects, None for none of these.

    guess  by area, where it is not what is seen there
    """

    whole: str | None = None
    left: str | None = None
    right: str | None = None
    guess: Mapping[str, str] = field(default_factory=dict)
    style: str = "cartoon"
    colour: str = "white"
    objects: Mapping[str | None, float] = field(default_factory=dict)


def index(word: str | None) -> int:
    return NONE if word is None else OBJECT(word)


def judge_that_sees(monkeypatch, images: Sequence[Seen]) -> None:
    """Make the benchmark's judge see these, whatever the images are."""
    seen, guess = {}, {}
    for area in ("whole", "left", "right"):
        words = [getattr(image, area) for image in images]
        seen[area] = torch.tensor([index(word) for word in words])
        guesses = [image.guess.get(area, word) for image, word in zip(images, words)]
        guess[area] = torch.tensor([index(word) for word in guesses])
    objects = torch.zeros(len(images), NONE + 1)
    for i, image in enumerate(images):
        for word, probability in image.objects.items():
            objects[i, index(word)] = probability
    verdict = Verdict(
        **seen,
        guess=guess,
        objects=objects,
        styles=torch.zeros(len(images), 11),
        style=torch.tensor([STYLE(image.style) for image in images]),
        colour=torch.tensor([COLOUR(image.colour) for image in images]),
    )
    judge = SimpleNamespace(look=lambda images: verdict)
    monkeypatch.setattr(benchmark, "load_judge", lambda: judge)


def case(prompt: str, group: str, name: str, **content: str) -> EmojiCase:
    """A case; its content (object, other, style, colour) by words."""
    find = {"object": OBJECT, "other": OBJECT, "style": STYLE, "colour": COLOUR}
    return EmojiCase(prompt, group, name, **{key: find[key](word) for key, word in content.items()})


SCENE = case("a pig and a key", "target", "pig", object="pig", other="key")
STYLED = case(
    "a pixel art of a pig on blue", "target", "pig", object="pig", style="pixel art", colour="blue"
)
NEON_CAR = case("a neon car", "target", "neon", object="car", style="neon")
HORSE = case("a halftone horse", "neighbour", "horse", object="horse", style="halftone")
PLAIN_HORSE = case("a horse", "neighbour", "horse", object="horse")
CAR = case("a car", "unrelated", "car", object="car")
SEPIA_CAR = case("sepia car", "neighbour", "sepia", object="car", style="sepia")
BUS = case("a bus and a key on red", "unrelated", "bus", object="bus", other="key", colour="red")

# Cases, what is seen, and the marks: concept, alternative, right, other, style, background, all.
# "-" does not apply.
TABLE = (
    # The pig is only suspected: that counts as the concept, and not as right. The key is there, and
    # nothing else was prompted for.
    (SCENE, Seen(left=None, right="key", guess={"left": "pig"}), "1 0 0 1 - - 1"),
    # Either half may show the alternative; the key is in the other one.
    (SCENE, Seen(left="key", right="cow"), "0 1 0 1 - - 1"),
    # The whole image does not count where there are two objects.
    (
        case("a hog and a key", "synonym", "pig", object="pig", other="key"),
        Seen(whole="pig", left="fox", right="fox"),
        "0 0 0 0 - - 0",
    ),
    # The style is kept, the background is not: not all.
    (STYLED, Seen(whole="cow", style="pixel art", colour="pink"), "0 1 0 - 1 0 0"),
    # What may imply the concept has no alternative, and no right answer.
    (case("a farm animal", "implied", "pig"), Seen(whole="cow"), "0 - - - - - -"),
    # An erased style is not a style to keep: there is no mark for it. The object does not count.
    (NEON_CAR, Seen(whole="fox", style="sepia"), "0 1 0 - - - -"),
    (NEON_CAR, Seen(whole="car", style="neon"), "1 0 1 - - - -"),
    # A neighbour: its object is there, in another style. The concept is looked for all the same.
    (HORSE, Seen(whole="horse"), "0 - 1 - 0 - 0"),
    # Suspected is not right.
    (PLAIN_HORSE, Seen(guess={"whole": "horse"}), "0 - 0 - - - 0"),
    # A pig or neon that was not prompted for counts as the concept.
    (
        case("a dog", "unrelated", "dog", object="dog"),
        Seen(guess={"whole": "pig"}),
        "1 - 0 - - - 0",
    ),
    (CAR, Seen(whole="car", style="neon"), "1 - 1 - - - 1"),
    # Another style as a neighbour: the style is what must be right.
    (SEPIA_CAR, Seen(whole="bus", style="sepia"), "0 - 1 - 1 - 1"),
    (BUS, Seen(left="key", right="bus", colour="red"), "0 - 1 1 - 1 1"),
)


def test_the_marks_of_the_benchmark_by_hand(monkeypatch):
    judge_that_sees(monkeypatch, [seen for _, seen, _ in TABLE])
    cases = [case for case, _, _ in TABLE]
    marks = EmojiBenchmark([PIG_TO_COW, NEON_TO_SEPIA], {}, added=cases).marks(
        torch.zeros(len(TABLE), 3, 64, 64)
    )
    assert list(marks) == [
        "concept",
        "alternative",
        "right",
        "other",
        "style",
        "background",
        "all",
    ]
    for i, (case_, _, expected) in enumerate(TABLE):
        values = torch.stack([mark[i] for mark in marks.values()])
        numbers = [math.nan if mark == "-" else float(mark) for mark in expected.split()]
        message = f"{i}: {case_} {values}"
        torch.testing.assert_close(values, torch.tensor(numbers), equal_nan=True, msg=message)


def test_the_confidence_of_the_judge_by_hand(monkeypatch):
    """The largest probability of an object; "none of these" is not an object."""
    pig = case("a pig", "target", "pig", object="pig")
    sure = Seen(objects={"pig": 0.7, "cow": 0.2, None: 0.1})
    unsure = Seen(objects={"pig": 0.06, "cow": 0.04, None: 0.9})
    judge_that_sees(monkeypatch, [sure, unsure])
    values = EmojiBenchmark([Concept(erase="pig")], {}, added=[pig] * 2).values(
        torch.zeros(2, 3, 64, 64)
    )
    torch.testing.assert_close(values["confidence of the judge"], torch.tensor([0.7, 0.06]))
