"""Requests: what must never be sent is refused when it is made, by name and with the request."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from grinder_kit.errors import ConfigError, InvalidRequestError
from grinder_kit.model.grid import GridPlan
from grinder_kit.model.order import AmendRequest, OrderRequest, Side

GOOD: dict[str, Any] = {
    "client_order_id": "gkr0-B1-1", "level_id": "BUY_1", "symbol": "BTCUSDT", "side": Side.BUY,
    "price": "60000", "quantity": "0.002",
}  # fmt: skip


@pytest.mark.parametrize("request_type", [OrderRequest, AmendRequest])
@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("quantity", Decimal("NaN"), "quantity is NaN; write a finite number"),
        ("quantity", 0, "quantity is 0; it must be above zero"),
        ("price", 60000.5, 'price is a float; write "60000.5"'),
        ("price", Decimal("-1"), "price is -1; it must be above zero"),
        ("price", "sixty", "which is no number"),
        ("client_order_id", "", "write 1 to 36 of A-Z"),
        ("client_order_id", "gk r0", "write 1 to 36 of A-Z"),
        ("client_order_id", "g" * 37, "write 1 to 36 of A-Z"),
    ],
)
def test_what_must_not_be_sent_is_refused(request_type: Any, key: str, value: object, words: str) -> None:
    """The message says what to write instead; the request is attached."""
    with pytest.raises(InvalidRequestError, match=words) as error:
        request_type(**(GOOD | {key: value}))
    assert error.value.request.level_id == "BUY_1"
    assert isinstance(error.value, ConfigError)


def test_text_and_whole_numbers_become_decimals() -> None:
    """Exactly what was written."""
    request = OrderRequest(**GOOD)
    assert (request.price, request.quantity) == (Decimal(60000), Decimal("0.002"))


def test_a_plan_without_sizes_is_refused() -> None:
    """A mode that quotes needs at least one size."""
    with pytest.raises(ConfigError, match="size_schedule is empty"):
        GridPlan(center_price=Decimal(1), spacing_bps=Decimal(1), levels_up=1, levels_down=1, size_schedule=())
