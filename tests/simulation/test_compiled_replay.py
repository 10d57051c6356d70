"""A compiled replay is the engine's: every frame of a Result, for configurations drawn at random and markets out of the ordinary."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.fees import FundingTable
from grinder_kit.kernel.feed import FeedOptions, slices
from grinder_kit.kernel.options import kernel_options
from grinder_kit.market.recording import Recording
from grinder_kit.market.source import Market
from grinder_kit.market.synthetic import SYNTHETIC_INSTRUMENT, synthetic_market
from grinder_kit.model.config import Config, Limits
from grinder_kit.model.instrument import Contract
from grinder_kit.simulation import compiled_run
from grinder_kit.simulation.columns import START as FIRST
from grinder_kit.simulation.columns import STOP, WHEN, rows_of, stretches
from grinder_kit.simulation.compiled_run import keeps_out
from grinder_kit.simulation.grid_setup import Room
from grinder_kit.simulation.local_book import LocalBook
from grinder_kit.simulation.replay import replay
from grinder_kit.simulation.result import Result
from tests.simulation.markets import CONFIG, MS, START, TOY, MemoryMarket, Script, calm, funding_table, round_trip
from tests.simulation.test_sweep import DEEDS as DEEDS_OF_A_SWEEP
from tests.simulation.test_sweep import deeds, funded, scripts
from tests.simulation.test_sweep import drawn as drawn_for_a_sweep

FRAMES = ("fills", "orders", "round_trips", "equity", "mids", "amends", "refusals")
#: What the draws must have done, each at least once.
DEEDS = tuple(deed for deed in DEEDS_OF_A_SWEEP if deed not in ("unlikely", "kept"))  # a fill filter's
#: What a draw for a sweep may have and a single replay leaves to the engine.
LEFT_OUT = {"grid.min_fill_prob": 0, "router.max_repegs": 0} | {f"limits.{key}": None for key in Limits.model_fields}
NUMBERS = ("digest", "summary", "identity", "mark", "steps", "events", "start_ns", "end_ns", "empty_reason", "killed")


def differences(ours: Result, theirs: Result) -> list[str]:
    """Return in what a compiled result and the engine's differ, types of columns included."""
    assert (ours.engine, theirs.engine) == ("compiled", "event")
    frames = [
        name
        for name in FRAMES
        if getattr(ours, name).schema != getattr(theirs, name).schema
        or not getattr(ours, name).equals(getattr(theirs, name))
    ]
    return frames + [name for name in NUMBERS if getattr(ours, name) != getattr(theirs, name)]


def both(market: Market, config: Config) -> list[str]:
    """Replay on both paths; return in what they differ."""
    return differences(replay(market, config, engine="compiled"), replay(market, config, engine="event"))


def drawn(seed: int, mid_ticks: int, *, spot: bool = False) -> Config:
    """Return a draw for a sweep, without what keeps a replay out of compiled code."""
    config = drawn_for_a_sweep(seed, mid_ticks, spot=spot).replace(**LEFT_OUT)
    return config.replace(**{"router.amend": False}) if spot else config


def wider(seed: int, mid_ticks: int) -> Config:
    """Return a draw that has what a sweep does not cover: drawn latencies, a fused book, guessed queues, orders without end."""
    rng = random.Random(seed)
    config = drawn(seed, mid_ticks)
    changes: dict[str, Any] = {"execution.seed": seed}
    if rng.random() < 0.6:
        changes["execution.entry_table_ms"] = (1.0, 5.0, 30.0)
        changes["execution.response_table_ms"] = (2.0, 60.0)
    if rng.random() < 0.4:
        changes["execution.book"] = "fused"
    if rng.random() < 0.4:
        changes["execution.unknown_level"] = "neighbours"
    if rng.random() < 0.3:
        changes |= {
            "router.order_ttl_s": 0.3,
            "execution.entry_ms": 250,
            "execution.response_ms": 120,
            "grid.step_ms": 50,
        }
    return config.replace(**changes)


# --- parity --------------------------------------------------------------------------------------------------------------


