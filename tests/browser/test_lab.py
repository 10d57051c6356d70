"""The harness itself: it sees data change, cells fail, and errors that no cell shows."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.browser.lab import CellFailed, Lab, NotebookPage

pytestmark = pytest.mark.browser

VIEW = """
import ipywidgets, numpy as np, plotly.graph_objects as go

figure = go.FigureWidget([
    go.Scatter(x=np.arange(3), y=np.array([1.0, np.nan, 1.0])),
    go.Heatmap(z=np.arange(6, dtype="float32").reshape(2, 3)),
])
height = ipywidgets.IntSlider(description="Height", min=0, max=100, value=1)
double = ipywidgets.Button(description="Double")
fail = ipywidgets.Button(description="Fail")


def draw(height):
    figure.data[0].y = np.array([height, np.nan, height], dtype=float)


height.observe(lambda change: draw(change["new"]), "value")
double.on_click(lambda _: draw(2 * height.value))
fail.on_click(lambda _: 1 / 0)
ipywidgets.VBox([height, double, fail, figure])
"""
VIEW_CELL, PID, RAISES, ENDLESS, AFTER = range(5)
CELLS = (
    VIEW,
    "import os\nprint(os.getpid())",
    "raise ValueError('as asked')",
    "print('begun', flush=True)\nwhile True: pass",
    "1 + 1",
)


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[NotebookPage]:
    """Return the notebook of this module."""
    lab.write("harness", CELLS)
    opened = lab.open("harness")
    yield opened
    opened.close()


def test_a_slider_and_a_button_change_the_data(page: NotebookPage) -> None:
    """Key, mouse and click arrive in the kernel, and what it draws arrives in the figure, as plain numbers."""
    page.run_cell(VIEW_CELL)
    page.wait_for_figures(1)
    ((line, heat),) = before = page.traces()
    assert (line["x"], line["y"]) == ([0, 1, 2], [1, None, 1])
    assert heat["z"] == [[0, 1, 2], [3, 4, 5]]
    page.press_slider("Height", times=2)
    page.wait_until("grinder.traces()[0][0].y[0] === 3")
    after = page.wait_for_data_change(before)
    page.click_button("Double")
    assert page.wait_for_data_change(after)[0][0]["y"] == [6, None, 6]
    page.drag_slider("Height", by_px=60)
    page.wait_until("grinder.traces()[0][0].y[0] > 6")
    assert page.errors == []


def test_errors_that_no_cell_shows_are_noticed(page: NotebookPage) -> None:
    """A callback that raises, an error on the console, a script that throws, and a request that leaves the machine."""
    page.run_cell(VIEW_CELL)
    with page.page.expect_console_message(lambda message: "ZeroDivisionError" in message.text):
        page.click_button("Fail")
    page.page.evaluate("console.error('as asked')")
    page.page.evaluate("setTimeout(() => { throw new Error('thrown') })")
    page.page.evaluate("fetch('http://localhost:9/').catch(() => null)")
    wanted = ("ZeroDivisionError", "as asked", "thrown", "localhost:9")
    assert all(any(word in error for error in page.errors) for word in wanted), page.errors
    page.errors.clear()


def test_a_cell_that_raises_is_reported(page: NotebookPage) -> None:
    """The traceback's text is the message, and what comes after it counts as not run."""
    with pytest.raises(CellFailed, match=r"cell 2 of harness: ValueError: as asked\n(.|\n)*raise ValueError"):
        page.run_cell(RAISES)
    with pytest.raises(CellFailed, match="ValueError: as asked"):
        page.run_all()
    page.run_cell(AFTER)
    assert page.outputs(AFTER)[0]["data"]["text/plain"] == "2"


def test_the_kernel_can_be_interrupted_restarted_and_found(page: NotebookPage) -> None:
    """An endless cell ends as KeyboardInterrupt; a restart is another process; the process is that of the kernel."""
    page.start_cell(ENDLESS)
    page.cell(ENDLESS).get_by_text("begun", exact=True).wait_for()
    page.interrupt()
    with pytest.raises(CellFailed, match="KeyboardInterrupt"):
        page.finish([ENDLESS])
    first = page.kernel_pid
    page.restart_kernel()
    page.run_cell(PID)
    assert page.outputs(PID)[0]["text"].strip() == str(page.kernel_pid)
    assert page.kernel_pid != first and not psutil.pid_exists(first)


def test_a_killed_kernel_is_followed_by_another(page: NotebookPage) -> None:
    """SIGKILL is something a test can do: JupyterLab says so, starts a kernel, and the page goes on."""
    killed = page.kernel_pid
    os.kill(killed, signal.SIGKILL)
    page.page.locator(".jp-Dialog").get_by_text("appears to have died").wait_for()
    page.page.locator(".jp-Dialog").get_by_role("button", name="Ok").click()
    page.wait_until("grinder.status() === 'idle'")
    page.run_cell(AFTER)
    assert page.kernel_pid != killed
    assert page.errors == []
