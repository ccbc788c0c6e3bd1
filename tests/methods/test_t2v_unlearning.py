"""T2VUnlearning's parts by hand: masks of frames, target, long prompts, joint attention."""

import pytest
import torch
from support.tiny_videos import tiny_video
from torch.nn import functional

from unconcept import Concept, Edit, InputError, wrap
from unconcept.concepts.sentences import DOINGS, OPENINGS, long_prompts, phrases
from unconcept.edits.adapters import Eraser
from unconcept.edits.hooks import attach_adapters
from unconcept.methods.t2v_unlearning import KNOWN_SETTINGS, T2VUnlearning, name_tokens
from unconcept.training.adapter_trainer import mark_concept, outside_energy
from unconcept.training.replay import Replay

PIG = Concept(erase="pig", alternative="cow", templates=("a {}",))
QUICK = dict(steps=2, rank=4, trajectories=2, points=2, sampling_steps=2)


@pytest.fixture(scope="module")
def wan():
    return wrap(tiny_video("wan"), ("cat", "dog"))


@pytest.fixture(scope="module")
def cog():
    return wrap(tiny_video("cogvideox"), ("cat", "dog"))


def test_each_frame_is_marked_by_itself_or_the_whole_clip():
    """Attention of two frames of two places: 1 and 3, 10 and 30."""
    maps = torch.tensor([[[[1.0, 3.0]], [[10.0, 30.0]]]])
    assert mark_concept(maps, 0.5).flatten().tolist() == [0, 1, 0, 1]
    assert mark_concept(maps, 0.5, each_frame=False).flatten().tolist() == [0, 0, 0, 1]
    assert mark_concept(maps, 0.3, each_frame=False).flatten().tolist() == [0, 0, 1, 1]
    assert mark_concept(maps[:, 0], 0.5).shape == (1, 1, 1, 2), "an image is one frame"


def test_what_is_added_outside_the_masks():
    """Two frames of 1 x 2 places, width 2: 1, 2, 3, 4 is added, and places 1 and 2 are marked.

    Outside are 1 and 4 in two places: (1 + 16) / 2. The rows may be clips or frames.
    """
    added = torch.tensor([1.0, 2, 3, 4]).view(1, 4, 1).expand(1, 4, 2)
    marked = torch.tensor([[[[0.0, 1]], [[1, 0]]]])
    assert outside_energy(added, marked).item() == 8.5
    assert outside_energy(added.reshape(2, 2, 2), marked).item() == 8.5
    finer = marked.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert outside_energy(added, finer).item() == 8.5, "masks are resized to the eraser's places"


def test_the_target_by_hand():
    """ε*(c) = 3 and ε*(∅) = 1: with η = 2 the student is led to 1 − 2·2 = −3."""
    shape = (1, 1, 2, 1, 1)
    z = Replay(
        torch.zeros(shape),
        torch.zeros(1),
        torch.zeros(1).long(),
        {"c": {}, "k": {}},
        {"c": torch.full(shape, 3.0), "null": torch.ones(shape), "k": torch.full(shape, 2.0)},
    )
    method = T2VUnlearning(eta=2.0)
    assert method.loss(lambda x, t, c: torch.full(shape, -3.0), z).item() == 0.0
    assert method.loss(lambda x, t, c: torch.zeros(shape), z).item() == 9.0
    assert method.keep_loss(lambda x, t, c: torch.zeros(shape), z).item() == 4.0


def test_long_prompts_have_twins():
    prompts = long_prompts(PIG, 40)
    assert prompts == long_prompts(PIG, 40)
    assert len({prompt.text for prompt in prompts}) > 35
    for prompt in prompts:
        assert "a pig" in prompt.text
        assert prompt.twin == prompt.text.replace("a pig", "a cow")
        assert prompt.text.startswith(f"{prompt.before} {prompt.name} ")
        assert prompt.before.endswith(" a")
    assert "something" in long_prompts(Concept(erase="pig"), 1)[0].twin
    style = long_prompts(Concept(erase="van gogh", kind="style"), 1)[0]
    assert "a house in the style of van gogh" in style.text
    assert "style" not in style.twin


def test_a_third_of_the_phrases_is_held_out():
    for items in (OPENINGS, DOINGS):
        trained, held_out = phrases(items, False), phrases(items, True)
        assert sorted([*trained, *held_out]) == sorted(items)
        assert len(trained) == 2 * len(held_out)
    for prompt in long_prompts(PIG, 20, held_out=True):
        assert not any(prompt.text.startswith(opening) for opening in phrases(OPENINGS, False))


