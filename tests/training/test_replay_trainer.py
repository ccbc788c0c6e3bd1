from dataclasses import replace
from unittest import mock

import torch

from unconcept import AllButOne, Concept, Tune
from unconcept.export.lora import to_lora
from unconcept.models import conditioning
from unconcept.models.conditioning import encode_points, gather_conditions
from unconcept.models.interface import Sampling
from unconcept.models.pipeline_model import STATES
from unconcept.training.replay import Replay, ReplayPlan, record
from unconcept.training.replay_trainer import adamw
from unconcept.training.trainable_delta import SharedProjection, TrainableDelta, project_rows
from unconcept.training.whitening import whitening_matrix


def test_whitening_by_hand():
    """Two directions, one used with second moment 4, one unused: C/c̄ = diag(2, 0), so (2 +
    μ)^(-1/2) and μ^(-1/2).
    """
    states = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
    P = whitening_matrix([states], mu=0.25)
    torch.testing.assert_close(
        P, torch.diag(torch.tensor([2.25, 0.25], dtype=torch.float64).rsqrt())
    )


def test_the_size_of_a_whitened_change_is_what_it_does_to_what_is_kept():
    """‖A‖² = E ‖Δ e‖² / c̄ + μ ‖Δ‖² with Δ = A P: weight decay of A preserves."""
    states, A, mu = (
        torch.randn(50, 6, dtype=torch.float64) * torch.arange(1, 7),
        torch.randn(4, 6, dtype=torch.float64),
        0.01,
    )
    delta, c = A @ whitening_matrix([states], mu), states.square().mean()
    moved = (states @ delta.T).square().sum(1).mean()
    torch.testing.assert_close(A.square().sum(), moved / c + mu * delta.square().sum())


def test_whitening_in_parts_is_that_of_the_whole():
    """Sums in another order are equal up to the last bits of double precision. No more than a chunk
    is in double precision at once.
    """
    states = torch.randn(60, 7, 8) * torch.arange(1, 9)
    whole = whitening_matrix([states], mu=3e-4)
    torch.testing.assert_close(
        whitening_matrix(iter(states.split(7)), mu=3e-4), whole, rtol=1e-12, atol=1e-12
    )
    assert torch.equal(whitening_matrix(iter([states]), mu=3e-4), whole)


def test_prompts_are_read_in_parts(model, monkeypatch):
    prompts = [f"a {word}" for word in "abcdefg"]
    whole = model.encode(prompts)[STATES]
    monkeypatch.setattr(conditioning, "MAX_CONDITION_NUMBERS", 3 * whole[0].numel())
    assert [len(condition[STATES]) for condition in encode_points(model, prompts)] == [3, 3, 1]
    torch.testing.assert_close(gather_conditions(model, prompts)[STATES], whole)


def test_decay_draws_to_0_what_began_there(model):
    change = TrainableDelta(
        model, "cross-attention keys and values", rank=2, generator=torch.Generator().manual_seed(0)
    )
    began = [d.detach().clone() for d in change.D.values()]
    for u in change.U.values():
        torch.nn.init.ones_(u)
    optimizer = adamw(change, Tune(lr=1e-2, decay=10.0))
    for p in change.trained:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert all(torch.allclose(u, torch.tensor(0.9)) for u in change.U.values())
    assert all(torch.equal(now, d) for now, d in zip(change.D.values(), began))


def test_the_replay_holds_what_the_model_says(model):
    drive, prompts = (
        ["a cat", "a dog", "a tree"],
        {"c": [["a pig"], ["a cat", "a horse"], ["a dog"]], "null": [[""]] * 3},
    )
    plan = ReplayPlan(drive=drive, prompts=prompts, seed=3, steps=6, guidance=2.0, points=3)
    z = record(model, plan, batch_size=4)
    assert len(z) == 9
    assert z.trajectory.bincount().tolist() == [3, 3, 3]
    for role in prompts:
        torch.testing.assert_close(
            z.targets[role], model.predict(z.x, z.t, z.conditions[role]), rtol=1e-4, atol=1e-5
        )
    cat, horse = model.encode(["a cat", "a horse"])[STATES]
    heard = z.conditions["c"][STATES][z.trajectory == 1]
    torch.testing.assert_close(heard, torch.stack([cat, horse, cat]))
    again = record(model, plan, batch_size=4)
    assert torch.equal(z.x, again.x)
    other = record(model, replace(plan, seed=4), batch_size=4)
    assert not torch.equal(z.x[z.t == z.t.max()], other.x[other.t == other.t.max()])


