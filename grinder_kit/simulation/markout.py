"""Mean markout by horizon with intervals: whether those who trade with the grid know something that it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from grinder_kit.fillprob.interval import block_mean
from grinder_kit.simulation.verdict import BLOCK_S, RESAMPLES

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
            fills = int(known.sum())
            if not fills:
                rows.append((side, horizon, None, None, None, 0))
                continue
            mean = block_mean(values[known], blocks[known], resamples=RESAMPLES)
            rows.append((side, horizon, mean.value, mean.low, mean.high, fills))
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")
