"""The system inside the package as the studio uses it: read once."""

from __future__ import annotations

import pytest

from gptface.data.procedural import wish_caption
from gptface.studio import Actions
from gptface.systems.gptface.bundled import bundled_system
from gptface.systems.gptface.generation import FaceGenerator


@pytest.fixture(scope="session")
def actions() -> Actions:
    return Actions(FaceGenerator(bundled_system(), describe=wish_caption))
