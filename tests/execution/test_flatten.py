"""FLATTENING: own orders go first, then the position, one order after another; and nothing ever makes it larger."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.reason import Reason
from grinder_kit.decision.routing import Action
from grinder_kit.errors import ConfigError
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import Journal, entries, journal_header, rebuild
from grinder_kit.execution.port import SPOT, Capabilities, Epoch
from grinder_kit.execution.shell import Shell, guarded
from grinder_kit.model.config import Config, GridConfig, Limits
from grinder_kit.model.event import (
    Cancel,
    LookUp,
    OrderUpdate,
    OutcomeUnknown,
    Place,
    Resynced,
    RunState,
    SetState,
    StreamLost,
    Tick,
)
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import Order, OrderState, OrderType
from grinder_kit.simulation.replay import _instrument, _Run
from grinder_kit.venue.fault_schedule import RandomSchedule
from grinder_kit.venue.simulated import SimulatedVenue
from tests.execution.desk import GRID, INSTRUMENT, MID, Venue
from tests.lab.laboratory import CAPABILITIES, LAB, LabMarket, Laboratory, random_config
from tests.simulation.markets import CONFIG as TOY_CONFIG
from tests.simulation.markets import MS, START, calm

SECOND = 1_000_000_000
FLATTEN = SetState(state=RunState.FLATTENING, reason="operator")


def holding(lots: int, *, reduce_only: bool = True, limits: Limits | None = None, **changes: Any) -> Venue:
    """Return a desk with a grid that stands and a position, of which the venue knows."""
    instrument = replace(INSTRUMENT, **changes)
    desk = Venue(Config(grid=GRID, limits=limits or Limits()), instrument, reduce_only=reduce_only)
    desk.settle()
    if lots:
        desk.step(desk.fill_event("gkr0-B7-1" if lots > 0 else "gkr0-S7-1", abs(lots), "before"))
        desk.position, desk.booked = lots, {"before"}
    return desk


def exits(commands: list[Any]) -> list[tuple[str, int, int]]:
    """Return the exits among commands: side, price and lots."""
    return [(c.side, c.price_ticks, c.quantity_lots) for c in commands if isinstance(c, Place)]


# --- step by step --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduce_only", [True, False])
@pytest.mark.parametrize(("lots", "side", "price"), [(8, "SELL", 999), (-8, "BUY", 1_001)])
def test_orders_go_first_then_the_position_in_as_many_orders_as_it_takes(
    lots: int, side: str, price: int, reduce_only: bool
) -> None:
    """Each exit is an IOC at the other side's best for all that is left; the desk checks that it is alone and reduces."""
    desk = holding(lots, reduce_only=reduce_only)
    desk.step(FLATTEN)
    assert [type(command) for command in desk.sent] == [Cancel] * 6
    assert desk.tick() == [], "not before the last cancel is confirmed"
    while desk.sent:
        desk.arrive()
    while len(desk.answers) > 1:
        desk.deliver()
    assert desk.tick() == []
    desk.deliver()
    for left in (8, 5, 2):  # three lots stand there each time
        assert exits(desk.tick()) == [(side, price, left)]
        assert desk.engine.flattened is None
        desk.flush()
    assert desk.tick() == []
    engine = desk.engine
    assert (engine.flattened, engine.state, engine.state_reason) == ("flat", RunState.PAUSED, "flat")
    assert engine.position.lots == 0 and engine.decisions[Action.PLACE, Reason.EXIT] == 3
    assert {fill.level_id for fill in engine.tracker.fills[1:]} == {"SELL_0" if lots > 0 else "BUY_0"}
    assert [fill.policy for fill in engine.tracker.fills] == ["UNKNOWN", "EXIT", "EXIT", "EXIT"], (
        "the first was ours without an order"
    )
    assert [order.client_order_id.split("-")[2] for order in engine.orders.collect()][-3:] == ["1", "2", "3"]
    desk.step(SetState(state=RunState.RUNNING))
    assert engine.flattened is None
    desk.settle()
    assert len(desk.alive) == 6


