"""What sums of losses are divided by.

A loss is a mean over its targets: masked tokens, pixels, pairs. Where a step has several forward passes (accumulated,
or on several processes) with unequal numbers of targets, the mean of their means is not the mean over the step: a token
of a pass with few of them would weigh more. So every loss here takes the number to divide by: by default that of its
own targets, in a step of several passes their mean number over all passes. The mean over the passes is then exactly the
mean over all targets of the step, for values and gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["divided"]


def divided(total: Tensor, count: Tensor) -> Tensor:
    """``total / count``; where nothing counts, ``total`` itself, which is then 0."""
    return total / torch.where(count > 0, count, 1.0)
