"""Faces whose every parameter is known: drawn as they are needed, each the same for one (seed, number).

    faces = RenderedFaces(model, size=96, seed=0)
    batch = faces.batch(range(32))          # pictures, parameters, landmarks

Another seed gives people, poses and lights that no other seed has: held-out faces are those of another seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from gptface.data.procedural.randomness import Draws
from gptface.errors import InputError
from gptface.integers import whole_number
from gptface.morphable import (
    FaceParameters,
    MorphableModel,
    ambient_light,
    angles_to_matrix,
    directional_light,
    draw,
    matrix_to_rotation_6d,
    portrait_distance,
    project_landmarks,
)
from gptface.morphable.parameters import FOCAL
from gptface.systems.facegpt.data.backgrounds import Backgrounds, NoiseBackgrounds, uniform_rows
from gptface.systems.facegpt.data.emotions import EMOTION_LEVELS, EMOTIONS, emotion_shapes
from gptface.systems.facegpt.data.movement import usable_shapes
from gptface.systems.facegpt.data.movements import MOVEMENTS

__all__ = ["RenderedBatch", "RenderedFaces"]

_WEIGHTS_STREAM, _PICTURE_STREAM = 1, 2
_TOGETHER = 16
"""Faces drawn in one go: what belongs to more does not fit into a core's cache."""
_NEUTRAL, _FEW, _EMOTIONAL = 0.15, 0.45, 0.40
"""How often a face is at rest, makes one to four movements, or shows an emotion and perhaps a movement."""


@dataclass(frozen=True)
class RenderedBatch:
    """Drawn faces.

    Attributes:
        numbers: int64 ``(B,)``, which samples these are.
        images: float32 ``(B, S, S, 3)``, sRGB, 0 to 1.
        masks: bool ``(B, S, S)``, where the head is.
        parameters: what was drawn, in the model's dtype.
        landmarks: float32 ``(B, 68, 2)`` pixels, x right and y down; ``(B, 0, 2)`` for a model without landmarks.
        angles: float32 ``(B, 3)``: yaw, pitch, roll in degrees.
    """

    numbers: Tensor
    images: Tensor
    masks: Tensor
    parameters: FaceParameters
    landmarks: Tensor
    angles: Tensor

    def __len__(self) -> int:
        return len(self.numbers)


