"""Features of one market: one numeric rule, run live event by event, in batches over recordings, and inside the kernel.

The rule is five plain functions over three small arrays, `f` (float64), `i` (int64) and `ring` (int64), made by
:func:`init_state`. None of them calls another and all use only + - * / and sqrt, so that Numba compiles them unchanged and
every bit agrees with plain Python:

    advance(f, i, ring, ts_ns)
        first, before each of the others: closes the whole seconds and bars up to ts_ns
    on_quote(f, i, ring, ts_ns, bid_ticks, bid_lots, ask_ticks, ask_lots)
        once a message, when the best levels are known
    on_trade(f, i, ring, ts_ns, price_ticks)
    on_bar(f, i, ring, high, low, close)
        a completed 5-minute bar from before the first event, in ticks; needs no advance
    read(f, i, ring, tick, out)
        after advance(now); out: (FEATURES,) float64, NaN is missing

Times are local times. A whole second closes with the events before it: an event at the very boundary belongs to the
next second. Reading closes seconds as well, but when and how often one reads changes nothing. After `SILENCE_NS` without
any event the quote, sigma, order flow and bars start anew, since nobody knows what happened meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from grinder_kit.errors import ConfigError
from grinder_kit.model.market import Features, Quote

if TYPE_CHECKING:
    import polars as pl

    from grinder_kit.market.source import Market

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SECOND_NS = 1_000_000_000
BAR_NS = 300 * SECOND_NS
SILENCE_NS = 600 * SECOND_NS
SIGMA_SAMPLES = 10  # returns before sigma is known
SIGMA_DECAY = 0.5 ** (1 / 30)  # half-life of 30 s, one return a second
OFI_SECONDS = 10
Z_SAMPLES, Z_MINIMUM, Z_CLIP = 300, 30, 5.0
TRUE_RANGES = 14
BARS_NEEDED = 15
PROXY = math.sqrt(8.0 / math.pi) * math.sqrt(300.0)  # range of a Brownian bar of 300 s per unit of sigma

# f
VARIANCE, WEIGHT, HIGH, LOW, CLOSE, LAST_CLOSE, Z, FIRST_RANGE = 0, 1, 2, 3, 4, 5, 6, 7
F_SIZE = FIRST_RANGE + TRUE_RANGES
# i
(
    LAST_NS,  # local time of the last event, 0: none yet
    NEXT_NS,  # the second that closes next, 0: not started
    BAR_END_NS,
    BAR_WHOLE,  # whether the running bar was seen from its beginning
    BAR_TRADES,
    BARS,
    RANGES,
    BID,
    BID_LOTS,  # 0: no two-sided quote
    ASK,
    ASK_LOTS,
    MID2,  # bid + ask of the last two-sided quote, 0: none
    SAMPLE2,  # the same at the last whole second
    RETURNS,
    FLOW,  # order-flow imbalance of the running second, lots
    FLOW_SUM,  # of the last OFI_SECONDS whole seconds
    FLOW_SECONDS,  # whole seconds since the first quote
    Z_COUNT,
    Z_STALE,
    I_SIZE,
) = range(20)
# ring: order flow by second, then the samples of its sum
RING_SIZE = OFI_SECONDS + Z_SAMPLES
# out
MID, SPREAD_BPS, NATR, NATR_PROXY, NATR_BPS, NATR_IS_PROXY, OFI_Z, IMBALANCE, SIGMA_BPS, FEATURES = range(10)
NAMES = (
    "mid",
    "spread_bps",
    "natr_14_5m",
    "natr_proxy",
    "natr_bps",
    "natr_is_proxy",
    "ofi_zscore",
    "imbalance",
    "sigma_bps",
)


def init_state() -> tuple[Floats, Ints, Ints]:
    """Return the state before any event: `f` (F_SIZE,), `i` (I_SIZE,), `ring` (RING_SIZE,)."""
    return np.zeros(F_SIZE, np.float64), np.zeros(I_SIZE, np.int64), np.zeros(RING_SIZE, np.int64)


def advance(f: Floats, i: Ints, ring: Ints, ts_ns: int) -> None:
    """Close every whole second up to `ts_ns`: at most 600 of them, since a longer silence starts anew."""
    if ts_ns < i[NEXT_NS] or i[LAST_NS] == 0:
        return
    if i[NEXT_NS] == 0:  # the clock starts with the first event
        i[NEXT_NS] = (i[LAST_NS] // SECOND_NS + 1) * SECOND_NS
        i[BAR_END_NS] = (i[LAST_NS] // BAR_NS + 1) * BAR_NS
        i[BAR_WHOLE] = 1 if i[LAST_NS] % BAR_NS == 0 else 0
    while i[NEXT_NS] <= ts_ns:
        if i[NEXT_NS] > i[LAST_NS] + SILENCE_NS:
            for at in range(F_SIZE):
                f[at] = 0.0
            for at in range(BAR_WHOLE, I_SIZE):
                i[at] = 0
            i[NEXT_NS] = (ts_ns // SECOND_NS + 1) * SECOND_NS
            i[BAR_END_NS] = (ts_ns // BAR_NS + 1) * BAR_NS
            return
        if i[MID2] > 0:
            if i[SAMPLE2] > 0:
                change = (i[MID2] - i[SAMPLE2]) / i[SAMPLE2] * 1e4
                f[VARIANCE] = SIGMA_DECAY * f[VARIANCE] + (1.0 - SIGMA_DECAY) * (change * change)
                f[WEIGHT] = SIGMA_DECAY * f[WEIGHT] + (1.0 - SIGMA_DECAY)
                i[RETURNS] += 1
            i[SAMPLE2] = i[MID2]
            slot = i[FLOW_SECONDS] % OFI_SECONDS
            if i[FLOW_SECONDS] >= OFI_SECONDS:
                i[FLOW_SUM] -= ring[slot]
            ring[slot] = i[FLOW]
            i[FLOW_SUM] += i[FLOW]
            i[FLOW] = 0
            i[FLOW_SECONDS] += 1
            if i[FLOW_SECONDS] >= OFI_SECONDS:  # shorter sums would make the first samples too small
                ring[OFI_SECONDS + i[Z_COUNT] % Z_SAMPLES] = i[FLOW_SUM]
                i[Z_COUNT] += 1
                i[Z_STALE] = 1
        if i[NEXT_NS] == i[BAR_END_NS]:
            if i[BAR_TRADES] == 0:  # as venues do: a bar without trades stands at the last close
                f[HIGH] = f[LAST_CLOSE]
                f[LOW] = f[LAST_CLOSE]
                f[CLOSE] = f[LAST_CLOSE]
            if i[BAR_WHOLE] == 1 and f[CLOSE] > 0.0:
                if f[LAST_CLOSE] > 0.0:
                    reach = max(f[HIGH], f[LAST_CLOSE]) - min(f[LOW], f[LAST_CLOSE])
                    f[FIRST_RANGE + i[RANGES] % TRUE_RANGES] = reach
                    i[RANGES] += 1
                i[BARS] += 1
            f[LAST_CLOSE] = f[CLOSE]
            i[BAR_TRADES] = 0
            i[BAR_WHOLE] = 1
            i[BAR_END_NS] += BAR_NS
        i[NEXT_NS] += SECOND_NS


def on_quote(
    f: Floats, i: Ints, ring: Ints, ts_ns: int, bid_ticks: int, bid_lots: int, ask_ticks: int, ask_lots: int
) -> None:
    """Take the best levels after one message; 0 lots on a side: it is empty, or the book is not to be trusted.

    The flow is that of Cont, Kukanov, Stoikov 2014. A quote after none is no event: its previous state would be a fake.
    """
    if ts_ns > i[LAST_NS]:
        i[LAST_NS] = ts_ns
    if bid_lots <= 0 or ask_lots <= 0:
        i[BID_LOTS] = 0
        i[ASK_LOTS] = 0
        return
    if i[BID_LOTS] > 0:
        flow = 0
        if bid_ticks >= i[BID]:
            flow += bid_lots
        if bid_ticks <= i[BID]:
            flow -= i[BID_LOTS]
        if ask_ticks <= i[ASK]:
            flow -= ask_lots
        if ask_ticks >= i[ASK]:
            flow += i[ASK_LOTS]
        i[FLOW] += flow
    i[BID] = bid_ticks
    i[BID_LOTS] = bid_lots
    i[ASK] = ask_ticks
    i[ASK_LOTS] = ask_lots
    i[MID2] = bid_ticks + ask_ticks


def on_trade(f: Floats, i: Ints, ring: Ints, ts_ns: int, price_ticks: int) -> None:
    """Take a trade into the running 5-minute bar."""
    if ts_ns > i[LAST_NS]:
        i[LAST_NS] = ts_ns
    price = price_ticks * 1.0
    if i[BAR_TRADES] == 0 or price > f[HIGH]:
        f[HIGH] = price
    if i[BAR_TRADES] == 0 or price < f[LOW]:
        f[LOW] = price
    f[CLOSE] = price
    i[BAR_TRADES] += 1


def on_bar(f: Floats, i: Ints, ring: Ints, high: float, low: float, close: float) -> None:
    """Take a completed 5-minute bar from before the first event, in ticks."""
    if f[LAST_CLOSE] > 0.0:
        f[FIRST_RANGE + i[RANGES] % TRUE_RANGES] = max(high, f[LAST_CLOSE]) - min(low, f[LAST_CLOSE])
        i[RANGES] += 1
    i[BARS] += 1
    f[LAST_CLOSE] = close


def read(f: Floats, i: Ints, ring: Ints, tick: float, out: Floats) -> None:
    """Write the features into `out` (FEATURES - 1 values or more, in the order of `NAMES`); NaN is missing."""
    for at in range(SIGMA_BPS + 1):
        out[at] = math.nan
    out[NATR_IS_PROXY] = 0.0
    if i[BID_LOTS] > 0:
        out[MID] = i[MID2] * 0.5 * tick
        out[SPREAD_BPS] = (i[ASK] - i[BID]) / (i[MID2] * 0.5) * 1e4
        out[IMBALANCE] = (i[BID_LOTS] - i[ASK_LOTS]) / (i[BID_LOTS] + i[ASK_LOTS])
    if i[RETURNS] >= SIGMA_SAMPLES:
        out[SIGMA_BPS] = math.sqrt(f[VARIANCE] / f[WEIGHT])
        out[NATR_PROXY] = PROXY * out[SIGMA_BPS] / 1e4
        out[NATR_BPS] = math.floor(out[NATR_PROXY] * 1e4 + 0.5)
        out[NATR_IS_PROXY] = 1.0
    if i[BARS] >= BARS_NEEDED and i[RANGES] >= TRUE_RANGES:
        total = 0.0
        for at in range(TRUE_RANGES):
            total += f[FIRST_RANGE + at]
        out[NATR] = total / TRUE_RANGES / f[LAST_CLOSE]
        out[NATR_BPS] = math.floor(out[NATR] * 1e4 + 0.5)
        out[NATR_IS_PROXY] = 0.0
    if i[MID2] > 0:
        if i[Z_STALE] == 1:
            i[Z_STALE] = 0
            f[Z] = 0.0
            count = min(i[Z_COUNT], Z_SAMPLES)
            if count >= Z_MINIMUM:
                mean = 0.0
                for at in range(count):
                    mean += ring[OFI_SECONDS + at]
                mean /= count
                square = 0.0
                for at in range(count):
                    away = ring[OFI_SECONDS + at] - mean
                    square += away * away
                if square > 0.0:
                    f[Z] = min(max((i[FLOW_SUM] - mean) / math.sqrt(square / count), -Z_CLIP), Z_CLIP)
        out[OFI_Z] = f[Z]


class FeatureState:
    """The rule as it runs live: events in, :class:`Features` out.

    Parameters
    ----------
    tick : Decimal
        Price of one tick.
    """

    def __init__(self, tick: Decimal) -> None:
        f, i, ring = init_state()
        # Lists hold Python's own numbers: the same arithmetic as the arrays, several times faster when not compiled.
        self._f, self._i, self._ring = cast("tuple[Floats, Ints, Ints]", (f.tolist(), i.tolist(), ring.tolist()))
        self._out = cast("Floats", [math.nan] * FEATURES)
        self._tick = float(tick)

    def prelude(self, bars: Iterable[tuple[Decimal | float, Decimal | float, Decimal | float]]) -> None:
        """Warm natr_14_5m up with completed 5-minute bars (high, low, close) in quote, oldest first.

        Raises
        ------
        ConfigError
            After the first event, or for a bar that is none.
        """
        if self._i[LAST_NS]:
            raise ConfigError("the prelude of bars comes before the first event; make a new FeatureState")
        for high, low, close in bars_in_ticks(bars, self._tick):
            on_bar(self._f, self._i, self._ring, high, low, close)

    def update(self, ts_ns: int, *, quote: Quote | None = None, trade_ticks: int | None = None) -> None:
        """Take one event at its local time: the quote after a message, or a trade's price in ticks."""
        advance(self._f, self._i, self._ring, ts_ns)
        if quote is not None:
            two_sided = quote.bid_ticks is not None and quote.ask_ticks is not None
            on_quote(
                self._f,
                self._i,
                self._ring,
                ts_ns,
                quote.bid_ticks or 0,
                quote.bid_lots if two_sided else 0,
                quote.ask_ticks or 0,
                quote.ask_lots if two_sided else 0,
            )
        if trade_ticks is not None:
            on_trade(self._f, self._i, self._ring, ts_ns, trade_ticks)

    def features(self, now_ns: int) -> Features:
        """Return the features as known at a local time."""
        advance(self._f, self._i, self._ring, now_ns)
        read(self._f, self._i, self._ring, self._tick, self._out)
        return as_features(int(self._i[LAST_NS]), self._out)


