"""GridManager: each trap of the specification's sketch, reasons for what is not quoted, and a shortcut that changes nothing."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.grid_manager import Book, GridManager, Level, check_fill_prob, explain_empty
from grinder_kit.decision.planner import Plan
from grinder_kit.decision.reason import Reason
from grinder_kit.errors import ConfigError
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.fillprob.calibration import CalibratedModel
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.markout import MarkoutModel
from grinder_kit.fillprob.model import FillModel, Inputs
from grinder_kit.model.config import Config, ExecutionConfig, GridConfig
from grinder_kit.model.event import Cancel, OrderUpdate, Place, Tick
from grinder_kit.model.grid import GridMode, GridPlan, Spacing
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.market import Features
from grinder_kit.model.order import OrderState, Side

ETH = Instrument(
    symbol="ETHUSDT", venue="binanceusdm", base="ETH", quote="USDT", contract=Contract.LINEAR,
    tick=Decimal("0.01"), lot=Decimal("0.001"), min_quantity=Decimal("0.002"), min_notional=Decimal(5),
    band_up=Decimal("1.5"), band_down=Decimal("0.5"), max_orders=200,
)  # fmt: skip
GRID = GridConfig(spacing_bps=10, levels=3, size="0.01")
PLAN = GridPlan(center_price="2500", spacing_bps=10, levels_up=3, levels_down=3, size_schedule=("0.01", "0.02"))


def features(**changes: Any) -> Features:
    """Return features of a market at 2,500 with a spread of 0.8 bps."""
    return Features(
        **({"ts_ns": 0, "mid": 2500.0, "spread_bps": 0.8, "natr_14_5m": 0.004, "ofi_zscore": 0.0} | changes)
    )


def manager(grid: GridConfig = GRID, instrument: Instrument = ETH, **options: Any) -> GridManager:
    """Return a manager."""
    return GridManager(grid, instrument, **options)


def plan(**changes: Any) -> GridPlan:
    """Return PLAN with some values changed."""
    return dataclasses.replace(PLAN, **changes)


def why(grid: GridManager) -> dict[str, str]:
    """Return the reasons of the last refusals by level id."""
    return {refusal.level_id: refusal.reason for refusal in grid.refusals}


# --- the traps of facts/spec-traps.md, section "Grid manager", in its order ---------------------------------------------


def test_trap_decimal_times_float_prices_and_sizes_are_exact_decimals() -> None:
    """Prices come from whole ticks: Decimals on the tick, down for a buy, up for a sell, with no float between."""
    levels = manager().compute_levels(plan(center_price="2500.37"), features(mid=2500.37))
    prices = {level.level_id: level.price for level in levels}
    assert prices == {  # exact: 2502.87037, 2505.37074, 2507.87111, 2497.86963, 2495.36926, 2492.86889
        "SELL_1": Decimal("2502.88"), "SELL_2": Decimal("2505.38"), "SELL_3": Decimal("2507.88"),
        "BUY_1": Decimal("2497.86"), "BUY_2": Decimal("2495.36"), "BUY_3": Decimal("2492.86"),
    }  # fmt: skip
    assert [level.size for level in levels] == [Decimal("0.01"), Decimal("0.02"), Decimal("0.02")] * 2


@pytest.mark.parametrize(
    ("mode", "sides", "size"),
    [
        (GridMode.BILATERAL, {Side.BUY, Side.SELL}, "0.01"),
        (GridMode.UNI_LONG, {Side.BUY}, "0.01"),
        (GridMode.UNI_SHORT, {Side.SELL}, "0.01"),
        (GridMode.THROTTLE, {Side.BUY, Side.SELL}, "0.005"),
        (GridMode.PAUSE, set(), None),
        (GridMode.EMERGENCY, set(), None),
    ],
)
def test_trap_mode_ignored_each_mode_quotes_its_sides(mode: GridMode, sides: set[Side], size: str | None) -> None:
    """Each mode quotes the sides and sizes that it says; what it leaves out is refused with MODE_OFF."""
    grid = manager()
    levels = grid.compute_levels(plan(mode=mode, size_schedule=("0.01",)), features())
    assert {level.side for level in levels} == sides
    assert {level.size for level in levels} == ({Decimal(size)} if size else set())
    if mode.active and len(sides) == 1:
        assert set(why(grid).values()) == {Reason.MODE_OFF} and len(grid.refusals) == 3


def test_trap_empty_sizes_are_refused_when_the_plan_is_made() -> None:
    """A plan without sizes says so when it is made, and there is no IndexError later."""
    with pytest.raises(ConfigError, match="size_schedule is empty"):
        plan(size_schedule=())


def test_trap_deep_levels_at_or_below_zero_are_refused() -> None:
    """Levels that reach zero are refused with a reason and no price; the others stand."""
    grid = manager(instrument=dataclasses.replace(ETH, band_down=None, min_notional=Decimal(0)))
    levels = grid.compute_levels(
        plan(spacing_bps=4000, levels_up=0, levels_down=4, size_schedule=("0.01",)), features()
    )
    assert [level.price for level in levels] == [Decimal(1500), Decimal(500)]
    assert why(grid) == {"BUY_3": Reason.PRICE_NOT_POSITIVE, "BUY_4": Reason.PRICE_NOT_POSITIVE}
    assert all(refusal.price is None for refusal in grid.refusals)


def test_trap_rounding_to_eight_places_prices_stand_on_the_tick() -> None:
    """Whatever the tick, each price is a whole number of it."""
    for tick in ("0.01", "0.5", "3", "0.00001"):
        coarse = dataclasses.replace(ETH, tick=Decimal(tick))
        for level in manager(instrument=coarse).compute_levels(
            plan(center_price="2500.123456"), features(mid=2500.123456)
        ):
            assert level.price % Decimal(tick) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size_schedule": ("0.0019",)}, Reason.MIN_QUANTITY),  # floored to one lot, two are needed
        ({"size_schedule": ("0",)}, Reason.MIN_QUANTITY),
        ({"size_schedule": ("0.002",), "center_price": "2400"}, Reason.MIN_NOTIONAL),
    ],
)
def test_trap_no_step_or_minimum_checks_each_is_refused_by_its_reason(changes: dict[str, Any], reason: Reason) -> None:
    """A size is floored to the lot; what is then too small is refused, never rounded up."""
    grid = manager()
    assert grid.compute_levels(plan(**changes), features(mid=float(changes.get("center_price", 2500)))) == []
    assert set(why(grid).values()) == {reason} and len(grid.refusals) == 6


def test_trap_no_step_or_minimum_checks_bands_and_counts_too() -> None:
    """Levels outside the venue's price band, or beyond its number of orders, are refused."""
    grid = manager()
    levels = grid.compute_levels(plan(spacing_bps=2000), features())
    assert {level.level_id for level in levels} == {"BUY_1", "BUY_2", "SELL_1", "SELL_2"}
    assert why(grid) == {"BUY_3": Reason.PRICE_BAND, "SELL_3": Reason.PRICE_BAND}
    grid = manager(GRID.replace(max_orders=4))
    grid.compute_levels(PLAN, features())
    assert why(grid) == {"SELL_2": Reason.MAX_ORDERS, "SELL_3": Reason.MAX_ORDERS}
    grid = manager(instrument=dataclasses.replace(ETH, max_orders=5))
    grid.compute_levels(PLAN, features())
    assert why(grid) == {"SELL_3": Reason.MAX_ORDERS}


