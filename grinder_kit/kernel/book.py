"""A price book of whole lots: a dense window around the market and a hash table for everything far from it.

Both sides are rows of the same arrays (bids, then asks), so that every rule is written once, for `side` +1 or -1. A level
that the other side reaches is stale and is deleted, so best bid < best ask always holds and the best is always the outermost
level with a quantity.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from grinder_kit.kernel.compiled import compiled, inlined

Ints = npt.NDArray[np.int64]

WINDOW = 1 << 15  # ticks held densely: +-2.6 % of BTC at a tick of .1
NO_BID = -1
NO_ASK = 1 << 60
EMPTY = -1  # key of a slot that was never used

# head; BEST and FAR are followed by the same of the asks. The row of a side is (1 - side) >> 1.
BASE, BEST, BEST_BID, BEST_ASK, FAR, HEAD_SIZE = 0, 1, 1, 2, 3, 5


class Book(NamedTuple):
    """Arrays of one book.

    levels : (2, WINDOW) lots by side and tick - BASE
    far : (2, 2, capacity) by side the keys and lots of levels outside the window; capacity is a power of two
    head : (HEAD_SIZE,) window start, best prices in ticks, used slots of the tables
    """

    levels: Ints
    far: Ints
    head: Ints


def new_book(far_capacity: int = 1 << 13) -> Book:
    """Return an empty book."""
    head = np.zeros(HEAD_SIZE, np.int64)
    head[BEST_BID], head[BEST_ASK] = NO_BID, NO_ASK
    return Book(np.zeros((2, WINDOW), np.int64), _tables(far_capacity), head)


def _tables(capacity: int) -> Ints:
    far = np.zeros((2, 2, capacity), np.int64)
    far[:, 0] = EMPTY
    return far


def with_room(book: Book) -> Book:
    """Return the book with far tables that stay at most a quarter full even if the whole window moved into them."""
    levels = int(np.count_nonzero(book.levels) + np.count_nonzero(book.far[:, 1]))
    capacity = book.far.shape[2]
    while capacity < 4 * (levels + 1):
        capacity *= 2
    roomy = book._replace(far=_tables(capacity))
    rehash(book, roomy)
    return roomy


@compiled
def rehash(old: Book, new: Book) -> None:
    """Move the levels of far tables into empty ones; both books share their head."""
    for row in range(2):
        used = 0
        for slot in range(old.far.shape[2]):
            if old.far[row, 1, slot] > 0:
                used += far_set(new.far, row, old.far[row, 0, slot], old.far[row, 1, slot])
        new.head[FAR + row] = used


@compiled
def _slot(far: Ints, row: int, key: int) -> int:
    mask = far.shape[2] - 1
    at = (key * 0x9E3779B1) & mask
    while far[row, 0, at] != EMPTY and far[row, 0, at] != key:
        at = (at + 1) & mask
    return at


@compiled
def far_set(far: Ints, row: int, key: int, lots: int) -> int:
    """Set a level; return how many slots it newly used (0 or 1). A removed level keeps its slot until `with_room`."""
    at = _slot(far, row, key)
    if far[row, 0, at] == EMPTY:
        if lots == 0:
            return 0
        far[row, 0, at] = key
        far[row, 1, at] = lots
        return 1
    far[row, 1, at] = lots
    return 0


@compiled
def quantity(book: Book, side: int, tick: int) -> int:
    """Return the lots at a tick; side +1 bids, -1 asks."""
    row = (1 - side) >> 1
    at = tick - book.head[BASE]
    if 0 <= at < WINDOW:
        return book.levels[row, at]
    return book.far[row, 1, _slot(book.far, row, tick)]  # a slot that was never used holds 0


@inlined
def _put(book: Book, side: int, tick: int, lots: int) -> None:
    row = (1 - side) >> 1
    at = tick - book.head[BASE]
    if 0 <= at < WINDOW:
        book.levels[row, at] = lots
    else:
        book.head[FAR + row] += far_set(book.far, row, tick, lots)


@inlined
def _next(book: Book, side: int, tick: int) -> int:
    row, base = (1 - side) >> 1, book.head[BASE]
    # Only a new best can stand on the near side of the window (see `ready`): what is worse lies in it or behind it.
    at = tick - side - base
    at = min(at, WINDOW - 1) if side > 0 else max(at, 0)
    while 0 <= at < WINDOW and book.levels[row, at] == 0:
        at -= side
    return base + at if 0 <= at < WINDOW else _next_far(book.far, row, side, tick)


@compiled
def _next_far(far: Ints, row: int, side: int, tick: int) -> int:
    best = NO_BID if side > 0 else NO_ASK
    for slot in range(far.shape[2]):
        key = far[row, 0, slot]
        if far[row, 1, slot] > 0 and (tick - key) * side > 0 and (key - best) * side > 0:
            best = key
    return best


@compiled
def next_level(book: Book, side: int, tick: int) -> int:
    """Return the best level of a side that is worse than `tick`; NO_BID or NO_ASK when there is none."""
    return _next(book, side, tick)


@compiled
def ready(book: Book, tick: int) -> bool:
    """Keep the window around the market, or around `tick` while the book is empty; False: the tables need room first.

    To be called before each event that may add a level.
    """
    head = book.head
    if max(head[FAR], head[FAR + 1]) * 2 > book.far.shape[2]:
        return False
    if head[BEST_BID] != NO_BID:
        tick = head[BEST_BID]
    elif head[BEST_ASK] != NO_ASK:
        tick = head[BEST_ASK]
    at = tick - head[BASE]
    lowest = 0 if head[BASE] == 0 else WINDOW // 4  # near zero the window cannot go lower
    return lowest <= at < WINDOW - WINDOW // 4 or _recentre(book, tick)


@compiled
def _recentre(book: Book, tick: int) -> bool:
    """Move the window so that `tick` stands in its middle; what leaves goes to the tables, what enters comes from them."""
    head = book.head
    for row in range(2):
        moving = 0
        for at in range(WINDOW):
            moving += book.levels[row, at] > 0
        if (head[FAR + row] + moving) * 2 > book.far.shape[2]:
            return False
    new = max(tick - WINDOW // 2, 0)
    for row in range(2):
        for at in range(WINDOW):
            if book.levels[row, at] > 0:
                head[FAR + row] += far_set(book.far, row, head[BASE] + at, book.levels[row, at])
                book.levels[row, at] = 0
        for slot in range(book.far.shape[2]):
            at = book.far[row, 0, slot] - new
            if book.far[row, 1, slot] > 0 and 0 <= at < WINDOW:
                book.levels[row, at] = book.far[row, 1, slot]
                book.far[row, 1, slot] = 0
    head[BASE] = new
    return True


@compiled
def set_level(book: Book, side: int, tick: int, lots: int) -> None:
    """Let a level hold `lots` (0 removes it), keep the best prices, delete what it crosses."""
    head = book.head
    own = BEST + ((1 - side) >> 1)
    other = BEST + ((1 + side) >> 1)
    _put(book, side, tick, lots)
    if lots == 0:
        if tick == head[own]:
            head[own] = _next(book, side, tick)
    elif (tick - head[own]) * side > 0:
        head[own] = tick
        while (tick - head[other]) * side >= 0:
            _put(book, -side, head[other], 0)
            head[other] = _next(book, -side, head[other])


@compiled
def betters(book: Book, side: int, tick: int) -> bool:
    """Whether a level at `tick` would be the new best of its side."""
    return (tick - book.head[BEST + ((1 - side) >> 1)]) * side > 0


@compiled
def takes(book: Book, side: int, tick: int) -> bool:
    """Whether an order at `tick` would trade at once."""
    return (tick - book.head[BEST + ((1 + side) >> 1)]) * side >= 0


@compiled
def clear_outside(book: Book, side: int, tick: int) -> None:
    """Remove the levels from the best down to a bid `tick`, or from the best up to an ask `tick`, both included."""
    own = BEST + ((1 - side) >> 1)
    while (book.head[own] - tick) * side >= 0:
        set_level(book, side, book.head[own], 0)


@compiled
def set_quote(book: Book, side: int, tick: int, lots: int) -> None:
    """Let `tick` be the best of its side with `lots`: better levels go, and so does what it crosses (a bookTicker).

    Without lots the whole side is empty.
    """
    if lots == 0:
        tick = 0 if side > 0 else NO_ASK - 1
    clear_outside(book, side, tick + side if lots > 0 else tick)
    set_level(book, side, tick, lots)
