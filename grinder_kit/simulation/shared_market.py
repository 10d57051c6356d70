"""A market read once for any number of grids: the events that can fill something, and the queues by price.

A grid's own orders feel few of a market's events: trades, best prices that move towards the other side, and what happens to the
queue at a price where a trade comes. The kernel's own book is run over both streams once; what grids need of it is kept in the
order of the exchange's stream, and nothing here is changed by a grid.
"""

from __future__ import annotations

from collections import OrderedDict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from grinder_kit.errors import DataError
from grinder_kit.execution.fees import FundingTable
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.book import Book
from grinder_kit.kernel.compiled import compiled, inlined
from grinder_kit.kernel.exchange import Ints, move_book
from grinder_kit.kernel.feed import FeedOptions
from grinder_kit.simulation.columns import (
    OFFSET,
    START,
    STOP,
    WHEN,
    Piece,
    Rows,
    clock_settings,
    index,
    last_local_ns,
    local_settings,
    stretches,
)
from grinder_kit.simulation.local_book import (
    GAP,
    L_ASK,
    L_BID,
    L_GAP,
    L_TS,
    NEEDS_SIGHT,
    SEEN,
    SEEN_LAST,
    SIGHT_SIZE,
    TOO_EARLY,
    ApartError,
    LocalBook,
    grown,
    note,
    quiet,
)

if TYPE_CHECKING:
    from grinder_kit.market.source import Market

NO_TRADE = -1  # lots of a hot event that is no trade
SILENT = -1  # `old` of a queue entry that no resting order is told: the level was crossed or cleared
NEEDS_ROOM, NEEDS_WIDTH = 8, 9  # beside the kernel's own statuses: the log is full, or too narrow
NARROW = 1 << 31  # from here on a price or a quantity needs 64 bits
_CLOCKS_KEPT = 8
_ARENA = 1 << 19  # entries in one array: large enough for large pages
_SPARE = 1024  # levels that events may remove at once, at first

# columns of what is logged while the market is read
H_TS, H_AT, H_PRICE, H_LOTS, H_COLUMNS = 0, 1, 2, 3, 4
T_AT, T_BID, T_ASK, T_COLUMNS = 0, 1, 2, 3
E_AT, E_PRICE, E_OLD, E_NEW, E_COLUMNS = 0, 1, 2, 3, 4  # price in ticks, of asks below zero
AT, OLD, NEW = 0, 1, 2  # columns of the index's entries


