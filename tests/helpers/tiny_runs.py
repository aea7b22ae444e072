"""The shipped ``tiny`` configurations, over one shared cache of faces."""

from __future__ import annotations

from pathlib import Path

from gptface.systems.gptface.configuration import Configuration
from gptface.systems.parser.configuration import Configuration as ParserConfiguration
from gptface.training.configuration_files import load_configuration

__all__ = ["tiny", "tiny_parser"]


def _common(cache: Path, *stages: str) -> list[str]:
    """float32 (the same bits on every processor), no TensorBoard, no measuring of the peak."""
    common = [f"data.cache_directory={cache}"]
    for stage in stages:
        common += [f"{stage}.precision=float32", f"{stage}.tensorboard=false", f"{stage}.peak_tflops=0.1"]
    return common


def tiny(cache: Path, *overrides: str) -> Configuration:
    """GPTFace's ``tiny``."""
    return load_configuration(Configuration, "tiny", [*_common(cache, "tokenizer", "pretrain"), *overrides])


def tiny_parser(cache: Path, *overrides: str) -> ParserConfiguration:
    """The parser's ``tiny``."""
    return load_configuration(ParserConfiguration, "tiny", [*_common(cache, "parser"), *overrides])
