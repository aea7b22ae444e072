"""ICT Face Model Light: its published folder of ``.obj`` files, and the same model condensed into one ``.npz``."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from gptface.errors import InputError
from gptface.morphable.arrays import array_of, open_npz
from gptface.morphable.model import MorphableModel

__all__ = ["is_ict_folder", "read_ict_folder", "read_ict_npz"]

NAME = "ICT Face Model Light"
NEUTRAL = "generic_neutral_mesh.obj"
_IDENTITY = re.compile(r"identity(\d+)$")

# First and last vertex of each part, as the model's read-me lists them (the last six, films and lashes that a plain
# renderer would draw as opaque skin, are not drawn).
PARTS = {
    "face": (0, 9408),
    "head_and_neck": (9409, 11247),
    "mouth_socket": (11248, 13293),
    "eye_socket_left": (13294, 13677),
    "eye_socket_right": (13678, 14061),
    "gums_and_tongue": (14062, 17038),
    "teeth": (17039, 21450),
    "eyeball_left": (21451, 23020),
    "eyeball_right": (23021, 24590),
}
LANDMARKS_KEY = "idx_to_landmark_verts"


def is_ict_folder(folder: Path) -> bool:
    """Whether a folder is laid out as the model is published."""
    return (folder / NEUTRAL).is_file()


def _vertices(path: Path) -> np.ndarray:
    """The ``v`` lines of an ``.obj``, ``(V, 3)`` float32."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [line.split()[1:4] for line in lines if line.startswith("v ")]
    if not rows:
        raise InputError(f"{path} has no vertices; a morphable model's .obj lists them on lines that begin with v")
    try:
        vertices = np.array(rows, dtype=np.float32)
    except ValueError:
        vertices = np.zeros((0, 0), dtype=np.float32)
    if vertices.ndim == 2 and vertices.shape[1] == 3:
        return vertices
    for number, line in enumerate(lines, 1):
        if line.startswith("v ") and not _is_vertex(line.split()[1:4]):
            raise InputError(f"{path}: line {number} is no vertex of three numbers: {line.strip()!r}")
    raise InputError(f"{path} has vertices that are not three numbers each")


def _is_vertex(words: list[str]) -> bool:
    try:
        return len([float(word) for word in words]) == 3
    except ValueError:
        return False


def _triangles(path: Path, count: int) -> np.ndarray:
    """The faces of an ``.obj``, quadrilaterals split along their first diagonal."""
    triangles = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.startswith("f "):
                continue
            try:
                corners = [int(word.split("/")[0]) for word in line.split()[1:]]
            except ValueError:
                raise InputError(f"{path}: line {number} is no face of vertex numbers: {line.strip()!r}") from None
            if len(corners) < 3 or not all(1 <= corner <= count for corner in corners):
                raise InputError(f"{path}: line {number} names vertices that do not exist (1 to {count})")
            triangles += [[corners[0] - 1, b - 1, c - 1] for b, c in pairwise(corners[1:])]
    if not triangles:
        raise InputError(f"{path} has no faces; a morphable model's neutral mesh lists them on lines that begin with f")
    return np.asarray(triangles, dtype=np.int64)


def _landmarks(folder: Path) -> np.ndarray | None:
    """The 68 landmark vertices of ``vertex_indices.json``, where it lies beside the meshes."""
    path = folder / "vertex_indices.json"
    if not path.is_file():
        return None
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))[LANDMARKS_KEY]
        return np.asarray([int(index) for index in listed], dtype=np.int64)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} lists no landmarks under {LANDMARKS_KEY!r} ({type(error).__name__})") from None


def _regions(count: int, parts: dict[str, tuple[int, int]]) -> dict[str, torch.Tensor]:
    return {name: torch.arange(first, last + 1) for name, (first, last) in parts.items() if last < count}


