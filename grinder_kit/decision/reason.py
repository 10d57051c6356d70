"""Reason codes: why a level was not quoted, and why the router did what it did."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """One code per rule; the text says it to a person."""

    # a level that is not quoted
    FEATURE_WARMUP = "FEATURE_WARMUP"
    FILL_PROB = "FILL_PROB"
    PRICE_NOT_POSITIVE = "PRICE_NOT_POSITIVE"
    PRICE_BAND = "PRICE_BAND"
    MIN_QUANTITY = "MIN_QUANTITY"
    MAX_QUANTITY = "MAX_QUANTITY"
    MIN_NOTIONAL = "MIN_NOTIONAL"
    MAX_ORDERS = "MAX_ORDERS"
    WOULD_CROSS = "WOULD_CROSS"
    SAME_PRICE = "SAME_PRICE"
    POSITION_LIMIT = "POSITION_LIMIT"
    MODE_OFF = "MODE_OFF"
    NO_MARKET = "NO_MARKET"
    # a routing decision
    NOT_RUNNING = "NOT_RUNNING"
    STALE_MARKET = "STALE_MARKET"
    OFF_PLAN = "OFF_PLAN"
    RESET = "RESET"
    IN_FLIGHT = "IN_FLIGHT"
    NOTIONAL_LIMIT = "NOTIONAL_LIMIT"
    PRICE_OCCUPIED = "PRICE_OCCUPIED"
    OWN_CROSS = "OWN_CROSS"
    COOLING_DOWN = "COOLING_DOWN"
    POSITION_UNKNOWN = "POSITION_UNKNOWN"
    NOT_REDUCING = "NOT_REDUCING"
    EXIT = "EXIT"
    TTL_EXPIRED = "TTL_EXPIRED"
    NEW_LEVEL = "NEW_LEVEL"
    REPEGGED = "REPEGGED"
    CONFORMS = "CONFORMS"
    AMEND_UNSAFE = "AMEND_UNSAFE"
    QUANTITY_CHANGED = "QUANTITY_CHANGED"
    SMALL_MOVE = "SMALL_MOVE"
    LARGE_MOVE = "LARGE_MOVE"

    @property
    def text(self) -> str:
        """The reason in plain words."""
        return _TEXT[self]


_TEXT = {
    Reason.FEATURE_WARMUP: "volatility is not known yet (warm-up)",
    Reason.FILL_PROB: "too unlikely to fill within the horizon",
    Reason.PRICE_NOT_POSITIVE: "the level lies at or below zero",
    Reason.PRICE_BAND: "outside the venue's price limits",
    Reason.MIN_QUANTITY: "under the venue's minimum quantity",
    Reason.MAX_QUANTITY: "over the venue's maximum quantity",
    Reason.MIN_NOTIONAL: "under the venue's minimum notional",
    Reason.MAX_ORDERS: "more orders than allowed at once",
    Reason.WOULD_CROSS: "a post-only order there would take",
    Reason.SAME_PRICE: "two levels round to one price",
    Reason.POSITION_LIMIT: "the position has reached its limit on this side",
    Reason.MODE_OFF: "the mode does not quote this side",
    Reason.NO_MARKET: "the book has no bid or no ask",
    Reason.NOT_RUNNING: "the session is not running",
    Reason.STALE_MARKET: "the market data have a gap",
    Reason.OFF_PLAN: "the plan has no such level any more",
    Reason.RESET: "the plan was rebuilt",
    Reason.IN_FLIGHT: "a request for this order is under way",
    Reason.NOTIONAL_LIMIT: "the position's value would exceed its limit",
    Reason.PRICE_OCCUPIED: "an own order already lives at this price",
    Reason.OWN_CROSS: "it would meet an own order of the other side that is on its way out",
    Reason.COOLING_DOWN: "the venue has just refused this level; it is tried again after a pause",
    Reason.POSITION_UNKNOWN: "the position is not known until orders and fills agree with the venue again",
    Reason.NOT_REDUCING: "only orders that reduce the position may be sent",
    Reason.EXIT: "the position is being closed",
    Reason.TTL_EXPIRED: "the order's time to live has passed",
    Reason.NEW_LEVEL: "the level has no order",
    Reason.REPEGGED: "stands aside: it would take at its own price",
    Reason.CONFORMS: "the order is where it should be",
    Reason.AMEND_UNSAFE: "the venue cannot amend this order safely",
    Reason.QUANTITY_CHANGED: "only the quantity changed",
    Reason.SMALL_MOVE: "the price moved little enough to amend",
    Reason.LARGE_MOVE: "the price moved too far to amend",
}
