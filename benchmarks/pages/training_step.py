"""The page of the cost of a training step."""

from .rows import Page, Row, read_results, table


def training_step() -> Page:
    rows, summary = [], []
    for name in ("bare", "ours", "esd"):
        _, result = next(read_results("memory", f"{name}-32.json"))
        rows.append(
            Row(
                "latents 32 x 32",
                name,
                "seconds per step, median",
                after=round(result["seconds"], 3),
            )
        )
        rows.append(
            Row("latents 32 x 32", name, "peak memory, GiB", after=round(result["peak"] / 2**30, 3))
        )
        summary.append([name, f"{result['seconds']:.2f}", f"{result['peak'] / 2**30:.2f}"])
    return Page(
        rows,
        {
            "summary": table(
                ["", "seconds per step (median, first excluded)", "peak memory, GiB"], summary
            )
        },
    )
