"""The command line as a user meets it: exit codes, one clear line, nothing half-written."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys

import pytest
import torch
from conftest import one_line
from PIL import Image
from safetensors.torch import load_file, save_file
from support.report_schema import check
from support.samples_schema import read_samples

from unconcept.errors import InputError
from unconcept.export.lora import kohya_name


def processor_seconds(*words: str) -> tuple[float, subprocess.CompletedProcess]:
    """The best of three runs of the command line, in CPU seconds: other processes share the
    machine.
    """
    code = "from unconcept.cli import main; main()"
    best = 9.0
    for _ in range(3):
        start = sum(os.times()[2:4])
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        best = min(best, sum(os.times()[2:4]) - start)
    return best, done


def test_help_is_quick():
    seconds, done = processor_seconds("--help")
    assert (done.returncode, "erase" in done.stdout) == (0, True)
    assert seconds < 0.6  # torch alone would take 1.6
    code = "import sys, unconcept.cli; assert not {'torch', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def corrupt(path, cut):
    save_file({"w": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    return path


def bad_header(path, header):
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"0" * 50)
    return path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nothing to erase"),
        ([""], "empty"),
        (["pig", "--to", "pig"], "the concept itself"),
        (["pig=cow", "fox=wolf", "--to", "dog"], "one concept"),
        (["pig", "--model", "no-such-folder"], "no model"),
        (["pig", "--method", "esdx"], 'did you mean "esd"'),
        (["pig", "--no-such-option"], "no-such-option"),
        (["pig", "--config", "missing.yaml"], "does not exist"),
        (["pig", "--resume", "--save-every", "0"], "above 0"),
        (["pig", "--strict", "--evaluate", "none"], "--strict"),
        (["pig=cow", "fox=wolf", "--synonym", "hog"], "one concept"),
        (["--keep", "cat"], "beside them"),
        (["pgi"], 'did you mean "pig"'),
        (["pig", "--to", "coww"], 'did you mean "cow"'),
        (["pig", "--preset", "sdxl-12"], 'did you mean "sdxl-12gb"'),
        (["pig", "--model", "emojy"], 'did you mean "emoji"'),
        (["pig", "--judge", "imagenett"], 'did you mean "imagenet"'),
        (["pig", "--no-lexicon"], "own words"),
        (["pig", "--prompts", "own.csv"], "does not exist"),
        (["pig", "--extent", "shor"], 'Did you mean "short"'),
    ],
)
def test_wrong_words(run, tmp_path, words, says):
    code, out, err = run("erase", *words)
    assert (code, out) == (2, "")
    assert says in err
    assert one_line(err)
    assert not list(tmp_path.iterdir()), "nothing was written"


def test_what_is_wrong_is_answered_before_torch(tmp_path):
    """Every command, in one process: none of them may import torch before it answers."""
    (tmp_path / "job.yaml").write_text("{}")
    (tmp_path / "there").mkdir()
    (tmp_path / "there/a file").touch()
    lines = [
        "erase pgi",
        "erase pig=coww",
        "erase watercolr",
        "erase pig --to cow --keep sharkk",
        "erase pig --method ecd",
        "erase pig --preset sdxl",
        "erase pig --config jop.yaml",
        "erase pig --modle x",
        "erase pig --model emojy",
        "erase pig=cow fox=wolf --to dog",
        "compare pgi",
        "compare pig --methods uce,rec",
        "evaluate --edit nowhere",
        "evaluate pgi --edit job.yaml",
        "generate cat --edit nowhere",
        "purify nowhere.png --edit job.yaml",
        "export nowhere --as lora",
        "show esdd",
        "eraze pig",
        "erase pig --out there",
        "compare pig --methods uce --out there",
        "generate pig --out there",
    ]
    code = f"""
import sys
from unconcept.cli import main
for line in {lines!r}:
    sys.argv = ["unconcept", *line.split()]
    try:
        main()
    except SystemExit as stop:
        print(stop.code, "torch" in sys.modules, line)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [f"2 False {line}" for line in lines]
    answers = done.stderr.splitlines()
    assert len(answers) == len(lines)
    assert sum("id you mean" in answer for answer in answers) >= 13


