"""Queue models: how far a resting order has come to the front, from trades and from changes of the level.

`ahead` is the quantity in front of us in lots (a float, since a model may put fractions of a cancellation there);
`traded` is what trades have taken from the level since its last change, so that it is not counted again as cancelled.
"""

from __future__ import annotations

from grinder_kit.kernel.compiled import compiled

RISK_AVERSE, POWER, PRO_RATA, OPTIMISTIC, TOUCH = 0, 1, 2, 3, 4
_NOBODY_AHEAD = -1e15  # the touch rule: any trade at the price is far past the queue


@compiled
def front(model: int) -> float:
    """Return the quantity ahead of whoever stands first; far below zero where there is no queue at all (touch)."""
    return _NOBODY_AHEAD if model == TOUCH else 0.0


@compiled
def filled_by_trade(whole: bool, partial: bool, ahead: float, leaves: int, volume: int) -> int:
    """Return the lots of an order that a trade at its price fills; `ahead` is what the trade has left in front of it.

    `whole` needs all that is left of the order to be past the queue. Otherwise half a lot past it fills everything, or, with
    `partial`, as much as went past, at most the trade's own `volume`.
    """
    past = -ahead
    if whole:
        return leaves if past >= leaves else 0
    if past < 0.5:
        return 0
    return min(leaves, int(past + 0.5), volume) if partial else leaves


@compiled
def after_change(model: int, power: float, ahead: float, traded: float, old: float, new: float) -> float:
    """Return the quantity ahead after the level went from `old` to `new` lots.

    Of a cancellation d = old - new - traded, the share that lies behind us is 1 (risk-averse), back^n / (ahead^n + back^n)
    (power n; pro-rata is n = 1) or 0 (optimistic). What the share behind cannot hold is taken from the front.

    `ahead` may be negative: trades came less than half a lot past it, or the power model took more from the front than there
    was. `old` may be less than `ahead`: the book lost the level (crossed, cleared), or ahead was assumed from neighbours.
    """
    if model == TOUCH:
        return ahead
    cancelled = old - new - traded
    if model == RISK_AVERSE or cancelled < 0.0:
        return min(ahead, new)
    if model == OPTIMISTIC:
        return max(min(ahead - cancelled, new), min(ahead, 0.0))
    back = old - ahead
    if back == 0.0 and ahead == 0.0:
        return new
    n = 1.0 if model == PRO_RATA else power
    if n == 2.0:  # the most usual, and a general power takes ten times as long
        weight_back, weight_front = back * back, ahead * ahead
    else:
        weight_back, weight_front = abs(back) ** n, abs(ahead) ** n
    behind = weight_back / (weight_back + weight_front)
    return min(ahead - (1.0 - behind) * cancelled + min(back - behind * cancelled, 0.0), new)


@compiled
def moved_up(whole: bool, model: int, power: float, ahead: float, traded: float, old: float, new: float) -> float:
    """Return :func:`after_change`, except that a `whole` order with nobody ahead comes no further: only trades fill it."""
    changed = after_change(model, power, ahead, traded, old, new)
    return max(changed, min(ahead, 0.0)) if whole else changed
