"""The face systems, side by side: each a folder with its configuration, model, objective, stages and evaluation."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptface.training.declaration import StageDeclaration

__all__ = ["find_stages"]


def find_stages() -> dict[str, StageDeclaration]:
    """Every stage that a system declares in its module ``stages``, by name, system after system."""
    found: dict[str, StageDeclaration] = {}
    for system in sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg):
        for stage in importlib.import_module(f"{__name__}.{system}.stages").STAGES:
            if stage.name in found:
                raise RuntimeError(f"two systems declare a stage named {stage.name}")
            found[stage.name] = stage
    return found