def test_trap_no_step_or_minimum_checks_levels_of_one_tick_are_one_level() -> None:
    """Where two levels round to one price only the nearer is quoted."""
    grid = manager(instrument=dataclasses.replace(ETH, tick=Decimal(5)))
    levels = grid.compute_levels(plan(spacing_bps=10), features())  # 2.5 apart, on a tick of 5
    assert {level.level_id: level.price for level in levels} == {
        "SELL_1": 2505, "SELL_3": 2510, "BUY_1": 2495, "BUY_3": 2490,
    }  # fmt: skip
    assert why(grid) == {"BUY_2": Reason.SAME_PRICE, "SELL_2": Reason.SAME_PRICE}


def test_trap_skewed_levels_that_would_cross_the_market_are_refused() -> None:
    """A skew that pushes sells to or through the best bid loses those levels, not the post-only promise."""
    grid = manager()
    levels = grid.compute_levels(plan(skew_bps=-25), features(spread_bps=8.0))  # bid 2,499, ask 2,501
    assert why(grid) == {"SELL_1": Reason.WOULD_CROSS, "SELL_2": Reason.WOULD_CROSS}
    assert all(level.price < 2501 if level.side is Side.BUY else level.price > 2499 for level in levels)
    assert len(levels) == 4


def test_trap_skewed_levels_cross_nothing_where_no_market_is_known() -> None:
    """Without a mid and a spread there is nothing to cross: the plan is quoted as it is, as in the specification."""
    for unknown in (None, features(mid=None, spread_bps=None), features(spread_bps=None)):
        grid = manager()
        assert len(grid.compute_levels(plan(skew_bps=-25), unknown)) == 6
        assert grid.refusals == ()


