"""The kernel as one object: what it refuses, when it is done, what the strategy can see."""

from __future__ import annotations

import pytest

from grinder_kit.errors import DataError
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.feed import FeedOptions, slices
from grinder_kit.kernel.simulator import KernelOptions, Simulator
from grinder_kit.market.features import NAMES, features
from grinder_kit.market.recording import Recording
from tests.kernel.markets import MS, START, Kernel, MemoryMarket, Message, rows_of

SECOND = 1_000 * MS
BOOK: Message = (START, START, "depth", 1, [("buy", 4, 10), ("sell", 7, 10)])


def test_market_is_never_skipped() -> None:
    """Without a stretch nothing runs, and one that is not used up is not replaced."""
    simulator = Simulator(KernelOptions())
    with pytest.raises(DataError, match="no market has been loaded"):
        simulator.run(START)
    first, last = slices(MemoryMarket(rows_of([BOOK])), FeedOptions())
    simulator.load(first)
    simulator.load(last)
    with pytest.raises(DataError, match="before it was used up"):
        simulator.load(last)
    simulator.run(START)
    simulator.load(last)


def test_more_until_the_last_response() -> None:
    """There is more to come while an order or a response is under way; nothing sent is nothing to come."""
    later: Message = (START + MS, START + MS, "depth", 2, [("buy", 4, 9)])
    kernel = Kernel(KernelOptions(), MemoryMarket(rows_of([BOOK, later])))
    simulator = kernel.simulator
    kernel.run(START + MS)
    assert not simulator.more
    simulator.submit([], START + MS)
    assert not simulator.more
    simulator.submit([(ex.PLACE, 1, 1, 3, 1, ex.POST_ONLY)], START + MS)
    assert kernel.run(START + 20 * MS) == (START + 20 * MS, [])
    assert simulator.more
    reached, (response,) = kernel.run(START + SECOND)
    assert (reached, response["type"]) == (START + 21 * MS, ex.ACCEPTED)
    assert not simulator.more


@pytest.mark.parametrize(("kind", "stale"), [("depth", True), ("trade", True), ("snapshot", False), ("bbo", False)])
def test_stale_until_anchored(kind: str, stale: bool) -> None:
    """After a gap the book is not to be trusted until a snapshot or a quote anchors it, or five seconds have passed."""
    gap: Message = (START + SECOND, START + SECOND, "gap", 5, [("none", 0, 0)])
    after: Message = (START + 2 * SECOND, START + 2 * SECOND, kind, 6, [("buy", 4, 9)])
    kernel = Kernel(KernelOptions(feed=FeedOptions(quotes=True)), MemoryMarket(rows_of([BOOK, gap, after])))
    kernel.run(START)
    assert not kernel.simulator.stale(START)
    kernel.run(START + SECOND)
    assert kernel.simulator.stale(START + SECOND)
    kernel.run(START + 2 * SECOND)
    assert kernel.simulator.stale(START + 2 * SECOND) == stale
    assert not kernel.simulator.stale(START + 6 * SECOND)


def test_queue_ahead_is_of_resting_orders() -> None:
    """An order that is not at the exchange yet, or no longer, has no place in a queue."""
    kernel = Kernel(KernelOptions(), MemoryMarket(rows_of([BOOK])))
    kernel.submit([(ex.PLACE, 1, 1, 4, 1, ex.POST_ONLY)], START)
    kernel.run(START + 9 * MS)
    assert kernel.queue_ahead(1) is None
    kernel.run(START + 15 * MS)
    assert kernel.queue_ahead(1) == 10.0


def test_features_are_those_of_the_market(btc_recording: Recording) -> None:
    """What the strategy sees second by second is, bit for bit, what `features` says of the recording."""
    expected = features(btc_recording, quotes="depth")
    kernel = Kernel(KernelOptions(), btc_recording)
    for row in expected.iter_rows(named=True):
        now = row.pop("ts_ns")
        kernel.run(now)
        found = kernel.simulator.features(now, btc_recording.instrument)
        assert {name: getattr(found, name) for name in NAMES} == {name: row[name] for name in NAMES}, now
