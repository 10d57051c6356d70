"""Own fills: one frame from whatever an order stands in, and a score that is fair to orders that were withdrawn."""

from __future__ import annotations

import dataclasses
import random
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import Journal, entries, journal_header
from grinder_kit.execution.port import Capabilities, Epoch
from grinder_kit.execution.shell import Shell, guarded
from grinder_kit.fillprob.first_passage import PRIOR, FirstPassageModel
from grinder_kit.fillprob.heuristic_model import HeuristicModel
from grinder_kit.fillprob.labels import label
from grinder_kit.fillprob.model import Inputs
from grinder_kit.fillprob.observations import Observations, known
from grinder_kit.fillprob.own_fills import SCHEMA, OwnFills, score_own
from grinder_kit.market.recording import Recording
from grinder_kit.market.source import Market
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.config import Config, ExecutionConfig, GridConfig
from grinder_kit.model.event import Amended, LookedUp, OrderFilled, OrderUpdate, Place
from grinder_kit.model.order import OrderState, OrderType, Side
from grinder_kit.simulation.replay import replay
from grinder_kit.simulation.result import Result
from grinder_kit.venue.simulated import SimulatedVenue
from tests.fillprob import simulated
from tests.simulation.markets import Wrapped

SECOND = 1_000_000_000
GRID = Config(grid=GridConfig(spacing_bps=2, levels=4, size="0.3", recentre_bps=1)).replace(**{"router.amend": False})
#: One side, so that the amends of a step leave in one request and a session has nothing to wait for between two.
MOVING = Config(
    grid=GridConfig(spacing_bps=1, levels=5, size="0.05", recentre_bps="0.5", mode="UNI_LONG", position_limit="50"),
    execution=ExecutionConfig(entry_ms=40.3, response_ms=7.4),  # never due at the very time of a step
)
TRUE = FirstPassageModel()
ORDER = "gkr0-B1-1"


@pytest.fixture(scope="module")
def market() -> Market:
    """Return a synthetic market of four minutes."""
    return synthetic_market(seed=7, minutes=4)


@pytest.fixture(scope="module")
def result(market: Market) -> Result:
    """Return a replay over it."""
    return replay(market, GRID)


@pytest.fixture(scope="module")
def amended() -> Result:
    """Return a replay of a minute whose grid follows mid with amends."""
    return replay(synthetic_market(seed=8, minutes=1), MOVING)


def rested(rows: list[tuple[str, int, int, int, int, float, bool]]) -> OwnFills:
    """Return orders from their rows."""
    return OwnFills(frame=pl.DataFrame(rows, schema=SCHEMA, orient="row"))


def own_orders(seed: int, patience_s: float, steps: int = 60) -> Observations:
    """Return orders that fill as TRUE says and are withdrawn after random times, each on its own."""
    x = simulated.orders(steps, seed)
    near = x.distance_bps < 6
    x = x[near]
    rng = np.random.default_rng(seed)
    times = simulated.passage_times(x, seed + 1_000)
    withdrawn = np.minimum(rng.exponential(patience_s, len(x)), 60.0)
    ts = simulated.START_NS + np.arange(len(x)) * 50_000_000
    return Observations(
        x=x, ts_ns=ts, time_s=np.minimum(times, withdrawn), filled=times <= withdrawn, watched_s=np.minimum(times, withdrawn),
        block=np.arange(len(x)) // 40, left_out=0,
    )  # fmt: skip


# --- the score ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patience_s", [0.5, 5.0, 60.0])
def test_the_true_model_is_inside_its_range(patience_s: float) -> None:
    """However soon orders are withdrawn, the fills that the true model expects are those seen, and nine ranges in ten hold them."""
    scores = [score_own(TRUE, own_orders(seed, patience_s)) for seed in range(40)]
    assert np.mean([score.inside for score in scores]) >= 0.8
    seen, expected = sum(score.seen for score in scores), sum(score.expected for score in scores)
    assert abs(seen - expected) < 3 * expected**0.5


def test_a_model_that_promises_too_much_is_outside() -> None:
    """Half or twice the time scale, and the heuristic, are told from the truth; the true model has the best likelihood."""
    seen = own_orders(1, 5.0, steps=200)
    faster = FirstPassageModel(parameters=dataclasses.replace(PRIOR, b0=PRIOR.b0 - 0.7))
    slower = FirstPassageModel(parameters=dataclasses.replace(PRIOR, b0=PRIOR.b0 + 0.7))
    scores = {
        name: score_own(m, seen) for name, m in {"fast": faster, "slow": slower, "steps": HeuristicModel()}.items()
    }
    assert not any(score.inside for score in scores.values())
    assert "below the range" in scores["fast"].text and "above the range" in scores["slow"].text
    assert all(score.rcll < score_own(TRUE, seen).rcll for score in scores.values())


