import pytest
import torch
from conftest import same, state
from support.tiny_pipelines import tiny_pipeline, tiny_xl

from unconcept import Concept, Edit, InputError, wrap
from unconcept.edits import edit_between
from unconcept.edits.applied_edits import without_edits
from unconcept.edits.provenance import IDENTITY_SAMPLE, model_identity, sample_numbers
from unconcept.edits.weight_deltas import Deltas
from unconcept.io.weights import open_safetensors, write_safetensors

SITE = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"


@pytest.fixture
def edits(model):
    weight = model.components["unet"].get_parameter(SITE.removeprefix("unet."))
    torch.manual_seed(0)
    return [
        Edit({SITE: torch.randn_like(weight)}, {"model_sha256": model.fingerprint()})
        for _ in range(2)
    ]


def weight(model):
    return model.components["unet"].get_parameter(SITE.removeprefix("unet.")).detach().clone()


def test_edits_add_up_and_come_off_in_any_order(model, edits):
    base, start = state(model.pipe.unet), weight(model)
    a, b = edits
    a.apply(model)
    b.apply(model)
    torch.testing.assert_close(weight(model), start + a.deltas[SITE] + b.deltas[SITE])
    a.remove(model)
    assert torch.equal(weight(model), start + b.deltas[SITE])
    b.remove(model)
    assert same(base, state(model.pipe.unet))
    with pytest.raises(InputError, match="nothing to remove"):
        b.remove(model)
    assert same(base, state(model.pipe.unet))


def test_a_sum_of_edits_is_one_edit(model, edits):
    a, b = edits
    (both := a + b).apply(model)
    once = weight(model)
    both.remove(model)
    a.apply(model)
    b.apply(model)
    torch.testing.assert_close(once, weight(model))
    total = Edit({}, {"method": "m", "training": 1, "concepts": [1]}) + Edit(
        {}, {"method": "m", "training": 2, "concepts": [2]}
    )
    assert total.card == {"method": "m", "concepts": [1, 2]}
    with pytest.raises(InputError, match="two models"):
        a + Edit(b.deltas, {"model_sha256": "another"})
    with pytest.raises(InputError, match="attn2"):
        Edit({}, {}, {"unet.attn2": None}) + Edit({}, {}, {"unet.attn2": None})


def test_pairs_are_one_with_their_products(model, tmp_path):
    """Δ = U V: saved, loaded, dialled, added up, put on and taken off as Δ itself."""
    base, w = state(model.pipe.unet), weight(model)
    U, V, full = torch.randn(len(w), 2), torch.randn(2, w.shape[1]), torch.randn_like(w)
    pair, whole = Edit(Deltas({}, {SITE: (U, V)})), Edit({SITE: full})
    loaded = Edit.load(pair.save(tmp_path / "pair.safetensors"))
    assert loaded.fingerprint() == pair.fingerprint() != Edit({SITE: U @ V}).fingerprint()
    assert set(loaded.tensors()) == {f"{SITE}:up", f"{SITE}:down"}
    torch.testing.assert_close(loaded.scale(0.3).deltas[SITE], 0.3 * U @ V)
    torch.testing.assert_close((pair + whole).deltas[SITE], U @ V + full)
    torch.testing.assert_close((whole + pair).deltas[SITE], U @ V + full)
    twice, often = pair + pair.scale(2.0), sum([pair] * 20, Edit({}))
    torch.testing.assert_close(twice.deltas[SITE], 3 * U @ V)
    torch.testing.assert_close(often.deltas[SITE], 20 * U @ V)
    assert [t.shape[1] for t in twice.tensors().values()] == [4, w.shape[1]], "ranks add up"
    assert set(often.tensors()) == {SITE}, "until a whole one is smaller"
    other = SITE.replace("to_k", "to_v")
    assert list((pair + Edit({other: full})).tensors()) == [other, f"{SITE}:up", f"{SITE}:down"]
    with pair.on(model):
        inside = model.components["unet"].get_submodule(SITE[5:-7]).weight.clone()
    loaded.apply(model)
    torch.testing.assert_close(weight(model), w + U @ V)
    assert torch.equal(weight(model), inside)
    pair.remove(model)
    assert same(base, state(model.pipe.unet))


def test_scale(model, edits):
    start = weight(model)
    half = edits[0].scale(0.5)
    half.apply(model)
    assert torch.equal(weight(model), start + 0.5 * edits[0].deltas[SITE])
    half.remove(model)
    with edits[0].scale(0.0).on(model):
        assert torch.equal(model.components["unet"].get_submodule(SITE[5:-7]).weight, start)


def test_the_fingerprint_does_not_depend_on_the_memory_format(model):
    before = model.fingerprint()
    model.pipe.unet.to(memory_format=torch.channels_last)
    assert model.fingerprint() == before


def test_a_few_numbers_of_a_very_large_tensor():
    """Of 2**24 + 4 numbers float32 counts the last as one too many."""
    large = torch.zeros(2**24 + 4, dtype=torch.int8)
    large[-1] = 1
    assert sample_numbers(large).tolist() == [0] * (IDENTITY_SAMPLE[1] - 1) + [1]


def test_the_fingerprint_looks_through_applied_edits(model, edits):
    before = model.fingerprint()
    edits[0].apply(model)
    assert model.fingerprint() != before
    with without_edits(model):
        assert model.fingerprint() == before
    edits[1].apply(model)  # so a second edit of the same base goes on


