"""The routing table: what to do about each level of a ladder and each own order. Pure, over integers.

For each level, and for each order that no level wants, the first row that matches wins:

| # | when | then |
|---|---|---|
| 1 | not running: own orders are withdrawn, nothing else is sent; stale data: only cancels are | CANCEL, BLOCK |
| 2 | a request for the order is under way, or its state is unknown | NOOP |
| 3 | the order is off the plan, or is to be withdrawn (reset, time to live) | CANCEL |
| 4 | a risk gate is shut (position unknown, position or notional limit) and the order would add risk | BLOCK |
| 5 | constraints violated (an existing order stays, unless it violates them itself: then it is off the plan) | BLOCK |
| 6 | the level has no order | PLACE |
| 7 | price within the tolerance and quantity within one step | NOOP |
| 8 | amend unsupported or unsafe | CANCEL_REPLACE |
| 9 | quantity only | AMEND |
| 10 | price moved at most the amend threshold | AMEND |
| 11 | otherwise | CANCEL_REPLACE |

Row 2 stands before row 3, other than in the specification's table: an order whose placement is not confirmed cannot be
cancelled safely, and one whose cancel is under way needs no second one.

A ladder adds what no single level can see: an amend waits (BLOCK) while its new price lies beyond an own order of the other
side that is on its way out, or is held by an own order that stays. Cancels and amends leave in an order in which a ladder that
shifts never crosses itself (`in_steps`); whoever sends them lets a new order wait for the cancels it would meet (`meets`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from grinder_kit.decision import rules as rule
from grinder_kit.decision.reason import Reason
from grinder_kit.decision.rules import standing


class Action(StrEnum):
    """What the router does."""

    PLACE = "PLACE"
    CANCEL = "CANCEL"
    AMEND = "AMEND"
    CANCEL_REPLACE = "CANCEL_REPLACE"
    NOOP = "NOOP"
    BLOCK = "BLOCK"


class Gates(NamedTuple):
    """What holds for every level of one step."""

    running: bool = True
    stale: bool = False


class Amends(NamedTuple):
    """What the venue can amend."""

    supported: bool = False
    increase: bool = True  # False on spot: only smaller
    left: int = 10_000  # edits this order may still take


class LevelLike(Protocol):
    """A level of the plan."""

    @property
    def key(self) -> str:
        """Level key, such as ``B3``."""
        ...

    @property
    def side(self) -> int:
        """+1 for a buy, -1 for a sell."""
        ...

    @property
    def ticks(self) -> int:
        """Price in ticks."""
        ...

    @property
    def lots(self) -> int:
        """Quantity in lots."""
        ...


class OrderLike(LevelLike, Protocol):
    """An own order: `ticks` and `lots` are its own."""

    @property
    def filled(self) -> int:
        """Lots that have filled."""
        ...

    @property
    def in_flight(self) -> object:
        """What is under way for it; None or false where nothing is."""
        ...

    @property
    def amends(self) -> int:
        """How often it was amended."""
        ...


class Decision(NamedTuple):
    """What is done about one level, or about an order that no level wants, and why.

    `ticks` and `lots` are the level's; those of the order where no level wants it.
    """

    key: str
    side: int
    ticks: int
    lots: int
    action: Action
    reason: Reason
    order: OrderLike | None


class Rules(NamedTuple):
    """How far an order may be off its level, and what the venue can amend."""

    tolerance_ticks: int = 1
    amend_threshold_tenths: int = 200
    amends: Amends = Amends()


#: Why a level may not be sent: (level, own order) to a reason, or None. Row 4 and row 5 of the table.
Refuse = Callable[[LevelLike, OrderLike | None], Reason | None]


def route_standing(
    ticks: int,
    lots: int,
    own_ticks: int,
    own_lots: int,
    own_filled: int,
    tolerance_ticks: int,
    threshold_tenths: int,
    may_amend: bool,
    may_increase: bool,
) -> tuple[Action, Reason]:
    """Decide about a level and the order under its key, where nothing stands in the way: rows 7 to 11."""
    return _STANDING[
        standing(
            ticks, lots, own_ticks, own_lots, own_filled, tolerance_ticks, threshold_tenths, may_amend, may_increase
        )
    ]


#: What the codes of `rules.standing` mean.
_STANDING = (
    (Action.NOOP, Reason.CONFORMS),
    (Action.CANCEL_REPLACE, Reason.AMEND_UNSAFE),
    (Action.AMEND, Reason.QUANTITY_CHANGED),
    (Action.AMEND, Reason.SMALL_MOVE),
    (Action.CANCEL_REPLACE, Reason.LARGE_MOVE),
)


def route_ladder(
    levels: Sequence[LevelLike],
    orders: Mapping[str, OrderLike],
    gates: Gates,
    rules: Rules = Rules(),  # noqa: B008 - an immutable tuple
    *,
    withdraw: Mapping[str, Reason] | None = None,
    stays: frozenset[str] | set[str] = frozenset(),
    rebuilding: bool = False,
    refuse: Refuse | None = None,
) -> list[Decision]:
    """Decide about every own order and every level: first the orders that must go, then the levels in their order.

    Parameters
    ----------
    levels : sequence
        At most one per key.
    orders : mapping of str to order
        Live own orders by level key.
    gates, rules
        What holds for all of them.
    withdraw : mapping of str to Reason, optional
        Keys whose order is to go whatever the plan says.
    stays : set of str
        Keys off the plan whose order stays: a new order there would take, and this one is about to fill.
    rebuilding : bool
        Orders of an old plan are still there: nothing is placed.
    refuse : callable, optional
        Rows 4 and 5: why a level may not be sent.

    Raises
    ------
    ValueError
        For two levels under one key.
    """
    out: list[Decision] = []
    new: Any = tuple.__new__  # a NamedTuple's own constructor takes twice as long
    wanted = {level.key for level in levels}
    if len(wanted) != len(levels):
        raise ValueError(f"two levels have the key {_repeated(levels)}; each level needs a key of its own")
    leaving: set[str] = set()
    for key, order in orders.items():
        why = withdraw.get(key) if withdraw else None
        if why is None and (key in wanted or key in stays):
            continue
        if order.in_flight:
            action, reason = Action.NOOP, Reason.IN_FLIGHT
        else:
            action, reason = Action.CANCEL, Reason.NOT_RUNNING if not gates.running else why or Reason.OFF_PLAN
            leaving.add(key)
        out.append(Decision(key, order.side, order.ticks, order.lots, action, reason, order))
    prices: set[int] | None = None  # where own orders live; most steps place nothing and need not know
    tolerance, threshold, amends = rules
    supported, increase, left = amends
    clear = gates.running and not gates.stale
    outcomes, conforms = _STANDING, _STANDING[rule.CONFORMS]
    moving: list[OrderLike] = []  # orders that are to be amended or replaced
    for level in levels:
        key, side, ticks, lots = level.key, level.side, level.ticks, level.lots
        own = orders.get(key)
        if own is not None and (own.in_flight or key in leaving):
            action, reason = (
                (Action.BLOCK, Reason.STALE_MARKET)
                if gates.running and gates.stale
                else (Action.NOOP, Reason.IN_FLIGHT)
            )
        elif not clear:
            if gates.running:
                action, reason = Action.BLOCK, Reason.STALE_MARKET
            elif own is None:
                action, reason = Action.BLOCK, Reason.NOT_RUNNING
            else:
                action, reason = Action.CANCEL, Reason.NOT_RUNNING
        elif refuse is not None and (why := refuse(level, own)) is not None:
            action, reason = Action.BLOCK, why
        elif own is not None:
            own_ticks, own_lots = own.ticks, own.lots
            if ticks == own_ticks and lots == own_lots:  # as most levels of most steps
                out.append(new(Decision, (key, side, ticks, lots, *conforms, own)))
                continue
            action, reason = outcome = outcomes[
                standing(
                    ticks, lots, own_ticks, own_lots, own.filled, tolerance, threshold,
                    supported and own.amends < left, increase,
                )
            ]  # fmt: skip
            if outcome is not conforms:
                moving.append(own)
        elif ticks in (prices := {o.ticks for o in orders.values()} if prices is None else prices):
            action, reason = Action.BLOCK, Reason.PRICE_OCCUPIED
        elif rebuilding:
            action, reason = Action.BLOCK, Reason.RESET
        else:
            action, reason = Action.PLACE, Reason.NEW_LEVEL
            prices.add(ticks)
        out.append(new(Decision, (key, side, ticks, lots, action, reason, own)))
    return _apart(out, orders, moving, leaving) if moving else out


def _repeated(levels: Sequence[LevelLike]) -> str:
    seen: set[str] = set()
    return next(level.key for level in levels if level.key in seen or seen.add(level.key))  # type: ignore[func-returns-value]


def _apart(
    decisions: list[Decision], orders: Mapping[str, OrderLike], moving: list[OrderLike], leaving: set[str]
) -> list[Decision]:
    """Let an amend that would meet or cover an own order wait until that order has left."""
    gone = [order for key, order in orders.items() if order.in_flight or key in leaving]
    under_way = moving + gone
    lowest_sell = min([order.ticks for order in under_way if order.side < 0], default=1 << 62)
    highest_buy = max([order.ticks for order in under_way if order.side > 0], default=-1)
    staying: set[int] = set()
    if len(under_way) < len(orders):
        staying = {order.ticks for order in orders.values()}.difference([order.ticks for order in under_way])
    amend, waits, fine = Action.AMEND, rule.amend_waits, rule.FINE  # looking a member of an enum up is slow
    for at, decision in enumerate(decisions):
        if decision.action is not amend or decision.order is None:
            continue
        ticks = decision.ticks
        why = waits(decision.side, ticks, decision.order.ticks, lowest_sell, highest_buy, ticks in staying)
        if why != fine:
            reason = Reason.OWN_CROSS if why == rule.OWN_CROSS else Reason.PRICE_OCCUPIED
            decisions[at] = decision._replace(action=Action.BLOCK, reason=reason)
    return decisions


def meets(side: int, ticks: int, own_side: int, own_ticks: int) -> bool:
    """Whether an order at a price would trade with an own order, were that still there."""
    return own_side == -side and (ticks - own_ticks) * side >= 0


def in_steps(decisions: Sequence[Decision]) -> tuple[list[Decision], ...]:
    """Return what is to be sent, in the order in which it is: cancels, amends away from the market's other side, amends
    towards it, new orders. Each step is sent when the one before it is confirmed.
    """  # noqa: D205
    cancels = [d for d in decisions if d.action in (Action.CANCEL, Action.CANCEL_REPLACE)]
    away: list[Decision] = []
    towards: list[Decision] = []
    for d in decisions:
        if d.action is Action.AMEND and d.order is not None:
            (towards if rule.towards(d.side, d.ticks, d.order.ticks) else away).append(d)
    places = [d for d in decisions if d.action is Action.PLACE]
    away.sort(key=lambda d: rule.turn(d.side, d.ticks, False))
    towards.sort(key=lambda d: rule.turn(d.side, d.ticks, True))
    return cancels, away, towards, places
