"""Landmarks of samples reach a batch, as 68 points, mirrored with their pictures, from the cache as from a stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gptface.data.batches import Faces, Needs
from gptface.data.configuration import DataSection
from gptface.data.known_landmarks import known_landmarks, mirrored_landmarks
from gptface.data.sample import Sample
from gptface.faces.landmark_correspondence import landmarks_68_of_468
from gptface.faces.landmarks import mirror_landmarks

RANDOM = np.random.default_rng(0)


def _sample(points: np.ndarray | None) -> Sample:
    metadata = {} if points is None else {"landmarks": points}
    return Sample(np.zeros((40, 40, 3), dtype=np.uint8), "", 1, metadata)


def test_every_scheme_becomes_68_points_or_none() -> None:
    mesh, points = RANDOM.random((468, 2), dtype=np.float32), RANDOM.random((68, 2), dtype=np.float32)
    odd = points.copy()
    odd[3] = np.nan
    found = known_landmarks([_sample(each) for each in (mesh, points, odd, points[:5], None)])
    np.testing.assert_allclose(found[0], landmarks_68_of_468(mesh))
    np.testing.assert_array_equal(found[1], points)
    assert np.isnan(found[2:]).all()


def test_mirroring_is_that_of_samples() -> None:
    points = 40 * RANDOM.random((2, 68, 2), dtype=np.float32)
    turned = mirrored_landmarks(torch.from_numpy(points), 40)
    for row, expected in zip(turned.numpy(), points, strict=True):
        np.testing.assert_allclose(row, mirror_landmarks(expected, 40), rtol=1e-6)


@pytest.mark.parametrize("cache", [True, False])
def test_batches_have_landmarks_and_captions(tmp_path: Path, cache: bool) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    keys, points = [], []
    for number in range(6):
        picture = np.zeros((32, 32, 3), dtype=np.uint8)
        picture[4:12, 2 : 6 + number] = 255
        Image.fromarray(picture).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"face number {number}")
        keys.append(str(number))
        points.append(np.full((68, 2), 4 + number, dtype=np.float32) + 6 * RANDOM.random((68, 2), dtype=np.float32))
    np.savez(tmp_path / "marks.npz", key=np.array(keys), points=np.stack(points))
    data = DataSection(
        source="shards", train=[str(folder)], landmarks=[str(tmp_path / "marks.npz")], image_size=32, cache=cache,
    )  # fmt: skip
    faces = Faces(data, "train", tmp_path / "run", verbose=False)
    batches = faces.batches(Needs(landmarks=True, captions=True), lambda batch: batch, batch_size=4, seed=0)
    mirrored = 0
    for _ in range(4):
        batch = next(batches)
        assert batch.landmarks is not None and batch.captions is not None
        for row, caption, turned in zip(batch.landmarks, batch.captions, batch.mirrored, strict=True):
            own = torch.from_numpy(points[int(caption.split()[-1])])
            expected = mirrored_landmarks(own[None], 32)[0] if turned else own
            torch.testing.assert_close(row, expected)
            mirrored += int(turned)
    assert 0 < mirrored < 16
