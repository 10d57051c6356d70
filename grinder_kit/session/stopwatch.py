"""How long a venue takes to answer, by operation; the latest answers, for the panel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

from grinder_kit.errors import ConnectivityError
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.port import ExchangePort, Operation
from grinder_kit.session.snapshot import Waits

KEPT = 1000
SHOWN = 200
_OF = {
    "place_order": "place",
    "batch_place": "place",
    "cancel_order": "cancel",
    "batch_cancel": "cancel",
    "amend_order": "amend",
    "batch_amend": "amend",
    **{one.value: "ask" for one in Operation if one.value.startswith("get_")},
}


class Stopwatch:
    """Time the requests to a port.

    Examples
    --------
    >>> watch = Stopwatch(clock)  # doctest: +SKIP
    >>> port = guarded(watch.timed(venue), clock, config.retry)  # doctest: +SKIP
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: dict[str, deque[float]] = {}
        self._counts: dict[str, list[int]] = {}  # answers, and requests that were never answered

    def timed(self, port: ExchangePort) -> ExchangePort:
        """Return the port with its requests timed: one attempt each, retries apart."""
        return cast("ExchangePort", _Timed(port, self._time))

    async def _time(self, operation: str, call: Callable[..., Any], args: Any, options: Any) -> Any:
        began = self._clock.monotonic_ns()
        counts = self._counts.setdefault(operation, [0, 0])
        try:
            answer = await call(*args, **options)
        except ConnectivityError:
            counts[1] += 1
            raise
        counts[0] += 1
        self._samples.setdefault(operation, deque(maxlen=KEPT)).append((self._clock.monotonic_ns() - began) / 1e6)
        return answer

    def waits(self) -> tuple[Waits, ...]:
        """Return the latest samples of each operation, evenly thinned."""
        return tuple(
            Waits(operation=name, count=count, timeouts=lost, samples_ms=_thin(sorted(self._samples.get(name, ()))))
            for name, (count, lost) in sorted(self._counts.items())
        )


def _thin(samples: list[float]) -> tuple[float, ...]:
    if len(samples) <= SHOWN:
        return tuple(round(one, 3) for one in samples)
    last = len(samples) - 1
    return tuple(round(samples[round(i * last / (SHOWN - 1))], 3) for i in range(SHOWN))


class _Timed:
    """A port whose requests are timed; everything else passes."""

    def __init__(self, port: ExchangePort, time: Callable[..., Any]) -> None:
        self._port, self._time = port, time

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        operation = _OF.get(name)
        if operation is None:
            return found
        return lambda *args, **options: self._time(operation, found, args, options)