def test_the_sum_of_probabilities_would_be_wrong() -> None:
    """Why the cumulative hazard: summing P by the time that was seen takes fills for orders that had little time."""
    seen = own_orders(2, 30.0, steps=400)
    at_end = TRUE.predict(seen.x, np.unique(np.round(seen.time_s, 2)) + 1e-3)
    place = np.searchsorted(np.unique(np.round(seen.time_s, 2)), np.round(seen.time_s, 2))
    naive = at_end[np.arange(len(seen)), place].sum()
    assert naive < 0.8 * seen.filled.sum()
    assert score_own(TRUE, seen).inside


def test_words_and_bands() -> None:
    """The sentence has the fills, what was expected and where that lies; the bands add up to the whole."""
    score = score_own(TRUE, own_orders(3, 5.0))
    assert score.text == f"Fills seen {score.seen} of {score.expected:.1f} expected; inside the range"
    assert score.low < score.expected < score.high
    assert sum(band[1] for band in score.bands) == score.spells
    assert sum(band[2] for band in score.bands) == score.seen
    assert sum(band[3] for band in score.bands) == pytest.approx(score.expected)
    assert repr(score).startswith(score.text) and "at the touch" in repr(score)


def test_orders_that_share_one_market_widen_the_range() -> None:
    """The same order sent a hundred times is one piece of news: the range knows, and forgives a single surprise."""
    one = Inputs(distance_bps=[2.0], sigma=[1.2])
    many = Inputs(distance_bps=np.full(100, 2.0), sigma=1.2)
    filled = np.ones(100, bool)
    ts = simulated.START_NS + np.arange(100)
    seen = Observations(
        x=many, ts_ns=ts, time_s=np.full(100, 1.0), filled=filled, watched_s=np.full(100, 1.0), block=np.zeros(100, np.int64),
        left_out=0,
    )  # fmt: skip
    assert TRUE.predict(one, 1.0)[0] < 0.5
    score = score_own(TRUE, seen)
    assert score.seen == 100 and score.inside
    apart = score_own(TRUE, dataclasses.replace(seen, block=np.arange(100)))
    assert not apart.inside


# --- spells ------------------------------------------------------------------------------------------------------------


@given(
    times=st.lists(st.tuples(st.floats(0.001, 500), st.booleans()), min_size=1, max_size=8),
    spell_s=st.sampled_from([0.5, 10.0, 60.0]),
)
def test_spells_make_up_the_orders(times: list[tuple[float, bool]], spell_s: float) -> None:
    """Cut into spells, orders rest as long and fill as often, each fill in its order's last spell, none longer than asked."""
    own = rested([(str(i), 1, 100, 1, i * SECOND, time, filled) for i, (time, filled) in enumerate(times)])
    spells = own.spells(spell_s)
    assert spells["time_s"].max() <= spell_s and spells["time_s"].min() >= 0  # type: ignore[operator]
    whole = spells.group_by("client_order_id").agg(
        pl.col("time_s").sum(), pl.col("filled").sum(), pl.col("filled").sort_by("ts_ns").last().alias("last")
    )
    for order_id, time, filled, last in whole.iter_rows():
        assert time == pytest.approx(times[int(order_id)][0])
        assert (filled, last) == (int(times[int(order_id)][1]), times[int(order_id)][1])
    assert spells["ts_ns"].is_sorted()


@pytest.mark.parametrize("spell_s", [0.0, -1.0, 61.0, float("nan")])
def test_spells_that_no_model_knows_are_refused(spell_s: float) -> None:
    """A spell has a length, and is no longer than labels are watched."""
    with pytest.raises(ConfigError, match="write seconds above 0, at most 60"):
        rested([("a", 1, 100, 1, 0, 5.0, True)]).spells(spell_s)


# --- what was known ----------------------------------------------------------------------------------------------------


def test_what_is_known_is_what_labels_know(market: Market) -> None:
    """An own order at the time and price of a label has its inputs, to the bit."""
    rows = label(market).frame.filter(known()).sample(400, seed=3).sort("ts_ns", maintain_order=True)
    own = rested(
        [(str(i), row["side"], row["ticks"], row["lots"], row["ts_ns"], 1.0, False) for i, row in enumerate(rows.to_dicts())]
    )  # fmt: skip
    seen = own.observe(market)
    assert len(seen) == len(rows)
    expected = Inputs.from_frame(rows.with_columns(pl.col("queue_s", "ofi_z").fill_null(0.0)))
    for name in ("distance_bps", "at_touch", "sigma", "imb_own", "side", "natr_bps", "ofi_z", "queue_s"):
        assert np.array_equal(getattr(seen.x, name), getattr(expected, name)), name


