"""Labels: the kernel's own fills for every order and queue model, censored where the data end, whatever the rows' grouping."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.clock import run_stepped
from grinder_kit.fillprob import traded_rate
from grinder_kit.fillprob.labels import SCHEMA, LabelOptions, LabelSet, label
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.options import kernel_options
from grinder_kit.kernel.simulator import QUEUE_MODELS, KernelOptions
from grinder_kit.market.feature_batch import best_levels
from grinder_kit.market.features import FeatureState
from grinder_kit.market.recording import Recording
from grinder_kit.market.source import Market
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.config import ExecutionConfig
from grinder_kit.model.instrument import Contract
from grinder_kit.model.market import Quote
from grinder_kit.model.order import OrderRequest, OrderType, Side
from grinder_kit.venue.simulated import SimulatedVenue
from tests.kernel.markets import Kernel, markets, play
from tests.simulation.markets import MS, START, TOY, MemoryMarket, Script, Wrapped, calm

SECOND = 1_000_000_000
QUEUES = tuple(QUEUE_MODELS)
DEPTH_ALONE = ExecutionConfig(unknown_level="neighbours")


def kernel_of(market: Market, options: LabelOptions, queue: str) -> Kernel:
    """Return the kernel over a market, under the options' rules and a queue model."""
    assumed = kernel_options(options.rules(market.instrument))
    return Kernel(dataclasses.replace(assumed, queue=queue), market)  # type: ignore[arg-type]


def ns(frame: pl.DataFrame, column: str) -> list[int]:
    """Return a column of seconds as ns."""
    return [round(value * 1e9) for value in frame[column]]


def kernel_fills(market: Market, options: LabelOptions, orders: pl.DataFrame, queue: str) -> list[int | None]:
    """Return when the kernel fills each of the orders whole within its watch, ns after it joined."""
    script: list[tuple[int, list[Any]]] = []
    columns = ("ts_ns", "side", "ticks", "lots")
    for number, (joined, side, ticks, lots) in enumerate(orders.select(columns).iter_rows()):
        sent = joined - options.latency_ns
        if not script or script[-1][0] != sent:
            script.append((sent, []))
        script[-1][1].append((ex.PLACE, number, side, ticks, lots, ex.POST_ONLY))
    watched, joined_ns = ns(orders, "watched_s"), orders["ts_ns"].to_list()
    until = max(j + w for j, w in zip(joined_ns, watched, strict=True)) + options.latency_ns
    out: list[int | None] = [None] * orders.height
    accepted = set()
    for response in play(kernel_of(market, options, queue), script, until)[0]:
        number, after = response["order"], response["ts"] - joined_ns[response["order"]]
        if response["type"] == ex.ACCEPTED:
            assert after == 0
            accepted.add(number)
        elif response["type"] == ex.FILLED and response["leaves"] == 0 and after <= watched[number]:
            out[number] = after
    assert accepted == set(range(orders.height))
    return out


def check_against_kernel(market: Market, options: LabelOptions, orders: pl.DataFrame, queues: Sequence[str]) -> None:
    """Every order of a sample fills in the kernel when its label says, under each queue model."""
    for queue in queues:
        expected = kernel_fills(market, options, orders, queue)
        assert orders[f"filled_{queue}"].to_list() == [after is not None for after in expected]
        times = [w if after is None else after for after, w in zip(expected, ns(orders, "watched_s"), strict=True)]
        assert ns(orders, f"time_s_{queue}") == times


# --- equal to the kernel -----------------------------------------------------------------------------------------------

executions = st.builds(
    ExecutionConfig,
    queue_n=st.sampled_from([1.0, 1.5, 2.0, 3.0]),
    partial_fills=st.booleans(),
    book=st.sampled_from(["depth", "fused"]),
    clock=st.sampled_from(["exchange", "local"]),
    ties=st.sampled_from(["market_order", "trade_bbo_depth"]),
    trade_advance_ms=st.sampled_from([0.0, 2.0]),
    queue_fill=st.sampled_from(["half_lot", "whole_size"]),
    cross_by=st.sampled_from(["depth_best", "quote"]),
    unknown_level=st.sampled_from(["zero", "neighbours"]),
)


