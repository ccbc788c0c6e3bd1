"""The formulation: hand-worked numbers, and the four limits that are other people's methods."""

import pytest
import torch

from unconcept import AllButOne, Concept, Edit, InputError, Tune
from unconcept.concepts.retain import retain_prompts
from unconcept.methods import all_but_one
from unconcept.methods.concept_ablation import ConceptAblation
from unconcept.methods.esd import ESD
from unconcept.methods.sdd import SDD
from unconcept.models.conditioning import predict_in_batches
from unconcept.training.replay import Replay, ReplayPlan, record

ONE = torch.ones(1, 1, 1, 1)


def replay(c: float, a: float, null: float, n: int = 1) -> Replay:
    """Points of one number each, with the teacher's three answers."""
    x = torch.zeros(n, 1, 1, 1)
    conditions = {
        role: {"role": torch.full((n,), float(i))} for i, role in enumerate(("c", "null"))
    }
    targets = {"c": x + c, "a": x + a, "null": x + null}
    return Replay(x, torch.zeros(n, dtype=torch.long), torch.arange(n), conditions, targets)


def student(c, null):
    """Predicts c for the condition of c, and null for that of ∅."""

    def predict(x, t, condition):
        return torch.where(condition["role"].view(-1, 1, 1, 1) == 0, c, null) + 0 * x

    return predict


def numbers(*values):
    return [torch.tensor(v, requires_grad=True) for v in values]


def gradient(loss, number):
    return torch.autograd.grad(loss, number, retain_graph=True, allow_unused=True)[0]


def test_by_hand():
    # g = 5 - 1 = 4; g_target = 1 (3 - 2) - 0 = 1; (4 - 1)^2 = 9; second term 2 (1 - 2)^2 = 2
    c, null = numbers(5.0, 1.0)
    assert (
        AllButOne(lam=2.0).loss(student(c, null), replay(6.0, 3.0, 2.0), ONE, 0 * ONE).item()
        == 11.0
    )
    # without an alternative: g_target = 0 - 0.5 (6 - 2) = -2; (4 + 2)^2 = 36
    assert (
        AllButOne(lam=0.0).loss(student(c, null), replay(6.0, 3.0, 2.0), 0 * ONE, 0.5 * ONE).item()
        == 36.0
    )


def test_surgical_moves_only_the_conditional_side():
    c, null = numbers(5.0, 1.0)
    AllButOne(lam=0.0).loss(student(c, null), replay(6.0, 3.0, 2.0), ONE, 0 * ONE).backward()
    assert (c.grad, null.grad) == (6.0, 0.0)  # d/dc (c - null - 1)^2 = 2 · 3
    c, null = numbers(5.0, 1.0)
    AllButOne(lam=0.0, surgical=False).loss(
        student(c, null), replay(6.0, 3.0, 2.0), ONE, 0 * ONE
    ).backward()
    assert (c.grad, null.grad) == (6.0, -6.0)


def test_second_term_is_zero_at_the_start():
    c, null = numbers(6.0, 2.0)
    z = replay(6.0, 3.0, 2.0)
    assert AllButOne(lam=1e9).loss(student(c, null), z, ONE, 0 * ONE) == AllButOne(lam=0.0).loss(
        student(c, null), z, ONE, 0 * ONE
    )


def test_second_term_is_zero_at_the_start_of_a_real_model(model):
    """The teacher is the same network without the edit: on the same batch it predicts the same
    bits.
    """
    plan = ReplayPlan(
        drive=["a pig"] * 2, prompts={"null": [[""]] * 2}, seed=0, steps=3, guidance=2.0, points=3
    )
    z = record(model, plan, batch_size=6)
    nothing = {
        site.name: torch.zeros_like(getattr(*site.find(model.components)))
        for site in model.weight_group("cross-attention keys and values")
    }
    with Edit(nothing).on(model), torch.no_grad():
        assert torch.equal(
            predict_in_batches(model, z.x, z.t, z.conditions["null"], 6), z.targets["null"]
        )


