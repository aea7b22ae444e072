"""One line that adopts the attention: ``print(patch(model))`` for a ``transformers`` model that is already there."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from gptface.errors import InputError
from gptface.integrations.transformers_attention import NAME

__all__ = ["Patched", "patch"]

WIDEST_HEAD = 256

OWN_MASKS = ("siglip2_vision_model", "mllama_vision_model", "doge")
"""Kinds of model that make or change their masks by themselves, as tensors."""


@dataclass(frozen=True)
class Patched:
    """What :func:`patch` changed; as text, a line for each thing to know.

    Attributes:
        model: name of the model's class.
        before: the implementations that its parts had, each once.
        layers: names of the modules whose attention is now gptface's.
        left: names of sub-models that do not look their attention up by name, and keep their own.
        notes: what is different from before, a sentence each.
    """

    model: str
    before: tuple[str, ...]
    layers: tuple[str, ...]
    left: tuple[str, ...]
    notes: tuple[str, ...]
    _undo: tuple[tuple[Any, str], ...] = field(repr=False)

    def undo(self) -> None:
        """Give every part the implementation that it had."""
        _restore(self._undo)

    def __str__(self) -> str:
        before = " and ".join(self.before)
        lines = [f"{self.model}: {len(self.layers)} attention layers, {before} before, now {NAME}"]
        if self.left:
            lines.append(f"as they were: {', '.join(self.left)}")
        return "\n".join([*lines, *self.notes])


def patch(model: PreTrainedModel) -> Patched:
    """Give a model of ``transformers``, encoder, decoder or of pictures, the attention that skips what a mask hides.

    Weights, state dictionary and calls stay as they are; results agree to rounding. Padding, windows, chunks and packed
    documents are recognised; an :class:`gptface.ops.IntervalMask` may be given as ``attention_mask`` as well.

    Args:
        model: changed in place.

    Returns:
        what was changed; its ``undo()`` goes back.

    Raises:
        InputError: it is no such model, a layer does not look its attention up by name, or it needs scores that this
            attention has not: soft caps, sinks, position biases, masks of its own, or heads wider than 256. It is then
            as it was.
    """
    if not isinstance(model, PreTrainedModel):
        raise InputError(f"model: {type(model).__name__}; it must be a PreTrainedModel of transformers")
    name = type(model).__name__
    inner = {path: part for path, part in model.named_modules() if isinstance(part, PreTrainedModel)}
    left = tuple(path for path, part in inner.items() if not part._can_set_attn_implementation())
    if "" in left:
        raise InputError(
            f"model: {name} does not look its attention up by name; allowed: models that follow transformers' "
            "AttentionInterface"
        )
    for path, part in inner.items():
        if part.config.model_type in OWN_MASKS and not _within(path, left):
            raise InputError(f"model: {path or name} makes masks of its own; attn_implementation={NAME!r} has not that")
    layers = {path: part for path, part in _attention_layers(model).items() if not _within(path, left)}
    if not layers:
        raise InputError(f"model: {name} has no attention layers")
    for path, layer in layers.items():
        if lack := _lack(layer):
            raise InputError(f"model: {path} of {name} {lack}, which attn_implementation={NAME!r} has not")
    configs = _configs(model)
    before = tuple((config, str(config._attn_implementation)) for config in configs)
    model.set_attn_implementation(NAME)
    for path, layer in layers.items():
        config: Any = getattr(layer, "config", None)
        if config is not None and config._attn_implementation != NAME:
            _restore(before)
            raise InputError(
                f"model: {path} of {name} does not follow set_attn_implementation; load the model with "
                f"attn_implementation={NAME!r}"
            )
    had = {id(getattr(layer, "config", model.config)) for layer in layers.values()}
    names = tuple(dict.fromkeys(word for config, word in before if id(config) in had)) or (before[0][1],)
    return Patched(name, names, tuple(layers), left, tuple(_notes(layers)), before)


def _configs(model: nn.Module) -> list[Any]:
    """Every configuration in a model, once each."""
    found: dict[int, Any] = {}
    waiting = [config for part in model.modules() if (config := getattr(part, "config", None)) is not None]
    while waiting:
        config = waiting.pop(0)
        if id(config) not in found and hasattr(config, "_attn_implementation"):
            found[id(config)] = config
            parts = (getattr(config, key, None) for key in getattr(config, "sub_configs", ()))
            waiting += [part for part in parts if part is not None]
    return list(found.values())


def _restore(before: tuple[tuple[Any, str], ...]) -> None:
    for config, name in before:
        config._attn_implementation_internal = name


def _attention_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The innermost modules that are called attention, by name, and hold weights; PyTorch's own are nobody's choice."""
    named = {
        path: part
        for path, part in model.named_modules()
        if "Attention" in type(part).__name__
        and not any(isinstance(inner, nn.MultiheadAttention) for inner in part.modules())
    }
    innermost = {
        path: part for path, part in named.items() if not any(other.startswith(f"{path}.") for other in named)
    }
    return {path: part for path, part in innermost.items() if any(True for _ in part.parameters(recurse=True))}


def _within(path: str, models: tuple[str, ...]) -> bool:
    return any(path == one or path.startswith(f"{one}.") for one in models)


def _looks_up(kind: type[nn.Module]) -> bool:
    """Whether a layer's forward asks for its attention by name."""
    try:
        source = inspect.getsource(kind.forward)
    except (OSError, TypeError):
        return True  # no source to read
    return "ALL_ATTENTION_FUNCTIONS" in source


def _lack(layer: nn.Module) -> str | None:
    """What a layer is or has that the attention cannot replace."""
    if not _looks_up(type(layer)):
        return "computes its attention by itself"
    config: Any = getattr(layer, "config", None)
    if getattr(layer, "sinks", None) is not None:
        return "has attention sinks"
    for owner in (layer, config):
        for name in ("attn_logit_softcapping", "attn_logit_softcap"):
            if getattr(owner, name, None) is not None:
                return "has soft caps on scores"
    biases = ("use_relative_position_bias", "use_shared_relative_position_bias")
    tables = ("has_relative_attention_bias", "relative_position_bias_table", "relative_position_bias")
    if any(getattr(config, name, False) for name in biases) or any(
        getattr(layer, name, None) is not None for name in tables
    ):
        return "has position biases"
    if (width := _head_width(layer)) > WIDEST_HEAD:
        return f"has heads of {width} numbers, more than {WIDEST_HEAD}"
    return None


def _head_width(layer: nn.Module) -> int:
    """Numbers of a head; 0 where the layer does not say."""
    names = ("qk_head_dim", "head_dim", "attention_head_size")
    return next((width for name in names if isinstance(width := getattr(layer, name, None), int)), 0)


def _notes(layers: dict[str, nn.Module]) -> list[str]:
    notes = ["output_attentions=True gives no weights: none are computed"]
    rates = {getattr(layer, name, 0.0) for layer in layers.values() for name in ("attention_dropout", "dropout_prob")}
    if any(isinstance(rate, float) and rate > 0 for rate in rates):
        notes.append("attention dropout drops other elements than before: they follow from a seed and their place")
    widths = {width for layer in layers.values() if (width := _head_width(layer))}
    if odd := sorted(width for width in widths if width % 8 or width < 16):
        notes.append(f"heads of {', '.join(map(str, odd))} numbers are filled with zeros to a multiple of 8 from 16 on")
    return notes
