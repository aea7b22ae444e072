"""The tab “3D”: a head by sliders, or with a FaceGPT of a picture or a sentence, as a mesh to turn and to take away."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from gptface.studio.heads import MESH, Head, Heads
from gptface.studio.history import History
from gptface.studio.names import readable_shape
from gptface.studio.page.answers import MODEL, Updates, answers
from gptface.studio.page.edit_view import EditView, files_folder
from gptface.studio.page.look import message
from gptface.studio.wishes import checked_words

__all__ = ["build_heads_tab"]

HEIGHT = 560
MOST_SEEDS = 10_000
MESHES: dict[str, Any] = {
    "concurrency_id": "mesh", "concurrency_limit": 2, "api_visibility": "private", "show_progress": "hidden"
}  # fmt: skip
BACKGROUND = (0.0, 0.0, 0.0, 0.0)
CAMERA = (90.0, 90.0, None)
"""Degrees around and down, and the distance: from the front, as far as the mesh needs."""


def build_heads_tab(page: gr.Blocks, heads: Heads, view: EditView) -> None:
    """Lay the tab out and connect it; ``view`` holds the picture that a head can be made of."""
    first = Head(heads.models[0])
    heads.write(first, first_mesh := _mesh_path())
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, elem_classes="choices"):
            if heads.facegpt is not None:
                words = gr.Textbox(label="A head in words", placeholder="an astonished man with a wide nose", lines=1)
                of_words = gr.Button("Make it of the words", variant="primary")
                of_photo = gr.Button("Make it of the picture in “Edit”", size="sm")
            model = gr.Dropdown(
                list(heads.models), value=first.model, label="Model", visible=len(heads.models) > 1, filterable=False
            )
            with gr.Row():
                somebody = gr.Button("Somebody else", size="sm", min_width=110)
                neutral = gr.Button("Mean face", size="sm", min_width=110)
            find = gr.Textbox(
                "", label="Find a slider", placeholder="part of its name: jaw, brow, …", lines=1, elem_id="find-slider"
            )
            sliders_place = gr.Column(elem_classes="sliders")
        with gr.Column(scale=7, min_width=420):
            mesh = gr.Model3D(
                str(first_mesh), show_label=False, height=HEIGHT, clear_color=BACKGROUND, interactive=False,
                camera_position=CAMERA, elem_id="mesh",
            )  # fmt: skip
            place = gr.HTML(message("Turn it with the mouse; the wheel comes nearer."), elem_classes="message")
            save = gr.DownloadButton("Save mesh (GLB)", str(first_mesh), size="sm", elem_id="save-mesh")
            with gr.Accordion("The same on the command line", open=False):
                command = gr.Code(
                    first.command(), language="shell", show_label=False, interactive=False, wrap_lines=True,
                    elem_id="mesh-command",
                )  # fmt: skip
    # The head that the sliders start from, and the head as it is.
    start, now = gr.State(first), gr.State(first)
    drawn = gr.State(1)
    answer = answers(place)
    shown = [mesh, save, command, place, now]

    def show(head: Head, camera: Any) -> Updates:
        path = _mesh_path()
        heads.write(head, path)
        return {
            mesh: gr.update(value=str(path), camera_position=camera),
            save: gr.update(value=str(path)),
            command: head.command(),
            now: head,
        }

    @answer
    def begin(name: str) -> Iterator[Updates]:
        yield {**show(Head(name), CAMERA), start: Head(name)}

    # What is annotated as a component comes with all that it is in the browser: here the view somebody has turned to.
    @answer
    def become_mean(seen: gr.Model3D, name: str) -> Iterator[Updates]:
        yield {**show(Head(name), _as_turned(seen)), start: Head(name)}

    @answer
    def draw(seen: gr.Model3D, name: str, number: int) -> Iterator[Updates]:
        head = heads.somebody(name, number)
        yield {**show(head, _as_turned(seen)), start: head, drawn: (number + 1) % MOST_SEEDS}

    begun = [*shown, start]
    model.change(begin, model, begun, **MESHES)
    neutral.click(become_mean, [mesh, model], begun, **MESHES)
    somebody.click(draw, [mesh, model, drawn], [*begun, drawn], **MESHES)

    with sliders_place:

        @gr.render(inputs=[now, find], triggers=[page.load, start.change, find.change], show_progress="hidden")
        def sliders(head: Head, called: str) -> None:
            names: dict[str, list[str]] = {}
            bars: list[gr.Slider] = []
            for kind, title in (("expression", "Expression"), ("identity", "Who it is")):
                found = heads.sliders(head.model, kind, called)  # type: ignore[arg-type]
                names[kind] = [shape.name for shape in found.shown]
                with gr.Accordion(title, open=kind == "expression" or bool(called)):
                    if found.told:
                        gr.Markdown(found.told, elem_classes="help")
                    for shape in found.shown:
                        weight = min(max(getattr(head, kind).get(shape.name, 0.0), shape.low), shape.high)
                        label = readable_shape(shape.name)
                        # Said, not left to Gradio: laid out anew, it takes a slider that is not at 0 for a display.
                        bar = gr.Slider(
                            shape.low, shape.high, weight, step=0.01, label=label, buttons=[], interactive=True
                        )
                        bars.append(bar)

            @answer
            def move(seen: gr.Model3D, head: Head, *weights: float) -> Iterator[Updates]:
                count = len(names["expression"])
                expression = dict(zip(names["expression"], weights[:count], strict=True))
                identity = dict(zip(names["identity"], weights[count:], strict=True))
                yield show(head.changed(identity, expression), _as_turned(seen))

            gr.on(
                [bar.input for bar in bars], move, [mesh, now, *bars], shown,
                trigger_mode="always_last", **MESHES,
            )  # fmt: skip

    if heads.facegpt is None:
        return

    def found(result: Any, path: Path) -> Updates:
        updates: Updates = {
            mesh: gr.update(value=str(path), camera_position=CAMERA),
            save: gr.update(value=str(path)),
            command: result.command,
            place: message(result.told),
        }
        return updates if result.head is None else {**updates, start: result.head, now: result.head}

    @answer
    def make_of_words(words: str) -> Iterator[Updates]:
        path = _mesh_path()
        yield found(heads.of_words(checked_words(words), path), path)

    @answer
    def make_of_photo(history: History) -> Iterator[Updates]:
        path = _mesh_path()
        yield found(heads.of_photo(history.now.picture, path), path)

    gr.on([of_words.click, words.submit], make_of_words, words, begun, show_progress_on=mesh, **MODEL)
    of_photo.click(make_of_photo, view.history, begun, show_progress_on=mesh, **MODEL)


def _as_turned(seen: Any) -> tuple[float | None, ...]:
    """The camera of the mesh in somebody's browser, for the next mesh to be seen by.

    A millionth of a degree is added: a browser that is told the very camera it has takes that as nothing said, and
    shows the next mesh by the last camera that it *was* told.
    """
    around, down, distance = seen.camera_position
    return around if around is None else around + 1e-6, down, distance


def _mesh_path() -> Path:
    return Path(tempfile.mkdtemp(dir=files_folder())) / MESH
