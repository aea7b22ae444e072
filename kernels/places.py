"""Where this user's proofs of GPU kernels and tuned tables lie: nothing is created here."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["TUNED", "ledger_path", "read_table", "tuned_path"]

TUNED = Path(__file__).resolve().parent / "tuned"
Lines = TypeVar("Lines")


def ledger_path() -> Path | None:
    """The user's ledger: what ``GPTFACE_LEDGER`` names, else ``gpu_ledger.json`` in the user's data folder.

    ``None`` where nobody can say: ``GPTFACE_LEDGER`` is unset and platformdirs, a dependency of the package, is absent
    (an installation with ``--no-deps``).
    """
    named = os.environ.get("GPTFACE_LEDGER")
    if named:
        return Path(named).expanduser()
    try:
        from platformdirs import user_data_path
    except ModuleNotFoundError:
        return None
    return user_data_path("gptface", appauthor=False) / "gpu_ledger.json"


def tuned_path(operator: str, table: str) -> Path | None:
    """Where ``gptface prove --tune`` writes this user's table, beside the ledger; ``None`` as :func:`ledger_path`."""
    ledger = ledger_path()
    return None if ledger is None else ledger.parent / "tuned" / f"{operator}_{table}.json"


def read_table(operator: str, table: str, read: Callable[[Path], Lines]) -> Lines:
    """A launch table: this user's where there is one, else the package's. A broken one is left out, with a warning."""
    own = tuned_path(operator, table)
    if own is not None and own.is_file():
        try:
            return read(own)
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"gptface: the launch table {own} is left out: {error!r}", RuntimeWarning, stacklevel=3)
    return read(TUNED / f"{operator}_{table}.json")
