"""Files of facial landmarks that lie beside a data set: whose points are whose, by the samples' names."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from gptface.data.paths import expand_paths
from gptface.data.shard_index import expand_pattern
from gptface.errors import InputError
from gptface.faces.landmark_schemes import SCHEMES

__all__ = ["LandmarkTable"]

WITH_IRISES = 478  # MediaPipe's refined mesh: the 468 points, then ten of the irises, which outline no region


class LandmarkTable:
    """The points of samples by name, from .npz files: arrays ``key`` (n,), texts, and ``points`` (n, N, 2 or 3).

    N is 5, 68 or 468 (478 loses the irises), see ``gptface.faces.landmark_schemes``; x and y are in pixels of the
    picture as it is stored, upright, [0, W] × [0, H]; a third coordinate is not used. A row may be of numbers that are
    not finite where no face was found.

    Args:
        paths: files, globs and brace lists; ``~`` and ``$VARIABLES`` are expanded.
        name: what errors call them, such as ``"data.landmarks"``.

    Raises:
        InputError: no such file, not such a file, or a name that occurs twice; the sentence names file and array.
    """

    def __init__(self, paths: Sequence[str], name: str = "landmarks") -> None:
        self.name = name
        self._points: list[np.ndarray] = []
        self._places: dict[str, tuple[int, int]] = {}
        self._digests: list[str] = []
        files = [file for pattern in expand_paths(paths, name) for file in expand_pattern(pattern)]
        for number, file in enumerate(files):
            keys, points = _read(Path(file), name)
            for row, key in enumerate(keys):
                place = self._places.setdefault(key, (number, row))
                if place != (number, row):
                    raise InputError(
                        f"{name}: {key!r} occurs twice, in {files[place[0]]} and in {file}; allowed: every name once "
                        "(training and held-out pictures have their own lists)"
                    )
            self._points.append(points)
            self._digests.append(hashlib.sha256(Path(file).read_bytes()).hexdigest())

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> np.ndarray | None:
        """float32 (N, 2) of the sample of that name; ``None`` for other names."""
        place = self._places.get(key)
        return None if place is None else self._points[place[0]][place[1]].astype(np.float32)

    def identity(self) -> list[str]:
        """What determines the points: a digest of each file's content."""
        return self._digests

    def matched(self, keys: Iterable[str], whose: str) -> tuple[int, list[str]]:
        """How many of ``keys`` have points, and the names of points that are none of them.

        Args:
            whose: what the error calls the samples, such as ``"data.train"``.

        Raises:
            InputError: no sample has points.
        """
        left, count, example = set(self._places), 0, ""
        for key in keys:
            example = example or key
            if key in self._places:
                count += 1
                left.discard(key)
        if not count:
            raise InputError(
                f"{self.name}: none of its {len(self)} names, such as {next(iter(self._places), '')!r}, is a sample of "
                f"{whose}, whose names are such as {example!r}"
            )
        return count, sorted(left)


def _read(file: Path, name: str) -> tuple[list[str], np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise ValueError("it is no .npz archive")
            keys, points = arrays["key"], arrays["points"]
    except KeyError:
        raise InputError(f"{name}: {file} lacks an array; needed are key and points") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{name}: {file} is not a readable .npz file ({error})") from None
    if keys.ndim != 1 or keys.dtype.kind not in "US":
        raise InputError(f"{name}: key in {file} is {keys.dtype} {keys.shape}; allowed: texts (n,), names of samples")
    if points.ndim == 3 and points.shape[1] == WITH_IRISES:
        points = points[:, :468]
    if points.ndim != 3 or points.shape[1] not in SCHEMES or points.shape[2] not in (2, 3) or points.dtype.kind != "f":
        allowed = ", ".join(map(str, SCHEMES))
        raise InputError(
            f"{name}: points in {file} are {points.dtype} {points.shape}; allowed: floats (n, N, 2 or 3), N one of "
            f"{allowed}"
        )
    if len(points) != len(keys):
        raise InputError(f"{name}: {file} has {len(keys)} names and points of {len(points)} faces; allowed: as many")
    points = np.ascontiguousarray(points[..., :2])
    if _shares_of_the_picture(points):
        raise InputError(
            f"{name}: points in {file} lie between 0 and 1; allowed: pixels of the stored picture, so multiply them by "
            "its width and height"
        )
    return [key.decode("utf-8", "replace") if isinstance(key, bytes) else key for key in keys.tolist()], points


def _shares_of_the_picture(points: np.ndarray) -> bool:
    """Whether these are no pixels: detectors also give shares of width and height, a little beyond 0 and 1 at most."""
    some = points[:1000].astype(np.float32)
    some = some[np.isfinite(some)]
    return some.size > 0 and float(some.min()) > -1 and float(some.max()) < 2
