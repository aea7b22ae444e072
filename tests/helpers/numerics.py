"""The tolerance rule of :mod:`gptface.diagnosis.numerics` as assertions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gptface.diagnosis.numerics import FLOOR, RMSE_LIMIT, largest_by_rule, rmse_ratio

__all__ = ["FLOOR", "RMSE_LIMIT", "assert_error_within_rule", "assert_matches_oracle", "rmse_ratio"]


def assert_error_within_rule(
    name: str, result: torch.Tensor, same_dtype: torch.Tensor | Sequence[torch.Tensor], oracle: torch.Tensor
) -> None:
    """``e(result) <= 2 e(yardstick) + floor``; arguments as :func:`gptface.diagnosis.numerics.largest_by_rule`."""
    assert result.shape == oracle.shape, f"{name}: shape {tuple(result.shape)}, oracle {tuple(oracle.shape)}"
    assert torch.isfinite(result).all(), f"{name}: not finite"
    if result.numel() == 0:
        return
    error, allowed = largest_by_rule(result, same_dtype, oracle)
    assert error <= allowed, f"{name}: largest error {error:.3e}, allowed {allowed:.3e}"


def assert_matches_oracle(
    name: str, result: torch.Tensor, same_dtype: torch.Tensor | Sequence[torch.Tensor], oracle: torch.Tensor
) -> None:
    """:func:`assert_error_within_rule`, and an RMSE ratio under the dtype's limit."""
    assert_error_within_rule(name, result, same_dtype, oracle)
    ratio = rmse_ratio(result, oracle)
    assert ratio <= RMSE_LIMIT[result.dtype], f"{name}: RMSE ratio {ratio:.3e}, limit {RMSE_LIMIT[result.dtype]:.0e}"
