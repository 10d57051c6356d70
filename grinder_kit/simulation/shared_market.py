"""A market read once for any number of grids: the events that can fill something, and the queues by price.

A grid's own orders feel few of a market's events: trades, best prices that move towards the other side, and what happens to the
queue at a price where a trade comes. The kernel's own book is run over both streams once; what grids need of it is kept in the
order of the exchange's stream, and nothing here is changed by a grid.
"""

from __future__ import annotations

from collections import OrderedDict
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from grinder_kit.errors import DataError
from grinder_kit.execution.fees import FundingTable
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.book import Book
from grinder_kit.kernel.compiled import compiled
from grinder_kit.kernel.exchange import Ints, Stream, move_book
from grinder_kit.kernel.feed import FeedOptions, slices

if TYPE_CHECKING:
    from grinder_kit.market.source import Market

NO_TRADE = -1  # lots of a hot event that is no trade
SILENT = -1  # `old` of a queue entry that no resting order is told: the level was crossed or cleared
NEEDS_ROOM = 9  # beside the kernel's own statuses: the log is full
_CLOCKS_KEPT = 8

# columns of what is logged while the market is read
H_TS, H_AT, H_PRICE, H_LOTS, H_COLUMNS = 0, 1, 2, 3, 4
T_AT, T_BID, T_ASK, T_COLUMNS = 0, 1, 2, 3
E_AT, E_SIDE, E_TICK, E_OLD, E_NEW, E_COLUMNS = 0, 1, 2, 3, 4, 5
AT, OLD, NEW = 0, 1, 2  # rows of the index's entries
L_TS, L_BID, L_ASK, L_GAP, L_COLUMNS = 0, 1, 2, 3, 4


class Index(NamedTuple):
    """What compiled grids read. Positions (`*_at`) count the events of the exchange's stream.

    ts : (n,) time of every event, ns
    hot : (H_COLUMNS, h) events that can fill: price in ticks with the sign of the side that came (+ a buyer, or a bid that rose),
        lots of a trade or NO_TRADE
    touch : (T_COLUMNS, t) best prices of the exchange's book after the event
    list_of : (2, span) by side (bids, asks) and tick - base[0] the list of a price at which something trades there; -1: none
    bounds : (lists + 1,) where each list starts
    entries : (3, e) position of the event and the level's lots before and after it (AT, OLD, NEW), list by list
    funding : (2, f) as the kernel takes it
    """

    ts: Ints
    hot: Ints
    touch: Ints
    base: Ints
    list_of: Ints
    bounds: Ints
    entries: Ints
    funding: Ints


class Clock(NamedTuple):
    """What a strategy that decides every so often sees, by step; after the last entry nothing changes any more.

    head : (2,) start and step, ns: step k is at start + (k + 1) steps
    bid, ask : (steps,) best prices of the local book
    gap : (steps,) time at which the feed lost something, 0 once the book is trusted again
    """

    head: Ints
    bid: Ints
    ask: Ints
    gap: Ints


