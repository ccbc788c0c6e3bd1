"""Our sparse autoencoder against its authors' own code (Interpret then Deactivate).

The numbers were obtained as those of test_official_equations.py.
"""

import pytest
import torch
from support.waves import near, wave

from unconcept.edits.adapters import SparseAutoencoder
from unconcept.methods.sae import SAE, strongest_features


def test_sparse_autoencoder():
    """SparseAutoencoder of src/SAE/sae.py, NANSirun/Interpret-then-deactivate@6e8869a: n = 6, width
    4, k = 2.
    """
    sae = SparseAutoencoder.begin(torch.zeros(2, 4), 6, 2, torch.Generator())
    sae.encoder, sae.decoder = wave(6, 4, start=2.0), wave(4, 6, start=3.0)
    sae.centre, sae.latent = wave(4, start=0.5), 0.1 * wave(6, start=0.1)
    z = sae.features_of(wave(3, 4, start=9.0))
    assert z.flatten().tolist() == near(
        [
            [0.0, 3.008673, 3.367894, 0.0, 0.0, 0.0],
            [0.0, 0.0, 3.301051, 3.370643, 0.0, 0.0],
            [0.0, 0.0, 0.0, 3.377941, 3.304076, 0.0],
        ]
    )
    assert sae.decode(z).flatten().tolist() == near(
        [
            [-2.136491, 0.362001, 2.565982, -4.83285],
            [4.133313, -3.521402, 1.843737, 0.082298],
            [2.54478, 2.060607, -4.541803, 3.622232],
        ]
    )


def of_waves(**tensors) -> SparseAutoencoder:
    """n = 6, width 4, k = 2; columns of the decoder have length 1. Feature 4 has a bias that keeps
    it at 0 for these inputs.
    """
    sae = SparseAutoencoder.begin(torch.zeros(2, 4), 6, 2, torch.Generator())
    decoder = wave(4, 6, start=3.0)
    sae.encoder, sae.decoder = wave(6, 4, start=2.0), decoder / decoder.norm(dim=0)
    sae.centre, sae.latent = (
        wave(4, start=0.5),
        0.1 * wave(6, start=0.1) - torch.tensor([0.0, 0, 0, 0, 2, 2]),
    )
    return sae


LEFT, OF_THE_DEAD = 5.694267, 0.034391  # train_recons and train_maxk_recons, as they log them
SLOPES = {
    "centre": [-0.108994, 3.032172, -0.097834, -3.569925],
    "latent": [0.171107, 1.190432, 0.647111, 1.087332, 0.000458, -0.335],
}


def test_the_autoencoders_loss():
    """train_sae() of scripts/train_sae_text.py, NANSirun/Interpret-then-deactivate@6e8869a, one
    batch of four prompts with three tokens, auxk = 2.

    Feature 4 was last active 500 steps ago, which counts as dead there and here.
    """
    sae, x = of_waves(), wave(12, 4, start=9.0)
    for name in SLOPES:
        getattr(sae, name).requires_grad_(True)
    loss, z = SAE().loss(
        sae, x, x.var(0, correction=0).sum(), torch.tensor([False] * 4 + [True, False])
    )
    loss.backward()
    assert loss.item() == pytest.approx(LEFT + OF_THE_DEAD, abs=1e-5)
    assert (z > 0).any(0).tolist() == [True] * 4 + [False, True]
    for name, slopes in SLOPES.items():
        assert getattr(sae, name).grad.tolist() == near(slopes)


def test_without_a_dead_feature_theirs_has_a_second_term_all_the_same():
    """Without dead features their train_maxk_recons is 0.035301, ‖e‖² over its variance: no feature
    can lower it, and its gradient moves b. Ours is 0.

    With their settings a feature is dead after 200,000 steps, and they train for 16,000.
    """
    x = wave(12, 4, start=9.0)
    sae = of_waves()
    loss, _ = SAE().loss(sae, x, x.var(0, correction=0).sum(), torch.zeros(6, dtype=torch.bool))
    assert loss.item() == pytest.approx(LEFT, abs=1e-5)
    e = x - sae.decode(sae.features_of(x))
    assert (e.square().mean() / (e - e.mean(0)).square().mean() / 32).item() == pytest.approx(
        0.035301, abs=1e-5
    )


def chirp(*shape: int, start: float = 1.0) -> torch.Tensor:
    """sin(start + n²/100): unlike waves, no two of its rows are nearly the same. Their code takes
    width 768 only.
    """
    n = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(start + 0.01 * n**2).float().view(*shape)


