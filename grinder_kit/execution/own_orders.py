"""Own orders as the engine knows them: one per level key, moved only by the transition table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from grinder_kit.decision.grid_manager import level_id
from grinder_kit.decision.reason import Reason
from grinder_kit.errors import ConfigError, DataError, InvalidRequestError
from grinder_kit.model.event import (
    Amend,
    Amended,
    AmendRejected,
    Cancel,
    CancelRejected,
    Command,
    LookedUp,
    OrderUpdate,
    OutcomeUnknown,
    Place,
)
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import InFlight, Order, OrderState, OrderType, Side

_CLIENT_ORDER_ID = re.compile(r"gk[A-Za-z0-9_-]*-([BS]-?\d+)-[0-9a-z]+")
_TAG = re.compile(r"[A-Za-z0-9_]{1,12}")
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
#: Reasons of refusals that are told apart: venues also say things of which no two are alike.
MOST_REASONS = 30

#: What a venue says about one order, fills apart.
OrderEvent: TypeAlias = OrderUpdate | Amended | AmendRejected | CancelRejected | OutcomeUnknown | LookedUp


@dataclass(slots=True)
class OwnOrder:
    """One order; prices in ticks, quantities in lots, times in ns. `side` is +1 for a buy.

    `wish` is the price and quantity that an amend under way asks for. `ending` is an end that the venue has told while fills
    of the order are missing: the order ends when they have come. `policy` names what decided the order.
    """

    client_order_id: str
    key: str
    side: int
    ticks: int
    lots: int
    sent_ns: int
    filled: int = 0
    state: OrderState = OrderState.PENDING
    in_flight: InFlight | None = InFlight.NEW
    ended_ns: int = 0
    reason: str = ""
    reduce_only: bool = False
    type: OrderType = OrderType.POST_ONLY
    amends: int = 0
    wish: tuple[int, int] | None = None
    ending: _Ending | None = None
    expires: bool = False  # its cancel ends it as EXPIRED: the time to live has passed
    policy: str = "UNKNOWN"

    @property
    def at_rest(self) -> InFlight | None:
        """What is under way once its request is answered: the end of an IOC order is yet to be told, for it never rests."""
        return InFlight.UNKNOWN if self.type is OrderType.IOC else None

    @property
    def open_lots(self) -> int:
        """Lots that can still fill, counting what an amend under way may add."""
        lots = self.lots if self.wish is None else max(self.lots, self.wish[1])
        return max(0, lots - self.filled)


class _Ending(NamedTuple):
    state: OrderState
    filled: int
    ts_ns: int
    reason: str


@dataclass(slots=True)
class OrderTotals:
    """How many orders were sent, how many amends were confirmed, how orders ended, and why the venue refused some.

    `lots` and `filled` are those of the orders that have ended; they outlive the orders, which whoever collects them may forget.
    """

    placed: int = 0
    amended: int = 0
    ended: Counter[OrderState] = field(default_factory=Counter)
    rejections: Counter[str] = field(default_factory=Counter)
    lots: int = 0
    filled: int = 0

    def end(self, order: OwnOrder) -> None:
        """Count an order that has ended."""
        self.ended[order.state] += 1
        self.lots += order.lots
        self.filled += order.filled
        if order.state is OrderState.REJECTED:
            known = order.reason in self.rejections or len(self.rejections) < MOST_REASONS
            self.rejections[order.reason if known and _CODE.fullmatch(order.reason) else "OTHER"] += 1


class OwnOrders:
    """The live orders of one session and symbol, and the client order ids they were sent under.

    Client order ids are ``gk`` + tag + ``-`` + level key + ``-`` + generation in base 36 (``gkr0-B3-1a``): ours can be told
    from others' with everything else lost, and a key that is placed again gets another generation.

    Parameters
    ----------
    tag : str
        Session tag: letters, digits and ``_``, at most 12.
    first_generation : int
        Generations start above this. A live session gives the time in ms, so that an id is never used twice, though the
        journal that knows the last generations be lost.

    Attributes
    ----------
    totals : OrderTotals
        Counts that only rise; orders of an earlier run of the session count where its journal is read.

    Raises
    ------
    ConfigError
        For a tag that cannot stand in a client order id.
    """

    def __init__(self, tag: str, *, first_generation: int = 0) -> None:
        if not _TAG.fullmatch(tag):
            raise ConfigError(
                f"session tag {tag!r} cannot stand in a client order id; write 1 to 12 letters, digits or _"
            )
        self.tag = tag
        self.first_generation = first_generation
        self.by_key: dict[str, OwnOrder] = {}
        self.by_id: dict[str, OwnOrder] = {}
        self.ended: list[OwnOrder] = []  # terminal orders that nobody has collected yet
        self.totals = OrderTotals()
        self.late_events = 0
        self._generation: dict[str, int] = {}

    def __iter__(self) -> Iterator[OwnOrder]:
        return iter(self.by_key.values())

    def __len__(self) -> int:
        return len(self.by_key)

    @property
    def fill_rate(self) -> float | None:
        """Filled over placed quantity of all orders that were sent, each with its last quantity; None before the first."""
        placed = self.totals.lots + sum(order.lots for order in self)
        return (self.totals.filled + sum(order.filled for order in self)) / placed if placed else None

    # --- requests ----------------------------------------------------------------------------------------------------

    def next_id(self, key: str) -> str:
        """Return the client order id of the next order under a key, and count it as used.

        Raises
        ------
        InvalidRequestError
            For a key that no client order id can hold.
        """
        generation = max(self._generation.get(key, 0), self.first_generation) + 1
        client_order_id = f"gk{self.tag}-{key}-{base36(generation)}"
        if len(client_order_id) > 36 or key_of(client_order_id) != key:
            raise InvalidRequestError(
                f"level key {key!r} cannot become a client order id; write B or S and a whole number, such as B3",
                request=key,
            )
        self._generation[key] = generation
        return client_order_id

    def add(
        self,
        key: str,
        side: int,
        ticks: int,
        lots: int,
        now_ns: int,
        *,
        reduce_only: bool = False,
        type: OrderType = OrderType.POST_ONLY,
        policy: str = "UNKNOWN",
    ) -> OwnOrder:
        """Register an order that is about to be sent; its key must be free."""
        assert key not in self.by_key, f"a second order under {key}"  # one order per key, always: a bug, not bad input
        return self._register(
            OwnOrder(
                self.next_id(key), key, side, ticks, lots, now_ns, reduce_only=reduce_only, type=type, policy=policy
            )
        )

    def adopt(
        self,
        client_order_id: str,
        ticks: int,
        lots: int,
        now_ns: int,
        *,
        reduce_only: bool = False,
        type: OrderType = OrderType.POST_ONLY,
        policy: str = "UNKNOWN",
    ) -> OwnOrder | None:
        """Register an order that was sent before: by the journal's word, or the venue's. None where its key is taken.

        Raises
        ------
        DataError
            For an id that is not one of ours.
        """
        key = key_of(client_order_id)
        if key is None:
            raise DataError(f"order {client_order_id!r} was not sent by a session of ours")
        used = int(client_order_id.rpartition("-")[2], 36)
        self._generation[key] = max(self._generation.get(key, 0), used)
        if key in self.by_key:
            return None
        side = 1 if key[0] == "B" else -1
        return self._register(
            OwnOrder(client_order_id, key, side, ticks, lots, now_ns, reduce_only=reduce_only, type=type, policy=policy)
        )

    def sent(self, command: Command, ts_ns: int) -> None:
        """Take a command as sent at `ts_ns`: by the journal's word, not our own.

        Raises
        ------
        DataError
            For an order that is not one of ours.
        """
        if isinstance(command, Place):
            self.adopt(
                command.client_order_id,
                command.price_ticks,
                command.quantity_lots,
                ts_ns,
                reduce_only=command.reduce_only,
                type=command.type,
                policy=command.policy,
            )
            return
        order = self.by_id.get(command.client_order_id)
        if order is None:
            return
        if isinstance(command, Cancel):
            order.in_flight = InFlight.CANCEL
            order.expires = command.reason == Reason.TTL_EXPIRED
        elif isinstance(command, Amend):
            order.in_flight, order.wish = InFlight.AMEND, (command.price_ticks, command.quantity_lots)

    def has_ended(self, client_order_id: str) -> bool:
        """Whether an id was used before and its order is not live any more."""
        key = key_of(client_order_id)
        used = int(client_order_id.rpartition("-")[2], 36) if key is not None else 0
        return key is not None and client_order_id not in self.by_id and used <= self._generation.get(key, 0)

    def lose_track(self) -> None:
        """Take every request under way for unknown: whoever sent it is gone."""
        for order in self:
            if order.in_flight is not None:
                order.in_flight = InFlight.UNKNOWN

    def _register(self, order: OwnOrder) -> OwnOrder:
        self.by_key[order.key] = self.by_id[order.client_order_id] = order
        self.totals.placed += 1
        return order

    # --- events ------------------------------------------------------------------------------------------------------

    def apply(self, event: OrderEvent) -> bool:
        """Take what the venue said about an order; return whether it must be looked up.

        A late, repeated or impossible event changes nothing and is counted.
        """
        order = self.by_id.get(event.client_order_id)
        if order is None:
            self.late_events += 1
            return False
        if isinstance(event, OrderUpdate):
            return self._updated(order, event)
        if isinstance(event, LookedUp):
            return self._looked_up(order, event)
        if isinstance(event, Amended):
            order.amends += 1
            self.totals.amended += 1
            order.ticks, order.lots, order.wish = event.price_ticks, event.quantity_lots, None
            if order.in_flight is InFlight.AMEND:
                order.in_flight = None
            return self._complete(order, event.ts_ns)
        if isinstance(event, OutcomeUnknown):
            order.reason = event.raw or event.reason
        elif order.in_flight is not (InFlight.AMEND if isinstance(event, AmendRejected) else InFlight.CANCEL):
            self.late_events += 1
            return False
        order.in_flight = InFlight.UNKNOWN
        return True

    def _updated(self, order: OwnOrder, event: OrderUpdate) -> bool:
        if event.state.terminal:
            if not order.state.may_become(event.state):
                self.late_events += 1
                return False
            told = event.filled_lots
            if told is None:
                told = order.lots if event.state is OrderState.FILLED else 0
            return self._end_with(order, _Ending(event.state, told, event.ts_ns, event.reason))
        self.become(event.client_order_id, event.state, event.ts_ns, event.reason)
        return False

    def _looked_up(self, order: OwnOrder, event: LookedUp) -> bool:
        if event.state is None:
            state = OrderState.REJECTED if order.state is OrderState.PENDING else OrderState.CANCELLED
            return self._end_with(order, _Ending(state, order.filled, event.ts_ns, "the venue knows no such order"))
        if order.in_flight not in (None, InFlight.UNKNOWN) and not event.state.terminal:
            self.late_events += 1  # asked before the request that is under way now: that one's answer will say more
            return False
        if event.price_ticks is not None:
            order.ticks = event.price_ticks
        if event.quantity_lots is not None:
            order.lots = event.quantity_lots
        order.wish = None
        if event.state.terminal:
            return self._end_with(order, _Ending(event.state, event.filled_lots, event.ts_ns, ""))
        if event.filled_lots > order.filled:
            order.in_flight = InFlight.UNKNOWN
            return True  # its fills have not come yet
        order.in_flight = order.at_rest
        if order.state is OrderState.PENDING:
            order.state = OrderState.OPEN
        return self._complete(order, event.ts_ns)

    def _end_with(self, order: OwnOrder, ending: _Ending) -> bool:
        if ending.filled > order.filled:
            order.ending, order.in_flight = ending, InFlight.UNKNOWN
            return True
        state = ending.state
        if order.expires and state is OrderState.CANCELLED:
            state = OrderState.EXPIRED
        if state is OrderState.REJECTED and order.filled:
            state = OrderState.CANCELLED  # it did trade
        self.become(order.client_order_id, state, ending.ts_ns, ending.reason)
        return False

    def _complete(self, order: OwnOrder, ts_ns: int) -> bool:
        """End an order that has filled whole, now that its quantity is certain."""
        if order.filled >= order.lots:
            self.become(order.client_order_id, OrderState.FILLED, ts_ns)
        return False

    def become(self, client_order_id: str, state: OrderState, ts_ns: int, reason: str = "") -> OwnOrder | None:
        """Move an order to a state; a late or impossible event changes nothing and is counted."""
        order = self.by_id.get(client_order_id)
        if order is None or not order.state.may_become(state):
            self.late_events += 1
            return None
        order.state = state
        if order.in_flight is InFlight.NEW:
            order.in_flight = order.at_rest
        if state.terminal:
            self._end(order, ts_ns, reason)
        return order

    def fill(self, client_order_id: str, lots: int, ts_ns: int) -> OwnOrder | None:
        """Book a fill on the order; None when the order is not live any more (the fill itself still counts)."""
        order = self.by_id.get(client_order_id)
        if order is None:
            self.late_events += 1
            if self.has_ended(client_order_id):
                self.totals.filled += lots
            return None
        order.filled += lots
        if order.ending is not None and order.filled >= order.ending.filled:
            ending, order.ending = order.ending, None
            self._end_with(order, ending)
            return order
        # While an amend may have made it larger, an order that looks full may still rest.
        uncertain = order.ending is not None or order.wish is not None
        full = order.filled >= order.lots and not uncertain
        return self.become(client_order_id, OrderState.FILLED if full else OrderState.PARTIALLY_FILLED, ts_ns)

    def _end(self, order: OwnOrder, ts_ns: int, reason: str) -> None:
        order.in_flight, order.ended_ns, order.reason = None, ts_ns, reason
        order.wish = order.ending = None
        del self.by_key[order.key], self.by_id[order.client_order_id]
        self.ended.append(order)
        self.totals.end(order)

    def collect(self) -> list[OwnOrder]:
        """Return the orders that have ended since the last call."""
        ended, self.ended = self.ended, []
        return ended


class LiveOrders(Mapping[str, Order]):
    """Live own orders by level id, as values with Decimals; a view that costs nothing until it is read."""

    def __init__(self, orders: OwnOrders, instrument: Instrument) -> None:
        self._orders = orders
        self._instrument = instrument

    def __getitem__(self, level: str) -> Order:
        side, _, number = level.partition("_")
        order = self._orders.by_key[f"{side[:1]}{number}"]
        return Order(
            client_order_id=order.client_order_id,
            level_id=level_id(order.key),
            symbol=self._instrument.symbol,
            side=Side.BUY if order.side > 0 else Side.SELL,
            price=self._instrument.price(order.ticks),
            quantity=self._instrument.quantity(order.lots),
            type=order.type,
            state=order.state,
            in_flight=order.in_flight,
            filled_quantity=self._instrument.quantity(order.filled),
            created_ns=order.sent_ns,
            reduce_only=order.reduce_only,
        )

    def __iter__(self) -> Iterator[str]:
        return (level_id(key) for key in self._orders.by_key)

    def __len__(self) -> int:
        return len(self._orders)


def key_of(client_order_id: str) -> str | None:
    """Return the level key in a client order id of ours; None for another's id.

    Examples
    --------
    >>> key_of("gkr0-S12-1a"), key_of("web_4711")
    ('S12', None)
    """
    found = _CLIENT_ORDER_ID.fullmatch(client_order_id)
    return None if found is None else found[1]


def base36(number: int) -> str:
    """Write a whole number in base 36.

    Examples
    --------
    >>> base36(46)
    '1a'
    """
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
        if number == 0:
            return text
