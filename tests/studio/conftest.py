"""The system inside the package as the studio uses it, read once; a morphable model of many shapes; a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from gptface.data.procedural import wish_caption
from gptface.morphable import MorphableModel, load_morphable_model
from gptface.studio import Actions
from gptface.studio.heads import Heads
from gptface.systems.gptface.bundled import bundled_system
from gptface.systems.gptface.generation import FaceGenerator
from tests.studio.browser import CHROMIUM, PATIENCE


@pytest.fixture(scope="session")
def actions() -> Actions:
    return Actions(FaceGenerator(bundled_system(), describe=wish_caption))


@pytest.fixture(scope="session")
def statistical() -> MorphableModel:
    """The built-in head with 150 shapes of identity that only have numbers."""
    built_in = load_morphable_model("synthetic")
    basis = 0.1 * torch.randn(150, *built_in.mean.shape, generator=torch.Generator().manual_seed(0))
    return MorphableModel(built_in.mean, built_in.triangles, identity_basis=basis, name="many")


@pytest.fixture(scope="module")
def address(actions: Actions) -> Iterator[str]:
    """Of the page, without a FaceGPT."""
    from gptface.studio.serving import serving

    actions.warm_up()
    with serving(actions, Heads(), port=0) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        started = engine.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture
def visit(address: str, browser: Any) -> Iterator[Callable[[], Any]]:
    """Open the page as one more person, with a session of their own; nothing may be asked of another host."""
    contexts, elsewhere = [], []

    def open_page() -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 960})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: elsewhere.append(request.url) if _leaves(request.url, address) else None)
        page.goto(address)
        page.wait_for_selector("#picture img")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not elsewhere, "the page asks other hosts"


def _leaves(url: str, address: str) -> bool:
    return not url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))
