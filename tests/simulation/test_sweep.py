"""The compiled path is the engine: the same orders, fills and equity for configurations drawn at random, and the oracle's fills."""

from __future__ import annotations

import dataclasses
import json
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.calibration import CalibratedModel
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.kernel.options import kernel_options
from grinder_kit.market.recording import Recording
from grinder_kit.market.source import Market
from grinder_kit.market.synthetic import SYNTHETIC_INSTRUMENT, synthetic_market
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.config_file import load_config
from grinder_kit.model.instrument import Contract
from grinder_kit.simulation.replay import replay
from grinder_kit.simulation.result import Result
from grinder_kit.simulation.shared_market import SharedMarket
from grinder_kit.simulation.sweep import BATCH, GridRun, covers, run_grid, share, sweep
from grinder_kit.simulation.verdict import block_profits
from tests.simulation.markets import (
    CONFIG,
    MS,
    TOY,
    MemoryMarket,
    Script,
    Wrapped,
    calm,
    funding_table,
    round_trip,
)

MINUTE_NS = 60_000_000_000
#: What a draw must have exercised in all, and how often.
DEEDS = (
    "queue",
    "through",
    "quote",
    "partial",
    "amended",
    "rejected",
    "expired",
    "skewed",
    "limited",
    "reset",
    "funded",
    "unlikely",
    "kept",
)


