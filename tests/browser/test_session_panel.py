"""The session's panel as a user sees it: it follows, it steers, it survives what happens to its notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from grinder_kit.session.folder import SessionFolder
from grinder_kit.session.look import look
from grinder_kit.session.snapshot import Snapshot
from tests.browser.lab import Lab, NotebookPage
from tests.session.conftest import kill_all, until

pytestmark = pytest.mark.browser

START = """
import grinder_kit as gk
import grinder_widgets as gw

config = gk.Config(grid=gk.GridConfig(spacing_bps=5, levels=6, size="0.002", position_limit="0.02"))
session = gk.Session(config, market="synthetic seed=7 minutes=600", name="{name}", speed={speed})
session.start()
session.wait("RUNNING", timeout_s=60)
panel = gw.SessionPanel(session)
panel
"""
FITTED = """
import grinder_kit as gk
import grinder_widgets as gw

labels = gk.label(gk.synthetic_market(seed=3, minutes=4))
path = gk.save_model(gk.FirstPassageModel().fit(labels), "{name}.json", markout=gk.MarkoutModel().fit(labels))
config = gk.Config(grid=gk.GridConfig(spacing_bps=3, levels=8, size="0.002", position_limit="0.02", min_fill_prob=0.2))
config = config.replace(**{{"fill_model.file": str(path), "fill_model.sha256": gk.load_fitted(path).sha256}})
session = gk.Session(config, market="synthetic seed=7 minutes=600", name="{name}", speed=40)
session.start()
session.wait("RUNNING", timeout_s=60)
panel = gw.SessionPanel(session)
panel
"""
BUSY = """
import time

end = time.monotonic() + {seconds}
while time.monotonic() < end:
    sum(range(1000))
"""


@pytest.fixture(autouse=True)
def _home(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look at the sessions of the lab's notebooks from here, and leave none behind."""
    monkeypatch.setenv("GRINDER_HOME", str(lab.home / ".grinder"))
    yield
    kill_all()


def running(lab: Lab, notebook: Callable[[str], NotebookPage], name: str, *more: str, speed: int = 20) -> NotebookPage:
    """Open a notebook with a session that has quoted, and its panel."""
    lab.write(name, [START.format(name=name, speed=speed), *more])
    page = notebook(name)
    page.run_cell(0)
    page.wait_for_figures(2)  # the ladder and the first tab
    return page


def seen(name: str) -> Snapshot:
    """Ask a session for its snapshot, past the notebook."""
    snapshot = look(SessionFolder(name)).snapshot
    assert snapshot is not None
    return snapshot


def text_of(page: NotebookPage) -> str:
    """Return what the panel's cell says."""
    return page.cell(0).inner_text()


