"""The sparse autoencoder by hand, and as a gate: a prompt without the concept is bit-identical."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from conftest import same

from unconcept import Concept, Edit
from unconcept.concepts.templates import article
from unconcept.edits.adapters import SparseAutoencoder
from unconcept.io.weights import user_cache
from unconcept.methods import sae
from unconcept.methods.sae import SAE, strongest_features, training_prompts

PIG = Concept(erase="pig", templates=("{}", "a picture of {}"), keep=("cat", "dog", "house"))
QUICK = SAE(features=512, active=8, steps=200, top=16, batch_size=16)
TRAINING = "the sparse autoencoder, once for this model"


def by_hand(**tensors) -> SparseAutoencoder:
    """Two features along the axes of a plane, both may be active. Feature 0 is the concept's and is
    turned to -1 times itself.
    """
    defaults = {
        "encoder": torch.eye(2),
        "latent": torch.zeros(2),
        "decoder": torch.eye(2),
        "centre": torch.zeros(2),
        "active": torch.tensor(2),
        "features": torch.tensor([0]),
        "scale": torch.tensor(-1.0),
        "threshold": torch.tensor(0.0),
        "strength": torch.ones(()),
    }
    return SparseAutoencoder({**defaults, **tensors})


def test_features_by_hand():
    """Of (3, 2) the largest alone is kept when k = 1, and what is below 0 is none."""
    z = by_hand(active=torch.tensor(1)).sparse(torch.tensor([[3.0, 2.0], [-1.0, -2.0]]))
    assert z.tolist() == [[3.0, 0.0], [0.0, 0.0]]


def test_deactivation_by_hand():
    """The first token stays. (3, 2) has 3 of the feature and becomes (-3, 2). (-1, 2) has none of
    it and stays.
    """
    h = torch.tensor([[[5.0, 5.0], [3.0, 2.0], [-1.0, 2.0]]])
    assert by_hand()(h).tolist() == [[[5.0, 5.0], [-3.0, 2.0], [-1.0, 2.0]]]
    assert by_hand(strength=torch.tensor(0.5))(h)[0, 1].tolist() == [0.0, 2.0]


def test_the_gate_by_hand():
    """One token is changed by (-6, 0): mean square 18. A threshold above it closes the gate."""
    h = torch.tensor([[[5.0, 5.0], [3.0, 2.0], [-1.0, 2.0]]])
    assert by_hand().score(h).tolist() == [18.0]
    assert torch.equal(by_hand(threshold=torch.tensor(18.1))(h), h)
    assert not torch.equal(by_hand(threshold=torch.tensor(17.9))(h), h)


def test_strongest_by_hand():
    hidden = torch.tensor([[[9.0, 9.0], [3.0, -1.0], [1.0, 2.0]]])
    assert strongest_features(by_hand(), [hidden], 1) == {0}
    assert strongest_features(by_hand(), [hidden], 2) == {0, 1}


def test_training_explains_what_it_sees():
    """Points that combine 3 of 12 directions: with enough features it explains most of their
    variance, and more than untrained.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(12, 16, generator=generator)
    codes = torch.zeros(600, 12).scatter(
        1, torch.rand(600, 12, generator=generator).topk(3).indices, 1.0
    )
    h = codes @ directions
    method = SAE(features=32, active=4, steps=600, lr=1e-2, batch_size=16)
    trained = method.train(h, lambda progress: None)
    begun = SparseAutoencoder.begin(h, 32, 4, torch.Generator().manual_seed(0))

    def unexplained(sae: SparseAutoencoder) -> float:
        error = (h - sae.decode(sae.features_of(h))).square().sum()
        return (error / (h - h.mean(0)).square().sum()).item()

    assert unexplained(trained) < 0.15 < unexplained(begun)
    torch.testing.assert_close(trained.decoder.norm(dim=0), torch.ones(32))


def test_it_guards_the_prompts_of_the_concept_alone(model, tmp_path):
    edit = QUICK(model, PIG)
    for prompt in ("", "a cat", "a picture of a house"):
        plain = model.encode([prompt])[model.prompt_states_key]
        with edit.on(model):
            assert torch.equal(model.encode([prompt])[model.prompt_states_key], plain), prompt
    plain = model.encode(["a picture of a pig"])[model.prompt_states_key]
    with edit.on(model):
        assert not torch.equal(model.encode(["a picture of a pig"])[model.prompt_states_key], plain)


FOX = Concept(erase="fox", templates=("{}", "a picture of {}"), keep=("cat", "dog", "house"))


def stages(method, model, concept) -> tuple[Edit, Counter]:
    """The edit, and how often each stage was reported."""
    counts = Counter()
    return method(model, concept, progress=lambda progress: counts.update([progress.stage])), counts


def test_one_autoencoder_serves_every_concept(model, tmp_path, monkeypatch):
    """The second concept trains nothing, and comes out as if it had been the first."""
    _, first = stages(QUICK, model, PIG)
    second, counts = stages(QUICK, model, FOX)
    assert first[TRAINING] == QUICK.steps
    assert counts == {"finding the concept's features": 1}
    assert len(list((user_cache() / "autoencoders").iterdir())) == 1
    monkeypatch.setenv("UNCONCEPT_CACHE", str(tmp_path / "another"))
    alone, counts = stages(QUICK, model, FOX)
    assert counts[TRAINING] == QUICK.steps
    assert same(second.tensors(), alone.tensors())
    assert second.adapters.keys() == alone.adapters.keys()


