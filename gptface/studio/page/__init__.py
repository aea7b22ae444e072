"""The page itself, in Gradio: tabs that read what people set, call the actions, and show what comes back."""

from __future__ import annotations

import gradio as gr

from gptface.studio.actions import Actions
from gptface.studio.heads import Heads
from gptface.studio.page.edit_tab import build_edit_tab
from gptface.studio.page.heads_tab import build_heads_tab
from gptface.studio.page.made_tab import build_made_tab

__all__ = ["build_page"]

HEADING = """# gptface studio
Change a face by words. Everything stays on this computer.{note}"""
DRAWN_FACES = (
    " The small system inside the package knows drawn faces of {size}² pixels: photos come out like drawings, and new "
    "eyes and mouths are smears."
)
ENDING = "Label an edited face of a real person as edited, and make it only with that person’s consent."
EDIT = "edit"
OLD_FILES = (600, 3600)
"""Seconds between looks for old files, and their age."""


def build_page(actions: Actions, heads: Heads) -> gr.Blocks:
    """The whole page."""
    note = DRAWN_FACES.format(size=actions.image_size) if actions.place.system is None else ""
    with gr.Blocks(title="gptface studio", analytics_enabled=False, delete_cache=OLD_FILES) as page:
        gr.Markdown(HEADING.format(note=note), elem_id="heading")
        with gr.Tabs(selected=EDIT) as tabs:
            with gr.Tab("Edit", id=EDIT):
                view = build_edit_tab(page, actions)
            with gr.Tab("Make", id="make"):
                build_made_tab(actions, view, tabs, EDIT)
            with gr.Tab("3D", id="heads"):
                build_heads_tab(page, heads, view)
        gr.Markdown(ENDING, elem_classes="help")
    return page
