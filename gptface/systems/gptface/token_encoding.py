"""Shards of pictures and captions as token shards (``gptface.data.token_files``), which pre-training reads as they are.

A unit is a shard: NNNNN.tar gives NNNNN.safetensors, and NNNNN_stats.json says what was counted. Units are done one
after another, in processes, by the ranks of ``torchrun``, or on Ray; a unit holds the codes of its own shard and one
batch of pictures, whatever the number of shards.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from gptface.data.configuration import DataSection
from gptface.data.known_regions import KnownRegions
from gptface.data.landmark_files import LandmarkTable
from gptface.data.pixels import images_to_tensor
from gptface.data.sample import Sample, Samples, Skipped
from gptface.data.shard_index import expand_pattern
from gptface.data.shards import FaceShards
from gptface.data.sources import open_faces
from gptface.data.token_files import LARGEST_CODEBOOK, TOKEN_SUFFIX, TokenFormat, write_token_shard
from gptface.data.web.step import RECORD, Step, open_step, read_record, sum_counts
from gptface.data.web.units import Unit, run_here, run_units
from gptface.errors import InputError
from gptface.faces.region_grid import region_grid
from gptface.faces.templates import TEMPLATES
from gptface.models import FaceTokenizer
from gptface.systems.gptface.pairs import tokenizer_identity
from gptface.systems.gptface.picture_codes import ENCODING_BATCH
from gptface.training.declaration import StageInput

__all__ = ["EncodeWish", "encode_shards"]

PATIENCE = datetime.timedelta(days=30)  # that ranks wait for one another: shards take as long as they take


@dataclass(frozen=True)
class EncodeWish:
    """How shards are encoded.

    Attributes:
        tokenizer: folder of the image tokenizer, or of its run.
        mirrored: encode the mirror image of every picture too.
        template: name of the regions of aligned faces of which nothing else is known (``data.template``).
        landmarks: .npz files of points by key (``data.landmarks``).
        device: where the tokenizer runs.
    """

    tokenizer: Path
    mirrored: bool = True
    template: str | None = None
    landmarks: tuple[str, ...] = ()
    device: str = "cpu"


def encode_shards(
    shards: list[str],
    output: Path,
    wish: EncodeWish,
    *,
    processes: int = 1,
    ray: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Encode shards (paths, globs, folders of them) into ``output``; returns the summary (on rank 0, else nothing).

    Called again, it goes on, and takes in what shards have been added since. Under ``torchrun`` every rank encodes a
    part of the shards.

    Raises:
        InputError: no shards, no tokenizer or not one that fits, or options of another run in the same folder.
    """
    paths = _tar_files(shards)
    # Other processes and machines may work elsewhere.
    folder = StageInput("tokenizer", "").locate(wish.tokenizer).resolve()
    files = tuple(str(Path(file).resolve()) for pattern in wish.landmarks for file in expand_pattern(pattern))
    wish = dataclasses.replace(wish, tokenizer=folder, landmarks=files)
    if wish.template is not None and wish.template not in TEMPLATES:
        raise InputError(f"template: {wish.template!r}; choose {', '.join(TEMPLATES)}")
    LandmarkTable(wish.landmarks, "landmarks")  # what is wrong with it is said before anything is written
    form = _token_format(wish)
    state: PartialState | None = None
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        if ray is not None or processes > 1:
            raise InputError("processes, ray: torchrun has started the processes; allowed: one way of the three")
        state = PartialState(cpu=wish.device == "cpu", timeout=PATIENCE)
    device = wish.device if state is None or wish.device == "cpu" else str(state.device)
    arguments = (str(output.resolve()), wish, form, device, processes)
    units = [Unit(path.stem, (str(path.resolve()), *arguments), path.stat().st_size) for path in paths]
    options = {
        "input": sorted({str(path.resolve().parent) for path in paths}),
        "tokenizer": form.tokenizer,
        "mirrored": wish.mirrored,
        "template": wish.template,
        "landmarks": list(wish.landmarks),
    }
    if state is not None and not state.is_main_process:
        state.wait_for_everyone()  # until rank 0 has the folder
        mine = _missing(output, units)[state.process_index :: state.num_processes]
        state.wait_for_everyone()  # until all ranks have seen the same
        run_here(output, mine, encode_shard)
        state.wait_for_everyone()
        return {}
    with open_step(output, "encode", options, quiet=quiet) as step:
        if state is None:
            gpus = 0 if wish.device == "cpu" else 1
            run_units(step, "encoding", units, encode_shard, processes=processes, ray=ray, gpus=gpus)
        else:
            state.wait_for_everyone()
            mine = _missing(output, units)[:: state.num_processes]
            state.wait_for_everyone()
            run_units(step, f"encoding, share of {state.num_processes} processes", mine, encode_shard)
            state.wait_for_everyone()
        return _summary(step, units, said=state is None)


def _tar_files(patterns: list[str]) -> list[Path]:
    found = [Path(path) for pattern in patterns for path in expand_pattern(pattern)]
    shards = [shard for path in found for shard in (sorted(path.glob("*.tar")) if path.is_dir() else [path])]
    if not shards:
        raise InputError(f"input: {', '.join(patterns)} holds no .tar shard")
    if len({shard.stem for shard in shards}) < len(shards):
        raise InputError("input: two shards of the same name; give one folder at a time")
    return shards


