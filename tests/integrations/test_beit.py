"""The MaskingGenerator of BEiT and DINOv2: same call, exact counts, even marginals."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.integrations.beit import MaskingGenerator


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)), share=st.floats(0, 1), minimum=st.integers(1, 20),
    seed=st.integers(0, 2**40),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_the_count_is_exact_for_any_grid(size: tuple[int, int], share: float, minimum: int, seed: int) -> None:
    count = int(share * size[0] * size[1])
    generator = MaskingGenerator(size, count, min_num_patches=minimum, seed=seed)
    mask = generator()
    assert mask.shape == size == generator.get_shape() and mask.dtype == np.bool_ and mask.sum() == count
    assert generator(0).sum() == 0 and generator(size[0] * size[1]).all()


def test_python_s_random_seeds_it_and_a_sample_id_replaces_that() -> None:
    generator = MaskingGenerator(14, 75, 16)
    random.seed(3)
    first = [generator() for _ in range(4)]
    random.seed(3)
    for mine, theirs in zip(first, [generator() for _ in range(4)], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (first[0] != first[1]).any()
    np.testing.assert_array_equal(generator(sample_id=5, step=2), generator(sample_id=5, step=2))
    assert (generator(sample_id=5, step=2) != generator(sample_id=5, step=3)).any()


def test_it_goes_to_workers_and_keeps_the_dtype_of_beit() -> None:
    generator = MaskingGenerator((8, 8), 20, dtype=np.int64)
    mask = pickle.loads(pickle.dumps(generator))(sample_id=1)
    assert mask.dtype == np.int64
    np.testing.assert_array_equal(mask, generator(sample_id=1))
    assert repr(generator) == "MaskingGenerator(8, 8 -> [4 ~ None], max = 20, 0.300 ~ 3.333)"


def test_dinov2_passes_half_of_the_patches_as_a_float() -> None:
    generator = MaskingGenerator(input_size=(16, 16), max_num_patches=0.5 * 224 // 14 * 224 // 14)
    assert generator(77, sample_id=0).sum() == 77 and not generator(0).any()


def test_a_smallest_block_of_0_patches_is_not_refused() -> None:
    generator = MaskingGenerator((6, 6), 20, min_num_patches=0)
    np.testing.assert_array_equal(generator(sample_id=3), MaskingGenerator((6, 6), 20, min_num_patches=1)(sample_id=3))
    assert generator().sum() == 20 and not generator(0).any()


@pytest.mark.parametrize("size", [np.int64(6), (np.int32(6), 6)])
def test_a_size_of_numpy_is_not_refused(size: int | tuple[int, int]) -> None:
    generator = MaskingGenerator(size, 20)
    assert repr(generator) == repr(MaskingGenerator(6, 20)) and generator().shape == (6, 6)


def test_corner_and_centre_are_alike() -> None:
    generator = MaskingGenerator(14, 75, 16)
    masks = np.stack([generator(sample_id=i) for i in range(4000)])
    deviation = np.sqrt(75 / 196 * 121 / 196 / 4000)
    assert abs(masks[:, 0, 0].mean() - 75 / 196) < 4 * deviation
    assert abs(masks[:, 7, 7].mean() - 75 / 196) < 4 * deviation


def test_bad_calls_are_named() -> None:
    with pytest.raises(InputError, match="num_masking_patches"):
        MaskingGenerator(4, 20)()
    with pytest.raises(InputError, match="num_masking_patches"):
        MaskingGenerator(4)()
    with pytest.raises(InputError, match="aspect"):
        MaskingGenerator(4, 2, min_aspect=2.0, max_aspect=1.0)
