"""Fills and instruments for the tests of the books."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import count

from grinder_kit.execution.fill_tracker import FillTracker
from grinder_kit.model.fill import Fill, RoundTrip
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import Side

D = Decimal
SPOT = Instrument(symbol="BTCUSDT", venue="binance", base="BTC", quote="USDT", tick=D("0.1"), lot=D("0.001"))
LINEAR = replace(SPOT, venue="binanceusdm", contract=Contract.LINEAR)
INVERSE = Instrument(
    symbol="BTCUSD_PERP",
    venue="binancecoinm",
    base="BTC",
    quote="USD",
    tick=D("0.1"),
    lot=D(1),
    contract=Contract.INVERSE,
    contract_size=D(100),
)
_ids = count(1)


def make_fill(side: str, price: str, quantity: str = "1", commission: str = "0", **changes: object) -> Fill:
    """Return a fill of its own id, one millisecond after the last one."""
    number = next(_ids)
    values: dict[str, object] = {
        "fill_id": f"f{number}",
        "order_id": f"o{number}",
        "symbol": "BTCUSDT",
        "side": Side(side),
        "price": D(price),
        "quantity": D(quantity),
        "commission": D(commission),
        "commission_asset": "USDT",
        "ts_ns": number * 1_000_000,
        "is_maker": True,
        "level_id": f"{side[0]}{number}",
    }
    return Fill(**(values | changes))  # type: ignore[arg-type]


def record(tracker: FillTracker, *fills: Fill) -> list[RoundTrip]:
    """Book fills and return all round trips."""
    return [trip for fill in fills for trip in tracker.record_fill(fill)]
