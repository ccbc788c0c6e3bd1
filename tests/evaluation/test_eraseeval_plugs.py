"""EraseEval's plugs for real models: tiny random ones from configs, and stubs that can answer."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unconcept import Concept, InputError, RunError
from unconcept.evaluation.benchmark import PromptCase
from unconcept.evaluation.eraseeval import EraseEval, Prompts
from unconcept.evaluation.eraseeval.answers import Answers, hash_image
from unconcept.evaluation.eraseeval.local_models import ChatModel, TextEncoder, identify
from unconcept.evaluation.eraseeval.local_plugs import (
    LocalCaptioner,
    LocalEmbedder,
    LocalEye,
    LocalModels,
    LocalWriter,
    local_plugs,
    read_folders,
    with_alternative,
)
from unconcept.evaluation.eraseeval.plugs import Plugs, bag_of_words
from unconcept.workflows.eraseeval import write_prompts

PIG = Concept(erase="pig", alternative="cow", synonyms=("hog",))
IMAGES = torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(0))
SMALL = dict(hidden_size=16, intermediate_size=16, num_attention_heads=2, num_hidden_layers=1)
LLAMA = dict(**SMALL, num_key_value_heads=2, max_position_embeddings=512)
TEMPLATE = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{{ '<image>' if c.type == 'image' else c.text }} {% endfor %}"
    "{% endif %}{% endfor %}"
)


def tiny_tokenizer():
    """Words of a few questions; everything else is unknown."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = "<unk> <pad> <s> </s> <image> yes no Yes No a pig Does this image show Describe . ?"
    vocabulary = {word: i for i, word in enumerate(words.split())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
        chat_template=TEMPLATE,
    )


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    """A random LLaVA, as a download has it."""
    import transformers

    torch.manual_seed(0)
    tokenizer, folder = tiny_tokenizer(), tmp_path_factory.mktemp("vlm") / "tiny-vlm"
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=16, patch_size=8, **SMALL),
        text_config=transformers.LlamaConfig(vocab_size=len(tokenizer), **LLAMA),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


def test_a_vision_language_model_captions_and_sees(vlm, tmp_path):
    model, answers = ChatModel(vlm), Answers(tmp_path)
    assert model.sees
    captions = LocalCaptioner(model, answers)(IMAGES)
    assert len(captions) == 3
    eye = LocalEye(model, PIG, answers)
    votes = eye(IMAGES)
    assert votes.dtype == torch.bool
    logits = model.model(**model.inputs("Does this image show a pig?", IMAGES[0])).logits[0, -1]
    yes, no = model.first_tokens(("yes", "Yes")), model.first_tokens(("no", "No"))
    assert {*yes, *no} == {5, 6, 7, 8}
    likelier = logits[sorted(yes)].max() > logits[sorted(no)].max()
    assert model.agrees("Does this image show a pig?", IMAGES[0]) == likelier
    # In another process nobody is asked again.
    silent: Any = SimpleNamespace(plug=identify(vlm), name="silent")
    again = Answers(tmp_path)
    assert LocalCaptioner(silent, again)(IMAGES) == captions
    assert torch.equal(LocalEye(silent, PIG, again)(IMAGES), votes)


def test_an_encoder_is_read_without_padding(tmp_path):
    import transformers

    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = transformers.ModernBertConfig(
        vocab_size=len(tokenizer), pad_token_id=1, max_position_embeddings=64, **SMALL
    )
    transformers.ModernBertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    encoder = TextEncoder(tmp_path / "bert")
    together = LocalEmbedder(encoder, Answers())(["a pig", "Does this image show a pig ?"])
    assert together.shape == (2, 16)
    torch.testing.assert_close(together[0], encoder(["a pig"])[0], atol=1e-4, rtol=1e-4)


def test_answers_are_asked_for_once(tmp_path):
    asked = []

    def compute(rows):
        asked.append(list(rows))
        return [f"answer {i}" for i in rows]

    answers = Answers(tmp_path)
    assert answers.ask("plug", "?", ["a", "b", "a"], compute) == [
        "answer 0",
        "answer 1",
        "answer 0",
    ]
    assert Answers(tmp_path).ask("plug", "?", ["b", "c"], compute) == ["answer 1", "answer 1"]
    answers.ask("another plug", "?", ["a"], compute)
    answers.ask("plug", "another question", ["a"], compute)
    assert asked == [[0, 1], [1], [0], [0]]
    for file in tmp_path.rglob("*.json"):
        file.write_text("{")
    assert Answers(tmp_path).ask("plug", "?", ["a"], lambda rows: ["anew"]) == ["anew"]
    assert hash_image(IMAGES[0]) != hash_image(IMAGES[0].flip(1))
    image = (IMAGES[0] * 255).round() / 255
    assert hash_image(image) == hash_image(image + 1e-3)


