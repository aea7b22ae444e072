"""An adapter as a folder beside its base: head, rows, LoRA, tokenizer, and which base and morphable model it is for.

=======================  ===============================================================================================
``adapter.json``         the base (name, class, sizes, fingerprint), the token, the shape of head and layout
``face.safetensors``     the head and the token's rows
``lora/``                as ``peft`` writes it, for ``PeftModel.from_pretrained``; absent without LoRA
``processor/``           tokenizer, and processor where the base sees pictures, with ``<FACE>``
``morphable.json``       which morphable model (:mod:`gptface.systems.facegpt.morphable_reference`)
=======================  ===============================================================================================

Nothing of the base and nothing of the morphable model's data is copied.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, AutoTokenizer, PreTrainedModel

from gptface.errors import InputError
from gptface.files import atomic_directory, refuse_url
from gptface.hub import Description, share
from gptface.systems.facegpt.adapter.base_description import check_description, open_base
from gptface.systems.facegpt.adapter.model import FaceAdapter
from gptface.systems.facegpt.adapter.token import FACE
from gptface.systems.facegpt.morphable_reference import MorphableReference

__all__ = ["is_adapter", "load_adapter", "push_adapter_to_hub", "save_adapter"]

DESCRIPTION = Description(
    title="FaceGPT adapter",
    summary="Teaches a language model of transformers to give faces in 3D: a token <FACE>, a face head and LoRA.",
    code=(
        "from huggingface_hub import snapshot_download\n"
        "from gptface.systems.facegpt.adapter import load_adapter\n"
        "\n"
        'adapter = load_adapter(snapshot_download("REPOSITORY"), base="BASE", morphable="MORPHABLE")'
    ),
    limits=(
        "It needs its base and the morphable model it was trained with; neither is in this repository, and the terms "
        "of both hold. A head that it makes is a plausible one, not a measurement of anybody."
    ),
    tags=("3d-face", "morphable-model", "lora"),
    paper="2406.07163",
)

SETTINGS = "adapter.json"
WEIGHTS = "face.safetensors"
LORA = "lora"
PROCESSOR = "processor"
FORMAT = 1
PARTS = ("head", "rows")


def is_adapter(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds an adapter."""
    return (Path(folder) / SETTINGS).is_file()


