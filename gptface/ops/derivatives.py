"""Which derivatives the operators have: reverse mode. Forward mode must fail, and would not by itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["refuse_forward_mode"]


def refuse_forward_mode(operator: str, *tensors: Tensor) -> None:
    """Raise where a tensor is a dual number: torch drops its tangent at a custom operator in silence, as if zero.

    Raises:
        RuntimeError: naming the operator and the transforms that make dual numbers.
    """
    if torch.compiler.is_compiling():
        return
    if any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors):
        raise RuntimeError(
            f"{operator} has no forward-mode derivative (torch.func.jvp, jacfwd, hessian, forward_ad.dual_level): "
            "use reverse mode"
        )
