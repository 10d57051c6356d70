"""From rows to the two streams: sorted by each clock, the same however the rows are cut, never silently out of order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grinder_kit.errors import DataError
from grinder_kit.kernel.exchange import BBO, CLEAR, DEPTH, SNAPSHOT, TRADE, Stream
from grinder_kit.kernel.feed import FeedOptions, slices
from tests.kernel.markets import MS, START, MemoryMarket, Message, feeds, markets, rows_of
from tests.kernel.reference import stream as plain_stream

NAMES = {"depth": DEPTH, "snapshot": SNAPSHOT, "bbo": BBO, "trade": TRADE, "clear": CLEAR}
Row = tuple[int, int, int, int, int, int]


def whole(market: MemoryMarket, options: FeedOptions) -> tuple[list[Row], list[Row]]:
    """Return both streams as (ts, kind, side, tick, lots, id), checking that each slice keeps its promise."""
    out: tuple[list[Row], list[Row]] = ([], [])
    closed = [-(1 << 62)] * 2
    for stretch in slices(market, options):
        for which, events in enumerate((stretch.exchange, stretch.local)):
            assert all(closed[which] < ts <= stretch.until_ns for ts in events.ts.tolist())
            closed[which] = stretch.until_ns
            columns = (events.ts, events.kind, events.side, events.tick, events.lots, events.id)
            out[which].extend(zip(*(column.tolist() for column in columns), strict=True))
    assert stretch.final
    return out


@settings(max_examples=150)
@given(market=markets(), options=feeds, batch=st.sampled_from([1, 2, 3, 10, 1000]))
def test_streams_are_stable_sorts(market: MemoryMarket, options: FeedOptions, batch: int) -> None:
    """Both streams are stable sorts of the rows by their clock, and do not depend on how the rows are cut."""
    cut = MemoryMarket(market.rows, batch=batch, offset=market.clock_offset_ns)
    for found, local in zip(whole(cut, options), (False, True), strict=True):
        events = plain_stream(market.rows, options, market.clock_offset_ns, local=local)
        assert found == [(e.ts, NAMES[e.kind], e.side, e.tick, e.lots, e.id) for e in events]


def test_memory_stays_bounded() -> None:
    """A slice is handed out as soon as nothing earlier can come: what waits is what the disorder covers."""
    rows = rows_of([(START + n * MS, START + n * MS, "depth", n, [("buy", 5, 1 + n % 3)]) for n in range(10_000)])
    sizes = [len(stretch.exchange.ts) for stretch in slices(MemoryMarket(rows, batch=100), FeedOptions())]
    assert sum(sizes) == 10_000
    assert max(sizes) <= 200


@pytest.mark.parametrize("clock", [0, 1])
def test_late_row_is_refused(clock: int) -> None:
    """A row further back than the recording's metadata promise is an error, not a silent reordering."""
    times = [START, START + 5 * MS, START + 9 * MS, START + 2 * MS]
    messages: list[Message] = []
    for ts in times:
        by_clock = (ts, START + 20 * MS) if clock == 0 else (START + 20 * MS, ts)
        messages.append((*by_clock, "depth", 1, [("buy", 5, 1)]))
    market = MemoryMarket(rows_of(messages), batch=1)
    assert market.disorder_ns[clock] == 7 * MS
    assert len(whole(market, FeedOptions())[clock]) == 4
    other = market.disorder_ns[1 - clock]
    market.disorder_ns = (MS, other) if clock == 0 else (other, MS)
    with pytest.raises(DataError, match="less ordered than its metadata say; import it again"):
        whole(market, FeedOptions())


def test_snapshot_is_cleared_for() -> None:
    """Bids go from the best down to the snapshot's lowest before its bids, asks up to its highest before its asks."""
    levels = [("buy", 99, 1), ("buy", 97, 2), ("sell", 101, 3), ("sell", 104, 4)]
    one_sided = [("sell", 102, 5)]
    rows = rows_of([(START, START, "snapshot", 7, levels), (START, START, "snapshot", 8, one_sided)])
    for events in whole(MemoryMarket(rows), FeedOptions()):
        assert [event[1:] for event in events] == [
            (CLEAR, 1, 97, 0, 7), (SNAPSHOT, 1, 99, 1, 7), (SNAPSHOT, 1, 97, 2, 7),
            (CLEAR, -1, 104, 0, 7), (SNAPSHOT, -1, 101, 3, 7), (SNAPSHOT, -1, 104, 4, 7),
            (CLEAR, -1, 102, 0, 8), (SNAPSHOT, -1, 102, 5, 8),
        ]  # fmt: skip


def _ties() -> MemoryMarket:
    kinds = ("depth", "bbo", "trade", "depth", "trade")
    return MemoryMarket(rows_of([(START, START, kind, n, [("buy", 5, 1)]) for n, kind in enumerate(kinds)]))


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (FeedOptions(), [0, 2, 3, 4]),
        (FeedOptions(quotes=True), [0, 1, 2, 3, 4]),
        (FeedOptions(quotes=True, trades_first=True), [2, 4, 1, 0, 3]),
        (FeedOptions(quotes=True, trade_advance_ns=2 * MS), [2, 4, 0, 1, 3]),
    ],
)
def test_ties(options: FeedOptions, ids: list[int]) -> None:
    """At equal times the order is the file's, or trade, bbo, depth; an advanced trade comes before both."""
    exchange, local = whole(_ties(), options)
    assert [event[5] for event in exchange] == ids
    assert [event[5] for event in local] == ([0, 1, 2, 3, 4] if options.quotes else [0, 2, 3, 4])


def test_trade_advance_moves_the_exchange_alone() -> None:
    """Trades happen earlier at the exchange; the strategy still hears of them when it did."""
    exchange, local = whole(_ties(), FeedOptions(trade_advance_ns=2 * MS))
    assert {event[0] for event in exchange if event[1] == TRADE} == {START - 2 * MS}
    assert {event[0] for event in local} == {START}


def test_offset_is_an_integer() -> None:
    """The clock offset is added without rounding: a double would lose up to 256 ns."""
    odd = 1_272_156_851
    market = MemoryMarket(rows_of([(START, START + 1, "trade", 1, [("buy", 5, 1)])]), offset=odd)
    assert whole(market, FeedOptions())[1][0][0] == START + 1 + odd


@pytest.mark.parametrize(("quotes", "last"), [(True, [False, True, False, True, True]), (False, [False, True, True])])
def test_last_row_of_a_message(quotes: bool, last: list[bool]) -> None:
    """The last row of each message is marked, also where bbo messages between are dropped."""
    depth = [("buy", 5, 1), ("sell", 9, 1)]
    messages: list[Message] = [
        (START, START, "depth", 1, depth), (START, START, "bbo", 2, depth), (START, START, "trade", 3, [("buy", 9, 1)])
    ]  # fmt: skip
    market = MemoryMarket(rows_of(messages), batch=2)
    streams: list[Stream] = [stretch.local for stretch in slices(market, FeedOptions(quotes=quotes))]
    assert np.concatenate([events.last for events in streams]).tolist() == last


def test_market_without_rows() -> None:
    """A market without rows is one final, empty slice."""
    only = list(slices(MemoryMarket(rows_of([])), FeedOptions()))
    assert len(only) == 1
    assert only[0].final
    assert only[0].exchange.ts.size == only[0].local.ts.size == 0
