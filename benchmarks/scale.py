"""What grows with a data set, measured: ``python -m benchmarks.scale --faces 10000 100000 [--steps index read ...]``.

Every step runs in a process of its own on one thread, over repeated tiny pictures or random codes that another process
made before, and prints a line of JSON: processor seconds of the step, and by how much it raised the most memory that
the process had (``added_mb``), beyond what imports take (``imports_mb``).

``--rates``: the two steps whose cost is arithmetic, at the sizes of the configuration ``base``: encoding 256² pictures
and their mirror images, timed (random weights do the same work as trained ones), and pre-training, counted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

PER_SHARD = 10_000
READ = 20_000  # faces that the step `read` takes, at random places
WORDS = 2000  # different ones in the captions
TINY = 16  # side of the repeated pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, nargs="*", default=[], help="sizes of the data set")
    parser.add_argument("--steps", nargs="*", default=list(STEPS), choices=list(STEPS), metavar="STEP")
    parser.add_argument("--rates", action="store_true")
    parser.add_argument("--one", nargs=3, metavar=("STEP", "FACES", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--prepare", nargs=3, metavar=("WHAT", "FACES", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare:
        PREPARATIONS[arguments.prepare[0]](int(arguments.prepare[1]), Path(arguments.prepare[2]))
    elif arguments.one:
        print(json.dumps(measured(arguments.one[0], int(arguments.one[1]), Path(arguments.one[2]))), flush=True)
    for faces in arguments.faces:
        for needed in dict.fromkeys(STEPS[step][0] for step in arguments.steps):
            with tempfile.TemporaryDirectory() as folder:
                run("--prepare", needed, str(faces), folder)
                for step in arguments.steps:
                    if STEPS[step][0] == needed:
                        run("--one", step, str(faces), folder)
    if arguments.rates:
        for rate in (encoding_rate, pretraining_work):
            print(json.dumps({"date": date.today().isoformat(), **rate()}), flush=True)


def run(*arguments: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run([sys.executable, "-m", "benchmarks.scale", *arguments], check=True, env=environment)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(step: str, faces: int, folder: Path) -> dict[str, Any]:
    work = STEPS[step][1](faces, folder)  # imports, and what does not depend on the number of faces
    before, begin = peak_mb(), time.process_time()
    counted = work()
    return {
        "date": date.today().isoformat(),
        "step": step,
        "faces": faces,
        "cpu_seconds": round(time.process_time() - begin, 3),
        "added_mb": round(peak_mb() - before, 1),
        "imports_mb": round(before),
        **counted,
    }


# What the steps work on ----------------------------------------------------------------------------------------------


def captions(count: int) -> list[str]:
    draw = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = ["".join(draw.choice(letters, draw.integers(2, 10))) for _ in range(WORDS)]
    return [" ".join(words[place] for place in row) for row in draw.integers(0, WORDS, (count, 10))]


def write_pictures(faces: int, folder: Path) -> None:
    """Shards of 16² pictures with captions, sixty-four different ones over and over."""
    from PIL import Image
    from webdataset import TarWriter

    draw = np.random.default_rng(0)
    pictures = []
    for _ in range(64):
        buffer = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (TINY, TINY, 3), dtype=np.uint8)).save(buffer, "JPEG")
        pictures.append(buffer.getvalue())
    texts = captions(64)
    for start in range(0, faces, PER_SHARD):
        path = folder / f"{start // PER_SHARD:05d}.tar"
        with open(path, "wb") as file, TarWriter(file, encoder=False) as archive:
            for number in range(start, min(start + PER_SHARD, faces)):
                parts = {"jpg": pictures[number % 64], "txt": texts[number % 64].encode()}
                archive.write({"__key__": f"{number:09d}", **parts})


def write_tokens(faces: int, folder: Path) -> None:
    """Token shards of random codes of 16 × 16 tokens on both sides."""
    from gptface.data.token_files import TokenFormat, write_token_shard

    draw = np.random.default_rng(0)
    form, texts = TokenFormat("0" * 12, (16, 16), 1024, 256, 2), captions(PER_SHARD)
    for start in range(0, faces, PER_SHARD):
        count = min(PER_SHARD, faces - start)
        codes = draw.integers(0, 1024, (count, 2, 256), dtype=np.uint16)
        ids = draw.integers(0, 1 << 63, count)
        path = folder / f"{start // PER_SHARD:05d}.safetensors"
        write_token_shard(path, form, codes, ids, [[text] for text in texts[:count]])


def write_hashes(faces: int, folder: Path) -> None:
    """A screened table with random perceptual hashes, as ``gptface data laion-face filter`` makes it."""
    import duckdb

    columns = ", ".join(
        f"((hash(i * 4 + {word}) >> 1)::HUGEINT * 2 - 9223372036854775807)::BIGINT AS face_hash_{word}"
        for word in range(4)
    )
    duckdb.execute(
        f"COPY (SELECT '0' AS shard, i::TEXT AS key, 1.0 AS side, NULL::TEXT AS reason, {columns} "
        f"FROM range({faces}) t(i)) TO '{folder / 'screened.parquet'}' (FORMAT parquet)"
    )


def write_nothing(faces: int, folder: Path) -> None:
    """For steps that work on numbers alone."""


PREPARATIONS: dict[str, Callable[[int, Path], None]] = {
    "nothing": write_nothing,
    "pictures": write_pictures,
    "tokens": write_tokens,
    "hashes": write_hashes,
}

# The steps: each gives the function that is timed ---------------------------------------------------------------------

Work = Callable[[], dict[str, Any]]


def drawn_order(faces: int, folder: Path) -> Work:
    """The shuffle of pictures: a random key a face, sorted."""
    from gptface.data.order import epoch_order

    return lambda: {"last": int(epoch_order(faces, 0, 0)[-1])}


def computed_order_(faces: int, folder: Path) -> Work:
    """The shuffle of token shards: a batch's places, computed; a whole epoch of them."""
    from gptface.data.order import computed_order

    def work() -> dict[str, Any]:
        for start in range(0, faces, 4096):
            last = computed_order(faces, 0, 0, np.arange(start, min(start + 4096, faces)))
        return {"last": int(last[-1])}

    return work


