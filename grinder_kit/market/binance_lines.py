"""The slow lane of the Binance importer: one line as real JSON, and every complaint about it in words.

Lines are ``<local time in ns, 19 digits> <json>``; the JSON is ``{"stream": ..., "data": {...}}`` or the answer of a REST depth
request. Spot, USD-M and COIN-M are told apart by what their messages hold.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from enum import IntEnum
from typing import Any

from grinder_kit.errors import DataError
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.market import KindCode

_LINE = re.compile(rb"(\d{19}) (.*)", re.DOTALL)
_EXPECTED = (
    "a binance-ws line is `<local time in ns, 19 digits> <json>`, such as "
    '`1723161255088176367 {"stream":"btcusdt@trade","data":{"e":"trade",...}}`'
)
_BUY, _SELL = 0, 1  # positions in EventSide


class MarketType(IntEnum):
    """Which of Binance's markets a line is from."""

    SPOT = 0
    USDM = 1
    COINM = 2

    @property
    def venue(self) -> str:
        """Name of the venue in instruments and recordings."""
        return ("binance", "binanceusdm", "binancecoinm")[self]

    @property
    def label(self) -> str:
        """Name for people."""
        return ("spot", "USD-M", "COIN-M")[self]


class NotJsonError(DataError):
    """A line that is no JSON: the end of a file that was cut off, or damage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """What a file was found to hold."""

    market: MarketType
    symbol: str
    base: str | None = None  # where the messages name the pair (COIN-M)


@dataclass(slots=True, kw_only=True)
class Message:
    """One message in whole ticks and lots; `rows` are (side, ticks, lots)."""

    kind: KindCode
    exchange_ns: int
    id: int
    first: int = 0
    previous: int = -1
    rows: list[tuple[int, int, int]] = field(default_factory=list)
    off_lot: int = 0


def split_line(line: bytes, where: str) -> tuple[int, Any]:
    """Return (local time in ns, the JSON value).

    Raises
    ------
    DataError
        For another format, by name where it is known, and for what is no JSON.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        if re.match(rb"wss?://", line):
            raise DataError(
                f"{where} is a header of cryptofeed (`{_excerpt(line)}`), so this is no binance-ws recording; {_EXPECTED}"
            )
        raise DataError(f"{where} does not start with a local time of 19 digits: `{_excerpt(line)}`; {_EXPECTED}")
    try:
        return int(match[1]), json.loads(match[2])
    except ValueError:
        raise NotJsonError(f"{where} is not JSON: `{_excerpt(match[2])}`; {_EXPECTED}") from None


def _excerpt(text: bytes) -> str:
    shown = text[:80].decode(errors="replace").strip()
    return f"{shown}..." if len(text) > 80 else shown


def payload(value: Any) -> dict[str, Any]:
    """Return the event inside the stream's envelope; empty where there is none."""
    inner = value.get("data", value) if isinstance(value, dict) else {}
    return inner if isinstance(inner, dict) else {}


def event_name(event: dict[str, Any]) -> str:
    """Return depthUpdate, bookTicker, trade, snapshot, or the name by which an unknown event is counted."""
    if "e" in event:
        return str(event["e"])
    if "lastUpdateId" in event:
        return "snapshot"
    if {"u", "b", "B", "a", "A"} <= event.keys():
        return "bookTicker"  # spot's carries no name
    return str(event.get("type") or next(iter(event), "unnamed"))


def detect(event: dict[str, Any]) -> Feed | None:
    """Return the market and symbol that a message tells, or None when it tells neither."""
    name = event_name(event)
    symbol = event.get("s")
    if name not in ("depthUpdate", "bookTicker", "trade") or not isinstance(symbol, str):
        return None
    if "ps" in event or re.search(r"USD_(PERP|\d{6})$", symbol):
        pair = str(event.get("ps") or symbol.split("_")[0])
        return Feed(market=MarketType.COINM, symbol=symbol, base=pair.removesuffix("USD"))
    futures = "T" in event and "M" not in event if name == "trade" else "T" in event or "pu" in event
    return Feed(market=MarketType.USDM if futures else MarketType.SPOT, symbol=symbol)


