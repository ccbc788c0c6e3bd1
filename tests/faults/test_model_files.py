"""A model is what its files say, or the error says why not: at load and in a dry run."""

import json
import os
import shutil
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.original_layout import single_file
from support.tiny_pipelines import tiny_flux, tiny_parts, tiny_pipeline, tiny_xl

from unconcept import AllButOne, Concept, InputError, load, wrap
from unconcept.config.options import Source
from unconcept.models.folder import missing_names
from unconcept.models.single_file import Header, Prediction, prediction_of, problem_of
from unconcept.profiling.dry_run import describe_run

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT_ENCODER = "text_encoder/model.safetensors"


def dry_run(**source) -> list[str]:
    return describe_run(Source(**source), AllButOne(start="none"), [Concept(erase="pig")])


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def checkpoint():
    """Every tensor of a checkpoint in the original layout."""
    return single_file(tiny_pipeline())


def change(file, **settings) -> None:
    content = json.loads(file.read_text())
    content.update(settings)
    file.write_text(json.dumps(content))


def without(file, word: str) -> None:
    tensors = {name: t.clone() for name, t in load_file(file).items() if word not in name}
    file.unlink()
    save_file(tensors, file, metadata={"format": "pt"})


# What the network predicts


def flagged(tmp_path, names=(), **metadata) -> Header:
    tensors = {name: torch.tensor([]) for name in names}
    save_file({"w": torch.ones(1), **tensors}, tmp_path / "m.safetensors", metadata)
    return Header.read(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("names", "metadata", "expected"),
    [
        ([], {}, Prediction()),
        (["v_pred"], {}, Prediction("v_prediction")),
        (["v_pred", "ztsnr"], {}, Prediction("v_prediction", True)),
        ([], {"modelspec.prediction_type": "v"}, Prediction("v_prediction")),
        ([], {"modelspec.prediction_type": "V-Prediction"}, Prediction("v_prediction")),
        ([], {"modelspec.prediction_type": "epsilon"}, Prediction("epsilon")),
        (
            [],
            {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"},
            Prediction("v_prediction", True),
        ),
        (["v_pred"], {"modelspec.prediction_type": "v"}, Prediction("v_prediction")),
    ],
)
def test_what_a_file_says_that_it_predicts(tmp_path, names, metadata, expected):
    assert prediction_of(flagged(tmp_path, names, **metadata)) == expected


def test_a_file_that_contradicts_itself_is_refused(tmp_path):
    both = flagged(tmp_path, ["v_pred"], **{"modelspec.prediction_type": "epsilon"})
    with pytest.raises(InputError, match="--prediction"):
        prediction_of(both)
    with pytest.raises(InputError, match="flow"):
        prediction_of(flagged(tmp_path, **{"modelspec.prediction_type": "flow"}))


def test_a_v_prediction_file_is_read_as_one_and_the_user_may_say_otherwise(tmp_path):
    pipe = tiny_xl(second=32)
    pipe.save_pretrained(tmp_path / "xl")
    flags = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    save_file({**single_file(pipe), **flags}, tmp_path / "v.safetensors")
    model = load(tmp_path / "v.safetensors", config=tmp_path / "xl")
    config = model.scheduler.config
    assert model.prediction == "v_prediction"
    assert config["rescale_betas_zero_snr"]
    assert config["timestep_spacing"] == "trailing"
    assert model.scheduler.alphas_cumprod[-1] == 0
    other = load(tmp_path / "v.safetensors", config=tmp_path / "xl", prediction="epsilon")
    assert other.prediction == "epsilon"
    assert other.scheduler.alphas_cumprod[-1] > 0
    assert other.image_cache_key() != model.image_cache_key()


def test_zero_snr_alone_is_not_guessed(tmp_path, folder, checkpoint):
    save_file({**checkpoint, "ztsnr": torch.tensor([])}, tmp_path / "z.safetensors")
    with pytest.raises(InputError, match="v-zero-snr"):
        load(tmp_path / "z.safetensors", config=folder)


def test_the_prediction_of_a_folder_can_be_overridden(folder):
    assert load(folder, prediction="v").prediction == "v_prediction"
    with pytest.raises(InputError, match="embedded"):
        load("emoji", prediction="v")


# Parts that do not belong together


def test_an_inpainting_network_is_refused_by_name(tmp_path):
    parts = tiny_parts()
    config = {**parts["unet"].config, "in_channels": 9}
    parts["unet"] = type(parts["unet"]).from_config(config)
    pipe = diffusers.StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    with pytest.raises(InputError, match=r"9 channels.*inpainting"):
        wrap(pipe)
    pipe.save_pretrained(tmp_path / "nine")
    with pytest.raises(InputError, match="inpainting"):
        dry_run(model=str(tmp_path / "nine"))


@pytest.mark.parametrize("value", [8, [8], [8, 8], (8, 8), None])
def test_sizes_of_a_square(value):
    pipe = tiny_pipeline()
    pipe.unet.register_to_config(sample_size=value)
    assert wrap(pipe).latent_shape == (4, 8, 8)


@pytest.mark.parametrize("value", [[8, 16], 0, -8, "8", 8.0, True, [8, 8, 8], []])
def test_other_sizes_are_refused(value):
    pipe = tiny_pipeline()
    pipe.unet.register_to_config(sample_size=value)
    with pytest.raises(InputError, match="sample_size"):
        wrap(pipe)


def test_parts_of_two_models_are_refused():
    pipe = tiny_pipeline()
    pipe.vae.register_to_config(latent_channels=16)
    with pytest.raises(InputError, match="autoencoder"):
        wrap(pipe)
    pipe = tiny_pipeline()
    pipe.unet.register_to_config(cross_attention_dim=32)
    with pytest.raises(InputError, match="width 32"):
        wrap(pipe)
    pipe = tiny_pipeline()
    pipe.tokenizer.add_tokens(["<pig>"])
    with pytest.raises(InputError, match="190 rows"):
        wrap(pipe)
    pipe = tiny_flux()
    pipe.transformer.register_to_config(in_channels=384, out_channels=16)
    with pytest.raises(InputError, match="Fill"):
        wrap(pipe)


def test_tokenizers_longer_than_the_text_encoder():
    pipe = tiny_pipeline()
    pipe.tokenizer.model_max_length = 77
    with pytest.raises(InputError, match="24 position embeddings"):
        wrap(pipe)
    pipe.tokenizer.model_max_length = int(1e30)  # what a tokenizer has that does not say
    assert wrap(pipe).encode(["a pig"])["encoder_hidden_states"].shape[1] == 24


# Files that are something else

LORA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (LORA, "LoRA"),
        ("unet.down_blocks.0.attentions.0.to_k.lora_A.weight", "LoRA"),
        ("lora_unet_mid_block.hada_w1_a", "LoRA"),
        ("encoder.conv_in.weight", "autoencoder"),
        ("first_stage_model.encoder.down.0.block.0.conv1.weight", "autoencoder"),
        ("double_blocks.0.img_attn.qkv.weight", "Flux.1"),
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "Flux.1"),
        ("double_stream_modulation_img.lin.weight", "Flux.2"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3"),
        ("control_model.input_hint_block.0.weight", "ControlNet"),
        ("controlnet_cond_embedding.conv_in.weight", "ControlNet"),
        ("text_model.encoder.layers.0.mlp.fc1.weight", "text encoder"),
        ("encoder.block.0.layer.0.SelfAttention.k.weight", "text encoder"),
        ("down_blocks.0.attentions.0.norm.weight", "U-Net"),
        ("transformer_blocks.0.attn.to_q.weight", "transformer"),
        ("emb_params", "embedding"),
        ("something.else", "no known layout"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path, name, says):
    save_file({name: torch.ones(1, 2)}, tmp_path / "m.safetensors")
    for run in (load, lambda path: dry_run(model=str(path))):
        with pytest.raises(InputError, match=says):
            run(tmp_path / "m.safetensors")


def test_an_edit_as_a_model(tmp_path, edit):
    with pytest.raises(InputError, match="--edit"):
        load(edit.save(tmp_path / "edit.safetensors"))
    with pytest.raises(InputError, match="--edit"):
        load(tmp_path)


def test_checkpoints_that_are_not_whole_or_not_text_to_image(checkpoint):
    def problem(tensors) -> str | None:
        return problem_of(Header(Path("m.safetensors"), tensors, {}))

    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.items()}
    assert problem(shapes) is None
    nine = {**shapes, "model.diffusion_model.input_blocks.0.0.weight": (8, 9, 3, 3)}
    assert "inpainting" in str(problem(nine))
    for prefix in ("first_stage_model", "cond_stage_model"):
        rest = {name: shape for name, shape in shapes.items() if not name.startswith(prefix)}
        assert prefix in str(problem(rest))