class Index(NamedTuple):
    """What compiled grids read. Positions (`*_at`) count the events of the exchange's stream.

    ts, first : (b + 1,) time of every burst of events, ns, and the position of its first event; a last one has none
    hot : (H_COLUMNS, h) events that can fill: price in ticks with the sign of the side that came (+ a buyer, or a bid that rose),
        lots of a trade or NO_TRADE
    touch : (T_COLUMNS, t) best prices of the exchange's book after the event
    list_of : (2, span) by side (bids, asks) and tick - base[0] the list of a price at which something trades there; -1: none
    bounds : (lists + 1,) where each list starts
    entries : (e, 3) position of the event and the level's lots before and after it (AT, OLD, NEW), list by list
    funding : (2, f) as the kernel takes it
    """

    ts: Ints
    first: Ints
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
    hot : (steps,) how many of the index's events that can fill have happened at the exchange by then
    """

    head: Ints
    bid: Ints
    ask: Ints
    gap: Ints
    hot: Ints


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
        try:
            reader = _Reader(market, feed, by_quote, apart=False)
        except ApartError:
            reader = _Reader(market, feed, by_quote, apart=True)
        if reader.events == 0:
            raise DataError("the market has no events; import it again, or choose another window")
        self.events = reader.events
        self.index = reader.index(self.table.times)
        self._local = reader.local()
        self.start_ns = int(self.index.ts[0])
        self.last_ns = max(int(self.index.ts[-2]), reader.last_local_ns)
        self._clocks: OrderedDict[int, Clock] = OrderedDict()
        self._first_mids: dict[int, Decimal | None] = {}

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
        hot = np.searchsorted(self.index.hot[H_TS], times, side="right")
        bid, ask, gap = (np.ascontiguousarray(rows[:, column]) for column in (L_BID, L_ASK, L_GAP))
        clock = Clock(head, bid, ask, gap, hot)
        self._clocks[step_ns] = clock
        while len(self._clocks) > _CLOCKS_KEPT:
            self._clocks.popitem(last=False)
        return clock

    def first_mid(self, step_ns: int) -> Decimal | None:
        """Return mid at the first step at which the local book has one, quote; None where it never has."""
        if step_ns not in self._first_mids:  # every grid of a sweep asks
            clock = self.clock(step_ns)
            known = np.flatnonzero((clock.bid != bk.NO_BID) & (clock.ask != bk.NO_ASK))[:1]
            mids = [self.instrument.tick * int(clock.bid[at] + clock.ask[at]) / 2 for at in known]
            self._first_mids[step_ns] = mids[0] if mids else None
        return self._first_mids[step_ns]

    def touch(self, now_ns: int) -> tuple[int | None, int | None]:
        """Return the best bid and ask of the local book at a time; None for an empty side."""
        row = self._local[int(np.searchsorted(self._local[:, L_TS], now_ns, side="right")) - 1]
        bid, ask = int(row[L_BID]), int(row[L_ASK])
        return (None if bid == bk.NO_BID else bid), (None if ask == bk.NO_ASK else ask)


# --- reading -----------------------------------------------------------------------------------------------------------


class _Scratch:
    """Room for what one piece leaves.

    Entries stay where they are written, in a few large arrays, since many small ones cost a page fault each 4 KiB. They are narrow
    until a price or quantity is too large for that.
    """

    def __init__(self) -> None:
        self.hot = self.touch = np.empty((0, 0), np.int64)
        self._entries: npt.NDArray[Any] = np.empty((0, E_COLUMNS), np.int32)

    def entries(self, events: int) -> Ints:
        """Return room for the entries of so many events."""
        if len(self.hot) < events:
            self.hot = np.empty((events, H_COLUMNS), np.int64)
            self.touch = np.empty((events, T_COLUMNS), np.int64)
        if len(self._entries) < events + _SPARE:
            self._entries = np.empty((max(_ARENA, 2 * (events + _SPARE)), E_COLUMNS), self._entries.dtype)
        return self._entries

    def keep(self, used: int) -> Ints:
        """Return the first entries, which are written over no more."""
        kept, self._entries = self._entries[:used], self._entries[used:]
        return kept

    def widen(self) -> None:
        """Give entries 64 bits from now on."""
        self._entries = np.empty((0, E_COLUMNS), np.int64)


class _Reader:
    """The exchange's book run over its stream, what is seen beside it, and what is kept of both."""

    def __init__(self, market: Market, feed: FeedOptions, by_quote: bool, *, apart: bool) -> None:
        self._settings = np.zeros(ex.S_SIZE, np.int64)
        self._settings[ex.S_BY_QUOTE] = by_quote
        self._clock = clock_settings(market, feed)
        self._book, self._head = bk.new_book(), np.zeros(ex.H_SIZE, np.int64)
        self._cursor = np.zeros(SIGHT_SIZE, np.int64)
        self._local = LocalBook(
            self._settings, local_settings(self._clock), market.disorder_ns[1], self._cursor, apart=apart
        )
        self._scratch = _Scratch()
        self._hot: list[Ints] = []
        self._touch: list[Ints] = []
        self._entries: list[Ints] = []
        self._seen: list[Ints] = []
        self._bursts: list[Ints] = []
        self.events = 0
        self.last_local_ns = -ex.FOREVER
        for stretch in stretches(market, feed):
            self._local.before(stretch, self._book, self._head)
            for piece in stretch.pieces:
                self._read(piece)
            self._local.after(stretch, self._book)
            self._see()
            self.last_local_ns = max(
                self.last_local_ns, last_local_ns(stretch.rows, self._clock, market.disorder_ns[1])
            )
        self._seen.append(self._local.sight[:1].copy())

    def _read(self, piece: Piece) -> None:
        at, row, wanted, scratch = 0, 0, piece.events, self._scratch
        self._bursts.append(piece.bursts)
        while at < len(piece.bursts):
            entries, used = scratch.entries(wanted), np.zeros(3, np.int64)
            status, at, row, self.events = _read_exchange(
                piece.rows, piece.bursts, at, row, self.events, self._clock, self._book, self._head, self._settings,
                scratch.hot, scratch.touch, entries, used, self._local.sight, self._cursor, self._local.shared,
            )  # fmt: skip
            self._hot.append(scratch.hot[: used[0]].copy())
            self._touch.append(scratch.touch[: used[1]].copy())
            self._entries.append(scratch.keep(int(used[2])))
            if status == ex.NEEDS_BOOK:
                self._book = bk.with_room(self._book)
            elif status == NEEDS_ROOM:
                wanted *= 2
            elif status == NEEDS_WIDTH:
                scratch.widen()
            elif status == NEEDS_SIGHT:
                self._local.sight = grown(self._local.sight)
            elif status == TOO_EARLY:
                raise ApartError

    def _see(self) -> None:
        """Put away what was seen, but the last: more may be seen at the same time."""
        last = int(self._cursor[SEEN_LAST])
        self._seen.append(self._local.sight[: last - 1].copy())
        self._cursor[SEEN] = last
        self._local.compact()

    def local(self) -> Ints:
        """Return the local touch by time, each row (L_COLUMNS,)."""
        return np.concatenate(self._seen)

    def index(self, funding: Ints) -> Index:
        hot, touch = (np.concatenate(rows).T.copy() for rows in (self._hot, self._touch))
        trades = hot[H_PRICE, hot[H_LOTS] != NO_TRADE]
        ticks, rows = np.abs(trades), (trades > 0).astype(np.int64)  # a buyer meets asks: row 1
        base = int(ticks.min()) if ticks.size else 0
        list_of: npt.NDArray[Any] = np.full((2, int(ticks.max()) - base + 1 if ticks.size else 1), -1, np.int32)
        list_of[rows, ticks - base] = 0
        lists = int((list_of == 0).sum())
        list_of[list_of == 0] = np.arange(lists)
        bounds, entries = _by_list(self._entries, list_of, base, lists)
        times = np.concatenate(self._bursts)
        ts, first = np.append(times[:, WHEN], ex.FOREVER), np.zeros(len(times) + 1, np.int64)
        np.cumsum(times[:, STOP] - times[:, START], out=first[1:])
        return Index(
            ts, first, hot, touch, np.array([base], np.int64), list_of, bounds, entries, funding
        )  # fmt: skip


