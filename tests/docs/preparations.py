"""What stands before the code of some pages: names and files that their readers have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gptface.data.procedural import ProceduralFaces
from gptface.faces.attributes import ATTRIBUTES
from gptface.ops import IntervalMask
from tests.docs.pages import Section

__all__ = ["prepare"]


def prepare(section: Section, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names for the code of ``section``, which runs in ``folder``; files that it opens are put there."""
    if section.page == "docs/masks.md":
        first = section.title == "Attention masks"  # it imports what the others use
        return {} if first else {"torch": torch, "IntervalMask": IntervalMask}
    if section.page == "docs/facegpt-adapter.md":
        return _adapter(section.title, folder, monkeypatch)
    return PREPARATIONS[section.page](folder) if section.page in PREPARATIONS else {}


def _attention(folder: Path) -> dict[str, Any]:
    names = dict(zip(("query", "key", "value"), torch.randn(3, 1, 48, 2, 16), strict=True))
    return {"torch": torch, "IntervalMask": IntervalMask, "document_ids": torch.arange(48)[None] // 18, **names}


def _facegpt(folder: Path) -> dict[str, Any]:
    """A FaceGPT of random weights where the demo leaves a trained one, and two photos."""
    from tests.systems.facegpt.small_system import small_system

    small_system().save(folder / "runs/demo/facegpt", "synthetic")
    for number, name in enumerate(("photo.jpg", "other.jpg")):
        Image.fromarray(ProceduralFaces(seed=1, size=96)[number].image).save(folder / name)
    return {}


def _morphable(folder: Path) -> dict[str, Any]:
    """The points of a face mesh as a network finds them in two photos: here those of a drawn head, and the photos."""
    from gptface.faces.landmark_correspondence import _FIRST, _SECOND
    from gptface.morphable import load_morphable_model, named_parameters, project_landmarks

    model = load_morphable_model("synthetic")
    points = project_landmarks(model, named_parameters(model), 128, 128)
    mesh = torch.full((2, 468, 2), 64.0)
    mesh[:, torch.tensor(_FIRST)] = points
    mesh[:, torch.tensor(_SECOND)] = points
    return {"torch": torch, "model": model, "mesh_points": mesh, "photos": torch.rand(2, 128, 128, 3)}


def _public_sets(folder: Path) -> dict[str, Any]:
    """A CelebAMask-HQ of one portrait, which CelebA holds out for validation."""
    root = folder / "CelebAMask-HQ"
    (root / "CelebA-HQ-img").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(root / "CelebA-HQ-img" / "1.jpg")
    mask = root / "CelebAMask-HQ-mask-anno" / "0" / "00001_skin.png"
    mask.parent.mkdir(parents=True)
    Image.fromarray(np.full((512, 512), 255, np.uint8)).save(mask)
    names = list(ATTRIBUTES)
    rows = ["1", " ".join(names), f"1.jpg {' '.join(['-1'] * len(names))}", ""]
    (root / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(rows))
    mapping = ["idx      orig_idx   orig_file", "1 162770 162771.jpg", ""]
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(mapping))
    return {}


def _adapter(title: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A tiny LLaVA under the name of the large one, a built-in head under that of a file, two steps for a thousand.

    Sections after the first have what those before them made.
    """
    import transformers
    from peft import LoraConfig  # noqa: F401  of the extra `adapter`, which the page asks for

    from gptface.morphable import load_morphable_model
    from gptface.systems.facegpt import morphable_reference
    from gptface.systems.facegpt.adapter import FaceAdapter, save_adapter
    from tests.systems.facegpt.adapter.bases import base, processor

    name = folder / "llava-hf/llava-1.5-7b-hf"
    base("llava").save_pretrained(name)
    processor("llava").save_pretrained(name)
    kind = transformers.AutoModelForImageTextToText
    load = kind.from_pretrained
    monkeypatch.setattr(kind, "from_pretrained", lambda name, device_map=None, **options: load(name, **options))
    monkeypatch.setattr(morphable_reference, "load_morphable_model", lambda name: load_morphable_model("synthetic"))
    for file in (folder / "path/to/ict.npz", folder / "ict.npz"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    Image.fromarray(ProceduralFaces(seed=1, size=96)[0].image).save(folder / "photo.jpg")
    if title == "Make one":
        return {}
    made = kind.from_pretrained(str(name))
    adapter = FaceAdapter(made, transformers.AutoProcessor.from_pretrained(str(name)), "path/to/ict.npz", lora=True)
    save_adapter(adapter, folder / "adapter")
    again = kind.from_pretrained(str(name))
    return {"adapter": adapter, "base": again, "range": lambda *ends: range(*((2,) if ends == (1000,) else ends))}


PREPARATIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "docs/facegpt.md": _facegpt,
    "docs/morphable.md": _morphable,
    "docs/performance/attention.md": _attention,
    "docs/public-sets.md": _public_sets,
}
