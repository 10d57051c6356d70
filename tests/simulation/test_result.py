"""Result: frames, numbers and words that a reader can trust."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.config import Config, ExecutionConfig, GridConfig
from grinder_kit.simulation.replay import replay
from grinder_kit.simulation.result import Result
from grinder_kit.simulation.spool import Spool
from grinder_kit.simulation.verdict import judge
from tests.simulation.markets import CONFIG, GRID, MS, START, calm, funding_table, round_trip


@pytest.fixture(scope="module", params=["compiled", "event"])
def engine(request: pytest.FixtureRequest) -> Any:
    """Return the path by which the results come: a reader cannot tell them apart."""
    return request.param


@pytest.fixture(scope="module")
def trip(engine: Any) -> Result:
    """Return a result with one round trip."""
    return replay(round_trip().market(), CONFIG, engine=engine)


@pytest.fixture(scope="module")
def busy(engine: Any) -> Result:
    """Return a result with many fills, partial ones among them, and refusals."""
    grid = GridConfig(spacing_bps=2, levels=8, size="0.3", position_limit="1.5", recentre_bps=1)
    return replay(synthetic_market(seed=3, minutes=6), Config(grid=grid), engine=engine)


# --- frames ----------------------------------------------------------------------------------------------------------------


def test_fills_carry_what_happened_and_when_it_was_seen(busy: Result) -> None:
    """One row per fill: exact money, exchange time, the time it was known, and why it filled."""
    fills = busy.fills
    assert len(fills) == busy.summary["trades"] > 20
    assert fills["fill_id"].is_unique().all()
    assert (fills["seen_ns"] - fills["ts_ns"] >= 10 * MS).all()
    assert fills["seen_ns"].is_sorted()
    assert fills.schema["commission"] == pl.Decimal(38, 12) and fills.schema["price"] == pl.Decimal(38, 1)
    assert fills["is_maker"].all()
    causes = dict(fills.group_by("cause").len().iter_rows())
    assert causes == {cause: n for cause, n in busy.summary["causes"].items() if n}
    assert fills["commission"].sum() == busy.summary["fee"]


def test_orders_add_up_to_the_fills(busy: Result) -> None:
    """Each sent order is there once; filled quantities are those of the fills, and states say how it ended."""
    orders, summary = busy.orders, busy.summary
    assert orders["client_order_id"].is_unique().all()
    assert len(orders) == summary["submitted_buy"] + summary["submitted_sell"]
    by_order = busy.fills.group_by("client_order_id").agg(pl.col("quantity").sum().alias("booked"))
    joined = orders.join(by_order, on="client_order_id", how="left").with_columns(pl.col("booked").fill_null(0))
    assert (joined["filled"] == joined["booked"]).all()
    assert (orders["filled"] <= orders["quantity"]).all()
    full = orders.filter(pl.col("state") == "FILLED")
    assert (full["filled"] == full["quantity"]).all()
    resting = orders.filter(pl.col("ended_ns").is_null())
    assert set(resting["state"]) <= {"OPEN", "PENDING", "PARTIALLY_FILLED"} and len(resting) <= 16
    assert (orders["sent_ns"] < orders["ended_ns"]).all()
    assert summary["rejected"] == orders.filter(pl.col("state") == "REJECTED").height


def test_equity_is_the_sum_of_its_parts_at_every_point(busy: Result) -> None:
    """The parts, grid + trend + funding - commission, are equity in each row, about one row a second, the last one the result's."""
    equity = busy.equity
    parts = equity.select(pl.col("grid") + pl.col("trend") + pl.col("funding") - pl.col("commission")).to_series()
    assert (parts == equity["equity"]).all()
    last = equity.row(-1, named=True)
    assert (last["equity"], last["grid"], last["position"]) == (
        busy.identity.equity_change,
        busy.identity.grid,
        busy.summary["position"],
    )
    assert last["ts_ns"] == busy.end_ns and last["mid"] == busy.mark
    gaps = equity["ts_ns"].diff().drop_nulls()
    assert gaps.median() == 1_000 * MS and gaps.max() < 2_000 * MS


