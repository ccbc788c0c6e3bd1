"""Exported files do in their own tools' loaders what the edit does here."""

import hashlib
import json
import logging
import re
import shutil

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard
from original import original_name
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import TINY, tiny_pipeline

from unconcept import Concept, Edit, wrap
from unconcept.card import base_of, licence
from unconcept.edit import identity
from unconcept.errors import InputError
from unconcept.export import COMFYUI, export, factors, kohya_name
from unconcept.methods import UCE, Receler

CONCEPT = Concept(erase="pig", alternative="cow", keep=("cat",))


@pytest.fixture(scope="module")
def edit():
    """Keys and values changed at random: of full rank, and easy to see."""
    model, generator = wrap(tiny_pipeline()), torch.Generator().manual_seed(1)
    weights = {site.name: getattr(*site.find(model.components)) for site in model.group("cross-attention keys and values")}
    deltas = {name: 0.3 * torch.randn(w.shape, generator=generator) for name, w in weights.items()}
    return Edit(deltas, {"model_sha256": model.fingerprint(), "method": "by hand", "concepts": [{"erase": "pig", "alternative": "cow"}]})


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
    assert torch.equal(says(DiffusionPipeline.from_pretrained(out, use_safetensors=True, local_files_only=True)), erased)
    before, after = (load_file(f / "unet" / "diffusion_pytorch_model.safetensors") for f in (folder, out))
    assert {name for name in before if not torch.equal(before[name], after[name])} == {n.removeprefix("unet.") for n in edit.deltas}
    same = [f.relative_to(folder) for f in folder.rglob("*") if f.is_file() and f.parent.name != "unet"]
    assert all((out / f).read_bytes() == (folder / f).read_bytes() for f in same)


def test_a_lora_for_diffusers(edit, erased, tmp_path, caplog, monkeypatch):
    """All that diffusers remarks on is that the text encoder is left alone, which says nothing against the file."""
    file = export(edit, "lora", tmp_path / "lora.safetensors")
    pipe = tiny_pipeline()
    plain = says(pipe)
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    with caplog.at_level("INFO", "diffusers"):
        pipe.load_lora_weights(file, adapter_name="gone")
    remarks = {record.getMessage() for record in caplog.records if record.levelname != "INFO"}
    assert all(said.startswith("No LoRA keys associated to CLIPTextModel") for said in remarks), remarks
    assert remarks
    torch.testing.assert_close(says(pipe), erased, rtol=1e-2, atol=1e-3)
    pipe.set_adapters("gone", 0.0)
    assert torch.equal(says(pipe), plain), "at scale 0 it is the base"


def test_a_closed_form_edit_is_a_small_lora():
    """One concept against one guide, in one phrasing: every matrix changes by rank one, and the LoRA of rank one is exact."""
    one = UCE()(wrap(tiny_pipeline()), Concept(erase="pig", alternative="cow", templates=("{}",)))
    for delta in one.deltas.values():
        A, B = factors(delta, None, 1e-4)
        assert len(A) == 1
        torch.testing.assert_close(B @ A, delta, rtol=1e-3, atol=1e-6)


def test_factors_by_hand():
    """diag(3, 1, 0): of rank one the 3 is kept; with an error of at most a half, 1/√10 = .32 is left and one is enough; below, two."""
    delta = torch.diag(torch.tensor([3.0, 1.0, 0.0]))
    A, B = factors(delta, 1, 0.0)
    torch.testing.assert_close(B @ A, torch.diag(torch.tensor([3.0, 0.0, 0.0])))
    assert len(factors(delta, None, 0.5)[0]) == 1
    assert len(factors(delta, None, 0.1)[0]) == 2


def test_kohya_names_and_scale(edit, tmp_path):
    exact = load_file(export(edit, "kohya", tmp_path / "exact.safetensors"))
    name, delta = next(iter(edit.deltas.items()))
    key = "lora_unet_" + name.removeprefix("unet.").removesuffix(".weight").replace(".", "_")
    assert torch.equal(exact[f"{key}.diff"], delta)
    low = load_file(export(edit, "kohya", tmp_path / "low.safetensors", rank=2))
    assert low[f"{key}.alpha"].item() == len(low[f"{key}.lora_down.weight"]) == 2, "alpha over rank is 1"
    best = factors(delta, 2, 0.0)
    torch.testing.assert_close(low[f"{key}.lora_up.weight"] @ low[f"{key}.lora_down.weight"], best[1] @ best[0])