def read_message(value: Any, local_ns: int, feed: Feed, instrument: Instrument, where: str) -> Message | str:
    """Return a message, or the name under which a line without rows is counted.

    Raises
    ------
    DataError
        Another symbol or market, a missing key, a price off the tick, a number that is none.
    """
    event = payload(value)
    name = event_name(event)
    if name not in ("depthUpdate", "bookTicker", "trade", "snapshot"):
        return name
    symbol = event.get("s", event.get("symbol", feed.symbol))
    if symbol != feed.symbol:
        raise DataError(
            f"{where} is of {symbol}, the lines before it of {feed.symbol}; give each symbol a file of its own"
        )
    found = detect(event)
    if found is not None and found.market is not feed.market:
        raise DataError(
            f"{where} is a {found.market.label} {name}, the lines before it are {feed.market.label}; give each market a file of its own"
        )
    try:
        return _READERS[name](event, local_ns, feed, instrument, where)
    except KeyError as missing:
        raise DataError(
            f"{where} is a {name} of {feed.market.label} without {missing}; record the whole message"
        ) from None
    except (TypeError, ValueError, InvalidOperation) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where} is a {name} that cannot be read ({error}); download or record it again") from error


def _ns(stamp: Any) -> int:
    count = int(stamp)
    return count * (1_000_000 if count < 100_000_000_000_000 else 1_000)  # spot may be asked for microseconds


def _depth(event: dict[str, Any], local_ns: int, feed: Feed, instrument: Instrument, where: str) -> Message:
    spot = feed.market is MarketType.SPOT
    out = Message(
        kind=KindCode.DEPTH,
        exchange_ns=_ns(event["E"] if spot else event["T"]),
        id=int(event["u"]),
        first=int(event["U"]),
        previous=-1 if spot else int(event["pu"]),
    )
    return _with_levels(out, ((_BUY, event["b"]), (_SELL, event["a"])), instrument, where)


def _snapshot(event: dict[str, Any], local_ns: int, feed: Feed, instrument: Instrument, where: str) -> Message:
    stamp = local_ns if feed.market is MarketType.SPOT else _ns(event["T"])
    out = Message(kind=KindCode.SNAPSHOT, exchange_ns=stamp, id=int(event["lastUpdateId"]))
    bids = sorted(event["bids"], key=lambda level: Decimal(level[0]), reverse=True)
    asks = sorted(event["asks"], key=lambda level: Decimal(level[0]))
    return _with_levels(out, ((_BUY, bids), (_SELL, asks)), instrument, where)


def _bbo(event: dict[str, Any], local_ns: int, feed: Feed, instrument: Instrument, where: str) -> Message:
    stamp = local_ns if feed.market is MarketType.SPOT else _ns(event["T"])
    out = Message(kind=KindCode.BBO, exchange_ns=stamp, id=int(event["u"]))
    sides = ((_BUY, [[event["b"], event["B"]]]), (_SELL, [[event["a"], event["A"]]]))
    return _with_levels(out, sides, instrument, where)


def _trade(event: dict[str, Any], local_ns: int, feed: Feed, instrument: Instrument, where: str) -> Message | str:
    if event.get("X", "MARKET") != "MARKET":
        return f"trade X={event['X']}"  # insurance fund, ADL and the like: not against the book
    out = Message(kind=KindCode.TRADE, exchange_ns=_ns(event["T"]), id=int(event["t"]))
    side = _SELL if event["m"] else _BUY  # m: the buyer is the maker, so the seller took
    return _with_levels(out, ((side, [[event["p"], event["q"]]]),), instrument, where)


_READERS = {"depthUpdate": _depth, "snapshot": _snapshot, "bookTicker": _bbo, "trade": _trade}


def _with_levels(out: Message, sides: tuple[tuple[int, Any], ...], instrument: Instrument, where: str) -> Message:
    for side, levels in sides:
        for level in levels:
            price, quantity = Decimal(level[0]), Decimal(level[1])
            if not price.is_finite() or not quantity.is_finite() or price < 0 or quantity < 0:
                raise DataError(f"{where}: price {price} with quantity {quantity}; both must be numbers of 0 or more")
            ticks = price / instrument.tick
            if ticks != ticks.to_integral_value():
                raise DataError(
                    f"{where}: price {price} is off the tick of {instrument.tick} of {instrument.symbol}; name the instrument as it was "
                    "when this was recorded, with --instrument NAME|FILE (an exchangeInfo file)"
                )
            lots = quantity / instrument.lot
            whole = lots.to_integral_value(rounding=ROUND_HALF_UP)
            if max(ticks, whole) >= 2**62:
                raise DataError(
                    f"{where}: price {price} with quantity {quantity} is no market's; download or record it again"
                )
            out.off_lot += lots != whole
            out.rows.append((side, int(ticks), int(whole)))
    return out
