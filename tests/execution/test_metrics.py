"""ExecutionMetrics: the names of the specification, what they count, and that no counter is told twice or falls."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from grinder_kit.errors import ConfigError
from grinder_kit.execution.budget import WeightBudget
from grinder_kit.execution.clock import SystemClock, run_stepped
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.frames import round_trips_frame
from grinder_kit.execution.journal import Journal, entries, journal_header, rebuild
from grinder_kit.execution.latency import EDGES_MS, LatencyMonitor
from grinder_kit.execution.metrics import EDGES_BPS, ExecutionMetrics
from grinder_kit.execution.own_orders import MOST_REASONS, OwnOrders
from grinder_kit.execution.port import AmendRule, Epoch
from grinder_kit.execution.shell import Shell, guarded
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.event import Amended, OrderUpdate
from grinder_kit.model.fill import Fill
from grinder_kit.model.order import OrderState, Side
from grinder_kit.venue.simulated import SimulatedVenue
from tests.execution.desk import GRID, INSTRUMENT

CONFIG = Config(
    grid=GridConfig(spacing_bps=3, levels=8, size="0.05", recentre_bps=4, position_limit="0.2", skew_bps_at_limit=1)
).replace(**{"execution.entry_ms": 10.3, "execution.response_ms": 7.4})
SPEC = {
    "orders_placed": "counter",
    "orders_filled": "counter",
    "orders_cancelled": "counter",
    "orders_rejected": "counter",
    "order_latency_ms": "histogram",
    "fill_rate": "gauge",
    "round_trips": "counter",
    "round_trip_pnl_bps": "histogram",
}


def scraped(metrics: ExecutionMetrics) -> dict[str, Metric]:
    """Return the families as Prometheus reads them, by name without the prefix; a counter's name is without ``_total``."""
    text = generate_latest(metrics.registry).decode()
    families = list(text_string_to_metric_families(text))
    assert max(Counter(family.name for family in families).values()) == 1, "each metric stands there once"
    return {family.name.removeprefix("grinder_execution_"): family for family in families}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    """Return the one sample with these labels."""
    (found,) = [one for one in families[name].samples if labels.items() <= one.labels.items()]
    return found.value


def engine(**more: Any) -> ExecutionEngine:
    """Return an engine that has done nothing yet."""
    return ExecutionEngine(INSTRUMENT, Config(grid=GRID), **more)


async def traded(seconds: int, look: Any, journal: Journal | None = None) -> ExecutionEngine:
    """Trade a grid on the simulated venue; `look` is given engine, latencies and budget before and every ten seconds."""
    market = synthetic_market(seed=7, minutes=seconds / 60 + 1)
    async with SimulatedVenue(market, execution=CONFIG.execution) as venue:
        clock, epoch, latency = venue.clock, Epoch(), LatencyMonitor()
        rules = ExecutionEngine(market.instrument, CONFIG, amend_rule=AmendRule(venue.capabilities.amend))
        budget = WeightBudget.of(venue.capabilities, clock)
        port = guarded(
            latency.timed(venue, clock), clock, CONFIG.retry, epoch=epoch, budget=budget, rng=random.Random(1)
        )
        shell = Shell(rules, port, venue, clock, epoch=epoch, journal=journal)
        look(rules, latency, budget)
        await shell.start()
        for _ in range(0, seconds, 10):
            await shell.run(10)
            look(rules, latency, budget)
        await shell.stop()
        await shell.close()
        look(rules, latency, budget)
        return rules


