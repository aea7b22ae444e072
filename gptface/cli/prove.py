"""``gptface prove``: run every GPU kernel against its reference on the GPU at hand, and write down the outcome."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptface.diagnosis.prove.pool import Outcome

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "prove",
        help="run every GPU kernel against its reference on this GPU; what passes is used from then on",
        description="Run every GPU kernel against its float64 reference on a small hard set, on the GPU at hand, and "
        "record the outcome in the ledger of this user (GPTFACE_LEDGER names another file). impl='auto' takes what has "
        "passed. Exit code 1 if a kernel fails; the failing case is printed as Python that repeats it.",
        epilog="example: gptface prove --kernel attention --kernel vq.cuda",
    )
    parser.add_argument(
        "--kernel", action="append", metavar="NAME", help="only this kernel, or those of this operator; may be repeated"
    )
    parser.add_argument("--device", type=int, default=0, metavar="INDEX", help="CUDA device (default 0)")
    parser.add_argument(
        "--interpret", action="store_true",
        help="no GPU: run the Triton kernels' arithmetic on the CPU over small sizes. No proof; nothing is recorded",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, metavar="N", help="processes side by side (default: as cores allow)")
    parser.add_argument(
        "--tune", action="store_true",
        help="then time the candidates of the launch tables here; the winners are written beside the ledger and used",
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="for --tune: how long to compile and time (default 5)"
    )
    parser.set_defaults(func=run)


class _Remaining:
    """One line that is rewritten on a terminal, elsewhere one every ten seconds."""

    def __init__(self) -> None:
        self.begun = self.spoke = time.monotonic()

    def __call__(self, share: float, outcome: Outcome) -> None:
        now = time.monotonic()
        left = (now - self.begun) * (1 / share - 1)
        said = f"proving: {share:4.0%}, about {left:.0f} s left"
        if sys.stderr.isatty():
            print(f"\r{said}{'':12}", end="\n" if share > 0.999 else "", file=sys.stderr, flush=True)
        elif now - self.spoke > 10:
            self.spoke = now
            print(said, file=sys.stderr, flush=True)


def run(arguments: argparse.Namespace) -> int:
    from gptface.diagnosis.prove import prove
    from gptface.errors import InputError

    if arguments.tune and arguments.interpret:
        raise InputError("prove: --tune times kernels on a GPU; --interpret has none")
    if not arguments.minutes > 0:
        raise InputError(f"prove: --minutes {arguments.minutes:g}; allowed: more than 0")
    proof = prove(
        arguments.kernel, device=arguments.device, interpret=arguments.interpret, workers=arguments.workers,
        progress=_Remaining(),
    )  # fmt: skip
    print(proof.table())
    if proof.ledger is not None:
        print(f"recorded in {proof.ledger}")
    elif not proof.interpreted:
        print(f"gptface: warning: nothing was recorded: {proof.not_recorded}", file=sys.stderr)
    if not proof.passed:
        print(f"\nTo repeat what failed:\n\n{proof.failing()}")
        return 1
    return _tune(arguments) if arguments.tune else 0


def _tune(arguments: argparse.Namespace) -> int:
    from gptface.diagnosis.prove import prove_tuned

    tuned, again = prove_tuned(device=arguments.device, minutes=arguments.minutes, workers=arguments.workers)
    for table in tuned:
        print(table)
        for problem, before, after in table.lines:
            print(f"  {' '.join(map(str, problem)):<32} {before:8.3f} ms -> {after:8.3f} ms")
    if again is None:
        return 0
    print(again.table())
    if again.passed:
        print("the new tables are used; removing the files returns to the shipped ones")
        return 0
    print(f"the new tables failed and were removed\n\n{again.failing()}")
    return 1