def _by_list(chunks: list[Ints], list_of: Ints, base: int, lists: int) -> tuple[Ints, Ints]:
    """Return where each list starts, and (at, old, new) of the entries that belong to one, list by list in order of time."""
    bounds = np.zeros(lists + 1, np.int64)
    for chunk in chunks:
        _count(chunk, list_of, base, bounds)
    np.cumsum(bounds, out=bounds)
    out = np.empty((int(bounds[-1]), 3), np.int64 if any(chunk.itemsize == 8 for chunk in chunks) else np.int32)
    free = bounds[:-1].copy()
    for chunk in chunks:
        _place(chunk, list_of, base, free, out)
    return bounds, out


@inlined
def _list(list_of: Ints, base: int, price: int) -> int:
    row, at = (0, price - base) if price > 0 else (1, -price - base)
    return list_of[row, index(at)] if 0 <= at < list_of.shape[1] else -1


@compiled
def _count(entries: Ints, list_of: Ints, base: int, bounds: Ints) -> None:
    for row in range(entries.shape[0]):
        which = _list(list_of, base, entries[index(row), E_PRICE])
        if which >= 0:
            bounds[index(which + 1)] += 1


@compiled
def _place(entries: Ints, list_of: Ints, base: int, free: Ints, out: Ints) -> None:
    for row in range(entries.shape[0]):
        entry = entries[index(row)]
        which = _list(list_of, base, entry[E_PRICE])
        if which >= 0:
            into = index(free[index(which)])
            out[into, AT], out[into, OLD], out[into, NEW] = entry[E_AT], entry[E_OLD], entry[E_NEW]
            free[index(which)] += 1


@compiled
def _removed(book: Book, side: int, until: int, at: int, entries: Ints, used: Ints) -> bool:
    """Log as silently removed the levels of a side from its best to `until`; False: the log has no room for them."""
    tick, last = book.head[bk.BEST + ((1 - side) >> 1)], used[2]
    while (tick - until) * side >= 0:
        if last == entries.shape[0]:
            return False
        entry = entries[last]
        entry[E_AT], entry[E_PRICE], entry[E_OLD], entry[E_NEW] = at, side * tick, SILENT, 0
        last += 1
        tick = bk.next_level(book, side, tick)
    used[2] = last
    return True


