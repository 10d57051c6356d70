"""The compiled kernel does what the plain reference does, on random markets under every combination of assumptions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grinder_kit.kernel import accounts
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.simulator import KernelOptions
from tests.kernel.markets import MS, START, Kernel, MemoryMarket, markets, options, play, scripts
from tests.kernel.reference import Reference

END = START + 1_000 * MS
FUNDING = [(START + 5 * MS, 9), (START + 40 * MS, 0), (START + 41 * MS, 12)]
ACCOUNT = {
    "inventory": accounts.INVENTORY,
    "cash": accounts.CASH,
    "maker_notional": accounts.MAKER_NOTIONAL,
    "taker_notional": accounts.TAKER_NOTIONAL,
    "fills": accounts.FILLS,
    "volume": accounts.VOLUME,
}


def compare(assumed: KernelOptions, market: MemoryMarket, script: Any) -> None:
    """Run both over one market; everything that can be seen must be the same."""
    kernel, plain = Kernel(assumed, market, FUNDING), Reference(assumed, market, FUNDING)
    timed, reactions = script

    def watch_kernel(now: int) -> Any:
        exchange = kernel.simulator.exchange
        rows = range(exchange.head[ex.RESTING])
        own = {int(exchange.resting[row, ex.ID]): float(exchange.queue[row, ex.AHEAD]) for row in rows}
        return now, kernel.simulator.best, own

    def watch_plain(now: int) -> Any:
        return now, (plain.local.best(1), plain.local.best(-1)), {o.id: o.ahead for o in plain.orders}

    responses, seen = play(kernel, timed, END, reactions=reactions, watch=watch_kernel)
    expected, foreseen = play(plain, timed, END, reactions=reactions, watch=watch_plain)
    assert responses == expected
    for (now, best, own), (then, plain_best, plain_own) in zip(seen, foreseen, strict=True):
        assert (now, best, own.keys()) == (then, plain_best, plain_own.keys())
        if assumed.queue != "touch":  # which has no queue
            assert own == pytest.approx(plain_own, abs=1e-9)
    account, inverse = kernel.simulator.exchange.account, kernel.simulator.exchange.inverse
    assert {name: account[at] for name, at in ACCOUNT.items()} == plain.account
    assert list(inverse) == pytest.approx(plain.inverse)
    check_filters(kernel)
    levels = kernel.simulator.exchange.book
    for side in (1, -1):
        for tick, lots in plain.book.levels[side].items():
            assert bk.quantity(levels, side, tick) == lots


def check_filters(kernel: Kernel) -> None:
    """What the exchange keeps to find own orders quickly says what its orders say."""
    exchange = kernel.simulator.exchange
    own = exchange.resting[: exchange.head[ex.RESTING]]
    counts = np.zeros_like(exchange.own_ticks)
    np.add.at(counts, ((1 - own[:, ex.SIDE]) // 2, own[:, ex.TICK] % counts.shape[1]), 1)
    assert (exchange.own_ticks == counts).all()
    assert exchange.head[ex.MAX_BUY] == own[own[:, ex.SIDE] > 0, ex.TICK].max(initial=bk.NO_BID)
    assert exchange.head[ex.MIN_SELL] == own[own[:, ex.SIDE] < 0, ex.TICK].min(initial=bk.NO_ASK)


@settings(max_examples=400)
@given(assumed=options(), market=markets(), script=scripts())
def test_equals_the_reference(assumed: KernelOptions, market: MemoryMarket, script: Any) -> None:
    """Responses, queue positions, accounts and both books are those of the reference."""
    compare(assumed, market, script)


@settings(max_examples=100)
@given(assumed=options(), market=markets(scale=100_003), script=scripts(scale=100_003))
def test_equals_the_reference_far_apart(assumed: KernelOptions, market: MemoryMarket, script: Any) -> None:
    """The same where levels lie a hundred thousand ticks apart, so that the window moves and most levels are far from it."""
    compare(assumed, market, script)


@settings(max_examples=60)
@given(assumed=options(), market=markets(), script=scripts(), batch=st.sampled_from([1, 2, 7, 50]))
def test_batches_change_nothing(assumed: KernelOptions, market: MemoryMarket, script: Any, batch: int) -> None:
    """Rows in batches of any size give the same responses."""
    timed, reactions = script
    whole, _ = play(Kernel(assumed, market), timed, END, reactions=reactions)
    cut = MemoryMarket(market.rows, batch=batch, offset=market.clock_offset_ns)
    assert play(Kernel(assumed, cut), timed, END, reactions=reactions)[0] == whole
