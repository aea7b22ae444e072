"""Faces brought to the template: where eyes and mouth land, what is left out and why, nothing lost at kill -9."""

from __future__ import annotations

import itertools
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gptface.data.sample import Sample
from gptface.data.shards import FaceShards
from gptface.data.web.aligning import AlignWish, align
from gptface.data.web.step import open_step
from gptface.errors import InputError
from gptface.faces.alignment import alignment_anchors, alignment_matrix, apply_alignment
from gptface.faces.templates import TEMPLATES
from tests.data.web.faces_from_the_web import FIVE, detection, draw_face, jpeg, needs_web, read_rows, write_fetched
from tests.helpers.killing import digest_folder, killed_at

pytestmark = needs_web
WISH = AlignWish(size=64)
PORTRAIT = TEMPLATES["portrait"]


def face(points: np.ndarray = FIVE, **fields: Any) -> dict[str, Any]:
    box, landmarks, score = detection(points, **fields)
    return {"box": box.tolist(), "landmarks": landmarks.tolist(), "score": float(score)}


def fetched(folder: Path, *samples: dict[str, Any], **options: Any) -> Path:
    return write_fetched(folder, [{"image": jpeg(draw_face(0)), "faces": [face()], **sample} for sample in samples])


def aligned_samples(folder: Path) -> list[Sample]:
    samples = list(FaceShards(folder))
    assert all(isinstance(sample, Sample) for sample in samples)
    return samples  # type: ignore[return-value]


def colours(image: np.ndarray) -> tuple[int, int, int]:
    """Which of red, green and blue stands out at the template's eyes and mouth."""
    side = len(image)
    eye = PORTRAIT.eye_distance / 2
    places = [(0.5 - eye, PORTRAIT.eye_y), (0.5 + eye, PORTRAIT.eye_y), (0.5, PORTRAIT.mouth_y)]
    return tuple(int(np.argmax(image[int(y * side), int(x * side)])) for x, y in places)  # type: ignore[return-value]


@given(
    st.floats(0, 2 * math.pi), st.floats(0.1, 8), st.floats(-300, 300), st.floats(-300, 300), st.sampled_from([64, 224])
)
def test_any_similarity_of_a_face_gives_the_same_aligned_points(
    angle: float, scale: float, x: float, y: float, size: int
) -> None:
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    moved = FIVE @ turn.T + [x, y]
    expected = apply_alignment(alignment_matrix(FIVE, PORTRAIT, size), FIVE)
    found = apply_alignment(alignment_matrix(moved, PORTRAIT, size), moved)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    matrix = alignment_matrix(moved, PORTRAIT, size)[:, :2]
    np.testing.assert_allclose(matrix @ matrix.T, np.linalg.det(matrix) * np.eye(2), atol=1e-9)  # no shear, no mirror
    assert np.linalg.det(matrix) > 0


def test_a_face_like_the_template_lands_on_it() -> None:
    eye = PORTRAIT.eye_distance / 2
    target = np.array([[0.5 - eye, PORTRAIT.eye_y], [0.5 + eye, PORTRAIT.eye_y], [0.5, PORTRAIT.mouth_y]]) * 100
    points = np.stack([target[0], target[1], [50, 60], target[2] - [9, 0], target[2] + [9, 0]])
    found = apply_alignment(alignment_matrix(points * 3 + 7, PORTRAIT, 100), points * 3 + 7)
    np.testing.assert_allclose(found, points, atol=1e-9)


@pytest.mark.parametrize("count", [68, 468])
def test_anchors_of_many_points_lie_in_eyes_and_mouth(count: int) -> None:
    points = np.zeros((count, 2))
    lids = {68: (range(36, 42), range(42, 48)), 468: ((33, 133), (263, 362))}[count]
    corners = {68: (48, 54), 468: (61, 291)}[count]
    points[list(lids[0])], points[list(lids[1])] = FIVE[0], FIVE[1]
    points[list(corners)] = FIVE[3], FIVE[4]
    np.testing.assert_allclose(alignment_anchors(points), alignment_anchors(FIVE))
    with pytest.raises(InputError, match="one place"):
        alignment_matrix(np.ones((count, 2)), PORTRAIT, 64)


