"""The tab “Edit”: a column of choices beside the picture, and what happens when they are used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from gptface.errors import InputError
from gptface.studio.actions import MOST_CANDIDATES, Actions, step_of
from gptface.studio.history import MOST_STEPS_KEPT, Candidate, History
from gptface.studio.masks import brushed_mask
from gptface.studio.names import attribute_choices, expression_choices, region_choices
from gptface.studio.page.answers import MODEL, Updates, answers
from gptface.studio.page.decoding_choices import DecodingChoices, whole
from gptface.studio.page.edit_view import BRUSH_TAB, THUMBNAIL, EditView
from gptface.studio.page.look import message
from gptface.studio.page.stop_button import StopButton
from gptface.studio.photos import enlarged, read_photo
from gptface.studio.stopping import Making
from gptface.studio.wishes import Wish, checked_words

__all__ = ["build_edit_tab"]

FIRST_FACE = 19
KINDS = [
    ("A feature", "attribute"),
    ("The expression", "expression"),
    ("A part", "region"),
    ("What I brush", "brush"),
    ("What covers the face", "cover"),
]
HELP = {
    "attribute": "The feature chooses the part of the face that shows it; nothing else changes.",
    "expression": "Brows, eyes and mouth may change.",
    "region": "These parts may change, towards your words.",
    "brush": "Paint on the tab “Brush”. Without words the place is filled from around it.",
    "cover": "Takes a mask, sunglasses or a hand away and guesses the face behind: a guess, not the person’s own "
    "face. Brush over the cover if it is not found.",
}


def build_edit_tab(page: gr.Blocks, actions: Actions) -> EditView:
    """Lay the tab out and connect it; the view is for other tabs that bring a face here."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, elem_classes="choices"):
            upload = gr.UploadButton("Open a photo…", file_types=["image"], type="filepath", elem_id="open-photo")
            with gr.Row(equal_height=True):
                draw = gr.Button("Draw a face", min_width=110, scale=3, size="md")
                number = gr.Number(
                    FIRST_FACE, label="Number of the drawn face", show_label=False, container=False, precision=0,
                    minimum=0, min_width=60, scale=2, elem_id="face-number",
                )  # fmt: skip
                covered = gr.Checkbox(label="covered", container=False, min_width=100, scale=0)
            kind = gr.Radio(KINDS, value="attribute", label="What to change", elem_id="kind")
            help_line = gr.Markdown(HELP["attribute"], elem_classes="help")
            with gr.Row(equal_height=True) as attribute_row:
                attribute = gr.Dropdown(
                    attribute_choices(actions.known_attributes), value="Blond_Hair", label="Feature", show_label=False,
                    container=False, scale=2, min_width=120, elem_id="attribute",
                )  # fmt: skip
                way = gr.Radio(
                    [("add", True), ("remove", False)], value=True, label="Way", show_label=False, container=False,
                    scale=2, min_width=170,
                )  # fmt: skip
            expression = gr.Dropdown(expression_choices(), value="happiness", label="Expression", visible=False)
            regions = gr.Dropdown(region_choices(), value=[], multiselect=True, label="Parts", visible=False)
            words = gr.Textbox(
                label="In words (optional)", placeholder="a woman with blond hair", lines=1, elem_id="words"
            )
            count = gr.Slider(1, MOST_CANDIDATES, 1, step=1, label="Candidates, side by side")
            with gr.Row(equal_height=True):
                go = gr.Button("Edit", variant="primary", scale=3, elem_id="edit")
                stop = StopButton.build("stop")
            decoding = DecodingChoices.build()
        with gr.Column(scale=7, min_width=420):
            view = EditView.build()

    place = actions.place
    answer = answers(view.message)
    shown = {"outputs": view.outputs, "api_visibility": "private"}

    @answer
    def open_photo(path: str) -> Iterator[Updates]:
        photo, note = read_photo(path)
        yield view.restart(History.start(photo, "Photo"), place, note or "Choose what to change, then Edit.")

    @answer
    def draw_face(number: Any, covered: bool) -> Iterator[Updates]:
        history = actions.drawn_face(whole(number, "number of the face"), covered)
        yield view.restart(history, place)

    @answer
    def edit(making: Making, history: History, *inputs: Any) -> Iterator[Updates]:
        sign = making.begin()
        photo = history.now.picture
        wish, many = _wish(photo.shape[:2], *inputs)
        made: list[Candidate] = []
        for candidate in actions.edits(photo, wish, many, sign):
            made.append(candidate)
            if many > 1:
                yield {
                    view.message: message(f"{len(made)} of {many} are made."),
                    view.candidates: gr.update(value=_thumbnails(made), visible=True, selected_index=None),
                }
        said = f"{made[0].told} · {MOST_STEPS_KEPT} steps are kept; the first was let go." if history.full else ""
        yield view.show(history.add(step_of(wish, made)), place, said)

    @answer
    def describe(history: History) -> Iterator[Updates]:
        best, *others = actions.describe(history.now.picture)
        yield {view.message: message(f"“{best}”" + "".join(f" · or “{other}”" for other in others))}

    @answer
    def undo(history: History) -> Iterator[Updates]:
        yield view.show(history.undo(), place)

    @answer
    def redo(history: History) -> Iterator[Updates]:
        yield view.show(history.redo(), place)

    @answer
    def go_back(history: History, event: gr.SelectData) -> Iterator[Updates]:
        yield view.show(history.at(int(event.index)), place)

    @answer
    def choose(history: History, event: gr.SelectData) -> Iterator[Updates]:
        yield view.show(history.choose(int(event.index)), place)

    def change_kind(kind: str) -> Updates:
        updates: Updates = {
            help_line: HELP[kind],
            attribute_row: gr.update(visible=kind == "attribute"),
            expression: gr.update(visible=kind == "expression"),
            regions: gr.update(visible=kind == "region"),
        }
        return {**updates, view.tabs: gr.update(selected=BRUSH_TAB)} if kind == "brush" else updates

    upload.upload(open_photo, upload, **shown, show_progress_on=view.picture)
    draw.click(draw_face, [number, covered], **shown, show_progress="hidden")
    number.submit(draw_face, [number, covered], **shown, show_progress="hidden")
    wished = [kind, attribute, way, expression, regions, view.editor, words, count, *decoding.inputs]
    begins = [go.click, words.submit]
    stop.wake(begins)
    event = gr.on(
        begins, edit, [stop.making, view.history, *wished], view.outputs,
        show_progress_on=[view.picture, view.slider], **MODEL,
    )  # fmt: skip

    def stopped(history: History) -> Updates:
        return view.show(history, place, f"Stopped. This is “{history.now.title}”.")

    stop.stops(event, stopped, [view.history], view.outputs)
    view.describe.click(describe, view.history, view.message, **MODEL)
    view.undo.click(undo, view.history, **shown, show_progress="hidden")
    view.redo.click(redo, view.history, **shown, show_progress="hidden")
    view.strip.select(go_back, view.history, **shown, show_progress="hidden")
    view.candidates.select(choose, view.history, **shown, show_progress="hidden")
    kind.change(
        change_kind, kind, [help_line, attribute_row, expression, regions, view.tabs],
        api_visibility="private", show_progress="hidden",
    )  # fmt: skip
    view.brush_tab.select(
        view.open_brush, [view.history, view.editor_shows], [view.editor, view.editor_shows],
        api_visibility="private", show_progress="hidden",
    )  # fmt: skip
    page.load(draw_face, [number, covered], **shown, show_progress="hidden")
    return view


def _wish(
    shape: tuple[int, int], kind: Any, attribute: str | None, way: bool, expression: str | None, regions: list[str],
    editor: dict[str, Any] | None, words: str, count: Any, *decoding: Any,
) -> tuple[Wish, int]:  # fmt: skip
    """What the column of choices says, and how many candidates."""
    mask = brushed_mask(editor["layers"], shape) if editor and kind in ("brush", "cover") else None
    name = {"attribute": attribute, "expression": expression}.get(kind, "")
    if name is None:
        raise InputError(f"Choose {'a feature' if kind == 'attribute' else 'an expression'} first.")
    if kind == "attribute" and not way:
        name = f"no {name}"
    settings = DecodingChoices.read(*decoding)
    chosen = tuple(regions) if kind == "region" else ()
    return Wish(kind, name, chosen, mask, checked_words(words), settings), whole(count, "number of candidates")


def _thumbnails(made: list[Candidate]) -> list[tuple[Any, str]]:
    return [(enlarged(each.picture, THUMBNAIL), f"seed {each.seed}") for each in made]
