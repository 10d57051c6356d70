"""The fill explorer as a user sees it: a slider moves the figure, tabs draw what they are for, and it looks right."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from grinder_kit.market.features import PROXY
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
# The line of the curve: solid inside the data, dotted outside.
LINE = "(([, solid, dotted]) => solid.y.map((y, i) => y ?? dotted.y[i]))(grinder.traces()[0])"
VOLATILITY = "vol., bps/√s"
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


def line_of(page: NotebookPage) -> list[float | None]:
    """Return the model's line, whichever parts of it are solid or dotted."""
    line: list[float | None] = page.page.evaluate(LINE)
    return line


def chance_of(page: NotebookPage) -> str:
    """Return the model's probability in the header."""
    return page.page.locator(".gk-headline b").first.inner_text()


def settle(page: NotebookPage) -> None:
    """Wait until the kernel has heard where the slider of volatility stands, and has drawn that; cell 1 tells.

    A hand is faster than the kernel: of the values on the way it hears some, and of the last one always.
    """
    slider = page.page.locator(".jp-OutputArea .widget-slider").filter(
        has=page.page.get_by_text(VOLATILITY, exact=True)
    )

    def heard() -> bool:
        page.run_cell(1)
        sigma = float(page.outputs(1)[0]["text"])
        shown = float(slider.locator(".widget-readout").inner_text())
        # The readout has two digits, a step of the slider is 2 %. What stands beside it is sent after the figure.
        return abs(shown - sigma) < 0.006 and f"NATR {PROXY * sigma:.0f} bps" in text_of(page)

    until(heard)


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
    assert re.search(r"EV\n[+−]?\d+\.\d \[[+−\d., ]+\] bps", text_of(page))
    assert page.page.locator(".gk-panel td:visible").count() > 0
    before = page.page.locator(".gk-panel td:visible").count()
    page.click_button("Table")
    until(lambda: page.page.locator(".gk-panel td:visible").count() > before)
    page.screenshot("explorer-table")


def test_sliders_and_keys(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """The mark of the order follows the distance; volatility moves the line; the reset brings it back, also beside a busy cell."""
    told = "print(explorer.state.sigma or explorer.controls.sigma.value)"
    page = opened(lab, notebook, "sliders", told, "import time\ntime.sleep(4)")
    page.press_slider("distance, bps", times=5)
    page.wait_until("Math.abs(grinder.traces()[0].at(-1).x[0] - 2.5) < 1e-3")
    settle(page)
    before, chance = line_of(page), chance_of(page)
    page.drag_slider(VOLATILITY, 40)
    settle(page)
    after = line_of(page)
    assert None not in after and after != before and chance_of(page) != chance
    page.start_cell(2)
    page.click_button("Reset to medians")
    page.wait_until(f"before => JSON.stringify({LINE}) === JSON.stringify(before)", before)
    page.finish([2])
    assert chance_of(page) == chance


def test_outside_the_data_and_at_the_touch(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """Where nothing like it was seen the line is dotted and says so, and there are too few cases."""
    page = opened(lab, notebook, "outside", "explorer.controls.distance.value = 0.0\nexplorer.reset.click()", sigma=4.0)
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
