"""The probability that decides a level, compiled once: the engine and compiled sweeps are given this very function."""

from __future__ import annotations

from grinder_kit.fillprob import passage
from grinder_kit.kernel.compiled import compiled


@compiled
def passage_at_level(
    side: int, distance_bps: float, sigma: float, imbalance: float, horizon_s: float,
    b0: float, b1: float, lc: float, ls: float, g0: float, g1: float, k: float, tail: int,
) -> float:  # fmt: skip
    """Return the first-passage probability of a level as decisions know it: away from the touch, without a queue.

    `imbalance` is the market's: above 0, bids are heavier. A level beyond mid counts as one at mid.
    """
    return passage.fill_probability(
        max(0.0, distance_bps), 0.0, sigma, 0.0, imbalance * side, horizon_s, b0, b1, lc, ls, g0, g1, k, tail
    )