@settings(max_examples=100)
@given(
    execution=executions,
    market=markets(),
    latency_ms=st.sampled_from([0.0, 2.0, 3.000001]),
    window_s=st.sampled_from([0.007, 60.0]),
    every_ms=st.sampled_from([1, 3]),
)
def test_every_label_is_the_kernels_fill(
    execution: ExecutionConfig, market: Any, latency_ms: float, window_s: float, every_ms: int
) -> None:
    """On random markets, under every combination of assumptions, each order fills when the kernel fills it."""
    small = MemoryMarket(market.rows, TOY)
    small.clock_offset_ns = market.clock_offset_ns
    options = LabelOptions(
        every_ms=every_ms, ticks=(0, 1, 2), distances_bps=(), sizes_quote=(Decimal("0.01"), Decimal("0.06")),
        latency_ms=latency_ms, window_s=window_s, execution=execution,
    )  # fmt: skip
    try:
        labels = label(small, options=options)
    except DataError:  # no trades, or over at once
        return
    check_against_kernel(small, options, labels.frame, QUEUES)


@pytest.fixture(scope="module")
def synthetic() -> Market:
    """Return two minutes of the synthetic market."""
    return synthetic_market(seed=3, minutes=2)


@pytest.fixture(scope="module")
def synthetic_labels(synthetic: Market) -> LabelSet:
    """Return its labels."""
    return label(synthetic)


@pytest.fixture(scope="module")
def btc_labels(btc_recording: Recording) -> LabelSet:
    """Return the labels of a real perpetual, by the protocol of the facts."""
    return label(btc_recording)


