"""What a row of the ladder says: a rung in, words out."""

from __future__ import annotations

import re
from decimal import Decimal

from grinder_kit.decision.reason import Reason
from grinder_kit.model.number import plain
from grinder_kit.model.order import InFlight, OrderState
from grinder_kit.session.snapshot import About, Forecast, Rung
from grinder_widgets.theme import MISSING, UNKNOWN, bps, duration, interval, number, probability

SHORT = 29  # letters of a reason in the ladder; the detail has them all

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
    reason, why = reason_words(rung.reason), without_zeros(rung.why) if rung.reason == Reason.FILL_PROB else rung.why
    return f"{reason} ({why})" if reason and why else reason or why


def rung_short(rung: Rung, ahead: Decimal | float | None) -> str:
    """Return the queue ahead of an order, in seconds or as a quantity; or, where it does not just rest, how it is."""
    if rung.refused or rung.in_flight is not None:
        return rung_state(rung)
    if ahead is None:
        return UNKNOWN
    return f"{ahead.normalize():f}" if isinstance(ahead, Decimal) else duration(ahead)


def prob_words(rung: Rung) -> str:
    """Return a row's probability, ``–`` where there is none; of a level that is not quoted, why."""
    if not rung.refused:
        return probability(rung.fill_prob)
    if rung.reason == Reason.FILL_PROB and rung.why:
        return without_zeros(rung.why)
    why = reason_words(rung.reason) or rung.why or MISSING
    return why if len(why) <= SHORT else f"{why[: SHORT - 1]}…"


def without_zeros(text: str) -> str:
    """Return text whose probabilities are written as everywhere.

    Examples
    --------
    >>> without_zeros("0.09 < 0.20")
    '.09 < .20'
    """
    return re.sub(r"(?<![\d.])0\.(?=\d)", ".", text)


def chance_words(value: float | None, low: float | None, high: float | None) -> str:
    """Return a probability with its interval: ``.43 [.38, .49]``."""
    if value is None or low is None or high is None:
        return probability(value)
    return f"{probability(value)} [{probability(low)}, {probability(high)}]"


def bps_short(rung: Rung) -> str:
    """Return a row's expected value and half its interval: ``+0.4 ±.6``."""
    if rung.value_bps is None or rung.value_low is None or rung.value_high is None:
        return number(rung.value_bps, 1, sign=True)
    half = number((rung.value_high - rung.value_low) / 2, 1)
    return f"{number(rung.value_bps, 1, sign=True)} ±{half[1:] if half.startswith('0.') else half}"


def value_words(rung: Rung) -> str:
    """Return a row's expected value in full, and whether it can be told from zero."""
    if rung.value_bps is None or rung.value_low is None or rung.value_high is None:
        return bps(rung.value_bps)
    zero = "" if rung.value_low > 0 or rung.value_high < 0 else ", not distinguishable from zero"
    return f"{bps(rung.value_bps)} {interval(rung.value_low, rung.value_high, 1)}{zero}"


def queue_words(rung: Rung, about: About) -> str:
    """Return what stands ahead of an order, as quantity and as time."""
    if rung.refused or rung.queue_ahead is None:
        return MISSING if rung.refused else UNKNOWN
    ahead = f"{plain(rung.queue_ahead)} {unit(about)}"
    return ahead if rung.queue_s is None else f"{ahead}, {duration(rung.queue_s)} of flow (estimate)"


def detail(rung: Rung | None, about: About, forecast: Forecast) -> tuple[tuple[str, str], ...]:
    """Return what is known of one row of the ladder; of what is not, why."""
    if rung is None:
        return ()
    quantity = MISSING if rung.quantity is None else f"{plain(rung.quantity)} {unit(about)}"
    if rung.filled:
        quantity += f", {plain(rung.filled)} filled"
    rows = [("state", rung_state(rung)), ("price", f"{price(rung.price, about)} {about.quote}"), ("quantity", quantity)]
    if not rung.refused:
        rows.append(("queue ahead", queue_words(rung, about)))
        rows += _expected(rung, forecast)
    if why := rung_why(rung):
        rows.append(("why", why))
    if rung.age_s is not None:
        rows.append(("age", duration(rung.age_s)))
    if rung.client_order_id:
        rows += [("amended", _times(rung.amends)), ("order", rung.client_order_id)]
    return tuple(rows)


def _expected(rung: Rung, forecast: Forecast) -> list[tuple[str, str]]:
    """Return how likely an order fills and what it is worth, by which model."""
    name = f"P(fill {forecast.horizon_s:g} s)" if forecast.horizon_s else "P(fill)"
    if rung.fill_prob is None:
        return [(name, _missing(forecast.no_prob))]
    rows = [(name, chance_words(rung.fill_prob, rung.prob_low, rung.prob_high))]
    if rung.placed_prob is not None:
        rows.append(("at placement", probability(rung.placed_prob)))
    rows.append(("expected value", _missing(forecast.no_value) if rung.value_bps is None else value_words(rung)))
    if rung.profit_bps is not None:
        rows.append(("a fill earns", bps(rung.profit_bps)))
    by = forecast.model.replace("_", " ")
    return [*rows, ("judged by", f"{by} ({forecast.fitted})" if forecast.fitted else by)]


def _missing(why: str) -> str:
    return f"{MISSING} ({why})" if why else MISSING


def _times(number_of: int) -> str:
    return {0: "never", 1: "once"}.get(number_of, f"{number_of:,} times")