def test_a_typo_is_answered_in_under_half_a_second():
    seconds, done = processor_seconds("erase", "pgi")
    assert (done.returncode, "did you mean" in done.stderr) == (2, True)
    assert seconds < 0.5


def test_wrong_models(run, tmp_path, folder):
    (tmp_path / "empty").mkdir()
    pickled = tmp_path / "pickled"
    (pickled / "unet").mkdir(parents=True)
    (pickled / "model_index.json").write_text("{}")
    (pickled / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x")
    (tmp_path / "model.ckpt").write_bytes(b"x")
    cases = {
        tmp_path / "empty": "no model_index.json",
        pickled: "pickled weights",
        tmp_path / "model.ckpt": "is a pickle",
        tmp_path / "missing.safetensors": "does not exist",
        corrupt(tmp_path / "short.safetensors", 500): "cut short or corrupt",
        corrupt(tmp_path / "stub.safetensors", 5): "cut short or corrupt",
        bad_header(tmp_path / "header.safetensors", b"not json!!"): "cut short or corrupt",
        bad_header(tmp_path / "list.safetensors", b"[]"): "cut short or corrupt",
        bad_header(
            tmp_path / "shape.safetensors",
            b'{"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 50]}}',
        ): "cut short or corrupt",
    }
    for name, index, says in (
        ("cut", None, "cut short or corrupt"),
        ("bare", "{}", "cannot be opened"),
        ("odd", '{"_class_name": "NoSuchPipeline"}', "cannot be opened"),
    ):
        shutil.copytree(folder, tmp_path / name)
        if index is None:
            corrupt(tmp_path / name / "unet" / "diffusion_pytorch_model.safetensors", 500)
        else:
            (tmp_path / name / "model_index.json").write_text(index)
        cases[tmp_path / name] = says
    before = sorted(tmp_path.iterdir())
    for path, says in cases.items():
        code, _, err = run("erase", "pig", "--model", path)
        assert (code, one_line(err)) == (2, True), err
        assert says in err
    assert sorted(tmp_path.iterdir()) == before


def test_wrong_key_names_the_nearest(run, tmp_path):
    (tmp_path / "bad.yaml").write_text("settings:\n  tune:\n    stepz: 3\n")
    code, _, err = run("erase", "pig", "--config", "bad.yaml")
    assert code == 2
    assert 'did you mean "steps"' in err


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("settings: {lam: much}", "expected a number, like 1.0"),
        ("settings: {tune: {steps: 12.5}}", "expected a whole number"),
        ("settings: {surgical: 1}", "expected true or false"),
        ("settings: 3", "keys and values"),
        ("seed: soon", "a whole number"),
        ("concepts: [{erase: pig, synonyms: hog}]", "a list of words"),
        ("concepts: [{erase: 5}]", "must be words"),
    ],
)
def test_a_wrong_value_in_a_file(run, tmp_path, yaml, says):
    (tmp_path / "bad.yaml").write_text(yaml)
    code, _, err = run("erase", *([] if "concepts" in yaml else ["pig"]), "--config", "bad.yaml")
    assert (code, one_line(err)) == (2, True), err
    assert says in err


def test_values_of_a_file(tmp_path):
    """YAML reads 1e-4 as text, and what has no default yet may be set."""
    from unconcept.config.overrides import override
    from unconcept.methods.esd import ESD
    from unconcept.methods.sae import SAE

    assert override(ESD(), {"lr": "1e-4", "erase_from": "cowboy", "eta": 2}, "") == ESD(
        lr=1e-4, erase_from="cowboy", eta=2.0
    )
    assert override(SAE(), {"cache": False}, "").cache is False
    assert override(ESD(erase_from="cowboy"), {"erase_from": None}, "").erase_from is None
    with pytest.raises(InputError, match="one of student, teacher"):
        override(ESD(), {"walk": "both"}, "")


