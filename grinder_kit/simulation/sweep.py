"""A sweep: many grids over one market, in compiled code on every core, each exactly what a replay would have made of it.

The market is read once (shared_market.py), a grid is one compiled pass (grid_pass.py), and threads share the market without the GIL.
Memory does not depend on the number of configurations: finished rows can be streamed to Parquet.
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from grinder_kit.errors import ConfigError
from grinder_kit.execution.frames import decimals, rows_frame
from grinder_kit.execution.money import EXACT, money_scale
from grinder_kit.fillprob.model_file import fitted_for
from grinder_kit.kernel.exchange import Floats, Ints
from grinder_kit.kernel.options import kernel_options
from grinder_kit.model.config import Config, CrossBy, FillModelConfig, GridConfig
from grinder_kit.model.instrument import Instrument
from grinder_kit.simulation import grid_orders as go
from grinder_kit.simulation import grid_pass as gp
from grinder_kit.simulation.grid_run import GridRun, run_grid
from grinder_kit.simulation.grid_setup import Books, Room, Setup, check, covers, mid2_at_end, payments, samples
from grinder_kit.simulation.recorder import CAUSES
from grinder_kit.simulation.shared_market import SharedMarket
from grinder_kit.simulation.verdict import BLOCK_S, block_profits

if TYPE_CHECKING:
    from grinder_kit.fillprob.model import FillModel
    from grinder_kit.fillprob.model_file import Fitted
    from grinder_kit.market.source import Market

__all__ = ["GridRun", "compiled_pass", "covers", "run_grid", "share", "sweep"]

BATCH = 8  # grids that one call of compiled code runs: few enough that threads end together
_PART = 1024  # rows that are put away together: a small frame costs as much as a large one
_CURVES = 16 << 20  # bytes of equity curves that are held for a batch


def sweep(
    market: Market | SharedMarket,
    grids: Iterable[GridConfig | Config],
    *,
    model: FillModel | Fitted | None = None,
    threads: int | None = None,
    to: Path | None = None,
    block_s: float = BLOCK_S,
) -> pl.DataFrame:
    """Trade many grids on one market.

    Parameters
    ----------
    market : Market or SharedMarket
        Read once; a shared market can serve several sweeps.
    grids : iterable of GridConfig or Config
        Taken as they are needed, so that it may be a generator. All must have the same rules of time and crossing
        (`clock`, `ties`, `trade_advance_ms`, `cross_by`): those decide how the market is read.
    model : FillModel or Fitted, optional
        What `grid.min_fill_prob` is held against; by default the model that a configuration names, or the specification's heuristic.
    threads : int, optional
        By default one for each core.
    to : Path, optional
        A folder: rows are written there as Parquet parts and read back, so that memory does not grow with their number.
    block_s : float
        Length of the blocks of market time in `blocks`, s; above 0.

    Returns
    -------
    DataFrame
        One row a grid, in their order. Money is exact, in the settlement asset: grid, steps, trades, volume and position (base or
        contracts), equity (net profit at the last mid), fee, funding, submitted_buy, submitted_sell, cancelled_buy,
        cancelled_sell, amended, rejected, queue, through, quote (fills by cause), round_trips (first in first out), grid_profit
        and trend_profit (of fills paired by level, and of what they leave open; before fees and funding). Floats are
        max_drawdown, inventory_p95 and the list `blocks`: the net profit of each full block, as verdict.py cuts the curve.

    Raises
    ------
    ConfigError
        For a grid that does not fit the instrument or that the compiled path does not cover; it says which. For a `block_s` that
        is not above 0.
    DataError
        For a market whose book has no mid at the end.
    """
    if not 0 < block_s < math.inf:
        raise ConfigError(f"block_s is {block_s}; write seconds above 0")
    waiting = iter(enumerate(grid if isinstance(grid, Config) else Config(grid=grid) for grid in grids))
    first = next(waiting, None)
    if first is None:
        raise ConfigError("there is no grid to run; give at least one configuration")
    shared = market if isinstance(market, SharedMarket) else share(market, first[1])
    runner = _Runner(shared, model, block_s)
    workers = threads or os.cpu_count() or 1
    parts: list[pl.DataFrame | Path] = []
    rows: list[tuple[Any, ...]] = []

    def put_away() -> None:
        frame = rows_frame(rows, runner.schema)
        rows.clear()
        if to is not None:
            part = to / f"{len(parts):06d}.parquet"
            frame.write_parquet(part)
        parts.append(frame if to is None else part)

    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
    size = runner.batch_size(first[1])
    for done in _run_batches(runner, chain([first], waiting), size, workers):
        rows += runner.rows(done)
        if len(rows) >= _PART:
            put_away()
    if rows:
        put_away()
    return pl.concat([pl.read_parquet(part) if isinstance(part, Path) else part for part in parts])


def _run_batches(
    runner: _Runner, grids: Iterator[tuple[int, Config]], size: int, workers: int
) -> Iterator[Sequence[_Alike]]:
    """Yield batches in their order once they have been run.

    This thread prepares them and others run them: those hold the interpreter only where a compiled call begins and ends. One worker
    needs no thread.
    """
    batches = iter(lambda: list(islice(grids, size)), [])
    if workers == 1:
        for batch in batches:
            yield runner.run(runner.prepared(batch))
        return
    under_way: deque[Future[Sequence[_Alike]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for batch in batches:
            under_way.append(pool.submit(runner.run, runner.prepared(batch)))
            if len(under_way) > 2 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def share(market: Market, grid: GridConfig | Config) -> SharedMarket:
    """Read a market for grids that have the rules of time and crossing of this one."""
    execution = (grid if isinstance(grid, Config) else Config(grid=grid)).execution
    return SharedMarket(market, kernel_options(execution).feed, by_quote=execution.cross_by is CrossBy.QUOTE)


def compiled_pass(
    shared: SharedMarket, configs: Sequence[Config], model: FillModel | Fitted | None = None
) -> Callable[[], gp.Grids]:
    """Return the compiled pass of some grids of one step, prepared: calling it runs them and nothing else."""
    setup, room = Setup(shared, configs, fitted_for(configs[0], model)), Room.of(configs)
    own, trades = room.orders(shared, logged=0), room.trades()

    def run() -> gp.Grids:
        setup.again()
        assert setup.run(own, trades) == len(configs), "the grids need more room"
        return setup.grids

    return run


# --- batches -------------------------------------------------------------------------------------------------------------


class _Alike(NamedTuple):
    """Grids of a batch that one call of compiled code runs, with their numbers."""

    grids: Sequence[tuple[int, Config]]
    setup: Setup
    room: Room


class _Runner:
    """Runs batches of grids; each thread keeps the room in which they trade."""

    def __init__(self, shared: SharedMarket, model: FillModel | Fitted | None, block_s: float) -> None:
        self._shared, self._model, self._block_s = shared, model, block_s
        self._fitted: dict[FillModelConfig | None, Fitted | None] = {}
        self._kept = threading.local()
        self.schema = _schema(shared.instrument)

    def _judged_by(self, config: Config) -> Fitted | None:
        """Return what a configuration's levels are judged by; a model's file is read once."""
        if config.fill_model not in self._fitted:
            self._fitted[config.fill_model] = fitted_for(config, self._model)
        return self._fitted[config.fill_model]

    def batch_size(self, config: Config) -> int:
        """Return how many grids are run at a time."""
        curve = samples(self._shared, [config]) * go.LE_SIZE * 8
        return max(1, min(BATCH, _CURVES // curve))

    def prepared(self, batch: Sequence[tuple[int, Config]]) -> Sequence[_Alike]:
        """Check some grids, and make them ready to run."""
        alike: dict[tuple[int, FillModelConfig | None], list[tuple[int, Config]]] = {}
        for number, config in batch:
            check(self._shared, config, self._judged_by(config), number)
            alike.setdefault((config.grid.step_ns, config.fill_model), []).append((number, config))
        out = []
        for some in alike.values():
            configs = [config for _, config in some]
            out.append(_Alike(some, Setup(self._shared, configs, self._judged_by(configs[0])), Room.of(configs)))
        return out

    def run(self, batch: Sequence[_Alike]) -> Sequence[_Alike]:
        """Run grids one after another in this thread."""
        for some in batch:
            own, trades = self._room(some.room)
            while some.setup.run(own, trades) < len(some.grids):
                own, trades = self._room(self._kept.room.larger(int(own.head[go.FULL])))
        return batch

    def rows(self, batch: Sequence[_Alike]) -> list[tuple[Any, ...]]:
        """Return the row of each grid that was run, in their order."""
        rows = [row for some in batch for row in _rows(self._shared, some.grids, some.setup.grids, self._block_s)]
        return sorted(rows, key=itemgetter(0))

    def _room(self, room: Room) -> tuple[go.Orders, Ints]:
        """Return this thread's room, made larger where it is smaller than `room`."""
        kept = self._kept
        if not hasattr(kept, "room") or not kept.room.holds(room):
            kept.room = room.joined(kept.room) if hasattr(kept, "room") else room
            kept.own, kept.trades = kept.room.orders(self._shared, logged=0), kept.room.trades()
        return kept.own, kept.trades


