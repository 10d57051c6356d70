"""Fills and round trips as Polars frames: exact Decimals for money, and the same columns when there is nothing in them.

Sums of Decimal columns are exact in Polars, and one that passes 38 digits raises instead of wrapping.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import polars as pl

from grinder_kit.execution.money import EXACT, ROUNDED, money_scale, settled
from grinder_kit.execution.pairing import ProfitView
from grinder_kit.model.fill import Fill, PairingView, RoundTrip
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.number import Exact
from grinder_kit.model.order import Side

_SIDE = pl.Enum([side.value for side in Side])
_VIEW = pl.Enum([view.value for view in PairingView])
_AVERAGE_PRICE_SCALE = 8  # a mean of entries lies between two ticks; venues print it with 8 decimals


def decimals(step: Decimal) -> int:
    """Return the decimals of a step: 2 for 0.01, 0 for 10."""
    exponent = step.normalize().as_tuple().exponent
    assert isinstance(exponent, int)  # steps are finite
    return max(0, -exponent)


def _decimal(scale: int) -> pl.Decimal:
    return pl.Decimal(38, scale)


def fills_frame(fills: Iterable[Fill], instrument: Instrument) -> pl.DataFrame:
    """Return fills as a frame, one row each, in the order given.

    Parameters
    ----------
    fills : iterable of Fill
        Prices on the tick and quantities on the lot of `instrument`.
    instrument : Instrument
        Its tick and lot give the scales of the columns; commission is rounded to 12 decimals, 18 for inverse.

    Notes
    -----
    `commission` is in `commission_asset`, `commission_settled` in the settlement asset, and null where no rate is known.
    """
    money = _decimal(money_scale(instrument))
    schema = {
        "fill_id": pl.String,
        "client_order_id": pl.String,
        "level_id": pl.String,
        "ts_ns": pl.Int64,
        "side": _SIDE,
        "price": _decimal(decimals(instrument.tick)),
        "quantity": _decimal(decimals(instrument.lot)),
        "price_ticks": pl.Int64,
        "quantity_lots": pl.Int64,
        "commission": money,
        "commission_asset": pl.String,
        "commission_settled": money,
        "is_maker": pl.Boolean,
        "policy": pl.String,
    }
    rows = [
        (
            fill.fill_id,
            fill.order_id,
            fill.level_id,
            fill.ts_ns,
            fill.side.value,
            fill.price,
            fill.quantity,
            instrument.ticks(fill.price),
            instrument.lots(fill.quantity),
            fill.commission,
            fill.commission_asset,
            settled(fill, instrument),
            fill.is_maker,
            fill.policy,
        )
        for fill in fills
    ]
    return rows_frame(rows, schema)


def round_trips_frame(trips: Iterable[RoundTrip], instrument: Instrument) -> pl.DataFrame:
    """Return round trips as a frame, one row each, in the order given.

    `side` is the entry's. Money is rounded to 12 decimals, 18 for inverse (which changes nothing for spot and linear,
    unless tick times lot is finer or the view is average). `net_bps` is net profit over the value of the entry. Where
    `fees_known` is false, `commission` and what is net leave a fee out that nobody could convert.
    """
    money, tick = _decimal(money_scale(instrument)), decimals(instrument.tick)
    schema = {
        "rt_id": pl.String,
        "side": _SIDE,
        "entry_ts_ns": pl.Int64,
        "exit_ts_ns": pl.Int64,
        "hold_time_ms": pl.Int64,
        "entry_price": _decimal(max(tick, _AVERAGE_PRICE_SCALE)),
        "exit_price": _decimal(tick),
        "quantity": _decimal(decimals(instrument.lot)),
        "gross_pnl": money,
        "commission": money,
        "net_pnl": money,
        "net_bps": pl.Float64,
        "entry_level": pl.String,
        "exit_level": pl.String,
        "policy": pl.String,
        "view": _VIEW,
        "fees_known": pl.Boolean,
    }
    rows = [
        (
            trip.rt_id,
            trip.entry_fill.side.value,
            trip.entry_fill.ts_ns,
            trip.exit_fill.ts_ns,
            trip.hold_time_ms,
            trip.entry_fill.price,
            trip.exit_fill.price,
            trip.quantity,
            trip.gross_pnl,
            trip.commission,
            trip.net_pnl,
            net_bps(trip, instrument),
            trip.entry_fill.level_id,
            trip.exit_fill.level_id,
            trip.policy,
            trip.view.value,
            trip.fees_known,
        )
        for trip in trips
    ]
    return rows_frame(rows, schema)


def views_frame(views: Iterable[ProfitView], instrument: Instrument, mark: Exact | None = None) -> pl.DataFrame:
    """Return profit under each pairing rule as a frame, one row each; money as in :func:`round_trips_frame`.

    `inventory` need not lie on the lot where fees were paid in base; then it is rounded to the scale of money.

    Raises
    ------
    DataError
        When `mark` is not above zero.
    """
    money = _decimal(money_scale(instrument))
    schema = {"view": _VIEW, "realised": money, "unrealised": money, "inventory": money, "open_lots": pl.Int64}
    rows = [
        (
            view.kind.value,
            view.realised,
            None if mark is None else view.unrealised(mark),
            view.inventory,
            view.open_count,
        )
        for view in views
    ]
    return rows_frame(rows, schema)


def net_bps(trip: RoundTrip, instrument: Instrument) -> float:
    """Return the net profit of a round trip over the value of its entry, bps."""
    size = EXACT.multiply(trip.quantity, instrument.contract_size)
    price = trip.entry_fill.price
    value = ROUNDED.divide(size, price) if instrument.inverse else EXACT.multiply(size, price)
    return float(ROUNDED.divide(EXACT.multiply(trip.net_pnl, 10_000), value))


def rows_frame(rows: list[tuple[Any, ...]], schema: dict[str, Any]) -> pl.DataFrame:
    """Return rows as a frame of exactly this schema; Decimals are rounded to their column's scale, halves to even."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pl.DataFrame(
        [_series(name, column, dtype) for (name, dtype), column in zip(schema.items(), columns, strict=True)]
    )


def _series(name: str, column: tuple[Any, ...], dtype: Any) -> pl.Series:
    if isinstance(dtype, pl.Decimal):
        # Rounded here and not by Polars 2.1, which panics on a Decimal of more than 38 decimals.
        quantum = Decimal(1).scaleb(-dtype.scale)
        column = tuple(None if value is None else ROUNDED.quantize(value, quantum) for value in column)
    return pl.Series(name, column, dtype=dtype)
