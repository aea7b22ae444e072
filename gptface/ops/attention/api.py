"""The function people call, and which implementation it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.ops.attention import library as _library  # noqa: F401  defines the operators
from gptface.ops.attention import triton_operator
from gptface.ops.attention.mask import IntervalMask
from gptface.ops.native import cpu_instruction_set, cpu_kernel_missing
from gptface.ops.registry import available_or_raise, register_implementation

__all__ = ["Choice", "explain", "masked_attention"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_SMALLEST_HEAD, _LARGEST_HEAD, _HEAD_MULTIPLE = 16, 256, 8

register_implementation(
    "masked_attention", "reference", lambda: None, "plain PyTorch by definition, every score in memory"
)
register_implementation(
    "masked_attention", "sdpa", lambda: None, "torch's scaled_dot_product_attention on a dense mask made once a mask"
)


def _cpu_missing() -> str | None:
    return cpu_kernel_missing("masked_attention")


# What torch.compiler.assume_constant_result does, without its import of the whole compiler: a library that is there
# when a function is traced stays there.
_cpu_missing._dynamo_marked_constant = True  # type: ignore[attr-defined]

def _instruction_set() -> str:
    return cpu_instruction_set()


_instruction_set._dynamo_marked_constant = True  # type: ignore[attr-defined]

register_implementation(
    "masked_attention",
    "cpu",
    _cpu_missing,
    "C++ tiles that skip what the mask hides, in the best instruction set of the machine",
)


@dataclass(frozen=True)
class Choice:
    """Which implementation a call runs.

    Attributes:
        implementation: its name, as ``impl=`` takes it.
        reason: why this one.
        unsupported: ``(name, reason)`` of each implementation that cannot run this call.
    """

    implementation: str
    reason: str
    unsupported: tuple[tuple[str, str], ...]


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
            f"key {_shape(key)} {key_heads}"
        )
    if not _SMALLEST_HEAD <= width <= _LARGEST_HEAD or width % _HEAD_MULTIPLE != 0:
        raise InputError(
            f"the head dimension must be a multiple of {_HEAD_MULTIPLE} from {_SMALLEST_HEAD} to {_LARGEST_HEAD}: "
            f"query {_shape(query)}, key {_shape(key)}"
        )


def _check_mask(query: Tensor, key: Tensor, mask: IntervalMask | None) -> None:
    if mask is None:
        return
    if not isinstance(mask, IntervalMask):
        raise InputError(
            f"mask must be an IntervalMask or None, got {type(mask).__name__}; "
            "IntervalMask.from_dense takes a dense mask"
        )
    shape = f"mask {mask.shape} (B or 1, Sq, Skv)"
    if mask.num_queries != query.shape[1]:
        raise InputError(f"mask must have as many rows as query: {shape}, query {_shape(query)}")
    if mask.num_keys != key.shape[1]:
        raise InputError(f"mask must have as many columns as key has rows: {shape}, key {_shape(key)}")
    if mask.batch_size != query.shape[0] and mask.batch_size != 1:
        raise InputError(f"mask must have the batch size of query, or 1: {shape}, query {_shape(query)}")
    if mask.device != query.device:
        raise InputError(
            f"mask must be on the device of query: {shape} is on {mask.device}, query {_shape(query)} on {query.device}"
        )


def _check_numbers(query: Tensor, scale: float | None, dropout_p: float, seed: int | Tensor | None) -> None:
    if scale is not None and not math.isfinite(scale):
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
        if not isinstance(seed, int):
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


def _sdpa_unsupported(
    query: Tensor, key: Tensor, scale: float | None, dropout_p: float, deterministic: bool, return_lse: bool
) -> str | None:
    if return_lse:
        return "it does not return the log-sum-exp (return_lse=True)"
    if dropout_p > 0.0:
        return "its dropout is not a function of the seed (dropout_p > 0)"
    if query.dtype == torch.float64:
        return "float64 is for the reference"
    if deterministic and query.device.type != "cpu":
        return f"its gradients are not deterministic on {query.device.type} (deterministic=True)"
    if scale is not None and scale <= 0.0:
        return "it gives NaN for a causal mask and a scale that is not positive"
    if query.shape[0] == 0 or query.shape[1] == 0 or key.shape[1] == 0:
        return "query or key is empty"
    return None


def _cpu_unsupported(query: Tensor) -> str | None:
    if query.device.type != "cpu":
        return f"the inputs are on {query.device.type!r}"
    if query.dtype == torch.float64:
        return "float64 is for the reference"
    return _cpu_missing()


def _triton_obstacle(query: Tensor) -> str | None:
    """Why ``impl="auto"`` cannot take the Triton kernels."""
    return triton_operator.unsupported(query) or triton_operator.unproven()


def _choose(unsupported_by_sdpa: str | None, impl: str, query: Tensor, mask: IntervalMask | None) -> tuple[str, str]:
    if impl != "auto":
        available_or_raise("masked_attention", impl)
        if impl == "sdpa" and unsupported_by_sdpa is not None:
            raise RuntimeError(f"masked_attention: impl='sdpa' cannot run this call: {unsupported_by_sdpa}")
        if impl == "cpu" and (obstacle := _cpu_unsupported(query)) is not None:
            raise RuntimeError(f"masked_attention: impl='cpu' cannot run this call: {obstacle}")
        if impl == "triton" and (obstacle := triton_operator.unsupported(query)) is not None:
            raise RuntimeError(f"masked_attention: impl='triton' cannot run this call: {obstacle}")
        return impl, "asked for by name"
    if _cpu_unsupported(query) is None:
        if mask is not None and mask.kind == "general":
            return "cpu", "the fastest implementation that supports these arguments: it skips what the mask hides"
        # Measured against torch without a mask and is_causal, see docs/performance/attention.md.
        hides = mask is not None and mask.kind == "causal"
        if not hides and unsupported_by_sdpa is None and _instruction_set() == "portable":
            return "sdpa", "the fastest where nothing is hidden and the CPU kernels are portable code"
        return "cpu", "the fastest implementation that supports these arguments, with a full or causal mask too"
    if _triton_obstacle(query) is None:
        if mask is not None and mask.kind == "general":
            return "triton", "the only one here that skips what the mask hides"
        if unsupported_by_sdpa is not None:
            return "triton", "the fastest implementation that supports these arguments"
    if unsupported_by_sdpa is None:
        return "sdpa", "the fastest implementation that supports these arguments"
    return "reference", "the only implementation that supports these arguments"


def explain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: IntervalMask | None = None,
    *,
    scale: float | None = None,
    dropout_p: float = 0.0,
    seed: int | Tensor | None = None,
    deterministic: bool = False,
    return_lse: bool = False,
    impl: str = "auto",
) -> Choice:
    """Which implementation :func:`masked_attention` would run with these arguments, and why. Computes nothing.

    Raises: whatever the call itself would raise for its arguments.
    """
    query, key, value = _cast_under_autocast(query, key, value)
    _check_tensors(query, key, value)
    _check_mask(query, key, mask)
    _check_numbers(query, scale, dropout_p, seed)
    obstacle = _sdpa_unsupported(query, key, scale, dropout_p, deterministic, return_lse)
    name, reason = _choose(obstacle, impl, query, mask)
    obstacles = (("sdpa", obstacle), ("cpu", _cpu_unsupported(query)), ("triton", _triton_obstacle(query)))
    return Choice(name, reason, tuple((other, why) for other, why in obstacles if why is not None and other != name))


def _sdpa(query: Tensor, key: Tensor, value: Tensor, mask: IntervalMask | None, scale: float) -> Tensor:
    if query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16):
        # torch's half-precision CPU backward is slow: at (64, 93, 6, 32), two threads of an AVX512-BF16 machine, torch
        # 2.13, forward + backward took 68 ms in bfloat16 and 30 ms in float32, conversions not counted.
        with torch.autocast("cpu", enabled=False):
            return _sdpa(query.float(), key.float(), value.float(), mask, scale).to(query.dtype)
    q, k, v = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    grouped = False
    if query.shape[2] != key.shape[2]:  # a branch makes a bool of it where sizes are symbols; SDPA takes nothing else
        grouped = True
    if mask is None or mask.kind != "general":
        is_causal = mask is not None and mask.kind == "causal"
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal, scale=scale, enable_gqa=grouped)
        return out.transpose(1, 2)
    attended, empty = mask.dense()
    out = functional.scaled_dot_product_attention(q, k, v, attn_mask=attended, scale=scale, enable_gqa=grouped)
    # Backends disagree on rows that see nothing (some give NaN, forward or backward): such rows ran over all keys.
    return out.transpose(1, 2).masked_fill(empty, 0.0)


@overload
def masked_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: IntervalMask | None = None,
    *,
    scale: float | None = None,
    dropout_p: float = 0.0,
    seed: int | Tensor | None = None,
    deterministic: bool = False,
    return_lse: Literal[False] = False,
    impl: str = "auto",
) -> Tensor: ...


@overload
def masked_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: IntervalMask | None = None,
    *,
    scale: float | None = None,
    dropout_p: float = 0.0,
    seed: int | Tensor | None = None,
    deterministic: bool = False,
    return_lse: Literal[True],
    impl: str = "auto",
) -> tuple[Tensor, Tensor]: ...


def masked_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: IntervalMask | None = None,
    *,
    scale: float | None = None,
    dropout_p: float = 0.0,
    seed: int | Tensor | None = None,
    deterministic: bool = False,
    return_lse: bool = False,
    impl: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Softmax attention in which each query row sees the keys that ``mask`` says.

    ``out[b, i, h] = sum_j softmax_j(scale · query[b, i, h] · key[b, j, g]) value[b, j, g]`` over the visible j, with
    ``g = h // (H // Hkv)``. A row that may see nothing has output 0, log-sum-exp −inf and gradients 0. Differentiable
    once in query, key and value, through the log-sum-exp too; a second differentiation raises. The same call gives the
    same bits, except for gradients by ``"sdpa"`` on CUDA without ``deterministic``. No host synchronisation.

    Under ``torch.autocast`` the inputs take its dtype first. A NaN or an infinity stays with the rows that see it where
    ``"cpu"`` runs; the others multiply it by hidden weights of 0 and may spread it, so keys that nobody sees should
    hold finite numbers all the same.

    Args:
        query: ``(B, Sq, H, D)`` float32, bfloat16 or float16; D a multiple of 8 from 16 to 256. Any strides; without a
            copy where the last dimension is contiguous. float64 runs on the reference, for gradient checks.
        key: ``(B, Skv, Hkv, D)``, same dtype and device; H must be divisible by Hkv.
        value: as ``key``.
        mask: an :class:`IntervalMask` of ``(B or 1, Sq, Skv)`` on the same device; None hides nothing. Pass one object
            to all layers: what is derived from it is made once. Its values are checked by ``mask.validate()`` only.
        scale: of the scores, by default ``1 / sqrt(D)``.
        dropout_p: probability in [0, 1) with which a softmax weight is dropped, the others being scaled by
            ``1 / (1 − p)``. Weight (b, h, i, j) takes word ``j % 4`` of the Philox4x32-10 block with counter
            ``(j // 4, i, h, b)`` and key ``(seed mod 2³², seed >> 32)`` and is dropped iff ``word < floor(p · 2³²)``:
            the same for every implementation, tile shape and device.
        seed: integer in [0, 2⁶³), or an int64 tensor with one element on the device of ``query`` (which a CUDA graph
            can be replayed with, and a compiled function called with, anew). Give every layer and step its own.
        deterministic: gradients must be the same bits every time.
        return_lse: also return the log-sum-exp of the scaled visible scores, without dropout.
        impl: ``"auto"`` for the fastest implementation that supports the arguments, or one by name; see
            :func:`gptface.ops.implementations` and :func:`gptface.ops.attention.explain`.

    Returns:
        ``out (B, Sq, H, D)`` in the dtype of the inputs, accumulated in float32; with ``return_lse`` also ``lse
        (B, H, Sq)`` float32 (float64 for float64 inputs).

    Raises:
        InputError: (a ValueError) naming the argument and the shapes, for a wrong rank, dtype, device, head count,
            head dimension or mask shape, or ``dropout_p`` without ``seed``.
        ValueError: for an unknown ``impl``.
        RuntimeError: for an ``impl`` that cannot run this call here, saying why; never a silent fallback.
    """
    query, key, value = _cast_under_autocast(query, key, value)
    _check_tensors(query, key, value)
    _check_mask(query, key, mask)
    _check_numbers(query, scale, dropout_p, seed)
    obstacle = _sdpa_unsupported(query, key, scale, dropout_p, deterministic, return_lse)
    chosen, _ = _choose(obstacle, impl, query, mask)

    factor = query.shape[3] ** -0.5 if scale is None else float(scale)
    if chosen == "sdpa":
        return _sdpa(query, key, value, mask, factor)
    seed_tensor = None
    if dropout_p > 0.0:
        if isinstance(seed, Tensor):
            seed_tensor = seed
        else:
            assert seed is not None
            seed_tensor = torch.full((), seed, dtype=torch.int64, device=query.device)
    if chosen == "triton":
        intervals, rows, columns = None, None, None
        if mask is not None and mask.kind != "full":
            intervals = mask.intervals
            rows, columns = mask.block_bounds()
        out, lse, _ = torch.ops.gptface.masked_attention_triton(
            query, key, value, intervals, rows, columns, seed_tensor, factor, float(dropout_p)
        )
        return (out, lse) if return_lse else out
    operators = torch.ops.gptface
    compute = operators.masked_attention if chosen == "cpu" else operators.masked_attention_reference
    out, lse = compute(
        query,
        key,
        value,
        None if mask is None else mask.intervals,
        seed_tensor,
        factor,
        float(dropout_p),
        deterministic,
    )
    return (out, lse) if return_lse else out