def test_a_flat_session_is_flat_at_once_whatever_the_market() -> None:
    """Nothing has to be sent, so that no price is needed."""
    desk = Venue(Config(grid=GRID))
    desk.settle()
    desk.step(FLATTEN)
    desk.flush()
    assert desk.tick(half_book=True, stale=True) == []
    assert desk.engine.state is RunState.PAUSED and desk.engine.flattened == "flat"


def test_an_exit_waits_for_a_market_that_can_be_trusted_and_a_position_that_is_known() -> None:
    """Stale data, half a book, a gap in the stream: nothing is sent, and nothing is said to be done."""
    desk = holding(8)
    desk.step(FLATTEN)
    desk.flush()
    assert desk.tick(stale=True) == [] and desk.tick(half_book=True) == []
    desk.step(StreamLost(ts_ns=1))
    assert desk.tick() == []
    desk.step(desk.fill_event("gkr0-S7-1", 8, "late"))
    desk.position = 0
    assert desk.tick() == [] and desk.engine.state is RunState.FLATTENING, "flat as far as is known"
    desk.step(Resynced(ts_ns=2))
    desk.tick()
    assert desk.engine.state is RunState.PAUSED


@pytest.mark.parametrize(
    ("lots", "changes", "words"),
    [
        (4, {"min_quantity": Decimal("0.1")}, "0.04 TOY remain: below the smallest order of 0.1 TOY"),
        (-4, {"min_quantity": Decimal("0.1")}, "-0.04 TOY remain: below the smallest order of 0.1 TOY"),
        (4, {"min_notional": Decimal(5)}, "0.04 TOY remain: below the smallest order of 0.06 TOY"),
        (13, {"min_quantity": Decimal("0.12")}, "0.1 TOY remain: below the smallest order of 0.12 TOY"),
    ],
)
def test_what_is_too_small_to_be_sent_remains_and_is_said(lots: int, changes: dict[str, Decimal], words: str) -> None:
    """An IOC that fills in part may leave such a rest as well: 13 lots, of which 3 find somebody."""
    desk = holding(lots, **changes)
    desk.step(FLATTEN)
    desk.settle()
    assert desk.engine.flattened == desk.engine.state_reason == words and desk.engine.state is RunState.PAUSED


def test_no_exit_is_larger_than_the_venue_takes() -> None:
    """max_quantity of one order."""
    desk = holding(12, max_quantity=Decimal("0.05"))
    desk.depth = 1_000
    desk.step(FLATTEN)
    desk.flush()
    sent = []
    while desk.engine.state is RunState.FLATTENING:
        sent += exits(desk.tick())
        desk.flush()
    assert sent == [("SELL", 999, 5), ("SELL", 999, 5), ("SELL", 999, 2)]


def test_an_exit_that_would_lie_outside_the_price_band_waits() -> None:
    """A venue that allows 1 % from mid refuses a price that is further away; the market may come closer."""
    desk = holding(8, band_down=Decimal("0.99"), band_up=Decimal("1.01"))
    desk.step(FLATTEN)
    desk.flush()
    assert desk.tick(half_spread=20) == [] and desk.engine.flattened is None
    assert len(desk.tick(half_spread=5)) == 1


def test_an_exit_whose_outcome_is_unknown_is_looked_up_before_another_is_sent() -> None:
    """What it filled is booked first; the next is for what is left."""
    desk = holding(8)
    desk.step(FLATTEN)
    desk.flush()
    (sent,) = desk.tick()
    desk.arrive()
    one, answers = sent.client_order_id, desk.answers[:]
    desk.answers.clear()
    desk.step(OutcomeUnknown(client_order_id=one, ts_ns=1, reason="no answer"))
    assert desk.sent == [LookUp(client_order_id=one, reason="no answer")]
    assert exits(desk.tick()) == [], "while nobody knows"
    desk.flush()
    assert answers and desk.engine.position.lots == 5
    assert exits(desk.tick()) == [("SELL", 999, 5)]


