"""The CPU kernels of ``vq_lookup``: every instruction set against float64, near ties, threads, strides, bad numbers."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptface.ops import VQLookup, vq_lookup
from gptface.ops.vq.cpu import cpu_missing
from tests.helpers.instruction_sets import INSTRUCTION_SETS, under_instruction_set
from tests.helpers.numerics import assert_matches_oracle

pytestmark = pytest.mark.skipif(cpu_missing() is not None, reason="no native kernel")

METRICS = ("euclidean", "cosine", "dot")




@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    with under_instruction_set(request.param) as name:
        yield name


def draw(*shape: int, seed: int, offset: float = 0.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + offset


def look(x: Tensor, codebook: Tensor, **options: Any) -> VQLookup:
    return vq_lookup(x, codebook, return_scores=True, nearest_rows=True, impl="cpu", **options)


def assert_is_the_definition(x: Tensor, codebook: Tensor, found: VQLookup, rows: bool = True, **options: Any) -> None:
    exact = vq_lookup(x.double(), codebook.double(), return_scores=True, nearest_rows=True, impl="reference", **options)
    reference = vq_lookup(x, codebook, return_scores=True, impl="reference", **options)
    assert torch.equal(found.indices, exact.indices)
    assert torch.equal(found.counts, exact.counts)
    assert not rows or torch.equal(found.nearest_rows, exact.nearest_rows)
    assert_matches_oracle("scores", found.scores, reference.scores, exact.scores)


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("number", "size", "length", "topk"), [(211, 97, 17, 1), (131, 149, 64, 5), (1, 1, 4, 1), (17, 53, 8, 16)]
)
def test_every_instruction_set(
    instruction_set: str, metric: Any, dtype: torch.dtype, number: int, size: int, length: int, topk: int
) -> None:
    x, codebook = draw(number, length, seed=1).to(dtype), draw(size, length, seed=2).to(dtype)
    assert_is_the_definition(x, codebook, look(x, codebook, metric=metric, topk=topk), metric=metric, topk=topk)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 300),
    st.integers(1, 200),
    st.integers(1, 40),
    st.integers(1, 16),
    st.sampled_from(METRICS),
    st.integers(0, 2**31),
)
def test_every_shape(number: int, size: int, length: int, topk: int, metric: Any, seed: int) -> None:
    x, codebook, topk = draw(number, length, seed=seed), draw(size, length, seed=seed + 1), min(topk, size)
    found = look(x, codebook, metric=metric, topk=topk)
    exact = vq_lookup(x.double(), codebook.double(), metric=metric, topk=topk, impl="reference")
    if length > 1 or metric == "euclidean":  # in one dimension every direction is one of two: all cosines are ties
        assert torch.equal(found.indices, exact.indices)
        assert torch.equal(found.counts, exact.counts)
    assert found.counts.sum() == number


@pytest.mark.parametrize("topk", [1, 3])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("offset", [0.0, 10.0, 1e4])
def test_no_index_differs_from_float64(instruction_set: str, offset: float, metric: Any, topk: int) -> None:
    x, codebook = draw(500, 48, seed=3, offset=offset), draw(257, 48, seed=4, offset=offset)
    exact, wide = x.double(), codebook.double()
    if metric == "cosine":
        exact, wide = torch.nn.functional.normalize(exact, dim=-1), torch.nn.functional.normalize(wide, dim=-1)
    scores = -torch.cdist(exact, wide, compute_mode="donot_use_mm_for_euclid_dist")
    scores = scores if metric == "euclidean" else exact @ wide.T
    found = vq_lookup(x, codebook, metric=metric, topk=topk, impl="cpu").indices
    assert torch.equal(found.reshape(500, topk), scores.topk(topk).indices)


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(100, 1500),
    length=st.integers(1, 16),
    closeness=st.integers(0, 7),
    offset=st.sampled_from([0.0, 3.0, 1000.0]),
    metric=st.sampled_from(METRICS),
    seed=st.integers(0, 2**31),
)
def test_short_vectors_among_many_codes(
    size: int, length: int, closeness: int, offset: float, metric: Any, seed: int
) -> None:
    """Several spans of panels, and codes that differ by 1 down to 1e-7 of their size or not at all."""
    x = draw(20, length, seed=seed, offset=offset)
    family = draw(5, length, seed=seed + 1, offset=offset).repeat(size // 5 + 1, 1)[:size]
    codebook = family + 10.0**-closeness * draw(size, length, seed=seed + 2)
    codebook = codebook[: size // 2].repeat(2, 1)  # each of them again, later
    found = vq_lookup(x, codebook, metric=metric, impl="cpu")
    exact = vq_lookup(x.double(), codebook.double(), metric=metric, impl="reference", return_scores=True)
    if metric == "euclidean" or (length > 1 and metric == "dot"):
        assert torch.equal(found.indices, exact.indices)
    assert exact.scores is not None and found.indices.lt(size // 2).all()
    chosen = codebook.double()[found.indices]
    if metric == "cosine":  # in few dimensions cosines come closer to each other than float64 tells
        cosine = torch.nn.functional.cosine_similarity(x.double(), chosen, dim=-1)
        torch.testing.assert_close(cosine, exact.scores, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [8, 256])
def test_near_ties_are_decided_in_float64(instruction_set: str, length: int) -> None:
    """Pairs of codes closer to each other than float32 sums can tell; the better of a pair mostly comes second."""
    x = draw(64, length, seed=5)
    codebook = x.clone() + 0.5
    twins = codebook.clone()
    twins[:, 0] = torch.nextafter(codebook[:, 0], x[:, 0])
    codebook = torch.cat([codebook, twins])
    exact = vq_lookup(x.double(), codebook.double(), impl="reference").indices
    assert exact.ge(64).sum() > 32
    assert torch.equal(vq_lookup(x, codebook, impl="cpu").indices, exact)


@pytest.mark.parametrize("precision", ["exact", "bf16"])
@pytest.mark.parametrize("topk", [1, 4])
def test_equal_codes_go_to_the_lowest_index(instruction_set: str, precision: Any, topk: int) -> None:
    distinct = draw(5, 67, seed=6)
    x = draw(100, 67, seed=7)
    found = vq_lookup(x, distinct.repeat(61, 1), topk=topk, precision=precision, impl="cpu").indices.reshape(100, topk)
    first = vq_lookup(x, distinct, precision=precision, impl="cpu").indices
    assert torch.equal(found, first.unsqueeze(-1) + 5 * torch.arange(topk))


def test_bfloat16_misses_no_more_than_it_says(instruction_set: str) -> None:
    x, codebook = draw(1000, 64, seed=8), draw(512, 64, seed=9)
    exact = look(x, codebook)
    found = look(x, codebook, precision="bf16")
    differs = found.indices != exact.indices
    assert differs.double().mean() <= 0.1
    assert bool(differs.any()) == (instruction_set in INSTRUCTION_SETS[3:])  # elsewhere there is nothing to gain
    assert torch.equal(found.scores[~differs], exact.scores[~differs])
    assert (found.scores <= exact.scores).all()


@pytest.mark.parametrize("topk", [1, 2])
def test_threads_do_not_show(topk: int) -> None:
    x, codebook = draw(2, 700, 3, 12, seed=10), draw(3, 301, 12, seed=11)
    x[0, 350:400] = x[0, :50]  # rows that are equally near
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(look(x, codebook, topk=topk))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(results[0], other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_any_strides(dtype: torch.dtype) -> None:
    wide = draw(13, 40, 22, seed=12).to(dtype)
    x, codebook = wide[:, ::2, 1::2].transpose(0, 1), draw(11, 64, seed=13).to(dtype).T[::2, :][:31]
    image = draw(2, 11, 5, 3, seed=14).to(dtype).permute(0, 2, 3, 1)  # depth is strided, as an encoder leaves it
    for rows in (x, image, draw(1, 11, seed=15).to(dtype).expand(50, 11), draw(9, 1, seed=16).to(dtype).expand(9, 11)):
        found, packed = look(rows, codebook), look(rows.contiguous(), codebook.contiguous())
        assert all(torch.equal(*pair) for pair in zip(found, packed, strict=True))


def test_addresses_past_two_to_the_thirty_one() -> None:
    """Rows 2^29 elements apart in memory that nobody touches between them."""
    rows, width, stride = 6, 16, 2**29
    size = ((rows - 1) * stride + width) * 4
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    try:
        memory = mmap.mmap(-1, size, flags=flags)
    except OSError as error:
        pytest.skip(f"no address space: {error}")
    far = torch.frombuffer(memory, dtype=torch.float32).as_strided((rows, width), (stride, 1))
    x, codebook = draw(rows, width, seed=17), draw(20, width, seed=18)
    far.copy_(x)
    assert torch.equal(vq_lookup(far, codebook, impl="cpu").indices, vq_lookup(x, codebook, impl="cpu").indices)


@pytest.mark.parametrize("topk", [1, 2])
def test_values_whose_squares_leave_float32(instruction_set: str, topk: int) -> None:
    for scale in (1e30, 1e-30):
        x, codebook = draw(30, 8, seed=19) * scale, draw(60, 8, seed=20) * scale
        exact = vq_lookup(x.double(), codebook.double(), topk=topk, impl="reference").indices
        assert torch.equal(vq_lookup(x, codebook, topk=topk, impl="cpu").indices, exact)


@pytest.mark.parametrize("precision", ["exact", "bf16"])
@pytest.mark.parametrize("topk", [1, 4])
def test_what_is_not_finite(instruction_set: str, precision: Any, topk: int) -> None:
    x, codebook = draw(40, 32, seed=21), draw(6, 32, seed=22)
    x[1, 2], x[3, 0], x[4, 31] = torch.nan, torch.inf, -torch.inf
    codebook[0, 0], codebook[2, 31], codebook[5, 7] = torch.nan, torch.inf, -torch.inf
    found = look(x, codebook, precision=precision, topk=topk)
    bad = ~x.isfinite().all(-1)
    assert found.indices[bad].eq(0).all() and found.scores[bad].isnan().all()
    exact = vq_lookup(x.double(), codebook.double(), topk=topk, impl="reference")
    if precision == "exact":
        assert torch.equal(found.indices, exact.indices)
    assert found.counts.sum() == 37 and found.counts[[0, 2, 5]].eq(0).all()
    assert found.nearest_rows[[0, 2, 5]].eq(-1).all() and not bad[found.nearest_rows[[1, 3, 4]]].any()


@pytest.mark.parametrize("topk", [1, 3])
def test_a_codebook_of_nothing_but_nan(topk: int) -> None:
    found = look(draw(20, 8, seed=23), torch.full((70, 8), torch.nan), topk=topk)
    assert torch.equal(found.indices.reshape(20, topk), torch.arange(topk).expand(20, topk))
    assert found.scores.eq(-torch.inf).all() and found.nearest_rows.eq(-1).all()


@pytest.mark.parametrize("metric", METRICS)
def test_opcheck(metric: str) -> None:
    x, codebook = draw(2, 6, 5, seed=24).requires_grad_(), draw(2, 7, 5, seed=25).requires_grad_()
    torch.library.opcheck(torch.ops.gptface.vq_lookup.default, (x, codebook, metric, 2, "exact", True, "cpu"))


def test_what_the_kernel_does_not_take_is_named() -> None:
    x, codebook = draw(3, 4, seed=26), draw(20, 4, seed=27)
    with pytest.raises(RuntimeError, match=r"impl='cpu' cannot run this call: x is torch.float64"):
        vq_lookup(x.double(), codebook, impl="cpu")
    with pytest.raises(RuntimeError, match=r"impl='cpu' cannot run this call: topk=17"):
        vq_lookup(x, codebook, topk=17, impl="cpu")
    assert vq_lookup(x, codebook, topk=17).indices.shape == (3, 17)
    with pytest.raises(RuntimeError, match=r"impl='cpu' cannot run this call: x is on 'meta'"):
        vq_lookup(x.to("meta"), codebook.to("meta"), impl="cpu")
