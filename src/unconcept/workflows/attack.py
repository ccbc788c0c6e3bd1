"""Attack an edit: every attack with its controls, judged on prompts and seeds it never saw."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..attacks.catalogue import names_of
from ..concepts.concept import Concept
from ..concepts.contradictions import check_distinct
from ..edits.edit import Edit
from ..errors import InputError
from ..io.output_folder import check_out, whole_folder
from ..io.peer_weights import check_own_edit
from ..models.interface import Model
from ..models.loading import load
from ..models.sampling import ImageSampler
from ..reporting.attack_report import statements, write
from .attack_cases import SceneOptions, prepare_scene, search_cases
from .attack_floor import FLOOR, load_floor
from .attack_session import AttackSession
from .edit_evaluation import complete_as_trained, read_edit
from .options import AttackOptions, EvaluationOptions, check_clips_fit, evaluation_sampling
from .results import describe_edit, software_versions

OUTCOMES_IN_MEMORY = 5  # of an attack on a text-to-video model: three models and two controls


def attack_edit(path: Path, concepts: Sequence[Concept] = (), **options: Any) -> dict:
    """Attack an edit, and write a folder: report.json, report.html, report.md, samples.jsonl and
    samples.png. Of a text-to-video model clips are attacked, by the attacks that work on them.

    Args:
        path: As `evaluate_edit` takes it.
        concepts: The concept that is attacked; needed where the edit names none or several.
        **options: Fields of `AttackOptions`; `out` is required.

    Returns:
        The content of report.json.

    Raises:
        InputError: The edit cannot be read, belongs to another model, or does not name one concept.
    """
    run = AttackOptions(**options)
    names_of(run.attacks)
    check_distinct(concepts)
    check_own_edit(path)
    check_out(run.out, run.force)
    started = time.perf_counter()
    model = load(run.source)
    names = names_of(run.attacks, bool(model.frames))
    edit = read_edit(path, EvaluationOptions(out=run.out, model=run.model), model, concepts)
    mismatch = edit.check(model, force=run.force)
    concept = one_concept(path, edit, concepts, model)
    floor, floor_reason = load_floor(run, concept, model)
    if model.frames:
        clips = OUTCOMES_IN_MEMORY * run.images + 4 * search_cases(model)
        check_clips_fit(model, clips, "fewer --images")
    sampling = evaluation_sampling(run.look, run.seed).resolve(model)
    sampler = ImageSampler(model, sampling, run.cache, run.progress)
    options_of_cases = SceneOptions(run.images, run.seed, run.look, run.progress)
    scene = prepare_scene(sampler, concept, options_of_cases)
    session = AttackSession(run, sampler, edit, floor, scene)
    rows = []
    for name in names:
        rows += session.rows(name)
    warnings = [*([mismatch] if mismatch else []), *scene.warnings]
    if floor is None:
        warnings.append(f"recovered is not computed: {floor_reason}")
    report = {
        "schema": 1,
        "kind": "attack",
        "concept": [{"erase": concept.erase, "alternative": concept.alternative}],
        **describe_edit(edit, run.source.model, model),
        "attacks": rows,
        "statements": statements(
            rows, bool(edit.deltas or edit.adapters), "clips" if model.frames else "images"
        ),
        "settings": {
            "attacks": list(names),
            "budget": run.budget,
            "images": run.images,
            "seed": run.seed,
            "sampler": sampling.sampler,
            "steps": sampling.steps,
            "guidance": sampling.guidance,
            "judge": scene.benchmark.judge_card,
            "edit_sha256": edit.fingerprint(),
            "floor": None if floor is None else FLOOR if run.floor is None else str(run.floor),
            "frames": model.frames,
        },
        "cost": {
            "seconds": round(time.perf_counter() - started, 1),
            "forward": sum(row["calls"]["forward"] for row in rows),
            "backward": sum(row["calls"]["backward"] for row in rows),
        },
        "versions": software_versions(),
        "warnings": warnings,
        "failure": None,
    }
    with whole_folder(run.out, run.force) as folder:
        write(folder, report, session.images, session.records)
    return report


def one_concept(path: Path, edit: Edit, concepts: Sequence[Concept], model: Model) -> Concept:
    """The concept that is attacked, completed.

    Args:
        path: Of the edit, for the message.
        edit: Its card names concepts.
        concepts: What the caller says.
        model: Completes it, as it did for the training.

    Raises:
        InputError: It is not one concept.
    """
    stored = [Concept.read(fields) for fields in edit.card.get("concepts", [])]
    named = list(concepts or stored)
    if len(named) != 1:
        what = "no concept" if not named else f"{len(named)} concepts"
        raise InputError(
            f"{path} names {what}, and attacks aim at one: name it, for example: "
            f"unconcept attack pig=cow --edit {path}"
        )
    (concept,) = complete_as_trained(model, edit, named)
    return concept
