"""The report's faces in 3D: a picture and a mesh of each, and errors that would be 0 for the true head."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptface.evaluation.page import Page
from gptface.systems.facegpt import showcase
from tests.systems.facegpt.small_system import small_system


def test_pictures_meshes_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showcase, "MEASURED", 4)
    monkeypatch.setattr(showcase, "PHOTO_SIDE", 48)
    page = Page("test")
    numbers = showcase.faces_in_3d(small_system(), page, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    meshes = [f"{kind}-{number}.glb" for kind in ("photo", "sentence") for number in (1, 2, 3)]
    assert names == sorted([*meshes, "photos-to-faces.png", "photos-turned.png", "sentences-to-faces.png"])
    text = page.write(tmp_path / "page.html").read_text()
    assert text.count("<img") == 3 and all(sentence in text for sentence in showcase.SENTENCES)
    # The mean face lies in the middle of the picture: a share of the eyes' distance off, not several.
    assert 0.05 < numbers["landmark_error_mean_face"] < 1 and numbers["landmark_error"] > 0
    assert numbers["faces"] == 4
