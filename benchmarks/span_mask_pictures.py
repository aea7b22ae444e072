"""Pictures of the evidence on span masks: how often each position is masked, and how long spans are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

__all__ = ["draw_grids", "draw_lengths", "draw_lines"]


def draw_lines(path: Path, panels: Mapping[str, tuple[np.ndarray, float | None]]) -> None:
    """P(masked) along the sequence: a panel for each name, with its frequencies and the promised probability."""
    columns = 2
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(5.5 * columns, 2.0 * rows), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (name, (frequency, promised)) in zip(axes.flat, panels.items(), strict=False):
        axis.plot(frequency, linewidth=0.8)
        if promised is not None:
            axis.axhline(promised, color="black", linewidth=0.6, linestyle=":")
        axis.set_ylim(0, max(1.25 * float(frequency.max()), 1e-3))
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
    figure.supylabel("share of samples in which a position is masked", fontsize=9)
    figure.supxlabel("position", fontsize=9)
    _save(figure, path)


def draw_grids(path: Path, panels: Mapping[str, np.ndarray]) -> None:
    """P(masked) over the grid, all panels on one colour scale from 0 to 1."""
    columns = 4
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(2.7 * columns, 2.7 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, frequency) in zip(axes.flat, panels.items(), strict=False):
        image = axis.imshow(frequency, vmin=0, vmax=1, cmap="viridis")
        axis.set_title(f"{name}\n{frequency.min():.2f} to {frequency.max():.2f}", fontsize=8)
    bar = figure.colorbar(image, ax=list(axes.flat), shrink=0.6, label="share of samples in which a cell is masked")
    bar.ax.tick_params(labelsize=7)
    _save(figure, path, tight=False)


def draw_lengths(path: Path, panels: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Mean number of spans of each length in a mask: found (bars) and expected (dots)."""
    figure, axes = pyplot.subplots(1, len(panels), figsize=(3.0 * len(panels), 2.4), squeeze=False)
    for axis, (name, (found, expected)) in zip(axes.flat, panels.items(), strict=True):
        lengths = np.arange(1, len(found))
        axis.bar(lengths, found[1:], width=0.8)
        axis.plot(lengths, expected[1:], "k.", markersize=4)
        axis.set_title(name, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.set_xlabel("length of the span", fontsize=7)
    axes[0, 0].set_ylabel("spans in a mask", fontsize=7)
    _save(figure, path)


def _save(figure: Any, path: Path, tight: bool = True) -> None:
    if tight:
        figure.tight_layout()
    figure.savefig(path, dpi=80, bbox_inches="tight")
    pyplot.close(figure)
