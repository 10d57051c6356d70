"""How many points a figure draws: lines are thinned so that no peak is lost, histograms get readable bins."""

from __future__ import annotations

from typing import Any

import numpy as np

from grinder_widgets.theme import count

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

LINE_POINTS = 2_000
SCATTER_POINTS = 5_000
TABLE_ROWS = 200


def thin(x: Floats, y: Floats, points: int = LINE_POINTS) -> Ints:
    """Return indices that keep a line's shape: in each column of equal width, its lowest and its highest point.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        `x` ascending.
    points : int
        At most so many indices, ascending; first and last point are among them.
    """
    n = len(x)
    if n <= points:
        return np.arange(n, dtype=np.int64)
    columns = (points - 2) // 2
    edges = np.searchsorted(x, np.linspace(x[0], x[-1], columns + 1)[1:-1])
    kept = {0, n - 1}
    for start, stop in zip(np.r_[0, edges], np.r_[edges, n], strict=True):
        if stop > start:
            part = y[start:stop]
            kept.update((int(start + part.argmin()), int(start + part.argmax())))
    return np.array(sorted(kept), np.int64)


def spread(n: int, points: int = SCATTER_POINTS) -> Ints:
    """Return indices of at most `points` of `n` marks, evenly spaced."""
    return np.linspace(0, n - 1, min(n, points)).round().astype(np.int64)


def shown(drawn: int, total: int, what: str = "points") -> str:
    """Say how much of the data is drawn.

    Examples
    --------
    >>> shown(2000, 492_312), shown(387, 387)
    ('2,000 of 492k points', 'all 387 points')
    """
    return f"{count(drawn)} of {count(total)} {what}" if drawn < total else f"all {count(total)} {what}"


def bins(values: Floats, most: int = 40) -> Floats:
    """Return edges for a histogram: a width of 1, 2 or 5 times a power of ten, zero an edge, at most about `most` bins.

    The outer 0.5 % on either side do not widen it; :func:`counts` puts what lies outside into the last bins.
    """
    low, high = np.quantile(values, (0.005, 0.995))
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    raw = max((high - low) / most, 1e-9)
    power = 10.0 ** np.floor(np.log10(raw))
    width = next(power * step for step in (1.0, 2.0, 5.0, 10.0) if power * step >= raw * (1 - 1e-9))
    first, last = np.floor(low / width), np.ceil(high / width)
    if last <= first:
        last = first + 1
    edges: Floats = np.arange(first, last + 1, dtype=np.float64) * width
    return edges


def counts(values: Floats, edges: Floats) -> tuple[Ints, int]:
    """Return the number of values in each bin, and how many of them lay outside and went into the last bins."""
    inside = np.clip(values, edges[0], edges[-1])
    return np.histogram(inside, edges)[0], int((inside != values).sum())
