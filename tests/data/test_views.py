"""Augmented views: a function of seed, sample and epoch; pixels and regions cut alike; light as kornia has it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia import enhance, filters

from gptface.data.batches import Faces, Needs
from gptface.data.configuration import DataSection
from gptface.data.face_batch import FaceBatch
from gptface.data.pixels import images_to_tensor
from gptface.data.views import View, Views, ViewSection
from gptface.errors import InputError

SIDE = 32
STILL = {"scale": (1, 1), "aspect": (1, 1), "rotation": 0}  # the whole picture
UNLIT = {"brightness": 0, "contrast": 0, "gamma": 0}
SECTIONS = st.builds(
    ViewSection,
    scale=st.sampled_from([(0.2, 0.6), (0.5, 1.0), (1.0, 1.0)]),
    aspect=st.sampled_from([(1.0, 1.0), (0.7, 1.4)]),
    rotation=st.sampled_from([0.0, 12.0, 180.0]),
    blur=st.sampled_from([0.0, 0.5]),
)
SEEDS = st.integers(0, 2**63 - 1)


def faces(count: int, seed: int = 0, **changes: Any) -> FaceBatch:
    """Faces of noise, as they lie in the cache, some to be mirrored."""
    generator = np.random.default_rng(seed)
    fields: dict[str, Any] = {
        "sample_ids": torch.from_numpy(generator.integers(0, 2**63 - 1, count)),
        "mirrored": torch.from_numpy(generator.random(count) < 0.5),
        "epochs": torch.from_numpy(generator.integers(0, 1000, count)),
        "images": torch.from_numpy(generator.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)),
        "region_maps": torch.from_numpy(generator.integers(0, 13, (count, SIDE, SIDE), np.uint8)),
    }
    return FaceBatch(**{**fields, **changes})


def of(batch: FaceBatch, rows: Any) -> FaceBatch:
    """Some of a batch's faces."""
    return batch._map(lambda tensor: tensor[rows])


def places(count: int) -> torch.Tensor:
    """Pictures uint8 (count, SIDE, SIDE, 3) whose red says the column and whose green the row, 4 levels a pixel."""
    steps = torch.arange(SIDE, dtype=torch.uint8) * 4
    red, green = steps.expand(SIDE, SIDE), steps[:, None].expand(SIDE, SIDE)
    return torch.stack([red, green, torch.zeros_like(red)], -1).expand(count, SIDE, SIDE, 3).contiguous()


@settings(max_examples=25, deadline=None)
@given(section=SECTIONS, seed=SEEDS, data=st.data())
def test_a_face_has_the_same_view_in_any_batch(section: ViewSection, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9))
    batch = faces(count)
    views = Views(section, 24, seed=seed, channels=data.draw(st.sampled_from([1, 3])))
    whole = views(batch)
    assert whole.images.shape == (count, views.channels, 24, 24) and whole.images.dtype == torch.float32
    assert -1 <= float(whole.images.min()) <= float(whole.images.max()) <= 1
    rows = torch.tensor(data.draw(st.permutations(range(count)))[: data.draw(st.integers(1, count))])
    part = views(of(batch, rows))
    assert torch.equal(part.images, whole.images[rows]) and torch.equal(part.region_maps, whole.region_maps[rows])


def test_every_epoch_seed_and_sample_has_its_own_view() -> None:
    first = faces(1)
    same = {name: getattr(first, name).expand(8, *getattr(first, name).shape[1:]) for name in ("images", "mirrored")}
    ids, epochs = torch.arange(8) + (1 << 62), torch.arange(8)
    views = Views(ViewSection(), 16, seed=5)
    by_id = views(faces(8, **same, sample_ids=ids, epochs=epochs * 0))
    by_epoch = views(faces(8, **same, sample_ids=ids * 0, epochs=epochs))
    by_seed = [Views(ViewSection(), 16, seed=seed)(of(first, [0])).images[0] for seed in (0, 1, 1 << 32, (1 << 63) - 1)]
    for several in (by_id.images, by_epoch.images, by_seed):
        assert len({picture.numpy().tobytes() for picture in several}) == len(several)