def test_no_trajectory_is_on_both_sides_of_the_split(model):
    prompts = {"k": [["a cat"]] * 10}
    z = record(
        model,
        ReplayPlan(drive=["a cat"] * 10, prompts=prompts, seed=0, steps=4, guidance=1.0, points=2),
    )
    train, held = z.split(0.2)
    assert not set(z.trajectory[train].tolist()) & set(z.trajectory[held].tolist())
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(len(z)))
    assert len(held) == 4


def test_a_replay_holds_each_prompt_once(model):
    """There are 24 rows of conditions, of 4 distinct prompts. Parts share them, a file holds no
    more, and every point still has its own.
    """
    drive, prompts = (
        ["a cat"] * 4,
        {"c": [["a pig", "a cat", "a pig"]] * 4, "k": [["a dog"], ["a tree"]] * 2},
    )
    z = record(
        model, ReplayPlan(drive=drive, prompts=prompts, seed=0, steps=3, guidance=1.0, points=3)
    )
    one = model.encode(["a pig"])[STATES].nbytes
    assert len(z) == 12
    assert sum(t.nbytes for name, t in z.tensors().items() if name.startswith("asked.")) == 4 * one
    part, again = z[torch.tensor([5, 0])], Replay.from_tensors(z.tensors())
    for role in prompts:
        assert part.conditions[role].each[STATES] is z.conditions[role].each[STATES]
        assert torch.equal(part.conditions[role][STATES], z.conditions[role][STATES][[5, 0]])
        assert torch.equal(
            part.to(model.device).conditions[role][STATES], part.conditions[role][STATES]
        )
        assert torch.equal(again.conditions[role][STATES], z.conditions[role][STATES])
    torch.testing.assert_close(
        z.conditions["k"][STATES][z.trajectory == 1], model.encode(["a tree"] * 3)[STATES]
    )


def test_an_image_depends_on_its_own_seed_alone(model):
    x = model.sample(["a cat", "a dog"], [7, 8], Sampling(steps=3, guidance=2.0))
    y = model.sample(["a dog"], [8], Sampling(steps=3, guidance=2.0))
    torch.testing.assert_close(x[1:], y, rtol=1e-4, atol=1e-5)
    assert torch.equal(x, model.sample(["a cat", "a dog"], [7, 8], Sampling(steps=3, guidance=2.0)))


def test_a_change_of_low_rank_stands_beside_its_layers(model):
    """y + U (D P x) is (W + U D P) x, and nothing is left of it."""
    P = {
        site.name: torch.rand(16, 16)
        for site in model.weight_group("cross-attention keys and values")
    }
    change = TrainableDelta(
        model,
        "cross-attention keys and values",
        rank=2,
        P=P,
        generator=torch.Generator().manual_seed(0),
    )
    x, t, c = (
        torch.randn(2, *model.latent_shape),
        torch.tensor([500, 20]),
        model.encode(["a pig", "a cat"]),
    )
    before = model.predict(x, t, c)
    with change.on():
        assert torch.equal(model.predict(x, t, c), before), "U begins at 0"
    for u in change.U.values():
        torch.nn.init.normal_(u)
    with change.on():
        beside = model.predict(x, t, c)
    with change.on(change.deltas()):
        torch.testing.assert_close(beside, model.predict(x, t, c))
    assert (beside - before).abs().max() > 1e-3
    assert torch.equal(model.predict(x, t, c), before)
    assert all(int(torch.linalg.matrix_rank(delta)) == 2 for delta in change.deltas().values())


