"""Anny's head (package ``anny``): its phenotypes, its sculpted targets and its face units as one linear model."""

from __future__ import annotations

import re
import warnings

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable.geometry import facing_outward
from gptface.morphable.model import MorphableModel

__all__ = ["anny_head"]

METRES = 100.0
PHENOTYPES = ("gender", "age", "muscle", "weight", "proportions", "african", "asian", "caucasian")
ADULT = {"age": 0.67}
"""The mean head is a grown-up's; every other phenotype is in the middle of its range."""
PHENOTYPE_STEP = 0.2
"""One standard deviation of a phenotype, whose range is 0 to 1. Made up, like the next."""
TARGET_STEP = 0.4
"""One standard deviation of a sculpted target, whose range is −1 to 1."""
VERTICES = 4538
"""Of the head in anny 0.6; the landmarks and parts below are its."""
PARTS = {"tongue": (4200, 4425), "eyeball_left": (4426, 4497), "eyeball_right": (4498, 4537)}
LANDMARKS = (
    2120, 1988, 1452, 858, 737, 1298, 868, 1648, 1580, 3703, 2946, 3366, 2827, 2936, 3516, 4034, 4166,
    179, 178, 204, 180, 181, 2327, 2326, 2349, 2324, 2325, 132, 131, 164, 1409, 381, 303, 312, 2438, 2511,
    2151, 994, 1010, 66, 50, 2147, 2220, 3078, 3062, 4197, 4193, 2204,
    426, 448, 460, 466, 2589, 2578, 2556, 2500, 2611, 1692, 486, 370, 445, 514, 520, 2631, 2575, 2649, 540, 534,
)  # fmt: skip
"""Picked by hand on a drawing of the mean head, in the order of iBUG 300-W."""
_HEAD_TARGETS = re.compile(r"(l-|r-)?(head|forehead|eyebrows?|eye|nose|mouth|ear|chin|cheek)")


def anny_head() -> MorphableModel:
    """The head of Anny, about 4,500 vertices.

    Identity shapes are phenotypes (``gender``, ``age``, …, linear about an adult) and sculpted targets
    (``nose-width1-incr``, …); expression shapes are named like ARKit's with ``_L`` and ``_R``. The first call builds
    and caches Anny's own data, which takes a minute or more.

    Raises:
        InputError: the package is missing.
    """
    try:
        import anny
    except ModuleNotFoundError as error:
        raise InputError(f"the model anny needs the package {error.name!r}: pip install 'gptface[anny]'") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = anny.create_head_model(
            facial_actions=True, local_changes="all", all_phenotypes=True, triangulate_faces=True
        )

    def vertices(
        phenotype: dict[str, float] | None = None,
        target: dict[str, float] | None = None,
        action: dict[str, float] | None = None,
    ) -> Tensor:
        with torch.no_grad():
            shaped = source(
                phenotype_kwargs={**ADULT, **(phenotype or {})},
                local_changes_kwargs=target or {},
                facial_actions=action or {},
            )["rest_vertices"][0]
        # Anny stands on the floor with z up and looks along −y.
        return torch.stack((shaped[:, 0], shaped[:, 2], -shaped[:, 1]), 1) * METRES

    rest = vertices()
    identity = {}
    for name in PHENOTYPES:
        if name in source.phenotype_labels:
            usual = ADULT.get(name, 0.5)
            low, high = (vertices({name: usual + sign * PHENOTYPE_STEP}) for sign in (-1, 1))
            offset = 0.5 * (high - low)
            identity[name] = offset - offset.mean(0)  # taller people's heads are higher up: that is no shape
    for name in source.local_change_labels:
        if _HEAD_TARGETS.match(name):
            offset = 0.5 * (vertices(None, {name: TARGET_STEP}) - vertices(None, {name: -TARGET_STEP}))
            if offset.abs().max() > 1e-3:
                identity[name] = offset
    expression = {}
    for name in source.facial_action_labels:
        sided = re.sub("Left$", "_L", re.sub("Right$", "_R", name)) if not _whole(name) else name
        expression[sided] = vertices(None, None, {name: 1.0}) - rest
    middle = 0.5 * (rest.amax(0) + rest.amin(0))
    mean = (rest - middle).to(torch.float32)
    known = len(mean) == VERTICES  # another version may number its vertices otherwise
    return MorphableModel(
        mean,
        facing_outward(mean, source.get_triangular_faces()),
        identity_basis=torch.stack(list(identity.values())),
        expression_basis=torch.stack(list(expression.values())),
        identity_names=list(identity),
        expression_names=list(expression),
        landmarks=torch.tensor(LANDMARKS) if known else None,
        regions={name: torch.arange(first, last + 1) for name, (first, last) in PARTS.items()} if known else None,
        name="Anny's head",
    )


def _whole(name: str) -> bool:
    """Whether a direction is what the whole face does: ``jawLeft`` is not a left jaw."""
    return name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight")