def as_features(ts_ns: int, out: Floats) -> Features:
    """Return what :func:`read` wrote as a value, NaN as None."""

    def known(at: int) -> float | None:
        value = float(out[at])
        return None if math.isnan(value) else value

    natr_bps = known(NATR_BPS)
    return Features(
        ts_ns=ts_ns,
        mid=known(MID),
        spread_bps=known(SPREAD_BPS),
        natr_14_5m=known(NATR),
        natr_proxy=known(NATR_PROXY),
        natr_bps=None if natr_bps is None else int(natr_bps),
        natr_is_proxy=bool(out[NATR_IS_PROXY]),
        ofi_zscore=known(OFI_Z),
        imbalance=known(IMBALANCE),
        sigma_bps=known(SIGMA_BPS),
    )


def bars_in_ticks(
    bars: Iterable[tuple[Decimal | float, Decimal | float, Decimal | float]], tick: float
) -> Iterator[tuple[float, float, float]]:
    """Yield bars (high, low, close) in ticks for :func:`on_bar`.

    Raises
    ------
    ConfigError
        For a bar whose low is not above zero or whose close lies outside of it.
    """
    for number, bar in enumerate(bars):
        high, low, close = (float(value) for value in bar)
        if not 0.0 < low <= close <= high < math.inf:
            raise ConfigError(
                f"bar {number} of the prelude is high {high:g}, low {low:g}, close {close:g}; "
                "it must hold 0 < low <= close <= high (bars are given as high, low, close)"
            )
        yield high / tick, low / tick, close / tick