def test_the_keep_term_and_the_onset_by_hand():
    z = Replay(
        torch.zeros(1, 1, 1, 1),
        torch.zeros(1),
        torch.zeros(1),
        {"k": {"role": torch.zeros(1)}},
        {"k": torch.full((1, 1, 1, 1), 2.0)},
    )
    assert AllButOne().keep_loss(student(*numbers(5.0, 0.0)), z).item() == 9.0
    # Above the onset κ = 0 and η = -1: g_target = g*(x, c) = 6 - 2, which the original model has.
    assert (
        AllButOne().loss(student(*numbers(6.0, 2.0)), replay(6.0, 3.0, 2.0), 0 * ONE, -ONE).item()
        == 0.0
    )


NOTHING_DONE = Edit({}, {"training": {"steps": 0, "seconds": 0.0, "held_out_loss": []}})


@pytest.mark.parametrize(("onset", "points"), [(1.0, []), (0.5, [750.0, 1000.0])])
def test_the_onset_as_it_is_called(model, monkeypatch, onset, points):
    """1 means everywhere, including the beginning of a flow, whose time starts at 1000. Above the
    onset g_target is the prompt's own guidance.
    """
    seen = []
    monkeypatch.setattr(
        AllButOne,
        "loss",
        lambda self, student, z, kappa, eta: seen.append((z.t, kappa, eta)) or ONE.sum(),
    )
    monkeypatch.setattr(AllButOne, "replay", lambda *args: {"erase": None})
    z = Replay(
        torch.zeros(4, 1, 1, 1),
        torch.tensor([250.0, 500.0, 750.0, 1000.0]),
        torch.zeros(4).long(),
        {},
        {},
    )

    def fit(model, replays, loss, *args, **more):
        loss(None, {"erase": z})
        return NOTHING_DONE

    monkeypatch.setattr(all_but_one, "fit", fit)
    monkeypatch.setattr(AllButOne, "missing", lambda *args: 1.0)
    AllButOne(start="none", rounds=1, onset=onset, rho=0.0)(
        model, Concept(erase="pig", alternative="cow")
    )
    [(t, kappa, eta)] = seen
    assert t[(kappa == 0).flatten()].tolist() == t[(eta == -1).flatten()].tolist() == points


def test_limit_concept_ablation():
    """λ → ∞ fixes ε(∅) at ε*(∅); ‖ε(c) − ε*(a)‖² is left (Kumari et al. 2023, frozen teacher)."""
    c, null = numbers(5.0, 2.0)
    z = replay(6.0, 3.0, 2.0)
    loss = AllButOne().loss(student(c, null), z, ONE, 0 * ONE)
    theirs = ConceptAblation(frozen=True).loss(
        student(c, null), z.x, z.t, z.conditions["c"], z.conditions["c"], z.targets["a"]
    )
    assert loss.item() == theirs.item() == (5.0 - 3.0) ** 2
    assert gradient(loss, c) == gradient(theirs, c)


def test_limit_esd():
    """λ → ∞, κ = 0: ‖ε(c) − [ε*(∅) − η (ε*(c) − ε*(∅))]‖² (Gandikota et al. 2023)."""
    c, null = numbers(5.0, 2.0)
    z = replay(6.0, 3.0, 2.0)
    loss = AllButOne().loss(student(c, null), z, 0 * ONE, 0.5 * ONE)
    theirs = ESD(eta=0.5).loss(
        student(c, null),
        z.x,
        z.t,
        z.conditions["c"],
        z.targets["null"],
        z.targets["c"] - z.targets["null"],
    )
    assert loss.item() == theirs.item() == (5.0 - (2.0 - 0.5 * (6.0 - 2.0))) ** 2
    assert gradient(loss, c) == gradient(theirs, c)


def test_limit_sdd():
    """κ = η = λ = 0 with sg: ‖ε(c) − sg ε(∅)‖² (Kim et al. 2023), value and gradient."""
    c, null = numbers(5.0, 1.0)
    z = replay(6.0, 3.0, 2.0)
    loss = AllButOne(lam=0.0).loss(student(c, null), z, 0 * ONE, 0 * ONE)
    theirs = SDD().loss(student(c, null), z.x, z.t, z.conditions["c"], z.conditions["null"])
    assert loss.item() == theirs.item() == 16.0
    assert gradient(loss, c) == gradient(theirs, c) == 8.0
    assert gradient(loss, null) in (None, 0.0)


