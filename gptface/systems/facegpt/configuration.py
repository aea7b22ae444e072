"""FaceGPT's configuration: data and one stage, each field with its range and its meaning.

None of the numbers is the paper's, whose model has seven billion weights; ours come of a few trials.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from gptface.configuration import Count, Section, Share, Weight
from gptface.data.configuration import DataSection
from gptface.errors import InputError
from gptface.training.configuration import LoopSection

__all__ = ["Configuration", "DrawnFacesSection", "FaceGPTLossWeights", "FaceGPTSection", "MixtureSection"]

Angle = Annotated[float, Field(ge=0, le=80)]


class MixtureSection(Section):
    """Of how many parts a batch is made; 0 leaves a source out, and its data need not exist."""

    drawn: Weight = 1.0
    """Drawn faces with known parameters, and the question for their face in 3D."""
    photos: Weight = 0.0
    """Photos of ``data``, and the question for their face in 3D."""
    captions: Weight = 0.0
    """Photos of ``data``, and the question what they show; every other time for the face in 3D as well."""
    sculpture: Weight = 1.0
    """Faces described in words, without a picture."""
    general: Weight = 0.0
    """Questions without faces, of ``instructions``."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not any(self.model_dump().values()):
            raise InputError("drawn: all weights of the mixture are 0; at least one must be above")
        return self


class DrawnFacesSection(Section):
    """Faces with known parameters (gptface.systems.facegpt.data.rendered)."""

    yaw: Angle = 30.0
    """Degrees to either side."""
    pitch: Angle = 15.0
    roll: Angle = 12.0
    zoom: Annotated[float, Field(ge=0.1, le=5)] = 1.4
    """How large heads are: 1 is a portrait with hair and neck, 1.4 a face cut out of a photo."""
    words: Share = 0.25
    """Share of the questions that ask for words, with the face in 3D or without it; morphable models whose expression
    shapes have no known names are asked for the face alone."""
    mesh_spacing: Annotated[float, Field(ge=0, le=5)] = 0.0
    """Centimetres between vertices of the mesh that is drawn; 0: the morphable model's own. At 96 pixels, faces of the
    ICT model look the same with 0.2, and take two thirds of the time."""
    grey: Share = 0.0
    """Share of pictures without colours."""
    noise: Share = 0.0
    """Standard deviation of what is added to each pixel, of 1."""
    backgrounds: list[str] = []
    """Photos (shards, folders, globs) whose borders stand behind the heads; smooth noise by default."""


class FaceGPTLossWeights(Section):
    """Weights of the losses. With 0 a loss is not computed."""

    language: Weight = 1.0
    """Cross-entropy of what the assistant says."""
    photometric: Weight = 2.0
    """Colours of the drawn face against the picture, inside the face, robustly. Needs ``self_supervision``."""
    landmarks: Weight = 5.0
    """68 landmarks of the drawn face against those of the picture. Needs ``self_supervision``."""
    parameters: Weight = 1.0
    """Parameters against known ones: of drawn faces, and with ``pseudo_labels`` of photos."""
    shapes: Weight = 1.0
    """The same for faces described in words."""
    prior: Weight = 0.002
    """How unlikely a face is by the morphable model's own statistics, where not all of it is known."""


class FaceGPTSection(LoopSection):
    """Training of the model."""

    preset: Literal["tiny", "small", "base"] = "small"
    """Starting point of the model's configuration (gptface.systems.facegpt.FaceGPTConfig)."""
    model: dict[str, Any] = {}
    """Fields of that configuration that differ from the preset."""
    morphable: str = "synthetic"
    """The morphable model: a name or a file (``gptface face3d --model``); ``~`` and ``$VARIABLES`` are expanded."""
    mixture: MixtureSection = MixtureSection()
    drawn: DrawnFacesSection = DrawnFacesSection()
    instructions: list[str] = []
    """Files of questions without faces, in LLaVA's JSON or as JSON lines; for ``mixture.general``."""
    losses: FaceGPTLossWeights = FaceGPTLossWeights()
    self_supervision: bool = True
    """Faces are drawn and compared with their pictures, and their landmarks with those of the pictures."""
    pseudo_labels: bool = False
    """Photos are given the parameters that fit their landmarks, found before the training starts."""
    pseudo_label_file: str | None = None
    """Where these are read from; default: they are fitted, into ``pseudo_labels.npz`` in the output folder."""
    draw_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Side in pixels of the pictures that faces are drawn in for comparison; default: the model's ``image_size``."""
    mesh_spacing: Annotated[float, Field(ge=0, le=5)] = 0.0
    """Centimetres between vertices of the mesh that is drawn for comparison; 0: the morphable model's own mesh."""
    text_tokenizer: str | None = None
    """Folder of a text tokenizer; default: one is trained on the conversations."""
    vocab_size: Annotated[int, Field(ge=64)] = 2048
    """Word pieces at most of a tokenizer that is trained."""
    validation_batches: Count = 4
    """Held-out batches of a validation."""


class Configuration(Section):
    """Data and FaceGPT's one stage."""

    data: DataSection = DataSection()
    facegpt: FaceGPTSection = FaceGPTSection()
