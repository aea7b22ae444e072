"""Do edits do what was asked? Fresh faces, one wish each, judged by a classifier that took no part in the editing.

The judge is a face parser trained on the generator's own labels from another seed. Besides the edits it is asked about
the original of every trial and about the face that the generator itself draws for the wish. The latter is the ceiling:
where the judge fails there, no edit could please it.

An edit may fulfil a wish and still be a smear. Two figures say so, both inside the masks and beside the generator's own
pictures: how much edge there is, and whether the judge finds the parts of a face where they belong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gptface.data.pixels import images_to_tensor
from gptface.data.procedural import (
    FaceSpecification,
    attributes,
    render_face,
    sample_specification,
    wish_caption,
    with_attribute,
)
from gptface.errors import InputError
from gptface.evaluation.metrics import gradient_energy, outside_change_share, paired_gain, wilson_interval
from gptface.faces.regions import REGIONS
from gptface.models import FaceParser

__all__ = ["EditTrial", "EditTrialResult", "Judge", "by_wish", "draw_trials", "run_trials"]

# Wishes that a region of the face can fulfil and that the judge can see: (attribute, value).
ATTRIBUTE_WISHES = (
    ("Blond_Hair", 1),
    ("Black_Hair", 1),
    ("Gray_Hair", 1),
    ("Eyeglasses", 1),
    ("Eyeglasses", 0),
    ("Wearing_Hat", 1),
    ("Mustache", 1),
    ("No_Beard", 1),
    ("Bald", 1),
    ("Wearing_Lipstick", 1),
)
EXPRESSION_WISHES = ("happiness", "surprise", "sadness", "anger")


@dataclass(frozen=True)
class EditTrial:
    """One wish on one fresh face.

    Attributes:
        kind: ``"attribute"`` or ``"expression"``.
        target: the attribute's or expression's name; value: the wanted value (1 for expressions).
        caption: the wish as a caption of the whole face.
        image: uint8 ``(H, W, 3)``; region_map: uint8 ``(H, W)``.
        wanted: the generator's own picture of the wish; wanted_map: uint8 ``(H, W)``, its regions.
        seed: of the decoding.
    """

    kind: str
    target: str
    value: int
    caption: str
    image: np.ndarray
    region_map: np.ndarray
    wanted: np.ndarray
    wanted_map: np.ndarray
    seed: int

    @property
    def wish(self) -> str:
        """The wish in a word: the target, or ``"no …"`` where it is to go."""
        return self.target if self.value else f"no {self.target}"


@dataclass
class EditTrialResult:
    """Outcome of every trial under one setting.

    Attributes:
        name: of the setting.
        success: ``(N,)`` bool, the judge's verdicts.
        outside_change: share of the pixels outside the masks that the edits changed; it should be 0.
        images, masks: the edited pictures uint8 ``(N, H, W, 3)`` and what might change in them bool ``(N, H, W)``.
        sharpness: gradient energy inside the masks over that of the generator's own pictures there; 1 is as sharp as
            those, a smear is below, noise above.
        parsed: share of the masks' pixels in which the judge sees the region that the generator's own picture has.
        seconds: that the editing took.
        by_wish: wish -> how many of its trials succeeded, of how many.
    """

    name: str
    success: np.ndarray
    outside_change: float
    sharpness: float
    parsed: float
    images: np.ndarray
    masks: np.ndarray
    seconds: float
    by_wish: dict[str, tuple[int, int]]

    @property
    def share(self) -> float:
        return float(self.success.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share."""
        return wilson_interval(int(self.success.sum()), len(self.success))

    def against(self, other: EditTrialResult) -> dict[str, float]:
        """This setting compared with ``other`` trial by trial."""
        return paired_gain(other.success, self.success)


