"""What a session tells Prometheus, read from its snapshot when it is asked: nothing is counted twice, nothing is registered globally."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from grinder_kit.model.event import RunState
from grinder_kit.session.snapshot import Snapshot


class SessionMetrics(Collector):
    """Metrics of one session.

    Parameters
    ----------
    take : callable
        Makes a snapshot.
    """

    def __init__(self, take: Callable[[], Snapshot]) -> None:
        self._take = take

    def describe(self) -> list[Metric]:
        """Return nothing: what there is to tell is known when it is asked."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of now."""
        snapshot = self._take()
        labels, values = ["session", "symbol"], [snapshot.about.name, snapshot.about.symbol]
        counts, status, money = snapshot.counts, snapshot.status, snapshot.money
        for name, text, number in (
            ("orders_placed", "New orders decided", counts.placed),
            ("orders_amended", "Amends decided", counts.amended),
            ("orders_cancelled", "Cancels decided", counts.cancelled),
            ("orders_rejected", "Orders that the venue refused", counts.rejected),
            ("fills", "Fills booked", counts.fills),
            ("round_trips", "Round trips closed, first in first out", counts.round_trips),
        ):
            counter = CounterMetricFamily(f"grinder_execution_{name}", text, labels=labels)
            counter.add_metric(values, number)
            yield counter
        for name, text, amount in (
            ("open_orders", "Own orders at the venue or on their way", float(status.open_orders)),
            ("position", "Base, or contracts, held", float(money.position)),
            ("equity", "Change of equity, settlement asset", None if money.equity is None else float(money.equity)),
            ("synced", "1 while orders and fills agree with the venue", float(status.synced)),
            ("clients", "Clients attached", float(status.clients)),
        ):
            if amount is not None:
                gauge = GaugeMetricFamily(f"grinder_execution_{name}", text, labels=labels)
                gauge.add_metric(values, amount)
                yield gauge
        state = GaugeMetricFamily(
            "grinder_execution_state", "1 for the state of the session", labels=[*labels, "state", "reason"]
        )
        for one in RunState:
            reason = status.reason if one is status.state else ""
            state.add_metric([*values, one.value, reason], float(one is status.state))
        yield state
        decisions = CounterMetricFamily(
            "grinder_execution_decisions", "Decisions of the router", labels=[*labels, "action", "reason"]
        )
        for action, reason, number in counts.decisions:
            decisions.add_metric([*values, action, reason], number)
        yield decisions


#: Bounds of the gaps between two heartbeats, s; one is meant to come every 20 ms.
GAPS_S = (0.021, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """The metrics of one session in a registry of their own, so that a second session in a process raises nothing.

    Parameters
    ----------
    take : callable
        Makes a snapshot.

    Attributes
    ----------
    registry : CollectorRegistry
    gaps : Histogram
        Time between two heartbeats of the runner, s.
    """

    def __init__(self, take: Callable[[], Snapshot]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(SessionMetrics(take))
        self.gaps = Histogram(
            "grinder_execution_heartbeat_gap_seconds",
            "Time between two heartbeats of the runner",
            buckets=GAPS_S,
            registry=self.registry,
        )
