"""A venue whose account drifts from what a session knows: what it tells can be hidden, and what it answers can be wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from grinder_kit.errors import ConnectivityError, OrderRejectedError
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.port import AccountEvent
from grinder_kit.model.fill import Position
from grinder_kit.model.order import CancelRequest, Order, OrderRequest, OrderState, OrderType, Side
from grinder_kit.venue.fault_schedule import ScriptedSchedule
from grinder_kit.venue.faulty import FaultyPort
from grinder_kit.venue.simulated import SimulatedVenue


@dataclass
class Wrong:
    """What is wrong with the venue at the moment.

    `deaf` hides what the stream tells. `unknown` lets questions about positions fail, `mute` those about one order. `report` changes
    what the former are answered.
    `listed` changes the open orders. `strays` are orders that exist, and that the venue will not withdraw.
    """

    deaf: bool = False
    unknown: bool = False
    mute: bool = False
    report: Callable[[Mapping[str, Position]], Mapping[str, Position]] = lambda held: held
    listed: Callable[[tuple[Order, ...]], tuple[Order, ...]] = lambda orders: orders
    strays: tuple[Order, ...] = ()


class DriftingPort(FaultyPort):
    """A simulated venue that tells and answers what `wrong` says.

    Parameters
    ----------
    venue : SimulatedVenue
    clock : Clock
    """

    def __init__(self, venue: SimulatedVenue, clock: Clock) -> None:
        super().__init__(venue, ScriptedSchedule(), clock)
        self.venue, self.wrong = venue, Wrong()

    async def get_positions(self) -> Mapping[str, Position]:
        """Return what is held, or something else."""
        held = await super().get_positions()
        if self.wrong.unknown:
            raise ConnectivityError("get_positions: connection refused")
        return self.wrong.report(held)

    async def get_open_orders(self, symbol: str) -> tuple[Order, ...]:
        """Return the open orders, or some of them, or more."""
        return self.wrong.listed(await super().get_open_orders(symbol)) + self.wrong.strays

    async def get_order(self, symbol: str, **ids: Any) -> Order | None:
        """Return an order, strays included."""
        found = await super().get_order(symbol, **ids)
        if self.wrong.mute:
            raise ConnectivityError("get_order: connection refused")
        stray = next((one for one in self.wrong.strays if one.client_order_id == ids.get("client_order_id")), None)
        return stray or found

    async def cancel_order(self, request: CancelRequest) -> Order:
        """Withdraw an order that is no stray."""
        if any(one.client_order_id == request.client_order_id for one in self.wrong.strays):
            raise OrderRejectedError("cancel: refused", reason="VENUE_BUSY", request=request)
        return await super().cancel_order(request)

    async def events(self) -> AsyncIterator[AccountEvent]:
        """Yield what happens, unless nothing is told."""
        async for event in super().events():
            if not self.wrong.deaf:
                yield event

    # --- what others do ----------------------------------------------------------------------------------------------

    async def trade_by_hand(self, side: Side, quantity: str) -> None:
        """Let somebody else trade on the account at once."""
        instrument = self.venue.instrument
        tick = self.venue.tick(self._clock.now_ns())
        assert tick.bid_ticks is not None and tick.ask_ticks is not None
        ticks = tick.ask_ticks + 20 if side is Side.BUY else tick.bid_ticks - 20
        await self.venue.place_order(
            OrderRequest(
                client_order_id=f"hand_{self._clock.now_ns()}", level_id="", symbol=instrument.symbol, side=side,
                price=instrument.price(ticks), quantity=quantity, type=OrderType.IOC,
            )  # type: ignore[arg-type]
        )  # fmt: skip

    async def cancel_by_hand(self, client_order_id: str) -> None:
        """Let somebody else cancel an order of the session."""
        symbol = self.venue.instrument.symbol
        await self.venue.cancel_order(CancelRequest(client_order_id=client_order_id, symbol=symbol))


def stray(like: Order) -> Order:
    """Return an open order of the same session and level as another one, sent before it."""
    before = f"{like.client_order_id.rpartition('-')[0]}-0"
    return replace(like, client_order_id=before, order_id="999", state=OrderState.OPEN, in_flight=None)
