"""Judges for other models: a tiny CLIP, ImageNet's classes, NudeNet's scores, and any callable."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unconcept.concepts.concept import Concept
from unconcept.errors import InputError
from unconcept.evaluation.judges import ImageNet, NudeNet, judge_name, load_judge
from unconcept.evaluation.prompt_benchmark import PromptBenchmark
from unconcept.evaluation.scores import compute_scores
from unconcept.evaluation.zero_shot import ZeroShot

SMALL = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)


def tiny_judge(kind: str, folder):
    """A folder with a random model of a kind, and its processor, as a download has it."""
    import transformers
    from support.tiny_pipelines import tiny_pipeline

    torch.manual_seed(0)
    tokenizer = tiny_pipeline().tokenizer
    text = dict(
        vocab_size=len(tokenizer),
        max_position_embeddings=24,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SMALL,
    )
    vision = dict(image_size=16, patch_size=8, **SMALL)
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        model = transformers.CLIPModel(config)
        images = transformers.CLIPImageProcessorPil(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        )
        processor = transformers.CLIPProcessor(images, tokenizer)
    elif kind == "siglip":
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model = transformers.SiglipModel(config)
        images = transformers.SiglipImageProcessorPil(size={"height": 16, "width": 16})
        processor = transformers.SiglipProcessor(images, tokenizer)
    else:
        vision = dict(patch_size=8, num_patches=4, **SMALL)
        config = transformers.Siglip2Config(text_config=text, vision_config=vision)
        model = transformers.Siglip2Model(config)
        images = transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=4)
        processor = transformers.Siglip2Processor(images, tokenizer)
    if kind != "clip":
        model.logit_scale.data.fill_(3.0)
        model.logit_bias.data.fill_(-1.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["clip", "siglip", "siglip2"])
def judge_folder(request, tmp_path_factory):
    return tiny_judge(
        request.param, tmp_path_factory.mktemp(request.param) / f"tiny-{request.param}"
    )


def test_a_judge_says_what_transformers_says(judge_folder):
    """Softmax for CLIP; for SigLIP the sigmoid, of small letters and padding to the full length."""
    judge, images = ZeroShot(str(judge_folder)), torch.rand(3, 3, 16, 16)
    assert judge.name == judge_folder.name, "no path"
    sigmoid = "siglip" in judge.name
    padding = dict(padding="max_length", max_length=24) if sigmoid else dict(padding=True)
    texts = [f"a photo of {n}" for n in ("a pig", "Cow", "an owl")]
    if sigmoid:
        texts = [text.lower() for text in texts]
    tokens = judge.processor.tokenizer(texts, return_tensors="pt", **padding)
    tokens = {
        name: tokens[name] for name in ("input_ids", *(() if sigmoid else ("attention_mask",)))
    }
    pixels = list((images * 255).round().byte().permute(0, 2, 3, 1).numpy())
    with torch.no_grad():
        logits = judge.model(
            **tokens, **judge.processor.image_processor(pixels, return_tensors="pt")
        ).logits_per_image
    expected = logits.sigmoid() if sigmoid else logits.softmax(1)
    probabilities = judge(images, ["pig", "Cow", "owl"])
    torch.testing.assert_close(probabilities, expected, rtol=1e-4, atol=1e-5)
    assert sigmoid == bool((probabilities.sum(1) - 1).abs().max() > 0.01)
    assert judge.agreement(images, ["a pig", "a cow", "a pig"]).abs().max() <= 1


def test_images_of_any_size_are_judged_once(judge_folder, monkeypatch):
    judge = load_judge(str(judge_folder))
    first = judge(torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(0)), ["pig"])
    monkeypatch.setattr(judge.model, "get_image_features", None)
    again = judge(torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(0)), ["pig"])
    assert torch.equal(first, again)


def test_a_benchmark_takes_a_sigmoid_judge(judge_folder):
    """The likeliest name is seen, however small its probability is."""
    concept = Concept(erase="pig", alternative="cow")
    exam = PromptBenchmark(
        [concept], ("cat", "dog"), {"target": 2, "unrelated": 2}, judge=load_judge(judge_folder)
    )
    marks = exam.marks(torch.rand(4, 3, 16, 16))
    assert marks["concept"].isfinite().all()
    assert list(exam.values(torch.rand(4, 3, 16, 16))) == [
        f"CLIP score, cosine, {judge_folder.name}"
    ]


def test_imagenet_knows_its_own_names():
    judge = ImageNet()
    said = judge(torch.rand(2, 3, 64, 64), ["castle", "church"])
    assert said.shape == (2, 2)
    assert ((said >= 0) & (said <= 1)).all()
    with pytest.raises(InputError, match="no ImageNet class"):
        judge(torch.rand(1, 3, 64, 64), ["unicorn"])


def test_a_wrong_judge_is_refused(tmp_path, folder):
    with pytest.raises(InputError, match="does not contain a CLIP or SigLIP model"):
        load_judge(str(tmp_path))
    with pytest.raises(InputError, match="not a CLIP or SigLIP model but a clip_text_model"):
        load_judge(str(folder / "text_encoder"))
    with pytest.raises(InputError, match="owner/name is not a folder here"):
        load_judge("owner/name")


def test_a_judge_without_some_weights_or_its_processor_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    tiny_judge("clip", tmp_path / "judge")
    file = tmp_path / "judge/model.safetensors"
    tensors = {name: t for name, t in load_file(file).items() if "visual_projection" not in name}
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"not complete.*visual_projection"):
        load_judge(str(tmp_path / "judge"))
    tiny_judge("clip", tmp_path / "other")
    for name in ("processor_config.json", "preprocessor_config.json"):
        (tmp_path / "other" / name).unlink(missing_ok=True)
    with pytest.raises(InputError, match="cannot be opened"):
        load_judge(str(tmp_path / "other"))


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
