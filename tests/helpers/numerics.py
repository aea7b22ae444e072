"""The one tolerance rule of the project (architecture document, "Numerics")."""

from __future__ import annotations

import torch

RMSE_LIMIT = {torch.bfloat16: 0.006, torch.float16: 0.006, torch.float32: 1e-5, torch.float64: 1e-12}
FLOOR = {torch.bfloat16: 1e-5, torch.float16: 1e-6, torch.float32: 1e-7, torch.float64: 1e-14}


def rmse_ratio(result: torch.Tensor, oracle: torch.Tensor) -> float:
    """``||result - oracle|| / ||oracle||`` in float64 (0 when both are zero)."""
    difference = (result.double() - oracle.double()).norm()
    scale = oracle.double().norm()
    return float(difference / scale) if scale > 0 else float(difference)


def assert_matches_oracle(
    name: str, result: torch.Tensor, same_dtype_reference: torch.Tensor, oracle: torch.Tensor
) -> None:
    """``e(result) <= 2 e(reference in the same dtype) + floor`` and an RMSE ratio under the dtype's limit.

    ``oracle`` is the reference evaluated in float64.
    """
    assert result.shape == oracle.shape, f"{name}: shape {tuple(result.shape)}, oracle {tuple(oracle.shape)}"
    assert torch.isfinite(result).all(), f"{name}: not finite"
    error = float((result.double() - oracle).abs().max()) if result.numel() else 0.0
    allowed = float((same_dtype_reference.double() - oracle).abs().max()) if result.numel() else 0.0
    allowed = 2 * allowed + FLOOR[result.dtype] * max(1.0, float(oracle.abs().max()) if oracle.numel() else 1.0)
    assert error <= allowed, f"{name}: largest error {error:.3e}, allowed {allowed:.3e}"
    ratio = rmse_ratio(result, oracle)
    assert ratio <= RMSE_LIMIT[result.dtype], f"{name}: RMSE ratio {ratio:.3e}, limit {RMSE_LIMIT[result.dtype]:.0e}"
