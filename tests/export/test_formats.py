"""Exported files do in their own tools' loaders what the edit does here."""

import json
import logging
import re
import shutil

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from support.original_layout import original_name
from support.safetensors_header import behind_the_header, metadata_of
from support.tiny_pipelines import TINY, tiny_pipeline

from unconcept import Concept, Edit, wrap
from unconcept.config.options import Output
from unconcept.edits.provenance import model_identity
from unconcept.errors import InputError
from unconcept.export.formats import export
from unconcept.export.lora import Adapter, low_rank_factors
from unconcept.export.peer_edits import read_peer_edit
from unconcept.methods.receler import Receler
from unconcept.methods.uce import UCE

CONCEPT = Concept(erase="pig", alternative="cow", keep=("cat",))


def says(pipe) -> torch.Tensor:
    model = wrap(pipe)
    torch.manual_seed(3)
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([600, 50])
    with torch.no_grad():
        return model.predict(x, t, model.encode(["a pig", "a cat"]))


@pytest.fixture
def erased(edit):
    pipe = tiny_pipeline()
    plain = says(pipe)
    edit.apply(pipe)
    assert (says(pipe) - plain).abs().max() > 1e-2
    return says(pipe)


def test_a_pipeline_folder(edit, erased, folder, tmp_path):
    from diffusers import DiffusionPipeline

    out = export(edit, "pipeline", tmp_path / "out", model=str(folder))
    assert torch.equal(
        says(DiffusionPipeline.from_pretrained(out, use_safetensors=True, local_files_only=True)),
        erased,
    )
    before, after = (
        load_file(f / "unet" / "diffusion_pytorch_model.safetensors") for f in (folder, out)
    )
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        n.removeprefix("unet.") for n in edit.deltas
    }
    same = [
        f.relative_to(folder) for f in folder.rglob("*") if f.is_file() and f.parent.name != "unet"
    ]
    assert all((out / f).read_bytes() == (folder / f).read_bytes() for f in same)


def test_a_lora_for_diffusers(edit, erased, tmp_path, caplog, monkeypatch):
    """All that diffusers remarks on is that the text encoder is left alone, which says nothing
    against the file.
    """
    file = export(edit, "lora", tmp_path / "lora.safetensors")
    pipe = tiny_pipeline()
    plain = says(pipe)
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    with caplog.at_level("INFO", "diffusers"):
        pipe.load_lora_weights(file, adapter_name="gone")
    remarks = {record.getMessage() for record in caplog.records if record.levelname != "INFO"}
    assert all(
        message.startswith("No LoRA keys associated to CLIPTextModel") for message in remarks
    ), remarks
    assert remarks
    torch.testing.assert_close(says(pipe), erased, rtol=1e-2, atol=1e-3)
    pipe.set_adapters("gone", 0.0)
    assert torch.equal(says(pipe), plain), "at scale 0 it is the base"


def test_a_closed_form_edit_is_a_small_lora():
    """One concept against one guide, in one phrasing: every matrix changes by rank one, and the
    LoRA of rank one is exact.
    """
    one = UCE()(
        wrap(tiny_pipeline(), ()), Concept(erase="pig", alternative="cow", templates=("{}",))
    )
    for delta in one.deltas.values():
        A, B = low_rank_factors(delta, None, 1e-4)
        assert len(A) == 1
        torch.testing.assert_close(B @ A, delta, rtol=1e-3, atol=1e-6)


def test_factors_by_hand():
    """diag(3, 1, 0): of rank one the 3 is kept; with an error of at most a half, 1/√10 = .32 is
    left and one is enough; below, two.
    """
    delta = torch.diag(torch.tensor([3.0, 1.0, 0.0]))
    A, B = low_rank_factors(delta, 1, 0.0)
    torch.testing.assert_close(B @ A, torch.diag(torch.tensor([3.0, 0.0, 0.0])))
    assert len(low_rank_factors(delta, None, 0.5)[0]) == 1
    assert len(low_rank_factors(delta, None, 0.1)[0]) == 2


