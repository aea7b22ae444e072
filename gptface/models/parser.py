"""``FaceParser``: facial regions, attributes and expression of a picture, from one small convolutional network.

Editing uses it to find the region a wish concerns on any picture. A second instance, trained from another seed, judges
edits in the evaluation; it never sees what the first one says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from transformers import initialization as init
from transformers.utils import ModelOutput

from gptface.errors import InputError
from gptface.hub import Description
from gptface.models.configuration import ModelConfig
from gptface.models.convolution import Downsample, ResidualBlock, Upsample, normalisation
from gptface.models.loading import StrictPreTrainedModel

__all__ = ["FaceParser", "FaceParserConfig", "FaceParserOutput"]


class FaceParserConfig(ModelConfig):
    """The shape of a :class:`FaceParser` and the names of what it predicts.

    Args:
        image_size: side of the square image in pixels.
        stem_stride: pixels folded into channels before the first convolution.
        channels: channels of each level, finest first; each level after the first halves the resolution.
        region_names, attribute_names, expression_names: what the three heads predict, in the order of their logits.
    """

    model_type = "gptface_parser"

    def __init__(
        self,
        image_size: int = 64,
        stem_stride: int = 2,
        channels: Sequence[int] = (24, 40, 56),
        region_names: Sequence[str] = ("background", "face"),
        attribute_names: Sequence[str] = (),
        expression_names: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_size = image_size
        self.stem_stride = stem_stride
        self.channels = list(channels)
        self.region_names = list(region_names)
        self.attribute_names = list(attribute_names)
        self.expression_names = list(expression_names)
        self.check_at_least(1, "image_size", "stem_stride")
        if not self.channels or any(not isinstance(width, int) or width < 1 for width in self.channels):
            raise InputError(f"channels must list at least one positive width, got {self.channels}")
        reduction = self.stem_stride * 2 ** (len(self.channels) - 1)
        if self.image_size % reduction:
            raise InputError(f"image_size {self.image_size} is not a multiple of {reduction}, the parser's reduction")
        for field in ("region_names", "attribute_names", "expression_names"):
            names = getattr(self, field)
            if len(set(names)) != len(names):
                raise InputError(f"{field} must not repeat a name, got {', '.join(map(str, names))}")
        if not self.region_names:
            raise InputError("region_names must hold at least one name")

    @classmethod
    def tiny(cls, **overrides: Any) -> FaceParserConfig:
        """For tests: 32² images and a few thousand parameters."""
        return cls.preset({"image_size": 32, "channels": [8, 16]}, overrides)


@dataclass
class FaceParserOutput(ModelOutput):
    """Logits of the three heads.

    Attributes:
        region_logits: ``(B, R, H, W)`` float32 at the resolution of the image.
        attribute_logits: ``(B, A)`` float32, one independent yes/no each.
        expression_logits: ``(B, E)`` float32, one choice of E.
    """

    region_logits: Tensor | None = None
    attribute_logits: Tensor | None = None
    expression_logits: Tensor | None = None


def _logits(head: nn.Linear | None, features: Tensor) -> Tensor:
    return features.new_zeros(features.shape[0], 0).float() if head is None else head(features).float()


class _Standardised(nn.BatchNorm1d):
    """Batch normalisation that takes a single sample in training too, by what it knows so far.

    Each process normalises by its own batch; what is kept for later is the processes' mean, the same on all of them.
    """

    running_mean: Tensor
    running_var: Tensor

    def forward(self, input: Tensor) -> Tensor:
        if self.training and len(input) == 1:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        normalised = super().forward(input)
        if self.training and distributed.is_available() and distributed.is_initialized():
            kept = torch.stack([self.running_mean, self.running_var])
            distributed.all_reduce(kept)
            kept /= distributed.get_world_size()
            self.running_mean.copy_(kept[0])
            self.running_var.copy_(kept[1])
        return normalised


def _by_region(logits: Tensor, maps: Tensor, images: Tensor) -> Tensor:
    """Means over each region as it is seen, ``(B, R · (C + 4))``: of ``maps``, of the colours, and its root of area.

    Args:
        logits: ``(B, R, H, W)``.
        maps: ``(B, C, h, w)``; images: ``(B, 3, H, W)``.
    """
    shares = logits.softmax(1)
    coarse = functional.adaptive_avg_pool2d(shares, (maps.shape[2], maps.shape[3])).flatten(2)
    fine = shares.flatten(2)
    area = coarse.mean(2, keepdim=True)
    features = coarse @ maps.flatten(2).mT / (coarse.sum(2, keepdim=True) + 1e-2)
    colours = fine @ images.flatten(2).mT / (fine.sum(2, keepdim=True) + 1e-1)
    return torch.cat([features, colours, area.sqrt()], dim=2).flatten(1)


class FaceParser(StrictPreTrainedModel):
    """A small U-Net: regions from its decoder, attributes and expression from its encoder and from every region."""

    config: FaceParserConfig
    config_class = FaceParserConfig
    base_model_prefix = ""
    main_input_name = "images"
    hub_description = Description(
        title="Face parser",
        summary="Finds the regions of an aligned face, and says attributes and expression: a small U-Net.",
        code=(
            "from gptface.models import FaceParser\n"
            "\n"
            'parser = FaceParser.from_pretrained("REPOSITORY", local_files_only=False)'
        ),
        limits=(
            "It answers for every picture, also for one without a face. What it says of attributes and "
            "expressions is a guess at labels, not at people."
        ),
        tags=("face-parsing",),
        task="image-segmentation",
    )

    def __init__(self, config: FaceParserConfig) -> None:
        super().__init__(config)
        channels = config.channels
        self.stem = nn.Conv2d(3 * config.stem_stride**2, channels[0], 3, padding=1)
        self.down = nn.ModuleList()
        self.reduce = nn.ModuleList()
        self.enlarge = nn.ModuleList()
        self.up = nn.ModuleList()
        for level, width in enumerate(channels):
            inputs = channels[max(level - 1, 0)]
            self.down.append(ResidualBlock(inputs, width))
            if level > 0:
                self.reduce.append(Downsample(inputs))
        for level in reversed(range(len(channels) - 1)):
            self.enlarge.append(Upsample(channels[level + 1]))
            self.up.append(ResidualBlock(channels[level + 1] + channels[level], channels[level]))
        self.region_norm = normalisation(channels[0])
        self.region_head = nn.Conv2d(channels[0], len(config.region_names) * config.stem_stride**2, 3, padding=1)
        # Mean and maximum over the picture, of every level: a thin moustache and the light on the face both survive.
        # Beside them the coarsest level on a 4×4 grid: hair above the brows is a fringe, below the mouth a beard.
        self.placed = nn.Conv2d(channels[-1], 12, 1)
        # And by region: the colour of lips is lipstick, that of hair its own, wherever they are in the picture.
        by_region = len(config.region_names) * (channels[0] + 4)
        pooled = 2 * sum(channels) + 12 * 16 + by_region
        # Each number by its own spread: a mean colour hardly varies beside what the maps say, and tells the most.
        self.pool_norm = _Standardised(pooled, momentum=0.1)
        names = len(config.attribute_names) + len(config.expression_names)
        self.pool_direct = nn.Linear(pooled, names) if names else None
        self.pool_hidden = nn.Linear(pooled, 128)
        self.attribute_head = nn.Linear(128, len(config.attribute_names)) if config.attribute_names else None
        self.expression_head = nn.Linear(128, len(config.expression_names)) if config.expression_names else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            init.trunc_normal_(module.weight, std=1 / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    def forward(self, images: Tensor) -> FaceParserOutput:
        """``images (B, 3, image_size, image_size)`` in [−1, 1], of any floating dtype, to :class:`FaceParserOutput`."""
        levels = self.features(images)
        maps, stride = levels[-1], self.config.stem_stride
        parts = [part for level in levels for part in (level.mean((2, 3)), level.amax((2, 3)))]
        parts.append(functional.adaptive_avg_pool2d(self.placed(levels[-1]), 4).flatten(1))
        for index, (enlarge, up) in enumerate(zip(self.enlarge, self.up, strict=True)):
            maps = up(torch.cat([enlarge(maps), levels[-2 - index]], dim=1))
        seen = functional.silu(self.region_norm(maps))
        regions = functional.pixel_shuffle(self.region_head(seen), stride)
        # Read off, not pulled at: attributes move maps away from what regions need.
        parts.append(_by_region(regions.detach(), seen.detach(), images.to(seen.dtype)))
        pooled = torch.cat(parts, dim=1)
        pooled = self.pool_norm(pooled)
        hidden = functional.silu(self.pool_hidden(pooled))
        parts = [_logits(head, hidden) for head in (self.attribute_head, self.expression_head)]
        direct = _logits(self.pool_direct, pooled).split([part.shape[1] for part in parts], dim=1)
        return FaceParserOutput(
            region_logits=regions.float(), attribute_logits=parts[0] + direct[0], expression_logits=parts[1] + direct[1]
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """What the encoder makes of ``images (B, 3, image_size, image_size)`` in [−1, 1]: the maps of every level.

        ``(B, C, h, w)`` each, finest first, of ``config.channels``.
        """
        side = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (3, side, side):
            raise InputError(f"images must have shape (B, 3, {side}, {side}), got {tuple(images.shape)}")
        if not images.is_floating_point():
            raise InputError(f"images must be floating point in [-1, 1], got {images.dtype}")
        maps = functional.pixel_unshuffle(images.to(self.stem.weight.dtype), self.config.stem_stride)
        maps = self.stem(maps.contiguous(memory_format=torch.channels_last))
        levels = []
        for level, down in enumerate(self.down):
            maps = down(maps if level == 0 else self.reduce[level - 1](maps))
            levels.append(maps)
        return levels

    @torch.no_grad()
    def regions(self, images: Tensor) -> Tensor:
        """Region labels ``(B, H, W)`` int64, indices into ``config.region_names``."""
        logits = self(images).region_logits
        assert logits is not None
        return logits.argmax(dim=1)
