"""An edit that is not on, or is on twice, says so."""

import copy

import pytest
import torch
from conftest import same, state
from safetensors.torch import load_file, save_file
from support.tiny_pipelines import tiny_pipeline

from unconcept import Concept, Edit, InputError, RunError, wrap
from unconcept.edits.provenance import model_identity
from unconcept.export.formats import export
from unconcept.methods import UCE


def prediction(pipe) -> torch.Tensor:
    """Of the pipeline's own denoiser, as its `__call__` uses it."""
    model = wrap(pipe)
    torch.manual_seed(3)
    x, states = torch.randn(2, 4, 8, 8), model.encode(["a pig", "a cat"])
    with torch.no_grad():
        return pipe.unet(x, torch.tensor([600, 50]), **dict(states)).sample


def identified(edit, pipe) -> Edit:
    return Edit(edit.deltas, {**edit.card, **model_identity(wrap(pipe), edit.deltas)})


def test_applied_twice_is_refused(edit):
    pipe = tiny_pipeline()
    edit.apply(pipe)
    once = prediction(pipe)
    with pytest.raises(InputError, match="applied to the model already"):
        edit.apply(pipe)
    assert torch.equal(prediction(pipe), once)


def test_an_edit_without_content_is_applied_and_removed_without_a_word():
    pipe = tiny_pipeline()
    empty = Edit({}, {"concepts": []})
    empty.apply(pipe)
    empty.apply(pipe)
    empty.remove(pipe)


def test_removed_where_it_is_not_applied_is_refused(edit):
    with pytest.raises(InputError, match="nothing to remove"):
        edit.remove(tiny_pipeline())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_erasure_has_the_edit_already(edit, dtype, tmp_path):
    pipe = tiny_pipeline()
    edit = identified(edit, pipe)
    pipe.save_pretrained(tmp_path / "base")
    out = export(edit, "pipeline", tmp_path / "once", model=str(tmp_path / "base"))
    with pytest.raises(InputError, match="already"):
        export(edit, "pipeline", tmp_path / "twice", model=str(out))
    again = type(pipe).from_pretrained(str(out)).to(dtype)
    with pytest.raises(InputError, match="in the weights of this model already"):
        edit.apply(again)


def test_a_copy_of_an_erased_pipeline_has_the_edit_already(edit):
    pipe = tiny_pipeline()
    edit = identified(edit, pipe)
    edit.apply(pipe)
    with pytest.raises(InputError, match="already"):
        edit.apply(copy.deepcopy(pipe))


def test_a_relative_is_named_with_its_distance(edit, caplog):
    pipe = tiny_pipeline()
    edit = identified(edit, pipe)
    relative = copy.deepcopy(pipe)
    for name, weight in relative.unet.named_parameters():
        if ".to_" in name:
            weight.data *= 1.03
    edit.apply(relative)
    assert "relative of this model, whose weights differ by up to 3.0%" in caplog.text


def test_other_attention_weights_are_another_model(edit, tmp_path):
    pipe = tiny_pipeline()
    edit = identified(edit, pipe)
    pipe.save_pretrained(tmp_path / "base")
    file = tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    for name in weights:
        if "attn2.to_" in name:
            weights[name] = weights[name] * 3
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(InputError, match="another model"):
        edit.apply(type(pipe).from_pretrained(str(tmp_path / "base")))
    with pytest.raises(InputError, match="another model"):
        export(edit, "pipeline", tmp_path / "out", model=str(tmp_path / "base"))


def test_fused_projections_are_seen_through(edit):
    pipe = tiny_pipeline()
    edit = identified(edit, pipe)
    plain = prediction(pipe)
    edit.apply(pipe)
    erased = prediction(pipe)
    edit.remove(pipe)
    pipe.fuse_qkv_projections()
    edit.apply(pipe)
    torch.testing.assert_close(prediction(pipe), erased)
    edit.remove(pipe)
    torch.testing.assert_close(prediction(pipe), plain)
    with edit.on(wrap(pipe)):
        torch.testing.assert_close(prediction(pipe), erased)
    torch.testing.assert_close(prediction(pipe), plain)
    with pytest.raises(RunError, match="fused"):
        UCE()(wrap(pipe), Concept(erase="pig", alternative="cow"))


def test_a_lora_of_peft_is_seen_through(edit):
    from peft import LoraConfig

    pipe = tiny_pipeline()
    edit = identified(edit, pipe)
    plain = UCE()(wrap(pipe), Concept(erase="pig", alternative="cow"))
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_k", "to_v"], init_lora_weights=False))
    with_lora = prediction(pipe)
    edit.apply(pipe)
    assert not torch.equal(prediction(pipe), with_lora)
    edit.remove(pipe)
    assert torch.equal(prediction(pipe), with_lora)
    beside = UCE()(wrap(pipe), Concept(erase="pig", alternative="cow"))
    assert same(plain.tensors(), beside.tensors())


def test_a_compiled_network_is_seen_through(edit):
    pipe = tiny_pipeline()
    base = state(pipe.unet)
    unet = pipe.unet
    pipe.unet = torch.compile(unet, backend="eager")
    edit.apply(pipe)
    assert not same(base, state(unet))
    edit.remove(pipe)
    assert same(base, state(unet))


def test_offloaded_weights_are_refused(edit):
    pipe = tiny_pipeline()
    pipe.unet.to("meta")
    with pytest.raises(InputError, match="not in memory"):
        edit.apply(pipe)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_numbers_that_are_none_are_refused(edit, value, tmp_path):
    deltas = dict(edit.deltas)
    last = list(deltas)[-1]
    deltas[last] = deltas[last].clone()
    deltas[last][0, 0] = value
    pipe = tiny_pipeline()
    base, broken = state(pipe.unet), Edit(deltas, edit.card)
    with pytest.raises(InputError, match="not finite"):
        broken.apply(pipe)
    assert same(base, state(pipe.unet))
    with pytest.raises(InputError, match="not finite"):
        export(broken, "kohya", tmp_path / "kohya.safetensors")
    with pytest.raises(InputError, match="not finite"):
        Edit.load(broken.save(tmp_path / "edit.safetensors"))


def test_apply_is_all_or_nothing(edit):
    deltas = dict(edit.deltas)
    deltas[list(deltas)[-1]] = torch.ones(3, 5)
    pipe = tiny_pipeline()
    base = state(pipe.unet)
    with pytest.raises(InputError, match="shape"):
        Edit(deltas, edit.card).apply(pipe)
    assert same(base, state(pipe.unet))


@pytest.mark.parametrize("rank", [0, -3])
def test_a_rank_is_at_least_one(edit, rank, tmp_path):
    with pytest.raises(InputError, match="from 1 to"):
        export(edit, "lora", tmp_path / "lora.safetensors", rank=rank)
