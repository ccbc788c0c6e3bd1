"""Short contexts: tiny pipelines read 64 or 96 tokens of a prompt, where real ones read up to 512.

Every prompt is padded to that length, and so it decides how long a tiny model takes. Pipelines and
product are shortened alike, when the first tiny pipeline of a family is made.
`with_full_contexts` undoes it.
"""

import functools
from importlib import import_module
from typing import Any

FAMILIES = "unconcept.models.families"

# By family: the pipeline's module and class, the number of tokens, and where the product keeps its
# own number: a module or a class, an attribute, and how many tokens fewer it counts.
PIPELINES = {
    "stable-diffusion-3": (
        "stable_diffusion_3.pipeline_stable_diffusion_3.StableDiffusion3Pipeline",
        64,
    ),
    "flux": ("flux.pipeline_flux.FluxPipeline", 64),
    "flux-2-klein": ("flux2.pipeline_flux2_klein.Flux2KleinPipeline", 96),
    "qwen-image": ("qwenimage.pipeline_qwenimage.QwenImagePipeline", 96),
    "z-image": ("z_image.pipeline_z_image.ZImagePipeline", 96),
    "sana": ("sana.pipeline_sana.SanaPipeline", 64),
}

# What was replaced: (owner, name, original).
replaced: list[tuple[Any, str, Any]] = []


def replace(owner: Any, name: str, value: Any) -> None:
    """Set an attribute, and remember what it was."""
    replaced.append((owner, name, getattr(owner, name)))
    setattr(owner, name, value)


@functools.cache
def shorten(family: str) -> None:
    """Let the pipelines of a family, and the product, read fewer tokens from now on."""
    path, tokens = PIPELINES[family]
    module, _, name = path.rpartition(".")
    pipeline = getattr(import_module(f"diffusers.pipelines.{module}"), name)
    whole = pipeline.encode_prompt

    @functools.wraps(whole)
    def encode_prompt(self, *args, max_sequence_length=tokens, **more):
        at_most = min(tokens, max_sequence_length)
        return whole(self, *args, max_sequence_length=at_most, **more)

    replace(pipeline, "encode_prompt", encode_prompt)
    if family == "stable-diffusion-3":
        product = import_module(f"{FAMILIES}.stable_diffusion_3")
        replace(product.StableDiffusion3, "t5_tokens", tokens)
    elif family == "flux":
        replace(import_module(f"{FAMILIES}.flux"), "T5_TOKENS", tokens)
    elif family == "sana":
        replace(import_module(f"{FAMILIES}.sana"), "TOKENS", tokens - 2)
    elif family == "flux-2-klein":
        replace(import_module(f"{FAMILIES}.flux2").Flux2Klein, "limit", tokens)
    elif family == "qwen-image":
        replace(import_module(f"{FAMILIES}.qwen_image").QwenImage, "limit", tokens)
    else:
        replace(import_module(f"{FAMILIES}.z_image").ZImage, "limit", tokens)


def with_full_contexts(monkeypatch: Any) -> None:
    """Undo `shorten` of every family for one test."""
    for family in PIPELINES:
        shorten(family)
    for owner, name, original in replaced:
        monkeypatch.setattr(owner, name, original)
