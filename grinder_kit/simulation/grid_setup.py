"""From configurations to the numbers that compiled grids read: what is covered, parameters, room, and what fills come to in money."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from grinder_kit.decision.constraints import Constraints
from grinder_kit.decision.grid_manager import check_fill_prob, check_horizon
from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.fees import Fees
from grinder_kit.execution.money import EXACT
from grinder_kit.execution.port import AmendRule, Capabilities
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.model_file import fitted_for
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.exchange import Floats, Ints
from grinder_kit.kernel.options import kernel_options
from grinder_kit.kernel.simulator import QUEUE_MODELS
from grinder_kit.model.config import BookSource, Config, GridConfig, Limits, Planner, UnknownLevel
from grinder_kit.model.config_check import check_against
from grinder_kit.model.grid import GridMode, ResetAction, Spacing
from grinder_kit.model.instrument import Instrument
from grinder_kit.simulation import grid_exchange as gx
from grinder_kit.simulation import grid_filter as gf
from grinder_kit.simulation import grid_orders as go
from grinder_kit.simulation import grid_pass as gp
from grinder_kit.simulation import grid_rules as gr
from grinder_kit.simulation.patience import patience_ns
from grinder_kit.simulation.shared_market import SharedMarket

if TYPE_CHECKING:
    from grinder_kit.fillprob.model import FillModel
    from grinder_kit.fillprob.model_file import Fitted

MAX_AMENDS = 10_000  # of one order, as the engine allows
_RESETS = {ResetAction.NONE: gr.NO_RESET, ResetAction.SOFT: gr.SOFT, ResetAction.HARD: gr.HARD}
_MOST_ORDERS = 1 << 18  # of one grid at once
_FILLS = 1 << 13  # of one grid, at first
_LATE_STEPS = 4096  # steps after the market's end at which orders may still be under way, for a grid with a fill filter
_NO_LOOKS = np.zeros((1, gf.LOOKS))
#: What is known at each step, by step in ns; kept as long as its market is.
_KNOWN: WeakKeyDictionary[SharedMarket, dict[int, Floats]] = WeakKeyDictionary()
_READING = Lock()


def covers(config: Config, instrument: Instrument, model: FillModel | Fitted | None = None) -> str | None:
    """Return the first key of a configuration that the compiled path does not cover on an instrument; None: it covers all of it.

    `model` is what `grid.min_fill_prob` is held against; the specification's heuristic by default.
    """
    filtered = config.grid.min_fill_prob > 0 and _fill_rule(fitted_for(config, model)) is None
    return next((key for key, outside in left_out(config, instrument, filtered) if outside), None)


def left_out(config: Config, instrument: Instrument, filtered: bool) -> tuple[tuple[str, bool], ...]:
    """Return each key that compiled code may leave out, and whether it does: here `filtered` is said by the caller."""
    grid, execution = config.grid, config.execution
    spot = Capabilities.of(instrument).amend is AmendRule.REDUCE
    return (
        ("grid.min_fill_prob", filtered),
        ("router.max_repegs", config.router.max_repegs > 0),
        ("router.amend", config.router.amend and spot and len(set(grid.sizes)) > 1),
        ("execution.entry_table_ms", len(execution.entry_table_ns) > 1),
        ("execution.response_table_ms", len(execution.response_table_ns) > 1),
        ("execution.book", execution.book is BookSource.FUSED),
        ("execution.unknown_level", execution.unknown_level is UnknownLevel.NEIGHBOURS),
        *(() if config.limits == _UNLIMITED else _limits(config.limits)),
        ("instrument.contract", instrument.inverse),
        *((f"instrument.{key}", _too_fine(getattr(instrument, key))) for key in ("band_down", "band_up")),
    )


_UNLIMITED = Limits()


def _limits(limits: Limits) -> Iterator[tuple[str, bool]]:
    for key in Limits.model_fields:
        yield f"limits.{key}", getattr(limits, key) is not None


def _too_fine(ratio: Decimal | None) -> bool:
    """Whether products with a price band could pass 64 bits."""
    return ratio is not None and max(ratio.as_integer_ratio()) > 1_000_000


def check(shared: SharedMarket, config: Config, fitted: Fitted | None, number: int | None = None) -> None:
    """Refuse a configuration that does not fit a shared market, or that the compiled path does not cover.

    Raises
    ------
    ConfigError
        It says which grid of a sweep (`number`).
    """
    where = "" if number is None else f"grid {number}: "
    outside = covers(config, shared.instrument, fitted)
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
    if fitted is None:
        check_fill_prob(config.grid)
    else:
        check_horizon(config.grid, fitted.model)


# --- from a configuration to numbers --------------------------------------------------------------------------------------


class Setup:
    """Grids of one step on a shared market, ready to run.

    Parameters
    ----------
    shared : SharedMarket
    configs : sequence of Config
        Of one `grid.step_ms`.
    fitted : Fitted or None
        What all their levels are judged by; None: the specification's heuristic.

    Attributes
    ----------
    grids : Grids
        What becomes of them.
    """

    def __init__(self, shared: SharedMarket, configs: Sequence[Config], fitted: Fitted | None) -> None:
        step_ns = configs[0].grid.step_ns
        filtered = any(config.grid.min_fill_prob > 0 for config in configs)
        self._shared, self._clock, self._seen = shared, shared.clock(step_ns), gp.new_looks()
        self._rule = (_fill_rule(fitted) if filtered else None) or gf.heuristic_rule()
        self._looks = _looks(shared, step_ns) if filtered else _NO_LOOKS
        self._done = 0
        self.grids = gp.new_grids(
            len(configs),
            max(len(c.grid.sizes) for c in configs),
            samples(shared, configs),
            shared.index.funding.shape[1],
        )
        for at, config in enumerate(configs):
            lots = sizes(config.grid, shared.instrument)
            self.grids.sizes[at, : len(lots)] = lots
            self.grids.p[at] = parameters(config, shared.instrument)
            self.grids.f[at, : gf.F_NEAR] = _fractions(config)

    def run(self, own: go.Orders, trades: Ints) -> int:
        """Run the grids that have not been run; return how many have, fewer than all where there is too little room."""
        self._done = gp.run_grids(
            self._shared.index, self._clock, self._looks, self._rule, self._shared.last_ns, own, trades, self._seen,
            self.grids, self._done,
        )  # fmt: skip
        return self._done

    def again(self) -> None:
        """Let the next call run all of them."""
        self._done = 0


def samples(shared: SharedMarket, configs: Sequence[Config]) -> int:
    """Return how many points of an equity curve grids of one step can have."""
    step_ns = configs[0].grid.step_ns
    steps = len(shared.clock(step_ns).bid)
    lag = max(c.execution.entry_table_ns[0] + c.execution.response_table_ns[0] for c in configs)
    return int((steps * step_ns + 4 * lag) // max(gp.SAMPLE_NS, step_ns) + 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much one grid may need at once."""

    capacity: int
    levels: int
    fills: int

    @classmethod
    def of(cls, configs: Sequence[Config]) -> Room:
        """Return the room that is first given to any of some grids."""
        levels = max(max(config.grid.n_up, config.grid.n_down) for config in configs)
        trips = max(
            (c.execution.entry_table_ns[0] + c.execution.response_table_ns[0]) // c.grid.step_ns for c in configs
        )
        wanted = 2 * levels * (3 + min(trips, 8))
        return cls(capacity=1 << max(6, wanted.bit_length()), levels=levels, fills=_FILLS)

    def larger(self, full: int) -> Room:
        """Return more room for what there was too much of."""
        if full == go.FULL_OF_FILLS:
            return Room(capacity=self.capacity, levels=self.levels, fills=4 * self.fills)
        if full == go.FULL_OF_STEPS:
            raise DataError(
                f"a grid still has orders under way {_LATE_STEPS:,} steps after the market's end; write a longer grid.step_ms"
            )
        if self.capacity >= _MOST_ORDERS:
            raise DataError(
                f"a grid has more than {_MOST_ORDERS:,} orders under way at once; write a longer grid.step_ms"
            )
        return Room(capacity=4 * self.capacity, levels=self.levels, fills=self.fills)

    def joined(self, other: Room) -> Room:
        """Return room for what either holds."""
        return Room(
            capacity=max(self.capacity, other.capacity),
            levels=max(self.levels, other.levels),
            fills=max(self.fills, other.fills),
        )

    def holds(self, other: Room) -> bool:
        """Whether there is as much room as another one has."""
        return self.capacity >= other.capacity and self.levels >= other.levels and self.fills >= other.fills

    def orders(self, shared: SharedMarket, *, logged: int) -> go.Orders:
        """Return it; `logged` orders, fills and amends are kept."""
        payments = shared.index.funding.shape[1]
        return go.new_orders(self.capacity, self.levels, logged=logged, paid=payments)

    def trades(self) -> Ints:
        """Return room for the fills of one grid."""
        return gp.new_trades(self.fills)


