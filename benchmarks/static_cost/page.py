"""The page ``docs/performance/static-cost.md``, made of what ``python -m benchmarks.static_cost`` counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.static_cost.lookup_sizes import lookup_sizes
from benchmarks.static_cost.waves import BATCH, HEADS, LENGTH, microseconds, mixed_batch
from gptface.kernels.kernel_cost import MACHINES

__all__ = ["AIMS", "attention_table", "backward_rate", "lookup_table", "write_page"]

SQUARE = 128 * 128  # scores in whose terms attention's cycles are given, whatever the tile
# TFLOP/s of the serial bound, over full tiles of long sequences on sm_90: what the schedule is meant to reach.
AIMS = {("forward", 64): 600, ("forward", 128): 750, ("backward", 64): 450, ("backward", 128): 400}
SHORT_AIMS = {"forward": 4.5, "grad_query": 4.8, "grad_key_value": 7.5}  # microseconds, simulated, of the mixed batch
_BACKWARD_PRODUCTS = 5  # as everybody counts a backward, whatever a kernel computes again

# Triton's own fused attention, compiled by triton 3.9 for sm_90 and counted in the same way. (name, registers,
# blocks, tensor cycles and the busiest other unit's for 128 × 128 scores, serial and overlapped TFLOP/s)
TUTORIAL = (
    ("forward, D 64 (128 × 64, 4 warps)", 187, 2, 1024, 1088, 460, 893),
    ("forward, D 128 (128 × 128, 8 warps)", 188, 1, 2048, 1056, 626, 949),
    ("backward, D 64", 255, 2, 4608, 2452, 344, 527),
)
# TFLOP/s forward at D 128 on an H100, sequences of 512 to 16384: https://github.com/pytorch/benchmark/pull/2391 (2024).
MEASURED_ELSEWHERE = {
    "the tutorial": (329, 390, 434, 458, 471, 477),
    "FlashAttention-3": (430, 517, 566, 590, 614, 621),
}

HEAD = """# Static cost of the GPU kernels: arithmetic on machine code, not a measurement

[Masked attention](attention.md) · [its GPU kernels](attention-gpu.md) · [lookup](vq.md)

Made by `python -m benchmarks.static_cost` with triton {triton}: lines of the launch tables are compiled ahead of time
and their machine code is taken apart. **No time on this page was taken on a GPU.** It says what a schedule can at best
reach and which unit stands in its way; memory beyond a multiprocessor, latency and launches are not in it.

