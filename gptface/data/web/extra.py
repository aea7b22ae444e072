"""The extra ``web``: said by name where a part of it is missing, before anything is written."""

from __future__ import annotations

import importlib.util

from gptface.errors import InputError

__all__ = ["require"]

PACKAGES = {"cv2": "opencv-python-headless", "pyarrow": "pyarrow", "duckdb": "duckdb", "img2dataset": "img2dataset"}


def require(*modules: str) -> None:
    """Make sure that modules are there.

    Raises:
        InputError: one is not.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise InputError(f'{PACKAGES[module]} is not installed; pip install "gptface[web]"')
