"""The laboratory: a session on a venue with a bad day, and what must hold whatever happens.

One drill is a seed: a market, a grid, faults, and what the operator does meanwhile. At the end the faults stop, the session is
stopped, and everything that knows anything about orders and fills must agree. A drill is drawn from its seed; the state machine
of tests/execution/test_laboratory.py lets Hypothesis choose instead.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from grinder_kit.execution.clock import Clock
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import Journal, entries, journal_header, rebuild
from grinder_kit.execution.own_orders import key_of
from grinder_kit.execution.port import FUTURES, AmendRule, Capabilities, Epoch, Operation
from grinder_kit.execution.reconciliation import MismatchKind
from grinder_kit.execution.shell import Shell, guarded
from grinder_kit.execution.translate import is_ours
from grinder_kit.market.schema import COLUMNS, FUNDING_COLUMNS
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.event import RunState
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import Order, OrderRequest, OrderState, OrderType, Side
from grinder_kit.model.reconcile_config import ReconcileMode
from grinder_kit.venue.fault_schedule import RandomSchedule, Schedule
from grinder_kit.venue.faults import Fault
from grinder_kit.venue.faulty import FaultyPort, JumpingClock
from grinder_kit.venue.simulated import SimulatedVenue

MS = 1_000_000
START = 1_700_000_000_000 * MS
TAG = "lab"
LAB = Instrument(
    symbol="LABUSDT", venue="lab", base="LAB", quote="USDT", contract=Contract.LINEAR, tick=Decimal("0.1"), lot=Decimal("0.01")
)  # fmt: skip
#: Tight enough that requests have to wait now and then.
CAPABILITIES = replace(FUTURES, weight_limit=150, weight_window_s=10.0, receive_window_s=2.0)
_ADDS = (Operation.PLACE, Operation.BATCH_PLACE, Operation.AMEND, Operation.BATCH_AMEND)


class LabMarket:
    """A small market: ten levels a side that follow a random walk, and trades that reach a level or two into them."""

    def __init__(self, seed: int, seconds: int) -> None:
        self.instrument = LAB
        self.clock_offset_ns = 0
        self.disorder_ns = (0, 0)
        self._rows = _rows(seed, seconds)

    def batches(self, rows: int = 1 << 20) -> Iterator[pl.DataFrame]:
        """Yield the rows; a few at a time, since the work of a stretch grows faster than its length."""
        yield from self._rows.iter_slices(2_048)

    def funding(self) -> pl.DataFrame:
        """Return no funding."""
        return pl.DataFrame(schema=FUNDING_COLUMNS)

    def describe(self) -> dict[str, Any]:
        """Return a name."""
        return {"market": "lab"}


@cache
def _rows(seed: int, seconds: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows: list[tuple[int, int, int, str, str, int, int, int]] = []
    mid, seq = 2_000, 0
    for step in range(4 * seconds):
        ts = START + 250 * MS * step + int(rng.integers(0, 100)) * MS
        local = ts + 2 * MS
        for _ in range(int(rng.integers(0, 3))):
            seq += 1
            side = "buy" if rng.random() < 0.5 else "sell"
            reach = int(rng.integers(1, 5))
            price = mid + reach if side == "buy" else mid - reach
            rows.append((ts, local, seq, "trade", side, price, int(rng.integers(1, 8)), seq))
        mid += int(rng.integers(-2, 3))
        seq += 1
        for i in range(1, 11):
            rows.append((ts + MS, local + MS, seq, "snapshot", "buy", mid - i, int(rng.integers(1, 9)), seq))
        for i in range(1, 11):
            rows.append((ts + MS, local + MS, seq, "snapshot", "sell", mid + i, int(rng.integers(1, 9)), seq))
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


@dataclass
class Violations:
    """What did not hold, with the time."""

    found: list[str] = field(default_factory=list)

    def add(self, ns: int, text: str) -> None:
        """Note a violation; the first few say enough."""
        if len(self.found) < 20:
            self.found.append(f"{ns / 1e9:.3f}s {text}")


class WatchedPort(FaultyPort):
    """A FaultyPort that watches what is sent: weight, and nothing that adds risk after a stop."""

    def __init__(self, port: SimulatedVenue, schedule: Schedule, clock: Clock, violations: Violations) -> None:
        super().__init__(port, schedule, clock)
        self.violations = violations
        self.may_add = True
        self.sent: list[tuple[int, int]] = []

    @property
    def on_the_wire(self) -> set[asyncio.Task[Any]]:
        """What no process can take back."""
        return set(self._travelling)

    def _strike(self, operation: Operation, request: Any) -> Fault:
        now, can = self._clock.monotonic_ns(), self.capabilities
        if operation in _ADDS and not self.may_add:
            self.violations.add(now, f"{operation} was sent after the session had stopped")
        self.sent.append((now, can.weight(operation)))
        since = now - round(can.weight_window_s * 1e9)
        used = sum(weight for at, weight in self.sent[-can.weight_limit :] if at > since)
        if used > can.weight_limit:
            self.violations.add(now, f"request weight {used} in a window that allows {can.weight_limit}")
        return super()._strike(operation, request)


class Laboratory:
    """A venue, a session on it, and their truths side by side.

    Parameters
    ----------
    folder : Path
        Where the journal is kept.
    schedule : Schedule
    config : Config
    market_seed : int
    seconds : int
        Length of the market.
    """

    def __init__(
        self,
        folder: Path,
        schedule: Schedule,
        config: Config,
        *,
        market_seed: int = 1,
        seconds: int = 60,
        capabilities: Capabilities = CAPABILITIES,
        seed: int = 0,
    ) -> None:
        self.path = folder / "lab.db"
        self.schedule = schedule
        self.config = config
        self.violations = Violations()
        self.venue = SimulatedVenue(
            LabMarket(market_seed, seconds), execution=config.execution, capabilities=capabilities, watch=self._watch
        )
        self.rng = random.Random(seed)
        self.live: dict[str, str] = {}  # level key to the client order id that lives at the venue
        self.foreign: dict[str, Order] = {}
        self.restarts = 0
        #: A session that flattens by itself may add again after the operator's pause, and could not be watched so simply.
        self.trades_by_hand = config.reconcile.mode is not ReconcileMode.FLATTEN
        self._pardons = 0

    # --- life --------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Start the venue and the first session."""
        self.bystanders = asyncio.all_tasks()
        await self.venue.__aenter__()
        self.clock = JumpingClock(self.venue.clock)
        self.port = WatchedPort(self.venue, self.schedule, self.clock, self.violations)
        await self.start()

    def engine(self) -> ExecutionEngine:
        """Return a fresh engine."""
        return ExecutionEngine(
            LAB,
            self.config,
            tag=TAG,
            first_generation=self.restarts * 1000,
            amend_rule=AmendRule(self.venue.capabilities.amend),
        )

    async def start(self) -> None:
        """Start a session, from the journal where there is one."""
        engine = self.engine()
        since: int | None = None
        if self.path.exists():
            known = list(entries(self.path))
            rebuild(known, engine)
            since = known[0].ts_ns
        header = journal_header(LAB, self.config, TAG)
        self.journal = Journal.open(self.path, header=header, durable=False, ts_ns=self.clock.now_ns())
        epoch = Epoch(engine.epoch)
        port = guarded(self.port, self.clock, self.config.retry, epoch=epoch, rng=self.rng)
        self.port.sent.clear()  # what a process before it has used, only the venue knows
        self.port.may_add = engine.state is RunState.RUNNING
        self.shell = Shell(
            engine, port, self.venue, self.clock, epoch=epoch, journal=self.journal, since_ns=since, resync_every_s=10.0
        )
        self.shell.begin()

    async def crash(self) -> None:
        """Let the session's process die: what it had not committed is gone, what is on the wire stays there."""
        self.journal.abandon()
        self.shell.journal = None
        doomed = asyncio.all_tasks() - self.bystanders - self.port.on_the_wire - {asyncio.current_task()}
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        self._look()
        self.restarts += 1
        self._pardons = 2  # open orders and position are asked for at once

    async def run(self, seconds: float) -> None:
        """Let the session trade for a while."""
        await self.shell.run(seconds)
        self._look()

    async def close(self) -> None:
        """Let everything go."""
        await self.shell.vanish()
        self.journal.abandon()
        await self.venue.__aexit__(None, None, None)

    # --- what the operator does --------------------------------------------------------------------------------------

    def set_state(self, state: RunState) -> None:
        """Pause, resume or stop."""
        if self.shell.engine.state in (RunState.STOPPED, RunState.KILLED):
            return
        if state is not RunState.RUNNING:
            self.port.may_add = False
        {RunState.PAUSED: self.shell.pause, RunState.RUNNING: self.shell.resume}[state]()
        self.port.may_add = self.shell.engine.state is RunState.RUNNING

    async def others_order(self) -> None:
        """Let somebody else place an order on the account, far from the market."""
        name = f"web_{len(self.foreign)}"
        request = OrderRequest(
            client_order_id=name, level_id="", symbol=LAB.symbol, side=Side.BUY, price=Decimal(100), quantity=Decimal(1)
        )
        self.foreign[name] = await self.venue.place_order(request)

    async def others_trade(self) -> None:
        """Let somebody else trade by hand on the account."""
        side = self.rng.choice((Side.BUY, Side.SELL))
        price = Decimal(400) if side is Side.BUY else Decimal("0.1")
        request = OrderRequest(
            client_order_id=f"hand_{self.clock.monotonic_ns()}", level_id="", symbol=LAB.symbol, side=side, price=price,
            quantity=Decimal("0.02"), type=OrderType.IOC,
        )  # fmt: skip
        await self.venue.place_order(request)

    @property
    def traded_by_hand(self) -> Decimal:
        """What others have added to the position."""
        others = (fill for fill in self.venue.fills if not is_ours(fill.order_id, TAG))
        return sum((fill.quantity * fill.side.sign for fill in others), Decimal(0))

    # --- what must hold ----------------------------------------------------------------------------------------------

    def _watch(self, what: str, order: Order, ts_ns: int) -> None:
        key = key_of(order.client_order_id) if is_ours(order.client_order_id, TAG) else None
        if key is None:
            return
        if order.state.terminal:
            if self.live.get(key) == order.client_order_id:
                del self.live[key]
        elif what == "OPENED":
            if key in self.live:
                self.violations.add(
                    ts_ns - START, f"two live orders under {key}: {self.live[key]}, {order.client_order_id}"
                )
            self.live[key] = order.client_order_id

    def _look(self) -> None:
        now = self.clock.monotonic_ns()
        truth = {order.client_order_id: order for order in self.venue.orders}
        for own in self.shell.engine.orders.collect():
            order = truth.get(own.client_order_id)
            if order is not None and LAB.quantity(own.filled) != order.filled_quantity:
                self.violations.add(
                    now,
                    f"{own.client_order_id} was taken for {own.state} with {own.filled} lots filled; at the venue "
                    f"{order.state} with {order.filled_quantity}",
                )
        if self.shell.failure is not None:
            self.violations.add(now, f"the session died: {self.shell.failure!r}")
        for line in self.port.impatient:
            if self._pardons:  # a process that has just begun was not told to wait
                self._pardons -= 1
            else:
                self.violations.add(now, f"Retry-After was not obeyed: {line}")
        self.port.impatient.clear()
        by_hand = any(not is_ours(fill.order_id, TAG) for fill in self.venue.fills)
        for one in self.shell.reconciler.judged:
            # A stray order that the venue will not withdraw for a while does differ; a position only where somebody else has traded.
            if one.kind is not MismatchKind.ORDER_EXISTS_UNEXPECTED and not (
                by_hand and one.kind is MismatchKind.POSITION_NONZERO_UNEXPECTED
            ):
                self.violations.add(now, f"taken for a difference, and is none: {one}")
        self.shell.reconciler.judged.clear()

    async def finish(self) -> list[str]:
        """Let the faults stop, let the session recover and trade on, stop it, and compare all that is known."""
        self.schedule.calm()
        self.port.release()
        now = self.clock.monotonic_ns
        if self.shell.engine.state is RunState.PAUSED:
            self.set_state(RunState.RUNNING)
        await self.run(12.0)
        if self.shell.engine.state is RunState.RUNNING and not self.shell.engine.synced:
            self.violations.add(now(), "not in agreement with the venue, though nothing goes wrong any more")
        self.port.may_add = False
        if not await self.shell.stop():
            self.violations.add(now(), f"orders left after the stop: {list(self.shell.engine.orders)}")
        self._look()
        self._compare(now())
        return self.violations.found

    def _compare(self, now: int) -> None:
        engine, venue = self.shell.engine, self.venue
        for order in venue.orders:
            if is_ours(order.client_order_id, TAG) and order.state in (OrderState.OPEN, OrderState.PARTIALLY_FILLED):
                self.violations.add(now, f"left at the venue: {order.client_order_id}")
        for name, placed in self.foreign.items():
            order = next(one for one in venue.orders if one.client_order_id == name)
            if (order.state, order.price, order.quantity) != (OrderState.OPEN, placed.price, placed.quantity):
                self.violations.add(now, f"the order of somebody else was touched: {order}")
        ours = {fill.fill_id: fill for fill in venue.fills if is_ours(fill.order_id, TAG)}
        booked = [fill.fill_id for fill in engine.tracker.fills]
        if sorted(booked) != sorted(ours):
            lost, extra = sorted(set(ours) - set(booked)), sorted(set(booked) - set(ours))
            self.violations.add(now, f"fills lost {lost}, invented {extra}, booked {len(booked)}, of {len(ours)}")
        by_hand = self.traded_by_hand
        held = venue.position - by_hand
        if LAB.quantity(engine.position.lots) != held or engine.ledger.inventory != held:
            self.violations.add(
                now, f"position {engine.position.lots} lots, at the venue {held} beside others' {by_hand}"
            )
        differs = sum((diff.diff for diff in self.shell.syncer.diffs.values()), Decimal(0))
        if engine.account.foreign is None or engine.account.foreign + differs != by_hand:
            self.violations.add(now, f"others hold {engine.account.foreign} and {differs}, at the venue {by_hand}")
        cash = -sum((f.price * f.quantity * f.side.sign for f in ours.values()), Decimal(0))
        paid = sum((f.commission for f in ours.values()), Decimal(0))
        if (engine.ledger.cash, engine.ledger.commission) != (cash, paid):
            self.violations.add(now, f"books {engine.ledger}; at the venue cash {cash}, commission {paid}")
        self.journal.commit()
        again = self.engine()
        rebuild(entries(self.path), again)
        if again.digest() != engine.digest():
            self.violations.add(now, "the journal rebuilds another state than the session's")


