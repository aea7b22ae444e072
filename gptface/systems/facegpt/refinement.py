"""Refinement at test time, by analysis and synthesis: a face is drawn, compared with its photo, and bettered.

What a trained system says of a photo is the start; its numbers then follow the gradient of how unlike picture and
photo are, of how implausible the face is, and of how far it has gone from what the system said.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.morphable import (
    FaceParameters,
    MorphableModel,
    coarser,
    draw,
    expression_energy,
    fit_light,
    gaussian_energy,
    light_energy,
)
from gptface.objectives import photometric_errors, photometric_weights
from gptface.systems.facegpt.layout import FaceLayout

__all__ = ["SIZE", "STEPS", "Refiner", "as_seen", "check_steps", "refine", "without_colour"]

STEPS = 60
SIZE = 48
"""Pixels a side of the pictures that are compared at the end."""
SMALL, SMALL_STEPS = 2 / 3, 0.4
"""Side of the pictures that are compared at first, and for which share of the steps."""
SPACING = 0.35
"""Centimetres between vertices of what is drawn. Heads of 0.6 are shaded, and so shaped, differently."""
RATES = {"identity": 0.12, "expression": 0.02, "albedo": 0.12, "rotation": 0.01, "place": 0.01, "light": 0.03}
"""Of Adam: how far a number goes in a step, at first; at the end next to nothing."""
SPREADS = {"identity": 0.7, "expression": 0.25, "albedo": 0.7, "rotation": 0.08, "place": 0.08, "light": 0.25}
"""How far the truth is expected to lie from what the system said."""
PRIOR, PULL, LIGHT = 5e-5, 5e-5, 2e-2
"""Weights of the energies of face, way and colours of the light beside the difference of colours, from 0 to 1."""
HEADS_AT_ONCE = 16
_LUMINANCE = (0.299, 0.587, 0.114)
_GREY = 2 / 255
"""Difference of colours below which a picture is grey."""


def without_colour(pictures: Tensor) -> Tensor:
    """bool ``(B,)``: which pictures ``(B, H, W, 3)``, 0 to 1, are grey."""
    return (pictures.amax(-1) - pictures.amin(-1)).amax((1, 2)) < _GREY


def as_seen(drawn: Tensor, grey: Tensor) -> Tensor:
    """Drawn pictures ``(B, H, W, 3)``, those of ``grey (B,)`` without colours: their luminance in three channels."""
    luminance = (drawn @ drawn.new_tensor(_LUMINANCE))[..., None]
    return torch.where(grey[:, None, None, None], luminance, drawn)


def check_steps(steps: int) -> None:
    """Refuse a number of steps.

    Raises:
        InputError: it is below 0 or not whole.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise InputError(f"refine: {steps!r} steps; it must be a whole number, 0 or more")


