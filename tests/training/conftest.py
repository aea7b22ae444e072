"""What several tests of training share: one face cache and one trained tokenizer a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptface.systems.gptface.stages import TOKENIZER
from gptface.training.run import run_stage
from tests.helpers.tiny_runs import tiny


@pytest.fixture(scope="session")
def face_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="session")
def tokenizer_folder(face_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("tokenizer")
    return run_stage(TOKENIZER, tiny(face_cache, "tokenizer.steps=8"), output, verbose=False)