class SharedMarket:
    """A market in memory, for grids whose fills follow the same rules of time and crossing.

    Parameters
    ----------
    market : Market
        Read once, here.
    feed : FeedOptions
        How its rows become the exchange's stream.
    by_quote : bool
        A best quote at or through a price fills; otherwise the best of the depth book does.

    Attributes
    ----------
    market : Market
    feed, by_quote
    index : Index
    events : int
        Events of the exchange's stream.
    start_ns, last_ns : int
        Time of the first event of the exchange's stream, and of the last one of either stream.
    table : FundingTable

    Raises
    ------
    DataError
        For a market without events.
    """

    def __init__(self, market: Market, feed: FeedOptions, *, by_quote: bool = False) -> None:
        self.market, self.feed, self.by_quote = market, feed, by_quote
        self.instrument = market.instrument
        self.table = FundingTable(market.instrument, market.funding())
        reader = _Reader(by_quote)
        for stretch in slices(market, feed):
            reader.read(stretch.exchange, stretch.local)
        if reader.events == 0:
            raise DataError("the market has no events; import it again, or choose another window")
        self.events = reader.events
        self.index = reader.index(self.table.times)
        self._local = reader.local()
        self.start_ns = int(self.index.ts[0])
        self.last_ns = max(int(self.index.ts[-1]), reader.last_local_ns)
        self._clocks: OrderedDict[int, Clock] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Bytes that grids share."""
        return sum(array.nbytes for array in (*self.index, self._local))

    def clock(self, step_ns: int) -> Clock:
        """Return what is seen at every step of so many ns; the last few are kept."""
        if step_ns in self._clocks:
            self._clocks.move_to_end(step_ns)
            return self._clocks[step_ns]
        steps = max(1, -(-(self.last_ns - self.start_ns) // step_ns))
        times = self.start_ns + step_ns * np.arange(1, steps + 1, dtype=np.int64)
        rows = self._local[np.searchsorted(self._local[:, L_TS], times, side="right") - 1]
        head = np.array([self.start_ns, step_ns], np.int64)
        clock = Clock(head, *(np.ascontiguousarray(rows[:, column]) for column in (L_BID, L_ASK, L_GAP)))
        self._clocks[step_ns] = clock
        while len(self._clocks) > _CLOCKS_KEPT:
            self._clocks.popitem(last=False)
        return clock

    def first_mid(self, step_ns: int) -> Decimal | None:
        """Return mid at the first step at which the local book has one, quote; None where it never has."""
        clock = self.clock(step_ns)
        known = np.flatnonzero((clock.bid != bk.NO_BID) & (clock.ask != bk.NO_ASK))
        if not known.size:
            return None
        return self.instrument.tick * int(clock.bid[known[0]] + clock.ask[known[0]]) / 2

    def touch(self, now_ns: int) -> tuple[int | None, int | None]:
        """Return the best bid and ask of the local book at a time; None for an empty side."""
        row = self._local[int(np.searchsorted(self._local[:, L_TS], now_ns, side="right")) - 1]
        bid, ask = int(row[L_BID]), int(row[L_ASK])
        return (None if bid == bk.NO_BID else bid), (None if ask == bk.NO_ASK else ask)


# --- reading -----------------------------------------------------------------------------------------------------------


class _Log(NamedTuple):
    """What one stretch of the exchange's stream leaves; `used` counts the rows of each."""

    hot: Ints
    touch: Ints
    entries: Ints
    used: Ints


