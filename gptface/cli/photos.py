"""Photos named on the command line, read before a system is: a wrong name is then said at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gptface.errors import InputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["check_files", "read_photos"]


def check_files(*paths: Path | None) -> None:
    """Refuse what is no file, before the packages that read files are imported.

    Raises:
        InputError: a path is missing, or a folder.
    """
    for path in paths:
        if path is not None and not path.is_file():
            raise InputError(f"{path}: is a folder, not a file" if path.is_dir() else f"{path}: there is no such file")


def read_photos(paths: Sequence[Path]) -> list[np.ndarray]:
    """Upright uint8 ``(H, W, 3)`` of each photo.

    Raises:
        InputError: one of them is missing, or cannot be read.
    """
    check_files(*paths)
    from gptface.data.inputs import as_photo

    return [as_photo(path) for path in paths]
