"""Writing a data set of samples as webdataset tars in img2dataset's layout."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from webdataset import TarWriter

from gptface.data.folders import list_folder
from gptface.data.images import encode_image
from gptface.data.metadata import without_surrogates
from gptface.data.parts import is_image
from gptface.data.sample import Sample, Samples, Skipped
from gptface.errors import InputError
from gptface.files import atomic_write

__all__ = ["write_shards"]

logger = logging.getLogger("gptface.data")

PROGRESS_INTERVAL = 50  # samples; a few times a second at the speed of the procedural faces


def write_shards(
    dataset: Samples,
    directory: str | os.PathLike[str],
    per_shard: int = 1000,
    format: Literal["png", "jpg", "webp"] = "png",
    *,
    workers: int = 0,
    quality: int = 95,
    signature: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write ``dataset`` as ``directory``/00000.tar, 00001.tar, ... of KEY.FORMAT, KEY.txt, KEY.json, KEY.regions.png.

    KEY is the sample's number in ``dataset`` in nine digits, so a sample has the same key, and ``FaceShards`` gives it
    the same identity, whatever ``per_shard`` is. Samples that the data set skips are left out, counted and logged. The
    same data set gives the same bytes.

    Each shard appears in one step, and after it a 00000_stats.json that records how it was made (number of samples,
    format, quality, ``signature``, size in bytes). A shard whose record fits the call is kept, so an interrupted run
    goes on where it stopped; any other shard of that number is written anew.

    Args:
        dataset: map-style; with ``workers`` it must be picklable (where processes are spawned).
        directory: created where needed.
        per_shard: samples in a shard; the last one may hold fewer.
        format: of the images; png is lossless.
        workers: processes that make shards side by side; 0 writes from this one.
        quality: of jpg and webp, 1 to 100.
        signature: says what the data set is (its seed and options, say); shards of another signature are not kept.
        progress: called in this process as ``progress(samples done, samples in all)``, kept shards included.

    Returns:
        the shards' paths, in order.

    Raises:
        InputError: an empty data set, an impossible ``per_shard`` or ``format``, or a directory that also holds, at
            any depth, images or shards that are not of this data set (readers would take them for part of it); it names
            them.
        OSError: the directory cannot be written or the disk is full; no half-written shard is left.
    """
    total = len(dataset)
    if total == 0:
        raise InputError("dataset: it holds no samples, so there is nothing to write")
    if per_shard < 1:
        raise InputError(f"per_shard: {per_shard}; it must be at least 1")
    if format not in ("png", "jpg", "webp"):
        raise InputError(f"format: {format!r} cannot be written; choose png, jpg or webp")
    target = Path(directory)
    count = -(-total // per_shard)
    plans = [
        _ShardPlan(target, number, number * per_shard, min(total, (number + 1) * per_shard), format, quality, signature)
        for number in range(count)
    ]
    if strangers := _strangers(target, {plan.path.name for plan in plans}):
        names = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
        raise InputError(
            f"{target}: holds shards or images that are not of this data set ({names}), which readers of the folder "
            "would take for part of it; remove them or write elsewhere"
        )
    target.mkdir(parents=True, exist_ok=True)
    missing = [plan for plan in plans if not plan.is_complete()]
    done = total - sum(plan.stop - plan.start for plan in missing)
    if progress is not None and done:
        progress(done, total)
    for written in _write_all(dataset, missing, workers):
        done += written
        if progress is not None:
            progress(done, total)
    return [plan.path for plan in plans]


def _strangers(directory: Path, own: set[str]) -> list[str]:
    """What a reader of the directory would find beside the shards ``own``."""
    if not directory.is_dir():
        return []
    contents = list_folder(str(directory))
    return [name for name in contents.shards if name not in own] + list(filter(is_image, contents.files))


@dataclass(frozen=True)
class _ShardPlan:
    directory: Path
    number: int
    start: int
    stop: int
    format: str
    quality: int
    signature: str

    @property
    def path(self) -> Path:
        return self.directory / f"{self.number:05d}.tar"

    @property
    def record_path(self) -> Path:
        return self.directory / f"{self.number:05d}_stats.json"

    def record(self) -> dict[str, Any]:
        return {
            "start": self.start,
            "count": self.stop - self.start,
            "format": self.format,
            "quality": None if self.format == "png" else self.quality,
            "signature": self.signature,
            "bytes": self.path.stat().st_size,
        }

    def is_complete(self) -> bool:
        try:
            recorded = json.loads(self.record_path.read_text(encoding="utf-8"))
            return bool(recorded.items() >= self.record().items())
        except (OSError, ValueError, AttributeError):  # no shard, no record, or one that is not a JSON object
            return False


def _write_all(dataset: Samples, plans: list[_ShardPlan], workers: int) -> Iterator[int]:
    """Write the shards and yield how many samples each step dealt with."""
    if workers < 1 or len(plans) < 2:
        for plan in plans:
            yield from _write_shard(dataset, plan)
        return
    with ProcessPoolExecutor(min(workers, len(plans)), initializer=_adopt, initargs=(dataset,)) as pool:
        futures = [pool.submit(_write_adopted, plan) for plan in plans]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


_adopted: list[Samples] = []


def _adopt(dataset: Samples) -> None:
    _adopted[:] = [dataset]  # once a process instead of once a shard


def _write_adopted(plan: _ShardPlan) -> int:
    return sum(_write_shard(_adopted[0], plan))


def _write_shard(dataset: Samples, plan: _ShardPlan) -> Iterator[int]:
    left_out: Counter[str] = Counter()
    reported = plan.start
    with (
        atomic_write(plan.path) as temporary,
        open(temporary, "wb") as file,
        TarWriter(file, encoder=False, mtime=0, user="", group="") as archive,
    ):
        for index in range(plan.start, plan.stop):
            sample = _read(dataset, index)
            if isinstance(sample, Skipped):
                left_out[sample.reason] += 1
            else:
                archive.write({"__key__": f"{index:09d}", **_encode(sample, plan)})
            if index + 1 - reported >= PROGRESS_INTERVAL:
                yield index + 1 - reported
                reported = index + 1
    if left_out:
        logger.warning("%s: left out %s", plan.path, ", ".join(f"{n} {reason}" for reason, n in left_out.items()))
    with atomic_write(plan.record_path) as temporary:
        temporary.write_text(json.dumps({**plan.record(), "left_out": dict(left_out)}, indent=1), encoding="utf-8")
    yield plan.stop - reported


def _read(dataset: Samples, index: int) -> Sample | Skipped:
    try:
        return dataset[index]
    except InputError as error:
        return Skipped(str(index), getattr(error, "reason", "invalid_sample"), str(error))


def _encode(sample: Sample, plan: _ShardPlan) -> dict[str, bytes]:
    height, width = sample.image.shape[:2]
    metadata = {**sample.metadata, "width": width, "height": height}
    metadata.pop("key", None)  # the reader's word for where it found a sample
    metadata.pop("reading_notes", None)
    parts = {
        plan.format: encode_image(sample.image, plan.format, quality=plan.quality),
        "txt": without_surrogates(sample.caption).encode("utf-8"),
        "json": without_surrogates(json.dumps(metadata, default=_plain, ensure_ascii=False)).encode("utf-8"),
    }
    if sample.region_map is not None:
        parts["regions.png"] = encode_image(sample.region_map)
    return parts


def _plain(value: object) -> object:
    """What JSON has no word for, in words it has."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)