*Cycles* are those of one multiprocessor for 128 × 128 scores. *Tensor* is the matrix unit's; *other* is the busiest
unit beside it. *Serial* adds the two, as if a program never had both at work. *Overlapped* is the larger one: what
nothing can beat. *In order* is between: one program's instructions one after the other, with products running beside
them from where they are issued to where the code waits for them. *Its blocks* are the cycles in order over the programs
that share a multiprocessor, where these are more than the overlapped ones.
The rates assumed are in `gptface/kernels/kernel_cost.py`. A mask has one interval a row; *partial* tiles hide some.
"""


def _scaled(record: Mapping[str, Any], cycles: float) -> int:
    chosen = record["configuration"]
    return round(cycles * SQUARE / (chosen["block_m"] * chosen["block_n"]))


def _with_blocks(record: Mapping[str, Any]) -> float:
    """TFLOP/s of all programs of a multiprocessor together."""
    return float(min(record["overlapped"], record["in_order"] * max(1, record["blocks"])))


def _tile(chosen: Mapping[str, Any]) -> str:
    limit = f", ≤ {chosen['max_registers']} registers" if chosen.get("max_registers") else ""
    return f"{chosen['block_m']} × {chosen['block_n']}, {chosen['num_warps']}, {chosen['num_stages']}{limit}"


def _most(number: int | None) -> str:
    return "any" if number is None else f"≤ {number}"


def attention_table(records: Sequence[Mapping[str, Any]], architecture: str) -> str:
    """One row a configuration; lines of the table that share one become one row."""
    found = [record for record in records if record["architecture"] == architecture and "kernel" in record]
    if not found:
        return ""
    rows = [
        "| kernel | D | bits | rows | tile, warps, stages | registers, spilled (in loops) | blocks | powers a score "
        "| matrix work | waits, fences | tensor + other | partial: other "
        "| serial / in order / its blocks / overlapped TFLOP/s | in the way |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        full, partial = one["full"], one["partial"]
        rows.append(
            f"| {one['kernel']} | {one['block_d']} | {one['bits']} | {_most(one['rows'])} "
            f"| {_tile(one['configuration'])} | {one['registers']}, {one['spilled']} ({one['spilled_in_loops']}) "
            f"| {one['blocks']} | {one['exponentials']:.2f} | {one['duplicated']:.2f}× "
            f"| {one['waits']}, {one['fences']} | {_scaled(one, full['tensor'])} + {_scaled(one, full['other'])} "
            f"({full['busiest']}) | {_scaled(one, partial['other'])} ({partial['busiest']}) "
            f"| {one['serial']:.0f} / {one['in_order']:.0f} / {_with_blocks(one):.0f} / {one['overlapped']:.0f} "
            f"| {full['in_the_way']} |"
        )
    return "\n".join(rows) + "\n"


def lookup_table(records: Sequence[Mapping[str, Any]], architecture: str) -> str:
    """One row a line of the lookup's table; cycles are those of a whole tile of rows and codes."""
    found = [record for record in records if record["architecture"] == architecture and "precision" in record]
    if not found:
        return ""
    rows = [
        "| precision | length | kept | tile, warps, stages | registers, spilled | blocks | matrix work | waits, fences "
        "| tensor + other a tile | one more candidate | in the way |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        tile, selection, chosen = one["tile"], one["selection"], one["configuration"]
        shape = f"{chosen['block_m']} × {chosen['block_n']} × {chosen['block_k']}"
        rows.append(
            f"| {one['precision']} | {_most(one['depth'])} "
            f"| {_most(one['kept'])} "
            f"| {shape}, {chosen['num_warps']}, {chosen['num_stages']} | {one['registers']}, {one['spilled']} "
            f"| {one['blocks']} | {one['duplicated']:.2f}× | {one['waits']}, {one['fences']} "
            f"| {tile['tensor']:.0f} + {tile['other']:.0f} ({tile['busiest']}) "
            f"| {'' if selection is None else round(selection['other'])} | {tile['in_the_way']} |"
        )
    return "\n".join(rows) + "\n"


def _bfloat16(
    records: Sequence[Mapping[str, Any]], kernel: str, width: int, rows: int | None, architecture: str = "sm_90"
) -> Mapping[str, Any] | None:
    wanted = {"architecture": architecture, "kernel": kernel, "bits": 16, "block_d": width, "rows": rows}
    return next((record for record in records if wanted.items() <= record.items()), None)


def backward_rate(both: Sequence[Mapping[str, Any]], width: int) -> tuple[float, float, float, float]:
    """Serial, in order, with its blocks, and overlapped TFLOP/s of the records of both backward kernels together."""
    machine = MACHINES[both[0]["architecture"]]
    work = 2 * _BACKWARD_PRODUCTS * SQUARE * width * machine.clock * machine.multiprocessors / 1e12
    serial = [_scaled(one, one["full"]["tensor"] + one["full"]["other"]) for one in both]
    overlapped = [_scaled(one, max(one["full"]["tensor"], one["full"]["other"])) for one in both]
    in_order = [_scaled(one, one["full"]["in_order"]) for one in both]
    shared = [max(low, high / max(1, one["blocks"])) for one, low, high in zip(both, overlapped, in_order, strict=True)]
    return work / sum(serial), work / sum(in_order), work / sum(shared), work / sum(overlapped)


def _aims(records: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        "| | aim | serial | in order | its blocks | overlapped | what stands in the way |",
        "|---|---|---|---|---|---|---|",
    ]
    for (direction, width), aim in AIMS.items():
        kernels = ("forward",) if direction == "forward" else ("grad_query", "grad_key_value")
        parts = [one for kernel in kernels if (one := _bfloat16(records, kernel, width, None)) is not None]
        if len(parts) < len(kernels):
            continue
        if direction == "forward":
            rates = parts[0]["serial"], parts[0]["in_order"], _with_blocks(parts[0]), parts[0]["overlapped"]
        else:
            rates = backward_rate(parts, width)
        why = "; ".join(
            f"{part['kernel']}: {_scaled(part, part['full']['other'])} cycles of {part['full']['busiest']} "
            f"after {_scaled(part, part['full']['tensor'])} of tensor, {part['blocks']} "
            f"block{'s' if part['blocks'] > 1 else ''}"
            for part in parts
        )
        bounds = " | ".join(f"{rate:.0f}" for rate in rates)
        rows.append(f"| {direction}, D {width} | {aim} | {bounds} | {why} |")
    return "\n".join(rows) + "\n"


def _short(records: Sequence[Mapping[str, Any]]) -> str:
    visible = mixed_batch()
    rows = ["| | aim, µs | simulated | head by head instead | programs a multiprocessor |", "|---|---|---|---|---|"]
    for kernel, aim in SHORT_AIMS.items():
        one = _bfloat16(records, kernel, 64, 512)
        if one is None:
            continue
        by_tile, by_head = (microseconds(one, visible, tile_by_tile) for tile_by_tile in (True, False))
        rows.append(f"| {kernel} | {aim} | {by_tile:.1f} | {by_head:.1f} | {one['blocks']} |")
    return "\n".join(rows) + "\n"


def _lookups(records: Sequence[Mapping[str, Any]]) -> list[str]:
    table = lookup_sizes(records)
    if not table:
        return []
    return [
        "## The lookup at two sizes\n",
        "Microseconds on sm_90 by the same model: the kernel that nominates candidates, with one pass of its selection "
        "a\ntile; and what a matrix product and the maximum over its rows need at least, which is what compiled torch "
        "runs:\nscores written and read at 3.35 TB/s. Packing the codes and deciding among candidates are not in it:\n",
        table,
        "A line is counted at its longest vectors: D 8 as D 32. Long vectors pass in several steps, and every step of\n"
        "every tile of codes reads its rows again, moves them by the centre, rounds them and puts them into shared\n"
        "memory: that is the *memory* in the way. Lines whose step holds a whole vector do this once a tile of rows.\n"
        "But the compiler fetches nothing ahead in a loop over codes that holds the selection: with more stages their\n"
        "shared memory stays that of one tile. What this waiting costs is not in the model.\n",
    ]


def _beside() -> str:
    rows = [
        "| Triton's tutorial | registers | blocks | tensor + other | serial / overlapped TFLOP/s |",
        "|---|---|---|---|---|",
    ]
    for name, registers, blocks, tensor, other, serial, overlapped in TUTORIAL:
        rows.append(f"| {name} | {registers} | {blocks} | {tensor} + {other} | {serial} / {overlapped} |")
    return "\n".join(rows) + "\n"


def write_page(path: Path, numbers: Mapping[str, Any]) -> None:
    """Write the page of ``numbers``: ``records``, and the names of lines that have none, ``missing``."""
    records = numbers["records"]
    measured = "; ".join(f"{name} {', '.join(map(str, rates))}" for name, rates in MEASURED_ELSEWHERE.items())
    parts = [
        HEAD.format(triton=records[0]["triton"]),
        "## What stands in the way\n",
        "Long sequences on sm_90, full tiles. The aim is one for the serial bound.\n",
        _aims(records),
        "A serial bound is missed where a program's softmax waits for its own scores; no unit is full there. Two\n"
        "blocks a multiprocessor, or the next tile's scores issued before this tile's softmax, fill that time.\n"
        "[Schedules that were weighed](attention-gpu.md#schedules-that-were-weighed) says what of it is taken.\n",
        f"The mixed batch of pre-training (B {BATCH}, S {LENGTH}, {HEADS} heads of 64), its programs placed on the "
        "multiprocessors\none after the other: the first tiles of all heads before the second ones, as the kernels "
        "have it where the L2\ncache holds all heads; or head by head. Launches are not in it:\n",
        _short(records),
        *_lookups(records),
        "## Beside it\n",
        "The fused-attention tutorial of triton (`06-fused-attention.py`, with tensor descriptors), compiled by\n"
        "triton 3.9. These figures are taken over from the notes that planned this page; no command here makes them:\n",
        _beside(),
        "Rates that others measured on an H100, forward, D 128, lengths 512 to 16384, in TFLOP/s\n"
        f"([pytorch/benchmark #2391](https://github.com/pytorch/benchmark/pull/2391), 2024): {measured}.\n"
        "The tutorial of that year thus reached 0.53 to 0.76 of the serial bound of today's.\n",
    ]
    for architecture, machine in MACHINES.items():
        for operator, table in (
            ("Attention", attention_table(records, architecture)),
            ("Lookup", lookup_table(records, architecture)),
        ):
            parts += [f"## {operator}, {architecture} ({machine.name})\n", table] if table else []
    parts.append(
        "On sm_100 products are `tcgen05` instructions (`UTCHMMA`): one thread asks for them, and a barrier in shared\n"
        "memory says when they are done. The code tells neither their shape nor which of them a wait is for. So the\n"
        "matrix unit's cycles follow from the products, at 4,096 multiply-adds a cycle, and *in order* is taken to be\n"
        "the serial cycles. Moves between tensor memory and registers (`LDTM`, `STTM`) count as instructions, their\n"
        "traffic does not. Everything else is counted at the rates of sm_90. float32 attention and `ieee` lookups run\n"
        "without matrix units; their *other* is everything.\n"
    )
    if missing := numbers["missing"]:
        kinds = Counter(tuple(name.split("-")[0].split()) for name in missing)
        which = ", ".join(f"{number} of {operator} on {where}" for (where, operator), number in kinds.items())
        parts.append(f"Not counted yet: {len(missing)} lines of the tables ({which}).\n")
    path.write_text("\n".join(parts), encoding="utf-8")