def test_kohya_loads_in_diffusers(edit, tmp_path):
    file = export(edit, "kohya", tmp_path / "kohya.safetensors", rank=8)
    direct = export(edit, "lora", tmp_path / "lora.safetensors", rank=8)
    said = []
    for path in (file, direct):
        pipe = tiny_pipeline()
        pipe.load_lora_weights(path, adapter_name="gone")
        said.append(says(pipe))
    torch.testing.assert_close(*said, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["stable-diffusion", "stable-diffusion-xl"])
def test_a_single_file(family, tmp_path):
    """The user's own file: the right tensors change, in its precision, and every other one stays. Of what it says of itself stays what is still so."""
    pipe = TINY[family]()
    unet = pipe.unet.state_dict()
    tensors = {original_name(name): t.half() for name, t in unet.items()} | {
        "first_stage_model.x": torch.ones(3),
        "model_ema.num_updates": torch.tensor(2),
    }
    said = {"architecture": "stable-diffusion-v2-768-v", "license": "openrail", "title": "Mine", "date": "2023-07", "hash_sha256": "0x1"}
    save_file(tensors, tmp_path / "mine.safetensors", {"format": "pt", **{f"modelspec.{key}": value for key, value in said.items()}})
    chosen = [name for name in unet if name.startswith("add_embedding") or "attn2.to_k" in name]
    edit = Edit({f"unet.{name}": torch.randn_like(unet[name]) for name in chosen}, {"concepts": [{"erase": "pig"}], **identity(wrap(pipe))})
    file = export(edit, "checkpoint", tmp_path / "out.safetensors", model=str(tmp_path / "mine.safetensors"), base={"license": "mit"})
    out, about = load_file(file), metadata_of(file)
    assert out.keys() == tensors.keys()
    assert about["modelspec.hash_sha256"] == f"0x{behind_the_header(file)}"
    assert {key: about.get(f"modelspec.{key}") for key in said if key != "hash_sha256"} == {
        "architecture": "stable-diffusion-v2-768-v", "license": "openrail", "title": "without pig", "date": None,
    }  # fmt: skip
    assert (about["format"], "sshs_model_hash" in about) == ("pt", False)
    changed = {original_name(name.removeprefix("unet.")): name for name in edit.deltas}
    for key, tensor in tensors.items():
        if key in changed:
            delta = edit.deltas[changed[key]]
            assert torch.equal(out[key], (tensor.float() + delta).half())
            assert out[key].dtype == torch.float16
        else:
            assert torch.equal(out[key], tensor), key


def test_what_cannot_be_exported_is_refused(edit, tmp_path, folder):
    modules = Receler(steps=1, attacks=1, rank=2, tokens=2, sampling_steps=2)(wrap(tiny_pipeline()), CONCEPT)
    with pytest.raises(InputError, match="modules"):
        export(modules, "lora", tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="changes nothing"):
        export(Edit({}), "lora", tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="no matrix"):
        export(Edit({"unet.conv_in.weight": torch.zeros(8, 4, 3, 3)}), "lora", tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="another architecture"):
        export(Edit({"unet.nowhere.weight": torch.zeros(2, 2)}), "pipeline", tmp_path / "out", model=str(folder))
    assert not list(tmp_path.iterdir())


def test_push_uploads_what_was_written(run, edit, tmp_path, folder, monkeypatch):
    """A file as a file, a folder as a folder; offline it says so in one line, and what was written stays."""
    calls = []
    for name in ("create_repo", "upload_file", "upload_folder"):
        monkeypatch.setattr(
            huggingface_hub.HfApi,
            name,
            lambda self, repo_id, _name=name, **given: calls.append((_name, repo_id, given)) or f"https://hub/{repo_id}",
        )
    saved = edit.save(tmp_path / "run" / "edit.safetensors")
    (tmp_path / "run" / "README.md").write_text("---\ntags: [unconcept]\nlicense: openrail\nbase_model: owner/name\n---\n# No pig\n")
    code, out, err = run("export", saved, "--as", "lora", "--out", "lora.safetensors", "--push", "me/no-pig")
    assert (code, out.split()) == (0, ["lora.safetensors", "https://hub/me/no-pig"]), err
    assert metadata_of(tmp_path / "lora.safetensors")["modelspec.license"] == "openrail"
    assert run("export", saved, "--as", "pipeline", "--model", folder, "--out", "pipe", "--push", "me/no-pig")[0] == 0
    assert [(name, repo) for name, repo, _ in calls] == [
        (n, "me/no-pig") for n in ("create_repo", "upload_file", "upload_file", "create_repo", "upload_folder")
    ]
    assert [call[2]["path_in_repo"] for call in calls[1:3]] == ["lora.safetensors", "README.md"]
    card = ModelCard(calls[2][2]["path_or_fileobj"].decode())
    assert (card.data.license, card.data.base_model) == ("openrail", "owner/name")
    assert "*pig* was taken out, with *cow* in place of *pig*" in card.text

    def refuse(self, repo_id, **given):
        raise OSError("no network\nat all")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    code, _, err = run("export", saved, "--as", "lora", "--out", "again.safetensors", "--push", "me/no-pig")
    assert (code, "was written, but not pushed: no network" in err, (tmp_path / "again.safetensors").exists()) == (1, True, True)


