"""A journal for people: one line an entry, and what it adds up to. `grinder journal` prints it."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from grinder_kit.errors import ConfigError, JournalError
from grinder_kit.execution.journal_entry import Entry, EntryKind, entries
from grinder_kit.execution.journal_words import Units, json_line, level_of, owner, printable, text_line, utc
from grinder_kit.execution.own_orders import OwnOrders, key_of
from grinder_kit.model.event import (
    Amend,
    Amended,
    AmendRejected,
    Cancel,
    CancelRejected,
    Command,
    Event,
    LookedUp,
    OrderFilled,
    OrderUpdate,
    OutcomeUnknown,
    Place,
    Restarted,
)
from grinder_kit.model.order import InFlight, Side
from grinder_kit.model.section import did_you_mean

_LEVEL = re.compile(r"(B|S|BUY_|SELL_)(-?\d+)")


def show(
    path: Path,
    say: Callable[[str], object],
    *,
    kinds: Collection[EntryKind] = (),
    level: str | None = None,
    last: int | None = None,
    as_json: bool = False,
) -> JournalError | None:
    """Say a journal line by line: entries of some kinds or one level, or the last so many of them, then the sum of all.

    Returns
    -------
    JournalError or None
        What ended the reading early; what precedes it has been said.

    Raises
    ------
    JournalError, FileNotFoundError
        Where nothing can be read.
    """
    summary, damage, shown = Summary(), None, 0
    line = json_line if as_json else lambda entry: text_line(entry, summary.units)
    kept: deque[str] = deque(maxlen=last)
    try:
        for entry in entries(path):
            summary.take(entry)
            if (kinds and entry.kind not in kinds) or (level is not None and level_of(entry) != level):
                continue
            shown += 1
            if last is None:
                say(line(entry))
            else:
                kept.append(line(entry))
    except JournalError as error:
        if not summary.counts:
            raise
        damage = error
    for text in kept:
        say(text)
    if not as_json:
        say("\n" + summary.text(shown if last is None else len(kept), damage))
    return damage


def kinds_of(text: str) -> frozenset[EntryKind]:
    """Return the kinds that stand in a text such as ``intent,event``."""
    found = set()
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name not in list(EntryKind):
            raise ConfigError(f"unknown kind '{name}'{did_you_mean(name, list(EntryKind))} ({', '.join(EntryKind)})")
        found.add(EntryKind(name))
    return frozenset(found)


def level_key(text: str) -> str:
    """Return the level key in ``B3`` or ``BUY_3``.

    Examples
    --------
    >>> level_key("BUY_3"), level_key("s12")
    ('B3', 'S12')
    """
    found = _LEVEL.fullmatch(text.upper())
    if found is None:
        raise ConfigError(f"level is '{text}'; write B3 or BUY_3, S12 or SELL_12")
    return found[1][0] + found[2]


class Summary:
    """What a journal adds up to, entry by entry."""

    def __init__(self) -> None:
        self.counts: Counter[EntryKind] = Counter()
        self.header: Mapping[str, Any] = {}
        self.units = Units()
        self.orders = OwnOrders("journal")
        self.traded = {Side.BUY: 0, Side.SELL: 0}
        self._trades: set[str] = set()
        self._span: tuple[int, int] | None = None

    def take(self, entry: Entry) -> None:
        """Take the next entry."""
        self.counts[entry.kind] += 1
        first, latest = self._span or (entry.ts_ns, entry.ts_ns)
        self._span = min(first, entry.ts_ns), max(latest, entry.ts_ns)
        if entry.kind is EntryKind.HEADER:
            self.header = cast("Mapping[str, Any]", entry.body)
            tick, lot = self.header.get("tick"), self.header.get("lot")
            self.units = Units(None if tick is None else Decimal(tick), None if lot is None else Decimal(lot))
        elif not isinstance(entry.body, Mapping):
            self._follow(entry.body, entry.ts_ns)
            self.orders.collect()

    def _follow(self, value: Command | Event, ts_ns: int) -> None:
        """Move the orders by the engine's rules."""
        match value:
            case Place() if key_of(value.client_order_id) is not None:
                self.orders.sent(value, ts_ns)
            case Cancel() | Amend():
                self.orders.sent(value, ts_ns)
            case Restarted():
                self.orders.lose_track()
            case OrderFilled() if value.trade_id not in self._trades:
                self._trades.add(value.trade_id)
                key = key_of(value.client_order_id)
                if key is not None:
                    self.traded[Side.BUY if key[0] == "B" else Side.SELL] += value.quantity_lots
                self.orders.fill(value.client_order_id, value.quantity_lots, ts_ns)
            case OrderUpdate() | Amended() | AmendRejected() | CancelRejected() | OutcomeUnknown() | LookedUp():
                self.orders.apply(value)

    def text(self, shown: int, damage: JournalError | None) -> str:
        """Return the sum in words."""
        return "\n".join(printable(f"{label:<14}{text}") for label, text in self._rows(shown, damage))

    def _rows(self, shown: int, damage: JournalError | None) -> Iterator[tuple[str, str]]:
        total = self.counts.total()
        first, latest = self._span or (0, 0)
        yield "journal", owner(self.header)
        yield "span", f"{utc(first)} to {utc(latest)} UTC, {(latest - first) / 1e9:,.1f} s"
        yield "entries", f"{total:,}" + (f", {shown:,} of them shown" if shown != total else "")
        for kind in EntryKind:
            if self.counts[kind]:
                yield f"  {kind}", f"{self.counts[kind]:,}"
        bought, sold = (self.units.quantity(self.traded[side]) for side in Side)
        yield "fills", f"{len(self._trades):,}" + (f": bought {bought}, sold {sold}" if self._trades else "")
        live = sorted(self.orders, key=lambda order: (-order.ticks, order.key))
        yield "live orders", f"{len(live):,}" + (" by the journal; the venue may know better" if live else "")
        for order in live:
            side = Side.BUY if order.side > 0 else Side.SELL
            what = f"{side} {self.units.quantity(order.lots)} at {self.units.price(order.ticks)}, {order.state}"
            filled = f", {self.units.quantity(order.filled)} filled" if order.filled else ""
            way = f", {_UNDER_WAY[order.in_flight]}" if order.in_flight is not None else ""
            yield f"  {order.key}", f"{what}{filled}{way}  [{order.client_order_id}]"
        yield "damage", "none found" if damage is None else str(damage)


_UNDER_WAY = {
    InFlight.NEW: "not confirmed",
    InFlight.AMEND: "an amend is under way",
    InFlight.CANCEL: "a cancel is under way",
    InFlight.UNKNOWN: "its state is unknown",
}