def test_it_is_trained_anew_without_the_cache(model):
    for _ in range(2):
        assert stages(replace(QUICK, cache=False), model, PIG)[1][TRAINING] == QUICK.steps
    assert not (user_cache() / "autoencoders").exists()


@pytest.mark.parametrize(
    "other",
    [
        {"lr": 2e-3},
        {"batch_size": 8},
        {"steps": 199},
        {"features": 513},
        {"active": 7},
        {"seed": 1},
        {"prompts": 99},
    ],
)
def test_what_makes_another_autoencoder_makes_another_file(model, other):

    def name(method: SAE) -> str:
        prompts = training_prompts(model.vocabulary, (), method.prompts)
        return method.file_name(model, prompts)

    assert name(QUICK) != name(replace(QUICK, **other))
    assert name(QUICK) == name(replace(QUICK, strength=1.0, top=3)), (
        "these are not settings of its training"
    )


def test_another_model_or_other_words_make_another_file(model):
    name = QUICK.file_name(model, ["a cat"])
    assert name != QUICK.file_name(model, ["a dog"])
    next(model.components["text_encoder"].parameters()).data.add_(1)
    assert name != QUICK.file_name(model, ["a cat"])


def test_a_model_with_adapters_on_it_gets_an_autoencoder_of_its_own(model):
    """Its weights are the same, and what it says is not."""
    edit, _ = stages(QUICK, model, PIG)
    edit.apply(model)
    _, counts = stages(QUICK, model, FOX)
    assert counts[TRAINING] == QUICK.steps
    edit.remove(model)
    assert TRAINING not in stages(QUICK, model, FOX)[1]


def test_a_file_that_was_cut_short_is_made_again(model, caplog):
    whole, _ = stages(QUICK, model, PIG)
    (file,) = (user_cache() / "autoencoders").iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    again, counts = stages(QUICK, model, PIG)
    assert counts[TRAINING] == QUICK.steps
    assert "trained again" in caplog.text
    assert same(whole.tensors(), again.tensors())


def test_a_cache_that_cannot_be_written_costs_time_alone(model, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("UNCONCEPT_CACHE", str(tmp_path / "file"))
    assert stages(QUICK, model, PIG)[1][TRAINING] == QUICK.steps
    assert "not kept" in caplog.text


def test_what_it_reads():
    """The prompts have every word of the vocabulary alone and beside others, and these and the
    lexicon's in every phrasing. They do not depend on the concept; there are at most n.
    """
    prompts = training_prompts(("cat", "owl"), ("neon", "fox"), 400)
    assert {"", "a cat", "an owl", "a cat and an owl"} <= set(prompts)
    assert len(prompts) == len(set(prompts))
    assert prompts == training_prompts(("cat", "owl"), ("fox", "neon"), 400)
    for word in ("cat", "owl", "neon", "fox"):
        for start in ("a picture of {}", "{} next to", "{} on"):
            assert any(prompt.startswith(start.format(article(word))) for prompt in prompts), (
                word,
                start,
            )
        assert any(prompt.endswith(f"in {word} style") for prompt in prompts), word
    assert training_prompts(("cat", "owl"), ("neon", "fox"), 3) == prompts[:3]


def test_memory_is_bounded(model, monkeypatch):
    """Of every prompt as many states; words come before padding."""
    monkeypatch.setattr(sae, "STATES", 40)
    prompts = ["a cat", "a dog", "a cat", "a tree"] * 5
    h = QUICK.training_states(model, prompts, lambda progress: None)
    assert h.shape == (40, 16)
    of_words = torch.cat(
        [
            state[1 : end + 2]
            for state, end in zip(
                model.text_hidden_states(prompts), model.last_token_index(prompts)
            )
        ]
    )
    assert all((of_words == state).all(1).any() for state in h)


def test_nothing_of_its_own_is_said(model):
    from unconcept.errors import InputError

    with pytest.raises(InputError, match="no feature of its own"):
        SAE(features=8, active=8, steps=2, top=8, batch_size=4)(model, PIG)


def test_whole_words():
    """Of CLIP's tokens, those that end a word and consist of letters; of a tokenizer without word
    ends, none. The embedded model has its own, styles among them.
    """
    from types import SimpleNamespace

    from unconcept import load
    from unconcept.models.tokenizers import whole_words

    def tokenizer(*tokens: str) -> SimpleNamespace:
        return SimpleNamespace(get_vocab=lambda: dict.fromkeys(tokens, 0))

    assert whole_words(
        tokenizer("neon</w>", "cat</w>", "ne", "12</w>", "é</w>", "at</w>", "<|endoftext|>")
    ) == ("cat", "neon")
    assert whole_words(tokenizer("cat", "▁cat")) == ()
    assert {"hog", "pixel art", "farm animal", "blue"} <= set(load("emoji").lexicon)


def test_retained_prompts_of_a_concept_that_the_lexicon_completes(model):
    """A fixed random choice, with every word alone; without the lexicon all of them."""
    words = tuple(f"word{i}" for i in range(300))
    concept = Concept(erase="pig", keep=words, templates=("{}", *(f"{{}} {i}" for i in range(20))))
    everything = SAE().retained(model, [concept])
    assert len(everything) > 6000
    model.completes = True
    some = SAE().retained(model, [concept])
    assert len(some) == len(set(some)) == sae.RETAINED
    assert set(some) < set(everything)
    assert {article(word) for word in (*words, *model.vocabulary)} < set(some)
    assert some == SAE().retained(model, [concept])
    assert some != SAE(seed=1).retained(model, [concept])