def test_random_replays_are_the_engines_on_a_synthetic_market() -> None:
    """Every frame, number and digest is equal for every draw."""
    market = funded(synthetic_market(seed=3, minutes=0.5))
    configs = {seed: (drawn if seed < 400 else wider)(seed, 600_000) for seed in (*range(30), *range(400, 410))}
    done: Counter[str] = Counter()
    wrong = {}
    for seed, config in configs.items():
        ours, theirs = replay(market, config, engine="compiled"), replay(market, config, engine="event")
        if found := differences(ours, theirs):
            wrong[seed] = found
        done += deeds(config, theirs)
    assert not wrong
    assert all(done[deed] for deed in DEEDS), done


def test_random_replays_are_the_engines_on_a_recording(btc_recording: Recording) -> None:
    """The same on the first minute of BTCUSDT: a late feed, a snapshot out of order, quotes, and clocks that run backwards."""
    start, _ = btc_recording.span_ns
    market = funded(btc_recording.window(None, start + 60_000 * MS))
    wrong = {seed: found for seed in range(500, 506) if (found := both(market, drawn(seed, 600_000)))}
    wrong |= {seed: found for seed in range(600, 606) if (found := both(market, wider(seed, 600_000)))}
    assert not wrong


@pytest.mark.soak
@pytest.mark.parametrize("name", ["btc", "eth"])
def test_many_random_replays_are_the_engines(name: str, btc_recording: Recording, eth_recording: Recording) -> None:
    """Fifty draws on a whole recording."""
    market, mid = funded(btc_recording if name == "btc" else eth_recording), 600_000 if name == "btc" else 250_000
    draws = {seed: (drawn if seed % 2 else wider)(seed, mid) for seed in range(2000, 2050)}
    assert not {seed: found for seed, config in draws.items() if (found := both(market, config))}


def test_only_what_is_full_grows() -> None:
    """Mid moves far more often than orders are sent: a long curve of it does not make the logs of orders larger."""
    market, config = synthetic_market(seed=5, minutes=15), CONFIG.replace(**{"grid.mode": "PAUSE"})
    options, funding = kernel_options(config.execution), FundingTable(market.instrument, market.funding())
    room = Room.of([config])
    alone = compiled_run._Pass(market, config, market.instrument, options, funding, room=room, logged=300, apart=False)
    assert len(alone.to_the_end(lambda events: None).mids) > 1024
    assert (alone.run.own.logs.shape[1], len(alone.run.moved), len(alone.run.equity)) == (300, 300, 1024)


def test_a_spot_replay_is_the_engines() -> None:
    """Spot cannot amend but to less; grids of one size replace, and are covered."""
    spot = dataclasses.replace(SYNTHETIC_INSTRUMENT, contract=Contract.SPOT)
    market = synthetic_market(seed=5, minutes=0.5, instrument=spot)
    assert not {seed: found for seed in range(200, 204) if (found := both(market, drawn(seed, 600_000, spot=True)))}


@pytest.mark.parametrize("name", scripts())
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"execution.cross_by": "quote"},
        {"execution.queue": "power", "execution.entry_ms": 80, "router.order_ttl_s": 1},
        {"grid.recentre_bps": 10, "grid.reset_action": "HARD", "grid.levels": 5},
        {"grid.recentre_bps": 10, "execution.entry_ms": 0, "execution.response_ms": 0, "router.amend": False},
        {"execution.clock": "local", "execution.trade_advance_ms": 2, "execution.ties": "trade_bbo_depth"},
    ],
)
def test_a_market_out_of_the_ordinary_is_the_engines(name: str, changes: dict[str, Any]) -> None:
    """Crossed levels, gaps, half a book and a late feed are felt as the engine feels them."""
    assert not both(scripts()[name], CONFIG.replace(**changes))


def test_funding_without_a_mark_is_paid_at_what_is_seen_then() -> None:
    """The mid of the local book when the payment is seen, also where it moved before the next decision."""
    script = calm().trade(1_000, "sell", 990, 8).depth(2_015, ("buy", 1_000, 5)).depth(9_000, ("buy", 900, 1))
    table = funding_table([(START + 2_000 * MS, 0.01, None), (START + 2_010 * MS, 0.02, None)])
    assert not both(script.market(funding=table), CONFIG)


