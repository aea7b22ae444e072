"""GPTFace's configuration: data, the image tokenizer and the transformer, each field with its range and its meaning.

None of the numbers is the paper's: what is known of its settings is said in the configuration ``base``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from gptface.configuration import Section, Share, Weight
from gptface.data.configuration import DataSection
from gptface.data.views import ViewSection
from gptface.errors import InputError
from gptface.faces.regions import REGIONS
from gptface.models.configuration_tokenizer import FaceTokenizerConfig
from gptface.training.configuration import LoopSection

__all__ = [
    "Configuration",
    "ContrastiveSection",
    "ImageMaskSection",
    "LossWeights",
    "MatchingSection",
    "PairWeightingSection",
    "PictureViewSection",
    "PretrainSection",
    "RegimeShares",
    "TokenizerLossWeights",
    "TokenizerSection",
]


def check_regions(weights: dict[str, float]) -> None:
    """Raise :class:`InputError` where a name is no facial region."""
    unknown = [name for name in weights if name not in REGIONS]
    if unknown:
        raise InputError(f"regions: {unknown[0]!r} is not a region; those are {', '.join(REGIONS)}")


class TokenizerLossWeights(Section):
    """Weights of the tokenizer's losses (gptface.objectives.reconstruction); that of the mean absolute error is 1."""

    gradient: Weight = 1.0
    """Differences of neighbouring pixels at several scales, which stand in for a perceptual network."""
    regions: dict[str, Weight] = {}
    """How many other pixels one of a facial region counts for ("eyes": 4), so that a small codebook spends itself where
    the expression is (Make-A-Scene, 2203.13131, weighs faces so). Needs region maps and ``data.cache``."""
    features: Weight = 0.0
    """Features of a trained parser (`--parser DIR`, gptface.objectives.perceptual): parts of a face that it would take
    for others cost more than a shade. 0: none is looked through."""
    adversarial: Weight = 0.0
    """Patch discriminator, hinge loss; 0: no discriminator is made."""
    adversarial_channels: Annotated[int, Field(ge=8)] = 64
    """Of the discriminator's first layer; 64 is VQGAN's (arXiv 2012.09841), for pictures of 256²."""
    adversarial_start: Share = 0.5
    """Share of the training after which the discriminator joins."""

    @model_validator(mode="after")
    def _known_regions(self) -> Self:
        check_regions(self.regions)
        return self


class TokenizerSection(LoopSection):
    """The image tokenizer."""

    preset: Literal["tiny", "demo", "paper"] = "demo"
    """Starting point of the model's configuration (gptface.models.FaceTokenizerConfig)."""
    model: dict[str, Any] = {}
    """Fields of that configuration that differ from the preset."""
    principal_components: Annotated[int, Field(ge=0)] = 256
    """Pictures whose patches' principal components the model's linear shortcuts start from. 0, or without
    ``data.cache``, ``model.linear_shortcut`` and ``model.kmeans_init``: they start at random. An encoder of
    ``model.local_codes`` that started from components stays so: codebook and decoder learn."""
    losses: TokenizerLossWeights = TokenizerLossWeights()


class RegimeShares(Section):
    """How a batch is divided among the three ways of attending (gptface.systems.gptface.sequence.Regime)."""

    masked: Annotated[float, Field(gt=0, le=1)] = 0.5
    text_to_image: Share = 0.25
    image_to_text: Share = 0.25

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = self.masked + self.text_to_image + self.image_to_text
        if abs(total - 1) > 1e-6:
            raise InputError(f"masked + text_to_image + image_to_text must be 1, got {total:g}")
        return self


