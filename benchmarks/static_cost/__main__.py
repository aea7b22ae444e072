"""Count what the compiled GPU kernels ask of a multiprocessor: ``python -m benchmarks.static_cost``. Needs no GPU.

Compiles lines of the launch tables ahead of time, takes the loops of the machine code apart and writes ``<output>.md``
and ``<output>/numbers.json``. Nothing is measured. Lines that the numbers already hold, of the same configuration,
sources and triton, are not compiled again; the first run takes some minutes. With ``--only`` the table is printed too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.progress import Progress
from benchmarks.static_cost.lines import AttentionLine, LookupLine, identity, lines
from benchmarks.static_cost.page import attention_table, lookup_table, write_page
from gptface.kernels.kernel_cost import MACHINES

__all__ = ["OUTPUT", "main"]

OUTPUT = ROOT / "docs" / "performance" / "static-cost"
EXAMPLES = """examples:
  python -m benchmarks.static_cost
  python -m benchmarks.static_cost --arch sm_90 --only attention-forward-16-64
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.static_cost", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--arch", nargs="+", choices=list(MACHINES), default=list(MACHINES), help="default: all")
    parser.add_argument(
        "--only", default="", metavar="TEXT",
        help="lines whose name contains this; names are attention-KERNEL-BITS-HEAD-ROWS and "
        "lookup-PRECISION-LENGTH-KEPT, such as attention-grad_query-16-128-any",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help=f"page and numbers (default {OUTPUT.relative_to(ROOT)})"
    )
    return parser


def stored(output: Path) -> list[dict[str, Any]]:
    """The records of an earlier run; none where there was no run."""
    path = output / "numbers.json"
    return json.loads(path.read_text(encoding="utf-8"))["records"] if path.is_file() else []  # type: ignore[no-any-return]


def count(wanted: Sequence[AttentionLine | LookupLine]) -> tuple[list[dict[str, Any]], list[str]]:
    """Records of lines, and what went wrong with those that have none."""
    progress = Progress({f"{line.architecture} {line.name}": 1.0 for line in wanted})
    records, failed = [], []
    for line in wanted:
        advance = progress.stage(f"{line.architecture} {line.name}", 1)
        try:
            records.append(line.record())
        except Exception as error:  # whatever a compiler raises: the other lines still count
            failed.append(f"{line.architecture} {line.name}: {type(error).__name__}: {error}")
        advance(1)
    progress.finish()
    return records, failed


def main(arguments: list[str] | None = None) -> int:
    """Exit code 2 where nothing is called so, 1 where a line does not compile or is not understood."""
    options = _parser().parse_args(arguments)
    chosen = list(lines(options.arch, options.only))
    if not chosen:
        print(f"static_cost: no line's name contains {options.only!r}", file=sys.stderr)
        return 2
    present = {json.dumps(identity(line), sort_keys=True) for line in lines(list(MACHINES))}
    records = [one for one in stored(options.output) if _identity_of(one) in present]
    have = {_identity_of(one) for one in records}
    found, failed = count([line for line in chosen if json.dumps(identity(line), sort_keys=True) not in have])
    for text in failed:
        print(f"static_cost: {text}", file=sys.stderr)
    records += found
    order = [(line.architecture, line.name) for line in lines(list(MACHINES))]
    records.sort(key=lambda one: order.index((one["architecture"], one["name"])))
    counted = {(one["architecture"], one["name"]) for one in records}
    numbers = {"missing": [" ".join(name) for name in order if name not in counted], "records": records}
    options.output.mkdir(parents=True, exist_ok=True)
    rows = ",\n  ".join(json.dumps(record) for record in records)
    text = f'{{"missing": {json.dumps(numbers["missing"])}, "records": [\n  {rows}\n]}}\n'
    (options.output / "numbers.json").write_text(text, encoding="utf-8")
    write_page(options.output.with_suffix(".md"), numbers)
    if options.only:
        named = {(line.architecture, line.name) for line in chosen}
        shown = [one for one in records if (one["architecture"], one["name"]) in named]
        for architecture in options.arch:
            print(f"{architecture}\n\n{attention_table(shown, architecture)}{lookup_table(shown, architecture)}")
    print(options.output.with_suffix(".md"))
    return 1 if failed else 0


def _identity_of(record: dict[str, Any]) -> str:
    names = ("architecture", "name", "configuration", "sources", "triton")
    return json.dumps({name: record.get(name) for name in names}, sort_keys=True)


if __name__ == "__main__":
    sys.exit(main())
