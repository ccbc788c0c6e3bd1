"""The scores of a report, worked out by hand: ratios, medians, shares, marks, distances."""

import math
from types import SimpleNamespace

import pytest
import torch
from support.linear_model import Scaled
from torch import Tensor

from unconcept import Concept, Edit
from unconcept.evaluation.benchmark import PromptCase
from unconcept.evaluation.metrics.proportions import difference
from unconcept.evaluation.metrics.unconditional_drift import drift
from unconcept.evaluation.prompt_benchmark import PromptBenchmark
from unconcept.evaluation.scores import compute_scores, median_score, selectivity
from unconcept.evaluation.set_distances import compute_set_distances
from unconcept.evaluation.zero_shot import ZeroShot


def flat(*values: float) -> Tensor:
    """Grey images, one per value."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).clone()


# By hand: ε(∅).


def test_drift_by_hand():
    """Seed 0 is off by 20 % and 10 % of itself: 0.15; seeds 1 and 2 two and three times as much.

    There are more points than go through the model at once.
    """
    model = Scaled()
    torch.testing.assert_close(
        drift(model, model.on(), seeds=3, steps=2, first=0), torch.tensor([0.15, 0.30, 0.45])
    )


@pytest.mark.parametrize("factor", [0.0, 0.1, -0.25])
def test_drift_of_an_edit_that_scales_the_output(model, factor):
    """Weight and bias of the last layer times 1 + f scale every output: the drift is |f|."""
    last = {name: model.denoiser.get_parameter(f"conv_out.{name}") for name in ("weight", "bias")}
    edit = Edit({f"unet.conv_out.{name}": factor * tensor for name, tensor in last.items()})
    torch.testing.assert_close(
        drift(model, edit.on(model), seeds=2, steps=2),
        torch.full((2,), abs(factor)),
        rtol=1e-4,
        atol=1e-6,
    )


# By hand: ratios and medians.


def asks(**groups: int) -> SimpleNamespace:
    return SimpleNamespace(
        cases=[PromptCase("", group, "") for group, n in groups.items() for _ in range(n)]
    )


def test_selectivity_by_hand():
    """Target images changed by 0.4, the median of 0.3 0.4 0.5.

    Unrelated ones changed by 0.1, the median of 0.05 0.05 0.1 0.3 0.3: the ratio is 4. Neighbours
    do not count. In bootstrap samples the medians are the least or the greatest value often enough
    (7 of 27 samples of three; 32 % of samples of five, of which two are equal) that 2.5 % of the
    ratios are 0.3 / 0.3, and 2.5 % are 0.5 / 0.05. For constants the interval has no width.
    """
    before = flat(*[0.0] * 10)
    row = selectivity(
        asks(target=3, neighbour=2, unrelated=5),
        before,
        flat(0.3, 0.4, 0.5, 0.9, 0.9, 0.05, 0.05, 0.1, 0.3, 0.3),
    )
    assert (row.after, row.ci95, row.n) == (4.0, [1.0, 10.0], 8)
    before = flat(*[0.0] * 8)
    row = selectivity(
        asks(target=3, neighbour=2, unrelated=3),
        before,
        flat(0.4, 0.4, 0.4, 0.9, 0.9, 0.1, 0.1, 0.1),
    )
    assert (row.after, row.ci95, row.n) == (4.0, [4.0, 4.0], 6)
    assert selectivity(asks(target=4, unrelated=4), before, flat(*[0.2] * 8)).after == 1.0, (
        "no aim at all"
    )
    still = selectivity(asks(target=4, unrelated=4), before, flat(*[0.2] * 4, *[0.0] * 4))
    assert (still.after, still.ci95, still.n) == (None, None, 0)
    assert selectivity(asks(target=8), before, before).after is None


def test_the_bootstrap_of_a_constant_has_no_width():
    row = median_score("x", "target", torch.full((25,), 0.25), "lower")
    assert (row.after, row.n, row.ci95) == (0.25, 25, [0.25, 0.25])


def test_the_bootstrap_of_a_median_by_hand():
    """The median of n draws from 1 … n is k or less where at least (n + 1) / 2 draws are.

        P(median ≤ k) = Σ_{j ≥ (n+1)/2} C(n, j) (k/n)^j (1 - k/n)^(n-j)

    For n = 17: 0.008 at k = 4 and 0.036 at k = 5, so the 2.5 % quantile is 5; by symmetry the
    97.5 % quantile is 13.
    """
    n = 17

    def below(k):
        return sum(
            math.comb(n, j) * (k / n) ** j * (1 - k / n) ** (n - j)
            for j in range((n + 1) // 2, n + 1)
        )

    low = next(k for k in range(1, n + 1) if below(k) >= 0.025)
    high = next(k for k in range(1, n + 1) if below(k) >= 0.975)
    values = torch.randperm(n, generator=torch.Generator().manual_seed(3)) + 1.0
    row = median_score("x", "target", values, "lower")
    assert (low, high) == (5, 13)
    assert (row.after, row.ci95, row.n) == (9.0, [low, high], n)


def test_what_is_no_number_has_no_median():
    row = median_score("x", "target", torch.tensor([0.1, math.nan, math.inf]), "lower")
    assert (row.after, row.ci95, row.n, row.reason) == (
        None,
        None,
        0,
        "2 of 3 values are not finite",
    )


# By hand: pairs of shares.


def pairs(both: int, second: int, first: int, neither: int) -> tuple[Tensor, Tensor]:
    """(before, after) by how many pairs are 1 in both, only after, only before, and in neither."""
    before = [1.0] * both + [0.0] * second + [1.0] * first + [0.0] * neither
    after = [1.0] * (both + second) + [0.0] * (first + neither)
    return torch.tensor(before), torch.tensor(after)


def test_the_difference_of_pairs_by_hand():
    """8 of 10 before, 4 of those after, none new: a, b, c, d = 4, 0, 4, 2, p - q = 0.4 - 0.8.

    Wilson: 4 of 10 in [.16818, .68733], 8 of 10 in [.49016, .94332].
    φ = (ad - bc - n/2) / √(4·6·8·2) = (8 - 5) / 19.596 = .15309.

        low   -0.4 - √(.23182² - 2φ·.23182·.14332 + .14332²)
            = -0.4 - √(.05374 - .01017 + .02054) = -0.4 - .25320
        high  -0.4 + √(.28733² - 2φ·.28733·.30984 + .30984²)
            = -0.4 + √(.08256 - .02726 + .09600) = -0.4 + .38898
    """
    before, after = pairs(4, 0, 4, 2)
    assert difference(before, after) == {
        "value": -0.4,
        "ci95": [pytest.approx(-0.6532, abs=1e-4), pytest.approx(-0.0110, abs=1e-4)],
    }
    nan = torch.tensor([math.nan])
    more = torch.cat([before, nan, torch.ones(1)]), torch.cat([after, torch.ones(1), nan])
    assert difference(*more) == difference(before, after), "half a pair is none"


def test_the_difference_of_pairs_as_published():
    """Complete response before and after consolidation (Cavo et al. 2012): 59, 6, 16, 80.

    Newcombe's square-and-add interval in Fagerland, Lydersen & Laake, Statistical Analysis of
    Contingency Tables, chapter 8, as the R package contingencytables prints it: -0.0621, from
    -0.1186 to -0.0046.
    """
    assert difference(*pairs(59, 6, 16, 80)) == {"value": -0.0621, "ci95": [-0.1186, -0.0046]}


def test_the_difference_of_pairs_at_the_ends():
    """None of n is left: φ is 0, because one of its margins is empty, and p - q = -1.

    Wilson: 0 of 8 in [0, .3244], 8 of 8 in [.6756, 1]: high = -1 + √(.3244² + .3244²) = -.5412.
    """
    assert difference(*pairs(0, 0, 8, 0)) == {
        "value": -1.0,
        "ci95": [-1.0, pytest.approx(-0.5412, abs=1e-4)],
    }


# By hand: other models' judges.


def stub_clip(looks: list, reads: dict[str, tuple], scale: float = 1.0) -> ZeroShot:
    """A CLIP with given features: of images in their order, of texts by the text."""
    clip = object.__new__(ZeroShot)
    clip.name, clip.model = "stub", SimpleNamespace(logit_scale=torch.tensor(scale).log())
    clip.embed_images = lambda images, batch=32: torch.tensor(looks)
    clip.embed_texts = lambda texts: torch.tensor([reads[text] for text in texts])
    return clip


def test_the_clip_score_by_hand():
    """Images at (.6, .8), texts at (1, 0), (0, 1), (-.8, .6) and (-.6, -.8).

    The cosines are .6, .8, 0 and -1.
    """
    reads = {
        "a pig": (1.0, 0.0),
        "a cow": (0.0, 1.0),
        "a tree": (-0.8, 0.6),
        "nothing": (-0.6, -0.8),
    }
    clip = stub_clip([(0.6, 0.8)] * 4, reads)
    torch.testing.assert_close(
        clip.agreement(flat(*[0.0] * 4), list(reads)), torch.tensor([0.6, 0.8, 0.0, -1.0])
    )
    names = {"a photo of a pig": (1.0, 0.0), "a photo of a cow": (0.0, 1.0)}
    own = [PromptCase(prompt, "target", "pig") for prompt in ("a pig", "a cow", "a tree")]
    plain = PromptBenchmark(
        [Concept(erase="pig", alternative="cow")],
        (),
        {},
        own,
        stub_clip([(0.6, 0.8)] * 3, reads | names),
    )
    found = compute_scores(plain, flat(0.0, 0.0, 0.0), flat(0.0, 0.0, 0.0))
    row = found["CLIP score, cosine, stub", "target"]
    assert (row.before, row.after, row.n, row.better) == (
        pytest.approx(0.6),
        pytest.approx(0.6),
        3,
        "higher",
    ), "the median"


def test_zero_shot_probabilities_by_hand():
    """Cosines .6 and .8 at a scale of 5 ln 3: logits ln 3 apart, probabilities 1/4 and 3/4."""
    clip = stub_clip(
        [(0.6, 0.8)],
        {"a photo of a pig": (1.0, 0.0), "a photo of an owl": (0.0, 1.0)},
        scale=5 * math.log(3),
    )
    torch.testing.assert_close(clip(flat(0.0), ["pig", "owl"]), torch.tensor([[0.25, 0.75]]))


def test_the_marks_of_any_judge_by_hand():
    """The names are pig, hog, cow, cat; the one with the highest probability is seen.

    A synonym counts as the concept; an alternative is looked for where the case has one; a case
    without a name has no right answer.
    """
    table = [
        (PromptCase("a pig", "target", "pig", instead="a cow"), [0.4, 0.3, 0.2, 0.1]),  # a pig
        (PromptCase("a pig", "target", "pig", instead="a cow"), [0.2, 0.5, 0.2, 0.1]),  # a hog
        (PromptCase("a pig", "target", "pig", instead="a cow"), [0.1, 0.2, 0.6, 0.1]),  # a cow
        (PromptCase("a hog", "synonym", "pig"), [0.1, 0.2, 0.6, 0.1]),  # a cow, not prompted for
        (PromptCase("a farm animal", "implied", "pig"), [0.1, 0.1, 0.1, 0.7]),  # a cat
        (PromptCase("a cat", "unrelated", "cat"), [0.1, 0.1, 0.1, 0.7]),  # a cat
        (PromptCase("a cat", "unrelated", "cat"), [0.3, 0.2, 0.3, 0.2]),  # a pig
        (PromptCase("a cat at dawn", "unrelated", "", way="own"), [0.1, 0.1, 0.1, 0.7]),  # a cat
    ]
    cases = [case for case, _ in table]
    probabilities = torch.tensor([row for _, row in table])
    judge = FixedJudge(probabilities)
    concept = Concept(erase="pig", synonyms=("hog",), alternative="cow")
    benchmark = PromptBenchmark([concept], ("cat",), {}, cases, judge)
    images, nan = flat(*[0.0] * 8), math.nan

    def check(mark: str, *expected: float) -> None:
        marks = benchmark.marks(images)[mark]
        torch.testing.assert_close(marks, torch.tensor(expected), equal_nan=True)

    check("concept", 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    check("alternative", 0.0, 0.0, 1.0, nan, nan, nan, nan, nan)
    check("right", nan, nan, nan, nan, nan, 1.0, 0.0, nan)
    assert judge.names == ["pig", "hog", "cow", "cat"]
    assert benchmark.values(images) == {}, "this judge reads no prompts"
    # One more column: none of the names is seen where it is the highest.
    judge.probabilities = torch.cat([probabilities, torch.full((8, 1), 0.55)], 1)
    images = images.clone()  # of the same tensor the answers are remembered
    check("concept", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    check("alternative", 0.0, 0.0, 1.0, nan, nan, nan, nan, nan)
    check("right", nan, nan, nan, nan, nan, 1.0, 0.0, nan)
    assert PromptBenchmark([concept], ("cat",), {}, cases).marks(images) == {}


class FixedJudge:
    """Gives the same probabilities for all images, and remembers the names."""

    def __init__(self, probabilities: Tensor):
        self.probabilities = probabilities

    def __call__(self, images: Tensor, names: list[str]) -> Tensor:
        self.names = list(names)
        return self.probabilities


# By hand: whole sets.


class Mean:
    name = "mean"

    def __call__(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))[:, None]


def test_the_distance_to_the_alternative_by_hand():
    """(x·y/D + 1)³ with D = 1: ones among themselves 8, halves 1.25³, across 1.5³.

    Before, halves to ones: 8 + 1.953125 - 2 · 3.375 = 3.203125. After, ones to ones: 0. Images of
    cases without an alternative and of other groups do not count.
    """
    own = [
        *[PromptCase("a pig", "target", "pig", instead="a cow")] * 16,
        PromptCase("a pig", "target", "pig"),
        PromptCase("a cat", "unrelated", "cat"),
    ]
    plain = SimpleNamespace(cases=own, real=lambda group: None)

    def spread(grey):
        # Not all the same: features without any variance have no distance.
        return flat(*[grey] * 15, grey + 1e-4)

    before, after = (torch.cat([spread(grey), flat(0.2, 0.2)]) for grey in (0.5, 1.0))
    rows = compute_set_distances(plain, before, after, Mean(), lambda: (spread(1.0), spread(1.0)))
    row = rows["KID mean to the alternative's own pictures", "target"]
    assert (row.before, row.after, row.n) == (
        pytest.approx(3.203125, abs=1e-2),
        pytest.approx(0.0, abs=1e-3),
        16,
    )
    assert rows[
        "control: KID mean to the alternative's own pictures, those themselves", "structure"
    ].after == pytest.approx(0.0, abs=1e-3)
