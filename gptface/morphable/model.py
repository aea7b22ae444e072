"""The one linear model of all morphable faces: a mean head plus weighted sums of named offsets and colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.faces.names import find
from gptface.morphable.precision import without_autocast
from gptface.ops import triangle_neighbours

__all__ = ["MorphableModel"]

ExpressionKind = Literal["blendshape", "gaussian"]
LARGEST_WEIGHT = 1e6
"""Of a named shape: far beyond any face, and near enough that no coordinate overflows."""


def _basis(name: str, value: Tensor | None, vertices: int) -> Tensor:
    """``value`` as float32 ``(N, V, 3)``; none at all becomes ``(0, V, 3)``."""
    if value is None:
        return torch.zeros(0, vertices, 3)
    if value.ndim != 3 or value.shape[1:] != (vertices, 3):
        raise InputError(
            f"{name} has the shape {tuple(value.shape)}, but the mean has {vertices} vertices; "
            f"it must be (modes, {vertices}, 3)"
        )
    return _finite(name, value)


def _finite(name: str, value: Tensor) -> Tensor:
    value = value.detach().to(torch.float32).contiguous()
    if not bool(torch.isfinite(value).all()):
        raise InputError(f"{name} holds values that are not finite; every number of a morphable model must be finite")
    return value


def _names(kind: str, names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    given = tuple(f"{kind}{index:03d}" for index in range(count)) if names is None else tuple(map(str, names))
    if len(given) != count or len(set(given)) != count:
        raise InputError(f"{kind}_names holds {len(set(given))} different names for {count} {kind} shapes; one each")
    return given


class MorphableModel(nn.Module):
    """A head as ``mean + identity · identity_basis + expression · expression_basis``, with a colour a vertex likewise.

    All models are held in one unit and frame, whatever their file uses: **centimetres**, x to the viewer's right (the
    person's left), y up, z towards the viewer. Standard deviations are folded into the bases, so that identity and
    albedo weights are N(0, 1). Expression weights are N(0, 1) too where ``expression_kind`` is ``"gaussian"``
    (Basel, FLAME) and 0 to 1 where it is ``"blendshape"`` (ICT, Anny, synthetic). It holds buffers and no parameters.

    Args:
        mean: ``(V, 3)``, centimetres.
        triangles: ``(T, 3)`` vertex indices, counter-clockwise seen from outside.
        identity_basis, expression_basis: ``(modes, V, 3)``, centimetres; ``None`` for none.
        albedo_mean: ``(V, 3)`` linear-light reflectance, 0 to 1; ``None`` for a plain grey.
        albedo_basis: ``(modes, V, 3)``.
        identity_names, expression_names, albedo_names: one name a mode; ``None`` numbers them.
        landmarks: ``(L,)`` vertex indices, or ``(L, 3)`` vertex indices with ``landmark_weights``; ``L`` is 68 in the
            order of iBUG 300-W, or 0 where the file has none.
        landmark_weights: ``(L, 3)`` barycentric weights.
        points: further named vertices, such as ``{"center.nose.tip": 8320}``.
        regions: name → vertex indices.
        expression_kind: see above.
        name: what the model calls itself in messages.

    Raises:
        InputError: a basis of another vertex count, an index out of range, a value that is not finite.
    """

    unit = "cm"
    mean: Tensor
    triangles: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    albedo_mean: Tensor
    albedo_basis: Tensor
    landmark_vertices: Tensor
    landmark_weights: Tensor
    centre: Tensor

    def __init__(
        self,
        mean: Tensor,
        triangles: Tensor,
        *,
        identity_basis: Tensor | None = None,
        expression_basis: Tensor | None = None,
        albedo_mean: Tensor | None = None,
        albedo_basis: Tensor | None = None,
        identity_names: Sequence[str] | None = None,
        expression_names: Sequence[str] | None = None,
        albedo_names: Sequence[str] | None = None,
        landmarks: Tensor | None = None,
        landmark_weights: Tensor | None = None,
        points: Mapping[str, int] | None = None,
        regions: Mapping[str, Tensor] | None = None,
        expression_kind: ExpressionKind = "blendshape",
        name: str = "morphable model",
    ) -> None:
        super().__init__()
        self.name = name
        self._neighbours: Tensor | None = None
        if mean.ndim != 2 or mean.shape[1] != 3 or mean.shape[0] == 0:
            raise InputError(f"{name}: the mean has the shape {tuple(mean.shape)}; it must be (vertices, 3)")
        count = mean.shape[0]
        self.register_buffer("mean", _finite(f"{name}: the mean", mean))
        if triangles.numel() and (triangles.ndim != 2 or triangles.shape[1] != 3):
            raise InputError(f"{name}: triangles have the shape {tuple(triangles.shape)}; it must be (triangles, 3)")
        self.register_buffer("triangles", self._indices("triangles", triangles, count).reshape(-1, 3).to(torch.int32))
        for kind, basis, names in (
            ("identity", identity_basis, identity_names),
            ("expression", expression_basis, expression_names),
        ):
            checked = _basis(f"{name}: the {kind} basis", basis, count)
            self.register_buffer(f"{kind}_basis", checked)
            setattr(self, f"{kind}_names", _names(kind, names, checked.shape[0]))
        self.identity_names: tuple[str, ...]
        self.expression_names: tuple[str, ...]
        self.set_albedo(torch.full((count, 3), 0.5) if albedo_mean is None else albedo_mean, albedo_basis, albedo_names)
        self._set_landmarks(landmarks, landmark_weights, count)
        self.points = dict(points or {})
        self._indices("points", torch.tensor(list(self.points.values()), dtype=torch.long), count)
        self.regions = {key: self._indices(f"region {key!r}", value, count) for key, value in (regions or {}).items()}
        if expression_kind not in ("blendshape", "gaussian"):
            raise InputError(f"expression_kind {expression_kind!r} is unknown; it must be blendshape or gaussian")
        self.expression_kind: ExpressionKind = expression_kind
        # Heads turn about this point, and cameras look at it: the middle of the landmarks, pulled back into the head.
        drawn = self.drawn_vertices()
        if self.landmark_vertices.shape[0]:
            middle = self.landmarks(self.mean[None])[0].mean(0)
            half_depth = 0.5 * (drawn[:, 2].max() - drawn[:, 2].min())
            middle = middle - torch.tensor([0.0, 0.0, 1.0]) * torch.clamp(half_depth, max=8.0)
        else:
            middle = 0.5 * (drawn.amax(0) + drawn.amin(0))
        self.register_buffer("centre", middle)

    def set_albedo(self, mean: Tensor, basis: Tensor | None, names: Sequence[str] | None = None) -> None:
        """Replace the mean colour ``(V, 3)`` and the albedo basis ``(modes, V, 3)``, checked as on construction."""
        count = self.vertex_count
        if mean.shape != (count, 3):
            raise InputError(
                f"{self.name}: the mean albedo has the shape {tuple(mean.shape)}; it must be ({count}, 3), as the mean"
            )
        checked = _basis(f"{self.name}: the albedo basis", basis, count)
        self.register_buffer("albedo_mean", _finite(f"{self.name}: the mean albedo", mean))
        self.register_buffer("albedo_basis", checked)
        self.albedo_names = _names("albedo", names, checked.shape[0])

    def _indices(self, what: str, value: Tensor, count: int) -> Tensor:
        if value.is_floating_point() or value.dtype == torch.bool:
            raise InputError(f"{self.name}: {what} must be whole vertex indices, not {value.dtype}")
        value = value.detach().to(torch.long)
        if value.numel() and (int(value.min()) < 0 or int(value.max()) >= count):
            wrong = value[(value < 0) | (value >= count)][0]
            raise InputError(f"{self.name}: {what} name vertex {int(wrong)}; allowed: 0 to {count - 1}")
        return value.contiguous()

    def _set_landmarks(self, landmarks: Tensor | None, weights: Tensor | None, count: int) -> None:
        if landmarks is None:
            landmarks = torch.zeros(0, dtype=torch.long)
        if landmarks.ndim == 1:
            landmarks = landmarks[:, None].expand(-1, 3)
            weights = torch.tensor([1.0, 0.0, 0.0]).expand(landmarks.shape[0], 3)
        if weights is None or landmarks.shape != weights.shape or landmarks.shape[1] != 3:
            raise InputError(f"{self.name}: landmarks are (L,) vertices, or (L, 3) vertices with (L, 3) weights")
        self.register_buffer("landmark_vertices", self._indices("landmarks", landmarks, count))
        self.register_buffer("landmark_weights", _finite(f"{self.name}: the landmark weights", weights))

    @property
    def vertex_count(self) -> int:
        """Number of vertices."""
        return self.mean.shape[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MorphableModel:
        super()._apply(fn, recurse)
        self._neighbours = None
        self.regions = {name: fn(index) for name, index in self.regions.items()}  # where the model goes, they go
        return self

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        super()._load_from_state_dict(*arguments, **options)
        self._neighbours = None  # the triangles may be others

    def neighbours(self) -> Tensor:
        """Which triangles share an edge, as :func:`gptface.ops.antialias` takes them; found once."""
        if self._neighbours is None:
            self._neighbours = triangle_neighbours(self.triangles, self.vertex_count)
        return self._neighbours

    def drawn_vertices(self) -> Tensor:
        """The mean's vertices that some triangle uses, ``(N, 3)``; all of them where there is no triangle."""
        return self.mean[self.triangles.unique().long()] if self.triangles.numel() else self.mean

    def extra_repr(self) -> str:
        return (
            f"{self.name}: {self.vertex_count} vertices, {self.triangles.shape[0]} triangles, "
            f"{len(self.identity_names)} identity, {len(self.expression_names)} expression ({self.expression_kind}), "
            f"{len(self.albedo_names)} albedo shapes, {self.landmark_vertices.shape[0]} landmarks"
        )

    def _check_weights(self, what: str, weights: Tensor, basis: Tensor) -> None:
        if weights.ndim != 2 or weights.shape[1] > basis.shape[0]:
            raise InputError(
                f"{what} has the shape {tuple(weights.shape)}; it must be (batch, up to {basis.shape[0]}) here"
            )

    def _weighted(self, what: str, weights: Tensor, basis: Tensor) -> Tensor:
        self._check_weights(what, weights, basis)
        used = basis[: weights.shape[1]]
        with without_autocast(basis):
            return (weights.to(basis.dtype) @ used.flatten(1)).view(-1, self.vertex_count, 3)

    def forward(self, identity: Tensor | None = None, expression: Tensor | None = None) -> Tensor:
        """Vertices ``(B, V, 3)`` in centimetres.

        Args:
            identity: ``(B, I)``; fewer columns than the basis has modes use the first ones. ``None`` is the mean face.
            expression: ``(B, E)`` likewise; ``None`` is the neutral face.
        """
        vertices = self.mean[None]
        if identity is not None:
            vertices = vertices + self._weighted("identity", identity, self.identity_basis)
        if expression is not None:
            vertices = vertices + self._weighted("expression", expression, self.expression_basis)
        return vertices

    def albedo(self, weights: Tensor | None = None) -> Tensor:
        """Colours ``(B, V, 3)``, linear light, for albedo weights ``(B, A)``; not clamped, so that gradients pass."""
        if weights is None:
            return self.albedo_mean[None]
        return self.albedo_mean[None] + self._weighted("albedo", weights, self.albedo_basis)

    def landmarks(self, vertices: Tensor) -> Tensor:
        """The landmarks ``(B, L, 3)`` of vertices ``(B, V, 3)``; ``L`` is 0 where the model has none."""
        return (vertices[:, self.landmark_vertices] * self.landmark_weights[..., None]).sum(2)

    def weighted_landmarks(self, identity: Tensor, expression: Tensor) -> Tensor:
        """The landmarks ``(B, L, 3)`` of weights as of :meth:`forward`, without computing the vertices around them."""
        points = self.landmarks(self.mean[None])
        for what, weights in (("identity", identity), ("expression", expression)):
            basis: Tensor = getattr(self, f"{what}_basis")
            self._check_weights(what, weights, basis)
            rows = self.landmarks(basis[: weights.shape[1]])
            with without_autocast(basis):
                points = points + (weights.to(basis.dtype) @ rows.flatten(1)).view(len(weights), *points.shape[1:])
        return points

    def weights(self, kind: Literal["identity", "expression", "albedo"], named: Mapping[str, float]) -> Tensor:
        """One row ``(1, modes)`` of weights, zero but for those named.

        Raises:
            InputError: a kind or a name that the model does not have (the nearest are told), a weight that is no number
                of float32's range.
        """
        if kind not in ("identity", "expression", "albedo"):
            raise InputError(f"kind {kind!r} is unknown; allowed: identity, expression, albedo")
        names: tuple[str, ...] = getattr(self, f"{kind}_names")
        if not names and named:
            raise InputError(f"{self.name} has no {kind} shapes, so {', '.join(named)} cannot be set")
        row = torch.zeros(1, len(names), device=self.mean.device)
        position = {name: index for index, name in enumerate(names)}
        for key, value in named.items():
            index = find(f"{kind} shape", key, position)
            if isinstance(value, bool) or not isinstance(value, Real) or not abs(float(value)) <= LARGEST_WEIGHT:
                raise InputError(
                    f"{kind} shape {key}: {value!r} is no weight; it must be a finite number up to {LARGEST_WEIGHT:g}"
                )
            row[0, index] = float(value)
        return row
