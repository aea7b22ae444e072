"""Makes a Hub kernel's native sources of ``csrc``: the same files, with what kernel-builder does otherwise.

* ``register.cpp`` registers under the name that kernel-builder gives (``registration.h``, which it generates too);
* a file for an instruction set says so itself, since ``build.toml`` knows no flags for one kind of processor alone.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["TARGETS", "binding", "framed"]

# Endings of names as in setup.py, longest first, and how GCC says the same inside a file.
TARGETS = {
    "_amx": "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vbmi,fma",
    "_amx_avx512_bf16": "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vbmi,fma",
    "_avx512_bf16": "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma",
    "_avx512": "avx512f,avx512bw,avx512dq,avx512vl,fma",
    "_avx2": "avx2,fma,f16c",
}


def binding(register: str) -> str:
    """``torch_binding.cpp``, of the text of ``register.cpp``.

    Raises:
        ValueError: it registers in a way that is not known here.
    """
    text, count = re.subn(
        r"STABLE_TORCH_LIBRARY_IMPL\(gptface, (\w+), library\)",
        r"STABLE_TORCH_LIBRARY_IMPL_EXPAND(TORCH_EXTENSION_NAME, \1, library)",
        register,
    )
    if not count or "LIBRARY_IMPL(gptface" in text or "LIBRARY(gptface" in text:
        raise ValueError("csrc/register.cpp: its registrations are not the known ones; release/hub_kernels must follow")
    before, after = text.split("#include", 1)
    which = '#ifdef CUDA_KERNEL\n#define GPTFACE_CUDA\n#endif\n\n#include "registration.h"\n'
    return f"{before}{which}#include{after}\nREGISTER_EXTENSION(TORCH_EXTENSION_NAME)\n"


def framed(source: Path) -> str:
    """The text of a CPU source; one for an instruction set between the lines that ask for it."""
    text = source.read_text(encoding="utf-8")
    for ending, target in TARGETS.items():
        if source.stem.endswith(ending):
            # GCC before 13 reads a whole C++ file before it heeds the pragma, so that macros do not follow it.
            macros = [f"__{name.upper()}__" for name in ("avx", "avx2", *target.split(","))]
            defined = "".join(f"#ifndef {macro}\n#define {macro} 1\n#endif\n" for macro in dict.fromkeys(macros))
            return f'#if defined(__x86_64__)\n#pragma GCC target("{target}")\n{defined}{text}#endif\n'
    return text
