"""The page of purified images."""

import shutil

from .rows import PAGES, RESULTS, Page, Row, file_name, read_results, table, with_share

PURIFIED = ("All but One", "ESD", "SDD")
SHEET = "castle=house-1.0-3.0.webp"


def purification() -> Page:
    rows, summary = [], []
    for case in ("pig=cow", "castle=house"):
        for name in PURIFIED:
            _, results = next(read_results(f"purification/{file_name(name)}", f"{case}-*.json"))
            for result in results:
                strength, guidance = result["settings"].values()
                stages = (
                    {"purified": name}
                    if name != PURIFIED[0]
                    else {"control": "none (control)", "purified": name}
                )
                for stage, edit in stages.items():
                    setting = f"{edit}, strength {strength}, guidance {guidance}"
                    marks = result["marks"][stage]
                    for mark, share in marks.items():
                        rows.append(with_share(Row(case, setting, mark, stage), share, "value"))
                    psnr = result["control_psnr"] if stage == "control" else result["changed_psnr"]
                    against = (
                        "PSNR to the real image, dB"
                        if stage == "control"
                        else "PSNR to the control, dB"
                    )
                    rows.append(with_share(Row(case, setting, against, stage), psnr, "after"))
                    if (strength, guidance) == (1.0, 3.0):
                        shares = [
                            f"{100 * marks[mark]['value']:.1f} %"
                            for mark in ("concept", "alternative", "background", "other")
                        ]
                        summary.append([case, edit, *shares])
    for name in PURIFIED:
        sheet = RESULTS / "purification" / file_name(name) / SHEET
        if sheet.exists():
            shutil.copy(sheet, PAGES / f"purification-{file_name(name).lower()}.webp")
    columns = ["case", "edit", "concept", "alternative", "background", "other object"]
    return Page(rows, {"summary": table(columns, summary)})
