"""The page of attacks."""

import statistics

from .rows import Page, Row, cell, file_name, pool, read_results, score_row, table, with_share

ROBUST_CASES = ("pig=cow", "castle=house", "guitar=violin")
ROBUST = {
    "untouched model": "untouched model",
    "All but One": "All but One",
    "All but One, adversary 4": "All but One, `adversary: 4`",
    "All but One, paraphrases .5": "All but One, `paraphrase: 0.5`",
    "All but One, told no synonym": "All but One, no synonyms in training",
    "All but One, told no synonym, paraphrases .5": "All but One, no synonyms, `paraphrase: 0.5`",
    "SAE": "SAE",
    "SAE, told no synonym": "SAE, no synonyms in training",
    "UCE": "UCE",
    "ESD": "ESD",
    "Receler": "Receler",
}
ATTACKS = {
    "as asked": "its own prompts",
    "random states": "random states",
    "learnt states": "learned states",
}
KEPT = {
    "synonym prompts": ("concept", "synonym"),
    "neighbours right": ("right", "neighbour"),
    "unrelated right": ("right", "unrelated"),
}


def robustness() -> Page:
    rows, summary = [], []
    for kept_name, name in ROBUST.items():
        results = [
            next(read_results("robustness", f"{file_name(f'{kept_name} {case}')}-*.json"))[1]
            for case in ROBUST_CASES
        ]
        shown = []
        for kept_attack, attack in ATTACKS.items():
            own = []
            for case, result in zip(ROBUST_CASES, results, strict=True):
                row = Row(case, name, "concept", attack)
                own.append(with_share(row, result["attack"][kept_attack], "value"))
            shown.append(pool(own, "all concepts", name))
            rows += [*own, shown[-1]]
        for measure in KEPT.values():
            own = []
            for case, result in zip(ROBUST_CASES, results, strict=True):
                own += [
                    score_row(case, name, score)
                    for score in result["scores"]
                    if (score["name"], score["group"]) == measure
                ]
            shown.append(pool(own, "all concepts", name))
            rows += [*own, shown[-1]]
        calls = statistics.mean(result["network_calls"] for result in results)
        rows.append(Row("all concepts", name, "network calls", after=round(calls, 1)))
        summary.append([name, *map(cell, shown), f"{calls:,.0f}"])
    columns = [
        "method",
        *(f"concept, {attack}" for attack in ATTACKS.values()),
        *KEPT,
        "network calls",
    ]
    return Page(rows, {"summary": table(columns, summary)})
