"""Measure labels: hypothetical orders over a real recording, filled under every queue model at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 5
Row = Callable[..., dict[str, Any]]


def labels(row: Row, recording: Path) -> list[dict[str, Any]]:
    """Return the rows: the whole run, and what one order costs under one model."""
    from grinder_kit.fillprob.labels import label
    from grinder_kit.kernel.simulator import QUEUE_MODELS
    from grinder_kit.market.recording import Recording

    market = Recording.open(recording)
    made = label(market)  # compiles
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        label(market)
        rounds.append(time.perf_counter() - start)
    seconds = statistics.median(rounds)
    fills = len(made) * len(QUEUE_MODELS)
    return [
        row(f"labels: {len(made):,} orders, {made.span_s:,.0f} s of market, {len(QUEUE_MODELS)} rules at once", seconds * 1e3, "ms"),
        row("labels: one order under one rule", seconds / fills * 1e6, "us"),
    ]  # fmt: skip