def test_the_rows_grouping_changes_nothing(result: Result, market: Market) -> None:
    """What is known does not depend on how many rows of the market are read at once."""
    own = OwnFills.of_result(result)
    first, second = own.observe(market), own.observe(Wrapped(market, batch=997))
    for name in ("distance_bps", "at_touch", "sigma", "imb_own", "queue_s"):
        assert np.array_equal(getattr(first.x, name), getattr(second.x, name)), name


def test_orders_of_another_time_are_refused(result: Result) -> None:
    """Orders that the market does not know are not scored on it."""
    own = OwnFills.of_result(result)
    late = OwnFills(frame=own.frame.with_columns(pl.col("ts_ns") + 86_400 * SECOND))
    early = OwnFills(frame=own.frame.with_columns(pl.col("ts_ns") - 86_400 * SECOND))
    for other in (late, early, rested([])):
        with pytest.raises(DataError, match="give the market that they were in"):
            other.observe(synthetic_market(seed=7, minutes=1))


# --- from a replay -----------------------------------------------------------------------------------------------------


def test_a_replays_orders(result: Result) -> None:
    """Every order that rested is there once; those filled whole end with their last fill, all others are censored."""
    own = OwnFills.of_result(result)
    last = dict(result.fills.group_by("client_order_id").agg(pl.col("ts_ns").max()).iter_rows())
    orders = {row["client_order_id"]: row for row in result.orders.iter_rows(named=True) if row["state"] != "REJECTED"}
    assert own.frame["client_order_id"].n_unique() == len(own) == own.frame.height <= len(orders)
    assert own.frame["filled"].sum() == sum(row["state"] == "FILLED" for row in orders.values()) > 10
    for row in own.frame.iter_rows(named=True):
        order = orders[row["client_order_id"]]
        end = last[row["client_order_id"]] if row["filled"] else order["ended_ns"] or result.end_ns
        assert row["ts_ns"] == order["sent_ns"]
        assert row["time_s"] == pytest.approx((end - order["sent_ns"]) / SECOND)
        assert row["ticks"] * result.instrument.tick == order["price"]


def test_a_replay_is_scored_in_a_sentence(result: Result, market: Market) -> None:
    """From a result to the sentence in two calls."""
    score = OwnFills.of_result(result).score(TRUE, market)
    assert score.text.startswith(f"Fills seen {score.seen} of ")


def test_a_grid_on_a_recording_fills_as_its_model_says(btc_recording: Recording) -> None:
    """On BTCUSDT the fitted model expects the fills of a lattice that was replayed, and the heuristic expects far more."""
    grid = GridConfig(planner="lattice", spacing_ticks=40, levels=8, size="0.002")
    own = OwnFills.of_result(replay(btc_recording, Config(grid=grid).replace(**{"router.amend": False})))
    model = FirstPassageModel().fit(label(btc_recording))
    seen = own.observe(btc_recording)
    assert len(seen) > 400
    score, steps = score_own(model, seen, in_sample=True), score_own(HeuristicModel(), seen)
    assert score.inside, score
    assert not steps.inside and steps.expected > 1.5 * steps.seen


def test_the_training_is_refused_unless_told(result: Result, market: Market) -> None:
    """Own orders of a model's training are an error, as labels of it are; those of later and of another seed are not."""
    own = OwnFills.of_result(result)
    train, later = synthetic_market(seed=7, minutes=4).split(0.5)
    model, other = FirstPassageModel().fit(train), FirstPassageModel().fit(synthetic_market(seed=9, minutes=2))
    refused = r"these own orders of SYNTH-USDT lie in the model's training \(.*\); .*market\.split\(0\.6\)\[1\], or pass in_sample=True"
    with pytest.raises(ConfigError, match=refused):
        own.score(model, market)
    seen = own.observe(market)
    with pytest.raises(ConfigError, match=refused):
        score_own(model, seen)
    told = own.score(model, market, in_sample=True)
    assert told.in_sample and "seen in training" in repr(told)
    assert not own.score(other, market).in_sample and not own.score(TRUE, market).in_sample
    after = OwnFills.of_result(replay(later, GRID)).score(model, later)
    assert not after.in_sample and after.spells > 0 and "seen in training" not in repr(after)


