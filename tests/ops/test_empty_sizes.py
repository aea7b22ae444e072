"""A size of 0 leaves nothing unwritten: every operator, on every implementation that runs here, memory poisoned.

What is right is known without computing: nothing to see gives zeros, nobody to choose a code leaves counts of 0.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from gptface.ops import (
    ImageRandom,
    IntervalMask,
    ResidualVectorQuantizer,
    SpanMask,
    TextSpans,
    VectorQuantizer,
    corrupt_tokens,
    gather_rows,
    implementations,
    mask_tokens,
    masked_attention,
    pack_codebook,
    sample_span_mask,
    vq_lookup,
)

pytestmark = pytest.mark.usefixtures("poisoned_empty")


def implementations_here(operator: str) -> list[str]:
    return ["auto", *(found.name for found in implementations(operator) if found.available)]


def on_cpu(operator: str) -> list[str]:
    return [name for name in implementations_here(operator) if name not in ("cuda", "triton")]


# --- attention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("impl", on_cpu("masked_attention"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "sizes",  # batch, queries, keys, heads, key heads
    [(2, 7, 0, 4, 2), (2, 0, 7, 4, 2), (0, 7, 5, 4, 2), (2, 7, 5, 0, 2), (1, 0, 0, 2, 2), (1, 600, 0, 1, 1)],
    ids=["no keys", "no queries", "no samples", "no heads", "neither", "no keys, many queries"],
)
def test_gradients_without_keys_are_zeros_and_not_old_memory(
    impl: str, dtype: torch.dtype, sizes: tuple[int, ...]
) -> None:
    batch, queries, keys, heads, key_heads = sizes
    masks = {
        "none": None,
        "full": IntervalMask.full(queries, keys),
        "causal": IntervalMask.causal(queries, keys),
        "two intervals": IntervalMask(torch.zeros(1, queries, 2, 2, dtype=torch.int32), keys),
    }
    for (name, mask), with_lse, dropout_p in product(masks.items(), (False, True), (0.0, 0.5)):
        label = f"{name}, {with_lse=}, {dropout_p=}"
        leaves = [
            torch.ones(batch, rows, number, 16, dtype=dtype, requires_grad=True)
            for rows, number in ((queries, heads), (keys, key_heads), (keys, key_heads))
        ]
        options: dict[str, Any] = {"dropout_p": dropout_p, "seed": 3} if dropout_p else {}
        if impl == "sdpa" and (with_lse or dropout_p or 0 in sizes[:3]):
            with pytest.raises(RuntimeError, match="impl='sdpa' cannot run this call"):
                masked_attention(*leaves, mask, impl=impl, return_lse=with_lse, **options)
            continue
        found = masked_attention(*leaves, mask, impl=impl, return_lse=with_lse, **options)
        out = found[0] if with_lse else found
        assert out.shape == (batch, queries, heads, 16) and (out == 0).all(), label
        loss = out.float().sum()
        if with_lse:
            assert found[1].shape == (batch, heads, queries) and (found[1] == -torch.inf).all(), label
            loss = loss + torch.where(found[1].isfinite(), found[1], 0.0).sum()
        for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
            assert gradient.shape == leaf.shape and (gradient == 0).all(), label


# --- the lookup and its quantizers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("impl", on_cpu("vq_lookup"))
@pytest.mark.parametrize("topk", [1, 3])
@pytest.mark.parametrize(
    ("rows", "codes"),
    [((0, 8), (5, 8)), ((3, 0, 8), (5, 8)), ((0, 2, 8), (2, 5, 8)), ((4, 0, 8), (0, 5, 8))],
    ids=["no rows", "no rows of three", "no rows of two groups", "no groups"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_lookup_of_no_rows(impl: str, topk: int, rows: tuple[int, ...], codes: tuple[int, ...], packed: bool) -> None:
    x, codebook = torch.ones(rows, requires_grad=True), torch.ones(codes, requires_grad=True)
    found = vq_lookup(
        x,
        pack_codebook(codebook) if packed else codebook,
        topk=topk,
        return_scores=True,
        nearest_rows=True,
        impl=impl,
    )
    assert found.indices.numel() == 0 and found.counts.shape == codes[:-1] and (found.counts == 0).all()
    assert found.nearest_rows is not None and (found.nearest_rows == -1).all() and found.scores is not None
    if not packed:
        gradients = torch.autograd.grad(found.scores.sum(), (x, codebook))
        assert all((gradient == 0).all() for gradient in gradients) and gradients[1].shape == codes


@pytest.mark.parametrize("kind", ["one", "groups", "residual"])
@pytest.mark.parametrize("codebook_update", ["ema", "gradient"])
@pytest.mark.parametrize("kmeans_init", [False, True])
@pytest.mark.parametrize("masked", [False, True], ids=["no rows", "all rows are padding"])
def test_a_batch_of_nothing_teaches_a_quantizer_nothing(
    kind: str, codebook_update: Any, kmeans_init: bool, masked: bool
) -> None:
    options: dict[str, Any] = {"codebook_update": codebook_update, "kmeans_init": kmeans_init, "entropy_weight": 0.1}
    made: Any
    if kind == "residual":
        made = ResidualVectorQuantizer(8, 6, stages=2, **options)
    else:
        made = VectorQuantizer(8, 6, groups=2 if kind == "groups" else 1, topk=2, **options)
    weights = {name: value.clone() for name, value in made.state_dict().items() if "weight" in name}
    x = torch.ones(2, 3 if masked else 0, 8, requires_grad=True)
    found = made(x, torch.zeros(2, 3, dtype=torch.bool) if masked else None)
    assert found.quantized.shape == x.shape and found.loss == 0
    (gradient,) = torch.autograd.grad(found.loss + 0.0 * found.quantized.sum(), x)
    assert (gradient == 0).all()
    for name, before in weights.items():
        assert torch.allclose(made.state_dict()[name], before, rtol=1e-5), name
    for name, state in made.state_dict().items():
        assert not state.is_floating_point() or state.isfinite().all(), name


# --- span masks -------------------------------------------------------------------------------------------------------

CORRUPTION: dict[str, Any] = {"mask_id": 1, "vocabulary_ranges": [(2, 9)], "seed": 0, "step": 0}


def assert_masks_nothing(found: SpanMask, batch: int, size: int) -> None:
    assert found.mask.shape == (batch, size) and not found.mask.any()
    assert found.indices.numel() == 0 and torch.equal(found.cu_masked, torch.zeros(batch + 1, dtype=torch.int64))
    assert found.span_ids.shape == (batch, size) and (found.span_ids == -1).all()


@pytest.mark.parametrize("impl", on_cpu("sample_span_mask"))
@pytest.mark.parametrize(("batch", "size"), [(0, 7), (3, 0), (0, 0), (3, 7)])
def test_span_masks_of_nothing(impl: str, batch: int, size: int) -> None:
    spec, ids = TextSpans(ratio=0.5), torch.arange(batch)
    nobody = torch.zeros(batch, size, dtype=torch.bool)
    found = sample_span_mask(spec, nobody, seed=0, step=0, sample_ids=ids, impl=impl)
    assert_masks_nothing(found, batch, size)
    lengths = torch.zeros(batch, dtype=torch.int64)
    found = sample_span_mask(spec, lengths, max_length=size, seed=0, step=0, sample_ids=ids, impl=impl)
    assert_masks_nothing(found, batch, size)

    tokens = torch.full((batch, size), 5)
    assert torch.equal(corrupt_tokens(tokens, found, sample_ids=ids, impl=impl, **CORRUPTION), tokens)
    corrupted, both = mask_tokens(tokens, spec, nobody, sample_ids=ids, impl=impl, **CORRUPTION)
    assert torch.equal(corrupted, tokens)
    assert_masks_nothing(both, batch, size)


@pytest.mark.parametrize("impl", on_cpu("sample_span_mask"))
def test_an_image_grid_of_no_samples_or_no_budget(impl: str) -> None:
    for batch, ratio in ((0, 0.5), (3, 0.0)):
        spec = ImageRandom(grid=(3, 4), ratio=ratio)
        found = sample_span_mask(spec, seed=0, step=0, sample_ids=torch.arange(batch), impl=impl)
        assert_masks_nothing(found, batch, 12)


@pytest.mark.parametrize("impl", on_cpu("sample_span_mask"))
def test_what_a_static_bound_leaves_over_is_minus_one(impl: str) -> None:
    """Compiled code keeps the padding of ``indices``: all of it, where nothing is eligible."""

    spec = TextSpans(ratio=0.5)

    def draw(eligible: torch.Tensor) -> torch.Tensor:
        ids = torch.arange(eligible.shape[0])
        return sample_span_mask(spec, eligible, seed=0, step=0, sample_ids=ids, impl=impl).indices

    torch._dynamo.reset()
    indices = torch.compile(draw, backend="eager", fullgraph=True)(torch.zeros(3, 8, dtype=torch.bool))
    assert indices.numel() > 0 and (indices == -1).all()


# --- rows by packed positions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 0, 4), (0, 3, 4), (2, 3, 0), (2, 3, 4)])
@pytest.mark.parametrize("number", [0, 3])
def test_gather_of_nothing(shape: tuple[int, ...], number: int) -> None:
    hidden = torch.ones(shape, requires_grad=True)
    rows = gather_rows(hidden, torch.full((number,), -1))
    assert rows.shape == (number, shape[-1]) and (rows == 0).all()
    (gradient,) = torch.autograd.grad(rows.sum(), hidden)
    assert gradient.shape == shape and (gradient == 0).all()
