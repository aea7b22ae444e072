"""Samplers of image blocks as their papers describe them: BEiT and I-JEPA. They return ``(B, h · w)`` bool."""

from __future__ import annotations

import math
import random

import numpy as np
import torch

__all__ = ["beit_blocks", "ijepa_blocks"]

ATTEMPTS = 10


def beit_blocks(
    generator: random.Random, batch: int, grid: int, ratio: float, minimum: int = 16, aspect: float = 0.3
) -> np.ndarray:
    """BEiT's blockwise masking (arXiv 2106.08254, algorithm 1).

    Blocks of at least ``minimum`` patches and a log-uniform aspect ratio from ``aspect`` to ``1 / aspect`` are placed
    inside the grid until the budget is reached; a block may overlap earlier ones, and one that would exceed the budget
    or add nothing is drawn again, ten times at most, after which the sample is left short. (The algorithm has no such
    limit; the published code does, and without it the last patches may take for ever.)
    """
    budget = int(ratio * grid * grid)
    low, high = math.log(aspect), math.log(1 / aspect)
    masks = np.zeros((batch, grid, grid), dtype=bool)
    for mask in masks:
        count = 0
        while count < budget:
            room = budget - count
            added = 0
            for _ in range(ATTEMPTS):
                area = generator.uniform(minimum, max(minimum, room))
                shape = math.exp(generator.uniform(low, high))
                height, width = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
                if height >= grid or width >= grid:
                    continue
                top, left = generator.randint(0, grid - height), generator.randint(0, grid - width)
                block = mask[top : top + height, left : left + width]
                fresh = height * width - int(block.sum())
                if 0 < fresh <= room:
                    block[:] = True
                    added = fresh
                    break
            if added == 0:
                break
            count += added
    return masks.reshape(batch, -1)


def ijepa_blocks(
    generator: torch.Generator,
    batch: int,
    grid: int,
    targets: int = 4,
    target_scale: tuple[float, float] = (0.15, 0.2),
    context_scale: tuple[float, float] = (0.85, 1.0),
    aspect: tuple[float, float] = (0.75, 1.5),
    minimum: int = 10,
) -> np.ndarray:
    """I-JEPA's multi-block masking (arXiv 2301.08243, section 3 and appendix A): ``(B, h · w)`` True on target blocks.

    One block size a batch for the targets and one for the context; ``targets`` target blocks a sample, places uniform
    over a range that leaves the last row and column out as the published code does; the context is one square block
    less the targets, drawn again while it keeps fewer than ``minimum`` patches. All samples' index lists are cut to the
    batch's shortest. The context is worked out as in training but not returned.
    """

    def block_size(scale: tuple[float, float], ratios: tuple[float, float]) -> tuple[int, int]:
        share, shape = torch.rand(2, generator=generator).tolist()
        area = int(grid * grid * (scale[0] + share * (scale[1] - scale[0])))
        ratio = ratios[0] + shape * (ratios[1] - ratios[0])
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        return min(height, grid - 1), min(width, grid - 1)

    def block(size: tuple[int, int]) -> torch.Tensor:
        mask = torch.zeros((grid, grid), dtype=torch.int32)
        top = int(torch.randint(0, grid - size[0], (1,), generator=generator))
        left = int(torch.randint(0, grid - size[1], (1,), generator=generator))
        mask[top : top + size[0], left : left + size[1]] = 1
        return mask

    target_size, context_size = block_size(target_scale, aspect), block_size(context_scale, (1.0, 1.0))
    target_lists, context_lists = [], []
    for _ in range(batch):
        blocks = [block(target_size) for _ in range(targets)]
        outside = torch.ones((grid, grid), dtype=torch.int32)
        for target in blocks:
            outside *= 1 - target
        for attempt in range(1, 101):
            # After twenty failures in a row the constraint is loosened, so that small grids come to an end.
            context = block(context_size) * (outside if attempt <= 20 else 1)
            places = torch.nonzero(context.flatten()).squeeze(1)
            if len(places) > minimum:
                break
        context_lists.append(places)
        target_lists.append([torch.nonzero(target.flatten()).squeeze(1) for target in blocks])
    shortest = min(map(len, context_lists))
    torch.stack([places[:shortest] for places in context_lists])
    indices = torch.stack([torch.cat(lists) for lists in target_lists])
    return torch.zeros((batch, grid * grid), dtype=torch.bool).scatter_(1, indices, True).numpy()
