"""What a strategy sees of a market: the best prices of the local book, by time.

The feed is late, and most often that is all: depth comes in the order in which it happened. Then the local book is the exchange's at
an earlier message, and its best prices need no book of their own. Where the order differs, as around a snapshot, a second book is
run, until both hold the same again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from grinder_kit.errors import DataError
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.book import Book
from grinder_kit.kernel.compiled import compiled, inlined
from grinder_kit.kernel.exchange import Ints
from grinder_kit.simulation.columns import (
    OFFSET,
    QUOTES,
    START,
    STOP,
    WHEN,
    Clock,
    Piece,
    Rows,
    Stretch,
    as_they_come,
    index,
    part,
)

# columns of what is seen: when, best prices of the local book, when the feed lost something (0: the book is trusted)
L_TS, L_BID, L_ASK, L_GAP, L_COLUMNS = range(5)
# cursor: rows of the sight from SEEN on are still to come; nothing before FROM_NS is written down again
SEEN, SEEN_LAST, GAP, FROM_NS, SIGHT_SIZE = range(5)
# beside the kernel's own statuses: the sight is full, something is seen before it happens
NEEDS_SIGHT, TOO_EARLY = 10, 11
_FEW = 512  # levels that are waited for


@inlined
def note(sight: Ints, cursor: Ints, ts: int, bid: int, ask: int) -> bool:
    """Write down what is seen from a time on; False: an earlier time than before."""
    last = cursor[SEEN_LAST]
    if ts < cursor[FROM_NS]:
        return True  # it was written down from the local stream
    if last > 0 and sight[last - 1, L_TS] >= ts:
        if sight[last - 1, L_TS] > ts:
            return False
    else:
        last += 1
        cursor[SEEN_LAST] = last
    new = sight[last - 1]
    new[L_TS], new[L_BID], new[L_ASK], new[L_GAP] = ts, bid, ask, cursor[GAP]
    return True


@compiled
def moved(book: Book, head: Ints, settings: Ints, kind: int, side: int, tick: int, lots: int, id_: int) -> bool:
    """Let an event move a book that no own order feels; False: the book needs room first."""
    if not bk.ready(book, tick):
        return False
    ex.move_book(book, head, settings, kind, side, tick, lots, id_)
    return True


@inlined
def quiet(of: int, tick: int, lots: int, bid: int, ask: int) -> bool:
    """Whether a depth event of bids (of 0) or asks (1) leaves the best prices where they are: most do."""
    behind = bid - tick if of == 0 else tick - ask
    return behind > 0 or (behind == 0 and lots > 0)


@compiled
def look(
    rows: Rows, bursts: Ints, at: int, row: int, book: Book, head: Ints, settings: Ints, sight: Ints, cursor: Ints
) -> tuple[int, int, int]:
    """Run the local book over bursts in an order of their own, from a row of one, and write down what is seen.

    Returns (status, burst and row to go on from).
    """
    base, bid, ask, gap = book.head[bk.BASE], book.head[bk.BEST_BID], book.head[bk.BEST_ASK], cursor[GAP]
    while at < bursts.shape[0]:
        burst = bursts[index(at)]
        row, stop, ts, kind = max(row, burst[START]), burst[STOP], burst[WHEN], rows.kind[index(burst[START])]
        while row < stop and kind != ex.TRADE:
            of, tick, lots = rows.side[index(row)], rows.tick[index(row)], rows.lots[index(row)]
            place = tick - base
            if kind == ex.DEPTH and 0 <= place < bk.WINDOW and quiet(of, tick, lots, bid, ask):
                book.levels[index(of), index(place)] = lots
                row += 1
                continue
            if cursor[SEEN_LAST] == sight.shape[0]:
                return NEEDS_SIGHT, at, row
            if kind == ex.GAP:
                cursor[GAP] = ts
            else:
                if not moved(book, head, settings, kind, 1 - 2 * of, tick, lots, rows.id[row]):
                    return ex.NEEDS_BOOK, at, row
                if kind == ex.SNAPSHOT or kind == ex.BBO:
                    cursor[GAP] = 0
            base = book.head[bk.BASE]
            if book.head[bk.BEST_BID] != bid or book.head[bk.BEST_ASK] != ask or cursor[GAP] != gap:
                bid, ask, gap = book.head[bk.BEST_BID], book.head[bk.BEST_ASK], cursor[GAP]
                if not note(sight, cursor, ts, bid, ask):
                    return TOO_EARLY, at, row
            row += 1
        at += 1
        row = 0
    return ex.DONE, at, 0


@compiled
def differing(one: Book, other: Book, out: Ints) -> int:
    """Write side (0 bids) and tick of levels in which two books differ, as far as there is room; return how many there are."""
    found, base, beside = 0, one.head[bk.BASE], one.head[bk.BASE] == other.head[bk.BASE]
    for turn in range(2):
        first, second = (one, other) if turn == 0 else (other, one)
        for of in range(2):
            for place in range(bk.WINDOW if beside and turn == 0 else 0):  # most levels are compared so, and quickly
                if first.levels[of, place] != second.levels[of, place]:
                    if found < out.shape[0]:
                        out[found, 0], out[found, 1] = of, base + place
                    found += 1
            for place in range(bk.WINDOW if beside else 0, bk.WINDOW + first.far.shape[2]):
                far = place - bk.WINDOW
                tick = first.head[bk.BASE] + place if far < 0 else first.far[of, 0, far]
                lots = first.levels[of, place] if far < 0 else first.far[of, 1, far]
                there = bk.quantity(second, 1 - 2 * of, tick) if lots > 0 else 0
                if lots != there and (turn == 0 or there == 0):
                    if found < out.shape[0]:
                        out[found, 0], out[found, 1] = of, tick
                    found += 1
    return found


@compiled
def settled(rows: Rows, levels: Ints, left: int) -> tuple[int, int]:
    """Return after how many rows the first `left` levels have all been set, and how many are left if that does not happen.

    From there on two books that differed in no other level hold the same.
    """
    row = 0
    while left > 0 and row < rows.kind.shape[0]:
        if rows.kind[row] == ex.DEPTH or rows.kind[row] == ex.SNAPSHOT:
            for at in range(left):
                if levels[at, 1] == rows.tick[row] and levels[at, 0] == rows.side[row]:
                    left -= 1
                    levels[at, 0], levels[at, 1] = levels[left, 0], levels[left, 1]
                    break
        row += 1
    return row, left


class ApartError(Exception):
    """Something is seen before it happens, or in another order than the rows': the local book must be run apart from the start."""


