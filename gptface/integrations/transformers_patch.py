"""One line that adopts the attention: ``print(patch(model))`` for a ``transformers`` model that is already there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from gptface.errors import InputError
from gptface.integrations.transformers_attention import NAME

__all__ = ["Patched", "patch"]

WIDEST_HEAD = 256


@dataclass(frozen=True)
class Patched:
    """What :func:`patch` changed; as text, a line for each thing to know.

    Attributes:
        model: name of the model's class.
        before: the implementation that it had; ``model.set_attn_implementation(before)`` goes back.
        layers: names of the modules whose attention is now gptface's.
        left: names of sub-models that do not look their attention up by name, and keep their own.
        notes: what is different from before, a sentence each.
    """

    model: str
    before: str
    layers: tuple[str, ...]
    left: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.model}: {len(self.layers)} attention layers, {self.before} before, now {NAME}"]
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
        what was changed.

    Raises:
        InputError: it is no such model, does not look its attention up by name, or needs scores that this attention has
            not: soft caps, sinks, position biases, or heads wider than 256. It is then as it was.
    """
    if not isinstance(model, PreTrainedModel):
        raise InputError(f"model: {type(model).__name__}; it must be a PreTrainedModel of transformers")
    name, before = type(model).__name__, str(model.config._attn_implementation)
    inner = {path: part for path, part in model.named_modules() if isinstance(part, PreTrainedModel)}
    left = tuple(path for path, part in inner.items() if not part._can_set_attn_implementation())
    if "" in left:
        raise InputError(
            f"model: {name} does not look its attention up by name; allowed: models that follow transformers' "
            "AttentionInterface"
        )
    layers = {path: part for path, part in _attention_layers(model).items() if not _within(path, left)}
    if not layers:
        raise InputError(f"model: {name} has no attention layers")
    for path, part in layers.items():
        if lack := _lack(part):
            raise InputError(f"model: {path} of {name} has {lack}, which attn_implementation={NAME!r} has not")
    model.set_attn_implementation(NAME)
    return Patched(name, before, tuple(layers), left, tuple(_notes(model, layers)))


def _attention_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The innermost modules that are called attention, by name, and hold maps of queries and keys."""
    named = {path: part for path, part in model.named_modules() if "Attention" in type(part).__name__}
    innermost = {
        path: part for path, part in named.items() if not any(other.startswith(f"{path}.") for other in named)
    }
    return {path: part for path, part in innermost.items() if any(True for _ in part.parameters(recurse=True))}


def _within(path: str, models: tuple[str, ...]) -> bool:
    return any(path.startswith(f"{one}.") for one in models)


def _lack(layer: nn.Module) -> str | None:
    """What a layer needs that the attention has not."""
    config: Any = getattr(layer, "config", None)
    if getattr(layer, "sinks", None) is not None:
        return "attention sinks"
    for owner in (layer, config):
        for field in ("attn_logit_softcapping", "attn_logit_softcap"):
            if getattr(owner, field, None) is not None:
                return "soft caps on scores"
    if getattr(layer, "has_relative_attention_bias", None) is not None:
        return "position biases"
    width = getattr(layer, "head_dim", None)
    if isinstance(width, int) and width > WIDEST_HEAD:
        return f"heads of {width} numbers, more than {WIDEST_HEAD}"
    return None


def _notes(model: PreTrainedModel, layers: dict[str, nn.Module]) -> list[str]:
    notes = ["output_attentions=True gives no weights: none are computed"]
    rates = {getattr(layer, field, 0.0) for layer in layers.values() for field in ("attention_dropout", "dropout_prob")}
    if any(isinstance(rate, float) and rate > 0 for rate in rates):
        notes.append("attention dropout drops other elements than before: they follow from a seed and their place")
    widths = {width for layer in layers.values() if isinstance(width := getattr(layer, "head_dim", None), int)}
    if odd := sorted(width for width in widths if width % 8 or width < 16):
        notes.append(f"heads of {', '.join(map(str, odd))} numbers are filled with zeros to a multiple of 8 from 16 on")
    return notes
