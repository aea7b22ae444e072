"""Tiny untrained models of every kind of token, and procedural faces with region maps, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gptface.data.procedural import ProceduralFaces
from gptface.data.shard_writer import write_shards
from gptface.systems.pacofr import PaCoFR, PaCoFRConfig

KINDS: dict[str, dict[str, Any]] = {
    "belief": {},
    "single": {"candidates": 1, "encodes": "all"},
    "random": {"codes": "random"},
    "none": {"codes": "none"},
}


@pytest.fixture(scope="package")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pacofr")
    for name, overrides in KINDS.items():
        torch.manual_seed(0)
        PaCoFR(PaCoFRConfig.tiny(**overrides)).save_pretrained(root / name)
    write_shards(ProceduralFaces(seed=3, size=32, count=120), root / "faces", per_shard=120)
    return {name: root / name for name in (*KINDS, "faces")}
