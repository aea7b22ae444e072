"""Sharing trained models on the Hugging Face Hub, each with a card that says what the run says of itself."""

from __future__ import annotations

from gptface.hub.card import Description, model_card
from gptface.hub.run_facts import RunFacts
from gptface.hub.sharing import share

__all__ = ["Description", "RunFacts", "model_card", "share"]
