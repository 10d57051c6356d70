"""When something goes wrong: by a script, or at random from a seed."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from grinder_kit.errors import ConfigError
from grinder_kit.execution.port import Operation
from grinder_kit.venue.faults import EVENT_KINDS, FITS, NO_FAULT, Fate, Fault, FaultKind, Injected, kinds_of


class Schedule:
    """Says what goes wrong next; until it is told to be calm.

    Parameters
    ----------
    request : callable
        Operation to Fault: what strikes the next request.
    event : callable
        Fault that strikes the next word of the stream.

    Attributes
    ----------
    log : list of Injected
        What was injected, to be printed with the seed.
    """

    def __init__(self, request: Callable[[Operation], Fault], event: Callable[[], Fault]) -> None:
        self._request, self._event = request, event
        self._when_calm: list[Callable[[], None]] = []
        self.is_calm = False
        self.log: list[Injected] = []

    def next_request(self, operation: Operation) -> Fault:
        """Return what happens to a request that is being sent.

        Raises
        ------
        ConfigError
            For a fault that cannot strike this operation.
        """
        fault = NO_FAULT if self.is_calm else self._request(operation)
        if operation not in FITS.get(fault.kind, ()):
            raise ConfigError(f"{fault.kind} cannot strike {operation}; write one of {', '.join(kinds_of(operation))}")
        return fault

    def next_event(self) -> Fault:
        """Return what happens to the next word of the stream.

        Raises
        ------
        ConfigError
            For a fault of requests.
        """
        fault = NO_FAULT if self.is_calm else self._event()
        if fault.kind is not FaultKind.NONE and fault.kind not in EVENT_KINDS:
            raise ConfigError(f"{fault.kind} cannot strike an event; write one of {', '.join(EVENT_KINDS)}")
        return fault

    def calm(self) -> None:
        """Let nothing go wrong from now on; what hangs still does, and what is on its way arrives."""
        self.is_calm = True
        for tell in self._when_calm:
            tell()

    def when_calm(self, tell: Callable[[], None]) -> None:
        """Have `tell` called when calm sets in."""
        self._when_calm.append(tell)

    def story(self) -> str:
        """Return the log as text, a line for each fault."""
        return "\n".join(map(str, self.log))


class ScriptedSchedule(Schedule):
    """Plays a list of faults, and then is quiet.

    Parameters
    ----------
    requests : sequence of Fault or (Operation, Fault)
        One for each request; one with an operation waits for that operation and lets others pass.
    events : sequence of Fault
        One for each word of the stream.

    Examples
    --------
    >>> schedule = ScriptedSchedule([(Operation.CANCEL, Fault(kind=FaultKind.SLOW_REQUEST, arrives_s=1))])
    >>> schedule.next_request(Operation.PLACE).kind.value, schedule.next_request(Operation.CANCEL).kind.value
    ('NONE', 'SLOW_REQUEST')
    """

    def __init__(self, requests: Sequence[Fault | tuple[Operation, Fault]] = (), events: Sequence[Fault] = ()) -> None:
        left, told = deque(requests), deque(events)

        def request(operation: Operation) -> Fault:
            if not left:
                return NO_FAULT
            head = left[0]
            wanted, fault = (operation, head) if isinstance(head, Fault) else head
            if wanted is not operation:
                return NO_FAULT
            left.popleft()
            return fault

        super().__init__(request, lambda: told.popleft() if told else NO_FAULT)


#: How often a kind is drawn beside the others; 1 where it is not listed.
_WEIGHTS = {FaultKind.BANNED: 0.3, FaultKind.HANGS: 0.5, FaultKind.STREAM_LOST: 0.4}
_SLOW_CANCEL = 4.0  # partial fills happen while a cancel is under way
_REASONS = ("POST_ONLY_WOULD_TAKE", "MIN_NOTIONAL", "MAX_ORDERS", "VENUE_BUSY")
_PLACES = frozenset({Operation.PLACE, Operation.BATCH_PLACE})
_CANCELS = frozenset({Operation.CANCEL, Operation.BATCH_CANCEL})


class RandomSchedule(Schedule):
    """Draws faults; the same ones for the same seed and the same run of requests.

    Parameters
    ----------
    seed : int
    rate, event_rate : float
        Probability that a request, or a word of the stream, is struck; `event_rate` is `rate` by default.
    only : collection of FaultKind, optional
        The faults that are drawn; all by default.
    longest_s : float
        Longest delay of an answer or an event, and of an outage of the stream.
    receive_window_s : float
        The venue's: what arrives late lies clearly within it, or clearly beyond.
    ban_s : float
        Longest ban.
    most : int, optional
        Requests and events that are struck in all.
    """

    def __init__(
        self,
        seed: int,
        *,
        rate: float = 0.2,
        event_rate: float | None = None,
        only: Collection[FaultKind] | None = None,
        longest_s: float = 3.0,
        receive_window_s: float = 5.0,
        ban_s: float = 5.0,
        most: int | None = None,
    ) -> None:
        self.seed = seed
        self._allowed = frozenset(FaultKind if only is None else only)
        self._longest_s, self._window_s, self._ban_s = longest_s, receive_window_s, ban_s
        # A stream of its own for each, so that one more event does not change what befalls the requests.
        asked, told = random.Random(f"{seed} requests"), random.Random(f"{seed} events")
        told_rate = rate if event_rate is None else event_rate
        left = most

        def strikes(rng: random.Random, rate: float) -> bool:
            nonlocal left
            hit = rng.random() < rate and left != 0
            if hit and left is not None:
                left -= 1
            return hit

        def request(operation: Operation) -> Fault:
            return self._draw(asked, operation, kinds_of(operation)) if strikes(asked, rate) else NO_FAULT

        def event() -> Fault:
            return self._draw(told, None, EVENT_KINDS) if strikes(told, told_rate) else NO_FAULT

        super().__init__(request, event)

    def _draw(self, rng: random.Random, operation: Operation | None, kinds: Iterable[FaultKind]) -> Fault:
        allowed = [kind for kind in kinds if kind in self._allowed]
        if not allowed:
            return NO_FAULT
        weights = [
            _SLOW_CANCEL if kind is FaultKind.SLOW_REQUEST and operation in _CANCELS else _WEIGHTS.get(kind, 1.0)
            for kind in allowed
        ]
        kind = rng.choices(allowed, weights)[0]
        delay_s = round(rng.uniform(0.0, self._longest_s) * rng.random(), 6)  # mostly short
        arrives_s: float = 0.0
        retry_after: float | None = None
        if kind in (FaultKind.LATE, FaultKind.SLOW_REQUEST):
            within = rng.random() < 0.75 or operation not in FITS[FaultKind.LATE]
            arrives_s = self._window_s * (rng.uniform(0.0, 0.7) if within else rng.uniform(1.2, 1.6))
        elif kind is FaultKind.RATE_LIMITED:
            retry_after = rng.choice((0.0, round(rng.uniform(0.1, self._longest_s), 3), None))
        elif kind is FaultKind.BANNED:
            retry_after = round(rng.uniform(0.5, 1.0) * self._ban_s, 3)
        return Fault(
            kind=kind,
            delay_s=delay_s,
            arrives_s=round(arrives_s, 6),
            notice_s=delay_s + rng.choice((0.0, 0.0, self._longest_s)) if kind is FaultKind.STREAM_LOST else 0.0,
            retry_after=retry_after,
            reason=rng.choice(_REASONS) if operation in _PLACES else "VENUE_BUSY",
            items=tuple(rng.choices(list(Fate), k=rng.randint(2, 5))) if kind is FaultKind.PARTIAL else (),
        )
