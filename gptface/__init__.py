"""gptface: face-language modelling on fast operators.

Importing the package is cheap: it pulls in nothing. Each layer is usable without the ones above it:

    gptface.ops          masked attention, span-mask sampling, VQ lookup (needs torch only)
    gptface.models       the image tokenizer and the face-language transformer
    gptface.systems.gptface.generation   guided mask-predict decoding and face editing
"""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"
__all__ = ["__version__", "get_include"]


def get_include() -> str:
    """Directory of the torch-free C++/CUDA headers (``#include <gptface/philox.h>``)."""
    installed = Path(__file__).parent / "include"
    return str(installed if installed.is_dir() else Path(__file__).parent.parent / "csrc" / "include")