def test_base_config_is_named_where_it_is_needed(tmp_path, folder, checkpoint):
    file = tmp_path / "m.safetensors"
    save_file(checkpoint, file)
    with pytest.raises(InputError, match="--base-config"):
        load(file)  # the hub is out of reach in tests
    assert "--base-config" in dry_run(model=str(file))[0]
    assert dry_run(model=str(file), base_config=str(folder))[0].startswith("device")
    with pytest.raises(InputError, match="is not a folder"):
        load(file, config=tmp_path / "missing")
    with pytest.raises(InputError, match="no model_index"):
        load(file, config=folder / "unet")


@pytest.mark.parametrize("word", ["input_blocks.1.1.proj_in.weight", "layers.1.mlp.fc1.weight"])
def test_a_checkpoint_that_lacks_a_tensor(tmp_path, folder, checkpoint, word):
    rest = {name: tensor for name, tensor in checkpoint.items() if word not in name}
    save_file(rest, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=r"complete|not all tensors"):
        load(tmp_path / "m.safetensors", config=folder)


# Damaged folders


def lose_a_shard(copy) -> None:
    tensors = load_file(copy / UNET)
    file = copy / UNET
    names = list(tensors)
    first = "diffusion_pytorch_model-00001-of-00002.safetensors"
    save_file({name: tensors[name].clone() for name in names[:5]}, file.parent / first)
    file.unlink()
    places = dict.fromkeys(names[:5], first)
    places |= dict.fromkeys(names[5:], first.replace("00001", "00002", 1))
    (copy / f"{UNET}.index.json").write_text(json.dumps({"weight_map": places}))


