"""FaceGPT's objective: what is said, and the faces beside it: drawn, measured against what is known, and weighed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.morphable import (
    FaceParameters,
    MorphableModel,
    draw,
    light_energy,
    prior_energy,
    project_landmarks,
    rotation_6d_to_matrix,
)
from gptface.objectives import (
    basis_metric,
    landmark_errors,
    metric_distances,
    photometric_errors,
    rotation_distances,
)
from gptface.objectives.normalisation import divided
from gptface.ops import gather_rows
from gptface.systems.facegpt.configuration import FaceGPTSection
from gptface.systems.facegpt.layout import FaceLayout
from gptface.systems.facegpt.model import FaceGPT, FaceGPTOutput
from gptface.systems.facegpt.sequence import ConversationBatch
from gptface.training.stage import Losses, Moment

__all__ = ["FaceGPTObjective", "Lesson"]

# Weights of what makes up the distance of two faces. Shape and movement are about 1 for the mean face, and the face at
# rest, in the place of another; the others bring what the weights of an expression, a few degrees, a tenth of the
# picture or another lamp are worth to the same order. Movement is what the expression does to the mesh: beside the
# differences of heads it would hardly count, and of weights alone many are not to be seen.
SHAPE, MOVEMENT, EXPRESSION, ROTATION, PLACE, ALBEDO, LIGHT = 1.0, 1.0, 0.5, 4.0, 10.0, 0.5, 0.05

TYPICAL_MOVEMENT = 0.75
"""Sum of the squares of an expression's weights, where they are blendshapes: three of them at a half."""


