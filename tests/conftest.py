"""What the tests share: tiny models of every family, and the command line."""

import gc
import sys

import pytest
import torch
from support.command_process import FEW_RETAINED_PROMPTS
from support.tiny_pipelines import TINY, tiny_pipeline

from unconcept.cli import entry_point as cli

torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def frozen_heap():
    """Collections of garbage leave out what was imported before: it outlives every test.

    A full one goes through half a million objects of torch, transformers and diffusers, and every
    run of a command makes one.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Tests have their own image cache."""
    monkeypatch.setenv("UNCONCEPT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(params=["v_prediction", *TINY])
def pipe(request):
    return TINY[request.param]() if request.param in TINY else tiny_pipeline(request.param)


@pytest.fixture
def model():
    from unconcept import wrap

    return wrap(tiny_pipeline(), ("cat", "dog", "house", "tree"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A diffusers folder on disk."""
    path = tmp_path_factory.mktemp("model") / "tiny"
    tiny_pipeline().save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def edit():
    """Keys and values changed at random: of full rank, and easy to see."""
    from unconcept import Edit, wrap

    model, generator = wrap(tiny_pipeline()), torch.Generator().manual_seed(1)
    weights = {
        site.name: getattr(*site.find(model.components))
        for site in model.weight_group("cross-attention keys and values")
    }
    deltas = {name: 0.3 * torch.randn(w.shape, generator=generator) for name, w in weights.items()}
    return Edit(
        deltas,
        {
            "model_sha256": model.fingerprint(),
            "method": "by hand",
            "concepts": [{"erase": "pig", "alternative": "cow"}],
        },
    )


def state(module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def same(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> bool:
    return before.keys() == after.keys() and all(
        torch.equal(before[name], after[name]) for name in before
    )


QUICK = """
settings:
  rho: 0.1
  start: none
  rounds: 1
  trajectories: 4
  points: 2
  sampling_steps: 3
  tune: {steps: 2, batch_size: 2, check: 1, lr: 1.0e-4}
"""


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """The command line in an empty folder: words -> (exit code, stdout, stderr).

    Without the second feature space, which is slow.
    """
    monkeypatch.chdir(tmp_path)
    for module in ("erasure", "edit_evaluation", "comparison", "eraseeval"):
        monkeypatch.setattr(f"unconcept.workflows.{module}.features_or_none", lambda: None)

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["unconcept", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return command


def one_line(err: str) -> bool:
    return err.startswith("unconcept: ") and err.count("\n") == 1 and "Traceback" not in err


@pytest.fixture
def few_images(monkeypatch):
    """A short evaluation samples an image or two of each group."""
    from unconcept.evaluation import runner

    few = {"target": 2, "synonym": 1, "neighbour": 1, "unrelated": 1}
    monkeypatch.setitem(runner.CASES_PER_GROUP, "short", few)
    monkeypatch.setitem(runner.CONTROLS, "short", 1)


@pytest.fixture
def quick_file(tmp_path):
    """A configuration file for tiny models."""
    file = tmp_path / "quick.yaml"
    file.write_text(QUICK)
    return file


@pytest.fixture
def quick(quick_file, monkeypatch):
    """The same, and fewer retained prompts are read, as in a `CommandProcess`."""
    from unconcept.methods import all_but_one

    monkeypatch.setattr(all_but_one, "MAX_RETAINED_PROMPTS", FEW_RETAINED_PROMPTS)
    return quick_file


@pytest.fixture
def all_names_known(monkeypatch):
    """A tiny random model takes no word for another; tests/models/test_known_names.py has one that
    was trained.
    """
    from unconcept.models.known_names import KnownNames

    monkeypatch.setattr(KnownNames, "among", lambda self, name, others: list(others))
