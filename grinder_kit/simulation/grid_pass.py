"""Whole grids in compiled code: one pass of each over a shared market."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from grinder_kit.kernel import book as bk
from grinder_kit.kernel import observer
from grinder_kit.kernel.compiled import compiled
from grinder_kit.kernel.exchange import Floats, Ints
from grinder_kit.simulation import grid_exchange as gx
from grinder_kit.simulation import grid_filter as gf
from grinder_kit.simulation import grid_orders as go
from grinder_kit.simulation import grid_pairing
from grinder_kit.simulation import grid_rules as gr
from grinder_kit.simulation.grid_orders import Orders
from grinder_kit.simulation.shared_market import Clock, Index

SAMPLE_NS = 1_000_000_000  # a point of the equity curve as often


class Grids(NamedTuple):
    """Grids to run, and what becomes of them: every array has a row a grid.

    p, f, sizes : (n, P_SIZE), (n, F_SIZE), (n, most sizes)
    out : (n, HEAD_SIZE) counts and cash at the end
    ends : (n, 3) last step (ns), best bid and ask after it
    equity : (n, samples, LE_SIZE) points of the equity curve
    paid : (n, payments, LP_SIZE) funding
    """

    p: Ints
    f: Floats
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
    index: Index, clock: Clock, looks: Floats, rule: gf.FillRule, last_ns: int, own: Orders, trades: Ints, p: Ints,
    f: Floats, sizes: Ints, seen: Ints, ends: Ints, equity: Ints,
) -> None:  # fmt: skip
    """Trade one grid to the end: a step happens only while something is still to come after it."""
    head = own.head
    go.clear(own)
    seen[:] = 0
    known, power, filtered = clock.bid.shape[0], f[gf.F_POWER], p[gx.P_FILTERED] != 0
    if filtered:
        gf.prepare(rule, f)
    start_ns, step_ns = clock.head[0], clock.head[1]
    now, next_sample = start_ns, start_ns
    while head[go.FULL] == 0:
        at = min(head[go.STEPS], known - 1)
        until = now + step_ns
        stop = clock.hot[at] if head[go.STEPS] < known else index.hot.shape[1]
        if gx.felt(index, own, stop):
            gx.run_to(index, own, p, power, until, stop)
        if gx.answered(own, until):
            gx.deliver(own, trades, p, until)
        bid, ask, gap = clock.bid[at], clock.ask[at], clock.gap[at]
        idle = head[go.IN_FIRST] == head[go.IN_LAST] and head[go.OUT_FIRST] == head[go.OUT_LAST]
        if until >= last_ns and (idle or until - last_ns > p[gx.P_WAIT]):
            break
        now = until
        step = head[go.STEPS] if filtered else 0
        if step >= looks.shape[0]:
            head[go.FULL] = go.FULL_OF_STEPS
            break
        look = looks[step]
        head[go.STEPS] += 1
        if bid != bk.NO_BID and ask != bk.NO_ASK:
            stale = gap > 0 and now - gap < observer.SETTLE_NS
            same = seen[gr.BID] == bid and seen[gr.ASK] == ask and seen[gr.HELD] == head[go.POSITION]
            same = same and not head[go.DIRTY] and not (filtered and look[gf.CHANGED] != 0.0)
            if not (same and seen[gr.QUIET] and not stale):
                gr.decide(own, p, f, sizes, rule, look, seen, bid, ask, stale, now)
            if now >= next_sample:
                _sample(own, now, bid + ask, equity)
                next_sample = now + SAMPLE_NS
    ends[0], ends[1], ends[2] = now, bid, ask
    if bid != bk.NO_BID and ask != bk.NO_ASK:
        _sample(own, now, bid + ask, equity)


@compiled
def run_grids(
    index: Index, clock: Clock, looks: Floats, rule: gf.FillRule, last_ns: int, own: Orders, trades: Ints, seen: Ints,
    grids: Grids, start: int,
) -> int:  # fmt: skip
    """Run every grid from `start` on; return the first that found no room in `own`, their number when all are done.

    `looks` (steps, LOOKS) is what grids with a fill filter know at each step, one row of anything where none has one; `trades`
    (T_SIZE, fills) is room for the fills of one grid.
    """
    for grid in range(start, grids.p.shape[0]):
        _run(
            index, clock, looks, rule, last_ns, own, trades, grids.p[grid], grids.f[grid], grids.sizes[grid], seen,
            grids.ends[grid], grids.equity[grid],
        )  # fmt: skip
        if own.head[go.FULL]:
            return grid
        grid_pairing.settle(own.head, trades)
        for column in range(go.HEAD_SIZE):
            grids.out[grid, column] = own.head[column]
        for row in range(own.head[go.PAID]):
            for column in range(go.LP_SIZE):
                grids.paid[grid, row, column] = own.paid[row, column]
    return grids.p.shape[0]


def new_grids(count: int, sizes: int, samples: int, payments: int) -> Grids:
    """Return room for `count` grids."""
    return Grids(
        np.zeros((count, gx.P_SIZE), np.int64), np.zeros((count, gf.F_SIZE)), np.zeros((count, sizes), np.int64),
        np.zeros((count, go.HEAD_SIZE), np.int64), np.zeros((count, 3), np.int64),
        np.zeros((count, samples, go.LE_SIZE), np.int64), np.zeros((count, payments, go.LP_SIZE), np.int64),
    )  # fmt: skip


def new_trades(fills: int) -> Ints:
    """Return room for so many fills of a grid."""
    return np.zeros((go.T_SIZE, fills), np.int64)


def new_looks() -> Ints:
    """Return room for what a grid has looked at last."""
    return np.zeros(gr.LOOKED_SIZE, np.int64)
