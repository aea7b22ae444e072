"""A tiny random system, its judge and some faces, on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gptface.data.procedural import ProceduralFaces
from gptface.data.shard_writer import write_shards
from gptface.faces.attributes import LABELLED_ATTRIBUTES
from gptface.faces.expressions import LABELLED_EXPRESSIONS
from gptface.faces.regions import REGIONS
from gptface.models import FaceParser, FaceParserConfig
from tests.systems.gptface.generation.systems import tiny_system

SIZE = 32


def tiny_judge(seed: int) -> FaceParser:
    torch.manual_seed(seed)
    config = FaceParserConfig.tiny(
        region_names=REGIONS, attribute_names=LABELLED_ATTRIBUTES, expression_names=LABELLED_EXPRESSIONS
    )
    return FaceParser(config).eval()


@pytest.fixture(scope="package")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("report")
    tiny_system(parser=True).save_pretrained(root / "system")
    tiny_judge(1).save_pretrained(root / "judge")
    write_shards(ProceduralFaces(seed=3, size=SIZE, count=40), root / "faces", per_shard=40)
    (root / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    return {"system": root / "system", "judge": root / "judge", "faces": root / "faces", "root": root}
