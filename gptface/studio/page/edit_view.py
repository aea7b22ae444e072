"""The right side of the tab “Edit”: the picture, its history, and what can be taken away; all of it from a history."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np

from gptface.studio.commands import Place, history_commands
from gptface.studio.history import History
from gptface.studio.package import package, settings_json
from gptface.studio.page.answers import Updates
from gptface.studio.page.look import message
from gptface.studio.photos import enlarged, shrunk

__all__ = ["EditView"]

HEIGHT = 540
THUMBNAIL = 160
BRUSH = "#ff3b30"
PICTURE_TAB, BRUSH_TAB = "picture", "brush"


@dataclass(frozen=True)
class EditView:
    """The components that show a history, and the session's state."""

    history: gr.State
    editor_shows: gr.State
    tabs: gr.Tabs
    brush_tab: gr.Tab
    picture: gr.Image
    slider: gr.ImageSlider
    editor: gr.ImageEditor
    message: gr.HTML
    candidates: gr.Gallery
    undo: gr.Button
    redo: gr.Button
    describe: gr.Button
    strip: gr.Gallery
    save_picture: gr.DownloadButton
    save_settings: gr.DownloadButton
    save_all: gr.DownloadButton
    command: gr.Code

    @classmethod
    def build(cls) -> EditView:
        """In the column that is being laid out."""
        with gr.Tabs(selected=PICTURE_TAB) as tabs:
            with gr.Tab("Picture", id=PICTURE_TAB):
                picture = gr.Image(show_label=False, interactive=False, height=HEIGHT, buttons=[], elem_id="picture")
                slider = gr.ImageSlider(
                    show_label=False, interactive=False, height=HEIGHT, max_height=HEIGHT, buttons=[], format="png",
                    visible=False, elem_id="slider",
                )  # fmt: skip
            with gr.Tab("Brush", id=BRUSH_TAB) as brush_tab:
                editor = gr.ImageEditor(
                    show_label=False, type="numpy", image_mode="RGBA", format="png", sources=(), transforms=(),
                    brush=gr.Brush(default_size=36, colors=[BRUSH], color_mode="fixed"),
                    eraser=gr.Eraser(default_size=36), layers=False, buttons=[], height=HEIGHT, elem_id="editor",
                )  # fmt: skip
        place = gr.HTML(elem_id="message", elem_classes="message")
        candidates = _thumbnails("candidates", 4)
        with gr.Row():
            undo = gr.Button("Undo", size="sm", interactive=False, elem_id="undo")
            redo = gr.Button("Redo", size="sm", interactive=False, elem_id="redo")
            describe = gr.Button("Describe this face", size="sm")
        strip = _thumbnails("strip", 7)
        with gr.Row():
            save_picture = gr.DownloadButton("Save picture", size="sm", elem_id="save-picture")
            save_settings = gr.DownloadButton("Save settings (JSON)", size="sm", elem_id="save-settings")
            save_all = gr.DownloadButton("Save everything (ZIP)", size="sm", elem_id="save-all")
        with gr.Accordion("The same on the command line", open=False):
            gr.Markdown(
                "Run it in the folder of “Save everything”: the first picture and all masks are there.",
                elem_classes="help",
            )
            command = gr.Code(language="shell", show_label=False, interactive=False, wrap_lines=True, elem_id="command")
        return cls(
            gr.State(History(), time_to_live=SESSION), gr.State(""), tabs, brush_tab, picture, slider, editor, place,
            candidates, undo, redo, describe, strip, save_picture, save_settings, save_all, command,
        )  # fmt: skip

    @property
    def outputs(self) -> list[gr.components.Component | gr.Tabs]:
        """Everything that :meth:`show` and :meth:`restart` change."""
        return [
            self.history, self.editor_shows, self.tabs, self.picture, self.slider, self.editor, self.message,
            self.candidates, self.undo, self.redo, self.strip, self.save_picture, self.save_settings, self.save_all,
            self.command,
        ]  # fmt: skip

    def show(self, history: History, place: Place, said: str = "") -> Updates:
        """Updates that show a history where it is; ``said`` is its message, else what is told of the picture."""
        now, before = history.now, history.before
        several = len(now.candidates) > 1
        saved = _saved(history, place)
        updates: Updates = {
            self.history: history,
            self.tabs: gr.update(selected=PICTURE_TAB),
            self.picture: gr.update(value=enlarged(now.picture), visible=before is None),
            self.message: message(said or now.candidate.told or now.title),
            self.candidates: gr.update(
                value=[(enlarged(each.picture, THUMBNAIL), f"seed {each.seed}") for each in now.candidates]
                if several
                else [],
                selected_index=now.chosen if several else None,
                visible=several,
            ),
            self.undo: gr.update(interactive=history.can_undo),
            self.redo: gr.update(interactive=history.can_redo),
            self.strip: gr.update(
                value=[(_thumbnail(step.picture), step.title) for step in history.steps],
                selected_index=history.position,
                visible=len(history.steps) > 1,
            ),
            self.save_picture: gr.update(value=saved["gptface.png"]),
            self.save_settings: gr.update(value=saved["gptface.json"]),
            self.save_all: gr.update(value=saved["gptface.zip"]),
            self.command: history_commands(history.path, place),
            self.slider: gr.update(visible=False),
        }
        if before is not None:
            pair = (enlarged(before.picture), enlarged(now.picture))
            updates[self.slider] = gr.update(value=pair, visible=True)
        return updates

    def restart(self, history: History, place: Place, said: str = "") -> Updates:
        """As :meth:`show`, of another picture: strokes of the brush were meant for the former one."""
        return {**self.show(history, place, said), self.editor: None, self.editor_shows: ""}

    def open_brush(self, history: History, shows: str) -> Updates:
        """Updates that put the present picture under the brush, unless it is there already."""
        if not history.steps:
            return {}
        key = hashlib.sha256(history.now.picture.tobytes()).hexdigest()
        if key == shows:
            return {}
        return {self.editor: enlarged(history.now.picture), self.editor_shows: key}


def _thumbnails(name: str, columns: int) -> gr.Gallery:
    """Small pictures, one of which can be chosen by mouse or keyboard."""
    return gr.Gallery(
        show_label=False, columns=columns, fit_columns=False, height="auto", object_fit="cover", visible=False,
        allow_preview=False, interactive=False, buttons=[], elem_id=name, elem_classes="thumbnails",
    )  # fmt: skip


SESSION = 3600
"""Seconds without a word from a page after which its history is let go."""


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    return enlarged(shrunk(picture, THUMBNAIL), THUMBNAIL)


def _saved(history: History, place: Place) -> dict[str, str]:
    """The files to download, in a folder of the page's own, which goes when the studio ends."""
    folder = Path(tempfile.mkdtemp(dir=files_folder()))
    contents = {
        "gptface.png": history.now.candidate.png,
        "gptface.json": settings_json(history.path, place).encode(),
        "gptface.zip": package(history.path, place),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {name: str(folder / name) for name in contents}


def files_folder() -> str:
    """Where Gradio serves files from."""
    from gradio.utils import get_upload_folder

    folder = get_upload_folder()
    Path(folder).mkdir(parents=True, exist_ok=True)
    return folder
