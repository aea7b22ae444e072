"""Other people's code bases: each drop-in in a module of its own, which imports that code base.

``patch(model)`` gives a loaded ``transformers`` model the attention (:mod:`.transformers_patch`);
``GPTFaceCallback`` logs throughput and MFU under its ``Trainer`` (:mod:`.trainer_callback`; that of the same name for
Lightning is in :mod:`.lightning_callback`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptface.integrations.trainer_callback import GPTFaceCallback
    from gptface.integrations.transformers_patch import patch

__all__ = ["GPTFaceCallback", "patch"]


def __getattr__(name: str) -> Any:
    """What needs ``transformers``, when it is asked for."""
    if name == "patch":
        from gptface.integrations.transformers_patch import patch

        return patch
    if name == "GPTFaceCallback":
        from gptface.integrations.trainer_callback import GPTFaceCallback

        return GPTFaceCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
