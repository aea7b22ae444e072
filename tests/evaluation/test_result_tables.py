"""Results as Markdown and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gptface.errors import InputError
from gptface.evaluation.result_tables import (
    check_result_files,
    draw_error_curves,
    draw_label_shares,
    label_share_table,
    landmark_table,
    markdown_table,
)


def row(name: str, share: float, **more: Any) -> dict[str, Any]:
    figures = {"accuracy": 0.9, "interval": [0.85, 0.93], "deviation": None, "balanced_accuracy": 0.88, "n": 50}
    return {"name": name, "label_share": share, "labels": round(200 * share), **figures, **more}


def test_a_table_says_what_was_measured_on_what() -> None:
    recipe = {"epochs": 10, "least_steps": 200, "minutes": None}
    summary = {
        "label": "expression",
        "classes": ["neutral", "happiness"],
        "train_paths": "faces/train-*.tar",
        "train_faces": 200,
        "rows": [row("encoder|fine-tuned", 0.01, deviation=0.021), row("network", 1.0)],
        "recipes": {"encoder fine-tuned": recipe},
    }
    lines = label_share_table(summary, "Fine-tuning").splitlines()
    assert lines[0] == "# Fine-tuning"
    assert "- Trained on: faces/train-*.tar." in lines and "- Training faces: 200." in lines
    assert "- encoder fine-tuned: 10 epochs, at least 200 steps." in lines
    assert "|  | labels | accuracy | 95 % | balanced accuracy | n |" in lines
    assert r"| encoder\|fine-tuned | 2 (1 %) | 90.0 ± 2.1 | 85.0–93.0 | 88.0 | 50 |" in lines
    assert lines[-1] == "| network | 200 (100 %) | 90.0 | 85.0–93.0 | 88.0 | 50 |"


def test_what_the_test_faces_chose_is_a_marked_column() -> None:
    summary = {"label": "mood", "classes": ["a", "b"], "rows": [row("x", 1.0, best_on_test=0.93), row("y", 1.0)]}
    text = label_share_table(summary, "Mood")
    assert "| balanced accuracy | best look on the test faces † | n |" in text
    assert "| 88.0 | 93.0 | 50 |" in text and "| 88.0 |  | 50 |" in text
    assert text.endswith("that held-out training people chose.\n")


def test_landmarks_of_the_test_faces() -> None:
    figures = {"nme": 0.0412, "interval": [0.04, 0.0425], "n": 7}
    published = {"nme_corners": 0.03, "nme_diagonal": 0.0123, "failure_rate": 0.25, "auc": 0.6}
    rows = [{"name": "encoder", **figures, **published}, {"name": "encoder, pupils", **figures}]
    lines = landmark_table({"points": 68, "rows": rows}, "Landmarks").splitlines()
    assert lines[-1] == "| encoder | 4.12 | 4.00–4.25 | 3.00 | 1.23 | 25.0 | 60.0 | 7 |"
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"


def test_plots_are_pictures(tmp_path: Path) -> None:
    draw_label_shares(tmp_path / "shares.png", [row("x", 0.1), row("x", 1.0), row("y", 1.0)])
    draw_error_curves(tmp_path / "errors.png", {"encoder": np.array([0.01, 0.04, 0.3])})
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert picture.size == (780, 520)
            assert len(np.unique(np.array(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_names_of_files_are_checked_first() -> None:
    check_result_files(Path("a.md"), Path("a.PNG"))
    with pytest.raises(InputError, match=r"table: a\.txt; its name must end in \.md"):
        check_result_files(Path("a.txt"), None)
    with pytest.raises(InputError, match=r"plot: a\.svg; its name must end in \.png"):
        check_result_files(None, Path("a.svg"))
