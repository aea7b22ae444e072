"""Published VQGAN checkpoints, in the layout of taming-transformers or diffusers, as a :class:`FaceTokenizer`."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import torch

from gptface.errors import InputError
from gptface.files import refuse_url
from gptface.models.checkpoint_files import read_tensors
from gptface.models.tokenizer import FaceTokenizer
from gptface.models.vqgan_architecture import CODEBOOK, State, numbers, vqgan_configuration, vqgan_weights
from gptface.models.vqgan_folders import diffusers_settings, locate_weights
from gptface.models.vqgan_names import DIFFUSERS, EARLY_DIFFUSERS, TAMING

__all__ = ["load_vqgan_checkpoint"]

# The prefix of a VQGAN's tensors ends where its encoder begins; "" for one alone.
ENCODER = re.compile(r"^((?:.*?\.)??)encoder\.(?:conv_in|down|down_blocks|mid|mid_block)\.")
FIRST_STAGE = "first_stage_model"  # how transformers and diffusion models trained on the codes hold their VQGAN
AVERAGE = re.compile(r"(?:^|_)ema(?:_|$)")
USED = "quantize.used"  # of taming's remap: the codes in use, in the order of their new numbers


def load_vqgan_checkpoint(
    path: str | os.PathLike[str], *, image_size: int = 256, entry: str | None = None
) -> FaceTokenizer:
    """Load a VQGAN that somebody else trained; it gives the codes and reconstructions of the original network.

    Taken are:

    - files of taming-transformers and latent-diffusion, ``torch.save``d or safetensors, known by their content;
    - a folder that holds one, such as a log folder of taming-transformers (its ``checkpoints/last.ckpt``);
    - diffusers' ``VQModel``: its folder, the weight file with ``config.json`` beside it, or a pipeline with one.

    The VQGAN may lie in a dictionary (``"state_dict"``, ``"model"``, ``"params_ema"``, …) or under a prefix
    (``module.``, ``_orig_mod.``, …) of any name and depth; a model trained on the codes gives its first stage. What a
    trainer saved besides tensors is not read: its objects are never made, and a file that would run code is refused.

    The architecture is read off the tensors. What belongs to training alone (``loss.*``, ``discriminator.*``,
    ``model_ema.*``) is left out; weights become float32. The result is in evaluation mode; trained further, its
    codebook learns by gradient. ``save_pretrained`` writes it as a tokenizer of this package.

    With taming's ``remap`` (a tensor ``quantize.used``) the codes in use come first, in the order of their new numbers,
    so that codes are those of the original; behind them come the others, for which it has no number.

    Args:
        path: the file or folder.
        image_size: side of the images in pixels. Convolutions work at any size and files do not say it reliably
            (diffusers' ``sample_size`` often is not it).
        entry: name or prefix of the VQGAN to take, such as ``"ema"``, where the file holds several. By default that of
            the moving average (``ema``), with a warning that names the others.

    Raises:
        InputError: the file is missing, cannot be read, is something else (a Git LFS pointer, a web page, a KL
            autoencoder, a Gumbel VQGAN), holds several VQGANs of which none is the obvious one, would run code
            (``torch.load(weights_only=True)`` is used), holds NaN, or lacks or adds tensors, which are then named.
    """
    refuse_url("path", path)
    file, settings = locate_weights(Path(path))
    tensors = read_tensors(file)
    label, state = _vqgan(file, tensors, entry)
    if numbers(state, r"encoder\.down_blocks\.(\d+)\."):
        layout = EARLY_DIFFUSERS if any(".query." in name for name in state) else DIFFUSERS
        if settings is None:
            settings = diffusers_settings(file.parent / "config.json")
    elif numbers(state, r"encoder\.down\.(\d+)\."):
        layout, settings = TAMING, {}
    else:
        raise InputError(f"{label}: is no VQGAN checkpoint: it has no encoder.down.* or encoder.down_blocks.*")
    used = state.pop(USED, None)
    config = vqgan_configuration(label, state, layout, settings, image_size)
    if used is not None:
        state[CODEBOOK] = state[CODEBOOK][_used_first(label, used, config.codebook_size)]
    model = FaceTokenizer(config)
    model.load_state_dict(vqgan_weights(label, state, layout, model))
    return model.eval()


def _vqgan(file: Path, tensors: State, entry: str | None) -> tuple[str, State]:
    """What messages call the VQGAN of a file, and its tensors by their names within it."""
    encoders = {found[1] for name in tensors if (found := ENCODER.match(name))}
    prefixes = sorted(prefix for prefix in encoders if not {"loss", "discriminator"} & set(prefix.split(".")))
    states = {prefix: _within(prefix, prefixes, tensors) for prefix in prefixes}
    complete = [prefix for prefix, state in states.items() if CODEBOOK in state]
    if entry is not None:
        chosen = entry.rstrip(".") + "." if entry else ""
        if chosen not in prefixes:
            raise InputError(f"{file}: entry is {entry!r}; allowed: {_names(prefixes) or 'none, there is no VQGAN'}")
    elif not complete:
        raise InputError(f"{file}: is no VQGAN checkpoint: {_what_it_is(tensors, states)}")
    else:
        chosen = _choice(file, complete)
    if CODEBOOK not in states[chosen]:
        raise InputError(f"{file}: is no VQGAN checkpoint: {_what_it_is(tensors, {chosen: states[chosen]})}")
    return f"{file}{f' ({chosen[:-1]})' if chosen else ''}", states[chosen]


def _within(prefix: str, prefixes: list[str], tensors: State) -> State:
    others = tuple(other for other in prefixes if len(other) > len(prefix) and other.startswith(prefix))
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix) and not (others and name.startswith(others))
    }


def _choice(file: Path, prefixes: list[str]) -> str:
    """The one to take of several: a first stage before a condition's encoder, a moving average before its original."""
    if len(prefixes) == 1:
        return prefixes[0]
    parts = {prefix: prefix.split(".") for prefix in prefixes}
    preferred = [prefix for prefix in prefixes if FIRST_STAGE in parts[prefix]]
    if len(preferred) != 1:
        preferred = [prefix for prefix in prefixes if any(AVERAGE.search(part) for part in parts[prefix])]
    if len(preferred) != 1:
        raise InputError(f"{file}: holds several VQGANs; entry= (--entry) must be one of {_names(prefixes)}")
    if FIRST_STAGE not in parts[preferred[0]]:
        warnings.warn(
            f"{file}: holds several VQGANs ({_names(prefixes)}); {_names(preferred)}, the moving average, is taken. "
            "entry= (--entry) takes another",
            stacklevel=4,
        )
    return preferred[0]


def _names(prefixes: list[str]) -> str:
    return ", ".join(repr(prefix[:-1]) for prefix in prefixes)


def _what_it_is(tensors: State, states: dict[str, State]) -> str:
    """Why a file without a codebook is none, and what to do about it."""
    names = {name for state in states.values() for name in state}
    if "quantize.proj.weight" in names:
        return (
            "it is a Gumbel VQGAN, which draws codes by quantize.proj instead of taking the nearest; a tokenizer here "
            "takes the nearest. Allowed: a VQGAN trained with VectorQuantizer, such as taming's vqgan_imagenet_f16"
        )
    quantizer = sorted(name for name in names if name.startswith("quantize."))
    if quantizer:
        return (
            f"its quantizer is of another kind ({', '.join(quantizer[:3])}); allowed: one that takes the nearest row "
            f"of {CODEBOOK}. Where it does so under another name, save that tensor under this one"
        )
    if names:
        return (
            f"it has an encoder but no codebook {CODEBOOK}. Autoencoders with continuous latents (KL, as of Stable "
            "Diffusion) have no codes; allowed: their VQ variants, such as vq-f4 to vq-f16 of latent-diffusion"
        )
    roots = sorted({".".join(name.split(".")[:2]) for name in tensors}) or ["no tensor"]
    return (
        f"it has no encoder.down.* or encoder.down_blocks.* with {CODEBOOK}, as taming-transformers and diffusers name "
        f"them, but {', '.join(roots[:4])}{' …' if len(roots) > 4 else ''}"
    )


def _used_first(label: str, used: torch.Tensor, size: int) -> torch.Tensor:
    """All codes, those in use first: int64 ``(size,)``."""
    fits = used.ndim == 1 and used.numel() > 0 and used.dtype in (torch.int32, torch.int64)
    if not fits or used.min() < 0 or used.max() >= size or used.unique().numel() != used.numel():
        raise InputError(
            f"{label}: {USED} is {used.dtype} {tuple(used.shape)}; it must hold different indices below {size}"
        )
    rest = torch.ones(size, dtype=torch.bool)
    rest[used.long()] = False
    return torch.cat([used.long(), rest.nonzero().flatten()])