class _Reader:
    """Both books, run over the streams, and what is kept of them."""

    def __init__(self, by_quote: bool) -> None:
        self._settings = np.zeros(ex.S_SIZE, np.int64)
        self._settings[ex.S_BY_QUOTE] = by_quote
        self._book, self._local_book = bk.new_book(), bk.new_book()
        self._head, self._local_head = np.zeros(ex.H_SIZE, np.int64), np.zeros(ex.H_SIZE, np.int64)
        self._seen = np.array([bk.NO_BID, bk.NO_ASK, 0], np.int64)  # the touch that was logged last, and the gap
        self._hot: list[Ints] = []
        self._touch: list[Ints] = []
        self._entries: list[Ints] = []
        self._ts: list[Ints] = []
        self._local: list[Ints] = [np.array([[-ex.FOREVER, bk.NO_BID, bk.NO_ASK, 0]], np.int64)]
        self.events = 0
        self.last_local_ns = -ex.FOREVER

    def read(self, exchange: Stream, local: Stream) -> None:
        count, at, room = len(exchange.ts), 0, len(exchange.ts) + 1024
        while at < count:
            log = _Log(
                np.empty((count, H_COLUMNS), np.int64), np.empty((count, T_COLUMNS), np.int64),
                np.empty((room, E_COLUMNS), np.int64), np.zeros(3, np.int64),
            )  # fmt: skip
            status, at = _read_exchange(exchange, at, self.events, self._book, self._head, self._settings, log)
            for kept, rows, used in zip((self._hot, self._touch, self._entries), log[:3], log.used, strict=True):
                kept.append(rows[:used].copy())
            if status == ex.NEEDS_BOOK:
                self._book = bk.with_room(self._book)
            elif status == NEEDS_ROOM:
                room *= 2
        self._ts.append(exchange.ts)
        self.events += count
        self._read_local(local)

    def _read_local(self, local: Stream) -> None:
        count, at = len(local.ts), 0
        if count:
            self.last_local_ns = max(self.last_local_ns, int(local.ts[-1]))
        while at < count:
            rows = np.empty((count, L_COLUMNS), np.int64)
            status, at, used = _read_local(
                local, at, self._local_book, self._local_head, self._settings, self._seen, rows
            )
            self._local.append(rows[:used].copy())
            if status == ex.NEEDS_BOOK:
                self._local_book = bk.with_room(self._local_book)

    def local(self) -> Ints:
        """Return the local touch by time, each row (L_COLUMNS,)."""
        return np.concatenate(self._local)

    def index(self, funding: Ints) -> Index:
        hot, touch, entries = (np.concatenate(rows) for rows in (self._hot, self._touch, self._entries))
        trades = hot[hot[:, H_LOTS] != NO_TRADE, H_PRICE]
        ticks, rows = np.abs(trades), (trades > 0).astype(np.int64)  # a buyer meets asks: row 1
        base = int(ticks.min()) if ticks.size else 0
        list_of = np.full((2, int(ticks.max()) - base + 1 if ticks.size else 1), -1, np.int64)
        list_of[rows, ticks - base] = 0
        lists = int((list_of == 0).sum())
        list_of[list_of == 0] = np.arange(lists)
        bounds, sorted_entries = _by_list(entries, list_of, base, lists)
        return Index(
            np.concatenate(self._ts), np.ascontiguousarray(hot.T), np.ascontiguousarray(touch.T), np.array([base], np.int64),
            list_of, bounds, sorted_entries, funding,
        )  # fmt: skip


def _by_list(entries: Ints, list_of: Ints, base: int, lists: int) -> tuple[Ints, Ints]:
    """Return where each list starts, and (at, old, new) of the entries that belong to one, list by list in order of time."""
    bounds = np.zeros(lists + 1, np.int64)
    _count(entries, list_of, base, bounds)
    np.cumsum(bounds, out=bounds)
    out = np.empty((3, int(bounds[-1])), np.int64)
    _place(entries, list_of, base, bounds[:-1].copy(), out)
    return bounds, out


@compiled
def _list(list_of: Ints, base: int, side: int, tick: int) -> int:
    at = tick - base
    return list_of[(1 - side) >> 1, at] if 0 <= at < list_of.shape[1] else -1


@compiled
def _count(entries: Ints, list_of: Ints, base: int, bounds: Ints) -> None:
    for row in range(entries.shape[0]):
        which = _list(list_of, base, entries[row, E_SIDE], entries[row, E_TICK])
        if which >= 0:
            bounds[which + 1] += 1


@compiled
def _place(entries: Ints, list_of: Ints, base: int, free: Ints, out: Ints) -> None:
    for row in range(entries.shape[0]):
        which = _list(list_of, base, entries[row, E_SIDE], entries[row, E_TICK])
        if which >= 0:
            into = free[which]
            out[AT, into], out[OLD, into], out[NEW, into] = entries[row, E_AT], entries[row, E_OLD], entries[row, E_NEW]
            free[which] += 1