def test_round_trips_are_net_of_their_fees(trip: Result) -> None:
    """The one round trip: in at 99.0, out at 101.0 two seconds later."""
    (row,) = trip.round_trips.rows(named=True)
    assert (row["side"], row["entry_price"], row["exit_price"], row["quantity"]) == (
        "BUY", Decimal(99), Decimal(101), Decimal("0.02"),
    )  # fmt: skip
    assert (row["gross_pnl"], row["commission"], row["net_pnl"]) == (
        Decimal("0.04"),
        Decimal("0.0008"),
        Decimal("0.0392"),
    )
    assert (row["hold_time_ms"], row["entry_level"], row["exit_level"]) == (2_000, "BUY_1", "SELL_1")


def test_refusals_name_level_reason_and_time(busy: Result) -> None:
    """The side that reached its limit is counted by level: how often, for how long, with the numbers."""
    refusals = busy.refusals
    assert {"POSITION_LIMIT"} <= set(refusals["reason"])
    limit = refusals.filter(pl.col("reason") == "POSITION_LIMIT")
    assert (limit["episodes"] > 0).all() and (limit["seconds"] > 0).all()
    assert limit["detail"].str.contains("limit 1500").all()
    assert (refusals["seconds"] <= busy.summary["duration_s"]).all()
    assert refusals["seconds"].is_sorted(descending=True)


def test_mids_are_the_changes_of_the_local_book(trip: Result, busy: Result) -> None:
    """One row where mid changed at a decision; a market that stands still has one."""
    assert trip.mids.rows() == [(START + 100 * MS, 100.0)]
    assert (busy.mids["mid"].diff().drop_nulls() != 0).all()


def test_frames_of_a_run_without_fills_have_their_columns() -> None:
    """Nothing happened, and every frame still has its columns."""
    result = replay(calm().depth(2_000, ("buy", 900, 1)).market(), CONFIG)
    empty = (result.fills, result.round_trips, result.refusals, result.markout())
    assert all(len(frame) == 0 and frame.width > 4 for frame in empty)
    assert {"seen_ns", "cause"} <= set(result.fills.columns)
    assert result.summary["maker_share"] == 0 and result.summary["max_drawdown"] == 0
    assert "0 fills" not in repr(result) and "too few for an interval" in repr(result)


# --- markout ---------------------------------------------------------------------------------------------------------------


def falling_after(side: str) -> Result:
    """Return a result in which one order fills at 1 s and mid has fallen by 2.0 at 3 s."""
    script = calm()
    if side == "BUY":
        script.trade(1_000, "sell", 990, 8)
    else:
        script.trade(1_000, "buy", 1_010, 8)
    script.depth(3_000, ("buy", 999, 0), ("buy", 990, 0), ("buy", 980, 0), ("sell", 972, 5))
    return replay(script.depth(8_000, ("buy", 900, 1)).market(), CONFIG.replace(**{"execution.cross_by": "quote"}))


@pytest.mark.parametrize(("side", "price", "sign"), [("BUY", 99.0, 1), ("SELL", 101.0, -1)])
def test_markout_is_positive_when_mid_went_our_way(side: str, price: float, sign: int) -> None:
    """After a fall a buy shows a loss and a sell a gain, in bps of its price; null where the market had ended."""
    result = falling_after(side)
    row = result.markout((1.0, 5.0, 10.0)).row(0, named=True)
    assert row["side"] == side and row["price"] == price
    assert row["markout_1s_bps"] == pytest.approx(sign * (100.0 - price) / price * 1e4)  # not yet fallen
    fallen = result.mids["mid"][-1]
    assert fallen < 98
    assert row["markout_5s_bps"] == pytest.approx(sign * (fallen - price) / price * 1e4)
    assert (row["markout_5s_bps"] > 0) == (side == "SELL")
    assert row["markout_10s_bps"] is None


def test_markout_keeps_the_order_and_number_of_fills(busy: Result) -> None:
    """One row per fill, in the order of the fills, whatever the horizons."""
    marked = busy.markout((0.5, 2.0, 1.0))
    assert marked["fill_id"].to_list() == busy.fills["fill_id"].to_list()
    assert marked.columns[-3:] == ["markout_0.5s_bps", "markout_2s_bps", "markout_1s_bps"]


