"""Measure what it costs to time a request, and to say how long requests take."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

PAIRS = 20_000
Row = Callable[..., dict[str, Any]]


def latencies(row: Row) -> list[dict[str, Any]]:
    """Return the rows: a send with its answer, the statistics of one operation, and its distribution."""
    from grinder_kit.execution.latency import LatencyMonitor

    rng = random.Random(7)
    waits_ns = [round(rng.lognormvariate(3.5, 1) * 1e6) for _ in range(PAIRS)]
    pairs, stats, curves = [], [], []
    for _ in range(5):
        monitor = LatencyMonitor(threshold_ms=math.inf)
        start = time.perf_counter()
        for n, wait_ns in enumerate(waits_ns):
            monitor.record_send("gkb0-B1-1", n * 1_000_000_000, "place")
            monitor.record_ack("gkb0-B1-1", n * 1_000_000_000 + wait_ns, "place")
        pairs.append((time.perf_counter() - start) / PAIRS)
        start = time.perf_counter()
        monitor.get_stats("place")
        stats.append(time.perf_counter() - start)
        start = time.perf_counter()
        monitor.ecdf("place")
        curves.append(time.perf_counter() - start)
    return [
        row("latency: a send and its answer", statistics.median(pairs) * 1e6, "us"),
        row("latency: statistics of 20,000 requests", statistics.median(stats) * 1e6, "us"),
        row("latency: distribution of the latest 1,000", statistics.median(curves) * 1e6, "us"),
    ]