def save_adapter(
    adapter: FaceAdapter, folder: str | os.PathLike[str], morphable: str | os.PathLike[str] | None = None
) -> None:
    """Write an adapter into a folder, whole or not at all.

    Args:
        adapter: what to save.
        folder: a former one is replaced.
        morphable: name or path of the morphable model, where the adapter was given the model itself.

    Raises:
        InputError: nobody has said where the morphable model comes from.
    """
    source = adapter.morphable_source if morphable is None else morphable
    if source is None:
        raise InputError("morphable: the adapter was made with a model in memory; say that model's name or path")
    modes = {f"{kind}_modes": adapter.layout.modes(kind) for kind in ("identity", "expression", "albedo")}
    settings = {
        "format": FORMAT,
        "base": adapter.described,
        "token": FACE,
        "number": adapter.number,
        "lora": adapter.has_lora,
        "sees": adapter.processor is not adapter.tokenizer,
        "head_size": adapter.head.first.out_features,
        **modes,
    }
    tensors = {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part in PARTS
        for name, value in getattr(adapter, part).state_dict().items()
    }
    with atomic_directory(folder) as temporary:
        (temporary / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
        if adapter.has_lora:
            # Not the embeddings, though the vocabulary may have grown: the rows stand in for the one that matters.
            adapter.model.save_pretrained(str(temporary / LORA), save_embedding_layers=False)
        adapter.processor.save_pretrained(str(temporary / PROCESSOR))
        MorphableReference.of(adapter.morphable, source).save(temporary)


def push_adapter_to_hub(
    adapter: FaceAdapter, repo_id: str, morphable: str | os.PathLike[str] | None = None, **options: Any
) -> str:
    """Upload an adapter with its card; nothing of its base and of the morphable model's data.

    Args:
        adapter: what to upload.
        repo_id: ``owner/name``, or a name among one's own repositories.
        morphable: as for :func:`save_adapter`; of a path only the last part is told.
        options: ``licence``, ``private``, ``token`` … of :func:`gptface.hub.share`.

    Returns:
        the commit's address.

    Raises:
        InputError: see :func:`save_adapter` and :func:`gptface.hub.share`.
    """
    source = adapter.morphable_source if morphable is None else morphable
    told = None if source is None else Path(source).name
    base = str(adapter.described["name"])
    code = DESCRIPTION.code.replace("BASE", Path(base).name if os.path.isabs(base) else base)
    described = replace(DESCRIPTION, code=code.replace("MORPHABLE", str(told)))
    trained = sum(value.numel() for value in adapter.parameters() if value.requires_grad)
    return share(lambda folder: save_adapter(adapter, folder, told), described, repo_id, trained, **options)


def load_adapter(
    folder: str | os.PathLike[str],
    base: PreTrainedModel | str | os.PathLike[str] | None = None,
    *,
    morphable: str | os.PathLike[str] | None = None,
    processor: Any = None,
    **options: Any,
) -> FaceAdapter:
    """Load what :func:`save_adapter` wrote, beside its base; ready to be used or trained further.

    Args:
        folder: of the adapter.
        base: the model, which is changed in place; or its name or path, where it is no longer where it was.
        morphable: name or path of the morphable model, where it is no longer where it was.
        processor: the one that was saved, where ``transformers`` cannot load it.
        options: for the base's ``from_pretrained`` (``dtype``, ``device_map``, ``local_files_only=False`` …).

    Returns:
        the adapter in evaluation mode.

    Raises:
        InputError: a part is missing or damaged, or base, morphable model and adapter do not belong together.
    """
    refuse_url("folder", folder)
    source = Path(folder)
    settings = _settings(source)
    if isinstance(base, PreTrainedModel):
        model = base
    else:
        model = open_base(settings["base"], base, **options)
    check_description(settings["base"], model)
    if processor is None:
        processor = _processor(source / PROCESSOR, settings["sees"])
    shape = {name: settings[name] for name in ("identity_modes", "expression_modes", "albedo_modes", "head_size")}
    weights = _weights(source / WEIGHTS)
    reference = MorphableReference.load(source)
    face_model = reference.open(morphable)
    lora = source / LORA if settings["lora"] else None
    adapter = FaceAdapter(model, processor, face_model, lora=lora, **shape)
    adapter.morphable_source = reference.source if morphable is None else os.fspath(morphable)
    if adapter.number != settings["number"]:
        raise InputError(
            f"processor: {FACE} has the id {adapter.number} in it, but {settings['number']} in the adapter, which was "
            "trained with another"
        )
    for part in PARTS:
        own = {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(f"{part}.")}
        try:
            getattr(adapter, part).load_state_dict(own)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise InputError(f"{source / WEIGHTS}: does not fit: {reason}") from error
    return adapter.eval()


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    if not path.is_file():
        problem = "there is no such folder" if not folder.is_dir() else f"has no {SETTINGS}, so it holds no adapter"
        raise InputError(f"{folder}: {problem}")
    wanted = ("base", "number", "lora", "sees", "head_size", "identity_modes", "expression_modes", "albedo_modes")
    described = ("name", "class", "vocabulary", "width", "layers", "tied", "fingerprint")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in wanted if key not in found] + [key for key in described if key not in found["base"]]
        if missing:
            raise KeyError(missing[0])
        if found.get("format") != FORMAT:
            raise InputError(f"{path}: is of format {found.get('format')!r}; this version reads {FORMAT}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is damaged ({type(error).__name__}: {error}); copy it anew") from error
    return found


def _weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error


def _processor(folder: Path, sees: bool) -> Any:
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; it holds the adapter's tokenizer")
    kind = AutoProcessor if sees else AutoTokenizer
    try:
        return kind.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        what = "processor" if sees else "tokenizer"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder}: holds no {what} that can be loaded ({reason}); give processor=") from error
