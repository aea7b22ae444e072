"""The function people call."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from gptface.ops.attention import library as _library  # noqa: F401  defines the operators
from gptface.ops.attention import sdpa
from gptface.ops.attention.arguments import checked_arguments
from gptface.ops.attention.choice import choose
from gptface.ops.attention.mask import IntervalMask
from gptface.ops.attention.step import attend_step
from gptface.ops.derivatives import may_be_differentiated, refuse_other_derivatives
from gptface.ops.native import warn_without_cpu_kernel

__all__ = ["masked_attention"]

_forward = torch.ops.gptface.masked_attention_forward.default


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
    once in query, key and value, through the log-sum-exp too, by ``backward`` and ``torch.autograd.grad``; a second
    differentiation raises, so do forward mode and ``torch.func.grad``.
    The same call gives the same bits, except for gradients by ``"sdpa"`` on CUDA without ``deterministic``. No host
    synchronisation.

    Under ``torch.autocast`` the inputs take its dtype first. A NaN or an infinity stays with the rows that see it where
    ``"cpu"`` or ``"triton"`` runs; the others multiply it by hidden weights of 0 and may spread it, so keys that nobody
    sees should hold finite numbers all the same.

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
        RuntimeError: for an ``impl`` that cannot run this call here, saying why; never a silent fallback. For a
            derivative that there is none of.
    """
    if impl == "auto" and dropout_p == 0.0 and seed is None and not return_lse and not torch.compiler.is_compiling():
        step = attend_step(query, key, value, mask, scale)
        if step is not None:
            return step
    query, key, value = checked_arguments(query, key, value, mask, scale, dropout_p, seed)
    (chosen, _), _ = choose(query, key, value, mask, scale, dropout_p, deterministic, return_lse, impl)
    if impl == "auto" and chosen != "cpu" and query.device.type == "cpu":
        warn_without_cpu_kernel("masked_attention")

    factor = query.shape[3] ** -0.5 if scale is None else float(scale)
    if chosen == "sdpa":
        return sdpa.attention(query, key, value, mask, factor)
    refuse_other_derivatives("masked_attention", query, key, value)
    # In compiled code the way through autograd costs nothing when it runs.
    recorded = torch.compiler.is_compiling() or may_be_differentiated(query, key, value)
    if chosen == "cpu" and dropout_p == 0.0 and not return_lse and not recorded:
        intervals = None if mask is None or mask.kind == "full" else mask.intervals
        return _forward(query, key, value, intervals, factor)
    seed_tensor = None
    if dropout_p > 0.0:
        if isinstance(seed, Tensor):
            seed_tensor = seed
        else:
            assert seed is not None
            seed = seed if isinstance(seed, int) else int(seed)  # NumPy's
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
