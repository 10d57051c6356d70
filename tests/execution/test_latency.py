"""LatencyMonitor: quantiles against exact ones, timeouts as censored samples, bounded, and each trap of the specification's sketch."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError, ConnectivityError, DataError, OrderRejectedError
from grinder_kit.execution.buckets import Buckets
from grinder_kit.execution.clock import LoopClock, run_stepped
from grinder_kit.execution.latency import EDGES_MS, OPERATIONS, LatencyMonitor, kaplan_meier, kind_of
from grinder_kit.execution.port import Operation
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.config import ExecutionConfig
from grinder_kit.model.order import CancelRequest, OrderRequest, Side
from grinder_kit.venue.simulated import SimulatedVenue

MS = 1_000_000
#: Half of it is the sketch's; the other half is room for the floats between.
WITHIN = 0.01


def monitored(answered: list[float], given_up: list[float] = [], **options: Any) -> LatencyMonitor:  # noqa: B006 (read only)
    """Return a monitor of orders that were answered, and given up, after so many ms."""
    monitor = LatencyMonitor(**{"threshold_ms": math.inf, "timeout_s": 1e9, **options})
    for record, times in ((monitor.record_ack, answered), (monitor.record_timeout, given_up)):
        for n, ms in enumerate(times):
            monitor.record_send(f"{n}", 0)
            record(f"{n}", round(ms * MS))
    return monitor


def nearest_rank(values: list[float], level: float) -> float:
    """Return the quantile by its definition: the smallest value that a share of all does not exceed."""
    return sorted(values)[max(0, math.ceil(round(level * len(values), 9)) - 1)]


# --- quantiles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["pareto", "lognormal", "two humps", "constant"])
def test_quantiles_lie_within_one_percent_of_exact_on_heavy_tails(tail: str) -> None:
    """Ten thousand latencies, of a tail without a mean, of a venue that stalls now and then, and all the same."""
    rng = np.random.default_rng(7)
    n = 10_000
    times: list[float] = (
        {
            "pareto": 5 * (1 + rng.pareto(0.8, n)),
            "lognormal": np.exp(rng.normal(3, 2, n)),
            "two humps": np.where(rng.random(n) < 0.97, rng.normal(12, 1, n), rng.normal(4_000, 300, n)),
            "constant": np.full(n, 35.0),
        }[tail]
        .round(6)
        .tolist()
    )
    stats = monitored(times).get_stats("place")
    for name, level in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert stats[name] == pytest.approx(nearest_rank(times, level), rel=WITHIN)
    assert (stats["min"], stats["max"]) == pytest.approx((min(times), max(times)))
    assert stats["mean"] == pytest.approx(sum(times) / n) and stats["count"] == n


@given(st.lists(st.floats(0, 1e7), min_size=1, max_size=130), st.lists(st.floats(0, 1e7), max_size=20))
def test_percentile_index_is_right_for_small_n(answered: list[float], given_up: list[float]) -> None:
    """One sample, two, a hundred: the nearest rank of all requests, the unanswered being longer; p99 only from a hundred on."""
    answered = [round(ms, 6) for ms in answered]
    stats = monitored(answered, given_up).get_stats("place")
    everything = [*answered, *[math.inf] * len(given_up)]
    for name, level in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        exact, found = nearest_rank(everything, level), stats[name]
        if math.isinf(exact) or (name == "p99" and len(everything) < 100):
            assert found is None
        else:
            assert found == pytest.approx(exact, rel=WITHIN, abs=1e-9)
    assert (stats["count"], stats["timeouts"]) == (len(answered), len(given_up))


def test_timeouts_do_not_flatter_the_tail() -> None:
    """With six requests of a hundred unanswered nobody knows the 95 % quantile; left out, they would have made it the best."""
    assert monitored([10.0] * 100).get_stats("place")["p95"] == pytest.approx(10, rel=WITHIN)
    lost = monitored([10.0] * 94, [5000.0] * 6).get_stats("place")
    assert (lost["p95"], lost["p99"], lost["timeouts"]) == (None, None, 6)
    assert lost["p50"] == pytest.approx(10, rel=WITHIN)


def test_nothing_is_known_before_the_first_request_has_come_back() -> None:
    """Empty, as in the specification; and with timeouts alone no time is made up."""
    monitor = LatencyMonitor()
    monitor.record_send("a", 0)
    assert monitor.get_stats() == monitor.get_stats("place") == {} and monitor.ecdf("place") == ()
    assert monitor.to_frame().is_empty() and repr(monitor) == "LatencyMonitor(1 pending)"
    monitor.record_timeout("a", 9 * MS)
    stats = monitor.get_stats()
    assert (stats.pop("count"), stats.pop("timeouts")) == (0, 1) and set(stats.values()) == {None}
    assert monitor.ecdf("place") == () and monitor.censored_ms("place") == (9.0,)


def test_a_latency_of_zero_is_one() -> None:
    """On a clock that stands still while anything runs, answers come at once."""
    stats = monitored([0.0, 0.0, 5.0]).get_stats("place")
    assert (stats["min"], stats["p50"], stats["max"]) == (0, 0, 5)


# --- who is who ------------------------------------------------------------------------------------------------------


def test_amend_and_cancel_of_one_order_do_not_overwrite_each_other() -> None:
    """Three requests of one order are under way at once, and each is answered for itself."""
    monitor = LatencyMonitor()
    for ts, operation in enumerate(("place", "amend", "cancel")):
        monitor.record_send("gkr0-B1-1", ts * MS, operation)
    for ts, operation in ((9, "cancel"), (20, "amend"), (30, "place")):
        monitor.record_ack("gkr0-B1-1", ts * MS, operation)
    assert [monitor.get_stats(one)["max"] for one in ("place", "amend", "cancel")] == [30, 19, 7]
    assert monitor.pending == monitor.strays == 0


def test_operations_are_not_mixed() -> None:
    """Each has its own numbers; all together are asked for by name, and asking changes none of them."""
    monitor = LatencyMonitor()
    for n, operation in enumerate((Operation.PLACE, Operation.BATCH_PLACE, Operation.CANCEL, Operation.GET_FILLS)):
        monitor.record_send("a", 0, operation)
        monitor.record_ack("a", (n + 1) * 10 * MS, operation)
    assert monitor.operations == ("place", "cancel", "ask")
    before = [monitor.get_stats(one) for one in monitor.operations]
    assert [stats["mean"] for stats in before] == [15, 30, 40]
    together = monitor.get_stats()
    assert (together["count"], together["mean"], together["min"], together["max"]) == (4, 25, 10, 40)
    assert together["p50"] == pytest.approx(20, rel=WITHIN)
    assert [monitor.get_stats(one) for one in monitor.operations] == before
    assert {kind_of(one) for one in Operation} == set(OPERATIONS)
    with pytest.raises(ConfigError, match="operation 'buy' is not timed; write one of place, amend, cancel, ask"):
        monitor.record_send("a", 0, "buy")


def test_an_answer_to_nothing_is_counted_and_changes_nothing() -> None:
    """An id that was never sent, one that was answered, one that was given up."""
    monitor = LatencyMonitor(timeout_s=1)
    for one in "ab":
        monitor.record_send(one, 0)
    monitor.record_ack("a", 5 * MS)
    assert monitor.expire(1_000 * MS) == 1
    for one in ("a", "b", "c"):
        monitor.record_ack(one, 2_000 * MS)
        monitor.record_timeout(one, 2_000 * MS)
    assert monitor.strays == 6
    assert (monitor.get_stats()["count"], monitor.get_stats()["timeouts"]) == (1, 1)


def test_a_clock_that_went_back_is_refused() -> None:
    """The wall clock instead of the monotonic one: both times are named, and the request is still waited for."""
    monitor = LatencyMonitor()
    monitor.record_send("a", 100)
    for call in (monitor.record_ack, monitor.record_timeout, monitor.record_send):
        with pytest.raises(
            DataError, match=r"place a was sent at 100 ns and .* at 99 ns, which is before; give times of one"
        ):
            call("a", 99)
    monitor.record_ack("a", 100)
    assert monitor.get_stats("place")["max"] == 0


def test_the_same_request_again_gives_up_the_one_before() -> None:
    """A place that is sent again under its id: the first is a timeout at its age, the answer is the second's."""
    monitor = LatencyMonitor()
    monitor.record_send("a", 0)
    monitor.record_send("a", 700 * MS)
    monitor.record_ack("a", 730 * MS)
    assert monitor.get_stats("place")["max"] == 30 and monitor.censored_ms("place") == (700.0,)


