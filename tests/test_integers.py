"""NumPy's integers serve as seeds wherever Python's do, and give the same draws: no width overflows or wraps around."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from gptface.data.augmentation import HorizontalFlip
from gptface.data.inputs import seed_list
from gptface.data.order import Position
from gptface.data.procedural import ProceduralFaces
from gptface.data.procedural.captions import describe
from gptface.data.procedural.randomness import sample_identity
from gptface.errors import InputError
from gptface.integers import whole_number
from gptface.objectives import random_negatives
from gptface.systems.gptface.generation.noise import SampleNoise, derive_seed

KINDS = [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64, torch.tensor, np.array]


@pytest.mark.parametrize("kind", KINDS)
def test_generation_and_data_take_any_whole_number_as_seed(kind: Any) -> None:
    seed = kind(113)
    assert type(whole_number(seed, "seed")) is int and whole_number(seed, "seed") == 113
    assert seed_list(seed, 20) == list(range(113, 133))  # past what eight bits hold
    assert seed_list([seed, kind(5)], 2) == [113, 5]
    assert derive_seed(seed, 1, 2) == derive_seed(113, 1, 2)
    assert torch.equal(SampleNoise([seed]).uniform(3, 1, (4,)), SampleNoise([113]).uniform(3, 1, (4,)))
    assert sample_identity(seed, kind(7)) == sample_identity(113, 7)
    ours, theirs = ProceduralFaces(seed, size=16, start=kind(3), count=kind(2)), ProceduralFaces(113, 16, 3, 2)
    first, second = (json.dumps(faces[1].metadata, default=np.ndarray.tolist) for faces in (ours, theirs))
    assert len(ours) == 2 and first == second
    assert ours[1].caption == theirs[1].caption and ours[1].sample_id == theirs[1].sample_id
    assert type(ours[np.int8(1)].metadata["index"]) is int
    face = theirs.specification(0)
    assert describe(face, seed, 3, 0.5) == describe(face, 113, 3, 0.5)
    flips = [[HorizontalFlip(value).decides(number, 0) for number in range(20)] for value in (seed, 113)]
    assert flips[0] == flips[1]
    position = Position(kind(10), seed, kind(4), samples=kind(6))
    np.testing.assert_array_equal(position.batch()[0], Position(10, 113, 4, samples=6).batch()[0])
    assert json.loads(json.dumps(position.state_dict())) == {"position": 6, "samples": 10, "seed": 113}
    ids = torch.arange(9)
    drawn = [random_negatives(ids, seed=value, step=2).indices for value in (seed, 113)]
    assert torch.equal(drawn[0], drawn[1])


def test_arrays_of_seeds_are_one_a_sample() -> None:
    assert seed_list(np.array([3, 1, 2], np.int32), 3) == seed_list(torch.tensor([3, 1, 2]), 3) == [3, 1, 2]
    assert seed_list(range(4, 6), 2) == [4, 5]
    assert SampleNoise(np.array([3, 1])).seeds == [3, 1]  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"seeds must be one integer or 3 of them"):
        seed_list(np.array([3, 1]), 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [1.5, "3", None, np.float64(2), np.array([1.0])])
def test_what_is_no_whole_number_is_named(value: Any) -> None:
    for use in (lambda: seed_list(value, 1), lambda: seed_list([value], 1), lambda: SampleNoise([value])):
        with pytest.raises(InputError, match=r"seeds: .* is not a whole number"):
            use()
    with pytest.raises(InputError, match=r"seed: .* is not a whole number"):
        ProceduralFaces(value)
    with pytest.raises(InputError, match=r"seed: .* is not a whole number"):
        Position(4, value, 2)
