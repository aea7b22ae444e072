"""``vq_lookup`` against its definition in float64: choice, scores, ties, bad values, memory, gradients, compilation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from gptface.errors import InputError
from gptface.ops import implementations, vq_lookup
from gptface.ops.vq.chunked import lookup_chunked
from tests.helpers.numerics import assert_matches_oracle

METRICS = ("euclidean", "cosine", "dot")


def oracle(x: Tensor, codebook: Tensor, **options: Any) -> Any:
    return vq_lookup(x.double(), codebook.double(), return_scores=True, nearest_rows=True, impl="reference", **options)


def draw(*shape: int, seed: int, offset: float = 0.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + offset


class LargestTensor(TorchDispatchMode):
    """Records the most elements any tensor has that an operation returns."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.untyped_storage().nbytes() // value.element_size())
        return result


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("number", "size", "length", "topk"), [(211, 97, 17, 1), (53, 131, 64, 5), (1, 1, 4, 1), (7, 3, 8, 3)]
)
@pytest.mark.usefixtures("poisoned_empty")
def test_equals_the_definition(metric: Any, dtype: torch.dtype, number: int, size: int, length: int, topk: int) -> None:
    x, codebook = draw(number, length, seed=1).to(dtype), draw(size, length, seed=2).to(dtype)
    found = vq_lookup(x, codebook, metric=metric, topk=topk, return_scores=True, nearest_rows=True)
    exact = oracle(x, codebook, metric=metric, topk=topk)
    reference = vq_lookup(x, codebook, metric=metric, topk=topk, return_scores=True, impl="reference")
    assert torch.equal(found.indices, exact.indices)
    assert torch.equal(found.counts, exact.counts)
    assert torch.equal(found.nearest_rows, exact.nearest_rows)
    assert found.scores.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert_matches_oracle("scores", found.scores, reference.scores, exact.scores)
    assert found.indices.shape == ((number,) if topk == 1 else (number, topk))


@pytest.mark.parametrize("metric", METRICS)
def test_groups_have_their_own_codebooks(metric: Any) -> None:
    x, codebook = draw(2, 19, 3, 8, seed=3), draw(3, 29, 8, seed=4)
    found = vq_lookup(x, codebook, metric=metric, topk=2, return_scores=True, nearest_rows=True)
    assert found.indices.shape == found.scores.shape == (2, 19, 3, 2)
    assert found.counts.shape == found.nearest_rows.shape == (3, 29)
    for group in range(3):
        alone = vq_lookup(x[:, :, group], codebook[group], metric=metric, topk=2, return_scores=True, nearest_rows=True)
        assert torch.equal(found.indices[:, :, group], alone.indices)
        assert torch.equal(found.scores[:, :, group], alone.scores)
        assert torch.equal(found.counts[group], alone.counts)
        assert torch.equal(found.nearest_rows[group], alone.nearest_rows)


@st.composite
def whole_numbers(draw_from: st.DrawFn) -> tuple[Tensor, Tensor, int]:
    """Small whole numbers: many exact ties, and every product and sum exact in float32."""
    number, size, length = draw_from(st.integers(0, 12)), draw_from(st.integers(1, 12)), draw_from(st.integers(1, 5))
    seed, reach = draw_from(st.integers(0, 2**32 - 1)), draw_from(st.integers(1, 3))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-reach, reach + 1, (number, length), generator=generator).float()
    codebook = torch.randint(-reach, reach + 1, (size, length), generator=generator).float()
    offset = draw_from(st.sampled_from([0, 0, 1, 1000]))
    x, codebook = x + offset, codebook + offset
    for tensor in (x, codebook):
        for _ in range(draw_from(st.integers(0, 2))):
            if tensor.shape[0]:
                bad = draw_from(st.sampled_from([torch.nan, torch.inf, -torch.inf]))
                tensor[draw_from(st.integers(0, tensor.shape[0] - 1)), draw_from(st.integers(0, length - 1))] = bad
    return x, codebook, draw_from(st.integers(1, size))


