"""An attack on erased models: learned token states that bring the concept back; and prompts with
synonyms that the erasure was not given.

    python benchmarks/robustness.py [--n 40]  # finished results are not computed again
    python benchmarks/result_pages.py robustness

The attack is `learned-states` of `unconcept attack`: four token states behind the prompt with which
the erased model predicts what the original does, after 200 steps of Adam on trajectories of the
original. It is judged on held-out prompts and seeds. Controls: the attack on the untouched
model must change nothing, and random states must do less than learned ones. For other words: the
erasure gets no synonyms, and its images are sampled from prompts with every synonym.
"""

import functools
from collections.abc import Callable

import torch
from common import arguments, as_given, cell, head, once, pooled
from main_results import erased, measure

from unconcept import AllButOne, Concept, Edit, load
from unconcept.attacks.interface import Cases, Target, Victim
from unconcept.attacks.learned_states import LearnedStates
from unconcept.attacks.sampling import plain
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark
from unconcept.evaluation.metrics.proportions import proportion
from unconcept.evaluation.scores import find_score
from unconcept.models.emoji.concepts import complete
from unconcept.models.interface import Model
from unconcept.models.sampling_options import ResolvedSampling

CASES = ("pig=cow", "castle=house", "guitar=violin")


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


def target(concept: Concept) -> Target:
    """The prompts that the states are learned behind: sixteen of the concept's own."""
    prompts = tuple(pair[0] for pair in concept.pairs()[:16])
    cases = Cases(prompts, tuple(range(len(prompts))), ("",) * len(prompts))
    nothing = torch.zeros(0, 3, 64, 64)
    return Target(
        concept=concept,
        search=cases,
        named=cases,
        images=nothing,
        others=cases,
        other_images=nothing,
        share=lambda images: 0.0,
        sampling=ResolvedSampling(steps=25, guidance=5.0, sampler="ddim"),
        seed=900_000,
    )


def attacked(case: str, edit: Edit, n: int) -> dict:
    """How often the concept appears without attack, with random states, and with learned ones."""
    model, concept = load("emoji"), complete(Concept.parse(case))
    exam = EmojiBenchmark([concept], {"target": n}, seed=3000)
    prompts = tuple(case.prompt for case in exam.cases)
    seeds = tuple(range(7_000_000, 7_000_000 + len(prompts)))
    cases = Cases(prompts, seeds, ("",) * len(prompts))
    victim, aim, attack = Victim(model, edit, model), target(concept), LearnedStates()
    shares = {}
    for name, tried in (
        ("as asked", plain(victim, aim)),
        ("random states", attack.chance(victim, aim)[""]),
        ("learnt states", attack.prepare(victim, aim)[""]),
    ):
        shares[name] = proportion(exam.marks(tried.sample(cases))["concept"])
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
