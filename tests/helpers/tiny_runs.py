"""The shipped ``tiny`` configuration, its faces made once a session, and its trained parts."""

from __future__ import annotations

from pathlib import Path

from gptface.training.configuration import Configuration
from gptface.training.configuration_files import load_configuration

__all__ = ["tiny"]


def tiny(cache: Path, *overrides: str) -> Configuration:
    """``tiny`` in float32 (the same bits on every processor), without TensorBoard, with a shared face cache."""
    common = [f"data.cache_directory={cache}"]
    for stage in ("tokenizer", "pretrain", "parser"):
        common += [f"{stage}.precision=float32", f"{stage}.tensorboard=false", f"{stage}.peak_tflops=0.1"]
    return load_configuration("tiny", [*common, *overrides])
