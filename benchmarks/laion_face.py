"""LAION-Face's way to shards, measured: ``python -m benchmarks.laion_face [--pictures N] [--rows N ...]``.

``--pictures``: drawn photos of 500 × 375 pixels with a face each, aligned to 224², filtered and written as shards by
one process; pictures a second of one core. ``--rows``: a join and a search for look-alikes over so many rows, each in a
process of its own; seconds of all cores, and the most memory it took.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

POINTS = np.array([[190.0, 150.0], [290.0, 150.0], [240.0, 215.0], [200.0, 265.0], [280.0, 265.0]])


def write_photos(folder: Path, count: int) -> None:
    """A shard as img2dataset leaves it: textured photos, every one another picture."""
    from webdataset import TarWriter

    folder.mkdir()
    draw = np.random.default_rng(0)
    with open(folder / "00000.tar", "wb") as file, TarWriter(file, encoder=False) as archive:
        for number in range(count):
            coarse = Image.fromarray(draw.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            photo = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
            grain = draw.integers(-6, 7, (375, 500, 1), dtype=np.int16)
            buffer = io.BytesIO()
            Image.fromarray((photo + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
            moved = POINTS + draw.normal(0, 8, 2)
            centre = moved.mean(0)
            box = [*(centre - 110).tolist(), *(centre + 110).tolist()]
            fields = {
                "sample_id": number,
                "url": f"https://host.example/{number}.jpg",
                "similarity": 0.3,
                "nsfw": "UNLIKELY",
                "listed_width": 500,
                "listed_height": 375,
                "faces": [{"box": box, "landmarks": moved.tolist(), "score": 0.99}],
            }
            text = json.dumps(fields, indent=4).encode()
            archive.write({"__key__": f"{number:09d}", "jpg": buffer.getvalue(), "txt": b"a caption", "json": text})
    record = {"count": count, "successes": count, "status_dict": {"success": count}}
    (folder / "00000_stats.json").write_text(json.dumps(record))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure_pictures(count: int) -> dict[str, Any]:
    """Processor seconds of every step for ``count`` pictures, imports left out."""
    from gptface.data.web.aligning import AlignWish, align
    from gptface.data.web.filtering import FilterWish, filter_faces
    from gptface.data.web.sharding import shard_faces

    def steps(folder: Path) -> dict[str, float]:
        seconds, begin = {}, time.process_time()
        align(folder / "fetched", folder / "aligned", AlignWish(size=224), quiet=True)
        seconds["align"], begin = time.process_time() - begin, time.process_time()
        done = filter_faces(folder / "aligned", folder / "filtered", FilterWish(), quiet=True)
        seconds["filter"], begin = time.process_time() - begin, time.process_time()
        written = shard_faces(folder / "aligned", folder / "filtered", folder / "shards", quiet=True)
        seconds["shard"] = time.process_time() - begin
        assert written["faces"] == done["kept"] == done["faces"], done  # what is timed has been done
        return seconds

    with tempfile.TemporaryDirectory() as name:
        for folder, number in ((Path(name) / "warm", 5), (Path(name) / "timed", count)):
            folder.mkdir()
            write_photos(folder / "fetched", number)
            seconds = steps(folder)
            steps_of = ("fetched", "aligned", "filtered", "shards")
            sizes = {f"{name}_bytes_per_face": _size(folder / name) // number for name in steps_of}
    rates = {f"{step}_per_second": round(count / value) for step, value in seconds.items()}
    return {"pictures": count, **rates, "all_per_second": round(count / sum(seconds.values())), **sizes}


def measure_rows(count: int, memory: int) -> dict[str, Any]:
    """A join of ``count`` rows with as many detections, and a search for look-alikes among as many hashes."""
    import duckdb

    from gptface.data.web.duplicates import write_lookalikes
    from gptface.data.web.joining import JoinWish, join
    from gptface.data.web.step import open_step

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        code = (
            "import sys, pickle; count = int(sys.argv[1]); numbers = (n * 7919 % count for n in range(count)); "
            "pickle.dump({n: [([n, 2.0, 3.0, 4.0], [[1.0, 2.0] for _ in range(5)], 0.9)] for n in numbers}, "
            "open(sys.argv[2], 'wb'), protocol=2)"
        )
        subprocess.run([sys.executable, "-c", code, str(count), str(folder / "detect.pth")], check=True)
        code = (
            "import sys, duckdb; duckdb.execute('SET enable_progress_bar=false'); "
            "duckdb.execute(f\"COPY (SELECT i AS SAMPLE_ID, 'https://host.example/' || "
            "md5(i::TEXT) || '.jpg' AS URL, 'picture ' || md5((i + 1)::TEXT) AS TEXT FROM range({sys.argv[1]}) t(i)) "
            "TO '{sys.argv[2]}' (FORMAT parquet)\"); duckdb.execute(f\"COPY (SELECT '0' AS shard, i::TEXT AS key, "
            "1.0 AS side, NULL::TEXT AS reason, h[1] AS face_hash_0, h[2] AS face_hash_1, h[3] AS face_hash_2, h[4] AS "
            "face_hash_3 FROM (SELECT i, list_transform([0, 1, 2, 3], lambda k: ((hash(i * 4 + k) >> 1)::HUGEINT "
            "* 2 - 9223372036854775807)::BIGINT) AS h "
            "FROM range({sys.argv[1]}) t(i))) TO '{sys.argv[3]}' (FORMAT parquet)\")"
        )
        tables = [folder / "laion.parquet", folder / "screened.parquet"]
        subprocess.run([sys.executable, "-c", code, str(count), *map(str, tables)], check=True)
        begin = time.process_time()
        wish = JoinWish((tables[0],), detections=(folder / "detect.pth",), memory=memory)
        assert join(wish, folder / "joined", quiet=True)["joined"] == count
        joined = time.process_time() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        begin = time.process_time()
        with open_step(folder / "filter", "filter", {}, quiet=True) as step, duckdb.connect() as connection:
            connection.execute(f"SET memory_limit='{memory}MB'; SET temp_directory='{folder / 'spill'}'")
            connection.execute("SET preserve_insertion_order=false; SET enable_progress_bar=false")
            write_lookalikes(connection, step, [tables[1]], [], 12, folder / "lookalikes.parquet")
        compared = time.process_time() - begin
    return {
        "rows": count,
        "memory_limit_mb": memory,
        "join_cpu_seconds": round(joined, 1),
        "join_peak_mb": peak,
        "look_alikes_cpu_seconds": round(compared, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=0)
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    parser.add_argument("--memory", type=int, default=500, help="MB for the join and for the comparison (default 500)")
    arguments = parser.parse_args()
    if arguments.pictures:
        print(json.dumps(measure_pictures(arguments.pictures)))
    if len(arguments.rows) == 1:
        print(json.dumps(measure_rows(arguments.rows[0], arguments.memory)))
    elif arguments.rows:  # the most memory is a figure of a process: one for each
        for rows in arguments.rows:
            command = [sys.executable, "-m", __spec__.name, "--rows", str(rows), "--memory", str(arguments.memory)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