def test_a_plug_changes_with_its_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    before = identify(tmp_path)
    (tmp_path / "config.json").write_text("{ }")
    assert identify(tmp_path) != before


class Writer:
    """Answers in turn."""

    name = plug = "writer"

    def __init__(self, *lines):
        self.lines = list(lines)
        self.questions = []

    def say(self, question):
        self.questions.append(question)
        return self.lines.pop(0)


def test_a_writer_is_asked_until_it_keeps_to_the_rules():
    writer: Any = Writer("a cow in space", '"A Pig in space"', "a hog on the moon")
    prompts = LocalWriter(writer, PIG, Answers()).prompts(True, 2)
    assert prompts == ["A Pig in space", "a hog on the moon"]
    assert "a cow in space" in writer.questions[1]
    assert "earlier" not in writer.questions[0]
    described = "the animal that ham is made of"
    writer = Writer("a pig", described)
    assert LocalWriter(writer, PIG, Answers()).prompts(False, 1) == [described]
    assert "'pig', 'hog'" in writer.questions[0]
    assert LocalWriter(Writer(*["no"] * 9), PIG, Answers()).prompts(True, 3) == []  # type: ignore


def test_written_prompts_have_the_alternative(monkeypatch):
    cases = [PromptCase("a key", "unrelated", "key")]
    monkeypatch.setattr(LocalWriter, "prompts", lambda self, explicit, n: ["a Hog in space"])
    writer = LocalWriter(Writer(), PIG, Answers())  # type: ignore[arg-type]
    written = write_prompts(writer, Prompts([], [], cases), EraseEval())
    assert written.explicit == [("a Hog in space", "a cow in space")]
    assert written.unrelated == cases
    assert with_alternative("a pig", replace(PIG, alternative=None)) == ""
    monkeypatch.setattr(LocalWriter, "prompts", lambda self, explicit, n: [])
    with pytest.raises(RunError, match="wrote no prompt that names pig"):
        write_prompts(writer, Prompts([], [], cases), EraseEval())


def test_folders_replace_plugs(vlm, tmp_path, monkeypatch):
    offline: Any = Plugs(len, (len,), bag_of_words, None, len, {"eye": "judge", "embedder": "bag"})
    file = vlm.parent / "plugs.yaml"
    file.write_text("captioner: tiny-vlm\neyes: [tiny-vlm]\n")
    models = LocalModels(Answers(tmp_path))
    plugs = local_plugs(offline, read_folders(file), PIG, models)
    assert len(models.opened) == 1
    assert plugs.names == {"eye": "tiny-vlm", "embedder": "bag", "captioner": "tiny-vlm"}
    assert plugs.embedder is bag_of_words
    assert isinstance(plugs.captioner, LocalCaptioner)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "another form"),
        ("judge: tiny-vlm", 'unknown "judge"'),
        ("eyes: nowhere", "eyes: nowhere is not a folder"),
        ("captioner: [tiny-vlm, tiny-vlm]", "one folder"),
        ("captioner: {a: 1}", "is not a folder"),
        ("a: b: c", "cannot be read"),
    ],
)
def test_wrong_files_are_refused(text, reason, vlm):
    file = vlm.parent / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_folders(file)


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"does not contain a model"):
        ChatModel(tmp_path)


def test_the_command_asks_the_folders(run, edit, folder, vlm, tmp_path, monkeypatch):
    """A tiny model that is judged by a tiny VLM: no judge is missed, and the report names it."""
    monkeypatch.setattr("unconcept.evaluation.eraseeval.local_plugs.CAPTION_TOKENS", 2)
    monkeypatch.setattr(EraseEval, "of", lambda extent: EraseEval(1, 2, 1, 2))
    path = edit.save(tmp_path / "edit.safetensors")
    (vlm.parent / "both.yaml").write_text("captioner: tiny-vlm\neyes: tiny-vlm\n")
    words = ("evaluate", "--edit", path, "--model", folder, "--steps", 1, "--extent", "short")
    plugs = ("--plugs", vlm.parent / "both.yaml")
    code, _, err = run(*words, *plugs, "--protocol", "eraseeval", "--out", "out")
    assert code == 0, err
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["eraseeval"]["plugs"]["eye"] == "tiny-vlm"
    assert not any("no judge" in line for line in report["warnings"])
    code, _, err = run(*words, *plugs, "--out", "never")
    assert (code, "--plugs is for --protocol eraseeval" in err) == (2, True)