def test_orders_of_an_unknown_market_are_on_the_safe_side(result: Result, market: Market) -> None:
    """Where nobody says which market orders were in, their time decides."""
    seen = dataclasses.replace(OwnFills.of_result(result).observe(market), origin=None)
    with pytest.raises(ConfigError, match="these own orders lie in the model's training"):
        score_own(FirstPassageModel().fit(synthetic_market(seed=9, minutes=2)), seen)


def test_an_amended_order_is_a_row_at_each_price(amended: Result) -> None:
    """An order's rows follow each other without a hole from its start to its end; only the last may have filled."""
    own = OwnFills.of_result(amended).frame.sort("client_order_id", "ts_ns")
    orders = {row["client_order_id"]: row for row in amended.orders.iter_rows(named=True)}
    moved = amended.amends.group_by("client_order_id", maintain_order=True).agg("ts_ns", "price_before")
    moves = {order_id: (times, prices) for order_id, times, prices in moved.iter_rows()}
    assert max(len(times) for times, _ in moves.values()) > 1
    for (order_id,), rows in own.group_by("client_order_id", maintain_order=True):
        order, (times, prices) = orders[str(order_id)], moves.get(str(order_id), ([], []))
        assert rows["ts_ns"].to_list() == [order["sent_ns"], *times]
        assert [tick * amended.instrument.tick for tick in rows["ticks"]] == [*prices, order["price"]]
        ends = (rows["ts_ns"] + (rows["time_s"] * SECOND).round().cast(pl.Int64)).to_list()
        assert ends[:-1] == times and ends[-1] <= (order["ended_ns"] or amended.end_ns)
        assert not rows["filled"][:-1].any() and rows["filled"][-1] == (order["state"] == "FILLED")


# --- from a journal ----------------------------------------------------------------------------------------------------


def journal(path: Path, told: list[tuple[object, int]]) -> OwnFills:
    """Return the orders of a journal in which this was written."""
    whose = {"symbol": "BTCUSDT", "venue": "paper", "tag": "r0"}
    with Journal.open(path, header=whose, ts_ns=0, durable=False) as written:
        for value, ts_ns in told:
            if isinstance(value, Place):
                written.append_intent(value, ts_ns)
            else:
                written.append_event(value, ts_ns)  # type: ignore[arg-type]
    return OwnFills.of_journal(entries(path))


def place(ticks: int = 100, lots: int = 10, order: str = ORDER, **changes: object) -> Place:
    """Return an order to buy."""
    plain = {
        "client_order_id": order,
        "level_id": "BUY_1",
        "side": Side.BUY,
        "price_ticks": ticks,
        "quantity_lots": lots,
    }
    return Place(**(plain | changes))  # type: ignore[arg-type]


def fill(lots: int, ts_ns: int, trade: str = "t1", *, maker: bool = True, order: str = ORDER) -> OrderFilled:
    """Return a fill."""
    return OrderFilled(
        client_order_id=order, trade_id=trade, price_ticks=100, quantity_lots=lots, commission=Decimal(0), commission_asset="USDT",
        ts_ns=ts_ns, is_maker=maker,
    )  # fmt: skip


def update(state: OrderState, ts_ns: int, *, filled: int | None = None) -> OrderUpdate:
    """Return what the venue says of the order."""
    return OrderUpdate(client_order_id=ORDER, state=state, ts_ns=ts_ns, filled_lots=filled)


S = SECOND
Row = tuple[int, int, int, float, bool]  # ticks, lots, ts_ns, time_s, filled


