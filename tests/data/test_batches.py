"""The door to data: the same batches of a stage cached and streamed, full, dealt to ranks, resumed exactly."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from gptface.data.augmentation import SIDES
from gptface.data.batches import FaceBatch, Faces, Needs, held_out_faces
from gptface.data.configuration import DataSection
from gptface.data.order import Position, epoch_coins
from gptface.data.pixels import images_to_tensor
from gptface.data.procedural import ProceduralFaces
from gptface.data.sample import Sample
from gptface.data.shard_writer import write_shards
from gptface.data.text import encode_captions, train_text_tokenizer
from gptface.errors import InputError
from gptface.faces.attributes import LABELLED_ATTRIBUTES
from gptface.faces.expressions import LABELLED_EXPRESSIONS
from gptface.faces.region_grid import region_grid
from tests.helpers.image_files import encode

COUNT, SIZE, GRID = 20, 32, (4, 4)


def section(cache: bool, **changes: Any) -> DataSection:
    return DataSection(**{"count": COUNT, "validation_count": 5, "image_size": SIZE, "cache": cache, **changes})


def process(rank: int = 0, world_size: int = 1) -> Any:
    """As much of an accelerator as data need."""
    return SimpleNamespace(
        device=torch.device("cpu"),
        process_index=rank,
        num_processes=world_size,
        is_main_process=rank == 0,
        wait_for_everyone=lambda: None,
    )


def open_train(data: DataSection, folder: Path, rank: int = 0, world_size: int = 1) -> Faces:
    return Faces(data, "train", folder, process(rank, world_size), verbose=False)


def keep(batch: FaceBatch) -> FaceBatch:
    return batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    faces = ProceduralFaces(0, SIZE, count=COUNT)
    return train_text_tokenizer([faces[index].caption for index in range(COUNT)], 200)


def everything(tokenizer: PreTrainedTokenizerFast) -> Needs:
    return Needs(region_maps=True, token_regions=GRID, labels=True, text=(tokenizer, 64))


@pytest.mark.parametrize("cache", [True, False])
def test_a_batch_is_what_the_generator_gives(folder: Path, tokenizer: PreTrainedTokenizerFast, cache: bool) -> None:
    faces = ProceduralFaces(0, SIZE, count=COUNT)
    batches = open_train(section(cache), folder).batches(everything(tokenizer), keep, batch_size=8, seed=3)
    position, flips = Position(COUNT, 3, 8), []
    for _ in range(6):
        batch = next(batches)
        indices, _epochs = position.batch()
        position.advance()
        samples = [faces[int(index)] for index in indices]
        flips += batch.mirrored.tolist()
        assert batch.sample_ids.tolist() == [sample.sample_id for sample in samples]
        assert batch.rows is None if not cache else batch.rows.tolist() == indices.tolist()
        for row, (sample, mirrored) in enumerate(zip(samples, batch.mirrored.tolist(), strict=True)):
            step = -1 if mirrored else 1
            assert not (mirrored and SIDES.search(sample.caption))
            assert torch.equal(batch.images[row : row + 1], images_to_tensor(sample.image[None, :, ::step]))
            labels = sample.region_map[:, ::step]
            assert np.array_equal(batch.region_maps[row], labels)
            assert batch.token_regions[row].tolist() == region_grid(labels, GRID).tolist()
            known = sample.metadata["attributes"]
            for name, value in zip(LABELLED_ATTRIBUTES, batch.attributes[row].tolist(), strict=True):
                assert np.isnan(value) or value == known[name]
            assert LABELLED_EXPRESSIONS[batch.expressions[row]] == sample.metadata["expression"]
        ids, lengths = encode_captions(tokenizer, [sample.caption for sample in samples], 64)
        assert torch.equal(batch.text_ids, ids[:, : batch.text_ids.shape[1]])
        assert torch.equal(batch.text_lengths, lengths) and torch.equal(batch.host_lengths.long(), lengths)
        assert [tensor.dtype for tensor in (batch.text_ids, batch.text_lengths, batch.token_regions)] == [
            torch.int64
        ] * 3
    assert 0.2 < np.mean(flips) < 0.8


def test_what_is_not_asked_for_is_not_read(folder: Path) -> None:
    for cache in (True, False):
        batch = next(open_train(section(cache), folder).batches(Needs(images=False), keep, batch_size=2, seed=0))
        absent = ("images", "region_maps", "token_regions", "attributes", "expressions", "text_ids", "host_lengths")
        assert all(getattr(batch, name) is None for name in absent)


def test_images_without_captions_are_mirrored_by_the_coin_alone(folder: Path) -> None:
    batches = open_train(section(True), folder).batches(Needs(), keep, batch_size=COUNT, seed=3)
    for epoch in range(3):
        batch = next(batches)
        coins = epoch_coins(COUNT, 3, epoch)
        assert batch.mirrored.tolist() == coins[batch.rows.numpy()].tolist()
        assert 0 < coins.sum() < COUNT


@pytest.mark.parametrize("cache", [True, False])
def test_nothing_is_mirrored_where_the_configuration_says_so(folder: Path, cache: bool) -> None:
    batches = open_train(section(cache, flip=False), folder).batches(Needs(), keep, batch_size=COUNT, seed=3)
    assert not any(bool(next(batches).mirrored.any()) for _ in range(2))


@pytest.mark.parametrize(("cache", "workers"), [(True, 0), (False, 0), (False, 1)])
def test_every_epoch_has_each_face_once_over_all_ranks_and_resumes_to_the_bit(
    folder: Path, tokenizer: PreTrainedTokenizerFast, cache: bool, workers: int
) -> None:
    data = section(cache, workers=workers)
    needs = everything(tokenizer)

    def streams() -> list[Any]:
        return [open_train(data, folder, rank, 2).batches(needs, keep, batch_size=5, seed=7) for rank in range(2)]

    first = streams()
    whole = [[next(stream) for stream in first] for _ in range(5)]
    for epoch in (0, 2):
        seen = torch.cat([batch.sample_ids for batches in whole[epoch : epoch + 2] for batch in batches])
        assert len(set(seen.tolist())) == COUNT
    second = streams()
    for _ in range(2):
        for stream in second:
            next(stream)
    states = [json.loads(json.dumps(stream.state_dict())) for stream in second]
    assert [state["position"] for state in states] == [20, 20]
    resumed = streams()
    for stream, state in zip(resumed, states, strict=True):
        stream.load_state_dict(state)
    for expected in whole[2:]:
        for stream, batch in zip(resumed, expected, strict=True):
            for name, value in vars(next(stream)).items():
                other = getattr(batch, name)
                assert (value is None and other is None) or torch.equal(value.nan_to_num(), other.nan_to_num()), name


def test_captions_take_turns_from_epoch_to_epoch(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    faces = open_train(section(True, captions_per_face=3), folder)
    batches = faces.batches(Needs(images=False, text=(tokenizer, 64)), keep, batch_size=COUNT, seed=0)
    for epoch in range(4):
        batch = next(batches)
        turns = zip(batch.rows.tolist(), batch.sample_ids.tolist(), strict=True)
        captions = [faces.cache.captions[row][(identity + epoch) % 3] for row, identity in turns]
        ids, lengths = encode_captions(tokenizer, captions, 64)
        assert torch.equal(batch.text_lengths, lengths)
        assert torch.equal(batch.text_ids, ids[:, : batch.text_ids.shape[1]])
        spoken = torch.tensor([SIDES.search(caption) is not None for caption in captions])
        coins = torch.from_numpy(epoch_coins(COUNT, 0, epoch))[batch.rows]
        assert torch.equal(batch.mirrored, coins & ~spoken)


@pytest.mark.parametrize("cache", [True, False])
def test_captions_of_unequal_number_take_turns_and_never_leave_their_face(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, cache: bool
) -> None:
    letters = "abcdefg"
    for number in range(7):  # picture n has 1 to 3 captions, all of n times the word "man"
        (tmp_path / f"{number}.png").write_bytes(encode(np.full((32, 32, 3), number, np.uint8)))
        captions = [" ".join(["man"] * (number + 1) + [letter]) for letter in letters[: 1 + number % 3]]
        (tmp_path / f"{number}.json").write_text(json.dumps({"captions": captions}))
        (tmp_path / f"{number}.txt").write_text("never read")
    data = section(cache, source="shards", train=[str(tmp_path)], count=7, validation_count=0, flip=False)
    batches = open_train(data, tmp_path / "run").batches(Needs(text=(tokenizer, 16)), keep, batch_size=7, seed=1)
    man = int(encode_captions(tokenizer, ["man"], 1)[0])
    last = {int(encode_captions(tokenizer, [letter], 1)[0]): letter for letter in letters}
    assert len(last) == len(letters)
    heard: dict[int, list[str]] = {number: [] for number in range(7)}
    for _ in range(6):
        batch = next(batches)
        for row in range(7):
            number = round((float(batch.images[row, 0, 0, 0]) + 1) * 127.5)
            ids = batch.text_ids[row, : batch.text_lengths[row]].tolist()
            assert ids[:-1] == [man] * (number + 1)
            heard[number].append(last[ids[-1]])
    for number, turns in heard.items():
        several = 1 + number % 3
        assert sorted(turns[:several]) == list(letters[:several])
        assert turns == turns[:several] * (6 // several)


def test_cached_and_streamed_faces_have_the_same_captions_in_the_same_epoch(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(encode(np.full((32, 32, 3), number, np.uint8)))
        captions = ["a man", "a woman with a hat", "a face"][: 1 + number % 3]
        (tmp_path / f"{number}.json").write_text(json.dumps({"captions": captions}))
    spoken: list[list[Any]] = []
    for cache in (True, False):
        data = section(cache, source="shards", train=[str(tmp_path)], count=5, validation_count=0)
        batches = open_train(data, tmp_path / "run").batches(Needs(text=(tokenizer, 16)), keep, batch_size=5, seed=2)
        spoken.append([])
        for _ in range(4):
            batch = next(batches)
            for row, length in enumerate(batch.text_lengths.tolist()):
                spoken[-1].append((batch.sample_ids[row].item(), batch.text_ids[row, :length].tolist()))
    assert spoken[0] == spoken[1]


def test_the_width_of_text_is_that_of_the_longest_caption_where_it_is_known(
    folder: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    needs = Needs(text=(tokenizer, 64))
    cached, streamed = (open_train(section(cache), folder) for cache in (True, False))
    assert list(cached.captions()) == list(streamed.captions())
    longest = int(encode_captions(tokenizer, list(cached.captions()), 64)[1].max())
    assert 0 < cached.text_width(needs) == longest < 64 == streamed.text_width(needs)


def test_held_out_faces_come_in_order_and_as_they_are(folder: Path) -> None:
    held_out = held_out_faces(section(False), folder, verbose=False)
    truth = ProceduralFaces(0, SIZE, start=1 << 30, count=5)
    in_order = held_out.in_order(Needs(region_maps=True), keep, batch_size=2)
    for _ in range(2):  # may be gone through again
        batches = list(in_order)
        assert [len(batch.images) for batch in batches] == [2, 2, 1]
        images = torch.cat([batch.images for batch in batches])
        assert torch.equal(images, images_to_tensor(np.stack([truth[index].image for index in range(5)])))
        assert not torch.cat([batch.mirrored for batch in batches]).any()
    assert held_out_faces(section(True, validation_count=0), folder, verbose=False) is None


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("needed", [{"region_maps": True}, {"token_regions": GRID}])
def test_missing_region_maps_are_refused_in_the_stages_words(
    tmp_path: Path, cache: bool, needed: dict[str, Any]
) -> None:
    faces = ProceduralFaces(0, SIZE, count=4)

    class Bare:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Sample:
            sample = faces[index]
            return Sample(
                sample.image, sample.caption, sample.sample_id, region_map=sample.region_map if index else None
            )

    write_shards(Bare(), tmp_path / "shards")
    data = DataSection(source="shards", train=[str(tmp_path / "shards")], image_size=SIZE, cache=cache)
    needs = Needs(**needed, without_regions="stage.field: must be 0")
    with pytest.raises(InputError, match=r"stage\.field: must be 0 for this data, which has .* region map"):
        next(open_train(data, tmp_path).batches(needs, keep, batch_size=4, seed=0))
    assert len(next(open_train(data, tmp_path).batches(Needs(), keep, batch_size=4, seed=0)).images) == 4
