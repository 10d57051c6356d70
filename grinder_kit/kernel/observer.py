"""What the strategy can see: the local book and the features computed from it, by local time."""

from __future__ import annotations

from typing import NamedTuple

from grinder_kit.kernel import book as bk
from grinder_kit.kernel.book import Book
from grinder_kit.kernel.compiled import compiled
from grinder_kit.kernel.exchange import (
    BBO,
    CLEAR,
    DEPTH,
    DONE,
    GAP,
    NEEDS_BOOK,
    SNAPSHOT,
    TRADE,
    Floats,
    Ints,
    Stream,
)
from grinder_kit.market import features

# The rule is written once, in market/features.py; here it is only compiled.
_advance = compiled(features.advance)
_on_quote = compiled(features.on_quote)
_on_trade = compiled(features.on_trade)

# state
GAP_NS, QUOTE_ID, STATE_SIZE = 0, 1, 2
#: A book is trusted again this long after a gap, or as soon as a snapshot or a quote anchors it.
SETTLE_NS = 5_000_000_000


class Eyes(NamedTuple):
    """The local book, what is remembered about the feed, and the state of the features."""

    book: Book
    state: Ints  # (STATE_SIZE,)
    floats: Floats
    ints: Ints
    ring: Ints


@compiled
def observe(eyes: Eyes, fused: bool, stream: Stream, start: int, until_ns: int) -> tuple[int, int]:
    """Apply local events up to `until_ns` (included); return (status, next position)."""
    book, state = eyes.book, eyes.state
    at, n = start, stream.ts.shape[0]
    while at < n and stream.ts[at] <= until_ns:
        kind, side, tick, lots = stream.kind[at], stream.side[at], stream.tick[at], stream.lots[at]
        if not bk.ready(book, tick):
            return NEEDS_BOOK, at
        if kind in (DEPTH, SNAPSHOT):
            older = fused and kind == DEPTH and stream.id[at] < state[QUOTE_ID]
            if not (older and lots > 0 and bk.betters(book, side, tick)):
                bk.set_level(book, side, tick, lots)
            if kind == SNAPSHOT:
                state[GAP_NS] = 0
        elif kind == BBO:
            if fused:
                bk.set_quote(book, side, tick, lots)
                state[QUOTE_ID] = stream.id[at]
            state[GAP_NS] = 0
        elif kind == CLEAR:
            bk.clear_outside(book, side, tick)
        elif kind == TRADE:
            _advance(eyes.floats, eyes.ints, eyes.ring, stream.ts[at])
            _on_trade(eyes.floats, eyes.ints, eyes.ring, stream.ts[at], tick)
        elif kind == GAP:
            state[GAP_NS] = stream.ts[at]
            _advance(eyes.floats, eyes.ints, eyes.ring, stream.ts[at])
            _on_quote(eyes.floats, eyes.ints, eyes.ring, stream.ts[at], 0, 0, 0, 0)  # no quote: what follows is no flow
        if stream.last[at] and (kind in (DEPTH, SNAPSHOT) or (kind == BBO and fused)):
            _quote(eyes, stream.ts[at])
        at += 1
    return DONE, at


@compiled
def _quote(eyes: Eyes, ts: int) -> None:
    """Tell the features the touch after a message, moved or not: a market that stands still is not silent."""
    book = eyes.book
    bid, ask = book.head[bk.BEST_BID], book.head[bk.BEST_ASK]
    bid_lots = bk.quantity(book, 1, bid) if bid != bk.NO_BID else 0
    ask_lots = bk.quantity(book, -1, ask) if ask != bk.NO_ASK else 0
    _advance(eyes.floats, eyes.ints, eyes.ring, ts)
    _on_quote(eyes.floats, eyes.ints, eyes.ring, ts, bid, bid_lots, ask, ask_lots)
