"""Levels and open orders, as they are in a notebook, put before the routing table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from grinder_kit.decision.routing import Decision, Gates, Rules, route_ladder
from grinder_kit.errors import ConfigError
from grinder_kit.execution.own_orders import key_of
from grinder_kit.execution.port import AmendRule, Capabilities, amends_of
from grinder_kit.model.config import RouterConfig
from grinder_kit.model.grid import GridLevel
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import Order


@dataclass(frozen=True, slots=True)
class WantedLevel:
    """A GridLevel in whole ticks and lots."""

    key: str
    side: int
    ticks: int
    lots: int

    @classmethod
    def of(cls, level: GridLevel, instrument: Instrument) -> WantedLevel:
        """Return a level as routing reads it."""
        return cls(
            key_of_level(level.level_id),
            level.side.sign,
            instrument.ticks(level.price, f"price of {level.level_id}"),
            instrument.lots(level.size, f"size of {level.level_id}"),
        )


@dataclass(frozen=True, slots=True)
class StandingOrder:
    """An open order of ours in whole ticks and lots."""

    key: str
    side: int
    ticks: int
    lots: int
    filled: int
    in_flight: object
    amends: int
    order: Order

    @classmethod
    def of(cls, order: Order, instrument: Instrument, *, busy: bool = False) -> StandingOrder | None:
        """Return an order as routing reads it; None where it has ended, or is not ours by its client order id."""
        key = key_of(order.client_order_id)
        if key is None or order.symbol != instrument.symbol or order.state.terminal:
            return None
        return cls(
            key,
            order.side.sign,
            instrument.ticks(order.price, f"price of {order.client_order_id}"),
            instrument.lots(order.quantity, f"quantity of {order.client_order_id}"),
            instrument.lots(order.filled_quantity, f"filled quantity of {order.client_order_id}"),
            busy or order.in_flight,
            0,
            order,
        )


def standing_orders(
    orders: Sequence[Order], instrument: Instrument, *, busy: Collection[str] = ()
) -> dict[str, StandingOrder]:
    """Return own open orders by level key; `busy` are level ids with a request under way.

    Raises
    ------
    ConfigError
        For two orders under one key.
    """
    by_key: dict[str, StandingOrder] = {}
    for order in orders:
        own = StandingOrder.of(order, instrument, busy=order.level_id in busy)
        if own is None:
            continue
        if own.key in by_key:
            raise ConfigError(
                f"two open orders have the level key {own.key}: {by_key[own.key].order.client_order_id} and "
                f"{order.client_order_id}; cancel one of them first"
            )
        by_key[own.key] = own
    return by_key


def decide(
    levels: Sequence[WantedLevel],
    orders: Mapping[str, StandingOrder],
    gates: Gates,
    config: RouterConfig,
    capabilities: Capabilities,
) -> list[Decision]:
    """Return what the routing table says under a configuration, at a venue.

    Raises
    ------
    ConfigError
        For two levels under one key.
    """
    rule = capabilities.amend if config.amend else AmendRule.NONE
    rules = Rules(config.price_tolerance_ticks, config.amend_threshold_tenths, amends_of(rule, capabilities.max_amends))
    try:
        return route_ladder(levels, orders, gates, rules)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def key_of_level(level_id: str) -> str:
    """Return the key of a level id: ``B3`` of ``BUY_3``."""
    side, _, number = level_id.partition("_")
    return f"{side[:1]}{number}"
