"""Traits of a head that have a name ("a wide nose"), as directions among the identity shapes of any morphable model.

Where a model names its shapes (the built-in head's ``noseWidth``), a trait is that shape. Where they are numbers (the
100 identity modes of the ICT Face Model, those of Basel and FLAME), it is measured: lengths between landmarks, divided
by the size of the face, are differentiated with respect to the weights about the mean face; with weights N(0, 1) the
length of that gradient is one standard deviation of the measure among people. What makes a nose one standard deviation
wider is the shortest vector of weights that does: the gradient, divided by its squared length and multiplied by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.faces.names import find
from gptface.morphable import MorphableModel

__all__ = ["TRAITS", "TRAIT_LEVELS", "Trait", "TraitDirections"]

TRAIT_LEVELS: dict[str, float] = {"slight": 0.9, "": 1.6, "strong": 2.5}
"""Standard deviations from the average, by the degree that words give."""

_RIDGE = 0.02  # keeps traits that nearly coincide in a model, asked for together, from unlikely heads


@dataclass(frozen=True)
class Trait:
    """Something by which heads differ, from "wide" to "narrow".

    Attributes:
        part: what is so: "nose", "eyes".
        more, less: adjectives, most usual first.
        measure: of landmarks ``(68, 3)`` (x to the person's left, y up, z to the front).
        shapes: names of identity shapes that are this trait.
    """

    part: str
    more: tuple[str, ...]
    less: tuple[str, ...]
    measure: Callable[[Tensor], Tensor]
    shapes: tuple[str, ...]

    @property
    def plural(self) -> bool:
        """Whether "are" follows the part."""
        return self.part in ("eyes", "lips", "eyebrows")


def _between(*pairs: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """Mean distance of pairs of landmarks."""
    first, second = zip(*pairs, strict=True)
    return lambda marks: (marks[list(first)] - marks[list(second)]).norm(dim=-1).mean()


def _ahead(front: Iterable[int], back: Iterable[int], axis: int) -> Callable[[Tensor], Tensor]:
    """How far some landmarks lie beyond others along an axis."""
    front, back = list(front), list(back)
    return lambda marks: marks[front, axis].mean() - marks[back, axis].mean()


TRAITS: dict[str, Trait] = {
    "nose width": Trait("nose", ("wide", "broad"), ("narrow", "slim", "thin"), _between((31, 35)), ("noseWidth",)),
    "nose length": Trait("nose", ("long",), ("short",), _between((27, 33)), ("noseLength",)),
    "nose projection": Trait(
        "nose", ("prominent", "protruding"), ("flat",), _ahead([30, 33], [31, 35, 36, 45], 2), ("noseTip",)
    ),
    "nose tip": Trait("nose", ("upturned",), ("drooping", "hooked"), _ahead([30], [33, 27], 1), ("noseTipUp",)),
    "mouth width": Trait("mouth", ("wide", "broad"), ("narrow", "small"), _between((48, 54)), ("mouthWidth",)),
    "lip fullness": Trait(
        "lips",
        ("full", "thick"),
        ("thin", "narrow"),
        _between((50, 61), (51, 62), (52, 63), (56, 65), (57, 66), (58, 67)),
        ("lipFullnessLower", "lipFullnessUpper"),
    ),
    "eye size": Trait(
        "eyes", ("big", "large"), ("small", "tiny"), _between((37, 41), (38, 40), (43, 47), (44, 46)), ("eyeSize",)
    ),
    "eye distance": Trait("eyes", ("wide-set",), ("close-set",), _between((39, 42)), ("eyeDistance",)),
    "brow height": Trait(
        "eyebrows", ("high-set",), ("low-set",), _ahead(range(17, 27), range(36, 48), 1), ("browHeight",)
    ),
    "face width": Trait("face", ("wide", "broad"), ("narrow", "slim"), _between((0, 16), (1, 15)), ("faceWidth",)),
    "face length": Trait("face", ("long",), ("short",), _between((27, 8)), ("faceLength",)),
    "jaw width": Trait(
        "jaw", ("wide", "broad", "square"), ("narrow", "slim"), _between((4, 12), (5, 11)), ("jawWidth",)
    ),
    "chin length": Trait("chin", ("long",), ("short",), _between((57, 8)), ("chinLength",)),
    "chin projection": Trait(
        "chin", ("prominent", "protruding"), ("receding", "weak"), _ahead([7, 8, 9], [57, 33], 2), ("chinProtrusion",)
    ),
}
"""Traits by name; ``more`` is a positive number of standard deviations."""


class TraitDirections:
    """The traits of one model: standard deviations to identity weights, and back.

    Args:
        model: with named identity shapes, or with 68 landmarks.

    Attributes:
        names: traits that the model has.
        directions: float32 ``(traits, identity modes)``, rows of length 1: times weights, standard deviations.
    """

    def __init__(self, model: MorphableModel) -> None:
        modes = len(model.identity_names)
        rows: dict[str, Tensor] = {}
        measured: Tensor | None = None
        for index, (name, trait) in enumerate(TRAITS.items()):
            if all(shape in model.identity_names for shape in trait.shapes):
                row = torch.zeros(modes)
                row[[model.identity_names.index(shape) for shape in trait.shapes]] = 1.0
            elif len(model.landmark_vertices) == 68 and modes:
                measured = _gradients(model) if measured is None else measured
                row = measured[index]
            else:
                continue
            if float(row.norm()) > 1e-6:
                rows[name] = row / row.norm()
        self.names = tuple(rows)
        self.directions = torch.stack(list(rows.values())) if rows else torch.zeros(0, modes)

    def weights(self, attributes: Mapping[str, float]) -> Tensor:
        """The likeliest identity weights ``(modes,)`` of a head with these traits; of traits unnamed, nothing is asked.

        Args:
            attributes: trait → standard deviations.

        Raises:
            InputError: a trait that the model does not have.
        """
        if not attributes:
            return torch.zeros(self.directions.shape[1])
        place = {name: index for index, name in enumerate(self.names)}
        rows = self.directions[[find("trait", name, place) for name in attributes]].double()
        wanted = torch.tensor(list(attributes.values()), dtype=torch.float64)
        gram = rows @ rows.T + _RIDGE * torch.eye(len(rows), dtype=torch.float64)
        return ((1 + _RIDGE) * rows.T @ torch.linalg.solve(gram, wanted)).float()

    def measure(self, identity: Tensor) -> Tensor:
        """Standard deviations ``(B, traits)`` of identity weights ``(B, up to modes)``."""
        return identity @ self.directions[:, : identity.shape[1]].T.to(identity)


def _gradients(model: MorphableModel) -> Tensor:
    """What one unit of each identity weight adds to each measure: ``(traits, modes)``."""
    marks = model.landmarks(model.mean[None])[0].detach().cpu().double()
    basis = model.landmarks(model.identity_basis).detach().cpu().double()

    def measures(moved: Tensor) -> Tensor:
        middle = moved - moved.mean(0)
        size = middle.square().sum(-1).mean().sqrt()
        return torch.stack([trait.measure(moved) / size for trait in TRAITS.values()])

    jacobian = torch.autograd.functional.jacobian(measures, marks)
    assert isinstance(jacobian, Tensor)
    return (jacobian.flatten(1) @ basis.flatten(1).T).float()
