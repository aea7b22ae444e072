"""FaceCaption's and HumanCaption's tables in small: rows reach their pictures, faces are cut out, odd rows counted."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gptface.data.public.caption_tables import CaptionTable
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason='needs the extra: pip install "gptface[web]"'
)


def write_table(path: Path, columns: dict[str, list[Any]], rows_in_a_group: int = 2) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path, row_group_size=rows_in_a_group)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    count = 5
    columns = {
        "_id": [f"id{number}" for number in range(count)],
        "url": [f"https://host.example/{number}.jpg" for number in range(count)],
        "caption": [[f"The face {number}."] for number in range(count)],
        "laion_caption": [["alt text"], [], [None], ["alt"], ["alt"]],
        "box": ["[40, 10, 60, 30]", "[0, 0, 10, 40]", "[5, 5, 5, 9]", "no box", "[500, 500, 600, 600]"],
    }
    write_table(tmp_path / "FaceCaption-v2.parquet", columns)
    for number in range(count):
        image = np.zeros((60, 80, 3), dtype=np.uint8)
        image[10:30, 40:60] = 255
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "pictures" / f"id{number}.{'png' if number else 'jpg'}")
    return tmp_path


def test_rows_reach_their_pictures_and_faces_are_cut_out(faces: Path) -> None:
    table = CaptionTable(faces)
    assert len(table) == 5 and table.key(3) == "id3"
    face = table[0]
    assert isinstance(face, Sample) and face.caption == "The face 0." and face.captions == ["The face 0.", "alt text"]
    assert face.metadata["url"] == "https://host.example/0.jpg"
    # Half as much again as the box of 20 × 20, around its middle.
    assert face.image.shape == (30, 30, 3)
    np.testing.assert_allclose(face.metadata["box"], [5, 5, 25, 25])
    left, top, right, bottom = face.metadata["box"].astype(int)
    assert face.image[top + 1 : bottom - 1, left + 1 : right - 1].min() > 200 and face.image[:, 0].max() < 60
    small = CaptionTable(faces, size=15)[0]
    assert isinstance(small, Sample) and small.image.shape == (15, 15, 3)
    np.testing.assert_allclose(small.metadata["box"], [2.5, 2.5, 12.5, 12.5])


def test_a_cut_stays_within_its_picture(faces: Path) -> None:
    face = CaptionTable(faces)[1]
    assert isinstance(face, Sample) and face.image.shape == (60, 60, 3) and face.captions == ["The face 1."]
    np.testing.assert_allclose(face.metadata["box"], [0, 0, 10, 40])


def test_rows_that_cannot_be_used_are_counted(faces: Path) -> None:
    (faces / "pictures" / "id0.jpg").unlink()
    (faces / "pictures" / "id1.png").write_bytes(b"no picture")
    found = [face.reason if isinstance(face, Skipped) else "" for face in CaptionTable(faces)]
    assert found == ["missing_image", "not_an_image", "bad_row", "bad_row", "corrupt_image"]
    skipped = CaptionTable(faces)[3]
    assert isinstance(skipped, Skipped) and "FaceCaption-v2.parquet, row 3: 'no box' is no box" in skipped.detail


def test_one_row_group_is_in_memory_and_rows_come_in_any_order(faces: Path) -> None:
    table = CaptionTable(faces)
    keys = [table.key(index) for index in (4, 0, 3, 1, 2)]
    assert keys == ["id4", "id0", "id3", "id1", "id2"] and len(table._held[1]) == 2
    with pytest.raises(IndexError):
        table.key(5)


def test_humancaption_names_its_pictures(tmp_path: Path) -> None:
    columns = {
        "image": ["00/a.jpg", "00/b.jpg", "../c.jpg", "00/d.jpg"],
        "url": ["https://host.example/"] * 4,
        "human_caption": [["A person\nat a desk."], ["Two."], ["Three."], [""]],
    }
    write_table(tmp_path / "default" / "train" / "0000.parquet", {k: v[:2] for k, v in columns.items()})
    write_table(tmp_path / "default" / "train" / "0001.parquet", {k: v[2:] for k, v in columns.items()})
    (tmp_path / "00").mkdir()
    Image.new("RGB", (40, 20)).save(tmp_path / "00" / "a.jpg")
    table = CaptionTable(tmp_path, "train", 10)
    face = table[0]
    assert isinstance(face, Sample) and face.caption == "A person at a desk." and face.image.shape == (10, 10, 3)
    assert table.key(1) == "00/b" and "box" not in face.metadata
    found = [one.reason if isinstance(one, Skipped) else "" for one in table]
    assert found == ["", "missing_image", "bad_row", "bad_row"]
    skipped = table[2]
    assert isinstance(skipped, Skipped) and "0001.parquet, row 0" in skipped.detail


def test_tables_of_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a table is missing; sought: FaceCaption-v2\.parquet"):
        CaptionTable(tmp_path)
    path = tmp_path / "FaceCaption-v1.parquet"
    write_table(path, {"URL": ["https://host.example/"], "face_caption": ["A face."]})
    with pytest.raises(
        InputError, match="has the columns URL, face_caption; needed: FaceCaption-15M: _id, url, caption"
    ):
        CaptionTable(tmp_path)
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match="no parquet file that can be read"):
        CaptionTable(tmp_path)
    with pytest.raises(InputError, match="these tables have train alone"):
        CaptionTable(tmp_path, "test")
