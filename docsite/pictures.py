"""Pictures of operators, made by the operators: ``python -m docsite.pictures`` writes them into ``docs/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gptface.data.procedural import ProceduralFaces
from gptface.data.region_masks import face_region_grid, region_masks
from gptface.morphable import draw, load_morphable_model, named_parameters
from gptface.ops import Geometric, ImageBlocks, ImageRandom, TextSpans, VectorQuantizer, sample_span_mask

__all__ = ["edits_picture", "lookup_picture", "raster_picture", "span_mask_picture", "write_pictures"]

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "operators"
DARK, LIGHT = "#31489b", "#e4e8f2"
GRID = (14, 14)


def _figure(width: float, height: float) -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.figure(figsize=(width, height), dpi=110)


def _cells(axis: Any, mask: np.ndarray, title: str) -> None:
    from matplotlib.colors import ListedColormap

    rows, columns = mask.shape
    axis.pcolormesh(mask[::-1], cmap=ListedColormap([LIGHT, DARK]), vmin=0, vmax=1, edgecolors="white", linewidth=0.8)
    axis.set_title(title, fontsize=11, loc="left")
    axis.set_aspect("equal")
    axis.set_axis_off()
    axis.set_xlim(0, columns)
    axis.set_ylim(0, rows)


def span_mask_picture(file: Path) -> None:
    """Spans of eight texts; blocks, cells and facial regions of one grid each."""
    figure = _figure(8.6, 4.5)
    above, below = figure.add_gridspec(2, 1, height_ratios=[0.9, 1.2], hspace=0.18)
    numbers = list(range(8))
    text = sample_span_mask(TextSpans(0.3, Geometric()), [48] * 8, seed=0, step=0, sample_ids=numbers).mask.numpy()
    _cells(figure.add_subplot(above), text, "TextSpans, 30 %: a row a text of 48 tokens")
    face = ProceduralFaces(seed=5, size=112)[0]
    assert face.region_map is not None
    regions = face_region_grid(face.region_map, GRID, (112, 112))[None]
    kinds: list[tuple[str, Any, dict[str, Any]]] = [
        ("ImageBlocks, 40 %", ImageBlocks(GRID, 0.4), {}),
        ("ImageRandom, 40 %", ImageRandom(GRID, 0.4), {}),
        ("FacialRegions, 30 %", region_masks(GRID, 0.3, {"eyes": 2, "mouth": 2, "nose": 1}), {"region_map": regions}),
    ]
    panels = below.subgridspec(1, 4)
    for place, (title, spec, given) in enumerate(kinds):
        drawn = sample_span_mask(spec, None if given else [196], seed=1, step=0, sample_ids=np.array([7]), **given)
        _cells(figure.add_subplot(panels[place]), np.asarray(drawn.mask[0]).reshape(GRID), title)
    axis = figure.add_subplot(panels[3])
    axis.imshow(face.image)
    axis.set_title("of this drawn face", fontsize=11, loc="left")
    axis.set_axis_off()
    figure.savefig(file, bbox_inches="tight", facecolor="white")


def lookup_picture(file: Path) -> None:
    """Points in the plane and their codes, before and after 200 steps."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.rand(3000, generator=generator) * 6.283
    ring = torch.stack([angle.cos(), angle.sin()], 1) * (1 + 0.12 * torch.randn(3000, 1, generator=generator))
    points = torch.cat([ring, 0.16 * torch.randn(700, 2, generator=generator)])
    quantizer = VectorQuantizer(2, 24, kmeans_init=False, decay=0.9, revive_below=0.1)
    figure = _figure(8.4, 4.1)
    for place, title in enumerate(("24 codes at the start", "after 200 training steps")):
        if place:
            for _ in range(200):
                quantizer(points)
        with torch.no_grad():
            indices = quantizer.eval()(points).indices
            quantizer.train()
        axis = figure.add_subplot(1, 2, place + 1)
        axis.scatter(*points.T, c=indices.numpy() * 7 % 24, cmap="hsv", s=3, alpha=0.45)
        axis.scatter(*quantizer.weight.detach().T, c="black", s=42, marker="x")
        axis.set_title(f"{title}: {len(indices.unique())} in use", fontsize=11, loc="left")
        axis.set_xlim(-1.6, 1.6)
        axis.set_ylim(-1.5, 1.5)
        axis.set_aspect("equal")
        axis.set_axis_off()
    figure.savefig(file, bbox_inches="tight", facecolor="white")


@torch.no_grad()
def raster_picture(file: Path) -> None:
    """The built-in head: which triangle, its weights spread, and what is drawn of them."""
    model = load_morphable_model("synthetic")
    face = named_parameters(model, expression={"mouthSmile_L": 0.7, "mouthSmile_R": 0.7}, pose={"yaw": 25.0})
    size = 320
    drawn = draw(model, face, size, size, background=torch.ones(size, size, 3), smooth=True)
    triangle = drawn.raster.triangle[0]
    seen = triangle >= 0
    colours = torch.rand(int(triangle.max()) + 1, 3, generator=torch.Generator().manual_seed(0)) * 0.7 + 0.25
    which = torch.ones(size, size, 3)
    which[seen] = colours[triangle[seen]]
    depth = drawn.raster.depth[0]
    near, far = depth[seen].aminmax()
    shades = torch.ones(size, size, 3)
    shades[seen] = (0.2 + 0.75 * (far - depth[seen]) / (far - near))[:, None].expand(-1, 3)
    figure = _figure(8.6, 3.1)
    panels = (("triangles", which), ("depth", shades), ("colours in light", drawn.image[0]))
    for place, (title, picture) in enumerate(panels):
        axis = figure.add_subplot(1, 3, place + 1)
        axis.imshow(picture.clamp(0, 1).numpy())
        axis.set_title(title, fontsize=11, loc="left")
        axis.set_axis_off()
    figure.savefig(file, bbox_inches="tight", facecolor="white")


def edits_picture(file: Path) -> None:
    """Three drawn faces and what the bundled system makes of them."""
    from gptface.systems.gptface.bundled import bundled_system
    from gptface.systems.gptface.generation import FaceGenerator

    drawn = ProceduralFaces(seed=11, size=64)
    faces = [drawn[number].image for number in (8, 2, 6)]
    generator = FaceGenerator(bundled_system())
    wishes = ("Blond_Hair", "Wearing_Hat", "Black_Hair")
    edited = [generator.edit(faces, attributes=wish, seeds=[1, 1, 1]).images for wish in wishes]
    figure = _figure(9.6, 2.5)
    places = figure.add_gridspec(1, 14, width_ratios=[*([1] * 4), 0.12, *([1] * 4), 0.12, *([1] * 4)], wspace=0.05)
    for number in range(3):
        for column, pictures in enumerate((faces, *edited)):
            axis = figure.add_subplot(places[5 * number + column])
            axis.imshow(pictures[number], interpolation="bilinear")
            axis.set_title(("as it is", "blond hair", "a hat", "black hair")[column], fontsize=7)
            axis.set_axis_off()
    figure.savefig(file, bbox_inches="tight", facecolor="white", dpi=190)


def write_pictures(folder: Path = FOLDER) -> None:
    """All of them."""
    torch.manual_seed(0)
    edits_picture(folder.parent / "edits.png")
    span_mask_picture(folder / "span-masks.png")
    lookup_picture(folder / "vq-lookup.png")
    raster_picture(folder / "raster.png")


if __name__ == "__main__":
    write_pictures()