def test_trap_expected_profit_is_spacing_minus_round_trip_fees() -> None:
    """A level's expected profit is its spacing less two maker fees; a rebate adds."""
    default = manager().compute_levels(PLAN, features())
    assert {level.expected_profit_bps for level in default} == {6.0}
    paid = manager(execution=ExecutionConfig(maker_fee_bps="-0.5")).compute_levels(PLAN, features())
    assert {level.expected_profit_bps for level in paid} == {11.0}


def test_trap_dropped_levels_do_not_leave_their_orders_behind() -> None:
    """When a level is refused later, its live order is cancelled in that very step."""
    engine = ExecutionEngine(ETH, Config(grid=GRID.replace(min_fill_prob=0.2)))
    near = Tick(bid_ticks=249_990, ask_ticks=250_010, features=features(natr_14_5m=0.02))
    placed = [command for command in engine.step(near, 0) if isinstance(command, Place)]
    assert len(placed) == 6
    for command in placed:
        engine.step(OrderUpdate(client_order_id=command.client_order_id, state=OrderState.OPEN, ts_ns=1), 1)
    calm = Tick(bid_ticks=249_990, ask_ticks=250_010, features=features(natr_14_5m=0.0001))
    cancelled = {command.client_order_id for command in engine.step(calm, 2) if isinstance(command, Cancel)}
    assert cancelled == {command.client_order_id for command in placed}


def test_trap_levels_and_orders_are_maintained() -> None:
    """`levels` holds what was last computed, by level id, and `orders` what lives, as the engine keeps it."""
    grid = manager()
    levels = grid.compute_levels(PLAN, features())
    assert grid.levels == {level.level_id: level for level in levels}
    grid.compute_levels(plan(levels_up=0, levels_down=1), features())
    assert list(grid.levels) == ["BUY_1"]

    engine = ExecutionEngine(ETH, Config(grid=GRID))
    assert dict(engine.manager.orders) == {}
    sent = engine.step(Tick(bid_ticks=249_990, ask_ticks=250_010), 7)
    assert set(engine.manager.orders) == {"BUY_1", "BUY_2", "BUY_3", "SELL_1", "SELL_2", "SELL_3"}
    order = engine.manager.orders["SELL_1"]
    assert (order.side, order.price, order.quantity, order.symbol) == (
        Side.SELL,
        Decimal("2502.5"),
        Decimal("0.01"),
        "ETHUSDT",
    )
    assert (order.state, order.in_flight, order.created_ns) == (OrderState.PENDING, "NEW", 7)
    assert order.client_order_id in {command.client_order_id for command in sent if isinstance(command, Place)}
    engine.step(OrderUpdate(client_order_id=order.client_order_id, state=OrderState.REJECTED, ts_ns=9), 9)
    assert "SELL_1" not in engine.manager.orders and len(engine.manager.orders) == 5


# --- the fill filter and reasons -----------------------------------------------------------------------------------------


def test_levels_too_unlikely_to_fill_are_refused_with_their_numbers() -> None:
    """min_fill_prob drops the far levels of both sides and says by how much they missed."""
    grid = manager(GRID.replace(min_fill_prob=0.4))
    levels = grid.compute_levels(plan(levels_up=3, levels_down=3, spacing_bps=10), features())  # move 17.9 bps in 60 s
    assert {level.level_id: level.fill_prob for level in levels} == {"SELL_1": 0.5, "BUY_1": 0.5}
    assert set(why(grid).values()) == {Reason.FILL_PROB}
    assert {refusal.detail for refusal in grid.refusals} == {"0.30 < 0.40", "0.10 < 0.40"}