@compiled
def _removed(book: Book, side: int, until: int, at: int, log: _Log) -> bool:
    """Log as silently removed the levels of a side from its best to `until`; False: the log has no room for them."""
    tick = book.head[bk.BEST + ((1 - side) >> 1)]
    entries, used = log.entries, log.used[2]
    while (tick - until) * side >= 0:
        if used == entries.shape[0]:
            return False
        row = entries[used]
        row[E_AT], row[E_SIDE], row[E_TICK], row[E_OLD], row[E_NEW] = at, side, tick, SILENT, 0
        used += 1
        tick = bk.next_level(book, side, tick)
    log.used[2] = used
    return True


@compiled
def _read_exchange(
    stream: Stream, start: int, before: int, book: Book, head: Ints, settings: Ints, log: _Log
) -> tuple[int, int]:
    """Run the exchange's book from `start`, `before` events after the market's first; return (status, next position)."""
    hot, touch, entries, used = log.hot, log.touch, log.entries, log.used
    bid, ask = book.head[bk.BEST_BID], book.head[bk.BEST_ASK]
    for row in range(start, stream.ts.shape[0]):
        kind, side, tick, lots = stream.kind[row], stream.side[row], stream.tick[row], stream.lots[row]
        at = before + row
        if kind == ex.TRADE:
            old, reaches, came = SILENT, True, lots
        else:
            if not bk.ready(book, tick):
                return ex.NEEDS_BOOK, row
            if used[2] == entries.shape[0]:
                return NEEDS_ROOM, row
            depth = kind in (ex.DEPTH, ex.SNAPSHOT)
            kept = used[2]
            fits = True
            if kind == ex.CLEAR:
                fits = _removed(book, side, tick, at, log)
            elif depth and lots > 0 and bk.takes(book, side, tick):
                fits = _removed(book, -side, tick, at, log)
            if not fits or used[2] == entries.shape[0]:
                used[2] = kept
                return NEEDS_ROOM, row
            old, reaches = move_book(book, head, settings, kind, side, tick, lots, stream.id[row])
            came = NO_TRADE
        if old >= 0:
            entry = entries[used[2]]
            entry[E_AT], entry[E_SIDE], entry[E_TICK], entry[E_OLD], entry[E_NEW] = at, side, tick, old, lots
            used[2] += 1
        if reaches:
            event = hot[used[0]]
            event[H_TS], event[H_AT], event[H_PRICE], event[H_LOTS] = stream.ts[row], at, side * tick, came
            used[0] += 1
        if book.head[bk.BEST_BID] != bid or book.head[bk.BEST_ASK] != ask:
            bid, ask = book.head[bk.BEST_BID], book.head[bk.BEST_ASK]
            new = touch[used[1]]
            new[T_AT], new[T_BID], new[T_ASK] = at, bid, ask
            used[1] += 1
    return ex.DONE, stream.ts.shape[0]


@compiled
def _read_local(
    stream: Stream, start: int, book: Book, head: Ints, settings: Ints, seen: Ints, out: Ints
) -> tuple[int, int, int]:
    """Run the local book from `start` and write the touch where it changes, once for each time."""
    used = 0
    for row in range(start, stream.ts.shape[0]):
        kind, side, tick, lots = stream.kind[row], stream.side[row], stream.tick[row], stream.lots[row]
        gap = seen[2]
        if kind == ex.GAP:
            gap = stream.ts[row]
        elif kind != ex.TRADE:
            if not bk.ready(book, tick):
                return ex.NEEDS_BOOK, row, used
            move_book(book, head, settings, kind, side, tick, lots, stream.id[row])
            if kind in (ex.SNAPSHOT, ex.BBO):
                gap = 0
        bid, ask = book.head[bk.BEST_BID], book.head[bk.BEST_ASK]
        if bid != seen[0] or ask != seen[1] or gap != seen[2]:
            if used == 0 or out[used - 1, L_TS] != stream.ts[row]:
                used += 1
            new = out[used - 1]
            new[L_TS], new[L_BID], new[L_ASK], new[L_GAP] = stream.ts[row], bid, ask, gap
            seen[0], seen[1], seen[2] = bid, ask, gap
    return ex.DONE, stream.ts.shape[0], used