class LocalBook:
    """The local book, as far as it needs to be known beside the exchange's.

    Parameters
    ----------
    settings : ndarray of int64
        Of the exchange (S_SIZE,).
    clock : ndarray of int64
        Settings of the local clock.
    disorder_ns : int
        How far back a later row may lie by the local clock.
    cursor : ndarray of int64, shape (SIGHT_SIZE,) or longer
    apart : bool
        Never let the exchange's book serve.

    Attributes
    ----------
    shared : bool
        Whether the exchange's book serves for both.
    sight : ndarray of int64, shape (n, L_COLUMNS)
    cursor : ndarray of int64
        That of the pass: SEEN, SEEN_LAST, GAP and FROM_NS are kept here.
    """

    def __init__(self, settings: Ints, clock: Ints, disorder_ns: int, cursor: Ints, *, apart: bool) -> None:
        self._settings, self._clock, self.cursor = settings, clock, cursor
        self._sorted = Clock(clock, disorder_ns) if disorder_ns else None
        self._apart = apart
        self.shared = self._sorted is None and not apart
        self._book = None if self.shared else bk.new_book()
        self._head: Ints = np.zeros(ex.H_SIZE, np.int64)
        self._head[ex.QUOTE_ID] = -1
        self._blocks, self._next_try = 0, 1
        self._looked_ns = -ex.FOREVER
        self._levels: Ints | None = None  # in which both books still differ, where those are few
        self.sight: Ints = np.zeros((4096, L_COLUMNS), np.int64)
        self.sight[0] = -ex.FOREVER, bk.NO_BID, bk.NO_ASK, 0
        cursor[SEEN] = cursor[SEEN_LAST] = 1
        cursor[FROM_NS] = -ex.FOREVER

    def before(self, stretch: Stretch, book: Book, head: Ints) -> None:
        """Prepare for a stretch; a second book is begun where its order differs, and run over what was read."""
        if self.shared and stretch.tangled:
            self.shared, self._book, self._head = False, Book(*(array.copy() for array in book)), head.copy()
            if stretch.before is not None:
                self._look((as_they_come(stretch.before, self._clock),))
        if not self.shared:
            rows, agrees = stretch.rows, False
            if self._sorted is None:
                if self._levels is not None and not stretch.tangled:
                    reach, left = settled(rows, self._levels, len(self._levels))
                    rows, agrees = part(rows, 0, reach), left == 0
                self._levels = None
                pieces: tuple[Piece, ...] = (as_they_come(rows, self._clock),)
            else:
                until = ex.FOREVER if stretch.final else self._sorted.read(rows)
                pieces = self._sorted.take(rows, until)
            self._look(pieces)
            if len(rows.kind):
                self._looked_ns = int(rows.local_ns[-1]) + int(self._clock[OFFSET])
            if agrees:  # one book serves for what comes after these rows
                self.shared, self._book = True, None
                self.cursor[FROM_NS] = self._looked_ns

    def after(self, stretch: Stretch, book: Book) -> None:
        """Find the levels in which both books differ; where they are few, one book serves again once those have been set."""
        if self.shared or self._apart or self._sorted is not None or stretch.final:
            return
        self._blocks += 1
        if self._blocks < self._next_try:
            return
        self._next_try = 2 * self._blocks
        assert self._book is not None
        levels: Ints = np.empty((_FEW, 2), np.int64)
        left = differing(book, self._book, levels)
        if left > _FEW or self._clock[QUOTES]:  # a quote could keep a level from being set
            return
        if stretch.after is not None:  # seen, and set in the exchange's book before anything else is
            left = settled(stretch.after, levels, left)[1]
        self._levels = levels[:left]

    def _look(self, pieces: tuple[Piece, ...]) -> None:
        for piece in pieces:
            assert self._book is not None
            self._book, self.sight = self._run(piece, self._book, self._head, self.sight)

    def _run(self, piece: Piece, book: Book, head: Ints, sight: Ints) -> tuple[Book, Ints]:
        at = row = 0
        while True:
            status, at, row = look(piece.rows, piece.bursts, at, row, book, head, self._settings, sight, self.cursor)
            if status == ex.DONE:
                return book, sight
            if status == ex.NEEDS_BOOK:
                book = bk.with_room(book)
            elif status == NEEDS_SIGHT:
                sight = grown(sight)
            else:
                raise DataError("local times run backwards further than the recording's metadata say; import it again")

    def compact(self) -> None:
        """Forget what was seen before now."""
        first, last = int(self.cursor[SEEN]) - 1, int(self.cursor[SEEN_LAST])
        self.sight[: last - first] = self.sight[first:last].copy()
        self.cursor[SEEN], self.cursor[SEEN_LAST] = 1, last - first


def grown(array: Any) -> Any:
    """Return an array with twice the rows."""
    return np.concatenate((array, np.zeros_like(array)))
