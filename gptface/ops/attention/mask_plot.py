"""A picture of an interval mask: what is visible, and how its tiles are classed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gptface.errors import InputError
from gptface.files import atomic_write

if TYPE_CHECKING:
    from gptface.ops.attention.mask import IntervalMask

__all__ = ["plot_mask"]

_TILE_COLOURS = ("#f2f2f2", "#f4a259", "#2a6f97")  # skipped, partly visible, fully visible
_HIDDEN, _VISIBLE = "#ffffff", "#1b3a4b"


def plot_mask(
    mask: IntervalMask, path: str | os.PathLike[str], tile_queries: int, tile_keys: int, samples: int
) -> None:
    """Draw the first ``samples`` samples of ``mask``: above, every (query, key) pair; below, the tiles."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import ListedColormap
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError as error:
        raise InputError("plot needs matplotlib, which is not installed: pip install matplotlib") from error
    if samples < 1 or 0 in mask.shape:
        raise InputError(f"plot needs samples, queries and keys to draw, got samples={samples} of a mask {mask.shape}")

    count = min(samples, mask.batch_size)
    shown = type(mask)(mask.intervals[:count].cpu(), mask.num_keys, mask.kind)
    visible = shown.to_dense().numpy()
    tiles = shown.tile_classes(tile_queries, tile_keys).numpy()

    # Not pyplot: no global state, no display, safe in threads.
    figure = Figure(figsize=(0.6 + 3.6 * count, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, count, squeeze=False)
    extent = (0.0, float(mask.num_keys), float(mask.num_queries), 0.0)
    for sample in range(count):
        upper, lower = axes[0, sample], axes[1, sample]
        upper.imshow(visible[sample], cmap=ListedColormap([_HIDDEN, _VISIBLE]), vmin=0, vmax=1, extent=extent)
        upper.set_title(f"sample {sample}: {visible[sample].mean():.1%} visible", fontsize=9)
        # The last tile of a row or column may be cut: drawn to the full tile grid and clipped to the mask.
        grid = (0.0, float(tiles.shape[2] * tile_keys), float(tiles.shape[1] * tile_queries), 0.0)
        lower.imshow(tiles[sample], cmap=ListedColormap(_TILE_COLOURS), vmin=0, vmax=2, extent=grid)
        lower.set_xlim(0, mask.num_keys)
        lower.set_ylim(mask.num_queries, 0)
        computed = (tiles[sample] > 0).mean()
        lower.set_title(f"tiles {tile_queries} x {tile_keys}: {computed:.1%} computed", fontsize=9)
        for axis in (upper, lower):
            axis.set_aspect("auto")
            axis.set_xlabel("key")
            axis.set_ylabel("query" if sample == 0 else "")
    names = ("skipped", "partly visible", "fully visible")
    figure.legend(
        handles=[
            Patch(facecolor=colour, edgecolor="#888888", label=name)
            for colour, name in zip(_TILE_COLOURS, names, strict=True)
        ],
        loc="outside lower center",
        ncols=3,
        fontsize=9,
    )
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130)
