"""The facial regions every label map, mask and editing command speaks of: ``REGIONS[label]`` is the region's name."""

from __future__ import annotations

from gptface.errors import InputError

__all__ = ["REGIONS", "region_label"]

REGIONS: tuple[str, ...] = (
    "background",
    "skin",
    "brows",
    "eyes",
    "nose",
    "mouth",
    "hair",
    "ears",
    "neck",
    "clothes",
    "hat",
    "glasses",
    "occluder",
)


def region_label(name: str) -> int:
    """The label (index in ``REGIONS``) of a region's name.

    Raises:
        InputError: the name is not one of ``REGIONS``.
    """
    try:
        return REGIONS.index(name)
    except ValueError:
        raise InputError(f"region: {name!r} is not a region; choose from {', '.join(REGIONS)}") from None
