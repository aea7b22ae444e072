"""The studio: a page in the browser in which a trained system edits, makes and describes faces.

What a person sets on the page becomes a :class:`~gptface.studio.wishes.Wish`, which
:class:`~gptface.studio.actions.Actions` carries out with the generator and the result of which becomes a step of that
person's :class:`~gptface.studio.history.History`. From the history alone everything that is shown or downloaded is
made: pictures, settings, and the command line that does the same (``commands``, ``package``). Only ``page/`` and
``serving`` know Gradio; all else is plain functions over arrays.
"""

from __future__ import annotations

from gptface.studio.actions import Actions
from gptface.studio.history import Candidate, History, Step
from gptface.studio.wishes import Decoding, Wish

__all__ = ["Actions", "Candidate", "Decoding", "History", "Step", "Wish"]
