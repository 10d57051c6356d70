"""The local API of a session: HTTP and WebSocket on loopback, behind a token that only the owner of the session can read.

    GET  /stream        WebSocket: the client asks with what it has, ``{"have": {"ladder": 7, ...}, "every_s": 0.25}``, and is
                        answered with the parts that changed, no sooner than `every_s` after the last answer. It asks again when it
                        has taken that in, so that a client that hangs is sent nothing. An open stream is a lifeline.
    GET  /snapshot      all parts
    POST /command       ``{"id": "...", "command": "pause", ...}``; each id is carried out once
    GET  /frames/NAME   fills or round_trips, all of them, as Arrow IPC
    GET  /metrics       for Prometheus, with the token as bearer

A request with another Host header, or without the token, is refused and logged: a web page that the owner has open cannot steer.
"""

from __future__ import annotations

import asyncio
import hmac
import io
import logging
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import WSMsgType, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from grinder_kit import errors
from grinder_kit.errors import ConfigError, GrinderError
from grinder_kit.session.guard import Lifelines
from grinder_kit.session.snapshot import PARTS, Series, Snapshot, dump

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
#: Answers that are kept, so that a command that comes twice is carried out once.
ANSWERS_KEPT = 1000
_LONGEST_COMMAND = 1 << 20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: Carries out a command by its name and facts; returns what the client is told. Raises GrinderError where it is refused.
Execute = Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]]
#: By name: called on the loop to take what stands now, and then in a thread to make a Polars frame of it.
Frames = Mapping[str, Callable[[], Callable[[], Any]]]


