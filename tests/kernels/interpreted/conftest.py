"""Ring 2: kernels as Triton's interpreter runs them, which is chosen as they are imported: in a process of its own.

``tests/kernels/test_interpreter.py`` starts it. By hand: ``TRITON_INTERPRET=1 pytest tests/kernels/interpreted``.
"""

from __future__ import annotations

import os

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]
