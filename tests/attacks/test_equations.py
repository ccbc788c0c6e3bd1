"""Attacks against numbers worked by hand, on models of a few numbers; nothing is sampled."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from unconcept import Concept, Edit
from unconcept.attacks import (
    completion,
    inpainting,
    learned_states,
    mma,
    noise,
    p4d,
    relearning,
    ring_a_bell,
    strength_tracing,
    words,
)
from unconcept.attacks import ddim as ddim_module
from unconcept.attacks import textual_inversion as inversion_of_text
from unconcept.attacks.interface import Cases, Target, Victim
from unconcept.attacks.inversion import Inversion
from unconcept.attacks.reference_image import ReferenceImage
from unconcept.attacks.tokens import TokenTable
from unconcept.models.interface import Sampling, Site
from unconcept.training.adversary import Adversary

PIG = Concept(erase="pig", alternative="cow", synonyms=("hog",))
CASES = Cases(("a pig", "a red hog"), (1, 2), ("a cow", "a red cow"))
OTHERS = Cases(("a key", "a cat"), (3, 4), ("", ""))
CPU = torch.device("cpu")


@pytest.fixture
def target():
    images = torch.zeros(2, 3, 2, 2)
    return Target(PIG, CASES, CASES, images, OTHERS, images, lambda x: 0.0, Sampling(steps=5))


def stub(**members) -> Any:
    """A model with what an attack asks of it, and nothing else."""
    usual = dict(device=CPU, dtype=torch.float32, timesteps=4, max_batch=4, prompt_states_key="s")
    return SimpleNamespace(**{**usual, **members})


def table_of(vectors) -> TokenTable:
    """Tokens 10, 11, ... that are read as they are written."""

    class Tokenizer:
        def decode(self, ids):
            return " ".join(map(str, ids))

        def __call__(self, text, add_special_tokens):
            return SimpleNamespace(input_ids=[int(word) for word in text.split()])

    ids = torch.arange(10, 10 + len(vectors))
    return TokenTable("text_encoder", ids, torch.tensor(vectors), Tokenizer())


@pytest.fixture
def inserted(monkeypatch):
    """Inserted tokens are encoded as their embeddings, between a start and an end state."""

    def encode(model, table, new, place, prompts):
        start = torch.zeros(1, new[0].shape[1])
        return {"s": torch.cat([start, new[0], new[0].sum(0, keepdim=True)])[None]}

    for module in (p4d, mma, ring_a_bell):
        monkeypatch.setattr(module, "encode_inserted", encode)


@pytest.mark.parametrize(
    ("attack", "group"),
    [(words.Standard, "target"), (words.Paraphrase, "synonym"), (words.Implied, "implied")],
)
def test_words_are_passed_on_as_they_are(attack, group, target, monkeypatch):
    typed = []

    def sample(victim, cases, walk):
        typed.append((cases, walk.skip, walk.latents))

    monkeypatch.setattr("unconcept.attacks.sampling.sample", sample)
    (row,) = attack().prepare(Victim(stub()), target).values()
    row.sample(CASES)
    assert attack.group == group
    assert typed == [(CASES, 0, None)]


def test_completion_divides_the_steps(target, monkeypatch):
    """Of 5 steps: a share of .4 is 2 steps of the original, .1 is one, since none is no attack."""
    begun, finished = [], []

    def sample_latents(victim, cases, walk, stop):
        begun.append((victim.model, cases.prompts, stop))
        return torch.full((2, 1, 1, 1), float(stop))

    def sample(victim, cases, walk):
        finished.append((victim.model, cases.prompts, walk.skip, walk.latents.flatten().tolist()))

    monkeypatch.setattr(completion, "sample_latents", sample_latents)
    monkeypatch.setattr(completion, "sample", sample)
    attack = completion.Completion(shares=(0.1, 0.4), words=("alternative",))
    erased, original = stub(), stub()
    for row in attack.prepare(Victim(erased, None, original), target).values():
        row.sample(CASES)
    assert begun == [(original, CASES.prompts, 1), (original, CASES.prompts, 2)]
    assert finished == [
        (erased, CASES.instead, 1, [1.0, 1.0]),
        (erased, CASES.instead, 2, [2.0, 2.0]),
    ]


def test_inpainting_puts_the_rim_back():
    """√ᾱ = .8: outside .8 · 1 + .6 · 2 = 2, at the end the image itself; inside what was drawn."""
    model = stub(add_noise=lambda x, noise, t: 0.8 * x + 0.6 * noise)
    known, drawn = torch.ones(3, 1, 4, 4), torch.full((1, 1, 4, 4), 7.0)
    inside = inpainting.middle(known, 0.5)
    change = inpainting.put_back(model, known, 2 * known, inside, slice(0, 1))
    for t, rim in ((500, 2.0), (-1, 1.0)):
        x = change(drawn, torch.tensor([t]))[0, 0]
        assert x[inside].tolist() == [7.0] * 4
        assert x[~inside].tolist() == [pytest.approx(rim)] * 12


def test_the_noise_probe_keeps_the_best_setting(target, monkeypatch):
    """Of η 1, 1.5, 2 times 1, 2 the judge likes 1.5 · 2 = 3 best; ties go to the first."""

    def noisy_images(victim, cases, sampling, walk):
        return torch.tensor(walk.eta * walk.scale)

    monkeypatch.setattr(noise, "noisy_images", noisy_images)
    shares = {1.0: 0.1, 2.0: 0.2, 1.5: 0.0, 3.0: 0.9, 4.0: 0.9}
    liked = Target(**{**vars(target), "share": lambda images: shares[float(images)]})
    attack = noise.Noise(etas=(1.0, 1.5, 2.0), scales=(1.0, 2.0))
    (row,) = attack.prepare(Victim(stub()), liked).values()
    assert row.sample(CASES) == 3.0
    assert row.found == "the best of 6 settings: η 1.5, noise × 2"


def test_a_classifier_moves_the_predicted_noise(model, monkeypatch):
    """ᾱ .25, s 2, ∇ = 1 / √3: ε = 0 − 2 √.75 / √3 = −1 and x̂_0 = (1 + √.75) / .5 = 3.732,
    so that √.64 · 3.732 − √.36 = 2.3856.
    """
    monkeypatch.setattr(ddim_module, "decode", lambda model, latents: latents)
    monkeypatch.setattr(model, "guided", lambda x, *rest: torch.zeros_like(x))
    monkeypatch.setattr(model, "initial_noise", lambda seeds: torch.ones(1, 4, 8, 8))
    model.alphas = torch.full((1000,), 0.25)
    model.scheduler.final_alpha_cumprod = torch.tensor(0.64)

    def gradient(x, t):
        return torch.full_like(x, 3**-0.5)

    walk = ddim_module.NoisyWalk(gradient=gradient, strength=2.0)
    cases = Cases(("a pig",), (1,), ("",))
    images = ddim_module.noisy_images(Victim(model), cases, Sampling(steps=1), walk)
    assert images.unique().item() == pytest.approx(2.3856, abs=1 / 255)


def test_a_word_is_learned_by_adamw(target, monkeypatch):
    """Gradients 3 and −1: v ← v (1 − .1 · .01) ∓ .1."""
    weights = torch.tensor([[3.0, -1.0]])

    def loss(model, latents, condition, generator):
        return (condition["s"] * weights).sum()

    def means(model, vectors):
        return {"text_encoder": torch.tensor([[1.0, -2.0]])}

    monkeypatch.setattr(inversion_of_text, "denoising_loss", loss)
    monkeypatch.setattr(inversion_of_text, "mean_embeddings", means)
    monkeypatch.setattr(inversion_of_text, "image_latents", lambda model, images: images)
    monkeypatch.setattr(
        inversion_of_text, "encode_words", lambda model, words, typed: {"s": words["text_encoder"]}
    )
    attack = inversion_of_text.TextualInversion
    monkeypatch.setattr(attack, "spoken", lambda self, victim, target, words: words)
    learned = attack(steps=1, lr=0.1, batch=1).prepare(Victim(stub()), target)
    torch.testing.assert_close(learned[""]["text_encoder"], torch.tensor([[0.899, -1.898]]))


def test_states_are_learned_and_stand_behind_the_prompt():
    """(0 − 2)² falls with P: one step of Adam adds lr. Last tokens 0 and 1, one state behind."""
    adversary = Adversary(torch.zeros(1, 1, 1), "s", steps=1, lr=0.1, decay=0.0)
    c = {"s": torch.zeros(2, 3, 1)}
    batch: Any = SimpleNamespace(
        x=0, t=0, conditions={"c": c}, targets={"c": torch.tensor([2.0, 2.0])}
    )
    last, prompt = torch.tensor([0, 1]), torch.zeros(2, dtype=torch.long)
    adversary.attack(lambda x, t, c: c["s"].sum((1, 2)), batch, last, prompt)
    assert adversary.P.item() == pytest.approx(0.1)
    model = stub(last_token_index=lambda prompts: last)
    read = learned_states.encode_with(model, lambda prompts: c, adversary.P, ["a", "b c"])
    torch.testing.assert_close(read["s"][..., 0], torch.tensor([[0, 0.1, 0], [0, 0, 0.1]]))


def test_relearning_steps_a_lora(target, monkeypatch):
    """y = W x + U D x with U = 0 and x = (1, 0): U ← −lr sign(d_1), D ← D (1 − .01 lr)."""
    network = nn.Sequential(nn.Linear(2, 1, bias=False))
    weight = network[0].weight.detach().clone()

    def loss(model, latents, condition, generator):
        return network(torch.tensor([[1.0, 0.0]])).sum()

    monkeypatch.setattr(relearning, "denoising_loss", loss)
    monkeypatch.setattr(relearning, "image_latents", lambda model, images: images)
    monkeypatch.setattr(
        relearning.Relearning,
        "relearned",
        lambda self, victim, target, lora: lora.deltas()["unet.0.weight"].detach(),
    )
    model = stub(
        components={"unet": network},
        groups=("all",),
        weight_group=lambda group: (Site("unet.0.weight", ""),),
        encode=lambda prompts: {"s": torch.zeros(len(prompts), 1, 1)},
    )
    attack = relearning.Relearning(images=2, marks=(1,), rank=1, lr=0.5, batch=1)
    rows = attack.prepare(Victim(model), target)
    D = torch.randn(1, 2, generator=torch.Generator().manual_seed(0)) / 2**0.5
    expected = -0.5 * D[0, 0].sign() * 0.995 * D
    torch.testing.assert_close(rows["2 images, 1 steps"], expected)
    assert torch.equal(network[0].weight, weight)


def test_inversion_of_a_model_that_predicts_nothing_returns_the_image(model, monkeypatch):
    """With ε = 0 DDIM scales the latents by √(ᾱ_s/ᾱ_t) on both ways."""
    monkeypatch.setattr(model, "predict", lambda x, t, c: torch.zeros_like(x))
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    latents = model.latents(images)
    noise = model.invert(latents, CASES.prompts, steps=4, upto=4)
    ratio = (noise / latents).mean()
    torch.testing.assert_close(noise, ratio * latents)
    again = Inversion(steps=4).again(Victim(model), CASES, images)
    expected = model.decode(latents).cpu()
    torch.testing.assert_close(again, expected, atol=1.1 / 255, rtol=0)


def test_tracing_scales_the_change(target, monkeypatch):
    """.25 · 4 = 1 and .5 · 4 = 2."""
    monkeypatch.setattr(
        strength_tracing, "plain", lambda victim, target: victim.edit.deltas["unet.w"].item()
    )
    victim = Victim(stub(), Edit({"unet.w": torch.tensor([4.0])}))
    rows = strength_tracing.StrengthTracing(strengths=(0.25, 0.5)).prepare(victim, target)
    assert rows == {"strength 0.25": 1.0, "strength 0.5": 2.0}


def test_p4d_steps_away_from_the_token_that_it_reads(target, inserted, monkeypatch):
    """Aim (0, 1), read (1, 0): the gradient of the mean square is (1, −1), so that AdamW with lr .6
    and decay .1 leads to (.94 − .6, .6), which is nearest to the second token. Its loss is 0.
    """
    table = table_of([[1.0, 0.0], [0.0, 1.0]])
    points = p4d.Points(
        torch.zeros(16, 2), torch.zeros(16), torch.tensor([0.0, 1.0]).expand(16, 2), ("",) * 16
    )
    monkeypatch.setattr(TokenTable, "of", lambda model, concept: table)
    monkeypatch.setattr(p4d.Points, "of", lambda victim, target, generator: points)
    monkeypatch.setattr(p4d.P4D, "random_rows", lambda self, table, generator: torch.tensor([0]))
    monkeypatch.setattr(p4d, "prefixed", lambda victim, target, table, rows, place: rows.tolist())
    model = stub(predict=lambda x, t, c: c["s"][:, 1].expand(len(x), 2))
    attack = p4d.P4D(tokens=1, steps=1, lr=0.6, weight_decay=0.1, batch=1, every=1)
    victim = Victim(model, None, model)
    assert attack.prepare(victim, target) == {"": [1]}
    new = (table.vectors[:1], table.allowed[:1])
    assert attack.distance(victim, table, new, points, torch.arange(8)).item() == 1.0


def test_ring_a_bell_looks_for_the_concepts_direction(target, inserted, monkeypatch):
    """Pairs (3, 1) − (1, 1) and (5, 2) − (1, 0): v = (3, 1). From (3, 1) with η 2: aim (9, 3).
    Of the tokens (1, 0), (9, 3), (9, 9) the second is there.
    """
    states = {"a pig": [3.0, 1.0], "a": [1.0, 1.0], "a red pig": [5.0, 2.0], "red": [1.0, 0.0]}
    model = stub(encode=lambda prompts: {"s": torch.tensor([[states[p]] for p in prompts])})
    v = ring_a_bell.direction(model, ["a pig", "a red pig"], ["a", "red"])
    assert v.tolist() == [[3.0, 1.0]]
    concept: Any = SimpleNamespace(pairs=lambda: [("a pig", "a"), ("a red pig", "red")])
    table = table_of([[1.0, 0.0], [9.0, 3.0], [9.0, 9.0]])
    monkeypatch.setattr(TokenTable, "of", lambda model, concept: table)
    monkeypatch.setattr(
        ring_a_bell, "token_states", lambda model, table, rows: table.vectors[rows[:, 0]][:, None]
    )
    monkeypatch.setattr(ring_a_bell, "plain", lambda victim, target, prompts: prompts)
    named = Target(**{**vars(target), "concept": concept})
    attack = ring_a_bell.RingABell(tokens=1, population=8, generations=5, eta=2.0)
    assert attack.prepare(Victim(model), named) == {"": ["11"]}


def test_mma_swaps_in_the_likeliest_token(inserted):
    """Aim (0, 1): the cosines of (1, 0), (.6, .8), (0, 1) are 0, .8 and 1."""
    table = table_of([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    attack = mma.MMA(tokens=1, steps=1, top=2, candidates=16)
    aim = torch.tensor([[0.0, 1.0]])
    for row, cosine in enumerate((0.0, 0.8, 1.0)):
        new = (table.vectors[[row]], torch.tensor([row]))
        assert attack.likeness(stub(), table, new, aim).item() == pytest.approx(cosine)
    generator = torch.Generator().manual_seed(0)
    best = attack.swap(stub(), table, torch.tensor([0]), aim, generator)
    assert best.tolist() == [2]
    assert attack.swap(stub(), table, best, aim, generator).tolist() == [2]
    table.tokenizer.decode = lambda ids: "12 12"  # reads as other tokens than it was written
    assert attack.swap(stub(), table, torch.tensor([0]), aim, generator).tolist() == [0]


def test_recall_searches_a_start_near_the_reference():
    """A model that predicts x_t: every step leads α = .01 towards the reference 20, and the fifth
    adds .05 · 20: z = .25 · 20 + .75 n + 5 · .01 + 1.
    """
    model = stub(
        add_noise=lambda x, noise, t: x,
        predict=lambda x, t, c: x,
        encode=lambda prompts: {},
    )
    attack = ReferenceImage(timesteps=1, iterations=5, alpha=0.01)
    z_ref = torch.full((2, 1, 2, 2), 20.0)
    z = attack.search(Victim(model), CASES, z_ref, torch.Generator().manual_seed(0))
    n = torch.randn(z_ref.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(z, 6.05 + 0.75 * n)
