"""Faces to measure on: in order, as many as asked for, and what could not be used is counted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gptface.data.procedural import ProceduralFaces
from gptface.data.shard_writer import write_shards
from gptface.errors import InputError
from gptface.evaluation.face_set import HELD_OUT_SEED, collect_faces, procedural_faces, shard_faces


def test_faces_come_in_order_and_broken_ones_are_counted() -> None:
    made = ProceduralFaces(seed=3, size=16, count=4)
    broken = SimpleNamespace(reason="no picture")
    dataset = [made[0], broken, made[1], broken, made[2], made[3]]
    faces = collect_faces(dataset, 3)
    assert [sample.sample_id for sample in faces.samples] == [made[index].sample_id for index in range(3)]
    assert faces.images.shape == (3, 16, 16, 3) and np.array_equal(faces.images[1], made[1].image)
    assert faces.captions == [made[index].caption for index in range(3)]
    assert faces.skipped == {"no picture": 2}
    assert len(collect_faces(dataset).samples) == 4
    with pytest.raises(InputError, match=r"no usable face \(skipped: \{'no picture': 1\}\)"):
        collect_faces([broken])


def test_procedural_faces_are_those_of_a_seed_that_no_training_uses() -> None:
    fresh = ProceduralFaces(seed=HELD_OUT_SEED, size=16, count=2)
    assert np.array_equal(procedural_faces(2, 16).images[1], fresh[1].image)
    assert not np.array_equal(procedural_faces(2, 16, seed=0).images, procedural_faces(2, 16).images)


def test_faces_of_shards(tmp_path: Path) -> None:
    made = ProceduralFaces(seed=3, size=16, count=5)
    write_shards(made, tmp_path, per_shard=2)
    faces = shard_faces([str(tmp_path)], 16, 3)
    assert faces.captions == [made[index].caption for index in range(3)]
    with pytest.raises(InputError, match="absent"):
        shard_faces([str(tmp_path / "absent-*.tar")], 16)
