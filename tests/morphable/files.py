"""Morphable models written in the layouts of the published files, small and random, and the real sample."""

from __future__ import annotations

import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(os.environ.get("GPTFACE_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "data" / "morphable"


def shared_file(name: str) -> Path:
    """A file of the real morphable model; the test skips, saying so, where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} not found: set GPTFACE_SHARED to the folder that holds data/morphable")
    return path


def ball(rings: int = 5, around: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A sphere: vertices ``(V, 3)`` and triangles ``(T, 3)`` that face outward."""
    polar = np.linspace(0, np.pi, rings + 2)[1:-1]
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)
    body = np.stack(
        (
            np.outer(np.sin(polar), np.cos(turn)),
            np.outer(np.sin(polar), np.sin(turn)),
            np.outer(np.cos(polar), np.ones(around)),
        ),
        -1,
    ).reshape(-1, 3)
    vertices = np.concatenate(([[0, 0, 1.0]], body, [[0, 0, -1.0]]))
    index = 1 + np.arange(rings * around).reshape(rings, around)
    after = np.roll(index, -1, axis=1)
    triangles = [np.stack((np.zeros(around, int), index[0], after[0]), 1)]
    for upper in range(rings - 1):
        a, b, c, d = index[upper], index[upper + 1], after[upper + 1], after[upper]
        triangles += [np.stack((a, b, c), 1), np.stack((a, c, d), 1)]
    triangles.append(np.stack((index[-1], np.full(around, len(vertices) - 1), after[-1]), 1))
    return vertices, np.concatenate(triangles)


def write_obj(path: Path, vertices: np.ndarray, faces: list[list[int]]) -> None:
    """An ``.obj`` as ICT publishes it: comments, ``v`` lines, quadrilaterals with texture indices counted from 1."""
    lines = ["# a mesh", "mtllib material.mtl"]
    lines += ["v " + " ".join(f"{value:.6f}" for value in vertex) for vertex in vertices]
    lines += ["vt 0.5 0.5", "usemtl M_Face"]
    lines += ["f " + " ".join(f"{corner + 1}/1" for corner in face) for face in faces]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def basel_2009(vertices: int = 20, modes: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of ``01_MorphableModel.mat``: columns, deviations, triangles from 1, colours to 255."""
    random = np.random.default_rng(seed)
    points, triangles = ball(3, 6)
    points, triangles = points[:vertices], triangles[(triangles < vertices).all(1)]
    count = len(points)
    return {
        "shapeMU": (points * 80_000).reshape(-1, 1).astype(np.float32),
        "shapePC": random.normal(size=(3 * count, modes)).astype(np.float32),
        "shapeEV": random.uniform(1000, 5000, size=(modes, 1)).astype(np.float32),
        "texMU": random.uniform(60, 200, size=(3 * count, 1)).astype(np.float32),
        "texPC": random.normal(size=(3 * count, modes)).astype(np.float32),
        "texEV": random.uniform(5, 10, size=(modes, 1)).astype(np.float32),
        "tl": (triangles + 1).astype(np.float64),
        "segbin": np.eye(4, dtype=np.uint8)[random.integers(0, 4, count)],
    }


def write_basel_h5(path: Path, *, modes: int = 4, seed: int = 0, omit: str = "") -> dict[str, np.ndarray]:
    """An ``.h5`` in Statismo's layout as Basel 2017 has it; returns what went in."""
    import json

    import h5py

    random = np.random.default_rng(seed)
    points, triangles = ball(3, 6)
    mean = (points * 80).astype(np.float32)
    content: dict[str, np.ndarray] = {}
    with h5py.File(path, "w") as file:
        for kind, centre in (
            ("shape", mean.ravel()),
            ("expression", random.normal(size=mean.size).astype(np.float32)),
            ("color", random.uniform(0.2, 0.8, size=mean.size).astype(np.float32)),
        ):
            basis = np.linalg.qr(random.normal(size=(mean.size, modes)))[0].astype(np.float32)
            for name, value in (
                ("mean", centre),
                ("pcaBasis", basis),
                ("pcaVariance", random.uniform(1, 9, size=modes).astype(np.float32)),
            ):
                if omit != f"{kind}/{name}":
                    file[f"{kind}/model/{name}"] = value
                content[f"{kind}/{name}"] = value
            file[f"{kind}/representer/points"] = mean.T
            file[f"{kind}/representer/cells"] = triangles.T.astype(np.int32)
        marks = [{"id": "center.nose.tip", "coordinates": [float(value) for value in mean[0] + 0.5]}]
        file["metadata/landmarks/json"] = np.array([json.dumps(marks)], dtype=h5py.string_dtype())
    return content


def flame_arrays(identity: int = 300, expression: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """FLAME's arrays on a small sphere, metres."""
    random = np.random.default_rng(seed)
    points, triangles = ball(4, 7)
    count = len(points)
    weights = random.dirichlet(np.ones(5), size=count)
    return {
        "v_template": points * 0.1,
        "shapedirs": random.normal(size=(count, 3, identity + expression)) * 1e-3,
        "f": triangles.astype(np.uint32),
        "posedirs": random.normal(size=(count, 3, 36)) * 1e-4,
        "J_regressor": random.dirichlet(np.ones(count), size=5),
        "weights": weights,
    }


def write_flame_pickle(path: Path, arrays: dict[str, np.ndarray], *, protocol: int = 2) -> None:
    """A pickle as FLAME's is: ``shapedirs`` a chumpy array, the regressor a sparse matrix, text keys, protocol 2."""
    from scipy import sparse

    package, module = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")

    class Ch:
        pass

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    module.Ch = Ch  # type: ignore[attr-defined]
    sys.modules.update({"chumpy": package, "chumpy.ch": module})
    try:
        wrapped = Ch()
        wrapped.__dict__.update(x=arrays["shapedirs"], _dirty_vars=None)
        content = {**arrays, "shapedirs": wrapped, "J_regressor": sparse.csc_matrix(arrays["J_regressor"])}
        content |= {"bs_style": "lbs", "kintree_table": np.array([[-1, 0, 1, 1, 1], [0, 1, 2, 3, 4]])}
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]
