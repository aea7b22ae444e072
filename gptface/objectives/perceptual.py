"""Distance of two pictures in the features of a network that has learnt what matters in them (LPIPS, 1801.03924)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError

__all__ = ["feature_loss"]


def feature_loss(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of features, each place's of length one, averaged over places, pictures and maps.

    It lies between 0 and 4, whatever the network's scale: at every place it is ``2 - 2 cos`` of the angle between both.
    (LPIPS also weighs the channels by what people call similar, for which there are no data of faces here.)

    Args:
        found, wanted: maps ``(B, C, h, w)`` of the same shapes, one or several; ``wanted`` gets no gradient.

    Raises:
        InputError: no maps, or of other shapes.
    """
    shapes = [[tuple(maps.shape) for maps in features] for features in (found, wanted)]
    if not shapes[0] or shapes[0] != shapes[1]:
        raise InputError(f"found and wanted must be maps of the same shapes, got {shapes[0]} and {shapes[1]}")
    errors = [
        (_unit(one) - _unit(other.detach())).square().sum(1).mean() for one, other in zip(found, wanted, strict=True)
    ]
    return torch.stack(errors).mean()


def _unit(maps: Tensor) -> Tensor:
    return functional.normalize(maps.float(), dim=1)
