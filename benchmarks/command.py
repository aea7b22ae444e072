"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import RESULTS
from benchmarks.plots import draw_plots
from benchmarks.results import earlier_cases, load_results, make_result, write_result
from benchmarks.runner import Options, run_subject
from benchmarks.subjects import SUBJECTS
from benchmarks.tables import full_table, update_readme, write_tables

__all__ = ["build_parser", "main"]

EXAMPLES = """examples:
  python -m benchmarks attention --device cpu --quick
  python -m benchmarks all --device cuda --output results
  python -m benchmarks table --readme
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time this package's operators and models against their peers. A contender that does not compute "
        "the right thing is reported and not timed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        choices=[*SUBJECTS, "all", "table", "plot"],
        metavar="SUBJECT",
        help=f"{', '.join(SUBJECTS)}, all, table (write tables from the results) or plot (draw them)",
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run (default cpu)")
    parser.add_argument("--quick", action="store_true", help="few shapes and short rounds, for a first look")
    parser.add_argument("--case", default="", metavar="TEXT", help="only cases whose name contains this")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads on a processor")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="on a processor: wall time, or CPU time for a machine that other work shares (default wall)",
    )
    parser.add_argument("--seconds", type=float, help="aim for the timed rounds of a case (default 10, quick 1)")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no case of a subject after this time")
    parser.add_argument(
        "--go-on", action="store_true",
        help="keep the cases that a result of these sources, machine and settings holds; exit code 3 while some lack",
    )  # fmt: skip
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for the JSON (default benchmarks/results/<machine class>; with --quick or --case nothing is kept)",
    )
    parser.add_argument(
        "--readme",
        action="store_true",
        help="with table: also the marked part of README.md and docs/performance/results.md",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    if parsed.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no CUDA device")
    if parsed.threads < 1:
        parser.error(f"--threads: {parsed.threads}; it must be at least 1")
    try:
        if parsed.what == "table":
            return _tables(parsed.output or RESULTS, parsed.readme)
        if parsed.what == "plot":
            return _plots(parsed.output or RESULTS)
        lacking = [_measure(name, parsed) for name in (SUBJECTS if parsed.what == "all" else [parsed.what])]
    except ValueError as error:
        parser.error(str(error))
    return 3 if parsed.go_on and any(lacking) else 0


def _measure(name: str, parsed: argparse.Namespace) -> bool:
    """Measure a subject; whether cases were left out."""
    quick, subject = parsed.quick, SUBJECTS[name]
    options = Options(
        device="cpu" if subject.host_only else parsed.device,
        scale="quick" if quick else "full",
        threads=parsed.threads,
        clock=parsed.clock,
        case_seconds=parsed.seconds or (1.0 if quick else 10.0),
        rounds=(5, 30) if quick else (7, 200),
        patience=0.4 if quick else 20.0,
        memory=not parsed.no_memory,
        minutes=parsed.minutes,
    )
    # A first look is not a result to keep, and a few cases must not take the place of all that were measured before.
    kept = parsed.output is not None or not (quick or parsed.case)

    def save(measured: dict[str, Any]) -> None:
        if kept:
            write_result(make_result(subject, options, measured), parsed.output)

    before = earlier_cases(subject, options, parsed.output) if parsed.go_on else []
    measured = run_subject(
        subject, options, parsed.case, lambda line: print(line, file=sys.stderr, flush=True), save, before
    )
    if not measured["cases"]:
        raise ValueError(
            f"{name}: no case of this scale was run (--case {parsed.case!r}, --minutes {parsed.minutes:g})"
        )
    result = make_result(subject, options, measured)
    print(full_table(result))
    if kept:
        print(f"written: {write_result(result, parsed.output)}")
    return bool(measured.get("left_out"))


def _tables(folder: Path, readme: bool) -> int:
    for path in write_tables(folder):
        print(f"written: {path}")
    if readme:
        for path in update_readme(folder):
            print(f"written: {path}")
    return 0


def _plots(folder: Path) -> int:
    for path, result in load_results(folder):
        for picture in draw_plots(result, path.parent):
            print(f"written: {picture}")
    return 0
