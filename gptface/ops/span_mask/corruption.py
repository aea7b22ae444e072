"""``corrupt_tokens`` by definition, in vectorised PyTorch (any device, no host synchronisation)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gptface.ops.philox import philox4x32
from gptface.ops.span_mask.random_stream import PURPOSE_CORRUPTION, PURPOSE_REPLACEMENT, sample_key

__all__ = ["corrupt_reference"]


def corrupt_reference(
    token_ids: Tensor,
    mask: Tensor,
    span_ids: Tensor,
    ranges: Sequence[int],
    thresholds: Sequence[int],
    per_span: bool,
    sample_ids: Tensor,
    seed: int,
    step: int,
    device_step: Tensor | None,
) -> Tensor:
    """``ranges``: (low, high, mask id) of each modality, flattened, ascending; ``thresholds``: of the mask token and of
    mask token + random token, in units of 2⁻³²."""
    low, high, mask_ids = (torch.tensor(ranges[i::3], device=token_ids.device) for i in range(3))
    original = token_ids.long()
    # A token belongs to the last range that begins at or below it (to the first, if none does).
    modality = torch.zeros_like(original)
    for begin in ranges[3::3]:
        modality += original >= begin
    first, second = sample_key(seed)
    key = (sample_ids.new_full((), first), sample_ids.new_full((), second))
    positions = torch.arange(token_ids.shape[1], device=token_ids.device).expand_as(token_ids)
    sample = sample_ids.unsqueeze(1)
    moment = torch.full_like(sample, step) if device_step is None else device_step.long().expand_as(sample)
    tail: tuple[Tensor, Tensor, Tensor] = (moment & 0xFFFFFFFF, sample & 0xFFFFFFFF, sample >> 32 & 0xFFFFFFFF)

    decided_by = span_ids.long().clamp_min(0) if per_span else positions
    decision = philox4x32((decided_by | PURPOSE_CORRUPTION << 28, *tail), key)[0]
    high_word, low_word, _, _ = philox4x32((positions | PURPOSE_REPLACEMENT << 28, *tail), key)
    size = (high - low)[modality]
    # floor(64-bit word · size / 2⁶⁴) in 63-bit arithmetic
    replacement = low[modality] + ((high_word * size + ((low_word * size) >> 32)) >> 32)

    corrupted = torch.where(
        decision < thresholds[0], mask_ids[modality], torch.where(decision < thresholds[1], replacement, original)
    )
    return torch.where(mask, corrupted, original).to(token_ids.dtype)