def test_an_exit_whose_end_was_not_told_is_asked_about() -> None:
    """Accepted, and then silence: an IOC order never rests, so that the next step asks; it is never cancelled or amended."""
    desk = holding(8)
    desk.step(FLATTEN)
    desk.flush()
    (sent,) = desk.tick()
    desk.arrive()
    desk.deliver()  # OPEN; the fill and the end are lost
    desk.answers.clear()
    assert desk.sent == [], "not at once: the end is about to come"
    asked = [LookUp(client_order_id=sent.client_order_id, reason="its end was not told")]
    assert desk.tick() == asked
    desk.flush()
    assert exits(desk.tick()) == [("SELL", 999, 5)]


def test_a_pause_ends_flattening_and_what_was_sent_still_counts() -> None:
    """The operator pauses and quotes again while an exit is under way: the grid stands, and nobody touches the exit."""
    desk = holding(8)
    desk.step(FLATTEN)
    desk.flush()
    (sent,) = desk.tick()
    desk.step(SetState(state=RunState.PAUSED, reason="operator"))
    desk.step(SetState(state=RunState.RUNNING, reason="operator"))
    desk.arrive()
    desk.deliver()
    placed = desk.tick()
    assert len(placed) == 6 and all(isinstance(command, Place) for command in placed)
    assert not [c for c in (*placed, *desk.tick()) if c.client_order_id == sent.client_order_id]
    desk.settle()
    assert desk.engine.position.lots == 5 and "SELL_0" not in desk.levels()


@pytest.mark.parametrize("end", [RunState.STOPPED, RunState.KILLED])
def test_a_stop_ends_flattening_and_keeps_the_rest(end: RunState) -> None:
    """Nothing is sent after it; an exit under way is waited for."""
    desk = holding(8)
    desk.step(FLATTEN)
    desk.flush()
    desk.tick()
    desk.step(SetState(state=end))
    desk.settle()
    assert desk.engine.position.lots == 5 and desk.alive == {} and desk.engine.state is end


def test_a_venue_that_refuses_an_exit_is_asked_again_after_a_pause() -> None:
    """1, 2, 4 s, as for any level."""
    desk = holding(8)
    desk.step_ns = SECOND // 4
    desk.step(FLATTEN)
    desk.flush()
    pauses, last = [], desk.now
    for _ in range(4):
        while not (sent := desk.tick()):
            pass
        pauses.append((desk.now - last) / SECOND)
        last = desk.now
        desk.sent.clear()
        one = sent[0].client_order_id
        refused = OrderUpdate(client_order_id=one, state=OrderState.REJECTED, ts_ns=1, reason="REDUCE_ONLY_REJECTED")
        desk.step(refused)
        desk._ended(one)
    assert pauses == [0.25, 1, 2, 4]


def test_limits_do_not_stop_the_way_out_and_exits_keep_to_the_order_rate() -> None:
    """A kill in the middle would leave the position: while flattening only the pace is kept. Paused, the limit kills again."""
    desk = holding(8, limits=Limits(max_drawdown="0.2", max_orders_per_s="0.7"))
    desk.step_ns = SECOND
    desk.step(FLATTEN)
    desk.flush()
    assert exits(desk.tick(600)) == [("SELL", 599, 8)], "3.2 lost"
    desk.flush()
    waited = 0
    while not desk.tick(600):
        waited += 1
    assert waited == 8, "seven in ten seconds: the six of the grid, and one"
    while desk.engine.state is RunState.FLATTENING:
        desk.flush()
        desk.tick(600)
    assert desk.engine.position.lots == 0 and desk.engine.breach is None
    desk.tick(600)
    assert desk.engine.state is RunState.KILLED and "drawdown" in desk.engine.state_reason