@dataclass
class Lesson:
    """A batch of B conversations with what is known of their faces; D of the F faces belong to a picture.

    Attributes:
        conversations: the sequences.
        faces_seen: int64 (D,), which of the F faces have a picture.
        pictures_seen: int64 (D,), which picture that is.
        numbers: float32 (B, ``face_size``), what is known of the face, as the numbers of :class:`FaceLayout`; NaN for
            what is not.
        described: bool (B,), whether it is known from words.
        landmarks: float32 (B, 68, 2), where a side of the picture is 1; NaN where unknown.
    """

    conversations: ConversationBatch
    faces_seen: Tensor
    pictures_seen: Tensor
    numbers: Tensor
    described: Tensor
    landmarks: Tensor

    def to(self, device: torch.device | str) -> Lesson:
        """The same on a device."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Lesson(**{name: value.to(device) for name, value in values.items()})


class FaceGPTObjective(nn.Module):
    """``forward(lesson, moment) -> (loss, parts)``.

    Args:
        model: to be trained.
        section: losses and switches.
        layout: of the faces' numbers.
        morphable: what faces are drawn and measured with; on the model's device. Its data are no part of this module,
            and so of no checkpoint.
    """

    def __init__(
        self, model: FaceGPT, section: FaceGPTSection, layout: FaceLayout, morphable: MorphableModel
    ) -> None:
        super().__init__()
        self.model = model
        self.losses = section.losses
        self.compares = section.self_supervision
        self.layout = layout
        self.draw_size = section.draw_size or model.config.image_size
        self._morphable = (morphable,)  # not in a module's attribute, whose buffers would be saved
        identity = morphable.identity_basis[: layout.modes("identity")]
        expression = morphable.expression_basis[: layout.modes("expression")]
        albedo = morphable.albedo_basis[: layout.modes("albedo")]
        drawn = morphable.triangles.unique().long()
        shape = basis_metric(torch.cat((identity, expression))[:, drawn])
        spread = shape.diagonal()[: len(identity)].sum().clamp_min(1e-6)  # of the mean face from others, squared
        moved = shape[len(identity) :, len(identity) :]
        still = moved.diagonal().sum()
        if layout.blendshapes:
            still = still * TYPICAL_MOVEMENT / max(1, len(expression))
        colour = basis_metric(albedo[:, drawn])
        self.register_buffer("shape_metric", shape / spread, persistent=False)
        self.register_buffer("movement_metric", moved / still.clamp_min(1e-6), persistent=False)
        self.register_buffer("albedo_metric", colour / colour.diagonal().sum().clamp_min(1e-6), persistent=False)

    shape_metric: Tensor
    movement_metric: Tensor
    albedo_metric: Tensor

    @property
    def morphable(self) -> MorphableModel:
        """What faces are drawn with."""
        return self._morphable[0]

    def counts(self, lesson: Lesson, moment: Moment) -> Tensor:
        """float32 (6,): tokens to say; faces drawn, with landmarks, known, described, and not wholly known."""
        faces = _Faces(lesson)
        drawn = faces.known.new_tensor(float(len(lesson.faces_seen)))
        tokens = drawn.new_tensor(float(len(lesson.conversations.labels)))
        marked = faces.marked.sum()
        return torch.stack([tokens, drawn, marked, faces.known.sum(), faces.described.sum(), faces.open.sum()]).float()

    def forward(self, lesson: Lesson, moment: Moment) -> Losses:
        out: FaceGPTOutput = self.model(lesson.conversations)
        assert out.hidden is not None and out.numbers is not None
        tokens, drawn, marked, known, described, unknown = (
            self.counts(lesson, moment) if moment.counts is None else moment.counts
        ).unbind()
        weights, faces = self.losses, _Faces(lesson)
        said, parts = self._language(out.hidden, lesson.conversations, tokens)
        total = out.numbers.sum() * 0.0  # every weight has a gradient, whatever a batch holds
        total = total + weights.language * said
        face = self.layout.parameters(out.numbers)
        if self.compares and (weights.photometric or weights.landmarks) and len(lesson.faces_seen):
            seen = _rows(face, lesson.faces_seen)
            if weights.photometric:
                parts["photometric"] = divided(self._photometric(seen, lesson).sum(), drawn)
                total = total + weights.photometric * parts["photometric"]
            if weights.landmarks:
                found = project_landmarks(self.morphable, seen, 1, 1)
                given = lesson.landmarks[lesson.conversations.face_rows[lesson.faces_seen]]
                parts["landmarks"] = divided(landmark_errors(found, given).sum(), marked)
                total = total + weights.landmarks * parts["landmarks"]
        if weights.parameters or weights.shapes:
            distances = self.distances(face, out.numbers, faces.numbers)
            for name, weight, chosen, count in (
                ("parameters", weights.parameters, faces.known, known),
                ("shapes", weights.shapes, faces.described, described),
            ):
                if weight:
                    parts[name] = divided((distances * chosen).sum(), count)
                    total = total + weight * parts[name]
        if weights.prior:
            energy = prior_energy(self.morphable, face.identity, face.expression, face.albedo)
            energy = energy + light_energy(face.light)
            parts["prior"] = divided((energy * faces.open).sum(), unknown)
            total = total + weights.prior * parts["prior"]
        return total, parts

    def _language(
        self, hidden: Tensor, batch: ConversationBatch, count: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of what is said; and of ``<FACE>``, how often it would be said where it is, and elsewhere."""
        logits = self.model.word_logits(gather_rows(hidden, batch.predicted_from)).float()
        loss = divided(functional.cross_entropy(logits, batch.labels, reduction="sum"), count)
        with torch.no_grad():
            face = self.model.config.face_token_id
            emitted, wanted = logits.argmax(-1) == face, batch.labels == face
            parts = {
                "language": loss,
                "emission": divided((emitted & wanted).sum().float(), wanted.sum().float()),
                "false_emission": divided((emitted & ~wanted).sum().float(), (~wanted).sum().float()),
            }
        return loss, parts

    def _photometric(self, face: FaceParameters, lesson: Lesson) -> Tensor:
        """Errors (D,) of faces drawn over their pictures."""
        size = self.draw_size
        pictures = lesson.conversations.images[lesson.pictures_seen]
        if pictures.shape[-1] != size:
            pictures = functional.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
        pictures = pictures.add(1).mul(0.5).movedim(1, -1)
        rendering = draw(self.morphable, face, size, size)
        image = rendering.image
        if self.model.config.channels == 1:
            image, pictures = image.mean(-1, keepdim=True), pictures.mean(-1, keepdim=True)
        return photometric_errors(image, pictures, rendering.mask)

    def distances(self, face: FaceParameters, numbers: Tensor, known: Tensor) -> Tensor:
        """How far faces (F,) are from what is known of them; what is not known is not looked at.

        Args:
            face: those that were found.
            numbers: float32 (F, ``face_size``), the same as numbers.
            known: the same, NaN for what is not known.
        """
        target = self.layout.parameters(torch.nan_to_num(known))
        has = {name: torch.isfinite(known[:, place]).all(-1) for name, place in self.layout.slices.items()}

        def kept(found: Tensor, name: str) -> Tensor:
            """Of what was found where it is known, and the known value itself elsewhere: no distance, no gradient."""
            goal: Tensor = getattr(target, name)
            return torch.where(has[name].view(-1, *[1] * (found.ndim - 1)), found, goal.to(found))

        identity, expression = kept(face.identity, "identity"), kept(face.expression, "expression")
        shape = torch.cat((identity, expression), 1), torch.cat((target.identity, target.expression), 1)
        total = SHAPE * metric_distances(*shape, self.shape_metric)
        total = total + MOVEMENT * metric_distances(expression, target.expression, self.movement_metric)
        total = total + EXPRESSION * metric_distances(expression, target.expression)
        turned = [rotation_6d_to_matrix(rotation) for rotation in (face.rotation, target.rotation)]
        total = total + ROTATION * rotation_distances(*turned) * has["rotation"]
        place = self.layout.slices["place"]
        apart = metric_distances(numbers[:, place], torch.nan_to_num(known[:, place]))
        total = total + PLACE * apart * has["place"]
        albedo = kept(face.albedo, "albedo")
        total = total + ALBEDO * metric_distances(albedo, target.albedo, self.albedo_metric)
        light = kept(face.light, "light")
        return total + LIGHT * metric_distances(light.flatten(1), target.light.flatten(1))


class _Faces:
    """What a lesson knows of its F faces.

    Attributes:
        numbers: float32 (F, ``face_size``), NaN for what is not known.
        known: float32 (F,), 1 where something is, and not from words; ``described``: from words.
        open: float32 (F,), 1 where not everything is.
        marked: bool (D,), which of the faces with a picture have landmarks.
    """

    def __init__(self, lesson: Lesson) -> None:
        rows = lesson.conversations.face_rows
        self.numbers = lesson.numbers[rows]
        finite = torch.isfinite(self.numbers)
        described = lesson.described[rows]
        self.known = (finite.any(-1) & ~described).float()
        self.described = (finite.any(-1) & described).float()
        self.open = (~finite.all(-1)).float()
        self.marked = torch.isfinite(lesson.landmarks[rows[lesson.faces_seen]]).all(-1).any(-1)


def _rows(face: FaceParameters, rows: Tensor) -> FaceParameters:
    values = {field.name: getattr(face, field.name) for field in dataclasses.fields(face)}
    return FaceParameters(**{name: value[rows] for name, value in values.items()})