def test_limit_ant():
    """Adding λ to that adds α₂ ‖ε(∅) − ε*(∅)‖² with its gradient (ANT, Li et al. 2025)."""
    c, null = numbers(5.0, 1.0)
    loss = AllButOne(lam=0.5).loss(student(c, null), replay(6.0, 3.0, 2.0), 0 * ONE, 0 * ONE)
    loss.backward()
    assert (loss.item(), null.grad) == (16.0 + 0.5, -1.0)


def test_coefficients():
    concepts = (Concept(erase="pig", alternative="cow"), Concept(erase="bomb"))
    kappa, eta = AllButOne(eta_alone=0.5).coefficients(concepts)
    assert kappa.tolist() == [1.0, 1.0]
    assert eta.tolist() == [0.0, 0.5]
    kappa, eta = AllButOne(kappa=0.25, eta=2.0).coefficients(concepts)
    assert kappa.tolist() == [0.25, 0.25]
    assert eta.tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    "fields", [{"lam": -1.0}, {"rho": -1.0}, {"trajectories": 1}, {"points": 0}, {"points": 99}]
)
def test_wrong_settings(fields):
    with pytest.raises(InputError):
        AllButOne(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": -1},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"held_out": 0.9},
        {"whiten": 0.0},
        {"decay": -1.0},
    ],
)
def test_wrong_tuning(fields):
    with pytest.raises(InputError):
        Tune(**fields)


def test_many_concepts_are_erased_in_groups(model):
    """Four concepts in groups of at most three are two and two. The result is the sum of both
    edits, each of which retains the other group's names (the vocabulary has all of them but pig).
    """
    concepts = [Concept(erase=word, alternative="tree") for word in ("pig", "cat", "dog", "house")]
    method = AllButOne(
        start="none",
        rounds=1,
        trajectories=4,
        points=2,
        sampling_steps=2,
        tune=Tune(steps=2, batch_size=2, check=1),
    )
    assert (method.groups(3), method.groups(4), method.groups(10)) == ([3], [2, 2], [2, 3, 2, 3])
    stages = []
    whole, first, second = (
        method(model, *concepts, progress=lambda p: stages.append(p.stage)),
        method(model, *concepts[:2]),
        method(model, *(concept.with_(keep=("pig",)) for concept in concepts[2:])),
    )
    assert all(
        torch.equal(delta, first.deltas[name] + second.deltas[name])
        for name, delta in whole.deltas.items()
    )
    assert [Concept.read(c) for c in whole.card["concepts"]] == concepts
    assert whole.card["training"]["steps"] == 4
    assert "group 2 of 2: training" in stages
    assert (whole.card["method"], whole.card["model_sha256"]) == (
        "all-but-one",
        first.card["model_sha256"],
    )


@pytest.mark.parametrize(
    ("left", "rounds"),
    [
        ([1.0, 0.5, 0.02, 0.01], 2),  # erased
        ([1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2], 6),  # the largest number
    ],
)
def test_rounds_end_by_until_and_rounds(model, monkeypatch, left, rounds):
    left = iter(left)
    monkeypatch.setattr(AllButOne, "missing", lambda *args: next(left))
    monkeypatch.setattr(all_but_one, "fit", lambda *args, **more: NOTHING_DONE)
    method = AllButOne(start="none", trajectories=4, points=2, sampling_steps=2, rho=0.0)
    edit = method(model, Concept(erase="pig", alternative="cow"))
    assert len(edit.card["training"]["missing"]) == 1 + rounds


def test_whitening_reads_no_more_tokens_than_it_may(model, monkeypatch):
    method, read = (
        AllButOne(
            start="none",
            rounds=1,
            trajectories=4,
            points=2,
            sampling_steps=2,
            tune=Tune(steps=2, batch_size=2, check=1),
        ),
        [],
    )

    def fit(model, replays, loss, training, **more):
        read.append(training.retained)
        return NOTHING_DONE

    monkeypatch.setattr(all_but_one, "fit", fit)
    pig, tokens = (
        Concept(erase="pig", alternative="cow"),
        model.encode([""])[model.prompt_states_key].shape[1],
    )
    for allowed in (all_but_one.MAX_RETAINED_TOKENS, 5 * tokens):
        monkeypatch.setattr(all_but_one, "MAX_RETAINED_TOKENS", allowed)
        method(model, pig)
    everything, few = read
    assert len(few) == 5
    assert sorted(everything) == sorted(retain_prompts([pig], model.vocabulary))
