"""What a compiled pass wrote down, told as the engine and its recorder would have told it: worked out when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING

import polars as pl

from grinder_kit.decision.grid_manager import level_id
from grinder_kit.decision.planner import CentredPlanner
from grinder_kit.decision.reason import Reason
from grinder_kit.errors import DataError
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.fees import Fees, FundingTable
from grinder_kit.execution.fill_tracker import FillTracker
from grinder_kit.execution.ledger import Ledger
from grinder_kit.execution.own_orders import key_of
from grinder_kit.execution.refusals import RefusalLog
from grinder_kit.execution.repegs import WOULD_TAKE
from grinder_kit.kernel import book as bk
from grinder_kit.model.config import Config
from grinder_kit.model.event import RunState, Tick
from grinder_kit.model.fill import Fill
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import Side
from grinder_kit.simulation import grid_orders as go
from grinder_kit.simulation import grid_rules as gr
from grinder_kit.simulation import single_pass as sp
from grinder_kit.simulation.recorder import CAUSES, Recorder
from grinder_kit.simulation.spool import Spool
from grinder_kit.simulation.sweep import GridRun

if TYPE_CHECKING:
    from grinder_kit.simulation.compiled_run import PassLog
    from grinder_kit.simulation.result import Result


class Retold:
    """A finished pass, in place of an engine and of its recorder.

    Parameters
    ----------
    log : PassLog
    config, instrument
        What was run, on what.
    funding : FundingTable
    by_event : callable
        Replays the same through the engine, for what compiled code does not write down: why levels were not quoted.
    """

    state = RunState.RUNNING  # what could have killed it keeps a configuration out of compiled code
    state_reason = ""

    def __init__(
        self, log: PassLog, config: Config, instrument: Instrument, funding: FundingTable, by_event: Callable[[], Result]
    ) -> None:  # fmt: skip
        self.log, self.config, self.instrument = log, config, instrument
        self._by_event = by_event
        self._funding = funding
        self.state_since_ns = 0
        self.run = GridRun(
            config=config, instrument=instrument, steps=int(log.head[go.STEPS]), events=log.events, start_ns=log.start_ns,
            end_ns=log.end_ns, _orders=log.orders, _fills=log.fills, _amends=log.amends, _equity=log.equity, _paid=(),
        )  # fmt: skip

    # --- as the engine ----------------------------------------------------------------------------------------------

    @property
    def tracker(self) -> FillTracker:
        """The fills, booked as the engine books them."""
        return self._books.tracker

    @property
    def ledger(self) -> Ledger:
        """The second sum of the same profit."""
        return self._books.ledger

    @cached_property
    def _books(self) -> _Books:
        return _Books(self, self._funding)

    @cached_property
    def refusals(self) -> RefusalLog:
        """Levels that were not quoted: replayed by the engine, which must come to the same digest."""
        result = self._by_event()
        ours = self.digest(self.config.canonical())
        if result.digest != ours:
            raise DataError(
                f"the market was not the same when it was read again: digest {result.digest}, before {ours}"
            )
        return result.refusal_log

    @cached_property
    def empty_reason(self) -> str | None:
        """Why the grid had no level at the last decision: by a fresh engine that is shown the same."""
        bid, ask = self.log.decided
        if bid == bk.NO_BID or ask == bk.NO_ASK:
            return Reason.NO_MARKET.text
        engine = ExecutionEngine(self.instrument, self.config)
        if isinstance(engine.planner, CentredPlanner) and self.log.looked[gr.ANCHOR2]:
            engine.planner.centre2 = int(self.log.looked[gr.ANCHOR2])
        seen = self.log.fills[self.log.fills[:, go.LF_SEEN] <= self.log.end_ns]
        sides = self.log.orders[seen[:, go.LF_NUMBER] - 1, go.LO_SIDE]
        lots = int((sides * seen[:, go.LF_LOTS]).sum())
        if lots:
            engine.position.book(1 if lots > 0 else -1, abs(lots))
        engine.step(Tick(bid_ticks=bid, ask_ticks=ask), self.log.end_ns)
        return engine.empty_reason

    # --- as the recorder --------------------------------------------------------------------------------------------

    @cached_property
    def order_rows(self) -> _Frame:
        """Every order that was sent, by the time it ended."""
        reason = pl.when(pl.col("state") == "REJECTED").then(pl.lit(WOULD_TAKE)).otherwise(pl.lit(""))
        return _Frame(self.run.orders.with_columns(reason=reason))

    @cached_property
    def amend_rows(self) -> Spool:
        """Every amend that was confirmed."""
        ids, price, size = self.run._ids, self.instrument.price, self.instrument.quantity
        rows = Recorder(self.instrument).amend_rows
        for number, ts, ticks_before, lots_before, ticks, lots in self.log.moved.tolist():
            rows.add(ids[number - 1], ts, price(ticks_before), size(lots_before), price(ticks), size(lots))
        return rows

    @property
    def fill_rows(self) -> Spool:
        """When each fill was seen, and why it happened."""
        return self._books.recorder.fill_rows

    @property
    def equity_rows(self) -> Spool:
        """The equity curve."""
        return self._books.recorder.equity_rows

    @cached_property
    def mid_rows(self) -> _Frame:
        """Mid where it changed, in half ticks."""
        mids = self.log.mids
        return _Frame(pl.DataFrame({"ts_ns": mids[:, sp.M_TS].copy(), "mid2": mids[:, sp.M_MID2].copy()}))

    @property
    def sent_count(self) -> dict[tuple[int, bool], int]:
        """Commands by side, and whether they are cancels."""
        head = self.log.head
        names = {
            (1, False): go.SENT_BUY, (-1, False): go.SENT_SELL, (1, True): go.CANCEL_BUY, (-1, True): go.CANCEL_SELL,
        }  # fmt: skip
        return {key: int(head[column]) for key, column in names.items()}

    @property
    def causes(self) -> dict[str, int]:
        """Fills by cause."""
        return dict(zip(CAUSES, self.log.head[go.BY_CAUSE : go.BY_CAUSE + len(CAUSES)].tolist(), strict=True))

    @property
    def rejected(self) -> int:
        """Orders that the venue refused."""
        return int(self.log.head[go.BY_STATE + go.REJECTED])

    @property
    def amends(self) -> int:
        """Amends that were sent."""
        return int(self.log.head[go.AMENDED])

    def digest(self, configuration: str) -> str:
        """Return SHA-256 over configuration, orders and fills."""
        assert configuration == self.config.canonical()
        return self.run.digest


class _Frame:
    """A frame where a recorder has a spool."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def frame(self) -> pl.DataFrame:
        """Return the frame."""
        return self._frame


