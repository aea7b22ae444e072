"""Meshes and pictures: what is written is read back by other programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import (
    FaceParameters,
    MorphableModel,
    check_picture_path,
    contact_sheet,
    named_parameters,
    named_weights,
    portrait,
    turntable,
    write_mesh,
    write_picture,
)
from tests.morphable.files import ball


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    points, triangles = ball(6, 10)
    count = len(points)
    vertices = torch.tensor(np.concatenate((points * 8, [[99.0, 99.0, 99.0]])), dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    return MorphableModel(
        vertices,
        torch.tensor(triangles),
        expression_basis=torch.cat((torch.randn(2, count, 3, generator=generator), torch.zeros(2, 1, 3)), 1),
        expression_names=["jawOpen", "mouthSmile_L"],
        albedo_mean=torch.rand(count + 1, 3, generator=generator),
    )


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb", ".GLB"])
def test_mesh_comes_back_with_colours(tmp_path: Path, model: MorphableModel, suffix: str) -> None:
    import trimesh

    path = tmp_path / f"face{suffix}"
    write_mesh(path, model.mean, model.triangles, model.albedo_mean)
    options = {"skip_materials": True} if suffix.lower() == ".glb" else {}  # with them trimesh files colours elsewhere
    read = trimesh.load(path, force="mesh", process=False, **options)
    used = model.mean[:-1].numpy() * (0.01 if suffix.lower() == ".glb" else 1.0)
    assert read.vertices.shape == used.shape, "the vertex that no triangle uses is left out"
    np.testing.assert_allclose(read.vertices, used, atol=1e-4)
    assert np.array_equal(np.asarray(read.faces), model.triangles.numpy())
    shown = model.albedo_mean[:-1].numpy()
    if suffix.lower() != ".glb":
        shown = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    assert np.abs(np.asarray(read.visual.vertex_colors)[:, :3] / 255 - shown).max() < 0.01


def test_bad_meshes_leave_nothing_behind(tmp_path: Path, model: MorphableModel) -> None:
    broken = model.mean.clone()
    broken[0, 0] = float("nan")
    for path, vertices, triangles, sentence in (
        (tmp_path / "face.stl", model.mean, model.triangles, r"\.obj, \.ply, \.glb"),
        (tmp_path / "face.obj", broken, model.triangles, "not finite"),
        (tmp_path / "face.ply", model.mean[:3], model.triangles, "0 to 2"),
    ):
        with pytest.raises(InputError, match=sentence):
            write_mesh(path, vertices, triangles)
    unknown = torch.full_like(model.mean, float("nan"))
    for triangles, albedo, sentence in (
        (model.triangles[:0], None, "triangles holds none"),
        (model.triangles, torch.ones(5, 3), r"albedo has the shape \(5, 3\)"),  # was left out in silence
        (model.triangles, unknown, "albedo holds values that are not finite"),
    ):
        with pytest.raises(InputError, match=sentence):
            write_mesh(str(tmp_path / "face.glb"), model.mean, triangles, albedo)
    assert not list(tmp_path.iterdir())


def test_a_glb_is_matt_and_smooth_in_viewers(tmp_path: Path, model: MorphableModel) -> None:
    """Without a material a viewer shows metal, which is nearly black; without normals it shows facets."""
    write_mesh(tmp_path / "face.glb", model.mean, model.triangles, model.albedo_mean)
    content = (tmp_path / "face.glb").read_bytes()
    tree = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    (surface,) = tree["meshes"][0]["primitives"]
    assert {"POSITION", "NORMAL", "COLOR_0"} <= set(surface["attributes"])
    assert tree["materials"][surface["material"]]["pbrMetallicRoughness"]["metallicFactor"] == 0


def test_portrait_shows_a_head_before_a_plain_ground(model: MorphableModel) -> None:
    picture = portrait(model, FaceParameters.neutral(model), 48)
    assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8
    assert len(np.unique(picture[0].reshape(-1, 3), axis=0)) == 1
    assert not np.array_equal(picture[24, 24], picture[0, 0])


def test_turntable_turns(model: MorphableModel) -> None:
    strip = turntable(model, FaceParameters.neutral(model), 32, yaws=(-40, 0, 40))
    assert strip.shape == (32, 96, 3)
    assert not np.array_equal(strip[:, :32], strip[:, 64:])
    np.testing.assert_array_equal(strip[:, 32:64], portrait(model, FaceParameters.neutral(model), 32))


def test_contact_sheet_has_a_cell_a_shape(model: MorphableModel) -> None:
    sheet = contact_sheet(model, size=32, columns=2)
    assert sheet.shape == (2 * 45, 64, 3)
    assert not np.array_equal(sheet[:32, :32], sheet[:32, 32:])
    with pytest.raises(InputError, match="no identity shapes"):
        contact_sheet(model, kind="identity")


def test_picture_is_written_by_suffix(tmp_path: Path) -> None:
    from PIL import Image

    picture = np.zeros((4, 5, 3), dtype=np.uint8)
    write_picture(tmp_path / "a.png", picture)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)
    with pytest.raises(InputError, match="picture format"):
        write_picture(tmp_path / "a.glb", picture)


@pytest.mark.parametrize("size", [0, 7, 5000])
def test_size_out_of_range(model: MorphableModel, size: int) -> None:
    with pytest.raises(InputError, match="8 to 4096"):
        portrait(model, FaceParameters.neutral(model), size)


def test_an_empty_picture_is_refused(model: MorphableModel) -> None:
    away = FaceParameters.neutral(model).replace(translation=torch.tensor([[500.0, 0.0, -60.0]]))
    with pytest.raises(InputError, match=r"nothing of .* is in the picture"):
        portrait(model, away, 32)


def test_sheets_and_turntables_of_nothing_are_refused(model: MorphableModel) -> None:
    with pytest.raises(InputError, match="kind 'mouth' is unknown"):
        contact_sheet(model, kind="mouth")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="columns=0"):
        contact_sheet(model, columns=0)
    with pytest.raises(InputError, match="yaws names no angle"):
        turntable(model, FaceParameters.neutral(model), 32, yaws=())


@pytest.mark.parametrize("name", ["face.h5", "face.wmf", "face.stl", "face"])
def test_formats_that_can_only_be_read_are_refused_at_once(name: str) -> None:
    with pytest.raises(InputError, match="no picture format that can be written"):
        check_picture_path(name)


def test_a_picture_too_wide_for_its_format_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written in this format"):
        write_picture(tmp_path / "strip.webp", np.zeros((8, 20000, 3), dtype=np.uint8))
    assert not list(tmp_path.iterdir())


def test_named_parameters(model: MorphableModel) -> None:
    parameters = named_parameters(model, expression={"jawOpen": 0.5}, pose={"yaw": 20.0})
    assert parameters.expression.tolist() == [[0.5, 0.0]]
    with pytest.raises(InputError, match="yaw, pitch, roll"):
        named_parameters(model, pose={"jaw": 1.0})
    for angle in (float("nan"), "far", True):
        with pytest.raises(InputError, match="no angle"):
            named_parameters(model, pose={"yaw": angle})  # type: ignore[dict-item]


def test_importing_the_room_pulls_in_no_extra() -> None:
    heavy = ["scipy", "trimesh", "h5py", "PIL", "transformers", "anny"]
    code = (
        "import sys, torch; before = set(sys.modules); import gptface.morphable; "
        f"print(sorted({{name.split('.')[0] for name in set(sys.modules) - before}} & set({heavy!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_words_of_weights() -> None:
    assert named_weights("--expression", ["jawOpen=0.5", "a=-1e-1"]) == {"jawOpen": 0.5, "a": -0.1}
    for word in ("jawOpen", "jawOpen=", "=1", "jawOpen=much", "jawOpen=nan", "jawOpen=inf"):
        with pytest.raises(InputError, match="NAME=WEIGHT"):
            named_weights("--expression", [word])
    with pytest.raises(InputError, match="twice"):
        named_weights("--expression", ["a=1", "a=2"])