# --- drills ------------------------------------------------------------------------------------------------------------


def random_config(rng: random.Random) -> Config:
    """Draw a grid that has much to do in this market."""
    grid = GridConfig(
        spacing_bps=rng.choice((20, 30)),
        levels=rng.choice((2, 3, 4, 6)),
        size=rng.choice(("0.03", "0.06", "0.12")),
        recentre_bps=rng.choice((10, 10, 25, 60)),
        reset_action=rng.choice(("NONE", "NONE", "SOFT", "HARD")),
        position_limit="0.6",
        step_ms=200,
    )
    config = Config(grid=grid).replace(
        **{
            "execution.entry_ms": rng.choice((3.0, 20.0, 80.0)),
            "execution.response_ms": rng.choice((20.0, 60.0)),
            "retry.timeout_s": 1.5,
            "retry.deadline_s": 6.0,
            "retry.max_retries": rng.choice((1, 2, 4)),
            "retry.stale_after_s": rng.choice((0.5, 3.0)),
            "router.amend": rng.random() < 0.7,
            "router.order_ttl_s": rng.choice((None, None, 4.0)),
            "router.max_concurrent": rng.choice((2, 8)),
            "reconcile.mode": rng.choice(list(ReconcileMode)),
            "reconcile.grace_s": rng.choice((0.5, 2.0)),
            "reconcile.cooldown_s": 1.0,
            "reconcile.max_actions_per_run": 100,
            "reconcile.max_actions_per_day": 100,
        }
    )
    return config.replace(**{"limits.max_position": "0.9"}) if rng.random() < 0.3 else config


