"""Arguments that are paths: an address on the network is refused by name before anything else happens."""

from __future__ import annotations

import argparse
from pathlib import Path

from gptface.files import url_problem

__all__ = ["local_path", "local_pattern"]


def local_pattern(text: str) -> str:
    """The ``type`` of an argument that is a path, a glob or a name."""
    problem = url_problem(text)
    if problem is not None:
        raise argparse.ArgumentTypeError(problem)
    return text


def local_path(text: str) -> Path:
    """The ``type`` of an argument that is a path."""
    return Path(local_pattern(text))