def test_what_is_seen_before_it_happens_needs_a_second_book(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local clock ahead of the exchange's: the strategy knows a book that the exchange does not have yet."""
    script = calm().trade(1_000, "sell", 990, 8).trade(3_000, "buy", 1_010, 8).depth(5_000, ("buy", 1_000, 4))
    script.depth(6_000, ("buy", 1_000, 0)).depth(15_500, ("buy", 900, 2))
    rows = script.market().rows.with_columns(pl.col("local_ns") - 350 * MS)
    tried: list[bool] = []
    begin = compiled_run.LocalBook.__init__

    def noted(self: LocalBook, *args: Any, apart: bool) -> None:
        tried.append(apart)
        begin(self, *args, apart=apart)

    monkeypatch.setattr(compiled_run.LocalBook, "__init__", noted)
    assert not both(MemoryMarket(rows), CONFIG)
    assert tried == [False, True]


@pytest.mark.parametrize("disorder_ms", [0, 40])
def test_depth_in_another_order_needs_a_second_book(disorder_ms: int) -> None:
    """Messages that overtake each other by either clock are seen and matched each in its own order."""
    market = synthetic_market(seed=6, minutes=0.2)
    rows, rng = pl.concat(market.batches()), np.random.default_rng(1)
    count = int(rows["seq"].max()) + 1  # type: ignore[arg-type]
    late, seen = (rng.integers(0, 60, count)[rows["seq"].to_numpy()] * MS for _ in range(2))
    rows = rows.with_columns(exchange_ns=rows["exchange_ns"] + late)
    rows = rows.with_columns(local_ns=rows["exchange_ns"] + seen) if disorder_ms else rows.with_columns(
        local_ns=rows["exchange_ns"].cum_max() + 5 * MS
    )  # fmt: skip
    for batch in (131_072, 997):
        shuffled = MemoryMarket(rows, market.instrument, batch=batch)
        assert not [found for seed in (700, 701) if (found := both(shuffled, drawn(seed, 600_000)))]


@pytest.mark.parametrize("batch", [1, 3, 1_000])
def test_batches_change_nothing(batch: int) -> None:
    """The order of events does not depend on how many rows are read at once; snapshots may be cut anywhere."""
    script = round_trip(feed_ms=7).book(16_000, {999: 5, 990: 3}, {1_002: 5}).depth(17_000, ("sell", 1_003, 2))
    whole = replay(script.market(), CONFIG, engine="compiled")
    assert replay(script.market(batch=batch), CONFIG, engine="compiled").digest == whole.digest


# --- the order of events -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        FeedOptions(),
        FeedOptions(quotes=True),
        FeedOptions(by_local_time=True),
        FeedOptions(quotes=True, trades_first=True, trade_advance_ns=3 * MS),
    ],
)
@pytest.mark.parametrize("batch", [50_000, 700])
def test_stretches_are_the_feeds(btc_recording: Recording, options: FeedOptions, batch: int) -> None:
    """Columns in place give the same events at the same times, in the same order, as streams that are sorted and copied."""
    market = _Part(btc_recording, rows=50_000, batch=batch)
    names = ("kind", "side", "tick", "lots", "id")
    theirs = [stretch.exchange for stretch in slices(market, options)]
    expected = [np.concatenate([getattr(stream, name) for stream in theirs]) for name in ("ts", *names)]
    ours: list[list[Any]] = []
    for stretch in stretches(market, options):
        for piece in stretch.pieces:
            rows, bursts = rows_of(piece.bursts), piece.bursts
            ts = np.repeat(bursts[:, WHEN], bursts[:, STOP] - bursts[:, FIRST])
            columns = piece.rows._asdict() | {"side": np.array([1, -1, 0])[piece.rows.side]}
            ours.append([ts, *(columns[name][rows] for name in names)])
    for at, column in enumerate(expected):
        assert np.array_equal(np.concatenate([piece[at] for piece in ours]), column)


