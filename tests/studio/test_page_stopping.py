"""The button “Stop” in a real browser: of what runs, of what waits, and that page and queue are sound afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gptface.studio import Actions, Decoding, Wish
from tests.studio.browser import IN_A_BROWSER, PATIENCE, click, download, edited, pixels, said

pytest.importorskip("gradio", reason='the page needs Gradio: pip install "gptface[studio]"')
playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
pytestmark = IN_A_BROWSER

LONG, QUICK = ("64", "Thorough (slow)"), ("2", "Off")


def tune(page: Any, how: tuple[str, str]) -> None:
    steps, matching = how
    panel = page.get_by_role("tabpanel").filter(visible=True).filter(has_text="Fine tuning").first
    label = panel.get_by_label("Steps", exact=False).first
    if not label.is_visible():
        panel.get_by_text("Fine tuning").click()
    label.fill(steps)
    panel.get_by_role("radio", name=matching).click()


def test_a_stopped_edit_changes_nothing_and_the_next_is_as_ever(visit: Callable[[], Any], actions: Actions) -> None:
    page = visit()
    stop = page.locator("#stop")
    playwright.expect(stop).to_be_disabled()
    page.get_by_label("Candidates, side by side").first.fill("8")
    tune(page, LONG)
    click(page, "Edit")
    playwright.expect(stop).to_be_enabled(timeout=PATIENCE)
    page.get_by_text("processing").first.wait_for()
    stop.click()
    said(page, "Stopped. This is “Drawn face 19”.")
    playwright.expect(stop).to_be_disabled()
    assert page.locator("#slider").count() == 0 or not page.locator("#slider").is_visible()
    assert json.loads(download(page, "save-settings"))["steps"] == []

    page.get_by_label("Candidates, side by side").first.fill("1")
    tune(page, QUICK)
    click(page, "Edit")
    edited(page)
    said(page, "seed 0")
    playwright.expect(stop).to_be_disabled(timeout=PATIENCE)
    wish = Wish("attribute", "Blond_Hair", decoding=Decoding(steps=2, match_guidance="none"))
    wanted = next(actions.edits(actions.drawn_face(19).now.picture, wish)).picture
    assert np.array_equal(pixels(download(page, "save-picture")), wanted)


def test_who_waits_can_leave_the_queue_and_who_is_served_notices_nothing(
    visit: Callable[[], Any], actions: Actions, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = visit(), visit()
    edits = 0
    original = actions.generator.edit

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal edits
        edits += 1
        return original(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(actions.generator, "edit", counted)
        tune(one, ("32", "Quick"))
        click(one, "Edit")
        one.get_by_text("processing").first.wait_for()
        click(other, "Edit")
        playwright.expect(other.get_by_text("queue").first).to_be_visible(timeout=PATIENCE)
        other.locator("#stop").click()
        said(other, "Stopped. This is “Drawn face 19”.")
        playwright.expect(other.get_by_text("queue")).to_have_count(0)
        edited(one)
        assert edits == 1, "what left the queue was never begun"
        click(other, "Edit")
        edited(other)
        assert edits == 2
    assert [len(json.loads(download(page, "save-settings"))["steps"]) for page in (one, other)] == [1, 1]


def test_an_edit_that_is_stopped_lets_the_next_in_the_queue_begin(visit: Callable[[], Any]) -> None:
    one, other = visit(), visit()
    one.get_by_label("Candidates, side by side").first.fill("8")
    tune(one, LONG)
    tune(other, QUICK)
    click(one, "Edit")
    one.get_by_text("processing").first.wait_for()
    click(other, "Edit")
    playwright.expect(other.get_by_text("queue").first).to_be_visible(timeout=PATIENCE)
    one.locator("#stop").click()
    edited(other)
    said(one, "Stopped.")


def test_a_sentence_instead_of_an_edit_leaves_nothing_to_stop(visit: Callable[[], Any]) -> None:
    page = visit()
    page.get_by_role("radio", name="What I brush").click()
    click(page, "Edit")
    said(page, "Nothing is brushed yet")
    playwright.expect(page.locator("#stop")).to_be_disabled(timeout=PATIENCE)


def test_faces_made_before_the_stop_can_be_edited(visit: Callable[[], Any], actions: Actions) -> None:
    page = visit()
    page.get_by_role("tab", name="Make").click()
    page.get_by_label("A face in words").fill("a bald man")
    page.get_by_label("How many").first.fill("8")
    tune(page, ("24", "Quick"))
    page.locator("#make").click()
    page.get_by_text("1 of 8 are made.").or_(page.get_by_text("2 of 8 are made.")).first.wait_for()
    page.locator("#stop-making").click()
    page.get_by_text("Stopped. What was made before can be chosen.").wait_for()
    page.wait_for_selector("#edit-made:not([disabled])")
    page.locator("#edit-made").click()
    said(page, "“a bald man”")
    wanted = next(actions.faces("a bald man", Decoding(steps=24, match_guidance="first_order"))).picture
    assert np.array_equal(pixels(download(page, "save-picture")), wanted)
