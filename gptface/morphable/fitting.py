"""Fit a morphable model to landmarks in pictures: many faces at once, by gradient descent under the model's prior."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.integers import whole_number
from gptface.morphable.camera import picture_aspect
from gptface.morphable.model import MorphableModel
from gptface.morphable.parameters import FaceParameters, project_landmarks
from gptface.morphable.prior import expression_energy, gaussian_energy
from gptface.morphable.rotation import rotation_6d_to_matrix

__all__ = ["LandmarkFit", "fit_landmarks", "pose_of_landmarks"]

_FASTEST = {"identity": 0.15, "expression": 0.05, "rotation": 0.02, "place": 0.02}
"""Learning rates of the first step, in each parameter's own unit; they fall to a hundredth along half a cosine."""
_NEAREST = 1.5
"""How near a head's centre may come to the lens, as a share of its own radius."""


@dataclass(frozen=True)
class LandmarkFit:
    """What :func:`fit_landmarks` found.

    Attributes:
        parameters: of ``B`` heads, detached; albedo and light are those of :meth:`FaceParameters.neutral`.
        distances: ``(B, 68)`` pixels between each landmark given and found; 0 where its weight is 0.
        error: ``(B,)``: mean of the distances over the landmarks of a weight, by the size of the face (the root mean
            square distance of its landmarks from their middle): about 0.02 for a good fit of clean landmarks, and more
            than 0.1 where there was no face. A threshold on it tells which fits to trust.
    """

    parameters: FaceParameters
    distances: Tensor
    error: Tensor


def fit_landmarks(
    model: MorphableModel,
    points: Tensor,
    height: int,
    width: int,
    *,
    weights: Tensor | None = None,
    steps: int = 200,
    noise: float = 0.02,
    identity: bool = True,
    expression: bool = True,
) -> LandmarkFit:
    """Identity, expression and pose whose 68 landmarks fall where they were found in pictures of one size.

    Minimises, for each head by itself, Σ weight · ρ(distance / noise) + the prior's energy, where ρ grows like a square
    up to one ``noise`` and like a line beyond, so that a landmark that was found elsewhere pulls no harder than its
    neighbours. It starts from the pose of the mean head (:func:`pose_of_landmarks`); Adam, projected on 0 to 1 for
    blendshapes. The focal length is that of a portrait. The result of a head does not depend on its batch, but for
    rounding.

    Args:
        model: with 68 landmarks.
        points: ``(B, 68, 2)`` pixels, x right and y down, in the order of iBUG 300-W.
        height, width: of the pictures in pixels.
        weights: ``(B, 68)`` or ``(68,)``, 0 or more: how much to trust each landmark; ``None`` is 1 for all.
        steps: of the descent; 0 gives the pose of the mean head.
        noise: how far landmarks are expected to lie from the truth, as a share of the face's size; smaller trusts them
            more against the prior. 0.02 for a face mesh found in photos, 0.005 for exact ones.
        identity, expression: whether to fit these; what is not fitted stays 0.

    Raises:
        InputError: a model without landmarks, points or weights of another shape or not finite, points that all
            coincide, fewer than four landmarks of a weight, steps or a noise that are none.
    """
    points, trust = _checked(model, points, weights)
    if whole_number(steps, "steps") < 0:
        raise InputError(f"steps={steps}; allowed: 0 or more")
    if not (math.isfinite(noise) and noise > 0):
        raise InputError(f"noise={noise}; it must be a share of the face's size above 0, such as 0.02")
    aspect = picture_aspect(height, width)
    size = _size(points, trust)
    marks = _Landmarks(model)
    start = pose_of_landmarks(model, points, height, width, weights=trust)
    batch = len(points)
    depth = -start.translation[:, 2]
    variables = {
        "identity": torch.zeros(batch, len(model.identity_names) if identity else 0, device=points.device),
        "expression": torch.zeros(batch, len(model.expression_names) if expression else 0, device=points.device),
        "rotation": start.rotation.clone(),
        # Where the centre falls in the picture, in half heights, and the logarithm of its depth: steps of one size suit
        # near and far heads.
        "place": torch.cat((start.translation[:, :2] * (start.focal / depth)[:, None], depth.log()[:, None]), 1),
    }
    moving = {name: value.requires_grad_(True) for name, value in variables.items() if value.shape[1] > 0}
    groups = [{"params": [value], "lr": _FASTEST[name]} for name, value in moving.items()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    target = torch.stack(((points[..., 0] / width * 2 - 1) * aspect, 1 - points[..., 1] / height * 2), -1)
    unit = (2 * noise * size / height)[:, None]
    nearest = math.log(_NEAREST * marks.radius)
    for step in range(steps):
        share = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group, name in zip(optimizer.param_groups, moving, strict=True):
            group["lr"] = _FASTEST[name] * share
        optimizer.zero_grad(set_to_none=True)
        found = marks.project(**variables, focal=start.focal)
        squares = ((found - target) / unit[..., None]).square().sum(-1)
        energy = (trust * ((1 + squares).sqrt() - 1)).sum()
        energy = energy + gaussian_energy(variables["identity"]).sum()
        energy = energy + expression_energy(variables["expression"], model.expression_kind).sum()
        energy.backward()
        optimizer.step()
        with torch.no_grad():
            variables["place"][:, 2].clamp_(min=nearest)
            if model.expression_kind == "blendshape":
                variables["expression"].clamp_(0, 1)
    fitted = {name: value.detach() for name, value in variables.items()}
    depth = fitted["place"][:, 2].exp()
    across = fitted["place"][:, :2] * (depth / start.focal)[:, None]
    parameters = start.replace(
        rotation=torch.nn.functional.normalize(fitted["rotation"].unflatten(1, (2, 3)), dim=-1).flatten(1),
        translation=torch.cat((across, -depth[:, None]), 1),
        **{name: fitted[name] for name in ("identity", "expression") if fitted[name].shape[1] > 0},
    )
    distances = (project_landmarks(model, parameters, height, width) - points).norm(dim=-1) * (trust > 0)
    error = distances.sum(1) / (trust > 0).sum(1) / size
    return LandmarkFit(parameters, distances, error)


def pose_of_landmarks(
    model: MorphableModel, points: Tensor, height: int, width: int, *, weights: Tensor | None = None
) -> FaceParameters:
    """The mean head, posed so that its landmarks lie near those found: rotation and translation in closed form.

    The least-squares affine map from the head's landmarks to the picture, made a scaled rotation (scaled orthography);
    the scale gives the depth at the portrait's focal length.

    Args:
        model, points, height, width, weights: as of :func:`fit_landmarks`.
    """
    points, trust = _checked(model, points, weights)
    aspect = picture_aspect(height, width)
    target = torch.stack(((points[..., 0] / width * 2 - 1) * aspect, 1 - points[..., 1] / height * 2), -1).double()
    head = (model.landmarks(model.mean[None])[0] - model.centre).double()
    share = (trust / trust.sum(1, keepdim=True)).double()[..., None]
    middle, place = (share * head).sum(1), (share * target).sum(1)
    away = head - middle[:, None]
    left = (share * away).transpose(1, 2) @ away
    right = (share * away).transpose(1, 2) @ (target - place[:, None])
    affine = torch.linalg.solve(left, right).transpose(1, 2)
    u, stretch, v = torch.linalg.svd(affine, full_matrices=False)
    rows = u @ v
    scale = stretch.mean(1).clamp_min(1e-6)
    neutral = FaceParameters.neutral(model, len(points))
    focal = neutral.focal.double()
    # What is scaled so is as far away as the middle of the landmarks, which lies before the head's centre.
    turned = torch.cat((rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]), 1) @ middle[..., None]
    near = focal / scale
    across = place * (near / focal)[:, None] - turned[:, :2, 0]
    depth = torch.clamp(near + turned[:, 2, 0], min=_NEAREST * float(head.norm(dim=-1).max()), max=900.0)
    translation = torch.cat((across, -depth[:, None]), 1)
    return neutral.replace(rotation=rows.flatten(1).to(points), translation=translation.to(points))


