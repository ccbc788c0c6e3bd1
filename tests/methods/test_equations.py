"""The other methods' equations, worked by hand and against each other."""

import pytest
import torch
from support.tiny_pipelines import tiny_flux

from unconcept import AllButOne, Concept, Edit, InputError, load, wrap
from unconcept.edits.weight_deltas import Deltas
from unconcept.methods import method_caveat
from unconcept.methods.concept_ablation import ConceptAblation
from unconcept.methods.esd import ESD
from unconcept.methods.sdd import SDD
from unconcept.methods.speed import SPEED, above_mean, cluster_centres
from unconcept.methods.spm import SPM, Anchored, random_anchors
from unconcept.methods.uce import RECE, UCE
from unconcept.models.interface import Site
from unconcept.training.replay import Replay

PIG = Concept(erase="pig", alternative="cow")


def one(value: float) -> torch.Tensor:
    return torch.full((1, 1, 1, 1), value)


def says(*values: float):
    """A student that predicts one number for each row of the batch, and the numbers as leaves."""
    leaves = torch.tensor(values).view(-1, 1, 1, 1).requires_grad_()
    return (lambda x, t, c: leaves), leaves


X, T, C = one(0.0), torch.tensor([3]), {"c": torch.zeros(1, 1)}


def test_esd_by_hand():
    """ε*(c) = 7 and ε*(∅) = 4, so g* = 3; with η = 2 the target is 4 - 6 = -2; a student at 5 is 7
    away.
    """
    student, _ = says(5.0)
    assert ESD(eta=2.0).loss(student, X, T, C, one(4.0), one(3.0)).item() == 49.0


def test_esd_is_the_limit_of_all_but_one():
    """With ε_θ(∅) held at ε*(∅), κ = 0 and the same η, both losses are the same number."""
    c, null, η = 5.0, 4.0, 2.0
    targets = {"c": one(7.0), "a": one(0.0), "null": one(null)}
    z = Replay(X, T, torch.tensor([0]), {"c": C, "null": C}, targets)

    def student(x, t, condition):
        return torch.cat([one(c), one(null)])

    ours = AllButOne(lam=0.0).loss(student, z, one(0.0), one(η))
    assert ours.item() == ESD(eta=η).loss(says(c)[0], X, T, C, one(null), one(7.0 - null)).item()


def test_the_two_forms_of_eta():
    """The newer ε*(c) - η'(ε*(c) - ε*(∅)), with η' = η + 1, is the paper's ε*(∅) - η g*."""
    c, null, η = 7.0, 4.0, 1.0
    assert c - (η + 1) * (c - null) == null - η * (c - null)


def test_sdd_by_hand():
    """The student predicts 5 with the prompt and 2 without: 9. Only the former gets a gradient."""
    student, leaves = says(5.0, 2.0)
    loss = SDD().loss(student, X, T, C, C)
    loss.backward()
    assert loss.item() == 9.0
    assert leaves.grad.flatten().tolist() == [6.0, 0.0]


def test_concept_ablation_by_hand():
    """Frozen: the target is the original's prediction for the anchor. Otherwise it is the student's
    present one, without gradient.
    """
    student, _ = says(5.0)
    assert ConceptAblation(frozen=True).loss(student, X, T, C, C, one(3.0)).item() == 4.0
    moving = ConceptAblation().loss(student, X, T, C, C, None)
    assert moving.item() == 0.0, "this student says the same of both"


def test_concept_ablation_needs_an_anchor(model):
    with pytest.raises(InputError, match="anchor"):
        ConceptAblation()(model, Concept(erase="pig"))


def test_spm_by_hand():
    """Pushed: the student predicts 5 for a target of 3, which is 4. Anchored: 2 and 0 for targets
    of 1 and 1, which is 1 on average, times 1000.
    """
    student, _ = says(5.0, 2.0, 0.0)
    teacher_r = torch.tensor([1.0, 1.0]).view(2, 1, 1, 1)
    anchored = Anchored({"c": torch.zeros(2, 1)}, teacher_r)
    assert SPM().loss(student, X, T, C, anchored, one(3.0)).item() == 1004.0


def test_anchors_are_as_long_as_the_concept(model):
    c = model.encode(["pig"])[model.prompt_states_key]
    r = random_anchors(c, 5, torch.Generator().manual_seed(0))
    assert r.shape == (5, *c.shape[1:])
    ratio = r.flatten(1).norm(dim=1) / c.norm()
    assert ((ratio > 0.79) & (ratio < 1.21)).all()
    assert torch.nn.functional.cosine_similarity(r.flatten(1), c.flatten(1)).abs().max() < 0.4