def drawn(seed: int, mid_ticks: int, *, spot: bool = False) -> Config:
    """Return a configuration that the compiled path covers, for a market around a price."""
    rng = random.Random(seed)
    pick = rng.choice
    lattice = rng.random() < 0.4
    levels = pick((1, 2, 5, 10, 20))
    grid: dict[str, Any] = {"levels": levels, "step_ms": pick((50, 100, 250, 1000)), "mode": pick(("BILATERAL",) * 5 + (
        "UNI_LONG", "UNI_SHORT", "THROTTLE", "PAUSE"))}  # fmt: skip
    if lattice:
        grid |= {
            "planner": "lattice",
            "spacing_ticks": pick((1, 2, 5, 10, 37)),
            "half_spread_ticks": pick((0, 1, 5, 20)),
        }
    else:
        bps = Decimal(pick((1, 2, 5, 10, 20))) / 10 * max(1, 600_000 // mid_ticks)
        grid |= {"spacing_bps": bps, "ladder": pick(("linear", "geometric")), "recentre_bps": pick((0, bps, 3 * bps))}
        grid |= {"reset_action": pick(("NONE", "NONE", "SOFT", "HARD"))}
    if rng.random() < 0.3 and not spot:
        grid["size_schedule"] = ("0.02", "0.04", "0.1")
    else:
        grid["size"] = pick(("0.02", "0.1", "0.5"))
    if rng.random() < 0.7:
        grid["position_limit"] = pick(("0.1", "0.5", "2"))
        grid["skew_bps_at_limit"] = pick((0, 2, 10))
    if rng.random() < 0.2:
        grid["max_orders"] = pick((1, 3, 15))
    if rng.random() < 0.3:
        grid["levels_up"] = pick((0, 1, 3))
    if rng.random() < 0.4:
        grid |= {
            "min_fill_prob": pick((0.1, 0.3, 0.45, 0.6)),
            "fill_prob_hysteresis": pick((0, 0.05, 0.2)),
            "fill_horizon_s": pick((1, 4, 20)),
        }
    router: dict[str, Any] = {
        "amend": pick((True, False)), "price_tolerance_ticks": pick((0, 1, 3)),
        "amend_threshold_bps": pick((Decimal("0.1"), 1, 20)),
    }  # fmt: skip
    if rng.random() < 0.3:
        router["order_ttl_s"] = pick((0.3, 2, 10))
    execution = {
        "queue": pick(("risk_averse", "power", "pro_rata", "optimistic")), "queue_n": pick((1.0, 2.0, 3.5)),
        "entry_ms": pick((0, 3, 10, 40, 250)), "response_ms": pick((0, 3, 10, 120)), "partial_fills": pick((True, False)),
        "own_volume": pick(("share", "each")), "queue_fill": pick(("half_lot", "whole_size")),
        "cross_by": pick(("depth_best", "depth_best", "quote")), "clock": pick(("exchange", "exchange", "local")),
        "ties": pick(("market_order", "trade_bbo_depth")), "trade_advance_ms": pick((0, 0, 2)),
        "maker_fee_bps": pick((Decimal(2), Decimal("-0.5"), Decimal("1.75"))),
    }  # fmt: skip
    return Config(grid=GridConfig(**grid), router=router, execution=execution)


def differences(run: GridRun, result: Result) -> list[str]:
    """Return in what the compiled run and the engine's replay differ."""
    theirs = result.fills.select(run.fills.columns)
    pairs = {
        "orders": run.orders.equals(result.orders.drop("reason")),
        "fills": run.fills.equals(theirs),
        "equity": run.equity.equals(result.equity.select(run.equity.columns)),
        "digest": run.digest == result.digest,
        "steps": (run.steps, run.start_ns, run.end_ns) == (result.steps, result.start_ns, result.end_ns),
        "events": run.events == result.events,
    }
    return [name for name, same in pairs.items() if not same]


def deeds(config: Config, result: Result) -> Counter[str]:
    """Return how often a replay did what a draw is to exercise."""
    summary, orders, grid = result.summary, result.orders, config.grid
    states = Counter(orders["state"].to_list())
    whole = result.orders.select("client_order_id", whole="quantity")
    parts = result.fills.join(whole, on="client_order_id").filter(pl.col("quantity") < pl.col("whole"))
    refused: Counter[str] = Counter()
    for reason, episodes in result.refusals.select("reason", "episodes").iter_rows():
        refused[reason] += episodes
    return Counter(
        **summary["causes"],
        partial=len(parts), amended=summary["amended"], rejected=summary["rejected"], expired=states["EXPIRED"],
        skewed=len(result.fills) if grid.skew_bps_at_limit else 0, limited=refused["POSITION_LIMIT"],
        reset=refused["RESET"], funded=len(result._engine.tracker.funding_payments), unlikely=refused["FILL_PROB"],
        kept=len(orders) if grid.min_fill_prob and grid.fill_prob_hysteresis else 0,
    )  # fmt: skip


def compare(
    market: Market, mid_ticks: int, seeds: range, *, spot: bool = False, queue: str | None = None
) -> Counter[str]:
    """Run every draw on both paths, under one queue model or the drawn ones; return what happened in them.

    Every other draw judges its levels by a first passage, the others by the heuristic.
    """
    done: Counter[str] = Counter()
    wrong = {}
    shared: dict[Any, SharedMarket] = {}
    for seed in seeds:
        config = drawn(seed, mid_ticks, spot=spot)
        if queue is not None:
            config = config.replace(**{"execution.queue": queue})
        model = FirstPassageModel() if seed % 2 else None
        assert covers(config, market.instrument, model) is None
        result = replay(market, config, model=model, engine="event")
        clocks = kernel_options(config.execution).feed, config.execution.cross_by
        if clocks not in shared:
            shared[clocks] = share(market, config)
        if found := differences(run_grid(shared[clocks], config, model=model), result):
            wrong[seed] = found
        done += deeds(config, result)
    assert not wrong
    return done


def funded(market: Market, *, every_s: int = 20) -> Market:
    """Return a market with funding every so often, each other time without a mark."""
    start = int(next(iter(market.batches()))["exchange_ns"][0])
    rows = [
        (start + k * every_s * 1_000_000_000, 0.0001 * (k - 2), None if k % 2 else 600_000)
        for k in range(1, 400 // every_s)
    ]
    return Wrapped(market, funding=funding_table(rows))


@pytest.fixture(scope="module")
def btc_minute(btc_recording: Recording) -> Market:
    """Return the first minute of the BTC recording, with funding."""
    rows = pl.concat(btc_recording.batches())
    rows = rows.filter(pl.col("local_ns") < rows["local_ns"][0] + MINUTE_NS)
    market = MemoryMarket(rows, btc_recording.instrument)
    market.clock_offset_ns = btc_recording.clock_offset_ns
    return funded(market)


def test_random_grids_are_the_engines_on_a_synthetic_market() -> None:
    """Orders, fills, equity and digest are equal for every draw, and the draws did what there is to do."""
    done = compare(funded(synthetic_market(seed=3, minutes=1)), 600_000, range(24))
    assert all(done[deed] for deed in DEEDS), done


def test_random_grids_are_the_engines_on_a_recording(btc_minute: Market) -> None:
    """The same on a minute of BTCUSDT, whose feed is late and whose book begins empty."""
    done = compare(btc_minute, 600_000, range(100, 120))
    assert done["queue"] and done["through"] and done["quote"], done


@pytest.mark.soak
@pytest.mark.parametrize("queue", ["risk_averse", "power", "pro_rata", "optimistic"])
@pytest.mark.parametrize("name", ["btc", "eth"])
def test_many_random_grids_are_the_engines(
    name: str, queue: str, btc_recording: Recording, eth_recording: Recording
) -> None:
    """200 draws on a whole recording under each queue model, with every deed done at least 100 times."""
    market = funded(btc_recording if name == "btc" else eth_recording)
    done = compare(market, 600_000 if name == "btc" else 250_000, range(1000, 1200), queue=queue)
    assert all(done[deed] >= 100 for deed in DEEDS), done


def test_a_spot_grid_is_the_engines() -> None:
    """Spot cannot amend but to less: grids of one size are covered, and the engine's."""
    spot = dataclasses.replace(SYNTHETIC_INSTRUMENT, contract=Contract.SPOT)
    compare(synthetic_market(seed=5, minutes=0.5, instrument=spot), 600_000, range(200, 206), spot=True)
    sizes = GridConfig(spacing_bps=5, size_schedule=("0.02", "0.04"))
    assert covers(Config(grid=sizes), spot) == "router.amend"


def scripts() -> dict[str, Market]:
    """Return small markets, each with one thing that is out of the ordinary."""
    crossed = calm().depth(1_000, ("buy", 1_005, 3)).depth(1_500, ("buy", 1_005, 0), ("sell", 1_001, 4))
    gap = calm().gap(400).depth(900, ("buy", 1_003, 2)).trade(3_000, "sell", 990, 9).depth(20_000, ("sell", 1_020, 7))
    again = calm().gap(400).book(1_000, {995: 4, 990: 3}, {997: 2, 1_010: 5}).trade(1_200, "sell", 990, 6)
    told = calm().book(1_000, {999: 5, 990: 5, 980: 5}, {1_001: 5, 1_010: 5}).trade(1_200, "sell", 990, 3)
    reached = calm().depth(1_000, ("buy", 1_012, 3)).depth(2_000, ("buy", 1_012, 0), ("sell", 1_002, 2))
    half = calm().depth(500, ("sell", 1_001, 0), ("sell", 1_010, 0), ("sell", 1_020, 0), ("sell", 1_030, 0))
    late = calm(feed_ms=350).trade(900, "buy", 1_010, 8).depth(2_000, ("buy", 1_006, 1)).trade(2_100, "sell", 980, 50)
    return {
        "round trip": round_trip().market(),
        "crossed": crossed.trade(4_000, "buy", 1_010, 20).market(),
        "gap": gap.market(),
        "snapshot after a gap": again.depth(9_000, ("buy", 900, 1)).market(),
        "snapshot again": told.trade(2_000, "sell", 990, 4).depth(9_000, ("buy", 900, 1)).market(),
        "reached": reached.trade(4_000, "buy", 1_010, 20).market(),
        "half a book": half.depth(1_500, ("sell", 1_002, 3)).trade(5_000, "sell", 970, 3).market(),
        "late": late.depth(8_000, ("buy", 900, 1)).market(),
    }


@pytest.mark.parametrize("name", scripts())
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"execution.cross_by": "quote"},
        {"execution.queue": "power", "execution.entry_ms": 80, "router.order_ttl_s": 1},
        {"grid.recentre_bps": 10, "grid.reset_action": "HARD", "grid.levels": 5},
        {"grid.recentre_bps": 10, "execution.entry_ms": 0, "execution.response_ms": 0, "router.amend": False},
    ],
)
def test_a_market_out_of_the_ordinary_is_the_engines(name: str, changes: dict[str, Any]) -> None:
    """Crossed levels, gaps, half a book and a late feed are felt as the engine feels them."""
    market, config = scripts()[name], CONFIG.replace(**changes)
    assert not differences(run_grid(share(market, config), config), replay(market, config, engine="event"))


