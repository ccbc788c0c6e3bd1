"""Do the defaults of All but One work on other weights than those they were chosen on?

    python benchmarks/default_transfer.py [--pair pig=cow] [--n 20] [--only emoji-flow] [--trained]
    python benchmarks/result_pages.py default-transfer

Models: `emoji`; the same with its cross-attention rescaled, at the same function (keys and values
times s, queries and outputs divided by s); the same function as a prediction of the noise instead
of the velocity; and `emoji-flow`. Each is erased from with the defaults and measured on n prompts
of the concept, 12 of its neighbours and 12 unrelated ones, from the same seeds. The variants of
`emoji` are also compared with `emoji` itself, weight for weight and pixel for pixel. --trained
measures the training without the closed form instead.

Finished results are not computed again.
"""

import functools
from typing import Any

import torch
from common import TRAINED, arguments, cell, head, machine, once
from torch import Tensor, nn

from unconcept import AllButOne, Concept, load
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark
from unconcept.evaluation.runner import sampling_seeds
from unconcept.evaluation.scores import PIXELS, compute_scores, find_score
from unconcept.models.emoji.loading import GUIDANCE, Emoji
from unconcept.models.emoji.vocabulary import WORDS
from unconcept.models.image_cache import cache_folder
from unconcept.models.interface import Model
from unconcept.models.sampling import ImageSampler, Sampling

SCALES = {"emoji, cross-attention / 4": 0.25, "emoji, cross-attention x 4": 4.0}
NOISE = "emoji, predicts the noise"
MODELS = ("emoji", *SCALES, NOISE, "emoji-flow")
REST = 12  # neighbours, and unrelated prompts
SEED = 90  # of the prompts and images
STEPS = 10
COLUMNS = (
    ("concept", "target"),
    ("alternative", "target"),
    ("right", "neighbour"),
    ("right", "unrelated"),
    (PIXELS, "unrelated"),
)


def build(name: str) -> Model:
    """One of MODELS, with weights that nobody else uses."""
    if name == "emoji-flow":
        return load("emoji-flow")
    model = load("emoji")
    if name in SCALES:
        rescale(model, SCALES[name])
    if name == NOISE:
        return predicting_noise(model)
    return model


@torch.no_grad()
def rescale(model: Model, scale: float) -> None:
    """Rescale cross-attention without changing what it computes.

    Keys and values are multiplied by the scale, queries and the weights of outputs divided by it.
    With a power of 2 no bit of the function changes.

    Args:
        model: Is changed.
        scale: Above 0.
    """
    layers: dict[str, Any] = dict(model.denoiser.named_modules())
    for name, layer in layers.items():
        if name.endswith("attn2"):
            layer.to_k.weight *= scale
            layer.to_v.weight *= scale
            layer.to_q.weight /= scale
            layer.to_out[0].weight /= scale


def predicting_noise(model: Model) -> Model:
    """The same denoiser as a model of the noise: ε = √ᾱ v + √(1 − ᾱ) x_t.

    Args:
        model: Predicts the velocity v; its U-Net is taken over.
    """
    pipe: Any = model.pipe  # pyright: ignore[reportAttributeAccessIssue]
    alphas = pipe.scheduler.alphas_cumprod

    def to_noise(_: nn.Module, inputs: tuple[Tensor, Tensor, Tensor], output: tuple) -> tuple:
        x, t, _ = inputs
        a = alphas[t].view(-1, 1, 1, 1).to(x)
        return (a.sqrt() * output[0] + (1 - a).sqrt() * x,)

    pipe.unet.register_forward_hook(to_noise)
    pipe.scheduler.register_to_config(prediction_type="epsilon")
    other = Emoji(pipe, WORDS)
    assert other.prediction == "epsilon"
    other.guidance = GUIDANCE
    other.lexicon = model.lexicon  # pyright: ignore[reportAttributeAccessIssue]
    return other


@functools.cache
def erase(name: str, pair: str, n: int, trained: bool) -> dict[str, Any]:
    """Erase from a model, and sample before and after.

    Args:
        name: One of MODELS.
        pair: The concept and its alternative, as the command line writes them.
        n: Prompts of the concept.
        trained: Whether to train without the closed form.

    Returns:
        The edit, the benchmark, and the images.
    """
    model = build(name)
    concepts = model.complete([Concept.parse(pair)])
    method = TRAINED if trained else AllButOne()
    edit = method(model, *concepts)
    counts = {"target": n, "neighbour": REST, "unrelated": REST}
    benchmark = EmojiBenchmark(concepts, counts, seed=SEED)
    sampler = "euler" if name == "emoji-flow" else "dpm-solver++"
    sampling = Sampling(steps=STEPS, sampler=sampler, seed=SEED)
    # A hook is not part of the weights, so images of the variant must not be taken from the cache.
    cache = None if name == NOISE else cache_folder()
    images = ImageSampler(model, sampling, cache)
    prompts = [case.prompt for case in benchmark.cases]
    seeds = sampling_seeds(benchmark, SEED)
    return {
        "edit": edit,
        "benchmark": benchmark,
        "before": images.images(prompts, seeds),
        "after": images.images(prompts, seeds, edit=edit),
    }


def measure(name: str, pair: str, n: int, trained: bool) -> dict[str, Any]:
    """Scores of an erasure, and of a variant of `emoji` its differences from `emoji` itself."""
    run = erase(name, pair, n, trained)
    result = {
        "model": name,
        "pair": pair,
        "method": "trained" if trained else "closed form",
        "closed form": run["edit"].card.get("closed_form", {}),
        "training": run["edit"].card.get("training", {}),
        "sampled on": machine(),
        "scores": compute_scores(run["benchmark"], run["before"], run["after"]).to_json(),
    }
    if name.startswith("emoji,"):
        original = erase("emoji", pair, n, trained)
        scale = SCALES.get(name, 1.0)
        result["difference from emoji"] = {
            "weights": largest_difference(run["edit"], original["edit"], scale),
            "before": float((run["before"] - original["before"]).abs().max()),
            "after": float((run["after"] - original["after"]).abs().max()),
        }
    return result


def largest_difference(edit: Any, original: Any, scale: float) -> float:
    """The largest ‖Δ / s − Δ*‖ / ‖Δ*‖ of a matrix; 0: the same bits.

    Args:
        edit: Of the variant, Δ.
        original: Of `emoji`, Δ*.
        scale: s, which the variant's keys and values are multiplied by.
    """
    largest = 0.0
    theirs = dict(original.deltas.items())
    for name, delta in edit.deltas.items():
        wanted = theirs[name].double()
        difference = delta.double() / scale - wanted
        largest = max(largest, float(difference.norm() / wanted.norm()))
    return largest


def main() -> None:
    options = arguments(
        __doc__,
        "default-transfer",
        20,
        pair={"default": "pig=cow"},
        only={"choices": MODELS},
        trained={"action": "store_true", "help": "train, without the closed form"},
    )
    print("\n".join(head(["model", *(f"{name} ({group})" for name, group in COLUMNS)])))
    for name in [options.only] if options.only else MODELS:
        method = "trained" if options.trained else "closed form"
        file = options.out / f"{options.pair} {name.replace('/', 'by')} {method} {options.n}.json"
        make = functools.partial(measure, name, options.pair, options.n, options.trained)
        result = once(file, make)
        if result:
            cells = [cell(find_score(result["scores"], *column), "after") for column in COLUMNS]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
            print(result.get("difference from emoji", ""), flush=True)


if __name__ == "__main__":
    main()
