"""Short contexts: tiny pipelines read 64 to 96 tokens of a prompt, where real ones read up to 512.

Every prompt is padded to that length, and so it decides how long a tiny model takes. Pipelines and
product are shortened alike, when the first tiny pipeline of a family is made.
`with_full_contexts` undoes it.
"""

import functools
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Context:
    """How many tokens a family reads.

    pipeline  its class in diffusers.pipelines
    tokens    that are read in tests
    product   where unconcept.models.families has the number
    apart     special tokens that the product does not count
    """

    pipeline: str
    tokens: int
    product: str
    apart: int = 0


CONTEXTS = {
    "stable-diffusion-3": Context(
        "stable_diffusion_3.pipeline_stable_diffusion_3.StableDiffusion3Pipeline",
        64,
        "stable_diffusion_3.StableDiffusion3.t5_tokens",
    ),
    "flux": Context("flux.pipeline_flux.FluxPipeline", 64, "flux.T5_TOKENS"),
    "flux-2-klein": Context(
        "flux2.pipeline_flux2_klein.Flux2KleinPipeline", 96, "flux2.Flux2Klein.limit"
    ),
    "qwen-image": Context(
        "qwenimage.pipeline_qwenimage.QwenImagePipeline", 64, "qwen_image.QwenImage.limit"
    ),
    "z-image": Context("z_image.pipeline_z_image.ZImagePipeline", 96, "z_image.ZImage.limit"),
    "sana": Context("sana.pipeline_sana.SanaPipeline", 64, "sana.TOKENS", apart=2),
}

# Layers of Flux.2 Klein's text encoder that its pipeline reads, and those of a tiny one.
DEPTHS = (9, 18, 27)
SHALLOW_DEPTHS = (1, 2, 3)

# What was replaced: (owner, name, original).
replaced: list[tuple[Any, str, Any]] = []


def replace(owner: Any, name: str, value: Any) -> None:
    """Set an attribute, and remember what it was."""
    replaced.append((owner, name, getattr(owner, name)))
    setattr(owner, name, value)


@functools.cache
def shorten(family: str) -> None:
    """Let the pipelines of a family, and the product, read fewer tokens from now on."""
    context = CONTEXTS[family]
    module, _, name = context.pipeline.rpartition(".")
    pipeline = getattr(import_module(f"diffusers.pipelines.{module}"), name)
    if family == "flux-2-klein":
        read_shallow_encoders(pipeline)
    whole = pipeline.encode_prompt

    @functools.wraps(whole)
    def encode_prompt(self, *args, max_sequence_length=context.tokens, **more):
        at_most = min(context.tokens, max_sequence_length)
        return whole(self, *args, max_sequence_length=at_most, **more)

    replace(pipeline, "encode_prompt", encode_prompt)
    module, *classes, name = context.product.split(".")
    owner: Any = import_module(f"unconcept.models.families.{module}")
    for part in classes:
        owner = getattr(owner, part)
    replace(owner, name, context.tokens - context.apart)


def read_shallow_encoders(pipeline: Any) -> None:
    """Let Flux.2's pipelines read the first layers of a text encoder that does not have 28.

    Args:
        pipeline: The class.
    """
    whole = pipeline.encode_prompt

    @functools.wraps(whole)
    def encode_prompt(self, *args, text_encoder_out_layers=DEPTHS, **more):
        if self.text_encoder.config.num_hidden_layers <= DEPTHS[-1]:
            text_encoder_out_layers = SHALLOW_DEPTHS
        return whole(self, *args, text_encoder_out_layers=text_encoder_out_layers, **more)

    pipeline.encode_prompt = encode_prompt


def with_full_contexts(monkeypatch: Any) -> None:
    """Undo `shorten` of every family for one test."""
    for family in CONTEXTS:
        shorten(family)
    for owner, name, original in replaced:
        monkeypatch.setattr(owner, name, original)