# --- bounded ---------------------------------------------------------------------------------------------------------


def test_unacknowledged_sends_do_not_leak() -> None:
    """What is never answered is given up after `timeout_s` as others are sent, without anybody asking for it."""
    monitor = LatencyMonitor(timeout_s=2, threshold_ms=math.inf)
    for n in range(5_000):
        monitor.record_send(f"{n}", n * 10 * MS)
        assert monitor.pending <= 200
    assert monitor.get_stats("place")["timeouts"] == 4_800
    assert set(monitor.censored_ms("place")) == {2000.0}


def test_pending_and_kept_are_bounded_and_nothing_is_lost_from_the_counts() -> None:
    """Over `pending` the oldest goes as a timeout at its age; samples are the latest `kept`, counts are of all."""
    monitor = LatencyMonitor(pending=3, kept=10, threshold_ms=math.inf)
    for n in range(100):
        monitor.record_send(f"{n}", n * MS)
    assert monitor.pending == 3 and monitor.censored_ms("place") == (3.0,) * 10
    for n in range(97, 100):
        monitor.record_ack(f"{n}", 200 * MS)
    stats = monitor.get_stats("place")
    assert (stats["count"], stats["timeouts"]) == (3, 97) and len(monitor.ecdf("place")) == 3


def test_a_sketch_stays_small_whatever_comes() -> None:
    """From a ns to three centuries: no more bins than it may have, and the tail keeps its accuracy."""
    times = [10.0**power for power in range(-6, 13)] * 10
    monitor = monitored(times)
    assert monitor._tracks["place"].sketch._store.length() <= 4096
    assert monitor.get_stats("place")["p95"] == pytest.approx(nearest_rank(times, 0.95), rel=WITHIN)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold_ms": -1}, "threshold_ms is -1; write a number of ms, 0 or more"),
        ({"threshold_ms": math.nan}, "threshold_ms is nan"),
        ({"timeout_s": -2}, "timeout_s is -2; write a number of s above zero"),
        ({"timeout_s": math.inf}, "timeout_s is inf"),
        ({"pending": 0}, "pending is 0; write a whole number, at least 1"),
        ({"kept": 1.5}, "kept is 1.5; write a whole number"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigError, match=said):
        LatencyMonitor(**options)


