"""One Chromium and one JupyterLab for all tests here, one page for each notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import running_chromium
from tests.browser.lab import Lab, NotebookPage
from tests.compiled import compile_once

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Return a running Chromium."""
    with running_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="package")
def lab(browser: Browser, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return a running JupyterLab with copies of all notebooks."""
    compile_once()
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    with Lab(browser, tmp_path_factory.mktemp("lab"), notebooks, root / "build" / "screenshots") as running:
        yield running


@pytest.fixture
def notebook(lab: Lab) -> Iterator[Callable[[str], NotebookPage]]:
    """Return a function that opens a notebook by name; afterwards it is closed, and nothing may have gone wrong in it."""
    pages: list[NotebookPage] = []

    def opened(name: str) -> NotebookPage:
        pages.append(lab.open(name))
        return pages[-1]

    yield opened
    for page in pages:
        page.close()
    assert [error for page in pages for error in page.errors] == []
