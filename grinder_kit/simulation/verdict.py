"""Verdict: net profit per hour with an interval, and whether it can be told from zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

BLOCK_S = 60
RESAMPLES = 2000
FEWEST_BLOCKS = 5


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
        largest = max(abs(self.per_hour), abs(self.low or 0.0), abs(self.high or 0.0))
        digits = 6 if 0 < largest < 0.1 else 2  # a coin-margined profit is a small number of coins
        rate = f"{self.per_hour:+,.{digits}f} {self.asset} per hour after fees"
        if self.low is None or self.high is None:
            return f"{rate}; {self.blocks} blocks of {BLOCK_S} s are too few for an interval"
        interval = f"[{self.low:+,.{digits}f}, {self.high:+,.{digits}f}]"
        words = ("earns" if self.low > 0 else "loses") if self.distinguishable else "not distinguishable from zero"
        return f"{rate} {interval}, {words} ({self.blocks} blocks of {BLOCK_S} s, 90 % interval)"


def judge(equity: pl.DataFrame, asset: str) -> Verdict:
    """Return the verdict on an equity curve (`ts_ns`, `equity`).

    Blocks of 60 s are resampled with a fixed seed; what is shorter than a block at the end is left out of the interval, not of
    the rate.
    """
    ts = equity["ts_ns"].to_numpy()
    value = equity["equity"].cast(pl.Float64).to_numpy()
    if len(ts) < 2 or ts[-1] == ts[0]:
        return Verdict(per_hour=0.0, low=None, high=None, blocks=0, asset=asset)
    per_hour = float(value[-1] - 0.0) / ((ts[-1] - ts[0]) / 3.6e12)
    edges = np.arange(ts[0], ts[-1] + 1, BLOCK_S * 1_000_000_000)
    at = value[np.searchsorted(ts, edges, side="right") - 1]
    blocks = np.diff(at)
    if len(blocks) < FEWEST_BLOCKS:
        return Verdict(per_hour=per_hour, low=None, high=None, blocks=len(blocks), asset=asset)
    draws = np.random.default_rng(0).integers(0, len(blocks), (RESAMPLES, len(blocks)))
    low, high = np.quantile(blocks[draws].mean(axis=1) * (3600 / BLOCK_S), (0.05, 0.95))
    return Verdict(per_hour=per_hour, low=float(low), high=float(high), blocks=len(blocks), asset=asset)
