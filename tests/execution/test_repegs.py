"""Post-only orders that would take: placed again next to the other side, a bounded number of times, and no level is ever lost."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import grinder_kit as gk
from grinder_kit.decision.reason import Reason
from grinder_kit.decision.routing import Action
from grinder_kit.errors import ConfigError
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.event import Amend, OrderUpdate, Place, RunState, SetState, Tick
from grinder_kit.model.order import OrderState
from grinder_kit.venue.fault_schedule import RandomSchedule
from tests.execution.desk import GRID, INSTRUMENT, MID, Venue
from tests.lab.laboratory import CAPABILITIES, Laboratory, random_config
from tests.simulation.markets import CONFIG as TOY_CONFIG
from tests.simulation.markets import calm

SECOND = 1_000_000_000
STILL = GRID.replace(recentre_bps=2_000)  # the ladder stays where it is while the market moves through it


def desk(most: int = 2, grid: GridConfig = STILL) -> Venue:
    """Return a desk that has placed nothing yet: levels are 5, 10 and 15 ticks from 1,000."""
    found = Venue(Config(grid=grid).replace(**{"router.max_repegs": most, "router.price_tolerance_ticks": 0}))
    found.step_ns = SECOND // 10
    return found


def refuse(at: Venue, *levels: str) -> None:
    """Let the venue refuse the orders of some levels that are on their way, because they would take."""
    for command in list(at.sent):
        if isinstance(command, Place) and command.level_id in levels:
            at.sent.remove(command)
            refused(at, command.client_order_id)


def refused(at: Venue, one: str) -> None:
    """Tell the engine of a refusal."""
    at.step(OrderUpdate(client_order_id=one, state=OrderState.REJECTED, ts_ns=1, reason="POST_ONLY_WOULD_TAKE"))
    at._ended(one)


def placed(commands: list[Any]) -> dict[str, int]:
    """Return where orders were placed, by level."""
    return {command.level_id: command.price_ticks for command in commands if isinstance(command, Place)}


@pytest.mark.parametrize(("side", "mid", "home", "aside"), [("BUY", 994, 995, 994), ("SELL", 1_006, 1_005, 1_006)])
def test_a_refused_level_stands_next_to_the_other_side(side: str, mid: int, home: int, aside: int) -> None:
    """The market has reached its price: it stands one tick behind, says why, and is neither moved nor missed while that is so."""
    at, level = desk(), f"{side}_1"
    assert placed(at.tick())[level] == home
    refuse(at, level)
    at.flush()
    assert placed(at.tick(mid)) == {level: aside}
    assert at.engine.decisions[Action.PLACE, Reason.REPEGGED] == 1 and at.sent[0].reason == Reason.REPEGGED  # type: ignore[union-attr]
    at.flush()
    for _ in range(20):
        assert at.tick(mid) == [], "nobody moves it back into the market"
    away = MID + (mid - MID) * 2
    assert at.tick(away) == [], "and it does not follow, which would lose the queue"
    (back,) = at.tick(MID)
    assert isinstance(back, Amend) and back.price_ticks == home, "its own price does not take any more"
    at.flush()
    assert at.tick(MID) == [] and at.levels()[level] == home and len(at.alive) == 6


def test_two_refused_levels_do_not_share_a_price() -> None:
    """The market is beyond both: one stands a tick behind the other."""
    at = desk()
    at.tick()
    refuse(at, "BUY_1", "BUY_2")
    at.flush()
    assert placed(at.tick(988)) == {"BUY_1": 988, "BUY_2": 987}


def test_refusals_in_a_row_are_bounded_and_then_it_waits() -> None:
    """Two repegs, a second's wait, its own price, two more, two seconds: as any level that the venue refuses."""
    at = desk(most=2)
    tries: list[tuple[float, int]] = []
    for _ in range(110):
        for level, price in placed(at.tick()).items():
            if level == "BUY_1":
                tries.append((at.now / SECOND, price))
        refuse(at, "BUY_1")
        at.flush()
    assert {price for _, price in tries} == {995}, "the book as we see it never reached it"
    gaps = [round(b - a, 3) for (a, _), (b, _) in zip(tries, tries[1:], strict=False)]
    assert gaps[:9] == [0.1, 0.1, 1.0, 0.1, 0.1, 2.0, 0.1, 0.1, 4.0]
    for _ in range(100):
        at.tick()
        at.flush()
    assert at.levels()["BUY_1"] == 995, "and it is not lost"
    assert not at.engine._pauses and not at.engine._repegs


def test_none_is_what_it_was() -> None:
    """By default a level stands at its own price or nowhere; it is tried again when the market has left it."""
    at = Venue(Config(grid=STILL))
    assert at.engine.config.router.max_repegs == 0
    at.tick()
    refuse(at, "BUY_1")
    at.flush()
    assert at.tick(994) == [] and at.tick(994) == []
    assert placed(at.tick(MID)) == {"BUY_1": 995}


