"""What a fill costs: the markout given the fill, fitted on fills behind a queue.

    markout = sigma * (a + b [at touch] + c [at touch] ln(1 + Q / v) + e ln(1 + d / sigma))

in bps: how far mid has gone from the fill's price after some seconds, in the order's favour. It is below zero: whoever trades with
a resting order knows something, and the deeper the queue, the more must have traded before ours. Fills by the touch rule hide
most of it, for they count those that got only as far as the queue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.fitting import ORDERS_PER_S, SECOND_NS
from grinder_kit.fillprob.interval import FEWEST_BLOCKS, LEVEL, Interval, block_draws, block_mean
from grinder_kit.fillprob.model import Floats, Inputs
from grinder_kit.fillprob.observations import known, was_watched

if TYPE_CHECKING:
    from grinder_kit.fillprob.labels import LabelSet

#: Before any data: near the touch, .9 of the volatility of a second; and how far single recordings lie from it.
PRIOR = (-0.9, 0.0, 0.0, 0.0)
PRIOR_SPREAD = (0.4, 0.4, 0.2, 0.3)
HORIZONS_S = (1, 10)
_LONGEST_QUEUE_S = 60.0  # behind a queue of a minute or more, what it means no longer changes

_NAMES = ("level", "touch", "queue", "distance")


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkoutModel:
    """The markout given a fill, from distance, volatility and queue; usable before any fit.

    Parameters
    ----------
    horizon_s : int
        Seconds after the fill: 1 or 10, as labels carry them.
    theta : tuple of float
        a, b, c, e.
    covariance : tuple of tuple of float
        Of `theta`.
    fills : int
        Fills that it was fitted on.

    Raises
    ------
    ConfigError
        For a horizon that labels do not carry.

    Examples
    --------
    >>> near, far = MarkoutModel().predict(Inputs(distance_bps=[0.01, 5.0], sigma=1.2, at_touch=[1, 0]))
    >>> print(f"{near:.2f} {far:.2f}")
    -1.08 -1.08
    """

    horizon_s: int = 10
    theta: tuple[float, ...] = PRIOR
    covariance: tuple[tuple[float, ...], ...] = tuple(
        tuple(spread**2 if i == j else 0.0 for j in range(len(PRIOR))) for i, spread in enumerate(PRIOR_SPREAD)
    )
    fills: int = 0

    def __post_init__(self) -> None:
        if self.horizon_s not in HORIZONS_S:
            raise ConfigError(
                f"horizon_s is {self.horizon_s}; labels carry markouts after {HORIZONS_S} s: write one of them"
            )

    def fit(self, labels: LabelSet) -> Self:
        """Return the model fitted on the fills of the power model; a ridge holds it near the prior.

        Fills overlap as labels do, so they count as `ORDERS_PER_S` independent ones a second. The covariance is that of a
        bootstrap over blocks of 60 s and over the prior; with fewer than 5 blocks, that of the ridge alone.

        Raises
        ------
        DataError
            Where no fill has a known markout.
        """
        rows = marked_fills(labels, self.horizon_s)
        x = Inputs.from_frame(rows)
        design, wanted = _design(x), rows[_column(self.horizon_s)].to_numpy() / x.sigma
        seconds = len(np.unique(rows["ts_ns"].to_numpy() // SECOND_NS))
        weight = min(1.0, ORDERS_PER_S * seconds / len(wanted))
        _, group = np.unique(rows["block"].to_numpy(), return_inverse=True)
        blocks = int(group.max()) + 1
        squares = np.zeros((blocks, len(PRIOR), len(PRIOR)))
        products = np.zeros((blocks, len(PRIOR)))
        np.add.at(squares, group, design[:, :, None] * design[:, None, :])
        np.add.at(products, group, design * wanted[:, None])
        prior, precision = np.array(PRIOR), np.diag(np.array(PRIOR_SPREAD) ** -2.0)
        # The spread of what is not explained does not depend much on the parameters: that around the prior does.
        noise = float(np.mean((wanted - design @ prior) ** 2)) or 1.0
        scale = weight / noise
        bend = squares.sum(axis=0) * scale + precision
        theta = np.linalg.solve(bend, products.sum(axis=0) * scale + precision @ prior)
        covariance = np.linalg.inv(bend)
        if blocks >= FEWEST_BLOCKS:
            times = block_draws(blocks)
            priors = prior + np.random.default_rng(1).standard_normal((len(times), len(PRIOR))) * PRIOR_SPREAD
            bends = np.tensordot(times, squares, axes=1) * scale + precision
            drawn = np.linalg.solve(bends, (times @ products * scale + priors @ precision)[:, :, None])[:, :, 0]
            covariance = np.cov(drawn, rowvar=False)
        return replace(
            self,
            theta=tuple(float(v) for v in theta),
            covariance=tuple(tuple(float(v) for v in row) for row in covariance),
            fills=len(wanted),
        )

    def predict(self, x: Inputs) -> Floats:
        """Return the markout given a fill, (n,) bps."""
        return np.asarray(x.sigma * (_design(x) @ np.array(self.theta)))

    def band(self, x: Inputs, level: float = LEVEL) -> tuple[Floats, Floats]:
        """Return (low, high) around :meth:`predict`, (n,) bps each: of the mean, not of a single fill."""
        design = _design(x)
        spread = np.sqrt(np.einsum("ni,ij,nj->n", design, np.array(self.covariance), design)) * x.sigma
        away = NormalDist().inv_cdf((1 + level) / 2) * spread
        middle = self.predict(x)
        return middle - away, middle + away

    def interval(self, x: Inputs) -> Interval:
        """Return the mean markout of orders that are equally likely to fill, with its interval, bps."""
        mean = (_design(x) * x.sigma[:, None]).mean(axis=0)
        value = float(mean @ np.array(self.theta))
        away = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(float(mean @ np.array(self.covariance) @ mean))
        return Interval(value=value, low=value - away, high=value + away)

    def __repr__(self) -> str:
        numbers = ", ".join(
            f"{name} {value:+.2f} ({self.covariance[at][at] ** 0.5:.2f})"
            for at, (name, value) in enumerate(zip(_NAMES, self.theta, strict=True))
        )
        return f"MarkoutModel after {self.horizon_s} s in units of sigma: {numbers}; {self.fills:,} fills"


def marked_fills(labels: LabelSet, horizon_s: int = 10) -> pl.DataFrame:
    """Return the labels that filled under the power model and whose inputs and markout are known.

    Raises
    ------
    DataError
        Where there is none.
    """
    rows = labels.to_frame().filter(known() & pl.col("filled_power") & pl.col(_column(horizon_s)).is_not_null())
    if rows.is_empty():
        raise DataError(
            f"none of {len(labels):,} labels filled with known inputs and {horizon_s} s of market after it; use more data"
        )
    return rows.with_columns(pl.col("queue_s", "ofi_z").fill_null(0.0))


def mean_markout(labels: LabelSet, *, horizon_s: int = 10, at_touch: bool = True) -> Interval:
    """Return the mean markout of the fills at the touch (or of all the others), with its interval, bps.

    Raises
    ------
    DataError
        Where there is no such fill.
    """
    rows = marked_fills(labels, horizon_s).filter(pl.col("at_touch") == at_touch)
    if rows.is_empty():
        raise DataError(f"no label {'at' if at_touch else 'away from'} the touch filled; use more data")
    return block_mean(rows[_column(horizon_s)].to_numpy(), rows["block"].cast(pl.Int64).to_numpy())


def value_per_try(
    labels: LabelSet, *, horizon_s: float, edge_bps: float, fees_bps: float, nearest_bps: float = 0.0, farthest_bps: float = math.inf
) -> Interval:  # fmt: skip
    """Return what an order between two distances has been worth, bps of its notional, whether it filled or not.

    P(fill) * (edge - fees + markout) as it came out: both factors from the same blocks, so that the interval knows how they go
    together. Orders that fill where nobody can say what mid did after are left out.

    Parameters
    ----------
    labels : LabelSet
    horizon_s : float
        Seconds that an order is given.
    edge_bps, fees_bps : float
        As in :mod:`grinder_kit.decision.economics`.
    nearest_bps, farthest_bps : float
        Distances from mid, both included.

    Raises
    ------
    DataError
        Where no order was watched for so long.
    """
    mark = _column(10)
    rows = labels.to_frame().filter(
        pl.col("distance_bps").is_between(nearest_bps, farthest_bps) & was_watched(horizon_s)
    )
    filled = pl.col("filled_power") & (pl.col("time_s_power") <= horizon_s)
    rows = rows.select(filled.alias("filled"), mark, "block").filter(~pl.col("filled") | pl.col(mark).is_not_null())
    if rows.is_empty():
        raise DataError(f"no order between {nearest_bps:g} and {farthest_bps:g} bps was watched for {horizon_s:g} s")
    profit = rows[mark].fill_null(0.0).to_numpy() + edge_bps - fees_bps
    return block_mean(np.where(rows["filled"].to_numpy(), profit, 0.0), rows["block"].cast(pl.Int64).to_numpy())


def _column(horizon_s: int) -> str:
    return f"markout_{horizon_s}s_bps"


def _design(x: Inputs) -> npt.NDArray[np.float64]:
    queue = np.log1p(np.minimum(x.queue_s, _LONGEST_QUEUE_S))
    return np.column_stack((np.ones(len(x)), x.at_touch, x.at_touch * queue, np.log1p(x.distance_bps / x.sigma)))
