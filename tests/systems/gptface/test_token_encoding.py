"""Shards to token shards: the tokenizer's codes, whatever killed the run, whoever shared it; pre-training on them."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gptface.cli.main import main
from gptface.data.batches import FaceBatch, Faces, Needs
from gptface.data.configuration import DataSection
from gptface.data.pixels import images_to_tensor
from gptface.data.procedural import ProceduralFaces
from gptface.data.shard_writer import write_shards
from gptface.data.sources import open_tokens
from gptface.data.token_faces import TokenFaces, token_files
from gptface.data.token_files import TokenShard
from gptface.errors import InputError
from gptface.faces.region_grid import region_grid
from gptface.models import FaceTokenizer, FaceTokenizerConfig
from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.pairs import tokenizer_identity
from gptface.systems.gptface.stages import PRETRAIN
from gptface.systems.gptface.token_encoding import EncodeWish, encode_shards
from gptface.training.run import run_stage
from tests.helpers.killing import digest_folder, killed_at
from tests.helpers.tiny_runs import tiny

COUNT, SIZE = 20, 32
FACES = ProceduralFaces(0, SIZE, count=COUNT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``shards`` of twenty faces, a ``tokenizer``, and ``tokens``: the shards encoded."""
    folder = tmp_path_factory.mktemp("tokens")
    write_shards(FACES, folder / "shards", 8)
    torch.manual_seed(0)
    config = FaceTokenizerConfig(**{**FaceTokenizerConfig.tiny().to_dict(), "image_size": SIZE, "codebook_size": 300})
    FaceTokenizer(config).save_pretrained(folder / "tokenizer")
    summary = encode(folder, folder / "tokens")
    assert summary["complete"] and summary["faces"] == summary["samples"] == COUNT and summary["shards"] == 3
    return folder


def encode(folder: Path, output: Path, shards: str = "shards", **options: Any) -> dict[str, Any]:
    wished = {name: options.pop(name) for name in ("mirrored", "template") if name in options}
    wish = EncodeWish(folder / "tokenizer", **wished)
    return encode_shards([str(folder / shards)], output, wish, quiet=True, **options)


def tokens(folder: Path) -> TokenFaces:
    return TokenFaces(token_files([str(folder)]))


def test_the_codes_are_the_tokenizer_s_of_both_sides(folder: Path) -> None:
    tokenizer = FaceTokenizer.from_pretrained(folder / "tokenizer").eval()
    pictures = torch.from_numpy(np.stack([FACES[number].image for number in range(COUNT)]))
    expected = [tokenizer.encode(images_to_tensor(sides)).numpy() for sides in (pictures, pictures.flip(2))]
    number = 0
    for file in token_files([str(folder / "tokens")]):
        shard = TokenShard(file)
        assert shard.form.tokenizer == tokenizer_identity(folder / "tokenizer")
        for place in range(len(shard)):
            face = FACES[number]
            assert face.region_map is not None
            assert shard.captions(place) == [face.caption]
            for side in range(2):
                assert np.array_equal(shard.codes(place, side), expected[side][number])
                labels = face.region_map[:, ::-1] if side else face.region_map
                assert np.array_equal(shard.regions(place, side), region_grid(labels, shard.form.grid))
            number += 1
    assert number == COUNT


def keep(batch: FaceBatch) -> FaceBatch:
    return batch


def test_faces_of_tokens_are_mirrored_and_captioned_as_their_pictures_are(folder: Path) -> None:
    common: dict[str, Any] = {"image_size": SIZE, "cache": False}
    data = DataSection(source="shards", train=[str(folder / "shards")], **common)
    pictures = Faces(data, "train", folder, verbose=False)
    data = DataSection(source="tokens", train=[str(folder / "tokens")], **common)
    opened = Faces(data, "train", folder, verbose=False, tokens=True)
    assert len(opened) == COUNT and sorted(opened.captions()) == sorted(pictures.captions())
    tokenizer = FaceTokenizer.from_pretrained(folder / "tokenizer").eval()
    grid = tokenizer.config.grid
    needs = Needs(captions=True, token_regions=(grid[0], grid[1]))
    seen: list[dict[tuple[int, int], tuple[Any, ...]]] = []
    for faces, wanted in ((pictures, needs), (opened, Needs(False, captions=True, token_regions=needs.token_regions))):
        batches = faces.batches(wanted, keep, batch_size=10, seed=5)
        rows: dict[tuple[int, int], tuple[Any, ...]] = {}
        for batch in itertools.islice(batches, 6):
            codes = batch.codes if batch.images is None else tokenizer.encode(batch.images)
            assert codes is not None and batch.captions is not None and batch.token_regions is not None
            for row, (identity, epoch) in enumerate(zip(batch.sample_ids.tolist(), batch.epochs.tolist(), strict=True)):
                regions = tuple(batch.token_regions[row].tolist())
                mirrored = bool(batch.mirrored[row])
                rows[identity, epoch] = (tuple(codes[row].tolist()), batch.captions[row], mirrored, regions)
        seen.append(rows)
    assert len(seen[0]) == 3 * COUNT
    assert seen[0] == seen[1]
    assert {mirrored for _, _, mirrored, _ in seen[1].values()} == {True, False}


