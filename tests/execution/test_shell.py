"""The shell: a replay's orders and fills to the nanosecond, and a session that survives what it cannot read."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from grinder_kit.errors import JournalError
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.fill_tracker import FillConflictError
from grinder_kit.execution.journal import Journal, entries, journal_header, rebuild
from grinder_kit.execution.port import AmendRule, Capabilities, Epoch, ExchangePort, Operation
from grinder_kit.execution.shell import Shell, guarded
from grinder_kit.market.source import Market
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.event import RunState, StreamLost
from grinder_kit.model.order import InFlight, OrderRequest, Side
from grinder_kit.simulation.replay import replay
from grinder_kit.venue.fault_schedule import ScriptedSchedule
from grinder_kit.venue.faults import Fault, FaultKind
from grinder_kit.venue.faulty import FaultyPort
from grinder_kit.venue.simulated import SimulatedVenue
from tests.lab.laboratory import CAPABILITIES, LAB, LabMarket

GRID = GridConfig(spacing_bps=30, levels=3, size="0.06", recentre_bps=10, position_limit="0.6", step_ms=200)
CONFIG = Config(grid=GRID)
BUSY = Config(
    grid=GridConfig(spacing_bps=3, levels=8, size="0.05", recentre_bps=4, position_limit="0.5", skew_bps_at_limit=1)
).replace(**{"execution.entry_ms": 10.3, "execution.response_ms": 7.4})  # never due at the very time of a step


@pytest.mark.parametrize(
    "changes", [{}, {"router.amend": False}, {"grid.reset_action": "SOFT"}, {"router.order_ttl_s": 7}]
)
def test_a_session_does_what_a_replay_does(changes: dict[str, Any]) -> None:
    """On the simulated venue in stepped time the shell sends the same orders and gets the same fills, to the nanosecond."""
    market, config = synthetic_market(seed=7, minutes=2), BUSY.replace(**changes)
    result = replay(market, config)
    wide = replace(
        Capabilities.of(market.instrument),
        max_batch_place=1000, max_batch_cancel=1000, max_batch_amend=1000, weight_limit=10**9,
    )  # fmt: skip

    async def session() -> tuple[list[Any], list[Any]]:
        async with SimulatedVenue(market, execution=config.execution, capabilities=wide) as venue:
            shell = _shell(venue, venue, market, config)
            await shell.start()
            await shell.run((result.end_ns - result.start_ns) / 1e9)
            assert shell.failure is None
            fills = [(f.order_id, f.price, f.quantity, f.ts_ns, f.commission) for f in venue.fills]
            orders = [(o.client_order_id, o.price, o.quantity, o.filled_quantity) for o in venue.orders]
            await shell.close()
            return fills, orders

    fills, orders = run_stepped(session())
    replayed = [(f.order_id, f.price, f.quantity, f.ts_ns, f.commission) for f in result._engine.tracker.fills]
    assert fills == replayed and len(fills) > 5
    frame = result.orders.select("client_order_id", "price", "quantity", "filled")
    assert sorted(orders) == sorted(frame.rows())


def _shell(
    port: ExchangePort,
    venue: SimulatedVenue,
    market: Market,
    config: Config,
    journal: Journal | None = None,
    **more: Any,
) -> Shell:
    epoch = Epoch()
    engine = ExecutionEngine(market.instrument, config, amend_rule=AmendRule(port.capabilities.amend), **more)
    guard = guarded(port, venue.clock, config.retry, epoch=epoch, rng=random.Random(1))
    return Shell(engine, guard, venue, venue.clock, epoch=epoch, journal=journal)


Work = Callable[[Shell, SimulatedVenue, FaultyPort], Awaitable[None]]


def on_the_lab(
    work: Work, script: ScriptedSchedule | None = None, *, journal: Path | None = None, **changes: Any
) -> None:
    """Run something with a session on the lab's market in stepped time."""
    config = CONFIG.replace(**changes)

    async def main() -> None:
        market = LabMarket(2, 60)
        async with SimulatedVenue(market, execution=config.execution, capabilities=CAPABILITIES) as venue:
            port = FaultyPort(venue, script or ScriptedSchedule(), venue.clock)
            kept = None
            if journal is not None:
                kept = Journal.open(journal, header=journal_header(LAB, config, "r0"), ts_ns=venue.clock.now_ns())
            shell = _shell(port, venue, market, config, kept)
            await shell.start()
            await work(shell, venue, port)
            await shell.close()
            if kept is not None:
                kept.abandon()

    run_stepped(main())


