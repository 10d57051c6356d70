"""Another configuration for a running session: refused whole, or taken whole, and written down."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.grid_manager import GridManager
from grinder_kit.decision.reason import Reason
from grinder_kit.errors import ConfigError
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import entries, rebuild
from grinder_kit.execution.port import AmendRule
from grinder_kit.execution.shell import Shell
from grinder_kit.model.config import Config, InvalidConfigError, Limits
from grinder_kit.model.event import Amend, Cancel, Place, RunState, SetState, Tick, Updated
from grinder_kit.venue.faulty import FaultyPort
from grinder_kit.venue.simulated import SimulatedVenue
from tests.execution.desk import GRID, INSTRUMENT, MID, Venue
from tests.execution.test_shell import on_the_lab
from tests.lab.laboratory import LAB

CONFIG = Config(grid=GRID).replace(**{"grid.recentre_bps": 5_000, "router.price_tolerance_ticks": 0})


def standing(held: int = 0, **changes: Any) -> Venue:
    """Return a desk whose grid stands, and that holds a position."""
    desk = Venue(CONFIG.replace(**changes))
    desk.settle()
    if held:
        desk.step(desk.fill_event("gkr0-B7-1" if held > 0 else "gkr0-S7-1", abs(held), "before"))
        desk.position, desk.booked = held, {"before"}
        desk.settle()
    return desk


def other(desk: Venue, **changes: Any) -> Config:
    """Return the desk's configuration with some keys changed."""
    return desk.engine.config.replace(**changes)


# --- taken ---------------------------------------------------------------------------------------------------------------


def test_the_next_tick_routes_to_the_new_grid() -> None:
    """Orders, fills and state stay; what fits the new grid is kept or amended, the rest goes, and what is missing is placed."""
    desk = standing(4)
    before = dict(desk.levels())
    epoch = desk.engine.epoch
    new = other(
        desk, **{"grid.levels": 2, "grid.spacing_bps": 60, "limits.max_position": "1", "router.order_ttl_s": 60}
    )
    assert [str(change) for change in desk.engine.update(new)] == [
        "grid.spacing_bps: 50 -> 60", "grid.levels: 3 -> 2", "router.order_ttl_s: not set -> 60",
        "limits.max_position: not set -> 1",
    ]  # fmt: skip
    assert desk.engine.config == new and desk.levels() == before, "nothing is sent before the next tick"
    commands = desk.tick()
    assert [type(command) for command in commands] == [Cancel] * 3 + [Amend] * 3, (
        "SELL_2 too has not moved by over 20 bps"
    )
    desk.settle()
    assert desk.levels() == {"BUY_1": 994, "BUY_2": 988, "SELL_1": 1006, "SELL_2": 1012}
    engine = desk.engine
    assert (engine.position.lots, len(engine.tracker.fills), engine.state, engine.epoch) == (
        4,
        1,
        RunState.RUNNING,
        epoch,
    )
    desk.step_ns = 61_000_000_000
    assert len(desk.tick()) == 4, "the time to live has passed"


def test_the_ladder_keeps_its_centre_and_its_places_in_the_queue() -> None:
    """A change that moves no order touches none, though price has left the centre a little."""
    desk = standing()
    desk.settle(1_003)
    old = set(desk.alive)
    desk.engine.update(other(desk, **{"grid.levels": 4, "limits.max_drawdown": "5"}))
    commands = desk.tick(1_003)
    assert [(c.level_id, c.price_ticks) for c in commands if isinstance(c, Place)] == [("BUY_4", 980), ("SELL_4", 1020)]
    assert len(commands) == 2 and old < set(desk.alive)


def test_limits_alone_leave_planner_and_manager_as_they_are() -> None:
    """The grid has not changed."""
    desk = standing()
    planner, manager = desk.engine.planner, desk.engine.manager
    desk.engine.update(other(desk, **{"limits.max_drawdown": "5"}))
    assert (desk.engine.planner, desk.engine.manager) == (planner, manager)
    assert desk.tick() == []


def test_a_new_limit_holds_from_the_next_step() -> None:
    """Losses are counted from the highest equity there was, though no limit asked for it then."""
    desk = standing(4)
    desk.tick(1_100)
    desk.engine.update(other(desk, **{"limits.max_drawdown": "0.1"}))
    desk.tick(1_076)
    assert desk.engine.state is RunState.RUNNING
    desk.tick(1_075)
    assert desk.engine.state_reason == "drawdown 0.10 USDT is not below max_drawdown 0.1 USDT"