def features(
    market: Market | pl.DataFrame,
    *,
    every_ns: int = SECOND_NS,
    quotes: str = "depth",
    prelude: Iterable[tuple[Decimal | float, Decimal | float, Decimal | float]] = (),
    tick: Decimal | None = None,
) -> pl.DataFrame:
    """Return the features of a market at every multiple of `every_ns` of local time.

    Bit-equal to :class:`FeatureState` over the same events; a market's `clock_offset_ns` is part of the local time. A row
    at T knows the events up to and including T, and stands there once a later event has come.

    Parameters
    ----------
    market : Market or DataFrame
        A market, streamed, or rows in the recorded columns (their `local_ns` are taken as they are).
    every_ns : int
        Distance of the rows in ns.
    quotes : {"depth", "bbo"}
        Where the best levels come from: the book built from snapshots and diffs, or the feed of best prices.
    prelude : iterable of (high, low, close)
        Completed 5-minute bars before the first event, in quote.
    tick : Decimal, optional
        Price of one tick; taken from a market's instrument, needed for a frame.

    Returns
    -------
    DataFrame
        ts_ns (the row's local time) and one column for each of `NAMES`, null where missing.
    """
    from grinder_kit.market.feature_batch import run  # Polars and Numba are loaded only here

    return run(market, every_ns=every_ns, quotes=quotes, prelude=prelude, tick=tick)


