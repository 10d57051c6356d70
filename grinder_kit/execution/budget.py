"""One request-weight budget for everything that talks to a venue.

Venues count the weight of all requests of an address and ban who exceeds it, so what is spent is counted here before it is
sent, whoever sends it. A part is kept for cancels: they must get through when everything else has been used up.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import NamedTuple

from grinder_kit.errors import ConfigError
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.port import Capabilities

_NS = 1_000_000_000


class _Spent(NamedTuple):
    free_ns: int  # from here on it lies outside every window that reaches back to it
    weight: int


class WeightBudget:
    """Let requests through so that their weights in any window stay within a limit.

    Who waits is served in the order of coming, urgent requests first; a small request does not overtake a large one, so that
    none waits for ever. A window is half-open: what was granted at `t` is free again at `t + window_s`.

    Parameters
    ----------
    limit : int
        Weight that all requests together may have within any window.
    window_s : float
    clock : Clock
    reserve : float
        Share of `limit` that only urgent requests may use: whenever another request is granted, so much is left for them.

    Raises
    ------
    ConfigError
        For a limit or window that lets nothing through, or a reserve that is no share.

    Examples
    --------
    >>> from grinder_kit.execution.clock import SystemClock
    >>> WeightBudget(2400, 60, SystemClock())
    WeightBudget(0 of 2400 used in 60 s, 480 kept for cancels, 0 waiting)
    """

    def __init__(self, limit: int, window_s: float, clock: Clock, *, reserve: float = 0.2) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ConfigError(f"weight limit is {limit!r}; write a whole number, at least 1")
        if not (0 < window_s < math.inf):
            raise ConfigError(f"weight window is {window_s!r} s; write a number above zero")
        if not 0 <= reserve < 1:
            raise ConfigError(f"reserve is {reserve!r}; write a share of at least 0 and below 1, such as 0.2")
        self.limit = limit
        self.window_s = window_s
        self.reserved = math.ceil(round(limit * reserve, 6))
        self._clock = clock
        self._window_ns = math.ceil(window_s * _NS)
        self._spent: deque[_Spent] = deque()
        self._used = 0
        self._queues: tuple[deque[object], deque[object]] = (deque(), deque())  # urgent, others
        self._changed: asyncio.Future[None] | None = None

    @classmethod
    def of(cls, capabilities: Capabilities, clock: Clock, *, reserve: float = 0.2) -> WeightBudget:
        """Return the budget that a venue grants."""
        return cls(capabilities.weight_limit, capabilities.weight_window_s, clock, reserve=reserve)

    @property
    def used(self) -> int:
        """Weight in the window that ends now."""
        self._forget(self._clock.monotonic_ns())
        return self._used

    @property
    def left(self) -> int:
        """Weight that urgent requests could still spend now; others can spend `reserved` less."""
        return max(0, self.limit - self.used)

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return sum(map(len, self._queues))

    def __repr__(self) -> str:
        return (
            f"WeightBudget({self.used} of {self.limit} used in {self.window_s:g} s, {self.reserved} kept for cancels, "
            f"{self.waiting} waiting)"
        )

    async def acquire(self, weight: int, urgent: bool = False, *, within_s: float | None = None) -> bool:
        """Wait until a request of this weight may be sent, and count it as sent.

        A caller that is cancelled while it waits has spent nothing, and the next one takes its turn.

        Parameters
        ----------
        weight : int
        urgent : bool
            May use the reserve, and is served before those that are not.
        within_s : float, optional
            Longest wait, s; a wait that would end later is not begun.

        Returns
        -------
        bool
            Whether it was granted; always True without `within_s`.

        Raises
        ------
        ConfigError
            For a weight that could never be granted.
        """
        self._check(weight, urgent)
        end_ns = None if within_s is None else self._clock.monotonic_ns() + round(within_s * _NS)
        queue, me = self._queues[0 if urgent else 1], object()
        queue.append(me)
        try:
            while (wait_ns := self._wait_ns(me, weight, urgent)) != 0:
                if end_ns is not None:
                    left_ns = end_ns - self._clock.monotonic_ns()
                    if left_ns <= 0 or (wait_ns is not None and wait_ns > left_ns):
                        return False
                    wait_ns = left_ns if wait_ns is None else wait_ns
                await self._pause(wait_ns)
            self._spend(weight)  # nothing is awaited from here on: what is counted is handed out
            return True
        finally:
            queue.remove(me)
            self._wake()

    def observe(self, used: int) -> None:
        """Take the venue's own count of the weight used, where it is higher than ours: others spend from the same account."""
        unseen = used - self.used
        if unseen > 0:
            self._spend(unseen)
            self._wake()

    def _check(self, weight: int, urgent: bool) -> None:
        if isinstance(weight, bool) or not isinstance(weight, int) or weight < 0:
            raise ConfigError(f"request weight is {weight!r}; write a whole number, at least 0")
        most = self.limit - (0 if urgent else self.reserved)
        if weight > most:
            kept = "" if urgent else f" ({self.limit} less {self.reserved} kept for cancels)"
            raise ConfigError(
                f"a request of weight {weight} could never be sent: at most {most}{kept} fit into {self.window_s:g} s; "
                "send less at once, or raise the limit"
            )

    def _wait_ns(self, me: object, weight: int, urgent: bool) -> int | None:
        """Return ns until a request fits; None while it is another's turn."""
        first, others = self._queues
        head = first[0] if first else others[0]
        if head is not me:
            return None
        now = self._clock.monotonic_ns()
        self._forget(now)
        over = self._used + weight - (self.limit if urgent else self.limit - self.reserved)
        if over <= 0:
            return 0
        for spent in self._spent:
            over -= spent.weight
            if over <= 0:
                return spent.free_ns - now
        raise AssertionError("a weight that never fits was not refused")

    def _forget(self, now_ns: int) -> None:
        while self._spent and self._spent[0].free_ns <= now_ns:
            self._used -= self._spent.popleft().weight

    def _spend(self, weight: int) -> None:
        if weight:
            self._spent.append(_Spent(self._clock.monotonic_ns() + self._window_ns, weight))
            self._used += weight

    async def _pause(self, wait_ns: int | None) -> None:
        """Wait for so long, or until somebody's turn has changed."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        if wait_ns is None:
            await asyncio.wait({self._changed})
            return
        timer = asyncio.ensure_future(self._clock.sleep(wait_ns / _NS))
        try:
            await asyncio.wait({self._changed, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
        self._changed = None