@pytest.mark.parametrize("limits", [{"limits.max_position": "0.13"}, {"limits.max_notional": "12.1"}])
def test_orders_that_a_tighter_limit_would_not_let_through_are_withdrawn(limits: dict[str, str]) -> None:
    """The outermost first, until what is left could fill without breaking it; else the next fills would kill the session."""
    desk = standing(8)
    assert len(desk.levels()) == 6
    desk.engine.update(other(desk, **limits))
    commands = desk.tick()
    gone = {c.client_order_id for c in commands}
    assert gone == {desk.order_at("BUY_2"), desk.order_at("BUY_3")} and {type(c) for c in commands} == {Cancel}
    assert {c.reason for c in commands} <= {Reason.POSITION_LIMIT, Reason.NOTIONAL_LIMIT}  # type: ignore[union-attr]
    desk.settle()
    assert set(desk.levels()) == {"BUY_1", "SELL_1", "SELL_2", "SELL_3"}
    desk.trade(desk.order_at("BUY_1"), 4)
    desk.flush()
    desk.tick()
    assert desk.engine.state is RunState.RUNNING


def test_an_order_under_way_is_withdrawn_once_it_is_known() -> None:
    """A tighter limit does not forget what it could not cancel at once."""
    desk = Venue(CONFIG)
    desk.tick()
    desk.engine.update(other(desk, **{"limits.max_position": "0.05"}))
    assert desk.tick() == [] and desk.tick() == []
    while desk.sent:
        desk.arrive()
    while desk.answers:
        desk.deliver()
    assert len(desk.tick()) == 4
    desk.settle()
    assert set(desk.levels()) == {"BUY_1", "SELL_1"}


def test_a_paused_session_takes_it_and_uses_it_when_it_runs_again() -> None:
    """Its state stays."""
    desk = standing()
    desk.step(SetState(state=RunState.PAUSED))
    desk.settle()
    desk.engine.update(other(desk, **{"grid.levels": 1}))
    desk.settle()
    assert desk.alive == {} and desk.engine.state is RunState.PAUSED
    desk.step(SetState(state=RunState.RUNNING))
    desk.settle()
    assert desk.levels() == {"BUY_1": 995, "SELL_1": 1005}


def test_amending_can_be_switched_off_while_the_session_runs() -> None:
    """What the venue can amend stays known."""
    desk = standing(**{"grid.recentre_bps": "0.1"})
    assert {type(c) for c in desk.tick(1_001)} == {Amend}
    desk.settle(1_001)
    desk.engine.update(other(desk, **{"router.amend": False}))
    assert {type(c) for c in desk.tick(1_000)} == {Cancel}
    desk.settle()
    desk.engine.update(other(desk, **{"router.amend": True}))
    assert {type(c) for c in desk.tick(1_001)} == {Amend}


# --- refused -------------------------------------------------------------------------------------------------------------


def test_everything_that_stands_against_it_is_said_at_once_and_nothing_is_taken() -> None:
    """One error, a problem for each key, with what to write instead."""
    desk = standing(8)
    old, planner = desk.engine.config, desk.engine.planner
    desk.tick(900)
    new = other(
        desk,
        **{
            "execution.maker_fee_bps": 3, "retry.timeout_s": 1.0, "grid.size": "0.005", "grid.min_fill_prob": 0.02,
            "limits.max_position": "0.01", "limits.max_notional": 5, "limits.max_drawdown": "0.5",
            "limits.max_loss_per_day": "0.4", "limits.max_orders_per_s": "0.1",
        },
    )  # fmt: skip
    with pytest.raises(InvalidConfigError) as error:
        desk.engine.update(new)
    said = {".".join(problem.path): problem.text for problem in error.value.problems}
    assert set(said) == {
        "execution.maker_fee_bps", "retry.timeout_s", "grid.size", "grid.min_fill_prob", "limits.max_position",
        "limits.max_notional", "limits.max_drawdown", "limits.max_loss_per_day", "limits.max_orders_per_s",
    }  # fmt: skip
    assert said["execution.maker_fee_bps"] == (
        "execution.maker_fee_bps cannot change from 2 to 3 while the session runs: stop it and start again"
    )
    assert said["limits.max_position"] == (
        "max_position 0.01 is below the position of 0.08 TOY: flatten first, or write at least 0.08"
    )
    assert said["limits.max_notional"].startswith("max_notional 5 is below the position's value of 7.20 USDT")
    assert (
        said["limits.max_drawdown"] == "max_drawdown 0.5 is not above the drawdown of 0.81 USDT: write more than 0.81"
    )
    assert said["grid.size"] == 'size is 0.005, off the lot of 0.01 of TOY; write "0.01"'
    assert str(error.value).count("\n") == 8
    assert desk.engine.config is old and desk.engine.planner is planner
    assert desk.engine.state is RunState.RUNNING


