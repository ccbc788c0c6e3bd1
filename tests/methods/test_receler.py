"""Receler's parts by hand: eraser, mask, local regularization, and the adversary's states."""

import pytest
import torch

from unconcept import Concept, Edit
from unconcept.edits.adapters import Eraser
from unconcept.methods.receler import Receler
from unconcept.training.adversary import Adversary, append_states, random_states
from unconcept.training.distributed import micro_batches
from unconcept.training.replay import Replay

X = torch.zeros(2, 1, 1, 1)


def quick_adversary(prompts: int, steps: int) -> Adversary:
    """Two states of width 1 for each prompt."""
    P = random_states(prompts, 2, 1, torch.Generator().manual_seed(0))
    return Adversary(P, "states", steps=steps, lr=0.1)


def test_an_eraser_begins_as_nothing():
    eraser = Eraser(6, rank=3)
    y = torch.randn(2, 4, 6)
    assert torch.equal(eraser(y), y)
    torch.nn.init.ones_(eraser.up.bias)
    torch.testing.assert_close(eraser(y), y + 1)
    assert torch.equal(Eraser.of(eraser.state_dict())(y), eraser(y))


def test_the_mask_by_hand():
    """Of maps of 4 and 8 the larger is nearer to 16. Of 0, 1 and 10 the least becomes 0 and the
    largest 1; only values above a tenth are in the mask.
    """
    fine = torch.zeros(1, 8, 8)
    fine[0, 0, :3] = torch.tensor([0.5, 2.0, 10.0])
    mask = Receler(threshold=0.1).concept_mask({"a": torch.ones(1, 4, 4), "b": fine})
    assert mask.shape == (1, 1, 8, 8)
    assert mask.flatten().nonzero().flatten().tolist() == [1, 2]


def test_locality_by_hand():
    """Four places, one inside the mask. The eraser adds 2 everywhere in 3 channels: outside it is 3
    places · 4 / 3 places = 4.
    """
    eraser = Eraser(3)
    eraser.added = torch.full((1, 4, 3), 2.0)
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    assert Receler().locality({"a": eraser}, mask).item() == 4.0
    assert Receler().locality({"a": eraser}, torch.ones(1, 1, 2, 2)).item() == 0.0


def test_the_adversary_writes_behind_the_concept():
    c = {"states": torch.arange(5.0).view(1, 5, 1).expand(1, 5, 2)}
    P = torch.full((1, 2, 2), 9.0)

    def written(end: int) -> list[float]:
        return append_states(c, "states", P, torch.tensor([end]))["states"][0, :, 0].tolist()

    assert written(1) == [0, 1, 9, 9, 4]
    assert written(3) == [0, 1, 2, 3, 9], "no more than there is room for"


@pytest.mark.parametrize("parts", [1, 8])
def test_the_adversary_stands_at_every_other_point_however_the_batch_is_parted(parts):
    n, one = 8, torch.ones((), requires_grad=True)
    c = {"states": torch.zeros(n, 5, 1)}
    whole = Replay(
        torch.zeros(n, 1, 1), torch.zeros(n), torch.zeros(n), {"c": c}, {"c": torch.ones(n, 1, 1)}
    ).batch(torch.arange(n))
    adversary = quick_adversary(prompts=1, steps=1)

    def student(x, t, condition):
        return one * condition["states"].sum((1, 2), keepdim=True)

    pieces = [whole[share] for share in micro_batches(n, parts)]
    states = torch.cat(
        [
            adversary.disguise_batch(z, student, torch.zeros(len(z)).long()).conditions["c"][
                "states"
            ]
            for z in pieces
        ]
    )
    assert states[::2].abs().sum() == 0
    assert (states[1::2, -2:] > 0).all()
    assert states[1::2, :-2].abs().sum() == 0


def test_the_adversary_is_seen_where_tokens_are_masked():
    c = {
        "states": torch.zeros(2, 6, 1),
        "mask": torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]]).bool(),
        "pooled": torch.zeros(2, 6),
    }
    z = Replay(
        torch.zeros(2, 1, 1), torch.zeros(2), torch.zeros(2), {"c": c}, {"c": torch.ones(2, 1, 1)}
    )
    adversary = quick_adversary(prompts=1, steps=1)
    one = torch.ones((), requires_grad=True)

    def student(x, t, condition):
        visible = condition["states"] * condition["mask"][..., None]
        return one * visible.sum((1, 2), keepdim=True)

    batch = adversary.disguise_batch(z[torch.tensor([1, 0])], student, torch.zeros(2).long())
    disguised = batch.conditions["c"]
    assert disguised["mask"].tolist() == [[True] * 5 + [False], [True] * 4 + [False] * 2], (
        "the second point has two more tokens"
    )
    assert (disguised["states"][1, 2:4] > 0).all()
    assert disguised["pooled"].abs().sum() == 0


def test_the_adversary_finds_what_was_said():
    """A student that predicts the sum of the states behind the concept, and a teacher that predicts
    6: P reaches it, and no other prompt's P changes.
    """
    c = {"states": torch.zeros(2, 3, 1)}
    weight = torch.ones((), requires_grad=True)

    def student(x, t, condition):
        return weight * condition["states"].sum((1, 2), keepdim=True)

    last_token, prompt = torch.tensor([0, 0]), torch.tensor([1, 1])
    point = Replay(X, X, prompt, {"c": c}, {"c": torch.full((2, 1, 1), 6.0)})
    adversary = quick_adversary(prompts=3, steps=300)
    first = adversary.P.clone()
    adversary.attack(student, point, last_token, prompt)
    assert adversary.P[1].sum().item() == pytest.approx(6.0, abs=0.5)
    assert torch.equal(adversary.P[[0, 2]], first[[0, 2]])
    assert weight.grad is None, "the student learns nothing from being attacked"


def test_attention_is_what_the_model_looks_at(model):
    """Over all tokens it adds up to 1 everywhere."""
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([500, 20])
    c = model.encode(["a pig", "a cat"])
    every = model.attention(x, t, c, range(c[model.prompt_states_key].shape[1]))
    assert set(every) == set(model.cross_attentions())
    for site, map_ in every.items():
        torch.testing.assert_close(map_, torch.ones_like(map_))
        one = model.attention(x, t, c, [1])[site]
        assert ((one > 0) & (one < 1)).all()


def test_an_unknown_adapter_is_refused(model, tmp_path):
    from unconcept.errors import InputError

    edit = Receler(steps=1, attacks=1, rank=2, tokens=2, sampling_steps=2)(
        model, Concept(erase="pig")
    )
    assert not edit.deltas
    path = edit.save(tmp_path / "edit.safetensors")
    path.write_bytes(path.read_bytes().replace(b'\\"eraser\\"', b'\\"erazer\\"'))
    with pytest.raises(InputError, match="erazer"):
        Edit.load(path)
