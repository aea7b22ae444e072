"""A token shard: what is written is what is read, and a file that is none or not whole is told by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from gptface.data.order import faces_digest
from gptface.data.token_files import TokenFormat, TokenShard, write_token_shard
from gptface.errors import InputError

FORM = TokenFormat("0123456789ab", (2, 3), 70, 32, 2)


def written(path: Path, count: int = 4, form: TokenFormat = FORM, regions: bool = True, **others: Any) -> Path:
    generator = np.random.default_rng(count)
    shape = (count, form.sides, form.grid[0] * form.grid[1])
    values = {
        "codes": generator.integers(0, form.codebook_size, shape),
        "sample_ids": generator.integers(0, 1 << 62, count),
        "captions": [[f"face {number}"] for number in range(count)],
        "regions": generator.integers(0, 5, shape) if regions else None,
        **others,
    }
    write_token_shard(path, form, **values)
    return path


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    captions=st.lists(st.lists(TEXTS, min_size=1), max_size=5),
    sides=st.integers(1, 2),
    regions=st.booleans(),
)
def test_what_is_written_is_read(tmp_path: Path, captions: list[list[str]], sides: int, regions: bool) -> None:
    form = dataclasses.replace(FORM, sides=sides, codebook_size=1 << 16)
    generator = np.random.default_rng(len(captions))
    shape = (len(captions), sides, 6)
    codes, ids = generator.integers(0, 1 << 16, shape), generator.integers(0, 1 << 63, len(captions))
    labels = generator.integers(0, 16, shape) if regions else None
    path = tmp_path / "0.safetensors"
    write_token_shard(path, form, codes, ids, captions, labels)
    shard = TokenShard(path)
    assert len(shard) == len(captions) and shard.form == form and shard.has_regions == regions
    assert shard.digest == faces_digest(ids)
    for place in range(len(captions)):
        assert shard.captions(place) == captions[place] and shard.sample_id(place) == ids[place]
        for side in range(sides):
            assert np.array_equal(shard.codes(place, side), codes[place, side])
            if labels is not None:
                assert np.array_equal(shard.regions(place, side), labels[place, side])


def test_the_same_faces_are_the_same_bytes(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.safetensors"), written(tmp_path / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()


def test_a_line_break_in_a_caption_becomes_a_space(tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors", 1, captions=[["two\nlines", "another"]])
    assert TokenShard(path).captions(0) == ["two lines", "another"]


def test_half_a_kilobyte_a_face_and_side(tmp_path: Path) -> None:
    form = TokenFormat("0123456789ab", (16, 16), 1024, 256, 2)
    path = written(tmp_path / "a.safetensors", 1000, form, regions=False, captions=[["a face"]] * 1000)
    assert path.stat().st_size < 1000 * (2 * 512 + 16 + 6) + 1000


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def another_kind(path: Path) -> None:
    save_file({"weights": np.zeros(3, np.float32)}, path)


def another_dtype(path: Path) -> None:
    tensors = load_file(path)
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    save_file({**tensors, "codes": tensors["codes"].astype(np.int32)}, path, metadata)


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (cut, "is not a whole token shard"),
        (lambda path: path.write_bytes(b""), "is not a whole token shard"),
        (lambda path: path.write_bytes(b"\xff" * 500), "is not a whole token shard"),
        (another_kind, "is no token shard; `gptface data encode` writes them"),
        (another_dtype, r"codes is I32 \[4, 2, 6\]"),
        (Path.unlink, "no such file"),
    ],
)
def test_what_is_no_whole_token_shard_is_told_by_name(tmp_path: Path, damage: Any, sentence: str) -> None:
    path = written(tmp_path / "faces.safetensors")
    damage(path)
    with pytest.raises(InputError, match=rf"faces\.safetensors: .*{sentence}|faces\.safetensors: {sentence}"):
        TokenShard(path)


def test_a_code_beyond_the_codebook_is_told_with_its_row(tmp_path: Path) -> None:
    codes = np.zeros((4, 2, 6), dtype=np.uint16)
    codes[2, 1, 3] = 70
    shard = TokenShard(written(tmp_path / "faces.safetensors", codes=codes))
    assert shard.codes(2, 0).max() == 0
    with pytest.raises(InputError, match=r"faces\.safetensors: row 2: code 70 of a codebook of 70; the file is dam"):
        shard.codes(2, 1)


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "faces.safetensors")
    shard = TokenShard(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match="cannot be read any more"):
        shard.codes(3, 1)
