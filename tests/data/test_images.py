from __future__ import annotations

import io
import pickle
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gptface.data.images import IMAGE_PROBLEMS, UnusableImage, centre_square, encode_image, load_image, save_image
from gptface.errors import InputError
from tests.helpers.image_files import encode, gradient, large_jpeg, png_claiming, without_adobe_marker


def reason(source: object, size: int | None = None, **options: object) -> str:
    with pytest.raises(UnusableImage) as caught:
        load_image(source, size, **options)
    assert caught.value.reason in IMAGE_PROBLEMS
    assert "\n" not in str(caught.value)
    return caught.value.reason


def close(image: np.ndarray, expected: np.ndarray, tolerance: float = 3.0) -> bool:
    assert image.dtype == np.uint8 and image.shape == expected.shape
    return float(np.abs(image.astype(float) - expected).mean()) < tolerance


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_lossless_formats_come_back_exactly(format: str) -> None:
    picture = gradient(31, 17)
    options = {"lossless": True} if format == "WEBP" else {}
    assert np.array_equal(load_image(encode(picture, format, **options)), picture)


def test_path_bytes_and_file_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    path.write_bytes(encode(gradient(), "JPEG", quality=95))
    from_path = load_image(path)
    assert np.array_equal(from_path, load_image(str(path)))
    assert np.array_equal(from_path, load_image(path.read_bytes()))
    with path.open("rb") as file:
        assert np.array_equal(from_path, load_image(file))
    assert close(from_path, gradient())


def test_greyscale_and_one_bit_become_three_equal_channels() -> None:
    grey = gradient()[..., 0]
    for format in ("PNG", "JPEG"):
        image = load_image(encode(grey, format))
        assert (image == image[..., :1]).all()
        assert close(image[..., 0], grey)
    bits = load_image(encode(Image.fromarray(grey).convert("1")))
    assert set(np.unique(bits)) == {0, 255}


def test_sixteen_bit_greyscale_is_scaled_not_clipped() -> None:
    levels = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    for format in ("PNG", "TIFF"):
        image = load_image(encode(Image.fromarray(levels), format))
        assert np.array_equal(image[..., 0].ravel(), np.arange(256))


def test_float_pixels_are_refused_because_their_range_is_unknown() -> None:
    assert reason(encode(Image.fromarray(np.ones((32, 32), np.float32)), "TIFF")) == "unsupported_mode"


@pytest.mark.parametrize("background", [(255, 255, 255), (10, 20, 30)])
def test_transparency_is_composited_on_the_stated_background(background: tuple[int, int, int]) -> None:
    picture = np.zeros((20, 20, 4), np.uint8)
    picture[:10] = (200, 100, 50, 255)
    picture[10:15] = (200, 100, 50, 128)
    image = load_image(encode(picture), background=background)
    assert (image[:10] == (200, 100, 50)).all()
    half = (128 * np.array([200, 100, 50]) + 127 * np.array(background)) / 255
    assert np.abs(image[10:15] - half).max() <= 1
    assert (image[15:] == background).all()


def test_palette_colour_key_and_grey_alpha_transparency() -> None:
    palette = Image.fromarray(np.repeat([[0, 1, 2, 3]], 4, 0).astype(np.uint8)).convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image = load_image(encode(palette, transparency=1))
    assert image[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255], [9, 9, 9]]
    keyed = load_image(encode(np.full((4, 4, 3), 7, np.uint8), transparency=(7, 7, 7)), background=(1, 2, 3))
    assert (keyed == (1, 2, 3)).all()
    grey_alpha = np.zeros((4, 4, 2), np.uint8)
    grey_alpha[..., 0] = 77
    grey_alpha[:2, :, 1] = 255
    image = load_image(encode(Image.fromarray(grey_alpha, "LA")))
    assert (image[:2] == 77).all() and (image[2:] == 255).all()


def test_cmyk_of_adobe_and_without_its_marker_show_the_same_colours() -> None:
    ink = np.zeros((32, 32, 4), np.uint8)
    ink[:16, :, 1:3] = 255  # magenta and yellow: red
    expected = np.full((32, 32, 3), 255, np.uint8)
    expected[:16] = (255, 0, 0)
    cmyk = Image.fromarray(ink, "CMYK")
    adobe = encode(cmyk, "JPEG", quality=95)  # Pillow writes Adobe's marker and inverted values
    assert close(load_image(adobe), expected)
    plain = without_adobe_marker(encode(Image.fromarray(255 - ink, "CMYK"), "JPEG", quality=95))
    assert close(load_image(plain), expected)
    assert close(load_image(encode(cmyk, "TIFF")), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = np.zeros((24, 40, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)
    upright[:8, -8:] = (0, 255, 0)
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 3),
    }
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for format in ("PNG", "JPEG", "WEBP"):
        assert close(load_image(encode(stored, format, exif=exif)), upright, 6), format
    grey = encode(stored.convert("L"), "JPEG", exif=exif)
    assert load_image(grey).shape == upright.shape


def test_broken_exif_does_not_cost_the_picture() -> None:
    jpeg = encode(gradient(), "JPEG")
    junk = b"Exif\0\0MM\0*\xff\xff\xff\xff\x01\x12"
    broken = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(junk) + 2) + junk + jpeg[2:]
    assert close(load_image(broken), gradient(), 6)


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.fromarray(np.full((20, 20, 3), value, np.uint8)) for value in (250, 10)]
    for format in ("GIF", "WEBP"):
        image = load_image(encode(frames[0], format, save_all=True, append_images=frames[1:]))
        assert image.min() >= 245


