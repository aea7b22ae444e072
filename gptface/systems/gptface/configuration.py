"""GPTFace's configuration: data, the image tokenizer and the transformer, each field with its range and its meaning.

None of the numbers is the paper's: what is known of its settings is said in the configuration ``base``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from gptface.configuration import Count, Section, Share, Weight
from gptface.data.configuration import DataSection
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
    "PretrainSection",
    "RegimeShares",
    "TextMaskSection",
    "TokenizerLossWeights",
    "TokenizerSection",
]


class TokenizerLossWeights(Section):
    """Weights of the tokenizer's losses (gptface.objectives.reconstruction)."""

    l1: Weight = 1.0
    l2: Weight = 0.0
    gradient: Weight = 1.0
    """Differences of neighbouring pixels at several scales, which stand in for a perceptual network."""
    regions: dict[str, Weight] = {}
    """How many other pixels one of a facial region counts for ("eyes": 4), so that a small codebook spends itself where
    the expression is (Make-A-Scene, 2203.13131, weighs faces so). Needs region maps and ``data.cache``."""
    adversarial: Weight = 0.0
    """Patch discriminator, hinge loss; 0: no discriminator is made."""
    adversarial_start: Share = 0.5
    """Share of the training after which the discriminator joins."""

    @model_validator(mode="after")
    def _known_regions(self) -> Self:
        unknown = [name for name in self.regions if name not in REGIONS]
        if unknown:
            raise InputError(f"regions: {unknown[0]!r} is not a region; those are {', '.join(REGIONS)}")
        return self


class TokenizerSection(LoopSection):
    """The image tokenizer."""

    steps: Count | None = 2000
    preset: Literal["tiny", "demo", "paper"] = "demo"
    """Starting point of the model's configuration (gptface.models.FaceTokenizerConfig)."""
    model: dict[str, Any] = {}
    """Fields of that configuration that differ from the preset."""
    losses: TokenizerLossWeights = TokenizerLossWeights()
    discriminator_channels: Count = 64
    """First layer of the patch discriminator."""


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


class TextMaskSection(Section):
    """Masking of the text in the masked regime: spans, as in GPTFace's sibling code."""

    share: Share = 0.5
    """Share of the rows whose text is masked; the others keep it whole, as generation from a caption sees it."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of a masked row's tokens."""
    full_share: Share = 0.1
    """Share of the rows whose text is masked altogether, as captioning by mask-predict begins."""
    span_p: Annotated[float, Field(gt=0, le=1)] = 0.2
    span_maximum: Count = 10
    """Span lengths: geometric(p) up to the maximum."""
    corruption: tuple[Share, Share, Share] = (0.8, 0.1, 0.1)
    """Once a span: replaced by the mask token, by random tokens, left as it is."""

    @model_validator(mode="after")
    def _sums(self) -> Self:
        if abs(sum(self.corruption) - 1) > 1e-6:
            raise InputError(f"corruption: the three shares must sum to 1, got {list(self.corruption)}")
        if self.share + self.full_share > 1 + 1e-6:
            raise InputError(f"share + full_share must be at most 1, got {self.share + self.full_share:g}")
        return self


class ImageMaskSection(Section):
    """Masking of the image in the masked regime: a mixture of shapes, each sample with its own MaskGIT cosine ratio."""

    random: Weight = 0.5
    """Independent tokens, as generation sees them."""
    blocks: Weight = 0.25
    """Rectangles, as inpainting sees them."""
    regions: Weight = 0.25
    """Whole facial regions first (PaCo-FR), as editing sees them; needs region maps in the data."""
    region_weights: dict[str, Weight] = {
        "skin": 1.0,
        "brows": 1.0,
        "eyes": 1.0,
        "nose": 1.0,
        "mouth": 1.0,
        "hair": 1.0,
        "hat": 1.0,
        "glasses": 1.0,
        "occluder": 1.0,
    }
    """How likely each region is to be chosen; regions left out are only reached by blocks."""
    full_share: Share = 0.05
    """Share of the rows whose image is masked altogether, as generation begins."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.random + self.blocks + self.regions <= 0:
            raise InputError("random + blocks + regions must be more than 0")
        unknown = [name for name in self.region_weights if name not in REGIONS]
        if unknown:
            raise InputError(f"region_weights: {unknown[0]!r} is not a region; those are {', '.join(REGIONS)}")
        return self


class MatchingSection(Section):
    """Image–text matching, trained on partly masked inputs."""

    negatives: Share = 1.0
    """Mismatched rows for every row of the masked regime: the same masked image with another row's text."""
    hard_share: Share = 0.5
    """Share of the mismatched captions drawn by similarity to the true one instead of at random."""
    hard_start: Share = 0.2
    """Share of the training after which hard ones are drawn."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Of the draw by cosine similarity; smaller is harder."""


