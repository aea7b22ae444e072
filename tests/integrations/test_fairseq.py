"""fairseq's ``compute_mask_indices``: same call, exact counts, keyed by index where asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.integrations.fairseq import compute_mask_indices


def padding(lengths: list[int], size: int) -> np.ndarray:
    return np.arange(size) >= np.array(lengths)[:, None]


@given(
    lengths=st.lists(st.integers(0, 60), max_size=5),
    ratio=st.floats(0, 1),
    kind=st.sampled_from(["static", "uniform", "normal", "poisson"]),
    span=st.integers(1, 12),
    minimum=st.integers(0, 3),
    same=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_counts(lengths: list[int], ratio: float, kind: str, span: int, minimum: int, same: bool) -> None:
    pad = padding(lengths, 60)
    mask = compute_mask_indices(
        (len(lengths), 60), pad, ratio, span, kind, mask_other=1, min_masks=minimum, require_same_masks=same
    )
    assert mask.shape == (len(lengths), 60) and mask.dtype == np.bool_ and not (mask & pad).any()
    counts = [max(round(ratio * n), min(minimum * span, max(n - 1, 0))) for n in lengths]
    assert mask.sum(1).tolist() == ([min(counts, default=0)] * len(lengths) if same else counts)


def test_a_row_depends_on_its_index_alone() -> None:
    lengths = [50, 40, 30, 50]
    keywords: dict[str, Any] = {"require_same_masks": False, "seed": 3, "epoch": 1}
    whole = compute_mask_indices((4, 60), padding(lengths, 60), 0.4, 5, indices=[9, 8, 7, 6], **keywords)
    part = compute_mask_indices((1, 60), padding([30], 60), 0.4, 5, indices=torch.tensor([7]), **keywords)
    np.testing.assert_array_equal(part[0], whole[2])
    keywords["epoch"] = 2
    other = compute_mask_indices((4, 60), padding(lengths, 60), 0.4, 5, indices=[9, 8, 7, 6], **keywords)
    assert (other != whole).any()


def test_numpy_s_generator_seeds_it_otherwise() -> None:
    found = []
    for _ in range(2):
        np.random.seed(5)  # noqa: NPY002
        found.append(compute_mask_indices((8, 100), None, 0.5, 10))
    np.testing.assert_array_equal(*found)
    assert (found[0] != compute_mask_indices((8, 100), None, 0.5, 10)).any()


def test_gaps() -> None:
    mask = compute_mask_indices((200, 100), None, 0.3, 5, no_overlap=True, min_space=3, seed=0, indices=range(200))
    for row in mask:
        edges = np.flatnonzero(np.diff(row.astype(int)))
        begins, ends = edges[~row[edges]], edges[row[edges]]
        assert all(begin - end >= 3 for end in ends for begin in begins if begin > end)


def test_a_row_shorter_than_its_least_spans_is_not_hidden_whole() -> None:
    pad = padding([100, 20, 5, 1, 0], 100)
    mask = compute_mask_indices((5, 100), pad, 0.05, 10, min_masks=2, require_same_masks=False)
    assert mask.sum(1).tolist() == [20, 19, 4, 0, 0]
    assert compute_mask_indices((1, 8), None, 1.0, 4).all()  # which is what the share says


class OnDevice(torch.Tensor):
    """A tensor that NumPy cannot read before it is on the host, as one on a GPU."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("can't convert device type tensor to numpy")

    def numpy(self, *, force: bool = False) -> np.ndarray:
        raise TypeError("can't convert device type tensor to numpy")

    def cpu(self, *args: Any, **keywords: Any) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_padding_mask_and_indices_on_a_device_are_read() -> None:
    pad, ids = torch.from_numpy(padding([20, 12], 20)), torch.tensor([4, 9])
    keywords: dict[str, Any] = {"seed": 1, "require_same_masks": False}
    expected = compute_mask_indices((2, 20), pad.numpy(), 0.5, 3, indices=ids.numpy(), **keywords)
    found = compute_mask_indices(
        (2, 20), pad.as_subclass(OnDevice), 0.5, 3, indices=ids.as_subclass(OnDevice), **keywords
    )
    np.testing.assert_array_equal(found, expected)
    assert found.sum(1).tolist() == [10, 6]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"mask_type": "triangular"}, "mask_type is 'triangular'"),
        ({"mask_type": "normal", "mask_other": -1.0}, "Normal.deviation"),
        ({"mask_dropout": 0.1}, "mask_dropout"),
        ({"add_masks": True}, "add_masks"),
        ({"mask_prob": 1.5}, "ratio"),
        ({"mask_length": 0}, "length"),
        ({"padding_mask": np.zeros((2, 9), bool)}, "padding_mask"),
    ],
)
def test_bad_calls_are_named(change: dict[str, Any], names: str) -> None:
    arguments: dict[str, Any] = {"shape": (2, 10), "padding_mask": None, "mask_prob": 0.5, "mask_length": 2}
    with pytest.raises(InputError, match=names):
        compute_mask_indices(**(arguments | change))