@given(
    lots=st.integers(-30, 30).filter(bool),
    story=st.lists(
        st.tuples(st.sampled_from(["tick", "arrive", "deliver", "half", "stale"]), st.integers(0, 30)), max_size=60
    ),
    depth=st.integers(0, 9),
    limits=st.sampled_from([{}, {"max_quantity": Decimal("0.04")}, {"min_quantity": Decimal("0.03")}]),
    reduce_only=st.booleans(),
)
def test_flattening_never_makes_the_position_larger(
    lots: int, story: list[tuple[str, int]], depth: int, limits: dict[str, Decimal], reduce_only: bool
) -> None:
    """In any order of answers: at the venue what is held only shrinks, and on spot never more is sold than the session holds."""
    desk, held = holding(lots, reduce_only=reduce_only, **limits), lots
    desk.step(FLATTEN)
    for what, number in story:
        if what in ("tick", "half", "stale"):
            desk.depth = depth
            desk.tick(MID + number - 15, half_book=what == "half", stale=what == "stale")
        elif what == "arrive" and desk.sent:
            desk.arrive(number)
        elif what == "deliver" and desk.answers:
            desk.deliver(number)
        sold = sum(desk.traded.get(one, 0) for one in desk.traded if one.split("-")[1] == "S0")
        bought = sum(desk.traded.get(one, 0) for one in desk.traded if one.split("-")[1] == "B0")
        now = lots + bought - sold
        assert abs(now) <= abs(held) and now * lots >= 0 and (not sold or lots > 0) and (not bought or lots < 0)
        held = now
    desk.depth = 1_000
    for _ in range(20):
        desk.flush()
        desk.tick()
    assert desk.engine.state is RunState.PAUSED and desk.engine.flattened is not None
    least = 1 if "min_quantity" not in limits else 3
    assert abs(desk.engine.position.lots) < least and desk.engine.position.lots * lots >= 0
    assert (desk.engine.flattened == "flat") == (desk.engine.position.lots == 0)


def test_a_session_that_flattens_goes_on_to_do_so_when_it_is_rebuilt(tmp_path: Path) -> None:
    """State, exits and their generations come from the journal; an exit that was under way is unknown, and waited for."""
    path = tmp_path / "r0.journal"
    desk = holding(8)
    with Journal.open(path, header={"symbol": "TOY", "venue": "v", "tag": "r0"}, durable=False) as journal:
        step = desk.engine.step

        def kept(event: Any, now_ns: int) -> Any:
            commands = step(event, now_ns)
            if not isinstance(event, Tick):
                journal.append_event(event, now_ns)
            for command in commands:
                journal.append_intent(command, now_ns)
            return commands

        desk.engine.step = kept  # type: ignore[method-assign]
        desk.step(desk.fill_event("gkr0-B7-1", 8, "again"))
        desk.step(FLATTEN)
        desk.flush()
        desk.tick()
        desk.flush()
        desk.tick()
        desk.arrive()
        desk.deliver()
    again = ExecutionEngine(INSTRUMENT, desk.engine.config)
    again.step(desk.fill_event("gkr0-B7-1", 8, "before"), 0)
    rebuild(entries(path), again)
    assert again.state is RunState.FLATTENING and again.position.lots == 13 == desk.engine.position.lots
    (own,) = again.orders
    assert (own.client_order_id, own.type, own.reduce_only) == ("gkr0-S0-2", OrderType.IOC, True)
    assert again.step(Tick(bid_ticks=999, ask_ticks=1_001), 10**6) == (
        LookUp(client_order_id="gkr0-S0-2", reason="its end was not told"),
    )


# --- a session on a venue ------------------------------------------------------------------------------------------------

SPOT_LAB = Instrument(
    symbol="LABUSDT", venue="lab", base="LAB", quote="USDT", contract=Contract.SPOT, tick=Decimal("0.1"), lot=Decimal("0.01")
)  # fmt: skip


class ThinMarket(LabMarket):
    """The lab's market with one to eight lots on every level, of futures or spot."""

    def __init__(self, instrument: Instrument) -> None:
        super().__init__(2, 60)
        self.instrument = instrument


Work = Callable[[Shell, SimulatedVenue, list[tuple[str, Order]]], Awaitable[None]]


