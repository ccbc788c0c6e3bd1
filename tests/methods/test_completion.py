"""What a model knows about a concept reaches every method, from Python as from the command line."""

import json
import shutil
from dataclasses import asdict, replace

import pytest
import yaml
from support.tiny_pipelines import tiny_pipeline

from unconcept import AllButOne, Concept, Edit, Tune, load, wrap
from unconcept.export.metadata import metadata
from unconcept.methods import all_but_one
from unconcept.methods.esd import ESD
from unconcept.methods.uce import UCE
from unconcept.workflows.edit_evaluation import complete_as_trained

TUNE = Tune(steps=2, batch_size=2, check=1, lr=1e-3, whiten=None)
METHODS = {
    "all-but-one": AllButOne(
        rounds=1, trajectories=4, points=1, sampling_steps=1, guidance=5.0, tune=TUNE
    ),
    "esd": ESD(steps=2, sampling_steps=1, lr=1e-3),
    "uce": UCE(),
}


@pytest.mark.parametrize("name", METHODS)
def test_python_and_the_command_line_train_on_the_same_prompts(name, run, tmp_path, monkeypatch):
    monkeypatch.setattr(all_but_one, "MAX_RETAINED_PROMPTS", 100)
    method = METHODS[name]
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({"settings": asdict(method)}))
    command = ("erase", "pig", "--to", "cow", "--method", name, "--config", file)
    code, _, err = run(*command, "--out", tmp_path / "out", "--evaluate", "none")
    assert code == 0, err
    ours = method(load("emoji"), Concept(erase="pig", alternative="cow"))
    theirs = Edit.load(tmp_path / "out")
    assert ours.fingerprint() == theirs.fingerprint()
    (concept,) = ours.card["concepts"]
    assert set(concept["synonyms"]) == {"hog", "piglet"}
    assert len(Concept.read(concept).pairs()) == 48


@pytest.mark.parametrize("method", [UCE(), AllButOne()])
def test_a_strangers_model_asks_the_lexicon(method, all_names_known):
    pig = Concept(erase="pig", alternative="cow")
    edit = method(wrap(tiny_pipeline()), pig)
    (concept,) = edit.card["concepts"]
    assert {"hog", "swine"} <= set(concept["synonyms"])
    assert {"sheep", "goat"} <= set(concept["keep"])
    assert "two {s}" in concept["templates"]
    again = method(wrap(tiny_pipeline()), Concept.read(concept))
    assert again.fingerprint() == edit.fingerprint()
    (plain,) = method(wrap(tiny_pipeline(), ("cat", "dog")), pig).card["concepts"]
    assert Concept.read(plain) == pig


@pytest.mark.usefixtures("few_images")
def test_an_edit_without_the_lexicon_is_evaluated_without_it(
    run, folder, tmp_path, all_names_known
):
    """The edit says so, and evaluate asks no synonyms that were never trained."""
    options = ("--model", folder, "--steps", 1, "--extent", "short")
    for words in ((), ("--no-lexicon",)):
        command = ("erase", "pig", "--to", "cow", "--method", "sld", "--model", folder, *words)
        assert run(*command, "--extent", "none", "--out", "out", "--force")[0] == 0
        edit = Edit.load(tmp_path / "out")
        assert edit.card["lexicon"] is not bool(words)
        code, _, err = run("evaluate", "pig=cow", "--edit", "out", "--out", "seen", *options)
        assert code in (0, 3), err
        lines = (tmp_path / "seen/samples.jsonl").read_text().splitlines()
        groups = {json.loads(line)["group"] for line in lines}
        assert ("synonym" in groups) is not bool(words)
        shutil.rmtree(tmp_path / "seen")


def test_an_exported_file_says_whether_the_lexicon_was_used(edit, model):
    model.completes = True
    plain = replace(edit, card={**edit.card, "lexicon": False})
    stated = json.loads(metadata(plain, {}, {})["unconcept.card"])
    assert stated["lexicon"] is False
    pig = Concept(erase="pig", alternative="cow")
    assert complete_as_trained(model, edit, [pig]) != (pig,)
    assert complete_as_trained(model, plain, [pig]) == (pig,)