DAMAGES = {
    "unet/config.json is damaged": lambda copy: (copy / "unet/config.json").write_text("{"),
    "vae/config.json is damaged": lambda copy: (copy / "vae/config.json").write_text("[" * 10**5),
    "scheduler_config.json is damaged": lambda copy: (
        copy / "scheduler/scheduler_config.json"
    ).write_text("[]"),
    "model_index.json is damaged": lambda copy: (copy / "model_index.json").write_text("[]"),
    "tokenizer is missing": lambda copy: shutil.rmtree(copy / "tokenizer"),
    "names no text_encoder": lambda copy: change(
        copy / "model_index.json", text_encoder=[None, None]
    ),
    "00002-of-00002.safetensors is missing": lose_a_shard,
    "cut short or corrupt": lambda copy: os.truncate(copy / UNET, 5000),
    "is not a file": lambda copy: os.mkfifo(copy / "unet/a.safetensors"),
    "which does not exist": lambda copy: os.symlink("/nowhere", copy / "unet/a.safetensors"),
    "no tensor encoder.layers.1.mlp.fc1.weight": lambda copy: without(
        copy / TEXT_ENCODER, "layers.1.mlp.fc1.weight"
    ),
    "no tensor conv_in.weight": lambda copy: without(copy / UNET, "conv_in.weight"),
    "takes 9 channels": lambda copy: change(copy / "unet/config.json", in_channels=9),
    "100 rows": lambda copy: change(copy / "text_encoder/config.json", vocab_size=100),
}


