"""The grid tuner as a user sees it: sliders replay the market, marks can be clicked, pins compared, a file exported, a study watched."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from grinder_kit.model.config_file import load_config
from tests.browser.lab import Lab, NotebookPage
from tests.session.conftest import until

pytestmark = pytest.mark.browser

SETUP = """
import grinder_kit as gk
import grinder_widgets as gw

market = gk.synthetic_market(seed=7, minutes=8)
grid = gk.GridConfig(spacing_bps=8, levels=6, size="0.002")
space = gk.Space(spacing_bps=(2, 30, 0.5), levels=(2, 12))
"""
STUDY = """
study = gk.tune(market, grid, space, trials=120, design="random", progress=False)
tuner = gw.GridTuner(study, state={state})
tuner
"""
# Every figure that is seen is as wide as its place.
WIDE = """
[...document.querySelectorAll('.js-plotly-plot')]
  .filter(one => one.clientWidth).every(one => one._fullLayout.width === one.clientWidth)
"""
#: Where the mark of what is tried stands in the front.
WHAT_IF = "[grinder.traces()[0].at(-1).x[0], grinder.traces()[0].at(-1).y[0]]"


def opened(lab: Lab, notebook: Callable[[str], NotebookPage], name: str, *more: str, **state: object) -> NotebookPage:
    """Open a notebook with a tuner that is drawn."""
    lab.write(name, [SETUP + STUDY.format(state=state), *more])
    page = notebook(name)
    page.run_cell(0)
    page.wait_for_figures(2)
    page.wait_until(WIDE)
    return page


def text_of(page: NotebookPage) -> str:
    """Return what the tuner's cell says."""
    return page.cell(0).inner_text()


def what_if_of(page: NotebookPage) -> list[float]:
    """Return where the mark of what is tried stands."""
    found: list[float] = page.page.evaluate(WHAT_IF)
    return found


def spacing_of(page: NotebookPage) -> float:
    """Return where the slider of the spacing stands."""
    label = page.page.get_by_text("spacing, bps", exact=True)
    slider = page.page.locator(".jp-OutputArea .widget-slider").filter(has=label)
    return float(slider.locator(".widget-readout").inner_text())


def settled(page: NotebookPage) -> None:
    """Wait until nothing is computed."""
    until(lambda: page.page.get_by_role("button", name="Cancel", exact=True).count() == 0)


def test_sliders_clicks_pins_and_export(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """A slider replays the market and moves its mark; a cell of the map selects; pins are compared; the export is a configuration."""
    page = opened(lab, notebook, "tuner", "print(tuner.config.grid)")
    before, spacing = what_if_of(page), spacing_of(page)
    page.press_slider("spacing, bps", times=5)
    page.wait_until(f"before => {WHAT_IF}[1] !== before[1]", before)
    settled(page)
    page.click_button("Pin")
    # No step of a fast hand is lost to what the kernel still says of an earlier one.
    until(lambda: page.page.get_by_role("button", name=f"A {spacing + 0.5:g} / ").count() == 1)
    assert spacing_of(page) == pytest.approx(spacing + 0.5)
    cell = (
        page.page.locator(".js-plotly-plot").nth(1).locator(".scatterlayer .trace").first.locator(".points path").nth(2)
    )
    cell.click(force=True)
    until(lambda: "what if" in text_of(page) and what_if_of(page) != before)
    page.click_button("Pin")
    page.click_button("Compare")
    page.wait_for_figures(3)
    settled(page)
    page.click_button("Table")
    until(lambda: "grid + trend + fees + funding is net, exactly" in text_of(page))
    page.wait_until(WIDE)
    for theme in ("light", "dark"):
        page.screenshot("tuner", theme)
    page.click_button("Export TOML")
    until(lambda: "grinder run deploy/synth-usdt.toml" in text_of(page), timeout_s=60)
    exported = load_config(lab.work / "deploy" / "synth-usdt.toml")
    page.run_cell(1)
    assert page.outputs(1)[0]["text"].strip() == repr(exported.grid)
    assert exported.provenance.digest is not None and exported.provenance.digest in text_of(page)


def test_a_study_runs_beside_a_busy_cell_and_can_be_stopped(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """In a process of its own it goes on while a cell is busy; its progress moves, Cancel stops it, and what is done is shown."""
    run = """
space = gk.Space(spacing_bps=(2, 30), levels=(2, 40))
tuner = gw.GridTuner.run(market, grid, space, trials=5_000, design="random", storage="big.study")
tuner
"""
    busy = "import time\nwhile tuner._studying.running:\n    time.sleep(0.1)"
    lab.write("running", [SETUP + run, busy, "print(len(tuner.study.trials), tuner.study.interrupted)"])
    page = notebook("running")
    page.run_cell(0)
    page.start_cell(1)
    until(lambda: re.search(r"[\d,]+ trials of 5,000, [\d.,]+ a second, best net", text_of(page)))
    page.screenshot("tuner-running")
    page.click_button("Cancel")
    page.finish([1])
    page.wait_for_figures(2)
    page.run_cell(2)
    done, stopped = page.outputs(2)[0]["text"].split()
    assert 0 < int(done) < 5_000 and stopped == "True"
    assert f"{int(done):,} trials of 5,000, stopped" in text_of(page)
    page.wait_until(WIDE)
    page.screenshot("tuner-stopped")
