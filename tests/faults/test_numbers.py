"""Numbers that are none, or out of range, are answered before a model is loaded."""

import math

import pytest
from conftest import one_line

from unconcept.config.options import Look
from unconcept.config.ranges import SEEDS, check_numbers, check_seeds, check_settings
from unconcept.errors import InputError
from unconcept.methods import METHODS
from unconcept.workflows import erase, generate, purify_files

GENERATE = ("generate", "a pig", "--model", "owner/name")
PURIFY = ("purify", "x.png", "--edit", "x.yaml", "--model", "owner/name")
ERASE = ("erase", "pig", "--model", "owner/name")
EXPORT = ("export", "x.yaml", "--as", "lora")
COMPARE = ("compare", "pig", "--methods", "uce", "--model", "owner/name")


@pytest.mark.parametrize(
    "words",
    [
        (*GENERATE, "--images", "0"),
        (*GENERATE, "--images", "-1"),
        (*GENERATE, "--images", "1.5"),
        (*GENERATE, "--images", "1000000000"),
        (*GENERATE, "--steps", "0"),
        (*GENERATE, "--steps", "-5"),
        (*GENERATE, "--steps", "1000"),
        (*GENERATE, "--steps", "nan"),
        (*GENERATE, "--guidance", "nan"),
        (*GENERATE, "--guidance", "-inf"),
        (*GENERATE, "--guidance", "1e400"),
        (*GENERATE, "--seed", "-1"),
        (*GENERATE, "--seed", str(SEEDS)),
        (*GENERATE, "--seed", str(SEEDS - 1)),  # with four images
        (*GENERATE, "--seed", "1.0"),
        (*PURIFY, "--strength", "0"),
        (*PURIFY, "--strength", "nan"),
        (*PURIFY, "--guidance", "inf"),
        (*PURIFY, "--steps", "0"),
        (*ERASE, "--steps", "0"),
        (*ERASE, "--guidance", "nan"),
        (*ERASE, "--seed", "-1"),
        (*ERASE, "--save-every", "-1"),
        (*ERASE, "--sample-every", "0.5"),
        (*COMPARE, "--guidance", "-inf"),
        (*COMPARE, "--seed", str(SEEDS)),
        (*EXPORT, "--rank", "0"),
        (*EXPORT, "--rank", "-3"),
        ("evaluate", "pig", "--edit", "x.yaml", "--steps", "5000"),
    ],
)
def test_options_out_of_range(run, tmp_path, words):
    for name in ("x.png", "x.yaml"):
        (tmp_path / name).touch()
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert one_line(err)
    assert words[-1] in err or words[-2].strip("-") in err
    assert {file.name for file in tmp_path.iterdir()} == {"x.png", "x.yaml"}


def test_the_same_from_python(tmp_path):
    out = tmp_path / "out"
    for numbers in ({"images": 0}, {"steps": 0}, {"guidance": math.nan}, {"seed": -1}):
        with pytest.raises(InputError, match="must be"):
            generate(["a pig"], out=out, model="nowhere", **numbers)
    for numbers in ({"strength": 0.0}, {"strength": math.nan}, {"steps": 1000}):
        with pytest.raises(InputError, match="must be"):
            purify_files([tmp_path / "x.png"], edit=out, out=out, model="nowhere", **numbers)
    for options in ({"seed": SEEDS}, {"seed": 0.5}, {"look": Look(guidance=math.inf)}):
        with pytest.raises(InputError, match="must be"):
            erase([], out=out, model="nowhere", **options)
    assert not out.exists()


def test_the_range_of_seeds():
    check_numbers(seed=0)
    check_numbers(seed=SEEDS - 1)
    check_seeds(SEEDS - 4, 4)
    with pytest.raises(InputError, match=f"at most {SEEDS - 4}"):
        check_seeds(SEEDS - 3, 4)
    with pytest.raises(InputError, match="whole number"):
        check_numbers(seed=True)


@pytest.mark.parametrize("name", list(METHODS))
def test_the_defaults_of_every_method_are_in_range(name):
    check_settings(METHODS[name]())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("esd", {"steps": 0}),
        ("esd", {"eta": math.nan}),
        ("sdd", {"average": 1.5}),
        ("spm", {"rank": 0}),
        ("receler", {"lr": -1.0}),
        ("concept-ablation", {"images": 0}),
        ("sae", {"features": -1}),
        ("uce", {"lam": -0.5}),
        ("all-but-one", {"kappa": math.inf}),
        ("all-but-one", {"guidance": math.nan}),
    ],
)
def test_hyperparameters_out_of_range(name, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        check_settings(METHODS[name](**settings))


def test_the_largest_seed_is_sampled(model):
    """Counted-up seeds go on at 0 instead of overflowing."""
    from unconcept.concepts import Concept
    from unconcept.evaluation.prompt_benchmark import PromptBenchmark
    from unconcept.evaluation.runner import sampling_seeds

    benchmark = PromptBenchmark([Concept(erase="pig")], ("cat",), {"target": 3})
    for seed in sampling_seeds(benchmark, SEEDS - 1):
        assert 0 <= seed < SEEDS
        model.initial_noise([seed])
    assert sampling_seeds(benchmark, 0) == [10**9, 10**9 + 1, 10**9 + 2]