def test_rank_one_is_rank_one(model):
    edit = SPM(steps=3, lr=1e-2, sampling_steps=2)(model, PIG)
    changed = [d.flatten(1) for d in edit.deltas.values() if d.abs().max() > 0]
    assert changed
    assert all(torch.linalg.matrix_rank(d.double(), rtol=1e-4) == 1 for d in changed)


def test_uce_by_hand():
    """W = I, c = (1, 0), v = (0, 1), λ = 1: M = diag(2, 1), ΔW = (v - c) cᵀ M⁻¹ = ((-1/2, 0), (1/2,
    0)). At λ = 1 the concept moves half of the way.
    """
    c, v, k = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0], [1.0]]), torch.zeros(1, 2)
    assert UCE(lam=1.0).solve(torch.eye(2), c, v, k).tolist() == [[-0.5, 0.0], [0.5, 0.0]]


def test_uce_maps_the_concept_and_leaves_the_rest():
    """As λ goes to 0 the concept goes all the way, and what is preserved stays where it is."""
    torch.manual_seed(0)
    W, c, g, k = (
        torch.randn(*shape, dtype=torch.double) for shape in ((6, 8), (2, 8), (2, 8), (3, 8))
    )
    edited = W + UCE(lam=1e-9).solve(W, c, W @ g.T, k)
    torch.testing.assert_close(edited @ c.T, W @ g.T, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(edited @ k.T, W @ k.T, rtol=1e-5, atol=1e-6)


def test_uce_is_the_published_fraction():
    """W = (λW₀ + s Σ v cᵀ + p Σ W₀ k kᵀ)(λI + s Σ c cᵀ + p Σ k kᵀ)⁻¹, as the paper writes it."""
    torch.manual_seed(1)
    W, c, g, k = (
        torch.randn(*shape, dtype=torch.double) for shape in ((6, 8), (2, 8), (2, 8), (3, 8))
    )
    s, p, λ, v = 2.0, 0.5, 0.3, W @ g.T
    published = (λ * W + s * v @ c + p * W @ k.T @ k) @ torch.linalg.inv(
        λ * torch.eye(8) + s * c.T @ c + p * k.T @ k
    )
    torch.testing.assert_close(W + UCE(erase=s, preserve=p, lam=λ).solve(W, c, v, k), published)


@pytest.mark.parametrize("method", [UCE(), RECE(tokens="last", rounds=3)])
def test_closed_forms_are_exact_products_in_less_room(method, tmp_path):
    """On the embedded model: U V is ΔW of the published fraction up to single precision, in fewer
    bytes than ΔW.
    """
    model = load("emoji")
    model.complete = tuple  # PIG has the few phrasings of an arbitrary model
    edit = method(model, PIG)
    W, c, g, k = method.system(model, [PIG])
    whole = W
    for turn in range(1 + getattr(method, "rounds", 0)):
        now = c if turn == 0 else method.find(list(whole.values()), list(W.values()), c)
        whole = {name: fraction(w, now, w @ g.T, k, method) for name, w in whole.items()}
    assert edit.deltas.keys() == W.keys()
    for name, w in W.items():
        exact = whole[name] - w
        assert (edit.deltas[name].double() - exact).norm() < 1e-6 * exact.norm()
        assert torch.linalg.matrix_rank(edit.deltas[name], rtol=1e-4) <= len(c) * (
            1 + getattr(method, "rounds", 0)
        )
    dense = Edit({**edit.deltas}, edit.card).save(tmp_path / "dense.safetensors").stat().st_size
    assert edit.save(tmp_path / "pairs.safetensors").stat().st_size < 0.25 * dense


def fraction(W, c, v, k, method):
    """(λW + s Σ v cᵀ + p Σ W k kᵀ)(λI + s Σ c cᵀ + p Σ k kᵀ)⁻¹"""
    s, p, λ, one = method.erase, method.preserve, method.lam, torch.eye(W.shape[1], dtype=W.dtype)
    return (λ * W + s * v @ c + p * W @ k.T @ k) @ torch.linalg.inv(
        λ * one + s * c.T @ c + p * k.T @ k
    )


def test_where_a_product_is_smaller_than_what_it_is_made_of_it_is_held(model):
    """All tokens of a prompt are more than the width of the matrices."""
    edit = UCE(tokens="all")(model, PIG)
    assert not Deltas.of(edit.deltas).pairs
    assert not any(":" in name for name in edit.tensors())


class NoReader:
    """A model in which layers stand before every matrix."""

    def weight_group(self, name):
        if name == "context embedder":
            raise InputError("unknown weight group")
        return (Site("unet.attn2.to_k.weight", ""),)

    def complete(self, concepts):
        return tuple(concepts)


def test_a_closed_form_refuses_a_model_in_which_nothing_reads_the_prompt():
    with pytest.raises(InputError, match="this model has none"):
        UCE()(NoReader(), PIG)


def test_a_transformers_context_embedder_maps_the_concept():
    """It is the one matrix that reads the tokens as they come. As λ goes to 0 the concept's token
    is mapped completely, and the retained one stays.
    """
    model = wrap(tiny_flux(), ())
    concept = PIG.with_(keep=("cat",), templates=("{}",))
    edit = UCE(lam=1e-9)(model, concept)
    assert list(edit.deltas) == ["transformer.context_embedder.weight"]
    assert "context embedder alone" in method_caveat(UCE(), model)

    def last(prompt: str) -> torch.Tensor:
        states = model.encode([prompt])[model.prompt_states_key][0]
        return states[int(model.last_token_index([prompt]))]

    W = model.denoiser.context_embedder.weight
    changed = W + edit.deltas["transformer.context_embedder.weight"]
    torch.testing.assert_close(changed @ last("a pig"), W @ last("a cow"), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(changed @ last("cat"), W @ last("cat"), atol=1e-3, rtol=1e-3)
    assert (W @ last("a pig") - W @ last("a cow")).abs().max() > 0.1


def test_rece_finds_what_still_means_the_concept():
    """With invertible matrices and no ridge, c' under the edited weights is what c was under the
    original ones.
    """
    torch.manual_seed(2)
    W0 = [torch.randn(8, 8, dtype=torch.double) for _ in range(3)]
    W = [w @ torch.linalg.inv(torch.eye(8) + 0.1 * torch.randn(8, 8)).double() for w in W0]
    W = [
        w0 @ torch.linalg.inv(W0[0]) @ W[0] for w0 in W0
    ]  # all edited alike, so that one c' fits them all
    c = torch.randn(2, 8, dtype=torch.double)
    c_edited = RECE(ridge=1e-12).find(W, W0, c)
    torch.testing.assert_close(W[1] @ c_edited.T, W0[1] @ c.T, rtol=1e-4, atol=1e-4)


def test_uce_reads_the_last_token(model):
    """The last of three tokens of "cat" is at 3, behind the start token. The empty
    prompt's last token is the start token.
    """
    assert model.last_token_index(["cat", ""]).tolist() == [3, 0]
    states = model.encode(["cat"])[model.prompt_states_key][0]
    last, _ = UCE().states(model, model.prompt_states_key, ["cat"], ["cat"])
    torch.testing.assert_close(last[0].float(), states[3])
    assert torch.equal(UCE().preserved_states(model, model.prompt_states_key, ["cat"]), last)
    assert UCE(tokens="all").preserved_states(
        model, model.prompt_states_key, ["cat", ""]
    ).shape == (
        48,
        16,
    ), "what is kept is kept from the start token on"
    c, g = UCE(tokens="all").states(model, model.prompt_states_key, ["cat"], ["elephant"])
    assert c.shape == g.shape == (24 - 8, 16), "as many as the longer prompt has room for"


@pytest.mark.parametrize(
    ("variant", "group"),
    [
        ("x", "cross-attention"),
        ("u", "all but cross-attention"),
        ("x-strict", "cross-attention keys and values"),
        ("full", "all"),
    ],
)
def test_esd_has_four_variants(model, variant, group):
    edit = ESD(group=variant, steps=1, sampling_steps=1)(model, PIG)
    assert set(edit.deltas) == {site.name for site in model.weight_group(group)}
    assert edit.card["settings"]["group"] == variant


@pytest.mark.parametrize("walk", ["student", "teacher"])
def test_esd_walks_by_the_student_or_by_the_teacher(model, walk, monkeypatch):
    """Whose weights are in the model while x_t is sampled: from the second step on the student's
    differ.
    """
    owner, _ = model.weight_group("cross-attention keys and values")[0].find(model.components)
    base, inside, trajectory = owner.weight.clone(), [], model.trajectory

    def watched(*args, **kwargs):
        inside.append(owner.weight.detach().clone())
        yield from trajectory(*args, **kwargs)

    monkeypatch.setattr(model, "trajectory", watched)
    ESD(walk=walk, steps=3, lr=1e-2, sampling_steps=2)(model, PIG)
    assert [torch.equal(w, base) for w in inside] == [True, walk == "teacher", walk == "teacher"]


@pytest.mark.parametrize("wrong", [{"walk": "both"}, {"form": "older"}])
def test_esd_has_no_other_forms(wrong):
    with pytest.raises(InputError, match=r"paper or newer|student or teacher"):
        ESD(**wrong)


def test_esd_takes_an_attribute_out_of_another_prompt(model):
    """Erasing "hat" from "cowboy", the prediction for "cowboy" moves towards ε*(cowboy) - η
    g*(hat).
    """
    edit = ESD(steps=10, lr=3e-3, sampling_steps=3, erase_from="cowboy")(
        model, Concept(erase="hat")
    )
    x, t = torch.randn(4, 4, 8, 8), torch.tensor([900, 600, 300, 100])
    whole, part, null = (
        model.predict(x, t, model.encode([prompt] * 4)) for prompt in ("cowboy", "hat", "")
    )
    target = whole - (part - null)
    with edit.on(model):
        now = model.predict(x, t, model.encode(["cowboy"] * 4))
    assert (now - target).square().mean() < (whole - target).square().mean()


def test_every_peer_moves_the_concept_and_esd_the_right_way(model):
    """After ESD the concept's prediction is nearer to ε*(∅) - η g* than before."""
    edit = ESD(steps=10, lr=3e-3, sampling_steps=3)(model, PIG)
    x, t = torch.randn(4, 4, 8, 8), torch.tensor([900, 600, 300, 100])
    c, null = model.encode(["pig"] * 4), model.encode([""] * 4)
    teacher_c, teacher_null = model.predict(x, t, c), model.predict(x, t, null)
    target = teacher_null - (teacher_c - teacher_null)
    with edit.on(model):
        now = model.predict(x, t, c)
    assert (now - target).square().mean() < (teacher_c - target).square().mean()


def test_speed_by_hand():
    """W = I, e = (1, 0, 0) becomes a = (0, 1, 0); of R = diag(0, 0, 1) the first two directions are
    free, and K = (0, 0, 1) is held.

    P = diag(1, 1, 0), C1 P = diag(1, 0, 0), ρ = 1: M = diag(1/2, 1, 1), and P K = 0, so Δ e = (a −
    e) / 2.
    """
    e, a, r = (
        torch.tensor([row], dtype=torch.double) for row in ([1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0])
    )
    U, V = SPEED(filter=False, augment=0).solve(
        torch.eye(3, dtype=torch.double), e, a, r, r.T, torch.Generator()
    )
    assert (U @ V @ e[0]).tolist() == pytest.approx([-0.5, 0.5, 0.0])
    assert (U @ V @ r[0]).tolist() == pytest.approx([0.0, 0.0, 0.0])


def test_speed_holds_what_it_must_in_the_null_space():
    """K = (0, 1, 1) lies half in the free directions: Δ K = 0 all the same."""
    e, a, r = (
        torch.tensor([row], dtype=torch.double) for row in ([1.0, 1.0, 0], [0, 1.0, 0], [0, 0, 1.0])
    )
    K = torch.tensor([[0.0], [1.0], [1.0]], dtype=torch.double)
    U, V = SPEED(filter=False, augment=0).solve(
        torch.eye(3, dtype=torch.double), e, a, r, K, torch.Generator()
    )
    assert (U @ V @ K).abs().max() < 1e-12
    assert (U @ V @ e[0]).norm() > 0.1


def test_speed_keeps_what_would_move_most():
    rows = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 9.0]])
    assert above_mean(torch.diag(torch.tensor([1.0, 0.0])), rows).tolist() == [
        False,
        True,
        False,
    ], "1, 3 and 0: the mean is 4/3"


def test_cluster_centres():
    rows = torch.tensor([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0], [10.0, 2.0]])
    assert sorted(cluster_centres(rows, 2, 0).tolist()) in (
        [[0.0, 1.0], [10.0, 1.0]],
        [[5.0, 0.0], [5.0, 2.0]],
    )
    assert cluster_centres(rows, 9, 0).tolist() == rows.tolist()