@settings(max_examples=25, deadline=None)
@given(section=SECTIONS, seed=SEEDS)
def test_regions_are_cut_where_the_pixels_are(section: ViewSection, seed: int) -> None:
    section = section.model_copy(update={**UNLIT, "blur": 0.0})
    batch = faces(4, images=places(4))
    view = Views(section, 23, seed=seed)(batch)
    column, row = (view.images[:, :2].double() + 1).mul(127.5 / 4).unbind(1)  # where a pixel was seen, in pixels
    nearest = batch.region_maps[torch.arange(4)[:, None, None], row.round().long(), column.round().long()]
    # Halfway between two pixels either is nearest.
    halfway = sum((place - place.floor() - 0.5).abs() < 1e-3 for place in (column, row)) > 0
    assert ((nearest == view.region_maps) | halfway).all()
    assert float(halfway.double().mean()) < 0.2


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, low=st.floats(0.1, 0.9), aspect=st.floats(1, 2), rotation=st.sampled_from([0.0, 20.0]))
def test_cuts_are_as_large_as_said_and_lie_within(seed: int, low: float, aspect: float, rotation: float) -> None:
    section = ViewSection(scale=(low, 1.0), aspect=(1 / aspect, aspect), rotation=rotation, **UNLIT)
    size = 16
    view = Views(section, size, seed=seed)(faces(32, images=places(32), mirrored=torch.zeros(32, dtype=torch.bool)))
    column, row = ((view.images[:, :2].double() + 1) * 127.5 / 4 + 0.5).unbind(1)
    # From the middle, which no border clamps: how far one pixel of the view goes in the picture, across and down.
    middle = slice(size // 2 - 1, size // 2 + 1)
    across = (torch.stack([column, row])[:, :, middle, middle].diff(dim=-1)[:, :, 0, 0]) * size / SIDE
    down = (torch.stack([column, row])[:, :, middle, middle].diff(dim=-2)[:, :, 0, 0]) * size / SIDE
    width, height = across.norm(dim=0), down.norm(dim=0)
    assert ((width <= 1 + 1e-3) & (height <= 1 + 1e-3)).all()
    assert (width * height <= 1 + 1e-3).all()
    whole = (width < 1 - 1e-3) & (height < 1 - 1e-3)  # those of which no side was cut down to the picture's
    assert (width * height >= low - 1e-3)[whole].all()
    assert ((width / height).log().abs() <= math.log(aspect) + 5e-3)[whole].all()
    turned = torch.rad2deg(torch.atan2(across[1], across[0]))
    assert (turned.abs() <= rotation + 0.1).all() and (not rotation or float(turned.abs().max()) > rotation / 2)
    middles = torch.stack([column, row])[:, :, middle, middle].mean((2, 3)) / SIDE
    for centre, side in zip(middles, (width, height), strict=True):
        assert ((centre - side / 2 >= -1e-3) & (centre + side / 2 <= 1 + 1e-3)).all()


@settings(max_examples=15, deadline=None)
@given(section=SECTIONS, seed=SEEDS)
def test_raw_faces_are_mirrored_as_others_already_are(section: ViewSection, seed: int) -> None:
    raw = faces(6)
    images, maps = raw.images.clone(), raw.region_maps.clone()
    images[raw.mirrored], maps[raw.mirrored] = images[raw.mirrored].flip(2), maps[raw.mirrored].flip(2)
    ready = faces(6, images=images_to_tensor(images), region_maps=maps)
    for channels in (1, 3):
        views = Views(section.model_copy(update=UNLIT), 23, seed=seed, channels=channels)
        ours, theirs = views(raw), views(ready)
        torch.testing.assert_close(ours.images, theirs.images, rtol=0, atol=2e-3)  # noise is as steep as can be
        assert (ours.region_maps == theirs.region_maps).double().mean() > 0.95  # all but what lies halfway


def test_mirrored_faces_swap_sides() -> None:
    maps = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    maps[:, 8:12, 6:12] = 3  # an eye on the image's left
    batch = faces(2, region_maps=maps, mirrored=torch.tensor([False, True]))
    for view in (Views(ViewSection(**STILL), SIDE, seed=0)(batch), Views(ViewSection(), SIDE, seed=0).plain(batch)):
        assert torch.equal(view.region_maps[0], maps[0]) and torch.equal(view.region_maps[1], maps[1].flip(1))


def test_what_is_switched_off_leaves_the_picture() -> None:
    batch = faces(5, mirrored=torch.zeros(5, dtype=torch.bool))
    expected = images_to_tensor(batch.images)
    for view in (
        Views(ViewSection(**STILL, **UNLIT), SIDE, seed=3)(batch),
        Views(ViewSection(), SIDE, seed=3).plain(batch),
        Views(ViewSection(), SIDE, seed=3).plain(faces(5, mirrored=batch.mirrored, images=expected)),
    ):
        torch.testing.assert_close(view.images, expected, rtol=0, atol=1e-5)
        assert torch.equal(view.region_maps, batch.region_maps)
    grey = Views(ViewSection(**STILL, **UNLIT), SIDE, seed=3, channels=1)(batch)
    torch.testing.assert_close(grey.images, expected.mean(1, keepdim=True), rtol=0, atol=1e-5)
    assert Views(ViewSection(), SIDE, seed=3)(faces(5, region_maps=None)).region_maps is None


def test_one_thing_changed_leaves_the_others_drawn_alike() -> None:
    batch = faces(5)
    turned = Views(ViewSection(), 24, seed=3)(batch)
    unlit = Views(ViewSection(**UNLIT, blur=1.0), 24, seed=3)(batch)
    assert torch.equal(turned.region_maps, unlit.region_maps)


def test_light_is_kornia_s() -> None:
    batch = faces(64, mirrored=torch.zeros(64, dtype=torch.bool), region_maps=None)
    pictures = (images_to_tensor(batch.images) + 1) / 2

    def lit(**changes: float) -> torch.Tensor:
        section = ViewSection(**{**STILL, **UNLIT, **changes})
        return (Views(section, SIDE, seed=8)(batch).images + 1) / 2

    for name, law, amount in (
        ("gamma", enhance.adjust_gamma, 0.5),
        ("contrast", enhance.adjust_contrast_with_mean_subtraction, 0.5),
        ("brightness", enhance.adjust_brightness, 0.25),
    ):
        ours = lit(**{name: amount})
        low, high = {"gamma": (1 / 1.5, 1.5), "contrast": (0.5, 1.5), "brightness": (-0.25, 0.25)}[name]
        factors = torch.linspace(low, high, 201)
        # The factor is not told: some factor of the range must give each picture, and they must fill the range.
        best: list[float] = []
        for picture, one in zip(pictures[:12], ours[:12], strict=True):
            errors = (law(picture.expand(len(factors), *picture.shape), factors) - one).abs().amax((1, 2, 3))
            factor = factors[errors.argmin()]
            torch.testing.assert_close(law(picture[None], factor[None])[0], one, rtol=0, atol=2e-3)
            best.append(float(factor))
        assert min(best) < low + 0.25 * (high - low) and max(best) > high - 0.25 * (high - low)


def test_blur_is_a_share_of_the_views() -> None:
    batch = faces(200, mirrored=torch.zeros(200, dtype=torch.bool), region_maps=None)
    pictures = (images_to_tensor(batch.images) + 1) / 2
    blurred = (Views(ViewSection(**STILL, **UNLIT, blur=0.4), SIDE, seed=8)(batch).images + 1) / 2
    changed = (blurred - pictures).abs().amax((1, 2, 3)) > 1e-4
    assert 0.25 < float(changed.double().mean()) < 0.55
    least, most = (filters.gaussian_blur2d(pictures, 5, torch.full((1, 2), sigma)) for sigma in (0.3, 1.2))
    rough = [float(picture[changed].diff(dim=-1).abs().mean()) for picture in (least, blurred, most)]
    assert rough[0] > rough[1] > rough[2]


@pytest.mark.parametrize("raw", [True, False])
def test_faces_that_are_cached_or_streamed_have_epochs_and_resume(tmp_path: Path, raw: bool) -> None:
    needs = Needs(raw_images=raw, region_maps=True)
    data = DataSection(count=12, validation_count=0, image_size=SIDE, flip=False)
    views = Views(ViewSection(), 24, seed=2)

    def batches(cache: bool) -> Any:
        opened = Faces(data.model_copy(update={"cache": cache}), "train", tmp_path, verbose=False)
        return opened.batches(needs, lambda batch: (batch.epochs, views(batch)), batch_size=8, seed=2)

    cached, streamed = batches(True), batches(False)
    seen: list[tuple[torch.Tensor, View]] = [next(cached) for _ in range(4)]
    assert torch.cat([epochs for epochs, _ in seen]).tolist() == [0] * 12 + [1] * 12 + [2] * 8
    for epochs, view in seen:
        other_epochs, other = next(streamed)
        assert torch.equal(epochs, other_epochs)
        assert torch.equal(view.images, other.images) and torch.equal(view.region_maps, other.region_maps)
    state, expected = cached.state_dict(), next(cached)[1]
    again = batches(True)
    again.load_state_dict(state)
    assert torch.equal(next(again)[1].images, expected.images)


@pytest.mark.parametrize("cache", [True, False])
def test_raw_faces_are_the_bytes_and_say_which_to_mirror(tmp_path: Path, cache: bool) -> None:
    data = DataSection(count=12, validation_count=0, image_size=SIDE, cache=cache)
    opened = Faces(data, "train", tmp_path, verbose=False)
    (raw, ready) = (
        next(opened.batches(Needs(raw_images=raw, region_maps=True), lambda batch: batch, batch_size=12, seed=1))
        for raw in (True, False)
    )
    assert raw.images.dtype == torch.uint8 and torch.equal(raw.mirrored, ready.mirrored) and raw.mirrored.any()
    images, maps = raw.images.clone(), raw.region_maps.clone()
    images[raw.mirrored], maps[raw.mirrored] = images[raw.mirrored].flip(2), maps[raw.mirrored].flip(2)
    assert torch.equal(images_to_tensor(images), ready.images) and torch.equal(maps, ready.region_maps)


def test_bad_calls_are_named() -> None:
    for changes, expected in (
        ({"size": 0}, "size: 0 pixels"),
        ({"seed": -1}, "seed: -1"),
        ({"channels": 2}, "channels: 2; it must be 1 or 3"),
    ):
        with pytest.raises(InputError, match=expected):
            Views(ViewSection(), **{"size": 8, "seed": 0, **changes})
    for name, given_range in (("scale", (0.8, 0.5)), ("scale", (0, 1)), ("aspect", (2, 1))):
        with pytest.raises(ValueError, match=f"{name}: .* allowed: "):
            ViewSection(**{name: given_range})
    with pytest.raises(InputError, match=r"batch: has no images .* Needs\(images=True\)"):
        Views(ViewSection(), 8, seed=0)(faces(2, images=None))
    with pytest.raises(InputError, match="raw_images: cannot go with token_regions"):
        Needs(raw_images=True, token_regions=(4, 4))


@pytest.mark.gpu
def test_a_device_gives_the_same_views() -> None:
    batch = faces(16)
    views = Views(ViewSection(blur=0.5), 24, seed=2)
    host, device = views(batch), views(batch.to(torch.device("cuda")))
    torch.testing.assert_close(device.images.cpu(), host.images, rtol=0, atol=1e-2)
    assert (device.region_maps.cpu() == host.region_maps).double().mean() > 0.98
