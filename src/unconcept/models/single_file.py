"""The kind and the metadata of a single .safetensors file, read from its header alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from ..errors import InputError
from ..io.weights import check_safetensors
from .consistency import other_network

UNET = "model.diffusion_model."

FIRST_LAYER = UNET + "input_blocks.0.0.weight"

LATENT_CHANNELS = 4  # of every Stable Diffusion 1.x, 2.x and XL

FOLDER = (
    "single files are read of Stable Diffusion 1.x, 2.x and XL alone; give the model as a "
    "diffusers folder or as a hub id"
)

MERGE = (
    "not a model by itself; merge it into its base model with diffusers (load_lora_weights, "
    "fuse_lora, unload_lora_weights, save_pretrained) and give the folder"
)

BASE = "not a model by itself; give the model that it belongs to"

WHOLE = "not a whole model; give the whole checkpoint, or a diffusers folder of all components"

EDIT = "an edit of unconcept, not a model: give it with --edit, and its base model with --model"

# Some name in the file matches -> (what the file is, what to do). The first match counts.
KINDS = (
    (r"(^|[._])lora[._](up|down|A|B|linear)|lora_(up|down|A|B)\b|hada_w|lokr_w|oft_blocks"
     r"|dora_scale|\.diff_b$", "a LoRA", MERGE),
    (r"^ip_adapter\.|^image_proj\.", "an IP-Adapter", BASE),
    (r"^control_model\.|controlnet_|input_hint_block|zero_convs|^control_(all|layers)",
     "a ControlNet", BASE),
    (r"^adapter\.|^body\.\d", "a T2I-Adapter", BASE),
    (r"motion_modules\.", "a motion module (AnimateDiff)", BASE),
    (r"^(emb_params|clip_[lg]|string_to_param|<[^>]+>)$", "an embedding (textual inversion)", BASE),
    (r"\.quant_state\.|\.absmax$", "a checkpoint quantized with bitsandbytes",
     "give its original, in fp32, bf16 or fp16"),
    (r"distilled_guidance_layer\.", "a Chroma checkpoint", "it is not supported"),
    (r"txt_in\.individual_token_refiner", "a Hunyuan Video checkpoint", FOLDER),
    (r"(double|single)_stream_modulation", "a Flux.2 checkpoint", FOLDER),
    (r"(^|\.)double_blocks\.\d", "a Flux.1 checkpoint", FOLDER),
    (r"(^|\.)joint_blocks\.\d", "a Stable Diffusion 3 checkpoint", FOLDER),
    (r"(^|\.)context_refiner\.", "a Z-Image or Lumina checkpoint", FOLDER),
    (r"(^|\.)transformer_blocks\.\d+\.(img_mod|txt_mod)", "a Qwen-Image transformer", FOLDER),
    (r"(^|\.)double_layers\.\d", "an AuraFlow checkpoint", "it is not supported"),
    (r"(^|\.)blocks\.\d+\.cross_attn\.(q_linear|kv_linear)", "a Sana or PixArt checkpoint", FOLDER),
    (r"(^|\.)blocks\.\d+\.(self_attn|cross_attn)\.", "a Wan or another video or image transformer",
     "it is not supported as a single file"),
    (r"clip_txt_mapper|channelwise", "a Stable Cascade checkpoint", "it is not supported"),
)  # fmt: skip

# The same for files without Stable Diffusion's U-Net in the original layout.
PARTS = (
    (r"^(unet\.)?(down_blocks|mid_block|up_blocks)\.\d*.*(attentions|resnets)|^unet\.",
     "a U-Net in diffusers' layout", WHOLE),
    (r"^(transformer\.)?(single_)?transformer_blocks\.\d", "a transformer in diffusers' layout",
     WHOLE),
    (r"^input_blocks\.\d|^output_blocks\.\d", "the U-Net of a checkpoint", WHOLE),
    (r"^((first_stage_model|vae)\.)?(encoder|decoder)\.(conv_in|conv_out|down|up|mid|stages|middle"
     r"|project_in)|^(post_)?quant_conv\.", "an autoencoder (VAE)", BASE),
    (r"text_model\.|^encoder\.block\.\d|resblocks\.\d|^(model\.)?layers\.\d+\.self_attn"
     r"|^token_embedding|^shared\.weight", "a text encoder", BASE),
    (r"RRDB|^conv_first\.", "an image upscaler", BASE),
)  # fmt: skip

# What `modelspec.prediction_type` and the like hold -> diffusers' name.
PREDICTIONS = {
    "v": "v_prediction",
    "v_prediction": "v_prediction",
    "vprediction": "v_prediction",
    "velocity": "v_prediction",
    "vpred": "v_prediction",
    "v_pred": "v_prediction",
    "epsilon": "epsilon",
    "eps": "epsilon",
    "noise": "epsilon",
}

V_FLAGS = ("v_parameterization", "v_pred", "vpred")

ZERO_SNR_FLAGS = ("zero_terminal_snr", "ztsnr", "zsnr", "rescale_betas_zero_snr")


@dataclass(frozen=True)
class Header:
    """The header of a .safetensors file.

    path      the file
    shapes    shape of every tensor by name
    metadata  texts by name
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> "Header":
        """Read the header of a complete .safetensors file.

        Args:
            path: The file.

        Raises:
            InputError: It is not a complete .safetensors file.
        """
        check_safetensors(path)
        shapes = {}
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  (it is not a mapping)
                shapes[name] = tuple(file.get_slice(name).get_shape())
            return cls(path, shapes, file.metadata() or {})


