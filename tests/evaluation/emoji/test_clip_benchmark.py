"""Benchmark of `emoji-video`: its prompts, and marks by the judges of frames and of motions."""

import numpy as np
import pytest
import torch

from unconcept import Concept
from unconcept.evaluation.clip_benchmark import clip_scores
from unconcept.evaluation.emoji import clip_benchmark
from unconcept.evaluation.emoji.cases import EmojiCase
from unconcept.evaluation.emoji.clip_benchmark import EmojiClipBenchmark, MovingEmojiPrompts
from unconcept.evaluation.emoji.clip_cases import ClipCaseWriter, named_motion
from unconcept.evaluation.emoji.motion_judge import NAMES
from unconcept.evaluation.emoji.moving import render_clip, visible_frames
from unconcept.models.emoji.concepts import complete, complete_motion
from unconcept.models.emoji.motions import ROUND, TRAINED
from unconcept.models.emoji.vocabulary import COLOURS, OBJECTS, WORDS

COUNTS = {"target": 8, "synonym": 4, "neighbour": 7, "unrelated": 24}

PIG = complete(Concept.parse("pig=cow"))

SPIN = complete_motion(Concept.parse("spinning=standing still"))


def test_prompts_about_an_object_name_motions():
    cases = ClipCaseWriter([PIG]).write(COUNTS)
    assert {named_motion(case) for case in cases} == {*TRAINED, ""}
    for case in cases:
        moves = bool(named_motion(case))
        assert moves == (case.way in ("plain", "colour")), "styles and scenes stand still"
        if named_motion(case) == "spin":
            assert OBJECTS[case.object].word not in ROUND
        if case.group == "target":
            assert case.instead == case.prompt.replace("a pig", "a cow")


def test_prompts_about_a_motion_name_it_and_its_neighbours_the_others():
    cases = ClipCaseWriter([SPIN]).write(COUNTS)
    by_group: dict[str, list] = {}
    for case in cases:
        by_group.setdefault(case.group, []).append(case)
    for case in by_group["target"]:
        assert case.prompt.endswith(", spinning")
        assert case.instead == case.prompt.replace("spinning", "standing still")
    assert all(case.prompt.endswith(", turning around") for case in by_group["synonym"])
    assert {named_motion(case) for case in by_group["neighbour"]} == set(TRAINED) - {"spin"}
    assert not any(named_motion(case) for case in by_group["unrelated"])


def test_frames_that_the_judge_of_images_does_not_know():
    assert visible_frames("grow") == [False] * 4 + [True] * 4
    assert visible_frames("shrink") == [True] * 4 + [False] * 4
    assert visible_frames("spin") == [True] + [False] * 7, "the others are not upright"
    assert all(visible_frames("left"))


class MotionJudge:
    """A judge with fixed answers."""

    def __init__(self, *motions: str):
        self.motions = [(*NAMES, "none").index(motion) for motion in motions]

    def look(self, clips):
        return torch.tensor(self.motions)

    def probabilities(self, clips):
        return torch.nn.functional.one_hot(torch.tensor(self.motions), len(NAMES) + 1).float()


def case_of(group: str, name: str, prompt: str, word: str, colour: str) -> EmojiCase:
    return EmojiCase(
        prompt,
        group,
        name,
        object=WORDS.index(word),
        colour=list(COLOURS).index(colour),
    )


def drawn(word: str, motion: str, colour: str) -> torch.Tensor:
    rng = np.random.default_rng(0)
    clip = render_clip(WORDS.index(word), motion, list(COLOURS).index(colour), rng)
    return torch.from_numpy(clip).permute(0, 3, 1, 2).float() / 255


@pytest.fixture
def motions_seen(monkeypatch):
    def see(*motions: str) -> None:
        monkeypatch.setattr(clip_benchmark, "load_motion_judge", lambda: MotionJudge(*motions))

    return see


def test_an_object_is_erased_and_its_motion_stays(motions_seen):
    motions_seen("left", "none")
    cases = [
        case_of("target", "pig", "a pig on a blue background, moving to the left", "pig", "blue"),
        case_of("unrelated", "bus", "a bus on a green background, growing", "bus", "green"),
    ]
    benchmark = EmojiClipBenchmark(MovingEmojiPrompts([PIG], {}, added=cases))
    before = torch.stack([drawn("pig", "left", "blue"), drawn("bus", "grow", "green")])
    after = torch.stack([drawn("cow", "left", "blue"), drawn("bus", "grow", "green")])
    mixed = torch.cat([after[:1, :-1], before[:1, -1:]], 1)  # the pig is back in the last frame
    marks = benchmark.marks(torch.cat([mixed, after[1:]]))
    assert marks["concept"].tolist() == [1, 0]
    assert marks["late return"][0] == 1
    assert marks["alternative"][0] == 1, "in most frames"
    assert marks["right"][1] == 1
    assert marks["motion"].tolist() == [1, 0]
    assert marks["background"].tolist() == [1, 1]
    assert marks["object"].isnan().all()
    assert benchmark.marks(after)["concept"].tolist() == [0, 0]
    assert benchmark.marks(before)["concept"].tolist() == [1, 0]


def test_a_motion_is_erased_and_its_object_stays(motions_seen):
    motions_seen("still", "left", "spin")
    cases = [
        case_of("target", "spinning", "a pig on a blue background, spinning", "pig", "blue"),
        case_of("neighbour", "moving to the left", "a bus, moving to the left", "bus", "green"),
        case_of("unrelated", "bus", "a bus on a green background", "bus", "green"),
    ]
    benchmark = EmojiClipBenchmark(MovingEmojiPrompts([SPIN], {}, added=cases))
    clips = torch.stack(
        [drawn("pig", "still", "blue"), drawn("bus", "left", "green"), drawn("bus", "up", "green")]
    )
    marks = benchmark.marks(clips)
    assert marks["concept"].tolist() == [0, 0, 1], "by the judge of motions alone"
    assert marks["alternative"][0] == 1
    assert marks["object"][:2].tolist() == [1, 1]
    assert marks["right"][1:].tolist() == [1, 1], "the motion of one, the object of the other"
    assert marks["late return"].isnan().all(), "frames do not tell a motion"
    first = benchmark.judgements(clips)[0]
    assert (first.name, first.frames[0].name) == ("standing still", "pig")
    names = {score.name for score in clip_scores(benchmark, clips, clips)}
    assert "object, share of frames" in names
    assert "concept, share of frames" not in names


def test_without_the_judge_of_motions_they_are_not_scored(monkeypatch, caplog, tmp_path):
    from unconcept.evaluation.emoji import motion_judge

    motion_judge.load_motion_judge.cache_clear()
    monkeypatch.setattr(motion_judge, "WEIGHTS", tmp_path / "missing.safetensors")
    cases = [case_of("target", "spinning", "a pig, spinning", "pig", "blue")]
    benchmark = EmojiClipBenchmark(MovingEmojiPrompts([SPIN], {}, added=cases))
    assert "motions are not scored" in caplog.text
    assert benchmark.marks(drawn("pig", "spin", "blue")[None])["concept"].isnan().all()
