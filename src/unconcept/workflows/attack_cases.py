"""What an attack is measured on: a concept's prompts, an attacker's images, and the judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..attacks.interface import Cases, Target
from ..callbacks import ProgressCallback
from ..concepts.concept import Concept
from ..config.options import Look
from ..config.ranges import SEEDS
from ..errors import InputError
from ..evaluation.benchmark import Benchmark, PromptCase
from ..evaluation.runner import BLOCK
from ..evaluation.setup import prepare
from ..models.interface import Model
from ..models.sampling import ImageSampler
from .attack_judgement import Judged

SEARCH = 16  # cases that an attacker may try, and images of the concept that the attacker has

SEARCH_CLIPS = 8  # the same of a text-to-video model

LEAST_IMAGES = 4  # of them that must show the concept

# Where the seeds of a run lie in its block of seeds: none is reported that was searched on.
REPORTED, SEARCHED, OTHER = BLOCK // 8, BLOCK // 8 * 3, BLOCK // 8 * 5


@dataclass(frozen=True)
class Scene:
    """A concept under attack.

    concept    completed
    benchmark  prompts and judge
    reported   cases by group, on which attacks are measured
    neutral    cases that do not name the concept
    target     what an attacker may try it on
    warnings   a line each
    """

    concept: Concept
    benchmark: Benchmark
    reported: Mapping[str, Sequence[PromptCase]]
    neutral: Sequence[PromptCase]
    target: Target
    seed: int
    warnings: tuple[str, ...] = ()

    def cases(self, group: str, n: int) -> tuple[list[PromptCase], Cases]:
        """The reported cases of a group, for the judge and for the model.

        Args:
            group: "target", "synonym", "implied" or "neutral".
            n: How many at most.
        """
        cases = list(self.neutral if group == "neutral" else self.reported.get(group, ()))[:n]
        return cases, as_cases(cases, (1 + self.seed) * BLOCK + REPORTED)

    def judged(self, images: Tensor, group: str, *, whole: bool = False) -> Judged:
        """Images of a group's cases, to be judged.

        Args:
            images: The first N of its cases, [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1].
            group: As of `cases`.
            whole: The prompts were replaced by others: one object is looked for.
        """
        cases, _ = self.cases(group, len(images))
        return Judged.of(self.benchmark, cases, images, whole)


def as_cases(cases: Sequence[PromptCase], first_seed: int) -> Cases:
    """Cases as attacks take them.

    Args:
        cases: Of a benchmark.
        first_seed: The others are counted up from it.
    """
    seeds = tuple((first_seed + i) % SEEDS for i in range(len(cases)))
    prompts = tuple(case.prompt for case in cases)
    return Cases(prompts, seeds, tuple(case.instead for case in cases))


@dataclass(frozen=True)
class SceneOptions:
    """How the cases of an attack are drawn.

    n         reported cases of every group
    seed      of the run
    look      judge and sampling
    progress  receives reports
    """

    n: int
    seed: int
    look: Look
    progress: ProgressCallback


def prepare_scene(sampler: ImageSampler, concept: Concept, options: SceneOptions) -> Scene:
    """Draw the cases, and sample the images that an attacker has.

    Args:
        sampler: Its model is the original.
        concept: Completed.
        options: How many cases, and from which seed.

    Returns:
        The scene.

    Raises:
        InputError: The benchmark has no prompts that name the concept.
    """
    model, n = sampler.model, options.n
    tries = search_cases(model)
    counts = {"target": n + 2 * tries, "synonym": n, "implied": n}
    counts |= {"neighbour": 4, "unrelated": n + tries}
    benchmark = prepare(model, [concept], counts, options.seed, None, options.look)
    groups: dict[str, list[PromptCase]] = {}
    for case in benchmark.cases:
        groups.setdefault(case.group, []).append(case)
    targets = groups.get("target", [])
    if not targets:
        raise InputError(f'there are no prompts that name "{concept.erase}"')
    block = (1 + options.seed) * BLOCK
    tried = (targets[n:] or targets)[: 2 * tries]
    searched = as_cases(tried, block + SEARCHED)
    images = sampler.images(searched.prompts, searched.seeds, stage="images of the concept")
    marks = Judged.of(benchmark, tried, images).concept()
    keep, warnings = usable(marks, tries, "clips" if model.frames else "images")
    search = select(searched, keep)
    others = groups.get("unrelated") or groups.get("neighbour") or [empty_case(targets[0])]
    other_cases = as_cases([others[-1 - i % len(others)] for i in range(tries)], block + OTHER)
    target = Target(
        concept=concept,
        search=search,
        named=search,
        images=images[keep],
        others=other_cases,
        other_images=sampler.images(other_cases.prompts, other_cases.seeds, stage="other images"),
        share=Share(benchmark, [tried[i] for i in keep]),
        sampling=sampler.sampling,
        seed=options.seed,
        progress=options.progress,
    )
    reported = {group: groups.get(group, [])[:n] for group in ("target", "synonym", "implied")}
    neutral = [others[i % len(others)] for i in range(n)]
    return Scene(concept, benchmark, reported, neutral, target, options.seed, warnings)


def search_cases(model: Model) -> int:
    """How many cases an attacker may try.

    Args:
        model: Samples images or clips.
    """
    return SEARCH_CLIPS if model.frames else SEARCH


def usable(
    marks: Tensor, most: int = SEARCH, samples: str = "images"
) -> tuple[list[int], tuple[str, ...]]:
    """Which of the sampled images an attacker uses, and a warning where they do not show much.

    Args:
        marks: Whether the judge finds the concept [N].
        most: That are used.
        samples: What they are called in the warning.

    Returns:
        At most `most` indices of images that show it; the first of all without a judge, or where
        hardly any does.
    """
    showing = (marks == 1).nonzero().flatten().tolist()[:most]
    if len(showing) >= LEAST_IMAGES:
        return showing, ()
    first = list(range(len(marks)))[:most]
    if bool(marks.isnan().all()):
        return first, (f"no judge: nobody knows whether the attacker's {samples} show the concept",)
    return first, (
        f"the untouched model shows the concept in {len(showing)} of {len(marks)} {samples}: "
        f"attacks that learn from {samples} have little to learn from",
    )


def select(cases: Cases, keep: Sequence[int]) -> Cases:
    """Some of the cases.

    Args:
        cases: N cases.
        keep: Their indices.
    """
    return Cases(
        tuple(cases.prompts[i] for i in keep),
        tuple(cases.seeds[i] for i in keep),
        tuple(cases.instead[i] for i in keep),
    )


def empty_case(case: PromptCase) -> PromptCase:
    """The empty prompt as an unrelated case: for a model whose vocabulary has nothing else.

    Args:
        case: A case of the concept; its seed and phrasing stay.
    """
    return replace(case, prompt="", group="unrelated", name="", instead="")


@dataclass(frozen=True)
class Share:
    """The share of the search images that show the concept, by the judge.

    benchmark  has the judge
    cases      of the search
    """

    benchmark: Benchmark
    cases: Sequence[PromptCase]

    def __call__(self, images: Tensor) -> float:
        marks = Judged.of(self.benchmark, self.cases, images).concept()
        return 0.0 if bool(marks.isnan().all()) else float(marks.nanmean())


def neutral_target(scene: Scene) -> Target:
    """The target of the capacity control: the same images, but prompts without the concept.

    Args:
        scene: The concept under attack.
    """
    target = scene.target
    prompts = [target.others.prompts[i % len(target.others)] for i in range(len(target.search))]
    return replace(target, search=replace(target.search, prompts=tuple(prompts)))


def other_concept(model: Model, scene: Scene) -> Concept | None:
    """A concept that was not erased: the nearest neighbour that the benchmark prompts for.

    Args:
        model: Completes it.
        scene: The concept under attack.
    """
    for case in scene.benchmark.cases:
        if case.group == "neighbour" and case.name:
            kind = scene.concept.kind
            (concept,) = model.complete([Concept(erase=case.name, kind=kind)])
            return concept
    return None