def test_a_probability_exactly_at_the_threshold_is_quoted() -> None:
    """The specification drops what lies below the threshold, not what lies at it."""
    assert len(manager(GRID.replace(min_fill_prob=0.5)).compute_levels(PLAN, features())) == 2


@pytest.mark.parametrize("unknown", [None, features(natr_14_5m=None), features(mid=None)])
def test_unknown_volatility_refuses_levels_and_is_never_zero(unknown: Features | None) -> None:
    """In warm-up a filter that needs volatility refuses every level with FEATURE_WARMUP."""
    grid = manager(GRID.replace(min_fill_prob=0.4))
    assert grid.compute_levels(PLAN, unknown) == []
    assert set(why(grid).values()) == {Reason.FEATURE_WARMUP}


def test_the_proxy_stands_in_for_volatility() -> None:
    """Where only the proxy of short recordings is known, the filter uses it."""
    grid = manager(GRID.replace(min_fill_prob=0.4))
    assert len(grid.compute_levels(PLAN, features(natr_14_5m=None, natr_proxy=0.004))) == 2


def test_another_fill_model_can_be_given() -> None:
    """The manager asks the model it was given: side, distance and move in bps, order flow."""
    asked: list[tuple[int, float, float, float]] = []

    def model(side: int, distance: float, move: float, ofi: float) -> float:
        asked.append((side, round(distance, 6), round(move, 6), ofi))
        return 0.9

    grid = manager(GRID.replace(min_fill_prob=0.4), fill_probability=model)
    levels = grid.compute_levels(plan(levels_up=1, levels_down=1), features(ofi_zscore=1.5))
    assert asked == [(1, 10.0, 17.888544, 1.5), (-1, 10.0, 17.888544, 1.5)]
    assert {level.fill_prob for level in levels} == {0.9}


KNOWN: dict[str, Any] = {"sigma_bps": 1.2, "imbalance": 0.3}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_fitted_model_says_how_likely_each_level_is(wrapped: bool) -> None:
    """Any model is taken: each level has the probability that the model gives an order there, behind the whole queue."""
    model: FillModel = CalibratedModel(inner=FirstPassageModel()) if wrapped else FirstPassageModel()
    grid = manager(GRID.replace(min_fill_prob=0.001), fill_probability=model)
    levels = grid.compute_levels(PLAN, features(**KNOWN))
    assert len(levels) == 6
    for level in levels:
        distance = float(abs(level.price - 2500)) / 2500 * 10_000
        x = Inputs.from_features(features(**KNOWN), level.side.sign, [distance])
        assert level.fill_prob == pytest.approx(model.predict(x, 60.0)[0], abs=1e-12)
    near, far = levels[0].fill_prob, levels[2].fill_prob
    assert near is not None and far is not None and near > far
    chosen = manager(GRID.replace(min_fill_prob=(near + far) / 2), fill_probability=model)
    assert 0 < len(chosen.compute_levels(PLAN, features(**KNOWN))) < 6


@pytest.mark.parametrize("unknown", [{"sigma_bps": None}, {"sigma_bps": 0.0}, {"imbalance": None}, {"mid": None}])
@pytest.mark.parametrize("model", [FirstPassageModel(), CalibratedModel(inner=FirstPassageModel())])
def test_a_fitted_model_waits_for_what_it_needs(model: FillModel, unknown: dict[str, Any]) -> None:
    """Without volatility or imbalance a fitted model refuses every level with FEATURE_WARMUP; nothing is guessed."""
    grid = manager(GRID.replace(min_fill_prob=0.01), fill_probability=model)
    assert grid.compute_levels(PLAN, features(**(KNOWN | unknown))) == []
    assert set(why(grid).values()) == {Reason.FEATURE_WARMUP}


def test_a_horizon_beyond_a_models_data_is_refused() -> None:
    """A filter over more time than the model's data span is refused; without a filter the model is not asked."""
    far = GRID.replace(min_fill_prob=0.2, fill_horizon_s=3600)
    with pytest.raises(ConfigError, match="fill_horizon_s is 3600, and the data of model first_passage span 600 s"):
        manager(far, fill_probability=FirstPassageModel())
    manager(far.replace(min_fill_prob=0), fill_probability=FirstPassageModel())
    manager(far.replace(fill_horizon_s=600), fill_probability=FirstPassageModel())


