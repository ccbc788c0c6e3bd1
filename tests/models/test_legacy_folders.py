"""Folders written by older libraries, and for older libraries: every known difference once.

Pickles are refused in cli/test_commands.py, single files load offline in test_single_file.py, CLIP
scores are checked in evaluation/test_judges.py, LoRAs load in diffusers in export/test_formats.py,
and no pipeline is called (contracts/test_every_family.py).
"""

import json

import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from safetensors.torch import load_file, save_file
from support.tiny_pipelines import tiny_pipeline

from unconcept import Edit, load, wrap
from unconcept.export.formats import export
from unconcept.models.folder import only_variant

FILE = "model.safetensors"


def renamed(folder, change) -> None:
    """Other names for the text encoder's weights."""
    file = folder / "text_encoder" / FILE
    tensors = {change(name): tensor.clone() for name, tensor in load_file(file).items()}
    file.unlink()
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.fixture
def copy(folder, tmp_path):
    import shutil

    return shutil.copytree(folder, tmp_path / "old")


def test_text_encoders_of_before_transformers_5_6(folder, copy):
    """Every weight had `text_model.` in front; read without it, they would be random."""
    renamed(copy, lambda name: name if name.startswith("text_model.") else f"text_model.{name}")
    assert load(copy).fingerprint() == load(folder).fingerprint()


def test_folders_that_name_classes_that_are_gone(folder, copy):
    """CLIPFeatureExtractor, and a safety checker that is not used."""
    index = json.loads((copy / "model_index.json").read_text())
    index |= {
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }
    (copy / "model_index.json").write_text(json.dumps(index))
    assert load(copy).fingerprint() == load(folder).fingerprint()


def test_tokenizers_of_before_transformers_5(folder, copy):
    """A vocabulary and its merges alone: the only files that older libraries wrote and read."""
    prompts = ["a pig", "a cat and a dog", "never seen"]
    model = load(folder)
    (copy / "tokenizer" / "tokenizer.json").unlink()
    model.pipe.tokenizer.backend_tokenizer.model.save(str(copy / "tokenizer"))
    assert {"vocab.json", "merges.txt"} <= {file.name for file in (copy / "tokenizer").iterdir()}
    assert torch.equal(
        load(copy).encode(prompts)[model.prompt_states_key],
        model.encode(prompts)[model.prompt_states_key],
    )


def test_half_precision_on_disk_is_one_precision_in_memory(folder, copy):
    """Without a dtype the text encoder would stay in fp16 beside an fp32 U-Net."""
    for file in copy.glob("*/*.safetensors"):
        tensors = {
            name: t.half() if t.is_floating_point() else t for name, t in load_file(file).items()
        }
        file.unlink()
        save_file(tensors, file, metadata={"format": "pt"})
    config = copy / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "dtype": "float16"}))
    model = load(copy)
    assert {
        p.dtype for part in (*model.components.values(), model.pipe.vae) for p in part.parameters()
    } == {torch.float32}


def test_what_is_exported_is_what_was_there(folder, copy, tmp_path):
    """Class names, tokenizer files and old weight names stay: only changed weights differ."""
    renamed(copy, lambda name: name if name.startswith("text_model.") else f"text_model.{name}")
    (copy / "tokenizer" / "vocab.json").write_text("{}")
    (copy / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    model = load(folder)
    site = model.weight_group("cross-attention keys and values")[0]
    delta = torch.ones_like(getattr(*site.find(model.components)))
    edit = Edit({site.name: delta}, {"model_sha256": model.fingerprint()})
    out = export(edit, "pipeline", tmp_path / "out", model=str(copy))
    files = {p.relative_to(copy) for p in copy.rglob("*") if p.is_file()}
    other = {f for f in files if (copy / f).read_bytes() != (out / f).read_bytes()}
    assert {f.parts[0] for f in other} == {"unet"}
    assert len(other) == 1


def test_prompts_are_read_by_the_encoder_itself(folder):
    """Not by the pipeline's clip_skip, which today's text encoder breaks."""
    model = load(folder)
    ids = model.pipe.tokenizer(
        "a pig", padding="max_length", max_length=24, return_tensors="pt"
    ).input_ids
    assert torch.equal(
        model.encode(["a pig"])[model.prompt_states_key],
        model.pipe.text_encoder(ids).last_hidden_state,
    )


def test_a_folder_of_one_variant_alone(tmp_path):
    """Many snapshots hold fp16 weights alone; of two variants the plain one is the default."""
    tiny_pipeline().to(torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    assert only_variant(tmp_path / "half") == "fp16"
    half = load(tmp_path / "half", dtype="fp32")
    tiny_pipeline().save_pretrained(tmp_path / "both", variant="fp16")
    other = tiny_pipeline()
    other.unet.conv_in.bias.data += 1
    other.save_pretrained(tmp_path / "both")
    assert only_variant(tmp_path / "both") is None
    plain, fp16 = load(tmp_path / "both"), load(tmp_path / "both", variant="fp16")
    torch.testing.assert_close(plain.denoiser.conv_in.bias, fp16.denoiser.conv_in.bias + 1)
    torch.testing.assert_close(
        half.denoiser.conv_in.bias, fp16.denoiser.conv_in.bias, rtol=1e-3, atol=1e-4
    )


def test_latents_are_not_clipped_where_the_scheduler_does_not_say():
    pipe = tiny_pipeline()
    config = {key: value for key, value in pipe.scheduler.config.items() if key != "clip_sample"}
    pipe.scheduler = type("Bare", (), {"config": FrozenDict(config)})()
    assert wrap(pipe).scheduler.config.clip_sample is False
