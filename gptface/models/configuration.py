"""The base class of the models' configurations: fields by name, presets of them, and a check they all need."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import PretrainedConfig
from typing_extensions import Self

from gptface.errors import InputError

__all__ = ["ModelConfig", "check_above_0", "check_heads"]


class ModelConfig(PretrainedConfig):
    """A ``transformers`` configuration that knows which fields its constructor documents."""

    @classmethod
    def field_names(cls) -> set[str]:
        """The names that the constructor documents."""
        return set(inspect.signature(cls.__init__).parameters) - {"self", "kwargs"}

    @classmethod
    def preset(cls, values: dict[str, Any], overrides: dict[str, Any]) -> Self:
        """``cls(**values)`` with ``overrides``.

        Raises:
            InputError: one of the overrides is no field; ``transformers`` itself would take any name.
        """
        known = cls.field_names()
        for name in overrides:
            if name not in known:
                raise InputError(f"{cls.__name__} has no field {name!r}; it has {', '.join(sorted(known))}")
        return cls(**{**values, **overrides})

    def check_at_least(self, minimum: int, *names: str) -> None:
        """Raise ``InputError`` unless each of these fields is an integer of at least ``minimum``."""
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
                raise InputError(f"{name} must be an integer of at least {minimum}, got {value!r}")


def check_above_0(name: str, value: Any) -> None:
    """Raise ``InputError`` unless a field is a finite number above 0."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise InputError(f"{name} must be a number above 0, got {value!r}")


def check_heads(name: str, width: int, heads: int) -> None:
    """Raise ``InputError`` unless attention takes ``heads`` heads of ``width`` channels in all."""
    if width % heads or width // heads % 8 or not 16 <= width // heads <= 256:
        raise InputError(
            f"{name} divided by its number of heads must be a multiple of 8 from 16 to 256, got {width} and {heads}"
        )
