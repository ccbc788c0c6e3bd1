import torch

from unconcept.models.sd import STATES
from unconcept.train import whitening
from unconcept.trajectories import record


def test_whitening_by_hand():
    """Two directions, one used with second moment 4, one unused: C/c̄ = diag(2, 0), so (2 + μ)^(-1/2) and μ^(-1/2)."""
    states = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
    P = whitening(states, mu=0.25)
    torch.testing.assert_close(P, torch.diag(torch.tensor([2.25, 0.25], dtype=torch.float64).rsqrt()))


def test_the_replay_holds_what_the_model_says(model):
    drive, asked = ["a cat", "a dog", "a tree"], {"c": [["a pig"], ["a cat", "a horse"], ["a dog"]], "null": [[""]] * 3}
    z = record(model, drive, asked, seed=3, steps=6, guidance=2.0, points=3, batch=4)
    assert len(z) == 9
    assert z.trajectory.bincount().tolist() == [3, 3, 3]
    for role in asked:
        torch.testing.assert_close(z.said[role], model.predict(z.x, z.t, z.asked[role]), rtol=1e-4, atol=1e-5)
    cat, horse = model.encode(["a cat", "a horse"])[STATES]
    heard = z.asked["c"][STATES][z.trajectory == 1]
    torch.testing.assert_close(heard, torch.stack([cat, horse, cat]))
    again = record(model, drive, asked, seed=3, steps=6, guidance=2.0, points=3, batch=4)
    assert torch.equal(z.x, again.x)
    other = record(model, drive, asked, seed=4, steps=6, guidance=2.0, points=3, batch=4)
    assert not torch.equal(z.x[z.t == z.t.max()], other.x[other.t == other.t.max()])


def test_no_trajectory_is_on_both_sides_of_the_split(model):
    z = record(model, ["a cat"] * 10, {"k": [["a cat"]] * 10}, seed=0, steps=4, guidance=1.0, points=2)
    train, held = z.split(0.2)
    assert not set(train.trajectory.tolist()) & set(held.trajectory.tolist())
    assert len(train) + len(held) == len(z)
    assert len(held) == 4


def test_a_picture_depends_on_its_own_seed_alone(model):
    x = model.sample(["a cat", "a dog"], [7, 8], steps=3, guidance=2.0)
    y = model.sample(["a dog"], [8], steps=3, guidance=2.0)
    torch.testing.assert_close(x[1:], y, rtol=1e-4, atol=1e-5)
    assert torch.equal(x, model.sample(["a cat", "a dog"], [7, 8], steps=3, guidance=2.0))
