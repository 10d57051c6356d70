"""Levels whose post-only order the venue has refused because it would take: placed again next to the market's other side.

The market had moved while the order was on its way. For a bounded number of times the level stands one tick behind the other side
instead, never beyond its own price; and it stays there while at its own price it would still take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from grinder_kit.decision.constraints import Constraints
from grinder_kit.decision.grid_manager import Book, Level, Refused
from grinder_kit.decision.reason import Reason
from grinder_kit.decision.routing import Action, Decision
from grinder_kit.execution.own_orders import OwnOrder, OwnOrders

WOULD_TAKE = "POST_ONLY_WOULD_TAKE"


class _Tries(NamedTuple):
    times: int
    lots: int


class Repegs:
    """What was refused, how often in a row, and which orders stand aside of their level's price.

    Parameters
    ----------
    constraints : Constraints
        What a new price must keep to.
    """

    def __init__(self, constraints: Constraints) -> None:
        self._constraints = constraints
        self._tries: dict[str, _Tries] = {}  # by level key
        self._aside: set[str] = set()  # client order ids
        self._moved: set[str] = set()  # keys of levels that the last call of `levels` has moved

    def __bool__(self) -> bool:
        return bool(self._tries or self._aside)

    def refused(self, order: OwnOrder, most: int) -> bool:
        """Take a refusal; return whether the level may try again at once."""
        times = self._tries[order.key].times + 1 if order.key in self._tries else 1
        if times > most:
            del self._tries[order.key]
            return False
        self._tries[order.key] = _Tries(times, order.lots)
        return True

    def accepted(self, key: str) -> None:
        """Begin to count anew: the venue has taken the level's order."""
        self._tries.pop(key, None)

    def stands_aside(self, client_order_id: str) -> None:
        """Note that an order was sent to another price than its level's."""
        self._aside.add(client_order_id)

    def clear(self) -> None:
        """Forget all: nothing is quoted any more."""
        self._tries.clear()
        self._aside.clear()

    def levels(
        self, quoted: tuple[Level, ...], refused: tuple[Refused, ...], book: Book, orders: OwnOrders, room: int
    ) -> tuple[tuple[Level, ...], tuple[Refused, ...]]:
        """Return the levels with those that stand, or are to stand, next to the other side.

        Parameters
        ----------
        quoted, refused
            What the plan says.
        book : Book
        orders : OwnOrders
        room : int
            Orders allowed at once.
        """
        crossing = {item.key: item for item in refused if item.reason is Reason.WOULD_CROSS}
        self._forget(quoted, crossing.keys() | {level.key for level in quoted}, orders)
        taken = {level.ticks for level in quoted} | {order.ticks for order in orders}
        moved: list[Level] = []
        for key, item in crossing.items():
            own = orders.by_key.get(key)
            if own is not None:
                # Following the market tick by tick would lose the queue each time.
                if own.client_order_id in self._aside and own.side * (item.ticks - own.ticks) >= 0:
                    moved.append(Level(key, own.side, own.ticks, own.lots, None))
            elif key in self._tries and len(quoted) + len(moved) < room:
                ticks = book.ask - 1 if item.side > 0 else book.bid + 1
                while ticks in taken:
                    ticks -= item.side
                lots = self._tries[key].lots
                if self._constraints.refuse(ticks, lots, book.bid + book.ask) is None:
                    taken.add(ticks)
                    moved.append(Level(key, item.side, ticks, lots, None))
        self._moved = {level.key for level in moved}
        return (*quoted, *moved), tuple(item for item in refused if item.key not in self._moved)

    def _forget(self, quoted: tuple[Level, ...], known: set[str], orders: OwnOrders) -> None:
        for key in self._tries.keys() - known:
            del self._tries[key]  # the plan has no such level any more
        at_home = {(level.key, level.ticks) for level in quoted}
        for one in list(self._aside):
            own = orders.by_id.get(one)
            if own is None or (own.key, own.ticks) in at_home:
                self._aside.discard(one)

    def named(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Return the decisions with the reason of those that place a level next to the other side."""
        return [
            decision._replace(reason=Reason.REPEGGED)
            if decision.action is Action.PLACE and decision.key in self._moved
            else decision
            for decision in decisions
        ]