@dataclass(frozen=True)
class Prediction:
    """What a checkpoint says that it predicts.

    kind      "epsilon" or "v_prediction"; None if it does not say
    zero_snr  was it trained with a terminal signal-to-noise ratio of zero? None: it does not say
    """

    kind: str | None = None
    zero_snr: bool | None = None


def first_match(kinds: tuple[tuple[str, str, str], ...], header: Header) -> str | None:
    """What a file is, and what to do about it.

    Args:
        kinds: (expression, what it is, what to do).
        header: Of the file.

    Returns:
        Such as "a LoRA: merge it into ..."; None if no expression matches a name.
    """
    for expression, kind, advice in kinds:
        search = re.compile(expression).search
        if any(search(name) for name in header.shapes):
            return f"{kind}: {advice}"
    return None


def problem_of(header: Header) -> str | None:
    """Why a file is not a Stable Diffusion 1.x, 2.x or XL checkpoint.

    Args:
        header: Of the file.

    Returns:
        What it is and what to do; None if it is one.
    """
    names = header.shapes
    if not names:
        return "an empty file: it holds no tensors"
    if "unconcept" in header.metadata:
        return EDIT
    if problem := first_match(KINDS, header):
        return problem
    if FIRST_LAYER not in names:
        if problem := first_match(PARTS, header):
            return problem
        return (
            f"not a Stable Diffusion checkpoint: its {len(names)} tensors are named like "
            f'"{min(names)[:80]}", which no known layout has'
        )
    return problem_of_checkpoint(header)


def problem_of_checkpoint(header: Header) -> str | None:
    """Why a file with Stable Diffusion's U-Net cannot be sampled from.

    Args:
        header: Of the file.

    Returns:
        What it is and what to do; None if nothing speaks against it.
    """
    names = header.shapes
    if any(name.startswith("edm_") for name in names):
        return "a checkpoint for EDM's noise levels (Playground, CosXL), which are not supported"
    channels = names[FIRST_LAYER][1]
    if channels != LATENT_CHANNELS:
        return (
            f"{other_network('unet', channels)}: its U-Net takes {channels} channels, and only "
            f"text-to-image models are supported, which take {LATENT_CHANNELS}; give the "
            "text-to-image model that it was made from"
        )
    if "conditioner.embedders.0.model.text_projection" in names:
        return "the refiner of Stable Diffusion XL: give the base model"
    if not any(name.startswith("first_stage_model.") for name in names):
        return f"a checkpoint without an autoencoder (first_stage_model): {WHOLE}"
    if not any(name.startswith(("cond_stage_model.", "conditioner.")) for name in names):
        return f"a checkpoint without a text encoder (cond_stage_model): {WHOLE}"
    return None


def is_xl(header: Header) -> bool:
    """Is a checkpoint one of Stable Diffusion XL?

    Args:
        header: Names and shapes of the file's tensors.
    """
    return any(name.startswith("conditioner.embedders.") for name in header.shapes)


def prediction_of(header: Header) -> Prediction:
    """What a checkpoint says that it predicts: by tensors that are flags, and by its metadata.

    Args:
        header: Of the file. The tensors `v_pred` and `ztsnr` are those that ComfyUI reads;
            `modelspec.prediction_type` is ModelSpec's (github.com/Stability-AI/ModelSpec).

    Returns:
        What it says.

    Raises:
        InputError: It says two things, or something that is not supported.
    """
    stated_by: dict[str, str] = {}
    zero_snr: bool | None = None
    if "v_pred" in header.shapes:
        stated_by["v_prediction"] = "the key v_pred"
    if "ztsnr" in header.shapes:
        zero_snr = True
    for key, text in sorted(header.metadata.items()):
        name, value = key.lower().rpartition(".")[2].removeprefix("ss_"), normal_word(text)
        if name == "prediction_type" and value not in ("", "none", "null"):
            if value not in PREDICTIONS:
                raise InputError(
                    f'{header.path} predicts "{text[:40]}" ({key}): only epsilon and v are '
                    "supported; if that is wrong, give --prediction"
                )
            stated_by.setdefault(PREDICTIONS[value], key)
        elif name in V_FLAGS and value == "true":
            stated_by.setdefault("v_prediction", key)
        elif name in ZERO_SNR_FLAGS and value == "true":
            zero_snr = True
    if len(stated_by) > 1:
        statements = " and ".join(f"{kind} ({where})" for kind, where in stated_by.items())
        raise InputError(
            f"{header.path} says that it predicts {statements}: give --prediction epsilon, v or "
            "v-zero-snr"
        )
    return Prediction(next(iter(stated_by), None), zero_snr)


def normal_word(text: str) -> str:
    """A word of metadata as `PREDICTIONS` has it: small letters, and _ between words.

    Args:
        text: A value of the file's metadata, with or without quotation marks: "V-Prediction".

    Returns:
        "v_prediction"; "true" for "1" and "yes".
    """
    word = re.sub(r"[\s-]+", "_", text.strip().strip("\"'").lower())
    return {"1": "true", "yes": "true"}.get(word, word)
