"""SessionMetrics: what belongs to a session's process, beside what it trades."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.metrics import ExecutionMetrics
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.session.metrics import SessionMetrics
from grinder_kit.session.snapshot import Limit, Snapshot
from tests.widgets.sessions import CONFIG, changed, played


def scraped(metrics: SessionMetrics) -> dict[tuple[str, ...], float]:
    """Return the samples, by name without the prefix and the labels that are not the session's."""
    return {
        (one.name.removeprefix("grinder_execution_"), *(v for k, v in sorted(one.labels.items()) if k not in ("session", "symbol"))):
        one.value
        for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())
        for one in family.samples
    }  # fmt: skip


def test_two_sessions_in_one_process_have_metrics_of_their_own() -> None:
    """Neither raises, and neither tells the other's."""
    snapshots = [changed(played()[-1], status={"clients": clients}) for clients in (1, 2)]

    def metrics(snapshot: Snapshot) -> SessionMetrics:
        return SessionMetrics(lambda: snapshot)

    both = [metrics(one) for one in snapshots]
    both[0].gaps.add(0.02)
    assert [scraped(one)["clients",] for one in both] == [1, 2]
    assert [scraped(one)["heartbeat_gap_seconds_bucket", "0.021"] for one in both] == [1, 0]


def test_drift_is_ours_less_the_venues_and_absent_while_unknown() -> None:
    """It follows the snapshot at each scrape."""

    def drift(diff: Decimal | None) -> float | None:
        engine = ExecutionEngine(synthetic_market().instrument, CONFIG)
        metrics = SessionMetrics(lambda: changed(played()[-1], account={"diff": diff}))
        metrics.execution = ExecutionMetrics(engine)
        return scraped(metrics).get(("drift",))

    assert [drift(diff) for diff in (Decimal("0.004"), Decimal(0), None)] == [-0.004, 0, None]


def test_limits_are_told_as_the_share_that_is_used() -> None:
    """What is not known has no share."""
    limits = (
        Limit(name="max_drawdown", used=Decimal("0.5"), limit=Decimal(2)),
        Limit(name="max_notional", used=None, limit=Decimal(9)),
    )
    told = scraped(SessionMetrics(lambda: replace(played()[-1], limits=limits)))
    assert {key: value for key, value in told.items() if key[0] == "limit_used"} == {
        ("limit_used", "max_drawdown"): 0.25
    }
