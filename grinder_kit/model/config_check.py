"""Whether a configuration can work on an instrument: what a configuration alone cannot know."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from grinder_kit.errors import ConfigError
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.grid import GridMode, Spacing
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.number import plain
from grinder_kit.model.section import InvalidConfigError, Problem


def check_against(config: Config, instrument: Instrument, reference_price: Decimal | None) -> None:
    """Refuse a configuration that cannot work on an instrument.

    Parameters
    ----------
    config : Config
    instrument : Instrument
    reference_price : Decimal or None
        A price of that market, quote; without one, what depends on it is not checked.

    Raises
    ------
    InvalidConfigError
        For another instrument; a size off the lot, below the smallest order or under the smallest notional; a spacing
        below one tick; deep levels at or below zero; a position limit off the lot. All that is wrong is named at once.
    """
    grid, problems = config.grid, []

    def wrong(section: str, key: str, text: str) -> None:
        problems.append(Problem(path=(section, key), text=text))

    def on_lot(section: str, key: str, value: Decimal | None) -> None:
        if value is not None:
            try:
                instrument.lots(value, key)
            except ConfigError as error:
                wrong(section, key, str(error))

    named = config.instrument
    if named is not None and named.symbol != instrument.symbol:
        wrong("instrument", "symbol", f"symbol is {named.symbol}, and the market is {instrument.symbol}")
    elif named is not None and named.venue is not None and named.venue != instrument.venue:
        wrong("instrument", "venue", f"venue is {named.venue}, and the market is of {instrument.venue}")
    size_key = "size" if grid.size is not None else "size_schedule"
    for size in dict.fromkeys(grid.sizes):
        on_lot("grid", size_key, size)
    on_lot("grid", "position_limit", grid.position_limit)
    on_lot("limits", "max_position", config.limits.max_position)
    if not problems:
        for size in dict.fromkeys(grid.sizes):
            text = _size_problem(grid, instrument, size, reference_price) if size else None
            if text:
                wrong("grid", size_key, f"{size_key} {text}")
    if grid.mode.active and reference_price is not None:
        problems += _spacing_problems(grid, instrument, reference_price)
    if problems:
        raise InvalidConfigError(problems)


def _up(value: Decimal, step: Decimal) -> Decimal:
    """Return `value` rounded up to a multiple of `step`."""
    return (value / step).to_integral_value(rounding=ROUND_CEILING) * step


def _size_problem(grid: GridConfig, instrument: Instrument, size: Decimal, price: Decimal | None) -> str | None:
    """Return what is wrong with one size as it will be sent, or None."""
    factor, sent, shown = Decimal(1), size, f"is {plain(size)}"
    if grid.mode is GridMode.THROTTLE:
        factor = grid.throttle_factor
        sent = instrument.round_quantity(size * factor)
        shown += f", throttled {plain(sent)}"

    def at_least(quantity: Decimal) -> str:
        """Say the smallest size that still sends `quantity`."""
        return f'write "{plain(_up(_up(quantity, instrument.lot) / factor, instrument.lot))}" or more'

    least = max(instrument.min_quantity, instrument.lot)
    if sent < least:
        return f"{shown}; {instrument.symbol} takes at least {plain(least)}: {at_least(least)}"
    if instrument.max_quantity is not None and sent > instrument.max_quantity:
        return f"{shown}; {instrument.symbol} takes at most {plain(instrument.max_quantity)} an order: write less"
    if price is not None and instrument.notional(price, sent) < instrument.min_notional:
        worth = plain(round(instrument.notional(price, sent), 8))
        least = instrument.min_notional / instrument.notional(price, Decimal(1))
        return (
            f"{shown}, worth {worth} {instrument.quote} at {plain(price)}; {instrument.symbol} takes orders from "
            f"{plain(instrument.min_notional)} {instrument.quote}: {at_least(least)}"
        )
    return None


def _spacing_problems(grid: GridConfig, instrument: Instrument, price: Decimal) -> list[Problem]:
    """Return what is wrong with where the levels would stand at `price`."""
    problems = []
    key = "levels" if grid.levels_down is None else "levels_down"
    if grid.spacing_bps is not None:
        step = price * grid.spacing_bps / 10_000
        if step < instrument.tick:
            least = plain(_up(instrument.tick * 10_000 / price, Decimal("0.1")))
            text = (
                f"spacing_bps is {plain(grid.spacing_bps)}, {plain(round(step, 12))} at {plain(price)}: below one tick "
                f"of {plain(instrument.tick)}; write {least} or more"
            )
            problems.append(Problem(path=("grid", "spacing_bps"), text=text))
        share = grid.spacing_bps / 10_000
        if grid.ladder is Spacing.LINEAR:
            deepest, allowed = price * (1 - grid.n_down * share), int((1 - instrument.tick / price) / share)
        else:
            deepest = price * (1 - share) ** grid.n_down
            allowed = next((i for i in range(grid.n_down, 0, -1) if price * (1 - share) ** i >= instrument.tick), 0)
    else:
        assert grid.spacing_ticks is not None and grid.half_spread is not None  # the validator saw to it
        spacing = grid.spacing_ticks
        first = int(price / instrument.tick - grid.half_spread) // spacing
        deepest, allowed = (first - grid.n_down + 1) * spacing * instrument.tick, max(first, 0)
    if grid.n_down and grid.mode is not GridMode.UNI_SHORT and deepest < instrument.tick:
        text = (
            f"{key} is {grid.n_down}: buy {grid.n_down} would stand at {plain(round(deepest, 8))}, at or below zero; "
            f"write {key} {allowed} or fewer, or a smaller spacing"
        )
        problems.append(Problem(path=("grid", key), text=text))
    return problems
