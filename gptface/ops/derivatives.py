"""Which derivatives the operators have: those of ``backward`` and ``torch.autograd.grad``. The others must say so."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["may_be_differentiated", "refuse_other_derivatives"]

_functorch = torch._C._functorch


def may_be_differentiated(first: Tensor, second: Tensor, third: Tensor) -> bool:
    """Whether autograd would record a call with these inputs."""
    return torch.is_grad_enabled() and (first.requires_grad or second.requires_grad or third.requires_grad)


def refuse_other_derivatives(operator: str, *tensors: Tensor) -> None:
    """Raise where a tensor is differentiated in forward mode or by one of torch's function transforms.

    At a custom operator torch drops the tangent of a dual number in silence, as if it were zero, and speaks of its own
    insides where ``torch.func.grad`` meets one. ``torch.vmap`` alone works.

    Raises:
        RuntimeError: naming the operator, the transforms, and what to use instead.
    """
    if torch.compiler.is_compiling():
        return
    # Without a level there is no dual number to look for.
    in_forward_mode = forward_ad._current_level >= 0
    if in_forward_mode and any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors):
        raise RuntimeError(
            f"{operator} has no forward-mode derivative (torch.func.jvp, jacfwd, hessian, forward_ad.dual_level): "
            "use reverse mode"
        )
    if torch._C._are_functorch_transforms_active() and _differentiated(tensors):
        raise RuntimeError(
            f"{operator} cannot be differentiated by torch's function transforms (torch.func.grad, vjp, jacrev), which "
            "take no custom operator: use torch.autograd.grad or backward"
        )


def _differentiated(tensors: tuple[Tensor, ...]) -> bool:
    """Whether a function transform would differentiate through one of ``tensors``."""
    transforms = {layer.key() for layer in _functorch.get_interpreter_stack() or ()}
    if _functorch.TransformType.Grad not in transforms or not torch.is_grad_enabled():
        return False
    for tensor in tensors:
        while _functorch.is_functorch_wrapped_tensor(tensor):
            if tensor.requires_grad:
                return True
            tensor = _functorch.get_unwrapped(tensor)
        if tensor.requires_grad:
            return True
    return False