def _token_format(wish: EncodeWish) -> TokenFormat:
    config = FaceTokenizer.from_pretrained(wish.tokenizer).config
    if config.codebook_size > LARGEST_CODEBOOK:
        raise InputError(f"tokenizer: {config.codebook_size} codes; token shards hold at most {LARGEST_CODEBOOK}")
    grid = (int(config.grid[0]), int(config.grid[1]))
    sides = 2 if wish.mirrored else 1
    return TokenFormat(tokenizer_identity(wish.tokenizer), grid, config.codebook_size, config.image_size, sides)


def _missing(output: Path, units: list[Unit]) -> list[Unit]:
    def done(unit: Unit) -> bool:
        record = read_record(output / f"{unit.name}{RECORD}")
        return record is not None and "failed" not in record

    return [unit for unit in units if not done(unit)]


def _summary(step: Step, units: list[Unit], *, said: bool) -> dict[str, Any]:
    """Add up what all units counted; ``said``: what failed has been told."""
    failures = 0

    def records() -> Iterator[dict[str, Any]]:
        nonlocal failures
        for unit in units:
            record = read_record(step.records / f"{unit.name}{RECORD}") or {}
            if "failed" in record:
                failures += 1
                if not said:
                    step.say(record["failed"])
            for problem in record.get("problems", ()):
                step.say(problem)
            for row in record.get("rows_left_out", ()):
                step.note(row)
            yield record

    counts = sum_counts(records())
    if counts and counts["samples"] != counts["faces"] + sum(counts["left_out"].values()):
        raise RuntimeError(f"the counts of the encoding do not add up: {counts}")
    shards = {"shards": len(units) - failures, "failed_shards": failures}
    return step.finish({**shards, **counts}, complete=not failures)


def encode_shard(
    name: str, source: str, output: str, wish: EncodeWish, form: TokenFormat, device: str, processes: int
) -> dict[str, Any]:
    """The unit of :func:`encode_shards`; returns its counts, and which rows were left out and why."""
    tokenizer = _tokenizer(str(wish.tokenizer), device, processes)
    data = DataSection(
        source="shards",
        train=[source],
        image_size=form.image_size,
        landmarks=list(wish.landmarks),
        template=wish.template,  # type: ignore[arg-type]  # checked by then
    )
    faces = open_faces(data, "train")
    assert isinstance(faces, KnownRegions) and isinstance(faces.whole, FaceShards)
    left_out: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    rows: list[str] = []
    codes, regions, identities, captions = [], [], [], []
    mapped = 0
    for start in range(0, len(faces), ENCODING_BATCH):
        samples: list[Sample] = []
        for row in range(start, min(start + ENCODING_BATCH, len(faces))):
            sample = _read(faces, row)
            if isinstance(sample, Skipped):
                left_out[sample.reason] += 1
                rows.append(f"{source}: row {row} left out ({sample.reason}): {sample.detail or sample.key}")
            else:
                samples.append(sample)
                notes.update(sample.metadata.get("reading_notes", ()))
        if not samples:
            continue
        codes.append(_codes(samples, tokenizer, form.sides))
        identities += [sample.sample_id for sample in samples]
        captions += [sample.captions for sample in samples]
        mapped += sum(sample.region_map is not None for sample in samples)
        if mapped == len(identities):
            regions.append(_regions(samples, form))
    tokens = form.grid[0] * form.grid[1]
    write_token_shard(
        Path(output) / f"{name}{TOKEN_SUFFIX}",
        form,
        np.concatenate([np.empty((0, form.sides, tokens), np.uint16), *codes]),
        np.array(identities, dtype=np.int64),
        captions,
        np.concatenate([np.empty((0, form.sides, tokens), np.uint8), *regions]) if mapped == len(identities) else None,
    )
    return {
        "samples": len(faces),
        "faces": len(identities),
        "left_out": dict(left_out),
        "noted": dict(notes),
        "without_regions": len(identities) - mapped,
        "rows_left_out": rows,
        "problems": faces.whole.problems,
    }


def _read(faces: Samples, row: int) -> Sample | Skipped:
    try:
        return faces[row]
    except InputError as error:
        return Skipped(str(row), getattr(error, "reason", "invalid_sample"), str(error))


def _codes(samples: list[Sample], tokenizer: FaceTokenizer, sides: int) -> np.ndarray:
    """uint16 (n, sides, N)."""
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    several = [images, images.flip(2)][:sides]
    codes = [tokenizer.encode(images_to_tensor(pictures, tokenizer.device)).cpu().numpy() for pictures in several]
    return np.stack(codes, axis=1).astype(np.uint16)


def _regions(samples: list[Sample], form: TokenFormat) -> np.ndarray:
    """uint8 (n, sides, N)."""
    maps = np.stack([sample.region_map for sample in samples if sample.region_map is not None])
    several = [maps, maps[:, :, ::-1]][: form.sides]
    grids = [[region_grid(labels, form.grid).reshape(-1) for labels in pictures] for pictures in several]
    return np.stack([np.stack(side) for side in grids], axis=1).astype(np.uint8)


@lru_cache(maxsize=1)  # units of one process have one tokenizer
def _tokenizer(folder: str, device: str, processes: int) -> FaceTokenizer:
    """The tokenizer, and this process's part of the threads."""
    if processes > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    tokenizer = FaceTokenizer.from_pretrained(folder).eval().requires_grad_(False)
    torch.nn.Module.to(tokenizer, device)  # transformers hides the signature of its own
    return tokenizer