def on_a_thin_market(
    work: Work, instrument: Instrument, can: Capabilities, path: Path, *, tight: bool = True, **changes: Any
) -> None:
    """Run something with a session that has traded for a while, in stepped time."""
    grid = GridConfig(spacing_bps=30, levels=3, size="0.2", recentre_bps=200, position_limit="0.6", step_ms=200)
    config = Config(grid=grid).replace(**changes)
    seen: list[tuple[str, Order]] = []

    async def main() -> None:
        market = ThinMarket(instrument)
        venue = SimulatedVenue(
            market,
            execution=config.execution,
            capabilities=can,
            watch=lambda what, order, ns: seen.append((what, order)),
        )
        async with venue:
            epoch = Epoch()
            engine = ExecutionEngine(instrument, config, amend_rule=can.amend, reduce_only=can.reduce_only)
            port = guarded(venue, venue.clock, config.retry, epoch=epoch, rng=random.Random(1))
            header = journal_header(instrument, config, "r0")
            with Journal.open(path, header=header, durable=False, ts_ns=venue.clock.now_ns()) as journal:
                shell = Shell(engine, port, venue, venue.clock, epoch=epoch, journal=journal)
                await shell.start()
                while abs(engine.position.lots) < 20:
                    await shell.run(0.2)
                await work(shell, venue, seen)
                await shell.close()

    run_stepped(main())


@pytest.mark.parametrize(("instrument", "can"), [(LAB, CAPABILITIES), (SPOT_LAB, SPOT)], ids=["futures", "spot"])
def test_a_session_flattens_on_a_thin_book(instrument: Instrument, can: Capabilities, tmp_path: Path) -> None:
    """Several IOC orders are needed; at the end it is flat, paused and in agreement with the venue, and can quote again."""

    async def work(shell: Shell, venue: SimulatedVenue, seen: list[tuple[str, Order]]) -> None:
        held, engine = venue.position, shell.engine
        shell.flatten("the operator wants out")
        assert engine.state is RunState.FLATTENING
        before = len(seen)
        while engine.state is RunState.FLATTENING:
            await shell.run(0.2)
            assert abs(venue.position) <= abs(held) and venue.position * held >= 0
        placed = {o.client_order_id: o for what, o in seen[before:] if what == "OPENED"}
        assert len(placed) >= 2 and {o.type for o in placed.values()} == {OrderType.IOC}
        assert {o.reduce_only for o in placed.values()} == {can.reduce_only}
        assert (engine.state, engine.state_reason, engine.flattened) == (RunState.PAUSED, "flat", "flat")
        assert venue.position == 0 == engine.position.lots and shell.failure is None
        assert await venue.get_open_orders(instrument.symbol) == ()
        again = ExecutionEngine(instrument, engine.config)
        assert shell.journal is not None
        shell.journal.commit()
        rebuild(entries(shell.journal.path), again)
        assert again.digest() == engine.digest() and again.state_reason == "flat"
        shell.resume()
        await shell.run(1)
        assert len(engine.orders) == 6
        assert await shell.stop()

    on_a_thin_market(work, instrument, can, tmp_path / "r0.journal")


def test_what_cannot_be_is_said_to_whoever_asked_and_harms_nothing(tmp_path: Path) -> None:
    """A session that flattens does not quote again before it is paused, and one that has ended does nothing any more."""

    async def work(shell: Shell, venue: SimulatedVenue, seen: list[tuple[str, Order]]) -> None:
        shell.flatten()
        with pytest.raises(ConfigError, match="the session is FLATTENING .RUNNING refused.; pause it first"):
            shell.resume()
        assert shell.failure is None and shell.engine.state is RunState.FLATTENING
        shell.pause()
        shell.resume()
        assert await shell.stop()
        for ask in (shell.pause, shell.resume, shell.flatten):
            with pytest.raises(ConfigError, match="STOPPED for good"):
                ask()
        assert shell.failure is None and shell.engine.state is RunState.STOPPED

    on_a_thin_market(work, LAB, CAPABILITIES, tmp_path / "r0.journal")


