"""The book against recorded transitions and against a dictionary."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grinder_kit.kernel import book as bk
from tests.kernel import reference

LOBSTER = "AAPL_2012-06-21_{}_10_first998.csv"
NEW, PARTIAL, DELETED, EXECUTED, HIDDEN = "1", "2", "3", "4", "5"
Side = list[tuple[int, int]]


def contents(book: bk.Book) -> dict[int, Side]:
    """Return (tick, lots) of both sides, best first, as the book walks them."""
    out: dict[int, Side] = {1: [], -1: []}
    for side, best, none in ((1, bk.BEST_BID, bk.NO_BID), (-1, bk.BEST_ASK, bk.NO_ASK)):
        tick = int(book.head[best])
        while tick != none:
            out[side].append((tick, bk.quantity(book, side, tick)))
            tick = bk.next_level(book, side, tick)
    return out


def ready(book: bk.Book, tick: int) -> bk.Book:
    """Return the book, grown where it must be, ready for an event at `tick`."""
    while not bk.ready(book, tick):
        book = bk.with_room(book)
    return book


# --- LOBSTER --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lobster(shared_data: Path) -> tuple[list[list[str]], list[dict[int, Side]]]:
    """Return the messages, and after each the ten best levels of both sides in cents."""
    folder = shared_data / "vectors" / "lobster"
    messages, rows = (
        list(csv.reader((folder / LOBSTER.format(name)).read_text().splitlines())) for name in ("message", "orderbook")
    )
    books = []
    for row in rows:
        levels = [(int(price) // 100, int(size)) for price, size in zip(row[::2], row[1::2], strict=True) if int(size)]
        books.append({1: levels[1::2], -1: levels[::2]})
    return messages, books


def test_lobster_transitions(lobster: tuple[list[list[str]], list[dict[int, Side]]]) -> None:
    """998 of 998: the previous row and one message give the next row, but for levels that enter at its bottom."""
    messages, books = lobster
    book = bk.new_book()
    right = 0
    for before, message, after in zip(books, messages[1:], books[1:], strict=False):
        book = ready(book, before[1][0][0])
        bk.clear_outside(book, 1, 0)
        bk.clear_outside(book, -1, bk.NO_ASK - 1)
        for side in (1, -1):
            for tick, lots in before[side]:
                bk.set_level(book, side, tick, lots)
        _, what, _, size, price, direction = message
        side, tick = int(direction), int(price) // 100
        held = bk.quantity(book, side, tick)
        if what != HIDDEN:
            bk.set_level(book, side, tick, held + int(size) if what == NEW else held - int(size))
        found = contents(book)
        right += all(found[s][:10] == after[s][: len(found[s])] for s in (1, -1))
    assert (right, len(books) - 1) == (998, 998)


# --- a dictionary ---------------------------------------------------------------------------------------------------------

#: Ticks of three markets millions apart, and of levels just inside and outside of a window around each.
TICKS = st.builds(
    lambda market, near, window: max(market * 3_000_017 + near + window * (bk.WINDOW // 2), 0),
    st.integers(0, 3),
    st.integers(-3, 3),
    st.integers(-3, 3),
)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "set", "set and walk", "quote", "clear"]),
        st.sampled_from([1, -1]),
        TICKS,
        st.sampled_from([0, 1, 7]),
    ),
    min_size=10,
    max_size=80,
)


@settings(max_examples=300)
@given(CHANGES)
def test_is_a_dictionary(changes: list[tuple[str, int, int, int]]) -> None:
    """Wherever prices go, the book holds what a dictionary would, is never crossed, and walks its levels in order."""
    book, plain = bk.new_book(far_capacity=8), reference.Book(fused=False)
    for what, side, tick, lots in changes:
        book = ready(book, tick)
        if what in ("set", "set and walk"):
            bk.set_level(book, side, tick, lots)
            plain.set(side, tick, lots)
        elif what == "quote" and lots:
            bk.set_quote(book, side, tick, lots)
            plain.clear(side, tick + side)
            plain.set(side, tick, lots)
        elif what == "clear":
            bk.clear_outside(book, side, tick)
            plain.clear(side, tick)
        bid, ask = int(book.head[bk.BEST_BID]), int(book.head[bk.BEST_ASK])
        assert bid < ask
        assert (bid if bid != bk.NO_BID else None, ask if ask != bk.NO_ASK else None) == (plain.best(1), plain.best(-1))
        assert bk.quantity(book, side, tick) == plain.levels[side].get(tick, 0)
        if what == "set and walk":  # the window has not followed a new best yet
            assert contents(book) == {s: sorted(levels.items(), reverse=s > 0) for s, levels in plain.levels.items()}


def test_window_follows_the_market() -> None:
    """A market that walks a million ticks leaves its old levels in the tables and finds them again on the way back."""
    book = bk.new_book()
    path = range(1_000_000, 2_000_000, 4_999)
    for tick in path:
        book = ready(book, tick)
        bk.set_level(book, 1, tick, 3)
        assert 0 <= tick - book.head[bk.BASE] < bk.WINDOW
    assert contents(book)[1] == [(tick, 3) for tick in reversed(path)]
    for tick in reversed(path):
        book = ready(book, tick)
        assert book.head[bk.BEST_BID] == tick
        bk.set_level(book, 1, tick, 0)
    assert contents(book) == {1: [], -1: []}


def test_tables_grow_and_forget() -> None:
    """Far levels are never lost; slots of removed ones are used again instead of growing without end."""
    book = ready(bk.new_book(far_capacity=8), 100)
    bk.set_level(book, 1, 100, 1)
    far = [1_000_000 + 11 * n for n in range(500)]
    for tick in far:
        book = ready(book, tick)
        bk.set_level(book, -1, tick, 2)
    assert contents(book) == {1: [(100, 1)], -1: [(tick, 2) for tick in far]}
    size = book.far.shape[2]
    for n in range(20_000):
        book = ready(book, 0)
        bk.set_level(book, -1, 9_000_000 + n, 1)
        bk.set_level(book, -1, 9_000_000 + n, 0)
    assert book.far.shape[2] <= 2 * size
    assert contents(book)[-1] == [(tick, 2) for tick in far]


def test_quote_without_lots_empties_its_side() -> None:
    """A bookTicker that says 0 at price 0: nobody is left on that side."""
    for side in (1, -1):
        book = ready(bk.new_book(), 100)
        for tick in (98, 99):
            bk.set_level(book, 1, tick, 5)
            bk.set_level(book, -1, tick + 3, 5)
        bk.set_quote(book, side, 0, 0)
        found = contents(book)
        assert found[side] == []
        assert len(found[-side]) == 2


def test_what_crosses_goes() -> None:
    """A bid at the second ask takes the best two asks out; one at an ask's price stands alone there."""
    book = ready(bk.new_book(), 100)
    for tick in (101, 102, 103):
        bk.set_level(book, -1, tick, 5)
    bk.set_level(book, 1, 102, 1)
    assert contents(book) == {1: [(102, 1)], -1: [(103, 5)]}
