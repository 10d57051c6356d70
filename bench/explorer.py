"""Measure the fill explorer in a real JupyterLab: from the move of a slider to the figure on the screen, and where the time goes.

`python bench/explorer.py` prints the split by tab, in ms; `make bench` takes the rows of the curve.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
MOVES, WARM = 120, 10
DISTANCE, VOLATILITY = "distance, bps", "vol., bps/√s"
# Up and down again, by small and large steps: every one of them moves the figure.
KEYS = ("ArrowRight", "PageUp") * 4 + ("ArrowLeft", "PageDown") * 4
Row = Callable[..., dict[str, Any]]

# When the kernel hears of a move, when the figure's numbers are there, and when all of it was handed over; the clock of the browser.
KERNEL = """
import json, time
import grinder_kit as gk
import grinder_widgets as gw
from grinder_widgets.live_figure import LiveFigure

train, test = gk.label(gk.synthetic_market(seed=7, minutes=10)).split(0.6)
explorer = gw.FillExplorer(gk.FirstPassageModel().fit(train), test)
heard, computed, handed = [], [], []
since = time.process_time()

def before(stamps, function):
    def timed(*args, **options):
        stamps.append(time.time() * 1000)
        return function(*args, **options)
    return timed

def after(stamps, function):
    def timed(*args, **options):
        function(*args, **options)
        stamps.append(time.time() * 1000)
    return timed

LiveFigure.show = before(computed, LiveFigure.show)
explorer.refresh = after(handed, before(heard, explorer.refresh))
explorer
"""
# What has been noted since the last time, and the CPU time between the two.
READ = """
print(json.dumps([heard, computed, handed, (time.process_time() - since) * 1000]))
for stamps in (heard, computed, handed):
    stamps.clear()
since = time.process_time()
"""
DRAWN = (
    "[...document.querySelectorAll('.js-plotly-plot')].some(one => one.clientWidth && one.querySelector('.main-svg'))"
)

# A move begins with its key and ends with the frame after plotly's last word; the first message of a figure is when it arrives.
BROWSER = """
window.moves = (() => {
  const now = () => performance.timeOrigin + performance.now();
  const found = {begun: [], arrived: [], drawn: [], shown: []};
  let waiting = false;
  document.addEventListener('keydown', () => { waiting = true; found.begun.push(now()); }, true);
  grinder.kernel().anyMessage.connect((_, {direction, msg}) => {
    if (waiting && direction === 'recv' && '_py2js_update' in (msg.content?.data?.state ?? {})) {
      waiting = false;
      found.arrived.push(now());
    }
  });
  const ended = () => {
    found.drawn.push(now());
    requestAnimationFrame(() => setTimeout(() => found.shown.push(now())));
  };
  const heard = new WeakSet();
  return {
    found,
    listen: () => [...document.querySelectorAll('.js-plotly-plot')].filter(one => !heard.has(one)).forEach(one => {
      heard.add(one);
      one.on('plotly_update', ended);
    }),
    forget: () => Object.values(found).forEach(stamps => stamps.splice(0)),
    count: () => found.shown.length,
  };
})();
"""
WHOLE = "slider to figure"
PARTS = ("to the kernel", "compute", "update in Python", "to the browser", "draw", "next frame")


@contextmanager
def opened(kernel: str = KERNEL, read: str = READ, figures: int = 1) -> Iterator[Any]:
    """Give a page with a view that is drawn; its second cell says what the kernel has noted."""
    sys.path.insert(0, str(ROOT))
    from tests.browser.chromium import running_chromium
    from tests.browser.lab import Lab

    with (
        tempfile.TemporaryDirectory() as folder,
        running_chromium() as chromium,
        Lab(chromium, Path(folder), (), Path(folder)) as lab,
    ):
        lab.write("bench", [kernel, read])
        page = lab.open("bench")
        page.run_cell(0)
        page.wait_for_figures(figures)
        page.page.evaluate(BROWSER)
        yield page
        page.close()


def moved(page: Any, tab: str, moves: int = MOVES) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the ms of each part and of the whole, (moves,) each, and the mean CPU ms of a move in kernel and page.

    Distance and volatility take turns; each move waits for the one before. On a machine that does other things wall time is theirs as
    well; CPU time is not.
    """
    page.page.get_by_role("tab", name=tab, exact=True).click()
    page.wait_until(DRAWN, tab)
    page.page.evaluate("moves.listen()")
    session = page.page.context.new_cdp_session(page.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy_ms() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "TaskDuration") * 1000

    handles = [page.slider(name).element_handle() for name in (DISTANCE, VOLATILITY)]

    def move(at: int) -> None:
        count = page.page.evaluate("moves.count()")
        handles[at % 2].press(KEYS[at // 2 % len(KEYS)])
        page.wait_until("count => moves.count() > count && grinder.status() === 'idle'", count)

    for at in range(WARM):
        move(at)
    page.run_cell(1)
    page.page.evaluate("moves.forget()")
    before_ms = busy_ms()
    for at in range(moves):
        move(at)
    page_ms = (busy_ms() - before_ms) / moves
    found = page.page.evaluate("moves.found")
    page.run_cell(1)
    *kernel, kernel_ms = json.loads(page.outputs(1)[0]["text"])
    stamps = np.column_stack((found["begun"], *kernel, found["arrived"], found["drawn"], found["shown"]))
    parts = dict(zip(PARTS, np.diff(stamps).T, strict=True))
    return {**parts, WHOLE: stamps[:, -1] - stamps[:, 0]}, {"kernel": kernel_ms / moves, "page": page_ms}


def explorer(row: Row) -> list[dict[str, Any]]:
    """Return the rows: from a slider to the curve, p95, and the parts of the median; none without a browser."""
    sys.path.insert(0, str(ROOT))
    from tests.browser.chromium import NAMES

    if not any(map(shutil.which, NAMES)):
        return []
    with opened() as page:
        times, cpu = moved(page, "Curve")
    return [
        row(f"explorer: {WHOLE}, p95 of {MOVES} moves", float(np.quantile(times[WHOLE], 0.95)), "ms"),
        *(row(f"explorer: {part}, median", float(np.median(times[part])), "ms") for part in (*PARTS, WHOLE)),
        *(row(f"explorer: CPU of a move in the {where}", spent, "ms") for where, spent in cpu.items()),
    ]


def main() -> None:
    """Print the split."""
    with opened() as page:
        print(f"{'ms':<14}" + "".join(f"{part:>18}" for part in (*PARTS, WHOLE)))
        for tab in ("Curve", "Map", "Time"):
            times, cpu = moved(page, tab)
            for name, level in (("median", 0.5), ("p95", 0.95)):
                print(
                    f"{tab + ', ' + name:<14}" + "".join(f"{np.quantile(part, level):18.1f}" for part in times.values())
                )
            print(
                f"{tab}: CPU of a move " + ", ".join(f"{where} {spent:.1f}" for where, spent in cpu.items()), flush=True
            )


if __name__ == "__main__":
    main()
