"""What labels show of orders like the one that is asked about: shares with their intervals, and times to the fill.

An order is like another where side, volatility and imbalance agree within the tolerances below, and at the touch the queue as
well. Orders overlap, thousands of them saw the same minute: intervals resample blocks of time, not orders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from grinder_kit.errors import DataError
from grinder_kit.fillprob.interval import FEWEST_BLOCKS, block_draws
from grinder_kit.fillprob.labels import LabelSet
from grinder_kit.fillprob.markout import MarkoutModel
from grinder_kit.fillprob.model import Floats
from grinder_kit.fillprob.observations import Observations, observe
from grinder_kit.fillprob.queue_band import QUEUES
from grinder_kit.fillprob.training import FEW_FILLS, Training
from grinder_widgets.explorer_models import Asked, Bools
from grinder_widgets.points import thin

Ints = npt.NDArray[np.int64]

#: How far the market of an observed order may lie from the one asked about.
SIGMA_FACTOR, IMBALANCE_APART, QUEUE_FACTOR = 1.25, 0.25, 2.0
#: And its distance, away from the touch: so many bps, or this share of it.
DISTANCE_APART_BPS, DISTANCE_SHARE = 0.25, 0.15
#: Fewer orders are no share; fewer blocks of time no interval.
FEWEST_ORDERS = 30
BLOCK_S, MOST_BLOCKS, RESAMPLES = 10.0, 500, 400
CURVE_POINTS = 300


class Shares(NamedTuple):
    """Orders by group: where they lie on average, how many, how many filled in time, and the 90 % interval (NaN where there is none)."""

    distance_bps: Floats
    orders: Ints
    fills: Ints
    low: Floats
    high: Floats

    @property
    def share(self) -> Floats:
        """Share that filled; NaN in an empty group."""
        empty = np.full(len(self.orders), np.nan)
        return np.asarray(np.divide(self.fills, self.orders, out=empty, where=self.orders > 0))

    def enough(self) -> Shares:
        """Return the groups with enough orders."""
        kept = self.orders >= FEWEST_ORDERS
        return Shares(self.distance_bps[kept], self.orders[kept], self.fills[kept], self.low[kept], self.high[kept])


class Waiting(NamedTuple):
    """How orders filled over time: Kaplan-Meier steps, and where orders were lost from view."""

    time_s: Floats
    share: Floats
    censored_s: Floats
    censored_share: Floats
    orders: int
    censored: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """Labels as an explorer asks them.

    Attributes
    ----------
    labels : LabelSet
        Those that no model has been fitted on, or all where there are no others.
    unseen : bool
        Whether no model has been fitted on them.
    seen : Observations
        Their orders with known inputs, under one queue model.
    queue : str
        That queue model.
    touch_bps, sigma, queue_s : float
        Medians: distance and queue at the touch, and volatility.
    markout : MarkoutModel or None
        Fitted on those of the orders that filled behind a queue.
    unvalued : str
        Why there is no markout.
    fee_bps : float
        What a fill of a resting order costs.
    """

    labels: LabelSet
    unseen: bool
    seen: Observations
    queue: str
    touch_bps: float
    sigma: float
    queue_s: float
    markout: MarkoutModel | None
    unvalued: str
    fee_bps: float
    _cell: Ints
    _touch: dict[str, Observations]

    @classmethod
    def of(cls, labels: LabelSet, trainings: tuple[Training, ...], queue: str) -> Evidence:
        """Return the evidence of labels under a queue model, of later time than the trainings where there is such.

        Raises
        ------
        DataError
            Where no label has known inputs.
        """
        labels, unseen = later(labels, trainings)
        by_queue = {name: observe(labels, name) for name in QUEUES}
        seen = by_queue[queue]
        at_touch = seen.x.at_touch == 1
        queues = seen.x.queue_s[at_touch & np.isfinite(seen.x.queue_s)]
        middles = np.array(sorted({0.0, *labels.options.distances_bps}))
        markout, unvalued = _markout(labels, unseen)
        cell = np.searchsorted((middles[1:] + middles[:-1]) / 2, seen.x.distance_bps) + 1
        return cls(
            labels=labels,
            unseen=unseen,
            seen=seen,
            queue=queue,
            touch_bps=float(np.median(seen.x.distance_bps[at_touch])) if at_touch.any() else 0.0,
            sigma=float(np.median(seen.x.sigma)),
            queue_s=float(np.median(queues)) if queues.size else 1.0,
            markout=markout,
            unvalued=unvalued,
            fee_bps=float(labels.options.rules(labels.instrument).maker_fee_bps),
            _cell=np.where(at_touch, 0, cell).astype(np.int64),
            _touch={name: one.rows(one.x.at_touch == 1) for name, one in by_queue.items()},
        )

    def by_distance(self, asked: Asked) -> Shares:
        """Return the share of orders like this one that filled in time, by distance; the first group is the touch."""
        rows = np.flatnonzero(_like(self.seen, asked) & self.seen.watched(asked.horizon_s))
        return _shares(self.seen, rows, self._cell[rows], int(self._cell.max(initial=0)) + 1, asked.horizon_s)

    def around(self, asked: Asked) -> Shares:
        """Return the share of orders like this one at about its distance: one group."""
        rows = np.flatnonzero(self._near(asked) & self.seen.watched(asked.horizon_s))
        return _shares(self.seen, rows, np.zeros(len(rows), np.int64), 1, asked.horizon_s)

    def at_touch(self, asked: Asked) -> dict[str, Shares]:
        """Return the share of orders at the touch under each queue model: one group each."""
        found = {}
        for name, seen in self._touch.items():
            rows = np.flatnonzero(_like(seen, asked) & seen.watched(asked.horizon_s))
            found[name] = _shares(seen, rows, np.zeros(len(rows), np.int64), 1, asked.horizon_s)
        return found

    def waiting(self, asked: Asked) -> Waiting:
        """Return how orders like this one, at about its distance, filled over time."""
        near = self._near(asked)
        return product_limit(self.seen.time_s[near], self.seen.filled[near])

    def _near(self, asked: Asked) -> Bools:
        x = self.seen.x
        if asked.at_touch:
            return np.asarray(_like(self.seen, asked) & (x.at_touch == 1))
        apart = max(DISTANCE_APART_BPS, DISTANCE_SHARE * asked.distance_bps)
        near = (x.at_touch == 0) & (np.abs(x.distance_bps - asked.distance_bps) <= apart + 1e-9)
        return np.asarray(_like(self.seen, asked) & near)


def of_size(labels: LabelSet, size_quote: Decimal) -> LabelSet:
    """Return the orders of one of the sizes that a label set holds."""
    sizes = sorted(labels.options.sizes_quote)
    if len(sizes) < 2:
        return labels
    # Sizes are rounded to lots: the nearest by ratio is meant.
    logs = np.log([float(size) for size in sizes])
    edges = np.exp((logs[1:] + logs[:-1]) / 2)
    mine = np.searchsorted(edges, labels.frame["size_quote"].to_numpy()) == sizes.index(size_quote)
    return replace(labels, frame=labels.frame.filter(mine))


def later(labels: LabelSet, trainings: tuple[Training, ...]) -> tuple[LabelSet, bool]:
    """Return the labels placed after every training in their market, and True; all of them and False where there are none."""
    ends = [training.window_ns[1] for training in trainings if training.overlaps(labels)]
    if not ends:
        return labels, True
    rest = labels.frame.filter(labels.frame["ts_ns"] >= max(ends))
    if rest.is_empty():
        return labels, False
    return replace(labels, frame=rest, window_ns=(max(ends), labels.window_ns[1])), True


def _markout(labels: LabelSet, unseen: bool) -> tuple[MarkoutModel | None, str]:
    """Return what mid does after a fill, or why that is not known."""
    if not unseen:
        return None, "no later data to take the markout from"
    try:
        found = MarkoutModel().fit(labels)
    except DataError:
        found = MarkoutModel()
    if found.fills < FEW_FILLS:
        return None, f"too few fills for a markout (n {found.fills})"
    return found, ""


def product_limit(time_s: Floats, filled: Bools) -> Waiting:
    """Return the Kaplan-Meier estimate of the share that has filled by a time, thinned, with the orders lost from view on it."""
    if not len(time_s):
        nothing = np.empty(0)
        return Waiting(nothing, nothing, nothing, nothing, 0, 0)
    times, place = np.unique(time_s, return_inverse=True)
    fills, gone = np.bincount(place, filled, len(times)), np.bincount(place, minlength=len(times))
    at_risk = len(time_s) - np.concatenate(([0], np.cumsum(gone)[:-1]))
    share = 1 - np.cumprod(1 - fills / at_risk)
    lost = (gone > fills).nonzero()[0]
    marks = lost[thin(times[lost], share[lost], CURVE_POINTS // 3)] if len(lost) else lost
    kept = thin(np.log(np.maximum(times, 1e-3)), share, CURVE_POINTS)
    return Waiting(
        times[kept], share[kept], times[marks], share[marks], len(time_s), int(len(time_s) - np.count_nonzero(filled))
    )


def _like(seen: Observations, asked: Asked) -> Bools:
    x = seen.x
    low, high = asked.queue_s / QUEUE_FACTOR, asked.queue_s * QUEUE_FACTOR
    return np.asarray(
        (x.side == asked.side)
        & (x.sigma >= asked.sigma / SIGMA_FACTOR)
        & (x.sigma <= asked.sigma * SIGMA_FACTOR)
        & (np.abs(x.imb_own - asked.imb_own) <= IMBALANCE_APART)
        & ((x.at_touch == 0) | ((x.queue_s >= low) & (x.queue_s <= high)))
    )


def _shares(seen: Observations, rows: Ints, group: Ints, groups: int, horizon_s: float) -> Shares:
    in_time = seen.filled_by(horizon_s)[rows]
    orders = np.bincount(group, minlength=groups)
    fills = np.bincount(group, in_time, groups).astype(np.int64)
    distance = np.bincount(group, seen.x.distance_bps[rows], groups) / np.maximum(orders, 1)
    start, end = int(seen.ts_ns[0]), int(seen.ts_ns[-1])
    length = int(max(BLOCK_S, horizon_s, (end - start) / 1e9 / MOST_BLOCKS) * 1e9)
    _, block = np.unique((seen.ts_ns[rows] - start) // length, return_inverse=True)
    blocks = int(block.max(initial=-1)) + 1
    low = high = np.full(groups, np.nan)
    if blocks >= FEWEST_BLOCKS:
        at = block * groups + group
        by_block = np.bincount(at, minlength=blocks * groups).reshape(blocks, groups)
        filled = np.bincount(at, in_time, blocks * groups).reshape(blocks, groups)
        weights = _resamples(blocks)
        drawn = weights @ by_block
        share = np.divide(weights @ filled, drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0)
        # Where all filled, or none, every resample says the same: that is no certainty.
        sound = ((by_block > 0).sum(axis=0) >= FEWEST_BLOCKS) & (fills > 0) & (fills < orders)
        low, high = np.full(groups, np.nan), np.full(groups, np.nan)
        if sound.any():
            low[sound], high[sound] = np.nanquantile(share[:, sound], (0.05, 0.95), axis=0)
    return Shares(distance, orders, fills, low, high)


@lru_cache(maxsize=64)
def _resamples(blocks: int) -> Floats:
    """Return how often each block is drawn; while a slider moves, the same numbers of blocks come again."""
    return block_draws(blocks, RESAMPLES)
