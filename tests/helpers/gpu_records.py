"""Records of proofs as some GPU would have left them, and a torch that believes in such a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from gptface.kernels import inventory, ledger
from gptface.ops import proofs

__all__ = ["CAPABILITY", "believe_in_a_gpu", "passed", "write"]

CAPABILITY = (9, 0)


def passed(kernel: str, **changes: Any) -> ledger.Record:
    """A record of the present sources of ``kernel``, with the torch and triton of this process."""
    record = ledger.Record(
        kernel, inventory.source_hash(kernel, "sm_90") or "not built", "sm_90", "NVIDIA H200", "580.1",
        torch.__version__, ledger.installed_triton(), "2026-11-29", "passed", 0.7, 12,
    )  # fmt: skip
    return dataclasses.replace(record, **changes)


def write(path: Path, records: Iterable[ledger.Record]) -> None:
    """Write a ledger and have it read anew."""
    path.write_text(ledger.as_text(records), encoding="utf-8")
    proofs.forget()


def believe_in_a_gpu(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Questions about the machine find an H200; nothing can run there. The user's ledger is ``path``."""
    monkeypatch.setenv("GPTFACE_LEDGER", str(path))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index=None: CAPABILITY)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index=None: "NVIDIA H200")
    proofs.forget()