class _Part:
    """The first rows of a market."""

    def __init__(self, market: Recording, *, rows: int, batch: int) -> None:
        self.instrument, self.clock_offset_ns = market.instrument, market.clock_offset_ns
        self.disorder_ns, self._batch = market.disorder_ns, batch
        self._rows = pl.concat(market.batches())[:rows]

    def batches(self, rows: int = 0) -> Iterator[pl.DataFrame]:
        """Yield the rows."""
        return (self._rows[at : at + self._batch] for at in range(0, len(self._rows), self._batch))


def test_a_market_less_ordered_than_it_says_is_refused() -> None:
    """Rows that come back further than the metadata promise are an error, not another result."""
    script = calm().trade(1_000, "sell", 990, 1).trade(1_100, "sell", 990, 1).trade(200, "sell", 990, 1)
    market = script.depth(2_000, ("buy", 900, 1)).market(batch=1)
    market.disorder_ns = (0, 0)
    with pytest.raises(DataError, match="less ordered than its metadata say; import it again"):
        replay(market, CONFIG, engine="compiled")


# --- which path ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"grid.min_fill_prob": 0.2}, "grid.min_fill_prob"),
        ({"router.max_repegs": 3}, "router.max_repegs"),
        ({"limits.max_position": "3"}, "limits.max_position"),
    ],
)
def test_what_keeps_a_replay_out_is_named(changes: dict[str, Any], key: str) -> None:
    """The result says by which path it came, and which key kept it out of compiled code; asking for it there is an error."""
    config, market = CONFIG.replace(**changes), round_trip().market()
    assert keeps_out(config, TOY) == key
    result = replay(market, config)
    assert (result.engine, result.kept_out, result.to_json()["kept_out"]) == ("event", key, key)
    with pytest.raises(ConfigError, match=f"{key} keeps this replay out of compiled code; leave engine out"):
        replay(market, config, engine="compiled")


def test_most_replays_are_compiled() -> None:
    """Nothing needs to be asked for; the engine's own steps can be."""
    assert (replay(round_trip().market(), CONFIG).engine, replay(round_trip().market(), CONFIG).kept_out) == (
        "compiled",
        None,
    )
    asked = replay(round_trip().market(), CONFIG, engine="event")
    assert (asked.engine, asked.kept_out) == ("event", None)


def test_an_inverse_contract_is_the_engines_alone(coin_recording: Recording) -> None:
    """Coin-margined money is no whole number of tick-lots."""
    assert keeps_out(CONFIG, coin_recording.instrument) == "instrument.contract"


def test_refusals_of_another_market_are_refused() -> None:
    """Refusals are worked out when asked for: from a market that has changed meanwhile they would be of another run."""
    market = round_trip().market()
    result = replay(market, CONFIG)
    market.rows = market.rows.filter(pl.col("kind") != "trade")
    with pytest.raises(DataError, match="the market was not the same when it was read again"):
        _ = result.refusals


def test_what_does_not_fit_is_given_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders under way for many steps, and more orders, fills and amends than there was room for, change nothing."""
    monkeypatch.setattr(compiled_run, "_LOGGED", 300)
    changes = {
        "grid.recentre_bps": 0,
        "grid.levels": 20,
        "grid.spacing_bps": 2,
        "grid.step_ms": 5,
        "execution.entry_ms": 2_000,
    }
    market = synthetic_market(seed=9, minutes=0.1)
    for amend in (False, True):
        assert not both(market, CONFIG.replace(**changes, **{"router.amend": amend}))


def test_progress_counts_the_events_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the pass has to begin again with more room."""
    monkeypatch.setattr(compiled_run, "_LOGGED", 16)
    heard: list[int] = []
    config = CONFIG.replace(**{"grid.recentre_bps": 0, "grid.levels": 20, "grid.spacing_bps": 2})
    result = replay(synthetic_market(seed=9, minutes=0.2), config, progress=heard.append)
    assert result.engine == "compiled" and sum(heard) == result.events


def test_a_market_that_never_has_two_sides_is_refused() -> None:
    """Without a mid at the end a position has no value."""
    one_sided = Script().depth(0, ("buy", 990, 5)).depth(3_000, ("buy", 991, 5)).market()
    with pytest.raises(DataError, match="no mid at the end"):
        replay(one_sided, CONFIG, engine="compiled")
