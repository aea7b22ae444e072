"""Other people's code bases: each drop-in in a module of its own, which imports that code base.

``patch(model)`` gives a loaded ``transformers`` model the attention (:mod:`.transformers_patch`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptface.integrations.transformers_patch import patch

__all__ = ["patch"]


def __getattr__(name: str) -> Any:
    """``patch``, which needs ``transformers``, when it is asked for."""
    if name == "patch":
        from gptface.integrations.transformers_patch import patch

        return patch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
