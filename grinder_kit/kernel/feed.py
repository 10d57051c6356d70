"""From a market's recorded rows to the two event streams of the kernel: by the exchange's clock and by the local one.

Rows come in batches of any size; a stream is cut only where nothing earlier can still come, which the recording's metadata
promise (`disorder_ns`). So the streams, and everything computed from them, do not depend on how rows were grouped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from grinder_kit.errors import DataError
from grinder_kit.kernel.exchange import BBO, CLEAR, FOREVER, SNAPSHOT, TRADE, Stream

if TYPE_CHECKING:
    import polars as pl

    from grinder_kit.market.source import Market

_SIGN = np.array([1, -1, 0], np.int8)  # buy, sell, none
_COLUMNS = ("ts", "kind", "side", "tick", "lots", "id", "last")
Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The next stretch of both streams: every event up to `until_ns` (included), and nothing later."""

    exchange: Stream
    local: Stream
    until_ns: int
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedOptions:
    """How rows become streams.

    Parameters
    ----------
    quotes : bool
        Keep bbo rows: for a fused book or fills by quotes. Otherwise depth and snapshots alone make the book.
    by_local_time : bool
        Order the exchange's own stream by local time (spot, whose quotes carry no exchange time).
    trades_first : bool
        At equal times trade, bbo, depth; otherwise the order of the source.
    trade_advance_ns : int
        Trades happen this much earlier than stamped (spot: the quote arrives before the trade that caused it).
    """

    quotes: bool = False
    by_local_time: bool = False
    trades_first: bool = False
    trade_advance_ns: int = 0


def slices(market: Market, options: FeedOptions) -> Iterator[Slice]:
    """Yield both streams in stretches; the last one is final and runs to the end of time."""
    offset = market.clock_offset_ns
    disorder_exchange, disorder_local = market.disorder_ns
    if options.by_local_time:
        disorder_exchange = disorder_local
    exchange = _Sorter(disorder_exchange + options.trade_advance_ns, options.trades_first)
    local = _Sorter(disorder_local, False)
    for rows in _whole_messages(market):
        columns = _decode(rows, options.quotes)
        ts_local = columns.pop("local_ns") + offset  # an integer sum: a double would lose up to 256 ns
        ts_exchange = columns.pop("exchange_ns")
        by_exchange = ts_local if options.by_local_time else ts_exchange
        if options.trade_advance_ns:
            by_exchange = by_exchange - np.where(columns["kind"] == TRADE, options.trade_advance_ns, 0)
        exchange.add({"ts": by_exchange, **columns})
        local.add({"ts": ts_local, **columns})
        until = min(exchange.safe_ns, local.safe_ns)
        yield Slice(exchange=exchange.take(until), local=local.take(until), until_ns=until, final=False)
    yield Slice(exchange=exchange.take(FOREVER), local=local.take(FOREVER), until_ns=FOREVER, final=True)


class _Sorter:
    """A stable sort of a stream that is nearly in order, in bounded memory."""

    def __init__(self, disorder_ns: int, trades_first: bool) -> None:
        self._disorder = disorder_ns
        self._trades_first = trades_first
        self._pending: Columns = {}
        self._latest = -FOREVER
        self._taken = -FOREVER

    @property
    def safe_ns(self) -> int:
        """Time up to which (included) no further event can come."""
        return self._latest - self._disorder - 1

    def add(self, columns: Columns) -> None:
        ts = columns["ts"]
        if ts.size == 0:
            return
        if int(ts.min()) <= self._taken:
            raise DataError(
                f"a row at {int(ts.min())} ns comes after the stream was closed up to {self._taken} ns: the recording is less "
                "ordered than its metadata say; import it again"
            )
        self._latest = max(self._latest, int(ts.max()))
        joined = {k: np.concatenate((self._pending[k], columns[k])) for k in _COLUMNS} if self._pending else columns
        ts = joined["ts"]
        if self._trades_first:
            rank = np.where(joined["kind"] == TRADE, 0, np.where(joined["kind"] == BBO, 1, 2))
            order = np.lexsort((rank, ts))
        elif bool(np.all(ts[1:] >= ts[:-1])):
            self._pending = joined
            return
        else:
            order = np.argsort(ts, kind="stable")
        self._pending = {k: v[order] for k, v in joined.items()}

    def take(self, until_ns: int) -> Stream:
        """Return and forget every event up to `until_ns`."""
        if not self._pending:
            return _EMPTY
        self._taken = max(self._taken, until_ns)
        cut = int(np.searchsorted(self._pending["ts"], until_ns, side="right"))
        out = Stream(**{k: v[:cut] for k, v in self._pending.items()})
        self._pending = {k: v[cut:] for k, v in self._pending.items()}
        return out


_NONE = np.zeros(0, np.int64)
_EMPTY = Stream(_NONE, np.zeros(0, np.int8), np.zeros(0, np.int8), _NONE, _NONE, _NONE, np.zeros(0, np.bool_))


def _whole_messages(market: Market) -> Iterator[pl.DataFrame]:
    """Yield batches that end where a message ends."""
    import polars as pl

    rest: pl.DataFrame | None = None
    for batch in market.batches():
        rows = batch if rest is None else pl.concat((rest, batch))
        if rows.is_empty():
            continue
        cut = int(rows["seq"].search_sorted(rows["seq"][-1], side="left"))
        rest = rows[cut:]
        if cut:
            yield rows[:cut]
    if rest is not None:
        yield rest


def _decode(rows: pl.DataFrame, quotes: bool) -> Columns:
    """Return kernel columns: bbo rows dropped unless asked for, a clear of each side before a snapshot."""
    if not quotes:
        rows = rows.filter(rows["kind"] != "bbo")
    kind = rows["kind"].to_physical().to_numpy().astype(np.int8)
    seq = rows["seq"].to_numpy()
    columns: Columns = {
        "exchange_ns": rows["exchange_ns"].to_numpy(),
        "local_ns": rows["local_ns"].to_numpy(),
        "kind": kind,
        "side": _SIGN[rows["side"].to_physical().to_numpy()],
        "tick": rows["price"].to_numpy(),
        "lots": rows["quantity"].to_numpy(),
        "id": rows["id"].to_numpy(),
        "last": np.append(seq[1:] != seq[:-1], np.ones(min(1, seq.size), np.bool_)),
    }
    for start, end in reversed(_runs(kind, seq)):
        columns = _with_clears(columns, start, end)
    return columns


def _runs(kind: npt.NDArray[np.int8], seq: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return [start, end) of each snapshot."""
    inside = kind == SNAPSHOT
    if not inside.any():
        return []
    edges = np.flatnonzero(np.diff(np.where(inside, seq, -1), prepend=-1, append=-1))
    return [(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True) if inside[a]]


def _with_clears(columns: Columns, start: int, end: int) -> Columns:
    """Insert clears of the bids down to the snapshot's lowest, directly before its bids, and likewise for the asks."""
    side, tick = columns["side"][start:end], columns["tick"][start:end]
    out = columns
    for sign, edge in ((-1, np.max), (1, np.min)):  # asks stand behind bids: from the back, so that positions hold
        own = np.flatnonzero(side == sign)
        if own.size == 0:
            continue
        at = start + int(own[0])
        row = {k: v[at] for k, v in out.items()}
        row.update(kind=np.int8(CLEAR), tick=edge(tick[own]), lots=0, last=False)
        out = {k: np.insert(v, at, row[k]) for k, v in out.items()}
    return out
