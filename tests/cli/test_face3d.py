"""``gptface face3d``: pictures and meshes by named shapes; bad input is one sentence and leaves nothing behind."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gptface.cli.main import main
from tests.morphable.files import flame_arrays, shared_file


def test_picture_mesh_and_turntable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import trimesh

    paths = {name: tmp_path / name for name in ("face.png", "turn.png", "face.glb")}
    words = [
        "face3d",
        "--expression",
        "mouthSmile_L=1",
        "mouthSmile_R=1",
        "--identity",
        "noseWidth=2",
        "--pose",
        "yaw=20",
    ]
    words += ["--size", "64", "--picture", str(paths["face.png"]), "--turntable", str(paths["turn.png"])]
    assert main([*words, "--output", str(paths["face.glb"])]) == 0
    assert "synthetic head" in capsys.readouterr().out
    assert Image.open(paths["face.png"]).size == (64, 64) and Image.open(paths["turn.png"]).size == (320, 64)
    mesh = trimesh.load(paths["face.glb"], force="mesh")
    assert 0.25 < mesh.extents[1] < 0.35, "metres"


def test_the_mesh_is_turned_by_the_pose(tmp_path: Path) -> None:
    import trimesh

    meshes = []
    for yaw in (0, 90):
        path = tmp_path / f"{yaw}.ply"
        assert main(["face3d", "--pose", f"yaw={yaw}", "--output", str(path)]) == 0
        meshes.append(np.asarray(trimesh.load(path, process=False).vertices))
    ahead, aside = (mesh - mesh.mean(0) for mesh in meshes)
    np.testing.assert_allclose(aside[:, 0], ahead[:, 2], atol=1e-4, err_msg="what looked ahead looks to the right")
    np.testing.assert_allclose(aside[:, 1], ahead[:, 1], atol=1e-4)


def test_expression_changes_the_picture(tmp_path: Path) -> None:
    pictures = []
    for name, words in (("a.png", []), ("b.png", ["--expression", "jawOpen=1"])):
        assert main(["face3d", "--size", "48", *words, "--picture", str(tmp_path / name)]) == 0
        pictures.append(np.asarray(Image.open(tmp_path / name)).astype(int))
    changed = np.abs(pictures[0] - pictures[1]).sum(2) > 30
    assert changed[28:].sum() > 20 and changed[:16].sum() == 0, "the lower face changes, the brow does not"


def test_without_a_wish_the_shapes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["face3d"]) == 0
    shown = capsys.readouterr().out
    assert "mouthSmile_L" in shown and "noseWidth" in shown and "skinLightness" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--expression", "mouthSmil_L=1"], "mouthSmile_L"),
        (["--expression", "jawOpen=wide"], "NAME=WEIGHT"),
        (["--expression", "jawOpen=nan"], "finite number"),
        (["--identity", "noseWidth"], "NAME=WEIGHT"),
        (["--pose", "jaw=3"], "yaw, pitch, roll"),
        (["--size", "1"], "8 to 4096"),
        (["--expression", "jawOpen=1e39"], "finite number"),
        (["--picture", "OUT/face.h5"], "picture format"),
        (["--turntable", "OUT/face.png"], "name one file"),
        (["--output", "OUT/face.stl"], ".glb"),
        (["--picture", "OUT/face.docx"], "picture format"),
        (["--model", "nobody"], "no morphable model 'nobody'"),
        (["--model", "OUT"], "no morphable model"),
        (["--model", "OUT/head.obj"], "not a morphable model"),
        (["--model", "OUT/other.npz"], "vertices"),
        (["--model", "OUT/code.pkl"], "never run"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    (tmp_path / "head.obj").write_text("v 0 0 0\n")
    arrays = flame_arrays()
    np.savez(tmp_path / "other.npz", **{**arrays, "f": np.array([[0, 1, 9999]])})
    (tmp_path / "code.pkl").write_bytes(pickle.dumps({"v_template": print}))
    before = sorted(tmp_path.iterdir())
    words = [word.replace("OUT", str(tmp_path)) for word in words]
    if "--picture" not in words:
        words += ["--picture", str(tmp_path / "face.png")]
    assert main(["face3d", *words]) == 2
    told = capsys.readouterr()
    lines = told.err.strip().splitlines()
    assert len(lines) == 1 and (sentence in lines[0] or (sentence == "vertices" and "9999" in lines[0])), told.err
    assert sorted(tmp_path.iterdir()) == before


def test_real_ict_model(tmp_path: Path) -> None:
    path = shared_file("ict-face-model-light.npz")
    picture = tmp_path / "face.png"
    words = ["--model", str(path), "--expression", "jawOpen=0.4", "mouthSmile_L=1", "--size", "64"]
    assert main(["face3d", *words, "--picture", str(picture)]) == 0
    assert np.asarray(Image.open(picture)).std() > 20
