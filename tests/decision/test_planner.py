"""Planners and plans: when a centre moves, what that resets, and that a plan survives its way to Decimal and back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.planner import CentredPlanner, LatticePlanner, Plan, planner_for
from grinder_kit.errors import ConfigError
from grinder_kit.model.config import GridConfig
from grinder_kit.model.grid import GridMode, GridPlan, ResetAction, Spacing
from grinder_kit.model.instrument import Contract, Instrument

BTC = Instrument(
    symbol="BTCUSDT", venue="binanceusdm", base="BTC", quote="USDT", contract=Contract.LINEAR,
    tick=Decimal("0.1"), lot=Decimal("0.001"),
)  # fmt: skip


def centred(**changes: Any) -> CentredPlanner:
    """Return the planner of a grid of 10 bps that re-centres beyond 4 bps."""
    grid = GridConfig(**({"spacing_bps": 10, "recentre_bps": 4, "size": "0.002", "levels": 3} | changes))
    planner = planner_for(grid, BTC)
    assert isinstance(planner, CentredPlanner)
    return planner


def test_centred_stays_until_mid_has_left_it_by_more_than_recentre() -> None:
    """At exactly recentre_bps the centre stays, one half tick further it moves to mid."""
    planner = centred()
    first = planner.plan(499_999, 500_001, 0)
    assert first.centre2 == 1_000_000
    assert planner.plan(500_199, 500_201, 0) is first  # 4 bps: 400 half ticks
    moved = planner.plan(500_200, 500_201, 0)
    assert moved.centre2 == 1_000_401
    assert planner.plan(500_000, 500_002, 0) is moved  # the way back is measured from the new centre


@pytest.mark.parametrize("reset", list(ResetAction))
def test_reset_action_is_set_only_when_the_centre_moved(reset: ResetAction) -> None:
    """The first plan resets nothing; a new centre resets as configured; later plans of that centre are the same object."""
    planner = centred(reset_action=reset)
    assert planner.plan(499_999, 500_001, 0).reset_action is ResetAction.NONE
    moved = planner.plan(509_999, 510_001, 0)
    assert moved.reset_action is reset
    assert planner.plan(509_999, 510_001, 0) is moved


def test_skew_alone_is_a_new_plan_that_resets_nothing() -> None:
    """A fill that changes the skew shifts the ladder without a reset."""
    planner = centred(reset_action="HARD", skew_bps_at_limit=5, position_limit="0.01")
    planner.plan(499_999, 500_001, 0)
    planner.plan(509_999, 510_001, 0)
    long = planner.plan(509_999, 510_001, 4)
    assert (long.skew_tenths, long.reset_action, long.centre2) == (-20, ResetAction.NONE, 1_020_000)
    assert planner.plan(509_999, 510_001, -20).skew_tenths == 50  # beyond the limit: no further
    assert planner.plan(509_999, 510_001, 0).reset_action is ResetAction.NONE


def test_half_the_ladder_is_the_default_of_recentre() -> None:
    """Without recentre_bps the centre moves beyond half of three levels: 15 bps."""
    planner = centred(recentre_bps=None)
    first = planner.plan(499_999, 500_001, 0)
    assert planner.plan(500_749, 500_751, 0) is first
    assert planner.plan(500_750, 500_751, 0) is not first


def test_lattice_follows_mid_at_every_step() -> None:
    """A lattice plan is around the present mid, and the same object while mid is the same."""
    planner = planner_for(GridConfig(planner="lattice", spacing_ticks=10, size="0.1", reset_action="HARD"), BTC)
    assert isinstance(planner, LatticePlanner)
    plan = planner.plan(1_000, 1_003, 0)
    assert (plan.centre2, plan.spacing_ticks, plan.half_spread_ticks, plan.spacing_tenths) == (2_003, 10, 5, 0)
    assert planner.plan(1_001, 1_002, 0) is plan
    moved = planner.plan(1_001, 1_003, 0)
    assert (moved.centre2, moved.reset_action) == (2_004, ResetAction.NONE)


def test_sizes_off_the_lot_are_refused_at_the_start() -> None:
    """A size that is no whole number of lots is named with both neighbours before anything is planned."""
    with pytest.raises(ConfigError, match='size is 0.0025, off the lot of 0.001 of BTCUSDT; write "0.002" or "0.003"'):
        centred(size="0.0025")
    with pytest.raises(ConfigError, match="position_limit is 0.0105, off the lot"):
        centred(position_limit="0.0105")


half_ticks = st.integers(200, 2_000_000)
plans = st.builds(
    GridPlan,
    mode=st.sampled_from(list(GridMode)),
    center_price=half_ticks.map(lambda n: Decimal(n) * BTC.tick / 2),
    spacing_bps=st.integers(1, 5_000).map(lambda n: Decimal(n) / 10),
    levels_up=st.integers(0, 50),
    levels_down=st.integers(0, 50),
    size_schedule=st.lists(st.integers(0, 5_000).map(lambda n: BTC.lot * n), min_size=1, max_size=4).map(tuple),
    skew_bps=st.integers(-500, 500).map(lambda n: Decimal(n) / 10),
    spacing=st.sampled_from(list(Spacing)),
    reset_action=st.sampled_from(list(ResetAction)),
)


@given(plans)
def test_a_plan_comes_back_from_whole_numbers_as_it_was(plan: GridPlan) -> None:
    """GridPlan to ticks and lots and back is the same plan, where its values lie on the steps."""
    assert Plan.of(plan, BTC).grid_plan(BTC) == plan


@given(half_ticks, st.integers(1, 500), st.integers(0, 100), st.sampled_from([GridMode.BILATERAL, GridMode.UNI_LONG]))
def test_a_lattice_comes_back_as_it_was(centre2: int, spacing: int, half: int, mode: GridMode) -> None:
    """A lattice keeps its ticks on the way; its spacing in bps is only what a reader is told."""
    plan = Plan(
        mode=mode, centre2=centre2, n_up=3, n_down=2, sizes=(1, 2), spacing_ticks=spacing, half_spread_ticks=half
    )
    shown = plan.grid_plan(BTC)
    assert (shown.spacing_ticks, shown.half_spread_ticks) == (spacing, half)
    assert shown.spacing_bps > 0
    assert Plan.of(shown, BTC) == plan


def test_between_the_steps_a_plan_is_rounded_as_it_says() -> None:
    """The centre goes to the nearest half tick, sizes down to the lot, bps to a tenth."""
    plan = GridPlan(
        center_price="100.037",
        spacing_bps="8.04",
        levels_up=1,
        levels_down=1,
        size_schedule=("0.0029",),
        skew_bps="-1.26",
    )
    whole = Plan.of(plan, BTC)
    assert (whole.centre2, whole.sizes, whole.spacing_tenths, whole.skew_tenths) == (2_001, (2,), 80, -13)


def test_spacing_under_a_tenth_of_a_bp_is_refused() -> None:
    """A spacing that would read as zero is refused, not quoted as one price."""
    plan = GridPlan(center_price=100, spacing_bps="0.04", levels_up=2, levels_down=2, size_schedule=("0.002",))
    with pytest.raises(ConfigError, match=r"spacing_bps is 0\.04; .* write 0\.1 or more"):
        Plan.of(plan, BTC)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"center_price": 0}, "center_price is 0; it must be above zero"),
        ({"center_price": 100.0}, 'center_price is a float; write "100.0"'),
        ({"spacing_bps": 0}, "spacing_bps is 0; it must be above zero"),
        ({"levels_up": -1}, "levels_up is -1"),
        ({"size_schedule": ()}, "size_schedule is empty; mode BILATERAL needs at least one size"),
        ({"size_schedule": ("-1",)}, "size_schedule holds a negative size"),
        ({"spacing_ticks": 0}, "spacing_ticks is 0; write 1 or more"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes: dict[str, Any], text: str) -> None:
    """A plan says what is wrong with it when it is made."""
    values = {"center_price": 100, "spacing_bps": 8, "levels_up": 2, "levels_down": 2, "size_schedule": ("0.002",)}
    with pytest.raises(ConfigError, match=text):
        GridPlan(**(values | changes))


@pytest.mark.parametrize("mode", [GridMode.PAUSE, GridMode.EMERGENCY])
def test_idle_modes_need_no_sizes(mode: GridMode) -> None:
    """A plan that quotes nothing may have no sizes."""
    plan = GridPlan(mode=mode, center_price=100, spacing_bps=8, levels_up=2, levels_down=2, size_schedule=())
    assert Plan.of(plan, BTC).sizes == ()