def index(faces: int, folder: Path) -> Work:
    """The index of shards of pictures, which training from pictures holds."""
    from gptface.data.shards import FaceShards

    def work() -> dict[str, Any]:
        found = FaceShards(str(folder))
        assert len(found) == faces
        return {"shards": found.shards}

    return work


def encode(faces: int, folder: Path) -> Work:
    """``gptface data encode`` with a tokenizer so small that reading and writing are most of it."""
    import torch

    from gptface.models import FaceTokenizer, FaceTokenizerConfig
    from gptface.systems.gptface.token_encoding import EncodeWish, encode_shards

    torch.manual_seed(0)
    tokenizer = folder / "tokenizer"
    FaceTokenizer(FaceTokenizerConfig.tiny(image_size=TINY)).save_pretrained(tokenizer)

    def work() -> dict[str, Any]:
        done = encode_shards([str(folder)], folder / "tokens", EncodeWish(tokenizer), quiet=True)
        assert done["faces"] == faces
        return {"shards": done["shards"]}

    return work


def open_tokens(faces: int, folder: Path) -> Work:
    """The index of token shards, which pre-training holds."""
    from gptface.data.token_faces import TokenFaces, token_files

    def work() -> dict[str, Any]:
        found = TokenFaces(token_files([str(folder)]))
        assert len(found) == faces
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        return {"shards": found.shards, "bytes_per_face": round(size / faces)}

    return work


def caption_scan(faces: int, folder: Path) -> Work:
    """A text tokenizer from the captions of token shards, as pre-training makes it."""
    from gptface.data.batches import CAPTIONS_READ
    from gptface.data.text import train_text_tokenizer
    from gptface.data.token_faces import TokenFaces, token_files

    def work() -> dict[str, Any]:
        tokenizer = train_text_tokenizer(TokenFaces(token_files([str(folder)])).captions(CAPTIONS_READ), 4096)
        return {"pieces": len(tokenizer)}

    return work


