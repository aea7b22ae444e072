"""Where the weights of a published VQGAN lie: in a file, or in one of the folders that trainers and hubs make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gptface.errors import InputError

__all__ = ["diffusers_settings", "locate_weights"]

DIFFUSERS_WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
WEIGHT_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")
# What diffusers' configuration may say and this network is; whatever it leaves out has this value.
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "norm_type": ("group", None),
    "in_channels": (3,),
    "out_channels": (3,),
}


def locate_weights(path: Path) -> tuple[Path, dict[str, Any] | None]:
    """The weight file of a file or folder, and diffusers' configuration where the folder has one.

    Raises:
        InputError: a folder without a VQGAN, or with several weight files.
    """
    if not path.is_dir():
        return path, None
    if (path / "model_index.json").is_file():
        path = _pipeline_part(path)
    if (path / "config.json").is_file():
        settings = diffusers_settings(path / "config.json")
        variants = sorted(path.glob("diffusion_pytorch_model.*"))  # such as .fp16.safetensors
        for file in (*(path / name for name in DIFFUSERS_WEIGHTS), *variants):
            if file.is_file() and file.suffix in WEIGHT_SUFFIXES:
                return file, settings
        raise InputError(f"{path}: has none of {', '.join(DIFFUSERS_WEIGHTS)}")
    for folder in (path / "checkpoints", path):  # a log folder of taming-transformers keeps its files in the first
        files = sorted(file for file in folder.glob("*") if file.is_file() and file.suffix in WEIGHT_SUFFIXES)
        last = [file for file in files if file.name == "last.ckpt"]
        if last or len(files) == 1:
            return (last or files)[0], None
        if files:
            raise InputError(
                f"{folder}: holds several checkpoints ({', '.join(file.name for file in files[:5])}"
                f"{' …' if len(files) > 5 else ''}); give one of them"
            )
    raise InputError(
        f"{path}: holds no checkpoint: neither config.json, as diffusers writes it, nor, here or in checkpoints/, a "
        f"file that ends in {', '.join(WEIGHT_SUFFIXES)}"
    )


def _pipeline_part(folder: Path) -> Path:
    """The folder of the VQModel of a diffusers pipeline."""
    index = _read_json(folder / "model_index.json")
    parts = {name: value[1] for name, value in index.items() if isinstance(value, list) and len(value) == 2}
    found = [name for name, kind in parts.items() if kind == "VQModel"]
    if not found:
        encoders = [f"{name} is an {kind}" for name, kind in parts.items() if "Autoencoder" in str(kind)]
        raise InputError(
            f"{folder}: is a diffusers pipeline without a VQModel ({', '.join(encoders or parts)}); allowed: one with "
            "a VQModel, whose latents are codes"
        )
    if not (folder / found[0]).is_dir():
        raise InputError(f"{folder}: is a diffusers pipeline whose VQModel is missing: there is no folder {found[0]}/")
    return folder / found[0]


def diffusers_settings(path: Path) -> dict[str, Any]:
    """A ``config.json`` of diffusers' ``VQModel``, checked.

    Raises:
        InputError: it is missing, unreadable, or describes something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: is missing; diffusers' layout needs the config.json that belongs to it")
    settings = _read_json(path)
    kind = settings.get("_class_name")
    if kind is None and settings.get("model_type") is not None:
        kind = f"transformers model of type {settings['model_type']}"
    if kind != "VQModel":
        raise InputError(f"{path}: describes a {kind}; allowed: diffusers' VQModel")
    for name, allowed in SUPPORTED.items():
        if settings.get(name, allowed[0]) not in allowed:
            raise InputError(f"{path}: {name} is {settings[name]!r}; allowed: {allowed[0]!r}")
    return settings


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is not readable ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds a {type(found).__name__}; allowed: an object")
    return found
