"""The wire of a served venue: what is written is read again, and what cannot be read says why."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import (
    BannedError,
    ConnectivityError,
    MalformedAnswerError,
    OrderNotFoundError,
    OrderRejectedError,
    OutcomeUnknownError,
    RateLimitError,
    SupersededError,
    VenueError,
)
from grinder_kit.execution.port import FUTURES, SPOT, Balance
from grinder_kit.model.event import FundingPaid, StreamLost, Tick
from grinder_kit.model.fill import Fill, Position
from grinder_kit.model.market import Features
from grinder_kit.model.order import (
    AmendRequest,
    CancelRequest,
    InFlight,
    Order,
    OrderRequest,
    OrderResult,
    OrderState,
    OrderType,
    Side,
)
from grinder_kit.venue import wire

# Any text that UTF-8 can write.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ID = st.from_regex(r"[A-Za-z0-9_-]{1,36}", fullmatch=True)
MONEY = st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**9), max_value=10**9)
AMOUNT = st.decimals(places=8, min_value=Decimal("0.00000001"), max_value=10**9)
TIME = st.integers(0, 2**63 - 1)
SIDE = st.sampled_from(Side)
ORDER = st.builds(
    Order,
    client_order_id=ID,
    level_id=TEXT,
    symbol=TEXT,
    side=SIDE,
    price=AMOUNT,
    quantity=AMOUNT,
    type=st.sampled_from(OrderType),
    state=st.sampled_from(OrderState),
    in_flight=st.none() | st.sampled_from(InFlight),
    filled_quantity=AMOUNT,
    order_id=st.none() | TEXT,
    created_ns=TIME,
    updated_ns=TIME,
    reduce_only=st.booleans(),
    raw=TEXT,
)
_ASKED: dict[str, Any] = {
    "client_order_id": ID,
    "level_id": TEXT,
    "symbol": TEXT,
    "side": SIDE,
    "price": AMOUNT,
    "quantity": AMOUNT,
    "epoch": st.integers(0, 99),
}
VALUE = st.one_of(
    ORDER,
    st.builds(OrderRequest, **_ASKED, type=st.sampled_from(OrderType), reduce_only=st.booleans()),
    st.builds(AmendRequest, **_ASKED, order_id=st.none() | TEXT),
    st.builds(CancelRequest, client_order_id=ID, symbol=TEXT, level_id=TEXT, order_id=st.none() | TEXT),
    st.builds(
        OrderResult,
        level_id=TEXT,
        client_order_id=ID,
        ok=st.booleans(),
        order=st.none() | ORDER,
        reason=st.none() | TEXT,
        detail=TEXT,
        action=TEXT,
    ),
    st.builds(
        Fill,
        fill_id=TEXT,
        order_id=ID,
        symbol=TEXT,
        side=SIDE,
        price=AMOUNT,
        quantity=AMOUNT,
        commission=MONEY,
        commission_asset=TEXT,
        ts_ns=TIME,
        is_maker=st.booleans(),
        level_id=TEXT,
    ),
    st.builds(Position, symbol=TEXT, quantity=MONEY, entry_price=st.none() | AMOUNT),
    st.builds(Balance, asset=TEXT, free=MONEY, total=MONEY),
    st.builds(StreamLost, ts_ns=TIME, reason=TEXT),
    st.builds(FundingPaid, ts_ns=TIME, amount=MONEY),
    st.builds(
        Tick,
        bid_ticks=st.none() | st.integers(1, 10**9),
        ask_ticks=st.none() | st.integers(1, 10**9),
        stale=st.booleans(),
        features=st.none() | st.builds(Features, ts_ns=TIME, mid=st.none() | st.floats(0, 1e6), natr_bps=st.none()),
    ),
    st.sampled_from([FUTURES, SPOT]),
)
AN_ORDER = Order(
    client_order_id="gkr0-B1-1",
    level_id="BUY_1",
    symbol="SYNTH-USDT",
    side=Side.BUY,
    price=Decimal("59990.10"),
    quantity=Decimal("0.004"),
    state=OrderState.OPEN,
)


def through(value: Any) -> Any:
    """Return a value as it comes out at the other end."""
    line = wire.encode({"value": wire.to_json(value)})
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    return wire.from_json(json.loads(line)["value"])


@given(VALUE)
def test_value_comes_out_as_it_went_in(value: Any) -> None:
    """Every value of the port survives the wire: digits, kinds and absences."""
    assert through(value) == value
    assert through([value, None, 3]) == [value, None, 3]
    assert through({"key": value}) == {"key": value}
    assert repr(through(value)) == repr(value)


@pytest.mark.parametrize("status", ["FOO", "", "open", None, 7, ["OPEN"]])
def test_status_that_nobody_knows_leaves_the_order_unknown(status: Any) -> None:
    """A status FOO gives an order with in_flight UNKNOWN that keeps the message, alone and inside a result."""
    message = wire.to_json(AN_ORDER) | {"state": status}
    order = wire.read(Order, message)
    assert (order.in_flight, order.state) == (InFlight.UNKNOWN, OrderState.PENDING)
    assert json.loads(order.raw) == message
    assert (order.client_order_id, order.price) == (AN_ORDER.client_order_id, AN_ORDER.price)
    result = wire.to_json(OrderResult(level_id="BUY_1", client_order_id="gkr0-B1-1", ok=True, order=AN_ORDER))
    result["order"]["state"] = status
    read = wire.read(OrderResult, result)
    assert read.order is not None and read.order.in_flight is InFlight.UNKNOWN


@pytest.mark.parametrize("name", ["client_order_id", "state", "filled_quantity", "raw"])
def test_answer_that_lacks_a_field_names_it(name: str) -> None:
    """A missing field is an unknown outcome that names the field, and keeps answer and request."""
    message = wire.to_json(AN_ORDER)
    del message[name]
    with pytest.raises(MalformedAnswerError, match=rf"\(Order\) lacks '{name}'") as error:
        wire.read(Order, message, request="the request")
    assert (error.value.raw, error.value.request) == (message, "the request")
    assert isinstance(error.value, OutcomeUnknownError)


@pytest.mark.parametrize(
    ("name", "value"), [("price", "abc"), ("price", None), ("side", "UP"), ("created_ns", "x"), ("price", "NaN")]
)
def test_field_that_cannot_be_read_is_named(name: str, value: Any) -> None:
    """A field of another kind is named, with what was expected."""
    with pytest.raises(MalformedAnswerError, match=f"field '{name}' that cannot be read"):
        wire.from_json(wire.to_json(AN_ORDER) | {name: value})


@pytest.mark.parametrize("message", [{"what": "Teapot"}, {"what": ["Order"]}])
def test_kind_that_nobody_knows_is_malformed(message: Any) -> None:
    """An answer that says it is something else cannot be read."""
    with pytest.raises(MalformedAnswerError, match="nobody here knows one"):
        wire.from_json(message)
    with pytest.raises(MalformedAnswerError, match="is no Order"):
        wire.read(Order, "an order")


@pytest.mark.parametrize(
    "error",
    [
        VenueError("it failed"),
        ConnectivityError("no route"),
        OutcomeUnknownError("no answer"),
        MalformedAnswerError("what?", raw="{"),
        RateLimitError("slow down", retry_after=0.0),
        RateLimitError("slow down", retry_after=None),
        BannedError("go away", retry_after=120.0),
        OrderRejectedError("no", reason="MIN_NOTIONAL"),
        OrderNotFoundError("which?"),
        SupersededError("too late"),
    ],
)
def test_error_keeps_its_class_and_what_it_carries(error: VenueError) -> None:
    """An error comes out as the same error, about the request of whoever asked."""
    read = wire.error_from_json(json.loads(json.dumps(wire.to_json(error))), request="mine")
    assert type(read) is type(error) and str(read) == str(error)
    carried = ("reason", "retry_after", "raw")
    assert [getattr(read, n, "-") for n in carried] == [getattr(error, n, "-") for n in carried]
    assert read.request == "mine"


@pytest.mark.parametrize(
    "message",
    [None, {}, {"class": "Teapot", "message": ""}, {"class": "DataError", "message": ""}, {"class": "VenueError"}],
)
def test_error_that_cannot_be_read_is_an_unknown_outcome(message: Any) -> None:
    """An error in no known form says nothing about what was done."""
    assert isinstance(wire.error_from_json(message), MalformedAnswerError)
