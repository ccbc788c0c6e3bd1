"""Options that several commands share, in groups. Nothing here imports torch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from ..errors import InputError, brief
from .ranges import check_numbers, whole_number

# Models whose words are known.
EMBEDDED = ("emoji", "emoji-flow", "emoji-video")

DEFAULT_STEPS = 25  # of sampling, where a model does not need fewer

# After 10 DDIM steps the judge finds the same share of emoji's images right as after 25.
EMBEDDED_STEPS = {"emoji": 10, "emoji-video": 10}

MOST_GIBIBYTES = 1e6  # of --memory

Precision = Literal["fp32", "bf16", "fp16"]

Quantized = Literal["nf4", "int8"]

Prediction = Literal["epsilon", "v", "v-zero-snr"]

SamplerName = Literal["ddim", "dpm-solver++", "euler", "heun", "unipc"]  # of any family

if TYPE_CHECKING:
    Judge = str | Callable
else:
    Judge = str  # the command line takes a name; Python takes a function, too

# The panels of every `--help`, in this order.
WHAT = Group("What", sort_key=1)

HOW = Group("How", sort_key=2)

MODEL = Group("Model", sort_key=3)

EVALUATION_IMAGES = Group("Evaluation images", sort_key=4)

WHILE_IT_RUNS = Group("While it runs", sort_key=5)

OUTPUT = Group("Output", sort_key=6)


@dataclass(frozen=True)
class Source:
    """Where a model comes from, and where and how precisely it computes.

    device None: the GPU if there is one. dtype None: bf16 on a GPU; fp32 on a CPU and for the
    embedded models.
    """

    model: Annotated[
        str,
        Parameter(
            help="emoji, emoji-flow or emoji-video (embedded), a diffusers folder, a .safetensors "
            "file, or a Hub id."
        ),
    ] = "emoji"
    base_config: Annotated[
        str | None,
        Parameter(help="For a single file: a diffusers folder with the same architecture."),
    ] = None
    prediction: Annotated[
        Prediction | None,
        Parameter(
            help="What Stable Diffusion's network predicts: epsilon, v, or v-zero-snr with zero "
            "terminal SNR (default: what the files say)."
        ),
    ] = None
    variant: Annotated[
        str | None,
        Parameter(help="Variant of the weights, if a folder or repository holds several: fp16."),
    ] = None
    revision: Annotated[
        str | None, Parameter(help="Branch, tag or commit of a Hub repository.")
    ] = None
    device: Annotated[
        str | None, Parameter(help="cuda, mps, cpu, ... (default: the GPU if there is one).")
    ] = None
    dtype: Annotated[
        Precision | None,
        Parameter(help="Precision of the model's weights (default: bf16 on a GPU, else fp32)."),
    ] = None
    frames: Annotated[
        int | None,
        Parameter(
            help="Frames of a clip of a text-to-video model (default: the pipeline's).",
            converter=whole_number,
        ),
    ] = None
    height: Annotated[
        int | None,
        Parameter(
            help="Height of its frames in pixels (default: likewise).", converter=whole_number
        ),
    ] = None
    width: Annotated[
        int | None,
        Parameter(
            help="Width of its frames in pixels (default: likewise).", converter=whole_number
        ),
    ] = None

    @property
    def steps(self) -> int:
        """Default number of sampling steps, as far as it is known before the model is opened."""
        return EMBEDDED_STEPS.get(self.model, DEFAULT_STEPS)

    @property
    def clips(self) -> bool:
        """Is it known, before the model is opened, that it samples clips?"""
        return self.model == "emoji-video" or self.frames is not None

    @classmethod
    def of(cls, model: "str | Source") -> "Source":
        """A source as it is, or one with a name and defaults.

        Args:
            model: An embedded model's name, a folder, a .safetensors file or a Hub id; or a source.
        """
        return model if isinstance(model, Source) else cls(str(model))


@dataclass(frozen=True)
class Look:
    """How evaluation images are sampled and judged.

    judge: from Python also a callable (unconcept.evaluation.judges).
    """

    judge: Annotated[
        Judge | None,
        Parameter(
            help="Who recognizes concepts in images of your own model: the folder or Hub id of a "
            "CLIP or SigLIP model, imagenet or nudenet."
        ),
    ] = None
    real: Annotated[
        Path | None,
        Parameter(
            help="Folder of real images, for your own model: the KID between them and the images "
            "of unrelated prompts is reported."
        ),
    ] = None
    steps: Annotated[
        int | None,
        Parameter(
            help="Sampling steps for evaluation images (default: the model's; 25 for most).",
            converter=whole_number,
        ),
    ] = None
    guidance: Annotated[
        float | None,
        Parameter(help="CFG scale for evaluation images (default: the model's)."),
    ] = None
    sampler: Annotated[
        SamplerName | None,
        Parameter(help="Sampler for evaluation images (default: the family's)."),
    ] = None

    def steps_for(self, source: Source) -> int:
        """Sampling steps of an evaluation image, as far as they are known before the model is
        opened.

        Args:
            source: The model.
        """
        return source.steps if self.steps is None else self.steps

    def check(self) -> None:
        """Raise an InputError where a number is out of range."""
        check_numbers(steps=self.steps, guidance=self.guidance)


@dataclass(frozen=True)
class Training:
    """How a training is run, saved and watched; no hyperparameter of a method is here.

    fixed: keys of `tune` that the user set, which `memory` leaves as they are.
    """

    resume: Annotated[bool, Parameter(help="Resume an interrupted run of this exact command.")] = (
        False
    )
    save_every: Annotated[
        int,
        Parameter(
            help="Training steps between two saved states for --resume; 0: never.",
            converter=whole_number,
        ),
    ] = 25
    sample_every: Annotated[
        int,
        Parameter(
            help="Training steps between two columns of samples in OUT.samples.png; 0: never.",
            converter=whole_number,
        ),
    ] = 0
    quantize: Annotated[
        Quantized | None,
        Parameter(
            help="Hold the frozen weights in 4 or 8 bits (needs unconcept[quant]).", group=MODEL
        ),
    ] = None
    memory: Annotated[
        str,
        Parameter(
            help="Memory to fit into: auto (what is free), a number of GiB, or off. Savings are "
            "chosen from predicted memory, the cheapest first; what you set stays.",
            group=MODEL,
        ),
    ] = "auto"
    track: Annotated[
        str | None,
        Parameter(help="Log losses to tensorboard (in OUT.logs), wandb, trackio, ..."),
    ] = None
    fixed: Annotated[tuple[str, ...], Parameter(parse=False)] = ()

    def check(self) -> None:
        """Raise an InputError where a number is out of range."""
        check_numbers(save_every=self.save_every, sample_every=self.sample_every)
        if self.memory in ("auto", "off"):
            return
        try:
            gibibytes = float(self.memory)
        except ValueError:
            gibibytes = 0.0
        if not 0 < gibibytes < MOST_GIBIBYTES:
            raise InputError(
                f"--memory is {brief(self.memory)}: it must be auto, off, or a number of GiB"
            )


@dataclass(frozen=True)
class Output:
    """Where a command writes. out None: a path of the command's own in unconcept-out/."""

    out: Annotated[
        Path | None,
        Parameter(help="Folder or file to write (default: in unconcept-out/)."),
    ] = None
    force: Annotated[bool, Parameter(help="Replace an output folder that exists.")] = False

    def folder(self, name: str) -> Path:
        """The folder that a command writes.

        Args:
            name: Of the command's own folder in unconcept-out/.

        Returns:
            `out`; if it is None the command's own folder, or without `force` the first of
            name, name-2, name-3, ... that does not exist.
        """
        default = Path("unconcept-out") / name
        if self.out or self.force:
            return self.out or default
        path, number = default, 1
        while path.exists():
            number += 1
            path = default.with_name(f"{name}-{number}")
        return path


@dataclass(frozen=True)
class Printout:
    """What a command prints at its end."""

    json: Annotated[
        bool, Parameter(help="Print the report as JSON on stdout, and nothing else there.")
    ] = False
    full: Annotated[
        bool, Parameter(help="Print every score, instead of the twenty lines that matter.")
    ] = False
