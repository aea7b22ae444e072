"""The tab “3D” in a real browser: sliders, the view that stays as it was turned, and heads of photos and words."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gptface.morphable import MorphableModel, load_morphable_model
from gptface.studio import Actions
from gptface.studio.heads import Heads
from tests.studio.browser import IN_A_BROWSER, PATIENCE, click, download, pixels

pytest.importorskip("gradio", reason='the page needs Gradio: pip install "gptface[studio]"')
playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
trimesh = pytest.importorskip("trimesh")
pytestmark = IN_A_BROWSER

TRAINED = os.environ.get("GPTFACE_TRAINED_FACEGPT")
"""Folder of a trained FaceGPT, such as what `make demo` leaves; random weights without it."""


@pytest.fixture(scope="module")
def address(actions: Actions, statistical: MorphableModel) -> Iterator[str]:
    """Of the page with two morphable models and a FaceGPT."""
    from gptface.studio.serving import serving
    from gptface.systems.facegpt.opening import open_system
    from tests.systems.facegpt.small_system import small_system

    def load(name: str) -> MorphableModel:
        return statistical if name == "many.npz" else load_morphable_model(name)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("gptface.studio.heads.load_morphable_model", load)
        if TRAINED is None:  # random weights see no face
            patched.setattr("gptface.systems.facegpt.face_system.LEAST_LIKENESS", -1.0)
        facegpt = small_system() if TRAINED is None else open_system(TRAINED)
        heads = Heads(["synthetic", "many.npz"], facegpt, "runs/facegpt")
        with serving(actions, heads, port=0) as address:
            yield address


def opened(visit: Callable[[], Any]) -> Any:
    page = visit()
    page.get_by_role("tab", name="3D").click()
    page.locator("#mesh canvas").wait_for()
    page.get_by_text("The same on the command line").last.click()
    return page


def mesh(page: Any) -> Any:
    return trimesh.load(io.BytesIO(download(page, "save-mesh")), file_type="glb", force="mesh")


def command(page: Any, words: str) -> None:
    playwright.expect(page.locator("#mesh-command")).to_contain_text(words, timeout=PATIENCE)


def picture(page: Any) -> np.ndarray:
    """The head as it is drawn, once that no longer changes: grey values, 0 to 1."""
    former = None
    for _ in range(60):
        drawn = pixels(page.locator("#mesh canvas").screenshot())[:, :, :3].mean(2) / 255
        if former is not None and drawn.std() > 0.05 and np.abs(drawn - former).max() < 0.02:
            return drawn
        former = drawn
        page.wait_for_timeout(700)
    raise AssertionError("the head never stands still")


def test_a_head_by_sliders_and_of_words_is_a_mesh(visit: Callable[[], Any]) -> None:
    page = opened(visit)
    neutral = mesh(page)
    slider = page.get_by_role("slider", name="Jaw open").first
    slider.focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    command(page, "jawOpen=0.3")
    moved = mesh(page)
    assert moved.vertices.shape == neutral.vertices.shape
    assert 0.001 < np.abs(moved.vertices - neutral.vertices).max() < 0.05, "metres that a chin moves"
    page.get_by_label("A head in words").fill("a man with a wide nose")
    click(page, "Make it of the words")
    command(page, "gptface sculpt")
    assert mesh(page).vertices.shape == neutral.vertices.shape


def test_a_photo_becomes_a_mesh_with_its_sliders(visit: Callable[[], Any]) -> None:
    page = opened(visit)
    neutral = mesh(page)
    click(page, "Make it of the picture in “Edit”")
    command(page, "gptface reconstruct gptface.png")
    page.get_by_text("likeness").first.wait_for()
    found = mesh(page)
    assert found.vertices.shape == neutral.vertices.shape
    assert np.abs(found.vertices - neutral.vertices).max() > 0.001
    # The sliders are laid out anew, at the head's weights; a key that meets the former ones is for nothing.
    for _ in range(10):
        page.get_by_role("slider", name="Jaw open").first.focus()
        page.keyboard.press("Home")
        page.keyboard.press("End")
        page.wait_for_timeout(2000)
        if "jawOpen=1" in page.locator("#mesh-command").inner_text():
            break
    command(page, "gptface face3d")
    command(page, "jawOpen=1")


def test_a_moved_slider_leaves_the_view_as_it_was_turned(visit: Callable[[], Any]) -> None:
    page = opened(visit)
    front = picture(page)
    box = page.locator("#mesh canvas").bounding_box()
    middle, height = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(middle, height)
    page.mouse.down()
    page.mouse.move(middle - 150, height - 30, steps=10)
    page.mouse.up()
    page.mouse.move(5, 5)
    turned = picture(page)
    assert np.abs(turned - front).mean() > 0.02
    slider = page.get_by_role("slider", name="Mouth pucker").first
    slider.focus()
    page.keyboard.press("End")
    command(page, "mouthPucker=1")
    after = picture(page)
    from_front = np.abs(after - front).mean()
    assert from_front > 0.02 and np.abs(after - turned).mean() < from_front / 4, "it is seen as it was turned"
    click(page, "Somebody else")
    command(page, "--identity")
    assert np.abs(picture(page) - turned).mean() < from_front / 2


def test_of_many_shapes_all_can_be_found_and_keep_their_weights(visit: Callable[[], Any]) -> None:
    page = opened(visit)
    page.get_by_label("Model").click()
    page.get_by_role("option", name="many.npz").click()
    page.get_by_text("60 of 150: Identity 000 to Identity 059. Find others by name.").wait_for(state="attached")
    find = page.get_by_label("Find a slider")
    find.fill("144")
    page.get_by_text("1 of 150: Identity 144.").wait_for()
    assert page.get_by_role("slider", name="Identity 059").count() == 0
    page.get_by_role("slider", name="Identity 144").first.focus()
    page.keyboard.press("End")
    command(page, "identity144=3")
    find.fill("14")
    page.get_by_text("12 of 150: Identity 014 to Identity 149.").wait_for()
    assert page.get_by_role("slider", name="Identity 144").first.input_value() == "3"
    page.get_by_role("slider", name="Identity 014").first.focus()
    page.keyboard.press("Home")
    command(page, "identity014=-3")
    command(page, "identity144=3")
    page.get_by_role("slider", name="Identity 144").first.focus()
    page.keyboard.press("Home")
    command(page, "identity144=-3")
    find.fill("nobody")
    page.get_by_text("None of 150 is called so.").wait_for()
