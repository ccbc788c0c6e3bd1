"""The closed form of All but One: its equation by hand, what it holds exactly, and which states it
maps.
"""

import pytest
import torch
from support.tiny_pipelines import tiny_pipeline

from unconcept import Concept, InputError, wrap
from unconcept.training import moments, prompt_states
from unconcept.training.closed_form import HALVINGS, PRICE, ClosedForm, System, build_system
from unconcept.training.moments import Moments
from unconcept.training.prompt_states import (
    prompt_readers,
    second_moments,
    thin,
    unchanged_basis,
    weight_of,
)
from unconcept.training.state_pairs import (
    align_tokens,
    alternative_prompt,
    differing_spans,
    paired_rows,
    token_spans,
    word_prefixes,
)

PIG = Concept(erase="pig", alternative="cow")


def numbers(*rows):
    return torch.tensor(rows, dtype=torch.double)


def of_one_concept(x, d, G) -> Moments:
    total = Moments.zero(x.shape[1])
    total.add_concept([Moments.of([(x, d)], G)])
    return total


def plain(x, d, C, K=None) -> System:
    """A system of one concept whose matrices give states as they are."""
    parts = of_one_concept(x, d, torch.eye(2, dtype=torch.double))
    return System(
        parts,
        parts,
        parts,
        C,
        numbers([], []) if K is None else K,
        torch.eye(2, dtype=torch.double),
    )


def test_one_state_by_hand():
    """x = (2, 0) shall become (2, 2): d = (0, 2), E = 4, P = x xᵀ/4 = 1, R = d xᵀ/4 = 1.

    C = diag(3, 1), λ = 4: λ C / tr C = diag(3, 1), so S = R (P + diag(3, 1))⁻¹ has 1 / (1 + 3) at
    its second row and first column.
    """
    system = plain(numbers([2.0, 0.0]), numbers([0.0, 2.0]), torch.diag(numbers(3.0, 1.0)))
    S = system.solve(system.all_prompts, 4.0, 0.0)
    assert S.flatten().tolist() == pytest.approx([0.0, 0.0, 0.25, 0.0])
    assert system.share_missing(system.all_prompts, S) == pytest.approx(0.5625), (
        "S x = (0, .5) of (0, 2): (1.5 / 2)² is missing"
    )
    assert system.share_moved(S) == pytest.approx(3 * 0.25**2 / 4), (
        "E ‖S e‖² = 3 · .25², of E ‖e‖² = 4"
    )


def test_mu_makes_unused_directions_cost_something():
    """C = diag(4, 0): c̄ = 2, so with μ = .5 the second direction costs as if C were diag(5, 1)."""
    system = plain(numbers([2.0, 0.0]), numbers([0.0, 2.0]), torch.diag(numbers(4.0, 0.0)))
    assert system.metric(4.0, 0.5).flatten().tolist() == pytest.approx([5.0, 0.0, 0.0, 1.0])


def test_lambda_grows_with_the_root_of_the_number_of_concepts():
    system = plain(numbers([2.0, 0.0]), numbers([0.0, 2.0]), torch.eye(2, dtype=torch.double))
    four = System(
        system.all_prompts, system.fit, system.test, system.C, system.K, system.G, concepts=4
    )
    assert torch.allclose(four.metric(1.0, 0.0), 2 * system.metric(1.0, 0.0))


@pytest.fixture
def random_system() -> System:
    torch.manual_seed(0)
    x, d, e = (torch.randn(n, 6, dtype=torch.double) for n in (5, 5, 40))
    W = torch.randn(9, 6, dtype=torch.double)
    G = W.T @ W
    parts = of_one_concept(x, d, G)
    K = torch.linalg.qr(torch.randn(6, 2, dtype=torch.double))[0]
    return System(parts, parts, parts, e.T @ e / 40, K, G)


def test_what_must_not_change_does_not(random_system):
    S = random_system.solve(random_system.all_prompts, 1.0, 1e-3)
    assert (S @ random_system.K).abs().max() < 1e-12
    _, V = random_system.reduce_rank(
        S, random_system.all_prompts.P + random_system.metric(1.0, 1e-3), 0.3
    )
    assert len(V) < 6
    assert (V @ random_system.K).abs().max() < 1e-12, "a cut in rank keeps the constraint"


def test_it_is_the_minimum(random_system):
    """No step along a direction that keeps the constraint lowers the objective."""
    A = random_system.all_prompts.P + random_system.metric(1.0, 1e-3)
    S = random_system.solve(random_system.all_prompts, 1.0, 1e-3)
    free = torch.eye(6, dtype=torch.double) - random_system.K @ random_system.K.T
    lowest = random_system.objective(S, A)
    for _ in range(20):
        assert (
            random_system.objective(S + 1e-3 * torch.randn(6, 6, dtype=torch.double) @ free, A)
            > lowest
        )