def _drawn(triangles: np.ndarray, parts: dict[str, tuple[int, int]], count: int) -> np.ndarray:
    """The triangles that lie in a listed part; all of them where the parts are not those of the whole model.

    Those of vertices that are not among ``count`` stay, for the model to refuse.
    """
    last = max((end for _, end in parts.values()), default=-1)
    return triangles[(triangles <= last).all(1) | (triangles >= count).any(1)] if last >= 0 else triangles


def read_ict_folder(folder: Path) -> MorphableModel:
    """The model from its published folder (``FaceXModel``): any of its identity and expression files may be missing.

    Identity meshes are the neutral face moved by one standard deviation, so their offsets are weighted by N(0, 1).

    Raises:
        InputError: a mesh with another number of vertices than the neutral one, a file that is no mesh.
    """
    mean = _vertices(folder / NEUTRAL)
    triangles = _triangles(folder / NEUTRAL, len(mean))
    identity: dict[int, np.ndarray] = {}
    expression: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.obj")):
        if path.name == NEUTRAL:
            continue
        vertices = _vertices(path)
        if vertices.shape != mean.shape:
            raise InputError(f"{path} has {len(vertices)} vertices and {NEUTRAL} has {len(mean)}; they must be as many")
        matched = _IDENTITY.match(path.stem)
        if matched:
            number = int(matched.group(1))
            if number in identity:
                raise InputError(f"{path} is identity {number} once more; allowed: one mesh for each number")
            identity[number] = vertices - mean
        else:
            expression[path.stem] = vertices - mean
    if not identity and not expression:
        raise InputError(f"{folder} holds {NEUTRAL} alone; a model needs identity*.obj or expression meshes too")
    parts = PARTS if len(mean) > max(last for _, last in PARTS.values()) else {}
    landmarks = _landmarks(folder)
    return MorphableModel(
        torch.from_numpy(mean),
        torch.from_numpy(_drawn(triangles, parts, len(mean))),
        identity_basis=_stack([identity[index] for index in sorted(identity)]),
        expression_basis=_stack(list(expression.values())),
        identity_names=[f"identity{index:03d}" for index in sorted(identity)],
        expression_names=list(expression),
        landmarks=None if landmarks is None else torch.from_numpy(landmarks),
        regions=_regions(len(mean), parts),
        name=f"{NAME} ({folder})",
    )


def _stack(offsets: list[np.ndarray]) -> torch.Tensor | None:
    return torch.from_numpy(np.stack(offsets)) if offsets else None


def read_ict_npz(path: Path) -> MorphableModel:
    """The model from one archive of ``neutral``, ``identity``, ``expression``, ``expression_names``, ``triangles``,
    ``landmarks_68``, ``part_names`` and ``part_ranges``; shapes as of :class:`MorphableModel`, centimetres."""
    file = open_npz(path)
    mean = array_of(file, path, "neutral", (None, 3), "f")
    triangles = array_of(file, path, "triangles", (None, 3), "iu").astype(np.int64)
    names = [str(name) for name in array_of(file, path, "expression_names", (None,), "U")]
    parts: dict[str, tuple[int, int]] = {}
    if "part_names" in file and "part_ranges" in file:
        ranges = array_of(file, path, "part_ranges", (None, 2), "iu")
        titles = array_of(file, path, "part_names", (len(ranges),), "U")
        parts = {str(name): (int(a), int(b)) for name, (a, b) in zip(titles, ranges, strict=True)}
    landmarks = array_of(file, path, "landmarks_68", (None,), "iu") if "landmarks_68" in file else None
    return MorphableModel(
        torch.from_numpy(mean.astype(np.float32)),
        torch.from_numpy(_drawn(triangles, parts, len(mean))),
        identity_basis=torch.from_numpy(array_of(file, path, "identity", (None, None, 3), "f").astype(np.float32)),
        expression_basis=torch.from_numpy(array_of(file, path, "expression", (None, None, 3), "f").astype(np.float32)),
        expression_names=names,
        landmarks=None if landmarks is None else torch.from_numpy(landmarks.astype(np.int64)),
        regions=_regions(len(mean), parts),
        name=f"{NAME} ({path})",
    )
