"""FLAME 2020 and 2023: the user's own ``.pkl``, read without executing it, or an ``.npz`` of the same arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gptface.errors import InputError
from gptface.morphable.arrays import array_of, open_npz
from gptface.morphable.geometry import facing_outward
from gptface.morphable.model import MorphableModel
from gptface.morphable.pickles import as_array, load_pickled_arrays, load_pickled_npy

__all__ = ["read_flame_npz", "read_flame_pickle"]

METRES = 100.0
IDENTITY_MODES = 300
"""The first columns of ``shapedirs``; the rest are expressions."""
JAW = 2
"""The joint that opens the mouth, of root, neck, jaw and two eyes."""
# One standard deviation of the two jaw shapes, radians about (x, y). Made up: FLAME's files have no statistics of pose.
JAW_SHAPES = {"jawOpen": (0.12, 0.0), "jawLeft": (0.0, 0.06)}
EYEBALLS = {"eyeball_left": (3931, 4476), "eyeball_right": (4477, 5022)}
VERTICES = 5023


def read_flame_pickle(path: Path) -> MorphableModel:
    """FLAME from its ``.pkl``. Arrays, chumpy arrays and sparse matrices are read; anything else is refused.

    Raises:
        InputError: the pickle holds code, is broken, or is no FLAME.
    """
    loaded = load_pickled_arrays(path)
    arrays: dict[str, np.ndarray] = {
        name: as_array(loaded[name], path, name)
        for name in ("v_template", "shapedirs", "f", "posedirs", "J_regressor", "weights")
        if name in loaded
    }
    return _build(arrays, path)


def read_flame_npz(path: Path) -> MorphableModel:
    """FLAME from an ``.npz`` of the arrays in its pickle: ``v_template``, ``shapedirs``, ``f`` and, for the jaw,
    ``weights``, ``J_regressor`` and ``posedirs``."""
    return _build(open_npz(path), path)


def _build(arrays: Mapping[str, np.ndarray], path: Path) -> MorphableModel:
    mean = array_of(arrays, path, "v_template", (None, 3), "f").astype(np.float64)
    shapes = array_of(arrays, path, "shapedirs", (len(mean), 3, None), "f").astype(np.float64)
    triangles = torch.from_numpy(array_of(arrays, path, "f", (None, 3), "iu").astype(np.int64))
    offsets = np.moveaxis(shapes, 2, 0)
    identity, expression = offsets[:IDENTITY_MODES], offsets[IDENTITY_MODES:]
    names = [f"expression{index:03d}" for index in range(len(expression))]
    jaw = _jaw_shapes(arrays, path, mean)
    if jaw:
        expression = np.concatenate((expression, np.stack(list(jaw.values()))))
        names += list(jaw)
    vertices = torch.from_numpy((mean * METRES).astype(np.float32))
    landmarks, weights = _landmarks(path.parent, triangles)
    regions = {}
    if len(mean) == VERTICES:
        regions = {name: torch.arange(first, last + 1) for name, (first, last) in EYEBALLS.items()}
    return MorphableModel(
        vertices,
        facing_outward(vertices, triangles),
        identity_basis=torch.from_numpy((identity * METRES).astype(np.float32)),
        expression_basis=torch.from_numpy((expression * METRES).astype(np.float32)),
        expression_names=names,
        landmarks=landmarks,
        landmark_weights=weights,
        regions=regions,
        expression_kind="gaussian",
        name=f"FLAME ({path})",
    )


def _jaw_shapes(arrays: Mapping[str, np.ndarray], path: Path, mean: np.ndarray) -> dict[str, np.ndarray]:
    """Name → offsets ``(V, 3)``: FLAME turns the jaw by skinning; the linear model gets one small turn as a shape."""
    if not {"weights", "J_regressor", "posedirs"} <= set(arrays):
        return {}
    joints = array_of(arrays, path, "J_regressor", (None, len(mean)), "f") @ mean
    weights = array_of(arrays, path, "weights", (len(mean), len(joints)), "f")
    corrections = array_of(arrays, path, "posedirs", (len(mean), 3, 9 * (len(joints) - 1)), "f")
    if len(joints) <= JAW:
        raise InputError(f"{path} has {len(joints)} joints; FLAME has 5")
    shapes = {}
    for name, (about_x, about_y) in JAW_SHAPES.items():
        turn = _rotation(about_x, about_y) - np.eye(3)
        moved = weights[:, JAW, None] * ((mean - joints[JAW]) @ turn.T)
        shapes[name] = moved + corrections[:, :, 9 * (JAW - 1) : 9 * JAW] @ turn.ravel()
    return shapes


def _rotation(about_x: float, about_y: float) -> np.ndarray:
    c, s = np.cos(about_x), np.sin(about_x)
    open_jaw = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    c, s = np.cos(about_y), np.sin(about_y)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ open_jaw


def _landmarks(folder: Path, triangles: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The 68 landmarks of ``landmark_embedding.npy`` or ``.npz``, as the FLAME site offers it, beside the model."""
    table: dict[str, Any]
    for name in ("landmark_embedding.npy", "landmark_embedding.npz"):
        path = folder / name
        if not path.is_file():
            continue
        table = open_npz(path) if path.suffix == ".npz" else load_pickled_npy(path)
        faces = as_array(table.get("full_lmk_faces_idx"), path, "full_lmk_faces_idx").reshape(-1).astype(np.int64)
        weights = as_array(table.get("full_lmk_bary_coords"), path, "full_lmk_bary_coords").reshape(-1, 3)
        if len(faces) != len(weights) or faces.min() < 0 or faces.max() >= len(triangles):
            raise InputError(f"{path} names triangles that the model does not have (0 to {len(triangles) - 1})")
        return triangles[torch.from_numpy(faces)], torch.from_numpy(weights.astype(np.float32))
    return None, None