def consume(
    f: Floats, i: Ints, ring: Ints, events: Ints, every_ns: int, next_ns: int, tick: float, rows: Floats, out: Floats
) -> int:
    """Run events (n, 6) in order of local time through the rule; write a row of features every `every_ns`.

    An event is (ts_ns, 1 for a trade, bid or trade price, bid lots, ask price, ask lots). `next_ns` is the time of the
    first row; the number of rows written into `rows` (capacity, FEATURES) is returned.
    """
    written = 0
    for at in range(events.shape[0]):
        ts_ns = events[at, 0]
        while next_ns < ts_ns:
            advance(f, i, ring, next_ns)
            read(f, i, ring, tick, out)
            for column in range(FEATURES):
                rows[written, column] = out[column]
            written += 1
            next_ns += every_ns
        advance(f, i, ring, ts_ns)
        if events[at, 1] == 1:
            on_trade(f, i, ring, ts_ns, events[at, 2])
        else:
            on_quote(f, i, ring, ts_ns, events[at, 2], events[at, 3], events[at, 4], events[at, 5])
    return written


def compiled_consume(jit: Callable[[Any], Any]) -> Any:
    """Return :func:`consume` compiled by `jit` together with the rule it calls.

    The compiled copy keeps this file as its source, so that Numba's cache is dropped when the rule is edited.
    """
    parts = {part.__name__: jit(part) for part in (advance, on_quote, on_trade, read)}
    return jit(FunctionType(consume.__code__, {**globals(), **parts}, consume.__name__))
