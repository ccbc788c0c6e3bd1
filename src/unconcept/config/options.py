"""What a run is told, in groups that several commands share. Without torch: the command line reads this before it knows what to do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

Precision = Literal["fp32", "bf16", "fp16"]

Quantized = Literal["nf4", "int8"]


@dataclass(frozen=True)
class Source:
    """Where a model comes from, and where and how precisely it computes.

    device None: the graphics card where there is one. dtype None: bf16 there, fp32 on a processor, and for the embedded model.
    """

    model: Annotated[str, Parameter(help="emoji or emoji-flow (embedded), a diffusers folder, a .safetensors file, or a hub id.")] = "emoji"
    base_config: Annotated[str | None, Parameter(help="For a single file: a diffusers folder of the same architecture.")] = None
    variant: Annotated[str | None, Parameter(help="Of the weights, where a folder or repository holds several: fp16, ...")] = None
    revision: Annotated[str | None, Parameter(help="Of a hub id: a branch, a tag or a commit.")] = None
    device: Annotated[str | None, Parameter(help="cuda, mps, cpu, ...; default: the graphics card where there is one.")] = None
    dtype: Annotated[Precision | None, Parameter(help="Of the model's weights; default: bf16 on a graphics card.")] = None

    @classmethod
    def of(cls, model: "str | Source") -> "Source":
        return model if isinstance(model, Source) else cls(str(model))


@dataclass(frozen=True)
class Look:
    """How pictures are made, and looked at. judge: from Python also a callable (unconcept.evaluation.judges)."""

    judge: Annotated[
        str | Callable | None, Parameter(help="Who says what pictures show, for your own model: a CLIP folder, imagenet or nudenet.")
    ] = None
    real: Annotated[Path | None, Parameter(help="A folder of real pictures, for your own model: how far are unrelated ones from them?")] = (
        None
    )
    steps: Annotated[int, Parameter(help="Sampling steps of the pictures that are looked at.")] = 25
    guidance: Annotated[float | None, Parameter(help="And their guidance; default: the model's own.")] = None

    def sampling(self, usual: float) -> dict:
        """Steps and guidance; usual: the guidance where nothing is said."""
        return {"steps": self.steps, "guidance": usual if self.guidance is None else self.guidance}


@dataclass(frozen=True)
class Training:
    """How a training is run, and what is kept and shown of it meanwhile: nothing here is a method's own."""

    resume: Annotated[bool, Parameter(help="Go on with the training of the same words that was cut off.", negative="")] = False
    save_every: Annotated[int, Parameter(help="Steps of the training after which its state is kept; 0: never.")] = 25
    sample_every: Annotated[int, Parameter(help="Steps after which OUT.samples.png shows the same seeds once more; 0: never.")] = 0
    quantize: Annotated[Quantized | None, Parameter(help="What is not tuned, in 4 or 8 bits (needs unconcept[quant]).")] = None
    track: Annotated[str | None, Parameter(help="Losses go to tensorboard (in OUT.logs), wandb, trackio, ...")] = None
