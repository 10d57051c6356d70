"""The first-passage formula: one set of plain functions of floats, for decisions, for arrays and for compiled code.

    P(T <= h) = 2 F( -exp( -(ln h - mu) / (2 s) ) )
    mu = b0 + b1 ln sqrt( (d / sigma)^2 + c^2 )
    c  = exp(lc + k imb_own) * (1 - [at touch] * sigmoid(g0 - g1 ln(1 + Q / v)))

F is Student's t with 3 degrees of freedom. With the normal distribution instead, b0 = 0, b1 = 2, s = 1 and c = 0, this is the
reflection principle: the probability that a Brownian motion with volatility sigma has gone d away within h.

A closer order never has a lower probability: levels of one side share sigma and imb_own, so mu falls with d, and at the touch c
only gets smaller. Far tails are summed as a series, so that nothing below 0 comes of rounding. All functions use only
+ - * / and the C library's exp, log, pow, atan and erfc: compiled or not, every bit agrees.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba.extending import register_jitable

from grinder_kit.kernel.compiled import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Places of the parameters, and codes of F.
B0, B1, LC, LS, G0, G1, K, PARAMETERS = range(8)
STUDENT3, NORMAL = 0, 1

_HALF_LOG_3 = 0.5 * math.log(3.0)
_TWO_OVER_PI = 2.0 / math.pi
_ROOT_3_HALVES = math.sqrt(1.5)
_SMALL = 0.05  # below, the series has the better digits
_LARGE = 40.0  # ln u above which the probability is 1 in every bit
_LEAST = 1e-300  # of a probability, where its logarithm is taken


@register_jitable
def width(at_touch: float, queue_s: float, imb_own: float, lc: float, g0: float, g1: float, k: float) -> float:
    """Return c, the time scale at mid in units of distance over sigma (root of s)."""
    c = math.exp(lc + k * imb_own)
    if at_touch != 0.0:
        c /= 1.0 + math.exp(g0) * (1.0 + queue_s) ** -g1
    return c


@register_jitable
def square(distance_bps: float, sigma: float, c: float) -> float:
    """Return (d / sigma)^2 + c^2, s."""
    ratio = distance_bps / sigma
    return ratio * ratio + c * c


@register_jitable
def offset(horizon_s: float, b0: float, ls: float) -> float:
    """Return what the horizon adds to :func:`chance`'s argument; the horizon is above 0."""
    return _HALF_LOG_3 + (math.log(horizon_s) - b0) / (2.0 * math.exp(ls))


@register_jitable
def chance(w: float, tail: int) -> float:
    """Return the probability for w = ln sqrt(3) + (ln h - mu) / (2 s)."""
    u = math.exp(min(w, _LARGE))  # no early return: Numba then computes several orders at once
    if tail == NORMAL:
        return math.erfc(_ROOT_3_HALVES / u) if u > 0.0 else 0.0
    v = u * u
    if u < _SMALL:  # 2 / pi * (arctan u - u / (1 + u^2)), term by term
        return _TWO_OVER_PI * u * v * (2 / 3 - v * (4 / 5 - v * (6 / 7 - v * (8 / 9 - v * (10 / 11 - v * (12 / 13))))))
    return _TWO_OVER_PI * (math.atan(u) - u / (1.0 + v))


@register_jitable
def fill_probability(
    distance_bps: float, at_touch: float, sigma: float, queue_s: float, imb_own: float, horizon_s: float,
    b0: float, b1: float, lc: float, ls: float, g0: float, g1: float, k: float, tail: int,
) -> float:  # fmt: skip
    """Return the probability that one order fills within `horizon_s`; units as in :class:`~.model.Inputs`.

    Nothing is checked: the inputs are those that `Inputs` accepts.
    """
    if horizon_s <= 0.0:
        return 0.0
    r = square(distance_bps, sigma, width(at_touch, queue_s, imb_own, lc, g0, g1, k))
    if r == 0.0:
        return 1.0
    return chance(offset(horizon_s, b0, ls) - b1 / (4.0 * math.exp(ls)) * math.log(r), tail)


