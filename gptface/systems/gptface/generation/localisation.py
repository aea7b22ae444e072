"""Finding the pixels of an area on a photo: by a region map, the system's parser, or an aligned face's template."""

from __future__ import annotations

from typing import Any

import numpy as np

from gptface.errors import InputError
from gptface.faces.areas import Area, area_mask
from gptface.faces.templates import FaceTemplate
from gptface.models.parser import FaceParser
from gptface.systems.gptface.generation.editing import Frame

__all__ = ["find_area"]


def find_area(
    photo: np.ndarray, frame: Frame, area: Area, region_map: Any, parser: FaceParser | None, template: FaceTemplate
) -> tuple[np.ndarray, str]:
    """The pixels of ``area``, by the first source there is.

    Args:
        photo: uint8 ``(H, W, 3)``.
        frame: the window the system sees; parser and template speak of it alone.
        area: regions and zones.
        region_map: ``(H, W)`` labels, indices into ``REGIONS``, or None.
        parser: of the system, or None.
        template: the last resort.

    Returns:
        ``(H, W)`` bool, not empty, and the source: ``"region_map"``, ``"parser"`` or ``"template"``.

    Raises:
        InputError: the region map has another size, or the area is nowhere to be found.
    """
    if region_map is not None:
        labels = np.asarray(region_map)
        if labels.shape != photo.shape[:2]:
            raise InputError(f"region_map {labels.shape} must be as large as its image {photo.shape[:2]}")
        mask, source = area_mask(labels, area), "region_map"
    elif parser is not None:
        found = parser.regions(frame.to_model(photo)[None].to(parser.device))[0].cpu().numpy()
        mask, source = area_mask(frame.labels_to_photo(found), area, parser.config.region_names), "parser"
    else:
        labels = frame.labels_to_photo(template.region_map(frame.side))
        mask, source = area_mask(labels, area), "template"
    if not mask.any():
        asked = ", ".join((*area.regions, *area.zones))
        raise InputError(f"no {asked} found in the image (by its {source}); give a mask")
    return mask, source
