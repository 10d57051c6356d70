"""The feed of a session: a thread that keeps the latest snapshot, and by its open connection tells the runner that we live."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from enum import StrEnum
from typing import Any

import orjson

from grinder_kit.session.facade import run_alone
from grinder_kit.session.folder import SessionFolder
from grinder_kit.session.snapshot import Phase, Snapshot, dump

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
AGAIN_S = 0.2
#: A runner that has not been heard for so long is said not to answer; it sends something every `every_s`.
LOST_S = 3.0


class Link(StrEnum):
    """How we stand with a session's runner."""

    NONE = "none"  # nothing of it was ever started here
    CONNECTING = "connecting"
    OPEN = "open"
    LOST = "lost"  # it should run, and does not answer
    CLOSED = "closed"  # it has ended


class Feed:
    """Follow one session.

    Parameters
    ----------
    folder : SessionFolder
    every_s : float
        Time between two snapshots.

    Attributes
    ----------
    latest : Snapshot or None
        The newest that was heard; the last one of all once the session has ended.
    """

    def __init__(self, folder: SessionFolder, *, every_s: float = 0.2) -> None:
        self.folder, self.every_s = folder, every_s
        self.latest: Snapshot | None = None
        self.link = Link.CONNECTING
        self._heard = 0.0
        self._have: dict[str, Any] = {}
        self._closed = threading.Event()
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"session {folder.name}", daemon=True)
        self._thread.start()

    @property
    def heard_s(self) -> float | None:
        """Seconds since the runner was last heard; None: not yet."""
        return time.monotonic() - self._heard if self._heard else None

    def close(self) -> None:
        """Hang up: for the runner this client has gone."""
        self._closed.set()

    @property
    def alive(self) -> bool:
        """Whether the session is still followed."""
        return self._thread.is_alive() and not self._closed.is_set()

    def _run(self) -> None:
        run_alone(self._follow())

    async def _follow(self) -> None:
        while not self._closed.is_set():
            try:
                await self._listen()
            except Exception as error:  # whatever came, the next connection begins anew
                log.debug("session not heard name=%s error=%r", self.folder.name, error)
            if self._closed.is_set() or self._has_ended():
                return
            if self._heard and (self.heard_s or 0) > LOST_S:
                self.link = Link.LOST
            await asyncio.sleep(AGAIN_S)

    async def _listen(self) -> None:
        import aiohttp

        card = self.folder.read_card()
        if card is None or not card.port:
            return
        headers = {"Authorization": f"Bearer {self.folder.read_token()}"}
        who = f"{socket.gethostname()} pid {os.getpid()}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2.0)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=False) as session,
            session.ws_connect(
                f"http://{HOST}:{card.port}/stream", params={"who": who}, heartbeat=None, max_msg_size=1 << 26
            ) as stream,
        ):
            self._have = {}
            while not self._closed.is_set():
                await stream.send_str(json.dumps({"have": self._have, "every_s": self.every_s}))
                answer = await self._answer(stream)
                if answer is None:
                    return
                self._take(answer)

    async def _answer(self, stream: Any) -> dict[str, Any] | None:
        """Return the next answer, None when the stream has ended; while none comes, say that the runner is lost."""
        import aiohttp

        waiting = asyncio.ensure_future(stream.receive())
        try:
            while not waiting.done() and not self._closed.is_set():
                await asyncio.wait({waiting}, timeout=0.5)
                if not waiting.done() and (self.heard_s or 0) > LOST_S:
                    self.link = Link.LOST
            if not waiting.done() or waiting.result().type is not aiohttp.WSMsgType.TEXT:
                return None
            found: dict[str, Any] = orjson.loads(waiting.result().data)
            return found
        finally:
            waiting.cancel()

    def _take(self, answer: dict[str, Any]) -> None:
        parts, numbers = answer["parts"], answer["numbers"]
        if "series" in parts:
            parts["series"] = self._joined(parts["series"])
        self.latest = (
            Snapshot.from_json(parts) if self.latest is None or not self._have else self.latest.with_parts(parts)
        )
        series = self.latest.series
        self._have = {**numbers, "points": [series.generation, len(series.ts_ns)]}
        self._heard, self.link = time.monotonic(), Link.OPEN
        with self._news:
            self._news.notify_all()

    def _joined(self, tail: dict[str, Any]) -> dict[str, Any]:
        """Return the whole equity curve: the points we have, and those that came."""
        start = tail.pop("from")
        if start == 0 or self.latest is None:
            return tail
        old: dict[str, Any] = dump("series", self.latest.series)
        return {name: value if name == "generation" else [*old[name][:start], *value] for name, value in tail.items()}

    def _has_ended(self) -> bool:
        """Whether the session is over; then its last snapshot is taken from its file."""
        card = self.folder.read_card()
        if card is None or card.phase is not Phase.ENDED:
            return False
        # It may have ended before it had anything to show, or was killed: then the card says how.
        with suppress(FileNotFoundError, ValueError):
            self.latest = Snapshot.from_json(json.loads(self.folder.final.read_bytes()))
        self.link = Link.CLOSED
        with self._news:
            self._news.notify_all()
        return True

    def wait_news(self, timeout_s: float) -> None:
        """Return when something was heard, or after some seconds."""
        with self._news:
            self._news.wait(timeout_s)