def test_a_session_is_told_as_its_frames_have_it() -> None:
    """Every name of the specification, with its type; counts are those of fills, round trips and orders; nothing ever falls."""
    metrics: list[ExecutionMetrics] = []
    before: dict[tuple[str, str], float] = {}

    def look(rules: ExecutionEngine, latency: LatencyMonitor, budget: WeightBudget) -> None:
        if not metrics:
            metrics.append(ExecutionMetrics(rules, latency=latency, budget=budget))
        for family in scraped(metrics[0]).values():
            for one in family.samples:
                if family.type == "counter" or one.name.endswith(("_bucket", "_count")):
                    key = one.name, str(one.labels)
                    assert one.value >= before.get(key, 0), key
                    before[key] = one.value

    rules = run_stepped(traded(120, look))
    families = scraped(metrics[0])
    assert {name: families[name].type for name in SPEC} == SPEC
    tracker, totals = rules.tracker, rules.orders.totals
    trips = round_trips_frame(tracker.round_trips, rules.instrument)
    assert trips.height > 3 and value(families, "round_trips") == trips.height
    assert value(families, "fills") == len(tracker.fills) and value(families, "open_orders") == 0
    for edge in EDGES_BPS:
        told = value(families, "round_trip_pnl_bps", le=str(float(edge)))
        assert told == trips.filter(pl.col("net_bps") <= edge).height
    ended = [value(families, f"orders_{how}") for how in ("filled", "cancelled", "expired")]
    assert value(families, "orders_placed") == sum(ended) + sum(totals.rejections.values()) == totals.placed
    assert ended[0] > 3 and ended[1] > 3
    filled = sum(fill.quantity for fill in tracker.fills) / rules.instrument.lot
    assert value(families, "fill_rate") == pytest.approx(float(filled) / totals.lots)
    places = [one.value for one in families["order_latency_ms"].samples if one.labels.get("operation") == "place"]
    assert len(places) == len(EDGES_MS) + 3  # the last edge, sum and count
    assert value(families, "order_latency_ms", operation="place", le="10.0") == 0, "there and back take 17.7 ms"
    decided = {(one.labels["action"], one.labels["reason"]): one.value for one in families["decisions"].samples}
    assert decided == {(a.value, str(r)): n for (a, r), n in rules.decisions.items() if n}
    assert value(families, "weight_limit") == 2400 and value(families, "synced") == 1
    assert value(families, "equity") == pytest.approx(float(rules.ledger.equity(rules.watch.mid or Decimal(0))))
    frame = metrics[0].to_frame()
    assert frame.columns == ["name", "labels", "value"] and frame.height == sum(
        len(f.samples) for f in families.values()
    )
    assert repr(metrics[0]).endswith(f"{trips.height:,} round trips)")


def test_after_a_restart_counters_go_on_from_the_journal(tmp_path: Path) -> None:
    """An engine that is rebuilt tells what the one before told, so that totals are those of the session and not of a process."""
    instrument = synthetic_market().instrument
    path = tmp_path / "a.journal"
    header = journal_header(instrument, CONFIG, "r0")
    with Journal.open(path, header=header) as journal:
        rules = run_stepped(traded(60, lambda *_: None, journal))
    again = ExecutionEngine(instrument, CONFIG, amend_rule=AmendRule.MODIFY)
    rebuild(list(entries(path)), again)
    assert again.orders.totals == rules.orders.totals and rules.orders.totals.placed > 16
    told = [scraped(ExecutionMetrics(one)) for one in (rules, again)]
    for name in ("orders_placed", "orders_filled", "fills", "round_trips", "fill_rate"):
        assert value(told[0], name) == value(told[1], name)
    assert value(told[0], "round_trip_pnl_bps", le="+Inf") == value(told[1], "round_trip_pnl_bps", le="+Inf") > 0


def test_a_cell_may_be_run_again() -> None:
    """A second instance, of the same engine or of another, has a registry of its own; neither tells the other's."""
    same = engine()
    both = [ExecutionMetrics(same, labels={"session": name, "symbol": "TOY"}) for name in ("a", "a", "b")]
    assert [value(scraped(one), "open_orders") for one in both] == [0, 0, 0]
    assert {one.registry for one in both} != {both[0].registry} and len({one.registry for one in both}) == 3
    with pytest.raises(ConfigError, match="label 'reason' cannot be used; write letters"):
        ExecutionMetrics(same, labels={"reason": "x"})
    with pytest.raises(ConfigError, match="label 'a-b' cannot be used"):
        ExecutionMetrics(same, labels={"a-b": "x"})


def test_what_is_not_known_is_absent() -> None:
    """No fill rate before an order, no equity without a price, no drift before it was set: never a zero that means nothing."""
    metrics = ExecutionMetrics(engine())
    families = scraped(metrics)
    assert all(not families[name].samples for name in ("fill_rate", "equity", "drift"))
    assert value(families, "orders_placed") == value(families, "round_trips") == 0
    assert "order_latency_ms" not in families and "weight_used" not in families
    metrics.drift = Decimal("-0.002")
    assert value(scraped(metrics), "drift") == -0.002


