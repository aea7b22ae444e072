"""Published VQGAN checkpoints, in the layout of taming-transformers or diffusers, as a :class:`FaceTokenizer`."""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gptface.errors import InputError
from gptface.models.configuration_tokenizer import FaceTokenizerConfig
from gptface.models.tokenizer import FaceTokenizer
from gptface.models.vqgan_names import DIFFUSERS, EARLY_DIFFUSERS, TAMING, Layout

__all__ = ["load_vqgan_checkpoint"]

State = dict[str, Tensor]

CODEBOOK = "quantize.embedding.weight"
FIRST_STAGE = "first_stage_model."  # how transformers and diffusion models trained on the codes hold their VQGAN
WEIGHT_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
# Parts of a training run that neither encode nor decode.
NOT_THE_NETWORK = ("loss.", "discriminator.", "model_ema.")
# What diffusers' configuration may say and this network is; whatever it leaves out has this value.
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "norm_type": ("group", None),
    "in_channels": (3,),
    "out_channels": (3,),
}


def load_vqgan_checkpoint(path: str | os.PathLike[str], *, image_size: int = 256) -> FaceTokenizer:
    """Load a VQGAN that somebody else trained; it gives the codes and reconstructions of the original network.

    Taken are:

    - files of taming-transformers and latent-diffusion, ``torch.save``d or safetensors: a state dictionary, or a
      dictionary that holds one as ``"state_dict"``; also of a model trained on the codes, whose first stage is read;
    - diffusers' ``VQModel``: its folder, or the weight file with ``config.json`` beside it.

    The architecture is read off the tensors. What belongs to training alone (``loss.*``, ``discriminator.*``,
    ``model_ema.*``) is left out; weights become float32. The result is in evaluation mode; trained further, its
    codebook learns by gradient. ``save_pretrained`` writes it as a tokenizer of this package.

    Args:
        path: the file or folder.
        image_size: side of the images in pixels. Convolutions work at any size and files do not say it reliably
            (diffusers' ``sample_size`` often is not it).

    Raises:
        InputError: the file is missing, cannot be read, holds Python objects besides tensors (a pickle may run code:
            ``torch.load(weights_only=True)`` is used), or lacks or adds tensors, which are then named.
    """
    path = Path(path)
    file, settings = _locate(path)
    state = _first_stage(_read(file))
    if _numbers(state, r"encoder\.down_blocks\.(\d+)\."):
        layout = EARLY_DIFFUSERS if any(".query." in name for name in state) else DIFFUSERS
        if settings is None:
            settings = _settings(file.parent / "config.json")
    elif CODEBOOK in state and _numbers(state, r"encoder\.down\.(\d+)\."):
        layout, settings = TAMING, {}
    else:
        raise InputError(
            f"{file}: is no VQGAN checkpoint: it has no encoder.down.* or encoder.down_blocks.* with {CODEBOOK}"
        )
    config = _configuration(file, state, layout, settings, image_size)
    model = FaceTokenizer(config)
    model.load_state_dict(_translated(file, state, layout, model))
    return model.eval()


def _locate(path: Path) -> tuple[Path, dict[str, Any] | None]:
    """The weight file, and the configuration of the folder it was found in."""
    if not path.is_dir():
        return path, None
    settings = _settings(path / "config.json")
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name, settings
    raise InputError(f"{path}: has none of {', '.join(WEIGHT_FILES)}")


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; diffusers' layout needs the config.json that belongs to it") from None
    except ValueError as error:
        raise InputError(f"{path}: is not readable ({error})") from error
    kind = settings.get("_class_name") if isinstance(settings, dict) else None
    if kind != "VQModel":
        raise InputError(f"{path}: describes a {kind}; allowed: diffusers' VQModel")
    for name, allowed in SUPPORTED.items():
        if settings.get(name, allowed[0]) not in allowed:
            raise InputError(f"{path}: {name} is {settings[name]!r}; allowed: {allowed[0]!r}")
    return settings


def _read(path: Path) -> State:
    """The tensors of a file by name."""
    if not path.is_file():
        raise InputError(f"{path}: is neither a file nor a folder")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():  # about pickle protocols; what follows is one sentence
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found_name = re.search(r"GLOBAL ([\w.]+)", str(error))
        objects = f" (it names {found_name[1]})" if found_name else ""
        raise InputError(
            f"{path}: is not a file of tensors alone{objects}; unpickling anything else could run code and is refused. "
            "Where the file is trusted, save its state dictionary on its own: torch.save(checkpoint['state_dict'], ...)"
        ) from error
    except (OSError, RuntimeError, SafetensorError, EOFError, ValueError, KeyError) as error:
        plain = str(error).strip() and not isinstance(error, KeyError)  # that one is an operand of the unpickler
        reason = str(error).strip().splitlines()[0] if plain else "neither torch.save nor safetensors wrote it"
        raise InputError(f"{path}: cannot be read as a checkpoint: {reason}") from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds a {type(found).__name__}; allowed: a state dictionary")
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def _first_stage(state: State) -> State:
    if any(name.startswith("encoder.") for name in state):
        return state
    return {name.removeprefix(FIRST_STAGE): value for name, value in state.items() if name.startswith(FIRST_STAGE)}


def _numbers(names: Iterable[str], pattern: str) -> set[int]:
    return {int(found[1]) for name in names if (found := re.match(pattern, name))}


def _configuration(
    file: Path, state: State, layout: Layout, settings: dict[str, Any], image_size: int
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
    levels = len(_numbers(state, re.escape(container) + r"\.(\d+)\."))
    blocks, attention = {}, {}
    for side in ("encoder", "decoder"):
        found = [
            _numbers(state, re.escape(f"{level_prefix(side, level, levels)}.{layout.block}") + r"\.(\d+)\.")
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


def _translated(file: Path, state: State, layout: Layout, model: FaceTokenizer) -> State:
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
        if not wrong:
            result[ours] = torch.cat([state[name].float().reshape(part) for name in theirs])
    if misfits:
        raise InputError(f"{file}: does not fit {layout.name}' VQGAN: {_some(misfits)}")
    return result


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return f"{', '.join(ordered[:3])}{' …' if len(ordered) > 3 else ''} ({len(ordered)} in all)"
