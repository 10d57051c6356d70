"""Measure a session in a process of its own beside a kernel that is busy: heartbeat, start, snapshots, and what it costs at rest."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BUSY = {
    "pure Python, 30 s": "import time; end = time.monotonic() + 30\nwhile time.monotonic() < end: sum(range(1000))",
    "a C call that holds the interpreter, 10 s": "import ctypes; ctypes.PyDLL(None).usleep(10_000_000)",
    "a heavy Polars loop, 10 s": (
        "import time, polars as pl; end = time.monotonic() + 10\n"
        "while time.monotonic() < end: pl.int_range(3_000_000, eager=True).shuffle().sort()"
    ),
}
MARKET = "synthetic seed=7 minutes=600"
Row = Callable[..., dict[str, Any]]


def sessions(row: Row) -> list[dict[str, Any]]:
    """Return the rows."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRINDER_HOME"] = folder
        return [*starting(row), *beating(row, Path(folder))]


def a_session(name: str) -> Any:
    """Make a session that is not started."""
    import grinder_kit as gk

    config = gk.Config(grid=gk.GridConfig(spacing_bps=5, levels=10, size="0.002", position_limit="0.02"))
    return gk.Session(config, market=MARKET, name=name)


def starting(row: Row) -> list[dict[str, Any]]:
    """Time from `start` to the first order at the venue, as the panel would see it."""
    took = []
    for turn in range(3):
        session = a_session(f"start{turn}")
        began = time.perf_counter()
        session.start()
        while session.latest is None or not session.latest.status.open_orders:
            time.sleep(0.005)
        took.append(time.perf_counter() - began)
        session.kill()
        session.wait()
    return [row("session: start to first order", statistics.median(took), "s")]


def beating(row: Row, folder: Path) -> list[dict[str, Any]]:
    """Time the heartbeat and the snapshots of a session while a kernel that follows it is busy; then the session at rest."""
    import psutil
    from jupyter_client.manager import start_new_kernel

    session = a_session("beat")
    session.start()
    session.wait("RUNNING")
    manager, client = start_new_kernel(kernel_name="python3", env={**os.environ, "GRINDER_HOME": str(folder)})
    rows = []
    try:
        client.execute_interactive(
            "import threading, time, grinder_kit as gk\nsession = gk.Session.attach('beat')\nages = []\n"
            "def look():\n    while True:\n        seen = session.latest\n"
            "        if seen: ages.append(time.time() - seen.now.wall_ns / 1e9)\n        time.sleep(.01)\n"
            "threading.Thread(target=look, daemon=True).start()"
        )
        for what, code in BUSY.items():
            before = gaps(session)
            client.execute_interactive(f"ages.clear()\n{code}", timeout=120)
            after = gaps(session)
            rows.append(row(f"heartbeat gap, p99.9: {what}", quantile(before, after, 0.999) * 1e3, "ms, at most"))
        said: list[str] = []
        client.execute_interactive(
            f"ages.clear()\n{BUSY['pure Python, 30 s']}\nprint(sorted(ages)[int(.95 * len(ages))])",
            output_hook=lambda message: said.append(message["content"].get("text", "")),
            timeout=120,
        )
        rows.append(row("age of the snapshot in a kernel that computes, p95", float("".join(said)) * 1e3, "ms"))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    session.pause()
    card = session.folder.read_card()
    process = psutil.Process(card.pid)
    process.cpu_percent()
    time.sleep(10)
    rows.append(row("runner at rest, one client", process.cpu_percent(), "% of a core"))
    rows.append(row("runner, memory", process.memory_info().rss / 2**20, "MiB"))
    rows.append(row("supervisor, memory", psutil.Process(card.supervisor_pid).memory_info().rss / 2**20, "MiB"))
    session.kill()
    session.wait()
    return rows


def gaps(session: Any) -> dict[float, float]:
    """Return how many gaps were at most so long, by the session's own metrics."""
    from prometheus_client.parser import text_string_to_metric_families

    from grinder_kit.session.request import ask

    families = text_string_to_metric_families(ask(session.folder, "GET", "/metrics").decode())
    found = next(family for family in families if family.name == "grinder_execution_heartbeat_gap_seconds")
    return {float(s.labels["le"]): s.value for s in found.samples if s.name.endswith("_bucket")}


def quantile(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """Return the bound of the bucket in which a quantile lies, s."""
    counts = {bound: after[bound] - before[bound] for bound in after}
    total = counts[float("inf")]
    return min(bound for bound, count in counts.items() if count >= share * total)
