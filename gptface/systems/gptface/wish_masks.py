"""Masks as edits make them: the tokens that an attribute or an expression would change, in all faces of a batch.

The rule is that of :func:`gptface.faces.areas.area_mask` on the grid of image tokens, where a region is widened by one
token and a zone holds every token it touches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gptface.faces.areas import FACE_REGIONS, MINIMUM_REGION, ZONES, Area
from gptface.faces.attributes import LABELLED_ATTRIBUTES, attribute_area
from gptface.faces.expressions import LABELLED_EXPRESSIONS, expression_area
from gptface.faces.regions import REGIONS

__all__ = ["WishAreas"]

# Boxes that no zone fills lie outside every picture.
NOWHERE = (-9.0, -9.0, -9.0, -9.0)


def wishes() -> list[tuple[Area, float]]:
    """The areas of what can be wished for, each with its chance: half of all wishes are expressions."""
    named = [name for attribute in LABELLED_ATTRIBUTES for name in (attribute, f"no {attribute}")]
    chances: dict[Area, float] = {}
    for areas in ([attribute_area(name) for name in named], [expression_area(name) for name in LABELLED_EXPRESSIONS]):
        for area in areas:
            chances[area] = chances.get(area, 0.0) + 0.5 / len(areas)
    return list(chances.items())


class Tables(NamedTuple):
    """What :class:`WishAreas` looks up, a row for each area."""

    chances: Tensor
    """float32 (drawn,); the areas that are drawn come first."""
    regions: Tensor
    """bool (areas, regions)."""
    boxes: Tensor
    """float32 (areas, zones, 4): left, top, right, bottom in units of the face's box."""
    widened: Tensor
    """bool (areas,)."""
    fallback: Tensor
    """int64 (areas,): what is taken where an area's regions are not to be seen; an area without one names itself."""
    face: Tensor
    """bool (regions,): those that make up the face's box."""


class WishAreas:
    """Draws a wish for each face and says which tokens it would change.

    Args:
        grid: ``(h, w)`` tokens.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        self.grid = grid
        drawn = wishes()
        areas = [area for area, _ in drawn]
        fallback = []
        for place, area in enumerate(areas):
            fallback.append(place if area.otherwise is None else len(areas))
            if area.otherwise is not None:
                assert area.otherwise.otherwise is None
                areas.append(area.otherwise)  # it gets a row of its own, and the loop comes to it
        boxes = [[box for zone in area.zones for box in ZONES[zone]] for area in areas]
        most = max(len(each) for each in boxes)
        tables = Tables(
            torch.tensor([chance for _, chance in drawn]),
            torch.tensor([[name in area.regions for name in REGIONS] for area in areas]),
            torch.tensor([[*each, *[NOWHERE] * (most - len(each))] for each in boxes]),
            torch.tensor([area.grow > 0 for area in areas]),
            torch.tensor(fallback),
            torch.tensor([name in FACE_REGIONS for name in REGIONS]),
        )
        self._tables = {torch.device("cpu"): tables}

    def tables(self, device: torch.device) -> Tables:
        """The tables on ``device``, moved there once."""
        if device not in self._tables:
            self._tables[device] = Tables(*(table.to(device) for table in self._tables[torch.device("cpu")]))
        return self._tables[device]

    def draw(self, token_regions: Tensor) -> Tensor:
        """The tokens of one wish a face, by torch's generator on their device.

        Args:
            token_regions: int64 ``(B, N)``, indices into ``REGIONS``.

        Returns:
            bool ``(B, N)``; all tokens of faces where the wish has no place.
        """
        chances = self.tables(token_regions.device).chances
        mask = self.mask(token_regions, torch.multinomial(chances, len(token_regions), replacement=True))
        return mask | ~mask.any(1, keepdim=True)

    def mask(self, token_regions: Tensor, wishes: Tensor) -> Tensor:
        """bool ``(B, N)``: the tokens that the ``wishes (B,)``, rows of the tables, would change."""
        tables = self.tables(token_regions.device)
        seen = tables.regions[wishes].gather(1, token_regions).float().mean(1)
        wishes = torch.where(seen < MINIMUM_REGION, tables.fallback[wishes], wishes)
        marked = tables.regions[wishes].gather(1, token_regions).unflatten(1, self.grid)
        wide = functional.max_pool2d(marked.float().unsqueeze(1), 3, stride=1, padding=1)[:, 0] > 0
        marked = torch.where(tables.widened[wishes][:, None, None], wide, marked)
        face = tables.face[token_regions].unflatten(1, self.grid)
        return (marked | self._touched(face, tables.boxes[wishes])).flatten(1)

    def _touched(self, face: Tensor, boxes: Tensor) -> Tensor:
        """bool ``(B, h, w)``: tokens that one of the ``boxes (B, zones, 4)`` touches; none where there is no face."""
        touched = []
        for axis, side in enumerate(self.grid):
            places = torch.arange(side, device=face.device)
            line = face.any(2 - axis)
            first = torch.where(line, places, side).amin(1)[:, None]
            size = (torch.where(line, places + 1, 0).amax(1)[:, None] - first).clamp_min(0)
            low = first + boxes[..., 1 - axis] * size
            high = first + boxes[..., 3 - axis] * size
            touched.append((places + 1 > low[..., None]) & (places < high[..., None]) & (size > 0)[..., None])
        rows, columns = touched
        return (rows[..., :, None] & columns[..., None, :]).any(1)