@settings(max_examples=300, deadline=None)
@given(whole_numbers(), st.sampled_from(["euclidean", "dot"]))
def test_ties_and_bad_values_are_those_of_the_definition(data: tuple[Tensor, Tensor, int], metric: Any) -> None:
    x, codebook, topk = data
    found = vq_lookup(x, codebook, metric=metric, topk=topk, return_scores=True, nearest_rows=True)
    exact = oracle(x, codebook, metric=metric, topk=topk)
    assert torch.equal(found.indices, exact.indices)
    assert torch.equal(found.counts, exact.counts)
    assert torch.equal(found.nearest_rows, exact.nearest_rows)
    torch.testing.assert_close(found.scores.double(), exact.scores, rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("precision", ["exact", "tf32x3", "tf32", "bf16"])
def test_equal_codes_go_to_the_lowest_index(metric: Any, precision: Any) -> None:
    # 61 copies of 5 codes: a matrix product may round the columns at its edge differently from the others.
    distinct = draw(5, 67, seed=5)
    codebook = distinct.repeat(61, 1)
    x = draw(300, 67, seed=6)
    found = vq_lookup(x, codebook, metric=metric, topk=4, precision=precision)
    first = vq_lookup(x, distinct, metric=metric, precision=precision).indices
    assert torch.equal(found.indices, first.unsqueeze(-1) + 5 * torch.arange(4))


def test_index_zero_for_a_codebook_of_equal_codes() -> None:
    codebook = draw(1, 33, seed=7).expand(1000, 33)
    assert vq_lookup(draw(200, 33, seed=8), codebook).indices.eq(0).all()


@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
@pytest.mark.parametrize("metric", METRICS)
def test_no_index_differs_from_float64(offset: float, metric: Any) -> None:
    x, codebook = draw(3000, 48, seed=9, offset=offset), draw(701, 48, seed=10, offset=offset)
    exact, wide = x.double(), codebook.double()
    if metric == "cosine":
        exact, wide = torch.nn.functional.normalize(exact, dim=-1), torch.nn.functional.normalize(wide, dim=-1)
    scores = -torch.cdist(exact, wide) if metric == "euclidean" else exact @ wide.T
    truth = scores.argmax(-1)
    share = (vq_lookup(x, codebook, metric=metric).indices != truth).double().mean().item()
    if metric == "cosine" and offset == 1000.0:
        # Unit vectors agree to six digits here. What float32 keeps of them decides, unless float64 breaks the near ties
        # (the native kernel does), so the measure is the reference.
        unit, codes = torch.nn.functional.normalize(x, dim=-1), torch.nn.functional.normalize(codebook, dim=-1)
        allowed = ((unit @ codes.T).argmax(-1) != truth).double().mean().item()
        assert share < allowed
    else:
        assert share == 0


@pytest.mark.parametrize(("precision", "allowed"), [("tf32x3", 0.0), ("tf32", 0.01), ("bf16", 0.1)])
def test_lower_precision_misses_no_more_than_it_says(precision: Any, allowed: float) -> None:
    x, codebook = draw(4000, 64, seed=11), draw(1024, 64, seed=12)
    exact = vq_lookup(x, codebook, return_scores=True)
    found = vq_lookup(x, codebook, precision=precision, return_scores=True)
    differs = found.indices != exact.indices
    assert differs.double().mean() <= allowed
    assert torch.equal(found.scores[~differs], exact.scores[~differs])
    assert (found.scores <= exact.scores).all()


def test_global_precision_and_autocast_change_nothing() -> None:
    x, codebook = draw(2000, 64, seed=13), draw(1024, 64, seed=14)
    expected = vq_lookup(x, codebook, return_scores=True)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = vq_lookup(x, codebook, return_scores=True)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found.indices, expected.indices)
    assert torch.equal(found.scores, expected.scores)


def test_row_with_nan_or_infinity_has_index_zero_and_is_not_counted() -> None:
    x, codebook = draw(6, 4, seed=15), draw(9, 4, seed=16)
    x[1, 2], x[3, 0], x[4, 3] = torch.nan, torch.inf, -torch.inf
    found = vq_lookup(x, codebook, topk=2, return_scores=True, nearest_rows=True)
    bad = torch.tensor([False, True, False, True, True, False])
    assert found.indices[bad].eq(0).all() and found.scores[bad].isnan().all()
    assert torch.equal(found.indices[~bad], oracle(x[~bad], codebook, topk=2).indices)
    assert found.counts.sum() == 3
    assert not bad[found.nearest_rows].any()


def test_unusable_codes_come_last() -> None:
    codebook = draw(4, 5, seed=17)
    codebook[0, 0], codebook[2, 1] = torch.nan, torch.inf
    found = vq_lookup(draw(20, 5, seed=18), codebook, topk=4, return_scores=True, nearest_rows=True)
    assert set(found.indices[:, :2].unique().tolist()) == {1, 3}
    assert torch.equal(found.indices[:, 2:], torch.tensor([0, 2]).expand(20, 2))
    assert found.scores[:, 2:].eq(-torch.inf).all()
    assert torch.equal(found.nearest_rows.lt(0), torch.tensor([True, False, True, False]))


