"""The replay of a training that erases concepts: what is recorded, and along which prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..concepts.concept import Concept
from ..concepts.templates import rotated
from ..models.interface import Model
from .paraphrase import paraphrase_words, with_paraphrases
from .replay import Replay, ReplayPlan, record

RETAINED_SEED = 500_000  # added to the seed, so that retained prompts have noise of their own


@dataclass(frozen=True, kw_only=True)
class RecordingSettings:
    """How trajectories are sampled and recorded.

    steps       sampling steps of each trajectory
    points      of them that are recorded, about: every `steps // points`-th
    guidance    CFG scale
    paraphrase  r, the share of the way to another word by which states are moved; 0: nowhere
    seed        of the noise and of the shares
    """

    steps: int
    points: int
    guidance: float
    paraphrase: float = 0.0
    seed: int = 0


def record_concepts(
    model: Model, concepts: Sequence[Concept], n: int, settings: RecordingSettings
) -> Replay:
    """Record trajectories of concepts, concept by concept.

    Half of the trajectories are guided by the concept's prompt, the others by the alternative's,
    because the edited model samples those. A trajectory's points go through all phrasings of the
    concept; each trajectory begins with another one.

    Args:
        model: The original model.
        concepts: The concepts that are trained together.
        n: Trajectories of each concept.
        settings: How they are sampled and recorded.

    Returns:
        Points with the roles "c", "a" and "null"; with paraphrases also "near".
    """
    drive: list[str] = []
    concept_prompts: list[list[str]] = []
    alternative_prompts: list[list[str]] = []
    near_prompts: list[list[str]] = []
    for concept in concepts:
        pairs = concept.pairs()
        for i in range(n):
            start = i * len(pairs) // n
            rotated_pairs = rotated(pairs, start)
            drive.append(rotated_pairs[0][len(drive) % 2])
            concept_prompts.append([prompt for prompt, _ in rotated_pairs])
            alternative_prompts.append([prompt for _, prompt in rotated_pairs])
            if settings.paraphrase:
                near_prompts.append(rotated(paraphrase_words(model, concept, i), start))
    plan = ReplayPlan(
        drive=drive,
        prompts={
            "c": concept_prompts,
            "a": alternative_prompts,
            "null": [[""]] * len(drive),
        },
        conditions_only={"near": near_prompts} if settings.paraphrase else {},
        seed=settings.seed,
        steps=settings.steps,
        guidance=settings.guidance,
        points=settings.points,
    )
    erase = record(model, plan)
    if not settings.paraphrase:
        return erase
    return with_paraphrases(erase, model.prompt_states_key, settings.paraphrase, settings.seed)


def record_retained(
    model: Model, retained: Sequence[str], n: int, settings: RecordingSettings
) -> Replay:
    """Record trajectories of retained prompts.

    Args:
        model: The original model.
        retained: Prompts; each trajectory goes on where the previous one ended.
        n: Number of trajectories.
        settings: How they are sampled and recorded.

    Returns:
        Points with the role "k".
    """
    prompts = [rotated(retained, i * settings.points) for i in range(n)]
    plan = ReplayPlan(
        drive=[trajectory_prompts[0] for trajectory_prompts in prompts],
        prompts={"k": prompts},
        seed=settings.seed + RETAINED_SEED,
        steps=settings.steps,
        guidance=settings.guidance,
        points=settings.points,
    )
    return record(model, plan)
