"""The oracle: every fill of hftbacktest's grid on two recordings under two queue models, and mutants that must differ."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import polars as pl
import pytest

from grinder_kit.kernel import options as options_module
from grinder_kit.kernel.feed import FeedOptions
from grinder_kit.kernel.options import kernel_options
from grinder_kit.kernel.simulator import KernelOptions
from grinder_kit.market.recording import Recording
from grinder_kit.model.config import Config
from grinder_kit.model.config_file import load_config
from grinder_kit.simulation.replay import replay
from grinder_kit.simulation.result import Result

STEP_NS = 100_000_000
MS = 1_000_000
RUNS = [(symbol, queue) for symbol in ("BTCUSDT", "ETHUSDT") for queue in ("risk_averse", "power")]
THEIR_QUEUE = {"risk_averse": "risk_adverse", "power": "power_prob2"}
THEIR_CAUSE = {"queue": "queue", "through": "through", "quote": "cross"}


class OracleFill(NamedTuple):
    """A fill as both sides write it: the step that first sees it, ms after the first event, side, price."""

    step: int
    exch_ms: int
    side: int
    price_tick: int


@dataclass(frozen=True)
class Oracle:
    """The configuration, the recordings and the vectors."""

    config: Config
    recordings: dict[str, Recording]
    in_lots: dict[tuple[str, str], dict[str, Any]]
    in_doubles: dict[tuple[str, str], dict[str, Any]]

    def run(self, symbol: str, queue: str, **options: Any) -> Result:
        """Replay the oracle's grid."""
        return replay(self.recordings[symbol], self.config.replace(**{"execution.queue": queue}), **options)


