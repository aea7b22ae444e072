"""A regression of landmarks, kept and opened again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gptface.cli.main import main
from gptface.errors import InputError
from gptface.evaluation.landmark_faces import normalised_errors, read_landmark_faces
from gptface.evaluation.landmark_model import load_landmark_model, save_landmark_model
from gptface.evaluation.landmark_regression import PatchRegressor, predict_landmarks
from gptface.systems import open_encoder
from gptface.systems.pacofr.configuration_model import PaCoFRConfig
from gptface.systems.pacofr.encoder import PaCoFREncoder
from tests.helpers.dotted_faces import write_dotted_faces
from tests.helpers.tiny_encoder import TinyEncoder


class Unsaved(TinyEncoder):
    save_pretrained = property()  # type: ignore[assignment]


def test_what_was_measured_is_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, count, first in (("train", 60, 0), ("test", 12, 1000)):
        write_dotted_faces(tmp_path / name, count, first=first)
    PaCoFREncoder(PaCoFRConfig.tiny().encoder()).save_pretrained(tmp_path / "encoder")
    arguments = ["evaluate", "landmarks", "--encoder", str(tmp_path / "encoder"), "--frozen-only", "--no-random"]
    for name in ("train", "test"):
        arguments += [f"--{name}", str(tmp_path / name), f"--{name}-landmarks", str(tmp_path / name / "points.npz")]
    kept = tmp_path / "kept"
    assert main([*arguments, "--save", str(kept)]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    regressor = load_landmark_model(kept, open_encoder(kept / "encoder"))
    faces = read_landmark_faces(
        [str(tmp_path / "test")], str(tmp_path / "test" / "points.npz"), round(regressor.size * 4 / 3 + 0.49), name="t"
    )
    error = normalised_errors(predict_landmarks(regressor, faces.images), faces.points).mean()
    assert f"NME {error:.4f}" in said
    assert np.isfinite(error) and not regressor.training


def test_what_cannot_be_kept_or_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a Unsaved cannot be saved on its own"):
        save_landmark_model(PatchRegressor(Unsaved(), 5), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    encoder = PaCoFREncoder(PaCoFRConfig.tiny().encoder())
    save_landmark_model(PatchRegressor(encoder, 5), tmp_path / "kept", faces=3)
    with pytest.raises(InputError, match="do not fit that TinyEncoder"):
        load_landmark_model(tmp_path / "kept", TinyEncoder(image_size=32))
    (tmp_path / "kept" / "landmarks.json").write_text('{"points": "many"}')
    with pytest.raises(InputError, match="holds none that can be read"):
        load_landmark_model(tmp_path / "kept", encoder)
