"""A venue behind a socket on loopback: it lives in a process of its own and survives the sessions that talk to it.

JSON lines. A client asks ``{"id": 1, "call": "place_order", "args": [...], "sent_ns": ...}`` and is answered
``{"id": 1, "value": ...}`` or ``{"id": 1, "error": ...}``; once it has asked to ``listen``, ``{"event": ...}`` comes too, and
``{"tick": ...}`` always. What was read is carried out, though the client be gone by then; an order that arrives long after it was
sent is not. Events that happen while nobody listens are lost, as anywhere.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from grinder_kit.errors import ConfigError, MalformedAnswerError, OrderRejectedError, OutcomeUnknownError, VenueError
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.port import Capabilities, ExchangePort, MarketView
from grinder_kit.model.config import ExecutionConfig
from grinder_kit.model.event import StreamLost, Tick
from grinder_kit.model.instrument import Instrument
from grinder_kit.venue import wire
from grinder_kit.venue.simulated import SimulatedVenue

if TYPE_CHECKING:
    from grinder_kit.market.source import Market

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
LIMIT = 1 << 24  # bytes of one line, and of what a client that does not read may leave lying
BUSY = 1 << 16  # bytes that lie unread: ticks are left out, since the next one says more

#: Calls that add risk: refused where they arrive later than the receive window allows.
ADDS = frozenset({"place_order", "amend_order", "batch_place", "batch_amend"})
#: Calls of the port that pass through; the others are the server's own.
CALLS = ADDS | {
    "cancel_order",
    "batch_cancel",
    "get_order",
    "get_open_orders",
    "get_fills",
    "get_positions",
    "get_balances",
}

#: Told of every call of the port before it is carried out (its name and arguments), of what came of it ("answer": the value, or
#: the exception), and of every event ("event").
Observe = Callable[[str, Any], None]


class ServedVenue:
    """Serves a port and a market to clients, one after another or at once.

    Parameters
    ----------
    port : ExchangePort
    market : MarketView
    instrument : Instrument
    clock : Clock
        The venue's; its clients may run by it.
    speed : float
        How fast it runs.
    queue_ahead : callable, optional
        Quantity ahead of a resting order by its client order id, where the venue can tell.
    observe : callable, optional
        Sees what passes; it must not fail.
    calls : mapping of str to coroutine function, optional
        Further questions that a client may ask, by name.
    tick_every_s : float
        Time between two pushes of the best prices, by `clock`.

    Attributes
    ----------
    venue_id : str
        Another one for each venue that is started, so that a session knows its venue again.
    stopped : asyncio.Event
        Set when a client has asked the venue to end.
    """

    def __init__(
        self,
        port: ExchangePort,
        market: MarketView,
        instrument: Instrument,
        clock: Clock,
        *,
        speed: float = 1.0,
        queue_ahead: Callable[[str], Decimal | None] | None = None,
        observe: Observe | None = None,
        calls: Mapping[str, Callable[[], Awaitable[Any]]] | None = None,
        tick_every_s: float = 0.05,
    ) -> None:
        self.port, self.market, self.instrument, self.clock = port, market, instrument, clock
        self.speed = speed
        self.venue_id = uuid.uuid4().hex[:8]
        self.stopped = asyncio.Event()
        self._queue_ahead = queue_ahead
        self._observe: Observe = observe or (lambda what, value: None)
        self._calls = calls or {}
        self._tick_every_s = tick_every_s
        self._clients: set[asyncio.StreamWriter] = set()
        self._listeners: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> int:
        """Listen on loopback; return the port number, which 0 leaves to the system.

        Raises
        ------
        ConfigError
            When nobody can listen at that port.
        """
        try:
            self._server = await asyncio.start_server(self._serve, HOST, port, limit=LIMIT)
        except (OSError, OverflowError) as error:
            used = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            why = "is in use, perhaps by another venue" if used else f"cannot be used ({error})"
            raise ConfigError(f"port {port} {why}; write another one above 1023, or 0 for any that is free") from error
        self._spawn(self._tell_events())
        self._spawn(self._tell_ticks())
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def close(self) -> None:
        """Hang up on every client."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._clients):
            writer.close()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what is pushed ----------------------------------------------------------------------------------------------

    async def _tell_events(self) -> None:
        try:
            async for event in self.port.events():
                self._observe("event", event)
                self._tell({"event": wire.to_json(event)})
        except Exception as error:  # clients learn by it that something is missing
            log.error("no more events error=%r", error)
            self._tell({"event": wire.to_json(StreamLost(ts_ns=self.clock.now_ns(), reason=str(error)))})

    def _tell(self, message: dict[str, Any]) -> None:
        for writer in self._listeners:
            _say(writer, message)

    async def _tell_ticks(self) -> None:
        while True:
            message = self._tick()
            for writer in self._clients:
                if writer.transport.get_write_buffer_size() < BUSY:
                    _say(writer, message)
            await self.clock.sleep(self._tick_every_s)

    def _tick(self) -> dict[str, Any]:
        now = self.clock.now_ns()
        try:
            tick = self.market.tick(now)
        except Exception as error:
            log.error("no market error=%r", error)
            tick = Tick(bid_ticks=None, ask_ticks=None, stale=True)
        return {"tick": wire.to_json(tick), "now_ns": now}

    # --- what is asked -----------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        self._serving.add(this)
        this.add_done_callback(self._serving.discard)
        self._clients.add(writer)
        _say(
            writer,
            {
                "venue_id": self.venue_id,
                "capabilities": wire.to_json(self.port.capabilities),
                "instrument": self.instrument.to_json(),
                "speed": self.speed,
            },
        )
        _say(writer, self._tick())
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if not line.endswith(b"\n") or not {"id", "call"} <= message.keys():
                    break
                self._spawn(self._answer(message, writer))
        except (OSError, ValueError, AttributeError):
            pass  # the client was killed, perhaps in the middle of a request, or does not speak our language
        finally:
            self._clients.discard(writer)
            self._listeners.discard(writer)
            writer.close()

    async def _answer(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        answer = {"id": message["id"]}
        try:
            answer["value"] = wire.to_json(await self._do(message, writer))
        except VenueError as error:
            answer["error"] = wire.to_json(error)
        except ConfigError as error:
            answer["error"] = wire.to_json(OrderRejectedError(str(error), reason="INVALID_REQUEST"))
        except Exception as error:  # nobody may wait for ever because of it, or take it for a refusal
            log.exception("call failed call=%s", message["call"])
            answer["error"] = wire.to_json(OutcomeUnknownError(f"the venue failed: {error!r}"))
        if writer in self._clients:
            _say(writer, answer)

    async def _do(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> Any:
        call, args = message["call"], message.get("args", [])
        if call == "listen":
            self._listeners.add(writer)
        elif call == "now_ns":
            return self.clock.now_ns()
        elif call == "queue_ahead":
            return {one: self._ahead(one) for one in args[0]}
        elif call == "stop":
            self.stopped.set()
        elif call in CALLS:
            if call in ADDS:
                self._check_sent(call, message.get("sent_ns"))
            try:
                values = [wire.from_json(one) for one in args]
            except MalformedAnswerError as error:
                raise OrderRejectedError(f"{call} cannot be read: {error}", reason="INVALID_REQUEST") from error
            return await self._pass(call, values, message.get("options", {}))
        elif call in self._calls:
            return await self._calls[call]()
        else:
            raise MalformedAnswerError(f"no such call: {call!r}", raw=call)
        return None

    async def _pass(self, call: str, values: list[Any], options: dict[str, Any]) -> Any:
        self._observe(call, values)
        try:
            value = await getattr(self.port, call)(*values, **options)
        except Exception as error:
            self._observe("answer", error)
            raise
        self._observe("answer", value)
        return value

    def _check_sent(self, call: str, sent_ns: Any) -> None:
        """Refuse what adds risk and was on its way for too long: its sender may have been stopped meanwhile."""
        if not isinstance(sent_ns, int):
            raise OrderRejectedError(f"{call}: it does not say when it was sent (sent_ns)", reason="INVALID_REQUEST")
        late_s = (self.clock.now_ns() - sent_ns) / 1e9
        window_s = self.port.capabilities.receive_window_s
        if late_s > window_s:
            words = f"{call}: arrived {late_s:.3f} s after it was sent; the receive window is {window_s:g} s"
            raise OrderRejectedError(words, reason="OUTSIDE_RECV_WINDOW")

    def _ahead(self, client_order_id: str) -> str | None:
        ahead = None if self._queue_ahead is None else self._queue_ahead(client_order_id)
        return None if ahead is None else str(ahead)


def _say(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    if writer.is_closing():
        return
    if writer.transport.get_write_buffer_size() > LIMIT:
        log.warning("hung up on a client that does not read")
        writer.transport.abort()
        return
    writer.write(wire.encode(message))


async def serve(
    market: Market,
    execution: ExecutionConfig | None = None,
    *,
    port: int = 0,
    speed: float = 1.0,
    capabilities: Capabilities | None = None,
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Play a market and serve it on loopback until a client asks to stop, or this is cancelled.

    Parameters
    ----------
    market : Market
    execution : ExecutionConfig, optional
        Queue, latency and fees.
    port : int
        0 takes a free one.
    speed : float
        1 plays in real time.
    capabilities : Capabilities, optional
        By default those of Binance for the instrument's kind of market.
    on_ready : callable, optional
        Given the port number once clients can attach.

    Raises
    ------
    ConfigError
        When nobody can listen at that port.
    DataError
        For a market without events.
    """
    async with SimulatedVenue(
        market, execution=execution, capabilities=capabilities, speed=speed, with_features=True
    ) as venue:
        served = ServedVenue(
            venue,
            venue,
            venue.instrument,
            venue.clock,
            speed=speed,
            queue_ahead=venue.queue_ahead,
            tick_every_s=max(0.05, 0.02 * speed),  # no more often than a session can look
        )
        number = await served.start(port)
        try:
            if on_ready is not None:
                on_ready(number)
            await served.stopped.wait()
        finally:
            await served.close()
