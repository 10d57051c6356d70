"""Measure the tuner's what-if in a real JupyterLab: from the key that moves a slider, through a replay of the test part, to the figures.

`python bench/tuner.py` prints it; `make bench` takes the rows.
"""

from __future__ import annotations

import json
import shutil
import sys
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import numpy as np
from explorer import ROOT, opened

MOVES, WARM = 100, 10
SLIDER = "spacing, bps"
SETTLE_MS = 60  # both figures are drawn anew
Row = Callable[..., dict[str, Any]]

KERNEL = """
import json, time
import grinder_kit as gk
import grinder_widgets as gw

market, grid = gk.synthetic_market(seed=7, minutes=10), gk.GridConfig(spacing_bps=8, levels=8, size="0.002")
study = gk.tune(market, grid, gk.Space(spacing_bps=(2, 40), levels=(3, 30)), trials=300)
tuner = gw.GridTuner(study, state={"what_if": {"spacing_bps": 4}})
replayed = []
run = tuner._what_if.run

def timed(values):
    start = time.perf_counter()
    found = run(values)
    replayed.append((time.perf_counter() - start) * 1000)
    return found

tuner._what_if.run = timed
tuner
"""
REPLAYED = "print(json.dumps(replayed))"


def moved() -> tuple[list[float], list[float]]:
    """Return the ms of each move, every one to a value that was not tried before, and of the replays among them."""
    with opened(KERNEL, REPLAYED, 2) as page:
        page.page.evaluate("moves.listen()")
        handle = page.slider(SLIDER).element_handle()
        for at in range(WARM + MOVES):
            if at == WARM:
                page.page.evaluate("moves.forget()")
            count = page.page.evaluate("moves.count()")
            handle.press("ArrowRight")
            page.wait_until("count => moves.count() > count && grinder.status() === 'idle'", count)
            page.page.wait_for_timeout(SETTLE_MS)
        found = page.page.evaluate("moves.found")
        page.run_cell(1)
        replayed = json.loads(page.outputs(1)[0]["text"])
    begun, shown = found["begun"], found["shown"]
    ends = [*begun[1:], float("inf")]
    return [shown[bisect_left(shown, end) - 1] - start for start, end in zip(begun, ends, strict=True)], replayed[WARM:]


def tuner(row: Row) -> list[dict[str, Any]]:
    """Return the rows; none without a browser."""
    sys.path.insert(0, str(ROOT))
    from tests.browser.chromium import NAMES

    if not any(map(shutil.which, NAMES)):
        return []
    times, replayed = moved()
    return [
        row(
            f"tuner: slider to figures, a replay included, p95 of {MOVES} moves", float(np.quantile(times, 0.95)), "ms"
        ),
        row("tuner: the same, median", float(np.median(times)), "ms"),
        row("tuner: the replay of the test part among it, median", float(np.median(replayed)), "ms"),
    ]


def main() -> None:
    """Print the rows."""
    from run import row

    for one in tuner(row):
        print(f"{one['name']:<72}{one['value']:>10.4g} {one['unit']}")


if __name__ == "__main__":
    main()
