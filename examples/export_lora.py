"""Export an edit as a LoRA, and load it into a diffusers pipeline at several strengths.

python examples/export_lora.py
"""

import argparse
from importlib import resources
from pathlib import Path

import torch
from diffusers.pipelines.auto_pipeline import AutoPipelineForText2Image

from unconcept import Concept, wrap
from unconcept.config import Output
from unconcept.export import export
from unconcept.methods import UCE

EMBEDDED = str(resources.files("unconcept.models.emoji") / "pipeline")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("unconcept-out/lora"))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)

    pipe = AutoPipelineForText2Image.from_pretrained(options.model, use_safetensors=True)
    edit = UCE(tokens="last")(wrap(pipe), Concept(erase="pig", alternative="cow"))
    options.out.mkdir(parents=True, exist_ok=True)
    file = export(
        edit, "lora", Output(options.out / "no-pig.safetensors", force=True), rank=options.rank
    )
    print(file, f"{file.stat().st_size / 1e6:.2f} MB")

    pipe.load_lora_weights(str(file), adapter_name="no-pig")
    for strength in (0.0, 0.5, 1.0):
        pipe.set_adapters("no-pig", strength)
        generator = torch.Generator().manual_seed(0)
        steps = 2 if options.quick else 25
        image = pipe("a picture of a pig", generator=generator, num_inference_steps=steps).images[0]
        image.save(options.out / f"strength-{strength}.png")


if __name__ == "__main__":
    main()