def test_the_planner_gives_the_levels_their_names_and_stays() -> None:
    """A lattice in the place of a centre is another session."""
    desk = standing()
    with pytest.raises(InvalidConfigError, match="grid.planner cannot change from centred to lattice"):
        desk.engine.update(other(desk, grid={"planner": "lattice", "spacing_ticks": 5, "size": "0.04"}))


def test_the_times_of_decision_stay() -> None:
    """Steps lie on one lattice from the start."""
    desk = standing()
    with pytest.raises(InvalidConfigError, match="grid.step_ms cannot change from 100 to 400"):
        desk.engine.update(other(desk, **{"grid.step_ms": 400}))


@pytest.mark.parametrize("end", [RunState.STOPPED, RunState.KILLED])
def test_a_session_that_is_over_takes_nothing(end: RunState) -> None:
    """There is nothing that a configuration could change."""
    desk = standing()
    desk.step(SetState(state=end))
    with pytest.raises(ConfigError, match=f"the session is {end} for good and takes no configuration"):
        desk.engine.update(other(desk, **{"grid.levels": 2}))


def test_a_manager_from_elsewhere_keeps_its_grid() -> None:
    """Nobody here could make another like it; limits still change."""
    manager = GridManager(GRID, INSTRUMENT, fill_probability=lambda *_: 1.0)
    engine = ExecutionEngine(INSTRUMENT, Config(grid=GRID), manager=manager)
    with pytest.raises(InvalidConfigError, match="a planner or manager of its own cannot change"):
        engine.update(engine.config.replace(**{"grid.levels": 2}))
    engine.update(engine.config.replace(**{"limits.max_drawdown": 3}))
    assert engine.manager is manager


# --- whatever is asked for -----------------------------------------------------------------------------------------------


@given(
    held=st.integers(-12, 12),
    story=st.lists(
        st.tuples(
            st.fixed_dictionaries(
                {},
                optional={
                    "grid.levels": st.integers(1, 5), "grid.spacing_bps": st.sampled_from([20, 50, 80]),
                    "grid.size": st.sampled_from(["0.04", "0.05", "0.08"]), "limits.max_position": st.sampled_from(["0.1", "0.2"]),
                    "limits.max_notional": st.sampled_from(["9", "30"]), "grid.mode": st.sampled_from(["UNI_LONG", "BILATERAL"]),
                    "router.amend": st.booleans(), "grid.recentre_bps": st.sampled_from([10, 500]),
                },
            ),
            st.integers(980, 1_020),
            st.integers(0, 30),
        ),
        max_size=5,
    ),
)  # fmt: skip
def test_an_updated_session_comes_to_stand_where_a_new_one_would(
    held: int, story: list[tuple[dict[str, Any], int, int]]
) -> None:
    """Whatever it was before: at rest, its orders are those of a fresh session with that configuration, centre and position.

    What rests by then could fill as a whole without breaking a limit.
    """
    desk = standing(held)
    for changes, mid, trade in story:
        config = other(desk, **changes)
        try:
            desk.engine.update(config)
        except InvalidConfigError:
            assert any(key.startswith("limits") for key in changes)
            continue
        if desk.resting:
            desk.trade(list(desk.resting)[trade % len(desk.resting)], 1 + trade % 4)
        desk.settle(mid)
        if desk.engine.state is not RunState.RUNNING:
            assert desk.engine.breach is not None  # a fill on the way
            return
        fresh = ExecutionEngine(INSTRUMENT, config.replace(limits=Limits()), amend_rule=AmendRule.MODIFY)
        fresh.restore(desk.engine.state_to_keep() or {"centre2": desk.engine.planner.centre2})  # type: ignore[attr-defined]
        fresh.position.book(1, desk.engine.position.lots)
        wanted = {
            command.level_id: command.price_ticks
            for command in fresh.step(Tick(bid_ticks=mid - 1, ask_ticks=mid + 1), 1)
            if isinstance(command, Place)
        }
        reached = {k for k, t in desk.levels().items() if (t >= mid + 1 if k.startswith("B") else t <= mid - 1)}
        assert set(desk.levels()) <= set(wanted) | reached, "one that the market has reached is left to fill"
        if config.limits == Limits():  # a limit blocks a level, and lets an order that stands at another price stand
            assert all(wanted.get(level, ticks) == ticks for level, ticks in desk.levels().items())
            assert reached or set(desk.levels()) == set(wanted)
        limits, lots = config.limits, desk.engine.position.lots
        for side in (1, -1):
            most = side * lots + sum(o.open_lots for o in desk.engine.orders if o.side == side)
            assert limits.max_position is None or most <= limits.max_position * 100