def test_a_cut_in_rank_costs_what_it_says(random_system):
    A = random_system.all_prompts.P + random_system.metric(1.0, 1e-3)
    S = random_system.solve(random_system.all_prompts, 1.0, 1e-3)
    U, V = random_system.reduce_rank(S, A, 0.0)
    assert torch.allclose(U @ V, S), "nothing is cut where nothing may be lost"
    U, V = random_system.reduce_rank(S, A, 0.1)
    assert random_system.objective(U @ V, A) <= 1.1 * random_system.objective(S, A)


def test_it_does_not_depend_on_scale():
    """States ten times as long, or a matrix ten times as large, give the same S: both terms are
    shares.
    """
    torch.manual_seed(0)
    x, d, e = (torch.randn(n, 4, dtype=torch.double) for n in (5, 5, 40))
    results = []
    for states, matrix in ((1.0, 1.0), (10.0, 1.0), (1.0, 10.0)):
        C = states**2 * e.T @ e / 40
        W = matrix * torch.eye(4, dtype=torch.double)
        G = W.T @ W / (W @ C @ W.T).trace()
        parts = of_one_concept(states * x, states * d, G)
        system = System(parts, parts, parts, C, torch.zeros(4, 0, dtype=torch.double), G)
        results.append(system.solve(parts, 2.0, 1e-3))
    assert torch.allclose(results[0], results[1])
    assert torch.allclose(results[0], results[2])


def test_lambda_is_lowered_until_enough_is_erased():
    rare = torch.diag(torch.tensor([0.05, 1.0], dtype=torch.double))
    system = plain(numbers([2.0, 0.0]), numbers([0.0, 2.0]), rare)
    lam, missing = system.choose_lambda(ClosedForm(lam=64.0, left=0.2))
    assert lam < 64.0
    assert missing == system.share_missing(system.test, system.solve(system.fit, lam, 1e-3))
    assert missing <= 0.2
    assert system.choose_lambda(ClosedForm(lam=0.1, left=0.2))[0] == 0.1


def test_lambda_is_not_lowered_where_retained_states_would_pay_for_it():
    """Every half that was taken brought more than it cost, and the next one would not."""
    common = torch.eye(2, dtype=torch.double)
    system = plain(numbers([2.0, 0.0]), numbers([0.0, 2.0]), common)
    settings = ClosedForm(lam=64.0, left=0.1)
    lam, _ = system.choose_lambda(settings)
    assert 64.0 / 2**HALVINGS < lam < 64.0

    def worth(lam: float) -> bool:
        (missing, moved), (less, more) = (system.shares(x, settings.mu) for x in (lam, lam / 2))
        return missing - less > PRICE * (more - moved)

    assert worth(2 * lam)
    assert not worth(lam)
    assert system.shares(lam, settings.mu)[0] > settings.left


def test_what_differs_between_two_prompts():
    """An article that other prompts begin with is not the concept's own."""
    prefixes = word_prefixes(["a key", "an apple"])

    def cut(one: str, other: str) -> tuple[str, str]:
        (start, end), (other_start, other_end) = differing_spans(one, other, prefixes)
        return one[start:end], other[other_start:other_end]

    assert cut("a pig", "a cow") == (" pig", " cow")
    assert cut("a pig", "an owl") == (" pig", "an owl")
    assert cut("a hot dog and a bee", "a cow and a bee") == (" hot dog", " cow")
    assert cut("a pig and a chair", "a chair") == (" pig and a", "")
    assert cut("a pig", "") == (" pig", "")


def test_which_token_becomes_which():
    """The concept's tokens become the alternative's from the last one back."""
    assert align_tokens((2, 4), (2, 3)) == [(2, 3), (3, 2), (4, 3)], (
        "the one too many becomes the last"
    )
    assert align_tokens((2, 2), (2, 4)) == [(2, 4)]
    assert align_tokens((2, 3), (2, 1)) == [(2, None), (3, None)], "nothing comes instead"


def test_some_of_many_rows_stand_for_all():
    """Sums of squares stay: exactly where the rows are equal, closely where they change slowly."""
    few, equal = torch.randn(32, 4).double(), torch.ones(75, 3).double()
    assert torch.equal(thin(few), few)
    thinned = thin(equal)
    assert len(thinned) == 25
    assert torch.allclose(thinned.T @ thinned, equal.T @ equal)
    places = torch.linspace(0, 1, 500).double()
    slow = torch.stack([places.cos(), places.sin()], 1)
    assert torch.allclose(thin(slow).T @ thin(slow), slow.T @ slow, rtol=0.02)


