"""Labels: when hypothetical orders would have filled, under every queue model at once.

Nobody sent these orders and the market did not feel them, so they are a proxy of real fills, and for large orders a poor one
(Lo, MacKinlay, Zhang 2002). What they assume is written in :class:`LabelOptions`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.label_options import BAND_SIGMAS, SECOND_NS, LabelOptions
from grinder_kit.fillprob.label_stream import SCHEMA, LabelStream
from grinder_kit.fillprob.training import Origin
from grinder_kit.kernel.simulator import QUEUE_MODELS
from grinder_kit.model.instrument import Instrument

if TYPE_CHECKING:
    from grinder_kit.market.source import Market

__all__ = ["BAND_SIGMAS", "SCHEMA", "LabelOptions", "LabelSet", "label"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class LabelSet:
    """Hypothetical orders and when each would have filled.

    Attributes
    ----------
    frame : DataFrame
        One row an order, by time of insertion:

        - ts_ns: exchange time at which it joined its queue; block: number of its 60 s from the market's first event;
        - side (+1 buy), distance_bps (from mid), at_touch, ticks (price), lots, size_quote (notional);
        - what was known at the decision: sigma (bps per square root of a second), natr_bps (the proxy sqrt(8 / pi) sigma
          sqrt(300)) and ofi_z by the rules of market/features.py, by local time; of the exchange's book: mid (quote),
          spread_bps, imb_own (-1 to 1; above 0 the own side is heavier), queue_s (displayed quantity ahead over the rate at
          which trades eat that side, s). Null is not known;
        - for each queue model, and for `touch` (any trade at the price fills, the rule that back-tests should not use):
          filled_*, and time_s_*, from joining to the fill, else to the end of the watch;
        - watched_s: how long the order was watched, filled or not: the window, or to the end of the data or a gap. Only
          orders with watched_s >= h tell which share fills within h: those cut short would count the filled ones alone;
        - markout_1s_bps, markout_10s_bps: mid so long after the fill (power) against the fill's price, in the order's
          favour; null where it did not fill, or a gap or the end came before.
    options : LabelOptions
    instrument : Instrument
    window_ns : tuple of int
        Exchange time of the first and the last event.
    market : dict
        What the market says of itself: name, source hashes or seed.
    notes : tuple of str
        What a reader should know: steps without orders, orders refused, a market that does not move.
    """

    frame: pl.DataFrame
    options: LabelOptions
    instrument: Instrument
    window_ns: tuple[int, int]
    market: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def symbol(self) -> str:
        """The instrument's symbol."""
        return self.instrument.symbol

    @property
    def origin(self) -> Origin:
        """Which market they are of."""
        return Origin.of(self.instrument, self.market)

    @property
    def source_sha256(self) -> tuple[str, ...]:
        """Hashes of the raw files that the market was made of; empty for a synthetic one."""
        return tuple(source["sha256"] for source in self.market.get("source", ()) if "sha256" in source)

    @property
    def span_s(self) -> float:
        """Length of the market that was labelled, s."""
        return (self.window_ns[1] - self.window_ns[0]) / SECOND_NS

    @property
    def sigma(self) -> float | None:
        """Volatility over the whole set, bps per square root of a second: the root of the mean variance; None where unknown."""
        known = self.frame["sigma"].drop_nulls().to_numpy()
        return float(np.sqrt(np.mean(known**2))) if known.size else None

    def __len__(self) -> int:
        return self.frame.height

    def to_frame(self) -> pl.DataFrame:
        """Return the labels as a Polars frame (see `frame`)."""
        return self.frame

    def split(self, fraction: float) -> tuple[LabelSet, LabelSet]:
        """Return (train, test): the first `fraction` of the time and the rest, purged at the boundary.

        An order whose watch crosses the boundary is in neither, and a markout that lies behind it is not known in train.

        Raises
        ------
        ConfigError
            For a fraction that leaves one of them without an order.
        """
        if not 0 < fraction < 1:
            raise ConfigError(f"fraction is {fraction:g}; write a number between 0 and 1, such as 0.6")
        first, last = self.window_ns
        cut = first + int((last - first) * fraction)
        joined = pl.col("ts_ns")
        filled = joined + (pl.col("time_s_power") * SECOND_NS).round().cast(pl.Int64)
        train = self.frame.filter(joined + self.options.window_ns <= cut).with_columns(
            pl.when(filled + s * SECOND_NS <= cut).then(pl.col(f"markout_{s}s_bps")) for s in (1, 10)
        )
        test = self.frame.filter(joined >= cut)
        if train.is_empty() or test.is_empty():
            raise ConfigError(
                f"split({fraction:g}) of {self.span_s:,.0f} s leaves no orders to {'train' if train.is_empty() else 'test'} on: "
                f"each is watched for {self.options.window_s:g} s, and those whose watch crosses the boundary are left out; "
                "use more data, another fraction, or LabelOptions(window_s=...)"
            )
        return replace(self, frame=train, window_ns=(first, cut)), replace(self, frame=test, window_ns=(cut, last))

    def band(self, horizon_s: float, sigma: float | None = None) -> LabelSet:
        """Return the orders within three standard deviations of the move that `horizon_s` brings: 3 sigma sqrt(h).

        Parameters
        ----------
        horizon_s : float
            Seconds, above 0.
        sigma : float, optional
            bps per square root of a second; for a test part, that of its train part. The set's own by default.

        Raises
        ------
        ConfigError
            For a horizon that is none, and where no volatility is known.
        """
        sigma = self.sigma if sigma is None else sigma
        if not horizon_s > 0:
            raise ConfigError(f"horizon_s is {horizon_s}; write seconds above 0")
        if sigma is None:
            raise ConfigError("no volatility is known in these labels (warm-up of 10 s); use more data, or pass sigma=")
        return replace(self, frame=self.frame.filter(pl.col("distance_bps") <= BAND_SIGMAS * sigma * horizon_s**0.5))

    def __repr__(self) -> str:
        at_touch = self.frame.filter(pl.col("at_touch") & (pl.col("watched_s") >= 1))
        within = {q: (at_touch[f"filled_{q}"] & (at_touch[f"time_s_{q}"] <= 1)).to_numpy() for q in QUEUE_MODELS}
        shares = ", ".join(f"{queue} {filled.mean():.3f}" for queue, filled in within.items() if filled.size)
        lines = [
            f"{self.frame.height:,} hypothetical orders in {self.symbol}, {self.span_s:,.0f} s of {self.market.get('name', 'a market')}",
            f"  one for each of {len(self.options.ticks) + len(self.options.distances_bps)} distances on both sides every "
            f"{self.options.every_ms:,} ms, watched for {self.options.window_s:g} s, latency {self.options.latency_ms:g} ms",
        ]
        if shares:
            lines.append(f"  filled at the touch within 1 s: {shares}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def label(
    market: Market, *, options: LabelOptions | None = None, progress: Callable[[int], None] | None = None
) -> LabelSet:
    """Place hypothetical orders over a market and watch when they fill.

    The market is read once, in bounded memory; what grows is the frame, by some 40 kB for a second of market with the default
    options (a day: place them less often with `every_ms`, or write the frames of a :class:`LabelStream` as they come). The
    same market gives the same labels, however its rows are grouped.

    Parameters
    ----------
    market : Market
        A recording or a synthetic market.
    options : LabelOptions, optional
        Which orders, and under which rules they fill.
    progress : callable, optional
        Called after each stretch of the market with the number of its events.

    Raises
    ------
    DataError
        For a market without events, without trades, or never with a bid and an ask; and as
        :func:`~grinder_kit.kernel.feed.slices`.

    Examples
    --------
    >>> from grinder_kit import synthetic_market
    >>> labels = label(synthetic_market(seed=7, minutes=2))
    >>> train, test = labels.split(0.6)
    >>> labels.frame["filled_power"].mean() < labels.frame["filled_touch"].mean()
    True
    """
    options = options or LabelOptions()
    stream = LabelStream(market, options)
    frame = pl.concat(list(stream.frames(progress)))
    name = market.describe().get("name", market.instrument.symbol)
    if stream.trades == 0:
        raise DataError(
            f"{name} has no trades: nothing shows when an order at rest fills; record the trade stream as well, and import again"
        )
    if frame.is_empty():
        why = ", ".join(f"{reason} at {count:,} steps" for reason, count in stream.skipped.items())
        span_s = (stream.end_ns - stream.start_ns) / SECOND_NS
        raise DataError(
            f"{name} gives no labels in {span_s:,.1f} s ({why or 'shorter than one step'}); an order needs a bid and an ask, and "
            "time after it: import depth or best quotes of both sides, or choose another window"
        )
    return LabelSet(
        frame=frame,
        options=options,
        instrument=market.instrument,
        window_ns=(stream.start_ns, stream.end_ns),
        market=market.describe(),
        notes=_notes(stream),
    )


def _notes(stream: LabelStream) -> tuple[str, ...]:
    notes = [f"{count:,} steps without orders: {reason}" for reason, count in stream.skipped.items()]
    if stream.refused:
        notes.append(f"{stream.refused:,} orders would have taken when they arrived, and are left out")
    if not stream.moved:
        notes.append("mid never moved: its volatility is 0, and no probability can be fitted on that")
    if stream.quotes == 0 and stream.options.execution is None:
        notes.append(
            "no best quotes recorded, so that none reached an order; where depth should, pass "
            "execution=ExecutionConfig(book='depth', cross_by='depth_best', ...)"
        )
    return tuple(notes)


def as_labels(data: LabelSet | Market) -> LabelSet:
    """Return labels as they are, and a market labelled with the default options."""
    return data if isinstance(data, LabelSet) else label(data)