# --- the distribution ------------------------------------------------------------------------------------------------

_SAMPLES = st.lists(st.tuples(st.integers(0, 20).map(float), st.booleans()), max_size=60)


@given(_SAMPLES)
def test_kaplan_meier_is_its_definition(samples: list[tuple[float, bool]]) -> None:
    """One less the product over the times up to here of those left unanswered among those still waited for."""
    curve = kaplan_meier(samples)
    assert [time for time, _ in curve] == sorted({time for time, seen in samples if seen})
    left = 1.0
    for time, share in curve:
        answered = sum(seen and at == time for at, seen in samples)
        left *= 1 - answered / sum(at >= time for at, _ in samples)
        assert share == pytest.approx(1 - left)


@given(st.lists(st.integers(0, 50).map(float), min_size=1, max_size=60))
def test_without_timeouts_it_is_the_share_of_the_samples(times: list[float]) -> None:
    """The empirical distribution function, which ends at 1; and the same through the monitor."""
    expected = [(time, sum(one <= time for one in times) / len(times)) for time in sorted(set(times))]
    for curve in (kaplan_meier((time, True) for time in times), monitored(times).ecdf("place")):
        assert np.allclose(curve, expected) and curve[-1][1] == 1


def test_a_timeout_is_censored_at_its_age() -> None:
    """Who was given up after 5 ms says nothing about what takes longer; taken as never answered, the curve would end at 3/4."""
    monitor = monitored([1.0, 10.0, 20.0], [5.0])
    assert np.allclose(monitor.ecdf("place"), [(1, 0.25), (10, 0.625), (20, 1)])
    assert monitored([1.0, 10.0, 20.0], [25.0]).ecdf("place")[-1] == pytest.approx((20.0, 0.75))


