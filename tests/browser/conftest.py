"""A headless Chromium for the pages, or a skip that says why there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from report_samples import Sample
from unireason.report import trace as page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Opener = Callable[..., Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The browser; UNIREASON_CHROMIUM names its program if it lies in no usual place."""
    program = os.environ.get("UNIREASON_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium found: apt-get install chromium, or set UNIREASON_CHROMIUM to the program")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'unireason[browser]'")
    with sync_api.sync_playwright() as driver:
        instance = driver.chromium.launch(executable_path=program, headless=True, args=FLAGS)
        yield instance
        instance.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opener]:
    """Opens the page of a sample, or a file; fails the test on any console message, script error or request."""
    contexts, complaints = [], []

    def open_page(what: Sample | Path, *, size: tuple[int, int] = (1300, 900), **options: Any) -> Any:
        path = what if isinstance(what, Path) else page.write(what.trace, what.case, what.stack, tmp_path / "trace.html")
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        contexts.append(context)
        view = context.new_page()
        view.on("console", lambda message: complaints.append(f"console: {message.text}"))
        view.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        view.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        view.on("request", lambda request: _outside(request.url, complaints))
        view.goto(path.as_uri())
        return view

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _outside(address: str, complaints: list[str]) -> None:
    if not address.startswith(("file:", "data:")):
        complaints.append(f"request: {address}")
