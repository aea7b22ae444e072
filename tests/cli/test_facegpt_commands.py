"""reconstruct, sculpt and ask, as people call them: meshes, pictures, numbers, and what bad input brings."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gptface.cli.facegpt_arguments import plain_name
from gptface.cli.main import main
from gptface.data.procedural import render_face, sample_specification
from gptface.morphable import OVERLAY_COLUMNS
from gptface.systems.facegpt import FaceGPTSystem
from gptface.systems.facegpt.system import Answer as FaceAnswer
from tests.morphable.files import flame_arrays
from tests.systems.facegpt.small_system import small_system


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system of random weights and photos."""
    root = tmp_path_factory.mktemp("facegpt")
    small_system().save(root / "system" / "model", "synthetic")
    for number in range(2):
        face = render_face(sample_specification(5, number), 64)
        Image.fromarray(face.image).save(root / f"photo{number}.png")
    Image.new("RGB", (64, 64), (90, 90, 90)).save(root / "blank.png")
    return root


def call(folder: Path, command: str, *words: str | Path) -> int:
    return main([command, *map(str, words), "--system", str(folder / "system")])


def refused(capsys: pytest.CaptureFixture[str], code: int, sentence: str) -> None:
    error = capsys.readouterr().err
    assert code == 2 and sentence in error and len(error.strip().splitlines()) == 1, error


