"""What a view does every so often on the kernel's loop, as long as it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self


class Repeating:
    """Calls a function every so many seconds on a loop, until it is cancelled."""

    def __init__(self, every_s: float, call: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self._every_s, self._call, self._loop = every_s, call, loop
        self._cancelled = False
        self._handle = loop.call_later(every_s, self._tick)

    @classmethod
    def start(cls, every_s: float, call: Callable[[], None]) -> Self | None:
        """Begin on the running loop; None where there is none, as outside a notebook."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        return cls(every_s, call, loop)

    def _tick(self) -> None:
        if not self._cancelled:
            self._call()
            self._handle = self._loop.call_later(self._every_s, self._tick)

    def cancel(self) -> None:
        """Call it no more."""
        self._cancelled = True
        self._handle.cancel()

    def cancelled(self) -> bool:
        """Whether it has been cancelled."""
        return self._cancelled
