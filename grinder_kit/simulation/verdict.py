"""Verdict: net profit per hour with an interval, and whether it can be told from zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from grinder_kit.fillprob.interval import FEWEST_BLOCKS, between, block_draws

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
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def text(self) -> str:
        """The verdict as a sentence."""
        digits = money_digits(self.per_hour, self.low or 0.0, self.high or 0.0)
        rate = f"{self.per_hour:+,.{digits}f} {self.asset} per hour after fees"
        if self.low is None or self.high is None:
            return f"{rate}; {self.blocks} blocks of {BLOCK_S} s are too few for an interval"
        interval = f"[{self.low:+,.{digits}f}, {self.high:+,.{digits}f}]"
        words = ("earns" if self.low > 0 else "loses") if self.distinguishable else "not distinguishable from zero"
        return f"{rate} {interval}, {words} ({self.blocks} blocks of {BLOCK_S} s, 90 % interval)"


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
