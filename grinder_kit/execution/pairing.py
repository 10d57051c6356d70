"""Which entry an exit closes: average cost, first in first out, nearest level.

Each is a rule over whole numbers; a ProfitView puts one to use.

=========  ==========================================================================================================
average    One open position at its mean price; what the exchange calls realized profit.
fifo       The oldest open entry first.
level      The nearest entry on the profitable side first: a sell at p closes the open buy with the highest price below
           p, a buy the open sell with the lowest price above p. What finds no such entry stays open as a lot of its
           own, so open buys and open sells may stand side by side, and their difference is the position.
=========  ==========================================================================================================
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, Protocol

from grinder_kit.execution.money import EXACT, ROUNDED, ZERO, Units, check_mark
from grinder_kit.model.fill import Fill, PairingView
from grinder_kit.model.number import Exact, plain
from grinder_kit.model.order import Side


@dataclass(slots=True)
class Lot:
    """What is still open of an entry, or of several that were merged; `fill` is then the oldest.

    `cost` is the sum of lots times unit; `commission` is what the open part has paid, in the settlement asset. `fees_known`: all
    of it could be converted.
    """

    sign: int
    lots: int
    cost: int
    commission: Decimal
    fill: Fill
    fees_known: bool = True


class PaidInKind:
    """What fees have taken of the base itself: `quantity` of it (negative: given), worth `cost` when it was taken.

    Pairing goes on in whole lots, and this is held against them as one line of its own: the lots say what was traded, the line
    what is missing of it. Commission holds `cost`, so that the line gains where the price falls.
    """

    def __init__(self) -> None:
        self.quantity = self.cost = ZERO

    def take(self, quantity: Decimal, cost: Decimal) -> None:
        """Add a fee."""
        self.quantity, self.cost = EXACT.add(self.quantity, quantity), EXACT.add(self.cost, cost)


class Match(NamedTuple):
    """A part of a lot that an exit closes: `taken` of the `before` lots that were open, and what they had cost."""

    lot: Lot
    taken: int
    before: int
    cost: int


class Rule(Protocol):
    """Which open lots an exit closes; side is +1 for a buy, -1 for a sell."""

    #: Whether a lot may hold several fills.
    merges: bool

    def close(self, sign: int, ticks: int, lots: int) -> list[Match]:
        """Take up to `lots` from what is open on the other side, in the order of the rule."""

    def open(self, ticks: int, lot: Lot) -> None:
        """Add what an exit has left over, or an entry."""

    def lots(self) -> Iterable[Lot]:
        """Return what is open, in the order in which it would be closed where there is one."""


def _take(lot: Lot, lots: int) -> Match:
    before = lot.lots
    if lots >= before:
        match = Match(lot, before, before, lot.cost)
    else:
        match = Match(lot, lots, before, lot.cost * lots // before)  # exact for a single price; else see ProfitView
    lot.lots = before - match.taken
    lot.cost -= match.cost
    return match


def _merge(into: Lot, lot: Lot) -> None:
    into.lots += lot.lots
    into.cost += lot.cost
    into.commission = EXACT.add(into.commission, lot.commission)
    into.fees_known = into.fees_known and lot.fees_known


class AverageCost:
    """One lot that every entry joins."""

    merges = True

    def __init__(self) -> None:
        self._lot: Lot | None = None

    def close(self, sign: int, ticks: int, lots: int) -> list[Match]:
        """Take from the position; a flip takes all of it."""
        lot = self._lot
        if lot is None or lot.sign == sign:
            return []
        match = _take(lot, lots)
        if not lot.lots:
            self._lot = None
        return [match]

    def open(self, ticks: int, lot: Lot) -> None:
        """Join the position."""
        if self._lot is None:
            self._lot = lot
        else:
            _merge(self._lot, lot)

    def lots(self) -> Iterable[Lot]:
        """Return the position, if there is one."""
        return () if self._lot is None else (self._lot,)


class FirstInFirstOut:
    """A queue of entries, all of one side."""

    merges = False

    def __init__(self) -> None:
        self._queue: deque[Lot] = deque()

    def close(self, sign: int, ticks: int, lots: int) -> list[Match]:
        """Take from the oldest entries."""
        queue = self._queue
        if not queue or queue[0].sign == sign:
            return []
        matches = []
        while lots and queue:
            match = _take(queue[0], lots)
            matches.append(match)
            lots -= match.taken
            if not match.lot.lots:
                queue.popleft()
        return matches

    def open(self, ticks: int, lot: Lot) -> None:
        """Join the end of the queue."""
        self._queue.append(lot)

    def lots(self) -> Iterable[Lot]:
        """Return the queue."""
        return self._queue


class _Ladder:
    """Open entries of one side: a queue per price, under sorted keys of which the largest is the next to close."""

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.queues: dict[int, deque[Lot]] = {}


class LevelPairing:
    """A ladder of open buys and one of open sells.

    Parameters
    ----------
    merge : bool
        Keep one lot per price instead of every fill: memory is then bounded by the prices that were traded, not by the
        fills, and profit is the same.
    """

    def __init__(self, *, merge: bool) -> None:
        self.merges = merge
        self._ladders = {1: _Ladder(), -1: _Ladder()}

    def close(self, sign: int, ticks: int, lots: int) -> list[Match]:
        """Take from the nearest prices at which the other side was entered better than `ticks`."""
        ladder = self._ladders[-sign]
        keys, queues = ladder.keys, ladder.queues
        # A buy is keyed by its price, a sell by minus its price: either way keys below the exit's are profitable.
        end = index = bisect_left(keys, -sign * ticks)
        if not index:
            return []
        matches = []
        while lots and index:
            queue = queues[keys[index - 1]]
            while lots and queue:
                match = _take(queue[0], lots)
                matches.append(match)
                lots -= match.taken
                if not match.lot.lots:
                    queue.popleft()
            if queue:
                break
            index -= 1
            del queues[keys[index]]
        del keys[index:end]
        return matches

    def open(self, ticks: int, lot: Lot) -> None:
        """Join the queue at this price."""
        ladder, key = self._ladders[lot.sign], lot.sign * ticks
        queue = ladder.queues.get(key)
        if queue is None:
            insort(ladder.keys, key)
            ladder.queues[key] = deque((lot,))
        elif self.merges:
            _merge(queue[0], lot)
        else:
            queue.append(lot)

    def lots(self) -> Iterator[Lot]:
        """Return the buys from the highest price down, then the sells from the lowest price up."""
        for ladder in self._ladders.values():
            for key in reversed(ladder.keys):
                yield from ladder.queues[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLot:
    """Quantity that a view holds open: at its entry price, or at the mean of the entries where they were merged.

    `ts_ns` and `level_id` are those of the (oldest) entry.
    """

    side: Side
    price: Decimal
    quantity: Decimal
    ts_ns: int
    level_id: str


class ProfitView:
    """Realised and unrealised profit under one pairing rule, before commission, in the settlement asset.

    The sums are kept as whole numbers, so the cost of asking does not grow with what is open. What fees have taken of the base
    counts in `inventory` and `unrealised`, and in no lot.
    """

    def __init__(self, kind: PairingView, units: Units, in_kind: PaidInKind, *, merge: bool) -> None:
        self.kind = kind
        self._in_kind = in_kind
        # A mean price has no finite decimal. Costs of the average view carry 24 more digits (inverse has 40 already).
        self._guard = 24 if kind is PairingView.AVERAGE and not units.inverse else 0
        self._finer = 10**self._guard
        self._units = units
        rules: dict[PairingView, Rule] = {
            PairingView.AVERAGE: AverageCost(),
            PairingView.FIFO: FirstInFirstOut(),
            PairingView.LEVEL: LevelPairing(merge=merge),
        }
        self._rule = rules[kind]
        self._profit = 0  # sum over closed parts
        self._cost = 0  # signed cost of what is open
        self._lots = 0  # signed lots that are open

    @property
    def realised(self) -> Decimal:
        """Profit of what was closed."""
        return self._units.money(self._profit, self._guard)

    @property
    def inventory(self) -> Decimal:
        """Signed quantity held: what is open long minus what is open short, less what fees have taken of it."""
        held, taken = self._units.instrument.quantity(self._lots), self._in_kind.quantity
        return EXACT.subtract(held, taken) if taken else held

    @property
    def taken_lots(self) -> int:
        """Lots by which the inventory in whole lots, towards zero, is less than what was traded: fees in base took them."""
        if not self._in_kind.quantity:
            return 0
        return self._lots - int(ROUNDED.divide_int(self.inventory, self._units.instrument.lot))

    @property
    def open_count(self) -> int:
        """How many lots are open."""
        return sum(1 for _ in self._rule.lots())

    @property
    def open_lots(self) -> tuple[OpenLot, ...]:
        """What is open, next to close first."""
        quantity = self._units.instrument.quantity
        return tuple(
            OpenLot(
                side=Side.BUY if lot.sign > 0 else Side.SELL,
                price=self.entry_price(lot, lot.cost, lot.lots),
                quantity=quantity(lot.lots),
                ts_ns=lot.fill.ts_ns,
                level_id=lot.fill.level_id,
            )
            for lot in self._rule.lots()
        )

    def unrealised(self, mark: Exact) -> Decimal:
        """Return the profit of what is open if it were closed at `mark`, and what the base that fees took has lost since.

        Raises
        ------
        DataError
            When `mark` is not above zero.
        """
        price = check_mark(mark)
        profit = EXACT.subtract(self._units.worth(self._lots, price), self._units.money(self._cost, self._guard))
        taken = self._in_kind
        if taken.quantity or taken.cost:
            profit = EXACT.add(profit, EXACT.subtract(taken.cost, EXACT.multiply(taken.quantity, price)))
        return profit

    def book(self, sign: int, ticks: int, unit: int, lots: int, fill: Fill) -> None:
        """Close what the rule pairs with a fill and open the rest."""
        for match in self.close(sign, ticks, unit, lots):
            lots -= match.taken
        if lots:
            self.open(sign, ticks, unit, lots, ZERO, fill)

    def close(self, sign: int, ticks: int, unit: int, lots: int) -> list[Match]:
        """Close what the rule pairs with an exit, and realise its profit."""
        matches = self._rule.close(sign, ticks, lots)
        exit_unit = unit * self._finer
        for match in matches:
            self._profit += sign * (
                match.cost - match.taken * exit_unit
            )  # sign is the exit's: a sell earns proceeds - cost
            self._cost += sign * match.cost
            self._lots += sign * match.taken
        return matches

    def open(
        self, sign: int, ticks: int, unit: int, lots: int, commission: Decimal, fill: Fill, *, fees_known: bool = True
    ) -> None:
        """Open `lots` of a fill that have paid `commission`, in the settlement asset."""
        cost = lots * unit * self._finer
        self._cost += sign * cost
        self._lots += sign * lots
        self._rule.open(ticks, Lot(sign, lots, cost, commission, fill, fees_known))

    def profit(self, match: Match, unit: int) -> Decimal:
        """Return what a closed part earned."""
        return self._units.money(match.lot.sign * (match.taken * unit * self._finer - match.cost), self._guard)

    def entry_price(self, lot: Lot, cost: int, lots: int) -> Decimal:
        """Return the price at which a part of a lot was entered."""
        return self._units.price(cost, lots, self._guard) if self.kind is PairingView.AVERAGE else lot.fill.price

    def lots(self) -> Iterable[Lot]:
        """Return the open lots themselves, for the tracker that owns this view."""
        return self._rule.lots()

    def __repr__(self) -> str:
        settle = self._units.instrument.settle
        return f"ProfitView({self.kind}: realised {plain(self.realised)} {settle}, inventory {plain(self.inventory)})"
