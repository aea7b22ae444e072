"""The network of a published VQGAN: its configuration by the shapes of its tensors, and the tensors under our names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.models.configuration_tokenizer import FaceTokenizerConfig
from gptface.models.tokenizer import FaceTokenizer
from gptface.models.vqgan_names import Layout

__all__ = ["CODEBOOK", "State", "numbers", "vqgan_configuration", "vqgan_weights"]

State = dict[str, Tensor]

CODEBOOK = "quantize.embedding.weight"
# Parts of a training run that neither encode nor decode; the last two are a codebook's moving averages.
NOT_THE_NETWORK = (
    "loss.", "discriminator.", "model_ema.", "quantize.embedding.cluster_size", "quantize.embedding.embed_avg",
)  # fmt: skip


def numbers(names: Iterable[str], pattern: str) -> set[int]:
    """The numbers that ``pattern`` finds as its first group at the beginning of ``names``."""
    return {int(found[1]) for name in names if (found := re.match(pattern, name))}


def vqgan_configuration(
    file: str, state: State, layout: Layout, settings: dict[str, Any], image_size: int
) -> FaceTokenizerConfig:
    """The architecture by the shapes of the tensors; ``settings`` may not contradict them."""

    def shape(name: str, rank: int) -> torch.Size:
        if name not in state:
            raise InputError(f"{file}: does not fit {layout.name}' VQGAN: missing {name}")
        if state[name].ndim != rank:
            raise InputError(f"{file}: {name} has shape {tuple(state[name].shape)}; it must have {rank} dimensions")
        return state[name].shape

    def level_prefix(side: str, level: int, levels: int) -> str:
        template = layout.down if side == "encoder" else layout.up
        return f"{side}.{template.format(level=level, reversed=levels - 1 - level)}"

    container = "encoder." + layout.down.split(".")[0]
    levels = len(numbers(state, re.escape(container) + r"\.(\d+)\."))
    blocks, attention = {}, {}
    for side in ("encoder", "decoder"):
        found = [
            numbers(state, re.escape(f"{level_prefix(side, level, levels)}.{layout.block}") + r"\.(\d+)\.")
            for level in range(levels)
        ]
        blocks[side] = max(1, *map(len, found))  # none at all, or a gap in the numbers, shows as tensors missing
        attention[side] = [
            level
            for level in range(levels)
            if any(name.startswith(f"{level_prefix(side, level, levels)}.{layout.attention}.") for name in state)
        ]
    channels = [
        shape(f"{level_prefix('encoder', level, levels)}.{layout.block}.0.conv2.weight", 4)[0]
        for level in range(levels)
    ]
    stem = shape("encoder.conv_in.weight", 4)[0]
    if stem != channels[0]:
        raise InputError(
            f"{file}: encoder.conv_in has {stem} channels and the first level {channels[0]}; they must be equal"
        )
    if attention["encoder"] != attention["decoder"]:
        raise InputError(
            f"{file}: attention at levels {attention['encoder']} of the encoder and {attention['decoder']} of the "
            "decoder; they must be equal"
        )
    code_dim, latent_channels = shape("quant_conv.weight", 4)[:2]
    codebook_size = shape(CODEBOOK, 2)[0]
    groups = settings.get("norm_num_groups", 32)
    if not isinstance(groups, int) or groups < 1 or any(width % groups for width in channels):
        raise InputError(f"{file}: channels {channels} cannot be normalised in {groups} groups")
    for name, expected in (
        ("block_out_channels", channels),
        ("layers_per_block", blocks["encoder"]),
        ("num_vq_embeddings", codebook_size),
        ("latent_channels", latent_channels),
    ):
        if settings.get(name, expected) != expected:
            raise InputError(f"{file}: config.json says {name} {settings[name]!r}, the tensors {expected!r}")
    return FaceTokenizerConfig(
        image_size=image_size,
        stem_stride=1,
        channels=channels,
        encoder_blocks=blocks["encoder"],
        decoder_blocks=blocks["decoder"],
        middle_blocks=2,
        attention_levels=attention["encoder"],
        middle_attention=any(name.startswith(f"encoder.{layout.middle[1]}.") for name in state),
        norm="group",
        norm_groups=groups,
        linear_shortcut=False,
        latent_channels=latent_channels,
        code_dim=code_dim,
        codebook_size=codebook_size,
        codebook_update="gradient",
        kmeans_init=False,
        revive_below=0.0,
    )


def vqgan_weights(file: str, state: State, layout: Layout, model: FaceTokenizer) -> State:
    """``state`` under our names; every tensor of the network is there once, in its shape, and nothing else."""
    own = model.state_dict()
    wanted = {
        f"{ours}.{kind}": tuple(f"{part}.{kind}" for part in theirs)
        for ours, theirs in layout.modules(model.config)
        for kind in ("weight", "bias")
    }
    wanted["quantizer.weight"] = (CODEBOOK,)
    assert wanted.keys() == own.keys()

    expected = {name for names in wanted.values() for name in names}
    left_over = {name for name in state if name not in expected and not name.startswith(NOT_THE_NETWORK)}
    for problem, names in (("missing", expected - state.keys()), ("unknown", left_over)):
        if names:
            raise InputError(f"{file}: does not fit {layout.name}' VQGAN: {problem} {_some(names)}")
    result: State = {}
    misfits: list[str] = []
    for ours, theirs in wanted.items():
        shape = own[ours].shape
        part = torch.Size((shape[0] // len(theirs), *shape[1:]))
        # diffusers' attention has linear maps where the others have convolutions of one pixel.
        fitting = (part, part[:2]) if part[2:] == (1, 1) else (part,)
        wrong = [name for name in theirs if state[name].shape not in fitting]
        misfits.extend(f"{name} {tuple(state[name].shape)} instead of {tuple(part)}" for name in wrong)
        no_weights = [name for name in theirs if not state[name].is_floating_point()]
        misfits.extend(f"{name} {state[name].dtype} instead of floating point" for name in no_weights)
        if not wrong and not no_weights:
            result[ours] = torch.cat([state[name].float().reshape(part) for name in theirs])
    if misfits:
        raise InputError(f"{file}: does not fit {layout.name}' VQGAN: {_some(misfits)}")
    broken = [name for ours, names in wanted.items() if not result[ours].isfinite().all() for name in names]
    if broken:
        raise InputError(
            f"{file}: holds NaN or infinite weights in {_some(broken)}: its training diverged, or the file is damaged; "
            "take an earlier checkpoint"
        )
    return result


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return f"{', '.join(ordered[:3])}{' …' if len(ordered) > 3 else ''} ({len(ordered)} in all)"
