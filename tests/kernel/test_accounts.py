"""What fills add up to in the kernel: inventory, cash, traded notional by liquidity, funding; exact in integers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.kernel import accounts
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.accounts import book_fill, new_accounts
from grinder_kit.kernel.simulator import KernelOptions
from tests.kernel.markets import MS, START, Kernel, MemoryMarket, Message, play, rows_of

FILLS = st.lists(
    st.tuples(
        st.sampled_from([1, -1]), st.integers(1, 10**7), st.integers(1, 10**6), st.booleans()
    ),
    max_size=30,
)  # fmt: skip


@given(FILLS)
def test_linear_books_are_exact(fills: list[tuple[int, int, int, bool]]) -> None:
    """Inventory, cash and notionals are the exact sums over the fills."""
    account, inverse = new_accounts()
    for side, tick, lots, maker in fills:
        book_fill(account, inverse, side, tick, lots, maker)
    assert account[accounts.INVENTORY] == sum(side * lots for side, _, lots, _ in fills)
    assert account[accounts.CASH] == -sum(side * tick * lots for side, tick, lots, _ in fills)
    assert account[accounts.MAKER_NOTIONAL] == sum(tick * lots for _, tick, lots, maker in fills if maker)
    assert account[accounts.TAKER_NOTIONAL] == sum(tick * lots for _, tick, lots, maker in fills if not maker)
    assert account[accounts.FILLS] == len(fills)
    assert account[accounts.VOLUME] == sum(lots for _, _, lots, _ in fills)


@given(FILLS)
def test_inverse_books_are_close(fills: list[tuple[int, int, int, bool]]) -> None:
    """An inverse contract is paid in base: lots per tick, a buy adds; floats stay close to the exact fractions."""
    account, inverse = new_accounts()
    for side, tick, lots, maker in fills:
        book_fill(account, inverse, side, tick, lots, maker)
    worth = [(side, maker, Decimal(lots) / tick) for side, tick, lots, maker in fills]
    turnover = float(sum(w for _, _, w in worth)) or 1.0
    for at, exact in (
        (accounts.INVERSE_CASH, sum((side * w for side, _, w in worth), Decimal())),
        (accounts.INVERSE_MAKER, sum((w for _, maker, w in worth if maker), Decimal())),
        (accounts.INVERSE_TAKER, sum((w for _, maker, w in worth if not maker), Decimal())),
    ):
        assert abs(inverse[at] - float(exact)) <= 1e-12 * turnover


BOOK: Message = (START, START, "depth", 1, [("buy", 98, 4), ("buy", 99, 2), ("sell", 101, 3), ("sell", 102, 5)])


def run(*, kind: int, lots: int = 7, tick: int = 102, side: int = 1, later: tuple[Message, ...] = ()) -> Kernel:
    """Send one order and let the market end."""
    kernel = Kernel(KernelOptions(queue="risk_averse"), MemoryMarket(rows_of([BOOK, *later])), [(START + 90 * MS, 100)])
    responses, _ = play(kernel, [(START, [(ex.PLACE, 1, side, tick, lots, kind)])], START + 200 * MS)
    kernel.responses = responses
    return kernel


def fills(kernel: Kernel) -> list[tuple[int, int, int, int]]:
    """Return (tick, lots, leaves, maker) of the fills."""
    return [(r["tick"], r["lots"], r["leaves"], r["maker"]) for r in kernel.responses if r["type"] == ex.FILLED]


def test_taking_walks_the_book() -> None:
    """An IOC takes level after level up to its limit, as taker, each at its own price; what is left expires."""
    kernel = run(kind=ex.IOC, lots=9)
    assert fills(kernel) == [(101, 3, 6, 0), (102, 5, 1, 0)]
    assert [(r["type"], r["leaves"]) for r in kernel.responses][-2:] == [(ex.EXPIRED, 1), (ex.FUNDING, 0)]
    account = kernel.simulator.exchange.account
    assert account[accounts.INVENTORY] == 8
    assert account[accounts.CASH] == -(3 * 101 + 5 * 102)
    assert (account[accounts.MAKER_NOTIONAL], account[accounts.TAKER_NOTIONAL]) == (0, 3 * 101 + 5 * 102)


def test_limit_takes_and_rests() -> None:
    """A limit order takes what its price allows and rests with the remainder, which fills as maker."""
    later: Message = (START + 50 * MS, START + 50 * MS, "trade", 2, [("sell", 101, 2)])
    kernel = run(kind=ex.LIMIT, tick=101, lots=5, later=(later,))
    assert fills(kernel) == [(101, 3, 2, 0), (101, 2, 0, 1)]
    account = kernel.simulator.exchange.account
    assert (account[accounts.MAKER_NOTIONAL], account[accounts.TAKER_NOTIONAL]) == (2 * 101, 3 * 101)


def test_the_market_does_not_feel_us() -> None:
    """What we take is still there: the recorded market goes on as it did."""
    kernel = run(kind=ex.IOC)
    assert kernel.simulator.best == (99, 101)
    head = kernel.simulator.exchange.book.head
    assert (head[1], head[2]) == (99, 101)


@pytest.mark.parametrize("side", [1, -1])
def test_post_only_never_takes(side: int) -> None:
    """A post-only order at the other side's best is refused whole."""
    kernel = run(kind=ex.POST_ONLY, side=side, tick=101 if side > 0 else 99)
    assert [(r["type"], r["lots"], r["leaves"]) for r in kernel.responses] == [(ex.REJECTED, 0, 7)]
    assert not kernel.simulator.exchange.account.any()


@pytest.mark.parametrize("lots", [7, 1])
def test_funding_is_of_the_position_held(lots: int) -> None:
    """Funding comes at its time with the lots held then and the mark; without a position it does not come."""
    kernel = run(kind=ex.IOC, lots=lots)
    funding = [r for r in kernel.responses if r["type"] == ex.FUNDING]
    assert [(r["ts"] - START, r["order"], r["tick"], r["lots"]) for r in funding] == [(90 * MS, 0, 100, lots)]
    assert not [r for r in run(kind=ex.IOC, lots=1, tick=100).responses if r["type"] == ex.FUNDING]


def test_fees_and_rebates_follow_from_notional() -> None:
    """A fee is a share of the notional by liquidity: a negative maker fee pays us on exactly what we made."""
    later: Message = (START + 50 * MS, START + 50 * MS, "trade", 2, [("sell", 101, 2)])
    account = run(kind=ex.LIMIT, tick=101, lots=5, later=(later,)).simulator.exchange.account
    maker, taker = Decimal("-0.0001"), Decimal("0.0005")
    paid = maker * int(account[accounts.MAKER_NOTIONAL]) + taker * int(account[accounts.TAKER_NOTIONAL])
    assert paid == Decimal("-0.0202") + Decimal("0.1515")
