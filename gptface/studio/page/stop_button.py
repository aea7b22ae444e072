"""The button that ends what is being made, or what waits in the queue, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from gptface.studio.page.answers import Updates
from gptface.studio.stopping import Making

__all__ = ["StopButton"]

# In the browser itself: a server's answer could come after the end of what has begun.
_CAN_BE_STOPPED = "() => [{__type__: 'update', interactive: true}]"
_AT_ONCE: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True)
class StopButton:
    """The button, and what is being made for a session: an input of the event that it stops, which begins with it."""

    button: gr.Button
    making: gr.State

    @classmethod
    def build(cls, name: str) -> StopButton:
        """In the row that is being laid out."""
        button = gr.Button("Stop", interactive=False, min_width=80, scale=1, elem_id=name)
        return cls(button, gr.State(Making()))

    def wake(self, triggers: list[Any]) -> None:
        """Let it be pressed from ``triggers`` on. Before the event that it stops is connected to them: a page goes
        through what a trigger starts in order, and waits for the end of each."""
        gr.on(triggers, None, None, self.button, js=_CAN_BE_STOPPED, **_AT_ONCE)

    def stops(
        self,
        event: gr.events.Dependency,
        after: Callable[..., Updates],
        inputs: list[gr.components.Component],
        outputs: list[Any],
    ) -> None:
        """Connect it.

        Args:
            event: what it stops; it is taken out of the queue where it still waits.
            after: called with ``inputs`` once the event was stopped and has ended: what the page shows then.
            inputs: of ``after``.
            outputs: of ``after``.
        """

        def settle(making: Making, *values: Any) -> Updates:
            ended: Updates = {self.button: gr.update(interactive=False)}
            return {**ended, **after(*values)} if making.sign.is_up else ended

        self.button.click(Making.stop, self.making, None, cancels=[event], **_AT_ONCE)
        event.then(settle, [self.making, *inputs], [self.button, *outputs], **_AT_ONCE)
