"""What an exported file says of itself, and whether its names are those that other tools look
up.
"""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from support.safetensors_header import behind_the_header, metadata_of
from support.tiny_pipelines import TINY

from unconcept import Edit, wrap
from unconcept.errors import InputError
from unconcept.export.formats import export
from unconcept.export.lora import COMFYUI, Adapter, kohya_name

ARCHITECTURES = {  # those of kohya's tools; of tiny models' widths, and for Sana, there is none
    "stable-diffusion": None,
    "stable-diffusion-xl": "stable-diffusion-xl-v1-base/lora",
    "stable-diffusion-3": "stable-diffusion-3/lora",
    "flux": "flux-1/lora",
    "flux-2-klein": None,
    "qwen-image": "Qwen-Image/lora",
    "z-image": "Z-Image/lora",
    "sana": None,
}


@pytest.mark.parametrize("family", TINY)
def test_what_a_file_says_of_itself(family, tmp_path):
    """Its architecture where that has a name, its content's hash, whose edit it is; the same
    when it is written again.
    """
    model = wrap(TINY[family](), ())
    deltas = {
        site.name: torch.ones_like(getattr(*site.find(model.components)))
        for site in model.weight_group("cross-attention keys and values")
    }
    settings = {
        "method": "by hand",
        "settings": {"steps": 3},
        "concepts": [{"erase": "pig", "alternative": "cow"}],
    }
    edit = Edit(deltas, {"family": model.family, "model_sha256": "ab", **settings})
    file = export(
        edit,
        "lora",
        tmp_path / "one.safetensors",
        base={"license": "other", "license_name": "openrail", "license_link": "L.md"},
    )
    about = metadata_of(file)
    assert about.get("modelspec.architecture") == ARCHITECTURES[family]
    assert ("modelspec.sai_model_spec" in about) == (ARCHITECTURES[family] is not None), (
        "a name is what the standard demands"
    )
    assert about["modelspec.hash_sha256"] == f"0x{behind_the_header(file)}"
    assert about["sshs_model_hash"] == behind_the_header(file)
    assert (about["modelspec.implementation"], about["modelspec.title"]) == (
        "diffusers",
        "without pig -> cow",
    )
    assert (about["modelspec.license"], about["unconcept.base_sha256"]) == ("openrail (L.md)", "ab")
    assert json.loads(about["unconcept.card"]) == settings
    assert json.loads(about["unconcept.versions"]).keys() == {"torch", "diffusers"}
    assert about.get("ss_base_model_version") == (
        "sdxl_base_v1-0" if family == "stable-diffusion-xl" else None
    )
    assert (
        not {"modelspec.date", "modelspec.merged_from", "ss_network_module", "ss_v2"} & about.keys()
    )
    again = metadata_of(export(edit, "lora", tmp_path / "two.safetensors"))
    assert {key: value for key, value in about.items() if key != "modelspec.license"} == again


CROSS = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"


@pytest.mark.parametrize(
    ("family", "name", "width", "architecture", "second"),
    [
        ("stable-diffusion", CROSS, 768, "stable-diffusion-v1/lora", "False"),
        ("stable-diffusion", CROSS, 1024, None, "True"),
        ("stable-diffusion", CROSS.replace("attn2", "attn1"), 768, None, None),
        (
            "stable-diffusion",
            "text_encoder.encoder.layers.0.self_attn.v_proj.weight",
            768,
            "stable-diffusion-v1/lora",
            "False",
        ),
        (
            "flux",
            "transformer.time_text_embed.guidance_embedder.linear_1.weight",
            256,
            "flux-1-dev/lora",
            None,
        ),
        (
            "flux-2-klein",
            "transformer.transformer_blocks.0.attn.add_k_proj.weight",
            3072,
            "Flux.2-klein-4b/lora",
            None,
        ),
        (
            "flux-2-klein",
            "transformer.transformer_blocks.0.attn.add_v_proj.weight",
            4096,
            "Flux.2-klein-9b/lora",
            None,
        ),
    ],
)
def test_the_version_is_told_by_what_the_edit_holds(
    family, name, width, architecture, second, tmp_path
):
    """2.x has two names, by what it predicts, which no width tells."""
    about = metadata_of(
        export(
            Edit({name: torch.ones(4, width)}, {"family": family}),
            "lora",
            tmp_path / "x.safetensors",
            rank=1,
        )
    )
    assert (about.get("modelspec.architecture"), about.get("ss_v2")) == (architecture, second)


BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
KOHYA_BLOCK = BLOCK.replace(".", "_")
LORA = {".lora_down.weight": (2, 16), ".lora_up.weight": (8, 2), ".alpha": ()}
PEFT = {".lora_A.weight": (2, 16), ".lora_B.weight": (8, 2)}