class Refiner:
    """Refines faces of one morphable model; keeps the mesh that it draws.

    Args:
        model: the morphable model.
        layout: of the numbers that descend.
    """

    def __init__(self, model: MorphableModel, layout: FaceLayout) -> None:
        self.model, self.layout = model, layout
        self.mesh = coarser(model, SPACING)

    def __call__(
        self, images: Tensor, parameters: FaceParameters, steps: int = STEPS, size: int = SIZE
    ) -> FaceParameters:
        """See :func:`refine`."""
        check_steps(steps)
        if isinstance(size, bool) or not isinstance(size, int) or not 16 <= size <= 512:
            raise InputError(f"size: {size!r} pixels; it must be a whole number from 16 to 512")
        parameters = parameters.check().fitted(self.model)
        heads = len(parameters.rotation)
        if images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2] or len(images) != heads:
            raise InputError(f"images have the shape {tuple(images.shape)}; they must be ({heads}, side, side, 3)")
        if not images.is_floating_point() or not bool(torch.isfinite(images).all()):
            raise InputError(f"images are {images.dtype}; they must be finite floats from 0 to 1")
        if steps == 0:
            return parameters
        numbers = self.layout.numbers(parameters).detach()
        pictures = images.to(numbers).clamp(0, 1)
        parts = [slice(start, start + HEADS_AT_ONCE) for start in range(0, heads, HEADS_AT_ONCE)]
        found = torch.cat([self._refined(numbers[part], pictures[part], steps, size) for part in parts])
        return self.layout.parameters(found).check()

    def _refined(self, start: Tensor, pictures: Tensor, steps: int, size: int) -> Tensor:
        """Numbers ``(B, size)`` after the descent; those of faces that it does not better are as they were."""
        layout = self.layout
        small, whole = (_resized(pictures, side) for side in (max(16, round(SMALL * size)), size))
        grey = without_colour(pictures)
        lit = self._lit(start, whole, grey)
        numbers = lit.clone().requires_grad_()
        rates, spreads = (self._by_number(values).to(numbers) for values in (RATES, SPREADS))
        # Adam, with a rate of its own for every number.
        mean, square = torch.zeros_like(lit), torch.zeros_like(lit)
        for step in range(steps):
            shown = small if step < SMALL_STEPS * steps else whole
            with torch.enable_grad():
                energy = self._energies(numbers, lit, shown, grey, spreads).sum()
            (gradient,) = torch.autograd.grad(energy, numbers)
            gradient = torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
            mean.lerp_(gradient, 0.1)
            square.lerp_(gradient.square(), 0.02)
            slowing = 0.5 * (1 + math.cos(math.pi * step / steps))
            with torch.no_grad():
                ahead = mean / (1 - 0.9 ** (step + 1))
                width = (square / (1 - 0.98 ** (step + 1))).sqrt() + 1e-6
                numbers -= slowing * rates * ahead / width
                if layout.blendshapes:
                    numbers[:, layout.slices["expression"]].clamp_(0, 1)
        with torch.no_grad():
            before, after = (self._energies(each, lit, whole, grey, spreads) for each in (start, numbers))
            return torch.where((after < before)[:, None], numbers.detach(), start)

    def _by_number(self, values: dict[str, float]) -> Tensor:
        """A value a kind of numbers as one for every number."""
        parts = [torch.full((place.stop - place.start,), values[name]) for name, place in self.layout.slices.items()]
        return torch.cat(parts)

    def _energies(self, numbers: Tensor, start: Tensor, pictures: Tensor, grey: Tensor, spreads: Tensor) -> Tensor:
        """What descends, of every face ``(B,)``."""
        face = self.layout.parameters(numbers)
        size = pictures.shape[1]
        rendering = draw(self.mesh, face, size, size)
        drawn = as_seen(rendering.image, grey)
        prior = gaussian_energy(face.identity) + gaussian_energy(face.albedo)
        prior = prior + expression_energy(face.expression, self.model.expression_kind)
        pull = gaussian_energy((numbers - start) / spreads)
        return (
            photometric_errors(drawn, pictures, rendering.mask)
            + PRIOR * prior
            + PULL * pull
            + LIGHT * light_energy(face.light)
        )

    @torch.no_grad()
    def _lit(self, numbers: Tensor, pictures: Tensor, grey: Tensor) -> Tensor:
        """The numbers with light fitted in closed form, where the face is then more like its picture.

        The light of a grey picture is white: that by which its green channel is explained, which is nearest to grey.
        """
        size = pictures.shape[1]
        best = numbers
        face = self.layout.parameters(numbers)

        def errors(face: FaceParameters) -> tuple[Tensor, Tensor]:
            rendering = draw(self.mesh, face, size, size)
            drawn = as_seen(rendering.image, grey)
            pixels = (drawn - pictures).abs().mean(-1)
            return photometric_errors(drawn, pictures, rendering.mask), photometric_weights(pixels, rendering.mask)

        least, weights = errors(face)
        for inside in (None, 0.5):
            fitted = fit_light(self.mesh, face, pictures, inside=None if inside is None else weights > inside)
            light = torch.where(grey[:, None, None], fitted.light[..., 1:2].expand_as(fitted.light), fitted.light)
            face = face.replace(light=light)
            found, weights = errors(face)
            better = found < least
            least = torch.where(better, found, least)
            best = torch.where(better[:, None], self.layout.numbers(face), best)
        return best


def _resized(pictures: Tensor, side: int) -> Tensor:
    """Pictures ``(B, S, S, 3)`` with another side."""
    found = functional.interpolate(pictures.movedim(-1, 1), (side, side), mode="bilinear", antialias=True)
    return found.movedim(1, -1)


def refine(
    model: MorphableModel,
    layout: FaceLayout,
    images: Tensor,
    parameters: FaceParameters,
    *,
    steps: int = STEPS,
    size: int = SIZE,
) -> FaceParameters:
    """Faces that fit their photos better than those they start from: Adam on the numbers of a layout.

    What descends, for every face by itself: the robust difference of colours inside the drawn face
    (:func:`gptface.objectives.photometric_errors`), first in small pictures; the energy of identity, expression, albedo
    and light (:mod:`gptface.morphable.prior`); and the squared distance from the start. Light is fitted in closed form
    before, where that makes the start more like the photo. A face that descent does not better stays as it was. The
    size of the head is hardly bettered: a larger one farther away looks the same.

    Args:
        model: the morphable model.
        layout: of the numbers; modes that it has not stay 0, and the lens becomes its own.
        images: floats ``(B, S, S, 3)``, sRGB from 0 to 1; grey ones are compared by luminance.
        parameters: of ``B`` heads, as they lie in the images.
        steps: of descent; 0 gives the start.
        size: pixels a side of the pictures that are compared at the end.

    Returns:
        parameters of ``B`` heads. No face has a part in another's energy; what others are refined along changes the
        rounding of matrix products alone, which many steps let grow.

    Raises:
        InputError: images of another shape or number, values that are not finite, steps or size out of range.
    """
    return Refiner(model, layout)(images, parameters, steps, size)
