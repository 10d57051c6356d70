"""Levels by the probability that they fill: what is known at every step of a market, and how many levels are likely enough.

A level further out is never likelier, so one number a side says which levels are. It is looked for where it was at the last step, with
the functions of the probability that the engine is given.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from grinder_kit.decision import rules
from grinder_kit.fillprob import heuristic, passage
from grinder_kit.fillprob.level_kernel import passage_at_level
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel import observer
from grinder_kit.kernel.compiled import compiled, inlined
from grinder_kit.kernel.exchange import Floats, Ints, Stream
from grinder_kit.kernel.feed import slices
from grinder_kit.kernel.observer import Eyes
from grinder_kit.market import features

if TYPE_CHECKING:
    from grinder_kit.simulation.shared_market import SharedMarket

NO_FILTER, HEURISTIC, PASSAGE = range(3)
# columns of what is known at a step; NaN where it is not
NATR, OFI, SIGMA, IMBALANCE, CHANGED, LOOKS = range(6)
# numbers of a grid that are no integers; NEAR, FAR: (d / sigma)^2 + c^2 at which the probability is the threshold, for a level
# without and with an order
F_POWER, F_LEAST, F_HYSTERESIS, F_HORIZON, F_NEAR, F_FAR, F_SIZE = range(7)
_SURE = 1e-9  # so far from NEAR or FAR, as a share of it, rounding cannot change what the probability says

_advance = compiled(features.advance)
_read = compiled(features.read)
_step = compiled(heuristic.step_probability)
_expected_move = compiled(heuristic.expected_move_bps)
_distance = compiled(rules.distance_bps)
_least = compiled(rules.least_probability)


class FillRule(NamedTuple):
    """A model of fills: code : (2,) which one, and its tail; theta : (7,) parameters of a first passage."""

    code: Ints
    theta: Floats


def heuristic_rule() -> FillRule:
    """Return the specification's heuristic."""
    return FillRule(np.array([HEURISTIC, 0], np.int64), np.zeros(passage.PARAMETERS))


def passage_rule(theta: Floats, tail: int) -> FillRule:
    """Return a first-passage model."""
    return FillRule(np.array([PASSAGE, tail], np.int64), theta)


# --- what is known at each step ------------------------------------------------------------------------------------------


def step_features(shared: SharedMarket, step_ns: int, steps: int) -> Floats:
    """Return what decisions know at each of so many steps, (steps, LOOKS): the features that the engine would be given."""
    eyes = observer.Eyes(bk.new_book(), np.zeros(observer.STATE_SIZE, np.int64), *features.init_state())
    out = np.empty((steps, LOOKS))
    work = np.empty(features.FEATURES)
    head = np.array([0, shared.start_ns + step_ns], np.int64)  # the step that is looked at next, and its time
    tick = float(shared.instrument.tick)
    for stretch in slices(shared.market, shared.feed):
        at = 0
        while True:
            until = ex.FOREVER if stretch.final else stretch.until_ns
            status, at = _look(eyes, stretch.local, at, until, step_ns, tick, head, work, out)
            if status == ex.DONE:
                break
            eyes = eyes._replace(book=bk.with_room(eyes.book))
    return out


@compiled
def _look(
    eyes: Eyes, stream: Stream, start: int, until_ns: int, step_ns: int, tick: float, head: Ints, work: Floats, out: Floats
) -> tuple[int, int]:  # fmt: skip
    at = start
    while head[0] < out.shape[0] and head[1] <= until_ns:
        status, at = observer.observe(eyes, False, stream, at, head[1])
        if status != ex.DONE:
            return status, at
        _advance(eyes.floats, eyes.ints, eyes.ring, head[1])
        _read(eyes.floats, eyes.ints, eyes.ring, tick, work)
        row, before = out[head[0]], out[max(0, head[0] - 1)]
        known = not math.isnan(work[features.MID])
        row[NATR] = work[features.NATR] if not math.isnan(work[features.NATR]) else work[features.NATR_PROXY]
        row[OFI] = 0.0 if math.isnan(work[features.OFI_Z]) else work[features.OFI_Z]
        row[SIGMA], row[IMBALANCE] = work[features.SIGMA_BPS], work[features.IMBALANCE]
        if not known:
            row[NATR] = row[SIGMA] = math.nan
        row[CHANGED] = 1.0
        same = row[NATR] == before[NATR] and row[OFI] == before[OFI]
        if head[0] > 0 and same and row[SIGMA] == before[SIGMA] and row[IMBALANCE] == before[IMBALANCE]:
            row[CHANGED] = 0.0
        head[0] += 1
        head[1] += step_ns
    return observer.observe(eyes, False, stream, at, until_ns)