class ImageMaskSection(Section):
    """Masking of the image in the masked regime: a mixture of shapes, each sample with its own MaskGIT cosine ratio."""

    random: Weight = 0.5
    """Independent tokens, as generation sees them."""
    blocks: Weight = 0.25
    """Rectangles, as inpainting sees them."""
    regions: Weight = 0.25
    """Whole facial regions first (PaCo-FR); needs region maps in the data."""
    edits: Weight = 0.0
    """What an attribute or an expression would change, and the rest of the picture seen, as editing sees it: half of
    them the features that an expression moves. The ratio is of that area alone. Needs region maps in the data."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.random + self.blocks + self.regions + self.edits <= 0:
            raise InputError("random + blocks + regions + edits must be more than 0")
        return self

    @property
    def needs_regions(self) -> bool:
        """Whether region maps must be known."""
        return self.regions + self.edits > 0


class SparseSection(Section):
    """Rows that compute a part of their image tokens alone, hidden ones first: what is left out is not predicted, and
    seen by nothing but the towers and its neighbours' surroundings, where the model has them. Of many small tokens
    neighbours say nearly the same, so that a step with half of them teaches more than half of it. Rows from text to
    image stay whole, and all do where attention computes what is hidden."""

    image: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of its image tokens that a row keeps; 1: all."""
    until: Share = 0.8
    """Share of the training from which on rows are whole, as decoding sees them."""


class MatchingSection(Section):
    """Image–text matching, trained on partly masked inputs."""

    negatives: Share = 1.0
    """Mismatched rows for every row of the masked regime: the same masked image with another row's text."""
    hard_share: Share = 0.5
    """Share of the mismatched captions drawn by similarity to the true one instead of at random."""
    hard_start: Share = 0.2
    """Share of the training after which hard ones are drawn."""


class ContrastiveSection(Section):
    """Contrastive alignment of pictures and captions (needs ``model.alignment_size`` and a weight of the loss)."""

    pairs: Annotated[int, Field(ge=0)] = 0
    """Pairs compared with one another each step and process. They cost little, since only the towers see them: the
    first ``batch_size`` of them go through the transformer too. 0: the batch itself. More needs ``cache_codes``."""
    alone: Share = 0.0
    """Share of the training at whose start the towers learn alone: steps many times cheaper than the transformer's,
    which then hears from its first step on what caption and picture say."""


class PairWeightingSection(Section):
    """Weak correlation: a pair whose matching score stays low loses its caption more often (needs ``cache_codes``)."""

    start: Share = 1.0
    """Share of the training after which scores count; 1: never, and none are kept."""
    threshold: float = 0.0
    """A caption is kept with probability sigmoid(score − threshold); a score is the matching head's log-odds."""


class LossWeights(Section):
    """Weights of the pre-training losses beside that of masked images, which is 1."""

    edits: Weight = 1.0
    """Of a token hidden as by an edit (``image_masks.edits``), of which a row has few, beside one hidden otherwise."""
    regions: dict[str, Weight] = {}
    """How many other hidden image tokens one of a facial region counts for ("eyes": 6): what an expression moves are a
    dozen of hundreds of tokens. Needs region maps in the data."""
    masked_text: Weight = 0.5
    text_to_image: Weight = 1.0
    image_to_text: Weight = 0.5
    matching: Weight = 0.5
    contrastive: Weight = 0.0
    """Of the alignment towers (``contrastive``)."""

    @model_validator(mode="after")
    def _known_regions(self) -> Self:
        check_regions(self.regions)
        return self


class PictureViewSection(ViewSection):
    """Further views of every picture, encoded beside it once: its cuts, turns and lights have other codes, so that
    faces can be learnt and not photos by heart. Pictures and views come in turn, an epoch each (needs
    ``cache_codes`` and pictures)."""

    count: Annotated[int, Field(ge=0, le=64)] = 0
    """So many of each picture; they and the picture are encoded before the training. 0: the picture alone."""
    scale: tuple[float, float] = (0.75, 1.0)
    aspect: tuple[float, float] = (0.93, 1.07)
    rotation: Annotated[float, Field(ge=0, le=180)] = 7.0
    brightness: Share = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.25
    gamma: Annotated[float, Field(ge=0, le=3)] = 0.25


