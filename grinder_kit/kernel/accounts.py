"""What the fills add up to, in whole ticks and lots: one inventory, one cash account, traded notional by liquidity.

Linear and spot instruments count cash in tick-lots (exact in int64: 9e18 of them). Inverse instruments pay in base, and
1 / price is no integer: their cash is a float here, for curves and sweeps; the exact books of a result are kept in Decimal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from grinder_kit.kernel.compiled import compiled

INVENTORY, CASH, MAKER_NOTIONAL, TAKER_NOTIONAL, FILLS, VOLUME, ACCOUNT_SIZE = 0, 1, 2, 3, 4, 5, 6
INVERSE_CASH, INVERSE_MAKER, INVERSE_TAKER, INVERSE_SIZE = 0, 1, 2, 3


def new_accounts() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return empty accounts: (ACCOUNT_SIZE,) integers and (INVERSE_SIZE,) floats in lots per tick."""
    return np.zeros(ACCOUNT_SIZE, np.int64), np.zeros(INVERSE_SIZE, np.float64)


@compiled
def book_fill(
    account: npt.NDArray[np.int64], inverse: npt.NDArray[np.float64], side: int, tick: int, lots: int, maker: int
) -> None:
    """Book one fill: side +1 bought, -1 sold."""
    account[INVENTORY] += side * lots
    account[CASH] -= side * tick * lots
    account[MAKER_NOTIONAL if maker else TAKER_NOTIONAL] += tick * lots
    account[FILLS] += 1
    account[VOLUME] += lots
    worth = lots / tick
    inverse[INVERSE_CASH] += side * worth
    inverse[INVERSE_MAKER if maker else INVERSE_TAKER] += worth
