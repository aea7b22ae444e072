"""One picture a subject: time over that of this package, against size; one line a peer, one panel a family of cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gptface.files import atomic_write

__all__ = ["draw_plots"]

LINES = 8  # the fastest so many contenders of a panel; more cannot be told apart


def draw_plots(result: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    """Write ``<subject>.png`` beside the JSON; nothing where no contender but the baseline was timed."""
    panels = _panels(result)
    if not panels:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(4.6 * columns, 3.6 * rows), squeeze=False)
    flat = list(axes.flat)
    for axis, (family, lines) in zip(flat, panels.items(), strict=False):
        best = sorted(lines.items(), key=lambda entry: min(point[1] for point in entry[1]))[:LINES]
        for name, points in best:
            points = sorted(points)
            xs, middle, low, high = zip(*points, strict=True)
            line = axis.plot(xs, middle, marker="o", markersize=3, linewidth=1.2, label=name)[0]
            axis.fill_between(xs, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_title(family, fontsize=9)
        axis.set_xlabel(result["size_label"], fontsize=8)
        axis.set_ylabel(f"time / time of {result['baseline']}", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize=6)
    for axis in flat[len(panels) :]:
        axis.set_visible(False)
    where = result["machine"]["gpu"]["name"] if result["machine"]["gpu"] else result["machine"]["processor"]
    figure.suptitle(f"{result['title']}: {where}, {result['date']}", fontsize=10)
    figure.tight_layout()
    path = folder / f"{result['subject']}.png"
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png", metadata={"Software": None})
    pyplot.close(figure)
    yield path


def _panels(result: Mapping[str, Any]) -> dict[str, dict[str, list[tuple[float, float, float, float]]]]:
    """Family of cases -> contender -> points (size, median, low, high)."""
    field = "fresh_ratio" if result["has_masks"] else "ratio"
    panels: dict[str, dict[str, list[tuple[float, float, float, float]]]] = {}
    for case in result["cases"]:
        family = _family(case)
        for row in case["rows"]:
            ratio = row[field]
            if ratio is None or row["contender"] == result["baseline"]:
                continue
            point = (case["size"], ratio["median"], ratio["low"], ratio["high"])
            panels.setdefault(family, {}).setdefault(row["contender"], []).append(point)
    return panels


def _family(case: Mapping[str, Any]) -> str:
    """Cases that differ in size alone share a panel: the name without the settings that hold numbers."""
    words = [part for part in case["name"].split(", ") if not any(character.isdigit() for character in part)]
    settings = case["settings"]
    kept = [str(settings[name]) for name in ("dtype",) if name in settings and str(settings[name]) not in words]
    return ", ".join(words + kept) or case["name"]