class Judge:
    """Says whether a picture shows an attribute or an expression.

    Raises:
        InputError: a parser of other regions than those of :mod:`gptface.faces`, or without a name that is wished for.
    """

    def __init__(self, parser: FaceParser) -> None:
        config = parser.config
        if list(config.region_names) != list(REGIONS):
            raise InputError(f"judge: its regions must be {', '.join(REGIONS)}, got {', '.join(config.region_names)}")
        wished = {"attribute": [name for name, _ in ATTRIBUTE_WISHES], "expression": EXPRESSION_WISHES}
        for kind, names in wished.items():
            missing = [name for name in names if name not in getattr(config, f"{kind}_names")]
            if missing:
                raise InputError(f"judge: it knows no {kind} {missing[0]}; a parser of `gptface train parser` does")
        self.parser = parser.eval()
        self.attribute_index = {name: index for index, name in enumerate(parser.config.attribute_names)}
        self.expression_index = {name: index for index, name in enumerate(parser.config.expression_names)}

    def _seen(self, images: np.ndarray) -> Tensor:
        """``images`` as the parser takes them, at its size."""
        pixels, side = images_to_tensor(images), self.parser.config.image_size
        if pixels.shape[-2:] == (side, side):
            return pixels
        return functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False)

    @torch.no_grad()
    def regions_right(self, images: np.ndarray, maps: np.ndarray, masks: np.ndarray) -> float:
        """Share of the pixels in ``masks`` whose region, as the judge sees it, is that of ``maps``.

        Args:
            images: uint8 ``(N, H, W, 3)``; maps: uint8 ``(N, H, W)``, in the vocabulary of :mod:`gptface.faces`; masks:
                bool ``(N, H, W)``.
        """
        regions = self.parser.regions(self._seen(images)).unsqueeze(1).float()
        seen = functional.interpolate(regions, images.shape[1:3], mode="nearest-exact")[:, 0].cpu().numpy()
        return float((seen == maps)[masks].mean()) if masks.any() else 1.0

    @torch.no_grad()
    def verdicts(self, images: np.ndarray, trials: Sequence[EditTrial]) -> np.ndarray:
        """``(N,)`` bool: does picture n show what trial n wants? ``images`` uint8 ``(N, H, W, 3)``."""
        output = self.parser(self._seen(images))
        present = output.attribute_logits > 0
        expression = output.expression_logits.argmax(-1)
        found = []
        for row, trial in enumerate(trials):
            if trial.kind == "attribute":
                found.append(bool(present[row, self.attribute_index[trial.target]]) == bool(trial.value))
            else:
                found.append(int(expression[row]) == self.expression_index[trial.target])
        return np.array(found)


def draw_trials(count: int, *, kind: str, seed: int, start: int, size: int) -> list[EditTrial]:
    """``count`` trials of one kind on faces ``start, start + 1, …`` of ``seed``, without occluders.

    Faces that already are as wished are passed over.
    """
    trials: list[EditTrial] = []
    index = start
    while len(trials) < count:
        specification = replace(sample_specification(seed, index), occluder="none")
        index += 1
        wish = _wish(specification, kind, len(trials))
        if wish is None:
            continue
        target, value, changed = wish
        before, after = render_face(specification, size), render_face(changed, size)
        # Without focus an absent thing ("no glasses") would be left out of the caption instead of being wished away.
        caption = wish_caption(changed, focus=(target,) if kind == "attribute" else ())
        trials.append(
            EditTrial(
                kind, target, value, caption, before.image, before.region_map, after.image, after.region_map, index
            )
        )
    return trials


def _wish(specification: FaceSpecification, kind: str, number: int) -> tuple[str, int, FaceSpecification] | None:
    if kind == "expression":
        target = EXPRESSION_WISHES[number % len(EXPRESSION_WISHES)]
        if specification.expression == target:
            return None
        return target, 1, replace(specification, expression=target)
    target, value = ATTRIBUTE_WISHES[number % len(ATTRIBUTE_WISHES)]
    if attributes(specification)[target] == value:
        return None
    return target, value, with_attribute(specification, target, value)


def run_trials(
    name: str,
    trials: Sequence[EditTrial],
    edit: Callable[[Sequence[EditTrial]], tuple[np.ndarray, np.ndarray]],
    judge: Judge,
) -> EditTrialResult:
    """Edit all trials with one setting and judge them.

    Args:
        edit: returns the edited pictures uint8 ``(N, H, W, 3)`` and their pixel masks bool ``(N, H, W)``.
    """
    began = time.perf_counter()
    images, masks = edit(trials)
    seconds = time.perf_counter() - began
    success = judge.verdicts(images, trials)
    before = np.stack([trial.image for trial in trials])
    wanted = np.stack([trial.wanted for trial in trials])
    return EditTrialResult(
        name,
        success,
        outside_change=outside_change_share(before, images, masks),
        sharpness=gradient_energy(images, masks) / max(gradient_energy(wanted, masks), 1e-12),
        parsed=judge.regions_right(images, np.stack([trial.wanted_map for trial in trials]), masks),
        images=images,
        masks=masks,
        seconds=seconds,
        by_wish=by_wish(trials, success),
    )


def by_wish(trials: Sequence[EditTrial], success: np.ndarray) -> dict[str, tuple[int, int]]:
    """How many of the trials of each wish succeeded, of how many."""
    counts: dict[str, tuple[int, int]] = {}
    for trial, good in zip(trials, success, strict=True):
        done, of = counts.get(trial.wish, (0, 0))
        counts[trial.wish] = (done + int(good), of + 1)
    return counts
