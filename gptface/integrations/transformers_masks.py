"""What ``transformers`` knows of a model's attention mask, as an :class:`IntervalMask`.

Causal and bidirectional masks, sliding windows, chunks and packed documents, each with padding, take O(S) work and,
in compiled code, no look at values. Any other mask (blocks that see themselves, functions of the user) goes through a
dense mask once a forward pass, and must need at most two intervals a row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary
from transformers.masking_utils import (
    bidirectional_mask_function,
    causal_mask_function,
    or_masks,
    prepare_padding_mask,
    sdpa_mask,
)

from gptface.errors import InputError
from gptface.ops import IntervalMask

__all__ = ["interval_mask", "mask_of_user"]

_Run = tuple[Tensor, Tensor]  # the first visible key of every row, and the one past the last: (B or 1, Sq) each

_UNION = or_masks(causal_mask_function).__code__  # by which a union of masks is known, in compiled code too

# A dense mask that a user gave, to what all layers share: by inference mode or not, its version and the intervals.
_from_dense: WeakIdKeyDictionary = WeakIdKeyDictionary()


def interval_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    kv_offset: int = 0,
    mask_function: Any = causal_mask_function,
    attention_mask: IntervalMask | Tensor | None = None,
    device: torch.device | str = "cpu",
    **options: Any,
) -> IntervalMask:
    """What ``transformers`` calls to make a model's mask; arguments as ``masking_utils.sdpa_mask``.

    An :class:`IntervalMask` that the user gave the model, or that was made by an earlier call, stands for the whole
    mask, as four-dimensional masks do.

    Raises:
        InputError: for a mask with a row of more than two intervals.
    """
    if isinstance(attention_mask, IntervalMask):
        return _fitted(attention_mask.to(device), kv_length, q_length, q_offset)
    if attention_mask is not None and _all_ones(attention_mask, kv_offset + kv_length):
        attention_mask = None  # as in most steps of generation
    padding = prepare_padding_mask(attention_mask, kv_length, kv_offset)
    if padding is not None:
        padding = padding[:, kv_offset : kv_offset + kv_length].bool()
    if padding is None:  # what the dense path can leave out is known by its kind
        if mask_function is bidirectional_mask_function:
            return IntervalMask.full(q_length, kv_length, device=device)
        aligned = isinstance(q_offset, int) and q_offset + q_length == kv_offset + kv_length
        if mask_function is causal_mask_function and aligned:
            return IntervalMask.causal(q_length, kv_length, device=device)
    rows = torch.arange(q_length, device=device)[None] + q_offset - kv_offset  # the key that stands where a row does
    run = _run(rows, kv_length, kv_offset, batch_size, mask_function, options)
    if run is not None and padding is not None:
        run = _within_padding(run, padding)
    if run is None:
        dense = sdpa_mask(
            batch_size=batch_size, q_length=q_length, kv_length=kv_length,
            q_offset=q_offset,  # type: ignore[arg-type]  # a tensor for caches of fixed size, whatever its type says
            kv_offset=kv_offset, mask_function=mask_function, attention_mask=attention_mask, device=device,
            use_vmap=options.get("use_vmap", False), allow_is_causal_skip=False, allow_is_bidirectional_skip=False,
        )  # fmt: skip
        assert dense is not None  # it is when no skip is allowed
        return _translated(dense)
    low, high = torch.broadcast_tensors(*run)
    low = torch.minimum(low, high)
    return IntervalMask(torch.stack([low, high], -1).unsqueeze(2).to(torch.int32), kv_length)


def _all_ones(attention_mask: Tensor, length: int) -> bool:
    """Whether none of the first ``length`` tokens is padding, asked where that makes nobody wait. What lies beyond a
    mask's end is padding."""
    if torch.compiler.is_compiling() or attention_mask.device.type != "cpu":
        return False
    return attention_mask.shape[-1] >= length and bool(attention_mask.all())


def mask_of_user(mask: Tensor) -> IntervalMask:
    """A dense mask that the user gave the model. Looks at its values, once for all layers and calls until it changes.

    Raises:
        InputError: for another dtype or shape, or a row of more than two intervals.
    """
    if mask.dtype != torch.bool or mask.ndim != 4 or mask.shape[1] != 1:
        raise InputError(
            "attention_mask must be two-dimensional, bool (B, 1, Sq, Skv), or an IntervalMask for "
            f"attn_implementation='gptface', got {mask.dtype} {tuple(mask.shape)}"
        )
    if torch.compiler.is_compiling() or mask.is_inference():  # writes to an inference tensor leave no trace
        return _translated(mask)
    forms = _from_dense.setdefault(mask, {})
    mode = torch.is_inference_mode_enabled()  # what is made in inference mode must not be handed to autograd
    if mode not in forms or forms[mode][0] != mask._version:
        forms[mode] = (mask._version, _translated(mask))
    return forms[mode][1]


