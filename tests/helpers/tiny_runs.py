"""The shipped ``tiny`` configurations, over one shared cache of faces, and runs of them by several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gptface.configuration import Section
from gptface.systems.facegpt.configuration import Configuration as FaceGPTConfiguration
from gptface.systems.gptface.configuration import Configuration
from gptface.systems.pacofr.configuration import Configuration as PaCoFRConfiguration
from gptface.systems.parser.configuration import Configuration as ParserConfiguration
from gptface.training.configuration_files import configuration_to_yaml, load_configuration

__all__ = ["launch", "tiny", "tiny_facegpt", "tiny_pacofr", "tiny_parser"]


def _common(cache: Path, *stages: str) -> list[str]:
    """float32 (the same bits on every processor), no TensorBoard, no measuring of the peak."""
    common = [f"data.cache_directory={cache}"]
    for stage in stages:
        common += [f"{stage}.precision=float32", f"{stage}.tensorboard=false", f"{stage}.peak_tflops=0.1"]
    return common


def tiny(cache: Path, *overrides: str) -> Configuration:
    """GPTFace's ``tiny``."""
    return load_configuration(Configuration, "tiny", [*_common(cache, "tokenizer", "pretrain"), *overrides])


def tiny_facegpt(cache: Path, *overrides: str) -> FaceGPTConfiguration:
    """FaceGPT's ``tiny``."""
    return load_configuration(FaceGPTConfiguration, "tiny", [*_common(cache, "facegpt"), *overrides])


def tiny_pacofr(cache: Path, *overrides: str) -> PaCoFRConfiguration:
    """PaCo-FR's ``tiny``."""
    return load_configuration(PaCoFRConfiguration, "tiny", [*_common(cache, "pacofr"), *overrides])


def tiny_parser(cache: Path, *overrides: str) -> ParserConfiguration:
    """The parser's ``tiny``."""
    return load_configuration(ParserConfiguration, "tiny", [*_common(cache, "parser"), *overrides])


def launch(processes: int, stage: str, configuration: Section, output: Path, *more: str) -> subprocess.Popen[bytes]:
    """``torchrun … gptface train`` into ``output``, on the CPU; what it says goes to a ``.log`` beside it."""
    file, log = output.with_suffix(".yaml"), output.with_suffix(".log")
    file.write_text(configuration_to_yaml(configuration))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m",
        "gptface", "train", stage, "--quiet", "--config", str(file), "--output", str(output), *more,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with open(log, "wb") as target:
        return subprocess.Popen(command, env=environment, stdout=target, stderr=subprocess.STDOUT)
