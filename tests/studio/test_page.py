"""The page in a real browser: from upload to download, bad files, two people, large photos, the keyboard alone."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gptface.studio import Actions, Decoding, Wish
from tests.studio.browser import IN_A_BROWSER, PATIENCE, click, download, edited, open_photo, pixels, said

pytest.importorskip("gradio", reason='the page needs Gradio: pip install "gptface[studio]"')
playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
pytestmark = IN_A_BROWSER

SECONDS = 3.0
"""Of computing that the first edit after the click may take."""


@pytest.fixture
def photo(actions: Actions, tmp_path: Path) -> Path:
    path = tmp_path / "face é.png"
    Image.fromarray(actions.drawn_face(17).now.picture).save(path)
    return path


def test_an_edit_from_upload_to_download(visit: Callable[[], Any], actions: Actions, photo: Path) -> None:
    page = visit()
    open_photo(page, photo)
    said(page, "Choose what to change")
    began, computed = time.monotonic(), time.process_time()
    click(page, "Edit")
    edited(page)
    waited, computed = time.monotonic() - began, time.process_time() - computed
    print(f"first edit: {waited:.1f} s after the click, {computed:.1f} s of computing")
    assert computed < SECONDS
    said(page, "found by the parser")

    before = pixels(photo.read_bytes())
    wanted = next(actions.edits(before, Wish("attribute", "Blond_Hair"))).picture
    assert np.array_equal(pixels(download(page, "save-picture")), wanted)
    settings = json.loads(download(page, "save-settings"))
    assert [step["name"] for step in settings["steps"]] == ["Blond_Hair"]
    with zipfile.ZipFile(io.BytesIO(download(page, "save-all"))) as archive:
        assert sorted(archive.namelist()) == ["commands.sh", "photo.png", "settings.json", "step-1.png"]
        assert np.array_equal(pixels(archive.read("photo.png")), before)
        command = archive.read("commands.sh").decode().splitlines()[-1]
    assert command == "gptface edit photo.png --attribute Blond_Hair --output step-1.png"
    page.get_by_text("The same on the command line").first.click()
    playwright.expect(page.locator("#command")).to_contain_text("--attribute Blond_Hair")


def test_candidates_history_and_undo(visit: Callable[[], Any]) -> None:
    page = visit()
    page.get_by_label("Candidates, side by side").first.fill("2")
    page.get_by_text("Fine tuning").first.click()
    page.get_by_label("Steps", exact=False).first.fill("2")
    click(page, "Edit")
    edited(page)
    said(page, "seed 0")
    page.locator("#candidates button").nth(1).click()
    said(page, "seed 1")
    second = download(page, "save-picture")
    page.locator("#undo").click()
    said(page, "Drawn face")
    page.locator("#redo").click()
    said(page, "seed 1")
    page.locator("#strip button").nth(0).click()
    said(page, "Drawn face")
    assert not np.array_equal(pixels(download(page, "save-picture")), pixels(second))


def test_a_brushed_place_changes_and_nothing_else(visit: Callable[[], Any]) -> None:
    page = visit()
    before = pixels(download(page, "save-picture"))
    page.get_by_role("radio", name="What I brush").click()
    click(page, "Edit")
    said(page, "Nothing is brushed yet")
    canvas = page.locator("#editor canvas").first
    canvas.wait_for()
    page.wait_for_timeout(3000)  # the editor says nothing when it has laid its picture out
    box = canvas.bounding_box()
    middle, height = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.3
    page.mouse.move(middle - 40, height)
    page.mouse.down()
    page.mouse.move(middle + 40, height, steps=12)
    page.mouse.up()
    page.wait_for_timeout(1000)
    click(page, "Edit")
    edited(page)
    said(page, "found by the mask")
    with zipfile.ZipFile(io.BytesIO(download(page, "save-all"))) as archive:
        mask, after = pixels(archive.read("mask-1.png")) > 0, pixels(archive.read("step-1.png"))
        assert "gptface inpaint photo.png --mask mask-1.png" in archive.read("commands.sh").decode()
    rows, columns = np.nonzero(mask)
    assert 10 < mask.sum() < mask.size / 4
    assert columns.max() - columns.min() > rows.max() - rows.min(), "a stroke from left to right"
    assert np.array_equal(after[~mask], before[~mask]) and not np.array_equal(after[mask], before[mask])


def test_a_bad_file_is_a_sentence_and_the_page_goes_on(visit: Callable[[], Any], tmp_path: Path, photo: Path) -> None:
    page = visit()
    (tmp_path / "notes.png").write_bytes(b"these are notes")
    open_photo(page, tmp_path / "notes.png")
    said(page, "notes.png: not an image of a known format")
    assert page.locator("#message [role=alert]").count() == 1
    open_photo(page, photo)
    said(page, "Choose what to change")


def test_a_crash_of_one_edit_is_a_sentence_and_the_next_works(
    visit: Callable[[], Any], actions: Actions, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the weights caught fire")

    with monkeypatch.context() as patched:
        patched.setattr(actions.generator, "edit", fail)
        click(page, "Edit")
        said(page, "That failed (RuntimeError), and nothing was changed.")
    assert "fire" not in page.locator("body").inner_text()
    click(page, "Edit")
    edited(page)


def test_two_people_at_once_wait_in_a_queue_they_see_and_keep_their_own_histories(
    visit: Callable[[], Any], actions: Actions, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = visit(), visit()
    other.locator("#face-number input").fill("17")
    click(other, "Draw a face")
    said(other, "Drawn face 17")
    running, most = 0, 0
    original = actions.generator.edit

    def slow(*arguments: Any, **options: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(2)
        result = original(*arguments, **options)
        running -= 1
        return result

    with monkeypatch.context() as patched:
        patched.setattr(actions.generator, "edit", slow)
        click(one, "Edit")
        one.wait_for_timeout(500)
        click(other, "Edit")
        playwright.expect(other.get_by_text("queue").first).to_be_visible(timeout=PATIENCE)
        edited(one)
        edited(other)
    assert most == 1, "one edit at a time"
    histories = [json.loads(download(page, "save-settings")) for page in (one, other)]
    assert [history["start"]["title"] for history in histories] == ["Drawn face 19", "Drawn face 17"]
    assert [len(history["steps"]) for history in histories] == [1, 1]
    wanted = next(actions.edits(actions.drawn_face(17).now.picture, Wish("attribute", "Blond_Hair"))).picture
    assert np.array_equal(pixels(download(other, "save-picture")), wanted)


def test_a_photo_of_20_megapixels_is_shrunk_and_a_bigger_one_refused(visit: Callable[[], Any], tmp_path: Path) -> None:
    page = visit()
    Image.linear_gradient("L").resize((6500, 5000)).save(tmp_path / "huge.jpg")
    open_photo(page, tmp_path / "huge.jpg")
    said(page, "huge.jpg has 32 megapixels (6500 × 5000); photos of up to 24 megapixels are taken.")
    Image.linear_gradient("L").resize((5472, 3648)).convert("RGB").save(tmp_path / "camera.jpg")
    open_photo(page, tmp_path / "camera.jpg")
    said(page, "camera.jpg was shrunk from 5472 × 3648 to 1024 × 683 pixels")
    page.get_by_role("radio", name="A part").click()
    page.get_by_label("Parts").click()
    page.get_by_role("option", name="Cheeks (area)").click()
    page.keyboard.press("Escape")
    click(page, "Edit")
    playwright.expect(page.locator("#message p")).not_to_contain_text("shrunk", timeout=PATIENCE)
    assert pixels(download(page, "save-picture")).shape == (683, 1024, 3)


def test_the_keyboard_alone_does_an_edit(visit: Callable[[], Any]) -> None:
    page = visit()

    def reach(script: str) -> None:
        """Tab on until the focus is where ``script`` says."""
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate(f"() => {{ const e = document.activeElement; return {script}; }}"):
                return
        raise AssertionError(f"Tab never reaches {script}")

    reach("e.closest('#open-photo') !== null || e.id === 'open-photo'")
    reach("e.type === 'radio' && e.value === 'expression'")
    page.keyboard.press("Space")
    page.get_by_label("Expression", exact=True).wait_for()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    page.locator("#attribute").wait_for()
    reach("e.closest('#attribute') !== null && e.tagName === 'INPUT'")
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type("Gray")
    # Gradio narrows and closes its list a moment after the keys, slower than a program types.
    page.wait_for_function("() => document.querySelectorAll('[role=option]').length === 1")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => document.querySelectorAll('[role=option]').length === 0"
        " && document.querySelector('#attribute input').value === 'Gray hair'"
    )
    reach("e.id === 'edit'")
    page.keyboard.press("Enter")
    edited(page)
    reach("e.id === 'save-settings' || e.closest('#save-settings') !== null")
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    settings = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))
    assert [step["name"] for step in settings["steps"]] == ["Gray_Hair"]


def test_a_face_of_words_can_be_edited_and_described(visit: Callable[[], Any], actions: Actions) -> None:
    page = visit()
    page.get_by_role("tab", name="Make").click()
    page.get_by_label("A face in words").fill("a bald man")
    page.get_by_label("How many").first.fill("2")
    page.locator("#make").click()
    page.wait_for_selector("#edit-made:not([disabled])")
    page.locator("#made button").nth(1).click()
    page.locator("#edit-made").click()
    said(page, "“a bald man”")
    wanted = next(actions.faces("a bald man", Decoding(seed=1))).picture
    assert np.array_equal(pixels(download(page, "save-picture")), wanted)
    click(page, "Describe this face")
    playwright.expect(page.locator("#message p")).not_to_have_text("“a bald man”", timeout=PATIENCE)
    assert page.locator("#message [role=alert]").count() == 0


def test_a_narrow_window_has_no_sideways_scroll(visit: Callable[[], Any]) -> None:
    page = visit()
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")