def test_without_latency_the_digest_is_the_engines() -> None:
    """A cancel that is answered at its own step is known at the next one, after that step's amends."""
    changes = {"execution.entry_ms": 0, "execution.response_ms": 0, "grid.recentre_bps": 0, "router.order_ttl_s": 2}
    config = CONFIG.replace(**changes, **{"grid.spacing_bps": Decimal("0.5"), "grid.levels": 8})
    market = synthetic_market(seed=4, minutes=0.5)
    result = replay(market, config, engine="event")
    assert result.summary["amended"]
    assert not differences(run_grid(share(market, config), config), result)


def test_what_does_not_fit_is_given_more_room() -> None:
    """Orders that stay under way for many steps need more room than a grid is given first."""
    config = CONFIG.replace(
        **{"grid.recentre_bps": 0, "grid.levels": 20, "grid.spacing_bps": 2, "execution.entry_ms": 2_000, "grid.step_ms": 5,
           "grid.planner": "centred", "router.amend": False}
    )  # fmt: skip
    market = synthetic_market(seed=9, minutes=0.1)
    assert not differences(run_grid(share(market, config), config), replay(market, config, engine="event"))


# --- the oracle ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_every_fill_is_the_oracles(
    symbol: str, btc_recording: Recording, eth_recording: Recording, root: Path, shared_data: Path
) -> None:
    """The compiled path gives each of the oracle's fills: step, time, side and price, under both queue models."""
    runs = json.loads((shared_data / "vectors" / "grid_fills_in_lots_20240808.json").read_text())["runs"]
    config = load_config(root / "examples" / "hftbacktest_grid.toml")
    shared = share(btc_recording if symbol == "BTCUSDT" else eth_recording, config)
    compared = 0
    for run in runs:
        if run["symbol"] != symbol:
            continue
        queue = {"risk_adverse": "risk_averse", "power_prob2": "power"}[run["queue"]]
        ours = run_grid(shared, config.replace(**{"execution.queue": queue}))
        fills = [
            (
                -(-(seen - ours.start_ns) // (100 * MS)) - 1,
                (ts - ours.start_ns) // MS,
                1 if side == "BUY" else -1,
                ticks,
            )
            for seen, ts, side, ticks in ours.fills.select("seen_ns", "ts_ns", "side", "price_ticks").iter_rows()
        ]
        assert sorted(fills) == sorted(tuple(fill[:4]) for fill in run["fills"])
        assert ours.steps == run["steps"]
        assert float(ours.equity["equity"][-1]) == pytest.approx(run["equity"], abs=1e-6)
        compared += 1
    assert compared == 2


# --- many grids ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def market() -> Market:
    """Return half a minute of the synthetic market, with funding."""
    return funded(synthetic_market(seed=3, minutes=0.5), every_s=10)


def plain(count: int) -> list[Config]:
    """Return grids of one market reading, unlike each other."""
    return [
        CONFIG.replace(
            grid=GridConfig(
                spacing_bps=Decimal(1 + k % 7) / 2, levels=1 + k % 11, size="0.02", position_limit="0.4", recentre_bps=k % 5,
                step_ms=(100, 250)[k % 2],
            )
        )
        for k in range(count)
    ]  # fmt: skip


def test_a_row_is_what_the_replay_says(market: Market) -> None:
    """Each row's numbers are those of the replay of its configuration; money is equal to the last digit."""
    grids = plain(5)
    for row, config in zip(sweep(market, grids).iter_rows(named=True), grids, strict=True):
        result = replay(market, config, engine="event")
        s = result.summary
        assert (row["grid_profit"], row["trend_profit"]) == (s["grid"], s["trend"])
        exact = ("steps", "trades", "round_trips", "equity", "fee", "funding", "position", "submitted_buy", "submitted_sell",
                 "cancelled_buy", "cancelled_sell", "amended", "rejected")  # fmt: skip
        assert {key: row[key] for key in exact} == {key: s[key] for key in exact}
        assert [row[cause] for cause in ("queue", "through", "quote")] == list(s["causes"].values())[:3]
        assert row["max_drawdown"] == pytest.approx(s["max_drawdown"], abs=1e-9)
        assert row["inventory_p95"] == pytest.approx(s["inventory_p95"])
        assert row["volume"] == result.fills["quantity"].sum()
        assert s["round_trips"]


def test_blocks_are_those_of_the_verdict(market: Market) -> None:
    """A row's blocks are the equity curve's, cut as the verdict cuts it: full ones only."""
    config = plain(3)[1]
    equity = replay(market, config, engine="event").equity
    ts, value = equity["ts_ns"].to_numpy(), equity["equity"].cast(float).to_numpy()
    for block_s in (7, 2.5, 60):
        blocks = sweep(market, [config], block_s=block_s)["blocks"][0].to_list()
        assert len(blocks) == (ts[-1] - ts[0]) // round(block_s * 1e9)
        assert blocks == pytest.approx(block_profits(ts, value, block_s).tolist(), abs=1e-9)
    with pytest.raises(ConfigError, match="block_s is 0; write seconds above 0"):
        sweep(market, [config], block_s=0)


def test_more_fills_than_there_was_room_for_are_paired(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid that fills more often than foreseen is given room, and its row does not change."""
    grids = plain(3)
    rows = sweep(market, grids)
    monkeypatch.setattr("grinder_kit.simulation.grid_setup._FILLS", 4)
    assert sweep(market, grids).equals(rows)


def test_threads_and_parts_change_nothing(market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, two, and rows that went through Parquet give the same table, in the order of the grids."""
    monkeypatch.setattr("grinder_kit.simulation.sweep._PART", BATCH)
    grids = plain(3 * BATCH + 1)
    shared = share(market, grids[0])
    one = sweep(shared, grids, threads=1)
    assert one["grid"].to_list() == list(range(len(grids)))
    assert one.equals(sweep(shared, grids, threads=2))
    assert one.equals(sweep(shared, iter(grids), threads=2, to=tmp_path / "rows"))
    assert len(list((tmp_path / "rows").iterdir())) == 4


def test_grids_are_taken_as_they_are_needed(market: Market) -> None:
    """A generator of grids is never far ahead of the rows: memory does not grow with their number."""
    taken = 0

    def grids() -> Any:
        nonlocal taken
        for config in plain(20 * BATCH):
            taken += 1
            yield config
        raise AssertionError("the last one was taken")

    waiting = grids()
    with pytest.raises(AssertionError, match="the last one"):
        sweep(share(market, plain(1)[0]), waiting, threads=1)
    assert taken == 20 * BATCH


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"router.max_repegs": 3}, "router.max_repegs"),
        ({"execution.entry_table_ms": (1.0, 2.0)}, "execution.entry_table_ms"),
        ({"execution.response_table_ms": (1.0, 2.0)}, "execution.response_table_ms"),
        ({"execution.book": "fused"}, "execution.book"),
        ({"execution.unknown_level": "neighbours"}, "execution.unknown_level"),
        ({"limits.max_position": "3"}, "limits.max_position"),
        ({"limits.max_drawdown": "3", "execution.book": "fused"}, "execution.book"),
    ],
)
def test_what_is_not_covered_is_named(changes: dict[str, Any], key: str, market: Market) -> None:
    """`covers` names the first key, and a sweep says which grid has it."""
    config = CONFIG.replace(**changes)
    assert covers(config, TOY) == key
    with pytest.raises(ConfigError, match=f"grid 1: the compiled path does not cover {key}"):
        sweep(market, [plain(1)[0], config])


