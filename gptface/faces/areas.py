"""Where on a face a wish takes place: from attributes and expressions to regions and zones, and from those to pixels.

A *region* is what a label map marks (hair, eyes, …). A *zone* is a box placed by the face's own bounding box (forehead,
lower face, …): it says where something would be that is not there yet, such as a hat or a beard.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from gptface.errors import InputError

__all__ = [
    "ATTRIBUTE_AREAS",
    "EXPRESSION_AREAS",
    "OCCLUDER_AREA",
    "REGION_NAMES",
    "TEMPLATES",
    "ZONES",
    "Area",
    "FaceTemplate",
    "area_mask",
    "attribute_area",
    "dilate_mask",
    "expression_area",
    "region_area",
    "split_attribute",
]

REGION_NAMES: tuple[str, ...] = (
    *("background", "skin", "brows", "eyes", "nose", "mouth", "hair"),
    *("ears", "neck", "clothes", "hat", "glasses", "occluder"),
)

# Boxes (left, top, right, bottom) in units of the face's bounding box: 0 to 1 from ear to ear, hairline to chin. In a
# frontal face the brows lie at 0.26, the eyes at 0.40, the base of the nose at 0.65, the mouth at 0.79.
ZONES: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "crown": ((-0.40, -0.80, 1.40, 0.22),),
    "mane": ((-0.45, -0.10, 0.08, 1.35), (0.92, -0.10, 1.45, 1.35)),
    "forehead": ((0.00, -0.10, 1.00, 0.32),),
    "eye_band": ((-0.08, 0.12, 1.08, 0.62),),
    "cheeks": ((0.00, 0.40, 1.00, 0.90),),
    "mouth_area": ((0.12, 0.58, 0.88, 1.00),),
    "lower_face": ((-0.02, 0.52, 1.02, 1.08),),
    "jaw": ((-0.12, 0.50, 1.12, 1.35),),
    "ear_sides": ((-0.22, 0.30, 0.08, 0.90), (0.92, 0.30, 1.22, 0.90)),
    "collar": ((-0.10, 0.98, 1.10, 1.70),),
    "face": ((0.00, -0.05, 1.00, 1.02),),
}


@dataclass(frozen=True)
class Area:
    """The part of a picture a wish may change.

    Attributes:
        regions: names of ``REGION_NAMES``, all of whose pixels belong to it.
        zones: names of ``ZONES``.
        grow: how far the regions are widened, as a fraction of the face's height.
        otherwise: what to take where none of the regions is to be seen (hair under a hat).
    """

    regions: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    grow: float = 0.03
    otherwise: Area | None = None


_NEW_HAIR = Area(("hair", "hat"), ("crown", "mane"), grow=0.04)
_HAIR = Area(("hair",), grow=0.07, otherwise=_NEW_HAIR)
_JAW = Area(("skin", "neck"), ("jaw",), grow=0.04)
_WHOLE_FACE = Area(("skin", "brows", "eyes", "nose", "mouth"), grow=0.04)
_BEARD = Area(("mouth",), ("lower_face",))
_SKIN = Area(("skin", "nose", "ears", "neck"), grow=0.02)
_EYES = Area(("eyes",), grow=0.06)

# CelebA's forty attributes (Liu et al. 2015).
ATTRIBUTE_AREAS: dict[str, Area] = {
    "5_o_Clock_Shadow": _BEARD,
    "Arched_Eyebrows": Area(("brows",), grow=0.06),
    "Attractive": _WHOLE_FACE,
    "Bags_Under_Eyes": Area(("eyes",), grow=0.10),
    "Bald": Area(("hair", "hat"), ("crown",), grow=0.05),
    "Bangs": Area(("hair", "hat"), ("forehead",), grow=0.04),
    "Big_Lips": Area(("mouth",), grow=0.07),
    "Big_Nose": Area(("nose",), grow=0.09),
    "Black_Hair": _HAIR,
    "Blond_Hair": _HAIR,
    "Blurry": Area(REGION_NAMES),
    "Brown_Hair": _HAIR,
    "Bushy_Eyebrows": Area(("brows",), grow=0.06),
    "Chubby": _JAW,
    "Double_Chin": _JAW,
    "Eyeglasses": Area(("eyes", "brows", "glasses"), ("eye_band",), grow=0.03),
    "Goatee": _BEARD,
    "Gray_Hair": _HAIR,
    "Heavy_Makeup": _WHOLE_FACE,
    "High_Cheekbones": Area((), ("cheeks",)),
    "Male": Area(("skin", "brows", "eyes", "nose", "mouth", "hair", "ears", "neck"), grow=0.06),
    "Mouth_Slightly_Open": Area(("mouth",), ("lower_face",)),
    "Mustache": Area(("mouth",), ("mouth_area",), grow=0.06),
    "Narrow_Eyes": _EYES,
    "No_Beard": _BEARD,
    "Oval_Face": _JAW,
    "Pale_Skin": _SKIN,
    "Pointy_Nose": Area(("nose",), grow=0.06),
    "Receding_Hairline": Area(("hair",), ("forehead",)),
    "Rosy_Cheeks": Area((), ("cheeks",)),
    "Sideburns": Area((), ("ear_sides",)),
    "Smiling": Area(("mouth", "eyes"), ("cheeks", "lower_face"), grow=0.06),
    "Straight_Hair": Area(("hair",), ("mane",), grow=0.10, otherwise=_NEW_HAIR),
    "Wavy_Hair": Area(("hair",), ("mane",), grow=0.10, otherwise=_NEW_HAIR),
    "Wearing_Earrings": Area(("ears",), ("ear_sides",), grow=0.06),
    "Wearing_Hat": Area(("hat", "hair"), ("crown",), grow=0.04),
    "Wearing_Lipstick": Area(("mouth",), grow=0.04),
    "Wearing_Necklace": Area(("neck",), ("collar",)),
    "Wearing_Necktie": Area((), ("collar",)),
    "Young": Area(("skin", "brows", "eyes", "nose", "mouth", "hair"), grow=0.04),
}
# Where taking something away concerns another area than adding it.
_ABSENCE_AREAS: dict[str, Area] = {"Bald": _NEW_HAIR}

# What the face does is seen at brows, eyes and mouth. Renewing the cheeks and the chin between them as well gives an
# edit more room, and the judge more of what it looks for, but leaves little of the person.
_FEATURES = Area(("brows", "eyes", "mouth"), grow=0.08)
EXPRESSION_AREAS: dict[str, Area] = dict.fromkeys(
    ("neutral", "happiness", "sadness", "anger", "surprise", "fear", "disgust", "contempt"), _FEATURES
)

OCCLUDER_AREA = Area(("occluder",), grow=0.06)


def attribute_area(name: str) -> Area:
    """Where an attribute is seen, or, for ``"no NAME"``, where its absence is.

    Raises:
        InputError: not one of CelebA's attributes; the sentence names the nearest ones.
    """
    name, wanted = split_attribute(name)
    area = _lookup("attribute", name, ATTRIBUTE_AREAS)
    return area if wanted else _ABSENCE_AREAS.get(name, area)


def split_attribute(name: str) -> tuple[str, bool]:
    """``"no Eyeglasses"`` to ``("Eyeglasses", False)``, ``"Eyeglasses"`` to ``("Eyeglasses", True)``."""
    return (name[3:].strip(), False) if name[:3].lower() == "no " else (name, True)


def expression_area(name: str) -> Area:
    """Where an expression is seen; raises ``InputError`` for an unknown one."""
    return _lookup("expression", name, EXPRESSION_AREAS)


def region_area(names: Iterable[str], grow: float = 0.03) -> Area:
    """The area of named regions and zones; raises ``InputError`` for an unknown name."""
    regions, zones = [], []
    for name in names:
        if name in ZONES:
            zones.append(name)
        elif name in REGION_NAMES:
            regions.append(name)
        else:
            raise InputError(
                f"region {name!r} is unknown; regions are {', '.join(REGION_NAMES)}; zones are {', '.join(ZONES)}"
            )
    if not regions and not zones:
        raise InputError("regions: at least one name is needed")
    return Area(tuple(regions), tuple(zones), grow)


def _lookup(kind: str, name: str, table: dict[str, Area]) -> Area:
    if name in table:
        return table[name]
    folded = {key.casefold(): key for key in table}
    wanted = name.casefold().replace(" ", "_").replace("-", "_")
    near = [folded[key] for key in difflib.get_close_matches(wanted, folded, n=3, cutoff=0.4)]
    near += [key for key in table if wanted in key.casefold() and key not in near]
    hint = f"the nearest are {', '.join(near[:5])}" if near else f"it must be one of {', '.join(table)}"
    raise InputError(f"{kind} {name!r} is unknown; {hint}")


def dilate_mask(mask: np.ndarray, radius: int) -> np.ndarray:
    """``mask (H, W)`` bool widened by ``radius`` pixels in every direction (a square neighbourhood)."""
    if radius < 1:
        return mask
    pixels = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
    # A maximum over a square is one over its rows and then its columns.
    pixels = functional.max_pool2d(pixels, (1, 2 * radius + 1), stride=1, padding=(0, radius))
    pixels = functional.max_pool2d(pixels, (2 * radius + 1, 1), stride=1, padding=(radius, 0))
    return pixels[0, 0].numpy() > 0


# A region with fewer pixels than this share of the picture counts as not to be seen.
MINIMUM_REGION = 0.03
_FACE_NAMES = ("skin", "brows", "eyes", "nose", "mouth", "glasses", "occluder")


def area_mask(region_map: np.ndarray, area: Area, names: Sequence[str] = REGION_NAMES) -> np.ndarray:
    """The pixels of an area.

    Args:
        region_map: ``(H, W)`` integer labels, indices into ``names``.
        area: which regions and zones.
        names: what the labels mean.

    Returns:
        ``(H, W)`` bool; empty where none of the regions is in the picture.
    """
    if region_map.ndim != 2 or not np.issubdtype(region_map.dtype, np.integer):
        raise InputError(f"region_map must be an integer matrix (H, W), got {region_map.dtype} {region_map.shape}")
    labels = {name: index for index, name in enumerate(names)}
    missing = [name for name in area.regions if name not in labels]
    if missing:
        raise InputError(f"region {missing[0]!r} is not one that this region map knows: {', '.join(names)}")
    height, width = region_map.shape
    box = _face_box(region_map, [labels[name] for name in _FACE_NAMES if name in labels])
    mask = np.isin(region_map, [labels[name] for name in area.regions])
    if area.otherwise is not None and mask.sum() < MINIMUM_REGION * mask.size:
        return area_mask(region_map, area.otherwise, names)
    if box is None:
        return dilate_mask(mask, round(area.grow * height))
    left, top, right, bottom = box
    mask = dilate_mask(mask, round(area.grow * (bottom - top)))
    for x0, y0, x1, y1 in (part for zone in area.zones for part in ZONES[zone]):
        columns = slice(*_clip(left + x0 * (right - left), left + x1 * (right - left), width))
        rows = slice(*_clip(top + y0 * (bottom - top), top + y1 * (bottom - top), height))
        mask[rows, columns] = True
    return mask


def _face_box(region_map: np.ndarray, labels: Sequence[int]) -> tuple[float, float, float, float] | None:
    """Bounding box of the face, from the 1st to the 99th percentile of its pixels so that specks do not move it."""
    rows, columns = np.nonzero(np.isin(region_map, labels))
    if rows.size < max(8, region_map.size // 500):
        return None
    left, right = np.percentile(columns, (1, 99))
    top, bottom = np.percentile(rows, (1, 99))
    return float(left), float(top), float(right) + 1, float(bottom) + 1


def _clip(low: float, high: float, limit: int) -> tuple[int, int]:
    return min(max(round(low), 0), limit), min(max(round(high), 0), limit)


@dataclass(frozen=True)
class FaceTemplate:
    """A canonical face, for aligned pictures of which nothing else is known.

    All lengths are fractions of the picture's side; every shape follows from the eyes and the mouth.

    Attributes:
        eye_y: height of the eyes.
        mouth_y: height of the mouth.
        eye_distance: between the centres of the eyes.
        centre_x: of the face.
    """

    eye_y: float = 0.47
    mouth_y: float = 0.735
    eye_distance: float = 0.25
    centre_x: float = 0.5

    def region_map(self, size: int) -> np.ndarray:
        """uint8 ``(size, size)`` labels, indices into ``REGION_NAMES``."""
        grid = (np.arange(size) + 0.5) / size
        # Units: the distance of the eyes across, the distance from eyes to mouth downwards, 0 between the eyes.
        x = ((grid - self.centre_x) / self.eye_distance)[None, :]
        y = ((grid - self.eye_y) / (self.mouth_y - self.eye_y))[:, None]
        label = {name: index for index, name in enumerate(REGION_NAMES)}
        regions = np.zeros((size, size), dtype=np.uint8)

        def ellipse(centre_x: float, centre_y: float, half_width: float, half_height: float) -> np.ndarray:
            return ((x - centre_x) / half_width) ** 2 + ((y - centre_y) / half_height) ** 2 <= 1

        regions[ellipse(0, 3.1, 3.0, 1.3)] = label["clothes"]
        regions[(np.abs(x) < 0.75) & (y > 1.0) & (y < 2.3)] = label["neck"]
        regions[ellipse(0, -0.35, 1.5, 1.6)] = label["hair"]
        for side in (-1, 1):
            regions[ellipse(side * 1.2, 0.15, 0.14, 0.36)] = label["ears"]
        regions[ellipse(0, 0.26, 1.2, 1.27)] = label["skin"]
        regions[ellipse(0, 0.42, 0.26, 0.3) | ((np.abs(x) < 0.12) & (y > -0.05) & (y < 0.5))] = label["nose"]
        for side in (-1, 1):
            regions[ellipse(side * 0.5, -0.32, 0.38, 0.14)] = label["brows"]
            regions[ellipse(side * 0.5, 0.0, 0.32, 0.19)] = label["eyes"]
        regions[ellipse(0, 1.0, 0.46, 0.23)] = label["mouth"]
        return regions


# "portrait": head and hair in the picture, as the procedural faces and FFHQ-like crops show it;
# "tight": the face fills the picture from ear to ear, as detectors crop it.
TEMPLATES: dict[str, FaceTemplate] = {
    "portrait": FaceTemplate(),
    "tight": FaceTemplate(eye_y=0.375, mouth_y=0.785, eye_distance=0.32),
}
