"""Results as people put them into papers: a Markdown table that says what was measured on what, and a plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gptface.errors import InputError
from gptface.evaluation.landmark_metrics import FAILURE
from gptface.files import atomic_write

__all__ = [
    "check_result_files",
    "draw_by_name",
    "draw_error_curves",
    "draw_label_shares",
    "label_share_table",
    "landmark_table",
    "markdown_table",
    "write_label_shares",
    "write_text",
]

MARKED = "best look on the test faces †"
NOTE = (
    "† Chosen by the test faces, as FaRL's tables are: an upper bound, no measure. All other columns are of the "
    "weights that held-out training people chose."
)


def check_result_files(table: Path | None, plot: Path | None) -> None:
    """Refuse names of files that will not be written, before anything is measured.

    Raises:
        InputError: a table whose name does not end in .md, a plot whose does not in .png.
    """
    for name, path, suffix in (("table", table, ".md"), ("plot", plot, ".png")):
        if path is not None and path.suffix.lower() != suffix:
            raise InputError(f"{name}: {path}; its name must end in {suffix}")


def write_text(path: Path, text: str) -> None:
    """Write a text in one step."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first column is text, the others are set to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def label_share_table(summary: Mapping[str, Any], title: str) -> str:
    """The rows of ``gptface evaluate probe`` or ``finetune``, with what they were measured on.

    Args:
        summary: what :func:`~gptface.evaluation.measured_probe.measure_by_probe` or
            :func:`~gptface.evaluation.measured_fine_tuning.measure_fine_tuning` returns.
        title: its heading.
    """
    watched = any(row.get("best_on_test") is not None for row in summary["rows"])
    columns = ["", "labels", "accuracy", "95 %", "balanced accuracy", *([MARKED] if watched else []), "n"]
    rows = []
    for row in summary["rows"]:
        low, high = row["interval"]
        deviation = "" if row["deviation"] is None else f" ± {100 * row['deviation']:.1f}"
        best = row.get("best_on_test")
        rows.append(
            [
                row["name"],
                f"{row['labels']} ({100 * row['label_share']:g} %)",
                f"{100 * row['accuracy']:.1f}{deviation}",
                f"{100 * low:.1f}–{100 * high:.1f}",
                f"{100 * row['balanced_accuracy']:.1f}",
                *(["" if best is None else f"{100 * best:.1f}"] if watched else []),
                str(row["n"]),
            ]
        )
    told = [f"Label: {summary['label']} ({', '.join(summary['classes'])}). Percent."]
    told += [f"{name}: {summary[key]}." for name, key in _FACTS if key in summary]
    for name, recipe in summary.get("recipes", {}).items():
        bound = "" if recipe["minutes"] is None else f", at most {recipe['minutes']:g} minutes"
        told.append(f"{name}: {recipe['epochs']:g} epochs, at least {recipe['least_steps']} steps{bound}.")
    parts = [f"# {title}", "\n".join(f"- {line}" for line in told), markdown_table(columns, rows)]
    return "\n\n".join([*parts, *([NOTE] if watched else [])]) + "\n"


_FACTS = (
    *(("Encoder", "encoder"), ("Trained on", "train_paths"), ("Tested on", "test_paths")),
    *(("Training faces", "train_faces"), ("Test faces", "test_faces"), ("Test people", "test_people")),
    *(("Intervals", "interval"), ("Device", "device")),
)