def _schema(instrument: Instrument) -> dict[str, Any]:
    quantity, money = pl.Decimal(38, decimals(instrument.lot)), pl.Decimal(38, money_scale(instrument))
    whole = ("submitted_buy", "submitted_sell", "cancelled_buy", "cancelled_sell", "amended", "rejected", *CAUSES[:3],
             "round_trips")  # fmt: skip
    return {
        "grid": pl.Int64, "steps": pl.Int64, "trades": pl.Int64, "volume": quantity, "position": quantity, "equity": money,
        "fee": money, "funding": money, **dict.fromkeys(whole, pl.Int64), "grid_profit": money, "trend_profit": money,
        "max_drawdown": pl.Float64, "inventory_p95": pl.Float64, "blocks": pl.List(pl.Float64),
    }  # fmt: skip


def _rows(
    shared: SharedMarket, batch: Sequence[tuple[int, Config]], grids: gp.Grids, block_s: float
) -> Iterator[tuple[Any, ...]]:
    """Yield the row of each grid of a batch."""
    instrument = shared.instrument
    received = [
        tuple(payments(shared, grids.paid[at, :paid])) for at, paid in enumerate(grids.out[:, go.PAID].tolist())
    ]
    curves = _curves(instrument, [config for _, config in batch], grids, received, block_s)
    for at, ((number, config), head) in enumerate(zip(batch, grids.out.tolist(), strict=True)):
        books, mid2 = Books(instrument, config), mid2_at_end(grids, at)
        fee, funding = books.commission(head[go.NOTIONAL]), sum((amount for _, amount in received[at]), Decimal(0))
        gross, paired = books.worth(head[go.CASH], head[go.POSITION], mid2), books.worth(head[go.LEVEL_PROFIT], 0, 0)
        yield (
            number, head[go.STEPS], head[go.FILLS], instrument.quantity(head[go.VOLUME]),
            instrument.quantity(head[go.POSITION]), EXACT.add(EXACT.subtract(gross, fee), funding), fee, funding,
            head[go.SENT_BUY], head[go.SENT_SELL], head[go.CANCEL_BUY], head[go.CANCEL_SELL], head[go.AMENDED],
            head[go.BY_STATE + go.REJECTED], *head[go.BY_CAUSE : go.BY_CAUSE + 3], head[go.ROUND_TRIPS], paired,
            EXACT.subtract(gross, paired), *curves[at],
        )  # fmt: skip