def some(frame: pl.DataFrame, count: int) -> pl.DataFrame:
    """Return a sample of orders, half of them at the touch, by time."""
    touch = frame["at_touch"]
    parts = (frame.filter(touch), frame.filter(~touch & (pl.col("distance_bps") < 8)))
    return pl.concat(part.sample(count // 2, seed=1) for part in parts).sort("ts_ns")


def test_synthetic_labels_are_the_kernels_fills(synthetic: Market, synthetic_labels: LabelSet) -> None:
    """On the synthetic market a sample of orders fills at the same nanosecond under all queue models."""
    orders = some(synthetic_labels.frame, 400)
    assert orders["filled_power"].sum() > 100
    check_against_kernel(synthetic, LabelOptions(), orders, QUEUES)


@pytest.mark.parametrize("latency_ms", [0.0, 35.0])
def test_real_labels_are_the_kernels_fills(btc_recording: Recording, latency_ms: float) -> None:
    """On a real recording too, with small and large orders, without and with latency."""
    options = LabelOptions(latency_ms=latency_ms, sizes_quote=(Decimal(120), Decimal(60_000)), every_ms=1_000)
    orders = some(label(btc_recording, options=options).frame, 400)
    assert orders["filled_power"].sum() > 100 and orders["lots"].n_unique() > 2
    check_against_kernel(btc_recording, options, orders, QUEUES)


@pytest.mark.parametrize("queue", ["risk_averse", "power", "pro_rata", "optimistic"])
def test_a_simulated_venue_fills_the_same(queue: str) -> None:
    """Placed through the port of a simulated venue, an order fills at its label's time."""
    market = synthetic_market(seed=3, minutes=0.5)
    orders = some(label(market).frame.filter(pl.col("ts_ns").rank("dense") % 10 == 0), 40)
    instrument = market.instrument
    execution = LabelOptions().rules(instrument, queue)

    async def fills() -> dict[int, int]:
        async with SimulatedVenue(market, execution=execution) as venue:
            rows = orders.select("ts_ns", "side", "ticks", "lots").iter_rows()
            for number, (joined, side, ticks, lots) in enumerate(rows):
                await venue.clock.sleep((joined - venue.clock.now_ns()) / 1e9)
                assert venue.clock.now_ns() == joined
                request = OrderRequest(
                    client_order_id=f"n_{number}", level_id="", symbol=instrument.symbol,
                    side=Side.BUY if side > 0 else Side.SELL, price=instrument.price(ticks),
                    quantity=instrument.quantity(lots), type=OrderType.POST_ONLY,
                )  # fmt: skip
                await venue.place_order(request)
            await venue.clock.sleep(30)
            return {int(fill.order_id[2:]): fill.ts_ns for fill in await venue.get_fills(instrument.symbol)}

    filled = run_stepped(fills())
    ends = orders["ts_ns"] + pl.Series(ns(orders, "watched_s"))
    expected = {
        number: joined + after
        for number, (joined, after, was) in enumerate(
            zip(orders["ts_ns"], ns(orders, f"time_s_{queue}"), orders[f"filled_{queue}"], strict=True)
        )
        if was
    }
    assert len(expected) > 5
    assert {number: at for number, at in filled.items() if at <= ends[number]} == expected


# --- equal to the facts ------------------------------------------------------------------------------------------------


def share(frame: pl.DataFrame, queue: str, horizon_s: float) -> float:
    """Return the share of orders that fill within a horizon, of those that were watched so long."""
    watched = frame.filter(pl.col("watched_s") >= horizon_s)
    return float((watched[f"filled_{queue}"] & (watched[f"time_s_{queue}"] <= horizon_s)).to_numpy().mean())


def test_the_protocol_gives_the_shares_of_the_facts(btc_labels: LabelSet) -> None:
    """At the touch within 1 s: .318, .347, .367, .492 under the four queue models; away from it they hardly differ."""
    touch = btc_labels.frame.filter("at_touch")
    measured = {"risk_averse": 0.318, "power": 0.347, "pro_rata": 0.367, "optimistic": 0.492}
    assert {queue: share(touch, queue, 1) for queue in measured} == pytest.approx(measured, abs=0.01)
    away = btc_labels.frame.filter(~pl.col("at_touch"))
    shares = [share(away, queue, 1) for queue in measured]
    assert max(shares) - min(shares) < 0.003


@pytest.mark.parametrize(
    ("where", "horizon_s", "measured"),
    [
        (pl.col("at_touch"), 1, 2.63),
        (pl.col("at_touch"), 10, 1.19),
        (pl.col("at_touch"), 60, 1.07),
        (pl.col("behind") == 1, 1, 1.01),
        (pl.col("distance_bps").is_between(5, 5.02), 10, 1.00),
    ],
)
def test_touch_overstates_as_the_facts_say(
    btc_labels: LabelSet, where: pl.Expr, horizon_s: float, measured: float
) -> None:
    """The touch rule fills 2.6 times as many orders within a second at the touch, and hardly more a tick away."""
    step = ("ts_ns", "side")
    best = (pl.col("ticks") * pl.col("side")).max().over(step)
    orders = btc_labels.frame.with_columns(behind=best - pl.col("ticks") * pl.col("side")).filter(where)
    over = share(orders, "touch", horizon_s) / share(orders, "power", horizon_s)
    assert over == pytest.approx(measured, rel=0.01)


def test_a_fill_is_no_profit(btc_labels: LabelSet) -> None:
    """At the touch mid stands .7 bps against us 10 s after a fill, as the facts say."""
    touch = btc_labels.frame.filter("at_touch")
    assert touch["markout_10s_bps"].mean() == pytest.approx(-0.69, abs=0.05)


def test_more_generous_models_fill_sooner(btc_labels: LabelSet) -> None:
    """What fills under the risk-averse model fills under the others, and not later; touch is the most generous."""
    frame = btc_labels.frame
    for careful, generous in (
        ("risk_averse", "pro_rata"),
        ("risk_averse", "power"),
        ("power", "optimistic"),
        ("optimistic", "touch"),
    ):
        assert (frame[f"filled_{generous}"] | ~frame[f"filled_{careful}"]).all()
        assert (frame[f"time_s_{generous}"] <= frame[f"time_s_{careful}"]).all()


# --- what was known ----------------------------------------------------------------------------------------------------


def test_the_frame_is_what_it_says(btc_labels: LabelSet) -> None:
    """Columns, types, order, ranges; 25 distances a side at every quarter of a second."""
    frame = btc_labels.to_frame()
    assert frame.schema == SCHEMA
    assert frame["ts_ns"].is_sorted()
    assert set(np.diff(frame["ts_ns"].unique().sort()).tolist()) == {250 * MS}
    assert set(frame.group_by("ts_ns", "side").len()["len"]) == {25}
    assert frame["distance_bps"].min() >= 0 and frame["distance_bps"].max() == pytest.approx(60, abs=0.05)  # type: ignore[operator]
    assert frame["size_quote"].max() <= 120 and frame["size_quote"].min() > 50  # type: ignore[operator]
    assert frame["imb_own"].is_between(-1, 1).all()
    for queue in QUEUES:
        time_s, watched = frame[f"time_s_{queue}"], frame["watched_s"]
        assert (time_s <= watched).all() and (frame[f"filled_{queue}"] | (time_s == watched)).all()
    assert frame["watched_s"].max() == 60
    assert frame["block"].unique().to_list() == [0, 1, 2, 3, 4, 5]
    sides = [frame.filter(side=side, at_touch=True) for side in (1, -1)]
    assert (sides[0]["imb_own"] == -sides[1]["imb_own"]).all() and (sides[0]["ticks"] < sides[1]["ticks"]).all()
    spread = (sides[1]["ticks"] - sides[0]["ticks"]) * 0.1 / sides[0]["mid"] * 1e4
    assert spread.to_numpy() == pytest.approx(sides[0]["spread_bps"].to_numpy())
    warm = frame.filter(pl.col("ts_ns") > frame["ts_ns"][0] + 12 * SECOND)
    assert warm["sigma"].null_count() == 0 and frame["sigma"].null_count() > 0
    assert warm["natr_bps"].to_numpy() == pytest.approx(math.sqrt(8 / math.pi * 300) * warm["sigma"].to_numpy())


def test_sigma_and_order_flow_are_the_features(synthetic: Market) -> None:
    """At each decision they are those of FeatureState over the same events, bit for bit."""
    labels = label(synthetic, options=LabelOptions(execution=DEPTH_ALONE))
    steps = labels.frame.group_by("ts_ns", maintain_order=True).first().select("ts_ns", "sigma", "ofi_z", "natr_bps")
    rows = pl.concat(list(synthetic.batches())).sort("local_ns", maintain_order=True)
    state, tick = FeatureState(synthetic.instrument.tick), iter(steps.iter_rows())
    due, sigma, ofi_z, natr = next(tick)
    compared = 0
    for ts, is_trade, bid, bid_lots, ask, ask_lots in (
        e for part in best_levels([rows], "depth") for e in part.tolist()
    ):
        while due is not None and due < ts:
            known = state.features(due)
            assert (known.sigma_bps, known.ofi_zscore) == (sigma, ofi_z)
            assert natr is None or known.natr_proxy == pytest.approx(natr / 1e4)
            compared += sigma is not None
            due, sigma, ofi_z, natr = next(tick, (None,) * 4)
        if is_trade:
            state.update(ts, trade_ticks=bid)
        else:
            state.update(
                ts, quote=Quote(bid_ticks=bid or None, ask_ticks=ask or None, bid_lots=bid_lots, ask_lots=ask_lots)
            )
    assert compared > 400


def test_markouts_and_books_are_those_of_the_market(synthetic: Market, synthetic_labels: LabelSet) -> None:
    """Mid after the fill, and imbalance, mid and queue at the decision, are read from the kernel's book at those times."""
    options, instrument = LabelOptions(), synthetic.instrument
    orders = some(synthetic_labels.frame.filter(pl.col("filled_power")), 120)
    kernel = kernel_of(synthetic, options, "power")
    rows = list(orders.iter_rows(named=True))
    looks = [(row["ts_ns"], "joined", row) for row in rows]
    filled = [row["ts_ns"] + round(row["time_s_power"] * 1e9) for row in rows]
    looks += [
        (at + s * SECOND, f"markout_{s}s_bps", row) for at, row in zip(filled, rows, strict=True) for s in (1, 10)
    ]
    known = 0
    for at, what, row in sorted(looks, key=lambda look: look[0]):
        kernel.run(at)
        book = kernel.simulator.exchange.book
        bid, ask = int(book.head[bk.BEST_BID]), int(book.head[bk.BEST_ASK])
        if what == "joined":
            sizes = bk.quantity(book, 1, bid), bk.quantity(book, -1, ask)
            assert row["mid"] == pytest.approx(float(instrument.tick) * (bid + ask) / 2)
            assert row["imb_own"] == pytest.approx(row["side"] * (sizes[0] - sizes[1]) / sum(sizes))
            assert row["at_touch"] == (row["ticks"] == (bid if row["side"] > 0 else ask))
        elif row[what] is not None:
            assert row[what] == pytest.approx(row["side"] * ((bid + ask) / 2 / row["ticks"] - 1) * 1e4)
            known += 1
        else:
            assert at > synthetic_labels.window_ns[1]
    assert known > 200


@given(
    trades=st.lists(
        st.tuples(st.sampled_from([1, -1]), st.integers(1, 1_000), st.integers(0, 5 * SECOND)), max_size=30
    ),
    wait_ns=st.integers(0, 40 * SECOND),
)
def test_the_traded_rate_is_an_average_that_forgets(trades: list[tuple[int, int, int]], wait_ns: int) -> None:
    """Lots weighed by half for every 30 s of age, over the weight of the time since the start; NaN while unknown."""
    f, i = np.zeros(traded_rate.F_SIZE), np.zeros(traded_rate.I_SIZE, np.int64)
    traded_rate.restart(f, i, START)
    now, seen = START, []
    for side, lots, later in trades:
        now += later
        traded_rate.on_trade(f, i, side, lots, now)
        seen.append((side, lots, now))
    now += wait_ns
    for side in (1, -1):
        weighed = sum(lots * 0.5 ** ((now - at) / 30e9) for own, lots, at in seen if own == side)
        span_s = 30 / math.log(2) * (1 - 0.5 ** ((now - START) / 30e9))
        rate = traded_rate.rate(f, i, side, now)
        if now - START < 10 * SECOND or weighed == 0:
            assert math.isnan(rate)
        else:
            assert rate == pytest.approx(weighed / span_s)


def steady(seconds: int = 90) -> Script:
    """Return a market in which a seller trades 5 lots each second at 999 and a buyer 2 at 1,001; 50 lots wait at each."""
    script = calm().depth(0, ("buy", 999, 50), ("sell", 1_001, 50))
    for second in range(1, seconds):
        script.trade(second * 1000, "sell", 999, 5).depth(second * 1000, ("buy", 999, 50))
        script.trade(second * 1000 + 400, "buy", 1_001, 2).depth(second * 1000 + 400, ("sell", 1_001, 50))
    return script


def test_the_queue_is_measured_in_seconds_of_trade() -> None:
    """50 lots ahead where 5 a second trade are 10 s, and 25 s where 2 a second do: each side by what hits it."""
    frame = label(steady().market()).frame.filter(pl.col("at_touch"))
    late = frame.filter(pl.col("ts_ns") > START + 60 * SECOND)
    assert late.filter(side=1)["queue_s"].to_numpy() == pytest.approx(10, rel=0.03)
    assert late.filter(side=-1)["queue_s"].to_numpy() == pytest.approx(25, rel=0.03)
    assert frame.filter(pl.col("ts_ns") < START + 10 * SECOND)["queue_s"].null_count() > 0


# --- streaming ---------------------------------------------------------------------------------------------------------


def test_labels_are_the_same_each_time(synthetic: Market, synthetic_labels: LabelSet) -> None:
    """A second run gives the same frame, bit for bit."""
    assert_frame_equal(label(synthetic).frame, synthetic_labels.frame, check_exact=True)


@pytest.mark.parametrize("batch", [777, 20_000])
def test_batches_change_nothing(btc_recording: Recording, batch: int) -> None:
    """Rows in batches of any size give the same frame, bit for bit, with orders on their way too."""
    options = LabelOptions(every_ms=1_000, latency_ms=120, window_s=20)
    whole = label(btc_recording, options=options).frame
    cut = label(Wrapped(btc_recording, batch=batch), options=options).frame
    assert_frame_equal(cut, whole, check_exact=True)


def test_a_longer_market_begins_with_the_labels_of_a_shorter_one() -> None:
    """Orders whose watch and markout end inside the shorter market are labelled the same in a longer one: nothing looks ahead."""
    short, longer = (
        label(synthetic_market(seed=5, minutes=m), options=LabelOptions(every_ms=1_000)).frame for m in (2, 3)
    )
    over = pl.col("ts_ns") < short["ts_ns"][0] + 45 * SECOND
    assert_frame_equal(short.filter(over), longer.filter(over), check_exact=True)


# --- where the data end ------------------------------------------------------------------------------------------------


def test_the_end_of_the_data_ends_every_watch(btc_labels: LabelSet) -> None:
    """Orders of the last minute are watched to the last event and no longer."""
    frame, end = btc_labels.frame, btc_labels.window_ns[1]
    ends = frame["ts_ns"] + pl.Series(ns(frame, "watched_s"))
    assert ends.max() == end
    late = frame.filter(pl.col("ts_ns") > end - 60 * SECOND)
    assert set(late["ts_ns"] + pl.Series(ns(late, "watched_s"))) == {end}


@pytest.mark.parametrize("named", [True, False])
def test_no_order_lives_across_a_gap(synthetic: Market, named: bool) -> None:
    """A gap that the recording names ends every watch at the diff before it, half a minute that nobody names at the event before."""
    rows = pl.concat(list(synthetic.batches()))
    lost_from, lost_to = (rows["exchange_ns"][0] + s * SECOND for s in ((50, 52) if named else (50, 80)))
    before, after = rows.filter(pl.col("exchange_ns") < lost_from), rows.filter(pl.col("exchange_ns") >= lost_to)
    gap = after[:1].with_columns(
        kind=pl.lit("gap", dtype=rows["kind"].dtype), seq=pl.col("seq") - 1, price=0, quantity=0
    )
    broken = pl.concat([before, gap.cast(rows.schema), after] if named else [before, after])
    frame = label(MemoryMarket(broken, synthetic.instrument)).frame
    known = before.filter(pl.col("kind") == "depth") if named else before
    last = int(known["exchange_ns"].max())  # type: ignore[arg-type]
    old, new = frame.filter(pl.col("ts_ns") <= lost_from), frame.filter(pl.col("ts_ns") > lost_from)
    ends = old["ts_ns"] + pl.Series(ns(old, "watched_s"))
    assert old.height + new.height == frame.height and new.height > 500
    assert ends.max() == last and new["ts_ns"].min() >= lost_to  # type: ignore[operator]
    whole = label(MemoryMarket(before.filter(pl.col("exchange_ns") <= last), synthetic.instrument)).frame
    assert_frame_equal(old, whole, check_exact=True)  # as if the data had ended there, markouts as well
    soon = new.filter(pl.col("ts_ns") < lost_to + 9 * SECOND)
    assert soon["queue_s"].null_count() == soon.height > 0


def test_after_a_gap_a_book_is_trusted_when_it_is_anchored() -> None:
    """No order joins a queue that may not be there: 5 s of diffs anchor the book, and a snapshot does at once."""
    longest = []
    for anchored in (False, True):
        script = calm()
        for tenth in range(1, 300):
            if tenth == 100:
                script.gap(10_000)
                if anchored:
                    script.book(10_060, {999: 5}, {1_001: 5})
            script.depth(tenth * 100, ("buy", 990, tenth)).trade(tenth * 100, "sell", 999, 1)
        pauses = label(script.market()).frame["ts_ns"].unique().sort().diff().drop_nulls()
        assert (pauses > 250 * MS).sum() == 1
        longest.append(pauses.max())
    assert longest == [5_250 * MS, 500 * MS]  # from 9.75 s, the last step before the gap


# --- bad input ---------------------------------------------------------------------------------------------------------


def test_a_market_without_trades_is_refused() -> None:
    """Nothing shows when an order would have filled."""
    script = calm()
    for second in range(1, 90):
        script.depth(second * 1000, ("buy", 990, second))
    with pytest.raises(
        DataError, match="script has no trades: nothing shows when an order at rest fills; record the trade"
    ):
        label(script.market())


def test_a_one_sided_book_is_refused() -> None:
    """Without an ask there is no mid and no distance."""
    script = Script().book(0, {999: 5, 998: 5}, {})
    for second in range(1, 30):
        script.trade(second * 1000, "sell", 999, 1)
    with pytest.raises(
        DataError, match=r"gives no labels in 29.0 s \(no asks at 115 steps\); an order needs a bid and an ask"
    ):
        label(script.market())


def test_steps_with_one_side_are_left_out_and_counted() -> None:
    """Where a side is empty for a while, nothing is placed, and the note says how often."""
    script = calm()
    for second in range(1, 90):
        if second in (30, 40):
            script.depth(
                second * 1000 - 1, *(("sell", tick, 0 if second == 30 else 5) for tick in (1_001, 1_010, 1_020, 1_030))
            )
        script.trade(second * 1000, "sell", 999, 1)
    labels = label(script.market())
    assert labels.notes[0] == "40 steps without orders: no asks"
    assert "40 steps without orders: no asks" in repr(labels)


def test_a_market_without_events_and_one_that_is_over_at_once_are_refused() -> None:
    """Both errors say what is wrong."""
    empty = MemoryMarket(calm().market().rows.clear())
    with pytest.raises(DataError, match="the market has no events"):
        label(empty)
    with pytest.raises(DataError, match=r"gives no labels in 0.1 s \(shorter than one step\)"):
        label(calm().trade(100, "sell", 999, 1).market())


def test_a_market_that_stands_still_has_no_volatility_and_says_so() -> None:
    """Volatility is 0, which no model accepts, and a note tells."""
    labels = label(steady(30).market())
    assert labels.frame["sigma"].drop_nulls().unique().to_list() == [0.0]
    assert any("mid never moved: its volatility is 0" in note for note in labels.notes)


def test_orders_that_would_take_when_they_arrive_are_left_out() -> None:
    """With latency the market may have moved past the price: post-only refuses, and the note counts."""
    script = calm()
    for second in range(1, 90):
        bid = 999 if second % 2 else 990
        script.book(second * 1000, {bid: 5}, {bid + 1: 5}).trade(second * 1000 + 1, "sell", bid, 1)
    options = LabelOptions(latency_ms=300, ticks=(0,), distances_bps=())
    labels = label(script.market(), options=options)
    assert any("would have taken when they arrived" in note for note in labels.notes)


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ({"every_ms": 0}, "every_ms is 0; write whole ms of 1 or more"),
        ({"ticks": (), "distances_bps": ()}, "write at least one distance"),
        ({"ticks": (-1,)}, "whole ticks of 0 or more"),
        ({"distances_bps": (math.nan,)}, "bps from 0 to less than 10,000"),
        ({"sizes_quote": ()}, "at least one notional above 0"),
        ({"sizes_quote": (120.0,)}, 'sizes_quote is a float; write "120.0"'),
        ({"latency_ms": -1}, "latency_ms is -1; write ms from 0"),
        ({"window_s": 0}, "window_s is 0; write seconds above 0"),
        ({"silence_s": math.inf}, "silence_s is inf"),
    ],
)
def test_options_are_checked(given_: dict[str, Any], text: str) -> None:
    """What would make no order, or none that can be watched, is refused by name."""
    with pytest.raises(ConfigError, match=text):
        LabelOptions(**given_)