def test_values_whose_squares_overflow_still_give_an_index() -> None:
    x, codebook = draw(30, 8, seed=19) * 1e30, draw(20, 8, seed=20) * 1e30
    indices = vq_lookup(x, codebook).indices
    assert indices.ge(0).all() and indices.lt(20).all()
    halves = (draw(30, 8, seed=21) * 2e4).half(), (draw(20, 8, seed=22) * 2e4).half()
    assert torch.equal(vq_lookup(*halves).indices, oracle(*halves).indices)


def test_any_strides() -> None:
    wide = draw(13, 40, 22, seed=23)
    x, codebook = wide[:, ::2, 1::2].transpose(0, 1), draw(11, 64, seed=24).T[::2, :][:31]
    assert not x.is_contiguous() and not codebook.is_contiguous()
    found = vq_lookup(x, codebook, nearest_rows=True)
    packed = vq_lookup(x.contiguous(), codebook.contiguous(), nearest_rows=True)
    assert torch.equal(found.indices, packed.indices) and torch.equal(found.nearest_rows, packed.nearest_rows)
    one = draw(1, 11, seed=25)
    same = vq_lookup(one.expand(50, 11), codebook).indices
    assert same.eq(vq_lookup(one, codebook).indices).all()


@pytest.mark.parametrize("impl", ["torch", "reference"])
def test_no_rows(impl: str) -> None:
    found = vq_lookup(
        torch.empty(3, 0, 8), draw(5, 8, seed=26), topk=2, return_scores=True, nearest_rows=True, impl=impl
    )
    assert found.indices.shape == found.scores.shape == (3, 0, 2)
    assert found.counts.eq(0).all() and found.nearest_rows.eq(-1).all()


def test_one_vector_without_leading_dimensions() -> None:
    codebook = draw(5, 8, seed=27)
    assert vq_lookup(codebook[3], codebook).indices.shape == ()
    assert vq_lookup(codebook[3], codebook).indices == 3


def test_codebook_larger_than_a_block() -> None:
    x, codebook = draw(70, 4, seed=28), draw(1 << 18, 4, seed=29)
    found = vq_lookup(x, codebook, nearest_rows=True)
    assert torch.equal(found.indices, torch.cdist(x.double(), codebook.double()).argmin(-1))
    assert found.counts.sum() == 70


def test_the_matrix_of_rows_and_codes_is_never_stored() -> None:
    x, codebook = draw(1, 20_000, 8, seed=30), draw(1, 512, 8, seed=31)
    with LargestTensor() as largest:
        lookup_chunked(x, codebook, "euclidean", 2, "exact", True)
    assert largest.elements <= 1 << 19
    assert largest.elements < x.shape[1] * codebook.shape[1] // 10


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("grouped", [False, True])
def test_scores_are_differentiable(metric: Any, grouped: bool) -> None:
    shape = (7, 2, 5) if grouped else (7, 5)
    x = draw(*shape, seed=32).double().requires_grad_()
    codebook = draw(*((2, 11, 5) if grouped else (11, 5)), seed=33).double().requires_grad_()

    def scores(x: Tensor, codebook: Tensor) -> Tensor:
        found = vq_lookup(x, codebook, metric=metric, topk=3, return_scores=True).scores
        assert found is not None
        return found

    assert torch.autograd.gradcheck(scores, (x, codebook))
    assert torch.autograd.gradgradcheck(scores, (x, codebook))


