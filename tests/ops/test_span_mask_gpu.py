"""Ring 4: span masks on a CUDA device give the definition's bits, without a synchronisation, also from a CUDA graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gptface.diagnosis.span_mask_draws import random_case
from gptface.ops import (
    ImageBlocks,
    MaskGITCosine,
    Multimodal,
    SpanMask,
    TextSpans,
    corrupt_tokens,
    gather_rows,
    mask_tokens,
    sample_span_mask,
)

pytestmark = pytest.mark.gpu
SPEC = Multimodal(TextSpans(0.3), ImageBlocks((16, 16), MaskGITCosine()))
RANGES: dict[str, Any] = {"mask_id": (1, 2), "vocabulary_ranges": [(5, 100), (100, 200)]}


def to_device(value: Any) -> Any:
    return torch.from_numpy(value).cuda() if isinstance(value, np.ndarray) else value


def inputs(batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    modality = torch.tensor([0] + [1] * 76 + [2] * 256 + [0], dtype=torch.int8, device="cuda").expand(batch, -1)
    tokens = torch.randint(0, 200, modality.shape, device="cuda")
    return modality.contiguous(), tokens, torch.arange(batch, device="cuda") * 7919


def test_random_specifications_bit_for_bit() -> None:
    rng = np.random.default_rng(20)
    for _ in range(500):
        case = random_case(rng)
        keywords = {name: to_device(value) for name, value in case.keywords.items()}
        layout = to_device(case.layout)
        if layout is not None and layout.dim() == 1:
            keywords.setdefault("max_length", int(layout.max()) if layout.numel() else 0)
        found = sample_span_mask(case.spec, layout, impl="cuda", **keywords)
        expected = sample_span_mask(case.spec, case.layout, impl="reference", **case.keywords)
        masked = len(expected.indices)
        for name, mine, theirs in zip(SpanMask._fields, found, expected, strict=True):
            own = mine[:masked] if name == "indices" else mine[:, : theirs.shape[1]] if theirs.ndim == 2 else mine
            np.testing.assert_array_equal(own.cpu().numpy(), theirs, err_msg=f"{name} of {case}")
        assert (found.indices[masked:] == -1).all()


@pytest.mark.parametrize("batch", [1, 255, 256, 257, 5000])
def test_large_batches_and_corruption_bit_for_bit(batch: int) -> None:
    modality, tokens, ids = inputs(batch)
    found = sample_span_mask(SPEC, modality, seed=1, step=2, sample_ids=ids, impl="cuda")
    expected = sample_span_mask(SPEC, modality.cpu(), seed=1, step=2, sample_ids=ids.cpu())
    assert torch.equal(found.span_ids.cpu(), expected.span_ids) and torch.equal(
        found.cu_masked.cpu(), expected.cu_masked
    )
    assert torch.equal(found.indices[: len(expected.indices)].cpu(), expected.indices)
    for per in ("span", "token"):
        keywords: dict[str, Any] = {"per": per, "seed": 1, "step": 2, **RANGES}
        mine = corrupt_tokens(tokens, found, sample_ids=ids, impl="cuda", **keywords)
        theirs = corrupt_tokens(tokens.cpu(), expected, sample_ids=ids.cpu(), **keywords)
        assert torch.equal(mine.cpu(), theirs)
        both = mask_tokens(tokens, SPEC, modality, sample_ids=ids, impl="cuda", **keywords)
        assert torch.equal(both.token_ids, mine)
        for one, other in zip(both.span_mask, found, strict=True):
            assert torch.equal(one, other)


def test_masked_rows_are_gathered_and_their_gradients_scattered() -> None:
    modality, _, ids = inputs(64)
    mask = sample_span_mask(SPEC, modality, seed=1, step=2, sample_ids=ids)
    hidden = torch.randn(64, 334, 128, device="cuda", dtype=torch.bfloat16)
    results = []
    for device in ("cuda", "cpu"):
        leaf = hidden.to(device).detach().requires_grad_()
        rows = gather_rows(leaf, mask.indices.to(device))
        rows.backward(rows.detach() * 2)
        assert leaf.grad is not None
        results.append((rows.detach().cpu(), leaf.grad.cpu()))
    for mine, theirs in zip(*results, strict=True):
        assert torch.equal(mine, theirs)


def test_no_synchronisation_and_the_same_bits_from_a_graph() -> None:
    modality, tokens, ids = inputs(64)
    step = torch.zeros((), dtype=torch.int64, device="cuda")

    def run() -> tuple[SpanMask, torch.Tensor]:
        both = mask_tokens(tokens, SPEC, modality, seed=1, step=step, sample_ids=ids, impl="cuda", **RANGES)
        return both.span_mask, both.token_ids

    run()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        mask, corrupted = run()
    for number in (3, 4):
        step.fill_(number)
        graph.replay()
        eager = sample_span_mask(SPEC, modality, seed=1, step=number, sample_ids=ids)
        for mine, theirs in zip(mask, eager, strict=True):
            assert torch.equal(mine, theirs)
        assert torch.equal(corrupted, corrupt_tokens(tokens, eager, seed=1, step=number, sample_ids=ids, **RANGES))


def test_opcheck() -> None:
    modality, tokens, ids = inputs(3)
    arguments = (SPEC.encoded, modality.view(torch.uint8), None, None, ids, 7, 3, None, 334, 1000)
    torch.library.opcheck(torch.ops.gptface.sample_span_mask.default, arguments)
    mask, _, _, span_ids = torch.ops.gptface.sample_span_mask(*arguments)
    ranges = [5, 100, 1, 100, 200, 2]
    torch.library.opcheck(
        torch.ops.gptface.corrupt_tokens.default,
        (tokens, mask, span_ids, ranges, [2**31, 2**32], True, ids, 7, 3, None),
    )


def test_on_the_host_the_same_bits() -> None:
    """What ``auto`` takes where the CUDA kernel is not proven."""
    modality, tokens, ids = inputs(33)
    words: dict[str, Any] = {"seed": 1, "step": 2, "sample_ids": ids, **RANGES}
    here, there = (mask_tokens(tokens, SPEC, modality, impl=impl, **words) for impl in ("cuda", "host"))
    assert there.token_ids.is_cuda and torch.equal(here.token_ids, there.token_ids)
    for one, other in zip(here.span_mask, there.span_mask, strict=True):
        assert torch.equal(one, other)
