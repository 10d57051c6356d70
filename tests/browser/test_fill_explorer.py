"""The fill explorer as a user sees it: a slider moves the figure, tabs draw what they are for, and it looks right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.lab import Lab, NotebookPage
from tests.session.conftest import until

pytestmark = pytest.mark.browser

SETUP = """
import grinder_kit as gk
import grinder_widgets as gw

market = gk.synthetic_market(seed=7, minutes=10)
train, test = gk.label(market).split(0.6)
explorer = gw.FillExplorer(gk.FirstPassageModel().fit(train), {data}, state={state})
explorer
"""
# Every figure that is seen is as wide as its place.
WIDE = """
[...document.querySelectorAll('.js-plotly-plot')]
  .filter(one => one.clientWidth).every(one => one._fullLayout.width === one.clientWidth)
"""
TABS = ("Curve", "Map", "Time", "Calibration")


def opened(
    lab: Lab, notebook: Callable[[str], NotebookPage], name: str, *more: str, data: str = "test", **state: object
) -> NotebookPage:
    """Open a notebook with an explorer that is drawn."""
    lab.write(name, [SETUP.format(data=data, state=state), *more])
    page = notebook(name)
    page.run_cell(0)
    page.wait_for_figures(1)
    return page


def text_of(page: NotebookPage) -> str:
    """Return what the explorer's cell says."""
    return page.cell(0).inner_text()


def test_tabs(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """A figure is drawn when its tab is looked at, not before; each looks right in light and dark, and has a table."""
    page = opened(lab, notebook, "explorer")
    for drawn, tab in enumerate(TABS, 1):
        page.page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_figures(drawn)
        page.wait_until(WIDE)
        if tab == "Calibration":
            until(lambda: "log loss" in text_of(page))
        for theme in ("light", "dark"):
            page.screenshot(f"explorer-{tab.lower()}", theme)
    assert page.page.locator(".gk-panel td:visible").count() > 0
    before = page.page.locator(".gk-panel td:visible").count()
    page.click_button("Table")
    until(lambda: page.page.locator(".gk-panel td:visible").count() > before)
    page.screenshot("explorer-table")


def test_sliders_and_keys(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """The mark of the order follows the distance; volatility moves the line; the reset brings it back, also beside a busy cell."""
    page = opened(lab, notebook, "sliders", "import time\ntime.sleep(4)")
    page.press_slider("distance, bps", times=5)
    page.wait_until("Math.abs(grinder.traces()[0].at(-1).x[0] - 2.5) < 1e-3")
    before = page.traces()
    page.drag_slider("vol., bps/√s", 40)
    after = page.wait_for_data_change(before)
    assert max(y for y in after[0][1]["y"] if y is not None) > 0
    until(lambda: "at the touch" in text_of(page))
    page.start_cell(1)
    page.click_button("Reset to medians")
    page.wait_until("before => JSON.stringify(grinder.traces()[0][1].y) === JSON.stringify(before)", before[0][1]["y"])
    page.finish([1])


def test_outside_the_data_and_at_the_touch(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """Where nothing like it was seen the line is dotted and says so, and there are too few cases."""
    page = opened(lab, notebook, "outside", "explorer.distance.value = 0.0\nexplorer.reset.click()", sigma=4.0)
    until(lambda: "too few cases" in text_of(page) and "outside the data" in text_of(page))
    page.screenshot("explorer-outside")
    page.run_cell(1)
    until(lambda: "outside the data" not in text_of(page) and "too few cases" not in text_of(page))
    page.screenshot("explorer-touch", "dark")


def test_a_market_is_labelled_while_the_page_waits(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """Of a market the labels come from a thread; another latency makes new ones, and says so meanwhile."""
    page = opened(lab, notebook, "market", data="market")
    page.page.get_by_text("Labels: size 120 USDT").click()
    page.press_slider("latency", times=2)
    until(lambda: "latency 35 ms · queue power 2" in text_of(page), timeout_s=30)
    page.screenshot("explorer-labels")


@pytest.mark.parametrize("name", ["02_will_my_order_fill", "03_what_do_backtests_overstate"])
def test_notebook(lab: Lab, notebook: Callable[[str], NotebookPage], name: str) -> None:
    """Notebooks 02 and 03 run to their claims in the browser as well."""
    page = notebook(name)
    page.run_all()
    page.wait_for_figures(1)
    for theme in ("light", "dark"):
        page.screenshot(name, theme)
