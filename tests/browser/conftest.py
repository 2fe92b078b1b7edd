"""A real browser for the tests here: headless Chromium, driven by Playwright."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.browser.network_page import NetworkPage

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HERE = ("file:", "data:", "blob:", "about:", "http://127.0.0.1:")
"""How the addresses begin that a page may ask for."""


def missing() -> str | None:
    """What is not here that the tests need, and how to install it; None if all is here."""
    if importlib.util.find_spec("playwright") is None:
        return "the pages' tests need Playwright: pip install playwright, or run nox -s browser"
    if CHROMIUM is None:
        return "the pages' tests need Chromium (Debian: apt-get install chromium)"
    return None


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Chromium, without a window; skipped where it or Playwright is missing, unless --require-browser makes that a failure."""
    if reason := missing():
        if request.config.getoption("--require-browser"):
            pytest.fail(f"{reason}, and --require-browser was given")
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page, see `watched`."""
    with watched(browser) as page:
        yield page


@pytest.fixture(scope="session")
def network_page(browser: Any) -> Iterator[NetworkPage]:
    """A page that networks run in."""
    with watched(browser) as page:
        yield NetworkPage(page)


@contextmanager
def watched(browser: Any) -> Iterator[Any]:
    """An empty page. In the end: no error on its console, and nothing that was asked for from elsewhere."""
    faults: list[str] = []
    context = browser.new_context()
    context.on("request", lambda request: None if request.url.startswith(HERE) else faults.append(request.url))
    context.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    context.on("weberror", lambda error: faults.append(str(error.error)))
    yield context.new_page()
    context.close()
    assert faults == []