def test_a_model_that_is_no_first_passage_is_not_covered(market: Market) -> None:
    """Where levels are judged by arrays, the compiled path says so; without a filter no model matters."""
    model = CalibratedModel(inner=FirstPassageModel())
    config = plain(1)[0].replace(**{"grid.min_fill_prob": 0.2})
    assert covers(config, TOY, model) == "grid.min_fill_prob"
    assert covers(plain(1)[0], TOY, model) is None
    with pytest.raises(ConfigError, match=r"does not cover grid.min_fill_prob"):
        sweep(market, [config], model=model)


def test_a_threshold_that_can_never_act_is_refused(market: Market) -> None:
    """What a replay says of a fill filter before it starts, a sweep says as well."""
    with pytest.raises(ConfigError, match=r"min_fill_prob is 0.05; the heuristic never says less"):
        sweep(market, [CONFIG.replace(**{"grid.min_fill_prob": 0.05})])
    far = CONFIG.replace(**{"grid.min_fill_prob": 0.05, "grid.fill_horizon_s": 601})
    with pytest.raises(ConfigError, match=r"fill_horizon_s"):
        sweep(market, [far], model=FirstPassageModel())


def test_an_inverse_contract_is_not_covered(coin_recording: Recording) -> None:
    """Coin-margined money is no whole number of tick-lots."""
    assert covers(CONFIG, coin_recording.instrument) == "instrument.contract"


