"""What a method trains on is what its authors' code trains on: prompts, steps, defaults by name."""

from dataclasses import asdict

import pytest
import torch
import yaml

from unconcept import Concept, load
from unconcept.cli.method_settings import (
    AUTHORS,
    PRESETS,
    authors_settings,
    settings_for_model,
)
from unconcept.cli.run_config import Request, plan
from unconcept.methods import METHODS, receler, sdd
from unconcept.methods.receler import Receler, otsu_threshold
from unconcept.methods.sdd import SDD
from unconcept.methods.sld import SLD
from unconcept.methods.uce import RECE, UCE

PIG = Concept(erase="pig", alternative="cow", synonyms=("hog", "swine"))
FOX = Concept(erase="fox")

# Where the defaults of a class are not its authors': the pages of docs/methods say so.
OURS = {
    "concept-ablation": {"images": 32},
    "uce": {"phrasings": "article"},
}


@pytest.fixture
def plain(model):
    """The tiny model, which adds nothing to a concept, and notes what it encodes."""
    model.complete = tuple
    encode, model.prompts = model.encode, []

    def noted(prompts):
        model.prompts += list(prompts)
        return encode(prompts)

    model.encode = noted
    return model


def walked(monkeypatch, module) -> list[list[str]]:
    """The prompts of every trajectory that a method asks for."""
    sample, prompts = module.sample_point, []

    def noted(model, drive, *args, **settings):
        prompts.append(list(drive))
        return sample(model, drive, *args, **settings)

    monkeypatch.setattr(module, "sample_point", noted)
    return prompts


def test_sdd_samples_the_name_and_trains_all_names_in_every_step(plain, monkeypatch):
    """Three names take no step from each other, and no trajectory has a prompt of three names."""
    trajectories = walked(monkeypatch, sdd)
    losses = []
    method = SDD(steps=3, sampling_steps=2, lr=1e-3)
    edit = method(plain, PIG, progress=lambda progress: losses.append(progress.loss))
    assert trajectories == [["pig"]] * 3
    assert len(losses) == edit.card["training"]["steps"] == 3
    assert [plain.prompts.count(name) for name in ("hog", "swine")] == [3, 3]
    assert not any("," in prompt for prompt in plain.prompts)


def test_sdd_joins_concepts_as_its_authors_do(plain, monkeypatch):
    """--removing_concepts pig fox: trajectories of "pig, fox", trained in turn."""
    trajectories = walked(monkeypatch, sdd)
    SDD(steps=4, sampling_steps=2, lr=1e-3)(plain, PIG, FOX)
    assert trajectories == [["pig, fox"]] * 4
    assert [plain.prompts.count(name) for name in ("hog", "fox")] == [2, 2]


def test_sld_guides_away_from_the_name_alone(plain):
    SLD()(plain, PIG)
    assert "pig" in plain.prompts
    assert not any("," in prompt or "hog" in prompt for prompt in plain.prompts)
    SLD()(plain, PIG, FOX)
    assert "pig, fox" in plain.prompts


@pytest.mark.parametrize(
    ("method", "concept_prompts"),
    [
        (UCE(), ["a pig", "a hog", "a swine"]),
        (UCE(phrasings="bare"), ["pig", "hog", "swine"]),
        (RECE(), [pair[0] for pair in PIG.pairs_ending_with_concept()]),
    ],
)
def test_uce_maps_the_phrasings_that_it_is_told_to(method, concept_prompts):
    pairs = method.prompt_pairs(PIG)
    assert [concept for concept, _ in pairs] == concept_prompts
    guide = "cow" if method.phrasings == "bare" else "a cow"
    assert pairs[0][1] == guide


def test_uce_of_a_style_has_no_article():
    monet = Concept(erase="monet style", kind="style")
    assert UCE().prompt_pairs(monet) == [("monet style", "")]


def test_otsu_by_hand():
    """0, 1, 2 and 10, 11: the second class begins at 10, whatever the scale."""
    values = torch.tensor([10.0, 1.0, 0.0, 11.0, 2.0])
    assert otsu_threshold(values).item() == 10.0
    assert otsu_threshold(values * 1e-3 + 0.03).item() == pytest.approx(0.04)
    assert otsu_threshold(torch.full((4,), 0.2)).item() == float("inf")


def test_a_mask_of_little_contrast_is_separated(caplog):
    """Of 16 places 4 are a little higher than the rest, and one is far below all: at 0.1 of the
    range 15 are inside, with Otsu's threshold as many or fewer.
    """
    attention = torch.full((1, 4, 4), 0.041)
    attention[0, 1:3, 1:3] = 0.045
    attention[0, 0, 0] = 0.030
    assert Receler(threshold=0.1).concept_mask({"a": attention}).sum() == 15
    attention[0, 0, 0] = 0.0405
    assert Receler(mask="otsu").concept_mask({"a": attention}).sum() == 4


def test_receler_says_when_its_mask_covers_everything(plain, monkeypatch, caplog):
    quick = dict(steps=2, attacks=1, rank=2, tokens=2, sampling_steps=2)
    monkeypatch.setattr(receler.Receler, "concept_mask", lambda self, maps: torch.ones(1, 1, 4, 4))
    edit = Receler(**quick)(plain, PIG)
    assert edit.card["training"]["mask"] == 1.0
    assert "covers 100 % of the image" in caplog.text


def test_the_authors_defaults_stand_in_one_file():
    """And are the defaults of the classes, except where a page says that they are not."""
    listed = yaml.safe_load((PRESETS / f"{AUTHORS}.yaml").read_text())
    unlisted = {"all-but-one", "negative-prompt", "sae", "t2v-unlearning"}
    assert set(METHODS) - set(listed) == unlisted
    for name, settings in listed.items():
        method = METHODS[name]()
        theirs = asdict(authors_settings(name))
        assert {key: theirs[key] for key in settings} == settings
        changed = {key: value for key, value in asdict(method).items() if theirs[key] != value}
        assert changed == OURS.get(name, {})


@pytest.mark.parametrize("name", ["uce", "sdd", "receler", "spm"])
def test_the_preset_authors_takes_nothing_that_was_chosen_for_emoji(name):
    chosen = plan(Request(("pig",), method=name, preset=AUTHORS))
    assert chosen.method == authors_settings(name)
    assert plan(Request(("pig",), method=name)).method == settings_for_model(name, "emoji")


def test_uce_with_the_article_moves_less_than_every_phrasing():
    """On the embedded model: the changed matrices are closer to the original ones."""
    model = load("emoji")
    size = {}
    for phrasings in ("article", "all"):
        edit = UCE(phrasings=phrasings)(model, Concept(erase="pig", alternative="cow"))
        size[phrasings] = sum(float(delta.square().sum()) for delta in edit.deltas.values())
    assert size["article"] < size["all"]