class _Books:
    """Fills and funding booked in the order in which they were seen, and the equity curve that they make."""

    def __init__(self, told: Retold, funding: FundingTable) -> None:
        log, instrument, config = told.log, told.instrument, told.config
        self.tracker, self.ledger = FillTracker(instrument), Ledger(instrument)
        self.recorder = Recorder(instrument)
        self._fees = Fees(instrument, config.execution)
        fills, paid = iter(enumerate(log.fills.tolist(), start=1)), iter(log.paid.tolist())
        fill, payment = next(fills, None), next(paid, None)
        last = len(log.equity)
        view = SimpleNamespace(tracker=self.tracker, ledger=self.ledger)
        for point, (now, mid2, *_) in enumerate(log.equity.tolist(), start=1):
            while fill is not None and (fill[1][go.LF_SEEN] <= now or point == last):
                self._book(told, *fill)
                fill = next(fills, None)
            while payment is not None and (payment[go.LP_SEEN] <= now or point == last):
                number = payment[go.LP_INDEX]
                bid, ask = log.paid_touch[number].tolist()
                best = None if bid == bk.NO_BID else bid, None if ask == bk.NO_ASK else ask
                amount = funding.amount(number, payment[go.LP_LOTS], int(funding.times[1, number]), best)
                self.tracker.record_funding(payment[go.LP_TS], amount)
                self.ledger.funding(amount)
                payment = next(paid, None)
            self.recorder.equity(now, mid2, view)  # type: ignore[arg-type]

    def _book(self, told: Retold, number: int, row: list[int]) -> None:
        order, ts, seen, ticks, lots, cause = row
        side, name = int(told.log.orders[order - 1, go.LO_SIDE]), told.run._ids[order - 1]
        fill = Fill(
            fill_id=str(number),
            order_id=name,
            symbol=told.instrument.symbol,
            side=Side.BUY if side > 0 else Side.SELL,
            price=told.instrument.price(ticks),
            quantity=told.instrument.quantity(lots),
            commission=self._fees.commission(ticks, lots, maker=True),
            commission_asset=told.instrument.settle,
            ts_ns=ts,
            is_maker=True,
            level_id=level_id(key_of(name) or ""),
            policy=told.config.grid.planner,
        )
        self.tracker.record_fill(fill)
        self.ledger.apply(fill)
        self.recorder.fill_rows.add(seen, CAUSES[cause])
