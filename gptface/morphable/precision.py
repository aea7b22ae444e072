"""Geometry under ``torch.autocast``: its matrix products keep the dtype of what they are given."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["without_autocast"]


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """A block in which autocast is off on a tensor's device.

    In bfloat16 a head of 20 cm is known to half a millimetre at best, and triangles smaller than that fold over.
    """
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if kind in ("cpu", "cuda") else nullcontext()
