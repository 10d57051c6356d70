"""Clocks: the one of the machine, one that runs faster, and one that moves only when everybody waits.

All three are the event loop's. `LoopClock` scales it; `run_stepped` runs a coroutine on a loop whose time jumps to the next
timer instead of waiting for it, so that an hour of trading takes as long as its work, and the same run gives the same times.
`PacedLoop` waits for the wall, and still gives the same times.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")

_NS = 1_000_000_000


class Clock(Protocol):
    """Time as an argument."""

    def now_ns(self) -> int:
        """Return the time, ns UTC. It may jump."""
        ...

    def monotonic_ns(self) -> int:
        """Return a time that only goes forward, for durations and deadlines."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ns(self) -> int:
        """Return the time, ns UTC."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Return the monotonic clock, ns."""
        return time.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(max(0.0, seconds))


class LoopClock:
    """A clock that starts at a given time and runs with the event loop, `speed` times as fast.

    Parameters
    ----------
    start_ns : int
        Time at which it stands when it is made, ns UTC: the first event of a recording, for example.
    speed : float
        1 is real time. On a stepped loop (:func:`run_stepped`) nothing waits, whatever the speed.
    """

    def __init__(self, start_ns: int = 0, *, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError(f"speed is {speed}; write a number above zero (1 is real time)")
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self.start_ns = start_ns
        self.speed = speed

    def now_ns(self) -> int:
        """Return the time, ns UTC."""
        return self.start_ns + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Return ns since the clock was made."""
        return round((self._loop.time() - self._origin) * self.speed * _NS)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many of this clock's seconds."""
        await asyncio.sleep(max(0.0, seconds) / self.speed)


class _Stepper(selectors.SelectSelector):
    """A selector that does not wait: it tells the loop to move its time instead."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        super().__init__()
        self._advance = advance

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("stepped time: every task waits for something that nothing will ever do")
        if timeout > 0:
            self._advance(timeout)
        return ready


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop in which time stands still while anything runs, and jumps to the next timer when all wait."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Stepper(self._step))

    def time(self) -> float:
        """Return the time of the loop, s."""
        return self._now

    def _step(self, seconds: float) -> None:
        timers = [handle.when() for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        self._now = max(self._now, min(timers)) if timers else self._now + seconds
        # Timers are run at their own time and not a little early; a float of seconds gets coarser as it grows.
        self._clock_resolution = 2 * math.ulp(self._now)


class _Pacer(selectors.DefaultSelector):
    """A selector that waits for the wall, and moves the loop's time to what it waited for and no further."""

    loop: PacedLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        due = self.loop.next_timer()
        # The loop's own time may lag behind; what is waited for is a moment of the wall.
        ready = super().select(timeout if due is None else max(0.0, due - self.loop.wall()))
        self.loop.move(self.loop.wall() if ready or due is None else due, due)
        return ready


class PacedLoop(asyncio.SelectorEventLoop):
    """An event loop that keeps to the wall's pace and runs every timer at exactly its own time.

    While callbacks run its time stands still, so that what is decided at a time does not depend on how long the machine took.
    Where it cannot keep up it falls behind, and leaves nothing out. For simulated markets: the same run gives the same fills.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._origin = time.monotonic()
        pacer = _Pacer()
        pacer.loop = self
        super().__init__(pacer)

    def time(self) -> float:
        """Return the time of the loop, s since it was made."""
        return self._now

    def wall(self) -> float:
        """Return the seconds since the loop was made."""
        return time.monotonic() - self._origin

    @property
    def behind_s(self) -> float:
        """How far the loop's time lags behind the wall."""
        return self.wall() - self._now

    def next_timer(self) -> float | None:
        """Return when the earliest timer is due."""
        scheduled = self._scheduled  # type: ignore[attr-defined]
        return scheduled[0].when() if scheduled else None

    def move(self, to: float, no_further: float | None) -> None:
        """Move time forward, not beyond the next timer."""
        self._now = max(self._now, to if no_further is None else min(to, no_further))
        self._clock_resolution = 2 * math.ulp(self._now)


def run_stepped(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in stepped time and return its result; works from a notebook cell, whose own loop is not touched.

    Raises
    ------
    RuntimeError
        When every task waits for something that nothing will ever do.
    """
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=SteppedLoop) as runner:
                outcome.append(runner.run(main))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="stepped-time")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
