"""Whole grids in compiled code: one pass of each over a shared market."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from grinder_kit.kernel import book as bk
from grinder_kit.kernel import observer
from grinder_kit.kernel.compiled import compiled
from grinder_kit.kernel.exchange import Floats, Ints
from grinder_kit.simulation import grid_exchange as gx
from grinder_kit.simulation import grid_orders as go
from grinder_kit.simulation import grid_rules as gr
from grinder_kit.simulation.grid_orders import Orders
from grinder_kit.simulation.shared_market import Clock, Index

SAMPLE_NS = 1_000_000_000  # a point of the equity curve as often


class Grids(NamedTuple):
    """Grids to run, and what becomes of them: every array has a row a grid.

    p, power, sizes : (n, P_SIZE), (n,), (n, most sizes)
    out : (n, HEAD_SIZE) counts and cash at the end
    ends : (n, 3) last step (ns), best bid and ask after it
    equity : (n, samples, LE_SIZE) points of the equity curve
    paid : (n, payments, LP_SIZE) funding
    """

    p: Ints
    power: Floats
    sizes: Ints
    out: Ints
    ends: Ints
    equity: Ints
    paid: Ints


@compiled
def _sample(own: Orders, now_ns: int, mid2: int, out: Ints) -> None:
    head = own.head
    if head[go.SAMPLES] == out.shape[0]:
        head[go.FULL] = 1
        return
    point = out[head[go.SAMPLES]]
    point[go.LE_NOW], point[go.LE_MID2], point[go.LE_POSITION] = now_ns, mid2, head[go.POSITION]
    point[go.LE_CASH], point[go.LE_NOTIONAL] = head[go.CASH], head[go.NOTIONAL]
    head[go.SAMPLES] += 1


@compiled
def _run(
    index: Index, clock: Clock, last_ns: int, own: Orders, p: Ints, power: float, sizes: Ints, seen: Ints, ends: Ints,
    equity: Ints,
) -> None:  # fmt: skip
    """Trade one grid to the end: a step happens only while something is still to come after it."""
    head = own.head
    go.clear(own)
    seen[:] = 0
    known = clock.bid.shape[0]
    start_ns, step_ns = clock.head[0], clock.head[1]
    now, next_sample = start_ns, start_ns
    while head[go.FULL] == 0:
        at = min(head[go.STEPS], known - 1)
        until = now + step_ns
        if gx.felt(index, own, until):
            gx.run_to(index, own, p, power, until)
        if gx.answered(own, until):
            gx.deliver(own, p, until)
            seen[gr.SETTLED] = 0
        bid, ask, gap = clock.bid[at], clock.ask[at], clock.gap[at]
        if until >= last_ns and head[go.IN_FIRST] == head[go.IN_LAST] and head[go.OUT_FIRST] == head[go.OUT_LAST]:
            break
        now = until
        head[go.STEPS] += 1
        if bid != bk.NO_BID and ask != bk.NO_ASK:
            stale = gap > 0 and now - gap < observer.SETTLE_NS
            if not (seen[gr.SETTLED] and seen[gr.BID] == bid and seen[gr.ASK] == ask and seen[gr.QUIET] and not stale):
                gr.decide(own, p, sizes, seen, bid, ask, stale, now)
            if now >= next_sample:
                _sample(own, now, bid + ask, equity)
                next_sample = now + SAMPLE_NS
    ends[0], ends[1], ends[2] = now, bid, ask
    if bid != bk.NO_BID and ask != bk.NO_ASK:
        _sample(own, now, bid + ask, equity)


@compiled
def run_grids(index: Index, clock: Clock, last_ns: int, own: Orders, seen: Ints, grids: Grids, start: int) -> int:
    """Run every grid from `start` on; return the first that found no room in `own`, their number when all are done."""
    for grid in range(start, grids.p.shape[0]):
        _run(
            index, clock, last_ns, own, grids.p[grid], grids.power[grid], grids.sizes[grid], seen, grids.ends[grid],
            grids.equity[grid],
        )  # fmt: skip
        if own.head[go.FULL]:
            return grid
        for column in range(go.HEAD_SIZE):
            grids.out[grid, column] = own.head[column]
        for row in range(own.head[go.PAID]):
            for column in range(go.LP_SIZE):
                grids.paid[grid, row, column] = own.paid[row, column]
    return grids.p.shape[0]


def new_grids(count: int, sizes: int, samples: int, payments: int) -> Grids:
    """Return room for `count` grids."""
    return Grids(
        np.zeros((count, gx.P_SIZE), np.int64), np.zeros(count), np.zeros((count, sizes), np.int64),
        np.zeros((count, go.HEAD_SIZE), np.int64), np.zeros((count, 3), np.int64),
        np.zeros((count, samples, go.LE_SIZE), np.int64), np.zeros((count, payments, go.LP_SIZE), np.int64),
    )  # fmt: skip


def new_looks() -> Ints:
    """Return room for what a grid has looked at last."""
    return np.zeros(gr.LOOKED_SIZE, np.int64)