def test_a_markout_enters_the_expected_profit() -> None:
    """With a model of what fills cost, a level earns spacing less fees and that; unknown volatility makes it unknown, not 0."""
    model = MarkoutModel(theta=(-0.9, 0.0, 0.0, -0.5))
    grid = manager(markout=model)
    levels = {level.level_id: level for level in grid.compute_levels(PLAN, features(**KNOWN))}
    for name, distance in (("BUY_1", 10.0), ("SELL_3", 30.0)):
        cost = model.predict(Inputs(distance_bps=[distance], sigma=[1.2]))[0]  # type: ignore[arg-type]
        assert levels[name].expected_profit_bps == pytest.approx(6 + cost)
        assert cost < 0
    assert {level.expected_profit_bps for level in grid.compute_levels(PLAN, features())} == {None}


def flapping(hysteresis: float, probabilities: list[float]) -> list[str]:
    """Return what the engine sends for one level while its probability changes: P, C or - in each step."""
    saying = iter(probabilities)
    grid = GRID.replace(levels_up=0, levels_down=1, min_fill_prob=0.4, fill_prob_hysteresis=hysteresis)
    engine = ExecutionEngine(ETH, Config(grid=grid), manager=manager(grid, fill_probability=lambda *_: next(saying)))
    out = []
    for now in range(1, len(probabilities) + 1):
        tick = Tick(bid_ticks=249_990, ask_ticks=250_010, features=features())
        sent = engine.step(tick, now * 1_000_000_000)
        out.append("".join(type(command).__name__[0] for command in sent) or "-")
        for command in sent:
            state = OrderState.OPEN if isinstance(command, Place) else OrderState.CANCELLED
            engine.step(
                OrderUpdate(client_order_id=command.client_order_id, state=state, ts_ns=now), now * 1_000_000_000
            )
    return out


def test_a_level_near_the_threshold_does_not_come_and_go() -> None:
    """A level that has an order stays until its probability is below the threshold less the margin; one without waits for it."""
    wobbling = [0.39, 0.41, 0.39, 0.36, 0.41, 0.34, 0.39, 0.41]
    assert flapping(0.0, wobbling) == ["-", "P", "C", "-", "P", "C", "-", "P"]
    assert flapping(0.05, wobbling) == ["-", "P", "-", "-", "-", "C", "-", "P"]
    assert flapping(0.95, wobbling) == ["-", "P", "-", "-", "-", "-", "-", "-"]


def test_hysteresis_survives_a_restart() -> None:
    """What stands is read from the orders that live, so a new manager treats them as the old one did."""
    grid = GRID.replace(levels_up=0, levels_down=2, min_fill_prob=0.4, fill_prob_hysteresis=0.05)
    fresh = manager(grid, fill_probability=lambda *_: 0.37)
    whole = plan(levels_up=0, levels_down=2)
    assert fresh.compute_levels(whole, features()) == []
    assert {refusal.detail for refusal in fresh.refusals} == {"0.37 < 0.40"}
    engine = ExecutionEngine(ETH, Config(grid=GRID.replace(levels_up=0, levels_down=1)))
    engine.step(Tick(bid_ticks=249_990, ask_ticks=250_010), 1)
    fresh.orders = engine.manager.orders
    assert [level.level_id for level in fresh.compute_levels(whole, features())] == ["BUY_1"]
    lower = manager(grid, fill_probability=lambda *_: 0.34)
    lower.orders = engine.manager.orders
    assert lower.compute_levels(whole, features()) == []
    assert [refusal.detail for refusal in lower.refusals] == ["0.34 < 0.35", "0.34 < 0.40"]


@pytest.mark.parametrize("inert", [0.01, 0.05])
def test_a_threshold_that_can_never_act_is_refused(inert: float) -> None:
    """Up to the heuristic's floor of .05 a threshold refuses nothing, and is refused itself."""
    with pytest.raises(ConfigError, match="write 0, or more than 0.05"):
        check_fill_prob(GRID.replace(min_fill_prob=inert))
    check_fill_prob(GRID)
    check_fill_prob(GRID.replace(min_fill_prob=0.06))