def test_an_edit_of_another_model_is_refused(model, edits, caplog):
    foreign = Edit(edits[0].deltas, {"model_sha256": "0" * 64})
    with pytest.raises(InputError, match="--force"):
        foreign.apply(model)
    before = weight(model)
    foreign.apply(model, force=True)
    assert "made for another model" in caplog.text
    assert torch.equal(weight(model), before + foreign.deltas[SITE])


def test_an_exception_inside_on_leaves_the_model_whole(model, edits):
    base = state(model.pipe.unet)
    with pytest.raises(RuntimeError, match="inside"), edits[0].on(model):
        raise RuntimeError("inside")
    assert same(base, state(model.pipe.unet))


def test_gradients_flow_through_swapped_tensors(model):
    from unconcept.edits.parameters import swap_parameters

    delta = torch.zeros_like(weight(model), requires_grad=True)
    with swap_parameters(model.components, {SITE: weight(model) + delta}):
        out = model.predict(torch.randn(1, 4, 8, 8), torch.tensor([10]), model.encode(["a cat"]))
        out.square().sum().backward()
    assert delta.grad is not None
    assert delta.grad.abs().sum() > 0


def test_weight_groups_are_never_empty(model):
    names = [site.name for site in model.weight_group("cross-attention keys and values")]
    assert names
    assert all(name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) for name in names)
    assert all(site.reads for site in model.weight_group("cross-attention keys and values"))
    with pytest.raises(InputError, match="unknown weight group"):
        model.weight_group("xattn")


def test_the_fingerprint_is_the_same_after_a_swap(model):
    """Putting a parameter back may change the order of its module's parameters."""
    before = model.fingerprint()
    with Edit({"unet.conv_in.weight": torch.ones_like(model.components["unet"].conv_in.weight)}).on(
        model
    ):
        assert model.fingerprint() != before
    assert model.fingerprint() == before


def test_an_edit_that_is_loaded_anew_is_the_same_one(model, edits, tmp_path):
    base, file = state(model.pipe.unet), edits[0].save(tmp_path / "edit.safetensors")
    Edit.load(file).apply(model)
    edits[1].apply(model)
    Edit.load(file).remove(model)
    assert torch.equal(weight(model), base[SITE.removeprefix("unet.")] + edits[1].deltas[SITE])
    edits[1].remove(model)
    assert same(base, state(model.pipe.unet))


def test_what_is_loaded_into_a_model_after_an_edit_came_off_is_what_the_next_is_put_on(
    model, edits
):
    edits[0].apply(model)
    edits[0].remove(model)
    other = {
        name: t + 1 if t.is_floating_point() else t for name, t in state(model.pipe.unet).items()
    }
    model.pipe.unet.load_state_dict(other)
    edits[1].apply(model, force=True)
    torch.testing.assert_close(
        weight(model), other[SITE.removeprefix("unet.")] + edits[1].deltas[SITE]
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_edit_fits_its_model_in_any_precision(dtype):
    """Edits are made in single precision. Rounded to fp16 and then to bf16 the weights have another
    hash and are recognized all the same; other weights are not, and near ones are a relative's.
    """
    about = model_identity(wrap(tiny_pipeline()))
    assert Edit({}, about).check(wrap(tiny_pipeline().to(dtype))) is None
    other = tiny_pipeline().to(dtype)
    for p in other.unet.parameters():
        p.data.mul_(1.02)
    assert "relative" in Edit({}, about).check(wrap(other))
    for p in other.unet.parameters():
        p.data.mul_(2)
    with pytest.raises(InputError, match="another model"):
        Edit({}, about).check(wrap(other))


def test_an_erased_pipeline_is_an_edit_too(model, edits):
    """What another tool left in a whole pipeline is the difference of the two."""
    edit, concept = edits[0], Concept(erase="pig", alternative="cow")
    other = wrap(tiny_pipeline(), ("cat", "dog"))
    with pytest.raises(InputError, match="the same to the last weight"):
        edit_between(model, other, [concept])
    edit.apply(other, force=True)
    difference = edit_between(model, other, [concept])
    assert difference.deltas.keys() == edit.deltas.keys()
    assert all(
        torch.allclose(difference.deltas[name], edit.deltas[name], atol=1e-6)
        for name in edit.deltas
    )
    assert difference.card["concepts"][0]["erase"] == "pig"
    with pytest.raises(InputError, match="same architecture"):
        edit_between(model, wrap(tiny_xl(), ()), [concept])


def test_the_same_content_is_the_same_bytes(tmp_path):
    """Whatever the order of metadata in safetensors, and whatever their content."""
    about = {f"k{i}": f'"quoted" \\ \n \x07 ü 😀 \u2028 {i}' for i in range(8)}
    files = [
        write_safetensors(
            {"b": torch.ones(3), "a": torch.zeros(2, 2)}, tmp_path / f"{i}.safetensors", about
        )
        for i in range(4)
    ]
    assert len({file.read_bytes() for file in files}) == 1
    tensors, metadata = open_safetensors(files[0])
    assert (metadata, tensors["b"].tolist(), tensors["a"].tolist()) == (
        about,
        [1.0] * 3,
        [[0.0] * 2] * 2,
    )
