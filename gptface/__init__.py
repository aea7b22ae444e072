"""gptface: face–language models on fast operators.

Importing the package is cheap: it pulls in nothing. Each room is usable without those below it:

    gptface.ops              masked attention, span-mask sampling, codebook lookup (needs torch only)
    gptface.faces            the vocabulary of faces: regions, landmarks, region maps on a token grid
    gptface.hub              trained models on the Hugging Face Hub, with cards filled from their runs
    gptface.models           parts that several systems use: transformer layer, patches, image tokenizer, parser
    gptface.objectives       losses, pure functions of model outputs
    gptface.data             faces with captions: shards, images, procedural faces
    gptface.training         the training loop, its checkpoints and its configuration; knows no system
    gptface.evaluation       figures of merit, linear probes, pages of pictures and curves
    gptface.systems.gptface  one transformer over captions and image codes: training, generation, editing
    gptface.systems.parser   facial regions, attributes and expression of a picture
    gptface.integrations     the operators inside other people's code
    gptface.diagnosis        the facts behind ``gptface doctor``, and ``gptface prove``
    gptface.cli              the commands
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptface.diagnosis.prove import Proof

__version__ = "0.1.0"
__all__ = ["__version__", "get_include", "prove"]


def get_include() -> str:
    """Directory of the torch-free C++/CUDA headers (``#include <gptface/philox.h>``)."""
    installed = Path(__file__).parent / "include"
    return str(installed if installed.is_dir() else Path(__file__).parent.parent / "csrc" / "include")


def prove(*arguments: Any, **options: Any) -> Proof:
    """What ``gptface prove`` does: see :func:`gptface.diagnosis.prove.prove`, whose arguments it takes."""
    from gptface.diagnosis.prove import prove as run

    return run(*arguments, **options)