def test_panel_follows_and_steers(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """Traces change while nobody touches it; pause, resume and flatten do what they say; it looks right in light and dark."""
    page = running(lab, notebook, "panel")
    first = page.traces()
    page.wait_for_data_change(first)
    until(lambda: "PAPER" in text_of(page) and "KILL" in text_of(page))
    page.click_button("Pause")
    until(lambda: "PAUSED" in text_of(page))
    page.click_button("Resume")
    until(lambda: "PAUSED" not in text_of(page))
    until(lambda: seen("panel").counts.fills > 3)
    for tab in ("P&L", "Fills", "Round trips", "Latency", "Health", "Journal"):
        page.page.get_by_role("tab", name=tab, exact=True).click()
        for theme in ("light", "dark") if tab in ("P&L", "Fills", "Health") else ("light",):
            page.screenshot(f"panel-{tab.lower().replace(' ', '-').replace('&', 'n')}", theme)
    page.click_button("Flatten")
    until(lambda: "flat" in text_of(page) and "PAUSED" in text_of(page))
    page.screenshot("panel-flat")


def test_ribbon_and_its_score(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """With a fitted model: dots, bands, values and refused levels in the ladder, and the verdict on the probabilities below."""
    lab.write("ribbon", [FITTED.format(name="ribbon")])
    page = notebook("ribbon")
    page.run_cell(0)
    page.wait_for_figures(2)
    until(lambda: seen("ribbon").ribbon.text, timeout_s=120)
    ladder = seen("ribbon").ladder
    assert {rung.refused for rung in ladder} == {True, False} and any(rung.value_bps is not None for rung in ladder)
    page.page.get_by_role("tab", name="Ribbon score", exact=True).click()
    until(lambda: "Fills seen" in text_of(page) and "n = " in text_of(page))
    page.page.get_by_label("level", exact=True).select_option("BUY 1")
    until(lambda: "P(fill 60 s)" in text_of(page) and "expected value" in text_of(page))
    for theme in ("light", "dark"):
        page.screenshot("panel-ribbon-score", theme)


def test_flatten_over_time_shows_its_progress(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """Chosen beside the button, it shows how far it is and when the next slice comes, and ends flat."""
    page = running(lab, notebook, "exit")
    until(lambda: abs(seen("exit").money.position) >= Decimal("0.006"))
    page.page.get_by_label("how", exact=True).select_option("over 5 min")
    page.click_button("Flatten")
    bar = page.cell(0).locator("[role=progressbar]")
    until(lambda: "FLATTENING" in text_of(page) and "out, next in" in text_of(page) and bar.count() == 1)
    page.screenshot("panel-flattening")
    until(lambda: int(bar.get_attribute("aria-valuenow") or 0) > 0)
    page.screenshot("panel-flattening", "dark")
    until(lambda: "flat" in text_of(page) and "PAUSED" in text_of(page) and bar.count() == 0)
    assert seen("exit").money.position == 0


def test_kill_acts_while_a_cell_is_busy(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """The button reaches the session while the kernel computes: it is killed long before the cell has ended."""
    page = running(lab, notebook, "busy", BUSY.format(seconds=20))
    page.start_cell(1)
    page.wait_until("grinder.status() === 'busy'")
    page.click_button("KILL")
    until(lambda: "KILLED" in look(SessionFolder("busy")).line, timeout_s=5)
    assert not page.page.evaluate("grinder.settled()"), "the cell still runs"
    page.interrupt()
    page.finish([])
    until(lambda: "KILLED" in text_of(page) and "REMAINS" in text_of(page) or "flat" in text_of(page))
    page.screenshot("panel-killed")
    page.screenshot("panel-killed", "dark")


def test_closed_tab_second_notebook_and_run_all_twice(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """One session through all of it, one panel of two figures in each notebook, and no comm that nobody needs any more."""
    page = running(lab, notebook, "once")
    pid = seen("once").about.pid
    comms = "import ipywidgets; print(len(ipywidgets.widgets.widget._instances))"
    lab.write("twice", [START.format(name="once", speed=20), comms])
    other = notebook("twice")
    other.run_all()
    other.wait_for_figures(2)
    count = other.outputs(1)[0]["text"]
    other.run_all()
    other.wait_for_figures(2)
    assert other.outputs(1)[0]["text"] == count
    page.page.close()  # the tab, not the kernel
    now = seen("once")
    assert (now.about.pid, now.status.state, now.status.grace_until_wall_ns) == (pid, "RUNNING", None)
    other.restart_kernel()
    other.run_all()
    other.wait_for_figures(2)
    now = seen("once")
    assert (now.about.pid, now.status.state) == (pid, "RUNNING")
    other.wait_for_data_change(other.traces())


def test_paper_notebook(lab: Lab, notebook: Callable[[str], NotebookPage]) -> None:
    """Notebook 06 runs to its claim in the browser."""
    page = notebook("06_does_paper_match_replay")
    page.run_to_the_claim()
    for theme in ("light", "dark"):
        page.screenshot("06_does_paper_match_replay", theme)
