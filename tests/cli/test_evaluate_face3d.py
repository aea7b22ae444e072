"""``gptface evaluate face3d-…``: rows, JSON and sheets of a tiny random system, and one sentence for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptface.cli.main import main
from gptface.systems.facegpt import FaceGPTSystem
from gptface.systems.facegpt.data.general_questions import general_questions
from gptface.systems.facegpt.data.instructions import Instruction, write_instructions
from tests.systems.facegpt.evaluation.drawn_photos import write_drawn_photos
from tests.systems.facegpt.small_parts import small_model
from tests.systems.facegpt.small_system import small_system


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("face3d")
    system = small_system()
    system.save(folder / "faces" / "model", "synthetic")
    mute = small_model(system.tokens, face_size=system.layout.size, language=False)
    FaceGPTSystem(mute, system.tokens, system.morphable).save(folder / "mute" / "model", "synthetic")
    write_drawn_photos(folder / "train", system.morphable, 6)
    write_drawn_photos(folder / "test", system.morphable, 3, first=100)
    write_instructions(folder / "general.json", [Instruction(one) for one in general_questions(4)])
    return folder


def run(made: Path, subject: str, *more: str, system: str = "faces") -> tuple[int, Path]:
    output = made / f"{subject}.json"
    names = [str(made / name) for name in system.split(",")]
    return main(["evaluate", f"face3d-{subject}", "--system", *names, "--output", str(output), *more]), output


def summary(made: Path, subject: str, *more: str, system: str = "faces") -> dict:
    code, output = run(made, subject, *more, system=system)
    assert code == 0
    return json.loads(output.read_text())


PHOTOS = ("train", "test")


def photo_options(made: Path) -> list[str]:
    options = []
    for which in PHOTOS:
        options += [f"--{which}", str(made / which), f"--{which}-landmarks", str(made / which / "points.npz")]
    return [*options, "--group", "person"]


def test_known_truth_has_a_row_for_every_system(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = made / "truth.png"
    found = summary(made, "truth", "--count", "2", "--sheet", str(sheet), system="faces,mute")
    assert [row["name"] for row in found["rows"]] == ["mean face", "faces", "mute", "fitting to landmarks, 200 steps"]
    assert found["seed"] == 7_000_001 and sheet.stat().st_size > 10_000
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_sentences_stand_beside_frozen_encoders(made: Path) -> None:
    options = ["--count", "5", "--baseline-sentences", "8", "--baseline-steps", "2", "--sheet", str(made / "text.png")]
    found = summary(made, "text", *options)
    names = {row["name"] for row in found["rows"]}
    assert names == {"faces, free", "faces, forced", "random text encoder + MLP", "the system's own states + MLP"}
    assert (made / "text.png").stat().st_size > 10_000
    code, _ = run(made, "text", *options, system="mute")
    assert code == 2


def test_emission_and_general_losses(made: Path) -> None:
    options = ["--count", "3", "--instructions", str(made / "general.json"), "--without-faces", str(made / "faces")]
    found = summary(made, "emission", *options, "--photos", str(made / "test"))
    counted = {(row["wanted"], row["kind"]): row["emitted"]["n"] for row in found["rows"]}
    assert counted[False, "instruction"] == 3 and counted[True, "all"] + counted[False, "all"] == 12
    assert found["general"][0]["ratio"]["value"] == pytest.approx(1)


def test_photos_consistency_and_probe(made: Path) -> None:
    options = [*photo_options(made), "--label", "expression", "--classes", "neutral,happiness", "--count", "2"]
    found = summary(made, "photos", *options, system="mute")
    assert found["photos"] == 2 and len(found["rows"]) == 4
    assert [row["name"] for row in found["consistency"]] == [row["name"] for row in found["probe"]] == ["mute"]


def test_portrait_pairs(made: Path) -> None:
    found = summary(made, "studio", "--portraits", str(made / "test"), "--sheet", str(made / "studio.png"))
    assert found["people"] == 3 and 0 <= found["rows"][1]["identity"]["value"] <= 1
    assert (made / "studio.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("subject", "options", "sentence"),
    [
        ("truth", ["--count", "1"], "count: 1 faces"),
        ("truth", ["--seed", "0"], "seed: 0 is also that of the other faces"),
        ("truth", ["--sheet", "truth.jpg"], "sheet: truth.jpg; its name must end in .png"),
        ("truth", ["--model", "anybody.npz"], "anybody.npz"),
        ("truth", ["--device", "tpu"], "device: got tpu"),
        ("text", ["--text-encoder", "nowhere"], "text encoder: nowhere is no folder"),
        ("text", ["--baseline-steps", "0"], "0 steps"),
        ("emission", ["--without-faces", "x"], "without faces: general questions are needed"),
        ("emission", ["--trained-instructions", "{}/general.json"], "every question of"),
        ("emission", ["--instructions", "nowhere.json"], "nowhere.json: there is no such file"),
        ("studio", ["--portraits", "x.tar", "--portrait-landmarks", "x.npz"], "portraits: to cut them like photos"),
    ],
)
def test_bad_input_is_one_sentence(
    made: Path, subject: str, options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (made / f"{subject}.json").unlink(missing_ok=True)
    if "--trained-instructions" in options:
        options = ["--instructions", str(made / "general.json"), options[0], options[1].format(made)]
    code, output = run(made, subject, *options)
    assert code == 2 and sentence in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()


def test_probe_needs_field_and_classes(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = run(made, "photos", *photo_options(made), "--label", "expression")
    assert code == 2 and "--label and --classes" in capsys.readouterr().err


def test_refined_heads_have_a_row_beside(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = summary(made, "truth", "--count", "2", "--no-fitting", "--refine", "2")
    assert [row["name"] for row in found["rows"]] == ["mean face", "faces", "faces, refined"]
    plain, refined = found["rows"][1:]
    assert refined["photometric_error"]["value"] != plain["photometric_error"]["value"]
    rows = summary(made, "photos", *photo_options(made), "--count", "2", "--refine", "2")["rows"]
    assert [row["name"] for row in rows][-2:] == ["faces", "faces, refined"]
    capsys.readouterr()
    for subject, options in (("truth", []), ("photos", photo_options(made))):
        assert run(made, subject, *options, "--refine", "-1")[0] == 2
        assert "refine: -1 steps" in capsys.readouterr().err