def test_several_photos_become_meshes_a_picture_and_numbers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import trimesh

    photos = [folder / "photo0.png", folder / "photo1.png"]
    picture, numbers = tmp_path / "overlay.png", tmp_path / "faces.json"
    words = (*photos, "--unchecked", "--output", tmp_path / "meshes", "--format", "ply")
    assert call(folder, "reconstruct", *words, "--picture", picture, "--size", "48", "--parameters", numbers) == 0
    said = capsys.readouterr().out
    assert all(f"{photo}: " in said for photo in photos) and "yaw" in said and "likeness" in said
    sheet = np.asarray(Image.open(picture))
    assert sheet.shape == (2 * 48, len(OVERLAY_COLUMNS) * 48, 3)
    small = np.asarray(Image.open(photos[1]).resize((48, 48), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(sheet[48:, :48].astype(int) - small).mean() < 8, "the second row begins with the second photo"
    meshes = sorted((tmp_path / "meshes").iterdir())
    assert [path.name for path in meshes] == ["photo0.ply", "photo1.ply"]
    heads = json.loads(numbers.read_text())["heads"]
    assert [head["of"] for head in heads] == [str(photo) for photo in photos] and "jawOpen" in heads[0]["expression"]
    loaded = [trimesh.load(path, process=False) for path in meshes]
    assert not np.allclose(loaded[0].vertices, loaded[1].vertices)


def test_one_photo_gives_one_mesh_that_faces_forward_unless_posed(folder: Path, tmp_path: Path) -> None:
    import trimesh

    words = (folder / "photo0.png", "--unchecked", "--output")
    assert call(folder, "reconstruct", *words, tmp_path / "front.obj") == 0
    assert call(folder, "reconstruct", *words, tmp_path / "posed.obj", "--posed") == 0
    assert call(folder, "reconstruct", *words, tmp_path / "part.glb", "--window", "4", "4", "40") == 0
    front, posed = (trimesh.load(tmp_path / name, process=False) for name in ("front.obj", "posed.obj"))
    left, right = front.vertices[:, 0].min(), front.vertices[:, 0].max()
    assert abs(left + right) < 1, "as broad to either side"
    assert not np.allclose(front.vertices, posed.vertices, atol=0.1)


def test_a_refined_head_is_another(folder: Path, tmp_path: Path) -> None:
    heads = []
    for more in ((), ("--refine", "2")):
        words = (folder / "photo0.png", "--unchecked", "--parameters", tmp_path / "head.json", *more)
        assert call(folder, "reconstruct", *words) == 0
        heads.append(json.loads((tmp_path / "head.json").read_text())["heads"][0])
    assert heads[0] != heads[1] and heads[0].keys() == heads[1].keys()


def test_captions_become_meshes_named_after_them(folder: Path, tmp_path: Path) -> None:
    words = ("--caption", "an astonished man with a wide nose", "Hot!", "--output", tmp_path / "heads")
    assert call(folder, "sculpt", *words, "--picture", tmp_path / "heads.png", "--size", "32") == 0
    names = sorted(path.name for path in (tmp_path / "heads").iterdir())
    assert names == ["an-astonished-man-with-a-wide-nose.glb", "hot.glb"]
    assert Image.open(tmp_path / "heads.png").size == (5 * 32, 2 * 32)
    assert call(folder, "sculpt", "--caption", "a man", "--output", tmp_path / "one.obj") == 0


@pytest.mark.parametrize("pictured", [True, False])
def test_an_answer_with_a_face_is_written(
    folder: Path, tmp_path: Path, pictured: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = (folder / "photo0.png",) if pictured else ()
    results = ("--output", tmp_path / "face.glb", "--picture", tmp_path / "face.png", "--size", "32")
    words = (*photo, "What is this?", "--max-length", "8", *results)
    assert call(folder, "ask", *words, "--emission", "forbidden") == 0
    assert "no <FACE> in the answer" in capsys.readouterr().out and not list(tmp_path.iterdir())
    assert call(folder, "ask", *words, "--emission", "forced") == 0
    said = capsys.readouterr().out
    assert "<FACE>" in said.splitlines()[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face.glb", "face.png"]


def test_an_answer_with_several_faces_needs_a_folder_and_leaves_nothing_without(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = FaceGPTSystem.load(folder / "system").sculpt(["a man", "a woman"])
    monkeypatch.setattr(FaceGPTSystem, "ask", lambda *_, **__: FaceAnswer("<FACE> and <FACE>", heads))
    picture = ("--picture", tmp_path / "p.png", "--size", "32")
    refused(capsys, call(folder, "ask", "who?", "--output", tmp_path / "a.glb", *picture), "give a folder to --output")
    assert not list(tmp_path.iterdir())
    assert call(folder, "ask", "who?", "--output", tmp_path / "heads", *picture) == 0
    assert sorted(path.name for path in (tmp_path / "heads").iterdir()) == ["face-1.glb", "face-2.glb"]
    assert Image.open(tmp_path / "p.png").size == (5 * 32, 2 * 32)


def test_a_photo_unlike_its_head_is_told_how_to_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FaceGPTSystem, "likeness", lambda *_: [0.05])
    words = (folder / "photo0.png", "--picture", tmp_path / "p.png", "--size", "32")
    refused(capsys, call(folder, "reconstruct", *words), "likeness 0.05, at least 0.12 is asked for; --unchecked")
    assert not list(tmp_path.iterdir())
    assert call(folder, "ask", words[0], "Who is it?", "--max-length", "8", "--emission", "forced") == 0
    assert "than 0.12: there may be no face in the photo" in capsys.readouterr().err


def test_photos_without_a_face_leave_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (folder / "photo0.png", folder / "blank.png", "--output", tmp_path / "out", "--picture", tmp_path / "p.png")
    refused(capsys, call(folder, "reconstruct", *words), "blank.png: no face is found in this photo: it is blank")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("reconstruct", "PHOTO"), "nothing to write"),
        (("reconstruct", "PHOTO", "--output", "face.stl"), "no mesh format"),
        (("reconstruct", "PHOTO", "--output", "face.glb", "--refine", "-1"), "--refine: -1 steps"),
        (("reconstruct", "PHOTO", "PHOTO", "--output", "face.glb"), "give a folder"),
        (("reconstruct", "PHOTO", "PHOTO", "--output", "meshes"), "two meshes would have this name"),
        (("reconstruct", "PHOTO", "PHOTO", "--picture", "a.png", "--window", "0", "0", "8"), "a place in one photo"),
        (("reconstruct", "PHOTO", "--picture", "a.png", "--window", "60", "0", "8"), "do not lie inside the photo"),
        (("reconstruct", "PHOTO", "--picture", "a.xyz"), "no picture format"),
        (("sculpt", "--caption", "a man", "--picture", "a.png", "--output", "PHOTO/a.glb"), "is no folder that files"),
        (("reconstruct", "PHOTO", "--picture", "a.png", "--size", "0"), "cannot be drawn"),
        (("reconstruct", "PHOTO", "--parameters", "a.csv"), "written as .json"),
        (("reconstruct", "gone.png", "--picture", "a.png"), "there is no such file"),
        (("reconstruct", "PHOTO", "--picture", "a.png", "--device", "abacus"), "--device"),
        (("reconstruct", "PHOTO", "--picture", "a.png", "--model", "gone.npz"), "no morphable model"),
        (("sculpt", "--caption", "<FACE>", "--picture", "a.png"), "says nothing"),
        (("sculpt", "--caption", "a man", "A man!", "--output", "heads"), "two meshes would have this name"),
        (("ask", " "), "is empty"),
        (("ask", "PHOTO", "what?", "--temperature", "-1"), "temperature"),
        (("ask", "PHOTO", "what?", "--temperature", "1", "--seed", str(2**70)), "it must be from 0 to"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    words: tuple[str, ...],
    sentence: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command, *rest = (word.replace("PHOTO", str(folder / "photo0.png")) for word in words)
    refused(capsys, call(folder, command, *rest), sentence)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("head.obj", "is a single mesh, not a morphable model"),
        ("code.pkl", "never run"),
        ("basis.npz", "shapedirs"),
        ("triangle.npz", "9999"),
        ("numbers.npz", "not finite"),
        ("other.npz", "is not the morphable model that this system was trained with"),
    ],
)
def test_models_that_are_none_or_another(
    name: str, sentence: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = flame_arrays()
    (tmp_path / "head.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "code.pkl").write_bytes(pickle.dumps({"v_template": print}))
    np.savez(tmp_path / "basis.npz", **{**arrays, "shapedirs": arrays["shapedirs"][:-1]})
    np.savez(tmp_path / "triangle.npz", **{**arrays, "f": np.array([[0, 1, 9999]])})
    np.savez(tmp_path / "numbers.npz", **{**arrays, "v_template": arrays["v_template"] * np.nan})
    np.savez(tmp_path / "other.npz", **arrays)
    words = (folder / "photo0.png", "--picture", tmp_path / "a.png", "--model", tmp_path / name)
    refused(capsys, call(folder, "reconstruct", *words), sentence)
    assert not (tmp_path / "a.png").exists()


def test_a_damaged_system_is_one_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(folder / "system", tmp_path / "system")
    (tmp_path / "system" / "model" / "morphable.json").unlink()
    words = (folder / "photo0.png", "--picture", tmp_path / "a.png")
    refused(capsys, call(tmp_path, "reconstruct", *words), "which morphable model")
    (tmp_path / "system" / "model" / "config.json").unlink()
    refused(capsys, call(tmp_path, "reconstruct", *words), "holds no trained FaceGPT")


def test_names_of_files_from_captions() -> None:
    assert plain_name("An astonished man, with a WIDE nose!") == "an-astonished-man-with-a-wide-nose"
    assert plain_name("…") == "face"
    assert len(plain_name("word " * 40)) < 60 and len(plain_name("x" * 500)) == 48
    assert "/" not in plain_name("../../etc/passwd")


def test_the_demo_from_training_to_a_mesh(folder: Path, tmp_path: Path) -> None:
    """The shipped configuration, two steps of it: what training leaves is what the commands take."""
    few = ("data.count=16", "data.validation_count=0", "facegpt.steps=2", "facegpt.minutes=null")
    assert main(["train", "facegpt", "--config", "demo", "--output", str(tmp_path / "run"), "--quiet", *few]) == 0
    words = ["--system", str(tmp_path / "run"), "--output", str(tmp_path / "face.glb")]
    assert main(["sculpt", "--caption", "an astonished man", *words]) == 0
    assert (tmp_path / "face.glb").stat().st_size > 10_000
