"""What every event of the page answers: its updates, or a sentence where it fails."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from gptface.studio.actions import sentence
from gptface.studio.page.look import message
from gptface.studio.stopping import Stopped

__all__ = ["MODEL", "Updates", "answers"]

Updates = dict[Any, Any]
"""Component → its new value or ``gr.update``; components that are not named stay as they are."""

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
"""Options of every event that runs a network: they wait for one another in one queue."""


def answers(place: gr.HTML) -> Callable[[Callable[..., Iterator[Updates]]], Callable[..., Iterator[Updates]]]:
    """A decorator for events that yield updates: a failure becomes one more update, a sentence at ``place``.

    What was stopped adds nothing: who stopped it says so.
    """

    def decorate(event: Callable[..., Iterator[Updates]]) -> Callable[..., Iterator[Updates]]:
        @functools.wraps(event)
        def answer(*inputs: Any) -> Iterator[Updates]:
            try:
                yield from event(*inputs)
            except Stopped:
                yield {}
            except Exception as error:
                yield {place: message(sentence(error), wrong=True)}

        return answer

    return decorate