def test_resizing_takes_the_centred_square_and_averages_what_it_drops() -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 200
    image = load_image(encode(wide), 16)
    assert image.shape == (16, 16, 3)
    assert (image[:, 2:-2] == 200).all()  # at the very edge the filter sees what lies beyond the crop
    assert image.min() > 180
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    averaged = load_image(encode(checks.astype(np.uint8)), 16)
    assert np.abs(averaged.astype(int) - 127).max() <= 3  # without antialiasing: 0 or 255
    assert load_image(encode(gradient(20, 30)), 64).shape == (64, 64, 3)
    assert centre_square(5, 2) == (1.5, 0, 3.5, 2)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_truncated_files_are_refused_by_name(format: str) -> None:
    data = encode(gradient(64, 64), format)
    for cut in (len(data) // 2, len(data) * 2 // 3, len(data) - len(data) // 10):
        assert reason(data[:cut], 32) == "truncated_image"


def test_files_that_are_no_images(tmp_path: Path) -> None:
    assert reason(b"") == "empty_file"
    assert reason(b"<html>404 not found</html>") == "not_an_image"
    assert reason(tmp_path / "absent.png") == "missing_file"
    assert reason(tmp_path) == "missing_file"
    # EPS starts an external interpreter in Pillow; it must not be recognised at all.
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n") == "not_an_image"
    message = "holiday.jpg"
    with pytest.raises(UnusableImage, match=message):
        load_image(b"nothing", name=message)


def test_too_small() -> None:
    assert reason(encode(gradient(64, 15)), 32, minimum_side=16) == "too_small"
    assert load_image(encode(gradient(64, 16)), 32, minimum_side=16).shape == (32, 32, 3)
    with pytest.raises(InputError, match="size: 0"):
        load_image(encode(gradient()), 0)


def test_a_50_megapixel_bomb_is_refused_or_decoded_small() -> None:
    bomb = large_jpeg(50)
    assert len(bomb) < 2_000_000
    assert reason(bomb) == "too_many_pixels"
    started = time.monotonic()
    image = load_image(bomb, 64)  # baseline JPEG: decoded at an eighth of its size
    assert time.monotonic() - started < 10
    assert image.shape == (64, 64, 3)
    assert np.abs(image[:, :30].astype(int) - 40).max() < 8 and np.abs(image[:, 34:].astype(int) - 200).max() < 8
    assert reason(bomb, 64, maximum_pixels=500_000) == "too_many_pixels"  # 0.78 million even at an eighth
    # A progressive file keeps all its coefficients in memory, whatever size it is decoded at.
    assert reason(large_jpeg(50, progressive=True), 64) == "too_many_pixels"


@pytest.mark.parametrize("side", [7_100, 15_000, 60_000])
def test_png_bombs_are_refused_by_their_header(side: int) -> None:
    started = time.monotonic()
    assert reason(png_claiming(side, side), 64) == "too_many_pixels"
    assert time.monotonic() - started < 1


VICTIMS = [
    encode(gradient(40, 40), "JPEG"),
    encode(gradient(40, 40), "JPEG", progressive=True),
    encode(Image.fromarray(np.zeros((40, 40, 4), np.uint8), "CMYK"), "JPEG"),
    encode(gradient(40, 40), "PNG"),
    encode(gradient(40, 40), "WEBP"),
    encode(gradient(40, 40), "GIF"),
    encode(gradient(40, 40), "TIFF", compression="tiff_deflate"),
    encode(gradient(40, 40), "AVIF"),
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(victim=st.sampled_from(VICTIMS), data=st.data())
def test_no_damage_raises_anything_but_an_unusable_image(victim: bytes, data: st.DataObject) -> None:
    damaged = bytearray(victim[: data.draw(st.integers(0, len(victim)), label="cut")])
    for _ in range(data.draw(st.integers(0, 4), label="changes")):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = load_image(bytes(damaged), 32, maximum_pixels=1_000_000)
    except UnusableImage as problem:
        assert problem.reason in IMAGE_PROBLEMS
    else:
        assert image.dtype == np.uint8 and image.shape == (32, 32, 3)


def test_the_problem_survives_the_way_home_from_a_worker() -> None:
    problem = pickle.loads(pickle.dumps(UnusableImage("too_small", "a.png: 3x3 pixels")))
    assert (problem.reason, str(problem)) == ("too_small", "a.png: 3x3 pixels")


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "PNG"])
def test_save_image_round_trip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"face.{suffix}"
    save_image(path, gradient())
    loaded = load_image(path)
    assert np.array_equal(loaded, gradient()) if suffix.lower() == "png" else close(loaded, gradient())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_save_image_refuses_what_it_cannot_write_and_leaves_nothing(tmp_path: Path) -> None:
    for name, image in (
        ("face.gif", gradient()),
        ("face", gradient()),
        ("face.png", gradient().astype(np.float32)),
        ("face.png", np.zeros((4, 4, 4), np.uint8)),
    ):
        with pytest.raises(InputError):
            save_image(tmp_path / name, image)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="format"):
        encode_image(gradient(), "bmp")


def test_greyscale_and_strided_arrays_are_encoded() -> None:
    labels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    with Image.open(io.BytesIO(encode_image(labels))) as stored:
        assert stored.mode == "L" and np.array_equal(np.array(stored), labels)
    flipped = gradient()[:, ::-1]
    assert np.array_equal(load_image(encode_image(flipped)), flipped)
    assert np.array_equal(load_image(encode_image(flipped, "webp", quality=100)), flipped)