def test_a_round_trip_is_counted_once_however_often_it_is_scraped() -> None:
    """Its profit, net of fees, stands in one bucket; where profits may be negative no sum is told, since it could fall."""
    rules = engine()
    metrics = ExecutionMetrics(rules)
    for n, (side, price) in enumerate(((Side.BUY, "100"), (Side.SELL, "100.1"), (Side.BUY, "100"), (Side.SELL, "100"))):
        rules.tracker.record_fill(
            Fill(
                fill_id=f"{n}", order_id=f"{n}", symbol="TOY", side=side, price=Decimal(price), quantity=Decimal("0.04"),
                commission=Decimal("0.0008"), commission_asset="USDT", ts_ns=n, is_maker=True,
            )
        )  # fmt: skip
        for _ in range(2):
            families = scraped(metrics)
            assert value(families, "round_trip_pnl_bps", le="+Inf") == (n + 1) // 2
    told = [value(families, "round_trip_pnl_bps", le=edge) for edge in ("-5.0", "-3.0", "5.0", "10.0")]
    assert told == [0, 1, 1, 2], "two fees of 2 bps: one trip lost 4, the other gained 6"
    assert not any(one.name.endswith("_sum") for one in families["round_trip_pnl_bps"].samples)


def test_latencies_without_an_answer_lie_beyond_the_last_edge() -> None:
    """They are in the histogram: a quantile of it is not flattered."""
    latency = LatencyMonitor()
    metrics = ExecutionMetrics(engine(), latency=latency)
    latency.record_send("a", 0, "cancel")
    latency.record_timeout("a", 7_000_000, "cancel")
    families = scraped(metrics)
    assert value(families, "order_latency_ms", operation="cancel", le="10000.0") == 0
    assert value(families, "order_latency_ms", operation="cancel", le="+Inf") == 1


def test_weight_used_is_the_budget_s() -> None:
    """What was spent in the window, beside what may be."""
    budget = WeightBudget(100, 60, SystemClock())
    budget.observe(30)
    families = scraped(ExecutionMetrics(engine(), budget=budget))
    assert (value(families, "weight_used"), value(families, "weight_limit")) == (30, 100)


# --- what orders are counted by --------------------------------------------------------------------------------------


def placed(orders: OwnOrders, *lots: int) -> list[str]:
    """Send orders of so many lots and let the venue take them."""
    ids = []
    for n, quantity in enumerate(lots, start=1):
        order = orders.add(f"B{n}", 1, 1_000, quantity, 0)
        orders.become(order.client_order_id, OrderState.OPEN, 1)
        ids.append(order.client_order_id)
    return ids


def test_fill_rate_is_filled_over_placed_quantity() -> None:
    """Partial fills count by their quantity, an amended order with its last one, and what has ended stays in it."""
    orders = OwnOrders("r0")
    assert orders.fill_rate is None
    first, second = placed(orders, 4, 6)
    assert orders.fill_rate == 0
    orders.fill(first, 1, 2)
    assert orders.fill_rate == 1 / 10
    orders.apply(Amended(client_order_id=second, price_ticks=1_001, quantity_lots=16, ts_ns=3))
    assert orders.fill_rate == 1 / 20
    orders.fill(first, 3, 4)
    orders.apply(OrderUpdate(client_order_id=second, state=OrderState.CANCELLED, ts_ns=5))
    assert len(orders) == 0 and orders.fill_rate == 4 / 20
    orders.collect()
    assert orders.fill_rate == 4 / 20
    assert orders.totals.ended == {OrderState.FILLED: 1, OrderState.CANCELLED: 1}
    assert (orders.totals.placed, orders.totals.amended) == (2, 1)


def test_a_late_fill_counts_for_the_order_that_has_ended() -> None:
    """The order stays ended, and its quantity was filled; a fill of an order that was never ours is nobody's."""
    orders = OwnOrders("r0")
    (one,) = placed(orders, 4)
    orders.become(one, OrderState.CANCELLED, 2)
    orders.fill(one, 3, 3)
    orders.fill("web_1", 3, 3)
    assert orders.fill_rate == 3 / 4


def test_refusals_are_told_apart_by_their_code_and_stay_few() -> None:
    """Codes are labels; what is no code, and a code too many, is OTHER."""
    orders = OwnOrders("r0")
    reasons = ["POST_ONLY_WOULD_TAKE", "the venue knows no such order", *(f"CODE_{n}" for n in range(100))]
    for n, reason in enumerate(reasons):
        order = orders.add(f"B{n}", 1, 1_000, 1, 0)
        orders.apply(
            OrderUpdate(client_order_id=order.client_order_id, state=OrderState.REJECTED, ts_ns=1, reason=reason)
        )
    refused = orders.totals.rejections
    assert len(refused) == MOST_REASONS and sum(refused.values()) == len(reasons)
    assert refused["POST_ONLY_WOULD_TAKE"] == 1 and refused["OTHER"] == 1 + 100 - (MOST_REASONS - 2)