def _fill_rule(fitted: Fitted | None) -> gf.FillRule | None:
    """Return what levels are judged by as compiled code takes it; None where it cannot."""
    if fitted is None:
        return gf.heuristic_rule()
    if isinstance(fitted.model, FirstPassageModel):
        return gf.passage_rule(fitted.model.parameters.array(), fitted.model.tail.code)
    return None


def _looks(shared: SharedMarket, step_ns: int) -> Floats:
    """Return what is known at every step of a market; read once."""
    known = _KNOWN.setdefault(shared, {})
    with _READING:
        if step_ns not in known:
            known[step_ns] = gf.step_features(shared, step_ns, len(shared.clock(step_ns).bid) + _LATE_STEPS)
        return known[step_ns]


def sizes(grid: GridConfig, instrument: Instrument) -> list[int]:
    """Return what the levels of a grid are sent with, lots, the nearest first; those after the last have its size."""
    lots = [instrument.lots(size, "size") for size in grid.sizes]
    return [int(size * grid.throttle_factor) for size in lots] if grid.mode is GridMode.THROTTLE else lots


def _fractions(config: Config) -> tuple[float, ...]:
    """Return the numbers of a grid that are no integers, as far as they are given: F_POWER, F_LEAST, F_HYSTERESIS, F_HORIZON."""
    grid = config.grid
    return config.execution.queue_n, grid.min_fill_prob, grid.fill_prob_hysteresis, grid.fill_horizon_s