# --- how many levels -----------------------------------------------------------------------------------------------------


@compiled
def prepare(rule: FillRule, f: Floats) -> None:
    """Work out NEAR and FAR of a grid."""
    if rule.code[0] != PASSAGE:
        return
    for column, stands in ((F_NEAR, False), (F_FAR, True)):
        least = _least(f[F_LEAST], f[F_HYSTERESIS], stands)
        f[column] = math.inf if least <= 0.0 else _square_at(rule, least, f[F_HORIZON])


@compiled
def _square_at(rule: FillRule, chance: float, horizon_s: float) -> float:
    b0, b1, ls = rule.theta[passage.B0], rule.theta[passage.B1], rule.theta[passage.LS]
    add, slope = passage.offset(horizon_s, b0, ls), b1 / (4.0 * math.exp(ls))
    low, high = -200.0, 200.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        if passage.chance(add - slope * middle, rule.code[1]) >= chance:
            low = middle
        else:
            high = middle
    return math.exp(low)


@compiled
def _probability(rule: FillRule, look: Floats, side: int, distance: float, horizon_s: float) -> float:
    if rule.code[0] == HEURISTIC:
        return _step(side, distance, _expected_move(look[NATR], horizon_s), look[OFI])
    b0, b1, lc, ls, g0, g1, k = rule.theta
    return passage_at_level(
        side, distance, look[SIGMA], look[IMBALANCE], horizon_s, b0, b1, lc, ls, g0, g1, k, rule.code[1]
    )


@inlined
def _likely(
    rule: FillRule, look: Floats, f: Floats, side: int, ticks: int, mid2: int, width2: float, edge: float, least: float
) -> bool:
    """Whether a level is likely enough; the probability itself is asked only where its square is too close to the `edge`."""
    distance = _distance(side, ticks, mid2)
    if rule.code[0] == PASSAGE:
        ratio = max(0.0, distance) / look[SIGMA]
        square = ratio * ratio + width2
        if square < edge * (1.0 - _SURE):
            return True
        if square > edge * (1.0 + _SURE):
            return False
    return bool(_probability(rule, look, side, distance, f[F_HORIZON]) >= least)


@compiled
def likely(
    rule: FillRule, look: Floats, f: Floats, stands: bool, prices: Ints, count: int, side: int, mid2: int, before: int
) -> int:
    """Return how many of a side's nearest levels are likely enough to be quoted, or to stay where they stand.

    Parameters
    ----------
    look : (LOOKS,)
    f : (F_SIZE,)
    stands : bool
        Whether the levels have orders.
    prices, count : (n,), int
        Nearest first; those that there are.
    before : int
        The answer at the step before: where the search begins.
    """
    passing = rule.code[0] == PASSAGE
    if passing:
        unknown = not look[SIGMA] > 0.0 or math.isnan(look[IMBALANCE])
    else:
        unknown = math.isnan(look[NATR])
    if unknown:
        return 0
    width2 = 0.0
    if passing:
        width = passage.width(0.0, 0.0, look[IMBALANCE] * side, rule.theta[passage.LC], 0.0, 0.0, rule.theta[passage.K])
        width2 = width * width
    least, edge = _least(f[F_LEAST], f[F_HYSTERESIS], stands), f[F_FAR if stands else F_NEAR]
    at = min(before, count)
    if at < count and _likely(rule, look, f, side, prices[at], mid2, width2, edge, least):
        at += 1
        while at < count and _likely(rule, look, f, side, prices[at], mid2, width2, edge, least):
            at += 1
        return at
    while at > 0 and not _likely(rule, look, f, side, prices[at - 1], mid2, width2, edge, least):
        at -= 1
    return at