def read(faces: int, folder: Path) -> Work:
    """Batches of 64 faces from token shards, in the order of training, captions as word pieces; 20,000 faces."""
    import torch

    from gptface.data.augmentation import HorizontalFlip
    from gptface.data.face_batch import Needs
    from gptface.data.order import Position
    from gptface.data.text import train_text_tokenizer
    from gptface.data.token_faces import TokenBatches, TokenFaces, token_files

    tokenizer = train_text_tokenizer(captions(1000), 4096)

    def work() -> dict[str, Any]:
        found = TokenFaces(token_files([str(folder)]))
        position = Position(len(found), 0, 64, computed=True)
        needs = Needs(False, text=(tokenizer, 75))
        flip, device = HorizontalFlip(0), torch.device("cpu")
        batches = TokenBatches(found, needs, lambda batch: batch, position, flip, device)
        begin = time.process_time()
        for _ in range(READ // 64):
            next(batches)
        return {"faces_per_cpu_second": round(READ / (time.process_time() - begin))}

    return work


def duplicates(faces: int, folder: Path) -> Work:
    """The search for look-alikes among as many perceptual hashes; DuckDB may take 500 MB, then the disk."""
    import duckdb

    from gptface.data.web.duplicates import write_lookalikes
    from gptface.data.web.step import open_step

    def work() -> dict[str, Any]:
        with open_step(folder / "filter", "filter", {}, quiet=True) as step, duckdb.connect() as connection:
            connection.execute(f"SET memory_limit='500MB'; SET threads=1; SET temp_directory='{folder / 'spill'}'")
            connection.execute("SET preserve_insertion_order=false; SET enable_progress_bar=false")
            write_lookalikes(connection, step, [folder / "screened.parquet"], [], 12, folder / "lookalikes.parquet")
        return {}

    return work


STEPS: dict[str, tuple[str, Callable[[int, Path], Work]]] = {
    "drawn_order": ("nothing", drawn_order),
    "computed_order": ("nothing", computed_order_),
    "index": ("pictures", index),
    "encode": ("pictures", encode),
    "open_tokens": ("tokens", open_tokens),
    "caption_scan": ("tokens", caption_scan),
    "read": ("tokens", read),
    "duplicates": ("hashes", duplicates),
}

# Rates of arithmetic --------------------------------------------------------------------------------------------------


def encoding_rate(count: int = 2) -> dict[str, Any]:
    """Seconds a face of the tokenizer ``paper``, both sides, on one thread."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from gptface.models import FaceTokenizer, FaceTokenizerConfig

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = FaceTokenizer(FaceTokenizerConfig.paper()).eval()
    pictures = torch.rand(2 * count, 3, 256, 256) * 2 - 1
    with FlopCounterMode(display=False) as counter:
        tokenizer.encode(pictures[:2])
    begin = time.process_time()
    tokenizer.encode(pictures)
    seconds = time.process_time() - begin
    return {
        "rate": "encode, tokenizer paper, 256², both sides, float32",
        "cpu_seconds_per_face": round(seconds / count, 2),
        "gflop_per_face": round(counter.get_total_flops() / 1e9),
    }


def pretraining_work(batch: int = 4) -> dict[str, Any]:
    """Arithmetic of a pre-training step of ``base``; its time is the subject ``pretrain_step`` of the benchmarks."""
    import dataclasses

    import torch

    from benchmarks.contender import Case
    from benchmarks.shapes import PretrainShape
    from benchmarks.subjects.pretrain_step import PretrainStep

    shape = PretrainShape("base", batch, "bfloat16")
    subject = PretrainStep()
    problem = subject.problem(Case(shape.name, batch, dataclasses.asdict(shape)), torch.device("cpu"))
    parameters = sum(value.numel() for value in problem.model.parameters())
    return {
        "rate": "pre-training, base, forward and backward",
        "gflop_per_pair": round(subject.work(problem)["flop"] / batch / 1e9),
        "parameters": parameters,
        "all_reduced_mb_per_step": round(4 * parameters / 1e6),
    }


if __name__ == "__main__":
    main()
