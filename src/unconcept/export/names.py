"""Names of weights in other tools' LoRA files, where they are not diffusers' own."""

import re

from ..errors import InputError

# Families whose image weights have the names of another family.
SAME_NAMES = {"animatediff": "stable-diffusion", "animatediff-xl": "stable-diffusion-xl"}

# Wan's own names of what diffusers calls otherwise. ComfyUI knows these alone, and diffusers reads
# both (its loaders/lora_conversion_utils.py).
WAN_MODULES = (
    (r"^blocks\.(\d+)\.attn1\.", r"blocks.\1.self_attn."),
    (r"^blocks\.(\d+)\.attn2\.", r"blocks.\1.cross_attn."),
    (r"_attn\.to_([qkv])$", r"_attn.\1"),
    (r"_attn\.to_out\.0$", "_attn.o"),
    (r"\.ffn\.net\.0\.proj$", ".ffn.0"),
    (r"\.ffn\.net\.2$", ".ffn.2"),
    (r"^condition_embedder\.text_embedder\.linear_1$", "text_embedding.0"),
    (r"^condition_embedder\.text_embedder\.linear_2$", "text_embedding.2"),
    (r"^condition_embedder\.time_embedder\.linear_1$", "time_embedding.0"),
    (r"^condition_embedder\.time_embedder\.linear_2$", "time_embedding.2"),
    (r"^condition_embedder\.time_proj$", "time_projection.1"),
    (r"^proj_out$", "head.head"),
)

# LTX-Video's own names are diffusers' behind another prefix.
ORIGINAL_MODULES = {"wan": WAN_MODULES, "ltx": ()}

# Wan 2.2's two experts, each with a file of its own: every tool loads them one by one.
EXPERTS = {"transformer": "high_noise", "transformer_2": "low_noise"}


def lora_name(weight: str, family: str) -> str:
    """The name of a module in a LoRA file.

    Args:
        weight: Name of its weight in an edit, "transformer.blocks.0.attn2.to_k.weight".
        family: The model's.

    Returns:
        "transformer.….to_k" as in diffusers; of Wan and LTX the original name, such as
        "diffusion_model.blocks.0.cross_attn.k", which diffusers reads as well.

    Raises:
        InputError: The weight is not a transformer's, in a family whose files hold no other.
    """
    module = weight.removesuffix(".weight")
    if family not in ORIGINAL_MODULES:
        return module
    component, _, path = module.partition(".")
    if component not in EXPERTS:
        raise InputError(f"LoRA files of this family hold no {component}: export a pipeline")
    for pattern, replacement in ORIGINAL_MODULES[family]:
        path = re.sub(pattern, replacement, path)
    return f"diffusion_model.{path}"


def lora_file_of(weight: str, family: str) -> str:
    """Which of several files a weight belongs to.

    Args:
        weight: Its name in an edit.
        family: The model's.

    Returns:
        "high_noise" or "low_noise" for Wan's experts, "" for every other family.
    """
    return EXPERTS.get(weight.partition(".")[0], "") if family == "wan" else ""
