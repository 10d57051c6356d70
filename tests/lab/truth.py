"""What a test may know and a session may not: everything that a served venue has seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from grinder_kit.errors import GrinderError
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.port import ExchangePort, MarketView
from grinder_kit.model.fill import Fill
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import Order, OrderResult, OrderState
from grinder_kit.venue import wire
from grinder_kit.venue.served import CALLS, ServedVenue
from grinder_kit.venue.socket_port import SocketPort

LIVE = (OrderState.OPEN, OrderState.PARTIALLY_FILLED)

#: Looks at all open orders whenever something may have changed, and says what must never be.
Watch = Callable[[tuple[Order, ...]], Iterable[str]]


class Truth:
    """Observes a venue while it is served; clients ask for it with :func:`truth_of`.

    Parameters
    ----------
    port : ExchangePort
    instrument : Instrument
    clock : Clock
    watch : callable, optional
        What it says is kept as a violation; it looks after every request and every event.
    known : callable, optional
        The orders as the exchange knows them at this moment. Without it `watch` sees what `port` answers, a little later.

    Attributes
    ----------
    orders, fills : dict
        The last word about each order that was ever accepted, and every fill that was told, by their ids.
    requests : list of (ns, str, list of str)
        Time, call and client order ids.
    violations : list of str
    """

    def __init__(
        self,
        port: ExchangePort,
        instrument: Instrument,
        clock: Clock,
        *,
        watch: Watch | None = None,
        known: Callable[[], Iterable[Order]] | None = None,
    ) -> None:
        self.orders: dict[str, Order] = {}
        self.fills: dict[str, Fill] = {}
        self.requests: list[tuple[int, str, list[str]]] = []
        self.violations: list[str] = []
        self.known = known
        self._port, self._instrument, self._clock, self._watch = port, instrument, clock, watch
        self._looking: set[asyncio.Task[None]] = set()

    def serve(self, market: MarketView, **options: Any) -> ServedVenue:
        """Return the venue that shows its truth."""
        calls = {"truth": self.tell}
        return ServedVenue(
            self._port, market, self._instrument, self._clock, observe=self.observe, calls=calls, **options
        )

    def observe(self, what: str, value: Any) -> None:
        """Take note of what passes."""
        if what in CALLS:
            self.requests.append((self._clock.now_ns(), what, _ids(value)))
            return
        if isinstance(value, Exception) and not isinstance(value, GrinderError):
            self.violations.append(repr(value))
        if isinstance(value, Fill):
            self.fills[value.fill_id] = value
        for order in _orders(value):
            self._saw(order)
        self._look()

    async def tell(self) -> dict[str, Any]:
        """Return everything, and what the venue answers to the same questions."""
        port, symbol = self._port, self._instrument.symbol
        open_orders = await port.get_open_orders(symbol)
        for order in open_orders:
            self._saw(order)
        return {
            "orders": dict(self.orders),
            "open_orders": list(open_orders),
            "fills": list(await port.get_fills(symbol)),
            "positions": dict(await port.get_positions()),
            "balances": dict(await port.get_balances()),
            "requests": self.requests,
            "violations": self.violations,
            "now_ns": self._clock.now_ns(),
        }

    def _saw(self, order: Order) -> None:
        known = self.orders.get(order.client_order_id)
        if known is None or not known.state.terminal or order.order_id != known.order_id:
            self.orders[order.client_order_id] = order

    def _look(self) -> None:
        if self._watch is None:
            return
        if self.known is not None:
            self._judge(order for order in self.known() if order.state in LIVE)
            return
        task = asyncio.ensure_future(self._ask_and_judge())  # never in the way of an event or an answer
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _ask_and_judge(self) -> None:
        self._judge(await self._port.get_open_orders(self._instrument.symbol))

    def _judge(self, orders: Iterable[Order]) -> None:
        assert self._watch is not None
        for words in self._watch(tuple(orders)):
            if words not in self.violations:
                self.violations.append(words)


async def truth_of(port: SocketPort) -> dict[str, Any]:
    """Return what the venue behind a port tells of its truth."""
    told: dict[str, Any] = wire.from_json(await port.ask("truth"))
    return told


def _ids(values: Iterable[Any]) -> list[str]:
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return [one.client_order_id for one in flat if hasattr(one, "client_order_id")]


def _orders(value: Any) -> Iterable[Order]:
    for one in value if isinstance(value, list | tuple) else [value]:
        order = one.order if isinstance(one, OrderResult) else one
        if isinstance(order, Order):
            yield order
