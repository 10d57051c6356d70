"""Between the venue's words and the engine's: requests and orders with Decimals here, whole ticks and lots there."""

from __future__ import annotations

from grinder_kit.decision.grid_manager import level_id
from grinder_kit.execution.own_orders import OwnOrder, key_of
from grinder_kit.model.event import (
    Amend,
    Amended,
    AmendRejected,
    CancelRejected,
    Event,
    LookedUp,
    OrderFilled,
    OrderUpdate,
    OutcomeUnknown,
    Place,
)
from grinder_kit.model.fill import Fill
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import (
    AmendRequest,
    CancelRequest,
    InFlight,
    Order,
    OrderRequest,
    OrderResult,
    OrderState,
    Side,
)

# --- out ---------------------------------------------------------------------------------------------------------------


def order_request(command: Place, instrument: Instrument) -> OrderRequest:
    """Return the request of a new order."""
    return OrderRequest(
        client_order_id=command.client_order_id,
        level_id=command.level_id,
        symbol=instrument.symbol,
        side=command.side,
        price=instrument.price(command.price_ticks),
        quantity=instrument.quantity(command.quantity_lots),
        type=command.type,
        reduce_only=command.reduce_only,
        epoch=command.epoch,
    )


def amend_request(command: Amend, own: OwnOrder, instrument: Instrument) -> AmendRequest:
    """Return the request of an amend."""
    return AmendRequest(
        client_order_id=command.client_order_id,
        level_id=level_id(own.key),
        symbol=instrument.symbol,
        side=Side.BUY if own.side > 0 else Side.SELL,
        price=instrument.price(command.price_ticks),
        quantity=instrument.quantity(command.quantity_lots),
        epoch=command.epoch,
    )


def cancel_request(own: OwnOrder, symbol: str) -> CancelRequest:
    """Return the request of a cancel."""
    return CancelRequest(client_order_id=own.client_order_id, symbol=symbol, level_id=level_id(own.key))


# --- in ----------------------------------------------------------------------------------------------------------------


def is_ours(client_order_id: str, tag: str) -> bool:
    """Whether an order was sent by this session, in this run of it or an earlier one."""
    return client_order_id.startswith(f"gk{tag}-") and key_of(client_order_id) is not None


def fill_event(fill: Fill, instrument: Instrument) -> OrderFilled:
    """Return a fill of ours as the engine takes it."""
    return OrderFilled(
        client_order_id=fill.order_id,
        trade_id=fill.fill_id,
        price_ticks=instrument.ticks(fill.price, "price"),
        quantity_lots=instrument.lots(fill.quantity, "quantity"),
        commission=fill.commission,
        commission_asset=fill.commission_asset,
        ts_ns=fill.ts_ns,
        is_maker=fill.is_maker,
        commission_rate=fill.commission_rate,
    )


def order_update(order: Order, instrument: Instrument, ts_ns: int) -> OrderUpdate | OutcomeUnknown:
    """Return what the venue says about an order of ours; a status that cannot be read makes its outcome unknown."""
    if order.in_flight is InFlight.UNKNOWN:
        return OutcomeUnknown(
            client_order_id=order.client_order_id,
            ts_ns=ts_ns,
            reason="the venue's status cannot be read",
            raw=order.raw,
        )
    return OrderUpdate(
        client_order_id=order.client_order_id,
        state=order.state,
        ts_ns=order.updated_ns or ts_ns,
        filled_lots=instrument.lots(order.filled_quantity, "filled_quantity"),
    )


def account_event(event: Order | Fill, instrument: Instrument, tag: str) -> tuple[Event, ...]:
    """Return what a stream of the account says about orders of this session; nothing for those of others."""
    client_order_id = event.order_id if isinstance(event, Fill) else event.client_order_id
    if event.symbol != instrument.symbol or not is_ours(client_order_id, tag):
        return ()
    if isinstance(event, Fill):
        return (fill_event(event, instrument),)
    return (order_update(event, instrument, event.updated_ns),)


def answer(result: OrderResult, instrument: Instrument, ts_ns: int) -> tuple[Event, ...]:
    """Return what the outcome of a request means to the engine."""
    one, order = result.client_order_id, result.order
    if result.unknown:
        return (OutcomeUnknown(client_order_id=one, ts_ns=ts_ns, reason=result.detail),)
    if not result.ok or order is None:
        if result.action == "CANCEL":
            return (CancelRejected(client_order_id=one, ts_ns=ts_ns, reason=result.reason or ""),)
        if result.action == "AMEND":
            return (AmendRejected(client_order_id=one, ts_ns=ts_ns, reason=result.reason or ""),)
        reason = result.reason or "FAILED"
        return (OrderUpdate(client_order_id=one, state=OrderState.REJECTED, ts_ns=ts_ns, reason=reason),)
    if result.action == "CANCEL" and not order.state.terminal:
        return (CancelRejected(client_order_id=one, ts_ns=ts_ns, reason="it is still open"),)
    if result.action == "AMEND" and not order.state.terminal and order.in_flight is None:
        return (
            Amended(
                client_order_id=one,
                price_ticks=instrument.ticks(order.price, "price"),
                quantity_lots=instrument.lots(order.quantity, "quantity"),
                ts_ns=order.updated_ns or ts_ns,
            ),
        )
    return (order_update(order, instrument, ts_ns),)


def looked_up(client_order_id: str, order: Order | None, instrument: Instrument, ts_ns: int) -> LookedUp:
    """Return the answer to a look-up."""
    if order is None:
        return LookedUp(client_order_id=client_order_id, ts_ns=ts_ns)
    return LookedUp(
        client_order_id=client_order_id,
        ts_ns=order.updated_ns or ts_ns,
        state=order.state,
        filled_lots=instrument.lots(order.filled_quantity, "filled_quantity"),
        price_ticks=instrument.ticks(order.price, "price"),
        quantity_lots=instrument.lots(order.quantity, "quantity"),
    )