def test_every_copy_of_the_weights_is_changed_or_left_out(edit, folder, tmp_path):
    """A snapshot of the hub may hold the weights several times: where one still held the concept, a loader could pick it."""
    shutil.copytree(folder, tmp_path / "base")
    unet = tmp_path / "base" / "unet"
    shutil.copy(unet / "diffusion_pytorch_model.safetensors", unet / "diffusion_pytorch_model.fp16.safetensors")
    for name in ("unet/diffusion_pytorch_model.bin", "model.ckpt", "v1-5.safetensors"):
        (tmp_path / "base" / name).write_bytes(b"the concept")
    out = export(edit, "pipeline", tmp_path / "out", model=str(tmp_path / "base"))
    one, two = (load_file(out / "unet" / f"diffusion_pytorch_model{variant}.safetensors") for variant in ("", ".fp16"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not [f for f in out.rglob("*") if f.suffix in (".bin", ".ckpt") or f.name == "v1-5.safetensors"]


def test_an_edit_of_another_model_is_not_exported(edit, folder, tmp_path):
    other = tiny_pipeline()
    for p in other.unet.parameters():
        p.data.mul_(1.1)
    foreign = Edit(edit.deltas, {**edit.card, **identity(wrap(other))})
    with pytest.raises(InputError, match="another model"):
        export(foreign, "pipeline", tmp_path / "out", model=str(folder))
    assert not (tmp_path / "out").exists()
    assert export(foreign, "pipeline", tmp_path / "out", model=str(folder), force=True).exists()


def test_nor_into_a_single_file_of_another_model(tmp_path):
    """The same model in half precision is the same model; a tenth more of everything is another one."""
    pipe = tiny_pipeline()
    unet = pipe.unet.state_dict()
    name = next(n for n in unet if "attn2.to_k" in n)
    edit = Edit({f"unet.{name}": torch.ones_like(unet[name])}, {"family": "stable-diffusion", **identity(wrap(pipe))})
    for kind, make in {"half": torch.Tensor.half, "bf16": torch.Tensor.bfloat16, "other": lambda t: t * 1.1}.items():
        save_file({original_name(n): make(t) for n, t in unet.items()}, tmp_path / f"{kind}.safetensors")
    for kind in ("half", "bf16"):
        assert export(edit, "checkpoint", tmp_path / f"{kind}-out.safetensors", model=str(tmp_path / f"{kind}.safetensors")).exists()
    out, other = tmp_path / "out.safetensors", str(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="another model"):
        export(edit, "checkpoint", out, model=other)
    assert not out.exists()
    assert export(edit, "checkpoint", out, model=other, force=True).exists()


def metadata_of(file) -> dict[str, str]:
    with safe_open(file, "pt") as f:
        return f.metadata()


def behind_the_header(file) -> str:
    """sha256 of the tensors' bytes, as modelspec and kohya define it."""
    content = file.read_bytes()
    return hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()


ARCHITECTURES = {  # those of kohya's tools; of tiny models' widths, and for Sana, there is none
    "stable-diffusion": None, "stable-diffusion-xl": "stable-diffusion-xl-v1-base/lora", "stable-diffusion-3": "stable-diffusion-3/lora",
    "flux": "flux-1/lora", "flux-2-klein": None, "qwen-image": "Qwen-Image/lora", "z-image": "Z-Image/lora", "sana": None,
}  # fmt: skip


@pytest.mark.parametrize("family", TINY)
def test_what_a_file_says_of_itself(family, tmp_path):
    """Its architecture where that has a name, its content's hash, whose edit it is; the same when it is written again."""
    model = wrap(TINY[family](), ())
    deltas = {site.name: torch.ones_like(getattr(*site.find(model.components))) for site in model.group("cross-attention keys and values")}
    settings = {"method": "by hand", "settings": {"steps": 3}, "concepts": [{"erase": "pig", "alternative": "cow"}]}
    edit = Edit(deltas, {"family": model.family, "model_sha256": "ab", **settings})
    file = export(edit, "lora", tmp_path / "one.safetensors", base={"license": "other", "license_name": "openrail", "license_link": "L.md"})
    about = metadata_of(file)
    assert about.get("modelspec.architecture") == ARCHITECTURES[family]
    assert ("modelspec.sai_model_spec" in about) == (ARCHITECTURES[family] is not None), "a name is what the standard demands"
    assert about["modelspec.hash_sha256"] == f"0x{behind_the_header(file)}"
    assert about["sshs_model_hash"] == behind_the_header(file)
    assert (about["modelspec.implementation"], about["modelspec.title"]) == ("diffusers", "without pig -> cow")
    assert (about["modelspec.license"], about["unconcept.base_sha256"]) == ("openrail (L.md)", "ab")
    assert json.loads(about["unconcept.card"]) == settings
    assert json.loads(about["unconcept.versions"]).keys() == {"torch", "diffusers"}
    assert about.get("ss_base_model_version") == ("sdxl_base_v1-0" if family == "stable-diffusion-xl" else None)
    assert not {"modelspec.date", "modelspec.merged_from", "ss_network_module", "ss_v2"} & about.keys()
    again = metadata_of(export(edit, "lora", tmp_path / "two.safetensors"))
    assert {key: value for key, value in about.items() if key != "modelspec.license"} == again


CROSS = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"


@pytest.mark.parametrize(
    ("family", "name", "width", "architecture", "second"),
    [
        ("stable-diffusion", CROSS, 768, "stable-diffusion-v1/lora", "False"),
        ("stable-diffusion", CROSS, 1024, None, "True"),
        ("stable-diffusion", CROSS.replace("attn2", "attn1"), 768, None, None),
        ("stable-diffusion", "text_encoder.encoder.layers.0.self_attn.v_proj.weight", 768, "stable-diffusion-v1/lora", "False"),
        ("flux", "transformer.time_text_embed.guidance_embedder.linear_1.weight", 256, "flux-1-dev/lora", None),
        ("flux-2-klein", "transformer.transformer_blocks.0.attn.add_k_proj.weight", 3072, "Flux.2-klein-4b/lora", None),
        ("flux-2-klein", "transformer.transformer_blocks.0.attn.add_v_proj.weight", 4096, "Flux.2-klein-9b/lora", None),
    ],
)
def test_the_version_is_told_by_what_the_edit_holds(family, name, width, architecture, second, tmp_path):
    """2.x has two names, by what it predicts, which no width tells."""
    about = metadata_of(export(Edit({name: torch.ones(4, width)}, {"family": family}), "lora", tmp_path / "x.safetensors", rank=1))
    assert (about.get("modelspec.architecture"), about.get("ss_v2")) == (architecture, second)


def test_kohya_says_its_rank(edit, tmp_path):
    """And, where it holds Δ itself, none."""
    about = metadata_of(export(edit, "kohya", tmp_path / "low.safetensors", rank=2))
    assert [about[f"ss_network_{key}"] for key in ("module", "dim", "alpha")] == ["networks.lora", "2", "2"]
    assert "ss_network_module" not in metadata_of(export(edit, "kohya", tmp_path / "exact.safetensors"))


BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
KOHYA_BLOCK = BLOCK.replace(".", "_")
LORA = {".lora_down.weight": (2, 16), ".lora_up.weight": (8, 2), ".alpha": ()}
PEFT = {".lora_A.weight": (2, 16), ".lora_B.weight": (8, 2)}
# (family, our name, shape of Δ, form, rank, the name that ComfyUI and A1111 look up, what stands behind it). ComfyUI: comfy/lora.py, of diffusers' names
# comfy/utils.py; A1111: extensions-builtin/Lora.
LOOKED_UP = [
    ("stable-diffusion", f"unet.{BLOCK}.attn2.to_k.weight", (8, 16), "kohya", 2, f"lora_unet_{KOHYA_BLOCK}_attn2_to_k", LORA),
    ("stable-diffusion", f"unet.{BLOCK}.attn2.to_out.0.weight", (8, 16), "kohya", 2, f"lora_unet_{KOHYA_BLOCK}_attn2_to_out_0", LORA),
    ("stable-diffusion", f"unet.{BLOCK}.ff.net.0.proj.weight", (8, 16), "kohya", None, f"lora_unet_{KOHYA_BLOCK}_ff_net_0_proj", {".diff": (8, 16)}),
    ("stable-diffusion", "unet.mid_block.resnets.0.conv1.weight", (8, 4, 3, 3), "kohya", None, "lora_unet_mid_block_resnets_0_conv1", {".diff": (8, 4, 3, 3)}),
    ("stable-diffusion", "unet.mid_block.resnets.0.conv1.bias", (8,), "kohya", None, "lora_unet_mid_block_resnets_0_conv1", {".diff_b": (8,)}),
    ("stable-diffusion", "text_encoder.encoder.layers.0.mlp.fc1.weight", (8, 16), "kohya", 2, "lora_te_text_model_encoder_layers_0_mlp_fc1", LORA),
    ("stable-diffusion", "text_encoder.text_model.encoder.layers.0.mlp.fc1.weight", (8, 16), "kohya", 2, "lora_te_text_model_encoder_layers_0_mlp_fc1", LORA),
    ("stable-diffusion-xl", f"unet.{BLOCK}.attn2.to_v.weight", (8, 16), "kohya", 2, f"lora_unet_{KOHYA_BLOCK}_attn2_to_v", LORA),
    ("stable-diffusion-xl", "text_encoder.encoder.layers.3.self_attn.q_proj.weight", (8, 16), "kohya", 2, "lora_te1_text_model_encoder_layers_3_self_attn_q_proj", LORA),
    ("stable-diffusion-xl", "text_encoder_2.text_model.encoder.layers.3.self_attn.q_proj.weight", (8, 16), "kohya", 2, "lora_te2_text_model_encoder_layers_3_self_attn_q_proj", LORA),
    ("stable-diffusion-xl", "text_encoder_2.text_projection.weight", (8, 16), "kohya", None, "lora_te2_text_projection", {".diff": (8, 16)}),
    ("stable-diffusion-3", "transformer.transformer_blocks.0.attn.add_k_proj.weight", (8, 16), "lora", 2, "transformer.transformer_blocks.0.attn.add_k_proj", PEFT),
    ("flux", "transformer.transformer_blocks.0.attn.add_v_proj.weight", (8, 16), "lora", 2, "transformer.transformer_blocks.0.attn.add_v_proj", PEFT),
    ("flux", "transformer.single_transformer_blocks.0.attn.to_k.weight", (8, 16), "lora", 2, "transformer.single_transformer_blocks.0.attn.to_k", PEFT),
    ("flux-2-klein", "transformer.context_embedder.weight", (8, 16), "lora", 2, "transformer.context_embedder", PEFT),
    ("qwen-image", "transformer.transformer_blocks.0.attn.add_k_proj.weight", (8, 16), "lora", 2, "transformer.transformer_blocks.0.attn.add_k_proj", PEFT),
    ("z-image", "transformer.context_refiner.0.attention.to_k.weight", (8, 16), "lora", 2, "transformer.context_refiner.0.attention.to_k", PEFT),
]  # fmt: skip


@pytest.mark.parametrize(("family", "name", "shape", "form", "rank", "key", "parts"), LOOKED_UP, ids=[row[5] for row in LOOKED_UP])
def test_names_are_those_that_other_tools_look_up(family, name, shape, form, rank, key, parts, tmp_path):
    """Nothing else is in the file, and at the tools' scale (alpha / rank; 1 without alpha) it is Δ."""
    torch.manual_seed(0)
    delta = torch.randn(8, 2) @ torch.randn(2, 16) if shape == (8, 16) else torch.randn(shape)
    held = load_file(export(Edit({name: delta}, {"family": family}), form, tmp_path / "x.safetensors", rank=rank))
    assert {k: tuple(t.shape) for k, t in held.items()} == {f"{key}{part}": size for part, size in parts.items()}
    if rank is None:
        [found] = held.values()
    else:
        down, up = (held[f"{key}{part}"] for part in list(parts)[:2])
        found = held.get(f"{key}.alpha", torch.tensor(float(rank))).item() / rank * up @ down
    torch.testing.assert_close(found, delta, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("family", "prefixes"), [("stable-diffusion", ["lora_te"]), ("stable-diffusion-xl", ["lora_te1", "lora_te2"])])
def test_every_layer_of_the_text_encoders_has_its_name(family, prefixes):
    """As the models of this transformers name them: all that ComfyUI goes through (LORA_CLIP_MAP), and nothing else."""
    components = wrap(TINY[family](), ()).components
    names = [
        f"{c}.{n}" for c, module in components.items() if c != "unet" for n, w in module.named_parameters() if "layers" in n and w.ndim == 2
    ]
    layers = ("mlp_fc1", "mlp_fc2", *(f"self_attn_{k}_proj" for k in ("k", "q", "v", "out")))
    wanted = {f"{prefix}_text_model_encoder_layers_{i}_{layer}" for prefix in prefixes for i in range(2) for layer in layers}
    assert {kohya_name(name, family) for name in names} == wanted


@pytest.mark.parametrize("family", [family for family in TINY if "stable-diffusion" not in family or family.endswith("3")])
def test_who_reads_what_kohya_cannot_name(family, tmp_path):
    """ComfyUI has no Sana."""
    edit = Edit({"transformer.x.weight": torch.ones(2, 2)}, {"family": family})
    reader = "diffusers" if family == "sana" else "ComfyUI"
    with pytest.raises(InputError, match=re.escape(f"{reader} reads diffusers' own names")):
        export(edit, "kohya", tmp_path / "x.safetensors")
    assert (family in COMFYUI) == (family != "sana")


def test_a_pipelines_own_card_is_kept(edit, folder, tmp_path):
    """Its licence, its other fields and its text; not its scores, which are another model's. What was erased stands before it."""
    base = shutil.copytree(folder, tmp_path / "base")
    scores = (
        "model-index:\n- name: x\n  results:\n  - task: {type: t}\n    dataset: {type: d, name: d}\n    metrics: [{type: fid, value: 3}]\n"
    )
    (base / "README.md").write_text(
        f"---\nlicense: other\nlicense_link: L.md\ntags: [art]\nwidget: [a]\n{scores}---\n# Tiny\n\nMade by ünïcode.\n"
    )
    out = export(edit, "pipeline", tmp_path / "out", model=str(base))
    card = ModelCard((out / "README.md").read_text(encoding="utf-8"))
    fields = card.data.to_dict()
    assert (fields["license"], fields["license_link"], fields["widget"]) == ("other", "L.md", ["a"])
    assert fields["tags"] == ["art", "unconcept", "concept-erasure"]
    assert "model-index" not in fields
    assert card.text.index("*pig* was taken out") < card.text.index("# Tiny\n\nMade by ünïcode.")
    bare = export(edit, "pipeline", tmp_path / "two", model=str(folder))
    assert ModelCard((bare / "README.md").read_text()).data.to_dict()["library_name"] == "diffusers"
    (base / "README.md").write_text("---\n{no: [fields\n---\n# Tiny\n")
    assert "# Tiny" in (export(edit, "pipeline", tmp_path / "three", model=str(base)) / "README.md").read_text()


def test_the_licence_of_a_model_of_the_hub(tmp_path, monkeypatch):
    """Of its card as it lies in the hub's cache; nothing is asked of the network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--owner--name"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("abc")
    (kept / "snapshots" / "abc").mkdir(parents=True)
    (kept / "snapshots" / "abc" / "README.md").write_text("---\nlicense: other\nlicense_name: openrail\nlanguage: en\n---\n# A model\n")
    assert licence("owner/name") == {"license": "other", "license_name": "openrail"}
    assert licence("owner/other") == licence("no such/place") == {}


def test_the_base_of_an_edit_is_told_by_the_card_beside_it(tmp_path):
    """The edit's own; a card of something else says nothing of it."""
    (tmp_path / "README.md").write_text("---\ntags: [unconcept]\nlicense: mit\nbase_model: owner/name\nlibrary_name: diffusers\n---\n")
    assert base_of(tmp_path) == base_of(tmp_path / "edit.safetensors") == {"license": "mit", "base_model": "owner/name"}
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# The model\n")
    assert base_of(tmp_path) == {}
