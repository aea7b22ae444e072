"""Where the intervals of each kind of mask come from: pure functions on the device, O(S), without synchronisation.

Their meaning and arguments are documented at the class methods of :class:`~gptface.ops.attention.mask.IntervalMask`
that have the same names. All return ``(B or 1, Sq, K, 2)`` int32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.errors import InputError

Device = torch.device | str | None


def _one(low: Tensor, high: Tensor) -> Tensor:
    """``(B, S)`` bounds to K = 1 intervals; where ``low > high`` (nothing to see) the interval is (high, high)."""
    low, high = torch.broadcast_tensors(torch.minimum(low, high), high)
    return torch.stack([low, high], dim=-1).to(torch.int32).unsqueeze(2)


def _two(low_0: Tensor, high_0: Tensor, low_1: Tensor, high_1: Tensor) -> Tensor:
    return torch.cat([_one(low_0, high_0), _one(low_1, high_1)], dim=2)


def _positions(count: int, device: Device) -> Tensor:
    return torch.arange(count, device=device).unsqueeze(0)


def _integers(name: str, values: Tensor, ranks: tuple[int, ...]) -> Tensor:
    if not isinstance(values, Tensor):
        raise InputError(f"{name} must be an integer tensor, got {type(values).__name__}")
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise InputError(f"{name} must hold integers, got {values.dtype}")
    if values.ndim not in ranks:
        raise InputError(f"{name} must have rank {' or '.join(map(str, ranks))}, got shape {tuple(values.shape)}")
    return values.long()


def _count(name: str, value: int) -> None:
    if value < 0:
        raise InputError(f"{name} must not be negative, got {value}")


def _rows(name: str, values: Tensor) -> Tensor:
    """``(S,)`` or ``(B, S)`` ids as ``(B, S)`` int64."""
    values = _integers(name, values, (1, 2))
    return values.unsqueeze(0) if values.ndim == 1 else values


def _same_shape(name: str, values: Tensor, other_name: str, other: Tensor) -> None:
    if values.shape != other.shape or values.device != other.device:
        raise InputError(
            f"{name} {tuple(values.shape)} on {values.device} and {other_name} {tuple(other.shape)} on {other.device} "
            "must have the same shape and device"
        )


def _run_bounds(starts_here: Tensor) -> tuple[Tensor, Tensor]:
    """First and one-past-last position of the run each position lies in; runs begin where ``starts_here (B, S)``."""
    size = starts_here.shape[1]
    position = _positions(size, starts_here.device).expand_as(starts_here)
    start = torch.where(starts_here, position, 0).cummax(dim=1).values
    # The end of a run is the first start to the right of it: a running minimum from the right, shifted by one.
    next_start = torch.where(starts_here, position, size)
    next_start = torch.cat([next_start[:, 1:], torch.full_like(next_start[:, :1], size)], dim=1)
    end = next_start.flip(1).cummin(dim=1).values.flip(1)
    return start, end


def _changes(ids: Tensor) -> Tensor:
    """``(B, S)`` bool: the id differs from that of the position before; position 0 always does."""
    return torch.cat([torch.ones_like(ids[:, :1], dtype=torch.bool), ids[:, 1:] != ids[:, :-1]], dim=1)


def full(num_queries: int, num_keys: int, device: Device) -> Tensor:
    _count("num_queries", num_queries)
    _count("num_keys", num_keys)
    # Of each matrix (1, 2), which holds num_keys twice, what lies right of the diagonal: 0 and num_keys.
    return torch.full((1, num_queries, 1, 2), num_keys, dtype=torch.int32, device=device).triu_(1)


def causal(num_queries: int, num_keys: int, device: Device) -> Tensor:
    _count("num_queries", num_queries)
    _count("num_keys", num_keys)
    # Few operations: generation makes one of these a token, and each costs a microsecond on the host.
    high = torch.arange(num_keys - num_queries + 1, num_keys + 1, dtype=torch.int32, device=device)
    if torch.compiler.is_compiling() or num_queries > num_keys:  # there the comparison would be a guard
        high = high.clamp(0, num_keys)
    return torch.constant_pad_nd(high.view(1, num_queries, 1, 1), (1, 0))  # a 0 before each


def sliding_window(
    num_queries: int, num_keys: int, left: int, right: int, global_tokens: int, symmetric: bool, device: Device
) -> Tensor:
    for name, value in (
        ("num_queries", num_queries),
        ("num_keys", num_keys),
        ("left", left),
        ("right", right),
        ("global_tokens", global_tokens),
    ):
        _count(name, value)
    position = _positions(num_queries, device) + (num_keys - num_queries)
    low, high = (position - left).clamp(0, num_keys), (position + right + 1).clamp(0, num_keys)
    if global_tokens == 0:
        return _one(low, high)
    shared = torch.full_like(position, min(global_tokens, num_keys))
    if right == 0 and not symmetric:
        shared = torch.minimum(shared, high)
    if symmetric:
        own_row = (position >= 0) & (position < global_tokens)
        high = torch.where(own_row, num_keys, high)
        shared = torch.where(own_row, num_keys, shared)
    # What the global interval shows already is cut off the window, so that the two stay in order and disjoint.
    return _two(torch.zeros_like(shared), shared, torch.maximum(low, shared), torch.maximum(high, shared))


def _lengths(name: str, values: Tensor) -> Tensor:
    return _integers(name, values, (1,)).unsqueeze(1)


def padding(lengths: Tensor, num_keys: int, num_queries: int, query_lengths: Tensor | None) -> Tensor:
    _count("num_keys", num_keys)
    _count("num_queries", num_queries)
    length = _lengths("lengths", lengths)
    position = _positions(num_queries, length.device)
    if query_lengths is None:
        high = length.expand(-1, num_queries)
    else:
        rows = _lengths("query_lengths", query_lengths)
        _same_shape("query_lengths", query_lengths, "lengths", lengths)
        high = torch.where(position < rows, length, 0)
    return _one(torch.zeros_like(high), high)


def prefix_lm(prefix_lengths: Tensor, lengths: Tensor, num_keys: int) -> Tensor:
    _count("num_keys", num_keys)
    prefix, length = _lengths("prefix_lengths", prefix_lengths), _lengths("lengths", lengths)
    _same_shape("prefix_lengths", prefix_lengths, "lengths", lengths)
    position = _positions(num_keys, length.device)
    high = torch.minimum(torch.maximum(prefix, position + 1), length)
    high = torch.where(position < length, high, 0)
    return _one(torch.zeros_like(high), high)


def packed_lengths(cu_seqlens: Tensor, num_tokens: int, causal: bool) -> Tensor:
    _count("num_tokens", num_tokens)
    bounds = _integers("cu_seqlens", cu_seqlens, (1,))
    if bounds.shape[0] < 1:
        raise InputError(f"cu_seqlens must hold at least the leading 0, got shape {tuple(cu_seqlens.shape)}")
    position = torch.arange(num_tokens, device=bounds.device)
    after = torch.searchsorted(bounds, position, right=True)  # index of the first bound beyond the token
    last = bounds.shape[0] - 1
    inside = (after > 0) & (after <= last)  # neither before the first document nor past the last
    low = torch.where(inside, bounds[(after - 1).clamp(min=0)], 0)
    high = torch.where(inside, bounds[after.clamp(max=last)], 0)
    if causal:
        high = torch.minimum(high, position + 1)
    return _one(low.unsqueeze(0), high.unsqueeze(0))


def packed_documents(document_ids: Tensor, causal: bool) -> Tensor:
    document = _rows("document_ids", document_ids)
    start, end = _run_bounds(_changes(document))
    if causal:
        end = _positions(document.shape[1], document.device) + 1
    return _one(start, torch.where(document >= 0, end, start))


def multimodal(document_ids: Tensor, block_ids: Tensor) -> Tensor:
    document, block = _rows("document_ids", document_ids), _rows("block_ids", block_ids)
    _same_shape("block_ids", block_ids, "document_ids", document_ids)
    new_document = _changes(document)
    start, _ = _run_bounds(new_document)
    _, block_end = _run_bounds(new_document | _changes(block))
    position = _positions(document.shape[1], document.device)
    end = torch.where(block >= 0, block_end, position + 1)
    return _one(start, torch.where(document >= 0, end, start))


def shared_prefix(
    branch_ids: Tensor, document_ids: Tensor | None, causal_prefix: bool, causal_branches: bool
) -> Tensor:
    branch = _rows("branch_ids", branch_ids)
    if document_ids is None:
        document = torch.zeros_like(branch)
    else:
        document = _rows("document_ids", document_ids)
        _same_shape("document_ids", document_ids, "branch_ids", branch_ids)
    valid = (document >= 0) & (branch >= 0)
    new_document = _changes(document)
    document_start, _ = _run_bounds(new_document)
    start, end = _run_bounds(new_document | _changes(branch))
    position = _positions(branch.shape[1], branch.device)

    in_prefix = (branch == 0) & (start == document_start) & valid
    # The end of the last prefix begun so far; one of an earlier document ends before this document starts.
    prefix_end = torch.where(in_prefix, end, 0).cummax(dim=1).values
    prefix_end = torch.maximum(prefix_end, document_start)

    own_end = position + 1 if causal_branches else end
    first_end = torch.where(in_prefix, position + 1 if causal_prefix else end, prefix_end)
    first_end = torch.where(valid, first_end, document_start)
    second_start = torch.maximum(start, first_end)
    second_end = torch.where(valid & ~in_prefix, own_end, second_start)
    return _two(document_start, first_end, second_start, second_end)
