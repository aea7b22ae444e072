"""A stand-in for the Hub: what is uploaded lies in a folder, and nothing leaves the machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

__all__ = ["StandIn"]


class StandIn:
    """Replaces the calls of ``huggingface_hub`` that sharing makes; any other would fail, for there is no network.

    Attributes:
        folder: what was uploaded, a folder a repository.
        calls: name and arguments of every call.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.calls: list[tuple[str, dict[str, Any]]] = []
        for name in ("create_repo", "create_branch", "upload_folder"):
            monkeypatch.setattr(huggingface_hub.HfApi, name, self._method(name))
        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo_id: str(self.folder / repo_id))

    def _method(self, name: str) -> Any:
        def call(api: Any, repo_id: str, **options: Any) -> Any:
            self.calls.append((name, {"repo_id": repo_id, "token": api.token, **options}))
            full = repo_id if "/" in repo_id else f"somebody/{repo_id}"
            address = f"https://huggingface.co/{full}"
            if name == "create_repo":
                return huggingface_hub.RepoUrl(address)
            if name == "upload_folder":
                shutil.copytree(options["folder_path"], self.folder / full)
                return f"{address}/commit/1"
            return None

        return call