def test_what_stands_aside_is_known_after_a_restart() -> None:
    """The journal's intent says so: the rebuilt session does not withdraw it."""
    at = desk()
    at.tick()
    refuse(at, "BUY_1")
    at.flush()
    at.tick(994)
    (aside,) = at.sent
    assert isinstance(aside, Place)
    again = ExecutionEngine(INSTRUMENT, at.engine.config)
    again.step(Tick(bid_ticks=999, ask_ticks=1_001), 0)  # the ladder stands
    for order in list(again.orders):
        again.step(OrderUpdate(client_order_id=order.client_order_id, state=OrderState.REJECTED, ts_ns=1), 1)
    again.sent(aside, 2)
    again.step(OrderUpdate(client_order_id=aside.client_order_id, state=OrderState.OPEN, ts_ns=3), 3)
    commands = again.step(Tick(bid_ticks=993, ask_ticks=995), 4)
    assert not [c for c in commands if c.client_order_id == aside.client_order_id]


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.FLATTENING, RunState.STOPPED])
def test_it_goes_with_all_others_when_the_session_does_not_quote(state: RunState) -> None:
    """And what was counted is forgotten."""
    at = desk()
    at.tick()
    refuse(at, "BUY_1")
    at.flush()
    at.tick(994)
    at.flush()
    at.step(SetState(state=state))
    at.flush()
    assert at.alive == {} and not at.engine._repegs


def test_no_more_orders_than_allowed_and_none_out_of_the_band() -> None:
    """A repeg keeps to what every order keeps to."""
    at = desk(grid=STILL.replace(max_orders=3))
    assert set(placed(at.tick())) == {"BUY_1", "BUY_2", "BUY_3"}
    refuse(at, "BUY_1")
    at.flush()
    assert set(placed(at.tick(994))) == {"SELL_1"}, "a sell has taken its place"
    narrow = replace(INSTRUMENT, band_down=Decimal("0.98"), band_up=Decimal("1.02"))
    for instrument, stands in ((INSTRUMENT, True), (narrow, False)):
        at = Venue(Config(grid=STILL).replace(**{"router.max_repegs": 2}), instrument)
        at.tick()
        refuse(at, "BUY_1")
        at.flush()
        # a spread so wide that one tick behind the ask is more than 2 % from mid
        assert ("BUY_1" in placed(at.tick(970, half_spread=24))) == stands


def test_the_key_is_checked() -> None:
    """A whole number, 0 or more."""
    with pytest.raises(ConfigError, match="max_repegs"):
        Config(grid=GRID).replace(**{"router.max_repegs": -1})


@given(
    st.integers(0, 3),
    st.lists(st.tuples(st.sampled_from(["tick", "refuse", "arrive", "deliver"]), st.integers(0, 40)), max_size=80),
)
def test_no_level_is_ever_lost(most: int, story: list[tuple[str, int]]) -> None:
    """Whatever is refused and however the book moves: each level rests, is under way, waits a bounded time, or would take.

    And never better than its own price for the other side: the desk checks price and key of every order the moment it is sent.
    """
    at, home = desk(most), {"BUY_1": 995, "BUY_2": 990, "BUY_3": 985, "SELL_1": 1_005, "SELL_2": 1_010, "SELL_3": 1_015}
    at.tick()
    for what, number in story:
        if what == "tick":
            mid = MID + number - 20
            for level, price in placed(at.tick(mid)).items():
                assert price <= home[level] if level[0] == "B" else price >= home[level]
            for level, price in home.items():
                until = at.engine._pauses.get(level[0] + level[-1], (0, 0))[1]
                would_take = price >= mid + 1 if level[0] == "B" else price <= mid - 1
                known = level in {place.level_id for place in at.alive.values()}
                occupied = price in {place.price_ticks for place in at.alive.values()}
                assert known or would_take or occupied or at.now < until <= at.now + 60 * SECOND
        elif what == "refuse" and at.sent:
            command = at.sent[number % len(at.sent)]
            if isinstance(command, Place):
                at.sent.remove(command)
                refused(at, command.client_order_id)
        elif what == "arrive" and at.sent:
            at.arrive(number)
        elif what == "deliver" and at.answers:
            at.deliver(number)
    for _ in range(12):
        at.flush()
        at.now += 10 * SECOND
        at.tick()
    assert at.levels() == home


@pytest.mark.parametrize("seed", range(6))
def test_a_bad_day_with_repegs(seed: int, tmp_path: Path) -> None:
    """Faults, refusals, crashes: orders and fills agree with the venue and the journal in the end."""

    async def main() -> list[str]:
        rng = random.Random(f"repegs {seed}")
        schedule = RandomSchedule(
            seed, rate=0.3, event_rate=0.1, longest_s=1.5, receive_window_s=CAPABILITIES.receive_window_s, ban_s=3.0
        )
        config = random_config(rng).replace(**{"router.max_repegs": rng.randint(1, 3)})
        lab = Laboratory(tmp_path, schedule, config, market_seed=seed, seed=seed)
        await lab.open()
        for _ in range(3):
            await lab.run(rng.uniform(2, 6))
            await lab.crash()
            await lab.start()
        found = await lab.finish()
        await lab.close()
        return found

    assert run_stepped(main()) == []


def test_a_replay_shows_what_it_is_for() -> None:
    """The market falls through a level while its order is on the way: without repegs nothing stands there, with them one tick behind."""
    fall = ("buy", 999, 0), ("buy", 990, 0), ("sell", 985, 5)
    market = calm().depth(110, *fall).depth(3_000, ("buy", 900, 1)).market()
    config = TOY_CONFIG.replace(**{"execution.entry_ms": 20, "execution.response_ms": 20})
    stand = {}
    for most in (0, 2):
        orders = gk.replay(market, config.replace(**{"router.max_repegs": most})).orders.filter(
            pl.col("level_id") == "BUY_1"
        )
        assert orders["state"][0] == "REJECTED" and orders["price"][0] == Decimal("99.0")
        stand[most] = orders.filter(pl.col("ended_ns").is_null())["price"].to_list()
    assert stand == {0: [], 2: [Decimal("98.4")]}