def test_kohya_names_and_scale(edit, tmp_path):
    exact = load_file(export(edit, "kohya", tmp_path / "exact.safetensors"))
    name, delta = next(iter(edit.deltas.items()))
    key = "lora_unet_" + name.removeprefix("unet.").removesuffix(".weight").replace(".", "_")
    assert torch.equal(exact[f"{key}.diff"], delta.half())
    single = Adapter(dtype="fp32")
    exact = load_file(export(edit, "kohya", tmp_path / "single.safetensors", rank=single))
    assert torch.equal(exact[f"{key}.diff"], delta)
    low = load_file(export(edit, "kohya", tmp_path / "low.safetensors", rank=2))
    assert low[f"{key}.alpha"].item() == len(low[f"{key}.lora_down.weight"]) == 2, (
        "alpha over rank is 1"
    )
    best = low_rank_factors(delta, 2, 0.0)
    assert torch.equal(low[f"{key}.lora_up.weight"], best[1].half())
    assert torch.equal(low[f"{key}.lora_down.weight"], best[0].half())


def test_kohya_loads_in_diffusers(edit, tmp_path):
    file = export(edit, "kohya", tmp_path / "kohya.safetensors", rank=8)
    direct = export(edit, "lora", tmp_path / "lora.safetensors", rank=8)
    predictions = []
    for path in (file, direct):
        pipe = tiny_pipeline()
        pipe.load_lora_weights(path, adapter_name="gone")
        predictions.append(says(pipe))
    torch.testing.assert_close(*predictions, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["stable-diffusion", "stable-diffusion-xl"])
def test_a_single_file(family, tmp_path):
    """The user's own file: the right tensors change, in its precision, and every other one stays.

    Of what it says of itself stays what is still so.
    """
    pipe = TINY[family]()
    unet = pipe.unet.state_dict()
    tensors = {original_name(name): t.half() for name, t in unet.items()} | {
        "first_stage_model.x": torch.ones(3),
        "model_ema.num_updates": torch.tensor(2),
    }
    header = {
        "architecture": "stable-diffusion-v2-768-v",
        "license": "openrail",
        "title": "Mine",
        "date": "2023-07",
        "hash_sha256": "0x1",
    }
    save_file(
        tensors,
        tmp_path / "mine.safetensors",
        {"format": "pt", **{f"modelspec.{key}": value for key, value in header.items()}},
    )
    chosen = [name for name in unet if name.startswith("add_embedding") or "attn2.to_k" in name]
    edit = Edit(
        {f"unet.{name}": torch.randn_like(unet[name]) for name in chosen},
        {"concepts": [{"erase": "pig"}], **model_identity(wrap(pipe))},
    )
    file = export(
        edit,
        "checkpoint",
        tmp_path / "out.safetensors",
        model=str(tmp_path / "mine.safetensors"),
        base={"license": "mit"},
    )
    out, about = load_file(file), metadata_of(file)
    assert out.keys() == tensors.keys() - {"model_ema.num_updates"}
    assert about["modelspec.hash_sha256"] == f"0x{behind_the_header(file)}"
    assert {key: about.get(f"modelspec.{key}") for key in header if key != "hash_sha256"} == {
        "architecture": "stable-diffusion-v2-768-v",
        "license": "openrail",
        "title": "without pig",
        "date": None,
    }
    assert (about["format"], "sshs_model_hash" in about) == ("pt", False)
    changed = {original_name(name.removeprefix("unet.")): name for name in edit.deltas}
    for key in out:
        tensor = tensors[key]
        if key in changed:
            delta = edit.deltas[changed[key]]
            assert torch.equal(out[key], (tensor.float() + delta).half())
            assert out[key].dtype == torch.float16
        else:
            assert torch.equal(out[key], tensor), key


