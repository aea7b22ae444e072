"""Joined rows fetched from the web by img2dataset, as webdataset shards; what it must not lose or hang on is here."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptface.data.web.database import open_parquet
from gptface.data.web.extra import require
from gptface.data.web.joining import COLUMNS
from gptface.data.web.step import PLAN, RECORD, Step, open_step, read_record, read_summary, write_json
from gptface.errors import InputError
from gptface.progress import Countdown

__all__ = ["OUTCOMES", "FetchWish", "complete_shards", "fetch", "is_fetch"]

DISTRIBUTORS = ("multiprocessing", "pyspark", "ray")
OPT_OUT = ["noai", "noimageai", "noindex", "noimageindex"]  # of the header X-Robots-Tag
LOOK_EVERY = 0.5  # seconds

# What img2dataset notes -> the name it is counted under; the first that fits.
OUTCOMES: tuple[tuple[str, str], ...] = (
    (r"^success$", "fetched"),
    (r"X-Robots-Tag", "opted_out"),
    (r"HTTP Error (40[34]|410)", "gone_or_forbidden"),
    (r"HTTP Error", "http_error"),
    (r"timed out|not there after", "too_slow"),
    (r"larger than \d+ bytes|image area too large", "too_large"),
    (r"image too small|aspect ratio too large", "too_small_or_narrow"),
    (r"Image decoding error|cannot identify", "not_an_image"),
    (r"ended early|IncompleteRead", "truncated"),
    (r"private", "private_host"),
    (r"unknown url type|no host given", "bad_url"),
    (r"getaddrinfo|Name or service|resolution|Connection|refused|SSL|CERTIFICATE|Remote end", "no_connection"),
    (r"", "other_failure"),
)


@dataclass(frozen=True)
class FetchWish:
    """How pictures are fetched.

    Attributes:
        processes, threads: img2dataset's, threads in each process.
        per_shard: rows of a shard.
        timeout: seconds that a server may be silent.
        seconds: that one picture may take in all.
        size: bytes that one picture may have.
        area: pixels that one picture may have.
        side: pixels that its shorter side must have.
        retries: of a request that failed.
        distributor: one of ``DISTRIBUTORS``; the last two run on the cluster that is there.
        agent: token that servers are told, and that their opt-out headers may name.
        private_hosts: see ``Bounds``.
    """

    processes: int = 4
    threads: int = 64
    per_shard: int = 10_000
    timeout: int = 10
    seconds: float = 60.0
    size: int = 50_000_000
    area: int = 40_000_000
    side: int = 64
    retries: int = 0
    distributor: str = "multiprocessing"
    agent: str = "img2dataset"
    private_hosts: bool = False


def fetch(joined: Path, output: Path, wish: FetchWish, quiet: bool = False) -> dict[str, Any]:
    """Fetch what ``join`` left in ``joined``, or go on with it; returns the summary.

    Pictures whose host forbids it by an X-Robots-Tag are not kept, always.

    Raises:
        InputError: no such join, an option that is none, img2dataset is not installed or failed.
    """
    _check(wish)
    read_summary(joined, "join", "input")
    parts = sorted(joined.glob("*.parquet"))
    rows = {}
    for part in parts:
        with open_parquet(part, "input") as file:
            rows[part] = file.metadata.num_rows
    step_size = wish.per_shard
    shards = [min(step_size, count - start) for count in rows.values() for start in range(0, count, step_size)]
    options = {"input": str(joined.resolve()), "rows": sum(rows.values()), "per_shard": wish.per_shard}
    with open_step(output, "fetch", options, quiet=quiet) as step:
        _drop_broken(output)
        if shards:
            _run(step, joined, output, wish, shards)
        return _summary(step, output, shards)


def _check(wish: FetchWish) -> None:
    if wish.distributor not in DISTRIBUTORS:
        raise InputError(f"distributor: {wish.distributor!r}; choose {', '.join(DISTRIBUTORS)}")
    for name in ("processes", "threads", "per_shard", "timeout", "seconds", "size", "area"):
        if getattr(wish, name) <= 0:
            raise InputError(f"{name}: {getattr(wish, name)}; it must be positive")
    require("img2dataset", "pyarrow")


def _drop_broken(output: Path) -> None:
    """Take away records that are not whole or stand alone: img2dataset takes any for a shard that is done."""
    for record in output.glob(f"*{RECORD}"):
        found = read_record(record)
        whole = found is not None and {"count", "successes", "status_dict"} <= set(found)
        if not whole or not record.with_name(record.name.removesuffix(RECORD) + ".tar").exists():
            record.unlink()


def complete_shards(output: Path) -> list[Path]:
    """The tars of a fetch that have their record, in order."""
    tars = (record.with_name(record.name.removesuffix(RECORD) + ".tar") for record in output.glob(f"*{RECORD}"))
    return sorted(tar for tar in tars if tar.exists())


def is_fetch(folder: Path) -> bool:
    """Whether a folder is what ``fetch`` writes, complete or not."""
    return (read_record(folder / PLAN) or {}).get("step") == "fetch"


def _run(step: Step, joined: Path, output: Path, wish: FetchWish, shards: list[int]) -> None:
    if len(complete_shards(output)) == len(shards):
        return
    settings = {
        "download": {
            "url_list": str(joined),
            "input_format": "parquet",
            "url_col": "url",
            "caption_col": "caption",
            "save_additional_columns": [name for name in COLUMNS if name not in ("url", "caption")],
            "output_folder": str(output),
            "output_format": "webdataset",
            "resize_mode": "no",
            "skip_reencode": True,  # a JPEG keeps its bytes; other formats become JPEGs
            "encode_format": "jpg",
            "processes_count": wish.processes,
            "thread_count": wish.threads,
            "number_sample_per_shard": wish.per_shard,
            "extract_exif": False,
            "compute_hash": "sha256",
            "timeout": wish.timeout,
            "retries": wish.retries,
            "min_image_size": wish.side,
            "max_image_area": wish.area,
            "distributor": wish.distributor,
            "incremental_mode": "incremental",
            "user_agent_token": wish.agent,
            "disallowed_header_directives": OPT_OUT,
        },
        "bounds": {"seconds": wish.seconds, "size": wish.size, "private_hosts": wish.private_hosts},
    }
    settings_file = output / "img2dataset.options"
    write_json(settings_file, settings)
    command = [sys.executable, "-m", "gptface.data.web.fetch_process", str(settings_file)]
    total = sum(shards)
    countdown = Countdown(step.display, "fetching", total)
    with (
        open(output / "img2dataset.txt", "ab") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log) as process,
    ):
        try:
            while process.poll() is None:
                time.sleep(LOOK_EVERY)
                countdown.advance(sum(shards[int(tar.stem)] for tar in complete_shards(output)))
        finally:
            process.kill()  # its processes end with it
    if process.returncode:
        raise InputError(
            f"img2dataset ended with code {process.returncode}: {_last_line(output / 'img2dataset.txt')}; "
            "what is fetched is kept, call again"
        )


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def _summary(step: Step, output: Path, shards: list[int]) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    count, done = 0, complete_shards(output)
    for tar in done:
        record = read_record(tar.with_name(tar.stem + RECORD)) or {}
        if record["count"] != shards[int(tar.stem)]:
            raise InputError(
                f"{tar}: a shard of {record['count']} rows; of this join it would have {shards[int(tar.stem)]}"
            )
        noted = Counter({outcome(message): 0 for message in record["status_dict"]})
        for message, number in record["status_dict"].items():
            noted[outcome(message)] += number
        noted["other_failure"] += record["count"] - sum(noted.values())  # what img2dataset could not write down
        outcomes += noted
        count += record["count"]
    failed = sum(shards) - count
    if failed:
        step.say(f"{len(shards) - len(done)} of {len(shards)} shards failed; see {output}/img2dataset.txt, call again")
    result = {"rows": sum(shards), "in_failed_shards": failed, "outcomes": dict(outcomes.most_common())}
    return step.finish(result, complete=not failed)


def outcome(message: str) -> str:
    """The name that one of img2dataset's notes is counted under."""
    return next(name for pattern, name in OUTCOMES if re.search(pattern, message, re.IGNORECASE))
