"""LatencyMonitor (SPEC 9.8): how long a venue takes to answer, by operation, in bounded memory.

What the specification's sketch leaves open is decided like this: times are monotonic ns; a request is known by its operation and the
client order id, since the exchange's id does not exist yet when it is sent; what is never answered is not forgotten but counts
as longer than everything that was. Leaving it out would flatter the tail, where it belongs.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, cast

import numpy as np
import polars as pl
from ddsketch import LogCollapsingLowestDenseDDSketch

from grinder_kit.errors import ConfigError, ConnectivityError, DataError, MalformedAnswerError, VenueError
from grinder_kit.execution.buckets import Buckets
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.port import ExchangePort, Operation

log = logging.getLogger(__name__)

#: What latencies are kept by: a batch counts under what it does, and every question is an `ask`.
OPERATIONS = ("place", "amend", "cancel", "ask")
#: Edges of the histogram, ms: a venue next door answers in 1, one across an ocean in 100 to 300, one under load in seconds.
EDGES_MS = (1, 2, 5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10_000)
#: A 99 % quantile of fewer requests is nobody's.
P99_FROM = 100
#: Relative error of a quantile.
ACCURACY = 0.005
#: Bins of a sketch, from 1 us to 10 days; beyond that the shortest latencies lose their accuracy, not memory its bound.
BINS = 4096
#: Between two warnings about one operation.
WARN_EVERY_NS = 1_000_000_000

_KIND_OF: dict[str, str] = {
    **{name: name for name in OPERATIONS},
    Operation.BATCH_PLACE: "place",
    Operation.BATCH_AMEND: "amend",
    Operation.BATCH_CANCEL: "cancel",
    **{one: "ask" for one in Operation if one.startswith("get_")},
}
_METHODS: dict[str, str] = {
    "place_order": "place",
    "amend_order": "amend",
    "cancel_order": "cancel",
    **{one.value: _KIND_OF[one] for one in Operation if one.startswith(("batch_", "get_"))},
}
_NS_PER_MS = 1_000_000

#: Told of a slow request: operation, ms, and how many more were slow since the last time.
OnSlow: TypeAlias = Callable[[str, float, int], None]


class LatencyMonitor:
    """Latencies of requests, by operation: exact counts and extremes, quantiles within 0.5 %, and the latest samples.

    Parameters
    ----------
    threshold_ms : float
        A request that takes longer is slow: it is warned of, at most once a second for each operation.
    timeout_s : float
        A request that has had no answer for so long is given up, and counts as a timeout.
    pending : int
        Most requests that are waited for; the oldest is given up when another comes.
    kept : int
        Latest samples of each operation for `ecdf`.
    on_slow : callable, optional
        ``on_slow(operation, ms, more)``, called with each warning.

    Attributes
    ----------
    strays : int
        Answers and timeouts of requests that are not waited for: never sent, answered before, or given up.

    Raises
    ------
    ConfigError
        For a threshold, time or number that cannot be.

    Notes
    -----
    A timeout is a censored sample: the answer would have come later than the request was given up. In `get_stats` it counts as
    longer than everything that was answered; `ecdf` takes it at its age. `min`, `max` and `mean` are of what was answered.

    Examples
    --------
    >>> monitor = LatencyMonitor()
    >>> for n in range(1, 5):
    ...     monitor.record_send(f"gkr0-B{n}-1", 0)
    >>> for n, ms in ((1, 8), (2, 12), (3, 40)):
    ...     monitor.record_ack(f"gkr0-B{n}-1", ms * 1_000_000)
    >>> monitor.expire(5_000_000_000)
    1
    >>> monitor
    LatencyMonitor(place: 3 answered, p50 12 ms, p95 unknown, 1 timeout; 0 pending)
    >>> monitor.get_stats("place")
    {'min': 8.0, 'max': 40.0, 'mean': 20.0, 'p50': 12.0..., 'p95': None, 'p99': None, 'count': 3, 'timeouts': 1}
    >>> monitor.ecdf("place")
    ((8.0, 0.25), (12.0, 0.5), (40.0, 0.75))
    """

    def __init__(
        self,
        *,
        threshold_ms: float = 500.0,
        timeout_s: float = 5.0,
        pending: int = 10_000,
        kept: int = 1_000,
        on_slow: OnSlow | None = None,
    ) -> None:
        if not (isinstance(threshold_ms, int | float) and threshold_ms >= 0):
            raise ConfigError(f"threshold_ms is {threshold_ms!r}; write a number of ms, 0 or more, such as 500")
        if not (isinstance(timeout_s, int | float) and 0 < timeout_s < math.inf):
            raise ConfigError(f"timeout_s is {timeout_s!r}; write a number of s above zero, such as 5")
        for name, value in (("pending", pending), ("kept", kept)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} is {value!r}; write a whole number, at least 1")
        self.threshold_ms = threshold_ms
        self.timeout_s = timeout_s
        self.strays = 0
        self._timeout_ns = round(timeout_s * 1e9)
        self._most, self._kept, self._on_slow = pending, kept, on_slow
        self._sent: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._tracks: dict[str, _Track] = {}
        self._numbers = itertools.count(1)

    # --- what happened -----------------------------------------------------------------------------------------------

    def record_send(self, order_id: str, ts: int, operation: Operation | str = Operation.PLACE) -> None:
        """Take note that a request was sent.

        Parameters
        ----------
        order_id : str
            The client order id. The same order and operation again gives up the request before.
        ts : int
            Monotonic ns (`Clock.monotonic_ns`), never a wall clock: that one may go back.
        operation : Operation or str
            A batch counts under what it does, each question as ``ask``.

        Raises
        ------
        ConfigError
            For an operation that is none.
        DataError
            When the request before was sent later than this one: a clock has gone back.
        """
        key = kind_of(operation), order_id
        if key in self._sent:
            self._lost(key[0], self._taken(key, ts, "sent again"), ts)
        self.expire(ts)
        self._sent[key] = ts
        if len(self._sent) > self._most:
            (kind, _), sent = self._sent.popitem(last=False)
            self._lost(kind, max(0, ts - sent), ts)

    def record_ack(self, order_id: str, ts: int, operation: Operation | str = Operation.PLACE) -> None:
        """Take note that a request was answered, whatever the answer; one that is not waited for is counted in `strays`.

        Raises
        ------
        ConfigError
            For an operation that is none.
        DataError
            For an answer from before its request: a clock has gone back. The request is still waited for.
        """
        key = kind_of(operation), order_id
        if key not in self._sent:
            self.strays += 1
            return
        latency_ms = self._taken(key, ts, "answered") / _NS_PER_MS
        track = self._track(key[0])
        track.answered(latency_ms)
        if latency_ms > self.threshold_ms:
            self._warn(track, latency_ms, ts, answered=True)

    def record_timeout(self, order_id: str, ts: int, operation: Operation | str = Operation.PLACE) -> None:
        """Take note that a request was given up without an answer.

        Raises
        ------
        ConfigError, DataError
            As :meth:`record_ack`.
        """
        key = kind_of(operation), order_id
        if key not in self._sent:
            self.strays += 1
            return
        self._lost(key[0], self._taken(key, ts, "given up"), ts)

    def expire(self, now: int) -> int:
        """Give up what was sent `timeout_s` ago or earlier, and return how many requests that were.

        Sending does it too; without either, `pending` bounds what is waited for.
        """
        given_up = 0
        while self._sent:
            key, sent = next(iter(self._sent.items()))
            if now - sent < self._timeout_ns:
                break
            del self._sent[key]
            self._lost(key[0], now - sent, now)
            given_up += 1
        return given_up

    def timed(self, port: ExchangePort, clock: Clock) -> ExchangePort:
        """Return a port whose requests are timed: one attempt each, and a batch as one request.

        A refusal is an answer. A connection that broke, an unknown outcome and a caller that went away are timeouts.

        Examples
        --------
        >>> port = guarded(monitor.timed(venue, clock), clock, config.retry)  # doctest: +SKIP
        """
        return cast("ExchangePort", _Timed(port, clock, self))

    def _taken(self, key: tuple[str, str], ts: int, word: str) -> int:
        sent = self._sent[key]
        if ts < sent:
            raise DataError(
                f"{key[0]} {key[1]} was sent at {sent} ns and {word} at {ts} ns, which is before; give times of one "
                "monotonic clock"
            )
        del self._sent[key]
        return ts - sent

    def _lost(self, kind: str, age_ns: int, ts: int) -> None:
        age_ms, track = age_ns / _NS_PER_MS, self._track(kind)
        track.lost(age_ms)
        if age_ms > self.threshold_ms:
            self._warn(track, age_ms, ts, answered=False)

    def _track(self, kind: str) -> _Track:
        track = self._tracks.get(kind)
        if track is None:
            track = self._tracks[kind] = _Track(kind, self._kept)
        return track

    def _warn(self, track: _Track, latency_ms: float, ts: int, *, answered: bool) -> None:
        if track.warned_ns is not None and ts - track.warned_ns < WARN_EVERY_NS:
            track.unsaid += 1
            return
        more, track.warned_ns, track.unsaid = track.unsaid, ts, 0
        log.warning(
            "slow request operation=%s latency_ms=%.0f answered=%s more=%d",
            track.kind,
            latency_ms,
            "yes" if answered else "no",
            more,
        )
        if self._on_slow is not None:
            try:
                self._on_slow(track.kind, latency_ms, more)
            except Exception:  # whoever watches must not undo an answer of the venue
                log.exception("on_slow failed operation=%s", track.kind)

    # --- what it comes to --------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Requests that are waited for."""
        return len(self._sent)

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations of which something is known, in the order of `OPERATIONS`."""
        return tuple(name for name in OPERATIONS if name in self._tracks)

    def get_stats(self, operation: Operation | str | None = None) -> dict[str, float | None]:
        """Return min, max, mean, p50, p95 and p99 in ms, count (answered) and timeouts.

        Parameters
        ----------
        operation : Operation or str, optional
            All together where it is not given.

        Returns
        -------
        dict
            Empty while nothing is known. A quantile is of all requests, and None where it falls among the timeouts; p99 is None
            below 100 requests.

        Raises
        ------
        ConfigError
            For an operation that is none.
        """
        if operation is None:
            return _stats(list(self._tracks.values()))
        track = self._tracks.get(kind_of(operation))
        return {} if track is None else _stats([track])

    def ecdf(self, operation: Operation | str) -> tuple[tuple[float, float], ...]:
        """Return the share answered within a time, as (ms, share): Kaplan-Meier over the latest samples, timeouts censored.

        Raises
        ------
        ConfigError
            For an operation that is none.
        """
        track = self._tracks.get(kind_of(operation))
        return () if track is None else kaplan_meier(track.latest)

    def censored_ms(self, operation: Operation | str) -> tuple[float, ...]:
        """Return at which age the timeouts among the latest samples were given up, ms, ascending.

        Raises
        ------
        ConfigError
            For an operation that is none.
        """
        track = self._tracks.get(kind_of(operation))
        return () if track is None else tuple(sorted(ms for ms, answered in track.latest if not answered))

    def histogram(self, operation: Operation | str) -> Buckets:
        """Return the latencies by edge (`EDGES_MS`), timeouts beyond the last: what ``order_latency_ms`` shows.

        Raises
        ------
        ConfigError
            For an operation that is none.
        """
        track = self._tracks.get(kind_of(operation))
        return Buckets(EDGES_MS) if track is None else track.buckets

    def to_frame(self) -> pl.DataFrame:
        """Return one row an operation: operation, count, timeouts, and min_ms to p99_ms (null: not known)."""
        found = [(name, self.get_stats(name)) for name in self.operations]
        columns: dict[str, Any] = {"operation": pl.Series([name for name, _ in found], dtype=pl.String)}
        for name in ("count", "timeouts"):
            columns[name] = pl.Series([stats[name] for _, stats in found], dtype=pl.Int64)
        for name in ("min", "max", "mean", "p50", "p95", "p99"):
            columns[f"{name}_ms"] = pl.Series([stats[name] for _, stats in found], dtype=pl.Float64)
        return pl.DataFrame(columns)

    def __repr__(self) -> str:
        words = []
        for name in self.operations:
            stats = self.get_stats(name)
            lost = f"{stats['timeouts']:,} timeout{'' if stats['timeouts'] == 1 else 's'}"
            quantiles = ", ".join(
                f"{q} unknown" if (value := stats[q]) is None else f"{q} {value:.3g} ms" for q in ("p50", "p95")
            )
            words.append(f"{name}: {stats['count']:,} answered, {quantiles}, {lost}")
        return f"LatencyMonitor({'; '.join((*words, f'{self.pending:,} pending'))})"


def kind_of(operation: Operation | str) -> str:
    """Return what latencies of an operation are kept by: one of `OPERATIONS`.

    Raises
    ------
    ConfigError
        For an operation that is none.

    Examples
    --------
    >>> kind_of("batch_place"), kind_of(Operation.GET_FILLS)
    ('place', 'ask')
    """
    kind = _KIND_OF.get(operation)
    if kind is None:
        raise ConfigError(f"operation {operation!r} is not timed; write one of {', '.join(OPERATIONS)}")
    return kind


def kaplan_meier(samples: Iterable[tuple[float, bool]]) -> tuple[tuple[float, float], ...]:
    """Return the distribution function of times of which some are only known to be longer.

    Parameters
    ----------
    samples : iterable of (time, bool)
        False for a time at which it was given up; at equal times that comes after those that were seen.

    Returns
    -------
    tuple of (time, share)
        The share at each time that was seen, ascending.

    Examples
    --------
    >>> kaplan_meier([(1.0, True), (2.0, False), (3.0, True)])
    ((1.0, 0.333...), (3.0, 1.0))
    """
    given = list(samples)
    times, seen = np.array([time for time, _ in given]), np.array([one for _, one in given], bool)
    order = np.lexsort((~seen, times))
    times, seen = times[order], seen[order]
    at_risk = np.arange(len(times), 0, -1)
    shares = 1.0 - np.cumprod(1.0 - seen / at_risk)
    last = seen.copy()  # of several at one time, the last has the share of all
    last[:-1] &= ~(seen[1:] & (times[1:] == times[:-1]))
    return tuple(zip(times[last].tolist(), shares[last].tolist(), strict=True))


class _Track:
    """One operation."""

    __slots__ = ("buckets", "kind", "latest", "max_ms", "min_ms", "sketch", "timeouts", "unsaid", "warned_ns")

    def __init__(self, kind: str, kept: int) -> None:
        self.kind = kind
        self.sketch = LogCollapsingLowestDenseDDSketch(ACCURACY, BINS)
        self.buckets = Buckets(EDGES_MS)
        self.latest: deque[tuple[float, bool]] = deque(maxlen=kept)
        self.min_ms, self.max_ms = math.inf, 0.0
        self.timeouts = 0
        self.warned_ns: int | None = None
        self.unsaid = 0

    def answered(self, ms: float) -> None:
        self.sketch.add(ms)
        self.buckets.add(ms)
        self.latest.append((ms, True))
        self.min_ms, self.max_ms = min(self.min_ms, ms), max(self.max_ms, ms)

    def lost(self, ms: float) -> None:
        self.timeouts += 1
        self.buckets.add_beyond(ms)
        self.latest.append((ms, False))


def _stats(tracks: list[_Track]) -> dict[str, float | None]:
    if not tracks:
        return {}
    sketch = tracks[0].sketch
    if len(tracks) > 1:
        sketch = LogCollapsingLowestDenseDDSketch(ACCURACY, BINS)
        for track in tracks:
            sketch.merge(track.sketch)
    answered, timeouts = int(sketch.count), sum(track.timeouts for track in tracks)
    low, high = min(track.min_ms for track in tracks), max(track.max_ms for track in tracks)

    def quantile(level: float) -> float | None:
        """Return the time that a share of all requests did not exceed."""
        rank = math.ceil(round(level * (answered + timeouts), 9)) - 1
        if rank >= answered:
            return None
        # Between this rank and the next, so that no rounding takes it to the one before.
        found = sketch.get_quantile_value(min(1.0, (rank + 0.5) / max(1, answered - 1)))
        return None if found is None else min(max(found, low), high)

    return {
        "min": low if answered else None,
        "max": high if answered else None,
        "mean": sketch.avg if answered else None,
        "p50": quantile(0.5),
        "p95": quantile(0.95),
        "p99": quantile(0.99) if answered + timeouts >= P99_FROM else None,
        "count": answered,
        "timeouts": timeouts,
    }


class _Timed:
    """A port whose requests are timed; everything else passes."""

    def __init__(self, port: ExchangePort, clock: Clock, monitor: LatencyMonitor) -> None:
        self._port, self._clock, self._monitor = port, clock, monitor

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        kind = _METHODS.get(name)
        if kind is None:
            return found

        async def call(*args: Any, **options: Any) -> Any:
            monitor, clock = self._monitor, self._clock
            # Not the order's id: a batch has several, a question none, and an attempt may overlap the one before.
            number, began = f"#{next(monitor._numbers)}", clock.monotonic_ns()
            monitor.record_send(number, began, kind)
            record = monitor.record_timeout
            try:
                answer = await found(*args, **options)
                record = monitor.record_ack
                return answer
            except VenueError as error:
                if not isinstance(error, ConnectivityError) or isinstance(error, MalformedAnswerError):
                    record = monitor.record_ack
                raise
            finally:
                record(number, max(began, clock.monotonic_ns()), kind)

        return call
