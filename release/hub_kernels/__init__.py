"""The operators as a project of Hugging Face's kernel-builder, made of the package's own sources.

    python -m release.hub_kernels build/hf-kernels [--repo-id OWNER/NAME]

The layout is that of https://huggingface.co/docs/kernels/builder/writing-kernels, ``build.toml`` of edition 5::

    build.toml CARD.md flake.nix LICENSE
    csrc/                         kernels and headers, as in the package
    torch-ext/torch_binding.cpp   csrc/register.cpp, registering under the name that kernel-builder gives
    torch-ext/gptface_ops/        gptface.ops and what it imports of gptface, with relative imports
    tests/

Sources are copied and changed only where a Hub kernel must differ (:mod:`release.hub_kernels.python_side`,
:mod:`release.hub_kernels.native_side`), never kept twice.
"""

from __future__ import annotations

from release.hub_kernels.project import make_project

__all__ = ["make_project"]
