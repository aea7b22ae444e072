"""Other people's vision models as encoders: any of ``transformers`` or ``timm``, by the folder that it was saved in.

Nothing is downloaded, and no code of a folder is run: the architecture must be one of the installed library. Pictures
are brought from [−1, 1] to the colours that the model was trained with, which its folder must name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.evaluation.encoders import LAST_LAYER, EncoderKind
from gptface.models.loading import without_progress_bar

__all__ = ["KINDS", "VisionModelEncoder", "patch_grid"]

States = Callable[[Tensor], list[Tensor]]
MOST_PREFIX = 17  # class, distillation and register tokens that stand before the patches; known models have at most 9


def patch_grid(tokens: int, image_size: int, patch_size: int | None) -> tuple[tuple[int, int], int]:
    """The grid of a model's patches and how many other tokens stand before them.

    Args:
        tokens: of the model's output, both kinds together.
        image_size: side of its pictures in pixels.
        patch_size: of a patch, or ``None`` where the model names none: then the largest square within the tokens.

    Raises:
        InputError: no square grid is found.
    """
    if patch_size is not None and 0 <= tokens - (image_size // patch_size) ** 2 <= MOST_PREFIX:
        side = image_size // patch_size
        return (side, side), tokens - side * side
    side = int(tokens**0.5)
    if side < 1 or tokens - side * side > 1:  # of a model whose patches are not named, one class token at most
        raise InputError(f"encoder: its {tokens} features of a picture of {image_size}² pixels are no square grid")
    return (side, side), tokens - side * side


class VisionModelEncoder(nn.Module):
    """A vision model as a :class:`~gptface.evaluation.encoders.FaceEncoder`.

    Offers ``"last layer"`` and, where the model hands them out on the same grid, ``"penultimate layer"``, ``"middle
    layer"`` and the summary ``"class token"``.

    Args:
        model: the module, so that it is trained and moved with this one.
        states: pictures (B, 3, S, S) in the model's colours to the states of its layers, the last one last: (B, N, C)
            or (B, C, h, w).
        image_size: side of its pictures in pixels.
        patch_size: of a patch, where the model names it.
        mean, deviation: of the colours that it was trained with, for pictures in [0, 1].

    Raises:
        InputError: the states are of no square grid.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        model: nn.Module,
        states: States,
        image_size: int,
        patch_size: int | None,
        mean: list[float],
        deviation: list[float],
    ) -> None:
        super().__init__()
        self.model, self._states = model, states
        self.image_size = image_size
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False)
        with torch.no_grad():
            last = _rows(states(torch.zeros(1, 3, image_size, image_size))[-1])
        self.grid, self._prefix = patch_grid(last.shape[1], image_size, patch_size)
        self.width: int = last.shape[2]

    def forward_named_features(self, images: Tensor) -> dict[str, Tensor]:
        """Features by name for images (B, 3, S, S) in [−1, 1]."""
        pictures = ((images + 1) / 2 - self.mean.to(images.dtype)) / self.deviation.to(images.dtype)
        states = [_rows(state) for state in self._states(pictures)]
        last = states[-1]
        features = {LAST_LAYER: last[:, self._prefix :]}
        alike = [state for state in states[:-1] if state.shape[1] == last.shape[1]]
        if len(alike) > 1:
            features["penultimate layer"] = alike[-1][:, self._prefix :]
            features["middle layer"] = alike[len(alike) // 2][:, self._prefix :]
        if self._prefix:
            features["class token"] = last[:, 0]
        return features

    def forward_features(self, images: Tensor) -> Tensor:
        """``"last layer"`` of :meth:`forward_named_features`: (B, N, C), row by row."""
        return self.forward_named_features(images)[LAST_LAYER]

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_features(images)


def _rows(state: Tensor) -> Tensor:
    """(B, N, C) of such, or of a map (B, C, h, w)."""
    return state if state.ndim == 3 else state.flatten(2).mT


def _described(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _reason(error: Exception) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _side(value: Any) -> int | None:
    """The side of a square that is written as a number, a pair, or by name; ``None`` where it is none."""
    if isinstance(value, dict):
        value = value.get("height", value.get("shortest_edge"))
    if isinstance(value, list | tuple):
        value = value[-1] if value and value[0] == value[-1] else None
    return value if isinstance(value, int) and value > 0 else None


def _colours(found: dict[str, Any], names: tuple[str, str], source: str) -> tuple[list[float], list[float]]:
    """Mean and deviation of three colours.

    Raises:
        InputError: there are none.
    """
    values = [found.get(name) for name in names]
    for value in values:
        whole = isinstance(value, list | tuple) and len(value) == 3
        if not whole or not all(isinstance(number, int | float) for number in value or ()):
            raise InputError(f"encoder: {source}: needs {names[0]} and {names[1]}, three numbers each")
    return list(values[0] or ()), list(values[1] or ())


# --- transformers


def _transformers_types() -> frozenset[str]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return frozenset(CONFIG_MAPPING_NAMES)


def _is_transformers(folder: Path) -> bool:
    name = _described(folder, "config.json").get("model_type")
    return isinstance(name, str) and name in _transformers_types()


def _from_transformers(folder: Path, seed: int | None) -> VisionModelEncoder:
    """The model of a folder, or its architecture with fresh weights of a seed."""
    from transformers import AutoConfig, AutoModel

    preparation = folder / "preprocessor_config.json"
    colours = _colours(_described(folder, preparation.name), ("image_mean", "image_std"), str(preparation))
    try:
        configuration = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        extra: dict[str, Any] = {}
        if configuration.model_type == "vit_mae":
            configuration.mask_ratio = 0.0  # a masked auto-encoder hides most of a picture even when it is used
        if seed is None:
            with without_progress_bar():
                model, report = AutoModel.from_pretrained(
                    folder, config=configuration, local_files_only=True, output_loading_info=True
                )
            # What a folder lacks is drawn at random; of a pooling head, which nobody asks here, that does no harm.
            lacking = [str(key) for kind in ("missing_keys", "mismatched_keys") for key in report.get(kind, ())]
            if lacking := sorted(key for key in lacking if "pooler" not in key):
                raise InputError(f"encoder: {folder}: its weights lack {lacking[0]} ({len(lacking)} in all)")
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = AutoModel.from_config(configuration, trust_remote_code=False)
    except InputError:
        raise
    except Exception as error:  # a damaged folder fails in any way there is
        raise InputError(f"encoder: {folder}: cannot be loaded by transformers ({_reason(error)})") from None
    vision = getattr(model, "vision_model", model)  # of one that sees and reads
    own = getattr(configuration, "vision_config", configuration)
    if getattr(vision, "main_input_name", "pixel_values") != "pixel_values":
        raise InputError(f"encoder: {folder}: a {type(model).__name__} does not take pictures alone")
    size = _side(getattr(own, "image_size", None))
    if size is None:
        prepared = _described(folder, preparation.name)
        size = _side(prepared.get("crop_size")) or _side(prepared.get("size"))
    if size is None:
        raise InputError(f"encoder: {folder}: its configuration names no square image size")
    patch = _side(getattr(own, "patch_size", None))

    def states(pictures: Tensor) -> list[Tensor]:
        if configuration.model_type == "vit_mae" and patch is not None:
            # Its patches are shuffled by this noise, masked or not.
            count = (pictures.shape[-1] // patch) ** 2
            extra["noise"] = torch.arange(count, device=pictures.device, dtype=torch.float32).expand(len(pictures), -1)
        found = vision(pixel_values=pictures, output_hidden_states=True, **extra)
        return [*(found.hidden_states or ())[:-1], found.last_hidden_state]  # the last one, normalised where it is so

    return VisionModelEncoder(vision, states, size, patch, *colours).eval()


# --- timm


def _is_timm(folder: Path) -> bool:
    found = _described(folder, "config.json")
    return isinstance(found.get("architecture"), str) and "model_type" not in found


def _from_timm(folder: Path, seed: int | None) -> VisionModelEncoder:
    try:
        import timm
    except ModuleNotFoundError:
        raise InputError(f"encoder: {folder}: a timm model needs timm: pip install timm") from None
    found = _described(folder, "config.json")
    settings = found.get("pretrained_cfg")
    settings = settings if isinstance(settings, dict) else found
    colours = _colours(settings, ("mean", "std"), f"{folder / 'config.json'}")
    size = _side(list(settings.get("input_size") or ())[1:])
    if size is None:
        raise InputError(f"encoder: {folder}: config.json names no square input_size")
    weights = [folder / name for name in ("model.safetensors", "pytorch_model.bin") if (folder / name).exists()]
    if seed is None and not weights:
        raise InputError(f"encoder: {folder}: its weights are missing; sought: model.safetensors, pytorch_model.bin")
    arguments = found.get("model_args")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed or 0)
            model = timm.create_model(found["architecture"], pretrained=False, **(arguments or {}))
        if seed is None:
            _load(model, weights[0])
    except Exception as error:  # a damaged folder fails in any way there is
        raise InputError(f"encoder: {folder}: cannot be loaded by timm ({_reason(error)})") from None

    def states(pictures: Tensor) -> list[Tensor]:
        last = model.forward_features(pictures)
        if last.ndim == 4 and getattr(model, "output_fmt", None) == "NHWC":
            last = last.permute(0, 3, 1, 2)
        return [last]

    patch = _side(getattr(getattr(model, "patch_embed", None), "patch_size", None))
    return VisionModelEncoder(model, states, size, patch, *colours).eval()


def _load(model: nn.Module, path: Path) -> None:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        weights = load_file(path)
    else:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(weights)


KINDS: tuple[EncoderKind, ...] = (
    EncoderKind(
        "a transformers vision model (config.json, weights and preprocessor_config.json)",
        _is_transformers,
        lambda folder: _from_transformers(folder, None),
        _from_transformers,
    ),
    EncoderKind(
        "a timm model (config.json with architecture and pretrained_cfg, and weights)",
        _is_timm,
        lambda folder: _from_timm(folder, None),
        _from_timm,
    ),
)