class ContrastiveSection(Section):
    """Contrastive alignment of pictures and captions (needs ``model.alignment_size`` and a weight of the loss)."""

    pairs: Annotated[int, Field(ge=0)] = 0
    """Pairs compared with one another each step and process. They cost little, since only the towers see them: the
    first ``batch_size`` of them go through the transformer too. 0: the batch itself. More needs ``cache_codes``."""
    alone: Share = 0.0
    """Share of the training at whose start the towers learn alone: steps many times cheaper than the transformer's,
    which then hears from its first step on what caption and picture say."""
    masked_share: Share = 0.5
    """Share of the pictures that are partly masked, as guidance meets them half-way through decoding."""


class PairWeightingSection(Section):
    """Weak correlation: a pair whose matching score stays low loses its caption more often (needs ``cache_codes``)."""

    enabled: bool = False
    start: Share = 0.3
    """Share of the training after which scores count."""
    threshold: float = 0.0
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """A caption is kept with probability sigmoid((score − threshold) / temperature)."""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.7
    """Of the moving average of a pair's score (log-odds of a match) over its visits."""
    floor: Share = 0.1
    """Smallest probability of keeping a caption."""


class LossWeights(Section):
    """Weights of the pre-training losses."""

    masked_image: Weight = 1.0
    masked_text: Weight = 0.5
    text_to_image: Weight = 1.0
    image_to_text: Weight = 0.5
    matching: Weight = 0.5
    contrastive: Weight = 0.0
    """Of the alignment towers (``contrastive``)."""


class PretrainSection(LoopSection):
    """The face–language transformer."""

    steps: Count | None = 2000
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
    Off: images are read by the loader and encoded as they come."""
    codebook_embeddings: bool = True
    """Start the embeddings of image codes from the tokenizer's codebook, so that similar codes start out similar."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    packing: bool = True
    """Let the transformer's layers compute no padding: a batch's tokens side by side in one row."""
    caption_dropout: Share = 0.1
    """Share of the masked and text→image rows that lose their caption, for classifier-free guidance."""
    regimes: RegimeShares = RegimeShares()
    text_masks: TextMaskSection = TextMaskSection()
    image_masks: ImageMaskSection = ImageMaskSection()
    matching: MatchingSection = MatchingSection()
    contrastive: ContrastiveSection = ContrastiveSection()
    pair_weighting: PairWeightingSection = PairWeightingSection()
    losses: LossWeights = LossWeights()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.pair_weighting.enabled and not self.cache_codes:
            raise InputError("pair_weighting.enabled: needs cache_codes, which is off")
        if self.contrastive.pairs > self.batch_size and not self.cache_codes:
            raise InputError(f"contrastive.pairs: more than batch_size ({self.batch_size}) needs cache_codes")
        if self.contrastive.alone > 0 and self.losses.contrastive == 0:
            raise InputError("contrastive.alone: needs losses.contrastive, which is 0")
        if self.losses.contrastive > 0 and not self.model.get("alignment_size"):
            raise InputError("losses.contrastive: needs model.alignment_size, which is 0")
        if self.text_tokenizer is not None and "vocabulary_size" in self.model_fields_set:
            raise InputError("vocabulary_size: cannot be chosen when text_tokenizer names a folder")
        return self


class Configuration(Section):
    """Data and the two stages: the image tokenizer, then the transformer."""

    data: DataSection = DataSection()
    tokenizer: TokenizerSection = TokenizerSection()
    pretrain: PretrainSection = PretrainSection()

    @model_validator(mode="after")
    def _stages_fit_the_data(self) -> Self:
        self.tokenizer_config()
        if self.tokenizer.losses.regions and not self.data.cache:
            raise InputError("tokenizer.losses.regions: needs data.cache, which is off")
        if self.pretrain.cache_codes and not self.data.cache:
            raise InputError("pretrain.cache_codes: needs data.cache, which is off")
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
