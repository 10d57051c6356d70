"""How fast trades eat each side of the book: lots per second, averaged with a half-life of 30 s.

Three plain functions over two small arrays, `f` (F_SIZE,) and `i` (I_SIZE,): compiled for labels, and called as they are
(arrays or lists) by whoever follows a live market:

    restart(f, i, ts_ns)
        at the first event, and where the feed lost something
    on_trade(f, i, side, lots, ts_ns)
        side is the aggressor's: +1 a buyer, who eats asks
    rate(f, i, side, now_ns)
        NaN until it is known: for 10 s after the start, and while nobody has traded on that side
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HALF_LIFE_NS = 30e9
WARM_UP_NS = 10_000_000_000
F_SIZE = 2  # lots by side (buyers, sellers), decayed to the time of that side's last trade
START, I_SIZE = 2, 3  # i: times of the last trades, and of the start


def restart(f: Floats, i: Ints, ts_ns: int) -> None:
    """Forget everything; the average starts at `ts_ns`."""
    for row in range(F_SIZE):
        f[row] = 0.0
        i[row] = ts_ns
    i[START] = ts_ns


def on_trade(f: Floats, i: Ints, side: int, lots: int, ts_ns: int) -> None:
    """Take a trade of `lots` by an aggressor."""
    row = (1 - side) >> 1
    f[row] = f[row] * 0.5 ** ((ts_ns - i[row]) / HALF_LIFE_NS) + lots
    i[row] = ts_ns


def rate(f: Floats, i: Ints, side: int, now_ns: int) -> float:
    """Return lots per second that aggressors of a side trade; NaN where unknown."""
    row = (1 - side) >> 1
    age = now_ns - i[START]
    if age < WARM_UP_NS or f[row] <= 0.0:
        return math.nan
    seen = 1.0 - 0.5 ** (age / HALF_LIFE_NS)  # the share of the average's weight that lies after the start
    decayed = f[row] * 0.5 ** ((now_ns - i[row]) / HALF_LIFE_NS)
    return float(decayed / seen * math.log(2.0) / (HALF_LIFE_NS * 1e-9))
