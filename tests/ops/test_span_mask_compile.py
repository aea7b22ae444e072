"""Span masks inside compiled training steps: one graph, no break, static shapes, gradients untouched by padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from gptface.errors import InputError
from gptface.ops import (
    ImageBlocks,
    MaskGITCosine,
    Multimodal,
    TextSpans,
    corrupt_tokens,
    implementations,
    sample_span_mask,
)

IMPLS = [found.name for found in implementations("sample_span_mask") if found.available and found.name != "cuda"]
SPEC = Multimodal(TextSpans(0.3), ImageBlocks((4, 4), MaskGITCosine()))
QUARTER, RANGE = TextSpans(0.25), TextSpans((0.1, 0.5))  # specifications are made outside compiled code
RANGES: dict[str, Any] = {"mask_id": (1, 2), "vocabulary_ranges": [(5, 100), (100, 200)]}


def inputs(batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    modality = torch.cat([torch.ones(batch, 20, dtype=torch.int8), torch.full((batch, 16), 2, dtype=torch.int8)], 1)
    return modality, torch.randint(0, 200, (batch, 36)), torch.arange(batch) * 7919


@pytest.mark.parametrize("impl", IMPLS)
def test_a_compiled_step_equals_the_eager_one_and_does_not_recompile(impl: str) -> None:
    def step(modality: torch.Tensor, tokens: torch.Tensor, ids: torch.Tensor, number: int) -> tuple[Any, Any, Any]:
        mask = sample_span_mask(SPEC, modality, seed=7, step=number, sample_ids=ids, impl=impl)
        corrupted = corrupt_tokens(tokens, mask, seed=7, step=number, sample_ids=ids, impl=impl, **RANGES)
        text = sample_span_mask(RANGE, ids % 30, seed=7, step=number, sample_ids=ids, max_length=30, impl=impl)
        return mask, corrupted, text

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(step, backend=counter, fullgraph=True)
    for number, batch in enumerate([2, 2, 3, 4, 5, 6]):
        modality, tokens, ids = inputs(batch)
        mask, corrupted, text = compiled(modality, tokens, ids, number)
        eager_mask, eager_corrupted, eager_text = step(modality, tokens, ids, number)
        torch.testing.assert_close(corrupted, eager_corrupted)
        for mine, theirs in ((mask, eager_mask), (text, eager_text)):
            assert torch.equal(mine.mask, theirs.mask) and torch.equal(mine.span_ids, theirs.span_ids)
            masked = int(mine.cu_masked[-1])
            assert torch.equal(mine.indices[:masked], theirs.indices) and (mine.indices[masked:] == -1).all()
        assert len(mask.indices) == batch * (11 + 16) and len(text.indices) == batch * 15
    assert counter.frame_count <= 3  # static, then with a dynamic step and a dynamic batch


def test_known_lengths_give_exact_static_indices() -> None:
    def step(ids: torch.Tensor) -> Any:
        return sample_span_mask(QUARTER, [8, 4, 0], seed=0, step=0, sample_ids=ids)

    assert len(torch.compile(step, backend="aot_eager", fullgraph=True)(torch.arange(3)).indices) == 2 + 1


def test_a_step_tensor_equals_the_number() -> None:
    modality, tokens, ids = inputs(3)
    for impl in IMPLS:
        number = sample_span_mask(SPEC, modality, seed=1, step=41, sample_ids=ids, impl=impl)
        tensor = sample_span_mask(SPEC, modality, seed=1, step=torch.tensor(41), sample_ids=ids, impl=impl)
        assert torch.equal(number.span_ids, tensor.span_ids)
        for step in (41, torch.tensor(41)):
            corrupted = corrupt_tokens(tokens, number, seed=1, step=step, sample_ids=ids, impl=impl, **RANGES)
            expected = corrupt_tokens(tokens, number, seed=1, step=41, sample_ids=ids, impl="reference", **RANGES)
            assert torch.equal(corrupted, expected)


def test_lengths_that_the_host_may_not_read_need_a_maximum() -> None:
    def step(lengths: torch.Tensor) -> Any:
        return sample_span_mask(QUARTER, lengths, seed=0, step=0, sample_ids=[1]).mask

    with pytest.raises(Exception, match="max_length") as caught:
        torch.compile(step, backend="eager", fullgraph=True)(torch.tensor([5]))
    assert isinstance(caught.value, (InputError, torch._dynamo.exc.TorchDynamoException))


def test_rows_that_minus_one_names_add_nothing() -> None:
    """The documented use of ``indices``: gather, loss, gradient; padding changes neither."""
    modality, _, ids = inputs(2)
    arguments = (SPEC.encoded, modality.view(torch.uint8), None, None, ids, 1, 1, None, 36)
    for padding in (0, 13):
        mask = sample_span_mask(SPEC, modality, seed=1, step=1, sample_ids=ids)
        _, indices, _, _ = torch.ops.gptface.sample_span_mask_reference(*arguments, len(mask.indices) + padding)
        hidden = torch.arange(2 * 36 * 3, dtype=torch.float64).reshape(72, 3).requires_grad_()
        rows = hidden[indices.clamp_min(0)] * (indices >= 0).unsqueeze(1)
        rows.square().sum().backward()
        expected = 2 * hidden.detach() * mask.mask.reshape(-1, 1)
        assert hidden.grad is not None
        torch.testing.assert_close(hidden.grad, expected)


@pytest.mark.parametrize("impl", IMPLS)
def test_opcheck(impl: str) -> None:
    suffix = "_reference" if impl == "reference" else ""
    modality, tokens, ids = inputs(3)
    sample = getattr(torch.ops.gptface, "sample_span_mask" + suffix).default
    corrupt = getattr(torch.ops.gptface, "corrupt_tokens" + suffix).default
    arguments = (SPEC.encoded, modality.view(torch.uint8), None, None, ids, 7, 3, None, 36, 50)
    torch.library.opcheck(sample, arguments)
    torch.library.opcheck(
        sample, (TextSpans().encoded, torch.tensor([4, 9, 0]), None, None, ids, 7, 0, torch.tensor(3), 9, 20)
    )
    mask, _, _, span_ids = sample(*arguments)
    torch.library.opcheck(
        corrupt, (tokens, mask, span_ids, [5, 100, 1, 100, 200, 2], [2**31, 2**32], True, ids, 7, 3, None)
    )