def test_batches_of_tokens_go_on_exactly_and_ranks_share_an_epoch(folder: Path) -> None:
    data = DataSection(source="tokens", train=[str(folder / "tokens")], image_size=SIZE)
    faces = Faces(data, "train", folder, verbose=False, tokens=True)
    batches = faces.batches(Needs(False), keep, batch_size=8, seed=1)
    next(batches)
    state = json.loads(json.dumps(batches.state_dict()))
    expected = [next(batches).sample_ids.tolist() for _ in range(4)]
    again = faces.batches(Needs(False), keep, batch_size=8, seed=1)
    again.load_state_dict(state)
    assert [next(again).sample_ids.tolist() for _ in range(4)] == expected
    other = Faces(data.model_copy(update={"train": data.train * 2}), "train", folder, verbose=False, tokens=True)
    with pytest.raises(InputError, match="cannot resume"):
        other.batches(Needs(False), keep, batch_size=8, seed=1).load_state_dict(state)
    in_order = [batch.sample_ids for batch in faces.in_order(Needs(False), keep, batch_size=8)]
    assert [len(ids) for ids in in_order] == [8, 8, 4] and len(torch.cat(in_order).unique()) == COUNT


def test_bad_pictures_are_counted_and_told_with_file_and_row(folder: Path, tmp_path: Path) -> None:
    nothing_of_regions = ("000000002.regions.png", "000000002.json")
    with tarfile.open(folder / "shards" / "00000.tar") as source, tarfile.open(tmp_path / "bad.tar", "w") as target:
        for member in source:
            content = source.extractfile(member).read()  # type: ignore[union-attr]
            if member.name == "000000003.png":
                member.size, content = 40, content[:40]
            if member.name == "000000005.txt":
                member.size, content = 0, b""
            if member.name not in nothing_of_regions:
                target.addfile(member, io.BytesIO(content))
    wish = EncodeWish(folder / "tokenizer")
    summary = encode_shards([str(tmp_path / "bad.tar")], tmp_path / "out", wish, quiet=True)
    assert summary["complete"] and (summary["samples"], summary["faces"]) == (8, 7)
    assert sum(summary["left_out"].values()) == 1 and summary["without_regions"] == 1
    log = (tmp_path / "out" / "step.log").read_text()
    assert "bad.tar: row 3 left out (" in log
    faces = tokens(tmp_path / "out")
    assert len(faces) == 7
    with pytest.raises(InputError, match=r"must be 0 for this data: .*bad\.safetensors has faces without a region map"):
        faces.check(Needs(False, token_regions=faces.form.grid, without_regions="it must be 0"), True)