@compiled
def _crossed(book: Book, kind: int, side: int, tick: int, lots: int, at: int, entries: Ints, used: Ints) -> bool:
    """Log the levels that an event removes without a word, before it does; False: the log has no room."""
    kept, fits = used[2], True
    if kind == ex.CLEAR:
        fits = _removed(book, side, tick, at, entries, used)
    elif kind != ex.BBO and lots > 0 and bk.takes(book, side, tick):
        fits = _removed(book, -side, tick, at, entries, used)
    if not fits or used[2] == entries.shape[0]:
        used[2] = kept
        return False
    return True


@compiled
def _read_exchange(
    rows: Rows, bursts: Ints, at: int, row: int, number: int, clock: Ints, book: Book, head: Ints, settings: Ints,
    hot: Ints, touch: Ints, entries: Ints, used: Ints, sight: Ints, cursor: Ints, one_book: bool,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Run the exchange's book from a row of a burst, `number` events after the market's first.

    Returns (status, burst, row and number to go on from).
    """
    base, bid, ask = book.head[bk.BASE], book.head[bk.BEST_BID], book.head[bk.BEST_ASK]
    hots, changes, logged, status = 0, 0, 0, ex.DONE
    while at < bursts.shape[0]:
        burst = bursts[index(at)]
        row, stop, ts, kind = max(row, burst[START]), burst[STOP], burst[WHEN], rows.kind[index(burst[START])]
        while row < stop:
            of, tick, lots = rows.side[index(row)], rows.tick[index(row)], rows.lots[index(row)]
            if kind == ex.TRADE:
                event = hot[hots]
                event[H_TS], event[H_AT], event[H_PRICE], event[H_LOTS] = ts, number, (1 - 2 * of) * tick, lots
                hots += 1
                row += 1
                number += 1
                continue
            if logged == entries.shape[0]:
                status = NEEDS_ROOM
                break
            if (tick | lots | number) >= NARROW and entries.itemsize == 4:
                status = NEEDS_WIDTH
                break
            place = tick - base
            if kind == ex.DEPTH and 0 <= place < bk.WINDOW and quiet(of, tick, lots, bid, ask):
                entry = entries[index(logged)]
                entry[E_AT], entry[E_PRICE] = number, tick if of == 0 else -tick
                entry[E_OLD], entry[E_NEW] = book.levels[index(of), index(place)], lots
                book.levels[index(of), index(place)] = lots
                logged += 1
                row += 1
                number += 1
                continue
            side = 1 - 2 * of if of < 2 else 0
            used[2] = logged
            if not bk.ready(book, tick):
                status = ex.NEEDS_BOOK
            elif cursor[SEEN_LAST] == sight.shape[0]:
                status = NEEDS_SIGHT
            elif not _crossed(book, kind, side, tick, lots, number, entries, used):
                status = NEEDS_ROOM
            if status != ex.DONE:
                break
            old, reaches = move_book(book, head, settings, kind, side, tick, lots, rows.id[row])
            logged = used[2]
            if old >= 0:
                entry = entries[logged]
                entry[E_AT], entry[E_PRICE], entry[E_OLD], entry[E_NEW] = number, side * tick, old, lots
                logged += 1
            if reaches:
                event = hot[hots]
                event[H_TS], event[H_AT], event[H_PRICE], event[H_LOTS] = ts, number, side * tick, NO_TRADE
                hots += 1
            base, gap, seen = book.head[bk.BASE], cursor[GAP], rows.local_ns[row] + clock[OFFSET]
            if one_book:
                if kind == ex.GAP:
                    cursor[GAP] = seen
                elif kind == ex.SNAPSHOT or kind == ex.BBO:
                    cursor[GAP] = 0
            moved = book.head[bk.BEST_BID] != bid or book.head[bk.BEST_ASK] != ask
            if moved:
                bid, ask = book.head[bk.BEST_BID], book.head[bk.BEST_ASK]
                new = touch[changes]
                new[T_AT], new[T_BID], new[T_ASK] = number, bid, ask
                changes += 1
            if one_book and (moved or cursor[GAP] != gap) and (seen < ts or not note(sight, cursor, seen, bid, ask)):
                status = TOO_EARLY
                break
            row += 1
            number += 1
        if status != ex.DONE:
            break
        at += 1
        row = 0
    used[0], used[1], used[2] = hots, changes, logged
    return status, at, row, number