def test_every_face_of_a_picture_is_aligned_and_keeps_its_caption(tmp_path: Path) -> None:
    other = FIVE * 0.6 + [60, 30]
    source = fetched(
        tmp_path / "fetched",
        {"caption": "two\nlines, «ö»", "nsfw": "UNLIKELY", "similarity": 0.3},
        {"faces": [face(), face(other, side=60)], "image": jpeg(draw_face(1, points=FIVE))},
    )
    summary = align(source, tmp_path / "out", WISH, quiet=True)
    samples = aligned_samples(tmp_path / "out")
    assert [sample.metadata["key"] for sample in samples] == ["000000000-0", "000000001-0", "000000001-1"]
    assert colours(samples[0].image) == colours(samples[1].image) == (0, 1, 2)
    assert samples[0].image.shape == (64, 64, 3) and samples[0].caption == "two lines, «ö»"
    points = np.array(samples[0].metadata["landmarks"])
    np.testing.assert_allclose(points, apply_alignment(alignment_matrix(FIVE, PORTRAIT, 64), FIVE), atol=0.01)
    assert summary["pictures"] == 2 and summary["faces"] == summary["faces_aligned"] == 3
    table = read_rows(tmp_path / "out" / "00000.parquet")
    assert table[0]["similarity"] == 0.3 and table[2]["faces"] == 2 and table[2]["side"] == pytest.approx(60)


def test_the_picture_may_have_another_size_than_was_listed_but_not_another_shape(tmp_path: Path) -> None:
    large = FIVE * 3
    listed = {"listed_width": 480, "listed_height": 360, "faces": [face(large, side=240)]}
    source = fetched(tmp_path / "fetched", listed, {**listed, "listed_height": 480})
    summary = align(source, tmp_path / "out", WISH, quiet=True)
    assert summary["pictures_left_out"] == {"another_picture": 1}
    [sample] = aligned_samples(tmp_path / "out")
    assert colours(sample.image) == (0, 1, 2)
    assert sample.metadata["face"]["side"] == pytest.approx(80)


@pytest.mark.parametrize("enlarged", [1, 5, 12])
def test_large_pictures_are_reduced_before_they_are_resampled(tmp_path: Path, enlarged: int) -> None:
    image = draw_face(3).resize((160 * enlarged, 120 * enlarged), Image.Resampling.BICUBIC)
    source = fetched(tmp_path / "fetched", {"image": jpeg(image), "faces": [face(FIVE * enlarged, side=80 * enlarged)]})
    align(source, tmp_path / "out", WISH, quiet=True)
    [sample] = aligned_samples(tmp_path / "out")
    assert colours(sample.image) == (0, 1, 2)
    small = fetched(tmp_path / "small", {"image": jpeg(draw_face(3))})
    align(small, tmp_path / "out-small", WISH, quiet=True)
    [expected] = aligned_samples(tmp_path / "out-small")
    assert np.abs(sample.image.astype(int) - expected.image).mean() < 4


