"""PROBE: the clean clip in a prediction, by hand, and the attack on a tiny video folder."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import same, state
from support.tiny_videos import SIZES, tiny_video

from unconcept import Concept, InputError, load
from unconcept.attacks import build
from unconcept.attacks.interface import Cases, Target, Victim
from unconcept.attacks.probe import Probe, clean_estimate
from unconcept.attacks.textual_inversion import encode_words
from unconcept.methods.uce import UCE
from unconcept.models.interface import Sampling

PIG = Concept(erase="pig", alternative="cow")
CASES = Cases(("a pig", "a red pig"), (1, 2), ("a cow", "a red cow"))


def schedule(a, b, p, q) -> Any:
    """A model with x_t = a x_0 + b n that should predict p x_0 + q n, and predicts 1 more."""

    def add_noise(x, noise, t):
        return a * x + b * noise

    def target(x, noise, t):
        return p * x + q * noise

    model = SimpleNamespace(
        add_noise=add_noise, target=target, timesteps=9, device="cpu", dtype=torch.float32
    )
    model.predict = lambda x, t, c: c["right"] + 1
    return model


@pytest.mark.parametrize(
    ("a", "b", "p", "q"),
    [(0.75, 0.25, -1.0, 1.0), (0.8, 0.6, -0.6, 0.8), (0.8, 0.6, 0.0, 1.0)],
    ids=["flow", "velocity", "noise"],
)
def test_the_clean_clip_is_found_again(a, b, p, q):
    """x_0 = 2 and n = 6, whatever the model predicts."""
    x_t = torch.full((1, 1, 2, 1, 1), 2 * a + 6 * b)
    y = torch.full_like(x_t, 2 * p + 6 * q)
    clean = clean_estimate(schedule(a, b, p, q), x_t, y, torch.tensor([3]))
    torch.testing.assert_close(clean, torch.full_like(x_t, 2.0))


def test_the_loss_by_hand():
    """Flow at σ = .25, wrong by 1: x̂_0 is wrong by σ, and the loss is 1 + 3 · .25²."""
    x_0 = torch.ones(2, 1, 2, 1, 1)
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(5))
    model = schedule(0.75, 0.25, -1.0, 1.0)
    generator = torch.Generator().manual_seed(5)
    loss = Probe(lam=3.0).loss(model, x_0, {"right": noise - x_0}, generator)
    assert loss.item() == pytest.approx(1 + 3 * 0.0625)


def test_the_learning_rate_is_a_cosine():
    attack = build("probe", "paper")
    rates = [attack.lr_at(step) for step in (0, 1000, 1500, 3000)]
    assert rates == pytest.approx([0.08, 0.06, 0.04, 0.0])


def test_images_are_refused_by_name(model, edit):
    with pytest.raises(InputError, match="PROBE attacks text-to-video models"):
        Probe().prepare(Victim(model, edit), target_of(torch.zeros(2, 3, 16, 16)))


def target_of(images):
    sampling = Sampling(steps=2, guidance=2.0)
    return Target(PIG, CASES, CASES, images, CASES, images, lambda shown: 0.0, sampling)


def test_it_runs_on_a_video_folder(tmp_path):
    tiny_video("cogvideox").save_pretrained(tmp_path)
    frames, height, width = SIZES["cogvideox"]
    video: Any = load(tmp_path, device="cpu", frames=frames, height=height, width=width)
    before = {part: state(module) for part, module in video.components.items()}
    letters = video.pipe.text_encoder.get_input_embeddings().weight
    k = letters[video.pipe.tokenizer.convert_tokens_to_ids("k")].detach()
    read = encode_words(video, {"text_encoder": k[None]}, ["a *"])
    torch.testing.assert_close(read, dict(video.encode(["a k"])))

    clips = torch.rand(2, frames, 3, height, width, generator=torch.Generator().manual_seed(0))
    victim = Victim(video, UCE()(video, PIG))
    attack, target = Probe(steps=2, batch=2, vectors=2), target_of(clips)
    (row,) = attack.prepare(victim, target).values()
    (chance,) = attack.chance(victim, target).values()
    shown = row.sample(CASES.first(1))
    assert shown.shape == (1, frames, 3, height, width)
    assert not torch.equal(shown, chance.sample(CASES.first(1)))
    for part, module in video.components.items():
        assert same(before[part], state(module))
