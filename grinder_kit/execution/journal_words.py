"""One entry of a journal as a line: in words for people, in JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

from grinder_kit.decision.reason import Reason
from grinder_kit.execution.journal_codec import encode, encode_facts, parse
from grinder_kit.execution.journal_entry import Entry, EntryKind
from grinder_kit.execution.own_orders import key_of
from grinder_kit.model.event import (
    Amend,
    Amended,
    AmendRejected,
    Cancel,
    CancelRejected,
    Command,
    Event,
    Flatten,
    FundingPaid,
    LookedUp,
    LookUp,
    OrderFilled,
    OrderUpdate,
    OutcomeUnknown,
    Place,
    Rebased,
    Reconciled,
    Restarted,
    Resynced,
    RunState,
    SetState,
    StreamLost,
    Updated,
)
from grinder_kit.model.number import plain


class Units(NamedTuple):
    """Tick and lot, where the header says them; prices and quantities are then shown as such."""

    tick: Decimal | None = None
    lot: Decimal | None = None

    def quantity(self, lots: int) -> str:
        """Write a quantity."""
        return f"{lots:,} lots" if self.lot is None else plain(self.lot * lots)

    def price(self, ticks: int) -> str:
        """Write a price."""
        return f"{ticks:,} ticks" if self.tick is None else f"{self.tick * ticks:,f}"


def level_of(entry: Entry) -> str | None:
    """Return the level key that an entry is about."""
    if isinstance(entry.body, Mapping):
        return entry.body.get("key") if entry.kind is EntryKind.DECISION else None
    client_order_id = getattr(entry.body, "client_order_id", None)
    return None if client_order_id is None else key_of(client_order_id)


def json_line(entry: Entry) -> str:
    """Write an entry as one line of JSON."""
    body = entry.body if isinstance(entry.body, Mapping) else parse(encode(entry.body))
    return encode_facts(
        {
            "seq": entry.seq,
            "ts_ns": entry.ts_ns,
            "time": f"{utc(entry.ts_ns).replace(' ', 'T')}Z",
            "kind": entry.kind,
            "level": level_of(entry),
            "body": body,
        }
    )


def text_line(entry: Entry, units: Units) -> str:
    """Write an entry as one line: time (UTC), number, kind, level, what, why, and the client order id."""
    what, why = _words(entry, units)
    client_order_id = getattr(entry.body, "client_order_id", "")
    line = f"{utc(entry.ts_ns)} {entry.seq:>8}  {entry.kind:<8}  {level_of(entry) or '':<4}  {what:<44}  {why}"
    return printable(f"{line.rstrip()}  [{client_order_id}]" if client_order_id else line.rstrip())


def utc(ns: int) -> str:
    """Write a time: date and time of day to the ms, UTC; ns where no calendar reaches.

    Examples
    --------
    >>> utc(1_000_000)
    '1970-01-01 00:00:00.001'
    """
    seconds, rest = divmod(ns, 1_000_000_000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03d}"
    except (ValueError, OverflowError, OSError):
        return f"{ns} ns"


def _words(entry: Entry, units: Units) -> tuple[str, str]:
    if isinstance(entry.body, Mapping):
        return _fact_words(entry.kind, entry.body)
    return _value_words(entry.body, units)


def _fact_words(kind: EntryKind, facts: Mapping[str, Any]) -> tuple[str, str]:
    match kind:
        case EntryKind.HEADER:
            config = str(facts.get("config", "unknown"))[:12]
            return owner(facts), f"grinder_kit {facts.get('version')}, configuration {config}"
        case EntryKind.DECISION:
            return str(facts["action"]).lower().replace("_", " and "), facts["text"] or _reason(facts["reason"])
        case EntryKind.NOTE:
            return facts["text"], _listed(facts["facts"])
    return "kept for a restart", _listed(facts)


def _value_words(value: Command | Event, units: Units) -> tuple[str, str]:
    """Return what happened, and why."""
    quantity, price = units.quantity, units.price
    match value:
        case Place():
            extra = ", reduce-only" if value.reduce_only else ""
            order = f"{value.side} {quantity(value.quantity_lots)} at {price(value.price_ticks)}"
            return f"place {order}, {value.type}{extra}", _reason(value.reason)
        case Amend():
            return f"amend to {quantity(value.quantity_lots)} at {price(value.price_ticks)}", _reason(value.reason)
        case Cancel():
            return "cancel", _reason(value.reason)
        case LookUp():
            return "look up", _reason(value.reason)
        case OrderUpdate():
            filled = f", {quantity(value.filled_lots)} filled" if value.filled_lots else ""
            return f"{value.state}{filled}", _reason(value.reason)
        case Amended():
            return f"amended to {quantity(value.quantity_lots)} at {price(value.price_ticks)}", ""
        case AmendRejected():
            return "not amended", _reason(value.reason)
        case CancelRejected():
            return "nothing to cancel", _reason(value.reason)
        case OutcomeUnknown():
            return "outcome unknown", " ".join(filter(None, (_reason(value.reason), value.raw)))
        case LookedUp(state=None):
            return "looked up: no such order", ""
        case LookedUp():
            return f"looked up: {value.state}, {quantity(value.filled_lots)} filled", ""
        case OrderFilled():
            rate = "" if value.commission_rate is None else f" at {plain(value.commission_rate)}"
            fee = f"fee {plain(value.commission)} {value.commission_asset}{rate}"
            what = f"filled {quantity(value.quantity_lots)} at {price(value.price_ticks)}"
            return what, f"{fee}, {'maker' if value.is_maker else 'taker'}, trade {value.trade_id}"
        case FundingPaid():
            return f"funding {'received' if value.amount > 0 else 'paid'} {plain(abs(value.amount))}", ""
        case StreamLost():
            return "the stream of own orders was lost", _reason(value.reason)
        case Restarted():
            return "a new process took over; what was under way is unknown", ""
        case Resynced():
            return "orders and fills agree with the venue", ""
        case SetState():
            return f"the session is {value.state}", _reason(value.reason)
        case Flatten(duration_ns=int(duration)):
            how = f"{quantity(value.total_lots)} in {value.slices} slices over {duration / 1e9:g} s"
            return f"the session is {RunState.FLATTENING}: {how}", _reason(value.reason)
        case Flatten():
            how = f"{quantity(value.total_lots)}, {quantity(value.shown_lots or 0)} shown at a time"
            return f"the session is {RunState.FLATTENING}: {how}", _reason(value.reason)
        case Rebased():
            return f"held beside the session's own fills: {plain(value.foreign)}", _reason(value.reason)
        case Reconciled():
            return f"reconciliation: the session is {value.state}", _reason(value.reason)
        case Updated():
            return "the session takes another configuration", sha256(value.config.encode()).hexdigest()[:12]
    return type(value).__name__, ""


def _reason(code: str) -> str:
    return Reason(code).text if code in list(Reason) else code


def owner(header: Mapping[str, Any]) -> str:
    """Say whose journal it is."""
    return f"{header.get('symbol')} at {header.get('venue')}, session {header.get('tag')}"


def _listed(facts: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in facts.items())


def printable(text: str) -> str:
    """Escape what would break a line, or tell the terminal to do something: a venue's words may hold it."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