@pytest.mark.parametrize(("inventory", "off"), [(9, ""), (10, "B"), (12, "B"), (-9, ""), (-10, "S"), (-11, "S")])
def test_position_limit_switches_off_the_side_that_would_go_further(inventory: int, off: str) -> None:
    """At the limit, and beyond it, that side is refused whole; the side that leads back is quoted."""
    grid = manager(GRID.replace(position_limit="0.01"))
    quoted, refused = grid.wanted(Plan.of(PLAN, ETH), Book(249_990, 250_010), inventory)
    assert {item.key[0] for item in refused} == set(off)
    assert {item.reason for item in refused} <= {Reason.POSITION_LIMIT}
    assert len(quoted) == (3 if off else 6)


def test_unchecked_inventory_quotes_both_sides() -> None:
    """None as inventory means that the caller has checked the limit."""
    grid = manager(GRID.replace(position_limit="0.01"))
    assert len(grid.wanted(Plan.of(PLAN, ETH), Book(249_990, 250_010), None)[0]) == 6


def test_order_of_levels() -> None:
    """compute_levels gives sells first, wanted buys first; both nearest first; reason codes carry the ordinal."""
    grid = manager()
    levels = grid.compute_levels(PLAN, features())
    assert [level.level_id for level in levels] == ["SELL_1", "SELL_2", "SELL_3", "BUY_1", "BUY_2", "BUY_3"]
    assert [level.reason_codes for level in levels[:3]] == [("LEVEL_1",), ("LEVEL_2",), ("LEVEL_3",)]
    quoted, _ = grid.wanted(Plan.of(PLAN, ETH), Book(249_990, 250_010), 0)
    assert [level.key for level in quoted] == ["B1", "B2", "B3", "S1", "S2", "S3"]


def test_lattice_levels_are_named_by_their_price() -> None:
    """A lattice level keeps its key while the market moves: the index of its multiple."""
    lattice = Plan(
        mode=GridMode.BILATERAL, centre2=500_001, n_up=2, n_down=2, sizes=(10,), spacing_ticks=10, half_spread_ticks=20
    )
    quoted, _ = manager().wanted(lattice, Book(250_000, 250_001), 0)
    assert quoted == (
        Level("B24998", 1, 249_980, 10, None), Level("B24997", 1, 249_970, 10, None),
        Level("S25003", -1, 250_030, 10, None), Level("S25004", -1, 250_040, 10, None),
    )  # fmt: skip


def test_an_empty_grid_says_why_with_counts() -> None:
    """All reasons are counted, the commonest first; a plan without levels says that."""
    grid = manager(GRID.replace(position_limit="0.01"))
    _, refused = grid.wanted(Plan.of(plan(levels_up=1, size_schedule=("0.001",)), ETH), Book(249_990, 250_010), 10)
    assert explain_empty(refused) == (
        "3 of 4 levels: the position has reached its limit on this side (POSITION_LIMIT); "
        "1 of 4 levels: under the venue's minimum quantity (MIN_QUANTITY)"
    )
    assert explain_empty(()) == "the plan has no levels"


# --- the shortcut -------------------------------------------------------------------------------------------------------

