"""Images as sequences of patches: cut and joined again, embedded, and told where on the grid each of them lies.

Patches are ordered row by row. Within a patch the channels come first, then its rows, then its columns, so that the
weight of a strided convolution ``(width, 3, p, p)``, flattened, is the weight of :class:`PatchEmbedding`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gptface.errors import InputError

__all__ = [
    "FactorisedPositions",
    "PatchEmbedding",
    "SineCosinePositions",
    "patch_grid",
    "patchify",
    "sine_cosine_positions",
    "unpatchify",
]


def patch_grid(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches in an image of ``height`` times ``width`` pixels.

    Raises:
        InputError: a size is not positive, or patches do not fill the image.
    """
    if patch_size < 1:
        raise InputError(f"patch_size must be at least 1, got {patch_size}")
    if height < 1 or width < 1 or height % patch_size or width % patch_size:
        raise InputError(
            f"height and width of an image must be positive multiples of patch_size {patch_size}, "
            f"got {height} and {width}"
        )
    return height // patch_size, width // patch_size


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """``images (B, C, H, W)`` of any dtype to patches ``(B, N, C * patch_size ** 2)``, row by row.

    Raises:
        InputError: images without four dimensions, or patches that do not fill them.
    """
    if images.ndim != 4:
        raise InputError(f"images must have shape (B, C, H, W), got {tuple(images.shape)}")
    rows, columns = patch_grid(images.shape[2], images.shape[3], patch_size)
    cut = images.unflatten(3, (columns, patch_size)).unflatten(2, (rows, patch_size))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpatchify(patches: Tensor, patch_size: int, grid: tuple[int, int]) -> Tensor:
    """``patches (B, N, C * patch_size ** 2)`` of a ``grid`` (rows, columns) to images ``(B, C, H, W)``.

    Raises:
        InputError: patches that are not as many as the grid has, or that are not whole patches of that size.
    """
    rows, columns = grid
    if patch_size < 1 or rows < 1 or columns < 1:
        raise InputError(f"patch_size and grid must be at least 1, got {patch_size} and {rows} × {columns}")
    area = patch_size**2
    if patches.ndim != 3 or patches.shape[1] != rows * columns or patches.shape[2] == 0 or patches.shape[2] % area:
        raise InputError(
            f"patches must have shape (B, {rows * columns}, C * {area}) for a grid of {rows} × {columns} patches of "
            f"{patch_size}² pixels, got {tuple(patches.shape)}"
        )
    cut = patches.unflatten(2, (-1, patch_size, patch_size)).unflatten(1, (rows, columns))
    return cut.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


class PatchEmbedding(nn.Module):
    """One linear map of the pixels of every patch, as in a vision transformer (Dosovitskiy et al., 2010.11929).

    Args:
        patch_size: side of a patch in pixels.
        width: of the embeddings, ``C``.
        channels: of the images.
    """

    def __init__(self, patch_size: int, width: int, *, channels: int = 3) -> None:
        super().__init__()
        for name, value in (("patch_size", patch_size), ("width", width), ("channels", channels)):
            if value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        self.patch_size = patch_size
        self.channels = channels
        self.projection = nn.Linear(channels * patch_size**2, width)

    def forward(self, images: Tensor) -> Tensor:
        """``images (B, channels, H, W)``, any multiples of ``patch_size``, to ``(B, N, C)`` row by row."""
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise InputError(f"images must have shape (B, {self.channels}, H, W), got {tuple(images.shape)}")
        return self.projection(patchify(images, self.patch_size))


class FactorisedPositions(nn.Module):
    """Learned position embeddings of a grid: the sum of one vector of the row and one of the column.

    Places of one row or one column have a vector in common from the start, and there are ``h + w`` vectors instead of
    ``h * w``. The two tables are ``nn.Embedding`` modules, which a model's ``_init_weights`` starts like any other.

    Args:
        grid: rows and columns.
        width: of the embeddings, ``C``.
    """

    def __init__(self, grid: tuple[int, int], width: int) -> None:
        super().__init__()
        _check_grid(grid, width)
        self.rows = nn.Embedding(grid[0], width)
        self.columns = nn.Embedding(grid[1], width)

    def forward(self) -> Tensor:
        """All positions ``(h * w, C)``, row by row."""
        return (self.rows.weight.unsqueeze(1) + self.columns.weight).flatten(0, 1)


def sine_cosine_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed position embeddings ``(h * w, width)`` float32 of a grid, row by row.

    The first half of the channels tells the column, the second the row; each half holds the sines and then the cosines
    of the place times ``width / 4`` frequencies from 1 down towards 1/10,000. This is the layout of the published
    masked autoencoders (He et al., 2111.06377), whose weights expect it.

    Args:
        grid: rows and columns.
        width: a multiple of 4.
    """
    _check_grid(grid, width)
    if width % 4:
        raise InputError(f"width must be a multiple of 4 for sines and cosines of two coordinates, got {width}")
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))

    def waves(places: int) -> Tensor:
        angles = torch.arange(places, dtype=torch.float64).unsqueeze(1) * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    rows, columns = grid
    by_column = waves(columns).expand(rows, columns, -1)
    by_row = waves(rows).unsqueeze(1).expand(rows, columns, -1)
    return torch.cat([by_column, by_row], dim=2).flatten(0, 1).float()


class SineCosinePositions(nn.Module):
    """:func:`sine_cosine_positions` as a part of a model, in place of :class:`FactorisedPositions`.

    The table is saved with the weights: a model that is built without memory and then filled from its file, as
    ``from_pretrained`` does, has it too.
    """

    table: Tensor

    def __init__(self, grid: tuple[int, int], width: int) -> None:
        super().__init__()
        self.register_buffer("table", sine_cosine_positions(grid, width))

    def forward(self) -> Tensor:
        """All positions ``(h * w, C)``, row by row."""
        return self.table


def _check_grid(grid: tuple[int, int], width: int) -> None:
    if len(grid) != 2 or min(grid) < 1 or width < 1:
        raise InputError(f"grid must be two sizes and width one, each at least 1, got {tuple(grid)} and {width}")
