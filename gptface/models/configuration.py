"""The base class of the models' configurations: fields by name, presets of them, and a check they all need."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import PretrainedConfig
from typing_extensions import Self

from gptface.errors import InputError

__all__ = ["ModelConfig"]


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
