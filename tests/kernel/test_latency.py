"""Latency: constant or drawn, never overtaking, and at equal times in the order of the oracle."""

from __future__ import annotations

from collections import Counter

import pytest

from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.simulator import KernelOptions
from tests.kernel.markets import MS, START, Command, Kernel, MemoryMarket, Message, Response, play, rows_of

ENTRY, RESPONSE = (1 * MS, 4 * MS, 30 * MS), (2 * MS, 3 * MS, 50 * MS)
BOOK: Message = (START - MS, START - MS, "depth", 1, [("buy", 4, 10), ("sell", 7, 10)])
MARKET = MemoryMarket(rows_of([BOOK]))


def place(number: int, side: int = 1, tick: int = 3, kind: int = ex.POST_ONLY) -> Command:
    """Return an order of one lot."""
    return (ex.PLACE, number, side, tick, 1, kind)


def drawn(seed: int, spacing_ns: int, *, market: MemoryMarket = MARKET) -> list[Response]:
    """Return the responses to 300 orders, one by one."""
    options = KernelOptions(entry_ns=ENTRY, response_ns=RESPONSE, seed=seed)
    script = [(START + n * spacing_ns, [place(n)]) for n in range(300)]
    return play(Kernel(options, market), script, START + 400 * spacing_ns + 1_000 * MS)[0]


def delays(responses: list[Response], spacing_ns: int) -> list[tuple[int, int]]:
    """Return (entry, response) latency of each response to the n-th order."""
    return [(r["ts"] - START - r["order"] * spacing_ns, r["seen"] - r["ts"]) for r in responses]


def test_constant_latency() -> None:
    """An order arrives after the entry latency; its response is seen after the response latency."""
    options = KernelOptions(entry_ns=(7 * MS,), response_ns=(5 * MS,))
    (response,), _ = play(Kernel(options, MARKET), [(START, [place(1)])], START + 100 * MS)
    assert (response["ts"], response["seen"]) == (START + 7 * MS, START + 12 * MS)


def test_drawn_latency_comes_from_the_table() -> None:
    """Far apart, each latency is one of the table, each about as often; the same seed draws the same."""
    pairs = delays(drawn(3, 1_000 * MS), 1_000 * MS)
    for values, table in zip(zip(*pairs, strict=True), (ENTRY, RESPONSE), strict=True):
        counts = Counter(values)
        assert set(counts) == set(table)
        assert min(counts.values()) > 60
    assert pairs == delays(drawn(3, 1_000 * MS), 1_000 * MS)


def test_seed_decides_alone() -> None:
    """Another seed draws otherwise; another market, or the same in other batches, does not."""
    first = delays(drawn(1, 1_000 * MS), 1_000 * MS)
    assert first != delays(drawn(2, 1_000 * MS), 1_000 * MS)
    busy = MemoryMarket(
        rows_of([BOOK, *((START + n * MS, START + n * MS, "depth", n, [("buy", 4, 1 + n % 5)]) for n in range(500))]),
        batch=13,
    )
    assert first == delays(drawn(1, 1_000 * MS, market=busy), 1_000 * MS)


def test_nothing_overtakes() -> None:
    """Orders sent close together arrive in the order they were sent, and responses are seen in the order they were made."""
    responses = drawn(5, MS)
    assert [r["order"] for r in responses] == list(range(300))
    for key in ("ts", "seen"):
        times = [r[key] for r in responses]
        assert times == sorted(times)
    assert all(entry >= ENTRY[0] and answer >= RESPONSE[0] for entry, answer in delays(responses, MS))


def test_commands_of_one_step_arrive_in_order() -> None:
    """A cancel sent before a place of the same step is handled before it."""
    script = [(START, [place(1)]), (START + 50 * MS, [(ex.CANCEL, 1, 1, 3, 1, 0), place(2)])]
    responses, _ = play(Kernel(KernelOptions(), MARKET), script, START + 200 * MS)
    assert [(r["type"], r["order"]) for r in responses] == [(ex.ACCEPTED, 1), (ex.CANCELLED, 1), (ex.ACCEPTED, 2)]


@pytest.mark.parametrize(("after_ms", "what"), [(10, ex.REJECTED), (11, ex.ACCEPTED)])
def test_market_comes_before_orders(after_ms: int, what: int) -> None:
    """An order that arrives in a millisecond comes after all market events of that millisecond."""
    falls: Message = (START + after_ms * MS, START + after_ms * MS, "depth", 2, [("buy", 4, 0), ("sell", 3, 1)])
    market = MemoryMarket(rows_of([BOOK, falls]))
    responses, _ = play(Kernel(KernelOptions(), market), [(START, [place(1)])], START + 15 * MS)
    assert responses == []
    responses, _ = play(Kernel(KernelOptions(), market), [(START, [place(1)])], START + 20 * MS)
    assert [r["type"] for r in responses] == [what]


def test_local_market_comes_before_responses() -> None:
    """When a response is seen, the local book holds every event of that time, and nothing later."""
    events: list[Message] = [
        (START + 15 * MS, START + at * MS, "depth", 2, [("buy", tick, 1)]) for at, tick in ((20, 5), (21, 6))
    ]
    kernel = Kernel(KernelOptions(), MemoryMarket(rows_of([BOOK, *events])))
    kernel.submit([place(1)], START)
    reached, (response,) = kernel.run(START + 500 * MS)
    assert reached == response["seen"] == START + 20 * MS
    assert kernel.simulator.best == (5, 7)


def test_responses_come_before_the_exchange_moves_on() -> None:
    """What is sent upon a response of time t with no latency arrives before market events after t, and after those at t."""
    options = KernelOptions(entry_ns=(0,), response_ns=(0,))
    crosses: Message = (START + 5 * MS, START + 5 * MS, "trade", 2, [("sell", 3, 1)])
    market = MemoryMarket(rows_of([BOOK, crosses, (START + 6 * MS, START + 6 * MS, "trade", 3, [("sell", 2, 9)])]))
    script = [(START, [place(1, tick=4)])]
    responses, _ = play(Kernel(options, market), script, START + 9 * MS, reactions=[[], [place(2, tick=4)]])
    assert [(r["type"], r["order"], r["ts"] - START) for r in responses] == [
        (ex.ACCEPTED, 1, 0), (ex.FILLED, 1, 5 * MS), (ex.ACCEPTED, 2, 5 * MS), (ex.FILLED, 2, 6 * MS)
    ]  # fmt: skip


def test_no_room_is_ever_short() -> None:
    """Two thousand orders at once, and one that takes three thousand levels: every response comes."""
    asks = [("sell", 10_000 + n, 1) for n in range(3_000)]
    market = MemoryMarket(rows_of([(START - MS, START - MS, "depth", 1, [("buy", 9_000, 1), *asks])]))
    script = [
        (START, [place(n, tick=1 + n % 8_000) for n in range(2_000)]),
        (START + MS, [(ex.PLACE, 2_000, 1, 20_000, 5_000, ex.IOC)]),
        (START + 2 * MS, [(ex.CANCEL, n, 1, 1, 1, 0) for n in range(2_000)]),
    ]
    responses, _ = play(Kernel(KernelOptions(queue="touch"), market), script, START + 100 * MS)
    counts = Counter(r["type"] for r in responses)
    assert counts == {ex.ACCEPTED: 2_001, ex.FILLED: 3_000, ex.EXPIRED: 1, ex.CANCELLED: 2_000}
