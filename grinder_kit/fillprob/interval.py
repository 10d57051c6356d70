"""A number with its interval, and the block bootstrap that gives it one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVEL = 0.9
RESAMPLES = 500
FEWEST_BLOCKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with a 90 % interval; `low` and `high` are None where the data are too few for one.

    Examples
    --------
    >>> print(Interval(value=1.5, low=-0.25, high=3.0).words("bps"))
    +1.50 bps [-0.25, +3.00], not distinguishable from zero
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def distinguishable(self) -> bool:
        """Whether the interval is known and excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def line(self, factor: float, add: float = 0.0) -> Interval:
        """Return `factor` times this, plus `add`."""
        if self.low is None or self.high is None:
            return Interval(value=self.value * factor + add)
        low, high = sorted((self.low * factor + add, self.high * factor + add))
        return Interval(value=self.value * factor + add, low=low, high=high)

    def times(self, other: Interval) -> Interval:
        """Return the product: its interval holds that of every pair of values, so it is rather too wide than too narrow."""
        value = self.value * other.value
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return Interval(value=value)
        corners = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return Interval(value=value, low=min(corners), high=max(corners))

    def words(self, unit: str, digits: int = 2) -> str:
        """Return it as text, which says so where it cannot be told from zero."""
        text = f"{self.value:+,.{digits}f} {unit}"
        if self.low is None or self.high is None:
            return f"{text}; too few data for an interval"
        text += f" [{self.low:+,.{digits}f}, {self.high:+,.{digits}f}]"
        return text if self.distinguishable else f"{text}, not distinguishable from zero"


def block_draws(blocks: int, resamples: int = RESAMPLES) -> Floats:
    """Return how often each block is drawn, (resamples, blocks); the seed is fixed."""
    drawn = np.random.default_rng(0).integers(0, blocks, (resamples, blocks))
    at = (np.arange(resamples)[:, None] * blocks + drawn).ravel()
    return np.bincount(at, minlength=resamples * blocks).reshape(resamples, blocks).astype(np.float64)


def between(draws: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the lower and upper end of draws along the first axis."""
    low, high = np.quantile(draws, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return low, high


def block_mean(
    values: Floats, block: npt.NDArray[np.int64], weights: Floats | None = None, *, resamples: int = RESAMPLES
) -> Interval:
    """Return the mean of values with a block-bootstrap interval.

    Values of one block share one market, so blocks are resampled, not values. Fewer than `FEWEST_BLOCKS` show no spread.

    Parameters
    ----------
    values : ndarray
        (n,), not empty.
    block : ndarray of int64
        (n,) block of each.
    weights : ndarray, optional
        (n,); 1 unless given.
    resamples : int
        Draws of the bootstrap.
    """
    weights = np.ones(len(values)) if weights is None else weights
    _, group = np.unique(block, return_inverse=True)
    sums, counts = np.bincount(group, values * weights), np.bincount(group, weights)
    mean = float(sums.sum() / counts.sum())
    if len(counts) < FEWEST_BLOCKS:
        return Interval(value=mean)
    times = block_draws(len(counts), resamples)
    total = times @ counts
    drawn = np.divide(times @ sums, total, out=np.full(len(times), mean), where=total > 0)
    low, high = between(drawn)
    return Interval(value=mean, low=float(low), high=float(high))
