"""The base class of the models: loading that is strict and, unless asked otherwise, never leaves this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging
from typing_extensions import Self

from gptface.errors import InputError
from gptface.files import refuse_url
from gptface.hub import Description, share

__all__ = ["StrictPreTrainedModel", "without_progress_bar"]


class StrictPreTrainedModel(PreTrainedModel):
    """A ``transformers`` model whose ``from_pretrained`` refuses what does not fit instead of starting it afresh.

    ``push_to_hub`` uploads it with a card that is filled from its run.
    """

    hub_description: ClassVar[Description]
    """What its card says of every model of the class."""

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> Self:
        """Load a folder that ``save_pretrained`` wrote. Local only, unless ``local_files_only=False`` is passed.

        Raises:
            InputError: the folder is missing, holds another kind of model, or lacks weights.
        """
        name = os.fspath(pretrained_model_name_or_path)
        kwargs.setdefault("local_files_only", True)
        wanted = kwargs.pop("output_loading_info", False)
        if kwargs["local_files_only"]:
            refuse_url(cls.__name__, name)
            _check_folder(cls, Path(name))
        try:
            with without_progress_bar():
                loaded: Any = super().from_pretrained(name, *args, output_loading_info=True, **kwargs)
        except InputError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"{name}: cannot be loaded as a {cls.__name__}: {reason}") from error
        model, report = loaded
        for kind in ("missing_keys", "mismatched_keys"):
            names = sorted(str(key) for key in report.get(kind, ()))
            if names:
                raise InputError(
                    f"{name}: does not fit {cls.__name__}: {kind.replace('_', ' ')} {', '.join(names[:3])}"
                    f"{' …' if len(names) > 3 else ''} ({len(names)} in all)"
                )
        return (model, report) if wanted else model  # type: ignore[return-value]


    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        run: str | os.PathLike[str] | None = None,
        licence: str | None = None,
        private: bool | None = True,
        max_shard_size: int | str = "50GB",
        **options: Any,
    ) -> str:
        """Upload the model with its card.

        Args:
            repo_id: ``owner/name``, or a name among one's own repositories.
            run: folder of the run of ``gptface train`` that made it: its configuration and figures go into the card.
            licence: of the weights, as the Hub names them.
            private: whether a new repository can be seen by its owner alone.
            max_shard_size: of ``save_pretrained``.
            options: ``token``, ``revision``, ``create_pr``, ``commit_message`` and ``commit_description`` of
                :func:`gptface.hub.share`.

        Returns:
            the commit's address.

        Raises:
            InputError: see :func:`gptface.hub.share`.
        """

        def write(folder: Path) -> None:
            self.save_pretrained(folder, max_shard_size=max_shard_size)

        weights = sum(value.numel() for value in self.parameters())
        described = type(self).hub_description
        return share(write, described, repo_id, weights, run=run, licence=licence, private=private, **options)


@contextmanager
def without_progress_bar() -> Iterator[None]:
    """Loading takes milliseconds; a progress bar for each part would hide what a command has to say."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _check_folder(cls: type[PreTrainedModel], folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; a {cls.__name__} is a folder that save_pretrained wrote")
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder}: has no config.json, so it is not a saved {cls.__name__}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        model_type = found.get("model_type")
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path}: is not a readable model configuration ({error})") from error
    expected = getattr(cls.config_class, "model_type", None)
    if expected is not None and model_type != expected:
        raise InputError(f"{folder}: holds a model of type {model_type!r}, but {cls.__name__} needs {expected!r}")
