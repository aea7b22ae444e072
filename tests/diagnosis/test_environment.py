"""What ``gptface doctor`` says is true of the sources and of this machine."""

from __future__ import annotations

from pathlib import Path

from gptface.diagnosis.environment import describe_environment, format_environment

ROOT = Path(__file__).resolve().parents[2]


def test_doctor_lists_every_cuda_source() -> None:
    text = format_environment(describe_environment())
    for source in (ROOT / "csrc" / "cuda").glob("*.cu"):
        assert f"{source.stem}.cuda" in text