# --- the set -----------------------------------------------------------------------------------------------------------


def test_a_split_is_purged(btc_labels: LabelSet) -> None:
    """No watch of a train order, and no markout, reaches the test part; no order is in both."""
    train, test = btc_labels.split(0.6)
    cut = train.window_ns[1]
    assert test.window_ns == (cut, btc_labels.window_ns[1])
    assert cut == btc_labels.window_ns[0] + int((btc_labels.window_ns[1] - btc_labels.window_ns[0]) * 0.6)
    assert train.frame["ts_ns"].max() <= cut - 60 * SECOND and test.frame["ts_ns"].min() >= cut  # type: ignore[operator]
    between = btc_labels.frame.filter(pl.col("ts_ns").is_between(cut - 60 * SECOND + 1, cut - 1)).height
    assert len(train) + len(test) + between == len(btc_labels)
    known = train.frame.filter(pl.col("markout_10s_bps").is_not_null())
    assert (known["ts_ns"] + pl.Series(ns(known, "time_s_power"))).max() <= cut - 10 * SECOND  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"split\(0.1\) of 345 s leaves no orders to train on"):
        btc_labels.split(0.1)
    with pytest.raises(ConfigError, match="fraction is 1; write a number between 0 and 1"):
        btc_labels.split(1)