def test_published_points_lie_in_the_stored_picture_own_points_in_the_upright_one(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: shown, it is turned by 90° clockwise
    encoded = jpeg(draw_face(4), exif=exif)
    upright = np.stack([120 - FIVE[:, 1], FIVE[:, 0]], axis=1)
    source = fetched(
        tmp_path / "fetched", {"image": encoded}, {"image": encoded, "faces": None, "landmarks": upright.tolist()}
    )
    align(source, tmp_path / "out", WISH, quiet=True)
    first, second = aligned_samples(tmp_path / "out")
    assert colours(first.image) == colours(second.image) == (0, 1, 2)
    assert np.abs(first.image.astype(int) - second.image).mean() < 3


def test_own_points_by_key_go_before_published_ones(tmp_path: Path) -> None:
    source = fetched(tmp_path / "fetched", {"faces": [face(FIVE + 300)]})
    np.savez(tmp_path / "points.npz", key=np.array(["000000000"]), points=FIVE[None].astype(np.float32))
    wish = AlignWish(size=64, landmarks=(str(tmp_path / "points.npz"),))
    align(source, tmp_path / "out", wish, quiet=True)
    assert colours(aligned_samples(tmp_path / "out")[0].image) == (0, 1, 2)


def test_what_cannot_be_used_is_counted_by_its_reason(tmp_path: Path) -> None:
    bomb = Path(tmp_path / "bomb.png")
    Image.new("1", (8192, 6200)).save(bomb)
    source = fetched(
        tmp_path / "fetched",
        {"image": b"<html>"},
        {"image": jpeg(draw_face(0))[:900]},
        {"image": bomb.read_bytes()},
        {"faces": []},
        {"faces": [face(side=10)]},
        {"faces": [face(FIVE * math.nan), face(np.ones((5, 2)))]},
        {"faces": ["face", {"landmarks": "none"}, face(FIVE + 5000)]},
        {"json": "[1]"},
        {},
    )
    summary = align(source, tmp_path / "out", WISH, quiet=True)
    assert summary["pictures_left_out"] == {
        "not_an_image": 1,
        "truncated_image": 1,
        "too_many_pixels": 1,
        "no_landmarks": 1,
        "no_whole_face": 3,
        "bad_metadata": 1,
    }
    assert summary["pictures_used"] == 1 and summary["faces_aligned"] == 1
    assert summary["faces_left_out"] == {"too_small": 1, "bad_landmarks": 4, "outside": 1, "in_lost_pictures": 3}


def test_more_shards_are_taken_in_later_and_broken_ones_tried_again(tmp_path: Path) -> None:
    write_fetched(tmp_path / "fetched", [{"image": jpeg(draw_face(0)), "faces": [face()]}])
    (tmp_path / "fetched" / "00001.tar").write_bytes(b"no tar")  # without a record: img2dataset is at it
    assert align(tmp_path / "fetched", tmp_path / "out", WISH, quiet=True)["shards"] == 1
    (tmp_path / "fetched" / "00001_stats.json").write_text("{}")
    summary = align(tmp_path / "fetched", tmp_path / "out", WISH, quiet=True)
    assert summary["failed_shards"] == 1 and not summary["complete"]
    write_fetched(tmp_path / "fetched", [{"image": jpeg(draw_face(1)), "faces": [face()]}] * 2, "00001")
    summary = align(tmp_path / "fetched", tmp_path / "out", WISH, quiet=True)
    assert summary["complete"] and summary["faces_aligned"] == 3


def test_kill_9_at_every_instant_changes_nothing(tmp_path: Path) -> None:
    for name in ("00000", "00001"):
        write_fetched(tmp_path / "fetched", [{"image": jpeg(draw_face(0)), "faces": [face()]}] * 2, name)
    align(tmp_path / "fetched", tmp_path / "whole", WISH, quiet=True)
    expected = digest_folder(tmp_path / "whole")
    for number in itertools.count():
        work = partial(align, tmp_path / "fetched", tmp_path / f"killed-{number}", WISH, quiet=True)
        if not killed_at(number, work):
            break
        work()
        assert digest_folder(tmp_path / f"killed-{number}") == expected, number
    assert number > 6


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    source = fetched(tmp_path / "fetched", {})
    with open_step(tmp_path / "out", "align", {}, quiet=True), pytest.raises(InputError, match="another run"):
        align(source, tmp_path / "out", WISH, quiet=True)
    with pytest.raises(InputError, match="was begun with"):
        align(source, tmp_path / "out", WISH, quiet=True)
    with pytest.raises(InputError, match="template: 'round'; choose portrait, tight"):
        align(source, tmp_path / "new", AlignWish(template="round"), quiet=True)
    with pytest.raises(InputError, match="no shard that is complete"):
        align(tmp_path, tmp_path / "new", WISH, quiet=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_processes_and_ray_do_the_same(tmp_path: Path) -> None:
    for name in ("00000", "00001", "00002"):
        write_fetched(tmp_path / "fetched", [{"image": jpeg(draw_face(int(name))), "faces": [face()]}] * 2, name)
    align(tmp_path / "fetched", tmp_path / "one", WISH, quiet=True)
    align(tmp_path / "fetched", tmp_path / "two", WISH, processes=2, quiet=True)
    assert digest_folder(tmp_path / "one") == digest_folder(tmp_path / "two")
    pytest.importorskip("ray")
    align(tmp_path / "fetched", tmp_path / "ray", WISH, ray="local", quiet=True)
    assert digest_folder(tmp_path / "one") == digest_folder(tmp_path / "ray")


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    source = fetched(tmp_path / "fetched", {})
    with pytest.raises(InputError, match="--ray: "):
        align(source, tmp_path / "out", WISH, ray="127.0.0.1:1", quiet=True)
    assert json.loads((tmp_path / "out" / "step.plan").read_text())["step"] == "align"
