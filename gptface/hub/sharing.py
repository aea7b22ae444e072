"""Uploads what ``save_pretrained`` writes, with a card: one commit, made only when everything has been written."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from gptface.errors import InputError
from gptface.hub.card import Description, model_card
from gptface.hub.run_facts import RunFacts, without_folders

__all__ = ["share"]

# Where libraries note from which folder something was loaded.
NOTED = {"_name_or_path", "name_or_path", "base_model_name_or_path", "source", "name", "tokenizer_file"}


def share(
    write: Callable[[Path], None],
    description: Description,
    repo_id: str,
    weights: int,
    *,
    run: str | os.PathLike[str] | None = None,
    licence: str | None = None,
    private: bool | None = True,
    token: bool | str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    commit_description: str | None = None,
) -> str:
    """Write a model into a temporary folder, add its card and upload the folder.

    Args:
        write: writes the model into a folder.
        description: of its kind.
        repo_id: ``owner/name``, or a name among one's own repositories; it is made where it is not there.
        weights: how many it has.
        run: folder of the run that it comes from.
        licence: see :func:`gptface.hub.card.model_card`.
        private: whether a new repository can be seen by its owner alone.
        token: see ``huggingface_hub``; by default that of ``hf auth login``.
        revision: branch to commit to; made where it is not there.
        create_pr: propose the commit instead of making it.
        commit_message: by default what kind of model it is.
        commit_description: more of it.

    Returns:
        the commit's address.

    Raises:
        InputError: ``repo_id`` is no name of a repository, or ``run`` cannot be read. Nothing has been uploaded.
    """
    if not re.fullmatch(r"(?:[\w.-]+/)?[\w.-]+", repo_id):
        raise InputError(f"repo_id: {repo_id!r} is no repository of the Hub; allowed: name or owner/name")
    facts = None if run is None else RunFacts.read(run)
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory(prefix="gptface-share-") as temporary:
        folder = Path(temporary)
        write(folder)
        forget_folders(folder)
        card = model_card(description, repo_id, weights, facts, licence)
        (folder / "README.md").write_text(str(card), encoding="utf-8")
        repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not revision.startswith("refs/pr"):
            api.create_branch(repository, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message=commit_message or f"Upload {description.title}",
            commit_description=commit_description,
            revision=revision,
            create_pr=create_pr,
        )
    return str(commit)


def forget_folders(folder: Path) -> None:
    """Take out of the JSON files of a model from which folder of this machine something came."""
    for path in folder.rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if _forget(content):
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _forget(value: Any) -> bool:
    changed = False
    if isinstance(value, dict):
        for key, entry in value.items():
            if key in NOTED and isinstance(entry, str) and os.path.isabs(os.path.expanduser(entry)):
                value[key], changed = without_folders(entry), True
            else:
                changed |= _forget(entry)
    elif isinstance(value, list):
        for entry in value:
            changed |= _forget(entry)
    return changed