def test_an_unreadable_status_blocks_its_level_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """FOO: the order is UNKNOWN and the raw message kept; its level waits until it can be read, the others go on."""
    unreadable = Fault(kind=FaultKind.UNREADABLE)
    script = ScriptedSchedule([(Operation.BATCH_PLACE, unreadable), *[(Operation.GET_ORDER, unreadable)] * 3])

    async def work(shell: Shell, venue: SimulatedVenue, port: FaultyPort) -> None:
        await shell.run(0.4)
        unknown = [own for own in shell.engine.orders if own.in_flight is InFlight.UNKNOWN]
        assert len(unknown) == 1 and unknown[0].reason == "FOO"
        await shell.run(3)
        assert all(own.in_flight is not InFlight.UNKNOWN for own in shell.engine.orders)
        assert len(shell.engine.orders) == 6

    on_the_lab(work, script)
    assert "status not understood" in caplog.text and "FOO" in caplog.text


def test_a_stop_withdraws_and_confirms() -> None:
    """After `stop` no own order is left at the venue, and nothing is sent any more."""

    async def work(shell: Shell, venue: SimulatedVenue, port: FaultyPort) -> None:
        await shell.run(3)
        assert await shell.stop()
        assert await venue.get_open_orders(LAB.symbol) == ()
        before = venue.weight_used
        await shell.run(5)
        assert venue.weight_used <= before and shell.ended

    on_the_lab(work)


def test_a_pause_keeps_the_position_and_resumes() -> None:
    """Paused, own orders are withdrawn; resumed, the grid stands again."""

    async def work(shell: Shell, venue: SimulatedVenue, port: FaultyPort) -> None:
        await shell.run(2)
        shell.pause()
        await shell.run(1)
        assert await venue.get_open_orders(LAB.symbol) == () and shell.engine.state is RunState.PAUSED
        shell.resume()
        await shell.run(1)
        assert len(await venue.get_open_orders(LAB.symbol)) == 6

    on_the_lab(work)


@pytest.mark.parametrize("bits", [[3.0], [0.1] * 30, [0.2] * 15, [0.35] * 8 + [0.2]])
def test_a_session_that_is_run_bit_by_bit_decides_at_the_same_times(bits: list[float]) -> None:
    """Stopping between two steps loses none: the lattice of steps is that of the session, not of the call."""
    looks: list[int] = []

    async def work(shell: Shell, venue: SimulatedVenue, port: FaultyPort) -> None:
        decide = shell.decide

        def noted() -> None:
            looks.append(shell.now_ns() - shell.started_ns)
            decide()

        shell.decide = noted  # type: ignore[method-assign]
        for seconds in bits:
            await shell.run(seconds)

    on_the_lab(work)
    assert looks == [200_000_000 * n for n in range(1, 16)]


def test_a_gap_in_the_stream_shuts_the_gates_until_orders_and_fills_agree() -> None:
    """Nothing that adds risk is sent between StreamLost and the answer of the venue."""
    slow = Fault(kind=FaultKind.SLOW_ANSWER, delay_s=1.0)

    async def work(shell: Shell, venue: SimulatedVenue, port: FaultyPort) -> None:
        await shell.run(1)
        shell.hear(StreamLost(ts_ns=shell.now_ns(), reason="connection lost"))
        assert not shell.engine.synced
        await shell.run(0.5)
        assert not shell.engine.synced
        await shell.run(1.5)
        assert shell.engine.synced

    no_fault = Fault()
    on_the_lab(work, ScriptedSchedule([(Operation.GET_OPEN_ORDERS, no_fault), (Operation.GET_OPEN_ORDERS, slow)]))


def test_what_nobody_foresaw_kills_the_session() -> None:
    """A fill that comes twice with two contents cannot be believed: the session is killed and its orders withdrawn."""

    async def work(shell: Shell, venue: SimulatedVenue, port: FaultyPort) -> None:
        while not venue.fills:
            await shell.run(0.5)
        await shell.run(0.2)
        shell.hear(replace(venue.fills[0], price=venue.fills[0].price + 1))
        assert isinstance(shell.failure, FillConflictError) and shell.engine.state is RunState.KILLED
        await shell.run(2)
        await venue.clock.sleep(2)
        assert await venue.get_open_orders(LAB.symbol) == ()

    on_the_lab(work, **{"grid.recentre_bps": 200})


def test_a_broken_limit_kills_withdraws_and_is_written_down(tmp_path: Path) -> None:
    """The kill is an event of the journal: a session that is built again from it is killed too, and says why."""
    path = tmp_path / "session.db"

    async def work(shell: Shell, venue: SimulatedVenue, port: FaultyPort) -> None:
        await shell.run(60)
        engine = shell.engine
        assert engine.breach is not None and engine.state is RunState.KILLED and shell.failure is None
        assert engine.state_reason == engine.breach.text and engine.breach.limit == "max_loss_per_day"
        assert shell.ended and await venue.get_open_orders(LAB.symbol) == ()
        assert engine.position.lots and LAB.quantity(engine.position.lots) == venue.position, "the position is kept"
        again = ExecutionEngine(LAB, engine.config, amend_rule=AmendRule.MODIFY)
        rebuild(entries(path), again)
        assert (again.state, again.state_reason) == (RunState.KILLED, engine.breach.text)
        assert again.state_since_ns == engine.state_since_ns and again.digest() == engine.digest()

    on_the_lab(
        work, journal=path, **{"limits.max_loss_per_day": "1", "execution.maker_fee_bps": 50, "grid.recentre_bps": 200}
    )


