"""The one place that finds and starts Chromium."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")

FLAGS = (
    "--no-sandbox",  # it needs rights that containers do not give; only our own pages are opened
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str | None:
    """Return where Chromium is; None where it, or what drives it, is not installed."""
    if importlib.util.find_spec("playwright") is None:
        return None
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Give a running Chromium; skips where there is none, fails where GRINDER_REQUIRE_DATA=1 asks for it.

    While it runs, this thread cannot `asyncio.run` anything: Playwright keeps a loop of its own in it. So it must end
    before tests of asynchronous code begin, and lives for a module or a package, never for the session.
    """
    found = chromium()
    if found is None:
        reason = "no Chromium or no playwright; make chromium, pip install -e '.[browser]'"
        if os.environ.get("GRINDER_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()