# (family, our name, shape of Δ, form, rank, the name that ComfyUI and A1111 look up, what stands
# behind it). ComfyUI: comfy/lora.py, of diffusers' names comfy/utils.py; A1111:
# extensions-builtin/Lora.
LOOKED_UP = [
    ("stable-diffusion", f"unet.{BLOCK}.attn2.to_k.weight", (8, 16), "kohya", 2,
     f"lora_unet_{KOHYA_BLOCK}_attn2_to_k", LORA),
    ("stable-diffusion", f"unet.{BLOCK}.attn2.to_out.0.weight", (8, 16), "kohya", 2,
     f"lora_unet_{KOHYA_BLOCK}_attn2_to_out_0", LORA),
    ("stable-diffusion", f"unet.{BLOCK}.ff.net.0.proj.weight", (8, 16), "kohya", None,
     f"lora_unet_{KOHYA_BLOCK}_ff_net_0_proj", {".diff": (8, 16)}),
    ("stable-diffusion", "unet.mid_block.resnets.0.conv1.weight", (8, 4, 3, 3), "kohya", None,
     "lora_unet_mid_block_resnets_0_conv1", {".diff": (8, 4, 3, 3)}),
    ("stable-diffusion", "unet.mid_block.resnets.0.conv1.bias", (8,), "kohya", None,
     "lora_unet_mid_block_resnets_0_conv1", {".diff_b": (8,)}),
    ("stable-diffusion", "text_encoder.encoder.layers.0.mlp.fc1.weight", (8, 16), "kohya", 2,
     "lora_te_text_model_encoder_layers_0_mlp_fc1", LORA),
    ("stable-diffusion", "text_encoder.text_model.encoder.layers.0.mlp.fc1.weight",
     (8, 16), "kohya", 2,
     "lora_te_text_model_encoder_layers_0_mlp_fc1", LORA),
    ("stable-diffusion-xl", f"unet.{BLOCK}.attn2.to_v.weight", (8, 16), "kohya", 2,
     f"lora_unet_{KOHYA_BLOCK}_attn2_to_v", LORA),
    ("stable-diffusion-xl", "text_encoder.encoder.layers.3.self_attn.q_proj.weight",
     (8, 16), "kohya", 2,
     "lora_te1_text_model_encoder_layers_3_self_attn_q_proj", LORA),
    ("stable-diffusion-xl", "text_encoder_2.text_model.encoder.layers.3.self_attn.q_proj.weight",
     (8, 16), "kohya", 2,
     "lora_te2_text_model_encoder_layers_3_self_attn_q_proj", LORA),
    ("stable-diffusion-xl", "text_encoder_2.text_projection.weight", (8, 16), "kohya", None,
     "lora_te2_text_projection", {".diff": (8, 16)}),
    ("stable-diffusion-3", "transformer.transformer_blocks.0.attn.add_k_proj.weight",
     (8, 16), "lora", 2,
     "transformer.transformer_blocks.0.attn.add_k_proj", PEFT),
    ("flux", "transformer.transformer_blocks.0.attn.add_v_proj.weight", (8, 16), "lora", 2,
     "transformer.transformer_blocks.0.attn.add_v_proj", PEFT),
    ("flux", "transformer.single_transformer_blocks.0.attn.to_k.weight", (8, 16), "lora", 2,
     "transformer.single_transformer_blocks.0.attn.to_k", PEFT),
    ("flux-2-klein", "transformer.context_embedder.weight", (8, 16), "lora", 2,
     "transformer.context_embedder", PEFT),
    ("qwen-image", "transformer.transformer_blocks.0.attn.add_k_proj.weight", (8, 16), "lora", 2,
     "transformer.transformer_blocks.0.attn.add_k_proj", PEFT),
    ("z-image", "transformer.context_refiner.0.attention.to_k.weight", (8, 16), "lora", 2,
     "transformer.context_refiner.0.attention.to_k", PEFT),
]  # fmt: skip


@pytest.mark.parametrize("row", LOOKED_UP, ids=[row[5] for row in LOOKED_UP])
def test_names_are_those_that_other_tools_look_up(row, tmp_path):
    """Nothing else is in the file, and at the tools' scale (alpha / rank; 1 without alpha) it
    is Δ.
    """
    family, name, shape, form, rank, key, parts = row
    torch.manual_seed(0)
    delta = torch.randn(8, 2) @ torch.randn(2, 16) if shape == (8, 16) else torch.randn(shape)
    edit = Edit({name: delta}, {"family": family})
    held = load_file(export(edit, form, tmp_path / "x.safetensors", rank=Adapter(rank, "fp32")))
    assert {k: tuple(t.shape) for k, t in held.items()} == {
        f"{key}{part}": size for part, size in parts.items()
    }
    if rank is None:
        [product] = held.values()
    else:
        down, up = (held[f"{key}{part}"] for part in list(parts)[:2])
        product = held.get(f"{key}.alpha", torch.tensor(float(rank))).item() / rank * up @ down
    torch.testing.assert_close(product, delta, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "prefixes"),
    [("stable-diffusion", ["lora_te"]), ("stable-diffusion-xl", ["lora_te1", "lora_te2"])],
)
def test_every_layer_of_the_text_encoders_has_its_name(family, prefixes):
    """As the models of this transformers name them: all that ComfyUI goes through
    (LORA_CLIP_MAP), and nothing else.
    """
    components = wrap(TINY[family](), ()).components
    names = [
        f"{c}.{n}"
        for c, module in components.items()
        if c != "unet"
        for n, w in module.named_parameters()
        if "layers" in n and w.ndim == 2
    ]
    layers = ("mlp_fc1", "mlp_fc2", *(f"self_attn_{k}_proj" for k in ("k", "q", "v", "out")))
    wanted = {
        f"{prefix}_text_model_encoder_layers_{i}_{layer}"
        for prefix in prefixes
        for i in range(2)
        for layer in layers
    }
    assert {kohya_name(name, family) for name in names} == wanted


@pytest.mark.parametrize(
    "family",
    [family for family in TINY if "stable-diffusion" not in family or family.endswith("3")],
)
def test_who_reads_what_kohya_cannot_name(family, tmp_path):
    """ComfyUI has no Sana."""
    edit = Edit({"transformer.x.weight": torch.ones(2, 2)}, {"family": family})
    reader = "diffusers" if family == "sana" else "ComfyUI"
    with pytest.raises(InputError, match=re.escape(f"{reader} reads diffusers' own names")):
        export(edit, "kohya", tmp_path / "x.safetensors")
    assert (family in COMFYUI) == (family != "sana")
