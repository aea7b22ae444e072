"""Stopwatches. On a GPU: events around each call, and a cold L2 cache before it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

__all__ = ["Clock", "CudaClock", "HostClock", "make_clock"]


class Clock(Protocol):
    """Seconds of ``repeats`` calls, divided by their number."""

    shortest: float
    """A sample should last at least this many seconds, or the clock's own resolution shows."""

    def __call__(self, call: Callable[[], Any], repeats: int) -> float: ...


class HostClock:
    """Wall time, or the CPU time of all threads of this process.

    CPU time is for machines that other work shares: with one thread it leaves out the time that others had the core
    (but not what they did to caches and clock frequency).
    """

    shortest = 2e-3

    def __init__(self, kind: str = "wall") -> None:
        if kind not in ("wall", "cpu"):
            raise ValueError(f"clock is {kind!r}; allowed: 'wall', 'cpu'")
        self._now = time.perf_counter if kind == "wall" else time.process_time

    def __call__(self, call: Callable[[], Any], repeats: int) -> float:
        begin = self._now()
        for _ in range(repeats):
            call()
        return (self._now() - begin) / repeats


class CudaClock:
    """CUDA events around every call. A buffer larger than the L2 cache is written in between, outside the events, so
    that no call finds its inputs in the cache because the one before left them there."""

    shortest = 0.0  # one call is one sample: the flush must come between calls

    def __init__(self, device: torch.device) -> None:
        self.device = device
        cache = torch.cuda.get_device_properties(device).L2_cache_size
        self._flush = torch.empty(max(4 * cache, 1 << 26), dtype=torch.int8, device=device)

    def __call__(self, call: Callable[[], Any], repeats: int) -> float:
        total = 0.0
        for _ in range(repeats):
            self._flush.zero_()
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            call()
            end.record()
            end.synchronize()
            total += begin.elapsed_time(end) * 1e-3
        return total / repeats


def make_clock(device: torch.device, kind: str) -> Clock:
    """``kind`` is ``"wall"`` or ``"cpu"``; a GPU has its events and nothing else."""
    return CudaClock(device) if device.type == "cuda" else HostClock(kind)