async def drill(folder: Path, seed: int) -> tuple[list[str], Laboratory]:
    """Run one schedule: a seed decides the market, the grid, the faults and the operator."""
    rng = random.Random(f"drill {seed}")
    schedule = RandomSchedule(
        seed, rate=rng.choice((0.05, 0.2, 0.4)), event_rate=rng.choice((0.0, 0.1, 0.3)), longest_s=1.5,
        receive_window_s=CAPABILITIES.receive_window_s, ban_s=3.0,
    )  # fmt: skip
    laboratory = Laboratory(folder, schedule, random_config(rng), market_seed=rng.randrange(8), seed=seed)
    await laboratory.open()
    if rng.random() < 0.5:
        await laboratory.others_order()
    for _ in range(rng.randint(3, 8)):
        await laboratory.run(rng.uniform(0.3, 4.0))
        what = rng.random()
        if what < 0.15:
            laboratory.set_state(RunState.PAUSED)
        elif what < 0.35:
            laboratory.set_state(RunState.RUNNING)
        elif what < 0.55:
            await laboratory.crash()
            await laboratory.start()
        elif what < 0.65:
            laboratory.clock.jump(rng.uniform(-30, 30))
        elif what < 0.7:
            laboratory.port.release()
        elif what < 0.75 and rng.random() < 0.5:
            laboratory.port.may_add = False
            await laboratory.shell.stop(patience_s=3.0)
        elif what < 0.85 and laboratory.trades_by_hand:
            await laboratory.others_trade()
    found = await laboratory.finish()
    await laboratory.close()
    return found, laboratory