def test_keys_of_earlier_versions_are_still_read():
    from unconcept.config.overrides import override
    from unconcept.methods.concept_ablation import ConceptAblation
    from unconcept.methods.sae import SAE

    assert override(ConceptAblation(), {"batch": 2, "pictures": 5}, "") == ConceptAblation(
        batch_size=2, images=5
    )
    assert override(SAE(), {"batch": 8}, "") == SAE(batch_size=8)


def test_dry_run_writes_nothing(run, tmp_path):
    code, out, _ = run("erase", "pig", "--to", "cow", "--dry-run")
    assert code == 0
    assert "pig → cow" in out
    assert not list(tmp_path.iterdir())


def test_the_strength_of_an_edit(run, tmp_path, folder, edit):
    """Half of an edit is half of its change; none of it is the original model, image for image."""
    file = edit.save(tmp_path / "edit.safetensors")
    sampled = ["generate", "a pig", "--model", folder, "--images", "1", "--steps", "2"]
    images = {}
    for name, options in {
        "plain": [],
        "none": ["--edit", file, "--strength", "0"],
        "half": ["--edit", file, "--strength", ".5"],
        "whole": ["--edit", file],
    }.items():
        code, _, error = run(*sampled, *options, "--out", tmp_path / name)
        assert code == 0, error
        images[name] = (tmp_path / name / "000-seed0.png").read_bytes()
    assert images["none"] == images["plain"]
    assert len(set(images.values())) == 3
    lora = tmp_path / "half.safetensors"
    options = ["--as", "kohya", "--dtype", "fp32", "--strength", ".5"]
    code, _, error = run("export", file, *options, "--out", lora)
    assert code == 0, error
    for name, half in load_file(lora).items():
        whole = next(d for n, d in edit.deltas.items() if kohya_name(n, "stable-diffusion") in name)
        torch.testing.assert_close(half, whole / 2)
    code, _, error = run(*sampled, "--strength", "nan", "--out", tmp_path / "nan")
    assert (code, "strength" in error) == (2, True)


