"""A picture of an attention mask: what is visible, and how its tiles are classed."""

from __future__ import annotations

import os

from torch import Tensor

from gptface.errors import InputError
from gptface.files import atomic_write

__all__ = ["plot_visibility"]

_TILE_COLOURS = ("#f2f2f2", "#f4a259", "#2a6f97")  # skipped, partly visible, fully visible
_HIDDEN, _VISIBLE = "#ffffff", "#1b3a4b"


def plot_visibility(
    visible: Tensor, tiles: Tensor, path: str | os.PathLike[str], tile_queries: int, tile_keys: int
) -> None:
    """Draw samples of a mask into an image file: above, every (query, key) pair; below, the tiles.

    Args:
        visible: bool ``(n, Sq, Skv)`` on the CPU, no size 0.
        tiles: ``(n, ceil(Sq / tile_queries), ceil(Skv / tile_keys))``: 0 skipped, 1 partly visible, 2 fully visible.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import ListedColormap
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError as error:
        raise InputError("plot needs matplotlib, which is not installed: pip install matplotlib") from error
    count, num_queries, num_keys = visible.shape
    shown, classes = visible.numpy(), tiles.numpy()

    # Not pyplot: no global state, no display, safe in threads.
    figure = Figure(figsize=(0.6 + 3.6 * count, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, count, squeeze=False)
    extent = (0.0, float(num_keys), float(num_queries), 0.0)
    for sample in range(count):
        upper, lower = axes[0, sample], axes[1, sample]
        upper.imshow(shown[sample], cmap=ListedColormap([_HIDDEN, _VISIBLE]), vmin=0, vmax=1, extent=extent)
        upper.set_title(f"sample {sample}: {shown[sample].mean():.1%} visible", fontsize=9)
        # The last tile of a row or column may be cut: drawn to the full tile grid and clipped to the mask.
        grid = (0.0, float(classes.shape[2] * tile_keys), float(classes.shape[1] * tile_queries), 0.0)
        lower.imshow(classes[sample], cmap=ListedColormap(_TILE_COLOURS), vmin=0, vmax=2, extent=grid)
        lower.set_xlim(0, num_keys)
        lower.set_ylim(num_queries, 0)
        computed = (classes[sample] > 0).mean()
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
