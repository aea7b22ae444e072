"""Pictures, masks and label images of every kind people give, by file and in memory: the same pixels each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gptface.data.inputs import as_labels, as_mask, as_photo, as_photos, seed_list
from gptface.errors import InputError
from gptface.faces.regions import REGIONS

PHOTO = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
MASK = np.zeros((9, 7), dtype=bool)
MASK[2:5, 3:6] = True
LEVELS = (MASK * 255).astype(np.uint8)
LABELS = np.zeros((9, 7), dtype=np.uint8)
LABELS[:3] = REGIONS.index("hair")
LABELS[6:] = REGIONS.index("mouth")
# A palette whose colours say nothing of the labels, and lie in the range of labels.
PALETTE = [channel for index in range(len(REGIONS)) for channel in (12 - index, 0, 0)]

Reader = Callable[[Image.Image], object]


@pytest.fixture(params=["file", "bytes", "opened", "in memory"])
def given(request: pytest.FixtureRequest, tmp_path: Path) -> Reader:
    """Hands a Pillow image on as it is, or as the PNG it is saved to."""

    def hand_on(image: Image.Image) -> object:
        path = tmp_path / "given.png"
        image.save(path, exif=image.getexif())
        if request.param == "bytes":
            return path.read_bytes()
        if request.param == "file":
            return path
        # EXIF data belong to a file: an image that has some was opened.
        return Image.open(path) if request.param == "opened" or image.getexif() else image

    return hand_on


def masks_of_every_mode() -> dict[str, Image.Image]:
    grey = Image.fromarray(LEVELS)
    upside_down = Image.fromarray(np.rot90(LEVELS, 2))
    upside_down.getexif()[0x0112] = 3  # rotate by 180°
    return {
        "L": grey,
        "1": Image.fromarray(MASK),
        "RGB": grey.convert("RGB"),
        "RGBA, opaque": grey.convert("RGBA"),
        "RGBA, transparent where it stays": Image.fromarray(
            np.dstack([np.full((9, 7, 3), 255, np.uint8), LEVELS]), "RGBA"
        ),
        "LA": grey.convert("LA"),
        "palette, white first": grey.convert("RGB").quantize(2),
        "16 bit, not quite black": Image.fromarray(np.where(MASK, 65535, 300).astype(np.uint16)),
        "EXIF": upside_down,
        "red": Image.fromarray(np.dstack([LEVELS, LEVELS * 0, LEVELS * 0])),
        "0 and 1": Image.fromarray(MASK.astype(np.uint8)),
    }


@pytest.mark.parametrize("mode", masks_of_every_mode())
def test_a_mask_with_alpha_palette_or_16_bit_marks_what_it_shows(mode: str, given: Reader) -> None:
    assert np.array_equal(as_mask(given(masks_of_every_mode()[mode]), PHOTO), MASK)


@pytest.mark.parametrize(
    "array",
    [
        MASK,
        LEVELS,
        MASK.astype(np.uint8),
        MASK.astype(np.int64),
        MASK.astype(np.int64) * 255,
        MASK.astype(np.float32),
        np.where(MASK, 0.5, 0.49),
        np.where(MASK, 255.0, 3.0),
        np.where(MASK, 65535, 300).astype(np.uint16),
        np.repeat(LEVELS[:, :, None], 3, axis=2),
        np.asarray(Image.fromarray(LEVELS).convert("RGBA")),
        LEVELS[:, :, None],
        torch.from_numpy(MASK),
        torch.from_numpy(LEVELS)[None],
        torch.from_numpy(MASK).bfloat16(),
    ],
    ids=lambda array: f"{type(array).__name__} {array.dtype} {tuple(array.shape)}",
)
def test_a_mask_of_numbers_is_scaled_by_its_range(array: np.ndarray | torch.Tensor) -> None:
    assert np.array_equal(as_mask(array, PHOTO), MASK)


def test_masks_that_cannot_be_meant_are_refused() -> None:
    cases = (
        ("5x4 pixels, but its image is 7x9", np.ones((4, 5))),
        ("no pixel", np.zeros((9, 7))),
        ("from -1 to 1", np.where(MASK, 1.0, -1.0)),
        ("nan", np.where(MASK, np.nan, 0.0)),
        ("to 700", MASK.astype(np.int64) * 700),
        ("channels", np.zeros((9, 7, 2), np.uint8)),
        ("got list", [[0, 1]]),
        ("without a known range", Image.fromarray(MASK.astype(np.float32))),
    )
    for words, wrong in cases:
        with pytest.raises(InputError, match="mask.*" + words if "range" not in words else "range"):
            as_mask(wrong, PHOTO)


def test_a_photo_is_the_same_as_a_file_and_in_memory(given: Reader) -> None:
    assert np.array_equal(as_photo(given(Image.fromarray(PHOTO))), PHOTO)
    turned = Image.fromarray(np.rot90(PHOTO, 2))
    turned.getexif()[0x0112] = 3
    assert np.array_equal(as_photo(given(turned)), PHOTO)


def test_a_transparent_photo_is_white_not_black(given: Reader) -> None:
    cut_out = Image.fromarray(np.dstack([PHOTO * 0, LEVELS]), "RGBA")
    shown = as_photo(given(cut_out))
    assert (shown[~MASK] == 255).all() and (shown[MASK] == 0).all()
    assert np.array_equal(as_photo(np.asarray(cut_out)), shown)


def test_photos_as_numbers() -> None:
    channels_first = torch.from_numpy(PHOTO).permute(2, 0, 1)
    wide = (PHOTO.astype(np.uint16) * 257).astype(np.uint16)
    floats = (PHOTO / 255, channels_first.float() / 255)
    for given_as in (PHOTO, channels_first, wide, *floats):
        assert np.array_equal(as_photo(given_as), PHOTO)
    grey = np.repeat(PHOTO[:, :, :1], 3, axis=2)
    for given_as in (PHOTO[:, :, 0], PHOTO[:, :, :1], channels_first[:1]):
        assert np.array_equal(as_photo(given_as), grey)
    assert len(as_photos(channels_first[None].expand(2, -1, -1, -1))) == 2
    for wrong in (PHOTO.astype(np.float32), PHOTO[:, :, :2], torch.zeros(1, 3, 4, 4), 7, PHOTO.astype(np.int64)):
        with pytest.raises(InputError, match="image"):
            as_photo(wrong)


def test_a_float_tensor_from_0_to_1_is_not_taken_for_one_from_minus_1_to_1() -> None:
    floats = torch.from_numpy(PHOTO).permute(2, 0, 1).float()
    assert np.array_equal(as_photo(floats / 255), PHOTO)
    with pytest.raises(InputError, match=r"\[0, 1\], got -1 to .*\(x \+ 1\) / 2"):
        as_photo(floats / 127.5 - 1)
    with pytest.raises(InputError, match="nan"):
        as_photo(floats * torch.nan)


def label_images() -> dict[str, Image.Image]:
    grey = Image.fromarray(LABELS)
    indexed = Image.frombytes("P", (7, 9), LABELS.tobytes())
    indexed.putpalette(PALETTE)
    return {
        "grey": grey,
        "palette": indexed,
        "16 bit": Image.fromarray(LABELS.astype(np.uint16)),
        "RGB": grey.convert("RGB"),
        "RGBA": grey.convert("RGBA"),
        "LA": grey.convert("LA"),
    }


@pytest.mark.parametrize("mode", label_images())
def test_a_palette_region_map_gives_its_indices_not_its_colours(mode: str, given: Reader) -> None:
    assert np.array_equal(as_labels(given(label_images()[mode]), PHOTO), LABELS)


def test_region_maps_as_numbers_and_without_a_label() -> None:
    for given_as in (LABELS, LABELS.astype(np.int32), torch.from_numpy(LABELS)):
        assert np.array_equal(as_labels(given_as, PHOTO), LABELS)
    unlabelled = LABELS.copy()
    unlabelled[4, 4] = 255
    assert as_labels(unlabelled, PHOTO)[4, 4] == 255


def test_region_maps_that_cannot_be_meant_are_refused() -> None:
    cases = (
        ("colours", Image.fromarray(PHOTO)),
        ("whole numbers", Image.fromarray(LABELS.astype(np.float32))),
        ("label 13", np.full((9, 7), 13)),
        ("label -1", np.full((9, 7), -1)),
        ("5x4 pixels", np.zeros((4, 5), np.uint8)),
        ("integers", LABELS.astype(np.float32)),
        ("integers", np.dstack([LABELS] * 3)),
    )
    for words, wrong in cases:
        with pytest.raises(InputError, match=f"region_map.*{words}"):
            as_labels(wrong, PHOTO)


def test_seeds_are_one_or_one_each() -> None:
    assert seed_list(5, 3) == [5, 6, 7] and seed_list([4, 4], 2) == [4, 4]
    with pytest.raises(InputError, match="seeds"):
        seed_list([1], 2)
