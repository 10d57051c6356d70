"""Exits given their entries: how likely a position finds its way out, counted from fills and not from a random time.

An entry fills when the market moves against it, so its exit lies farther from mid than it looks, and fills less often than the
same order would at any other time. Here each exit is a label of the other side, placed at the first step after the entry's fill.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from grinder_kit.errors import DataError
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.interval import Interval, block_mean
from grinder_kit.fillprob.label_options import SECOND_NS
from grinder_kit.fillprob.model import Floats, Inputs
from grinder_kit.fillprob.observations import Ints, Observations, known, was_watched
from grinder_kit.fillprob.training import trained_on

if TYPE_CHECKING:
    from grinder_kit.fillprob.labels import LabelSet

FARTHEST_BPS = 30.0
_LATEST_STEPS = 2  # an exit placed later than so many steps after the fill is not one of that entry: a gap lies between


@dataclass(frozen=True, slots=True, kw_only=True)
class Exits:
    """What became of entries.

    Parameters
    ----------
    target_bps, horizon_s : float
        How far from the entry's price the exit stood, and how long it was given.
    exit_prob : Interval
        Share of the entries whose exit filled.
    left_bps : Interval
        Mean of mid against the entry's price at the end, in the position's favour, where the exit did not fill; 0 where all did.
    gross_bps : Interval
        What an entry came to, bps before fees: the target where its exit filled, else what was left.
    entries : int
        Entries that were watched for so long.
    """

    target_bps: float
    horizon_s: float
    exit_prob: Interval
    left_bps: Interval
    gross_bps: Interval
    entries: int


def exits(labels: LabelSet, target_bps: float, *, horizon_s: float = 60.0, at_touch: bool = True) -> Exits:
    """Return how often an exit `target_bps` beyond the entry's price fills within `horizon_s` of the entry.

    Labels stand at fixed distances from mid: what happens at the target lies, in proportion, between the two next to it.

    Parameters
    ----------
    labels : LabelSet
    target_bps : float
        Above 0.
    horizon_s : float
        At most as long as labels are watched.
    at_touch : bool
        Entries at the touch; otherwise all others.

    Raises
    ------
    DataError
        Where no entry was watched for so long.
    """
    pairs = _pairs(labels.to_frame().filter(pl.col("at_touch") == at_touch), labels)
    pairs = pairs.filter(was_watched(horizon_s)).with_columns(
        (pl.col("filled") & (pl.col("time_s") <= horizon_s)).cast(pl.Float64).alias("out")
    )
    nearer, farther = pl.col("target_bps") <= target_bps, pl.col("target_bps") >= target_bps
    found = (
        pairs.sort("target_bps")
        .group_by("entry", maintain_order=True)
        .agg(
            pl.col("target_bps").filter(nearer).last().alias("near"),
            pl.col("out").filter(nearer).last().alias("near_out"),
            pl.col("target_bps").filter(farther).first().alias("far"),
            pl.col("out").filter(farther).first().alias("far_out"),
            pl.col("block", "side", "price", "fill_ns").first(),
        )
        .drop_nulls()
        .sort("entry")
    )
    if found.is_empty():
        raise DataError(
            f"no entry of {len(labels):,} labels filled and was watched for {horizon_s:g} s with exits around {target_bps:g} bps; "
            "use more data"
        )
    span = (found["far"] - found["near"]).to_numpy()
    part = np.divide(target_bps - found["near"].to_numpy(), span, out=np.zeros(len(span)), where=span > 0)
    out = found["near_out"].to_numpy() * (1 - part) + found["far_out"].to_numpy() * part
    block = found["block"].cast(pl.Int64).to_numpy()
    stuck = 1 - out
    mid = mid_at(labels, found["fill_ns"].to_numpy() + round(horizon_s * SECOND_NS))
    price = found["price"].to_numpy()
    worth = found["side"].to_numpy() * (mid - price) / price * 1e4
    known_end = ~np.isnan(worth)
    left = known_end & (stuck > 0)
    gross = out * target_bps + np.where(stuck > 0, stuck * worth, 0.0)
    settled = known_end | (stuck == 0)
    return Exits(
        target_bps=target_bps,
        horizon_s=horizon_s,
        exit_prob=_in_unit(block_mean(out, block)),
        left_bps=block_mean(worth[left], block[left], stuck[left])
        if left.any()
        else Interval(value=0.0, low=0.0, high=0.0),
        gross_bps=block_mean(gross[settled], block[settled]),
        entries=len(out),
    )


def fit_exits(labels: LabelSet) -> FirstPassageModel:
    """Return a model of the time from an entry's fill to its exit's.

    Asked with `distance_bps` from the entry's price to the exit's and with `sigma` as known when the entry was placed; what the book
    looked like then says nothing once the entry has filled, so `imb_own` stays 0. The law is that of any fill, its numbers are not.

    Raises
    ------
    DataError
        Where no entry filled.
    """
    seen = exit_observations(labels)
    return replace(FirstPassageModel().fit_observations(seen), training=trained_on(labels, seen, "power"))


def exit_observations(labels: LabelSet) -> Observations:
    """Return one order for each pair of a filled entry and an exit up to 30 bps beyond it; one step of entries a second.

    Raises
    ------
    DataError
        Where no entry filled.
    """
    frame = labels.to_frame()
    times = frame["ts_ns"].unique().sort()
    first = (
        times.to_frame()
        .group_by(pl.col("ts_ns") // SECOND_NS, maintain_order=True)
        .agg(pl.col("ts_ns").first().alias("at"))
    )
    pairs = _pairs(frame.filter(known() & pl.col("ts_ns").is_in(first["at"].implode())), labels)
    pairs = pairs.filter((pl.col("target_bps") > 0) & (pl.col("target_bps") <= FARTHEST_BPS)).sort(
        "ts_ns", maintain_order=True
    )
    if pairs.is_empty():
        raise DataError(f"none of {len(labels):,} labels filled with time for an exit after it; use more data")
    side = -pairs["side"].cast(pl.Float64).to_numpy()
    return Observations(
        x=Inputs(
            distance_bps=pairs["target_bps"].to_numpy(),
            sigma=pairs["sigma"].to_numpy(),
            side=side,
            natr_bps=pairs["natr_bps"].to_numpy(),
            ofi_z=pairs["ofi_z"].fill_null(0.0).to_numpy(),
        ),
        ts_ns=pairs["ts_ns"].to_numpy(),
        time_s=pairs["time_s"].to_numpy(),
        filled=pairs["filled"].to_numpy(),
        watched_s=pairs["watched_s"].to_numpy(),
        block=pairs["block"].cast(pl.Int64).to_numpy(),
        left_out=0,
        origin=labels.origin,
    )


def mid_at(labels: LabelSet, ts_ns: Ints) -> Floats:
    """Return mid at times (n,), quote, from the last step at or before each; NaN where that is older than two steps."""
    steps = labels.to_frame().select("ts_ns", "mid").unique("ts_ns", keep="first").sort("ts_ns")
    times, mids = steps["ts_ns"].to_numpy(), steps["mid"].to_numpy()
    place = np.searchsorted(times, ts_ns, side="right") - 1
    old = ts_ns - times[np.maximum(place, 0)]
    return np.where((place >= 0) & (old <= _LATEST_STEPS * _step_ns(labels)), mids[np.maximum(place, 0)], np.nan)


def _pairs(entries: pl.DataFrame, labels: LabelSet) -> pl.DataFrame:
    """Return a row for each entry that filled and each order of the other side at the first step after its fill.

    `time_s` and `watched_s` are the exit's, from the entry's fill; `target_bps` is how far it stands beyond the entry's price.
    """
    frame = labels.to_frame()
    tick = float(labels.instrument.tick)
    filled = entries.filter(pl.col("filled_power")).select(
        pl.int_range(pl.len()).alias("entry"),
        "ts_ns", "block", "sigma", "natr_bps", "ofi_z",
        pl.col("side").cast(pl.Int64),
        pl.col("ticks").alias("entry_ticks"),
        (pl.col("ticks") * tick).alias("price"),
        (pl.col("ts_ns") + (pl.col("time_s_power") * SECOND_NS).round().cast(pl.Int64)).alias("fill_ns"),
    )  # fmt: skip
    steps = frame.select(pl.col("ts_ns").alias("step_ns")).unique().sort("step_ns")
    filled = filled.sort("fill_ns").join_asof(steps, left_on="fill_ns", right_on="step_ns", strategy="forward")
    filled = filled.filter(pl.col("step_ns") - pl.col("fill_ns") <= _LATEST_STEPS * _step_ns(labels))
    ways_out = frame.select(
        pl.col("ts_ns").alias("step_ns"),
        (-pl.col("side").cast(pl.Int64)).alias("side"),
        pl.col("ticks").alias("exit_ticks"),
        pl.col("filled_power").alias("filled"),
        pl.col("time_s_power").alias("after_s"),
        pl.col("watched_s").alias("exit_watched_s"),
    )
    waited = (pl.col("step_ns") - pl.col("fill_ns")) / SECOND_NS
    beyond = pl.col("side") * (pl.col("exit_ticks") - pl.col("entry_ticks")) / pl.col("entry_ticks") * 1e4
    return filled.join(ways_out, on=["step_ns", "side"], maintain_order="left_right").with_columns(
        beyond.alias("target_bps"),
        (waited + pl.col("after_s")).alias("time_s"),
        (waited + pl.col("exit_watched_s")).alias("watched_s"),
    )


def _step_ns(labels: LabelSet) -> int:
    return labels.options.every_ms * 1_000_000


def _in_unit(share: Interval) -> Interval:
    """Return a share without what rounding may have put beyond 0 and 1."""
    low, value, high = (None if v is None else min(max(v, 0.0), 1.0) for v in (share.low, share.value, share.high))
    assert value is not None
    return Interval(value=value, low=low, high=high)