class RenderedFaces:
    """An endless collection of drawn faces with known parameters.

    Identity and albedo are N(0, 1). Expressions of blendshapes are at rest, a few movements (:mod:`.movements`) or an
    emotion (:mod:`.emotions`), all of changing strength, one side a little stronger than the other; those of Gaussian
    models N(0, 1). One or two lamps and soft light around. The head fills the picture more or less, near its middle.

    Parameters are the same whatever batch a sample is drawn in; its pixels are up to the rounding of matrix products,
    and bit for bit in the same batch.

    Args:
        model: what is drawn.
        size: pixels of a side.
        seed: of the collection.
        backgrounds: what stands behind; smooth noise by default.
        yaw, pitch, roll: degrees to either side, within which the head turns, uniformly.
        zoom: how large the head is, in those of a portrait (shoulders and all): 1.4 is a face cut out of a photo.
        grey: share of pictures without colours.
        noise: standard deviation of what a camera adds to each pixel, of 1.

    Raises:
        InputError: an argument out of range.
    """

    def __init__(
        self,
        model: MorphableModel,
        size: int = 96,
        seed: int = 0,
        *,
        backgrounds: Backgrounds | None = None,
        yaw: float = 30.0,
        pitch: float = 15.0,
        roll: float = 12.0,
        zoom: float = 1.4,
        grey: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        self.size, self.seed = whole_number(size, "size"), whole_number(seed, "seed")
        if not 8 <= self.size <= 1024:
            raise InputError(f"size: {size} pixels; it must be from 8 to 1024")
        if not 0 <= self.seed < 1 << 63:
            raise InputError(f"seed: {seed}; it must be from 0 to 2^63 - 1")
        for name, angle, largest in (("yaw", yaw, 90.0), ("pitch", pitch, 80.0), ("roll", roll, 180.0)):
            if not 0 <= angle <= largest:
                raise InputError(f"{name}: {angle} degrees; it must be from 0 to {largest:g}")
        if not 0.1 <= zoom <= 5:
            raise InputError(f"zoom: {zoom}; it must be from 0.1 to 5")
        for name, share in (("grey", grey), ("noise", noise)):
            if not 0 <= share <= 1:
                raise InputError(f"{name}: {share}; it must be from 0 to 1")
        self.model = model
        self.backgrounds = NoiseBackgrounds() if backgrounds is None else backgrounds
        self.turns = (yaw, pitch, roll)
        self.grey, self.noise = grey, noise
        self._distance = portrait_distance(model) / zoom
        self._place = {name: index for index, name in enumerate(model.expression_names)}
        usable = {name: usable_shapes(movement, self._place) for name, movement in MOVEMENTS.items()}
        self._movements = {name: shapes for name, shapes in usable.items() if shapes is not None}
        emotions = {name: emotion_shapes(emotion, self._place) for name, emotion in EMOTIONS.items()}
        self._emotions = [name for name, shapes in emotions.items() if shapes]

    def expression(self, number: int) -> dict[str, float]:
        """The expression of a sample, shape → weight, 0 to 1; shapes at rest are left out.

        Only for blendshapes: the modes of a Gaussian model have no meaning to choose by.
        """
        draws = Draws(self.seed ^ 0x65787072, number)
        found: dict[str, float] = {}
        kind = draws.choice("kind", ("rest", "movements", "emotion"), (_NEUTRAL, _FEW, _EMOTIONAL))
        count = {"rest": 0, "movements": 1 + draws.integer("count", 4), "emotion": draws.integer("count", 2)}[kind]
        used: frozenset[str] = frozenset()
        if kind == "emotion" and self._emotions:
            name = draws.choice("emotion", self._emotions)
            level = draws.choice("level", tuple(EMOTION_LEVELS))
            strength = draws.uniform("emotion.strength", 0.7, 1.2)
            for shape, weight in emotion_shapes(EMOTIONS[name], self._place, level).items():
                found[shape] = weight * strength
            used = frozenset(
                muscle
                for movement, shapes in self._movements.items()
                if any(shape in found for shape in shapes)
                for muscle in MOVEMENTS[movement].uses
            )
        names = list(self._movements)
        for index in range(count if names else 0):
            name = draws.choice(f"movement{index}", names)
            if MOVEMENTS[name].uses & used:
                continue
            used |= MOVEMENTS[name].uses
            strength = draws.uniform(f"strength{index}", 0.2, 1.0)
            for shape, share in self._movements[name].items():
                found[shape] = strength * share
        uneven = draws.uniform("uneven", 0.0, 0.3)
        lesser = draws.choice("lesser", ("_L", "_R"))
        for shape in found:
            if shape.endswith(lesser) and not shape.startswith("eyeLook"):
                found[shape] *= 1 - uneven
        return {shape: min(1.0, weight) for shape, weight in found.items()}

    def parameters(self, numbers: Sequence[int]) -> FaceParameters:
        """The parameters of samples, on the model's device."""
        return self._parameters(numbers)[0]

    def _parameters(self, numbers: Sequence[int]) -> tuple[FaceParameters, Tensor]:
        model, device = self.model, self.model.mean.device
        counts = [len(model.identity_names), len(model.albedo_names), len(model.expression_names)]
        identity, albedo, expression = torch.from_numpy(_normal_rows(self.seed, numbers, sum(counts))).split(counts, 1)
        if model.expression_kind == "blendshape":
            expression = torch.zeros(len(numbers), counts[2])
            for row, number in zip(expression, numbers, strict=True):
                for name, weight in self.expression(number).items():
                    row[self._place[name]] = weight
        uniform = torch.from_numpy(uniform_rows(self.seed, numbers, 24, _PICTURE_STREAM)).float()
        angles = (2 * uniform[:, :3] - 1) * torch.tensor(self.turns)
        away = torch.exp((uniform[:, 3] - 0.5) * 0.36)  # the head between 84 % and 120 % of its usual size
        across = (uniform[:, 4:6] - 0.5) * 0.24  # of half a picture, to either side: up to 12 %
        distance = self._distance * away
        translation = torch.cat((across * (distance / FOCAL)[:, None], -distance[:, None]), 1)
        parameters = FaceParameters(
            identity=identity.float(),
            expression=expression.float(),
            albedo=albedo.float(),
            rotation=matrix_to_rotation_6d(angles_to_matrix(*angles.unbind(1))),
            translation=translation,
            light=_light(uniform[:, 6:]),
            focal=torch.full((len(numbers),), FOCAL),
        )
        values = {field.name: getattr(parameters, field.name).to(device) for field in fields(parameters)}
        return FaceParameters(**values), angles

    @torch.no_grad()
    def batch(self, numbers: Sequence[int]) -> RenderedBatch:
        """Draw samples.

        Args:
            numbers: which ones, 0 to 2⁶³ − 1, in any order.

        Raises:
            InputError: no number, or one out of range.
        """
        numbers = [whole_number(number, "number") for number in numbers]
        if not numbers or min(numbers) < 0 or max(numbers) >= 1 << 63:
            raise InputError(f"numbers: {numbers[:3]}; there must be some, each from 0 to 2^63 - 1")
        parameters, angles = self._parameters(numbers)
        background = self.backgrounds.pictures(self.seed, numbers, self.size).to(parameters.light)
        images, masks = [], []
        for start in range(0, len(numbers), _TOGETHER):
            some = slice(start, start + _TOGETHER)
            own = FaceParameters(**{field.name: getattr(parameters, field.name)[some] for field in fields(parameters)})
            rendering = draw(self.model, own, self.size, self.size, background=background[some])
            images.append(rendering.image)
            masks.append(rendering.raster.triangle >= 0)
        return RenderedBatch(
            numbers=torch.tensor(numbers),
            images=self._photographed(torch.cat(images), numbers),
            masks=torch.cat(masks),
            parameters=parameters,
            landmarks=project_landmarks(self.model, parameters, self.size, self.size),
            angles=angles,
        )

    def _photographed(self, images: Tensor, numbers: Sequence[int]) -> Tensor:
        """Pictures as a camera takes them: some grey, all with noise, where this is asked for."""
        if self.grey > 0:
            coins = [Draws(self.seed ^ 0x67726579, number).chance("grey", self.grey) for number in numbers]
            chosen = torch.tensor(coins, device=images.device)
            grey = images @ images.new_tensor([0.299, 0.587, 0.114])
            images = torch.where(chosen[:, None, None, None], grey[..., None], images)
        if self.noise > 0:
            # One long row of noise, entered at another place by every picture: drawing it anew would take longer than
            # drawing the face.
            pixels = self.size * self.size
            row = torch.from_numpy(_normal_rows(self.seed, [0], 4 * pixels, stream=3)[0]).to(images)
            starts = (uniform_rows(self.seed, numbers, 1, 4)[:, 0] * 3 * pixels).astype(np.int64)
            added = torch.stack([row[start : start + pixels] for start in starts.tolist()])
            images = images + self.noise * added.view(-1, self.size, self.size, 1)
        return images.clamp(0, 1)


def _normal_rows(seed: int, numbers: Sequence[int], count: int, stream: int = _WEIGHTS_STREAM) -> np.ndarray:
    """N(0, 1) by Box and Muller's formula: float64 ``(len(numbers), count)``, row by row as :func:`uniform_rows`."""
    half = -(-count // 2)
    uniform = uniform_rows(seed, numbers, 2 * half, stream)
    radius, angle = np.sqrt(-2 * np.log(uniform[:, :half])), 2 * np.pi * uniform[:, half:]
    return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)), 1)[:, :count]


