"""Atomic writing: the old content or the new, never half of it, and nothing left over."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptface.data.inputs import as_photo
from gptface.errors import InputError
from gptface.files import atomic_directory, atomic_write, url_problem
from gptface.models import FaceTokenizer
from gptface.systems.gptface import FaceSystem


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("the disk filled up")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_a_successful_write_replaces_the_file_and_keeps_the_suffix(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "picture.png"
    with atomic_write(target) as temporary:
        assert temporary.suffix == ".png" and temporary.parent == target.parent
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o400
    assert len(list(target.parent.iterdir())) == 1


def test_a_failed_directory_keeps_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    with atomic_directory(target) as temporary:
        (temporary / "step").write_text("1")
    with pytest.raises(OSError), atomic_directory(target) as temporary:
        (temporary / "step").write_text("2")
        raise OSError(28, "No space left on device")
    assert (target / "step").read_text() == "1"
    with atomic_directory(target) as temporary:
        (temporary / "other").write_text("3")
    assert [path.name for path in target.iterdir()] == ["other"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_an_impossible_place_is_named_as_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    target = tmp_path / "file" / "picture.png"
    with pytest.raises(OSError) as failure, atomic_write(target):
        pass
    assert failure.value.filename == str(target)


@pytest.mark.parametrize("path", ["https://host/x.png", "s3://bucket/x", "file:///tmp/x", "pipe:curl x", "HF://a/b"])
def test_a_url_is_told_from_a_path(path: str) -> None:
    assert url_problem(path) == (
        f"{path} is a URL, not a path; allowed: a file or folder of this machine, so download it first"
    )
    assert url_problem(Path(path)) is not None  # which makes one slash of two
    with pytest.raises(InputError, match="a URL, not a path"):
        FaceSystem.from_pretrained(path)
    with pytest.raises(InputError, match="a URL, not a path"):
        FaceTokenizer.from_pretrained(path)
    with pytest.raises(InputError, match=r"image: .* a URL, not a path"):
        as_photo(path)


def test_paths_are_no_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("x.png", "C:/x.png", "/a:b/c", "a/https:", "{00..09}.tar", "faces-*.tar", "demo", "key=a:b"):
        assert url_problem(path) is None, path
    (tmp_path / "notes:").mkdir()
    (tmp_path / "notes:" / "x").touch()
    monkeypatch.chdir(tmp_path)
    assert url_problem("notes:/x") is None  # it is there


def test_a_folder_of_that_name_is_named_not_the_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "face.png").mkdir()
    with pytest.raises(OSError) as told, atomic_write(tmp_path / "face.png") as temporary:
        temporary.write_text("x")
    assert told.value.filename == str(tmp_path / "face.png")
    assert [path.name for path in tmp_path.iterdir()] == ["face.png"]
