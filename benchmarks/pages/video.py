"""The page of erasures from `emoji-video`."""

from unconcept.evaluation.clip_benchmark import FLICKER, SHARE_OF_FRAMES

from .rows import PIXELS, Page, Row, cell, find_row, number, read_results, score_row, table

LABELS = {
    "all-but-one": "All but One",
    "image-edit": "All but One's edit of `emoji`",
    "uce": "UCE",
    "speed": "SPEED",
    "negative-prompt": "negative prompt",
    "esd": "ESD, 60 steps",
    "t2v-unlearning": "T2VUnlearning, 60 steps",
}
SHARES = {
    "concept in any frame": ("concept", "target"),
    "synonyms: in any frame": ("concept", "synonym"),
    "alternative": ("alternative", "target"),
    "neighbours right": ("right", "neighbour"),
    "unrelated right": ("right", "unrelated"),
    "motion kept": ("motion", "unrelated"),
}
MEANS = {
    "concept, share of frames": ("concept" + SHARE_OF_FRAMES, "target"),
    "unrelated moved": (PIXELS, "unrelated"),
    "flicker, unrelated": (FLICKER, "unrelated"),
}


def video() -> Page:
    """One table: methods on each concept."""
    rows: list[Row] = []
    lines: list[list[str]] = []
    results = [result for _, result in read_results("clips")]
    for case in dict.fromkeys(result["concept"] for result in results):
        own = {result["method"]: result for result in results if result["concept"] == case}
        for place, name in enumerate(name for name in LABELS if name in own):
            result = own[name]
            scores = [score_row(case, LABELS[name], score) for score in result["scores"]]
            cost = Row(case, LABELS[name], "CPU seconds", after=result["cpu_seconds"])
            rows += [*scores, cost]
            if place == 0:
                lines.append([case, "untouched model", *befores(scores), "–"])
            lines.append([case, LABELS[name], *afters(scores), f"{result['cpu_seconds']:.0f}"])
    columns = ["erased", "method", *SHARES, *MEANS, "CPU seconds"]
    return Page(rows, {"summary": table(columns, lines)})


def befores(scores: list[Row]) -> list[str]:
    """The clips of the untouched model."""
    cells = []
    for measure, group in (*SHARES.values(), *MEANS.values()):
        row = find_row(scores, measure, group)
        cells.append(number(row.before, measure) if row else "–")
    return cells


def afters(scores: list[Row]) -> list[str]:
    """The clips of the same prompts and seeds after erasing."""
    cells = [cell(find_row(scores, *measure), interval=True) for measure in SHARES.values()]
    return cells + [cell(find_row(scores, *measure)) for measure in MEANS.values()]