# --- numbers and words -------------------------------------------------------------------------------------------------------


def test_summary_holds_the_numbers_that_matter(trip: Result) -> None:
    """All names of the summary, money as Decimal."""
    summary = trip.summary
    assert set(summary) == {
        "symbol", "duration_s", "steps", "events", "trades", "round_trips", "position", "mark", "equity", "grid", "trend",
        "fee", "funding", "max_drawdown", "inventory_p95", "submitted_buy", "submitted_sell", "cancelled_buy",
        "cancelled_sell", "amended", "rejected", "causes", "maker_share",
    }  # fmt: skip
    assert all(isinstance(summary[name], Decimal) for name in ("equity", "grid", "trend", "fee", "funding", "mark"))
    assert (summary["duration_s"], summary["steps"], summary["maker_share"]) == (15.0 - 0.1, 149, 1.0)
    assert (summary["submitted_buy"], summary["submitted_sell"]) == (3, 3)
    assert (summary["max_drawdown"], summary["inventory_p95"]) == (0.0, 0.02)


def test_max_drawdown_is_the_largest_fall_of_the_curve(busy: Result) -> None:
    """As a direct computation on the equity curve says."""
    peak, worst = -math.inf, 0.0
    for value in busy.equity["equity"].cast(pl.Float64):
        peak = max(peak, value)
        worst = max(worst, peak - value)
    assert busy.summary["max_drawdown"] == pytest.approx(worst)


def test_repr_is_readable(trip: Result) -> None:
    """The verdict first, then the parts of the profit with their asset and the digest."""
    text = repr(trip)
    assert text.startswith("TOYUSDT: +9.54 USDT per hour after fees; 0 blocks")
    for line in (
        "net profit                    +0.04 USDT",
        "fees                        -0.00 USDT",
        "2, 1",
        trip.digest[:16],
    ):
        assert line in text
    assert "e-" not in text and "Decimal" not in text


def test_html_says_the_same_and_is_escaped(trip: Result) -> None:
    """The notebook's form holds the rows of the text and no raw markup of the market's names."""
    shown = trip._repr_html_()
    for what, value in trip.rows():
        assert what in shown and value in shown
    odd = replay(round_trip().market(), CONFIG)
    object.__setattr__(odd, "instrument", odd.instrument.__class__(**_values(odd.instrument) | {"symbol": "<b>"}))
    assert "<b>&lt;b&gt;</b>" in odd._repr_html_()


def _values(instrument: Any) -> dict[str, Any]:
    return {name: getattr(instrument, name) for name in instrument.__dataclass_fields__}


def test_json_holds_summary_configuration_and_digest(busy: Result) -> None:
    """The JSON form is plain JSON types and names everything that is needed to run it again."""
    values = json.loads(json.dumps(busy.to_json(), allow_nan=False))
    assert {"trades", "position", "fee", "equity", "digest", "config", "market", "engine", "verdict"} <= set(values)
    assert values["trades"] == len(busy.fills)
    assert values["fee"] == float(busy.summary["fee"])
    assert values["identity_residual"] in ("0", "0.0") or float(values["identity_residual"]) == 0
    assert Config(grid=GridConfig(**values["config"]["grid"])).grid == busy.config.grid


def test_assumptions_are_sentences_about_this_run(trip: Result) -> None:
    """The fill assumptions in words follow the configuration."""
    text = " ".join(trip.assumptions)
    assert "risk-averse" in text and "10 ms to the exchange, 10 ms back" in text and "maker 2 bps" in text
    other = replay(
        round_trip().market(),
        Config(grid=GRID, execution=ExecutionConfig(entry_table_ms=[1, 5], maker_fee_bps="-0.5", partial_fills=False)),
    )
    text = " ".join(other.assumptions)
    assert "1 to 5 ms (drawn from 2 values, seed 0)" in text and "a rebate" in text and "whole order at once" in text


def test_funding_stands_in_the_summary() -> None:
    """A funding payment is a line of its own."""
    market = round_trip().market(funding=funding_table([(START + 2_000 * MS, 0.01, 1_000)]))
    result = replay(market, CONFIG)
    assert result.summary["funding"] == Decimal("-0.02")
    assert ("  funding", "-0.02 USDT") in result.rows()