@given(st.lists(st.floats(0, 2e4), max_size=50), st.lists(st.floats(0, 2e4), max_size=5))
def test_it_is_tied_to_the_histogram(answered: list[float], given_up: list[float]) -> None:
    """Each edge counts what took at most so long, itself included; a timeout lies beyond the last, however early it was."""
    answered = [round(ms, 6) for ms in [*answered, 1.0, 500.0]]
    monitor = monitored(answered, given_up)
    counts = dict(monitor.histogram("place").cumulative())
    for edge in EDGES_MS:
        assert counts[str(float(edge))] == sum(ms <= edge for ms in answered)
    assert counts["+Inf"] == len(answered) + len(given_up)
    assert monitor.histogram("amend").cumulative() == Buckets(EDGES_MS).cumulative()


# --- warnings --------------------------------------------------------------------------------------------------------


def test_slow_requests_are_warned_of_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    """The first at once, then one line a second that says how many were left out; each operation for itself."""
    told: list[tuple[str, float, int]] = []
    monitor = LatencyMonitor(on_slow=lambda *slow: told.append(slow))
    with caplog.at_level(logging.WARNING, "grinder_kit"):
        for n in range(25):
            for operation in ("place", "cancel") if n == 0 else ("place",):
                monitor.record_send("a", n * 100 * MS, operation)
                monitor.record_ack("a", (n * 100 + 501) * MS, operation)
        monitor.record_send("a", 9_000 * MS)
        monitor.record_ack("a", 9_500 * MS)
    assert told == [("place", 501.0, 0), ("cancel", 501.0, 0), ("place", 501.0, 9), ("place", 501.0, 9)]
    assert [record.getMessage() for record in caplog.records][::3] == [
        "slow request operation=place latency_ms=501 answered=yes more=0",
        "slow request operation=place latency_ms=501 answered=yes more=9",
    ]


def test_a_timeout_is_slow_as_well(caplog: pytest.LogCaptureFixture) -> None:
    """It took at least so long; a connection that broke at once did not."""
    monitor = LatencyMonitor(timeout_s=3)
    with caplog.at_level(logging.WARNING, "grinder_kit"):
        monitor.record_send("a", 0)
        monitor.record_timeout("a", 2 * MS)
        monitor.record_send("b", 0)
        monitor.expire(3_000 * MS)
    assert [record.getMessage() for record in caplog.records] == [
        "slow request operation=place latency_ms=3000 answered=no more=0"
    ]