def _by_run(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    ours = {theirs: name for name, theirs in THEIR_QUEUE.items()}
    return {(run["symbol"], ours[run["queue"]]): run for run in json.loads(path.read_text())["runs"]}


@pytest.fixture(scope="module")
def oracle(root: Path, shared_data: Path, btc_recording: Recording, eth_recording: Recording) -> Oracle:
    """Return everything the oracle consists of."""
    vectors = shared_data / "vectors"
    return Oracle(
        config=load_config(root / "examples" / "hftbacktest_grid.toml"),
        recordings={"BTCUSDT": btc_recording, "ETHUSDT": eth_recording},
        in_lots=_by_run(vectors / "grid_fills_in_lots_20240808.json"),
        in_doubles=_by_run(vectors / "hftbacktest_grid_fills_20240808.json"),
    )


@pytest.fixture(scope="module")
def results(oracle: Oracle) -> Callable[[str, str], Result]:
    """Return the runs in whole lots, each computed once."""
    known: dict[tuple[str, str], Result] = {}

    def get(symbol: str, queue: str) -> Result:
        if (symbol, queue) not in known:
            known[symbol, queue] = oracle.run(symbol, queue)
        return known[symbol, queue]

    return get


def fills_of(result: Result) -> list[OracleFill]:
    """Return a result's fills as the oracle writes them, in its order."""
    frame, start = result.fills, result.start_ns
    fills = [
        OracleFill(
            step=-(-(seen - start) // STEP_NS) - 1,  # step k is at start + (k + 1) steps, and sees what came up to then
            exch_ms=(ts - start) // MS,
            side=1 if side == "BUY" else -1,
            price_tick=ticks,
        )
        for seen, ts, side, ticks in frame.select("seen_ns", "ts_ns", "side", "price_ticks").iter_rows()
    ]
    return sorted(fills)


def expected_fills(run: dict[str, Any]) -> list[OracleFill]:
    """Return a vector's fills."""
    return sorted(OracleFill(*fill[:4]) for fill in run["fills"])


@pytest.mark.parametrize("engine", ["compiled", "event"])
@pytest.mark.parametrize(("symbol", "queue"), RUNS)
def test_every_fill_is_the_oracles(
    oracle: Oracle, results: Callable[[str, str], Result], symbol: str, queue: str, engine: str
) -> None:
    """With the position in whole lots: the same step, time, side and price for each fill; position, fee and equity too."""
    result = results(symbol, queue) if engine == "compiled" else oracle.run(symbol, queue, engine=engine)
    assert result.engine == engine
    run = oracle.in_lots[symbol, queue]
    assert fills_of(result) == expected_fills(run)
    summary = result.summary
    assert (summary["steps"], summary["trades"]) == (run["steps"], run["trades"])
    assert result.start_ns == run["t0_exch_ns"]
    assert result.start_ns + STEP_NS == run["first_step_ns"]
    assert float(summary["position"]) == run["position"]
    assert float(summary["fee"]) == pytest.approx(run["fee"], abs=1e-6)
    assert float(summary["equity"]) == pytest.approx(run["equity"], abs=1e-6)
    assert result.identity.residual == 0


def test_the_oracle_is_as_large_as_the_facts_say(oracle: Oracle) -> None:
    """The vectors hold the counts and positions that facts/simulation-oracle.md names; nothing is compared with nothing."""
    in_lots = {run: (vector["trades"], vector["position"]) for run, vector in oracle.in_lots.items()}
    assert list(in_lots.values()) == [(1054, -1.4), (1054, -1.4), (375, -3.3), (376, -3.4)]
    assert all(len(vector["fills"]) == vector["trades"] for vector in oracle.in_lots.values())
    assert [len(vector["fills"]) for vector in oracle.in_doubles.values()] == [1055, 1055, 376, 376]


@pytest.mark.parametrize(("symbol", "events"), [("BTCUSDT", 466_836), ("ETHUSDT", 444_740)])
def test_the_same_events_go_in(results: Callable[[str, str], Result], symbol: str, events: int) -> None:
    """Kept depth, trades and snapshot rows, with the two clears of the snapshot, are as many as the source's."""
    assert results(symbol, "risk_averse").events == events


# --- the source itself, which sums its position in doubles -------------------------------------------------------------------


class DoublePosition:
    """The source's position: a double to which each fill adds its size, so that 50 times .1 is not 5."""

    def __init__(self) -> None:
        self._held = 0.0

    @property
    def lots(self) -> int:
        """Position in lots, as inexact as the source's: at the limit of 5,000 exactly where the source is at 5."""
        if abs(self._held) >= 5.0:
            return 5_000 if self._held > 0 else -5_000
        return max(-4_999, min(4_999, round(self._held * 1_000)))

    def book(self, side: int, lots: int) -> None:
        """Add a fill as the source does."""
        self._held += side * (lots * 0.001)


@pytest.mark.parametrize(("symbol", "queue"), RUNS)
def test_with_a_position_in_doubles_it_is_the_source(oracle: Oracle, symbol: str, queue: str) -> None:
    """Every fill with its cause, the totals of submissions, cancels and refusals, and the accounts are hftbacktest's."""
    result, run = oracle.run(symbol, queue, position=DoublePosition()), oracle.in_doubles[symbol, queue]
    assert fills_of(result) == expected_fills(run)
    summary, totals, final = result.summary, run["totals"], run["final"]
    assert {
        "submitted_buy": summary["submitted_buy"],
        "submitted_sell": summary["submitted_sell"],
        "cancel_buy": summary["cancelled_buy"],
        "cancel_sell": summary["cancelled_sell"],
        "rejected_post_only": summary["rejected"],
    } == {
        name: totals[name]
        for name in ("submitted_buy", "submitted_sell", "cancel_buy", "cancel_sell", "rejected_post_only")
    }
    assert {THEIR_CAUSE[name]: count for name, count in summary["causes"].items() if count} == totals["causes"]
    causes = Counter(
        (ts, ticks, THEIR_CAUSE[cause])
        for ts, ticks, cause in result.fills.select("ts_ns", "price_ticks", "cause").iter_rows()
    )
    named = ("queue", "through", "cross")
    assert causes == Counter((run["t0_exch_ns"] + f[1] * MS, f[3], named[f[6]]) for f in run["fills"])
    assert float(summary["position"]) == final["position"]
    assert float(summary["fee"]) == pytest.approx(final["fee"], abs=1e-6)
    assert float(summary["equity"]) == pytest.approx(final["equity"], abs=1e-6)
    assert float(result.mark) == pytest.approx(final["last_mid"], abs=1e-9)


@pytest.mark.parametrize(("symbol", "queue"), [("BTCUSDT", "risk_averse"), ("ETHUSDT", "power")])
def test_every_submission_and_cancel_is_the_sources(oracle: Oracle, symbol: str, queue: str) -> None:
    """Order by order: what was sent at which step, on which side, and which orders were refused, as the source did."""
    result, run = oracle.run(symbol, queue, position=DoublePosition()), oracle.in_doubles[symbol, queue]
    first = run["first_step_ns"]
    sent = Counter(((ns - first) // STEP_NS, side) for ns, side in result.orders.select("sent_ns", "side").iter_rows())
    expected: Counter[tuple[int, str]] = Counter()
    for step, buys, sells, *_ in run["actions"]:
        expected += Counter({(step, "BUY"): buys, (step, "SELL"): sells})
    assert sent == expected
    states = Counter(result.orders["state"].to_list())
    assert states["REJECTED"] == run["totals"]["rejected_post_only"]
    assert states["FILLED"] == len(run["fills"])


# --- mutants ---------------------------------------------------------------------------------------------------------------


def touch(options: KernelOptions) -> KernelOptions:
    """Any trade at the price fills: no queue."""
    return dataclasses.replace(options, queue="touch")


def no_latency(options: KernelOptions) -> KernelOptions:
    """Orders and answers take no time."""
    return dataclasses.replace(options, entry_ns=(0,), response_ns=(0,))


def orders_before_market(options: KernelOptions) -> KernelOptions:
    """An order arrives 1 ns before its millisecond, and so before the market events of that millisecond."""
    return dataclasses.replace(options, entry_ns=(options.entry_ns[0] - 1,), response_ns=(options.response_ns[0] + 1,))


def no_fill_by_the_best(options: KernelOptions) -> KernelOptions:
    """The opposite best that moves to the price fills nothing; with fills left to quotes, which this feed drops."""
    return dataclasses.replace(options, by_quote=True, feed=FeedOptions(quotes=False))


def undelayed(market: Recording) -> Recording:
    """The strategy sees the exchange's book without delay."""
    return cast(Recording, Undelayed(market))


class Undelayed:
    """A recording whose local time is the exchange's."""

    clock_offset_ns = 0

    def __init__(self, market: Recording) -> None:
        self._market = market
        self.disorder_ns = (market.disorder_ns[0],) * 2

    def batches(self, rows: int = 131_072) -> Iterator[pl.DataFrame]:
        """Yield the rows with their exchange time in both columns."""
        return (batch.with_columns(local_ns="exchange_ns") for batch in self._market.batches(rows))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._market, name)


def linear_power(options: KernelOptions) -> KernelOptions:
    """The power model with n = 1."""
    return dataclasses.replace(options, power=1.0)


class Mutant(NamedTuple):
    """A wrong rule, and how many fills it gives for each run by facts/simulation-oracle.md; empty where they do not say."""

    change: Callable[[KernelOptions], KernelOptions]
    counts: tuple[int, ...] = ()


MUTANTS = {
    "touch rule": Mutant(touch),
    "no latency": Mutant(no_latency),
    "orders before market": Mutant(orders_before_market, (1067, 1067, 374, 373)),
    "no fill by the best": Mutant(no_fill_by_the_best, (1019, 1029, 340, 342)),
}


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.parametrize(("symbol", "queue"), RUNS)
def test_mutant_gives_other_fills(
    oracle: Oracle,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    symbol: str,
    queue: str,
    name: str,
) -> None:
    """A wrong rule is seen: its fills are not the oracle's, and where the facts count them the count is theirs."""
    right = Counter(expected_fills(oracle.in_doubles[symbol, queue]))
    mutant = MUTANTS[name]
    monkeypatch.setattr(
        options_module, "kernel_options", lambda execution, **rule: mutant.change(kernel_options(execution, **rule))
    )
    mine = Counter(fills_of(oracle.run(symbol, queue, position=DoublePosition())))
    record_property("fills, missing, extra", (mine.total(), (right - mine).total(), (mine - right).total()))
    # The gate of the issue is 99 % of the fills: a mutant must fall through it, not only differ somewhere.
    assert (right - mine).total() > 0.01 * right.total() and mine - right
    if mutant.counts:
        assert mine.total() == mutant.counts[RUNS.index((symbol, queue))]


@pytest.mark.parametrize(("symbol", "fills"), [("BTCUSDT", 1078), ("ETHUSDT", 361)])
def test_mutant_without_feed_delay_gives_other_fills(oracle: Oracle, symbol: str, fills: int) -> None:
    """A strategy that sees the exchange's book at once trades differently, as often as the facts say."""
    wrong = replay(undelayed(oracle.recordings[symbol]), oracle.config, position=DoublePosition())
    mine, right = Counter(fills_of(wrong)), Counter(expected_fills(oracle.in_doubles[symbol, "risk_averse"]))
    assert right - mine and mine - right
    assert mine.total() == fills


def test_mutant_of_another_power_gives_other_fills(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exponent matters: n = 1 gives the facts' 1,061 fills on BTC."""
    monkeypatch.setattr(
        options_module, "kernel_options", lambda execution, **rule: linear_power(kernel_options(execution, **rule))
    )
    mine = Counter(fills_of(oracle.run("BTCUSDT", "power", position=DoublePosition())))
    right = Counter(expected_fills(oracle.in_doubles["BTCUSDT", "power"]))
    assert right - mine and mine - right
    assert mine.total() == 1061


@pytest.mark.parametrize(("symbol", "queue"), RUNS)
def test_mutant_of_the_other_queue_model_gives_other_fills(
    oracle: Oracle, results: Callable[[str, str], Result], symbol: str, queue: str
) -> None:
    """Equal totals prove little: on BTC both models give 1,054 fills, and they are not the same ones."""
    wrong = "power" if queue == "risk_averse" else "risk_averse"
    mine, right = Counter(fills_of(results(symbol, wrong))), Counter(expected_fills(oracle.in_lots[symbol, queue]))
    assert right - mine and mine - right
    assert (mine.total(), right.total()) == ((1054, 1054) if symbol == "BTCUSDT" else (mine.total(), right.total()))


def test_mutant_of_a_position_in_doubles_gives_other_fills(
    oracle: Oracle, results: Callable[[str, str], Result]
) -> None:
    """The vectors tell lots from doubles: at a nominal limit the source quotes on, and a fill more is the result."""
    for symbol, queue in RUNS[:3]:
        mine, theirs = (
            Counter(fills_of(results(symbol, queue))),
            Counter(expected_fills(oracle.in_doubles[symbol, queue])),
        )
        assert theirs - mine
