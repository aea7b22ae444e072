"""The one tolerance rule of the project (architecture document, "Numerics")."""

from __future__ import annotations

from collections.abc import Sequence

import torch

RMSE_LIMIT = {torch.bfloat16: 0.006, torch.float16: 0.006, torch.float32: 1e-5, torch.float64: 1e-12}
FLOOR = {torch.bfloat16: 1e-5, torch.float16: 1e-6, torch.float32: 1e-7, torch.float64: 1e-14}


def rmse_ratio(result: torch.Tensor, oracle: torch.Tensor) -> float:
    """``||result - oracle|| / ||oracle||`` in float64 (0 when both are zero)."""
    difference = (result.double() - oracle.double()).norm()
    scale = oracle.double().norm()
    return float(difference / scale) if scale > 0 else float(difference)


def assert_error_within_rule(
    name: str, result: torch.Tensor, same_dtype: torch.Tensor | Sequence[torch.Tensor], oracle: torch.Tensor
) -> None:
    """``e(result) <= 2 e(yardstick) + floor`` with ``e(x) = max|x - oracle|``.

    Args:
        same_dtype: the yardstick, what plain PyTorch makes of it in the dtype of ``result``. Several evaluations of the
            same thing count by the worst of them: which way a single rounding goes is luck.
        oracle: the reference evaluated in float64.
    """
    assert result.shape == oracle.shape, f"{name}: shape {tuple(result.shape)}, oracle {tuple(oracle.shape)}"
    assert torch.isfinite(result).all(), f"{name}: not finite"
    if result.numel() == 0:
        return
    evaluations = [same_dtype] if isinstance(same_dtype, torch.Tensor) else same_dtype
    error, *plain = (float((tensor.double() - oracle).abs().max()) for tensor in (result, *evaluations))
    allowed = 2 * max(plain) + FLOOR[result.dtype] * max(1.0, float(oracle.abs().max()))
    assert error <= allowed, f"{name}: largest error {error:.3e}, allowed {allowed:.3e}"


def assert_matches_oracle(
    name: str, result: torch.Tensor, same_dtype: torch.Tensor | Sequence[torch.Tensor], oracle: torch.Tensor
) -> None:
    """:func:`assert_error_within_rule`, and an RMSE ratio under the dtype's limit."""
    assert_error_within_rule(name, result, same_dtype, oracle)
    ratio = rmse_ratio(result, oracle)
    assert ratio <= RMSE_LIMIT[result.dtype], f"{name}: RMSE ratio {ratio:.3e}, limit {RMSE_LIMIT[result.dtype]:.0e}"
