"""Pages of the reference: the public names of a module, their docstrings to be put in by mkdocstrings."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

__all__ = ["REFERENCE", "ReferencePage", "public_names", "reference_page"]

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class ReferencePage:
    """A page of the reference.

    Attributes:
        title: of the page.
        about: a sentence below it.
        modules: whose public names it has, one after the other.
    """

    title: str
    about: str
    modules: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"reference/{self.modules[0].removeprefix('gptface.').replace('.', '-')}.md"


REFERENCE = (
    ReferencePage(
        "gptface.ops",
        "The operators. They need torch alone, and take `impl=` where there is a choice.",
        ("gptface.ops", "gptface.ops.attention"),
    ),
    ReferencePage(
        "gptface.integrations",
        "The operators inside other people's code, each in a module of its own.",
        (
            "gptface.integrations.transformers_patch",
            "gptface.integrations.transformers_attention",
            "gptface.integrations.trainer_callback",
            "gptface.integrations.lightning_callback",
            "gptface.integrations.flash_attn",
            "gptface.integrations.span_collator",
            "gptface.integrations.lucidrains",
            "gptface.integrations.taming",
            "gptface.integrations.fairseq",
            "gptface.integrations.beit",
        ),
    ),
    ReferencePage("gptface.models", "Parts that several systems use.", ("gptface.models",)),
    ReferencePage("gptface.objectives", "Losses: pure functions of what models give.", ("gptface.objectives",)),
    ReferencePage("gptface.morphable", "Morphable 3D faces, usable alone.", ("gptface.morphable",)),
    ReferencePage("gptface.data.procedural", "Faces drawn from a seed.", ("gptface.data.procedural",)),
    ReferencePage(
        "gptface.systems.gptface",
        "GPTFace: one transformer over captions and image codes.",
        ("gptface.systems.gptface", "gptface.systems.gptface.bundled", "gptface.systems.gptface.generation"),
    ),
    ReferencePage("gptface.systems.pacofr", "PaCo-FR: an encoder of faces.", ("gptface.systems.pacofr",)),
    ReferencePage(
        "gptface.systems.facegpt",
        "FaceGPT: a language model that reasons about 3D faces.",
        ("gptface.systems.facegpt", "gptface.systems.facegpt.adapter"),
    ),
    ReferencePage(
        "gptface.training.stage", "What a new system gives the training loop.",
        ("gptface.training.stage", "gptface.training.declaration"),
    ),
    ReferencePage("gptface", "What stands at the top, and the errors.", ("gptface", "gptface.errors")),
)  # fmt: skip


def public_names(module: str) -> list[str]:
    """``__all__`` of a module, read without importing it."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(n, ast.Name) and n.id == "__all__" for n in node.targets):
            return list(ast.literal_eval(node.value))
    raise ValueError(f"{module} has no __all__, so what of it is public is not known")


def reference_page(page: ReferencePage) -> str:
    """Markdown with a directive a module, for its public names only."""
    parts, seen = [f"# {page.title}", page.about], set()
    for module in page.modules:
        names = [name for name in public_names(module) if name not in seen and not name.startswith("__")]
        seen.update(names)
        if not names:
            continue
        members = "\n".join(f"        - {name}" for name in names)
        if len(page.modules) > 1:
            parts.append(f"## `{module}`")
        parts.append(f"::: {module}\n    options:\n      members:\n{members}")
    return "\n\n".join(parts) + "\n"
