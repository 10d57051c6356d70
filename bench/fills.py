"""Measure the books: what it takes to book a fill, of which half complete round trips, with all fills held and with a bound."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

FILLS = 20_000
KEEP = 2_000
Row = Callable[..., dict[str, Any]]


def fills(row: Row) -> list[dict[str, Any]]:
    """Return the rows."""
    return [
        row("books: a fill, all of them held", booking({}), "us"),
        row(f"books: a fill, the latest {KEEP:,} held", booking({"keep": KEEP}), "us"),
        row("books: a fill with a fee in a third asset", booking({}, asset="BNB"), "us"),
        row("books: a fill in the ledger", booking(None), "us"),
    ]


def booking(options: dict[str, Any] | None, *, asset: str = "USDT") -> float:
    """Return the median microseconds of a fill; None books in a ledger."""
    from grinder_kit.execution.fill_tracker import FillTracker
    from grinder_kit.execution.ledger import Ledger
    from grinder_kit.model.fill import Fill
    from grinder_kit.model.instrument import Instrument
    from grinder_kit.model.order import Side

    tick, lot = Decimal("0.1"), Decimal("0.001")
    instrument = Instrument(symbol="BTCUSDT", venue="bench", base="BTC", quote="USDT", tick=tick, lot=lot)
    draw = random.Random(7)
    made = [
        Fill(
            fill_id=str(4_000_000_000 + number), order_id=f"gkb0-B1-{number}", symbol="BTCUSDT", side=draw.choice(list(Side)),
            price=instrument.price(600_000 + draw.randrange(400)), quantity=instrument.quantity(draw.randint(1, 5)),
            commission=Decimal("0.0123"), commission_asset=asset, ts_ns=number, is_maker=True,
            commission_rate=None if asset == instrument.settle else Decimal("612.4"),
        )
        for number in range(FILLS)
    ]  # fmt: skip
    rounds = []
    for _ in range(5):
        book = Ledger(instrument).apply if options is None else FillTracker(instrument, **options).record_fill
        start = time.perf_counter()
        for fill in made:
            book(fill)
        rounds.append((time.perf_counter() - start) / FILLS)
    return statistics.median(rounds) * 1e6