def test_whoever_is_told_cannot_undo_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises is logged; the sample counts."""

    def alarm(operation: str, ms: float, more: int) -> None:
        raise RuntimeError("no such pager")

    monitor = LatencyMonitor(threshold_ms=0, on_slow=alarm)
    monitor.record_send("a", 0)
    monitor.record_ack("a", MS)
    assert monitor.get_stats("place")["count"] == 1 and "on_slow failed operation=place" in caplog.text


# --- around a port ---------------------------------------------------------------------------------------------------

LINE = ExecutionConfig(entry_ms=20, response_ms=15, seed=3)


def order(n: int, price: str) -> OrderRequest:
    """Return an order far from the market."""
    return OrderRequest(
        client_order_id=f"gkr0-B{n}-1", level_id=f"BUY_{n}", symbol="SYNTH-USDT", side=Side.BUY, price=Decimal(price),
        quantity=Decimal("0.001"),
    )  # fmt: skip


def test_requests_of_a_port_are_timed_by_what_they_do() -> None:
    """A place before anybody knows the exchange's id, a batch as one request, a refusal as an answer; the rest passes untouched."""

    async def session() -> LatencyMonitor:
        market = synthetic_market(seed=7, minutes=2)
        async with SimulatedVenue(market, execution=LINE) as venue:
            monitor = LatencyMonitor()
            port = monitor.timed(venue, venue.clock)
            assert port.capabilities is venue.capabilities
            await port.place_order(order(1, "50000"))
            await port.batch_place([order(2, "50000.1"), order(3, "50000.2")])
            with pytest.raises(OrderRejectedError):
                await port.place_order(order(1, "50000"))
            await port.cancel_order(CancelRequest(client_order_id="gkr0-B1-1", symbol="SYNTH-USDT"))
            await port.get_open_orders("SYNTH-USDT")
            return monitor

    monitor = run_stepped(session())
    frame = monitor.to_frame()
    assert frame["operation"].to_list() == ["place", "cancel", "ask"]
    assert frame["count"].to_list() == [3, 1, 1] and frame["timeouts"].to_list() == [0, 0, 0]
    assert monitor.get_stats("place")["min"] == monitor.get_stats("place")["max"] == pytest.approx(35)
    assert repr(monitor).startswith("LatencyMonitor(place: 3 answered, p50 35 ms, p95 35 ms, 0 timeouts; cancel: 1")


def test_what_breaks_or_is_let_go_is_a_timeout() -> None:
    """A lost connection at its age, a caller that is cancelled, an answer that comes after the request was given up."""

    class Line:
        """A venue that breaks, hangs, or answers late."""

        def __init__(self, clock: LoopClock) -> None:
            self.clock = clock

        async def place_order(self, seconds: float) -> str:
            await self.clock.sleep(seconds)
            if seconds < 1:
                raise ConnectivityError("the line is down")
            return "placed"

    async def session() -> LatencyMonitor:
        clock = LoopClock()
        monitor = LatencyMonitor(timeout_s=4)
        port: Any = monitor.timed(Line(clock), clock)  # type: ignore[arg-type]
        with pytest.raises(ConnectivityError):
            await port.place_order(0.3)
        hangs = asyncio.ensure_future(port.place_order(60))
        await clock.sleep(2)
        hangs.cancel()
        await asyncio.gather(hangs, return_exceptions=True)
        late = asyncio.ensure_future(port.place_order(9))
        await clock.sleep(5)
        assert monitor.expire(clock.monotonic_ns()) == 1 and monitor.pending == 0
        assert await late == "placed"
        return monitor

    monitor = run_stepped(session())
    assert monitor.censored_ms("place") == pytest.approx((300, 2000, 5000)) and monitor.strays == 1
    assert monitor.get_stats("place")["count"] == 0


@given(st.integers(0, 2**32))
def test_requests_may_overtake_each_other(seed: int) -> None:
    """Answers in any order find their requests."""
    rng = random.Random(seed)
    monitor = LatencyMonitor(threshold_ms=math.inf)
    waits = {f"{n}": rng.randint(1, 400) for n in range(30)}
    for n, one in enumerate(waits):
        monitor.record_send(one, n * MS)
    for n, one in sorted(enumerate(waits), key=lambda sent: sent[0] + waits[sent[1]]):
        monitor.record_ack(one, (n + waits[one]) * MS)
    stats = monitor.get_stats("place")
    assert (stats["min"], stats["max"]) == (min(waits.values()), max(waits.values()))
    assert stats["mean"] == pytest.approx(sum(waits.values()) / 30)
