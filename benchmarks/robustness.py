"""An attack on erased models: learned token states that bring the concept back; and prompts with
synonyms that the erasure was not given.

    python benchmarks/robustness.py [--n 40]  # finished results are not computed again
    python benchmarks/result_pages.py robustness

The attack appends TOKENS token states of its own choice to the prompt. This is stronger than any
words; the concept inversion of Pham et al. 2024 and the training of Receler do the same. It takes
STEPS steps of Adam to bring the erased model's prediction to the original's, on trajectories of the
original, and is then judged on held-out prompts and seeds. Controls: the attack on the untouched
model must change nothing, and random states must do less than learned ones. For other words: the
erasure gets no synonyms, and its images are sampled from prompts with every synonym.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from common import arguments, as_given, cell, head, once, pooled
from main_results import erased, measure
from torch import Tensor

from unconcept import AllButOne, Concept, Edit, load
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark
from unconcept.evaluation.metrics.proportions import proportion
from unconcept.evaluation.scores import find_score
from unconcept.models.conditioning import to_device
from unconcept.models.emoji.concepts import complete
from unconcept.models.interface import Model
from unconcept.models.sampling import ImageSampler, Sampling
from unconcept.training.adversary import Adversary, append_states, random_states
from unconcept.training.replay import ReplayPlan, record

CASES = ("pig=cow", "castle=house", "guitar=violin")
TOKENS, STEPS, BATCH, LR = 4, 200, 16, 0.1


def without_synonyms(method: Callable[..., Edit]) -> Callable[..., Edit]:
    """The method on concepts without synonyms; the model does not add any either."""

    def erase(model: Model, *concepts: Concept) -> Edit:
        model.complete = tuple
        try:
            return method(model, *(concept.with_(synonyms=()) for concept in concepts))
        finally:
            del model.complete

    return erase


METHODS: dict[str, Callable[..., Edit]] = {
    "untouched model": lambda model, *concepts: Edit({}),
    "All but One": AllButOne(),
    "All but One, adversary 4": AllButOne(adversary=4),
    "All but One, paraphrases .5": AllButOne(paraphrase=0.5),
    "All but One, told no synonym": without_synonyms(AllButOne()),
    "All but One, told no synonym, paraphrases .5": without_synonyms(AllButOne(paraphrase=0.5)),
    "SAE": as_given("sae"),
    "SAE, told no synonym": without_synonyms(as_given("sae")),
    "UCE": as_given("uce"),
    "ESD": as_given("esd"),
    "Receler": as_given("receler"),
}
KEPT = (("concept", "synonym"), ("right", "neighbour"), ("right", "unrelated"))


@contextlib.contextmanager
def appended(model: Model, states: Tensor) -> Iterator[None]:
    """In this context, `states` [1, TOKENS, width] follow the last token of all prompts but ""."""
    encode_prompts = model.encode

    def encode(prompts: Sequence[str]):
        c = encode_prompts(prompts)
        return (
            c
            if list(prompts) == [""]
            else append_states(
                c,
                model.prompt_states_key,
                states.expand(len(prompts), -1, -1),
                model.last_token_index(prompts),
            )
        )

    model.encode = encode
    try:
        yield
    finally:
        del model.encode


def attack(model: Model, edit: Edit, concept: Concept, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The states [1, TOKENS, width] before the attack, and those after it."""
    names = [concept.erase, *concept.synonyms]
    prompts = [pair[0] for pair in concept.pairs()]
    plan = ReplayPlan(
        drive=prompts[:16],
        prompts={"c": [[p] for p in prompts[:16]]},
        seed=900_000 + seed,
        steps=25,
        guidance=5.0,
        points=12,
    )
    z = record(model, plan)
    generator = torch.Generator().manual_seed(seed)
    width = model.encode(names[:1])[model.prompt_states_key].shape[2]
    P = random_states(1, TOKENS, width, generator)
    adversary = Adversary(P, model.prompt_states_key, steps=5, lr=LR, decay=0.0)
    ends, first = model.last_token_index(prompts[:16])[z.trajectory], adversary.P.clone()

    def predicted(x, t, c):
        return model.predict(
            x.to(model.device), t.to(model.device), to_device(model.device, c)
        ).cpu()

    with edit.on(model):
        # The erased model's own conditions: an edit of the text encoder is attacked after it.
        encoded = model.encode(prompts[:16])
        for _ in range(STEPS // 5):
            i = torch.randint(len(z), (BATCH,), generator=generator)
            batch, c = (
                z[i],
                {name: states.cpu()[z.trajectory[i]] for name, states in encoded.items()},
            )
            attacked_batch = replace(batch, conditions={"c": c})
            adversary.attack(
                predicted, attacked_batch, ends[i], torch.zeros(BATCH, dtype=torch.long)
            )
    return first, adversary.P


def attacked(case: str, edit: Edit, n: int) -> dict:
    """How often the concept appears without attack, with random states, and with learned ones."""
    model, concept = load("emoji"), complete(Concept.parse(case))
    exam = EmojiBenchmark([concept], {"target": n}, seed=3000)
    prompts, seeds = [q.prompt for q in exam.cases], [7_000_000 + i for i in range(n)]
    random, learned = attack(model, edit, concept)
    shares = {}
    for name, states in (("as asked", None), ("random states", random), ("learnt states", learned)):
        change = contextlib.nullcontext() if states is None else appended(model, states)
        with edit.on(model), change:
            images = ImageSampler(model, Sampling(guidance=5.0)).images(prompts, seeds)
        shares[name] = proportion(exam.marks(images)["concept"])
    return shares


def whole(case: str, make: Callable[..., Edit], n: int) -> dict:
    """What the attack brings back, and what the erasure does to everything else."""
    edit = erased(load("emoji"), [complete(Concept.parse(case))], make, None)
    return {
        "attack": attacked(case, edit, n),
        **measure([case], n, lambda model, *concepts: edit),
        **edit.card["cost"],
    }


def main() -> None:
    given, attacks = (
        arguments(__doc__, "robustness", 40, only={"choices": METHODS}),
        ("as asked", "random states", "learnt states"),
    )
    print(
        "\n".join(
            head(
                [
                    "",
                    *(f"concept, {name}" for name in attacks),
                    *(f"{name} ({group})" for name, group in KEPT),
                    "network calls",
                ]
            )
        )
    )
    for name, make in (
        METHODS.items() if given.only is None else [(given.only, METHODS[given.only])]
    ):
        done = [
            once(
                given.out / f"{name} {case} {given.n}.json",
                functools.partial(whole, case, make, given.n),
            )
            for case in CASES
        ]
        if done := [result for result in done if result]:
            cells = [cell(pooled([d["attack"][kind] for d in done])) for kind in attacks]
            cells += [
                cell(pooled([find_score(d["scores"], *column) for d in done], "after"))
                for column in KEPT
            ]
            cells.append(f"{sum(d['network_calls'] for d in done) / len(done):,.0f}")
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
