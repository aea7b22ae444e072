"""The mixed batch of pre-training on a whole GPU, simulated: programs placed on multiprocessors in their order.

A program is its tiles' cycles in order; programs that share a multiprocessor share its busiest unit. So a last wave
that leaves multiprocessors idle shows, which no bound of a single tile does. Memory and launches are not in it.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.patterns import make_pattern
from gptface.kernels.kernel_cost import MACHINES

__all__ = ["BATCH", "HEADS", "LENGTH", "Program", "microseconds", "mixed_batch", "programs", "simulate", "tiles_of"]

BATCH, LENGTH, HEADS = 8, 334, 12
START = 1500  # cycles before a program's first tile: a guess, for reading bounds, its own tile and the first others


class Program(NamedTuple):
    """Cycles that a program takes alone, and those in which it holds the busiest unit."""

    alone: float
    busy: float


def mixed_batch() -> Tensor:
    """``(B, S, S)`` bool: the mask of the benchmarks' mixed batch."""
    return make_pattern("mixed", BATCH, LENGTH, {}, torch.device("cpu")).visible()


def tiles_of(visible: Tensor, rows: int, columns: int) -> list[list[tuple[int, int]]]:
    """``(full, partial)`` tiles of each tile of rows, for each sample of ``visible (B, R, C)``.

    A tile is full where nothing in it is hidden and no row or column of it lies past the end.
    """
    batch, height, width = visible.shape
    down, along = -(-height // rows), -(-width // columns)
    padded = torch.zeros((batch, down * rows, along * columns), dtype=torch.bool)
    padded[:, :height, :width] = visible
    tiled = padded.view(batch, down, rows, along, columns)
    full = tiled.all(4).all(2).sum(2)
    some = tiled.any(4).any(2).sum(2)
    return [
        [(int(full[b, t]), int(some[b, t] - full[b, t])) for t in range(down)] for b in range(batch)
    ]  # fmt: skip


def programs(record: Mapping[str, Any], visible: Tensor, heads: int, tile_by_tile: bool) -> list[Program]:
    """A kernel's programs in the order in which they are placed, with the cycles of its record.

    Args:
        tile_by_tile: through all heads' first tiles, then through their second ones; otherwise head by head.
    """
    chosen, keys = record["configuration"], record["kernel"] == "grad_key_value"
    if keys:
        tiles = tiles_of(visible.transpose(1, 2), chosen["block_n"], chosen["block_m"])
    else:
        tiles = [sample[::-1] for sample in tiles_of(visible, chosen["block_m"], chosen["block_n"])]
    full, partial = record["full"], record["partial"]

    def program(count: tuple[int, int]) -> Program:
        costs = list(zip(count, (full, partial), strict=True))
        alone = START + sum(n * cost["in_order"] for n, cost in costs)
        return Program(alone, sum(n * max(cost["tensor"], cost["other"]) for n, cost in costs))

    of_heads = [[program(count) for count in sample] for sample in tiles for _ in range(heads)]
    if tile_by_tile:
        return [of_head[t] for t in range(len(of_heads[0])) for of_head in of_heads]
    return [one for of_head in of_heads for one in of_head]


def simulate(waiting: Sequence[Program], blocks: int, multiprocessors: int) -> float:
    """Cycles until the last program has ended, ``blocks`` at a time on each multiprocessor.

    Programs advance together: by as much as the slowest allows, or as their busiest unit, shared, allows.
    """
    queue = list(reversed(waiting))
    running: list[list[list[float]]] = [[] for _ in range(multiprocessors)]  # [share left, alone, busy]
    for _ in range(blocks):
        for place in running:
            if queue:
                one = queue.pop()
                place.append([1.0, one.alone, one.busy])
    clock = [0.0] * multiprocessors

    def speeds(place: list[list[float]]) -> list[float]:
        together = sum(one[2] for one in place)
        return [1.0 / max(one[1], together) for one in place]

    def next_end(index: int) -> float:
        place = running[index]
        return clock[index] + min(one[0] / speed for one, speed in zip(place, speeds(place), strict=True))

    events = [(next_end(index), index) for index, place in enumerate(running) if place]
    heapq.heapify(events)
    end = 0.0
    while events:
        end, index = heapq.heappop(events)
        place = running[index]
        passed = end - clock[index]
        for one, speed in zip(place, speeds(place), strict=True):
            one[0] -= passed * speed
        clock[index] = end
        left = [one for one in place if one[0] > 1e-9]
        while queue and len(left) < len(place):
            more = queue.pop()
            left.append([1.0, more.alone, more.busy])
        running[index] = left
        if left:
            heapq.heappush(events, (next_end(index), index))
    return end


def microseconds(record: Mapping[str, Any], visible: Tensor, tile_by_tile: bool) -> float:
    """Of a kernel on the mixed batch."""
    machine = MACHINES[record["architecture"]]
    placed = programs(record, visible, HEADS, tile_by_tile)
    return simulate(placed, record["blocks"], machine.multiprocessors) / machine.clock * 1e6
