"""One grid on a shared market, with every order and fill it made: the compiled path's answer to a replay's Result."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from grinder_kit.decision.grid_manager import level_id
from grinder_kit.execution.frames import decimals, rows_frame
from grinder_kit.execution.money import EXACT, money_scale
from grinder_kit.execution.own_orders import base36, key_of
from grinder_kit.fillprob.model_file import fitted_for
from grinder_kit.kernel.exchange import Ints
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import OrderState, Side
from grinder_kit.simulation import grid_orders as go
from grinder_kit.simulation.grid_setup import Books, Room, Setup, check, mid2_at_end, payments
from grinder_kit.simulation.recorder import CAUSES
from grinder_kit.simulation.shared_market import SharedMarket

if TYPE_CHECKING:
    from grinder_kit.fillprob.model import FillModel
    from grinder_kit.fillprob.model_file import Fitted

_STATES = (
    OrderState.PENDING, OrderState.OPEN, OrderState.PARTIALLY_FILLED, OrderState.FILLED, OrderState.CANCELLED,
    OrderState.REJECTED, OrderState.EXPIRED,
)  # fmt: skip
_LOGGED = 4096  # orders, fills and amends that there is room for at first


@dataclass(frozen=True, kw_only=True, repr=False)
class GridRun:
    """One grid on a shared market, with every order and fill: what a replay's Result says of them.

    Attributes
    ----------
    config, instrument
        What was run, on what.
    steps, events : int
        Decisions made and market events that moved the exchange.
    start_ns, end_ns : int
        Time of the first event and of the last decision, ns UTC.
    """

    config: Config
    instrument: Instrument
    steps: int
    events: int
    start_ns: int
    end_ns: int
    _orders: Ints = field(repr=False)
    _fills: Ints = field(repr=False)
    _amends: Ints = field(repr=False)
    _equity: Ints = field(repr=False)
    _paid: tuple[tuple[int, Decimal], ...] = field(repr=False)  # when it was seen, and what was received

    @cached_property
    def _ids(self) -> list[str]:
        """Client order ids, by placement."""
        generation: dict[str, int] = {}
        ids = []
        for key, side in self._orders[:, (go.LO_KEY, go.LO_SIDE)].tolist():
            name = f"{'B' if side > 0 else 'S'}{key}"
            generation[name] = generation.get(name, 0) + 1
            ids.append(f"gkr0-{name}-{base36(generation[name])}")
        return ids

    @cached_property
    def _by_end(self) -> list[int]:
        """Rows of the orders as they ended, then those that rest, by placement."""
        turn = self._orders[:, go.LO_TURN]
        order: list[int] = np.argsort(np.where(turn == 0, len(turn) + 1, turn), kind="stable").tolist()
        return order

    @cached_property
    def orders(self) -> pl.DataFrame:
        """Every order that was sent, by the time it ended: as Result.orders, without the reason."""
        quantity = pl.Decimal(38, decimals(self.instrument.lot))
        schema = {
            "client_order_id": pl.String, "level_id": pl.String, "side": pl.Enum([s.value for s in Side]),
            "price": pl.Decimal(38, decimals(self.instrument.tick)), "quantity": quantity, "filled": quantity,
            "state": pl.String, "sent_ns": pl.Int64, "ended_ns": pl.Int64,
        }  # fmt: skip
        price, size, rows = self.instrument.price, self.instrument.quantity, self._orders.tolist()
        out = []
        for number in self._by_end:
            row, name = rows[number], self._ids[number]
            out.append(
                (name, level_id(key_of(name) or ""), "BUY" if row[go.LO_SIDE] > 0 else "SELL",
                 price(row[go.LO_TICKS]), size(row[go.LO_LOTS]), size(row[go.LO_FILLED]),
                 _STATES[row[go.LO_STATE]].value, row[go.LO_SENT], row[go.LO_ENDED] or None)
            )  # fmt: skip
        return rows_frame(out, schema)

    @cached_property
    def fills(self) -> pl.DataFrame:
        """Fills in the order in which they were seen: the columns of Result.fills that are not money."""
        rows = [
            (self._ids[number - 1], ts, seen, "BUY" if self._orders[number - 1, go.LO_SIDE] > 0 else "SELL", ticks, lots,
             CAUSES[cause])
            for number, ts, seen, ticks, lots, cause in self._fills.tolist()
        ]  # fmt: skip
        schema = {
            "client_order_id": pl.String, "ts_ns": pl.Int64, "seen_ns": pl.Int64, "side": pl.Enum([s.value for s in Side]),
            "price_ticks": pl.Int64, "quantity_lots": pl.Int64, "cause": pl.Enum(CAUSES),
        }  # fmt: skip
        return rows_frame(rows, schema)

    @cached_property
    def equity(self) -> pl.DataFrame:
        """Equity about once a second, exact: ts_ns, mid, position, equity, funding, commission as in Result.equity."""
        instrument, money = self.instrument, pl.Decimal(38, money_scale(self.instrument))
        books = Books(instrument, self.config)
        rows, received, paid = [], Decimal(0), list(self._paid)
        for number, (now, mid2, position, cash, notional) in enumerate(self._equity.tolist(), start=1):
            while paid and (paid[0][0] <= now or number == len(self._equity)):
                received = EXACT.add(received, paid.pop(0)[1])
            commission = books.commission(notional)
            equity = EXACT.add(EXACT.subtract(books.worth(cash, position, mid2), commission), received)
            rows.append((now, instrument.tick * mid2 / 2, instrument.quantity(position), equity, received, commission))
        schema = {
            "ts_ns": pl.Int64, "mid": pl.Decimal(38, decimals(instrument.tick) + 1),
            "position": pl.Decimal(38, decimals(instrument.lot)), "equity": money, "funding": money, "commission": money,
        }  # fmt: skip
        return rows_frame(rows, schema)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over configuration, orders and fills: that of a replay's Result."""
        orders, fills = hashlib.sha256(), hashlib.sha256()
        rows, amends = self._orders.tolist(), self._amends.tolist()
        sent = 0
        for number in self._by_end:
            row = rows[number]
            # What ended before a step is written down after that step's amends.
            until = row[go.LO_STEP] if row[go.LO_TURN] else self.end_ns
            while sent < len(amends) and amends[sent][go.LA_NOW] <= until:
                now, side, ticks, lots = amends[sent]
                orders.update(b"amend %d %d %d %d;" % (side, ticks, lots, now))
                sent += 1
            orders.update(
                f"{self._ids[number]},{row[go.LO_SIDE]},{row[go.LO_TICKS]},{row[go.LO_LOTS]},{row[go.LO_FILLED]},"
                f"{_STATES[row[go.LO_STATE]].value},{row[go.LO_SENT]},{row[go.LO_ENDED]};".encode()
            )
        for now, side, ticks, lots in amends[sent:]:
            orders.update(b"amend %d %d %d %d;" % (side, ticks, lots, now))
        for number, ts, _, ticks, lots, _ in self._fills.tolist():
            fills.update(f"{self._ids[number - 1]},{ts},{ticks},{lots},1;".encode())
        whole = hashlib.sha256(self.config.canonical().encode())
        whole.update(orders.digest())
        whole.update(fills.digest())
        return whole.hexdigest()


