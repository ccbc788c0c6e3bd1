"""Every attack: it leaves the model as it was, and its parts agree with numbers worked by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from conftest import same, state

from unconcept import Concept, InputError
from unconcept.attacks import ATTACKS, QUICK, build, names_of
from unconcept.attacks.classifier_guidance import NoisyClassifier, gradient_of
from unconcept.attacks.ddim import NoisyWalk, ddim_step
from unconcept.attacks.denoising import denoising_loss
from unconcept.attacks.inpainting import middle
from unconcept.attacks.interface import Cases, Target, Victim
from unconcept.attacks.inversion import mean_psnr
from unconcept.attacks.reference_image import descend
from unconcept.attacks.ring_a_bell import RingABell
from unconcept.attacks.sampling import Walk, counted, sample, worded
from unconcept.attacks.textual_inversion import disguised, encode_words, mean_embeddings
from unconcept.attacks.tokens import (
    TokenTable,
    alone,
    banned_tokens,
    encode_inserted,
    in_between,
    in_front,
    named_as,
    nearest_tokens,
    project_to_simplex,
)
from unconcept.attacks.unlearn_diff import straight_through
from unconcept.models.interface import Sampling

PIG = Concept(erase="pig", alternative="cow", synonyms=("hog",))
CASES = Cases(("a pig", "a red hog"), (1, 2), ("a cow", "a red cow"))
OTHERS = Cases(("a key", "a cat"), (3, 4), ("", ""))
TINY = {
    "cce": dict(steps=2, batch=2),
    "relearning": dict(images=2, marks=(1, 2), batch=2),
    "learned-states": dict(steps=5, batch=2, points=2),
    "inversion": dict(steps=2),
    "tracing": dict(strengths=(0.5,)),
    "reference-image": dict(timesteps=1, iterations=2),
    "noise": dict(etas=(1.0, 1.5), scales=(1.0,)),
    "classifier-guidance": dict(scales=(5.0,), etas=(0.0,), steps=2),
    "unlearn-diff": dict(timesteps=1, iterations=2, batch=2),
    "p4d-n": dict(tokens=2, steps=2, batch=2, every=1),
    "p4d-k": dict(tokens=2, steps=2, batch=2, every=1),
    "ring-a-bell": dict(tokens=2, population=4, generations=2),
    "mma": dict(tokens=2, steps=1, top=4, candidates=2),
}
ROWS = {
    "completion": 2,
    "relearning": 2,
}


@pytest.fixture
def target():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return Target(
        concept=PIG,
        search=CASES,
        named=CASES,
        images=images,
        others=OTHERS,
        other_images=images.flip(0),
        share=lambda images: float(images.mean()),
        sampling=Sampling(steps=2, guidance=2.0),
    )


def attack(name):
    from dataclasses import replace

    return replace(build(name, "paper"), **TINY.get(name, {}))


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "probe"])
def test_every_attack_samples_and_leaves_the_model_as_it_was(name, model, edit, target):
    before = {part: state(module) for part, module in model.components.items()}
    victim = Victim(model, edit, model)
    tried = attack(name)
    rows = tried.prepare(victim, target)
    assert len(rows) == ROWS.get(name, 1)
    for row in rows.values():
        images = row.sample(CASES)
        assert images.shape == (2, 3, 16, 16)
        assert images.isfinite().all()
    chance = tried.chance(victim, target)
    assert chance.keys() in (rows.keys(), {}.keys())
    if chance:
        assert tried.chance_means
        next(iter(chance.values())).sample(CASES)
    assert "encode" not in vars(model)
    for part, module in model.components.items():
        assert same(before[part], state(module))


@pytest.mark.parametrize("name", ["cce", "learned-states", "unlearn-diff", "p4d-k", "relearning"])
def test_a_search_is_the_same_every_time(name, model, edit, target):
    images = []
    for _ in range(2):
        (row, *_) = attack(name).prepare(Victim(model, edit, model), target).values()
        images.append(row.sample(CASES))
    assert torch.equal(*images)
    assert not torch.equal(images[0], sample(Victim(model, edit), CASES, Walk(target.sampling)))


@pytest.mark.parametrize("name", ["completion", "learned-states", "p4d-n", "inversion"])
def test_attacks_that_need_the_original_say_so(name, model, edit, target):
    with pytest.raises(InputError, match="original"):
        attack(name).prepare(Victim(model, edit), target)


def test_names():
    assert names_of("quick") == QUICK
    assert names_of("mma, cce") == ("standard", "mma", "cce")
    with pytest.raises(InputError, match='did you mean "cce"'):
        names_of("ccf")


def test_calls_are_counted(model):
    c = model.encode(["a", "b", "c"])
    x, t = torch.zeros(3, 4, 8, 8), torch.zeros(3, dtype=torch.long)
    with counted(model, model) as calls:
        with torch.no_grad():
            model.predict(x, t, c)
        model.predict(x[:2], t[:2], {name: rows[:2] for name, rows in c.items()})
    model_calls = (calls.forward, calls.backward)
    assert model_calls == (3, 2)


def test_cases_are_worded():
    assert worded(CASES, "concept") is CASES
    assert worded(CASES, "empty").prompts == ("", "")
    assert worded(CASES, "alternative").prompts == ("a cow", "a red cow")
    assert disguised(PIG, ("a Pig and a key", "a key"), 2) == (
        "a * * and a key",
        "a picture of * *",
    )
    assert named_as(PIG, ("a hog on a pigment",), "x") == ("a x on a pigment",)


def test_the_loss_of_a_perfect_prediction_is_zero(model, monkeypatch):
    """For ε, v and the flow alike: the target is what the model should have said."""
    x = torch.randn(2, 4, 8, 8)
    noise = torch.randn(2, 4, 8, 8)
    t = torch.tensor([3, 700])
    a = model.alphas[t].view(2, 1, 1, 1)
    assert torch.equal(model.target(x, noise, t), noise)
    model.prediction = "v_prediction"
    v = a.sqrt() * noise - (1 - a).sqrt() * x
    torch.testing.assert_close(model.target(x, noise, t), v)
    # v and x_t give back the noise: ε = √ᾱ v + √(1 − ᾱ) x_t
    noisy = model.add_noise(x, noise, t)
    torch.testing.assert_close(a.sqrt() * v + (1 - a).sqrt() * noisy, noise, atol=1e-4, rtol=1e-4)
    model.prediction = "epsilon"
    drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr(model, "predict", lambda x, t, c: drawn + 0.5)
    loss = denoising_loss(model, x, {}, torch.Generator().manual_seed(5))
    assert loss.item() == pytest.approx(0.25)


def test_the_simplex_by_hand():
    """(.8, .6, −1): the threshold is .2, so that .6 + .4 + 0 = 1."""
    A = torch.tensor([[0.8, 0.6, -1.0], [0.2, 0.3, 0.5]])
    expected = torch.tensor([[0.6, 0.4, 0.0], [0.2, 0.3, 0.5]])
    torch.testing.assert_close(project_to_simplex(A), expected)


def test_straight_through_passes_a_clipped_gradient():
    A = torch.full((1, 3), 1 / 3, requires_grad=True)
    hot = straight_through(A, torch.tensor([2]))
    assert hot.tolist() == [[0, 0, 1]]
    (hot * torch.tensor([[0.5, -3.0, 7.0]])).sum().backward()
    assert A.grad is not None
    assert A.grad.tolist() == [[0.5, -1.0, 1.0]]


def test_the_nearest_token_is_that_of_the_largest_cosine():
    table = torch.tensor([[1.0, 0.0], [0.0, 10.0], [-1.0, 0.0]])
    assert nearest_tokens(torch.tensor([[2.0, 1.0], [0.1, 0.2]]), table).tolist() == [0, 1]


def test_where_tokens_are_inserted():
    """A prompt of tokens 1 to 5 with an end token at 6, read up to 9; new ones are 9 and 10."""
    assert in_front(9, 5, 2) == [0, 9, 10, 1, 2, 3, 4, 5, 6]
    assert in_between(9, 5, 2) == [0, 1, 2, 3, 9, 4, 5, 10, 6]
    assert alone(9, 0, 2) == [0, 9, 10, 1, 2, 3, 4, 5, 6]
    assert alone(4, 0, 2) == [0, 4, 5, 1]


def test_inserted_tokens_are_read_as_if_they_were_typed(model):
    table = TokenTable.of(model, PIG)
    rows = torch.tensor([int((table.allowed == i).nonzero()) for i in ids_of(model, "k e")])
    new = (table.vectors[rows], table.allowed[rows])
    for place, typed in ((in_front, "k e a b"), (in_between, "a b k e")):
        read = encode_inserted(model, table, new, place, ["a b"])
        torch.testing.assert_close(read, dict(model.encode([typed])))


def ids_of(model, text):
    return model.pipe.tokenizer(text, add_special_tokens=False).input_ids


def test_words_that_were_learned_stand_at_the_placeholders(model):
    """With the embedding of "k" learned, "a *" is "a k"."""
    embedding = model.components["text_encoder"].get_input_embeddings().weight
    words = {"text_encoder": embedding[ids_of(model, "k")].detach()}
    read = encode_words(model, words, ["a *", "* b"])
    torch.testing.assert_close(read, dict(model.encode(["a k", "k b"])))
    mean = mean_embeddings(model, 2)["text_encoder"]
    torch.testing.assert_close(mean[1], embedding.mean(0))


def test_tokens_are_banned_by_what_they_spell():
    """The piece "pig" inside a word has another id than the word."""
    texts = {0: "<end>", 1: "pig", 2: " pig", 3: "pigfarm", 4: "igl", 5: "key", 6: "p"}
    tokenizer = SimpleNamespace(
        all_special_ids=[0],
        get_vocab=lambda: {text: i for i, text in texts.items()},
        decode=lambda ids: texts[ids[0]],
    )
    assert banned_tokens(tokenizer, ("Pig", "piglet")) == {0, 1, 2, 3, 4}


def test_the_genetic_search_finds_the_only_optimum():
    search = RingABell(tokens=2, population=20, generations=30)
    wanted = torch.tensor([3, 1])
    target = SimpleNamespace(progress=lambda report: None)
    generator = torch.Generator().manual_seed(0)
    best = search.evolve(lambda m: (m - wanted).abs().sum(1).float(), 5, target, generator)
    assert torch.equal(best, wanted)


def test_ddim_by_hand():
    """x_0 = 2 and ε = 1 at ᾱ .25, then ᾱ .64 and η 1: σ² = .36/.75 (1 − .25/.64)."""
    x = torch.tensor([[[[0.5 * 2 + math.sqrt(0.75)]]]])
    one = torch.ones(1, 1, 1, 1)
    plain = ddim_step(x, one, 9 * one, (0.25, 0.64), NoisyWalk())
    assert plain.item() == pytest.approx(0.8 * 2 + 0.6, abs=1e-5)
    variance = 0.36 / 0.75 * (1 - 0.25 / 0.64)
    noisy = ddim_step(x, one, one, (0.25, 0.64), NoisyWalk(eta=1.0, scale=2.0))
    expected = 1.6 + math.sqrt(0.36 - variance) + 2 * math.sqrt(variance)
    assert noisy.item() == pytest.approx(expected, abs=1e-5)


def test_without_noise_the_noisy_walk_is_the_models_own(model, target):
    from unconcept.attacks.ddim import noisy_images

    walked = noisy_images(Victim(model), CASES, target.sampling, NoisyWalk())
    own = sample(Victim(model), CASES, Walk(target.sampling))
    torch.testing.assert_close(walked, own, atol=1 / 255, rtol=0)


def test_the_gradient_of_a_linear_classifier():
    """∇ log σ(w·x) = (1 − σ(w·x)) w."""
    classifier = NoisyClassifier(2)
    classifier.forward = lambda x, a: x.flatten(1) @ torch.tensor([1.0, -2.0])
    x = torch.tensor([1.0, 0.5]).view(1, 2, 1, 1)
    gradient = gradient_of(classifier, torch.ones(10))(x, torch.tensor([3]))
    torch.testing.assert_close(gradient.flatten(), torch.tensor([0.5, -1.0]))


def test_sign_descent_with_momentum():
    gradient = torch.tensor([[3.0, -1.0]])
    z, momentum = descend(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]), gradient, 0.1, 0.5)
    assert momentum.tolist() == [[0.75, 0.25]]
    torch.testing.assert_close(z, torch.tensor([[-0.1, -0.1]]))


def test_the_middle_and_psnr():
    assert middle(torch.zeros(1, 4, 8, 8), 0.5).sum() == 16
    assert mean_psnr(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1)) == 20.0