def test_erase_generate_show(run, tmp_path, folder, quick):
    code, out, err = run(
        "erase",
        "pig",
        "--to",
        "cow",
        "--model",
        folder,
        "--config",
        quick,
        "--steps",
        "2",
        "--out",
        "gone",
        "--json",
    )
    report = json.loads(out)
    assert code == (3 if report["failure"] else 0), err
    assert {p.name for p in (tmp_path / "gone").iterdir()} == {
        "edit.safetensors",
        "before-after.png",
        "report.json",
        "report.html",
        "report.md",
        "README.md",
        "samples.jsonl",
        "images",
    }
    records = read_samples(tmp_path / "gone")
    assert {record["stage"] for record in records} == {"before", "after"}
    assert all(record["file"] for record in records)
    assert [row["strength"] for row in report["strengths"]] == [0, 0.5, 1, 1.25]
    assert report == json.loads((tmp_path / "gone" / "report.json").read_text())
    page = (tmp_path / "gone" / "report.html").read_text()
    images, _, strengths = page.partition('<section class="strengths">')
    assert images.count("data:image/webp;base64,") == 2 * images.count("<figure>") > 0
    assert strengths.count("data:image/webp;base64,") == 4 * min(8, len(records) // 2) > 0
    for file in re.findall(r'href="(images/[^"]*)"', page):
        assert (tmp_path / "gone" / file).exists()
    assert "http" not in page, "the page is whole in itself"
    check(report)
    assert not any(row["name"] == "concept" for row in report["scores"]), (
        "what nobody can judge is absent"
    )
    assert report["cost"]["network_calls"] > 0

    code, _, err = run("erase", "pig", "--model", folder, "--config", quick, "--out", "gone")
    assert (code, one_line(err)) == (2, True)
    assert "--force" in err

    code, out, _ = run(
        "generate",
        "a pig",
        "a cat",
        "--model",
        folder,
        "--edit",
        "gone",
        "--images",
        "2",
        "--steps",
        "2",
        "--out",
        "pictures",
    )
    assert code == 0
    assert len(list((tmp_path / "pictures").glob("0*.png"))) == 4
    records = read_samples(tmp_path / "pictures")
    assert [(r["prompt"], r["seed"], r["stage"]) for r in records] == [
        (prompt, seed, "after") for prompt in ("a pig", "a cat") for seed in (0, 1)
    ]

    words = ("generate", "a pig", "--model", folder, "--images", 2, "--steps", 2, "--compare")
    code, _, err = run(*words, "--edit", "gone", "--out", "both")
    assert code == 0, err
    records = read_samples(tmp_path / "both")
    assert [r["file"] for r in records] == [
        f"000-seed{seed}{side}.png" for side in ("-before", "") for seed in (0, 1)
    ]
    with Image.open(tmp_path / "both/sheet.png") as sheet:
        assert sheet.width > 2 * 128
        assert sheet.height > 2 * 128
    code, _, err = run(*words, "--out", "nothing")
    assert (code, "--edit" in err, one_line(err)) == (2, True, True)

    lines = run("show", "gone/edit.safetensors")[1].splitlines()
    assert "erases   pig → cow" in lines
    assert max(map(len, lines)) <= 80
    assert "same seed, how far images moved" in run("show", "gone")[1]
    assert "pixel change" in run("show", "gone", "--full")[1]
    assert "surgical" in run("show", "all-but-one")[1]
    assert "uce" in run("show", "methods")[1]
    assert run("show", "nonsense")[0] == 2


def without_times(report: dict) -> dict:
    return {
        **report,
        "cost": {
            k: v for k, v in report["cost"].items() if "seconds" not in k and "memory" not in k
        },
    }


@pytest.mark.usefixtures("few_images")
def test_evaluate(run, tmp_path, folder, quick, monkeypatch):
    """An edit can be looked at again, with prompts of one's own; nothing is sampled twice, and
    the same seeds say the same.
    """
    code, out, _ = run(
        "erase",
        "pig",
        "--to",
        "cow",
        "--model",
        folder,
        "--config",
        quick,
        "--out",
        "gone",
        "--evaluate",
        "none",
        "--json",
    )
    assert (code, json.loads(out)["scores"]) == (0, [])
    assert not (tmp_path / "gone" / "before-after.png").exists()

    (tmp_path / "own.csv").write_text("prompt,seed,group\na pig at dawn,7,target\n")
    look = (
        "evaluate",
        "--edit",
        "gone",
        "--model",
        folder,
        "--extent",
        "short",
        "--prompts",
        "own.csv",
        "--steps",
        "2",
        "--json",
        "--out",
    )
    _, out, err = run(*look, "one")
    one = json.loads(out)
    check(one)
    assert "a pig at dawn" in (tmp_path / "one" / "report.html").read_text(), err
    from unconcept.models.families.stable_diffusion import StableDiffusion

    monkeypatch.setattr(StableDiffusion, "decode", None)
    two = json.loads(run(*look, "two")[1])
    assert without_times(one) == without_times(two)
    assert run("evaluate", "--edit", "one", "--out", "other")[0] == 2, "made for another model"


@pytest.mark.usefixtures("few_images")
def test_an_edit_of_another_model_is_refused_unless_forced(run, folder, tmp_path):
    from unconcept import Edit

    name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    Edit({name: torch.zeros(8, 16)}, {"model_sha256": "0" * 64}).save(
        tmp_path / "foreign.safetensors"
    )
    words = (
        "generate",
        "a cat",
        "--model",
        folder,
        "--edit",
        "foreign.safetensors",
        "--images",
        "1",
        "--steps",
        "2",
        "--out",
        "pictures",
    )
    code, _, err = run(*words)
    assert code == 2
    assert "another model" in err
    assert not (tmp_path / "pictures").exists()
    assert run(*words, "--force")[0] == 0
    look = (
        "evaluate",
        "pig",
        "--edit",
        "foreign.safetensors",
        "--model",
        folder,
        "--extent",
        "short",
        "--steps",
        "2",
        "--out",
        "looked",
        "--json",
    )
    assert run(*look)[0] == 2
    warnings = json.loads(run(*look, "--force")[1])["warnings"]
    assert any("another model" in line for line in warnings), (
        "--force is for the folder, too: what is doubtful is in the warnings"
    )