class FloatingScatters(TorchDispatchMode):
    """Names the operations that add floating-point numbers in an order of the device's own choice."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in func.name() for word in ("scatter", "index_add", "index_put", "embedding_dense_backward")):
            self.seen.update(func.name() for value in args if isinstance(value, Tensor) and value.is_floating_point())
        return func(*args, **(kwargs or {}))


def test_the_gradient_of_the_codebook_leaves_no_order_of_additions_to_the_device() -> None:
    x, codebook = draw(3, 200, 8, seed=90).requires_grad_(), draw(3, 7, 8, seed=91).requires_grad_()
    found = vq_lookup(x.transpose(0, 1), codebook, topk=3, return_scores=True)
    assert found.scores is not None
    with FloatingScatters() as scatters:
        found.scores.sin().sum().backward()
    assert codebook.grad is not None and codebook.grad.abs().sum() > 0 and not scatters.seen
    with FloatingScatters() as scatters:
        torch.zeros(3).index_add_(0, torch.tensor([0, 0]), torch.ones(2))
    assert scatters.seen


def test_bad_rows_get_no_gradient() -> None:
    x, codebook = draw(4, 5, seed=34), draw(6, 5, seed=35).requires_grad_()
    x[2, 1] = torch.nan
    x.requires_grad_()
    found = vq_lookup(x, codebook, return_scores=True)
    found.scores.nan_to_num().sum().backward()
    assert x.grad[2].eq(0).all() and x.grad[[0, 1, 3]].ne(0).any(-1).all()
    assert codebook.grad.isfinite().all()


def test_without_scores_nothing_is_recorded() -> None:
    found = vq_lookup(draw(4, 5, seed=36).requires_grad_(), draw(6, 5, seed=37).requires_grad_())
    assert found.scores is None and found.nearest_rows is None and not found.indices.requires_grad


@pytest.mark.parametrize("impl", ["torch", "reference"])
@pytest.mark.parametrize("metric", METRICS)
def test_opcheck(metric: str, impl: str) -> None:
    x, codebook = draw(2, 6, 5, seed=38).requires_grad_(), draw(2, 7, 5, seed=39).requires_grad_()
    torch.library.opcheck(torch.ops.gptface.vq_lookup.default, (x, codebook, metric, 2, "exact", True, impl))


def test_compiles_whole_and_new_sizes_recompile_nothing() -> None:
    counter = CompileCounterWithBackend("aot_eager")

    @torch.compile(fullgraph=True, dynamic=True, backend=counter)
    def look(x: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = vq_lookup(x, codebook, topk=2, return_scores=True, nearest_rows=True)
        assert found.scores is not None and found.nearest_rows is not None
        return found.indices, found.scores.exp().sum(), found.nearest_rows

    for number, size in ((50, 20), (31, 20), (977, 35)):
        x, codebook = draw(number, 6, seed=40).requires_grad_(), draw(size, 6, seed=41)
        indices, total, rows = look(x, codebook)
        total.backward()
        expected = vq_lookup(x, codebook, topk=2, nearest_rows=True)
        assert torch.equal(indices, expected.indices) and torch.equal(rows, expected.nearest_rows)
        assert x.grad.isfinite().all()
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    ("x", "codebook", "options", "named"),
    [
        ((3, 4), (5, 6), {}, r"\(3, 4\).*\(5, 6\)"),
        ((3, 4), (0, 4), {}, r"codebook has shape \(0, 4\)"),
        ((3, 0), (5, 0), {}, r"codebook has shape \(5, 0\)"),
        ((3, 4), (4,), {}, r"codebook has shape \(4,\)"),
        ((), (5, 4), {}, r"x has shape \(\)"),
        ((4,), (2, 5, 4), {}, r"x has shape \(4,\)"),
        ((3, 7, 4), (2, 5, 4), {}, "7 groups"),
        ((3, 4), (5, 4), {"topk": 0}, "topk=0"),
        ((3, 4), (5, 4), {"topk": 6}, "topk=6"),
        ((3, 4), (5, 4), {"metric": "manhattan"}, "metric='manhattan'"),
        ((3, 4), (5, 4), {"precision": "fp8"}, "precision='fp8'"),
    ],
)
def test_bad_input_is_named(x: tuple[int, ...], codebook: tuple[int, ...], options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        vq_lookup(torch.zeros(x), torch.zeros(codebook), **options)


def test_bad_dtype_and_implementation_are_named() -> None:
    with pytest.raises(InputError, match=r"x is torch.int64"):
        vq_lookup(torch.zeros(3, 4, dtype=torch.int64), torch.zeros(5, 4))
    with pytest.raises(ValueError, match="impl='fastest' is not known"):
        vq_lookup(torch.zeros(3, 4), torch.zeros(5, 4), impl="fastest")
    assert {"reference", "torch"} <= {found.name for found in implementations("vq_lookup") if found.available}


def test_forward_mode_raises_where_it_would_give_a_derivative_of_zero() -> None:
    x, codes = torch.randn(5, 4), torch.randn(7, 4)
    with pytest.raises(RuntimeError, match="no forward-mode derivative"):
        torch.func.jvp(lambda rows: vq_lookup(rows, codes, return_scores=True).scores, (x,), (torch.ones_like(x),))
    # Indices have no derivative to lose: whoever needs them alone may use any transform.
    found, tangent = torch.func.jvp(lambda rows: rows * vq_lookup(rows, codes).indices[:, None], (x,), (x,))
    assert torch.equal(found, x * vq_lookup(x, codes).indices[:, None]) and torch.equal(tangent, found)


def test_a_functional_gradient_is_refused_in_our_words() -> None:
    x, codebook = torch.randn(3, 8), torch.randn(5, 8)
    with pytest.raises(RuntimeError, match=r"vq_lookup.* cannot be differentiated by torch's function transforms"):
        torch.func.grad(lambda rows: vq_lookup(rows, codebook, return_scores=True).scores.sum())(x)
