"""What lookup and quantizers make of input nobody should send: a defined result, or an error that names it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptface.errors import InputError
from gptface.ops import ResidualVectorQuantizer, VectorQuantizer, implementations, vq_lookup

RUNNABLE = [found.name for found in implementations("vq_lookup") if found.available and found.name != "reference"]
ON_CPU = [name for name in ("cpu", "torch") if name in RUNNABLE]
KINDS: dict[str, dict[str, Any]] = {
    "ema": {"revive_below": 0.1},
    "gradient": {"codebook_update": "gradient", "revive_below": 0.1},
    "cosine": {"metric": "cosine"},
    "groups": {"groups": 2, "topk": 2},
    "entropy": {"entropy_weight": 0.1},
}


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(size: int = 12, **options: Any) -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizer(8, size, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_teaches_nothing_and_costs_nothing(kind: str) -> None:
    quantizer = build(kmeans_init=False, **KINDS[kind])
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    x = torch.empty(3, 0, 8, requires_grad=True)
    found = quantizer(x)
    (found.loss + found.quantized.sum()).backward()
    assert found.quantized.shape == (3, 0, 8) and found.indices.shape[:2] == (3, 0)
    assert found.loss == 0 and found.perplexity == 1 and found.usage == 0 and x.grad.shape == x.shape
    for name in ("weight", "initialized"):
        if name in before:
            torch.testing.assert_close(quantizer.state_dict()[name], before[name])


@pytest.mark.parametrize("impl", ON_CPU)
def test_one_code(impl: str) -> None:
    found = vq_lookup(draw(9, 8, seed=1), draw(1, 8, seed=2), return_scores=True, nearest_rows=True, impl=impl)
    assert found.indices.eq(0).all() and found.counts.tolist() == [9]
    assert found.nearest_rows.tolist() == [int(found.scores.argmax())]
    quantizer = build(1, revive_below=0.5, decay=0.5)
    for step in range(3):
        output = quantizer(draw(9, 8, seed=step))
        assert output.indices.eq(0).all() and output.perplexity == 1 and output.usage == 1 and output.loss.isfinite()


def test_no_code_and_vectors_of_another_length_are_named() -> None:
    with pytest.raises(InputError, match=r"codebook has shape \(0, 8\)"):
        vq_lookup(torch.zeros(3, 8), torch.zeros(0, 8))
    for module in (VectorQuantizer, lambda dim, size: ResidualVectorQuantizer(dim, size, 2)):
        with pytest.raises(InputError, match="codebook_size=0"):
            module(8, 0)
        with pytest.raises(InputError, match=r"x has shape \(3, 9\).*dim=8"):
            module(8, 4)(torch.zeros(3, 9))
        with pytest.raises(InputError, match=r"x has shape \(\)"):
            module(8, 4)(torch.zeros(()))
    with pytest.raises(InputError, match="groups=1"):
        VectorQuantizer(0, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_with_nan_are_never_chosen_and_come_back_to_life(kind: str) -> None:
    quantizer = build(kmeans_init=False, decay=0.5, **{**KINDS[kind], "revive_below": 0.3})
    with torch.no_grad():
        quantizer.weight[..., 3, :] = torch.nan
        if quantizer.codebook_update == "ema":
            quantizer.cluster_sum[..., 3, :] = torch.nan
    x = draw(200, 8, seed=3)
    found = quantizer(x)
    assert not found.indices.eq(3).any()
    assert found.quantized.isfinite().all()
    if kind != "entropy":  # the entropy is one over all codes, this one too
        assert found.loss.isfinite()
    for step in range(12):
        quantizer(draw(200, 8, seed=10 + step))
    assert quantizer.weight.isfinite().all()
    assert quantizer(x).loss.isfinite()


def test_a_codebook_of_nothing_but_nan_is_index_zero() -> None:
    quantizer = build(kmeans_init=False, revive_below=0.0)
    quantizer.weight.fill_(torch.nan)
    found = quantizer(draw(20, 8, seed=4), update=False)
    assert found.indices.eq(0).all() and found.quantized.isnan().all() and found.loss.isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("impl", ON_CPU)
def test_half_precision_whose_squares_overflow(dtype: torch.dtype, metric: Any, impl: str) -> None:
    """60000² is no float16, and 1e30² no float32: indices are those of float64 (in PyTorch operators, which work in
    float32, of the former only)."""
    scale = 2e4 if dtype == torch.float16 else 1e30
    x, codebook = (draw(50, 16, seed=5) * scale / 3).to(dtype), (draw(30, 16, seed=6) * scale / 3).to(dtype)
    assert x.isfinite().all() and codebook.isfinite().all()
    exact = vq_lookup(x.double(), codebook.double(), metric=metric, impl="reference").indices
    found = vq_lookup(x, codebook, metric=metric, impl=impl)
    if impl == "torch" and dtype == torch.bfloat16:
        assert ((found.indices >= 0) & (found.indices < 30)).all() and found.counts.sum() == 50
    else:
        assert torch.equal(found.indices, exact)


def test_half_precision_training_near_its_largest_value() -> None:
    quantizer = build(decay=0.5)
    for step in range(5):
        x = (draw(100, 8, seed=step) * 1e4).half().requires_grad_()
        found = quantizer(x)
        assert found.loss.isfinite() and found.quantized.isfinite().all() and found.quantized.dtype == torch.float16
        found.quantized.float().mean().backward()
        assert x.grad.isfinite().all()
    assert all(value.isfinite().all() for value in quantizer.state_dict().values() if value.is_floating_point())


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_any_strides_zero_ones_too(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    shape = data.draw(st.sampled_from([(24,), (4, 6), (2, 3, 4)]))
    layout = data.draw(
        st.sampled_from(["expanded rows", "expanded columns", "channels first", "every other", "flipped"])
    )
    base = draw(*shape, 16, seed=data.draw(st.integers(0, 99)))
    if layout == "expanded rows":
        x = base[(0,) * len(shape)][:8].expand(*shape, 8)
    elif layout == "expanded columns":
        x = base[..., :1].expand(*shape, 8)
    elif layout == "channels first":
        x = base[..., :8].movedim(-1, 0).contiguous().movedim(0, -1)
    elif layout == "every other":
        x = base[..., ::2]
    else:
        x = base[..., :8].flip(0).transpose(0, -2) if len(shape) > 1 else base[:, :8].flip(0)
    packed = x.clone(memory_format=torch.contiguous_format)
    first, second = build(kmeans_init=False, **KINDS[kind]), build(kmeans_init=False, **KINDS[kind])
    found, expected = first(x), second(packed)
    for ours, theirs in zip(found, expected, strict=True):
        if ours is not None:  # sums over another layout are rounded in another order
            torch.testing.assert_close(ours, theirs, rtol=1e-5 if ours.is_floating_point() else 0, atol=0)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], rtol=1e-5, atol=1e-7)


def test_a_weight_shared_by_all_codes() -> None:
    """A codebook of zero strides: every code the same, every row at index 0."""
    one = draw(1, 8, seed=7)
    for impl in ON_CPU:
        found = vq_lookup(draw(30, 8, seed=8), one.expand(40, 8), topk=3, impl=impl)
        assert torch.equal(found.indices, torch.arange(3).expand(30, 3))


@pytest.mark.slow
def test_more_pairs_than_a_32_bit_number_counts() -> None:
    """N·K above 2³², with rows whose nearest code is known: codes on a line, as far apart as numbers allow."""
    rows, codes = 70_001, 65_537
    codebook = torch.zeros(codes, 4)
    codebook[:, 0] = torch.arange(codes)
    truth = torch.arange(rows) * 7919 % codes
    x = codebook[truth] + 0.25 * draw(rows, 4, seed=9).clamp(-1, 1)
    assert rows * codes > 2**32
    quantizer = VectorQuantizer(4, codes, kmeans_init=False, revive_below=0.0)
    quantizer.weight.copy_(codebook)
    found = quantizer(x, update=False)
    assert torch.equal(found.indices, truth)


def test_shapes_past_two_to_the_thirty_one_on_meta() -> None:
    x, codebook = torch.empty(2**20, 2**12, 8, device="meta"), torch.empty(2**18, 8, device="meta")
    found = vq_lookup(x, codebook, topk=2, return_scores=True, impl="torch")
    assert found.indices.shape == (2**20, 2**12, 2) and found.counts.shape == (2**18,)
