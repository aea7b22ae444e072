"""The Triton lookup against its definition, interpreted: tiles, splits, metrics, dtypes, strides, ties, bad numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gptface.kernels.vq_configurations import Configuration, forced
from gptface.ops import implementations, vq_lookup
from tests.ops.vq_cases import METRICS, assert_is_the_definition, draw

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
SMALL = Configuration(16, 16, 32, 4, 1)


def look(x: torch.Tensor, codebook: torch.Tensor, **options: Any) -> Any:
    return vq_lookup(x, codebook, return_scores=True, impl="triton", **options)


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("topk", "splits"), [(1, 1), (1, 3), (4, 2), (16, 1)])
@pytest.mark.parametrize("length", [32, 45])  # the rows of a tile stay, or are read again for every tile of codes
def test_is_the_definition(metric: Any, topk: int, splits: int, length: int) -> None:
    x, codebook = draw(19, length, seed=1, offset=3.0), draw(53, length, seed=2, offset=3.0)
    with forced(SMALL, splits):
        found = look(x, codebook, metric=metric, topk=topk, nearest_rows=True)
    assert_is_the_definition(x, codebook, found, metric, topk)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("metric", METRICS)
def test_half_precision_inputs(dtype: torch.dtype, metric: Any) -> None:
    x, codebook = draw(21, 40, seed=3, dtype=dtype), draw(33, 40, seed=4, dtype=dtype)
    with forced(SMALL):
        found = look(x, codebook, metric=metric)
    assert_is_the_definition(x, codebook, found, metric, 1)


@pytest.mark.parametrize("length", [4, 8, 33, 256])
def test_any_length(length: int) -> None:
    x, codebook = draw(9, length, seed=5), draw(37, length, seed=6)
    assert_is_the_definition(x, codebook, look(x, codebook, nearest_rows=True), "euclidean", 1)


def test_groups() -> None:
    x, codebook = draw(2, 7, 3, 12, seed=7), draw(3, 31, 12, seed=8)
    with forced(SMALL):
        found = look(x, codebook, topk=2, nearest_rows=True)
    assert_is_the_definition(x, codebook, found, "euclidean", 2)


@pytest.mark.parametrize("precision", ["exact", "tf32", "bf16"])
@pytest.mark.parametrize(("topk", "splits"), [(1, 1), (1, 2), (4, 1)])
def test_equal_codes_go_to_the_lowest_index(precision: Any, topk: int, splits: int) -> None:
    """Over tiles and shares of the codebook; five different codes, each thirteen times."""
    distinct, x = draw(5, 32, seed=9), draw(17, 32, seed=10)
    with forced(SMALL, splits):
        found = look(x, distinct.repeat(13, 1), topk=topk, precision=precision).indices.reshape(17, topk)
    first = vq_lookup(x, distinct, impl="reference").indices
    assert torch.equal(found[:, 0] % 5, first) or precision == "bf16"
    assert torch.equal(found, found[:, :1] % 5 + 5 * torch.arange(topk))


def test_equal_rows_go_to_the_lowest_index() -> None:
    """With quarters for elements every score is exact: NumPy's products may round equal rows apart, by their place."""
    x, codebook = ((4 * draw(count, 32, seed=seed)).round() / 4 for count, seed in ((5, 11), (20, 12)))
    with forced(SMALL):
        found = look(x.repeat(9, 1), codebook, nearest_rows=True).nearest_rows
    assert found.lt(5).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("topk", [1, 3])
def test_what_is_not_finite(metric: Any, topk: int) -> None:
    x, codebook = draw(20, 32, seed=13), draw(7, 32, seed=14)
    x[1, 2], x[3, 0], x[4, 31] = torch.nan, torch.inf, -torch.inf
    codebook[0, 0], codebook[2, 31] = torch.nan, torch.inf
    with forced(SMALL):
        found = look(x, codebook, metric=metric, topk=topk, nearest_rows=True)
    expected = vq_lookup(
        x.double(), codebook.double(), metric=metric, topk=topk, return_scores=True, nearest_rows=True, impl="reference"
    )
    assert torch.equal(found.indices, expected.indices) and torch.equal(found.counts, expected.counts)
    assert torch.equal(found.nearest_rows, expected.nearest_rows)
    assert torch.equal(found.scores.isnan(), expected.scores.isnan())


def test_a_codebook_of_nothing_but_nan() -> None:
    with forced(SMALL):
        found = look(draw(5, 16, seed=15), torch.full((20, 16), torch.nan), topk=3, nearest_rows=True)
    assert torch.equal(found.indices, torch.arange(3).expand(5, 3))
    assert found.scores.eq(-torch.inf).all() and found.nearest_rows.eq(-1).all()


@pytest.mark.parametrize("scale", [1e30, 1e-30])
@pytest.mark.parametrize("metric", METRICS)
def test_values_whose_squares_leave_float32(scale: float, metric: Any) -> None:
    x, codebook = draw(17, 32, seed=16) * scale, draw(20, 32, seed=17) * scale
    exact = vq_lookup(x.double(), codebook.double(), metric=metric, nearest_rows=True, impl="reference")
    with forced(SMALL):
        found = vq_lookup(x, codebook, metric=metric, nearest_rows=True, impl="triton")
    assert torch.equal(found.indices, exact.indices) and torch.equal(found.nearest_rows, exact.nearest_rows)


def test_any_strides() -> None:
    wide = draw(7, 20, 44, seed=18)
    image = draw(2, 32, 3, 3, seed=19).permute(0, 2, 3, 1)  # depth is strided, as an encoder leaves it
    for rows in (wide[:, ::2, :32].transpose(0, 1), image, draw(1, 32, seed=20).expand(9, 32)):
        codebook = draw(32, 64, seed=21).T[::2]
        with forced(SMALL):
            found, packed = look(rows, codebook), look(rows.contiguous(), codebook.contiguous())
        assert torch.equal(found.indices, packed.indices) and torch.equal(found.scores, packed.scores)


@pytest.mark.usefixtures("poisoned_empty")
def test_empty_x() -> None:
    found = look(torch.zeros(0, 32), draw(5, 32, seed=22), nearest_rows=True)
    assert found.indices.shape == (0,) and found.counts.eq(0).all() and found.nearest_rows.eq(-1).all()


def test_opcheck() -> None:
    x, codebook = draw(1, 6, 16, seed=23).requires_grad_(), draw(1, 9, 16, seed=24).requires_grad_()
    torch.library.opcheck(torch.ops.gptface.vq_lookup.default, (x, codebook, "euclidean", 2, "exact", True, "triton"))


def test_auto_leaves_the_interpreter_alone_and_what_is_not_taken_is_named() -> None:
    assert {found.name: found.available for found in implementations("vq_lookup")}["triton"]
    x, codebook = draw(3, 16, seed=25), draw(20, 16, seed=26)
    with pytest.raises(RuntimeError, match=r"impl='triton' cannot run this call: x is torch.float64"):
        vq_lookup(x.double(), codebook, impl="triton")
    with pytest.raises(RuntimeError, match=r"impl='triton' cannot run this call: topk=17"):
        vq_lookup(x, codebook, topk=17, impl="triton")