def test_an_inverse_result_counts_in_contracts_and_base(coin_recording: Any) -> None:
    """On COIN-M the words are contracts and BTC, with the digits that base needs."""
    result = replay(coin_recording, Config(grid=GridConfig(spacing_bps=4, levels=5, size="1", position_limit="10")))
    rows = dict(result.rows())
    assert rows["net profit"].endswith(" BTC") and "contracts at" in rows["position at the end"]
    assert result.fills.schema["commission"] == pl.Decimal(38, 18)


# --- verdict -----------------------------------------------------------------------------------------------------------------


def curve(values: list[float], step_s: int = 60) -> pl.DataFrame:
    """Return an equity curve with a value every `step_s`."""
    return pl.DataFrame(
        {
            "ts_ns": [START + i * step_s * 1_000 * MS for i in range(len(values))],
            "equity": [Decimal(repr(v)) for v in values],
        },
        schema={"ts_ns": pl.Int64, "equity": pl.Decimal(38, 6)},
    )


def test_steady_profit_is_told_from_zero() -> None:
    """One unit a minute, every minute: 60 an hour, and the interval is a point."""
    verdict = judge(curve([float(i) for i in range(31)]), "USDT")
    assert (verdict.per_hour, verdict.low, verdict.high, verdict.blocks) == (60.0, 60.0, 60.0, 30)
    assert verdict.distinguishable and "earns" in verdict.text


def test_noise_is_not_told_from_zero() -> None:
    """Gains and losses in turn are not distinguishable from zero, and the verdict says that."""
    verdict = judge(curve([float(i % 2) * 5 for i in range(41)]), "USDT")
    assert not verdict.distinguishable
    assert "not distinguishable from zero (40 blocks of 60 s, 90 % interval)" in verdict.text


def test_steady_loss_loses() -> None:
    """The words follow the sign."""
    assert "loses" in judge(curve([-float(i) for i in range(31)]), "USDT").text


def test_a_short_market_has_no_interval() -> None:
    """Under five blocks there is a rate and no interval, and nothing is called distinguishable."""
    verdict = judge(curve([0.0, 1.0, 2.0]), "USDT")
    assert (verdict.low, verdict.high, verdict.distinguishable) == (None, None, False)
    assert "2 blocks of 60 s are too few for an interval" in verdict.text
    assert judge(curve([0.0]), "USDT").per_hour == 0.0


def test_the_verdict_draws_the_same_each_time() -> None:
    """The bootstrap has a fixed seed: a report does not change when it is made again."""
    noisy = curve([math.sin(i) * 3 for i in range(61)])
    assert judge(noisy, "USDT") == judge(noisy, "USDT")


# --- spool -------------------------------------------------------------------------------------------------------------------

SCHEMA = {"ts_ns": pl.Int64, "price": pl.Decimal(38, 2), "kind": pl.Enum(["a", "b"])}


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 999), st.sampled_from("ab")), max_size=30), st.integers(1, 12)
)
def test_a_spool_that_spills_gives_the_same_frame(rows: list[tuple[int, int, str]], limit: int) -> None:
    """Rows come back in order with their types, however few are kept in memory."""
    spilled, kept = Spool(SCHEMA, rows_in_memory=limit), Spool(SCHEMA)
    for ts, cents, kind in rows:
        for spool in (spilled, kept):
            spool.add(ts, Decimal(cents) / 100, kind)
    assert spilled.frame().equals(kept.frame())
    assert dict(spilled.frame().schema) == SCHEMA
    assert spilled.rows == len(rows)


def test_a_spool_keeps_few_rows_in_memory() -> None:
    """What has been written to disk is not held any more, and its folder goes with the spool."""
    spool = Spool(SCHEMA, rows_in_memory=10)
    for i in range(95):
        spool.add(i, Decimal(1), "a")
    assert len(spool._pending) == 5 and len(spool._parts) == 9
    folder = spool._parts[0].parent
    assert folder.is_dir() and spool.frame().height == 95
    del spool
    assert not folder.exists()
