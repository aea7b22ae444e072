"""What ``gptface evaluate attributes`` found, as lines and as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptface.evaluation.result_tables import markdown_table
from gptface.evaluation.shares import share_words

__all__ = ["attribute_lines", "attribute_table"]

MARKED = "best on the test faces †"


def attribute_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """``NAME mean accuracy 0.912 [0.911, 0.913] AP 0.793 n 19962``, a line a row."""
    lines = []
    for row in rows:
        low, high = row["interval"]
        spread = "" if row["deviation"] is None else f" ± {row['deviation']:.3f}"
        told = f"mean accuracy {row['mean_accuracy']:.3f}{spread} [{low:.3f}, {high:.3f}]"
        told += "" if row["average_precision"] is None else f" AP {row['average_precision']:.3f}"
        if row["best_on_test"] is not None:
            told += f" (best layer and penalty on the test faces, as FaRL chooses: {row['best_on_test']:.3f})"
        lines.append(f"{row['name']}{share_words(row['label_share'])} {told} n {row['n']}")
    return lines


def attribute_table(summary: Mapping[str, Any]) -> str:
    """A row a method and share, and every attribute of the largest share, with what was measured on what."""
    rows = summary["rows"]
    head = ["", "labels", "mean accuracy", "95 %", "mean AP", MARKED, "n"]
    totals = [
        [
            row["name"],
            f"{row['labels']} ({100 * row['label_share']:g} %)",
            f"{100 * row['mean_accuracy']:.2f}{_spread(row)}",
            f"{100 * row['interval'][0]:.2f}–{100 * row['interval'][1]:.2f}",
            _percent(row["average_precision"]),
            _percent(row["best_on_test"]),
            str(row["n"]),
        ]
        for row in rows
    ]
    rows = [row for row in rows if row["label_share"] == rows[-1]["label_share"]]  # of the most labels
    columns = ["attribute", "share", *(f"{row['name']}: {what}" for row in rows for what in ("accuracy", "AP"))]
    each = []
    for name in summary["attributes"]:
        own = [row["each"][name] for row in rows]
        figures = [_percent(one[what]) for one in own for what in ("accuracy", "average_precision")]
        each.append([name, _percent(own[0]["share"]), *figures])
    told = [f"Trained on {summary['train_paths']}: {summary['train_faces']} faces."]
    if summary["validation_paths"] is None:
        told.append("Layer and penalty chosen by a tenth of the training faces in use.")
    else:
        told.append(f"Layer and penalty chosen by {summary['validation_paths']}: {summary['validation_faces']} faces.")
    if len(rows[0]["seeds"]) > 1:
        told.append(f"Means over {len(rows[0]['seeds'])} draws of the faces in use, ± their deviation.")
    told.append(f"Tested on {summary['test_paths']}: {summary['test_faces']} faces. Percent.")
    note = (
        "† Layer and penalty chosen by the test faces, as FaRL's tables choose the epoch: an upper bound, no measure."
    )
    parts = ["# Attributes", "\n".join(f"- {line}" for line in told), markdown_table(head, totals)]
    return "\n\n".join([*parts, note, markdown_table(columns, each)]) + "\n"


def _spread(row: Mapping[str, Any]) -> str:
    return "" if row["deviation"] is None else f" ± {100 * row['deviation']:.2f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
