"""``gptface evaluate landmarks``: rows, and one sentence for what cannot be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gptface.cli.main import main
from gptface.systems.pacofr.configuration_model import PaCoFRConfig
from gptface.systems.pacofr.encoder import PaCoFREncoder
from tests.helpers.dotted_faces import write_dotted_faces


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("dotted")
    PaCoFREncoder(PaCoFRConfig.tiny().encoder()).save_pretrained(made / "encoder")
    write_dotted_faces(made / "train", 60)
    write_dotted_faces(made / "test", 12, first=1000)
    write_dotted_faces(made / "mixed", 12, first=55)
    points = np.load(made / "test" / "points.npz")
    more = np.tile(points["points"], (1, 14, 1))[:, :68]
    np.savez(made / "many.npz", key=points["key"], points=more + np.arange(68)[:, None] * np.float32(0.1))
    return made


def command(faces: Path, *more: str, test: str = "test") -> list[str]:
    return ["evaluate", "landmarks", "--encoder", str(faces / "encoder"), "--train", str(faces / "train"),
            "--train-landmarks", str(faces / "train" / "points.npz"), "--test", str(faces / test),
            "--test-landmarks", str(faces / test / "points.npz"), "--group", "person", *more]  # fmt: skip


def test_rows_of_frozen_and_fine_tuned_features(
    faces: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = tmp_path / "landmarks.md"
    arguments = ["--minutes", "0.01", "--no-random", "--best-on-test", "--table", str(table)]
    assert main(command(faces, *arguments)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" NME ")[0] for line in lines] == ["mean shape", "encoder, frozen", "encoder, fine-tuned"]
    marked = "(best look on the test faces, as FaRL reports: NME 0."
    assert [marked in line for line in lines] == [False, False, True]
    assert "best look on the test faces †" in table.read_text() and "| encoder, fine-tuned |" in table.read_text()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--portraits", "x.tar"], "portraits: give both the portraits and their landmarks"),
        (["--sheet", "x.jpg"], "sheet: x.jpg; its name must end in .png"),
        (["--epochs", "0"], "epochs: got 0.0"),
        (["--device", "tpu"], "device: got tpu"),
    ],
)
def test_bad_input_is_one_sentence(
    faces: Path, more: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "out.json"
    assert main(command(faces, *more, "--output", str(output))) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()


def test_people_on_both_sides_and_other_schemes_are_refused(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(faces, test="mixed")) == 2
    assert "group: 5 people, such as 55, are among training and test faces" in capsys.readouterr().err
    arguments = command(faces)
    arguments[arguments.index("--test-landmarks") + 1] = str(faces / "many.npz")
    assert main(arguments) == 2
    assert "68 points a face, while the training faces have 5" in capsys.readouterr().err