def test_words_behind_the_concept_all_count(monkeypatch):
    """Only states behind the prompt's end are thinned."""
    monkeypatch.setattr(prompt_states, "MOST_ROWS_BEHIND", 2)
    x = torch.arange(12).double()[:, None].repeat(1, 3)
    empty = torch.zeros(3).double()
    rows, targets = paired_rows(x, x + 1, (2, 3), (2, 3), 4, empty)
    assert rows[:6, 0].tolist() == [2, 3, 4, 5, 6, 7], "two tokens, three words and the end token"
    assert (rows[6:, 0] / 2**0.5).tolist() == pytest.approx([8, 10]), "of 8, 9, 10 and 11"
    assert targets[:6, 0].tolist() == [3, 4, 5, 6, 7, 8]


def test_what_is_left_of_a_prompt():
    alone = Concept(erase="pig")
    assert alternative_prompt(alone, "{}") == ""
    assert alternative_prompt(alone, "{} on a blue background") == "on a blue background"
    assert alternative_prompt(alone, "[{} and ]a chair") == "a chair"
    assert alternative_prompt(PIG, "{} on a blue background") == "a cow on a blue background"


def test_places_of_a_span():
    """Tokens of the tiny tokenizer are letters, behind a start token."""
    model = wrap(tiny_pipeline())
    assert token_spans(model, ["a pig", "a pig"], [(1, 5), (0, 1)]) == [(2, 4), (1, 1)]


def test_held_out_prompts_are_measured():
    model = wrap(tiny_pipeline(), ("cat", "dog", "tree"))
    weights = {site.name: weight_of(model, site) for site in prompt_readers(model)}
    name, retained = model.prompt_states_key, ["a cat", "a dog"]
    C = second_moments(model, [name], ["", *retained])[name]
    system = build_system(model, name, [PIG], word_prefixes(retained), weights, C)
    S = system.solve(system.all_prompts, 1.0, 1e-3)
    assert 0 < system.share_missing(system.all_prompts, S) < 1
    assert float(system.all_prompts.E) == 1.0, "shares of the energy of the change"
    basis = unchanged_basis(model, model.prompt_states_key)
    assert torch.allclose(basis.T @ basis, torch.eye(basis.shape[1], dtype=torch.double))


@pytest.mark.parametrize("settings", [{"lam": 0.0}, {"left": -1.0}, {"mu": 0.0}, {"trim": -0.1}])
def test_wrong_settings(settings):
    with pytest.raises(InputError):
        ClosedForm(**settings)


def test_moments_add_up():
    ones = torch.ones(2, 2)
    one = Moments(ones, ones, torch.tensor(1.0))
    two = Moments(2 * ones, 2 * ones, torch.tensor(4.0))
    total = Moments.zero(2)
    total.add_concept([two])
    assert total.P.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert float(total.E) == 1.0
    total.add_concept([one, two])
    assert total.R.tolist() == [[1.1, 1.1], [1.1, 1.1]]
    assert float(total.E) == 2.0


def test_shares_are_those_of_the_states(random_system):
    """Against sums over the states themselves, without any moments."""
    torch.manual_seed(0)
    x, d, e = (torch.randn(n, 6, dtype=torch.double) for n in (5, 5, 40))
    S, G = torch.randn(6, 6, dtype=torch.double), random_system.G

    def energy(rows):
        return float(((rows @ G) * rows).sum())

    missing = energy(x @ S.T - d) / energy(d)
    assert random_system.share_missing(random_system.all_prompts, S) == pytest.approx(missing)
    assert random_system.share_moved(S) == pytest.approx(energy(e @ S.T) / energy(e))
    U, V = S[:, :2], S[:2]
    assert random_system.share_moved_by(U, V) == pytest.approx(random_system.share_moved(U @ V))


def test_wide_states_are_multiplied_in_pieces_of_single_precision(monkeypatch):
    monkeypatch.setattr(moments, "DOUBLE_WIDTH", 4)
    monkeypatch.setattr(moments, "ROWS_AT_ONCE", 3)
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(10, 6, generator=generator, dtype=torch.double)
    b = torch.randn(10, 5, generator=generator, dtype=torch.double)
    product = moments.product(a, b)
    assert product.dtype == torch.double
    assert torch.allclose(product, a.T @ b, rtol=0, atol=1e-5)
    for columns in (1, 4, 6, 256):
        monkeypatch.setattr(moments, "COLUMNS_AT_ONCE", columns)
        gram = moments.gram(a)
        assert gram.dtype == torch.double
        assert torch.equal(gram, gram.T)
        assert torch.allclose(gram, a.T @ a, rtol=0, atol=1e-5)
    assert not torch.equal(product, a.T @ b)
