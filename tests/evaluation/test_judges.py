"""Judges for other models: a tiny CLIP, ImageNet's classes, NudeNet's scores, and any callable."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unconcept.concepts.concept import Concept
from unconcept.errors import InputError
from unconcept.evaluation.judges import Clip, ImageNet, NudeNet, judge_name, load_judge
from unconcept.evaluation.prompt_benchmark import PromptBenchmark
from unconcept.evaluation.scores import compute_scores


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    from support.tiny_pipelines import tiny_pipeline
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    tokenizer = tiny_pipeline().tokenizer
    small = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    text = dict(
        vocab_size=len(tokenizer),
        max_position_embeddings=24,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **small,
    )
    folder = tmp_path_factory.mktemp("clip") / "tiny-clip"
    CLIPModel(
        CLIPConfig(
            text_config=text,
            vision_config=dict(image_size=16, patch_size=8, **small),
            projection_dim=8,
        )
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_clip_says_what_transformers_says(clip_folder):
    judge, images, names = Clip(clip_folder), torch.rand(3, 3, 16, 16), ["pig", "cow", "owl"]
    mean, std = (
        torch.tensor([0.48145466, 0.4578275, 0.40821073]),
        torch.tensor([0.26862954, 0.26130258, 0.27577711]),
    )
    tokens = judge.tokenizer(
        [f"a photo of {n}" for n in ("a pig", "a cow", "an owl")], padding=True, return_tensors="pt"
    )
    pixels = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        said = judge.model(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels
        ).logits_per_image
    torch.testing.assert_close(judge(images, names), said.softmax(1), rtol=1e-4, atol=1e-5)
    prompts = ["a pig", "a cow", "a pig"]
    assert judge.agreement(images, prompts).abs().max() <= 1


def test_imagenet_knows_its_own_names():
    judge = ImageNet()
    said = judge(torch.rand(2, 3, 64, 64), ["castle", "church"])
    assert said.shape == (2, 2)
    assert ((said >= 0) & (said <= 1)).all()
    with pytest.raises(InputError, match="no ImageNet class"):
        judge(torch.rand(1, 3, 64, 64), ["unicorn"])


def test_a_wrong_judge_is_refused(tmp_path, folder):
    with pytest.raises(InputError, match="does not contain a CLIP model"):
        load_judge(str(tmp_path))
    with pytest.raises(InputError, match="not a CLIP model"):
        load_judge(str(folder / "text_encoder"))


def test_nudenet_by_hand(monkeypatch):
    """The highest exposed class counts, from the threshold on; covered ones and faces do not."""
    given = []
    scores = {
        10: [("FEET_EXPOSED", 0.3), ("BELLY_EXPOSED", 0.7), ("FACE_FEMALE", 0.9)],
        20: [("ARMPITS_EXPOSED", 0.5), ("BUTTOCKS_COVERED", 0.8)],
        30: [],
    }

    class NudeDetector:
        def detect(self, image):
            given.append(image)
            return [
                {"class": name, "score": score, "box": [0, 0, 1, 1]}
                for name, score in scores[int(image[0, 0, 2])]
            ]

    monkeypatch.setitem(sys.modules, "nudenet", SimpleNamespace(NudeDetector=NudeDetector))
    judge = load_judge("nudenet")
    assert isinstance(judge, NudeNet)
    images = torch.zeros(3, 3, 8, 6)
    images[:, 0] = torch.tensor([10, 20, 30]).view(3, 1, 1) / 255
    torch.testing.assert_close(
        judge(images, ["nudity", "nude"]),
        torch.tensor([[0.7, 0.7, 0.6], [0.5, 0.5, 0.6], [0.0, 0.0, 0.6]]),
    )
    assert all(
        (image.shape, image.dtype, image.flags.c_contiguous) == ((8, 6, 3), np.uint8, True)
        for image in given
    )
    assert [
        name
        for name in ("nudity", "a naked man", "NSFW", "snake", "denuded hill")
        if judge.knows(name)
    ] == [
        "nudity",
        "a naked man",
        "NSFW",
    ]
    with pytest.raises(InputError, match="nudity alone"):
        judge(images, ["pig"])

    exam = PromptBenchmark(
        [Concept(erase="nudity", alternative="a coat", synonyms=("nude", "bare"))],
        ("person",),
        {"target": 2, "unrelated": 1},
        judge=judge,
    )
    assert exam.names == ["nudity", "nude"]
    assert exam.marks(images)["concept"][:2].tolist() == [1.0, 0.0]
    assert exam.marks(images)["right"].isnan().all()


def test_nudenet_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "nudenet", None)
    with pytest.raises(InputError, match=r"pip install unconcept\[nudenet\]"):
        load_judge("nudenet")


def test_a_callable_is_a_judge():
    def mine(images, names): ...

    assert load_judge(mine) is mine
    assert (
        judge_name(mine),
        judge_name(lambda p, n: p),
        judge_name(SimpleNamespace(name="X")),
    ) == ("mine", "<lambda>", "X")


def test_any_callable_can_judge():
    """Red is a pig, green a cow, blue a cat; the edit turns three of four red images green."""
    concept = Concept(erase="pig", alternative="cow", keep=("cat",))

    def judge(images, names):
        colours = {"pig": 0, "cow": 1, "cat": 2}
        return torch.stack([images[:, colours[name]].mean((1, 2)) for name in names], 1)

    exam = PromptBenchmark([concept], (), {"target": 4, "unrelated": 2}, judge=judge)

    def paint(*channels):
        return torch.stack([torch.eye(3)[c].view(3, 1, 1).expand(3, 16, 16) for c in channels])

    rows = compute_scores(exam, paint(0, 0, 0, 0, 2, 2), paint(1, 1, 1, 0, 2, 2))

    def value(name, group):
        return [getattr(rows[name, group], k) for k in ("before", "after", "n")]

    assert value("concept", "target") == [1.0, 0.25, 4]
    assert value("alternative", "target") == [0.0, 0.75, 4]
    assert value("right", "unrelated") == [1.0, 1.0, 2]


def test_a_judge_is_asked_about_the_words_that_it_knows():
    judge = ImageNet()
    exam = PromptBenchmark(
        [Concept(erase="castle", alternative="church", synonyms=("chateau of old",))],
        ("person", "guitar", "crowd"),
        {"target": 2, "unrelated": 3},
        judge=judge,
    )
    assert exam.names == ["castle", "church", "guitar"]
    assert exam.marks(torch.rand(5, 3, 64, 64))["right"].isnan().sum() == 2
    with pytest.raises(InputError, match="does not know"):
        PromptBenchmark([Concept(erase="unicorn")], (), {"target": 1}, judge=judge)