class Parts:
    """The parts of a snapshot with a number each, which rises when the part changes.

    Parameters
    ----------
    take : callable
        Makes a snapshot.
    """

    def __init__(self, take: Callable[[], Snapshot]) -> None:
        self._take = take
        self._last: Snapshot | None = None
        self._numbers = dict.fromkeys(PARTS, 0)

    def since(self, have: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parts that changed since the numbers in `have`, and the numbers now.

        Of the equity curve only the new points are sent, where the client has the older ones (`have["points"]`: generation and
        count).
        """
        snapshot = self._take()
        for part in PARTS:
            if self._last is None or getattr(self._last, part) != getattr(snapshot, part):
                self._numbers[part] += 1
        self._last = snapshot
        changed = [part for part in PARTS if have.get(part) != self._numbers[part]]
        parts = {part: dump(part, getattr(snapshot, part)) for part in changed if part != "series"}
        if "series" in changed:
            parts["series"] = _tail(snapshot.series, have.get("points"))
        return {"numbers": dict(self._numbers), "parts": parts}


def _tail(series: Series, have: Any) -> dict[str, Any]:
    generation, count = have if isinstance(have, list) and len(have) == 2 else (-1, 0)
    start = count if generation == series.generation and 0 <= count <= len(series.ts_ns) else 0
    columns = dump("series", series)
    return {"from": start, **{name: v if name == "generation" else v[start:] for name, v in columns.items()}}


class Control:
    """Serve a session to its owner.

    Parameters
    ----------
    token : str
    take : callable
        Makes a snapshot.
    execute : callable
    lifelines : Lifelines
        Open streams are held there.
    frames : Frames
    registry : CollectorRegistry
    """

    def __init__(
        self,
        token: str,
        take: Callable[[], Snapshot],
        execute: Execute,
        lifelines: Lifelines,
        frames: Frames,
        registry: CollectorRegistry,
    ) -> None:
        self._token = token
        self._parts = Parts(take)
        self._take, self._execute, self._lifelines, self._frames = take, execute, lifelines, frames
        self._registry = registry
        self._answers: OrderedDict[str, asyncio.Future[dict[str, Any]]] = OrderedDict()
        self._streams: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, port: int = 0) -> int:
        """Listen on loopback; return the port.

        Raises
        ------
        ConfigError
            Where the port is in use.
        """
        app = web.Application(middlewares=[self._guarded], client_max_size=_LONGEST_COMMAND)
        app.add_routes(
            [
                web.get("/stream", self._stream),
                web.get("/snapshot", self._snapshot),
                web.post("/command", self._command),
                web.get("/frames/{name}", self._frame),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, port, shutdown_timeout=1.0).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"port {port} cannot be used ({os.strerror(error.errno or 0)}); take another, or 0 for any free one"
            ) from error
        self.port = int(self._runner.addresses[0][1])
        return self.port

    async def close(self) -> None:
        """Answer what is being asked, and stop listening."""
        for stream in list(self._streams):
            await stream.close(code=1001, message=b"the session has ended")
        if self._runner is not None:
            await self._runner.cleanup()

    # --- the door ----------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # Without this, a page could reach us under a name of its own that resolves to loopback.
        if request.headers.get("Host") not in (f"{HOST}:{self.port}", f"localhost:{self.port}"):
            log.warning("request refused why=host host=%r path=%s", request.headers.get("Host"), request.path)
            return _say(403, "another Host header than the session's own address")
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            log.warning("request refused why=token path=%s", request.path)
            return _say(401, "no token, or one of another run of this session: read the session's token file again")
        try:
            return await handler(request)
        except GrinderError as error:
            return _say(422, str(error), error=_kind(error))

    # --- what is asked -----------------------------------------------------------------------------------------------

    async def _snapshot(self, request: web.Request) -> web.Response:
        return _json(200, self._take().to_json())

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        # No pings: a client that is busy for a minute is alive. Its connection ends with its process.
        socket = web.WebSocketResponse(heartbeat=None, max_msg_size=_LONGEST_COMMAND, compress=False)
        await socket.prepare(request)
        self._streams.add(socket)
        key, who = object(), request.query.get("who", "?")[:80]
        self._lifelines.hold(key, who)
        loop = asyncio.get_running_loop()
        answered = -1e9
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                asked = orjson.loads(message.data)
                pause = answered + min(60.0, max(0.02, float(asked.get("every_s", 0.25)))) - loop.time()
                if pause > 0:
                    await asyncio.sleep(pause)
                answered = loop.time()
                await socket.send_str(orjson.dumps(self._parts.since(asked.get("have", {}))).decode())
        except (ValueError, AttributeError, TypeError):
            await socket.close(code=1007, message=b"not a question of this API")
        except ConnectionError:
            pass  # the client has gone
        finally:
            self._streams.discard(socket)
            self._lifelines.let_go(key)
        return socket

    async def _command(self, request: web.Request) -> web.Response:
        try:
            asked = orjson.loads(await request.read())
            number, command = asked["id"], asked["command"]
            if not isinstance(number, str) or not isinstance(command, str) or not 8 <= len(number) <= 100:
                raise TypeError
        except (ValueError, KeyError, TypeError):
            return _say(400, 'no command: send {"id": "...", "command": "pause"} with an id of 8 to 100 characters')
        known = self._answers.get(number)
        if known is not None:
            log.warning("command refused why=repeated command=%s id=%s", command, number)
            answer = await asyncio.shield(known)
            return _json(409, {**answer, "repeated": True})
        self._answers[number] = future = asyncio.get_running_loop().create_future()
        while len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        facts = {key: value for key, value in asked.items() if key not in ("id", "command")}
        try:
            answer = {"accepted": True, **await self._execute(command, {**facts, "id": number})}
        except GrinderError as error:
            answer = {"accepted": False, "error": _kind(error), "text": str(error)}
        except Exception as error:  # nobody may wait for ever because of a bug
            log.exception("command failed command=%s id=%s", command, number)
            answer = {
                "accepted": False,
                "error": type(error).__name__,
                "text": f"this is a bug in grinder_kit: {error!r}",
            }
        future.set_result(answer)
        return _json(200 if answer["accepted"] else 422, answer)

    async def _frame(self, request: web.Request) -> web.Response:
        maker = self._frames.get(request.match_info["name"])
        if maker is None:
            return _say(404, f"no such frame; there are {', '.join(self._frames)}")
        frame = maker()

        def encode() -> bytes:
            buffer = io.BytesIO()
            frame().write_ipc(buffer)
            return buffer.getvalue()

        # In a thread: many fills take longer than a heartbeat may wait.
        return web.Response(body=await asyncio.to_thread(encode), content_type="application/vnd.apache.arrow.file")

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _kind(error: GrinderError) -> str:
    """Return the name of the class by which a client raises it again: the nearest in the public tree."""
    return next(str(kind.__name__) for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)


def _json(status: int, value: Mapping[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")


def _say(status: int, text: str, *, error: str = "SessionError") -> web.Response:
    return _json(status, {"accepted": False, "error": error, "text": text})
