"""The client of a ServedVenue: a port and a market like any other, for a session in a process of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from grinder_kit.errors import ConnectivityError, MalformedAnswerError, OutcomeUnknownError, VenueError
from grinder_kit.execution.clock import LoopClock
from grinder_kit.execution.port import AccountEvent, Balance, Capabilities
from grinder_kit.model.event import StreamLost, Tick
from grinder_kit.model.fill import Fill, Position
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import AmendRequest, CancelRequest, Order, OrderRequest, OrderResult
from grinder_kit.venue import wire
from grinder_kit.venue.served import HOST, LIMIT

GREETING_S = 10.0  # whoever says nothing for so long is no venue


class SocketPort:
    """One attachment to a venue; make it with :meth:`connect`. When the connection is gone, it is gone: attach anew.

    Attributes
    ----------
    capabilities, instrument, speed, venue_id
        As the venue said when it was greeted.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hello: dict[str, Any], tick: dict[str, Any]
    ) -> None:
        self._capabilities = wire.read(Capabilities, hello["capabilities"])
        self.instrument = Instrument.from_json(hello["instrument"])
        self.speed: float = hello["speed"]
        self.venue_id: str = hello["venue_id"]
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        # The venue's time is at least what it last said and what has gone by since: the message was on its way for a while.
        self._clock, self._ahead_ns = LoopClock(int(tick["now_ns"]), speed=self.speed), 0
        self._take_tick(tick)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._count = 0
        self._gone = False
        self._events: asyncio.Queue[AccountEvent | None] = asyncio.Queue()
        self._listener = asyncio.create_task(self._listen(reader))

    @classmethod
    async def connect(cls, number: int) -> SocketPort:
        """Attach to the venue at a port number of loopback.

        Raises
        ------
        ConnectivityError
            Where nobody listens, or somebody who is no venue.
        """
        try:
            reader, writer = await asyncio.open_connection(HOST, number, limit=LIMIT)
        except (OSError, OverflowError) as error:
            raise ConnectivityError(f"no venue at port {number}: {error}") from error
        try:
            async with asyncio.timeout(GREETING_S):
                hello, tick = json.loads(await reader.readline()), json.loads(await reader.readline())
            return cls(reader, writer, hello, tick)
        except (OSError, ValueError, LookupError, TypeError, VenueError) as error:
            writer.close()
            raise ConnectivityError(f"no venue at port {number}: it does not greet as one ({error!r})") from error

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        await self._listener

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        reason = "connection closed"
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                self._hear(json.loads(line))
        except (OSError, ValueError, LookupError, VenueError) as error:
            reason = f"connection closed: {error}"
        finally:
            self._gone = True
            self._writer.close()
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(OutcomeUnknownError("the connection closed before the answer came"))
            self._events.put_nowait(StreamLost(ts_ns=self._tick_ns, reason=reason))
            self._events.put_nowait(None)

    def _hear(self, message: dict[str, Any]) -> None:
        if "tick" in message:
            self._take_tick(message)
        elif "event" in message:
            try:
                self._events.put_nowait(wire.from_json(message["event"]))
            except MalformedAnswerError as error:
                self._events.put_nowait(StreamLost(ts_ns=self._tick_ns, reason=str(error)))
        elif (answer := self._asked.get(message["id"])) is not None and not answer.done():
            answer.set_result(message)

    def _take_tick(self, message: dict[str, Any]) -> None:
        self._tick, self._tick_ns = wire.read(Tick, message["tick"]), int(message["now_ns"])
        self._heard_s = self._loop.time()
        self._ahead_ns = max(self._ahead_ns, self._tick_ns - self._clock.now_ns())

    async def ask(self, call: str, *args: Any, request: Any = None, **options: Any) -> Any:
        """Send a call and wait for its answer.

        Raises
        ------
        ConnectivityError
            The connection is gone; nothing was sent.
        OutcomeUnknownError
            It went after the call was sent.
        """
        if self._gone or self._writer.is_closing():
            raise ConnectivityError(f"{call}: the connection is closed", request=request)
        self._count += 1
        number = self._count
        answer = self._asked[number] = self._loop.create_future()
        self._writer.write(wire.encode(self._message(number, call, args, options)))
        try:
            told = await answer
        except OutcomeUnknownError as error:
            raise OutcomeUnknownError(f"{call}: {error}", request=request) from None
        finally:
            del self._asked[number]
        if "error" in told:
            raise wire.error_from_json(told["error"], request=request)
        return told["value"]

    def _message(self, number: int, call: str, args: Sequence[Any], options: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": number,
            "call": call,
            "args": [wire.to_json(one) for one in args],
            "options": options,
            "sent_ns": self._clock.now_ns() + self._ahead_ns,
        }

    # --- beside the port ---------------------------------------------------------------------------------------------

    async def now_ns(self) -> int:
        """Return the time at the venue, ns UTC."""
        return int(await self.ask("now_ns"))

    async def clock(self) -> LoopClock:
        """Return a clock that shows the venue's time and runs at its speed; behind by half a round trip."""
        return LoopClock(await self.now_ns(), speed=self.speed)

    def tick(self, now_ns: int) -> Tick:
        """Return the best prices that were last heard; stale once the venue has not been heard for a while."""
        old = self._gone or now_ns - self._tick_ns > 1e9 * max(1.0, 0.5 * self.speed)
        return replace(self._tick, stale=True) if old else self._tick

    @property
    def feed_age_s(self) -> float:
        """How long ago the best prices were last heard, s of the machine's time."""
        return self._loop.time() - self._heard_s

    async def queue_ahead(self, client_order_ids: Iterable[str]) -> dict[str, str | None]:
        """Return the quantity ahead of each of these orders; None where it does not rest, or the venue cannot tell."""
        told: dict[str, str | None] = await self.ask("queue_ahead", list(client_order_ids))
        return told

    async def stop_venue(self) -> None:
        """Ask the venue to end."""
        await self.ask("stop")

    # --- the port ----------------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> Capabilities:
        """What the venue can do."""
        return self._capabilities

    async def _order(self, call: str, request: OrderRequest | CancelRequest | AmendRequest) -> Order:
        return wire.read(Order, await self.ask(call, request, request=request), request=request)

    async def _batch(
        self, call: str, requests: Sequence[OrderRequest] | Sequence[CancelRequest] | Sequence[AmendRequest]
    ) -> list[OrderResult]:
        told = await self.ask(call, list(requests), request=requests)
        if not isinstance(told, list) or len(told) != len(requests):
            raise MalformedAnswerError(
                f"{call}: {len(requests)} results were due, and not this", raw=told, request=requests
            )
        return [wire.read(OrderResult, one, request=requests) for one in told]

    async def place_order(self, request: OrderRequest) -> Order:
        """Place an order."""
        return await self._order("place_order", request)

    async def cancel_order(self, request: CancelRequest) -> Order:
        """Withdraw an order."""
        return await self._order("cancel_order", request)

    async def amend_order(self, request: AmendRequest) -> Order:
        """Amend an order."""
        return await self._order("amend_order", request)

    async def batch_place(self, requests: Sequence[OrderRequest]) -> list[OrderResult]:
        """Place several orders."""
        return await self._batch("batch_place", requests)

    async def batch_cancel(self, requests: Sequence[CancelRequest]) -> list[OrderResult]:
        """Withdraw several orders."""
        return await self._batch("batch_cancel", requests)

    async def batch_amend(self, requests: Sequence[AmendRequest]) -> list[OrderResult]:
        """Amend several orders."""
        return await self._batch("batch_amend", requests)

    async def get_order(
        self, symbol: str, *, client_order_id: str | None = None, order_id: str | None = None
    ) -> Order | None:
        """Return an order."""
        told = await self.ask("get_order", symbol, client_order_id=client_order_id, order_id=order_id)
        return None if told is None else wire.read(Order, told)

    async def get_open_orders(self, symbol: str) -> tuple[Order, ...]:
        """Return the open orders."""
        return tuple(wire.read(Order, one) for one in await self.ask("get_open_orders", symbol))

    async def get_fills(self, symbol: str, *, since_ns: int = 0, order_id: str | None = None) -> tuple[Fill, ...]:
        """Return the fills."""
        told = await self.ask("get_fills", symbol, since_ns=since_ns, order_id=order_id)
        return tuple(wire.read(Fill, one) for one in told)

    async def get_positions(self) -> Mapping[str, Position]:
        """Return what is held."""
        return {symbol: wire.read(Position, one) for symbol, one in (await self.ask("get_positions")).items()}

    async def get_balances(self) -> Mapping[str, Balance]:
        """Return the assets."""
        return {asset: wire.read(Balance, one) for asset, one in (await self.ask("get_balances")).items()}

    async def events(self) -> AsyncIterator[AccountEvent]:
        """Yield what happens from now on; ends with StreamLost when the connection does."""
        await self.ask("listen")
        while (event := await self._events.get()) is not None:
            yield event
