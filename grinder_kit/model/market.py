"""Values of a market: event kinds as they stand in recordings, quotes, features."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class EventKind(StrEnum):
    """Kind of a recorded row; the order here is the code in compiled arrays."""

    DEPTH = "depth"  # one level now holds `quantity`; 0 removes it
    SNAPSHOT = "snapshot"  # one level of a run that replaces the range it spans
    BBO = "bbo"  # best bid or best ask; two rows of one seq
    TRADE = "trade"  # side is the aggressor's
    GAP = "gap"  # the feed lost something here; the book is not to be trusted until it is anchored again


class EventSide(StrEnum):
    """Side of a recorded row; of a trade: the aggressor."""

    BUY = "buy"
    SELL = "sell"
    NONE = "none"


class KindCode(IntEnum):
    """Compiled codes of :class:`EventKind`; CLEAR is made while decoding a snapshot and never recorded."""

    DEPTH = 0
    SNAPSHOT = 1
    BBO = 2
    TRADE = 3
    GAP = 4
    CLEAR = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Best bid and ask of the book: prices in ticks, quantities in lots; a side without orders is None."""

    bid_ticks: int | None
    ask_ticks: int | None
    bid_lots: int = 0
    ask_lots: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the decision rules may know about a market at one time; None is missing (warm-up), never 0.

    Parameters
    ----------
    ts_ns : int
        Local time of the last event that went in.
    mid : float or None
        (best bid + best ask) / 2, quote.
    spread_bps : float or None
        (best ask - best bid) / mid in bps.
    natr_14_5m : float or None
        ATR of 14 five-minute bars over close, as a ratio; needs 15 bars (75 minutes).
    natr_proxy : float or None
        sqrt(8 / pi) * sigma * sqrt(300) as a ratio: the stand-in where recordings are too short.
    natr_bps : int or None
        natr_14_5m, else the proxy, times 10,000, rounded.
    natr_is_proxy : bool
        Whether `natr_bps` came from the proxy.
    ofi_zscore : float or None
        Order-flow imbalance of 10 s at the best level, as a z-score over 300 one-second samples, clipped to +-5;
        0 until there are 30 samples.
    imbalance : float or None
        (bid quantity - ask quantity) / (their sum) at the best level.
    sigma_bps : float or None
        Standard deviation of 1 s mid returns, bps per square root of a second, EWMA with a half-life of 30 s.
    """

    ts_ns: int
    mid: float | None = None
    spread_bps: float | None = None
    natr_14_5m: float | None = None
    natr_proxy: float | None = None
    natr_bps: int | None = None
    natr_is_proxy: bool = False
    ofi_zscore: float | None = None
    imbalance: float | None = None
    sigma_bps: float | None = None
