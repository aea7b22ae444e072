"""Where an edit takes place: from what the caller names to the pixels of each photo that may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gptface.data.inputs import as_labels, as_mask, one_each, strings
from gptface.errors import InputError
from gptface.faces.areas import Area, area_mask, region_area
from gptface.faces.attributes import attribute_area
from gptface.faces.expressions import expression_area
from gptface.faces.templates import FaceTemplate
from gptface.models.parser import FaceParser
from gptface.systems.gptface.generation.editing import Frame

__all__ = ["Where", "find_area"]


@dataclass(frozen=True)
class Where:
    """The place of an edit, as the caller named it; the first of the four that is given counts.

    Attributes:
        masks: one a photo, as large as it.
        regions: names of regions or zones, or an area, for all photos.
        attributes: one for all photos or one each: the area that shows it.
        expressions: as ``attributes``.
        region_maps: one a photo: where its regions are.
    """

    masks: Any = None
    regions: str | Sequence[str] | Area | None = None
    attributes: str | Sequence[str] | None = None
    expressions: str | Sequence[str] | None = None
    region_maps: Any = None

    def __post_init__(self) -> None:
        if self.attributes is not None and self.expressions is not None:
            raise InputError("attributes and expressions: give one of them, and edit the result again for the other")

    def wished(self, count: int) -> list[Area] | None:
        """The area of each photo's attribute or expression; ``None`` where no name is given.

        Raises:
            InputError: an unknown name.
        """
        if self.attributes is not None:
            return [attribute_area(name) for name in strings(self.attributes, count, "attributes")]
        if self.expressions is not None:
            return [expression_area(name) for name in strings(self.expressions, count, "expressions")]
        return None

    def areas(self, count: int) -> list[Area]:
        """One area a photo.

        Raises:
            InputError: an unknown name, or none at all.
        """
        wished = self.wished(count)
        if isinstance(self.regions, Area):
            return [self.regions] * count
        if self.regions is not None:
            return [region_area([self.regions] if isinstance(self.regions, str) else self.regions)] * count
        if wished is not None:
            return wished
        raise InputError(
            "an edit needs to know where: give masks, regions, attributes or expressions (on the command line --mask, "
            "--region, --attribute or --expression)"
        )

    def find(
        self, photos: Sequence[np.ndarray], frames: Sequence[Frame], parser: FaceParser | None, template: FaceTemplate
    ) -> tuple[list[np.ndarray], list[str]]:
        """The pixels that may change: bool ``(H, W)`` of each photo, within its window, and where each came from.

        Raises:
            InputError: a name is unknown, a size does not fit, or nothing is found.
        """
        given = one_each(self.masks, len(photos), "masks")
        if given is not None:
            self.wished(len(photos))  # names that only word the wish are known ones, too
            found = [(as_mask(mask, photo), "mask") for mask, photo in zip(given, photos, strict=True)]
        else:
            areas = self.areas(len(photos))
            maps = one_each(self.region_maps, len(photos), "region_maps") or [None] * len(photos)
            found = [
                find_area(photo, frame, area, region_map, parser, template)
                for photo, frame, area, region_map in zip(photos, frames, areas, maps, strict=True)
            ]
        masks = [frame.window_mask(mask) for frame, (mask, _) in zip(frames, found, strict=True)]
        for frame, mask in zip(frames, masks, strict=True):
            if not mask.any():
                raise InputError(
                    f"nothing of the mask lies inside the square the system works on (left {frame.left}, "
                    f"top {frame.top}, side {frame.side}); give another window"
                )
        return masks, [source for _, source in found]


def find_area(
    photo: np.ndarray, frame: Frame, area: Area, region_map: Any, parser: FaceParser | None, template: FaceTemplate
) -> tuple[np.ndarray, str]:
    """The pixels of ``area``, by the first source there is.

    Args:
        photo: uint8 ``(H, W, 3)``.
        frame: the window the system sees; parser and template speak of it alone.
        area: regions and zones.
        region_map: labels, see :func:`~gptface.data.inputs.as_labels`, or None.
        parser: of the system, or None.
        template: the last resort.

    Returns:
        ``(H, W)`` bool, not empty, and the source: ``"region_map"``, ``"parser"`` or ``"template"``.

    Raises:
        InputError: the region map has another size, or the area is nowhere to be found.
    """
    if region_map is not None:
        mask, source = area_mask(as_labels(region_map, photo), area), "region_map"
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
