"""What a row of the ladder says: a rung in, words out."""

from __future__ import annotations

from decimal import Decimal

from grinder_kit.decision.reason import Reason
from grinder_kit.model.number import plain
from grinder_kit.model.order import InFlight, OrderState
from grinder_kit.session.snapshot import About, Rung
from grinder_widgets.theme import MISSING, UNKNOWN, duration, number, probability

SHORT = 40  # letters of a row in the ladder; the detail has them all

_IN_FLIGHT = {
    InFlight.NEW: "PENDING NEW",
    InFlight.AMEND: "PENDING AMEND",
    InFlight.CANCEL: "PENDING CANCEL",
    InFlight.UNKNOWN: "UNKNOWN",
}
_STATES = {OrderState.OPEN: "open", OrderState.PARTIALLY_FILLED: "partly filled", OrderState.PENDING: "pending"}


def reason_words(code: str) -> str:
    """Return a reason code in plain words; other text as it is."""
    return Reason(code).text if code in Reason.__members__ else code


def unit(about: About) -> str:
    """Return what quantities are counted in: contracts where profit is paid in the base asset."""
    return "contracts" if about.settle == about.base else about.base


def decimals(step: Decimal) -> int:
    """Return the decimals that a tick or lot needs."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def price(value: Decimal | None, about: About, *, finer: int = 0) -> str:
    """Return a price by the tick, or `finer` decimals more for a mid."""
    return UNKNOWN if value is None else number(value, decimals(about.tick) + finer)


def rung_name(rung: Rung) -> str:
    """Return the name of a level: ``SELL 2``."""
    return rung.level_id.replace("_", " ") or rung.key


def row_name(rung: Rung) -> str:
    """Return the name of a row: levels that are not quoted are told from orders."""
    return f"{rung_name(rung)} (not quoted)" if rung.refused else rung_name(rung)


def rung_state(rung: Rung) -> str:
    """Return how an order is; a request under way in capitals."""
    if rung.refused:
        return "REFUSED"
    if rung.in_flight is not None:
        return _IN_FLIGHT[rung.in_flight]
    return UNKNOWN if rung.state is None else _STATES.get(rung.state, rung.state.lower())


def rung_why(rung: Rung) -> str:
    """Return why a row is as it is: the rule, and value against threshold."""
    reason = reason_words(rung.reason)
    return f"{reason} ({rung.why})" if reason and rung.why else reason or rung.why


def rung_short(rung: Rung) -> str:
    """Return a row's state in a few words."""
    state, why = rung_state(rung), rung_why(rung)
    if rung.refused:
        text = f"{state}: {rung.why or why}" if len(f"{state}: {why}") > SHORT else f"{state}: {why}"
    elif rung.in_flight is None and rung.age_s is not None:
        text = f"{state}, {_age(rung.age_s)}"
    else:
        text = state
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def _age(seconds: float) -> str:
    # Whole seconds: tenths would have every row sent four times a second.
    return f"{max(0, int(seconds))} s" if seconds < 120 else duration(seconds)


def queue_words(rung: Rung, about: About) -> str:
    """Return what stands ahead of an order, as quantity and as time."""
    if rung.refused or rung.queue_ahead is None:
        return MISSING if rung.refused else UNKNOWN
    ahead = f"{plain(rung.queue_ahead)} {unit(about)}"
    return ahead if rung.queue_s is None else f"{ahead}, {duration(rung.queue_s)} of flow (estimate)"


def detail(rung: Rung | None, about: About | None) -> tuple[tuple[str, str], ...]:
    """Return what is known of one row of the ladder."""
    if rung is None or about is None:
        return ()
    quantity = MISSING if rung.quantity is None else f"{plain(rung.quantity)} {unit(about)}"
    if rung.filled:
        quantity += f", {plain(rung.filled)} filled"
    rows = [("state", rung_state(rung)), ("price", f"{price(rung.price, about)} {about.quote}"), ("quantity", quantity)]
    if not rung.refused:
        rows.append(("queue ahead", queue_words(rung, about)))
    if rung.fill_prob is not None:
        rows.append(("P(fill)", probability(rung.fill_prob)))
    if why := rung_why(rung):
        rows.append(("why", why))
    if rung.age_s is not None:
        rows.append(("age", duration(rung.age_s)))
    if rung.client_order_id:
        rows += [("amended", _times(rung.amends)), ("order", rung.client_order_id)]
    return tuple(rows)


def _times(number_of: int) -> str:
    return {0: "never", 1: "once"}.get(number_of, f"{number_of:,} times")