@lru_cache(maxsize=16)
def _venue(instrument: Instrument) -> tuple[Constraints, AmendRule]:
    return Constraints.of(instrument), Capabilities.of(instrument).amend


def parameters(config: Config, instrument: Instrument) -> list[int]:
    """Return the parameters of a grid by column (P_)."""
    grid, router = config.grid, config.router
    limits, venue = _venue(instrument)
    options = kernel_options(config.execution)
    amend = venue if router.amend else AmendRule.NONE
    rooms = [room for room in (grid.max_orders, limits.max_orders) if room is not None]
    active, patience = grid.mode.active, patience_ns(config)
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
        gx.P_FILTERED: grid.min_fill_prob > 0,
        gx.P_WAIT: ex.FOREVER if patience is None else patience,
        **{gx.P_LIMITS + column: number for column, number in enumerate(limits.numbers)},
    }
    return [int(values[column]) for column in range(gx.P_SIZE)]


# --- what comes of it ----------------------------------------------------------------------------------------------------


class Books:
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


def payments(shared: SharedMarket, paid: Ints) -> Iterator[tuple[int, Decimal]]:
    """Yield when each funding payment was seen, and what was received."""
    for number, _, seen, lots in paid.tolist():
        mark = int(shared.table.times[1, number])
        yield seen, shared.table.amount(number, lots, mark, shared.touch(seen))


def mid2_at_end(grids: gp.Grids, at: int) -> int:
    """Return mid at a grid's end in half ticks.

    Raises
    ------
    DataError
        Where a side of the book is empty.
    """
    bid, ask = int(grids.ends[at, 1]), int(grids.ends[at, 2])
    if bid < 0 or ask >= bk.NO_ASK:
        raise DataError("the book has no mid at the end: the position cannot be valued")
    return bid + ask