def run_grid(shared: SharedMarket, grid: GridConfig | Config, *, model: FillModel | Fitted | None = None) -> GridRun:
    """Trade one grid on a shared market and keep every order.

    Parameters
    ----------
    shared : SharedMarket
    grid : GridConfig or Config
    model : FillModel or Fitted, optional
        What `grid.min_fill_prob` is held against; by default the model that the configuration names, or the specification's
        heuristic.

    Raises
    ------
    ConfigError
        For a configuration that does not fit the instrument, or that the compiled path does not cover.
    DataError
        For a market whose book has no mid at the end.
    """
    config = grid if isinstance(grid, Config) else Config(grid=grid)
    fitted = fitted_for(config, model)
    check(shared, config, fitted)
    if fitted is not None and config.fill_model is None:
        config = config.replace(**{"fill_model.sha256": fitted.sha256})
    setup, room, logged = Setup(shared, [config], fitted), Room.of([config]), _LOGGED
    while True:
        own = room.orders(shared, logged=logged)
        if setup.run(own, room.trades()) == 1:
            break
        room, logged = room.larger(int(own.head[go.FULL])), 2 * logged
    head, grids = own.head, setup.grids
    mid2_at_end(grids, 0)
    go.write_resting(own)
    return GridRun(
        config=config,
        instrument=shared.instrument,
        steps=int(head[go.STEPS]),
        events=shared.events,
        start_ns=shared.start_ns,
        end_ns=int(grids.ends[0, 0]),
        _orders=own.logs[go.ORDER_LOG, : head[go.PLACED]],
        _fills=own.logs[go.FILL_LOG, : head[go.FILLS], : go.LF_SIZE],
        _amends=own.logs[go.AMEND_LOG, : head[go.AMENDED], : go.LA_SIZE],
        _equity=grids.equity[0, : head[go.SAMPLES]],
        _paid=tuple(payments(shared, own.paid[: head[go.PAID]])),
    )