def landmark_table(summary: Mapping[str, Any], title: str) -> str:
    """The rows of ``gptface evaluate landmarks`` on the test faces, with what they were measured on.

    Args:
        summary: what :func:`~gptface.evaluation.landmarks.measure_landmarks` returns.
        title: its heading.
    """
    watched = any(row.get("best_on_test") is not None for row in summary["rows"])
    boxed = any(row.get("nme_box") is not None for row in summary["rows"])
    first, second = ("diagonal of the box", "side of the box") if boxed else ("eye centres", "outer corners")
    columns = ["", f"NME, {first}", "95 %", *([MARKED] if watched else [])]
    columns += [f"NME, {second}", "NME, diagonal", f"failures at {7 if boxed else 10} %", "AUC", "n"]
    rows = []
    for row in summary["rows"]:
        if "auc" in row:
            low, high = row["interval"]
            errors = [f"{100 * row[name]:.2f}" for name in ("nme_box" if boxed else "nme_corners", "nme_diagonal")]
            rates = [f"{100 * row['failure_rate']:.1f}", f"{100 * row['auc']:.1f}"]
            interval = f"{100 * low:.2f}–{100 * high:.2f}"
            best = row.get("best_on_test")
            marked = ["" if best is None else f"{100 * best:.2f}"] if watched else []
            rows.append([row["name"], f"{100 * row['nme']:.2f}", interval, *marked, *errors, *rates, str(row["n"])])
    length = "the side of the face's box" if boxed else "the distance of the eyes' outer corners"
    told = [f"{summary['points']} points a face. Percent; failures and AUC by {length}."]
    told += [f"{name}: {summary[key]}." for name, key in _FACTS if key in summary]
    parts = [f"# {title}", "\n".join(f"- {line}" for line in told), markdown_table(columns, rows)]
    return "\n\n".join([*parts, *([NOTE] if watched else [])]) + "\n"


@contextmanager
def _axes(path: Path, inches: tuple[float, float] = (6, 4)) -> Iterator[Any]:
    """Axes to draw on, written as PNG in one step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=inches)
    try:
        yield axes
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
        figure.tight_layout()
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=130, format="png")
    finally:
        pyplot.close(figure)


def draw_label_shares(path: Path, rows: Sequence[Mapping[str, Any]], figure: str = "accuracy") -> None:
    """The ``accuracy`` of rows, called ``figure``, with its interval over the number of labels, a line a contender."""
    with _axes(path) as axes:
        for name in dict.fromkeys(row["name"] for row in rows):
            own = sorted((row for row in rows if row["name"] == name), key=lambda row: row["labels"])
            accuracy = np.array([row["accuracy"] for row in own])
            interval = np.array([row["interval"] for row in own])
            error = np.clip(np.stack([accuracy - interval[:, 0], interval[:, 1] - accuracy]), 0, None)
            labels = [row["labels"] for row in own]
            axes.errorbar(labels, accuracy, error, marker="o", markersize=3, capsize=2, linewidth=1, label=name)
        axes.set_xscale("log")
        axes.set_xlabel("labels")
        axes.set_ylabel(f"{figure}, with its 95 % interval")


def draw_error_curves(
    path: Path,
    errors: Mapping[str, np.ndarray],
    most: float = FAILURE,
    length: str = "the distance of the eyes' outer corners",
) -> None:
    """Share of faces whose normalised error is at most so large, up to ``most``, a curve a method."""
    with _axes(path) as axes:
        for name, values in errors.items():
            ordered = np.sort(values)
            shares = np.arange(len(ordered) + 1) / len(ordered)
            axes.step([0, *ordered], shares, where="post", linewidth=1, label=name)
        axes.set_xlim(0, most)
        axes.set_ylim(0, 1)
        axes.set_xlabel(f"error, by {length}")
        axes.set_ylabel("share of faces")


def draw_by_name(path: Path, figures: Mapping[str, Mapping[str, float]], title: str) -> None:
    """A figure of each thing, such as an attribute's accuracy: a line of dots a method, in the order of the first."""
    names = list(next(iter(figures.values())))
    with _axes(path, (7, 1.5 + 0.18 * len(names))) as axes:
        for method, values in figures.items():
            axes.plot([values.get(name, np.nan) for name in names], range(len(names)), "o", markersize=3, label=method)
        axes.set_yticks(range(len(names)), names, fontsize=6)
        axes.invert_yaxis()
        axes.set_xlabel(title)


def write_label_shares(summary: Mapping[str, Any], title: str, table: Path | None, plot: Path | None) -> None:
    """What was asked for of table and plot of ``gptface evaluate probe`` or ``finetune``."""
    if table is not None:
        write_text(table, label_share_table(summary, title))
    if plot is not None:
        draw_label_shares(plot, summary["rows"])
