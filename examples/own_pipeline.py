"""Erase a concept from a diffusers pipeline; apply the edit, scale it and remove it.

python examples/own_pipeline.py --model path/to/model --concept "van gogh style" --to "dry brushing"
"""

import argparse
from importlib import resources
from pathlib import Path

import torch
from diffusers.pipelines.auto_pipeline import AutoPipelineForText2Image

from unconcept import AllButOne, Concept, wrap

EMBEDDED = str(resources.files("unconcept.models.emoji") / "pipeline")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--concept", default="pig")
    parser.add_argument("--to", default="cow")
    parser.add_argument("--prompt", default="a picture of a pig")
    parser.add_argument("--out", type=Path, default=Path("unconcept-out/pipeline"))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)

    pipe = AutoPipelineForText2Image.from_pretrained(options.model, use_safetensors=True)
    edit = AllButOne()(wrap(pipe), Concept.parse(options.concept, options.to))
    options.out.mkdir(parents=True, exist_ok=True)
    edit.save(options.out / "edit.safetensors")

    def save_image(name: str) -> None:
        generator = torch.Generator().manual_seed(0)
        steps = 2 if options.quick else 25
        pipe(options.prompt, generator=generator, num_inference_steps=steps).images[0].save(
            options.out / f"{name}.png"
        )

    save_image("before")
    edit.apply(pipe)
    save_image("after")
    edit.remove(pipe)  # bit for bit the pipeline as it was
    half = edit.scale(0.5)
    half.apply(pipe)
    save_image("half")
    half.remove(pipe)
    print(options.out)


if __name__ == "__main__":
    main()
