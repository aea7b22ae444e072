"""The one tolerance rule of the project (architecture document, "Numerics"), as a number: at most 1 passes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["FLOOR", "RMSE_LIMIT", "error_by_rule", "largest_by_rule", "rmse_ratio"]

RMSE_LIMIT = {torch.bfloat16: 0.006, torch.float16: 0.006, torch.float32: 1e-5, torch.float64: 1e-12}
FLOOR = {torch.bfloat16: 1e-5, torch.float16: 1e-6, torch.float32: 1e-7, torch.float64: 1e-14}


def rmse_ratio(result: Tensor, oracle: Tensor) -> float:
    """``||result - oracle|| / ||oracle||`` in float64 (0 when both are zero)."""
    difference = (result.double() - oracle.double()).norm()
    scale = oracle.double().norm()
    return float(difference / scale) if scale > 0 else float(difference)


def largest_by_rule(result: Tensor, same_dtype: Tensor | Sequence[Tensor], oracle: Tensor) -> tuple[float, float]:
    """``e(result)`` and what it may be, ``2 e(yardstick) + floor``, with ``e(x) = max|x - oracle|``.

    Args:
        same_dtype: the yardstick, what plain PyTorch makes of it in the dtype of ``result``. Several evaluations of the
            same thing count by the worst of them: which way a single rounding goes is luck.
        oracle: the reference evaluated in float64.
    """
    evaluations = [same_dtype] if isinstance(same_dtype, Tensor) else same_dtype
    error, *plain = (float((tensor.double() - oracle).abs().max()) for tensor in (result, *evaluations))
    return error, 2 * max(plain) + FLOOR[result.dtype] * max(1.0, float(oracle.abs().max()))


def error_by_rule(result: Tensor, same_dtype: Tensor | Sequence[Tensor], oracle: Tensor) -> float:
    """The larger of both rules' errors in units of what they allow; infinite for a wrong shape or a NaN."""
    if result.shape != oracle.shape or not bool(torch.isfinite(result).all()):
        return math.inf
    if result.numel() == 0:
        return 0.0
    error, allowed = largest_by_rule(result, same_dtype, oracle)
    return max(error / allowed, rmse_ratio(result, oracle) / RMSE_LIMIT[result.dtype])
