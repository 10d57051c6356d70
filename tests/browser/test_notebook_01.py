"""The notebooks as a user sees them: figures with data, in light and dark, and the same when they run again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.lab import Lab, NotebookPage

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("name", "figures"), [("01_what_does_a_grid_earn", 6), ("04_why_was_this_order_sent", 1)])
def test_notebook_draws_its_figures_and_runs_again(
    lab: Lab, notebook: Callable[[str], NotebookPage], name: str, figures: int
) -> None:
    """Every cell runs and every figure has data; a second run draws the same, and closed it leaves no kernel."""
    page = notebook(name)
    page.run_to_the_claim()
    page.wait_for_figures(figures)
    first = page.traces()
    assert all(any(number is not None for trace in figure for number in trace["y"]) for figure in first)
    for theme in ("light", "dark"):
        assert page.screenshot(name, theme).stat().st_size > 50_000
    page.run_all()
    page.wait_for_figures(figures)
    assert page.traces() == first
    page.close()
    assert lab.sessions(name) == []
