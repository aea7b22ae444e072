"""PaCo-FR's configuration: data and one stage, each field with its range and its meaning.

None of the numbers is the paper's: K, the number of candidates, mask ratio and losses are not known. Ours come of a few
trials (docs/runs/pacofr-real-faces.md) and have not been swept.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from gptface.configuration import Section, Share, Weight
from gptface.data.configuration import DataSection
from gptface.data.views import ViewSection
from gptface.errors import InputError
from gptface.training.configuration import LoopSection

__all__ = ["Configuration", "MaskSection", "PaCoFRLossWeights", "PaCoFRSection"]


class MaskSection(Section):
    """Which patches are masked."""

    regions: bool = True
    """By facial regions: one group of a face whole (brows, eyes, nose, mouth, the skin's boundary, hair), the rest in
    proportion. Needs region maps: of the data, of landmarks (``data.landmarks``) or of ``data.template``. Off: patches
    at random."""
    ratio: Annotated[float, Field(gt=0, lt=1)] | tuple[Share, Share] = 0.75
    """Share of the patches, to exactly that count; or a range to draw each picture's from, which packs the batch."""

    @model_validator(mode="after")
    def _range(self) -> Self:
        if isinstance(self.ratio, tuple) and not 0 < self.ratio[0] <= self.ratio[1] < 1:
            raise InputError(f"ratio: {list(self.ratio)}; allowed: 0 < least <= largest < 1")
        return self


class PaCoFRLossWeights(Section):
    """Weights beside that of the pixels, which is 1. With 0 a loss is not computed."""

    incubation: Weight = 0.1
    """Cross-entropy of beliefs to the code nearest to the pixels, during incubation."""
    relation: Weight = 0.3
    """Cosines between patches of facial components, predicted against true. Needs region maps."""
    layout: Weight = 1.0
    """Every patch to tell the facial region of each of its 4 × 4 cells: a visible one by its feature, a masked one by
    what the decoder makes of it. Needs region maps, and learns from whatever drew them. Ours, not the paper's."""
    alignment: Weight = 1.0
    """Every visible patch's feature to tell how near the pixels in and around it are to each code. Needs codes."""
    components: Weight = 0.0
    """Every component of a face (brows, eyes, nose, mouth) to be found again in a second view of it, among all faces of
    the batch: two views a face. Ours, not the paper's. Needs region maps."""


class PaCoFRSection(LoopSection):
    """Pre-training of the encoder."""

    preset: Literal["tiny", "small", "base"] = "small"
    """Starting point of the model's configuration (gptface.systems.pacofr.PaCoFRConfig)."""
    model: dict[str, Any] = {}
    """Fields of that configuration that differ from the preset."""
    masks: MaskSection = MaskSection()
    losses: PaCoFRLossWeights = PaCoFRLossWeights()
    incubation_epochs: Annotated[float, Field(ge=0)] = 1.0
    """Passes through the data with the incubation loss in full; over as many more it fades away."""
    views: ViewSection = ViewSection()
    """Augmentation."""


class Configuration(Section):
    """Data and PaCo-FR's one stage."""

    data: DataSection = DataSection()
    pacofr: PaCoFRSection = PaCoFRSection()
