"""A venue of a few lines: orders rest until somebody trades them. For tests of what is wrapped around a port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from grinder_kit.errors import OrderNotFoundError, OrderRejectedError, VenueError
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.outcome import result_of
from grinder_kit.execution.port import FUTURES, AccountEvent, Balance, Capabilities
from grinder_kit.model.event import Tick
from grinder_kit.model.fill import Fill, Position
from grinder_kit.model.order import AmendRequest, CancelRequest, Order, OrderRequest, OrderResult, OrderState, Side

SYMBOL = "SYNTH-USDT"


class MemoryPort:
    """An ExchangePort and MarketView whose orders trade only when :meth:`trade` says so.

    Attributes
    ----------
    calls : list of (ns, str)
        What reached the venue, and when.
    """

    def __init__(self, clock: Clock, capabilities: Capabilities = FUTURES) -> None:
        self._clock = clock
        self._capabilities = capabilities
        self._events: asyncio.Queue[AccountEvent] = asyncio.Queue()
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.calls: list[tuple[int, str]] = []

    @property
    def capabilities(self) -> Capabilities:
        """As given."""
        return self._capabilities

    def tell(self, event: AccountEvent) -> None:
        """Put something into the stream."""
        self._events.put_nowait(event)

    def trade(self, client_order_id: str, quantity: str) -> Fill:
        """Fill an open order."""
        order, traded = self.orders[client_order_id], Decimal(quantity)
        assert not order.state.terminal
        fill = Fill(
            fill_id=f"t{len(self.fills) + 1}",
            order_id=client_order_id,
            symbol=order.symbol,
            side=order.side,
            price=order.price,
            quantity=traded,
            commission=Decimal(0),
            commission_asset="USDT",
            ts_ns=self._clock.now_ns(),
            is_maker=True,
        )
        self.fills.append(fill)
        self.tell(fill)
        filled = order.filled_quantity + traded
        state = OrderState.FILLED if filled == order.quantity else OrderState.PARTIALLY_FILLED
        self._set(replace(order, filled_quantity=filled, state=state))
        return fill

    def _set(self, order: Order) -> Order:
        order = replace(order, updated_ns=self._clock.now_ns())
        self.orders[order.client_order_id] = order
        self.tell(order)
        return order

    def _called(self, words: str) -> None:
        self.calls.append((self._clock.now_ns(), words))

    def _open(self, request: CancelRequest | AmendRequest) -> Order:
        order = self.orders.get(request.client_order_id)
        if order is None or order.state.terminal:
            raise OrderNotFoundError(f"no open order {request.client_order_id}", request=request)
        return order

    async def place_order(self, request: OrderRequest) -> Order:
        """Let an order rest."""
        self._called(f"place {request.client_order_id}")
        known = self.orders.get(request.client_order_id)
        if known is not None and not known.state.terminal:
            raise OrderRejectedError("duplicate", reason="DUPLICATE_CLIENT_ID", request=request)
        return self._set(
            Order(
                client_order_id=request.client_order_id,
                level_id=request.level_id,
                symbol=request.symbol,
                side=request.side,
                price=request.price,
                quantity=request.quantity,
                type=request.type,
                state=OrderState.OPEN,
                order_id=str(len(self.orders) + 1),
                created_ns=self._clock.now_ns(),
            )
        )

    async def cancel_order(self, request: CancelRequest) -> Order:
        """Withdraw an order."""
        self._called(f"cancel {request.client_order_id}")
        return self._set(replace(self._open(request), state=OrderState.CANCELLED))

    async def amend_order(self, request: AmendRequest) -> Order:
        """Move an order."""
        self._called(f"amend {request.client_order_id}")
        return self._set(replace(self._open(request), price=request.price, quantity=request.quantity))

    async def batch_place(self, requests: Sequence[OrderRequest]) -> list[OrderResult]:
        """Place one by one."""
        return [await _result(request, self.place_order) for request in requests]

    async def batch_cancel(self, requests: Sequence[CancelRequest]) -> list[OrderResult]:
        """Withdraw one by one."""
        return [await _result(request, self.cancel_order) for request in requests]

    async def batch_amend(self, requests: Sequence[AmendRequest]) -> list[OrderResult]:
        """Amend one by one."""
        return [await _result(request, self.amend_order) for request in requests]

    async def get_order(
        self, symbol: str, *, client_order_id: str | None = None, order_id: str | None = None
    ) -> Order | None:
        """Return an order."""
        self._called(f"get {client_order_id or order_id}")
        found = [o for o in self.orders.values() if client_order_id == o.client_order_id or order_id == o.order_id]
        return found[0] if found else None

    async def get_open_orders(self, symbol: str) -> tuple[Order, ...]:
        """Return what rests."""
        return tuple(order for order in self.orders.values() if not order.state.terminal)

    async def get_fills(self, symbol: str, *, since_ns: int = 0, order_id: str | None = None) -> tuple[Fill, ...]:
        """Return what traded."""
        return tuple(f for f in self.fills if f.ts_ns >= since_ns and order_id in (None, f.order_id))

    async def get_positions(self) -> Mapping[str, Position]:
        """Return the sum of the fills."""
        held = sum((fill.quantity * fill.side.sign for fill in self.fills), Decimal(0))
        return {SYMBOL: Position(symbol=SYMBOL, quantity=held)} if held else {}

    async def get_balances(self) -> Mapping[str, Balance]:
        """Return a balance that never changes."""
        return {"USDT": Balance(asset="USDT", free=Decimal(1000), total=Decimal(1000))}

    async def events(self) -> AsyncIterator[AccountEvent]:
        """Yield what happens."""
        while True:
            yield await self._events.get()

    def tick(self, now_ns: int) -> Tick:
        """Return a market that never moves."""
        return Tick(bid_ticks=600_000, ask_ticks=600_001)


async def _result(
    request: OrderRequest | CancelRequest | AmendRequest, send: Callable[..., Awaitable[Order]]
) -> OrderResult:
    try:
        order = await send(request)
    except VenueError as error:
        return result_of(request, error)
    return OrderResult(level_id=request.level_id, client_order_id=request.client_order_id, ok=True, order=order)


def order_request(client_order_id: str = "gkr0-B1-1", **changes: object) -> OrderRequest:
    """Return the request of a small buy."""
    values: dict[str, object] = {
        "level_id": "BUY_1",
        "symbol": SYMBOL,
        "side": Side.BUY,
        "price": "59990",
        "quantity": "0.004",
        **changes,
    }
    return OrderRequest(client_order_id=client_order_id, **values)  # type: ignore[arg-type]


def cancel_request(client_order_id: str = "gkr0-B1-1") -> CancelRequest:
    """Return the request of its cancel."""
    return CancelRequest(client_order_id=client_order_id, symbol=SYMBOL, level_id="BUY_1")
