"""A venue behind a socket on loopback: it lives in a process of its own and survives the sessions that talk to it.

JSON lines. A client asks ``{"id": 1, "call": "place_order", "args": [...]}`` and is answered ``{"id": 1, "value": ...}`` or
``{"id": 1, "error": ...}``; once it has asked to ``listen``, ``{"event": ...}`` comes too, and ``{"tick": ...}`` always. What was
read is carried out, though the client be gone by then. Events that happen while nobody listens are lost, as anywhere.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from grinder_kit.errors import GrinderError, MalformedAnswerError, OrderRejectedError, VenueError
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.port import ExchangePort, MarketView
from grinder_kit.model.fill import Fill
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import Order, OrderResult, OrderState
from tests.lab import wire

HOST = "127.0.0.1"
LIMIT = 1 << 24  # bytes of one line
LIVE = (OrderState.OPEN, OrderState.PARTIALLY_FILLED)

#: Looks at all open orders whenever something may have changed, and says what must never be.
Watch = Callable[[tuple[Order, ...]], Iterable[str]]

#: Calls of the port that pass through; the others are the server's own.
CALLS = frozenset(
    {
        "place_order",
        "cancel_order",
        "amend_order",
        "batch_place",
        "batch_cancel",
        "batch_amend",
        "get_order",
        "get_open_orders",
        "get_fills",
        "get_positions",
        "get_balances",
    }
)


@dataclass(slots=True)
class Truth:
    """What a test may know and a session may not: everything the venue has seen."""

    orders: dict[str, Order] = field(default_factory=dict)  # the last word about each order that was ever accepted
    fills: dict[str, Fill] = field(default_factory=dict)
    requests: list[tuple[int, str, list[str]]] = field(default_factory=list)  # time, call, client order ids
    violations: list[str] = field(default_factory=list)


class SocketVenue:
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
    watch : callable, optional
        What it says is kept as a violation; it looks after every request and every event.
    known : callable, optional
        The orders as the exchange knows them at this moment. Without it `watch` sees what `port` answers, a little later.
    tick_every_s : float
        Time between two pushes of the best prices, by `clock`.
    """

    def __init__(
        self,
        port: ExchangePort,
        market: MarketView,
        instrument: Instrument,
        clock: Clock,
        *,
        speed: float = 1.0,
        watch: Watch | None = None,
        known: Callable[[], Iterable[Order]] | None = None,
        tick_every_s: float = 0.05,
    ) -> None:
        self.port, self.market, self.instrument, self.clock = port, market, instrument, clock
        self.speed = speed
        self.truth = Truth()
        self.stopped = asyncio.Event()
        self._watch, self._known = watch, known
        self._tick_every_s = tick_every_s
        self._clients: set[asyncio.StreamWriter] = set()
        self._listeners: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen on loopback; return the port number."""
        self._server = await asyncio.start_server(self._serve, HOST, 0, limit=LIMIT)
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

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what is pushed ----------------------------------------------------------------------------------------------

    async def _tell_events(self) -> None:
        async for event in self.port.events():
            if isinstance(event, Order):
                self._saw(event)
            elif isinstance(event, Fill):
                self.truth.fills[event.fill_id] = event
            for writer in self._listeners:
                _say(writer, {"event": wire.to_json(event)})
            self._look()

    async def _tell_ticks(self) -> None:
        while True:
            message = self._tick()
            for writer in self._clients:
                _say(writer, message)
            await self.clock.sleep(self._tick_every_s)

    def _tick(self) -> dict[str, Any]:
        now = self.clock.now_ns()
        return {"tick": wire.to_json(self.market.tick(now)), "now_ns": now}

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
                "capabilities": wire.to_json(self.port.capabilities),
                "instrument": self.instrument.to_json(),
                "speed": self.speed,
                "now_ns": self.clock.now_ns(),
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
        try:
            value = await self._do(message["call"], message.get("args", []), message.get("options", {}), writer)
            answer = {"id": message["id"], "value": wire.to_json(value)}
        except VenueError as error:
            answer = {"id": message["id"], "error": wire.to_json(error)}
        except GrinderError as error:
            refused = OrderRejectedError(str(error), reason="INVALID_REQUEST")
            answer = {"id": message["id"], "error": wire.to_json(refused)}
        except Exception as error:  # a bug of the laboratory: nobody may wait for ever because of it
            self.truth.violations.append(f"{message['call']}: {error!r}")
            answer = {"id": message["id"], "error": wire.to_json(VenueError(repr(error)))}
        if writer in self._clients:
            _say(writer, answer)

    async def _do(self, call: str, args: list[Any], options: dict[str, Any], writer: asyncio.StreamWriter) -> Any:
        if call == "listen":
            self._listeners.add(writer)
        elif call == "now_ns":
            return self.clock.now_ns()
        elif call == "truth":
            return await self._tell_truth()
        elif call == "stop":
            self.stopped.set()
        elif call in CALLS:
            values = [wire.from_json(one) for one in args]
            self.truth.requests.append((self.clock.now_ns(), call, _ids(values)))
            try:
                value = await getattr(self.port, call)(*values, **options)
            finally:
                self._look()
            for order in _orders(value):
                self._saw(order)
            return value
        else:
            raise MalformedAnswerError(f"no such call: {call!r}", raw=call)
        return None

    async def _tell_truth(self) -> dict[str, Any]:
        symbol, truth = self.instrument.symbol, self.truth
        open_orders = await self.port.get_open_orders(symbol)
        for order in open_orders:
            self._saw(order)
        return {
            "orders": dict(truth.orders),
            "open_orders": list(open_orders),
            "fills": list(await self.port.get_fills(symbol)),
            "positions": dict(await self.port.get_positions()),
            "balances": dict(await self.port.get_balances()),
            "requests": truth.requests,
            "violations": truth.violations,
            "now_ns": self.clock.now_ns(),
        }

    def _saw(self, order: Order) -> None:
        known = self.truth.orders.get(order.client_order_id)
        if known is None or not known.state.terminal or order.order_id != known.order_id:
            self.truth.orders[order.client_order_id] = order

    def _look(self) -> None:
        if self._watch is None:
            return
        if self._known is not None:
            self._judge(order for order in self._known() if order.state in LIVE)
        else:
            self._spawn(self._ask_and_judge())  # never in the way of an event or an answer

    async def _ask_and_judge(self) -> None:
        self._judge(await self.port.get_open_orders(self.instrument.symbol))

    def _judge(self, orders: Iterable[Order]) -> None:
        assert self._watch is not None
        for words in self._watch(tuple(orders)):
            if words not in self.truth.violations:
                self.truth.violations.append(words)


def _say(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(wire.encode(message))


def _ids(values: Iterable[Any]) -> list[str]:
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return [one.client_order_id for one in flat if hasattr(one, "client_order_id")]


def _orders(value: Any) -> Iterable[Order]:
    for one in value if isinstance(value, list | tuple) else [value]:
        order = one.order if isinstance(one, OrderResult) else one
        if isinstance(order, Order):
            yield order