def _light(uniform: Tensor) -> Tensor:
    """Light ``(B, 9, 3)`` of uniform numbers ``(B, ≥ 14)``: soft light around, a key lamp, sometimes another one."""
    batch = len(uniform)

    def lamp(side: Tensor, height: Tensor, widest: float) -> Tensor:
        azimuth, elevation = (2 * side - 1) * math.radians(widest), torch.deg2rad(-15 + 80 * height)
        flat = torch.cos(elevation)
        return torch.stack((flat * torch.sin(azimuth), torch.sin(elevation), flat * torch.cos(azimuth)), 1)

    def colour(red: Tensor, blue: Tensor) -> Tensor:
        return 1 + 0.24 * torch.stack((red - 0.5, torch.zeros_like(red), blue - 0.5), 1)

    soft = (0.2 + 0.4 * uniform[:, 0, None]) * colour(uniform[:, 1], uniform[:, 2])
    around = ambient_light(1.0, batch) * soft[:, None]
    strength = (1.0 - 0.6 * uniform[:, 0] + 0.5 * (uniform[:, 3] - 0.5))[:, None]
    tint = colour(uniform[:, 6], uniform[:, 7])
    key = directional_light(lamp(uniform[:, 4], uniform[:, 5], 75.0), strength * tint)
    second = 0.7 * (uniform[:, 8] - 0.5).clamp_min(0)[:, None]
    tint = colour(uniform[:, 11], uniform[:, 12])
    fill = directional_light(lamp(uniform[:, 9], uniform[:, 10], 110.0), second * tint)
    return around + key + fill