def test_a_band_leaves_out_what_flatters(btc_labels: LabelSet) -> None:
    """Orders beyond three standard deviations of the horizon's move go; a test part may take the train part's sigma."""
    assert btc_labels.sigma == pytest.approx(1.15, abs=0.01)
    band = btc_labels.band(4)
    assert band.frame["distance_bps"].max() <= 6 * btc_labels.sigma < btc_labels.frame["distance_bps"].max()  # type: ignore[operator]
    assert len(btc_labels.band(4, sigma=0.1)) < len(band) < len(btc_labels.band(60))
    with pytest.raises(ConfigError, match="horizon_s is 0"):
        btc_labels.band(0)


def test_a_set_says_what_it_is(btc_labels: LabelSet) -> None:
    """Instrument, source and options are kept; the repr reads as a sentence."""
    assert btc_labels.symbol == "BTCUSDT"
    assert [len(sha) for sha in btc_labels.source_sha256] == [64]
    assert btc_labels.options == LabelOptions()
    assert repr(btc_labels).startswith("68,950 hypothetical orders in BTCUSDT, 345 s of usdm_btcusdt_20240808.parquet")
    assert "filled at the touch within 1 s: risk_averse 0.319, power 0.348" in repr(btc_labels)


def test_the_rules_are_a_configuration() -> None:
    """Futures match by exchange time, spot by local time with trades advanced; what is given is taken, but for queue and latency."""
    spot = dataclasses.replace(TOY, contract=Contract.SPOT)
    assert LabelOptions().rules(TOY).clock == "exchange" and LabelOptions().rules(spot).clock == "local"
    assert LabelOptions().rules(spot).trade_advance_ns == 2 * MS
    given_ = ExecutionConfig(queue="optimistic", queue_n=3, entry_ms=80, book="fused", own_volume="share")
    rules = LabelOptions(execution=given_, latency_ms=5).rules(TOY, "pro_rata")
    assert (rules.queue, rules.queue_n, rules.entry_ms, rules.book, rules.own_volume) == (
        "pro_rata",
        3,
        5,
        "fused",
        "each",
    )
    assert isinstance(kernel_options(rules), KernelOptions)
