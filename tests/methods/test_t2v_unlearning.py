"""T2VUnlearning's parts by hand: masks of frames, target, long prompts, joint attention."""

import pytest
import torch
from support.tiny_videos import tiny_video
from support.waves import near, wave
from torch.nn import functional

from unconcept import Concept, Edit, InputError, wrap
from unconcept.concepts.sentences import DOINGS, OPENINGS, long_prompts, phrases
from unconcept.edits.adapters import Eraser
from unconcept.edits.hooks import attach_adapters
from unconcept.methods.t2v_unlearning import KNOWN_SETTINGS, T2VUnlearning, name_tokens
from unconcept.models.attention_share import joint_share, split_heads, to_maps
from unconcept.training.adapter_trainer import mark_concept, normalize_frames, outside_energy
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


# The next three: TobisawaMisakii/T2VUnlearning@f626c6f, a third party's repository, which has the
# authors' adapter and masks and its own training. It has no licence, so none of its code is here:
# the numbers were obtained by running it on the waves of tests/support/waves.py.


def test_the_eraser_is_theirs():
    """CogVideoXWithEraser.forward() of receler/erasers/cogvideo_erasers.py: width 4, rank 3."""
    shapes = {
        "down.weight": wave(3, 4, start=1.0),
        "down.bias": wave(3, start=2.0),
        "up.weight": wave(4, 3, start=3.0),
        "up.bias": wave(4, start=4.0),
        "strength": torch.ones(()),
    }
    erased = Eraser.of(shapes)(wave(1, 2, 4, start=5.0))
    assert erased.flatten().tolist() == near(
        [-1.722914, -0.275104, 1.662774, -0.245144, -1.376364, 0.508039, 1.503866, -0.775189]
    )


NORMALIZED = [
    [0.945477, 0.999996, 0.761868, 0.369955, 0.104424, 0.0],
    [0.0, 0.01861, 0.104564, 0.296229, 0.607579, 0.999994],
]
MARKED = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("text_first", [True, False], ids=["cogvideo", "hunyuan"])
def test_the_masks_are_theirs(text_first):
    """get_cross_attn_mask() and get_mask() (τ = 0.5) of receler/concept_reg_cogvideo.py, and
    get_cross_attn_mask() of receler/concept_reg_hunyuan.py, from the same queries and keys: three
    text tokens, of which two count, two frames of 2 x 3 places, two heads.

    They add 1e-6 to the range of each frame, so that their largest value is a little below 1.
    """
    q, k = (1.5 * wave(1, 15, 4, start=start) for start in (1.0, 2.0))
    columns, video = [1, 2], slice(3, None)
    if not text_first:
        q, k = (torch.cat([y[:, 3:], y[:, :3]], dim=1) for y in (q, k))
        columns, video = [13, 14], slice(0, 12)
    q, k = split_heads(q, None, 2), split_heads(k, None, 2)
    share = joint_share(q[:, :, video], k, columns, None)
    maps = to_maps(share, torch.zeros(1, 2, 4, 2, 3), 2)
    assert normalize_frames(maps).flatten().tolist() == near(NORMALIZED)
    assert mark_concept(maps, 0.5).flatten().tolist() == MARKED


def test_the_target_is_theirs():
    """`v_neg`, `loss_unlearn` and `loss_preserve` of unlearn_train_cogvideox_decomposed.py, η = 7.

    Its localization loss is 0, so with β = 0.5 their sum is `loss`, 29.307432.
    """
    shape = (1, 2, 2, 1, 2)
    null, unsafe, safe, erased_unsafe, erased_safe = (wave(*shape, start=1.0 + i) for i in range(5))
    z = Replay(
        torch.zeros(shape),
        torch.zeros(1),
        torch.zeros(1).long(),
        {"c": {}, "k": {}},
        {"c": unsafe, "null": null, "k": safe},
    )
    method = T2VUnlearning(eta=7.0)
    target = [0.366686, 7.127892, -2.203466, -6.560082, 3.893927, 5.556662, -5.325821, -4.184254]
    v_neg = torch.tensor(target).view(shape)
    assert method.loss(lambda x, t, c: v_neg, z).item() == pytest.approx(0.0, abs=1e-10)
    unlearn = method.loss(lambda x, t, c: erased_unsafe, z)
    preserve = method.keep_loss(lambda x, t, c: erased_safe, z)
    assert unlearn.item() == pytest.approx(28.561234, rel=1e-6)
    assert preserve.item() == pytest.approx(1.492398, rel=1e-6)
    assert (unlearn + 0.5 * preserve).item() == pytest.approx(29.307432, rel=1e-6)
