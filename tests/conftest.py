"""Shared fixtures: one thread a process (two workers share two cores), poisoned allocation, the real-face shards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="no CUDA device on this machine")
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(skip)


@pytest.fixture
def poisoned_empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fill what ``torch.empty`` returns with NaN, so that an element nobody wrote cannot pass a comparison."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    previous = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(previous)


@pytest.fixture(scope="session")
def faces_directory() -> Path:
    """The real-face shards, from GPTFACE_FACES or beside the checkout; skips where they are absent."""
    here = Path(__file__).resolve().parents[1]
    for candidate in (os.environ.get("GPTFACE_FACES"), here.parent / "shared" / "data" / "faces"):
        if candidate and Path(candidate).is_dir():
            return Path(candidate)
    pytest.skip("real-face shards not found: set GPTFACE_FACES to the directory that holds train-*.tar")