def test_what_cannot_be_exported_is_refused(edit, tmp_path, folder):
    modules = Receler(steps=1, attacks=1, rank=2, tokens=2, sampling_steps=2)(
        wrap(tiny_pipeline()), CONCEPT
    )
    with pytest.raises(InputError, match="modules"):
        export(modules, "lora", tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="changes nothing"):
        export(Edit({}), "lora", tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="not a matrix"):
        export(
            Edit({"unet.conv_in.weight": torch.zeros(8, 4, 3, 3)}),
            "lora",
            tmp_path / "x.safetensors",
        )
    with pytest.raises(InputError, match="another architecture"):
        export(
            Edit({"unet.nowhere.weight": torch.zeros(2, 2)}),
            "pipeline",
            tmp_path / "out",
            model=str(folder),
        )
    assert not list(tmp_path.iterdir())


def test_push_uploads_what_was_written(run, edit, tmp_path, folder, monkeypatch):
    """A file as a file, a folder as a folder; offline it says so in one line, and what was
    written stays.
    """
    calls = []
    for name in ("create_repo", "upload_file", "upload_folder"):
        monkeypatch.setattr(
            huggingface_hub.HfApi,
            name,
            lambda self, repo_id, _name=name, **given: (
                calls.append((_name, repo_id, given)) or f"https://hub/{repo_id}"
            ),
        )
    saved = edit.save(tmp_path / "run" / "edit.safetensors")
    (tmp_path / "run" / "README.md").write_text(
        "---\ntags: [unconcept]\nlicense: openrail\nbase_model: owner/name\n---\n# No pig\n"
    )
    code, out, err = run(
        "export", saved, "--as", "kohya", "--out", "lora.safetensors", "--push", "me/no-pig"
    )
    assert (code, out.split()) == (0, ["lora.safetensors", "https://hub/me/no-pig"]), err
    assert metadata_of(tmp_path / "lora.safetensors")["modelspec.license"] == "openrail"
    assert (
        run(
            "export",
            saved,
            "--as",
            "pipeline",
            "--model",
            folder,
            "--out",
            "pipe",
            "--push",
            "me/no-pig",
        )[0]
        == 0
    )
    assert [(name, repo) for name, repo, _ in calls] == [
        (n, "me/no-pig")
        for n in ("create_repo", "upload_file", "upload_file", "create_repo", "upload_folder")
    ]
    assert [call[2]["path_in_repo"] for call in calls[1:3]] == ["lora.safetensors", "README.md"]
    card = ModelCard(calls[2][2]["path_or_fileobj"].decode())
    assert (card.data.license, card.data.base_model) == ("openrail", "owner/name")
    assert "*pig* was taken out, with *cow* in place of *pig*" in card.text

    def refuse(self, repo_id, **given):
        raise OSError("no network\nat all")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    code, _, err = run(
        "export", saved, "--as", "kohya", "--out", "again.safetensors", "--push", "me/no-pig"
    )
    assert (
        code,
        "was written, but not pushed: no network" in err,
        (tmp_path / "again.safetensors").exists(),
    ) == (1, True, True)


