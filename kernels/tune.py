"""Remake the checked-in launch configurations of an operator's Triton kernels.

On a machine with a GPU::

    python -m gptface.kernels.tune attention

times the candidates there and rewrites the table of its architecture. Anywhere::

    python -m gptface.kernels.tune attention --ahead-of-time sm_80 sm_90 sm_100 default

chooses by compilation alone. Beside each configuration the table holds what its machine code takes; a test compiles
them again and compares.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import triton

from gptface.kernels import attention_tuning, vq_tuning
from gptface.kernels.attention_configurations import TUNED, table_name
from gptface.kernels.compilation import ARCHITECTURES, MachineCode

__all__ = ["main", "write_table"]

_TUNING: dict[str, Any] = {"attention": attention_tuning, "vq": vq_tuning}


class Line(Protocol):
    """An entry of an operator's table."""

    def as_json(self) -> dict[str, Any]: ...


def _line(entry: Line, code: MachineCode) -> str:
    read = {"registers": code.registers, "spilled": code.spilled, "shared": code.shared, "matrix": code.matrix}
    return json.dumps({**entry.as_json(), **read})


def write_table(path: Path, lines: Sequence[tuple[Line, MachineCode]], chosen_by: str) -> None:
    """One line an entry, so that a change of one shows as one."""
    head: dict[str, Any] = {
        "chosen_by": chosen_by,
        "date": datetime.date.today().isoformat(),
        "triton": triton.__version__,
    }
    body = ",\n  ".join(_line(entry, code) for entry, code in lines)
    text = json.dumps(head, indent=1)[:-2] + ',\n "entries": [\n  ' + body + "\n ]\n}\n"
    path.write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gptface.kernels.tune",
        description="Remake the launch configurations of an operator's Triton kernels.",
        epilog="example: python -m gptface.kernels.tune attention",
    )
    parser.add_argument("operator", choices=list(_TUNING))
    parser.add_argument(
        "--ahead-of-time", nargs="+", metavar="ARCHITECTURE", choices=list(ARCHITECTURES),
        help=f"choose by compilation alone, for {', '.join(ARCHITECTURES)}; needs no GPU",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=TUNED, help="directory of the tables (default: the package's)")
    options = parser.parse_args(arguments)
    tuning = _TUNING[options.operator]

    def say(line: str) -> None:
        print(line, flush=True)

    if options.ahead_of_time:
        for table in options.ahead_of_time:
            path = options.output / f"{options.operator}_{table}.json"
            chosen_by = "compilation ahead of time, never timed on a GPU"
            write_table(path, tuning.ahead_of_time(table, say), chosen_by)
            say(f"wrote {path}")
        return 0
    if not torch.cuda.is_available():
        print("tune: no CUDA device; --ahead-of-time chooses without one", file=sys.stderr)
        return 2
    table = table_name(torch.cuda.get_device_capability())
    path = options.output / f"{options.operator}_{table}.json"
    write_table(path, tuning.timed(table, say), f"median time on {torch.cuda.get_device_name()}")
    say(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
