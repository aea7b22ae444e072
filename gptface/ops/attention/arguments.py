"""What :func:`~gptface.ops.attention.masked_attention` may be given: every check, and the dtype under autocast."""

from __future__ import annotations

import math
import warnings
from numbers import Integral

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops.attention.mask import IntervalMask

__all__ = ["checked_arguments"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_SMALLEST_HEAD, _LARGEST_HEAD, _HEAD_MULTIPLE = 16, 256, 8
_TRANSPOSES = (
    "masked_attention takes (B, S, H, D). If these are (B, H, S, D), torch's layout, call masked_attention("
    "query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), ...).transpose(1, 2)"
)
_PADDING = (
    "(B, Skv) is the shape of a padding mask: where the ones of each sample come first, it is "
    "IntervalMask.padding(padding.long().sum(1), Skv)"
)
_warned: list[bool] = []


def checked_arguments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: IntervalMask | None,
    scale: float | None,
    dropout_p: float,
    seed: int | Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value as the implementations take them, every argument checked.

    Raises:
        InputError: naming the argument, what was given and what is allowed. The values of a mask or of a seed on a
            device are not looked at.
    """
    if not torch.compiler.is_compiling() and _surely_right(query, key, value, mask, scale, dropout_p, seed):
        return query, key, value
    query, key, value = _cast_under_autocast(query, key, value)
    _check_tensors(query, key, value)
    _check_mask(query, key, mask)
    _check_numbers(query, scale, dropout_p, seed)
    if mask is None and not torch.compiler.is_compiling():  # where the comparison would be a guard
        _warn_of_layout(query, key)
    return query, key, value


def _surely_right(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: IntervalMask | None,
    scale: float | None,
    dropout_p: float,
    seed: int | Tensor | None,
) -> bool:
    """Whether a plain call passes every check below, in a third of their time: a step of generation takes no longer
    than a few checks. False leaves it to them, which say what is wrong."""
    if type(query) is not Tensor or type(key) is not Tensor or type(value) is not Tensor:
        return False
    shape, key_shape, dtype = query.shape, key.shape, query.dtype
    if len(shape) != 4 or len(key_shape) != 4 or value.shape != key_shape or dtype not in _DTYPES:
        return False
    if key.dtype != dtype or value.dtype != dtype:
        return False
    on_cpu = query.is_cpu  # three flags take less than three devices
    if not (key.is_cpu and value.is_cpu if on_cpu else key.device == query.device == value.device):
        return False
    batch, rows, heads, width = shape
    key_batch, keys, key_heads, key_width = key_shape
    if key_batch != batch or key_width != width or key_heads == 0 or heads % key_heads != 0:
        return False
    if not _SMALLEST_HEAD <= width <= _LARGEST_HEAD or width % _HEAD_MULTIPLE != 0:
        return False
    if mask is None:
        if 1 < rows < heads and keys < heads:  # perhaps in torch's layout
            return False
    else:
        if type(mask) is not IntervalMask or mask.num_keys != keys:
            return False
        intervals = mask.intervals
        mask_batch, mask_rows, _, _ = intervals.shape
        if mask_rows != rows or (mask_batch != 1 and mask_batch != batch) or not (
            intervals.is_cpu if on_cpu else intervals.device == query.device
        ):
            return False
    if dropout_p != 0.0 or seed is not None or not (scale is None or (type(scale) is float and abs(scale) < math.inf)):
        return False
    return not torch.is_autocast_enabled("cpu") if on_cpu else query.is_cuda and not torch.is_autocast_enabled("cuda")


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _check_tensors(query: Tensor, key: Tensor, value: Tensor) -> None:
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if not isinstance(tensor, Tensor):
            raise InputError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if tensor.ndim != 4:
            layout = "(B, Sq, H, D)" if name == "query" else "(B, Skv, Hkv, D)"
            raise InputError(f"{name} must have four dimensions {layout}, got {_shape(tensor)}")
        if tensor.dtype not in _DTYPES:
            raise InputError(
                f"{name} must be float32, bfloat16 or float16 (float64 for the reference), "
                f"got {tensor.dtype} of shape {_shape(tensor)}"
            )
    for name, tensor in (("key", key), ("value", value)):
        if tensor.dtype != query.dtype:
            raise InputError(
                f"{name} must have the dtype of query: {name} is {tensor.dtype} {_shape(tensor)}, "
                f"query {query.dtype} {_shape(query)}"
            )
        if tensor.device != query.device:
            raise InputError(
                f"{name} must be on the device of query: {name} {_shape(tensor)} is on {tensor.device}, "
                f"query {_shape(query)} on {query.device}"
            )
        if tensor.shape[0] != query.shape[0]:
            raise InputError(
                f"{name} must have the batch size of query: {name} {_shape(tensor)}, query {_shape(query)}"
            )
        if tensor.shape[3] != query.shape[3]:
            raise InputError(
                f"{name} must have the head dimension of query: {name} {_shape(tensor)}, query {_shape(query)}"
            )
    if value.shape != key.shape:
        raise InputError(f"value must have the shape of key: value {_shape(value)}, key {_shape(key)}")
    heads, key_heads, width = query.shape[2], key.shape[2], query.shape[3]
    if key_heads == 0 or heads % key_heads != 0:
        raise InputError(
            f"query must have a multiple of key's heads: query {_shape(query)} has {heads}, "
            f"key {_shape(key)} {key_heads}" + (f"; {_TRANSPOSES}" if query.shape[1] < heads else "")
        )
    if not _SMALLEST_HEAD <= width <= _LARGEST_HEAD or width % _HEAD_MULTIPLE != 0:
        raise InputError(
            f"the head dimension must be a multiple of {_HEAD_MULTIPLE} from {_SMALLEST_HEAD} to {_LARGEST_HEAD}: "
            f"query {_shape(query)}, key {_shape(key)}{_padding_advice(width)}"
        )


def _padding_advice(width: int) -> str:
    if not 0 < width <= _LARGEST_HEAD:
        return ""
    wanted = max(_SMALLEST_HEAD, -(-width // _HEAD_MULTIPLE) * _HEAD_MULTIPLE)
    return (
        f"; zeros change no score: pad all three by torch.nn.functional.pad(x, (0, {wanted - width})), give "
        f"scale={width} ** -0.5 where you gave none, and keep output[..., :{width}]"
    )


def _warn_of_layout(query: Tensor, key: Tensor) -> None:
    """Say once in a process that the shapes look like those of torch's layout.

    A mask tells the layouts apart. Without one nothing does, but few have more heads than rows in query and in key; a
    single row is a step of generation.
    """
    suspicious = 1 < query.shape[1] < query.shape[2] and key.shape[1] < key.shape[2]
    if suspicious and not _warned:
        _warned.append(True)
        shapes = f"query {_shape(query)} and key {_shape(key)}"
        warnings.warn(f"{shapes} have fewer rows than heads: {_TRANSPOSES}", UserWarning, stacklevel=4)


def _check_mask(query: Tensor, key: Tensor, mask: IntervalMask | None) -> None:
    if mask is None:
        return
    if not isinstance(mask, IntervalMask):
        given, way = type(mask).__name__, "IntervalMask.from_dense takes a dense mask"
        if isinstance(mask, Tensor):
            given = f"{mask.dtype} {_shape(mask)}"
            way = _PADDING if mask.shape == (query.shape[0], key.shape[1]) else way
        raise InputError(f"mask must be an IntervalMask or None, got {given}; {way}")
    shape = f"mask {mask.shape} (B or 1, Sq, Skv)"
    if mask.num_queries != query.shape[1]:
        raise InputError(
            f"mask must have as many rows as query: {shape}, query {_shape(query)}{_mask_hint(query, key, mask)}"
        )
    if mask.num_keys != key.shape[1]:
        hint = _mask_hint(query, key, mask)
        raise InputError(f"mask must have as many columns as key has rows: {shape}, key {_shape(key)}{hint}")
    if mask.batch_size != query.shape[0] and mask.batch_size != 1:
        raise InputError(f"mask must have the batch size of query, or 1: {shape}, query {_shape(query)}")
    if mask.device != query.device:
        raise InputError(
            f"mask must be on the device of query: {shape} is on {mask.device}, query {_shape(query)} on {query.device}"
        )


def _mask_hint(query: Tensor, key: Tensor, mask: IntervalMask) -> str:
    if mask.shape == (1, query.shape[0], key.shape[1]):
        return f"; {_PADDING}"
    if (mask.num_queries, mask.num_keys) == (query.shape[2], key.shape[2]):
        return f"; {_TRANSPOSES}"
    return ""


def _check_numbers(query: Tensor, scale: float | None, dropout_p: float, seed: int | Tensor | None) -> None:
    if scale is not None and not abs(scale) < math.inf:  # a comparison, which compiled code takes of any number
        raise InputError(f"scale must be finite, got {scale} for query {_shape(query)}")
    if not 0.0 <= dropout_p < 1.0:
        raise InputError(f"dropout_p must be at least 0 and below 1, got {dropout_p} for query {_shape(query)}")
    if dropout_p > 0.0 and seed is None:
        raise InputError(
            f"dropout_p = {dropout_p} needs a seed (an integer, or an int64 tensor with one element), "
            f"for query {_shape(query)}"
        )
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or seed.numel() != 1:
            raise InputError(
                f"seed must be an integer or an int64 tensor with one element, got {seed.dtype} {_shape(seed)} "
                f"for query {_shape(query)}"
            )
        if seed.device != query.device:
            raise InputError(
                f"seed must be on the device of query: seed {_shape(seed)} is on {seed.device}, "
                f"query {_shape(query)} on {query.device}"
            )
    elif seed is not None:
        if not isinstance(seed, int) and not isinstance(seed, Integral):  # NumPy's are not int
            raise InputError(f"seed must be an integer or an int64 tensor, got {type(seed).__name__}")
        if not 0 <= seed < 2**63:
            raise InputError(f"seed must lie in [0, 2**63), got {seed}")


def _cast_under_autocast(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Under ``torch.autocast`` inputs take its dtype, as for ``scaled_dot_product_attention``; float64 stays."""
    tensors = (query, key, value)
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        return tensors  # the checks will say so
    kind = query.device.type
    if kind not in ("cpu", "cuda") or not torch.is_autocast_enabled(kind):
        return tensors
    dtype = torch.get_autocast_dtype(kind)
    lowered = [
        tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor
        for tensor in tensors
    ]
    return lowered[0], lowered[1], lowered[2]
