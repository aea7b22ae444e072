"""The ``MaskingGenerator`` of BEiT and DINOv2: the same call, with the count met and no border neglected.

Change the import, keep the rest::

    from gptface.integrations.beit import MaskingGenerator
"""

from __future__ import annotations

import functools
import random

import numpy as np

from gptface.errors import InputError
from gptface.ops import ImageBlocks, sample_span_mask

__all__ = ["MaskingGenerator"]


@functools.lru_cache(maxsize=4096)
def _blocks(
    grid: tuple[int, int], count: int, aspect: tuple[float, float], minimum: int, maximum: int | None
) -> ImageBlocks:
    return ImageBlocks(grid, count / (grid[0] * grid[1]), aspect, minimum, maximum)


class MaskingGenerator:
    """Block masks of one image after another, in the call convention of BEiT and DINOv2.

    The original masks at most the number asked for, the corners hardly ever. Here every mask has exactly that many
    patches, and every patch the same probability (:class:`gptface.ops.ImageBlocks` states the law). The price: a block
    that leaves the grid on one side enters on the other.

    Args:
        input_size: patches, ``(height, width)`` or one number for a square.
        num_masking_patches: masked patches of a call that does not say.
        min_num_patches: smallest block; 0 is 1.
        max_num_patches: largest block (cut to a whole number: DINOv2 passes a float); ``None``: as many as are asked
            for.
        min_aspect, max_aspect: range of height / width; ``max_aspect=None`` is ``1 / min_aspect``.
        dtype: of the masks; BEiT's own are integers, DINOv2's bool.
        seed: key of the draws, see :meth:`__call__`.
    """

    def __init__(
        self,
        input_size: int | tuple[int, int],
        num_masking_patches: int | None = None,
        min_num_patches: int = 4,
        max_num_patches: float | None = None,
        min_aspect: float = 0.3,
        max_aspect: float | None = None,
        *,
        dtype: type = bool,
        seed: int = 0,
    ) -> None:
        self.height, self.width = map(int, np.broadcast_to(input_size, 2))  # NumPy's integers are as good
        self.num_patches = self.height * self.width
        self.num_masking_patches = num_masking_patches
        self.min_num_patches = min_num_patches
        self.max_num_patches = None if max_num_patches is None else int(max_num_patches)
        self.aspect = (min_aspect, max_aspect or 1 / min_aspect)
        self.dtype = dtype
        self.seed = seed
        self._blocks(0)  # a wrong argument is an error here, not in a worker

    def __repr__(self) -> str:
        return (
            f"MaskingGenerator({self.height}, {self.width} -> [{self.min_num_patches} ~ {self.max_num_patches}], "
            f"max = {self.num_masking_patches}, {self.aspect[0]:.3f} ~ {self.aspect[1]:.3f})"
        )

    def get_shape(self) -> tuple[int, int]:
        return self.height, self.width

    def _blocks(self, count: int) -> ImageBlocks:
        return _blocks(self.get_shape(), count, self.aspect, self.min_num_patches or 1, self.max_num_patches)

    def __call__(
        self, num_masking_patches: int | None = None, *, sample_id: int | None = None, step: int = 0
    ) -> np.ndarray:
        """The mask of one image, ``(height, width)``.

        Args:
            num_masking_patches: how many; the constructor's number by default.
            sample_id, step: who the mask is for: the same (seed, step, sample id) gives the same mask in any process.
                Without ``sample_id`` one is drawn from Python's ``random``, as the original draws its blocks.
        """
        count = self.num_masking_patches if num_masking_patches is None else int(num_masking_patches)
        if count is None or not 0 <= count <= self.num_patches:
            raise InputError(f"num_masking_patches: {count}; allowed: 0 to {self.num_patches}")
        identity = random.getrandbits(63) if sample_id is None else sample_id
        ids = np.array([identity], dtype=np.int64)
        mask = sample_span_mask(self._blocks(count), seed=self.seed, step=step, sample_ids=ids).mask
        return mask.reshape(self.height, self.width).astype(self.dtype, copy=False)