@pytest.mark.parametrize("part", range(4))
def test_no_schedule_of_faults_makes_flattening_add_anything(part: int) -> None:
    """On a venue with a bad day, with crashes in between: exits only ever reduce, and in the end the session is flat."""
    for seed in range(part * 10, part * 10 + 10):
        run_stepped(_drill(seed))


class FlatteningLaboratory(Laboratory):
    """A laboratory that looks at every fill of an exit."""

    def _watch(self, what: str, order: Order, ts_ns: int) -> None:
        super()._watch(what, order, ts_ns)
        if what == "FILLED" and order.level_id in ("BUY_0", "SELL_0"):
            fill, now = self.venue.fills[-1], self.venue.position
            was = now - fill.quantity * fill.side.sign
            if abs(now) > abs(was) or now * was < 0:
                self.violations.add(ts_ns, f"{was} became {now} by the exit {order.client_order_id}")

    def engine(self) -> ExecutionEngine:
        """Return a fresh engine that knows of reduce-only orders."""
        engine = super().engine()
        engine._reduce_only = True
        return engine


async def _drill(seed: int) -> None:
    rng = random.Random(f"flatten {seed}")
    with tempfile.TemporaryDirectory() as folder:
        schedule = RandomSchedule(
            seed, rate=rng.choice((0.05, 0.2, 0.4)), event_rate=rng.choice((0.0, 0.1, 0.3)), longest_s=1.5,
            receive_window_s=CAPABILITIES.receive_window_s, ban_s=3.0,
        )  # fmt: skip
        config = random_config(rng).replace(**{"grid.recentre_bps": 200})
        lab = FlatteningLaboratory(Path(folder), schedule, config, market_seed=rng.randrange(8), seed=seed)
        await lab.open()
        await lab.run(rng.uniform(3, 12))
        lab.shell.flatten("drill")
        for _ in range(rng.randint(1, 3)):
            await lab.run(rng.uniform(0.3, 3.0))
            if rng.random() < 0.4:
                await lab.crash()
                await lab.start()
                lab.port.may_add = True
        schedule.calm()
        lab.port.release()
        await lab.run(15)
        engine = lab.shell.engine
        assert lab.shell.failure is None and not lab.violations.found, f"seed {seed}: {lab.violations.found}"
        assert (engine.state, engine.state_reason) == (RunState.PAUSED, "flat"), f"seed {seed}: {list(engine.orders)}"
        assert lab.venue.position == 0 == engine.position.lots
        assert sorted(f.fill_id for f in engine.tracker.fills) == sorted(f.fill_id for f in lab.venue.fills)
        again = lab.engine()
        lab.journal.commit()
        rebuild(entries(lab.path), again)
        assert again.digest() == engine.digest()
        await lab.close()


# --- a replay ------------------------------------------------------------------------------------------------------------


def test_a_replay_flattens_too() -> None:
    """The kernel executes the exits: 2 lots held, and the bid shows 1 at a time."""
    script = calm().trade(1_000, "sell", 990, 8).depth(1_500, ("buy", 999, 1)).depth(15_000, ("buy", 900, 1))
    market = script.market()
    run = _Run(market, TOY_CONFIG, _instrument(market, TOY_CONFIG), None)
    step = run._step

    def steered(now: int) -> None:
        if now == START + 2_000 * MS:
            run._take(FLATTEN, now)
        step(now)

    run._step = steered  # type: ignore[method-assign]
    result = run.to_the_end(None)
    assert run.engine.state is RunState.PAUSED and run.engine.flattened == "flat" and result.killed is None
    assert result.summary["position"] == 0 and result.orders["ended_ns"].is_not_null().all()
    out = result.fills.filter(pl.col("level_id") == "SELL_0")
    assert out["quantity"].to_list() == [Decimal("0.01")] * 2 and set(out["price"]) == {Decimal("99.9")}
    assert not out["is_maker"].any() and set(out["cause"]) == {"taken"}
    assert result.orders.filter(pl.col("level_id") == "SELL_0")["state"].to_list() == ["EXPIRED", "FILLED"]
    assert {fill.policy for fill in run.engine.tracker.fills} == {"centred", "EXIT"}
