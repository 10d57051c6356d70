"""What a venue accepts: limits in whole ticks and lots, cached for a day, never passed unchecked."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.constraints import DAY_NS, ConstraintProvider, Constraints
from grinder_kit.decision.reason import Reason
from grinder_kit.errors import ConfigError
from grinder_kit.model.instrument import Contract, Instrument

BTC = Instrument(
    symbol="BTCUSDT", venue="binanceusdm", base="BTC", quote="USDT", contract=Contract.LINEAR,
    tick=Decimal("0.1"), lot=Decimal("0.001"), min_quantity=Decimal("0.0025"), max_quantity=Decimal("0.0105"),
    min_notional=Decimal(100), min_price=Decimal("1000.05"), max_price=Decimal("100000.05"),
    band_up=Decimal("1.05"), band_down=Decimal("0.95"), max_orders=200,
)  # fmt: skip
MID2 = 2 * 600_000  # 60,000.0


def reason(ticks: int, lots: int, instrument: Instrument = BTC, mid2: int = MID2) -> Reason | None:
    """Return the code of a refusal."""
    answer = Constraints.of(instrument).refuse(ticks, lots, mid2)
    return None if answer is None else answer[0]


def test_minimums_round_up_and_maximums_down() -> None:
    """A limit between two steps is kept on its strict side."""
    limits = Constraints.of(BTC)
    assert (limits.min_lots, limits.max_lots) == (3, 10)
    assert (limits.min_ticks, limits.max_ticks) == (10_001, 1_000_000)
    assert limits.min_value == 1_000_000  # 100 USDT in units of 0.1 * 0.001


@pytest.mark.parametrize(
    ("ticks", "lots", "expected"),
    [
        (600_000, 3, None),
        (0, 3, Reason.PRICE_NOT_POSITIVE),
        (-5, 3, Reason.PRICE_NOT_POSITIVE),
        (10_000, 3, Reason.PRICE_BAND),
        (1_000_001, 3, Reason.PRICE_BAND),
        (570_000, 3, None),  # the band itself is allowed
        (569_999, 3, Reason.PRICE_BAND),
        (630_000, 3, None),
        (630_001, 3, Reason.PRICE_BAND),
        (600_000, 2, Reason.MIN_QUANTITY),
        (600_000, 10, None),
        (600_000, 11, Reason.MAX_QUANTITY),
    ],
)
def test_each_limit_has_its_own_reason(ticks: int, lots: int, expected: Reason | None) -> None:
    """The first limit that an order violates is named by its code."""
    assert reason(ticks, lots) is expected


def test_minimum_notional_counts_to_the_last_lot() -> None:
    """An order worth the minimum passes, one lot or one tick less does not."""
    eth = Instrument(
        symbol="ETHUSDT", venue="binanceusdm", base="ETH", quote="USDT", contract=Contract.LINEAR,
        tick=Decimal("0.01"), lot=Decimal("0.001"), min_notional=Decimal(20),
    )  # fmt: skip
    assert reason(250_000, 8, eth, 500_000) is None  # 2,500 * 0.008 = 20
    assert reason(249_999, 8, eth, 500_000) is Reason.MIN_NOTIONAL
    assert reason(250_000, 7, eth, 500_000) is Reason.MIN_NOTIONAL


def test_inverse_notional_does_not_depend_on_the_price() -> None:
    """A COIN-M contract is worth its fixed size in quote at any price."""
    coin = Instrument(
        symbol="BTCUSD_PERP", venue="binancecoinm", base="BTC", quote="USD", contract=Contract.INVERSE,
        tick=Decimal("0.1"), lot=Decimal(1), contract_size=Decimal(100), min_notional=Decimal(150),
    )  # fmt: skip
    assert reason(1, 1, coin) is reason(10**9, 1, coin) is Reason.MIN_NOTIONAL
    assert reason(1, 2, coin) is None


def test_no_limits_means_any_positive_order() -> None:
    """Where the venue sets nothing, one lot at one tick passes."""
    bare = Instrument(symbol="X", venue="v", base="X", quote="USDT", tick=Decimal(1), lot=Decimal(1))
    assert reason(1, 1, bare, 2) is None
    assert reason(1, 0, bare, 2) is Reason.MIN_QUANTITY


@given(st.integers(1, 2_000_000), st.integers(1, 20), st.integers(2, 4_000_000))
def test_whole_numbers_say_what_decimals_say(ticks: int, lots: int, mid2: int) -> None:
    """The integer checks refuse exactly what the Decimal limits forbid."""
    price, quantity, mid = BTC.price(ticks), BTC.quantity(lots), BTC.tick * mid2 / 2
    allowed = (
        Decimal("1000.05") <= price <= Decimal("100000.05")
        and mid * Decimal("0.95") <= price <= mid * Decimal("1.05")
        and Decimal("0.0025") <= quantity <= Decimal("0.0105")
        and price * quantity >= 100
    )
    assert (reason(ticks, lots, mid2=mid2) is None) == allowed


# --- the provider ------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that stands still until it is set."""

    now = 0

    def __call__(self) -> int:
        """Return the time."""
        return self.now


def test_limits_are_read_once_a_day() -> None:
    """Within 24 h the source is asked once; from 24 h on the limits are read again."""
    asked: list[str] = []
    lots = iter([Decimal("0.001"), Decimal("0.01")])

    def source(symbol: str) -> Instrument:
        asked.append(symbol)
        return dataclasses.replace(BTC, lot=next(lots))

    clock = Clock()
    provider = ConstraintProvider(source, clock)
    first = provider.constraints("BTCUSDT")
    clock.now = DAY_NS - 1
    assert provider.constraints("BTCUSDT") is first
    assert provider.instrument("BTCUSDT").lot == Decimal("0.001")
    assert asked == ["BTCUSDT"]
    clock.now = DAY_NS
    assert provider.instrument("BTCUSDT").lot == Decimal("0.01")
    assert provider.constraints("BTCUSDT").min_lots == 1
    assert asked == ["BTCUSDT"] * 2


def test_unknown_symbol_is_an_error_and_no_pass() -> None:
    """A symbol that the table does not hold is refused, with the one that may have been meant."""
    provider = ConstraintProvider({"BTCUSDT": BTC}, Clock())
    with pytest.raises(ConfigError, match="unknown symbol 'BTCUSD'; did you mean 'BTCUSDT'?"):
        provider.constraints("BTCUSD")
    with pytest.raises(ConfigError, match="unknown symbol"):
        provider.instrument("XYZ")


def test_failure_of_the_source_is_not_cached() -> None:
    """A source that fails is asked again; nothing passes in between."""
    answers = iter([ConfigError("no such symbol"), BTC])

    def source(symbol: str) -> Instrument:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    provider = ConstraintProvider(source, Clock())
    with pytest.raises(ConfigError):
        provider.constraints("BTCUSDT")
    assert provider.instrument("BTCUSDT") is BTC


def test_symbols_are_cached_apart() -> None:
    """Each symbol has limits of its own."""
    provider = ConstraintProvider(
        {"BTCUSDT": BTC, "OTHER": dataclasses.replace(BTC, symbol="OTHER", max_orders=5)}, Clock()
    )
    assert (provider.constraints("BTCUSDT").max_orders, provider.constraints("OTHER").max_orders) == (200, 5)