class _Landmarks:
    """The 68 rows of a model that landmarks need: everything a step of the fit multiplies."""

    def __init__(self, model: MorphableModel) -> None:
        self.mean = model.landmarks(model.mean[None])[0] - model.centre
        self.identity = model.landmarks(model.identity_basis).flatten(1)
        self.expression = model.landmarks(model.expression_basis).flatten(1)
        self.radius = float(self.mean.norm(dim=-1).max())

    def project(self, identity: Tensor, expression: Tensor, rotation: Tensor, place: Tensor, focal: Tensor) -> Tensor:
        """``(B, 68, 2)`` in half heights from the picture's middle, x right and y up."""
        points = self.mean.flatten()[None]
        if identity.shape[1]:
            points = points + identity @ self.identity
        if expression.shape[1]:
            points = points + expression @ self.expression
        matrix = rotation_6d_to_matrix(rotation)
        points = points.view(-1, *self.mean.shape).expand(len(matrix), -1, -1) @ matrix.transpose(1, 2)
        depth = place[:, 2].exp()
        # The centre's place is where it falls in the picture: a point beside it is shrunk by its own depth.
        across = points[..., :2] + (place[:, :2] * (depth / focal)[:, None])[:, None]
        return across * focal[:, None, None] / (depth[:, None] - points[..., 2]).clamp_min(1e-3)[..., None]


def _size(points: Tensor, trust: Tensor) -> Tensor:
    """Root mean square distance ``(B,)`` of a face's landmarks from their middle."""
    share = (trust / trust.sum(1, keepdim=True))[..., None]
    middle = (share * points).sum(1, keepdim=True)
    return (share * (points - middle).square()).sum((1, 2)).sqrt()


def _checked(model: MorphableModel, points: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Points in the model's dtype, and weights ``(B, 68)``."""
    if len(model.landmark_vertices) != 68:
        raise InputError(f"{model.name} has {len(model.landmark_vertices)} landmarks; a model with 68 can be fitted")
    if points.ndim != 3 or points.shape[1:] != (68, 2) or not points.is_floating_point():
        raise InputError(f"points are {points.dtype} {tuple(points.shape)}; they must be floats of (heads, 68, 2)")
    points = points.detach().to(model.mean)
    trust = torch.ones_like(points[..., 0]) if weights is None else weights.detach().to(model.mean)
    if trust.shape not in ((68,), points.shape[:2]):
        raise InputError(f"weights have the shape {tuple(trust.shape)}; it must be (68,) or ({len(points)}, 68)")
    trust = trust.expand(len(points), 68)
    if not bool(torch.isfinite(points).all()) or not bool((torch.isfinite(trust) & (trust >= 0)).all()):
        raise InputError("points and weights must be finite, and weights 0 or more")
    if bool(((trust > 0).sum(1) < 4).any()):
        raise InputError("a head has fewer than 4 landmarks with a weight above 0; its pose needs 4 or more")
    if bool((_size(points, trust) < 1e-3).any()):
        raise InputError("the landmarks of a head all lie at one point; a face is spread over several pixels")
    return points, trust
