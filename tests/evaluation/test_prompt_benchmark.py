"""The prompts for a user's own model, and the judges of its images."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from unconcept.concepts.concept import Concept
from unconcept.config.options import Look
from unconcept.errors import InputError
from unconcept.evaluation import runner
from unconcept.evaluation.benchmark import PromptCase, read_prompts, truncation_warnings
from unconcept.evaluation.features import CachedFeatures, lite0
from unconcept.evaluation.prompt_benchmark import PromptBenchmark, rank_words
from unconcept.evaluation.setup import load_images, prepare
from unconcept.methods.uce import UCE
from unconcept.models.emoji.loading import Emoji, EmojiFlow
from unconcept.models.image_cache import read_image
from unconcept.reporting.image_grid import to_image
from unconcept.workflows import erasure as erasing

PIG = Concept(erase="pig", alternative="cow", synonyms=("hog", "swine"), keep=("boar",))
WORDS = ("cat", "dog", "house", "tree", "sheep", "goat", "car")


def prompts_and_names(exam, group):
    return [(q.prompt, q.name) for q in exam.cases if q.group == group]


def green(images, names):
    """Judges by the green channel: the first name where it is full, else the last."""
    return torch.stack(
        [
            images[:, 1].mean((1, 2)) * (i == 0) + 0.5 * (i == len(names) - 1)
            for i in range(len(names))
        ],
        1,
    )


def test_the_concept_and_its_synonyms_are_asked_apart():
    exam = PromptBenchmark(
        [PIG.with_(templates=("{}", "a painting of {}"))], (), {"target": 3, "synonym": 4}
    )
    assert [q.prompt for q in exam.cases if q.group == "target"] == [
        "a pig",
        "a painting of a pig",
        "a pig",
    ]
    synonyms = [q for q in exam.cases if q.group == "synonym"]
    assert [q.prompt for q in synonyms] == [
        "a hog",
        "a swine",
        "a painting of a swine",
        "a painting of a hog",
    ]
    assert {q.name for q in synonyms} == {"pig"}
    assert [q.instead for q in synonyms] == [
        "a cow",
        "a cow",
        "a painting of a cow",
        "a painting of a cow",
    ]
    assert not prompts_and_names(
        PromptBenchmark([PIG.with_(synonyms=())], (), {"synonym": 4}), "synonym"
    )


def test_long_prompts_are_one_warning():
    model = SimpleNamespace(truncated_text=lambda prompt: prompt[13:])
    concept = PIG.with_(synonyms=(), templates=("{}", "a painting of {}"))
    assert list(truncation_warnings(model, [concept])) == [
        "2 of 4 prompts of the concept are longer than the text encoder reads; "
        'in "a painting of a pig" this part is ignored: " a pig"'
    ]
    short = SimpleNamespace(truncated_text=lambda prompt: "")
    assert not list(truncation_warnings(short, [concept]))


def test_concepts_are_asked_by_turns():
    exam = PromptBenchmark([PIG, Concept(erase="fox")], (), {"target": 5, "synonym": 2})
    assert [q.name for q in exam.cases] == ["pig", "fox", "pig", "fox", "pig", "pig", "pig"], (
        "the fox has no synonym"
    )


def test_neighbours_by_hand():
    """States of two tokens and width 1, with mean (0, 0).

    Cosine with the pig: dog 0.99, cat 0.95, boar -0.71, house -0.96.
    """
    states = {
        "a pig": (1, 1),
        "a boar": (-1, 0),
        "a dog": (3, 4),
        "a cat": (1, 2),
        "a house": (-4, -7),
    }
    net = SimpleNamespace(prompt_states_key="states", vocabulary=("house", "cat", "dog"))
    net.encode = lambda prompts: {
        "states": torch.tensor([states[p] for p in prompts]).float().unsqueeze(2)
    }
    assert rank_words(net, [PIG], batch=2) == [["boar", "pig", "dog", "cat", "house"]], (
        "what is kept comes first"
    )


def test_neighbours_are_asked_one_by_one_and_not_as_unrelated():
    order = [["boar", "pig", "sheep", "goat", "cow", "dog", "cat", "house", "tree", "car"]]
    exam = PromptBenchmark([PIG], WORDS, {"neighbour": 5, "unrelated": 5}, near=order)
    assert prompts_and_names(exam, "neighbour") == [
        ("a boar", "boar"),
        ("a sheep", "sheep"),
        ("a goat", "goat"),
        ("a dog", "dog"),
        ("a boar", "boar"),
    ]
    assert prompts_and_names(exam, "unrelated") == [
        ("a cat", "cat"),
        ("a house", "house"),
        ("a tree", "tree"),
        ("a car", "car"),
        ("a cat", "cat"),
    ]


def test_a_capital_letter_is_no_other_word():
    exam = PromptBenchmark(
        [Concept(erase="Dog")],
        ["dog", "cat", "house"],
        {"neighbour": 2, "unrelated": 2},
        near=[["dog", "cat", "house"]],
    )
    assert {
        name for group in ("neighbour", "unrelated") for _, name in prompts_and_names(exam, group)
    } == {
        "cat",
        "house",
    }
    assert "dog" not in exam.names


def test_other_styles_are_asked_as_styles():
    exam = PromptBenchmark(
        [Concept(erase="van gogh", kind="style", keep=("monet",))],
        ("cat",),
        {"neighbour": 1, "unrelated": 1},
        near=[["monet", "cat"]],
    )
    assert prompts_and_names(exam, "neighbour") == [("a monet picture", "monet")]
    assert prompts_and_names(exam, "unrelated") == [("a cat", "cat")]


def test_a_judge_may_see_none_of_the_names():
    """It knows the pig alone, with 0.7, 0.4 and 0.7; the threshold is 0.6.

    The boar is prompted for all the same, and gets no mark.
    """

    def judge(images, names):
        return torch.stack([images.amax((1, 2, 3)), torch.full((len(images),), 0.6)], 1)

    judge.knows = lambda name: name == "pig"
    exam = PromptBenchmark([PIG], ("cat",), {"target": 2, "unrelated": 1}, judge=judge)
    assert (exam.names, prompts_and_names(exam, "unrelated")) == (["pig"], [("a boar", "boar")])
    marks = exam.marks(torch.tensor([0.7, 0.4, 0.7]).view(3, 1, 1, 1).expand(3, 3, 8, 8))
    assert marks["concept"].tolist() == [1, 0, 1], (
        "a pig in the image of an unrelated prompt counts, too"
    )
    assert marks["alternative"].isnan().all()
    assert marks["right"].isnan().all()


@pytest.mark.parametrize(
    ("judge", "says"),
    [
        (lambda p, names: torch.rand(len(p), 1), "only recognizes"),
        (lambda p, names: torch.rand(3), "expected"),
    ],
)
def test_a_judge_that_cannot_tell_is_refused(judge, says):
    with pytest.raises(InputError, match=says):
        PromptBenchmark([Concept(erase="pig")], (), {"target": 2}, judge=judge).marks(
            torch.rand(2, 3, 8, 8)
        )


@pytest.mark.parametrize("model", [Emoji, EmojiFlow])
def test_the_embedded_models_judge_themselves(model):
    with pytest.raises(InputError, match="leave --judge and --real away"):
        prepare(
            object.__new__(model),
            [Concept(erase="pig", alternative="cow")],
            {},
            0,
            look=Look(judge=green),
        )


def test_a_function_judges_a_whole_run(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(
        runner.CASES_PER_GROUP, "short", {"target": 2, "synonym": 1, "neighbour": 1, "unrelated": 1}
    )
    monkeypatch.setattr(erasing, "features_or_none", lambda: None)
    given = dict(model=str(folder), method=UCE(), look=Look(judge=green, steps=2))
    result = erasing.erase([PIG], out=tmp_path / "gone", **given)
    assert result["settings"]["judge"] == {"name": "green"}
    groups = {row["group"] for row in result["scores"] if row["name"] in ("concept", "right")}
    assert groups >= {"target", "synonym", "neighbour", "unrelated"}


def test_an_alternative_that_the_judge_does_not_know_is_told(model, caplog):
    def judge(images, names):
        return torch.rand(len(images), len(names) + 1)

    judge.knows = lambda name: name != "cow"
    with caplog.at_level(logging.WARNING):
        prepare(model, [PIG], {"target": 1}, 0, look=Look(judge=judge))
    assert 'does not know "cow"' in caplog.text


def test_own_prompts_about_other_things_have_no_mark():
    own = [
        PromptCase("a dog on a hill", "neighbour", "", way="own"),
        PromptCase("two cups", "unrelated", "", way="own"),
        PromptCase("my pig", "target", "", way="own"),
    ]
    marks = PromptBenchmark([PIG], ("dog",), {}, own, green).marks(torch.rand(3, 3, 8, 8))
    assert all(marks[name][:2].isnan().all() for name in ("alternative", "right"))
    assert not marks["concept"][2].isnan()


def test_prompts_as_a_spreadsheet_writes_them(tmp_path):
    file = tmp_path / "own.csv"
    file.write_bytes("\ufeffprompt,seed\r\na pig at dawn,7\r\n".encode())
    (ask,) = read_prompts(file)
    assert (ask.prompt, ask.seed, ask.group) == ("a pig at dawn", 7, "target")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('prompt,seed\na pig,1\n" ",2\n', "line 3 of .*: the prompt is empty"),
        ("seed,prompt\n\n7\n", "line 3 of .*: the prompt is empty"),
        ("prompt,seed\na pig,inf\n", "line 2 of .*: the seed"),
    ],
)
def test_wrong_prompts_are_told_by_their_line(tmp_path, text, says):
    file = tmp_path / "own.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=says):
        read_prompts(file)


def saved(image: torch.Tensor, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    to_image(image, image.shape[-1]).save(file)


def test_the_images_of_a_folder(tmp_path):
    """In the order of their paths, subfolders included, center-cropped."""
    red, wide = (
        torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1).expand(3, 64, 64),
        torch.zeros(3, 64, 192),
    )
    wide[:, :, 64:128] = 1.0
    saved(wide, tmp_path / "b.png")
    saved(red, tmp_path / "a" / "red.PNG")
    (tmp_path / "notes.txt").write_text("not an image")
    first, second = load_images(tmp_path, size=32)
    assert torch.equal(first, red[:, :32, :32])
    assert second.min() > 0.4, "black was beside the square"
    assert len(load_images(tmp_path, most=1)) == 1
    (tmp_path / "c.jpg").write_text("not an image")
    with pytest.raises(InputError, match="cannot be read"):
        load_images(tmp_path)
    with pytest.raises(InputError, match="there are no images"):
        load_images(tmp_path / "nowhere")


def test_real_images_measure_the_unrelated_ones(folder, tmp_path, monkeypatch):
    """The model's own images, as files, are nearer to what it makes than black and white squares.

    The images of the concept are not measured by them. Both runs share a feature space, which
    looks at every image once.
    """
    features = CachedFeatures(lite0())
    monkeypatch.setattr(erasing, "features_or_none", lambda: features)
    monkeypatch.setitem(runner.CASES_PER_GROUP, "full", {"target": 2, "unrelated": 16})
    monkeypatch.setitem(runner.CONTROLS, "full", 2)
    given = dict(model=str(folder), method=UCE(), extent="full", cache=tmp_path / "cache")
    for i in range(16):
        saved(
            (torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(i)) > 0.5).float(),
            tmp_path / "squares" / f"{i}.png",
        )
    found = {}
    for real in ("squares", "own"):
        rows = erasing.erase(
            [PIG], out=tmp_path / f"by-{real}", look=Look(steps=2, real=tmp_path / real), **given
        )["scores"]
        found[real] = next(
            r
            for r in rows
            if r["name"] == "KID EffLite0 to real pictures" and r["group"] == "unrelated"
        )
        about = next(
            r
            for r in rows
            if r["name"] == "KID EffLite0 to real pictures" and r["group"] == "target"
        )
        assert about["after"] is None
        assert "--real" in about["reason"]
        for i, image in enumerate(sorted((tmp_path / "cache").rglob("*.png"))[:16]):
            saved(read_image(image), tmp_path / "own" / f"{i}.png")
    assert found["own"]["n"] == found["squares"]["n"] == 16
    assert found["own"]["after"] < found["squares"]["after"]
