"""The async shell: runs one engine against a port. Events in, commands out, and a journal entry before anything is sent.

The engine decides, the router sends, the port tries again and looks up; what is here only carries things from one to the other.
Whatever goes wrong in a way that nobody foresaw stops the session: it fails closed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from grinder_kit.decision.reason import Reason
from grinder_kit.errors import ConfigError
from grinder_kit.execution import translate
from grinder_kit.execution.alerts import Alert, AlertManager, into_journal
from grinder_kit.execution.budget import WeightBudget
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.idempotent import IdempotentPort
from grinder_kit.execution.journal import Journal
from grinder_kit.execution.money import needs_rate
from grinder_kit.execution.port import AccountEvent, Epoch, EpochGate, ExchangePort, MarketView
from grinder_kit.execution.position_syncer import PositionSyncer
from grinder_kit.execution.reconciliation import Reconciler
from grinder_kit.execution.recovery import PERIODIC, Recovery
from grinder_kit.execution.retry import OrderRetryPolicy, RetryingPort
from grinder_kit.execution.router import Leaving, SmartOrderRouter
from grinder_kit.execution.way_out import How
from grinder_kit.model.config import Config, RetryConfig
from grinder_kit.model.config_diff import Difference, differences
from grinder_kit.model.event import (
    Amend,
    Cancel,
    Command,
    Event,
    FundingPaid,
    LookUp,
    OrderFilled,
    OutcomeUnknown,
    Place,
    Reconciled,
    Restarted,
    RunState,
    SetState,
    StreamLost,
    Tick,
    Updated,
)
from grinder_kit.model.number import Exact, exact, plain
from grinder_kit.model.order import AmendRequest, CancelRequest, OrderRequest, OrderResult
from grinder_kit.model.reconcile_config import ReconcileMode

log = logging.getLogger(__name__)


def guarded(
    port: ExchangePort,
    clock: Clock,
    config: RetryConfig,
    *,
    epoch: Epoch | None = None,
    budget: WeightBudget | None = None,
    rng: random.Random | None = None,
) -> IdempotentPort:
    """Return a venue behind everything that stands between a decision and money.

    ``IdempotentPort(RetryingPort(EpochGate(port)))``: looks up what is unknown, tries again what surely did not arrive within one
    request-weight budget, and sends nothing that was decided before the session was stopped.
    """
    gate = EpochGate(port, epoch or Epoch())
    policy = OrderRetryPolicy(config, clock, rng=rng)
    retrying = RetryingPort(gate, policy, budget or WeightBudget.of(port.capabilities, clock))
    return IdempotentPort(retrying, clock, config=config)


class Shell:
    """One session: an engine, a venue, a market, a journal and a clock.

    Parameters
    ----------
    engine : ExecutionEngine
        Fresh, or rebuilt from the journal.
    port : ExchangePort
        Best the one of :func:`guarded`; its account events are read here.
    market : MarketView
    clock : Clock
    epoch : Epoch
        That of the port's gate; raised here whenever the state changes, before anything else happens.
    journal : Journal, optional
    resync_every_s : float, optional
        Orders, fills and position are compared with the venue at least this often, though no loss was noticed; by default
        `reconcile.every_s` of the configuration.
    since_ns : int, optional
        Fills from here on belong to the session: the first entry of a journal that is continued, by default now.
    rates : callable, optional
        Gives the settlement asset per unit of another asset (612.4 for BNB), or None where it is unknown: a fee that was paid in
        it is converted when the fill is booked, and the journal keeps the rate.

    Attributes
    ----------
    failure : BaseException or None
        What nobody foresaw; the session has been killed by it.
    on_step : callable or None
        Told each event, the commands that the engine asked for, and the time (ns), before they are carried out; it must not raise.
    alerts : AlertManager
        What a person must hear of: in the log, and in the journal.
    syncer : PositionSyncer
        What the account should hold, and what the venue says it does.
    reconciler : Reconciler
        What differs between session and venue.

    Examples
    --------
    >>> shell = Shell(engine, port, market, clock, epoch=epoch, journal=journal)  # doctest: +SKIP
    >>> await shell.start()  # doctest: +SKIP
    >>> await shell.run(60)  # doctest: +SKIP
    >>> await shell.stop()  # doctest: +SKIP
    """

    def __init__(
        self,
        engine: ExecutionEngine,
        port: ExchangePort,
        market: MarketView,
        clock: Clock,
        *,
        epoch: Epoch,
        journal: Journal | None = None,
        resync_every_s: float | None = None,
        since_ns: int | None = None,
        rates: Callable[[str], Decimal | None] | None = None,
    ) -> None:
        self.engine = engine
        self.port = port
        self.market = market
        self.clock = clock
        self.journal = journal
        self.on_step: Callable[[Event, tuple[Command, ...], int], None] | None = None
        self.epoch = epoch
        self.failure: BaseException | None = None
        self.router = SmartOrderRouter(port, engine.instrument, router=engine.config.router)
        self._symbol = engine.instrument.symbol
        self.started_ns, self._steady_ns = clock.now_ns(), clock.monotonic_ns()
        self._resync_ns = None if resync_every_s is None else round(resync_every_s * 1e9)
        self.alerts = AlertManager(self.now_ns, sinks=[self._write_alert])
        self.syncer = PositionSyncer(
            port, engine.instrument, alert_manager=self.alerts, now_ns=self.now_ns, price=lambda _: engine.watch.mid
        )
        self.reconciler = Reconciler(self.alerts, engine.account, self._reconcile_by)
        self._recovery = Recovery(self, self.started_ns if since_ns is None else since_ns)
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: set[str] = set()
        self._rates = rates
        self._unpriced: set[str] = set()  # assets that a fee was paid in and nobody could convert
        self._decided_ns = 0  # since the start: the latest step
        epoch.raise_to(engine.epoch)

    # --- time and life -----------------------------------------------------------------------------------------------

    def now_ns(self) -> int:
        """Return the session's time: UTC at its start, and steady from there, though the machine's clock may jump."""
        return self.started_ns + self.clock.monotonic_ns() - self._steady_ns

    def begin(self) -> None:
        """Listen to the account and begin to agree with the venue; nothing that adds risk is sent before that is done."""
        self.feed(Restarted(ts_ns=self.now_ns()))
        self.spawn(self._listen(), "listen")
        self._recovery.begin("start")

    async def start(self) -> None:
        """Begin, and return when orders and fills agree with the venue."""
        self.begin()
        await self._recovery.done()

    async def run(self, seconds: float | None = None) -> None:
        """Decide once a step, for some seconds or until the session has ended."""
        end = None if seconds is None else self.now_ns() + round(seconds * 1e9)
        while self.failure is None:
            # Steps lie on one lattice of time from the start; one that was missed is left out.
            step = self.engine.config.grid.step_ns
            number = max(self._decided_ns // step + 1, -(-(self.now_ns() - self.started_ns) // step))
            at = self.started_ns + number * step
            if end is not None and at > end:
                await self._sleep_until(end)
                return
            await self._sleep_until(at)
            self._decided_ns = number * step
            self.decide()
            if self.ended:
                return

    async def _sleep_until(self, at_ns: int) -> None:
        await self.clock.sleep(max(0, at_ns - self.now_ns()) / 1e9)

    @property
    def ended(self) -> bool:
        """Whether the session is over: stopped for good, and no own order is left."""
        return self.engine.state in (RunState.STOPPED, RunState.KILLED) and not len(self.engine.orders)

    def decide(self) -> None:
        """Take one look at the market and do what follows from it."""
        now = self.now_ns()
        if now >= self._recovery.next_ns:
            self._recovery.begin(PERIODIC)
        self._take(self.market.tick(now), now)
        due = self.engine.due
        if due is not None:
            log.warning("session becomes %s symbol=%s reason=%s", due.state, self._symbol, due.reason)
            self._take(due, now)
        self._keep_state(now)
        self.commit()

    def _keep_state(self, now: int) -> None:
        """Write what no event tells, where it has changed: the ladder's centre, and what losses are counted from."""
        kept = self.engine.state_to_keep() if self.journal is not None else None
        if kept is not None and self.journal is not None:
            self.journal.append_state(kept, now)

    def commit(self) -> None:
        """Write what waits for the journal; a step does it, and whoever answers for what it has just fed."""
        if self.journal is not None:
            try:
                self.journal.commit()
            except Exception as error:
                self._give_up_journal()
                self.fail(error)

    def _give_up_journal(self) -> None:
        """Go on without the journal: it cannot be trusted any more, and must not stand in the way of the cancels."""
        if self.journal is not None:
            self.journal.abandon()
        self.journal = None

    def pause(self, reason: str = "operator") -> None:
        """Withdraw own orders and keep the position."""
        self._steer(RunState.PAUSED, reason)

    def resume(self, reason: str = "operator") -> None:
        """Quote again; a session that flattens is paused first."""
        self._steer(RunState.RUNNING, reason)

    def flatten(
        self,
        reason: str = "operator",
        *,
        twap_s: float | None = None,
        slices: int | None = None,
        show: Exact | None = None,
        seed: int | None = None,
    ) -> None:
        """Withdraw own orders, then take the position out; paused when that is done.

        At what the market shows, at once; or by a schedule. One that was paused goes on where it stood when it is asked for again,
        and another one begins anew.

        Parameters
        ----------
        reason : str
        twap_s, slices, show, seed
            The schedule (see :class:`~grinder_kit.execution.way_out.How`).

        Raises
        ------
        ConfigError
            For a schedule that cannot be kept, and in a session that is over; nothing has changed then.
        """
        how = How(twap_s, slices, show, seed)
        how.check()
        engine = self.engine
        engine.check_state(RunState.FLATTENING)
        held, known, now = engine.position.lots, engine.way_out, self.now_ns()
        if how.at_once or (engine.synced and not held):
            self._steer(RunState.FLATTENING, reason)
        elif known is not None and how.is_that_of(known.asked, engine.instrument):
            self.feed(replace(known.asked, reason=reason))
        elif not engine.synced or not held:
            raise ConfigError(f"{Reason.POSITION_UNKNOWN.text}: try again in a moment, or flatten at once")
        else:
            tick, step_ns = self.market.tick(now), engine.config.grid.step_ns
            self.feed(how.plan(engine.instrument, held, (tick.bid_ticks, tick.ask_ticks), step_ns, reason))

    def _steer(self, state: RunState, reason: str) -> None:
        self.engine.check_state(state)  # whoever asks for what cannot be is told so; the session does not mind
        self.feed(SetState(state=state, reason=reason))

    @property
    def resync_ns(self) -> int:
        """Time between two comparisons with the venue, ns."""
        return self.engine.config.reconcile.every_ns if self._resync_ns is None else self._resync_ns

    def _reconcile_by(self, mode: ReconcileMode, reason: str) -> str | None:
        """Do what reconciliation asks for, and count it; return why there is nothing to do."""
        engine = self.engine
        wanted = RunState.PAUSED if mode is ReconcileMode.CANCEL_ALL else RunState.FLATTENING
        if engine.state is RunState.FLATTENING or not engine.state.may_become(wanted):
            return f"the session is {engine.state}"
        if engine.state is RunState.PAUSED and not engine.position.lots:
            return f"the session is {engine.state}, and flat"
        self.feed(Reconciled(state=wanted, ts_ns=self.now_ns(), reason=reason))
        self.feed(SetState(state=wanted, reason=reason))
        return None

    def update(self, config: Config) -> tuple[Difference, ...]:
        """Take another configuration while the session runs, and return what changes; the next step routes to the new grid.

        Raises
        ------
        ConfigError
            Everything that stands against it (:meth:`ExecutionEngine.check_update`); nothing has changed then.
        """
        self.engine.check_update(config)
        changes = differences(self.engine.config, config)
        if changes:
            self.feed(Updated(config=config.canonical(), ts_ns=self.now_ns()))
            self.router = SmartOrderRouter(self.port, self.engine.instrument, router=config.router)
        return changes

    async def stop(self, reason: str = "operator", *, patience_s: float = 120.0) -> bool:
        """Withdraw every own order, wait until that is confirmed, and end; return whether it was confirmed in time."""
        return await self._end(RunState.STOPPED, reason, patience_s)

    async def kill(self, reason: str = "operator", *, patience_s: float = 120.0) -> bool:
        """As `stop`, for when something is wrong."""
        return await self._end(RunState.KILLED, reason, patience_s)

    async def _end(self, state: RunState, reason: str, patience_s: float) -> bool:
        if self.engine.state is not state:
            self.feed(SetState(state=state, reason=reason))
        end = self.now_ns() + round(patience_s * 1e9)
        while not self.ended and self.now_ns() < end:
            await self.clock.sleep(0.05)
        if self.ended:
            await self._recovery.settle(end)
        return self.ended

    async def close(self) -> None:
        """Let go of the port without another word to it, and keep what the journal holds; orders stay as they are."""
        await self.vanish()
        self.commit()

    async def vanish(self) -> None:
        """Stop at once, as a process does that dies: requests on the wire stay there, and nothing is sent any more."""
        self.epoch.raise_to(self.engine.epoch + 1)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- events in ---------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Let the engine take an event, and do what it asks for."""
        if isinstance(event, OrderFilled):
            event = self._with_rate(event)
        self._take(event, self.now_ns())

    def _with_rate(self, event: OrderFilled) -> OrderFilled:
        """Return a fill with the rate at which its fee is to be converted, where it needs one and there is one."""
        instrument, asset = self.engine.instrument, event.commission_asset
        if not event.commission or event.commission_rate is not None or not needs_rate(asset, instrument):
            return event
        rate, error = self._rate_of(asset)
        if rate is not None:
            return replace(event, commission_rate=rate)
        if asset not in self._unpriced:
            self._unpriced.add(asset)
            known = f"its rate is unknown{error and f' ({error})'}"
            self.note(f"fees are paid in {asset}, and {known}: commission and net profit leave them out")
        return event

    def _rate_of(self, asset: str) -> tuple[Decimal | None, str]:
        """Return the rate of an asset, or what kept us from it: a fill is booked though its fee cannot be converted."""
        try:
            told = None if self._rates is None else self._rates(asset)
            rate = None if told is None else exact(told, "the rate")
        except Exception as error:
            return None, f"{type(error).__name__}: {error}"
        return (rate, "") if rate is None or rate > 0 else (None, f"the rate is {plain(rate)}")

    def _take(self, event: Event, now: int) -> None:
        try:
            commands = self.engine.step(event, now)
        except Exception as error:
            self.fail(error)
            return
        if self.on_step is not None:
            self.on_step(event, commands, now)
        self.epoch.raise_to(self.engine.epoch)
        if self.journal is not None and not isinstance(event, Tick):
            self.journal.append_event(event, now)
        if commands:
            self._execute(commands, now)

    async def _listen(self) -> None:
        async for event in self.port.events():
            self.hear(event)

    def hear(self, event: AccountEvent) -> None:
        """Take what the venue tells of its own accord; what belongs to others is passed over."""
        if isinstance(event, StreamLost):
            self._recovery.begin(event.reason or "stream lost")
        elif isinstance(event, FundingPaid):
            self.feed(event)
        else:
            for translated in translate.account_event(event, self.engine.instrument, self.engine.orders.tag):
                if isinstance(translated, OutcomeUnknown) and self._answer_to_come(translated.client_order_id):
                    continue
                self.feed(translated)

    def _answer_to_come(self, client_order_id: str) -> bool:
        own = self.engine.orders.by_id.get(client_order_id)
        return own is None or own.in_flight is not None

    # --- commands out ------------------------------------------------------------------------------------------------

    def _execute(self, commands: Sequence[Command], now: int) -> None:
        if not self._written_ahead(commands, now):
            commands = [command for command in commands if isinstance(command, Cancel | LookUp)]
        for command in commands:
            if isinstance(command, LookUp):
                self.look_up(command.client_order_id)
        rest = [command for command in commands if not isinstance(command, LookUp)]
        if rest:
            self.spawn(self._send(rest), "send")

    def _written_ahead(self, commands: Sequence[Command], now: int) -> bool:
        """Write what is about to be sent; without that, only what takes risk away may be."""
        if self.journal is None:
            return True
        try:
            self._keep_state(now)
            for command in commands:
                self.journal.append_intent(command, now)
            self.journal.commit()
        except Exception as error:
            self._give_up_journal()
            self.fail(error)
            return False
        return True

    async def _send(self, commands: Sequence[Command]) -> None:
        cancels: list[CancelRequest] = []
        away: list[AmendRequest] = []
        towards: list[AmendRequest] = []
        places: list[OrderRequest] = []
        leaving: dict[str, Leaving] = {}
        for command in commands:
            own = self.engine.orders.by_id.get(command.client_order_id)
            if own is None:
                continue  # it ended between the decision and now
            if isinstance(command, Cancel):
                cancels.append(translate.cancel_request(own, self._symbol))
                leaving[own.client_order_id] = Leaving(side=own.side, ticks=own.ticks, filled_lots=own.filled)
            elif isinstance(command, Amend):
                request = translate.amend_request(command, own, self.engine.instrument)
                (towards if (command.price_ticks - own.ticks) * own.side > 0 else away).append(request)
            elif isinstance(command, Place):
                places.append(translate.order_request(command, self.engine.instrument))
        await self.router.send(
            cancels=cancels, away=away, towards=towards, places=places, leaving=leaving, on_result=self._answered
        )

    def _answered(self, result: OrderResult) -> None:
        for event in translate.answer(result, self.engine.instrument, self.now_ns()):
            self.feed(event)

    def is_looked_up(self, client_order_id: str) -> bool:
        """Whether the venue is being asked about an order."""
        return client_order_id in self._looking

    def look_up(self, client_order_id: str) -> None:
        """Ask the venue about an order until it answers; one question at a time."""
        if client_order_id not in self._looking:
            self._looking.add(client_order_id)
            self.spawn(self._look_up(client_order_id), "look up")

    async def _look_up(self, client_order_id: str) -> None:
        try:
            events = await self._recovery.look_up(client_order_id)
        finally:
            self._looking.discard(client_order_id)
        for event in events:
            self.feed(event)

    # --- tasks -------------------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something that belongs to this session; when it fails, the session does."""
        task = asyncio.create_task(self._watched(work), name=f"{self._symbol} {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # cancelled before it began, it would complain

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fail(error)

    def note(self, text: str, **facts: str) -> None:
        """Write down something that a person should read."""
        log.warning("%s symbol=%s", text, self._symbol)
        if self.journal is not None:
            self.journal.append_note(text, self.now_ns(), **facts)

    def _write_alert(self, alert: Alert) -> None:
        if self.journal is not None:
            into_journal(self.journal)(alert)

    def fail(self, error: BaseException) -> None:
        """Kill the session: something happened that nobody foresaw."""
        log.error("session killed symbol=%s error=%r", self._symbol, error, exc_info=error)
        if self.failure is not None:
            return
        self.failure = error
        self.note(f"killed by {type(error).__name__}: {error}")
        self.feed(SetState(state=RunState.KILLED, reason=f"{type(error).__name__}: {error}"))