def test_a_shard_that_cannot_be_read_fails_alone_and_is_tried_again(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("00000.tar", "00001.tar"):
        (tmp_path / name).write_bytes((folder / "shards" / name).read_bytes())
    (tmp_path / "00001.tar").write_bytes(b"nothing")
    wish = EncodeWish(folder / "tokenizer")
    summary = encode_shards([str(tmp_path)], tmp_path / "out", wish, quiet=True)
    assert not summary["complete"] and summary["failed_shards"] == 1 and summary["faces"] == 8
    data = DataSection(source="tokens", train=[str(tmp_path / "out")])
    assert len(open_tokens(data, "train")) == 8
    assert "has not come to its end; what is there is read" in caplog.text
    (tmp_path / "00001.tar").write_bytes((folder / "shards" / "00001.tar").read_bytes())
    summary = encode_shards([str(tmp_path)], tmp_path / "out", wish, quiet=True)
    assert summary["complete"] and summary["faces"] == 16


def test_kill_9_at_every_instant_changes_nothing(folder: Path, tmp_path: Path) -> None:
    expected = digest_folder(folder / "tokens")
    for number in itertools.count():
        work = partial(encode, folder, tmp_path / f"killed-{number}")
        if not killed_at(number, work):
            break
        work()
        assert digest_folder(tmp_path / f"killed-{number}") == expected, number
    assert number > 6


def test_refusals_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was begun with mirrored true, now false"):
        encode(folder, folder / "tokens", mirrored=False)
    with pytest.raises(InputError, match=r"holds no \.tar shard"):
        encode(folder, tmp_path / "out", shards="tokenizer")
    with pytest.raises(InputError, match="template: 'round'; choose"):
        encode(folder, tmp_path / "out", template="round")
    assert not (tmp_path / "out").exists()
    encode(folder, tmp_path / "once", mirrored=False)
    with pytest.raises(InputError, match="was encoded otherwise"):
        TokenFaces(token_files([str(folder / "tokens"), str(tmp_path / "once")]))
    with pytest.raises(InputError, match=r"data\.flip: must be false"):
        tokens(tmp_path / "once").check(Needs(False), True)
    with pytest.raises(InputError, match="this stage needs pictures"):
        tokens(folder / "tokens").check(Needs(), False)
    data = DataSection(source="tokens", train=[str(folder / "tokens")], image_size=SIZE)
    with pytest.raises(InputError, match="token shards hold no pictures"):
        Faces(data, "train", tmp_path, verbose=False)
    with pytest.raises(InputError, match="holds no token shard"):
        token_files([str(folder / "shards")])
    with pytest.raises(ValueError, match="must be 0 with source: tokens"):
        DataSection(source="tokens", train=["tokens"], workers=2)
    with pytest.raises(ValueError, match="tokens have regions of their own"):
        DataSection(source="tokens", train=["tokens"], template="portrait")


def configuration(folder: Path, *overrides: str) -> Any:
    source = ("data.source=tokens", f"data.train=[{folder / 'tokens'}]", f"data.validation=[{folder / 'tokens'}]")
    steps = ("pretrain.steps=4", "pretrain.batch_size=8", "pretrain.checkpoint_every=2", "pretrain.validate_every=4")
    return tiny(folder / "cache", *source, "data.validation_count=8", *steps, *overrides)


def losses(output: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


def test_pretraining_reads_token_shards_and_goes_on_to_the_bit(folder: Path, tmp_path: Path) -> None:
    every = "pretrain.log_every=1"
    run_stage(PRETRAIN, configuration(folder, every), tmp_path / "a", tokenizer=folder / "tokenizer", verbose=False)
    FaceSystem.from_pretrained(tmp_path / "a")
    assert json.loads((tmp_path / "a" / "summary.json").read_text())["validation"]["loss"] > 0
    assert not (folder / "cache").exists() and not (tmp_path / "a" / "cache").exists()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "summary.json").unlink()
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "step-00000004")
    run_stage(PRETRAIN, configuration(folder, every), tmp_path / "b", tokenizer=folder / "tokenizer", verbose=False)


def test_another_tokenizer_than_the_shards_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    FaceTokenizer(FaceTokenizer.from_pretrained(folder / "tokenizer").config).save_pretrained(tmp_path / "other")
    capsys.readouterr()
    arguments = ["train", "pretrain", "--config", "tiny", "--tokenizer", str(tmp_path / "other"), "--quiet"]
    source = ["data.source=tokens", f"data.train=[{folder / 'tokens'}]"]
    assert main([*arguments, "--output", str(tmp_path / "run"), *source]) == 2
    said = capsys.readouterr().err
    assert "the token shards hold codes of the tokenizer" in said and len(said.strip().splitlines()) == 1
    assert main(["train", "tokenizer", "--config", "tiny", "--quiet", "--output", str(tmp_path / "run"), *source]) == 2
    assert "token shards hold no pictures" in capsys.readouterr().err


def test_the_command_encodes_and_says_what_it_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--tokenizer", str(folder / "tokenizer"), "--input", str(folder / "shards" / "*.tar")]
    assert main(["data", "encode", *arguments, "--output", str(tmp_path / "out")]) == 0
    assert "faces: 20" in capsys.readouterr().err
    assert digest_folder(tmp_path / "out").keys() == digest_folder(folder / "tokens").keys()
    assert main(["data", "encode", *arguments, "--output", str(folder / "tokens"), "--template", "portrait"]) == 2
    assert "was begun with template null, now" in capsys.readouterr().err


@pytest.mark.slow
def test_ranks_of_torchrun_share_the_shards(folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gptface", "data",
        "encode", "--tokenizer", folder / "tokenizer", "--input", folder / "shards", "--output", tmp_path / "out",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert digest_folder(tmp_path / "out") == digest_folder(folder / "tokens")


@pytest.mark.slow
def test_processes_and_ray_do_the_same(folder: Path, tmp_path: Path) -> None:
    encode(folder, tmp_path / "two", processes=2)
    assert digest_folder(tmp_path / "two") == digest_folder(folder / "tokens")
    pytest.importorskip("ray")
    encode(folder, tmp_path / "ray", ray="local")
    assert digest_folder(tmp_path / "ray") == digest_folder(folder / "tokens")