def test_every_copy_of_the_weights_is_changed_or_left_out(edit, folder, tmp_path):
    """A snapshot of the hub may hold the weights several times: where one still held the
    concept, a loader could pick it.
    """
    shutil.copytree(folder, tmp_path / "base")
    unet = tmp_path / "base" / "unet"
    shutil.copy(
        unet / "diffusion_pytorch_model.safetensors",
        unet / "diffusion_pytorch_model.fp16.safetensors",
    )
    for name in ("unet/diffusion_pytorch_model.bin", "model.ckpt", "v1-5.safetensors"):
        (tmp_path / "base" / name).write_bytes(b"the concept")
    out = export(edit, "pipeline", tmp_path / "out", model=str(tmp_path / "base"))
    one, two = (
        load_file(out / "unet" / f"diffusion_pytorch_model{variant}.safetensors")
        for variant in ("", ".fp16")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not [
        f for f in out.rglob("*") if f.suffix in (".bin", ".ckpt") or f.name == "v1-5.safetensors"
    ]


def test_an_edit_of_another_model_is_not_exported(edit, folder, tmp_path):
    other = tiny_pipeline()
    for p in other.unet.parameters():
        p.data.mul_(1.1)
    foreign = Edit(edit.deltas, {**edit.card, **model_identity(wrap(other))})
    with pytest.raises(InputError, match="another model"):
        export(foreign, "pipeline", tmp_path / "out", model=str(folder))
    assert not (tmp_path / "out").exists()
    assert export(
        foreign, "pipeline", Output(tmp_path / "out", force=True), model=str(folder)
    ).exists()


def test_nor_into_a_single_file_of_another_model(tmp_path):
    """The same model in half precision is the same model; a tenth more of everything is another
    one.
    """
    pipe = tiny_pipeline()
    unet = pipe.unet.state_dict()
    name = next(n for n in unet if "attn2.to_k" in n)
    edit = Edit(
        {f"unet.{name}": torch.ones_like(unet[name])},
        {"family": "stable-diffusion", **model_identity(wrap(pipe))},
    )
    for kind, make in {
        "half": torch.Tensor.half,
        "bf16": torch.Tensor.bfloat16,
        "other": lambda t: t * 1.1,
    }.items():
        save_file(
            {original_name(n): make(t) for n, t in unet.items()}, tmp_path / f"{kind}.safetensors"
        )
    for kind in ("half", "bf16"):
        assert export(
            edit,
            "checkpoint",
            tmp_path / f"{kind}-out.safetensors",
            model=str(tmp_path / f"{kind}.safetensors"),
        ).exists()
    out, other = tmp_path / "out.safetensors", str(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="another model"):
        export(edit, "checkpoint", out, model=other)
    assert not out.exists()
    assert export(edit, "checkpoint", Output(out, force=True), model=other).exists()


def test_kohya_says_its_rank(edit, tmp_path):
    """And, where it holds Δ itself, none."""
    about = metadata_of(export(edit, "kohya", tmp_path / "low.safetensors", rank=2))
    assert [about[f"ss_network_{key}"] for key in ("module", "dim", "alpha")] == [
        "networks.lora",
        "2",
        "2",
    ]
    assert "ss_network_module" not in metadata_of(
        export(edit, "kohya", tmp_path / "exact.safetensors")
    )


def test_a_file_says_how_large_and_how_exact_it_is(run, edit, tmp_path):
    file = edit.save(tmp_path / "edit.safetensors")
    size = r"\d+ kB in fp16, "
    of_matrix = r"of a matrix \(unet\..*\.weight\)"
    for form, options, line in (
        (
            "lora",
            ["--rank", "2"],
            size + rf"32 matrices of rank 2, error at most \d+\.\d\d% {of_matrix}",
        ),
        ("kohya", [], size + rf"32 changes, error at most 0\.0\d% {of_matrix}"),
        ("kohya", ["--dtype", "fp32"], r"\d+ kB in fp32, 32 changes as they are, exact"),
    ):
        out = tmp_path / f"{form}{len(options)}.safetensors"
        code, printed, said = run("export", file, "--as", form, *options, "--out", out)
        assert (code, printed.strip()) == (0, str(out))
        assert re.search(line.replace("32 ", f"{len(edit.deltas)} "), said), said


@pytest.mark.parametrize("options", [["lora"], ["lora", "--rank", "12"], ["kohya", "--rank", "12"]])
def test_a_lora_that_is_larger_than_the_change_is_refused(run, edit, tmp_path, options):
    file = edit.save(tmp_path / "edit.safetensors")
    code, _, said = run("export", file, "--as", *options, "--out", tmp_path / "lora.safetensors")
    assert code == 2
    assert "more than the" in said
    assert "export the exact change (--as kohya without --rank)" in said
    assert not (tmp_path / "lora.safetensors").exists()


@pytest.mark.parametrize(
    ("form", "adapter"),
    [
        ("lora", Adapter(2)),
        ("kohya", Adapter(2)),
        ("kohya", Adapter()),
        ("lora", Adapter(3, "fp32")),
    ],
)
def test_exported_files_are_read_again(edit, tmp_path, form, adapter):
    """As those of other tools are: with what they erase, at the strength that was exported."""
    file = export(edit, form, tmp_path / "file.safetensors", rank=adapter)
    read = read_peer_edit(file, wrap(tiny_pipeline()), [])
    assert [concept["erase"] for concept in read.card["concepts"]] == ["pig"]
    assert read.deltas.keys() == edit.deltas.keys()
    for name, delta in edit.deltas.items():
        expected = delta
        if adapter.rank:
            A, B = low_rank_factors(delta, adapter.rank)
            expected = B @ A
        torch.testing.assert_close(read.deltas[name], expected, rtol=5e-3, atol=2e-3)


def test_files_of_other_tools(edit, tmp_path):
    """Alpha over rank scales a LoRA; ESD's and UCE's weights are differences from the base."""
    model = wrap(tiny_pipeline())
    name, delta = next(iter(edit.deltas.items()))
    module = name.removesuffix(".weight")
    A, B = low_rank_factors(delta, 2)
    original = model.components["unet"].get_parameter(name.removeprefix("unet."))
    peft = {f"base_model.model.{module[5:]}.lora_A.weight": A}
    peft[f"base_model.model.{module[5:]}.lora_B.weight"] = B
    old = {f"{module.replace('.attn2.', '.attn2.processor.')}_lora.down.weight": A}
    old[f"{module.replace('.attn2.', '.attn2.processor.')}_lora.up.weight"] = B
    half = {f"{module}.lora_A.weight": A, f"{module}.lora_B.weight": B}
    half[f"{module}.alpha"] = torch.tensor(1.0)
    for tensors, expected in (
        (peft, B @ A),
        (old, B @ A),
        (half, 0.5 * B @ A),
        ({name: original + delta}, delta),
        ({name[5:]: original + delta}, delta),
    ):
        file = tmp_path / "peer.safetensors"
        save_file(tensors, file)
        read = read_peer_edit(file, model, [CONCEPT])
        torch.testing.assert_close(read.deltas[name], expected)
        assert list(read.deltas) == [name]


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"lora_unet_x.lora_down.weight": 2, "lora_unet_x.lora_up.weight": 2}, "does not have"),
        ({"unet.conv_in.lora_A.weight": 2}, "no partner"),
        ({"unet.conv_in.lora_A.weight": 2, "unet.conv_in.lora_B.weight": 2}, "does not fit"),
        ({"lora_unet_x.lora_down.weight": 2, "lora_unet_x.dora_scale": 2}, "two factors"),
        ({"unet.conv_in.weight": 2}, "does not fit"),
        ({"unet.nowhere.weight": 2}, "does not have"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused(tmp_path, tensors, says):
    file = tmp_path / "peer.safetensors"
    save_file({name: torch.ones(n, n) for name, n in tensors.items()}, file)
    with pytest.raises(InputError, match=says):
        read_peer_edit(file, wrap(tiny_pipeline()), [CONCEPT])


def test_a_lora_of_any_tool_is_evaluated(run, edit, folder, tmp_path):
    """Where it does not say what it erases, the command does; its strength counts."""
    name, delta = next(iter(edit.deltas.items()))
    A, B = low_rank_factors(delta, 2)
    module = name.removesuffix(".weight")
    file = tmp_path / "peer.safetensors"
    save_file({f"{module}.lora_A.weight": A, f"{module}.lora_B.weight": B}, file)
    words = ("--edit", file, "--model", folder, "--extent", "none", "--json")
    code, _, said = run("evaluate", *words, "--out", "nameless")
    assert code == 2
    assert "does not say which concept" in said
    code, out, said = run("evaluate", "pig=cow", *words, "--strength", "0.5", "--out", "half")
    assert code in (0, 3), said
    assert json.loads(out)["method"]["name"] is None
    half = Edit.load(tmp_path / "half").deltas
    assert list(half) == [name]
    torch.testing.assert_close(half[name], 0.5 * B @ A)
    code, _, said = run("generate", "a pig", "--edit", file, "--model", folder)
    assert code == 2
    assert "It can be evaluated" in said