def _translated(dense: Tensor) -> IntervalMask:
    try:
        return IntervalMask.from_dense(dense)
    except InputError as error:
        raise InputError(
            f"attention_mask, as a dense mask: {error}; load the model with another attn_implementation than 'gptface'"
        ) from error


def _fitted(mask: IntervalMask, kv_length: int, q_length: int, q_offset: int | Tensor) -> IntervalMask:
    """A mask of the user's beside a cache with empty places after the last key, which nobody sees."""
    # How full such a cache is, only the device knows after the first call.
    filled = mask.num_keys if isinstance(q_offset, Tensor) else q_offset + q_length
    if mask.num_keys >= kv_length or mask.num_keys != filled:
        return mask
    return IntervalMask(mask.intervals.clamp(max=mask.num_keys), kv_length)


def _run(
    rows: Tensor, kv_length: int, kv_offset: int, batch_size: int, mask_function: Any, options: dict[str, Any]
) -> _Run | None:
    """The keys that each row sees without regard to padding; None where they may not be one known run."""
    if mask_function is bidirectional_mask_function:
        return torch.zeros_like(rows), torch.full_like(rows, kv_length)
    if mask_function is causal_mask_function:
        return torch.zeros_like(rows), (rows + 1).clamp(0, kv_length)
    # A function that holds something of the user's is said to need `vmap`; a union may add ranges anywhere.
    union = mask_function.__code__ is _UNION if hasattr(mask_function, "__code__") else True
    if options.get("use_vmap", True) or union or kv_length == 0:
        return None

    def sees(query: Tensor, key: Tensor) -> Tensor:
        batch = torch.arange(batch_size, device=rows.device)[:, None]
        inside = (key >= 0) & (key < kv_length)
        found = mask_function(batch, batch.new_zeros(()), query + kv_offset, key.clamp(0, kv_length - 1) + kv_offset)
        return (found & inside).expand(batch_size, -1)

    size = options.get("local_size")
    if "allow_is_bidirectional_skip" in options:  # which `transformers` gives for bidirectional masks only
        if size is None:
            return None
        low, high = (rows - size).clamp(0, kv_length), (rows + size + 1).clamp(0, kv_length)
    else:
        # Documents and chunks end where a token does not see the one before it; a window is cut off besides.
        keys = torch.arange(kv_length, device=rows.device)[None]
        starts = torch.where(sees(keys, keys - 1), 0, keys).cummax(1).values
        low, high = starts.gather(1, rows.clamp(0, kv_length - 1).expand(batch_size, -1)), rows + 1
        if size is not None:
            low = torch.maximum(low, high - size)
    # That the runs are just these is asked of the function at their ends.
    right = sees(rows, low) & sees(rows, high - 1) & ~sees(rows, low - 1) & ~sees(rows, high)
    if _surely(right.all(), "a model's attention mask is not one run of keys in each row"):
        return low, high
    return None


def _within_padding(run: _Run, visible: Tensor) -> _Run | None:
    """A run cut to the visible keys ``(B, Skv)``; None where these have holes."""
    length = visible.shape[1]
    positions = torch.arange(length, device=visible.device)
    first = torch.where(visible, positions, length).amin(1)
    end = torch.where(visible, positions + 1, 0).amax(1)
    contiguous = visible.sum(1) == (end - first).clamp(min=0)
    if not _surely(contiguous.all(), "attention_mask has holes: its ones must be one run in each row", on_cpu=True):
        return None
    return torch.maximum(run[0], first[:, None]), torch.minimum(run[1], end[:, None])


def _surely(condition: Tensor, message: str, *, on_cpu: bool = False) -> bool:
    """Whether it holds. Where values may not be looked at, True, and a failure on the device if it does not.

    ``on_cpu`` looks at values on the CPU only, where that makes nobody wait.
    """
    look = not torch.compiler.is_compiling() and (condition.device.type == "cpu" or not on_cpu)
    if look and condition.is_cuda and torch.cuda.is_current_stream_capturing():
        look = False
    if look:
        return bool(condition)
    torch._assert_async(condition, message)
    return True
