"""The inputs of one codebook case and the float64 truth."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.contender import CannotRun, Prepared
from benchmarks.shapes import LookupShape

__all__ = ["LookupProblem", "make_lookup", "prepare_step"]


@dataclass
class LookupProblem:
    """``x (N, D)`` and ``codebook (K, D)``, float32 normal draws around ``offset``."""

    shape: LookupShape
    x: Tensor
    codebook: Tensor

    @functools.cached_property
    def best(self) -> Tensor:
        """``(N,)`` float64: squared distance to the nearest code."""
        codes, chunk = self.codebook.double(), max(1, (1 << 24) // self.shape.codes)
        rows = self.x.detach().double().split(chunk)
        return torch.cat([torch.cdist(part, codes).min(1).values.square() for part in rows])

    def distances(self, indices: Tensor) -> Tensor:
        """``(N,)`` float64: squared distance to the codes that somebody chose."""
        return (self.x.double() - self.codebook.double()[indices]).square().sum(1)

    def refuse_matrix(self, share: float) -> None:
        """For contenders that store the N × K matrix.

        Raises:
            CannotRun: one float32 matrix takes more than ``share`` of the device's memory.
        """
        needed = 4 * self.shape.rows * self.shape.codes
        if self.x.device.type == "cuda":
            memory = torch.cuda.get_device_properties(self.x.device).total_memory
        else:
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > share * memory:
            raise CannotRun(f"its N × K matrix alone would take {needed / 2**30:.0f} GiB")


def make_lookup(shape: LookupShape, device: torch.device) -> LookupProblem:
    """Draw a case's inputs from a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    codebook = torch.randn(shape.codes, shape.length, generator=generator) + shape.offset
    x = torch.randn(shape.rows, shape.length, generator=generator) + shape.offset
    return LookupProblem(shape, x.to(device).requires_grad_(shape.step), codebook.to(device))


def prepare_step(problem: LookupProblem, forward: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]) -> Prepared:
    """A quantiser's training step from ``forward(x) -> quantized (N, D), indices (N,), loss``.

    The step is forward, backward through ``loss + mean(quantized²)``, and whatever the module does to its codebook.
    """

    def run(_: None) -> Tensor:
        quantized, indices, loss = forward(problem.x)
        torch.autograd.grad(loss + quantized.square().mean(), problem.x)
        return indices

    return Prepared(run)
