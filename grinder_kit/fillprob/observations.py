"""Labels as arrays: what was known of each order, when it filled under one queue model, and how long it was watched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.label_options import BAND_SIGMAS, ROUNDING
from grinder_kit.fillprob.model import Floats, Inputs
from grinder_kit.fillprob.training import Origin
from grinder_kit.kernel.simulator import QUEUE_MODELS

if TYPE_CHECKING:
    from grinder_kit.fillprob.labels import LabelSet

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observations:
    """n orders with known inputs, in the order of their insertion.

    Parameters
    ----------
    x : Inputs
        What a model may know.
    ts_ns : ndarray of int64
        Insertion.
    time_s : ndarray
        To the fill; where there was none, how long the order was watched.
    filled : ndarray of bool
        Whether it filled.
    watched_s : ndarray
        How long the order was watched, filled or not.
    block : ndarray of int64
        Block of 60 s, for bootstraps.
    left_out : int
        Rows whose inputs were not known (warm-up, a quiet side, no volatility).
    origin : Origin or None
        Which market they were in; None where nobody knows.
    """

    x: Inputs
    ts_ns: Ints
    time_s: Floats
    filled: npt.NDArray[np.bool_]
    watched_s: Floats
    block: Ints
    left_out: int
    origin: Origin | None = None

    def __len__(self) -> int:
        return len(self.ts_ns)

    def known_by(self, now_ns: int, window_s: float = np.inf) -> Observations:
        """Return what was known at a time: orders inserted before it, those that fill later still open.

        Parameters
        ----------
        now_ns : int
            Exchange time.
        window_s : float
            Only the orders of the last so many seconds.
        """
        age = (now_ns - self.ts_ns) / 1e9
        mask = (age > 0) & (age <= window_s)
        past, age = self.rows(mask), age[mask]
        return replace(
            past,
            time_s=np.minimum(past.time_s, age),
            filled=past.filled & (past.time_s <= age),
            watched_s=np.minimum(past.watched_s, age),
        )

    def thinned(self) -> Observations:
        """Return the first insertion of each second."""
        times = np.unique(self.ts_ns)
        _, first = np.unique(times // 1_000_000_000, return_index=True)
        return self.rows(np.isin(self.ts_ns, times[first]))

    def watched(self, horizon_s: float) -> npt.NDArray[np.bool_]:
        """Return which orders were watched for the whole of a horizon, filled or not, (n,)."""
        return np.asarray(self.watched_s >= horizon_s * ROUNDING)

    def filled_by(self, horizon_s: float) -> npt.NDArray[np.bool_]:
        """Return which orders had filled within a horizon, (n,)."""
        return np.asarray(self.filled & (self.time_s <= horizon_s))

    def in_band(self, horizon_s: float, sigma: float) -> npt.NDArray[np.bool_]:
        """Return which orders lie within the band of a horizon: near enough to be worth a question, (n,)."""
        return np.asarray(self.x.distance_bps <= BAND_SIGMAS * sigma * np.sqrt(horizon_s))

    @property
    def window_ns(self) -> tuple[int, int]:
        """Exchange time of the first insertion and of the last that was seen of any."""
        return int(self.ts_ns[0]), int((self.ts_ns + (self.watched_s * 1e9).astype(np.int64)).max())

    @property
    def sigma(self) -> float:
        """Volatility of the whole, bps per square root of a second: the root of the mean square."""
        return float(np.sqrt(np.mean(self.x.sigma**2)))

    def rows(self, mask: npt.NDArray[np.bool_]) -> Observations:
        """Return some of the orders."""
        return Observations(
            x=self.x[mask],
            ts_ns=self.ts_ns[mask],
            time_s=self.time_s[mask],
            filled=self.filled[mask],
            watched_s=self.watched_s[mask],
            block=self.block[mask],
            left_out=self.left_out,
            origin=self.origin,
        )


def was_watched(horizon_s: float) -> pl.Expr:
    """Return which rows of a frame of labels were watched for the whole of a horizon."""
    return pl.col("watched_s") >= horizon_s * ROUNDING


def known() -> pl.Expr:
    """Return which rows of a frame of labels have inputs that a model accepts.

    The queue matters at the touch alone: elsewhere it may be missing.
    """
    return (
        pl.col("sigma").is_not_null()
        & (pl.col("sigma") > 0)
        & (pl.col("distance_bps") >= 0)
        & pl.col("imb_own").is_not_null()
        & pl.col("natr_bps").is_not_null()
        & (pl.col("queue_s").is_not_null() | ~pl.col("at_touch"))
    )


def observe(labels: LabelSet, queue: str = "power") -> Observations:
    """Return a label set's orders as the queue model `queue` filled them.

    Raises
    ------
    ConfigError
        For a queue model that is none.
    DataError
        Where no row has known inputs.
    """
    if queue not in QUEUE_MODELS:
        raise ConfigError(f'queue is "{queue}"; write one of {", ".join(QUEUE_MODELS)}')
    frame = labels.to_frame()
    rows = frame.filter(known()).with_columns(pl.col("queue_s", "ofi_z").fill_null(0.0))
    if rows.is_empty():
        raise DataError(
            f"none of {frame.height:,} labels has known inputs (volatility, both best quantities); "
            "the data must be longer than the warm-up of 10 s, and mid must move"
        )
    return Observations(
        x=Inputs.from_frame(rows),
        ts_ns=rows["ts_ns"].to_numpy(),
        time_s=rows[f"time_s_{queue}"].to_numpy(),
        filled=rows[f"filled_{queue}"].to_numpy(),
        watched_s=rows["watched_s"].to_numpy(),
        block=rows["block"].cast(pl.Int64).to_numpy(),
        left_out=frame.height - rows.height,
        origin=labels.origin,
    )
