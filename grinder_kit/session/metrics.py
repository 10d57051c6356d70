"""What a session's process tells Prometheus beside what it trades (execution/metrics.py): state, clients, limits, heartbeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from grinder_kit.execution.buckets import Buckets
from grinder_kit.execution.metrics import PREFIX, ExecutionMetrics
from grinder_kit.model.event import RunState
from grinder_kit.session.snapshot import Snapshot

#: Bounds of the gaps between two heartbeats, s; one is meant to come every 20 ms.
GAPS_S = (0.021, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.25, 0.5, 1.0, 5.0)


class SessionMetrics(Collector):
    """The metrics of one session in a registry of their own, so that a second session in a process raises nothing.

    Parameters
    ----------
    take : callable
        Makes a snapshot.

    Attributes
    ----------
    registry : CollectorRegistry
    execution : ExecutionMetrics or None
        What the session trades; None until it has an engine.
    gaps : Buckets
        Time between two heartbeats of the runner, s.
    """

    def __init__(self, take: Callable[[], Snapshot]) -> None:
        self._take = take
        self.execution: ExecutionMetrics | None = None
        self.gaps = Buckets(GAPS_S)
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def describe(self) -> list[Metric]:
        """Return nothing: what there is to tell is known when it is asked."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of now."""
        snapshot = self._take()
        labels, values = ["session", "symbol"], [snapshot.about.name, snapshot.about.symbol]
        state = GaugeMetricFamily(
            f"{PREFIX}state", "1 for the state of the session", labels=[*labels, "state", "reason"]
        )
        for one in RunState:
            reason = snapshot.status.reason if one is snapshot.status.state else ""
            state.add_metric([*values, one.value, reason], float(one is snapshot.status.state))
        yield state
        clients = GaugeMetricFamily(f"{PREFIX}clients", "Clients attached", labels=labels)
        clients.add_metric(values, snapshot.status.clients)
        yield clients
        used = GaugeMetricFamily(f"{PREFIX}limit_used", "Share of a limit that is used", labels=[*labels, "limit"])
        for limit in snapshot.limits:
            if limit.used is not None and limit.limit:
                used.add_metric([*values, limit.name], float(limit.used / limit.limit))
        yield used
        gaps = HistogramMetricFamily(
            f"{PREFIX}heartbeat_gap_seconds", "Time between two heartbeats of the runner", labels=labels
        )
        gaps.add_metric(values, self.gaps.cumulative(), self.gaps.total)
        yield gaps
        if self.execution is not None:
            diff = snapshot.account.diff
            self.execution.drift = None if diff is None else -diff
            yield from self.execution.collect()
