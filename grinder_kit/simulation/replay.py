"""Replay: the engine's decisions executed by the kernel over a market, in virtual time and without asyncio."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from grinder_kit.decision.grid_manager import check_fill_prob
from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.engine import ExecutionEngine, PositionSource
from grinder_kit.execution.fees import Fees, FundingTable
from grinder_kit.execution.ledger import check_identity
from grinder_kit.execution.port import Capabilities
from grinder_kit.fillprob.model_file import fitted_for
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.config_check import check_against
from grinder_kit.model.event import (
    Amend,
    Amended,
    AmendRejected,
    Cancel,
    CancelRejected,
    Command,
    Event,
    FundingPaid,
    LookedUp,
    OrderFilled,
    OrderUpdate,
    Place,
    Tick,
)
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import OrderState
from grinder_kit.simulation.patience import patience_ns
from grinder_kit.simulation.recorder import Recorder
from grinder_kit.simulation.result import Result

if TYPE_CHECKING:
    from grinder_kit.fillprob.model import FillModel
    from grinder_kit.fillprob.model_file import Fitted
    from grinder_kit.kernel.feed import Slice
    from grinder_kit.kernel.simulator import KernelOptions
    from grinder_kit.market.source import Market

SECOND_NS = 1_000_000_000


def replay(
    market: Market,
    grid: GridConfig | Config,
    *,
    latency_ms: float | None = None,
    model: FillModel | Fitted | None = None,
    position: PositionSource | None = None,
    progress: Callable[[int], None] | None = None,
    engine: Literal["compiled", "event"] | None = None,
    _queue: str | None = None,
) -> Result:
    """Trade a grid on a market.

    Most configurations run whole in compiled code, with the same orders, fills and digest as by the engine's own steps, many times
    faster. ``result.engine`` says which it was, and ``result.kept_out`` why. Both stream the market, so that its length costs time;
    a compiled replay keeps its orders in memory, some 500 bytes each.

    Parameters
    ----------
    market : Market
        A recording or a synthetic market; streamed, so that its length costs time and not memory.
    grid : GridConfig or Config
        The grid alone (everything else at its defaults), or a whole configuration.
    latency_ms : float, optional
        Sets entry_ms and response_ms of the configuration.
    model : FillModel or Fitted, optional
        What `grid.min_fill_prob` is held against, best one that was fitted on another part of the market; by default the one that
        the configuration names, or the specification's heuristic. The result's configuration has its hash.
    position : PositionSource, optional
        Another bookkeeping of the position for the side limits; for tests.
    progress : callable, optional
        Called after each stretch of the market with the number of its events.
    engine : {"compiled", "event"}, optional
        Which path is taken; by default the compiled one where it can be.

    Returns
    -------
    Result
        Its P&L identity has been checked.

    Raises
    ------
    ConfigError
        For a configuration that does not fit the instrument, names a model that is not to be had, or cannot run compiled though
        `engine` asks for it.
    DataError
        For a market without events, or rows that break their recording's promises.
    IdentityError
        When the books do not close; the result would not be believable.
    """
    config = grid if isinstance(grid, Config) else Config(grid=grid)
    if latency_ms is not None:
        config = config.replace(**{"execution.entry_ms": latency_ms, "execution.response_ms": latency_ms})
    check_against(config, market.instrument, None)
    instrument = _instrument(market, config)
    fitted = fitted_for(config, model)
    if fitted is None:
        check_fill_prob(config.grid)
    elif config.fill_model is None:
        config = config.replace(**{"fill_model.sha256": fitted.sha256})
    kept_out = _kept_out(config, instrument, fitted, position)
    if engine == "compiled" and kept_out is not None:
        raise ConfigError(
            f"{kept_out} keeps this replay out of compiled code; leave engine out, or write engine='event'"
        )
    if engine == "event" or kept_out is not None:
        result = _Run(market, config, instrument, position, _queue, fitted).to_the_end(progress)
        return dataclasses.replace(result, kept_out=kept_out)
    return _compiled(market, config, instrument, progress, _queue)


def _kept_out(
    config: Config, instrument: Instrument, fitted: Fitted | None, position: PositionSource | None
) -> str | None:
    """Return what keeps a replay out of compiled code."""
    from grinder_kit.simulation.compiled_run import keeps_out

    if position is not None:
        return "position"
    return "model" if fitted is not None else keeps_out(config, instrument)


def _compiled(
    market: Market, config: Config, instrument: Instrument, progress: Callable[[int], None] | None, queue: str | None
) -> Result:
    from grinder_kit.simulation.compiled_run import run_compiled
    from grinder_kit.simulation.retold import Retold

    options, funding = _options(config, instrument, queue), FundingTable(instrument, market.funding())
    log = run_compiled(market, config, instrument, options, funding, progress)

    def by_event() -> Result:
        return _Run(market, config, instrument, None, queue).to_the_end(None)

    told = Retold(log, config, instrument, funding, by_event)
    mark = instrument.tick * sum(log.touch) / 2
    return Result(
        config=config,
        instrument=instrument,
        market=market.describe(),
        identity=check_identity(told.tracker, told.ledger, mark),
        mark=mark,
        steps=told.run.steps,
        events=log.events,
        start_ns=log.start_ns,
        end_ns=log.end_ns,
        engine="compiled",
        _engine=told,
        _recorder=told,
    )


def _options(config: Config, instrument: Instrument, queue: str | None) -> KernelOptions:
    from grinder_kit.kernel.options import kernel_options

    options = kernel_options(config.execution, amend=Capabilities.of(instrument).amend)
    # A rule that a configuration cannot name; only sensitivity.py compares with it.
    return options if queue is None else dataclasses.replace(options, queue=queue)


def _instrument(market: Market, config: Config) -> Instrument:
    """Return the configuration's instrument where it gives all values; they must count in the market's steps."""
    named = None if config.instrument is None else config.instrument.instrument()
    if named is None:
        return market.instrument
    for name in ("tick", "lot", "contract", "contract_size"):
        if getattr(named, name) != getattr(market.instrument, name):
            raise ConfigError(
                f"instrument.{name} is {getattr(named, name)}, and the market was recorded with "
                f"{getattr(market.instrument, name)}; take [instrument] out to use the market's"
            )
    return named


class _Run:
    """One replay under way."""

    def __init__(
        self,
        market: Market,
        config: Config,
        instrument: Instrument,
        position: PositionSource | None,
        queue: str | None = None,
        fitted: Fitted | None = None,
    ) -> None:
        from grinder_kit.kernel import codes
        from grinder_kit.kernel import exchange as ex
        from grinder_kit.kernel.simulator import Simulator

        self.market, self.config, self.instrument = market, config, instrument
        can = Capabilities.of(instrument)
        self.options = _options(config, instrument, queue)
        self.fitted = fitted
        self.engine = ExecutionEngine(
            instrument, config, amend_rule=can.amend, reduce_only=can.reduce_only, position=position,
            model=None if fitted is None else fitted.model, markout=None if fitted is None else fitted.markout,
        )  # fmt: skip
        self.funding = FundingTable(instrument, market.funding())
        self.simulator = Simulator(self.options, self.funding.times)
        self.recorder = Recorder(instrument)
        self.steps = self.events = self.fills = 0
        self._ex, self._codes = ex, codes
        self._ids: dict[int, str] = {}  # kernel order number to client order id
        self._numbers: dict[str, int] = {}
        self._amending: dict[int, str] = {}  # amends under way: their orders may end before they are answered
        self._asked: deque[tuple[int, str]] = deque()  # look-ups under way: when they are answered, and of which order
        self._last_number = 0
        self._fees = Fees(instrument, config.execution)
        self._next_sample = self.start_ns = 0
        self._checked = False

    # --- time -------------------------------------------------------------------------------------------------------

    def to_the_end(self, progress: Callable[[int], None] | None) -> Result:
        from grinder_kit.kernel.feed import slices

        step_ns = self.config.grid.step_ns
        now: int | None = None
        stretch: Slice | None = None
        for stretch in slices(self.market, self.options.feed):
            self.events += len(stretch.exchange.ts)
            self.simulator.load(stretch)
            if now is None:
                if len(stretch.exchange.ts) == 0:
                    if stretch.final:
                        break
                    self._run_to(stretch.until_ns)
                    continue
                now = self.start_ns = int(stretch.exchange.ts[0])
                self._next_sample = now
            while stretch.final or now + step_ns <= stretch.until_ns:
                self._run_to(now + step_ns)
                if stretch.final and (not self.simulator.more or now + step_ns > self._last_wait(stretch)):
                    break  # a step happens only while something is still to come
                now += step_ns
                self._step(now)
            if not stretch.final:
                self._run_to(stretch.until_ns)
            if progress is not None:
                progress(len(stretch.exchange.ts))
        if now is None:
            raise DataError("the market has no events; import it again, or choose another window")
        return self._result(now)

    def _last_wait(self, stretch: Slice) -> int:
        """Return until when answers are waited for, given the market's last stretch."""
        patience = patience_ns(self.config)
        if patience is None:
            return self._ex.FOREVER
        ends = (int(times[-1]) for times in (stretch.exchange.ts, stretch.local.ts) if len(times))
        return max(ends, default=self.start_ns) + patience

    def _run_to(self, until_ns: int) -> None:
        """Let the market run to a time; every response is seen by the engine when it is delivered."""
        simulator = self.simulator
        while True:
            limit = min(until_ns, self._asked[0][0]) if self._asked else until_ns
            reached, responses = simulator.run(limit)
            for response in responses.tolist():
                self._take(self._event(response), reached)
            if len(responses) or reached < limit:
                continue
            if self._asked and self._asked[0][0] <= reached:
                self._take(self._looked_up(self._asked.popleft()[1], reached), reached)
            elif reached >= until_ns:
                return

    def _take(self, event: Event, now: int) -> None:
        commands = self.engine.step(event, now)
        if commands:
            self._execute(commands, now)

    def _step(self, now: int) -> None:
        bid, ask = self.simulator.best
        if not self._checked and bid is not None and ask is not None:
            check_against(self.config, self.instrument, self.instrument.tick * (bid + ask) / 2)
            self._checked = True
        features = self.simulator.features(now, self.instrument) if self.engine.needs_features else None
        commands = self.engine.step(
            Tick(bid_ticks=bid, ask_ticks=ask, stale=self.simulator.stale(now), features=features), now
        )
        if commands:
            self._execute(commands, now)
        if self.engine.due is not None:
            self._take(self.engine.due, now)
        self.steps += 1
        self.recorder.orders(self.engine.orders.collect())
        if bid is not None and ask is not None:
            self.recorder.mid(now, bid + ask)
            if now >= self._next_sample:
                self.recorder.equity(now, bid + ask, self.engine)
                self._next_sample = now + SECOND_NS

    # --- to the kernel and back -------------------------------------------------------------------------------------

    def _execute(self, commands: tuple[Command, ...], now: int) -> None:
        ex = self._ex
        rows = []
        for command in commands:
            if isinstance(command, Place):
                self._last_number += 1
                self._ids[self._last_number] = command.client_order_id
                self._numbers[command.client_order_id] = self._last_number
                rows.append(
                    (ex.PLACE, self._last_number, command.side.sign, command.price_ticks, command.quantity_lots,
                     self._codes.KIND_OF[command.type])
                )  # fmt: skip
                self.recorder.sent(command.side.sign, cancel=False)
            elif isinstance(command, Cancel):
                order = self.engine.orders.by_id[command.client_order_id]
                rows.append((ex.CANCEL, self._numbers[command.client_order_id], order.side, order.ticks, order.lots, 0))
                self.recorder.sent(order.side, cancel=True)
            elif isinstance(command, Amend):
                side = self.engine.orders.by_id[command.client_order_id].side
                number = self._numbers[command.client_order_id]
                rows.append((ex.AMEND, number, side, command.price_ticks, command.quantity_lots, 0))
                self._amending[number] = command.client_order_id
                self.recorder.amended(side, command.price_ticks, command.quantity_lots, now)
            else:  # asked at once, and answered after the way there and back
                trip_ns = self.options.entry_ns[0] + self.options.response_ns[0]
                self._asked.append((now + trip_ns, command.client_order_id))
        self.simulator.submit(rows, now)

    def _looked_up(self, client_order_id: str, now: int) -> LookedUp:
        """Say what has become of an order whose amend was refused.

        No answer is ever lost here and they come in order: all its fills are booked, and what has not ended rests.
        """
        order = self.engine.orders.by_id.get(client_order_id)
        if order is None:  # it has ended meanwhile
            return LookedUp(client_order_id=client_order_id, ts_ns=now)
        state = OrderState.PARTIALLY_FILLED if order.filled else OrderState.OPEN
        return LookedUp(
            client_order_id=client_order_id,
            ts_ns=now,
            state=state if client_order_id in self._numbers else OrderState.FILLED,
            filled_lots=order.filled,
            price_ticks=order.ticks,
            quantity_lots=order.lots,
        )

    def _event(self, response: list[int]) -> Event:
        ex = self._ex
        what, ts, number = response[ex.R_TYPE], response[ex.R_TS], response[ex.R_ID]
        if what == ex.FUNDING:
            lots, mark = response[ex.R_LOTS], response[ex.R_TICK]
            return FundingPaid(ts_ns=ts, amount=self.funding.amount(number, lots, mark, self.simulator.best))
        if what == ex.CANCEL_REJECTED:  # the order filled first, and was forgotten then
            return CancelRejected(client_order_id=self._ids.get(number, ""), ts_ns=ts, reason="no such order")
        if what == ex.AMEND_REJECTED:  # an order that has ended has nothing left
            reason = "NOT_AMENDED" if response[ex.R_LEAVES] else "ORDER_NOT_FOUND"
            return AmendRejected(client_order_id=self._amending.pop(number), ts_ns=ts, reason=reason)
        client_id = self._ids[number]
        if what == ex.AMENDED:
            del self._amending[number]
            ticks, lots = response[ex.R_TICK], response[ex.R_LOTS]
            self.recorder.moved(self.engine.orders.by_id[client_id], ticks, lots, ts)
            return Amended(client_order_id=client_id, price_ticks=ticks, quantity_lots=lots, ts_ns=ts)
        if what == ex.FILLED:
            return self._fill(client_id, response)
        state = self._codes.STATE_AFTER[what]
        if state.terminal:
            self._amending.pop(number, None)
            self._forget(number)
        reason = "POST_ONLY_WOULD_TAKE" if state is OrderState.REJECTED else ""
        return OrderUpdate(client_order_id=client_id, state=state, ts_ns=ts, reason=reason)

    def _fill(self, client_id: str, response: list[int]) -> OrderFilled:
        ex = self._ex
        ticks, lots, maker = response[ex.R_TICK], response[ex.R_LOTS], response[ex.R_MAKER]
        self.fills += 1
        commission = self._fees.commission(ticks, lots, maker=bool(maker))
        if response[ex.R_LEAVES] == 0:
            self._forget(response[ex.R_ID])
        self.recorder.fill(client_id, response[ex.R_TS], response[ex.R_SEEN], ticks, lots, maker, response[ex.R_CAUSE])
        return OrderFilled(
            client_order_id=client_id,
            trade_id=str(self.fills),
            price_ticks=ticks,
            quantity_lots=lots,
            commission=commission,
            commission_asset=self.instrument.settle,
            ts_ns=response[ex.R_TS],
            is_maker=bool(maker),
        )

    def _forget(self, number: int) -> None:
        self._numbers.pop(self._ids.pop(number), None)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _result(self, now: int) -> Result:
        engine, simulator = self.engine, self.simulator
        bid, ask = simulator.best
        if bid is None or ask is None:
            raise DataError("the book has no mid at the end: the position cannot be valued")
        mark = self.instrument.tick * (bid + ask) / 2
        identity = check_identity(engine.tracker, engine.ledger, mark)
        self.recorder.equity(now, bid + ask, engine)
        self.recorder.orders(engine.orders.collect())
        self.recorder.still_open(engine.orders)
        engine.refusals.close(now)
        return Result(
            config=self.config,
            instrument=self.instrument,
            market=self.market.describe(),
            identity=identity,
            mark=mark,
            steps=self.steps,
            events=self.events,
            start_ns=self.start_ns,
            end_ns=now,
            fitted=self.fitted,
            _engine=engine,
            _recorder=self.recorder,
        )
