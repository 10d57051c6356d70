"""Mean markout by horizon with intervals: whether those who trade with the grid know something that it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from grinder_kit.simulation.verdict import BLOCK_S, FEWEST_BLOCKS, RESAMPLES

if TYPE_CHECKING:
    from grinder_kit.simulation.result import Result

HORIZONS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SCHEMA = {
    "side": pl.String, "horizon_s": pl.Float64, "mean_bps": pl.Float64, "low_bps": pl.Float64, "high_bps": pl.Float64,
    "fills": pl.Int64,
}  # fmt: skip


def markout_summary(result: Result, seconds: tuple[float, ...] = HORIZONS_S) -> pl.DataFrame:
    """Return the mean markout of all fills, of buys and of sells, by horizon.

    Fills come in bursts and share the same later price, so blocks of 60 s are resampled, not fills.

    Parameters
    ----------
    result : Result
    seconds : tuple of float
        Horizons, s.

    Returns
    -------
    DataFrame
        side (ALL, BUY, SELL), horizon_s, mean_bps (positive: mid went our way), low_bps, high_bps (90 %; null with fewer
        than 5 blocks that have fills), fills (those whose horizon ends inside the market).
    """
    frame = result.markout(seconds)
    blocks = ((frame["ts_ns"].to_numpy() - result.start_ns) // (BLOCK_S * 1_000_000_000)).astype(np.int64)
    sides = frame["side"].to_numpy()
    rows: list[tuple[Any, ...]] = []
    for side in ("ALL", "BUY", "SELL"):
        of_side = np.ones(len(frame), bool) if side == "ALL" else sides == side
        for horizon in seconds:
            values = frame[f"markout_{horizon:g}s_bps"].to_numpy().astype(float)
            known = of_side & ~np.isnan(values)
            rows.append((side, horizon, *_mean(values[known], blocks[known]), int(known.sum())))
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _mean(
    values: np.ndarray[Any, Any], blocks: np.ndarray[Any, Any]
) -> tuple[float | None, float | None, float | None]:
    if not len(values):
        return None, None, None
    _, block = np.unique(blocks, return_inverse=True)
    sums, counts = np.bincount(block, values), np.bincount(block)
    mean = float(values.mean())
    if len(counts) < FEWEST_BLOCKS:
        return mean, None, None
    draws = np.random.default_rng(0).integers(0, len(counts), (RESAMPLES, len(counts)))
    low, high = np.quantile(sums[draws].sum(axis=1) / counts[draws].sum(axis=1), (0.05, 0.95))
    return mean, float(low), float(high)
