"""Own orders as the engine knows them: one per level key, moved only by the transition table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from grinder_kit.decision.grid_manager import level_id
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import InFlight, Order, OrderState, OrderType, Side

_CLIENT_ORDER_ID = re.compile(r"gk[A-Za-z0-9_-]*-([BS]-?\d+)-[0-9a-z]+")


@dataclass(slots=True)
class OwnOrder:
    """One order; prices in ticks, quantities in lots, times in ns. `side` is +1 for a buy."""

    client_order_id: str
    key: str
    side: int
    ticks: int
    lots: int
    sent_ns: int
    filled: int = 0
    state: OrderState = OrderState.PENDING
    in_flight: InFlight | None = InFlight.NEW
    ended_ns: int = 0
    reason: str = ""


class OwnOrders:
    """The live orders of one session and symbol, and the client order ids they were sent under.

    Client order ids are ``gk`` + tag + ``-`` + level key + ``-`` + generation in base 36 (``gkr0-B3-1a``): ours can be told
    from others' with everything else lost, and a key that is placed again gets another generation.
    """

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.by_key: dict[str, OwnOrder] = {}
        self.by_id: dict[str, OwnOrder] = {}
        self.ended: list[OwnOrder] = []  # terminal orders that nobody has collected yet
        self.late_events = 0
        self._generation: dict[str, int] = {}
        self._at_price: dict[int, int] = {}

    def __iter__(self) -> Iterator[OwnOrder]:
        return iter(self.by_key.values())

    def __len__(self) -> int:
        return len(self.by_key)

    def occupied(self, ticks: int) -> bool:
        """Whether an own order of either side lives at a price."""
        return ticks in self._at_price

    def add(self, key: str, side: int, ticks: int, lots: int, now_ns: int) -> OwnOrder:
        """Register an order that is about to be sent; its key must be free."""
        assert key not in self.by_key, f"a second order under {key}"  # one order per key, always: a bug, not bad input
        generation = self._generation.get(key, 0) + 1
        self._generation[key] = generation
        order = OwnOrder(f"gk{self.tag}-{key}-{base36(generation)}", key, side, ticks, lots, now_ns)
        self.by_key[key] = self.by_id[order.client_order_id] = order
        self._at_price[ticks] = self._at_price.get(ticks, 0) + 1
        return order

    def become(self, client_order_id: str, state: OrderState, ts_ns: int, reason: str = "") -> OwnOrder | None:
        """Move an order to a state; a late or impossible event changes nothing and is counted."""
        order = self.by_id.get(client_order_id)
        if order is None or not order.state.may_become(state):
            self.late_events += 1
            return None
        order.state = state
        if order.in_flight is InFlight.NEW:
            order.in_flight = None
        if state.terminal:
            self._end(order, ts_ns, reason)
        return order

    def fill(self, client_order_id: str, lots: int, ts_ns: int) -> OwnOrder | None:
        """Book a fill on the order; None when the order is not live any more (the fill itself still counts)."""
        order = self.by_id.get(client_order_id)
        if order is None:
            self.late_events += 1
            return None
        order.filled += lots
        full = order.filled >= order.lots
        return self.become(client_order_id, OrderState.FILLED if full else OrderState.PARTIALLY_FILLED, ts_ns)

    def _end(self, order: OwnOrder, ts_ns: int, reason: str) -> None:
        order.in_flight, order.ended_ns, order.reason = None, ts_ns, reason
        del self.by_key[order.key], self.by_id[order.client_order_id]
        left = self._at_price[order.ticks] - 1
        if left:
            self._at_price[order.ticks] = left
        else:
            del self._at_price[order.ticks]
        self.ended.append(order)

    def collect(self) -> list[OwnOrder]:
        """Return the orders that have ended since the last call."""
        ended, self.ended = self.ended, []
        return ended


class LiveOrders(Mapping[str, Order]):
    """Live own orders by level id, as values with Decimals; a view that costs nothing until it is read."""

    def __init__(self, orders: OwnOrders, instrument: Instrument, type: OrderType) -> None:
        self._orders = orders
        self._instrument = instrument
        self._type = type

    def __getitem__(self, level: str) -> Order:
        side, _, number = level.partition("_")
        order = self._orders.by_key[f"{side[:1]}{number}"]
        return Order(
            client_order_id=order.client_order_id,
            level_id=level_id(order.key),
            symbol=self._instrument.symbol,
            side=Side.BUY if order.side > 0 else Side.SELL,
            price=self._instrument.price(order.ticks),
            quantity=self._instrument.quantity(order.lots),
            type=self._type,
            state=order.state,
            in_flight=order.in_flight,
            filled_quantity=self._instrument.quantity(order.filled),
            created_ns=order.sent_ns,
        )

    def __iter__(self) -> Iterator[str]:
        return (level_id(key) for key in self._orders.by_key)

    def __len__(self) -> int:
        return len(self._orders)


def key_of(client_order_id: str) -> str | None:
    """Return the level key in a client order id of ours; None for another's id.

    Examples
    --------
    >>> key_of("gkr0-S12-1a"), key_of("web_4711")
    ('S12', None)
    """
    found = _CLIENT_ORDER_ID.fullmatch(client_order_id)
    return None if found is None else found[1]


def base36(number: int) -> str:
    """Write a whole number in base 36.

    Examples
    --------
    >>> base36(46)
    '1a'
    """
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
        if number == 0:
            return text