def _curves(
    instrument: Instrument,
    configs: Sequence[Config],
    grids: gp.Grids,
    received: Sequence[Sequence[tuple[int, Decimal]]],
    block_s: float,
) -> list[tuple[float, float, list[float]]]:
    """Return largest drawdown, 95 % of the inventory and profit by block of each grid; curves of one length are read together."""
    value = float(instrument.tick * instrument.lot * instrument.contract_size)
    rates = np.array([float(config.execution.maker_fee_bps) / 10_000 for config in configs])
    out: dict[int, tuple[float, float, list[float]]] = {}
    alike: dict[tuple[int, int], list[int]] = {}
    for at, count in enumerate(grids.out[:, go.SAMPLES].tolist()):
        if count:
            alike.setdefault((count, int(grids.equity[at, count - 1, go.LE_NOW])), []).append(at)
    for (count, _), rows in alike.items():
        curve = grids.equity[rows, :count]
        ts, held = curve[0, :, go.LE_NOW], np.abs(curve[..., go.LE_POSITION])
        equity = _equity(curve, value, rates[rows])
        for row, at in enumerate(rows):
            for seen, amount in received[at]:
                equity[row] += np.where(ts >= seen, float(amount), 0.0)
        drawdown = (np.maximum.accumulate(equity, axis=1) - equity).max(axis=1)
        nearest = int((count - 1) * 0.95 + 0.5)  # as Polars' quantile
        inventory = np.partition(held, nearest, axis=1)[:, nearest] * float(instrument.lot)
        blocks = block_profits(ts, equity, block_s)
        for row, at in enumerate(rows):
            out[at] = float(drawdown[row]), float(inventory[row]), blocks[row].tolist()
    return [out.get(at, (0.0, 0.0, [])) for at in range(len(configs))]


def _equity(curve: Ints, value: float, rates: Floats) -> Floats:
    cash, held, mid2 = curve[..., go.LE_CASH], curve[..., go.LE_POSITION], curve[..., go.LE_MID2]
    equity: Floats = value * ((2 * cash + held * mid2) / 2 - rates[:, None] * curve[..., go.LE_NOTIONAL])
    return equity
