"""gk.explain: why each order would be sent, moved, kept or withdrawn, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from grinder_kit.decision.grid_manager import level_id
from grinder_kit.decision.routing import Action, Decision, Gates
from grinder_kit.execution.port import AmendRule, Capabilities, Operation
from grinder_kit.execution.standing import StandingOrder, WantedLevel, decide, standing_orders
from grinder_kit.model.config import RouterConfig
from grinder_kit.model.grid import GridLevel
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import Order, Side

if TYPE_CHECKING:
    import polars as pl

_REQUESTS = {
    Action.PLACE: (Operation.PLACE,),
    Action.CANCEL: (Operation.CANCEL,),
    Action.AMEND: (Operation.AMEND,),
    Action.CANCEL_REPLACE: (Operation.CANCEL, Operation.PLACE),
}


def explain(
    levels: Sequence[GridLevel],
    orders: Sequence[Order],
    *,
    instrument: Instrument,
    router: RouterConfig | None = None,
    capabilities: Capabilities | None = None,
    gates: Gates | None = None,
    queue_ahead: Mapping[str, Decimal | None] | None = None,
) -> pl.DataFrame:
    """Return the router's decision about every level and every open order, with its reason; nothing is sent.

    Parameters
    ----------
    levels : sequence of GridLevel
        What the grid wants: `GridManager.compute_levels`.
    orders : sequence of Order
        What is open; orders of others are passed over.
    instrument : Instrument
    router : RouterConfig, optional
    capabilities : Capabilities, optional
        By default Binance's for the instrument's kind of market.
    gates : Gates, optional
        Whether the session runs, whether the market data are stale.
    queue_ahead : mapping of str to Decimal, optional
        Quantity ahead of an order in its queue, by client order id.

    Returns
    -------
    DataFrame
        One row for each order that no level wants, then one for each level, in their order: level_id, side, price, size (of the
        level), client_order_id, order_price, order_size, filled (of the order), action, reason, why, requests and weight (what it
        costs, without batches), queue_ahead, and queue_lost: whether the order gives its place in the queue up.

    Raises
    ------
    ConfigError
        For two levels or two orders under one key, or a price or size off the instrument's steps.
    """
    import polars as pl

    from grinder_kit.execution.frames import decimals

    can = capabilities or Capabilities.of(instrument)
    standing = standing_orders(orders, instrument)
    wanted = [WantedLevel.of(level, instrument) for level in levels]
    decisions = decide(wanted, standing, gates or Gates(), router or RouterConfig(), can)
    price, size = pl.Decimal(38, decimals(instrument.tick)), pl.Decimal(38, decimals(instrument.lot))
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "level_id": pl.String,
        "side": pl.Enum([side.value for side in Side]),
        "price": price,
        "size": size,
        "client_order_id": pl.String,
        "order_price": price,
        "order_size": size,
        "filled": size,
        "action": pl.Enum([action.value for action in Action]),
        "reason": pl.String,
        "why": pl.String,
        "requests": pl.Int64,
        "weight": pl.Int64,
        "queue_ahead": size,
        "queue_lost": pl.Boolean,
    }
    keys = {level.key for level in wanted}
    rows = [_row(d, d.key in keys, standing.get(d.key), instrument, can, queue_ahead or {}) for d in decisions]
    return pl.DataFrame(rows, schema=schema, orient="row")


def _row(
    d: Decision,
    wanted: bool,
    own: StandingOrder | None,
    instrument: Instrument,
    can: Capabilities,
    queue_ahead: Mapping[str, Decimal | None],
) -> tuple[object, ...]:
    requests = _REQUESTS.get(d.action, ())
    loses = d.action in (Action.CANCEL, Action.CANCEL_REPLACE) or (
        d.action is Action.AMEND and can.amend is AmendRule.MODIFY
    )
    order = None if own is None else own.order
    return (
        level_id(d.key),
        (Side.BUY if d.side > 0 else Side.SELL).value,
        instrument.price(d.ticks) if wanted else None,
        instrument.quantity(d.lots) if wanted else None,
        None if order is None else order.client_order_id,
        None if order is None else order.price,
        None if order is None else order.quantity,
        None if order is None else order.filled_quantity,
        d.action.value,
        d.reason.value,
        d.reason.text,
        len(requests),
        sum(can.weight(operation) for operation in requests),
        None if order is None else queue_ahead.get(order.client_order_id),
        order is not None and loses,
    )