@pytest.mark.parametrize("fixture", ["wan", "cog"])
def test_the_tokens_of_a_name(fixture, request):
    """The tests' tokenizer has a token for each letter, and one for each word's beginning."""
    model = request.getfixturevalue(fixture)
    prompt = long_prompts(PIG, 1)[0]
    prompt = type(prompt)("A b pig", "A b cow", "A b", "pig")
    ids = model.pipe.tokenizer("A b pig").input_ids
    tokens = [
        model.pipe.tokenizer.convert_ids_to_tokens(ids[i]) for i in name_tokens(model, prompt)
    ]
    assert "".join(tokens).strip("▁") == "pig"


def test_attention_of_a_joint_model_is_what_it_computes(cog, monkeypatch):
    """Queries and keys as they reach the attention: behind norms and rotary embedding."""
    seen = []
    plain = functional.scaled_dot_product_attention

    def record(q, k, v, **more):
        seen.append((q, k))
        return plain(q, k, v, **more)

    x, t = torch.randn(2, *cog.latent_shape), torch.tensor([500, 900])
    condition = cog.encode(["a pig", "a cat"])
    n = condition[cog.prompt_states_key].shape[1]
    maps = cog.attention(x, t, condition, [1, 3])
    monkeypatch.setattr(functional, "scaled_dot_product_attention", record)
    cog.predict(x, t, condition)
    assert len(seen) == len(maps)
    for (q, k), share in zip(seen, maps.values()):
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        expected = weights[:, :, n:, [1, 3]].sum(-1).mean(1)
        torch.testing.assert_close(share.flatten(1), expected)


def test_an_eraser_of_a_joint_model_changes_the_video_alone(cog):
    site, width = next(iter(cog.cross_attentions().items()))
    eraser = Eraser(width, rank=2)
    torch.nn.init.ones_(eraser.up.bias)
    outputs = []
    attention = cog.denoiser.get_submodule(site.partition(".")[2])

    def record(module, args, output):
        outputs.append(output)

    x, t = torch.randn(1, *cog.latent_shape), torch.tensor([500])
    condition = cog.encode(["a pig"])
    for adapters in ({}, {site: eraser}):
        with attach_adapters(cog.components, adapters):
            handle = attention.register_forward_hook(record)
            cog.predict(x, t, condition)
            handle.remove()
    (video, text), (erased, text_after) = outputs
    torch.testing.assert_close(erased, video + 1)
    assert torch.equal(text, text_after)


@pytest.mark.parametrize("fixture", ["wan", "cog"])
def test_it_erases_and_comes_back_from_a_file(fixture, request, tmp_path):
    """Its loss falls, the base stays, and the file holds the edit."""
    model = request.getfixturevalue(fixture)
    losses = []

    def record(progress):
        if progress.loss is not None:
            losses.append(progress.loss)

    before = model.fingerprint()
    method = T2VUnlearning(**{**QUICK, "steps": 40}, lr=1e-2, alpha=0.0, beta=0.0)
    edit = method(model, PIG, progress=record)
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    assert model.fingerprint() == before
    assert edit.adapters.keys() == model.cross_attentions().keys()
    loaded = Edit.load(edit.save(tmp_path / "edit.safetensors"))
    x, t = torch.randn(1, *model.latent_shape), torch.tensor([500])
    condition = model.encode(["a pig"])
    plain = model.predict(x, t, condition)
    with edit.on(model):
        erased = model.predict(x, t, condition)
    with loaded.on(model):
        assert torch.equal(model.predict(x, t, condition), erased)
    assert not torch.equal(plain, erased)
    assert torch.equal(model.predict(x, t, condition), plain)


def test_known_settings_are_settings():
    for settings in KNOWN_SETTINGS.values():
        T2VUnlearning(**settings)


def test_two_denoisers_and_a_batch():
    model = wrap(tiny_video("wan, two experts"), ("cat", "dog"))
    with pytest.raises(InputError, match="two denoisers"):
        T2VUnlearning(batch_size=2)(model, PIG)
    edit = T2VUnlearning(**QUICK)(model, PIG)
    assert {site.partition(".")[0] for site in edit.adapters} == {"transformer", "transformer_2"}
