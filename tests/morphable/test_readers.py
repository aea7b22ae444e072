"""Readers of all layouts, on small files written here and on the real sample."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import load_morphable_model
from gptface.morphable.basel import read_basel_2009, read_basel_h5
from gptface.morphable.flame import read_flame_npz, read_flame_pickle
from gptface.morphable.geometry import facing_outward
from gptface.morphable.ict import read_ict_folder, read_ict_npz
from tests.morphable.files import (
    ball,
    basel_2009,
    flame_arrays,
    shared_file,
    write_basel_h5,
    write_flame_pickle,
    write_obj,
)


def outward(vertices: torch.Tensor, triangles: torch.Tensor) -> float:
    corner = vertices[triangles.long()]
    areas = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    return float((areas * corner.mean(1)).sum())


@pytest.fixture
def ict_folder(tmp_path: Path) -> Path:
    points, _ = ball(3, 6)
    random = np.random.default_rng(0)
    faces = [[0, 1, 2], [1, 7, 8, 2]]
    for name in ("generic_neutral_mesh", "identity000", "identity001", "jawOpen"):
        moved = points if name.startswith("generic") else points + 0.1 * random.normal(size=points.shape)
        write_obj(tmp_path / f"{name}.obj", moved, faces)
    (tmp_path / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": [3, 4, 5]}))
    return tmp_path


def test_ict_folder(ict_folder: Path) -> None:
    model = read_ict_folder(ict_folder)
    assert model.identity_names == ("identity000", "identity001") and model.expression_names == ("jawOpen",)
    assert model.triangles.tolist() == [[0, 1, 2], [1, 7, 8], [1, 8, 2]], "quadrilaterals become two triangles"
    assert model.landmark_vertices[:, 0].tolist() == [3, 4, 5]
    assert model.expression_kind == "blendshape"
    moved = model(None, model.weights("expression", {"jawOpen": 1.0}))[0]
    written = [line.split()[1:4] for line in (ict_folder / "jawOpen.obj").read_text().splitlines() if line[:2] == "v "]
    torch.testing.assert_close(moved, torch.tensor(np.array(written, dtype=np.float32)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("identity002.obj", "v 0 0 0\nv 1 1 1\n", "2 vertices"),
        ("jawLeft.obj", "nothing\n", "no vertices"),
        ("jawLeft.obj", "v 0 zero 0\n", "line 1"),
        ("jawLeft.obj", "v 0 0\n", "line 1"),
        ("generic_neutral_mesh.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "1 to 3"),
        ("generic_neutral_mesh.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no faces"),
        ("vertex_indices.json", "{}", "idx_to_landmark_verts"),
        ("vertex_indices.json", '{"idx_to_landmark_verts": [99]}', "99"),
    ],
)
def test_broken_ict_folder_is_told_in_one_sentence(ict_folder: Path, name: str, text: str, sentence: str) -> None:
    (ict_folder / name).write_text(text)
    with pytest.raises(InputError, match=sentence) as told:
        read_ict_folder(ict_folder)
    assert "\n" not in str(told.value)


def test_two_meshes_of_one_identity_are_refused(ict_folder: Path) -> None:
    (ict_folder / "identity1.obj").write_bytes((ict_folder / "identity001.obj").read_bytes())
    with pytest.raises(InputError, match=r"identity1\.obj is identity 1 once more"):
        read_ict_folder(ict_folder)


def test_folder_without_shapes_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no morphable model"):
        load_morphable_model(tmp_path)
    points, _ = ball(3, 6)
    write_obj(tmp_path / "generic_neutral_mesh.obj", points, [[0, 1, 2]])
    with pytest.raises(InputError, match="alone"):
        load_morphable_model(tmp_path)


def ict_arrays() -> dict[str, np.ndarray]:
    points, triangles = ball(3, 6)
    random = np.random.default_rng(1)
    return {
        "neutral": points.astype(np.float32),
        "identity": random.normal(size=(2, *points.shape)).astype(np.float16),
        "expression": random.normal(size=(1, *points.shape)).astype(np.float16),
        "expression_names": np.array(["jawOpen"]),
        "triangles": triangles.astype(np.int32),
        "landmarks_68": np.arange(5, dtype=np.int32),
        "part_names": np.array(["face"]),
        "part_ranges": np.array([[0, len(points) - 2]], dtype=np.int32),
    }


def test_ict_npz(tmp_path: Path) -> None:
    arrays = ict_arrays()
    np.savez(tmp_path / "model.npz", **arrays)
    model = read_ict_npz(tmp_path / "model.npz")
    torch.testing.assert_close(model.identity_basis, torch.from_numpy(arrays["identity"].astype(np.float32)))
    last = len(arrays["neutral"]) - 1
    assert model.triangles.max() < last < len(arrays["neutral"]), "only listed parts are drawn"
    assert model.regions["face"].tolist() == list(range(last))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"identity": np.zeros((2, 4, 3), np.float32)}, "vertices"),
        ({"triangles": np.array([[0, 1, 99]], np.int32), "part_names": None}, "99"),
        ({"triangles": np.array([[0, 1, 2], [0, 1, 99]], np.int32)}, "99"),  # once left out with undrawn parts
        ({"part_names": np.array(["face", "ears"])}, "part_names"),
        ({"part_ranges": np.array([[-3, 2]])}, "-3"),
        ({"triangles": np.zeros((2, 3), np.float32)}, "whole numbers"),
        ({"neutral": np.full((20, 3), np.nan, np.float32), "identity": np.zeros((1, 20, 3), np.float32),
          "expression": np.zeros((1, 20, 3), np.float32)}, "not finite"),
        ({"expression_names": None}, "expression_names"),
        ({"neutral": np.zeros(4, np.float32)}, "any × 3"),
    ],
)  # fmt: skip
def test_broken_npz_is_told_in_one_sentence(tmp_path: Path, changed: dict, sentence: str) -> None:
    arrays = {name: value for name, value in {**ict_arrays(), **changed}.items() if value is not None}
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(InputError, match=sentence):
        load_morphable_model(tmp_path / "model.npz", smooth_modes=0)


def test_basel_2009(tmp_path: Path) -> None:
    from scipy.io import savemat

    arrays = basel_2009()
    savemat(tmp_path / "01_MorphableModel.mat", arrays)
    model = read_basel_2009(tmp_path / "01_MorphableModel.mat")
    mean = arrays["shapeMU"].reshape(-1, 3) * 1e-4
    np.testing.assert_allclose(model.mean.numpy(), mean, rtol=1e-5, err_msg="micrometres become centimetres")
    weights = torch.tensor([[1.0, -2.0, 0.5, 0.0]])
    shape = arrays["shapeMU"][:, 0] + arrays["shapePC"] @ (weights[0].numpy() * arrays["shapeEV"][:, 0])
    np.testing.assert_allclose(model(weights)[0].numpy(), shape.reshape(-1, 3) * 1e-4, rtol=1e-4, atol=1e-4)
    assert outward(model.mean, model.triangles) > 0
    assert sum(len(index) for index in model.regions.values()) == model.vertex_count
    assert model.albedo_mean.min() > 0 and model.albedo_mean.max() < 1 and model.albedo_basis.shape[0] == 4


def test_basel_2017(tmp_path: Path) -> None:
    content = write_basel_h5(tmp_path / "model2017-1_bfm_nomouth.h5")
    model = read_basel_h5(tmp_path / "model2017-1_bfm_nomouth.h5")
    mean = (content["shape/mean"] + content["expression/mean"]).reshape(-1, 3) * 0.1
    np.testing.assert_allclose(model.mean.numpy(), mean, rtol=1e-4, atol=1e-5)
    scaled = content["expression/pcaBasis"][:, 1] * np.sqrt(content["expression/pcaVariance"][1]) * 0.1
    np.testing.assert_allclose(model.expression_basis[1].numpy(), scaled.reshape(-1, 3), rtol=1e-4, atol=1e-6)
    assert model.expression_kind == "gaussian" and model.points == {"center.nose.tip": 0}
    step = 1e-3
    shown = content["color/mean"] + step * np.sqrt(content["color/pcaVariance"][0]) * content["color/pcaBasis"][:, 0]
    linear = np.where(shown > 0.04045, ((shown + 0.055) / 1.055) ** 2.4, shown / 12.92)
    found = model.albedo(torch.tensor([[step]]))[0].numpy().ravel()
    np.testing.assert_allclose(found, linear, atol=2e-4)


@pytest.mark.parametrize("omit", ["shape/pcaBasis", "shape/mean", "expression/pcaVariance"])
def test_h5_of_something_else_is_told(tmp_path: Path, omit: str) -> None:
    write_basel_h5(tmp_path / "other.h5", omit=omit)
    with pytest.raises(InputError, match="is not the morphable model"):
        load_morphable_model(tmp_path / "other.h5")


@pytest.mark.parametrize("suffix", [".mat", ".h5", ".npz", ".pkl"])
def test_garbage_is_told_in_one_sentence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"this is no model at all" * 20)
    with pytest.raises(InputError) as told:
        load_morphable_model(path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("kept", [0.3, 0.9])
@pytest.mark.parametrize("suffix", [".mat", ".h5", ".npz", ".pkl"])
def test_a_file_cut_off_is_told_in_one_sentence(tmp_path: Path, suffix: str, kept: float) -> None:
    from scipy.io import savemat

    path = tmp_path / f"model{suffix}"
    if suffix == ".mat":
        savemat(path, basel_2009())
    elif suffix == ".h5":
        write_basel_h5(path)
    elif suffix == ".npz":
        np.savez(path, **flame_arrays())
    else:
        write_flame_pickle(path, flame_arrays())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(InputError) as told:
        load_morphable_model(path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("shape/model/mean", "link", "no HDF5 file that can be read"),
        ("shape/model/mean", None, "shape/model/mean is a group"),
        ("metadata/landmarks/json", np.zeros(0), "no list of landmarks"),
        ("metadata/landmarks/json", None, "metadata/landmarks/json is a group"),
    ],
)
def test_damaged_h5_is_told_in_one_sentence(tmp_path: Path, name: str, value: object, sentence: str) -> None:
    import h5py

    path = tmp_path / "model.h5"
    write_basel_h5(path)
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        if value is None:
            file.create_group(name)
        else:
            file[name] = value if isinstance(value, np.ndarray) else h5py.SoftLink("/nowhere")
    with pytest.raises(InputError, match=sentence):
        load_morphable_model(path)


def test_an_npz_that_claims_more_than_memory_holds_is_told(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**15, 3)})
    with zipfile.ZipFile(tmp_path / "model.npz", "w") as archive:
        archive.writestr("v_template.npy", header.getvalue() + bytes(64))
    with pytest.raises(InputError, match="more memory than there is"):
        load_morphable_model(tmp_path / "model.npz")


@pytest.mark.parametrize("suffix", [".obj", ".glb", ".txt", ""])
def test_single_mesh_is_no_morphable_model(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"head{suffix}"
    path.write_text("v 0 0 0\n")
    with pytest.raises(InputError, match="not a morphable model"):
        load_morphable_model(path)


def test_missing_file_lists_what_is_allowed() -> None:
    with pytest.raises(InputError, match="synthetic"):
        load_morphable_model("no-such-model")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_flame_pickle_and_npz_are_the_same_model(tmp_path: Path, protocol: int) -> None:
    arrays = flame_arrays()
    write_flame_pickle(tmp_path / "generic_model.pkl", arrays, protocol=protocol)
    np.savez(tmp_path / "flame.npz", **arrays)
    pickled, plain = read_flame_pickle(tmp_path / "generic_model.pkl"), read_flame_npz(tmp_path / "flame.npz")
    for name, value in pickled.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name])
    assert len(pickled.identity_names) == 300
    assert pickled.expression_names == ("expression000", "expression001", "expression002", "jawOpen", "jawLeft")
    np.testing.assert_allclose(pickled.mean.numpy(), arrays["v_template"] * 100, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        pickled.identity_basis[7].numpy(), arrays["shapedirs"][:, :, 7] * 100, rtol=1e-4, atol=1e-6
    )


def test_flame_jaw_shape_is_skinning_with_the_pose_correction(tmp_path: Path) -> None:
    arrays = flame_arrays()
    np.savez(tmp_path / "flame.npz", **arrays)
    model = read_flame_npz(tmp_path / "flame.npz")
    angle = 0.12
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    joint = (arrays["J_regressor"] @ arrays["v_template"])[2]
    rest = arrays["v_template"] + arrays["posedirs"][:, :, 9:18] @ (turn - np.eye(3)).ravel()
    skinned = rest + arrays["weights"][:, 2:3] * ((arrays["v_template"] - joint) @ (turn - np.eye(3)).T)
    opened = model(None, model.weights("expression", {"jawOpen": 1.0}))[0]
    np.testing.assert_allclose(opened.numpy(), skinned * 100, rtol=1e-4, atol=1e-4)


def test_flame_landmarks_beside_the_model(tmp_path: Path) -> None:
    arrays = flame_arrays()
    np.savez(tmp_path / "flame.npz", **arrays)
    random = np.random.default_rng(0)
    faces = random.integers(0, len(arrays["f"]), (1, 68))
    weights = random.dirichlet(np.ones(3), size=(1, 68))
    table = {"full_lmk_faces_idx": faces, "full_lmk_bary_coords": weights}
    np.save(tmp_path / "landmark_embedding.npy", table, allow_pickle=True)  # type: ignore[arg-type]
    model = read_flame_npz(tmp_path / "flame.npz")
    corners = arrays["v_template"][arrays["f"].astype(int)[faces[0]]] * 100
    expected = (corners * weights[0][..., None]).sum(1)
    np.testing.assert_allclose(model.landmarks(model.mean[None])[0].numpy(), expected, rtol=1e-4, atol=1e-4)


def test_triangles_are_turned_outward() -> None:
    points, triangles = ball()
    vertices = torch.tensor(points)
    right = torch.tensor(triangles)
    assert torch.equal(facing_outward(vertices, right), right)
    assert outward(vertices, facing_outward(vertices, right.flip(1))) > 0


def test_real_ict_sample_and_condensed_file_agree() -> None:
    folder = shared_file("FaceXModel-sample")
    sample, condensed = read_ict_folder(folder), read_ict_npz(shared_file("ict-face-model-light.npz"))
    assert sample.identity_names == ("identity000", "identity001", "identity002")
    assert set(sample.expression_names) == {"eyeBlink_L", "jawOpen", "mouthSmile_L", "mouthSmile_R"}
    torch.testing.assert_close(sample.mean, condensed.mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(sample.landmark_vertices, condensed.landmark_vertices)
    assert sample.triangles.shape == condensed.triangles.shape
    assert torch.equal(sample.triangles.unique(), condensed.triangles.unique()), "the same parts are drawn"
    weights = {"jawOpen": 0.7, "mouthSmile_L": 0.4}
    both = [model(model.weights("identity", {"identity001": 1.5}), model.weights("expression", weights))
            for model in (sample, condensed)]  # fmt: skip
    torch.testing.assert_close(*both, atol=3e-3, rtol=0)
    opened = sample(None, sample.weights("expression", {"jawOpen": 1.0}))
    chin = sample.landmarks(opened)[0, 8, 1] - sample.landmarks(sample.mean[None])[0, 8, 1]
    assert chin < -1.5, "the chin goes down by centimetres"
