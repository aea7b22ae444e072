"""How the generating commands, and the studio, decode where nothing is said: read by both, so that they agree.

They are the settings that the report's edit trials are made with.

Nothing is imported here: the command line needs the numbers for its help before anything heavy is read.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "CAPTION_CANDIDATES",
    "CAPTION_TEMPERATURE",
    "GUIDANCE_SCALE",
    "MATCH_BOUND",
    "MATCH_CANDIDATES",
    "MATCH_GUIDANCE",
    "MATCH_WEIGHT",
    "ORDER",
    "SEED",
    "STEPS",
    "TEMPERATURE",
]

SEED: Final = 0
STEPS: Final = 8
"""Passes of masked decoding."""
ORDER: Final = "confidence"
TEMPERATURE: Final = 0.7
"""Of the draw of picture tokens."""
GUIDANCE_SCALE: Final = 4.0
"""Of classifier-free guidance; 1 is off."""
MATCH_GUIDANCE: Final = "none"
"""Off: on the trials of the bundled system's edits it gains nothing that could not be chance."""
MATCH_WEIGHT: Final = 12.0
MATCH_BOUND: Final = 5.0
"""Nats that first-order guidance may move a token's distribution."""
MATCH_CANDIDATES: Final = 4
"""Scored a step, where the guidance is exact."""
CAPTION_CANDIDATES: Final = 4
"""Captions drawn of a photo, of which the best match is kept."""
CAPTION_TEMPERATURE: Final = 0.7