@pytest.mark.parametrize(
    ("told", "rows"),
    [
        ([(place(), S), (fill(10, 3 * S), 3 * S)], [(100, 10, S, 2.0, True)]),
        ([(place(), S), (fill(4, 2 * S), 2 * S), (fill(6, 5 * S, "t2"), 5 * S)], [(100, 10, S, 4.0, True)]),
        ([(place(), S), (fill(5, 2 * S), 2 * S), (fill(5, 2 * S), 3 * S)], [(100, 10, S, 2.0, False)]),  # told twice
        ([(place(), S), (update(OrderState.CANCELLED, 4 * S), 5 * S)], [(100, 10, S, 3.0, False)]),
        ([(place(), S), (fill(4, 2 * S), 2 * S), (update(OrderState.EXPIRED, 4 * S), 4 * S)], [(100, 10, S, 3.0, False)]),
        ([(place(), S), (update(OrderState.FILLED, 4 * S, filled=10), 4 * S)], [(100, 10, S, 3.0, True)]),
        ([(place(), S), (update(OrderState.OPEN, 2 * S), 9 * S)], [(100, 10, S, 8.0, False)]),  # rests at the end
        ([(place(), S), (update(OrderState.REJECTED, 2 * S), 2 * S)], []),
        ([(place(), S), (fill(10, 2 * S, maker=False), 2 * S)], []),  # it took
        ([(place(type=OrderType.IOC), S), (fill(10, 2 * S), 2 * S)], []),
        ([(place(), S), (LookedUp(client_order_id=ORDER, ts_ns=3 * S), 3 * S)], []),  # it never was there
        ([(place(), S), (LookedUp(client_order_id=ORDER, ts_ns=3 * S, state=OrderState.CANCELLED), 3 * S)], [(100, 10, S, 2.0, False)]),
        (
            [(place(), S), (Amended(client_order_id=ORDER, price_ticks=90, quantity_lots=8, ts_ns=4 * S), 4 * S), (fill(8, 9 * S), 9 * S)],
            [(100, 10, S, 3.0, False), (90, 8, 4 * S, 5.0, True)],
        ),
        (  # the rest of what it had filled is withdrawn
            [(place(), S), (fill(4, 2 * S), 2 * S), (Amended(client_order_id=ORDER, price_ticks=100, quantity_lots=4, ts_ns=4 * S), 4 * S)],
            [(100, 10, S, 3.0, False)],
        ),
        ([(fill(8, 9 * S, order="web_1"), 9 * S)], []),  # not ours
    ],
)  # fmt: skip
def test_a_journals_orders(tmp_path: Path, told: list[tuple[object, int]], rows: list[Row]) -> None:
    """Fills, cancels, amends and refusals of a journal become orders that filled or are censored."""
    own = journal(tmp_path / "r0.journal", told)
    assert own.frame.select("ticks", "lots", "ts_ns", "time_s", "filled").rows() == rows


def test_a_journal_and_a_replay_agree(tmp_path: Path, result: Result) -> None:
    """The orders of a replay, written to a journal as a session writes them, are the same."""
    told: list[tuple[int, int, object]] = []
    for row in result.orders.iter_rows(named=True):
        order, lots = row["client_order_id"], result.instrument.lots(row["quantity"])
        ticks = result.instrument.ticks(row["price"])
        told.append((row["sent_ns"], 0, place(ticks, lots, order, level_id=row["level_id"], side=Side(row["side"]))))
        if row["ended_ns"] is not None and row["state"] != "FILLED":
            said = OrderUpdate(client_order_id=order, state=OrderState(row["state"]), ts_ns=row["ended_ns"])
            told.append((row["ended_ns"], 2, said))
    for row in result.fills.iter_rows(named=True):
        filled = fill(
            row["quantity_lots"], row["ts_ns"], row["fill_id"], order=row["client_order_id"], maker=row["is_maker"]
        )
        told.append((row["ts_ns"], 1, filled))
    told.sort(key=lambda item: item[:2])
    end = (update(OrderState.OPEN, result.end_ns), result.end_ns)  # of an order long gone: it only tells the time
    own = journal(tmp_path / "r0.journal", [(value, ts) for ts, _, value in told] + [end])
    by_id = ["ts_ns", "client_order_id"]
    assert_frame_equal(own.frame.sort(by_id), OwnFills.of_result(result).frame.sort(by_id))


def test_a_sessions_journal_and_a_replay_that_amend_agree(tmp_path: Path, amended: Result) -> None:
    """A session on the simulated venue amends as the replay did, and its journal gives the same rows, amend by amend."""
    market = synthetic_market(seed=8, minutes=1)
    path = tmp_path / "r0.journal"
    can = dataclasses.replace(
        Capabilities.of(market.instrument), max_batch_amend=1000, max_batch_place=1000, weight_limit=10**9
    )

    async def session() -> None:
        async with SimulatedVenue(market, execution=MOVING.execution, capabilities=can) as venue:
            epoch, whose = Epoch(), journal_header(market.instrument, MOVING, "r0")
            engine = ExecutionEngine(market.instrument, MOVING, amend_rule=can.amend)
            port = guarded(venue, venue.clock, MOVING.retry, epoch=epoch, rng=random.Random(1))
            with Journal.open(path, header=whose, durable=False, ts_ns=venue.clock.now_ns()) as kept:
                shell = Shell(engine, port, venue, venue.clock, epoch=epoch, journal=kept)
                await shell.start()
                await shell.run((amended.end_ns - amended.start_ns) / 1e9)
                await shell.close()

    run_stepped(session())
    own, by_id = OwnFills.of_journal(entries(path), end_ns=amended.end_ns), ["client_order_id", "ts_ns"]
    assert own.frame.height > 5 * len(own) and own.frame["filled"].sum() > 10
    assert_frame_equal(own.frame.sort(by_id), OwnFills.of_result(amended).frame.sort(by_id))
