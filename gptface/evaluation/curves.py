"""Loss curves from a training run's ``metrics.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gptface.errors import InputError
from gptface.files import atomic_write

__all__ = ["draw_curves", "read_metrics"]


def read_metrics(path: Path) -> dict[str, np.ndarray]:
    """Columns of a ``metrics.jsonl``: name -> values, NaN where a line lacks the name.

    A last line that a killed run left half-written is passed over; any other broken line is an error.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such metrics file; a training run writes it beside its result")
    lines = path.read_text(encoding="utf-8").splitlines()
    records = []
    for number, line in enumerate(lines):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            if number + 1 < len(lines):
                raise InputError(f"{path}: line {number + 1} is not JSON") from None
    names = {name for record in records for name, value in record.items() if isinstance(value, (int, float))}
    return {name: np.array([record.get(name, np.nan) for record in records], dtype=float) for name in sorted(names)}


def draw_curves(path: Path, metrics: Mapping[str, np.ndarray], names: Sequence[str], title: str) -> Path:
    """One panel a name over the step, raw values pale and their running median on top; absent names are left out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [name for name in names if name in metrics and np.isfinite(metrics[name]).any()]
    figure, axes = pyplot.subplots(1, max(1, len(shown)), figsize=(3.2 * max(1, len(shown)), 2.6), squeeze=False)
    for axis, name in zip(axes[0], shown, strict=False):
        keep = np.isfinite(metrics[name])
        steps, values = metrics["step"][keep], metrics[name][keep]
        axis.plot(steps, values, color="0.8", linewidth=0.8)
        width = max(1, len(values) // 20)
        smooth = [np.median(values[max(0, i - width) : i + width + 1]) for i in range(len(values))]
        axis.plot(steps, smooth, color="tab:blue", linewidth=1.4)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)
    return path