@pytest.mark.parametrize("says", DAMAGES)
def test_damaged_folders(copy, says):
    DAMAGES[says](copy)
    with pytest.raises(InputError, match=says):
        load(copy)
    with pytest.raises(InputError, match=says):
        dry_run(model=str(copy))


def test_weights_that_are_not_numbers(copy):
    tensors = {name: tensor.clone() for name, tensor in load_file(copy / UNET).items()}
    tensors["conv_in.bias"][0] = float("nan")
    (copy / UNET).unlink()
    save_file(tensors, copy / UNET, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"unet\.conv_in\.bias holds NaN"):
        load(copy)


def test_renamed_tensors_are_not_missing():
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(1, 1), "b": torch.nn.Linear(1, 1)})
    assert missing_names(module, {"old.a.weight", "a.bias", "b.weight", "b.bias"}) == []
    assert missing_names(module, {"query.weight", "a.bias", "b.weight", "b.bias"}) == []
    stored = {"a.bias", "b.weight", "b.bias", "embeddings.position_ids"}
    assert missing_names(module, stored) == ["a.weight"]


# Other pipelines of a known model


@pytest.mark.parametrize("name", ["Img2Img", "Inpaint"])
def test_an_edit_goes_on_pipelines_that_share_the_model(folder, edit, name):
    base = diffusers.DiffusionPipeline.from_pretrained(folder)
    kind = getattr(diffusers, f"StableDiffusion{name}Pipeline")
    pipe = kind(**base.components, requires_safety_checker=False)
    before = {key: value.clone() for key, value in pipe.unet.state_dict().items()}
    edit.apply(pipe)
    changed = {key for key, value in pipe.unet.state_dict().items() if (value != before[key]).any()}
    assert changed == {key.removeprefix("unet.") for key in edit.deltas}
    edit.remove(pipe)
    assert all(torch.equal(value, before[key]) for key, value in pipe.unet.state_dict().items())


def test_controlnet_pipelines_are_named():
    pipe = object.__new__(diffusers.StableDiffusionXLControlNetImg2ImgPipeline)
    with pytest.raises(InputError, match=r"ControlNet.*\(StableDiffusionXLPipeline\).*from_pipe"):
        wrap(pipe)


# Models that unconcept exported


def test_an_exported_model_names_its_concept(tmp_path, folder, checkpoint, edit):
    from unconcept.export.formats import export
    from unconcept.workflows.edit_evaluation import read_edit
    from unconcept.workflows.options import EvaluationOptions

    save_file(checkpoint, tmp_path / "base.safetensors")
    whole = export(edit, "pipeline", tmp_path / "pipeline", model=str(folder))
    file = export(
        edit, "checkpoint", tmp_path / "e.safetensors", model=str(tmp_path / "base.safetensors")
    )
    source = Source(str(folder), base_config=str(folder))
    run = EvaluationOptions(out=tmp_path / "out", model=source)
    model = load(source)
    for path in (whole, file):
        read = read_edit(path, run, model, ())
        assert [concept["erase"] for concept in read.card["concepts"]] == ["pig"]
        assert read.card["method"] == "by hand"
        assert read.deltas.keys() == edit.deltas.keys()
        assert read.check(model) is None
    named = read_edit(whole, run, model, [Concept(erase="cat")])
    assert [concept["erase"] for concept in named.card["concepts"]] == ["cat"]
    (whole / "unconcept.json").write_text("{")
    with pytest.raises(InputError, match=r"unconcept\.json"):
        read_edit(whole, run, model, ())


# The folder of a judge

CONFIGS = ("{", "[]", "{}", '{"model_type": "clip"}', '{"model_type": "nothing"}', "[" * 10**5)


@pytest.mark.parametrize("config", CONFIGS)
def test_damaged_judges(tmp_path, config):
    from unconcept.evaluation.judges import load_judge

    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match="CLIP or SigLIP model"):
        load_judge(str(tmp_path))