@pytest.mark.parametrize(("band", "covered"), [("1.05", True), ("1.0000000001", False)])
def test_a_venue_with_price_bands_is_the_engines(band: str, covered: bool) -> None:
    """Levels out of the venue's band are not quoted; a band that 64 bits cannot hold is not covered."""
    banded = dataclasses.replace(TOY, band_up=Decimal(band), band_down=Decimal("0.985"))
    config = CONFIG.replace(**{"grid.levels": 6, "grid.recentre_bps": 20})
    market = scripts()["crossed"]
    if not covered:
        assert covers(config, banded) == "instrument.band_up"
        return
    market = Wrapped(market, instrument=banded)
    result = replay(market, config, engine="event")
    assert "PRICE_BAND" in result.refusals["reason"].to_list()
    assert not differences(run_grid(share(market, config), config), result)


def test_a_sweep_without_grids_is_refused(market: Market) -> None:
    """Nothing to run is an error, and says what to give."""
    with pytest.raises(ConfigError, match="no grid to run; give at least one"):
        sweep(market, [])


def test_grids_of_other_rules_of_time_are_refused(market: Market) -> None:
    """A market that was read by one clock is not used by another."""
    with pytest.raises(ConfigError, match="grid 1: the market was read for other rules"):
        sweep(market, [plain(1)[0], plain(1)[0].replace(**{"execution.clock": "local"})])


def test_a_grid_that_cannot_work_is_refused(market: Market) -> None:
    """What a replay refuses, a sweep refuses in the same words."""
    with pytest.raises(ConfigError, match="spacing_bps is 0.1, .* below one tick"):
        sweep(share(calm().market(), CONFIG), [CONFIG.replace(**{"grid.spacing_bps": Decimal("0.1")})])


def test_a_market_without_events_is_refused() -> None:
    """Nothing was recorded: there is nothing to run on."""
    with pytest.raises(DataError, match="no events"):
        share(Script().market(), CONFIG)


def test_a_market_that_never_has_two_sides_is_refused() -> None:
    """Without a mid at the end a position has no value."""
    one_sided = Script().depth(0, ("buy", 990, 5)).depth(3_000, ("buy", 991, 5)).market()
    with pytest.raises(DataError, match="no mid at the end"):
        run_grid(share(one_sided, CONFIG), CONFIG)
    with pytest.raises(DataError, match="no mid at the end"):
        sweep(one_sided, [CONFIG])
