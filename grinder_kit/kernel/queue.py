"""Queue models: how far a resting order has come to the front, from trades and from changes of the level.

`ahead` is the quantity in front of us in lots (a float, since a model may put fractions of a cancellation there);
`traded` is what trades have taken from the level since its last change, so that it is not counted again as cancelled.
"""

from __future__ import annotations

from grinder_kit.kernel.compiled import compiled

RISK_AVERSE, POWER, PRO_RATA, OPTIMISTIC, TOUCH = 0, 1, 2, 3, 4


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
    weight_back, weight_front = abs(back) ** n, abs(ahead) ** n
    behind = weight_back / (weight_back + weight_front)
    return min(ahead - (1.0 - behind) * cancelled + min(back - behind * cancelled, 0.0), new)