class PretrainSection(LoopSection):
    """The face–language transformer."""

    preset: Literal["tiny", "small", "base"] = "small"
    """Starting point of the model's configuration (gptface.systems.gptface.FaceLanguageConfig)."""
    model: dict[str, Any] = {}
    """Fields of that configuration that differ; sizes of vocabulary, grid and text follow from the other sections."""
    vocabulary_size: Annotated[int, Field(ge=32)] = 2048
    """Most word pieces of the text tokenizer that is trained on the captions."""
    text_tokenizer: str | None = None
    """Folder of a text tokenizer to use instead."""
    cache_codes: bool = True
    """Encode every image once (and mirrored, with data.flip), so that training touches no pixels; needs data.cache.
    Off: images are read by the loader and encoded as they come. Token shards (data.source) are encoded already."""
    views: PictureViewSection = PictureViewSection()
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    caption_dropout: Share = 0.1
    """Share of the masked and text→image rows that lose their caption, for classifier-free guidance."""
    regimes: RegimeShares = RegimeShares()
    text_mask_ratio: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of its tokens that a caption hides where spans of it are masked; one token at least."""
    image_masks: ImageMaskSection = ImageMaskSection()
    sparse: SparseSection = SparseSection()
    matching: MatchingSection = MatchingSection()
    contrastive: ContrastiveSection = ContrastiveSection()
    pair_weighting: PairWeightingSection = PairWeightingSection()
    losses: LossWeights = LossWeights()

    @property
    def needs_regions(self) -> bool:
        """Whether the region of every image token must be known."""
        return self.image_masks.needs_regions or bool(self.losses.regions)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.pair_weighting.start < 1 and not self.cache_codes:
            raise InputError("pair_weighting.start: less than 1 needs cache_codes, which is off")
        if self.views.count > 0 and not self.cache_codes:
            raise InputError(f"views.count: {self.views.count} needs cache_codes, which is off")
        if self.contrastive.pairs > self.batch_size and not self.cache_codes:
            raise InputError(f"contrastive.pairs: more than batch_size ({self.batch_size}) needs cache_codes")
        if self.losses.edits != 1 and self.image_masks.edits == 0:
            raise InputError(f"losses.edits: {self.losses.edits:g} needs image_masks.edits, which is 0")
        if self.contrastive.alone > 0 and self.losses.contrastive == 0:
            raise InputError("contrastive.alone: needs losses.contrastive, which is 0")
        if self.losses.contrastive > 0 and not self.model.get("alignment_size"):
            raise InputError("losses.contrastive: needs model.alignment_size, which is 0")
        if self.model.get("spatial_merge_size", 1) != 1:
            if self.regimes.text_to_image > 0:
                raise InputError(
                    "regimes.text_to_image: must be 0 with model.spatial_merge_size, whose squares of tokens are seen "
                    f"as one, got {self.regimes.text_to_image:g}"
                )
            if self.sparse.image < 1:
                raise InputError(
                    f"sparse.image: must be 1 with model.spatial_merge_size, got {self.sparse.image:g}"
                )
        if self.text_tokenizer is not None and "vocabulary_size" in self.model_fields_set:
            raise InputError("vocabulary_size: cannot be chosen when text_tokenizer names a folder")
        return self


class Configuration(Section):
    """Data and the two stages: the image tokenizer, then the transformer."""

    data: DataSection = DataSection()
    tokenizer: TokenizerSection = TokenizerSection()
    pretrain: PretrainSection = PretrainSection()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        self.tokenizer_config()
        if self.data.source == "tokens" and not self.pretrain.cache_codes:
            raise InputError("pretrain.cache_codes: must be true with data.source: tokens, which are codes already")
        if self.data.source == "tokens" and self.pretrain.views.count > 0:
            raise InputError(
                f"pretrain.views.count: {self.pretrain.views.count}; must be 0 with data.source: tokens, which hold no "
                "pictures that views could be cut from"
            )
        return self

    def tokenizer_config(self) -> FaceTokenizerConfig:
        """The tokenizer's model configuration: the preset, the data's image size, the fields that differ."""
        if "image_size" in self.tokenizer.model:
            raise InputError("tokenizer.model.image_size: is set by data.image_size")
        preset = getattr(FaceTokenizerConfig, self.tokenizer.preset)
        try:
            return preset(image_size=self.data.image_size, **self.tokenizer.model)
        except InputError as error:
            raise InputError(f"tokenizer.model: {error}") from error
