from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.data.open_files import OPEN_FILES, open_files
from gptface.data.sample import Sample, Skipped
from gptface.data.shard_index import key_identity
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from gptface.faces.regions import REGIONS
from tests.helpers.image_files import encode, gradient, large_jpeg, png_claiming


def write_tar(path: Path, members: dict[str, bytes], format: int = tarfile.USTAR_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def whole(key: str, seed: int = 0, **parts: bytes) -> dict[str, bytes]:
    """The members of a proper sample."""
    parts = {"png": encode(gradient(seed=seed)), "txt": f"face {key}".encode(), "json": b'{"person": 7}', **parts}
    return {f"{key}.{name}": data for name, data in parts.items()}


def only(path: Path, size: int | None = 32, **options: object) -> Sample | Skipped:
    dataset = FaceShards(path, size, **options)
    assert len(dataset) == 1
    return dataset[0]


def test_samples_of_img2dataset_in_all_three_formats(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number, (suffix, format) in enumerate([("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("JPG", "JPEG")]):
        metadata = {
            "caption": f"face {number}",
            "url": "https://example.org",
            "key": f"{number:09d}",
            "status": "success",
        }
        members[f"{number:09d}.{suffix}"] = encode(gradient(seed=number), format)
        members[f"{number:09d}.txt"] = f"face {number}".encode()
        members[f"{number:09d}.json"] = json.dumps(metadata).encode()
    dataset = FaceShards(write_tar(tmp_path / "00000.tar", members))
    assert len(dataset) == 4 and not dataset.problems
    for number, sample in enumerate(dataset):
        assert isinstance(sample, Sample)
        assert sample.caption == f"face {number}"
        assert sample.metadata["status"] == "success" and sample.metadata["key"] == dataset.key(number)
        assert np.abs(sample.image.astype(int) - gradient(seed=number)).mean() < 6
        assert sample.region_map is None
        assert sample.sample_id == key_identity(f"{number:09d}") == dataset.sample_ids[number]
    assert dataset[-1].caption == "face 3"
    for outside in (4, -5):
        with pytest.raises(IndexError):
            dataset[outside]


def test_identity_is_blake2b_of_the_key() -> None:
    # `printf 000000000 | b2sum -l 64` prints 3dab83905ed66f9d; the last of its 64 bits is dropped.
    assert key_identity("000000000") == 0x3DAB83905ED66F9D >> 1
    assert key_identity("000000000") != key_identity("000000001") != key_identity("000000000", 1)


def test_paths_globs_braces_and_directories(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / f"train-{number:05d}.tar", whole(f"{number:03d}"))
    write_tar(tmp_path / "val[1].tar", whole("900"))
    assert len(FaceShards(tmp_path)) == 4
    assert len(FaceShards(tmp_path / "train-00001.tar")) == 1
    assert [s.caption for s in FaceShards(str(tmp_path / "train-{00000..00001}.tar"))] == ["face 000", "face 001"]
    assert [s.caption for s in FaceShards(str(tmp_path / "train-*.tar"))] == ["face 000", "face 001", "face 002"]
    assert FaceShards(tmp_path / "val[1].tar")[0].caption == "face 900"
    two = FaceShards([tmp_path / "train-00002.tar", str(tmp_path / "train-0000[01].tar")])
    assert [s.caption for s in two] == ["face 002", "face 000", "face 001"]


def test_a_directory_of_images_with_sidecars(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.first.png").write_bytes(encode(gradient(seed=1)))
    (tmp_path / "a.first.txt").write_text("the first", encoding="utf-8")
    (tmp_path / "b" / "c.JPG").write_bytes(encode(gradient(seed=2), "JPEG"))
    (tmp_path / "b" / "c.json").write_text('{"caption": "the second", "expression": "anger"}', encoding="utf-8")
    (tmp_path / "b" / "c.regions.png").write_bytes(encode(np.full((48, 48), 3, np.uint8)))
    (tmp_path / "b" / "notes.md").write_text("not an image")
    (tmp_path / "b" / "._c.jpg").write_bytes(b"a resource fork")
    dataset = FaceShards(tmp_path, 32)
    assert [dataset.key(i) for i in range(len(dataset))] == ["a.first", "b/c"]
    assert [s.caption for s in dataset] == ["the first", "the second"]
    assert dataset[1].metadata["expression"] == "anger"
    assert (dataset[1].region_map == 3).all()
    assert dataset[1].sample_id == key_identity("b/c")


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"jpg": encode(gradient(64, 64), "JPEG")[:-80]}, "truncated_image"),
        ({"jpg": b"<html></html>"}, "not_an_image"),
        ({"jpg": b""}, "empty_file"),
        ({"png": encode(gradient(12, 40))}, "too_small"),
        ({"png": png_claiming(9_000, 9_000)}, "too_many_pixels"),
        ({"jpg": large_jpeg(50, progressive=True)}, "too_many_pixels"),
        ({"tif": encode(np.ones((40, 40), np.float32), "TIFF")}, "unsupported_mode"),
        ({}, "missing_image"),
    ],
)
def test_unusable_samples_are_skipped_by_name_and_their_neighbours_stay(
    tmp_path: Path, parts: dict[str, bytes], reason: str
) -> None:
    bad = {f"1.{name}": data for name, data in {**parts, "txt": b"bad", "json": b"{}"}.items()}
    dataset = FaceShards(write_tar(tmp_path / "0.tar", {**whole("0"), **bad, **whole("2")}), 32)
    before, skipped, after = dataset
    assert isinstance(before, Sample) and isinstance(after, Sample)
    assert isinstance(skipped, Skipped) and skipped.key == "1" and skipped.reason == reason
    assert "0.tar:1" in skipped.detail


def test_a_50_megapixel_jpeg_is_used_where_a_size_is_given(tmp_path: Path) -> None:
    sample = only(write_tar(tmp_path / "0.tar", whole("0", jpg=large_jpeg(50)) | {}), 32)
    assert isinstance(sample, Sample) and sample.image.shape == (32, 32, 3)


def test_captions_missing_empty_and_in_the_metadata(tmp_path: Path) -> None:
    image = encode(gradient())
    members = {
        "0.png": image,
        "1.png": image, "1.txt": b" \n\0 ",
        "2.png": image, "2.json": b'{"caption": " from\\nthe metadata "}',
        "3.png": image, "3.txt": b"", "3.json": b'{"caption": null}',
        "4.png": image, "4.txt": "two\r\nlines\ttabs".encode("utf-16"),
        "5.png": image, "5.txt": b"\xef\xbb\xbfmarked",
    }  # fmt: skip
    path = write_tar(tmp_path / "0.tar", members)
    samples = list(FaceShards(path))
    assert [s.caption for s in samples] == ["", "", "from the metadata", "", "two lines tabs", "marked"]
    noted = [s.metadata.get("reading_notes") for s in samples]
    assert noted == [["missing_caption"], ["missing_caption"], None, ["missing_caption"], None, None]


def test_captions_that_are_not_utf8_are_read_with_replacement_and_noted(tmp_path: Path) -> None:
    sample = only(write_tar(tmp_path / "0.tar", whole("0", txt="café au lait".encode("latin-1"))))
    assert sample.caption == "caf\ufffd au lait"
    assert sample.metadata["reading_notes"] == ["non_utf8_caption"]


@pytest.mark.parametrize("json_bytes", [b"{", b"[1, 2]", b"\xff\xfe\xfa", b"[" * 100_000, b'{"person": 7'])
def test_bad_json_costs_the_metadata_only(tmp_path: Path, json_bytes: bytes) -> None:
    sample = only(write_tar(tmp_path / "0.tar", whole("0", json=json_bytes)))
    assert sample.caption == "face 0"
    assert sample.metadata == {"key": "0", "reading_notes": ["bad_json"]}


def test_region_maps_follow_the_crop_and_are_never_interpolated(tmp_path: Path) -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:40] = (0, 0, 250)
    labels = np.zeros((40, 80), np.uint8)
    labels[:, 20:40] = 5
    sample = only(write_tar(tmp_path / "0.tar", whole("0", png=encode(picture), **{"regions.png": encode(labels)})), 20)
    assert set(np.unique(sample.region_map)) == {0, 5}
    assert (sample.region_map[:, :10] == 5).all() and (sample.region_map[:, 10:] == 0).all()
    assert (sample.image[:, 2:8, 2] == 250).all()


@pytest.mark.parametrize(
    "region_map",
    [
        b"junk",
        encode(np.full((48, 48), len(REGIONS), np.uint8)),
        encode(gradient()),
        encode(np.zeros((9, 48), np.uint8)),
    ],
)
def test_unusable_region_maps_are_noted(tmp_path: Path, region_map: bytes) -> None:
    sample = only(write_tar(tmp_path / "0.tar", whole("0", **{"regions.png": region_map})), None)
    assert sample.region_map is None and sample.metadata["reading_notes"] == ["bad_region_map"]


def test_landmarks_follow_the_crop(tmp_path: Path) -> None:
    metadata = {"landmarks": [[20, 0], [60, 40], [40, 10]], "width": 80, "height": 40}
    parts = {"png": encode(gradient(80, 40)), "json": json.dumps(metadata).encode()}
    path = write_tar(tmp_path / "0.tar", whole("0", **parts))
    assert only(path, 20).metadata["landmarks"].tolist() == [[0, 0], [20, 20], [10, 5]]
    assert only(path, None).metadata["landmarks"] == metadata["landmarks"]
    del metadata["width"]
    parts["json"] = json.dumps(metadata).encode()
    sample = only(write_tar(path, whole("0", **parts)), 20)
    assert "landmarks" not in sample.metadata and sample.metadata["reading_notes"] == ["bad_landmarks"]


def test_long_and_foreign_names_and_other_members(tmp_path: Path) -> None:
    key = "ünïcode/" + "x" * 180 + "/0001"
    members = {"__index__": b"?", **whole(key), "README.md": b"no sample", "0002.cls": b"3", **whole("0003")}
    for number, format in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        dataset = FaceShards(write_tar(tmp_path / f"{number}.tar", members, format))
        assert [dataset.key(i) for i in range(len(dataset))] == [key, "0003"]
        assert dataset[0].caption == f"face {key}"


def test_a_key_in_two_shards_gets_two_identities(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tar(tmp_path / "a.tar", {**whole("0"), **whole("1")})
    write_tar(tmp_path / "b.tar", {**whole("1"), **whole("2")})
    dataset = FaceShards(tmp_path)
    assert len(set(dataset.sample_ids.tolist())) == 4
    assert dataset.sample_ids.tolist()[:2] == [key_identity("0"), key_identity("1")]
    assert "1 of 4 keys occur in more than one shard" in dataset.problems[0] and "1 of 4 keys" in caplog.text
    write_tar(tmp_path / "c.tar", {**whole("1"), **whole("0")})
    expected = [("0", 0), ("1", 0), ("1", 1), ("2", 0), ("1", 2), ("0", 1)]
    assert FaceShards(tmp_path).sample_ids.tolist() == [key_identity(*key) for key in expected]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b""), "00007.tar"),
        (lambda path: write_tar(path, {}), "empty shard"),
        (lambda path: write_tar(path, {"README.md": b"hello"}), "no whole sample"),
        (lambda path: path.write_bytes(b"no tar at all" * 1000), "not a readable tar"),
        (lambda path: path.write_bytes(gzip.compress(b"a tar")), "gzip-compressed"),
        (lambda path: path.mkdir(), "no image"),
    ],
)
def test_unreadable_shards_are_an_input_error_at_construction(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "00007.tar"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        FaceShards(path)
    assert "00007.tar" in str(caught.value)


def test_bad_arguments(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", whole("0"))
    for arguments, message in (
        (([],), "paths"),
        ((str(tmp_path / "*.tgz"),), "no file matches"),
        ((path, 0), "size"),
    ):
        with pytest.raises(InputError, match=message):
            FaceShards(*arguments)


def make_shard(path: Path, count: int = 6) -> Path:
    members: dict[str, bytes] = {}
    for number in range(count):
        members |= whole(f"{number:04d}", number)
    return write_tar(path, members)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_truncated_shard_gives_its_whole_samples(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    intact = tmp_path_factory.getbasetemp() / "intact" / "0.tar"
    if not intact.exists():
        make_shard(intact)
    with tarfile.open(intact) as archive:
        members = archive.getmembers()
    ends = [members[place + 2].offset_data + members[place + 2].size for place in range(0, len(members), 3)]
    end_mark = -(-ends[-1] // 512) * 512 + 512  # the first block of the end mark tells that the archive is complete
    cut = data.draw(st.integers(0, end_mark - 1) | st.sampled_from([e + d for e in ends for d in (-1, 0, 300)]))
    path = intact.with_name("cut.tar")
    path.write_bytes(intact.read_bytes()[:cut])
    whole_samples = sum(end <= cut for end in ends)
    second_begun = -(-ends[0] // 512) * 512 + 512  # before that nobody can tell whether the first sample has more parts
    if cut < max(ends[0], second_begun):
        with pytest.raises(InputError, match=r"cut\.tar"):
            FaceShards(path)
        return
    dataset = FaceShards(path)
    assert [sample.caption for sample in dataset] == [f"face {n:04d}" for n in range(whole_samples)]
    assert len(dataset.problems) == 1 and "truncated" in dataset.problems[0] and "cut.tar" in dataset.problems[0]


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_shard(tmp_path / "0.tar")
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        header = archive.getmembers()[9].offset
    data[header + 150] ^= 0xFF  # breaks its checksum; tarfile alone would end here in silence
    path.write_bytes(data)
    dataset = FaceShards(path)
    assert len(dataset) == 3
    assert "damaged" in dataset.problems[0] and "the 3 samples" in caplog.text


def test_a_shard_that_vanishes_or_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = make_shard(tmp_path / "0.tar")
    dataset = FaceShards(path)
    os.truncate(path, 5000)
    assert isinstance(dataset[0], Sample)
    assert dataset[5].reason == "unreadable_shard" and "shrunk" in dataset[5].detail
    dataset = FaceShards(make_shard(tmp_path / "1.tar"))
    (tmp_path / "1.tar").unlink()
    assert dataset[5].reason == "unreadable_shard"


def test_many_shards_do_not_exhaust_file_descriptors(tmp_path: Path) -> None:
    for number in range(OPEN_FILES + 10):
        make_shard(tmp_path / f"{number:03d}.tar", 1)
    dataset = FaceShards(tmp_path)
    assert all(isinstance(sample, Sample) for sample in dataset)
    assert len(open_files._files) == OPEN_FILES


def test_a_shard_written_anew_is_not_read_through_an_old_descriptor(tmp_path: Path) -> None:
    path = make_shard(tmp_path / "0.tar")
    assert FaceShards(path)[0].caption == "face 0000"
    os.replace(write_tar(tmp_path / "new.tar", whole("0000", txt=b"another face")), path)
    assert FaceShards(path)[0].caption == "another face"
