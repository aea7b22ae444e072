"""Masks as edits make them: the tokens that an attribute or an expression would change, in all faces of a batch.

The rule is that of :func:`gptface.faces.areas.area_mask` on the grid of image tokens, where a region is widened by one
token and a zone holds every token it touches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gptface.faces.areas import FACE_REGIONS, MINIMUM_REGION, ZONES, Area
from gptface.faces.attributes import LABELLED_ATTRIBUTES, attribute_area
from gptface.faces.expressions import LABELLED_EXPRESSIONS, expression_area
from gptface.faces.regions import REGIONS, region_label

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


class WishAreas:
    """Draws a wish for each face and says which tokens it would change.

    Args:
        grid: ``(h, w)`` tokens.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        self.grid = grid
        drawn = wishes()
        self.chances = torch.tensor([chance for _, chance in drawn])
        areas = [area for area, _ in drawn]
        # What an area falls back to stands behind those that are drawn; one without a fallback falls back to itself.
        fallback = []
        for place, area in enumerate(areas):
            fallback.append(place if area.otherwise is None else len(areas))
            if area.otherwise is not None:
                areas.append(area.otherwise)  # which is looked at in its turn
        boxes = [[box for zone in area.zones for box in ZONES[zone]] for area in areas]
        most = max(len(each) for each in boxes)
        self.boxes = torch.tensor([[*each, *[NOWHERE] * (most - len(each))] for each in boxes])  # (A, zones, 4)
        self.regions = torch.tensor([[name in area.regions for name in REGIONS] for area in areas])
        self.widened = torch.tensor([area.grow > 0 for area in areas])
        self.fallback = torch.tensor(fallback)
        self.face = torch.tensor([region_label(name) for name in FACE_REGIONS])

    def draw(self, token_regions: Tensor) -> Tensor:
        """The tokens of one wish a face, by torch's generator on their device.

        Args:
            token_regions: int64 ``(B, N)``, indices into ``REGIONS``.

        Returns:
            bool ``(B, N)``; all tokens of faces where the wish has no place.
        """
        chances = self.chances.to(token_regions.device)
        drawn = torch.multinomial(chances, max(1, len(token_regions)), replacement=True)[: len(token_regions)]
        mask = self.mask(token_regions, drawn)
        return mask | ~mask.any(1, keepdim=True)

    def mask(self, token_regions: Tensor, wishes: Tensor) -> Tensor:
        """bool ``(B, N)``: the tokens that the ``wishes (B,)``, by their places among those drawn, would change."""
        device = token_regions.device
        regions, fallback = self.regions.to(device), self.fallback.to(device)
        for _ in range(2):  # hair, or else the hat, or else where hair would be
            seen = regions[wishes].gather(1, token_regions).float().mean(1)
            wishes = torch.where(seen < MINIMUM_REGION, fallback[wishes], wishes)
        marked = regions[wishes].gather(1, token_regions).unflatten(1, self.grid)
        wide = functional.max_pool2d(marked.float().unsqueeze(1), 3, stride=1, padding=1)[:, 0] > 0
        marked = torch.where(self.widened.to(device)[wishes][:, None, None], wide, marked)
        return (marked | self._zones(token_regions, self.boxes.to(device)[wishes])).flatten(1)

    def _zones(self, token_regions: Tensor, boxes: Tensor) -> Tensor:
        """bool ``(B, h, w)``: tokens that ``boxes (B, zones, 4)`` touch, in units of the faces' own boxes."""
        face = torch.isin(token_regions, self.face.to(token_regions.device)).unflatten(1, self.grid)
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