def test_a_whole_change_behind_a_P_stands_beside_its_layers_where_a_step_reads_few_rows(model):
    """y + A (P x) is (W + A P) x, in numbers and in gradients, and P x is computed once, for all
    layers that read one prompt.
    """
    group = "cross-attention keys and values"
    mixed = torch.rand(16, 16)
    P = {site.name: mixed for site in model.weight_group(group)}
    few, many = (
        TrainableDelta(model, group, P=P, rows=rows) for rows in (15, 16)
    )  # the layers have 16 columns
    for a, b in zip(few.trained, many.trained):
        b.data.copy_(torch.nn.init.normal_(a))
    x, t, c = (
        torch.randn(2, *model.latent_shape),
        torch.tensor([500, 20]),
        model.encode(["a pig", "a cat"]),
    )
    before = model.predict(x, t, c)
    answers = {}
    for change in (few, many):
        with (
            change.on(),
            mock.patch(
                "unconcept.training.trainable_delta.project_rows", side_effect=project_rows
            ) as reads,
        ):
            answers[change] = model.predict(x, t, c)
            answers[change].square().sum().backward()
        assert reads.call_count == (change is few)
    torch.testing.assert_close(answers[few], answers[many], rtol=1e-4, atol=1e-4)
    for a, b in zip(few.trained, many.trained):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-3)
    assert (answers[few] - before).abs().max() > 1e-3
    assert torch.equal(model.predict(x, t, c), before), "nothing is left of it"


def test_an_edit_of_few_rows_is_that_of_many(model, monkeypatch):
    """A step reads the conditions c, a, ∅ and k of every point; whether that is few depends on the
    layers' columns.
    """
    seen, edits, rows = [], [], 4 * model.encode([""])[STATES].shape[1]
    factored_layers = TrainableDelta.factored_layers

    def counted(self):
        layers = factored_layers(self)
        seen.append(len(layers))
        return layers

    monkeypatch.setattr(TrainableDelta, "factored_layers", counted)
    method = AllButOne(
        start="none",
        rounds=1,
        trajectories=4,
        points=2,
        sampling_steps=4,
        tune=Tune(steps=3, batch_size=2, gradient_accumulation=2, check=3, lr=1e-2),
    )
    for columns in (rows, rows + 1):
        monkeypatch.setattr(
            torch.nn.Linear,
            "in_features",
            property(lambda self, columns=columns: columns),
            raising=False,
        )
        edits.append(method(model, Concept(erase="pig")))
    assert {*seen} == {0, len(model.weight_group(method.tune.group))}
    for name, delta in edits[0].deltas.items():
        torch.testing.assert_close(edits[1].deltas[name], delta, rtol=1e-3, atol=1e-5)


def test_what_a_P_gives_is_read_once(model):
    seen, P, Q, x = SharedProjection(), torch.rand(3, 3), torch.rand(3, 3), torch.rand(2, 3)
    assert seen(x, P) is seen(x, P)
    assert seen(x, Q) is not seen(x, P)
    assert torch.equal(seen(x.clone(), P), x @ P.T)
    moved = x.clone().requires_grad_()
    assert seen(moved, P) is not seen(moved, P), (
        "a gradient goes back through each on its own: layers may be computed again on the way back"
    )


def test_an_edit_of_low_rank_is_an_exact_lora(model):
    method = AllButOne(
        start="none",
        rounds=1,
        trajectories=4,
        points=2,
        sampling_steps=4,
        rho=1.0,
        tune=Tune(steps=6, batch_size=4, check=2, lr=1e-2, rank=2),
    )
    edit = method(model, Concept(erase="pig", alternative="cow"))
    (_, first), *_, (_, last) = edit.card["training"]["held_out_loss"]
    assert last < first
    ranks = {
        tensor.shape[0] for name, tensor in to_lora(edit, None, 1e-5).items() if "lora_A" in name
    }
    assert ranks <= {1, 2}
