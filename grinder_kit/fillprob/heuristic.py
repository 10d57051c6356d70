"""The specification's step heuristic of a fill (SPEC 9.4), kept under its name and pinned by a golden table.

It is shown beside fitted models, not believed: it takes the ATR for sigma, jumps at its steps, has a floor of .05 and knows neither
queue nor size nor latency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from grinder_kit.errors import ConfigError
from grinder_kit.model.market import Features
from grinder_kit.model.order import Side

FLOOR, CEILING = 0.05, 0.95


def step_probability(side: int, distance_bps: float, move_bps: float, ofi_zscore: float) -> float:
    """Return the probability from numbers: side +1 buy, distance from mid and expected move in bps.

    Plain arithmetic, so that the compiled form and this one agree in every bit.
    """
    if distance_bps <= 0.0:
        base = 0.9
    elif distance_bps < move_bps * 0.5:
        base = 0.7
    elif distance_bps < move_bps:
        base = 0.5
    elif distance_bps < move_bps * 1.5:
        base = 0.3
    else:
        base = 0.1
    pressure = ofi_zscore * side
    if pressure < -1.0:  # flow towards our order
        base *= 1.3
    elif pressure > 1.0:  # flow away from it
        base *= 0.7
    return min(max(base, FLOOR), CEILING)


def estimate_fill_probability(
    order_price: Decimal, side: str, features: Mapping[str, Any] | Features, horizon_s: float = 60
) -> float:
    """Return the probability that a limit order fills within `horizon_s` (SPEC 9.4).

    Parameters
    ----------
    order_price : Decimal
        Quote.
    side : str
        ``"BUY"`` or ``"SELL"``.
    features : mapping or Features
        `mid` (quote), `natr_14_5m` (ratio; the stated proxy where only that is known), `ofi_zscore` (0 when left out).
    horizon_s : float
        Seconds; above zero.

    Raises
    ------
    ConfigError
        For a side that is none, a price that is none, no mid, no volatility (warm-up), a horizon that is not above zero.

    Examples
    --------
    >>> from decimal import Decimal
    >>> estimate_fill_probability(Decimal("99.9"), "BUY", {"mid": 100.0, "natr_14_5m": 0.004})
    0.5
    """
    if side not in (Side.BUY, Side.SELL):
        raise ConfigError(f'side is {side!r}; write "BUY" or "SELL"')
    mid, natr, ofi = _inputs(features)
    if not mid > 0:
        raise ConfigError(f"mid is {mid}; a fill probability needs a mid above zero")
    if not 0 <= natr < math.inf:
        raise ConfigError(f"natr_14_5m is {natr}; a fill probability needs the volatility (still warming up?)")
    if not 0 < float(order_price) < math.inf:
        raise ConfigError(f"order_price is {order_price}; write a price above zero")
    if not 0 < horizon_s < math.inf:
        raise ConfigError(f"horizon_s is {horizon_s}; write seconds above zero")
    sign = Side(side).sign
    distance_bps = (mid - float(order_price)) * sign / mid * 10_000
    return step_probability(sign, distance_bps, expected_move_bps(natr, float(horizon_s)), ofi)


def expected_move_bps(natr: float, horizon_s: float) -> float:
    """Return the move that the heuristic expects within a horizon: the ATR of 5 minutes scaled by the root of time."""
    return natr * 10_000 * math.sqrt(horizon_s / 300)


def _inputs(features: Mapping[str, Any] | Features) -> tuple[float, float, float]:
    if isinstance(features, Features):
        natr = features.natr_14_5m if features.natr_14_5m is not None else features.natr_proxy
        values: tuple[Any, Any, Any] = (features.mid, natr, features.ofi_zscore)
    else:
        values = (features.get("mid"), features.get("natr_14_5m"), features.get("ofi_zscore", 0.0))
    mid, natr, ofi = (math.nan if value is None else float(value) for value in values)
    return mid, natr, 0.0 if math.isnan(ofi) else ofi
