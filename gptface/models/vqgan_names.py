"""Names of a VQGAN's parts in published checkpoints, beside our own names of the same parts.

Two layouts are in use: taming-transformers' (also latent-diffusion's first stages) and diffusers' ``VQModel``. Both
hold one and the same network: GroupNorm, SiLU, two residual blocks around one attention in the middle, one block more a
level in the decoder than in the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gptface.models.configuration_tokenizer import FaceTokenizerConfig

__all__ = ["DIFFUSERS", "EARLY_DIFFUSERS", "TAMING", "Layout"]


@dataclass(frozen=True)
class Layout:
    """The names one layout gives to the parts of a VQGAN.

    ``{level}`` counts resolutions from the finest; in ``up`` it is ``{level}`` or, counted from the coarsest,
    ``{reversed}``.
    """

    name: str
    down: str
    up: str
    block: str
    attention: str
    downsample: str
    upsample: str
    middle: tuple[str, str, str]
    last_norm: str
    shortcut: str
    attention_norm: str
    query_key_value: tuple[str, str, str]
    attention_output: str

    def modules(self, config: FaceTokenizerConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each of our modules with a weight and a bias, and theirs, whose tensors are ours when put together."""
        levels = len(config.channels)
        for side, convolution in (("encoder", "stem"), ("decoder", "input")):
            yield f"{side}.{convolution}", (f"{side}.conv_in",)
            yield f"{side}.norm", (f"{side}.{self.last_norm}",)
            yield f"{side}.output", (f"{side}.conv_out",)
            middle = [f"{side}.{part}" for part in self.middle]
            if config.middle_attention:
                yield from self._attention(f"{side}.middle.1", middle.pop(1))
            else:
                del middle[1]
            for place, theirs in zip((0, 1 + config.middle_attention), middle, strict=True):
                yield from self._block(f"{side}.middle.{place}", theirs, False)

        for level in range(levels):
            ours, theirs = f"encoder.levels.{level}", "encoder." + self.down.format(level=level)
            before = config.channels[max(level - 1, 0)]
            yield from self._level(config, ours, theirs, level, config.encoder_blocks, before)
            if level < levels - 1:
                yield f"encoder.downsamples.{level}.conv", (f"{theirs}.{self.downsample}",)

            place = levels - 1 - level
            ours, theirs = f"decoder.levels.{place}", "decoder." + self.up.format(level=level, reversed=place)
            before = config.channels[min(level + 1, levels - 1)]
            yield from self._level(config, ours, theirs, level, config.decoder_blocks, before)
            if level > 0:
                yield f"decoder.upsamples.{place}.conv", (f"{theirs}.{self.upsample}",)

        yield "to_code", ("quant_conv",)
        yield "from_code", ("post_quant_conv",)

    def _level(
        self, config: FaceTokenizerConfig, ours: str, theirs: str, level: int, blocks: int, before: int
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        for index in range(blocks):
            widens = index == 0 and before != config.channels[level]
            yield from self._block(f"{ours}.blocks.{index}", f"{theirs}.{self.block}.{index}", widens)
            if level in config.attention_levels:
                yield from self._attention(f"{ours}.attentions.{index}", f"{theirs}.{self.attention}.{index}")

    def _block(self, ours: str, theirs: str, widens: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
        for part in ("norm1", "conv1", "norm2", "conv2"):
            yield f"{ours}.{part}", (f"{theirs}.{part}",)
        if widens:
            yield f"{ours}.shortcut", (f"{theirs}.{self.shortcut}",)

    def _attention(self, ours: str, theirs: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        yield f"{ours}.norm", (f"{theirs}.{self.attention_norm}",)
        yield f"{ours}.query_key_value", tuple(f"{theirs}.{part}" for part in self.query_key_value)
        yield f"{ours}.output", (f"{theirs}.{self.attention_output}",)


TAMING = Layout(
    name="taming-transformers",
    down="down.{level}",
    up="up.{level}",
    block="block",
    attention="attn",
    downsample="downsample.conv",
    upsample="upsample.conv",
    middle=("mid.block_1", "mid.attn_1", "mid.block_2"),
    last_norm="norm_out",
    shortcut="nin_shortcut",
    attention_norm="norm",
    query_key_value=("q", "k", "v"),
    attention_output="proj_out",
)

DIFFUSERS = Layout(
    name="diffusers",
    down="down_blocks.{level}",
    up="up_blocks.{reversed}",
    block="resnets",
    attention="attentions",
    downsample="downsamplers.0.conv",
    upsample="upsamplers.0.conv",
    middle=("mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"),
    last_norm="conv_norm_out",
    shortcut="conv_shortcut",
    attention_norm="group_norm",
    query_key_value=("to_q", "to_k", "to_v"),
    attention_output="to_out.0",
)

EARLY_DIFFUSERS = replace(DIFFUSERS, query_key_value=("query", "key", "value"), attention_output="proj_attn")
