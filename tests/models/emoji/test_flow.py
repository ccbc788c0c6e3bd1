"""The embedded transformer (Stable Diffusion 3's MMDiT) as it is packaged."""

import hashlib
import json
from dataclasses import replace

import pytest

from unconcept import Concept, load
from unconcept.cli.method_settings import settings_for_model
from unconcept.evaluation.emoji.judge import load_judge
from unconcept.methods import all_but_one
from unconcept.models import emoji
from unconcept.models.emoji import concepts as known
from unconcept.models.emoji import vocabulary as world
from unconcept.models.interface import Sampling

WORDS = ("cat", "castle", "bus", "owl", "rocket", "pizza", "frog", "snowman")


@pytest.fixture(scope="module")
def model():
    return load("emoji-flow")


@pytest.fixture(scope="module")
def shown(model):
    """What the model's images of WORDS show, of the seeds from 0 on."""
    return seen(model, WORDS).whole


def seen(model, words, first=0):
    prompts = [f"a {word}" for word in words]
    seeds = range(first, first + len(prompts))
    latents = model.sample(prompts, seeds, Sampling(steps=8, guidance=5.0))
    return load_judge().look(model.decode(latents))


def test_the_weights_have_their_checksum():
    weights = emoji.FLOW / "transformer" / "diffusion_pytorch_model.safetensors"
    quality = json.loads((emoji.FLOW / "quality.json").read_text())
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == quality["sha256"]


def test_there_are_no_tokens_of_zeros(model):
    """diffusers adds 256 zeros for a missing T5; this model was trained without them."""
    states = model.encode(["a pig"])[model.prompt_states_key]
    assert states.shape[1] == model.pipe.tokenizer.model_max_length


def test_images_show_their_prompts(shown):
    objects = [world.WORDS[i] if i >= 0 else "none" for i in shown.tolist()]
    right = sum(shown == word for shown, word in zip(objects, WORDS))
    assert right >= 6, objects


def test_erasing_removes_the_concept_and_leaves_the_rest(model, shown, monkeypatch):
    monkeypatch.setattr(all_but_one, "MAX_RETAINED_PROMPTS", 100)
    method = settings_for_model("all-but-one", "emoji-flow")
    assert method.tune.group == "prompt embedders"
    tune = replace(method.tune, steps=24, check=24)
    few = replace(method, trajectories=4, points=2, sampling_steps=4, tune=tune)
    edit = few(model, known.complete(Concept(erase="cat", alternative="dog")))
    assert set(edit.deltas) == {
        f"transformer.{name}.weight"
        for name in ("context_embedder", "time_text_embed.text_embedder.linear_1")
    }
    cat, *others = WORDS
    before = shown[1:]
    with edit.on(model):
        cats, after = seen(model, [cat] * 6, first=50), seen(model, others, first=1).whole
    assert world.WORDS.index(cat) not in cats.whole.tolist()
    assert (before == after).sum() >= len(others) - 1
