"""Verdict: net profit per hour with an interval, and whether it can be told from zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from grinder_kit.fillprob.interval import FEWEST_BLOCKS, Interval, between, block_draws

BLOCK_S = 60
RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Net profit per hour in `asset`, with a 90 % block-bootstrap interval; None where the market was too short for one."""

    per_hour: float
    low: float | None
    high: float | None
    blocks: int
    asset: str

    @property
    def distinguishable(self) -> bool:
        """Whether the interval excludes zero."""
        return Interval(value=self.per_hour, low=self.low, high=self.high).distinguishable

    @property
    def text(self) -> str:
        """The verdict as a sentence."""
        blocks = f"{self.blocks} blocks of {BLOCK_S} s"
        found = Interval(value=self.per_hour, low=self.low, high=self.high)
        return hourly(found, self.asset, blocks, f"{blocks} are too few for an interval")


def hourly(found: Interval, asset: str, blocks: str, why_none: str) -> str:
    """Return profit an hour after fees as a sentence; `why_none` where it has no interval."""
    digits = money_digits(found.value, found.low or 0.0, found.high or 0.0)
    rate = f"{found.value:+,.{digits}f} {asset} per hour after fees"
    if found.low is None or found.high is None:
        return f"{rate}; {why_none}"
    words = ("earns" if found.low > 0 else "loses") if found.distinguishable else "not distinguishable from zero"
    return f"{rate} [{found.low:+,.{digits}f}, {found.high:+,.{digits}f}], {words} ({blocks}, 90 % interval)"


def money_digits(*amounts: float) -> int:
    """Return the decimals with which such amounts are shown; a coin-margined profit is a small number of coins."""
    return 6 if 0 < max(map(abs, amounts)) < 0.1 else 2


def block_profits(
    ts_ns: npt.NDArray[np.int64], equity: npt.NDArray[np.float64], block_s: float
) -> npt.NDArray[np.float64]:
    """Return the profit of each full block of so many seconds, from a curve's first point on; what is left at the end is left out."""
    edges = np.arange(ts_ns[0], ts_ns[-1] + 1, round(block_s * 1_000_000_000))
    return np.diff(equity[..., np.searchsorted(ts_ns, edges, side="right") - 1])


def judge(equity: pl.DataFrame, asset: str) -> Verdict:
    """Return the verdict on an equity curve (`ts_ns`, `equity`).

    Blocks of 60 s are resampled with a fixed seed; what is shorter than a block at the end is left out of the interval, not of
    the rate.
    """
    ts = equity["ts_ns"].to_numpy()
    value = equity["equity"].cast(pl.Float64).to_numpy()
    if len(ts) < 2 or ts[-1] == ts[0]:
        return Verdict(per_hour=0.0, low=None, high=None, blocks=0, asset=asset)
    per_hour = float(value[-1] / ((ts[-1] - ts[0]) / 3.6e12))
    blocks = block_profits(ts, value, BLOCK_S)
    if len(blocks) < FEWEST_BLOCKS:
        return Verdict(per_hour=per_hour, low=None, high=None, blocks=len(blocks), asset=asset)
    drawn = block_draws(len(blocks), RESAMPLES) @ blocks
    low, high = between(drawn * (3600 / BLOCK_S) / len(blocks))
    return Verdict(per_hour=per_hour, low=float(low), high=float(high), blocks=len(blocks), asset=asset)
