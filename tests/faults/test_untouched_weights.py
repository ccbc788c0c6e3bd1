"""No untouched weights leave in anything that is called erased."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.original_layout import single_file
from support.tiny_pipelines import tiny_pipeline

from unconcept import Edit, InputError, RunError, wrap
from unconcept.config.options import Output
from unconcept.edits.provenance import model_identity
from unconcept.export.formats import export

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def base(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "base")


@pytest.mark.parametrize("prefix", ["model_ema.", "ema."])
def test_moving_averages_are_left_out(edit, prefix, tmp_path):
    tensors = single_file(tiny_pipeline())
    averages = {}
    for name, tensor in tensors.items():
        if name.startswith("model.diffusion_model."):
            averages[prefix + name.removeprefix("model.").replace(".", "")] = 1.001 * tensor
    file = tmp_path / "full.safetensors"
    save_file({**tensors, **averages}, file)
    erased = load_file(export(edit, "checkpoint", tmp_path / "erased.safetensors", model=str(file)))
    assert erased.keys() == tensors.keys()


def test_a_copy_under_any_other_name_is_refused(edit, tmp_path):
    tensors = single_file(tiny_pipeline())
    name = next(n for n in tensors if n.endswith("attn2.to_k.weight"))
    file, out = tmp_path / "full.safetensors", tmp_path / "erased.safetensors"
    save_file({**tensors, "backup": tensors[name].half()}, file)
    with pytest.raises(RunError, match="backup"):
        export(edit, "checkpoint", out, model=str(file))
    assert not out.exists()


def test_a_base_is_not_replaced_by_its_own_erasure(edit, tmp_path):
    file = tmp_path / "base.safetensors"
    save_file(single_file(tiny_pipeline()), file)
    with pytest.raises(InputError, match="itself"):
        export(edit, "checkpoint", Output(file, force=True), model=str(file))


@pytest.mark.parametrize("place", ["erased", "unet/erased", "."])
def test_a_pipeline_is_not_written_into_its_base(edit, base, place):
    before = sorted(base.rglob("*"))
    with pytest.raises(InputError, match="one in the other"):
        export(edit, "pipeline", Output(base / place, force=True), model=str(base))
    assert sorted(base.rglob("*")) == before


def test_only_what_belongs_to_the_pipeline_is_copied(edit, base, tmp_path):
    originals = load_file(base / UNET)
    for path in ("ema/model.safetensors", "unet/older/model.safetensors", ".git/model.safetensors"):
        (base / path).parent.mkdir(exist_ok=True)
        save_file(originals, base / path)
    for name in (".env", "notes.txt", "unet/.cache.json", "unet/pytorch_model.bin", "pipeline.py"):
        (base / name).write_text("not for others")
    (base / "LICENSE.md").write_text("the licence")
    out = export(edit, "pipeline", tmp_path / "out", model=str(base))
    names = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    index = json.loads((base / "model_index.json").read_text())
    assert {"LICENSE.md", "model_index.json", "README.md", "unconcept.json", UNET} <= names
    strangers = {"ema", "older", ".git", ".env", "notes.txt", "pipeline.py"}
    for name in names:
        assert not strangers & set(name.split("/")), name
        assert not name.endswith((".bin", ".cache.json"))
        assert "/" not in name or name.split("/")[0] in index


def test_a_second_copy_in_a_component_is_refused(edit, base, tmp_path):
    originals = load_file(base / UNET)
    renamed = {f"average.{name}": tensor for name, tensor in originals.items()}
    save_file(renamed, base / "unet" / "average.safetensors")
    with pytest.raises(RunError, match="average"):
        export(edit, "pipeline", tmp_path / "out", model=str(base))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["LICENSE", "vae/secret.txt"])
def test_links_out_of_the_base_are_not_followed(edit, base, place, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("a password")
    (base / place).symlink_to(secret)
    with pytest.raises(InputError, match="link"):
        export(edit, "pipeline", tmp_path / "out", model=str(base))
    assert not (tmp_path / "out").exists()


def test_links_within_the_hub_cache_are_followed(edit, base, tmp_path):
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    shutil.copytree(base, snapshot)
    shutil.move(snapshot / UNET, blobs / "0123")
    (snapshot / UNET).symlink_to(blobs / "0123")
    out = export(edit, "pipeline", tmp_path / "out", model=str(snapshot))
    assert not (out / UNET).is_symlink()
    original, erased = load_file(base / UNET), load_file(out / UNET)
    changed = {name.removeprefix("unet.") for name in edit.deltas}
    for name in original:
        assert torch.equal(original[name], erased[name]) == (name not in changed)


def test_a_small_edit_in_half_precision_is_no_false_alarm(tmp_path):
    pipe = tiny_pipeline().to(torch.float16)
    model = wrap(pipe)
    generator = torch.Generator().manual_seed(0)
    deltas = {}
    for site in model.weight_group("cross-attention keys and values"):
        owner, parameter = site.find(model.components)
        weight = getattr(owner, parameter).float()
        deltas[site.name] = 0.01 * torch.randn(weight.shape, generator=generator) * weight.std()
    card = {"family": model.family, "concepts": [], **model_identity(model, deltas)}
    pipe.save_pretrained(tmp_path / "half")
    export(Edit(deltas, card), "pipeline", tmp_path / "out", model=str(tmp_path / "half"))