PROMPTS = {
    word: chirp(4, 768, start=start)
    for word, start in (("pig", 3.0), ("hog", 4.0), ("cat", 5.0), ("dog", 6.0))
}  # four tokens each
TARGETS, OTHERS = (
    torch.stack([PROMPTS[word] for word in words]) for words in (("pig", "hog"), ("cat", "dog"))
)


def of_chirps(k: int, top: int = 128) -> SparseAutoencoder:
    """n = 1024; its features are those of pig and hog without those of cat and dog."""
    sae = SparseAutoencoder.begin(torch.zeros(2, 768), 1024, k, torch.Generator())
    sae.encoder, sae.decoder = (
        chirp(1024, 768, start=2.0) / 768**0.5,
        chirp(768, 1024, start=3.0) / 768**0.5,
    )
    sae.centre, sae.latent = 0.1 * chirp(768, start=0.5), 0.1 * chirp(1024, start=0.1)
    sae.features = torch.tensor(
        sorted(strongest_features(sae, [TARGETS], top) - strongest_features(sae, [OTHERS], top))
    )
    sae.scale = torch.tensor(-8.0)
    return sae


def test_the_concepts_features():
    """find_the_threshold_for_celebrity() of eval_scripts/generate_images_scripts/generate_images.py
    at the same commit: targets pig and hog, cat and dog are retained; k = 64. They compare the 128
    strongest.
    """
    features = of_chirps(64).features.tolist()
    assert (len(features), sum(features)) == (163, 88733)
    assert features[:12] == [1, 2, 3, 4, 9, 11, 12, 16, 28, 30, 31, 36]


def test_a_feature_that_is_0_is_nobodys():
    """With k = 16 a prompt of three words has at most 48 active features, and their 128 strongest
    are filled up with some at 0.

    Four of their 71 (525, 642, 700, 763) are 0 in all of pig and hog, and those that fill up cat
    and dog's are taken from the concept.
    """
    sae = of_chirps(16)
    there = sae.features_of(TARGETS[:, 1:]).amax((0, 1))
    assert (there[[525, 642, 700, 763]] == 0).all()
    assert (there[sae.features] > 0).all()


OPEN = {
    "pig": [2.105887, 2.006522, 0.7907, 0.10328, -0.679954, -2.238017],
    "hog": [1.217807, 0.420511, -0.39507, -0.066762, 0.212022, -1.316386],
}
THEIR_SCORES = [3.670308, 1.421694, 0.623941, 0.583658]  # of pig, hog, cat, dog


def test_deactivation():
    """strength_with_feature_text_batch() in generate_images() of the same file, τ = 8, at a
    threshold of 0: the second token's first six numbers, and the mean square of the change.

    It replaces h by the reconstruction; we add the change of the reconstruction, to every token but
    the first.
    """
    sae, h = of_chirps(64), torch.cat([TARGETS, OTHERS])
    again = sae.decode(sae.features_of(h))
    theirs = again + sae.change(h)
    for word, there in zip(OPEN, theirs):
        assert there[1, :6].tolist() == near(OPEN[word])
    assert theirs[0, 0, :3].tolist() == near(
        [-0.158179, 0.296125, -0.262071]
    )  # the first token is written anew, too
    assert (theirs - h).square().mean((1, 2)).tolist() == pytest.approx(THEIR_SCORES, abs=1e-5)
    sae.threshold = torch.tensor(0.0)
    torch.testing.assert_close(sae(h) - h, theirs - again)
    assert torch.equal(sae(h)[:, 0], h[:, 0])


def test_the_gate():
    """generate_images() of the same file as "ItD-celeb": its θ is 1.729887, from each prompt's
    worst token, and the gate compares it with a mean over tokens. Of its own targets hog, with
    1.421694, stays unchanged.

    Ours uses one measure for both, without the reconstruction error, which is nearly all of dog's
    0.58.
    """
    sae = of_chirps(64)
    again = sae.decode(sae.features_of(TARGETS)) + sae.change(TARGETS)
    assert 0.99 * (again - TARGETS).square().mean(2).amax(1).min().item() == pytest.approx(
        1.729887, abs=1e-5
    )
    sae.threshold = 0.99 * sae.score(TARGETS).min()
    assert sae.score(OTHERS).tolist() == pytest.approx([0.0757, 0.0265], abs=1e-4)
    assert [torch.equal(after, before) for after, before in zip(sae(TARGETS), TARGETS)] == [
        False,
        False,
    ]
    assert torch.equal(sae(OTHERS), OTHERS)