# --- a session -----------------------------------------------------------------------------------------------------------


def test_a_session_writes_its_new_configuration_down_and_is_rebuilt_with_it(tmp_path: Path) -> None:
    """The journal holds the whole of it; a rebuilt engine ends with the newest one and stands where the old one did."""
    path = tmp_path / "session.db"

    async def work(shell: Shell, venue: SimulatedVenue, port: FaultyPort) -> None:
        await shell.run(2)
        first = shell.engine.config
        assert shell.update(first) == () and shell.update(first.replace(**{"provenance.note": "x"})) == ()
        second = first.replace(**{"grid.levels": 4, "limits.max_drawdown": "50", "router.max_concurrent": 3})
        paths = ["grid.levels", "router.max_concurrent", "limits.max_drawdown"]
        assert [change.path for change in shell.update(second)] == paths
        assert shell.router.config == second.router
        await shell.run(1)
        assert len(await venue.get_open_orders(LAB.symbol)) == 8
        with pytest.raises(InvalidConfigError, match="execution.entry_ms cannot change"):
            shell.update(second.replace(**{"execution.entry_ms": 99}))
        third = second.replace(**{"grid.levels": 2})
        shell.update(third)
        await shell.run(2)
        assert shell.failure is None and len(await venue.get_open_orders(LAB.symbol)) == 4
        assert shell.journal is not None
        shell.journal.commit()
        updates = [entry.body for entry in entries(path) if isinstance(entry.body, Updated)]
        assert [update.config for update in updates] == [second.canonical(), third.canonical()]
        again = ExecutionEngine(LAB, first, amend_rule=AmendRule.MODIFY)
        rebuild(entries(path), again)
        assert again.config == third and again.digest() == shell.engine.digest()
        assert again.watch.limits == third.limits and again.manager.config == third.grid
        assert again.planner.centre2 == shell.engine.planner.centre2  # type: ignore[attr-defined]
        assert await shell.stop()

    on_the_lab(work, journal=path, **{"grid.recentre_bps": 200})


def test_what_the_journal_says_was_taken_is_taken_again_without_asking(tmp_path: Path) -> None:
    """A session that starts under another configuration is still rebuilt from what was; who starts it decides what comes next."""
    engine = ExecutionEngine(INSTRUMENT, CONFIG.replace(**{"execution.maker_fee_bps": 9}))
    taken = CONFIG.replace(**{"grid.levels": 1})
    engine.step(Updated(config=taken.canonical(), ts_ns=1), 1)
    assert engine.config == taken


def test_money_that_was_never_looked_at_breaks_no_limit() -> None:
    """Before the first tick there is no mid to value anything at; what is held is known all the same."""
    desk = Venue(CONFIG)
    desk.step(desk.fill_event("gkr0-B7-1", 8, "t1"))
    desk.engine.check_update(other(desk, **{"limits.max_notional": 1, "limits.max_drawdown": "0.0001"}))
    with pytest.raises(InvalidConfigError, match="max_position 0.01 is below the position of 0.08 TOY"):
        desk.engine.check_update(other(desk, **{"limits.max_position": "0.01"}))
    small = replace(INSTRUMENT, min_notional=Decimal(5))
    engine = ExecutionEngine(small, CONFIG)
    engine.check_update(CONFIG)
    engine.step(Tick(bid_ticks=MID - 1, ask_ticks=MID + 1), 1)
    with pytest.raises(InvalidConfigError, match="takes orders from 5 USDT"):
        engine.check_update(CONFIG)
