"""A live figure in a page: it follows, and what is shown nowhere any more costs nothing and raises nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.lab import Lab, NotebookPage

pytestmark = pytest.mark.browser

FIGURE = """
import itertools

from grinder_widgets.live_figure import LiveFigure

def drawing(height):
    return {
        "data": [{"type": "scatter", "x": [0, 1, 2], "y": [height] * 3}],
        "layout": {"title": {"text": f"{height} high"}, "xaxis": {"type": "log", "tickangle": height}},
    }

heights = itertools.count(1)
live = LiveFigure()
live.show(drawing(next(heights)))
live.box
"""
CELLS = (FIGURE, "live.box", "for _ in range(3):\n    live.show(drawing(next(heights)))")
FIRST, SECOND, REDRAW = range(3)


def test_views_that_went_away(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """Of two views of one figure, one is cleared away; then the other; then it is shown again."""
    lab.write("live", CELLS)
    page = notebook("live")
    page.run_cell(FIRST)
    page.run_cell(SECOND)
    page.wait_for_figures(2)
    redrawn(page, 4)
    page.clear_output(FIRST)
    page.wait_for_figures(1)
    redrawn(page, 7)
    page.clear_output(SECOND)
    page.wait_for_figures(0)
    redrawn(page, 10)
    page.run_cell(SECOND)
    page.wait_for_figures(1)
    redrawn(page, 13)


def redrawn(page: NotebookPage, height: int) -> None:
    """Draw three times; every figure that is shown follows."""
    page.run_cell(REDRAW)
    page.wait_until(f"grinder.traces().every(([line]) => line.y[0] === {height})")
