"""ExecutionMetrics (SPEC 9.10): what a session tells Prometheus, read from its engine when it is asked.

Nothing is counted twice and nothing is registered globally: each instance has a registry of its own, so that a cell which is run
again, or a second session in a process, raises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import TypeAlias

import polars as pl
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from grinder_kit.errors import ConfigError
from grinder_kit.execution.buckets import Buckets
from grinder_kit.execution.budget import WeightBudget
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.frames import net_bps
from grinder_kit.execution.latency import LatencyMonitor
from grinder_kit.model.fill import RoundTrip
from grinder_kit.model.order import OrderState

#: Stands before every name.
PREFIX = "grinder_execution_"
#: Edges of the net profit of round trips, bps: fine where fees are (a maker's pair costs 0 to 4), the same on both sides of zero.
EDGES_BPS = (-100, -50, -20, -10, -5, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 5, 10, 20, 50, 100)

_Labels: TypeAlias = tuple[str, ...]
_LABEL = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_OWN_LABELS = frozenset({"action", "le", "operation", "reason", "state"})


class ExecutionMetrics(Collector):
    """The metrics of one session, under ``grinder_execution_``.

    | metric | type | what it tells |
    |---|---|---|
    | `orders_placed_total` | counter | orders sent, those that the venue refused included |
    | `orders_amended_total` | counter | amends confirmed |
    | `orders_filled_total` | counter | orders that filled whole |
    | `orders_cancelled_total`, `orders_expired_total` | counter | orders that ended so, filled in part or not |
    | `orders_rejected_total` | counter, `reason` | orders that the venue refused |
    | `fills_total`, `round_trips_total` | counter | fills booked; round trips of the tracker's view |
    | `fill_rate` | gauge | filled over placed quantity, each order with its last one; absent before the first |
    | `order_latency_ms` | histogram, `operation` | time to the answer; a request that had none lies beyond the last edge |
    | `round_trip_pnl_bps` | histogram | net of fees, of the entry's value |
    | `decisions_total` | counter, `action`, `reason` | decisions of the router |
    | `open_orders`, `position`, `synced` | gauge | orders that live; base or contracts; 1 while they agree with the venue |
    | `equity` | gauge | change of equity, settlement asset; absent without a price |
    | `drift` | gauge | position held here less the venue's; absent while unknown |
    | `weight_used`, `weight_limit` | gauge | request weight in the window, and the most that it may hold |

    Counters never fall while the process lives. After a restart they count from the start of the journal.

    Parameters
    ----------
    engine : ExecutionEngine
    latency : LatencyMonitor, optional
    budget : WeightBudget, optional
    labels : mapping, optional
        Labels of every metric; by default the symbol.

    Attributes
    ----------
    registry : CollectorRegistry
        Holds this collector and nothing else.
    drift : Decimal or None
        To be set by whoever compares positions.

    Raises
    ------
    ConfigError
        For a label that Prometheus refuses, or that a metric has already.

    Examples
    --------
    >>> from decimal import Decimal
    >>> from grinder_kit.model.config import Config, GridConfig
    >>> from grinder_kit.model.instrument import Instrument
    >>> btc = Instrument(symbol="BTCUSDT", venue="paper", base="BTC", quote="USDT", tick=Decimal("0.1"), lot=Decimal("0.001"))
    >>> engine = ExecutionEngine(btc, Config(grid=GridConfig(spacing_bps=5, levels=2, size="0.002")))
    >>> metrics = ExecutionMetrics(engine)
    >>> metrics
    ExecutionMetrics(symbol=BTCUSDT: 0 placed, 0 filled, 0 cancelled, 0 rejected, 0 round trips)
    >>> metrics.to_frame().filter(pl.col("name") == "grinder_execution_open_orders").rows()
    [('grinder_execution_open_orders', 'symbol="BTCUSDT"', 0.0)]
    """

    def __init__(
        self,
        engine: ExecutionEngine,
        *,
        latency: LatencyMonitor | None = None,
        budget: WeightBudget | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.labels = {"symbol": engine.instrument.symbol} if labels is None else dict(labels)
        for name in self.labels:
            if not _LABEL.fullmatch(name) or name in _OWN_LABELS:
                raise ConfigError(
                    f"label {name!r} cannot be used; write letters, digits and _, and none of {', '.join(sorted(_OWN_LABELS))}"
                )
        self.drift: Decimal | None = None
        self._engine, self._latency, self._budget = engine, latency, budget
        self._profits = Buckets(EDGES_BPS)
        self._trips_seen = 0
        self.registry = CollectorRegistry()
        self.registry.register(self)

    # --- what is counted here ----------------------------------------------------------------------------------------

    def record_round_trip(self, trip: RoundTrip) -> None:
        """Take the profit of a round trip; those of the engine come by themselves."""
        self._profits.add(net_bps(trip, self._engine.instrument))

    def update(self) -> None:
        """Take the round trips since the last time; each scrape does it, and must come before the tracker forgets them."""
        tracker = self._engine.tracker
        new = tracker.round_trip_count - self._trips_seen
        if new:
            for trip in islice(reversed(tracker.round_trips), new):
                self.record_round_trip(trip)
            self._trips_seen = tracker.round_trip_count

    # --- what is told ------------------------------------------------------------------------------------------------

    def describe(self) -> list[Metric]:
        """Return nothing: what there is to tell is known when it is asked."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of now."""
        self.update()
        engine = self._engine
        orders, tracker = engine.orders, engine.tracker
        totals, ended = orders.totals, orders.totals.ended
        yield self._counter("orders_placed", "Orders sent", {(): totals.placed})
        yield self._counter("orders_amended", "Amends confirmed", {(): totals.amended})
        yield self._counter("orders_filled", "Orders that filled whole", {(): ended[OrderState.FILLED]})
        yield self._counter("orders_cancelled", "Orders that ended cancelled", {(): ended[OrderState.CANCELLED]})
        yield self._counter("orders_expired", "Orders that ended expired", {(): ended[OrderState.EXPIRED]})
        rejections: dict[_Labels, int] = {(reason,): number for reason, number in totals.rejections.items()}
        yield self._counter("orders_rejected", "Orders that the venue refused", rejections, "reason")
        yield self._counter("fills", "Fills booked", {(): tracker.fill_count})
        yield self._counter("round_trips", "Round trips completed", {(): tracker.round_trip_count})
        decisions: dict[_Labels, int] = {
            (action.value, str(reason)): number
            for (action, reason), number in sorted(engine.decisions.items())
            if number
        }
        yield self._counter("decisions", "Decisions of the router", decisions, "action", "reason")

        yield self._gauge("fill_rate", "Filled over placed quantity", orders.fill_rate)
        yield self._gauge("open_orders", "Own orders at the venue or on their way", len(orders))
        yield self._gauge("position", "Base, or contracts, held", tracker.inventory)
        mid = engine.watch.mid
        equity = None if mid is None else engine.ledger.equity(mid)
        yield self._gauge("equity", "Change of equity, settlement asset", equity)
        yield self._gauge("synced", "1 while orders and fills agree with the venue", engine.synced)
        yield self._gauge("drift", "Position held here less the venue's, base or contracts", self.drift)
        if self._budget is not None:
            yield self._gauge("weight_used", "Request weight in the window", self._budget.used)
            yield self._gauge("weight_limit", "Most request weight in the window", self._budget.limit)

        if self._latency is not None:
            latencies: dict[_Labels, Buckets] = {
                (one,): self._latency.histogram(one) for one in self._latency.operations
            }
            yield self._histogram("order_latency_ms", "Time to the answer of a request, ms", latencies, "operation")
        yield self._histogram("round_trip_pnl_bps", "Net profit of a round trip, bps", {(): self._profits})

    def to_frame(self) -> pl.DataFrame:
        """Return every sample as a row: name, labels (as Prometheus writes them), value."""
        rows = [
            (sample.name, ",".join(f'{name}="{value}"' for name, value in sample.labels.items()), float(sample.value))
            for family in self.collect()
            for sample in family.samples
        ]
        return pl.DataFrame(rows, schema={"name": pl.String, "labels": pl.String, "value": pl.Float64}, orient="row")

    def __repr__(self) -> str:
        totals = self._engine.orders.totals
        labels = ", ".join(f"{name}={value}" for name, value in self.labels.items())
        return (
            f"ExecutionMetrics({labels}: {totals.placed:,} placed, {totals.ended[OrderState.FILLED]:,} filled, "
            f"{totals.ended[OrderState.CANCELLED]:,} cancelled, {totals.ended[OrderState.REJECTED]:,} rejected, "
            f"{self._engine.tracker.round_trip_count:,} round trips)"
        )

    # --- families ----------------------------------------------------------------------------------------------------

    def _counter(self, name: str, text: str, values: Mapping[_Labels, int], *labels: str) -> Metric:
        family = CounterMetricFamily(PREFIX + name, text, labels=[*self.labels, *labels])
        for given, value in values.items():
            family.add_metric([*self.labels.values(), *given], value)
        return family

    def _gauge(self, name: str, text: str, value: Decimal | float | None) -> Metric:
        family = GaugeMetricFamily(PREFIX + name, text, labels=list(self.labels))
        if value is not None:
            family.add_metric(list(self.labels.values()), float(value))
        return family

    def _histogram(self, name: str, text: str, values: Mapping[_Labels, Buckets], *labels: str) -> Metric:
        family = HistogramMetricFamily(PREFIX + name, text, labels=[*self.labels, *labels])
        for given, buckets in values.items():
            # Where values may be negative the sum may fall, and Prometheus wants none.
            family.add_metric([*self.labels.values(), *given], buckets.cumulative(), buckets.total)
        return family
