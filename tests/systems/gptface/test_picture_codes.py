"""Codes of pictures and of their views: made once, taken in turn, and their own where asked for again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gptface.data.cache import FaceCache, cached_faces
from gptface.data.configuration import DataSection
from gptface.data.face_batch import FaceBatch
from gptface.errors import InputError
from gptface.faces.region_grid import region_grid
from gptface.systems.gptface.configuration import Configuration, PictureViewSection
from gptface.systems.gptface.picture_codes import PictureCodes, encode_images
from gptface.training.configuration_files import load_configuration
from tests.systems.gptface.generation.systems import tiny_system

COUNT = 6


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FaceCache:
    folder = tmp_path_factory.mktemp("views")
    return cached_faces(DataSection(count=COUNT, image_size=32), "train", folder, verbose=False)


def encoded(cache: FaceCache, views: PictureViewSection | None, *, regions: bool = False) -> PictureCodes:
    tokenizer = tiny_system().tokenizer
    return encode_images(cache, tokenizer, "tiny", flips=True, views=views, regions=regions, verbose=False)


def batch(epoch: int, mirrored: bool, ids: list[int]) -> FaceBatch:
    rows = torch.arange(COUNT)
    return FaceBatch(
        torch.tensor(ids), torch.full((COUNT,), mirrored), torch.full((COUNT,), epoch), rows,
        token_regions=torch.full((COUNT, 16), 99),
    )  # fmt: skip


def test_views_that_change_nothing_have_the_codes_and_regions_of_their_pictures(cache: FaceCache) -> None:
    same = PictureViewSection(
        count=2, scale=(1, 1), aspect=(1, 1), rotation=0, brightness=0, contrast=0, gamma=0
    )
    found = encoded(cache, same, regions=True)
    assert found.views.shape == (2, 2, COUNT, 16)
    for view in range(2):
        torch.testing.assert_close(found.views[view], found.codes)
    assert cache.region_maps is not None and found.regions is not None
    for side, maps in enumerate((cache.region_maps, cache.region_maps[:, :, ::-1])):
        wanted = np.stack([region_grid(labels, (4, 4)) for labels in maps])
        np.testing.assert_array_equal(found.regions[0, side].numpy(), wanted)


def test_a_picture_and_its_views_come_in_turn(cache: FaceCache) -> None:
    found = encoded(cache, PictureViewSection(count=2), regions=True)
    assert not (found.views[0] == found.codes).all() and not (found.views[0] == found.views[1]).all()
    assert found.regions is not None
    ids = [10, 11, 12, 13, 14, 15]
    for epoch in range(4):
        for side in (0, 1):
            codes, regions = found.of(batch(epoch, bool(side), ids))
            assert regions is not None
            for row, identity in enumerate(ids):
                turn = (identity + epoch) % 3
                wanted = found.codes[side, row] if turn == 0 else found.views[turn - 1, side, row]
                torch.testing.assert_close(codes[row], wanted.long())
                own = torch.full((16,), 99) if turn == 0 else found.regions[turn - 1, side, row].long()
                torch.testing.assert_close(regions[row], own)


def test_codes_are_kept_by_what_the_views_are(cache: FaceCache, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(cache.folder.glob("codes-*"))
    first = encoded(cache, PictureViewSection(count=1))
    monkeypatch.setattr("gptface.systems.gptface.picture_codes._encode_views", lambda *_: pytest.fail("made again"))
    again = encoded(cache, PictureViewSection(count=1))
    torch.testing.assert_close(again.views, first.views)
    assert encoded(cache, None).views.shape == (0, 2, COUNT, 16)
    (file,) = {*cache.folder.glob("codes-tiny-both-views-*.npz")} - before
    whole = file.read_bytes()
    try:
        for found in (b"no codes", b"", whole[: len(whole) // 2]):
            file.write_bytes(found)
            with pytest.raises(InputError, match="is not a readable file of codes"):
                encoded(cache, PictureViewSection(count=1))
    finally:
        file.unlink()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["pretrain.views.count=2", "pretrain.cache_codes=false"], r"views\.count: 2 needs cache_codes"),
        (
            ["pretrain.views.count=2", "data.source=tokens", "data.train=[a]"],
            r"pretrain\.views\.count: 2; must be 0 with data\.source: tokens",
        ),
        (["pretrain.views.scale=[0.9, 0.5]"], r"scale: \[0\.9, 0\.5\]"),
    ],
)
def test_views_that_cannot_be_are_refused(changes: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load_configuration(Configuration, "tiny", changes)