@compiled
def fill_probabilities(
    distance_bps: Floats, at_touch: Floats, sigma: Floats, queue_s: Floats, imb_own: Floats, horizon_s: Floats,
    theta: Floats, tail: int, logs: Floats, out: Floats,
) -> None:  # fmt: skip
    """Write :func:`fill_probability` of n orders at m horizons into `out` (m, n); `logs` (n,) is room to work in."""
    b0, b1, lc, ls, g0, g1, k = theta
    last, free = math.nan, 0.0  # the width away from the touch: levels of a side share it
    for i in range(distance_bps.size):
        if at_touch[i] != 0.0:
            c = width(at_touch[i], queue_s[i], imb_own[i], lc, g0, g1, k)
        else:
            if imb_own[i] != last:
                last = imb_own[i]
                free = width(0.0, 0.0, last, lc, g0, g1, k)
            c = free
        logs[i] = square(distance_bps[i], sigma[i], c)
    slope = b1 / (4.0 * math.exp(ls))
    for i in range(logs.size):
        logs[i] = slope * math.log(logs[i])
    for j in range(horizon_s.size):
        if horizon_s[j] <= 0.0:
            for i in range(logs.size):
                out[j, i] = 0.0
        else:
            add = offset(horizon_s[j], b0, ls)
            for i in range(logs.size):
                out[j, i] = chance(add - logs[i], tail)


@register_jitable
def steepness(w: float, tail: int) -> float:
    """Return the derivative of :func:`chance` by w."""
    u = math.exp(min(w, _LARGE))
    if u == 0.0:
        return 0.0
    if tail == NORMAL:
        z = _ROOT_3_HALVES / u
        return 2.0 / math.sqrt(math.pi) * z * math.exp(-z * z)
    v = u * u
    return 2.0 * _TWO_OVER_PI * u * v / ((1.0 + v) * (1.0 + v))


@compiled
def log_likelihood(
    distance_bps: Floats, at_touch: Floats, sigma: Floats, queue_s: Floats, imb_own: Floats,
    low_s: Floats, high_s: Floats, weight: Floats, group: Ints, theta: Floats, tail: int, slopes: Floats,
) -> float:  # fmt: skip
    """Return the weighted log likelihood of fills inside (low, high], and add its slopes to those of each row's group.

    `high` is inf where the order had not filled by `low`. `slopes` is (groups, PARAMETERS).
    """
    b0, b1, lc, ls, g0, g1, k = theta
    s = math.exp(ls)
    total = 0.0
    for i in range(distance_bps.size):
        c = width(at_touch[i], queue_s[i], imb_own[i], lc, g0, g1, k)
        r = square(distance_bps[i], sigma[i], c)
        log_r = math.log(r)
        shift = b1 / (4.0 * s) * log_r
        low, low_slope, low_scale = 0.0, 0.0, 0.0
        if low_s[i] > 0.0:
            w = offset(low_s[i], b0, ls) - shift
            low, low_slope = chance(w, tail), steepness(w, tail)
            low_scale = low_slope * (w - _HALF_LOG_3)
        high, high_slope, high_scale = 1.0, 0.0, 0.0
        if high_s[i] < math.inf:
            w = offset(high_s[i], b0, ls) - shift
            high, high_slope = chance(w, tail), steepness(w, tail)
            high_scale = high_slope * (w - _HALF_LOG_3)
        inside = max(high - low, _LEAST)
        total += weight[i] * math.log(inside)
        by_w = weight[i] * (high_slope - low_slope) / inside
        by_log_c = -by_w * b1 * c * c / (2.0 * s * r)
        at = group[i]
        slopes[at, B0] -= by_w / (2.0 * s)
        slopes[at, B1] -= by_w * log_r / (4.0 * s)
        slopes[at, LC] += by_log_c
        slopes[at, LS] -= weight[i] * (high_scale - low_scale) / inside
        slopes[at, K] += by_log_c * imb_own[i]
        if at_touch[i] != 0.0 and queue_s[i] < math.inf:
            a = math.exp(g0) * (1.0 + queue_s[i]) ** -g1
            slopes[at, G0] -= by_log_c * a / (1.0 + a)
            slopes[at, G1] += by_log_c * a / (1.0 + a) * math.log(1.0 + queue_s[i])
    return total
