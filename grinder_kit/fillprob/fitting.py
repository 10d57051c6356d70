"""Fit the first-passage model: interval-censored maximum likelihood, with a ridge towards the prior.

A label says in which interval between `EDGES_S` an order filled, or up to which edge it had not. Labels overlap: fifty are
inserted every 250 ms and all see the same market for a minute, so their sum of log likelihoods would claim far too much. One
insertion a second is read, and the sum is scaled to `ORDERS_PER_S` independent orders a second: at that scale the slopes of
60 s blocks vary as much as the curvature says, in the directions that matter most (time scale, power of distance). What is
shared beyond that shows in the blocks, and widens the band.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from grinder_kit.fillprob.interval import FEWEST_BLOCKS
from grinder_kit.fillprob.model import Floats
from grinder_kit.fillprob.observations import Observations
from grinder_kit.fillprob.passage import B1, G1, PARAMETERS, log_likelihood

EDGES_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
ORDERS_PER_S = 0.5
SECOND_NS = 1_000_000_000
LOWEST = {B1: 0.05, G1: 0.0}
_FARTHEST = 25.0  # in sigma root(60 s): farther orders say nothing, and cost as much


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """The best parameters, and how far they may be off.

    Parameters
    ----------
    theta : ndarray
        (PARAMETERS,).
    covariance : ndarray
        (PARAMETERS, PARAMETERS): what a block bootstrap of data and prior gives, to first order.
    """

    theta: Floats
    covariance: Floats


def intervals(seen: Observations) -> tuple[Floats, Floats]:
    """Return (low, high]: the edges around each fill; high is inf where there was none by low."""
    edges = np.array([0.0, *EDGES_S, np.inf])
    at = np.searchsorted(edges, seen.time_s, side="left")  # edges[at - 1] < time <= edges[at]
    at = np.maximum(at, 1)
    reached = np.searchsorted(edges, seen.time_s * (1 + 1e-9), side="right") - 1
    low = np.where(seen.filled, edges[at - 1], edges[reached])
    high = np.where(seen.filled, edges[at], np.inf)
    return low, high


def maximise(
    seen: Observations, *, prior: Floats, spread: Floats, tail: int, start: Floats | None = None,
    block_weights: Floats | None = None,
) -> Fit:  # fmt: skip
    """Return the parameters that fit labels and prior best.

    Parameters
    ----------
    seen : Observations
        The labels.
    prior, spread : ndarray
        (PARAMETERS,): centre and standard deviation of what is believed before any data.
    tail : int
        Code of the distribution.
    start : ndarray, optional
        Where to begin; the prior unless given.
    block_weights : ndarray, optional
        One weight for each block that `seen` has, in order: a bootstrap draws them.
    """
    from scipy.optimize import minimize

    seen = seen.thinned()
    low, high = intervals(seen)
    useful = ((low > 0) | (high < np.inf)) & (seen.x.distance_bps <= _FARTHEST * np.sqrt(60.0) * seen.x.sigma)
    seen, low, high = seen.rows(useful), low[useful], high[useful]
    blocks, group = np.unique(seen.block, return_inverse=True)
    weight = np.full(len(seen), _scale(seen))
    if block_weights is not None:
        weight *= block_weights[group]
    x = seen.x
    columns = (x.distance_bps, x.at_touch, x.sigma, x.queue_s, x.imb_own, low, high, weight, group.astype(np.int64))
    precision = spread**-2.0

    def by_block(theta: Floats) -> tuple[float, Floats]:
        slopes = np.zeros((max(1, len(blocks)), PARAMETERS))
        return log_likelihood(*columns, theta, tail, slopes), slopes

    def objective(theta: Floats) -> tuple[float, Floats]:
        value, slopes = by_block(theta)
        away = theta - prior
        return -value + 0.5 * float(precision @ away**2), -slopes.sum(axis=0) + precision * away

    bounds = [(LOWEST.get(at), None) for at in range(PARAMETERS)]
    begin = np.array(prior if start is None else start)
    found = minimize(objective, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200})
    theta = np.asarray(found.x, np.float64)
    return Fit(theta=theta, covariance=_covariance(theta, objective, by_block(theta)[1], precision))


def _scale(seen: Observations) -> float:
    """Return the weight of a row, so that the rows of a second count as `ORDERS_PER_S`."""
    if not len(seen):
        return 1.0
    seconds = len(np.unique(seen.ts_ns // SECOND_NS))
    return min(1.0, ORDERS_PER_S * seconds / len(seen))


def _covariance(
    theta: Floats, objective: Callable[[Floats], tuple[float, Floats]], slopes: Floats, precision: Floats
) -> Floats:
    """Return the sandwich: the curvature around the spread of the blocks' slopes and of the prior.

    To first order this is what refits on resampled blocks, each with a prior drawn anew, would give. Few blocks show no spread:
    then the curvature itself must do.
    """
    step = 1e-4
    rows = []
    for at in range(PARAMETERS):
        up, down = theta.copy(), theta.copy()
        up[at] += step
        down[at] -= step
        rows.append((objective(up)[1] - objective(down)[1]) / (2 * step))
    bend = (np.array(rows) + np.array(rows).T) / 2
    values, vectors = np.linalg.eigh(bend)
    inverse = vectors @ np.diag(1 / np.maximum(values, precision.min())) @ vectors.T
    count = len(slopes)
    if count < FEWEST_BLOCKS:
        return np.asarray(inverse)
    centred = slopes - slopes.mean(axis=0)
    return np.asarray(inverse @ (centred.T @ centred * count / (count - 1) + np.diag(precision)) @ inverse)
