"""Configuration of the image tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from gptface.errors import InputError
from gptface.models.configuration import ModelConfig

__all__ = ["FaceTokenizerConfig"]


class FaceTokenizerConfig(ModelConfig):
    """The shape of a :class:`~gptface.models.tokenizer.FaceTokenizer`.

    Args:
        image_size: side of the square image in pixels.
        stem_stride: pixels folded into channels before the first convolution (1: a plain convolution at full
            resolution, as in VQGAN; 2 or 4: nearly all work is done at that fraction of the resolution).
        channels: channels of each resolution level, finest first. Each level after the first halves the resolution, so
            ``stem_stride * 2 ** (len(channels) - 1)`` is the side of a token in pixels.
        encoder_blocks, decoder_blocks: residual blocks a level.
        middle_blocks: residual blocks at the token resolution between encoder levels and codes, on either side.
        attention_levels: indices into ``channels`` of levels whose residual blocks are followed by self-attention, with
            one head as wide as the level.
        middle_attention: the same after the first of the middle blocks.
        norm: ``"group"`` (GroupNorm, as in VQGAN) or ``"layer"`` (over the channels of each pixel; cheaper on CPUs).
        norm_groups: groups of the GroupNorms (reduced to a divisor of a level's channels).
        linear_shortcut: add a linear map between the pixels of a token and its latent vector to the networks, on both
            sides. It learns what principal components know within a few hundred steps, and the networks the rest.
        local_codes: the encoder is its linear shortcut alone. A code then says what its own pixels show, and no more:
            those around a hole know nothing of what was in it, and those beside each other are alike where the picture
            is, which a network can learn to continue. The decoder still looks across tokens.
        latent_channels: channels the encoder hands to the codes and the decoder gets back.
        code_dim: dimension of the codebook vectors, reached by a 1×1 convolution.
        codebook_size: number of codes ``K``.
        codebook_update: ``"ema"`` or ``"gradient"``.
        codebook_decay: decay of the moving averages.
        kmeans_init: initialise the codebook by k-means on the first batches.
        revive_below: codes used less than this share of the mean use (moving averages) are moved onto encoder outputs.
    """

    model_type = "gptface_tokenizer"

    def __init__(
        self,
        image_size: int = 64,
        stem_stride: int = 4,
        channels: Sequence[int] = (128, 192),
        encoder_blocks: int = 1,
        decoder_blocks: int = 2,
        middle_blocks: int = 1,
        attention_levels: Sequence[int] = (),
        middle_attention: bool = False,
        norm: Literal["group", "layer"] = "layer",
        norm_groups: int = 32,
        linear_shortcut: bool = True,
        local_codes: bool = False,
        latent_channels: int = 64,
        code_dim: int = 16,
        codebook_size: int = 256,
        codebook_update: Literal["ema", "gradient"] = "ema",
        codebook_decay: float = 0.95,
        kmeans_init: bool = True,
        revive_below: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_size = image_size
        self.stem_stride = stem_stride
        self.channels = list(channels)
        self.encoder_blocks = encoder_blocks
        self.decoder_blocks = decoder_blocks
        self.middle_blocks = middle_blocks
        self.attention_levels = list(attention_levels)
        self.middle_attention = middle_attention
        self.norm = norm
        self.norm_groups = norm_groups
        self.linear_shortcut = linear_shortcut
        self.local_codes = local_codes
        self.latent_channels = latent_channels
        self.code_dim = code_dim
        self.codebook_size = codebook_size
        self.codebook_update = codebook_update
        self.codebook_decay = codebook_decay
        self.kmeans_init = kmeans_init
        self.revive_below = revive_below
        self._check()

    def _check(self) -> None:
        self.check_at_least(1, "image_size", "stem_stride", "encoder_blocks", "decoder_blocks", "middle_blocks")
        self.check_at_least(1, "norm_groups", "latent_channels", "code_dim")
        self.check_at_least(2, "codebook_size")
        if not self.channels or any(not isinstance(width, int) or width < 1 for width in self.channels):
            raise InputError(f"channels must list at least one positive width, got {self.channels}")
        if self.image_size % self.token_pixels:
            raise InputError(
                f"image_size {self.image_size} is not a multiple of the token side {self.token_pixels} "
                f"(stem_stride {self.stem_stride} and {len(self.channels)} levels)"
            )
        if self.image_size % 4:
            raise InputError(f"image_size must be a multiple of 4, got {self.image_size}")
        for level in self.attention_levels:
            if not 0 <= level < len(self.channels):
                raise InputError(f"attention_levels must index the {len(self.channels)} channels, got {level}")
        widths = {self.channels[level] for level in self.attention_levels}
        if self.middle_attention:
            widths.add(self.channels[-1])
        for width in sorted(widths):
            if width % 8 or width < 16:
                raise InputError(
                    f"channels: a level with attention must have a multiple of 8 channels and at least 16, got {width}"
                )
        if self.local_codes and not self.linear_shortcut:
            raise InputError("local_codes needs linear_shortcut, which is false")
        for name, allowed in (
            ("norm", ("group", "layer")),
            ("codebook_update", ("ema", "gradient")),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not 0 <= self.codebook_decay < 1:
            raise InputError(f"codebook_decay must lie in [0, 1), got {self.codebook_decay}")
        if not 0 <= self.revive_below < 1:
            raise InputError(f"revive_below must lie in [0, 1), got {self.revive_below}")

    @property
    def token_pixels(self) -> int:
        """Side of a token in pixels, the factor *f*."""
        return int(self.stem_stride * 2 ** (len(self.channels) - 1))

    @property
    def grid(self) -> tuple[int, int]:
        """Token grid ``(h, w)`` of an image."""
        side = self.image_size // self.token_pixels
        return side, side

    @classmethod
    def tiny(cls, **overrides: Any) -> FaceTokenizerConfig:
        """For tests: 32² images, 4×4 tokens, 64 codes; a step takes milliseconds."""
        values = {
            "image_size": 32,
            "stem_stride": 4,
            "channels": [16, 24],
            "decoder_blocks": 1,
            "norm_groups": 8,
            "latent_channels": 16,
            "code_dim": 8,
            "codebook_size": 64,
        }
        return cls.preset(values, overrides)

    @classmethod
    def demo(cls, **overrides: Any) -> FaceTokenizerConfig:
        """64² images, 8×8 tokens: trains on two CPU cores in minutes."""
        return cls.preset({}, overrides)

    @classmethod
    def paper(cls, **overrides: Any) -> FaceTokenizerConfig:
        """256² images, f = 16, 1,024 codes of dimension 256, 16×16 tokens: the topology of VQGAN as used on FFHQ."""
        values = {
            "image_size": 256,
            "stem_stride": 1,
            "channels": [128, 128, 256, 256, 512],
            "encoder_blocks": 2,
            "decoder_blocks": 3,
            "middle_blocks": 2,
            "attention_levels": [4],
            "middle_attention": True,
            "norm": "group",
            "linear_shortcut": False,
            "latent_channels": 256,
            "code_dim": 256,
            "codebook_size": 1024,
            "codebook_decay": 0.99,
            "revive_below": 0.01,
        }
        return cls.preset(values, overrides)
