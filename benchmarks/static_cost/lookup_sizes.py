"""The lookup at two sizes by the model, beside what torch cannot beat: a matrix of scores written and read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptface.kernels.kernel_cost import MACHINES

__all__ = ["SIZES", "lookup_sizes", "nominating", "products_and_argmax"]

SIZES = ((16384, 8192, 256), (65536, 16384, 8))  # rows, codes, elements of a vector
MEMORY = 3.35e12  # bytes a second, of the H100 (SXM) by its data sheet
# Multiply-adds a cycle and multiprocessor, over those in bfloat16, and bytes of a score. Torch has no "tf32x3".
_TORCH = {"ieee": (128 / 2048, 4), "tf32": (1 / 2, 4), "bf16": (1.0, 2)}


def nominating(record: Mapping[str, Any], rows: int, codes: int) -> float:
    """Microseconds of ``nominate_kernel``: every tile with one pass of its selection, one after the other.

    With 128 rows in a tile and candidates as good as random, some row takes a code in nearly every tile: the best two
    of t tiles change with the last one with probability 2 / t, so that all rows of a tile pass over it with
    exp(-256 / t).
    """
    machine, chosen, tile = MACHINES[record["architecture"]], record["configuration"], record["tile"]
    tiles = -(-rows // chosen["block_m"]) * -(-codes // chosen["block_n"])
    other = tile["other"] + (record["selection"]["other"] if record["selection"] else 0.0)
    cycles = max(tile["tensor"], other, (tile["tensor"] + other) / max(1, record["blocks"]))
    return tiles * cycles / (machine.multiprocessors * machine.clock) * 1e6


def products_and_argmax(architecture: str, precision: str, rows: int, codes: int, width: int) -> float | None:
    """Microseconds that a matrix product and a maximum over its rows need at least; None without a counterpart.

    The products' own time or that of writing them, whichever is longer, then that of reading them: the compiler of
    torch does not put a reduction behind a matrix product.
    """
    if precision not in _TORCH:
        return None
    machine, (rate, size) = MACHINES[architecture], _TORCH[precision]
    products = rows * codes * width / (machine.tensor * rate * machine.multiprocessors * machine.clock)
    moved = rows * codes * size / MEMORY
    return (max(products, moved) + moved) * 1e6


def lookup_sizes(records: Sequence[Mapping[str, Any]]) -> str:
    """A table of both for the lines of sm_90 that are for few candidates; "" where these were not counted."""
    heads = (f"N {rows}, K {codes}, D {width}" for rows, codes, width in SIZES)
    table = [
        "| precision | " + " | ".join(f"{head}: lookup | torch | in the way" for head in heads) + " |",
        "|---" * (1 + 3 * len(SIZES)) + "|",
    ]
    for precision in ("bf16", "tf32", "tf32x3", "ieee"):
        cells = []
        for rows, codes, width in SIZES:
            one = _line(records, precision, width)
            if one is None:
                return ""
            torch = products_and_argmax("sm_90", precision, rows, codes, width)
            name = one["configuration"]
            tile = f"{name['block_m']} × {name['block_n']} × {name['block_k']}"
            cells += [
                f"{nominating(one, rows, codes):.0f}",
                "" if torch is None else f"{torch:.0f}",
                f"{one['tile']['in_the_way']} ({tile})",
            ]
        table.append(f"| {precision} | " + " | ".join(cells) + " |")
    return "\n".join(table) + "\n"


def _line(records: Sequence[Mapping[str, Any]], precision: str, width: int) -> Mapping[str, Any] | None:
    fitting = [
        one for one in records
        if one.get("precision") == precision and one["architecture"] == "sm_90" and one["kept"] == 2
        and (one["depth"] is None or width <= one["depth"])
    ]  # fmt: skip
    return min(fitting, key=lambda one: one["depth"] or 2**30, default=None)