COARSE = Instrument(
    symbol="COARSE", venue="v", base="C", quote="USDT", tick=Decimal(1), lot=Decimal(1), min_notional=Decimal(900),
    band_up=Decimal("1.1"), band_down=Decimal("0.9"), max_orders=9,
)  # fmt: skip
books = st.builds(
    lambda mid, spread: Book(mid - spread // 2, mid - spread // 2 + spread),
    st.integers(900, 1_100) | st.integers(995, 1_005),
    st.integers(1, 10) | st.integers(1, 600),
)
coarse_plans = st.builds(
    Plan,
    mode=st.sampled_from(
        [GridMode.BILATERAL, GridMode.BILATERAL, GridMode.UNI_LONG, GridMode.THROTTLE, GridMode.PAUSE]
    ),
    centre2=st.integers(1_990, 2_010),
    n_up=st.integers(0, 5),
    n_down=st.integers(0, 5),
    sizes=st.sampled_from([(1,), (2, 3), (1, 2, 4)]),
    skew_tenths=st.integers(-12, 12),
    spacing_tenths=st.sampled_from([20, 55, 100, 101, 250]),
    geometric=st.booleans(),
    spacing_ticks=st.sampled_from([0, 0, 0, 2, 3]),
    half_spread_ticks=st.integers(0, 3),
)


@given(
    st.lists(
        st.tuples(coarse_plans, st.lists(st.tuples(books, st.integers(-6, 6)), min_size=1, max_size=4)), max_size=6
    )
)
def test_the_shortcut_never_changes_the_answer(calls: list[tuple[Plan, list[tuple[Book, int]]]]) -> None:
    """A manager that is reused over any sequence of plans and books answers as a fresh one does at every call."""
    grid = GridConfig(spacing_bps=10, size="1", position_limit="5", max_orders=8)
    reused = GridManager(grid, COARSE)
    for wanted, market in calls:
        for book, inventory in market:
            assert reused.wanted(wanted, book, inventory) == GridManager(grid, COARSE).wanted(wanted, book, inventory)


@given(st.lists(st.tuples(st.integers(1_990, 2_010), st.integers(-12, 12)), min_size=2, max_size=12))
def test_the_shortcut_sees_levels_move_between_unmoved_ends(centres: list[tuple[int, int]]) -> None:
    """On a coarse tick a centre can move the middle of a ladder while its ends round to where they were."""
    grid = GridConfig(spacing_bps=10, size="1")
    reused = GridManager(grid, COARSE)
    for centre2, skew in centres:
        whole = Plan(
            mode=GridMode.BILATERAL, centre2=centre2, n_up=6, n_down=6, sizes=(1,), skew_tenths=skew, spacing_tenths=55
        )
        book = Book(990, 1_010)
        assert reused.wanted(whole, book, 0) == GridManager(grid, COARSE).wanted(whole, book, 0)


def test_the_shortcut_is_taken_while_nothing_changes() -> None:
    """The same plan and a quiet book give the very same tuple, which is how the engine sees that nothing changed."""
    grid = manager()
    whole = Plan.of(PLAN, ETH)
    first = grid.wanted(whole, Book(249_990, 250_010), 0)
    assert grid.wanted(whole, Book(249_995, 250_012), 0) is first
    assert grid.wanted(whole, Book(249_700, 249_740), 0) is not first  # the nearest buy would cross


# --- properties of whatever is quoted ------------------------------------------------------------------------------------


@given(coarse_plans, books, st.integers(-6, 6))
def test_what_is_quoted_is_always_allowed(whole: Plan, book: Book, inventory: int) -> None:
    """No quoted level crosses, breaks a limit of the venue, repeats a price or a key; none is lost without a reason."""
    grid = GridConfig(spacing_bps=10, size="1", position_limit="5", max_orders=8)
    quoted, refused = GridManager(grid, COARSE).wanted(whole, book, inventory)
    for level in quoted:
        assert level.ticks < book.ask if level.side > 0 else level.ticks > book.bid
        mid = Decimal(book.bid + book.ask) / 2
        assert mid * Decimal("0.9") <= level.ticks <= mid * Decimal("1.1")
        assert level.lots >= 1 and level.ticks * level.lots >= 900
        assert level.side * inventory < 5
    for side in (1, -1):
        ticks = [level.ticks for level in quoted if level.side == side]
        assert ticks == sorted(set(ticks), reverse=side > 0)
    assert len(quoted) <= 8
    keys = [item.key for item in (*quoted, *refused)]
    assert len(keys) == len(set(keys)) == (whole.n_up + whole.n_down if whole.mode.active else 0)


@given(st.integers(1, 400), st.sampled_from(list(Spacing)), st.integers(-200, 200))
def test_specification_and_engine_form_agree(tenths: int, spacing: Spacing, skew: int) -> None:
    """compute_levels shows in Decimals what wanted says in ticks and lots."""
    shown = plan(spacing_bps=Decimal(tenths) / 10, spacing=spacing, skew_bps=Decimal(skew) / 10)
    grid = manager()
    levels = grid.compute_levels(shown, features(spread_bps=0.08))
    quoted, refused = manager().wanted(Plan.of(shown, ETH), Book(249_999, 250_001), 0)
    assert {(level.price, level.size, level.side) for level in levels} == {
        (ETH.price(level.ticks), ETH.quantity(level.lots), Side.BUY if level.side > 0 else Side.SELL)
        for level in quoted
    }
    assert [(item.reason, item.detail) for item in grid.refusals] == [(item.reason, item.detail) for item in refused]