def test_without_its_journal_a_session_only_withdraws(tmp_path: Path) -> None:
    """When an intent cannot be written it is not sent: the session is killed, and its cancels still go."""

    async def work(shell: Shell, venue: SimulatedVenue, port: FaultyPort) -> None:
        await shell.run(1)
        assert shell.journal is not None

        def full(*_: Any) -> None:
            raise JournalError("disk full")

        shell.journal.commit = full  # type: ignore[method-assign]
        await shell.run(2)
        assert isinstance(shell.failure, JournalError) and shell.engine.state is RunState.KILLED
        await venue.clock.sleep(2)
        assert await venue.get_open_orders(LAB.symbol) == ()

    on_the_lab(work, journal=tmp_path / "session.db")


def test_with_its_journal_lost_a_session_adopts_its_orders_and_their_fills(tmp_path: Path) -> None:
    """Own orders are recognised by their ids: those whose level is free are adopted, with what they had filled."""

    async def main() -> None:
        market = LabMarket(2, 60)
        async with SimulatedVenue(market, execution=CONFIG.execution, capabilities=CAPABILITIES) as venue:
            first = _shell(venue, venue, market, CONFIG)
            await first.start()
            await first.run(2)
            await first.vanish()
            left = {order.client_order_id for order in await venue.get_open_orders(LAB.symbol)}
            others = OrderRequest(
                client_order_id="web_1",
                level_id="",
                symbol=LAB.symbol,
                side=Side.BUY,
                price=Decimal(150),
                quantity=Decimal(1),
            )
            await venue.place_order(others)
            path = tmp_path / "new.db"
            journal = Journal.open(path, header=journal_header(LAB, CONFIG, "r0"), ts_ns=venue.clock.now_ns())
            second = _shell(venue, venue, market, CONFIG, journal, first_generation=10**6)
            await second.start()
            await second.run(0.1)
            assert left and {own.client_order_id for own in second.engine.orders} == left
            await second.run(3)
            assert await second.stop()
            assert [o.client_order_id for o in await venue.get_open_orders(LAB.symbol)] == ["web_1"]
            await second.close()
            journal.close()
            assert any("adopted" in str(entry.body) for entry in entries(path))
            again = ExecutionEngine(LAB, CONFIG, amend_rule=AmendRule.MODIFY)
            rebuild(entries(path), again)
            assert again.digest() == second.engine.digest()

    run_stepped(main())


def test_a_closed_session_sends_nothing_any_more() -> None:
    """What was still to be tried again when the session was closed does not leave."""
    script = ScriptedSchedule([(Operation.BATCH_PLACE, Fault(kind=FaultKind.UNREACHABLE))])

    async def work(shell: Shell, venue: SimulatedVenue, port: FaultyPort) -> None:
        await shell.run(0.2)
        await venue.clock.sleep(0.001)
        await shell.close()
        await venue.clock.sleep(20)
        # The second batch had left before; the first, which did not get away, is not sent again.
        assert [order.level_id for order in await venue.get_open_orders(LAB.symbol)] == ["SELL_3"]

    on_the_lab(work, script, **{"retry.base_delay_ms": 5000})


def test_a_restart_keeps_the_centre_and_what_losses_are_counted_from(tmp_path: Path) -> None:
    """What no event tells is written at the step in which it changes, so that a restart is no way round a limit."""
    path = tmp_path / "session.db"

    async def work(shell: Shell, venue: SimulatedVenue, port: FaultyPort) -> None:
        await shell.run(50)
        again = ExecutionEngine(LAB, shell.engine.config, amend_rule=AmendRule.MODIFY)
        rebuild(entries(path), again)
        kept, told = shell.engine.state_to_keep(), again.state_to_keep()
        assert kept is None, "nothing has changed since the last step"
        marks = shell.engine.watch.marks
        assert told is not None and Decimal(told["peak"]) == marks.peak > 0
        assert (told["day"], Decimal(told["day_start"])) == (marks.day, 0)
        assert told["centre2"] == shell.engine.planner.centre2  # type: ignore[attr-defined]

    on_the_lab(
        work, journal=path, **{"limits.max_drawdown": "5", "execution.maker_fee_bps": -100, "grid.recentre_bps": 200}
    )
