"""The tab “Make”: faces of words, side by side, any of which can be edited further."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from gptface.errors import InputError
from gptface.studio.actions import MOST_CANDIDATES, Actions
from gptface.studio.history import Candidate
from gptface.studio.page.answers import MODEL, Updates, answers
from gptface.studio.page.decoding_choices import DecodingChoices, whole
from gptface.studio.page.edit_view import SESSION, EditView
from gptface.studio.page.look import message
from gptface.studio.page.stop_button import StopButton
from gptface.studio.photos import enlarged
from gptface.studio.stopping import Making
from gptface.studio.wishes import Decoding, checked_words

__all__ = ["build_made_tab"]

SHOWN = 320

Made = tuple[tuple[Candidate, ...], Decoding]


def build_made_tab(actions: Actions, view: EditView, tabs: gr.Tabs, edit_tab: str) -> None:
    """Lay the tab out and connect it.

    Args:
        actions: what it does.
        view: where a face goes to be edited.
        tabs: those of the page.
        edit_tab: which of them that is.
    """
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, elem_classes="choices"):
            words = gr.Textbox(
                label="A face in words", placeholder="a smiling woman with wavy brown hair", lines=2, max_lines=2,
                info="Empty asks for any face.", elem_id="made-words",
            )  # fmt: skip
            count = gr.Slider(1, MOST_CANDIDATES, 4, step=1, label="How many")
            with gr.Row(equal_height=True):
                go = gr.Button("Make", variant="primary", scale=3, elem_id="make")
                stop = StopButton.build("stop-making")
            decoding = DecodingChoices.build()
        with gr.Column(scale=7, min_width=420):
            gallery = gr.Gallery(
                show_label=False, columns=2, fit_columns=False, height="auto", object_fit="cover",
                allow_preview=False, interactive=False, buttons=[], elem_id="made", elem_classes="thumbnails",
            )  # fmt: skip
            place = gr.HTML(
                message("Each face has a seed: the same words and seed make it again."), elem_classes="message"
            )
            further = gr.Button("Edit the chosen face", size="sm", interactive=False, elem_id="edit-made")
    made: gr.State = gr.State(((), Decoding()), time_to_live=SESSION)
    chosen = gr.State(0)
    answer = answers(place)

    def shown(faces: Made) -> Updates:
        pictures = [(enlarged(each.picture, SHOWN), f"seed {each.seed}") for each in faces[0]]
        return {gallery: gr.update(value=pictures, selected_index=0 if pictures else None), made: faces, chosen: 0}

    @answer
    def make(making: Making, words: str, count: Any, *inputs: Any) -> Iterator[Updates]:
        sign = making.begin()
        settings, many = DecodingChoices.read(*inputs), whole(count, "number of faces")
        faces: list[Candidate] = []
        for face in actions.faces(checked_words(words), settings, many, sign):
            faces.append(face)
            yield {
                **shown((tuple(faces), settings)),
                place: message(f"{len(faces)} of {many} are made."),
                further: gr.update(interactive=True),
            }
        yield {place: message("Choose one to edit it further.")}

    def choose(made: Made, event: gr.SelectData) -> Updates:
        index = int(event.index)
        return {chosen: index, place: message(made[0][index].told if index < len(made[0]) else "")}

    @answer
    def edit_further(made: Made, index: int) -> Iterator[Updates]:
        faces, settings = made
        if not 0 <= index < len(faces):
            raise InputError("Make a face first.")
        yield {
            **view.restart(actions.made_face(faces[index], settings), actions.place),
            tabs: gr.update(selected=edit_tab),
        }

    def stopped(faces: Made) -> Updates:
        return {**shown(faces), place: message("Stopped. What was made before can be chosen.")}

    begins = [go.click, words.submit]
    stop.wake(begins)
    event = gr.on(
        begins, make, [stop.making, words, count, *decoding.inputs], [gallery, place, made, chosen, further],
        show_progress_on=gallery, **MODEL,
    )  # fmt: skip
    stop.stops(event, stopped, [made], [gallery, made, chosen, place])
    gallery.select(choose, made, [chosen, place], api_visibility="private", show_progress="hidden")
    further.click(
        edit_further, [made, chosen], [*view.outputs, tabs, place], api_visibility="private", show_progress="hidden"
    )
