"""A sweep: many grids over one market, in compiled code on every core, each exactly what a replay would have made of it.

The market is read once (shared_market.py), a grid is one compiled pass (grid_pass.py), and threads share the market without the GIL.
Memory does not depend on the number of configurations: finished rows can be streamed to Parquet.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from grinder_kit.decision.constraints import Constraints
from grinder_kit.decision.grid_manager import level_id
from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.fees import Fees
from grinder_kit.execution.frames import decimals, rows_frame
from grinder_kit.execution.money import EXACT, money_scale
from grinder_kit.execution.own_orders import base36
from grinder_kit.execution.port import AmendRule, Capabilities
from grinder_kit.kernel.exchange import Ints
from grinder_kit.kernel.options import kernel_options
from grinder_kit.kernel.simulator import QUEUE_MODELS
from grinder_kit.model.config import BookSource, Config, CrossBy, GridConfig, Limits, Planner, UnknownLevel
from grinder_kit.model.config_check import check_against
from grinder_kit.model.grid import GridMode, ResetAction, Spacing
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import OrderState, Side
from grinder_kit.simulation import grid_exchange as gx
from grinder_kit.simulation import grid_orders as go
from grinder_kit.simulation import grid_pass as gp
from grinder_kit.simulation import grid_rules as gr
from grinder_kit.simulation.recorder import CAUSES
from grinder_kit.simulation.shared_market import SharedMarket

if TYPE_CHECKING:
    from grinder_kit.market.source import Market

BATCH = 16  # grids that one call of compiled code runs
MAX_AMENDS = 10_000  # of one order, as the engine allows
_STATES = (
    OrderState.PENDING, OrderState.OPEN, OrderState.PARTIALLY_FILLED, OrderState.FILLED, OrderState.CANCELLED,
    OrderState.REJECTED, OrderState.EXPIRED,
)  # fmt: skip
_RESETS = {ResetAction.NONE: gr.NO_RESET, ResetAction.SOFT: gr.SOFT, ResetAction.HARD: gr.HARD}
_NO_MAXIMUM = 1 << 60
_MOST_ORDERS = 1 << 18  # of one grid at once


def covers(config: Config, instrument: Instrument) -> str | None:
    """Return the first key of a configuration that the compiled path does not cover on an instrument; None: it covers all of it."""
    grid, execution = config.grid, config.execution
    spot = Capabilities.of(instrument).amend is AmendRule.REDUCE
    trip_ns = max(execution.entry_table_ns) + max(execution.response_table_ns)
    # Such orders can come and go for ever after the market's end: something is always under way.
    endless = config.router.order_ttl_s is not None and trip_ns > grid.step_ns
    uncovered = (
        ("grid.min_fill_prob", grid.min_fill_prob > 0),
        ("router.max_repegs", config.router.max_repegs > 0),
        ("router.amend", config.router.amend and spot and len(set(grid.sizes)) > 1),
        ("router.order_ttl_s", endless),
        ("execution.entry_table_ms", len(execution.entry_table_ns) > 1),
        ("execution.response_table_ms", len(execution.response_table_ns) > 1),
        ("execution.book", execution.book is BookSource.FUSED),
        ("execution.unknown_level", execution.unknown_level is UnknownLevel.NEIGHBOURS),
        *((f"limits.{key}", getattr(config.limits, key) is not None) for key in Limits.model_fields),
        ("instrument.contract", instrument.inverse),
        *((f"instrument.{key}", _too_fine(getattr(instrument, key))) for key in ("band_down", "band_up")),
    )
    return next((key for key, outside in uncovered if outside), None)


def _too_fine(ratio: Decimal | None) -> bool:
    """Whether products with a price band could pass 64 bits."""
    return ratio is not None and max(ratio.as_integer_ratio()) > 1_000_000


# --- one grid ------------------------------------------------------------------------------------------------------------


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
                (name, level_id(name.split("-", 1)[1].rpartition("-")[0]), "BUY" if row[go.LO_SIDE] > 0 else "SELL",
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
        books = _Books(instrument, self.config)
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


class _Books:
    """Whole ticks and lots as money, exactly; spot and linear."""

    def __init__(self, instrument: Instrument, config: Config) -> None:
        self._value = EXACT.multiply(EXACT.multiply(instrument.tick, instrument.lot), instrument.contract_size)
        self._fees = Fees(instrument, config.execution)

    def worth(self, cash: int, position: int, mid2: int) -> Decimal:
        """Return cash (tick-lots) and a position at mid, before fees."""
        return EXACT.multiply(self._value, Decimal(2 * cash + position * mid2) / 2)

    def commission(self, notional: int) -> Decimal:
        """Return what fills of so many tick-lots cost: fees are a share of the sum as of each."""
        return self._fees.commission(notional, 1, maker=True)


def run_grid(shared: SharedMarket, grid: GridConfig | Config) -> GridRun:
    """Trade one grid on a shared market and keep every order.

    Raises
    ------
    ConfigError
        For a configuration that does not fit the instrument, or that the compiled path does not cover.
    DataError
        For a market whose book has no mid at the end.
    """
    config = grid if isinstance(grid, Config) else Config(grid=grid)
    _check(shared, config)
    room, logged = _Room.of([config]), 4096
    while True:
        grids = _grids(shared, [config])
        own = room.orders(shared, logged=logged)
        clock = shared.clock(config.grid.step_ns)
        if gp.run_grids(shared.index, clock, shared.last_ns, own, gp.new_looks(), grids, 0) == 1:
            break
        room, logged = room.larger(), 2 * logged
    head = own.head
    _mid2(grids, 0)
    for at in range(head[go.LIVE]):
        go.write(own, own.slots[go.LIVING, at], 0, 0)
        own.logs[go.ORDER_LOG, own.rows[own.slots[go.LIVING, at], go.NUMBER] - 1, go.LO_TURN] = 0
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
        _paid=tuple(_paid(shared, own.paid[: head[go.PAID]])),
    )


def _paid(shared: SharedMarket, payments: Ints) -> Iterator[tuple[int, Decimal]]:
    for number, _, seen, lots in payments.tolist():
        mark = int(shared.table.times[1, number])
        yield seen, shared.table.amount(number, lots, mark, shared.touch(seen))


def compiled_pass(shared: SharedMarket, configs: Sequence[Config]) -> Callable[[], gp.Grids]:
    """Return the compiled pass of some grids of one step, prepared: calling it runs them and nothing else."""
    grids, own = _grids(shared, configs), _Room.of(configs).orders(shared, logged=0)
    clock, looks = shared.clock(configs[0].grid.step_ns), gp.new_looks()

    def run() -> gp.Grids:
        done = gp.run_grids(shared.index, clock, shared.last_ns, own, looks, grids, 0)
        assert done == len(configs), "the grids need more room"
        return grids

    return run


# --- many grids ----------------------------------------------------------------------------------------------------------


def sweep(
    market: Market | SharedMarket,
    grids: Iterable[GridConfig | Config],
    *,
    threads: int | None = None,
    to: Path | None = None,
) -> pl.DataFrame:
    """Trade many grids on one market.

    Parameters
    ----------
    market : Market or SharedMarket
        Read once; a shared market can serve several sweeps.
    grids : iterable of GridConfig or Config
        Taken as they are needed, so that it may be a generator. All must have the same rules of time and crossing
        (`clock`, `ties`, `trade_advance_ms`, `cross_by`): those decide how the market is read.
    threads : int, optional
        By default one for each core.
    to : Path, optional
        A folder: rows are written there as Parquet parts and read back, so that memory does not grow with their number.

    Returns
    -------
    DataFrame
        One row a grid, in their order. Money is exact, in the settlement asset: grid, steps, trades, volume and position (base or
        contracts), equity (net profit at the last mid), fee, funding, submitted_buy, submitted_sell, cancelled_buy,
        cancelled_sell, amended, rejected, queue, through, quote (fills by cause); and floats: max_drawdown, inventory_p95.

    Raises
    ------
    ConfigError
        For a grid that does not fit the instrument or that the compiled path does not cover; it says which.
    DataError
        For a market whose book has no mid at the end.
    """
    waiting = iter(enumerate(grid if isinstance(grid, Config) else Config(grid=grid) for grid in grids))
    first = next(waiting, None)
    if first is None:
        raise ConfigError("there is no grid to run; give at least one configuration")
    shared = market if isinstance(market, SharedMarket) else share(market, first[1])
    workers = threads or os.cpu_count() or 1
    parts: list[pl.DataFrame | Path] = []
    under_way: list[Future[list[tuple[Any, ...]]]] = []

    def take() -> None:
        rows = rows_frame(under_way.pop(0).result(), _schema(shared.instrument))
        if to is None:
            parts.append(rows)
            return
        part = to / f"{len(parts):06d}.parquet"
        rows.write_parquet(part)
        parts.append(part)

    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        batch = [first, *islice(waiting, BATCH - 1)]
        while batch:
            for number, config in batch:
                _check(shared, config, number)
            under_way.append(pool.submit(_run_batch, shared, batch))
            if len(under_way) > 2 * workers:
                take()
            batch = list(islice(waiting, BATCH))
        while under_way:
            take()
    return pl.concat([pl.read_parquet(part) if isinstance(part, Path) else part for part in parts])


def share(market: Market, grid: GridConfig | Config) -> SharedMarket:
    """Read a market for grids that have the rules of time and crossing of this one."""
    execution = (grid if isinstance(grid, Config) else Config(grid=grid)).execution
    return SharedMarket(market, kernel_options(execution).feed, by_quote=execution.cross_by is CrossBy.QUOTE)


def _check(shared: SharedMarket, config: Config, number: int | None = None) -> None:
    where = "" if number is None else f"grid {number}: "
    outside = covers(config, shared.instrument)
    if outside is not None:
        raise ConfigError(
            f"{where}the compiled path does not cover {outside} as it is set; replay this configuration, or leave the key out"
        )
    options = kernel_options(config.execution)
    if (options.feed, options.by_quote) != (shared.feed, shared.by_quote):
        raise ConfigError(
            f"{where}the market was read for other rules of time and crossing (clock, ties, trade_advance_ms, cross_by); "
            "share it again for this configuration"
        )
    named = None if config.instrument is None else config.instrument.instrument()
    if named is not None and named != shared.instrument:
        raise ConfigError(f"{where}[instrument] gives values of its own; take them out to use the market's")
    check_against(config, shared.instrument, shared.first_mid(config.grid.step_ns))


def _run_batch(shared: SharedMarket, batch: Sequence[tuple[int, Config]]) -> list[tuple[Any, ...]]:
    """Run some grids one after another in this thread."""
    rows: list[tuple[Any, ...]] = []
    by_step: dict[int, list[tuple[int, Config]]] = {}
    for number, config in batch:
        by_step.setdefault(config.grid.step_ns, []).append((number, config))
    for step_ns, some in by_step.items():
        clock = shared.clock(step_ns)
        configs = [config for _, config in some]
        grids, room, done = _grids(shared, configs), _Room.of(configs), 0
        while True:
            own = room.orders(shared, logged=0)
            done = gp.run_grids(shared.index, clock, shared.last_ns, own, gp.new_looks(), grids, done)
            if done == len(configs):
                break
            room = room.larger()
        rows += [_row(shared, number, config, grids, at) for at, (number, config) in enumerate(some)]
    return sorted(rows)


def _schema(instrument: Instrument) -> dict[str, Any]:
    quantity, money = pl.Decimal(38, decimals(instrument.lot)), pl.Decimal(38, money_scale(instrument))
    whole = ("submitted_buy", "submitted_sell", "cancelled_buy", "cancelled_sell", "amended", "rejected", *CAUSES[:3])
    return {
        "grid": pl.Int64, "steps": pl.Int64, "trades": pl.Int64, "volume": quantity, "position": quantity, "equity": money,
        "fee": money, "funding": money, **dict.fromkeys(whole, pl.Int64), "max_drawdown": pl.Float64,
        "inventory_p95": pl.Float64,
    }  # fmt: skip


def _row(shared: SharedMarket, number: int, config: Config, grids: gp.Grids, at: int) -> tuple[Any, ...]:
    instrument, head = shared.instrument, grids.out[at].tolist()
    books, mid2 = _Books(instrument, config), _mid2(grids, at)
    fee = books.commission(head[go.NOTIONAL])
    paid = list(_paid(shared, grids.paid[at, : head[go.PAID]]))
    received = sum((amount for _, amount in paid), Decimal(0))
    net = EXACT.add(EXACT.subtract(books.worth(head[go.CASH], head[go.POSITION], mid2), fee), received)
    curve = grids.equity[at, : head[go.SAMPLES]]
    held = curve[:, go.LE_POSITION]
    value = float(instrument.tick * instrument.lot * instrument.contract_size)
    rate = float(config.execution.maker_fee_bps) / 10_000
    equity = value * ((2 * curve[:, go.LE_CASH] + held * curve[:, go.LE_MID2]) / 2 - rate * curve[:, go.LE_NOTIONAL])
    for seen, amount in paid:
        equity += np.where(curve[:, go.LE_NOW] >= seen, float(amount), 0.0)
    inventory = (pl.Series(np.abs(held)).quantile(0.95) or 0.0) * float(instrument.lot)
    return (
        number, head[go.STEPS], head[go.FILLS], instrument.quantity(head[go.VOLUME]), instrument.quantity(head[go.POSITION]),
        net, fee, received, head[go.SENT_BUY], head[go.SENT_SELL], head[go.CANCEL_BUY], head[go.CANCEL_SELL],
        head[go.AMENDED], head[go.BY_STATE + go.REJECTED], *head[go.BY_CAUSE : go.BY_CAUSE + 3],
        float((np.maximum.accumulate(equity) - equity).max()), float(inventory),
    )  # fmt: skip


def _mid2(grids: gp.Grids, at: int) -> int:
    """Return mid at the end in half ticks."""
    bid, ask = int(grids.ends[at, 1]), int(grids.ends[at, 2])
    if bid < 0 or ask >= _NO_MAXIMUM:
        raise DataError("the book has no mid at the end: the position cannot be valued")
    return bid + ask


# --- from a configuration to numbers --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """How much one grid may need at once."""

    capacity: int
    levels: int

    @classmethod
    def of(cls, configs: Sequence[Config]) -> _Room:
        levels = max(max(config.grid.n_up, config.grid.n_down) for config in configs)
        trips = max(
            (c.execution.entry_table_ns[0] + c.execution.response_table_ns[0]) // c.grid.step_ns for c in configs
        )
        wanted = 2 * levels * (3 + min(trips, 8))
        return cls(capacity=1 << max(6, wanted.bit_length()), levels=levels)

    def larger(self) -> _Room:
        if self.capacity >= _MOST_ORDERS:
            raise DataError(
                f"a grid has more than {_MOST_ORDERS:,} orders under way at once; write a longer grid.step_ms"
            )
        return _Room(capacity=4 * self.capacity, levels=self.levels)

    def orders(self, shared: SharedMarket, *, logged: int) -> go.Orders:
        payments = shared.index.funding.shape[1]
        return go.new_orders(self.capacity, self.levels, logged=logged, paid=payments)


def _grids(shared: SharedMarket, configs: Sequence[Config]) -> gp.Grids:
    steps = len(shared.clock(configs[0].grid.step_ns).bid)
    step_ns = configs[0].grid.step_ns
    lag = max(c.execution.entry_table_ns[0] + c.execution.response_table_ns[0] for c in configs)
    samples = (steps * step_ns + 4 * lag) // max(gp.SAMPLE_NS, step_ns) + 8
    grids = gp.new_grids(len(configs), max(len(c.grid.sizes) for c in configs), samples, shared.index.funding.shape[1])
    for at, config in enumerate(configs):
        grids.power[at] = config.execution.queue_n
        sizes = _sizes(config.grid, shared.instrument)
        grids.sizes[at, : len(sizes)] = sizes
        grids.p[at] = _parameters(config, shared.instrument)
    return grids


def _sizes(grid: GridConfig, instrument: Instrument) -> list[int]:
    lots = [instrument.lots(size, "size") for size in grid.sizes]
    return [int(size * grid.throttle_factor) for size in lots] if grid.mode is GridMode.THROTTLE else lots


def _parameters(config: Config, instrument: Instrument) -> list[int]:
    grid, router = config.grid, config.router
    options, limits = kernel_options(config.execution), Constraints.of(instrument)
    amend = Capabilities.of(instrument).amend if router.amend else AmendRule.NONE
    rooms = [room for room in (grid.max_orders, limits.max_orders) if room is not None]
    down, up = limits.band_down or (0, 0), limits.band_up or (0, 0)
    active = grid.mode.active
    values = {
        gx.P_LATTICE: grid.planner is Planner.LATTICE,
        gx.P_SPACING: grid.spacing_ticks or grid.spacing_tenths or 0,
        gx.P_GEOMETRIC: grid.ladder is Spacing.GEOMETRIC,
        gx.P_HALF_SPREAD: grid.half_spread or 0,
        gx.P_DOWN: grid.n_down if active else 0,
        gx.P_UP: grid.n_up if active else 0,
        gx.P_BUYS: grid.mode is not GridMode.UNI_SHORT,
        gx.P_SELLS: grid.mode is not GridMode.UNI_LONG,
        gx.P_LIMIT: -1 if grid.position_limit is None else instrument.lots(grid.position_limit, "position_limit"),
        gx.P_SKEW: grid.skew_tenths,
        gx.P_RECENTRE: grid.recentre_tenths or 0,
        gx.P_RESET: _RESETS[grid.reset_action],
        gx.P_ROOM: min(rooms, default=1 << 30),
        gx.P_TOLERANCE: router.price_tolerance_ticks,
        gx.P_THRESHOLD: router.amend_threshold_tenths,
        gx.P_AMENDS: amend is not AmendRule.NONE,
        gx.P_INCREASE: amend is AmendRule.MODIFY,
        gx.P_MAX_AMENDS: MAX_AMENDS,
        gx.P_TTL: -1 if router.order_ttl_s is None else round(router.order_ttl_s * 1_000_000_000),
        gx.P_SIZES: len(grid.sizes),
        gx.P_ENTRY: options.entry_ns[0],
        gx.P_RESPONSE: options.response_ns[0],
        gx.P_QUEUE: QUEUE_MODELS[options.queue],
        gx.P_PARTIAL: options.partial_fills,
        gx.P_SHARE: options.share_volume,
        gx.P_WHOLE: options.whole_size,
        gx.P_MIN_LOTS: limits.min_lots,
        gx.P_MAX_LOTS: _NO_MAXIMUM if limits.max_lots is None else limits.max_lots,
        gx.P_MIN_TICKS: limits.min_ticks,
        gx.P_MAX_TICKS: _NO_MAXIMUM if limits.max_ticks is None else limits.max_ticks,
        gx.P_MIN_VALUE: limits.min_value,
        gx.P_VALUE_IN_LOTS: limits.value_in_lots,
        gx.P_BAND_DOWN: down[0],
        gx.P_BAND_DOWN_OF: down[1],
        gx.P_BAND_UP: up[0],
        gx.P_BAND_UP_OF: up[1],
    }
    return [int(values[column]) for column in range(gx.P_SIZE)]
