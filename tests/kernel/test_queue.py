"""Where a cancellation happens in the queue, at the corners that random markets seldom reach."""

from __future__ import annotations

import math

import pytest

from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.queue import OPTIMISTIC, POWER, PRO_RATA, RISK_AVERSE, after_change
from grinder_kit.kernel.simulator import KernelOptions
from tests.kernel.markets import MS, START, Kernel, MemoryMarket, Message, play, rows_of


def responses_of(assumed: KernelOptions, messages: list[Message], orders: int, lots: int) -> list[tuple[int, int, int]]:
    """Return (type, order, lots) of orders to buy at 4 behind 10 lots, sent at once, after the messages."""
    book: Message = (START, START, "depth", 1, [("buy", 4, 10), ("sell", 7, 10)])
    market = MemoryMarket(rows_of([book, *messages]))
    script = [(START, [(ex.PLACE, n + 1, 1, 4, lots, ex.POST_ONLY) for n in range(orders)])]
    found, _ = play(Kernel(assumed, market), script, START + 1_000 * MS)
    return [(r["type"], r["order"], r["lots"]) for r in found]


def message(after_ms: int, kind: str, side: str, tick: int, lots: int) -> Message:
    """Return a message of one level."""
    return (START + after_ms * MS, START + after_ms * MS, kind, 1, [(side, tick, lots)])


@pytest.mark.parametrize(
    ("model", "ahead"), [(RISK_AVERSE, 4.0), (POWER, 4.0 - 3 * (1 - 36 / 52)), (PRO_RATA, 2.8), (OPTIMISTIC, 1.0)]
)
def test_share_of_a_cancellation(model: int, ahead: float) -> None:
    """3 of 10 cancelled, 4 ahead and 6 behind: none, 16/52, 4/10 or all of it was ahead of us."""
    assert after_change(model, 2.0, 4.0, 0.0, 10.0, 7.0) == pytest.approx(ahead)


@pytest.mark.parametrize("model", [RISK_AVERSE, POWER, PRO_RATA, OPTIMISTIC])
def test_traded_is_not_cancelled_again(model: int) -> None:
    """What trades took from the level before its change moves nobody a second time."""
    assert after_change(model, 2.0, 4.0, 3.0, 10.0, 7.0) == 4.0


@pytest.mark.parametrize("model", [POWER, PRO_RATA])
@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_more_ahead_than_the_level_held(model: int, power: float) -> None:
    """A level that the book lost (crossed, cleared, or assumed from neighbours) and that a diff sets to 0 leaves nobody ahead."""
    assert after_change(model, power, 5.0, 0.0, 0.0, 0.0) == 0.0


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0])
def test_negative_queue_is_a_number(power: float) -> None:
    """The power model may move us past the front; the next change still has an answer."""
    assert math.isfinite(after_change(POWER, power, -2.5, 0.0, 10.0, 7.0))


@pytest.mark.parametrize("queue", ["power", "pro_rata", "optimistic", "risk_averse"])
def test_cancellations_do_not_fill(queue: str) -> None:
    """Where the whole own size must trade, cancellations behind us neither add to what has traded nor take from it."""
    assumed = KernelOptions(queue=queue, power=1.5, whole_size=True, entry_ns=(0,))
    path = [message(1, "trade", "sell", 4, 13), message(2, "depth", "buy", 4, 9), message(3, "depth", "buy", 4, 1)]
    assert responses_of(assumed, [*path, message(4, "trade", "sell", 4, 1)], 1, 5) == [(ex.ACCEPTED, 1, 0)]
    filled = [(ex.ACCEPTED, 1, 0), (ex.FILLED, 1, 5)]
    assert responses_of(assumed, [*path, message(4, "trade", "sell", 4, 2)], 1, 5) == filled


@pytest.mark.parametrize("queue", ["touch", "risk_averse", "power"])
def test_shared_volume_is_shared_once(queue: str) -> None:
    """Own orders at one price share what trades: when the first has taken it, the second gets nothing."""
    print_ = [message(1, "trade", "sell", 4, 1 if queue == "touch" else 11)]
    assumed = {"queue": queue, "entry_ns": (0,), "partial_fills": False}
    accepted = [(ex.ACCEPTED, 1, 0), (ex.ACCEPTED, 2, 0)]
    shared = responses_of(KernelOptions(**assumed, share_volume=True), print_, 2, 5)
    assert shared == [*accepted, (ex.FILLED, 1, 5)]
    each = responses_of(KernelOptions(**assumed, share_volume=False), print_, 2, 5)
    assert each == [*accepted, (ex.FILLED, 1, 5), (ex.FILLED, 2, 5)]


def test_partial_fills_add_up() -> None:
    """12 traded through 10 ahead fills 2 of 5; then nobody is ahead and 2 more fill 2 more."""
    assumed = KernelOptions(queue="risk_averse", entry_ns=(0,))
    prints = [message(1, "trade", "sell", 4, 12), message(2, "trade", "sell", 4, 2)]
    assert responses_of(assumed, prints, 1, 5) == [(ex.ACCEPTED, 1, 0), (ex.FILLED, 1, 2), (ex.FILLED, 1, 2)]
