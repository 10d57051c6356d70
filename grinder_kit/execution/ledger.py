"""Ledger: the second, independent sum of the same profit, and the identity that both must meet.

The tracker pairs entries with exits. The ledger knows no pairs: it moves cash one way and inventory the other, from the
fills alone. Where the two differ, one of them is wrong, and the run must not be believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from grinder_kit.errors import IdentityError
from grinder_kit.execution.money import EXACT, ROUNDED, ZERO, check_fill, check_mark, in_kind, settled
from grinder_kit.model.fill import Fill
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.number import Exact, exact, plain

if TYPE_CHECKING:
    from grinder_kit.execution.fill_tracker import FillTracker

#: How far the sums may lie apart for inverse contracts, where 1 / price is rounded; for all others it is 0.
INVERSE_TOLERANCE = Decimal("1e-18")


class Ledger:
    """Cash and inventory of one instrument, from an empty start; amounts are in its settlement asset.

    A fee in the base of a spot instrument is no cash: less is held then. One in a third asset counts at the rate that the fill
    carries, and not at all where it carries none (the tracker says how much that is).

    Parameters
    ----------
    instrument : Instrument
    remember : bool
        Keep the id of every fill, and book it once. Without, whoever asks has made sure of that.

    Attributes
    ----------
    cash, inventory : Decimal
        What trades have brought in, and the signed quantity held.
    commission, received : Decimal
        Commission that was not paid in kind, and funding.

    Examples
    --------
    >>> from decimal import Decimal as D
    >>> from grinder_kit.model.order import Side
    >>> btc = Instrument(symbol="BTCUSDT", venue="paper", base="BTC", quote="USDT", tick=D("0.1"), lot=D("0.001"))
    >>> ledger = Ledger(btc)
    >>> ledger.apply(Fill(fill_id="1", order_id="1", symbol="BTCUSDT", side=Side.BUY, price=D(60000),
    ...                   quantity=D("0.001"), commission=D("0.01"), commission_asset="USDT", ts_ns=0, is_maker=True))
    True
    >>> ledger.equity("60048")
    Decimal('0.038')
    """

    def __init__(self, instrument: Instrument, *, remember: bool = True) -> None:
        self.instrument = instrument
        self.cash = self.inventory = self.commission = self.received = ZERO
        self._seen: set[str] = set()
        self._remember = remember

    def apply(self, fill: Fill) -> bool:
        """Book a fill, and return whether it was new: one whose id was booked before changes nothing.

        Raises
        ------
        DataError
            For a fill that cannot be booked.
        """
        if fill.fill_id in self._seen:
            return False
        check_fill(fill, self.instrument)
        quantity = EXACT.multiply(fill.quantity, fill.side.sign)
        value = EXACT.multiply(quantity, self.instrument.contract_size)
        if self.instrument.inverse:
            cash = EXACT.add(self.cash, ROUNDED.divide(value, fill.price))
        else:
            cash = EXACT.subtract(self.cash, EXACT.multiply(value, fill.price))
        if in_kind(fill.commission_asset, self.instrument):
            quantity = EXACT.subtract(quantity, fill.commission)
        elif (paid := settled(fill, self.instrument)) is not None:
            self.commission = EXACT.add(self.commission, paid)
        self.inventory = EXACT.add(self.inventory, quantity)
        self.cash = cash
        if self._remember:
            self._seen.add(fill.fill_id)
        return True

    def funding(self, amount: Exact) -> None:
        """Book a funding payment: positive when received; the sum stands in `received`."""
        self.received = EXACT.add(self.received, exact(amount, "funding"))

    def equity(self, mark: Exact) -> Decimal:
        """Return what all of it is worth at `mark`: the change of equity since the ledger was empty.

        Raises
        ------
        DataError
            When `mark` is not above zero.
        """
        price = check_mark(mark)
        value = EXACT.multiply(self.inventory, self.instrument.contract_size)
        if self.instrument.inverse:
            worth = EXACT.subtract(self.cash, ROUNDED.divide(value, price))
        else:
            worth = EXACT.add(self.cash, EXACT.multiply(value, price))
        return EXACT.add(EXACT.subtract(worth, self.commission), self.received)

    def __repr__(self) -> str:
        return (
            f"Ledger({self.instrument.symbol}: cash {plain(self.cash)}, inventory {plain(self.inventory)}, "
            f"commission {plain(self.commission)}, funding {plain(self.received)})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """``grid + trend + funding - commission = equity_change``, with what is left over in `residual`.

    `grid` is the profit that level pairing realised, `trend` its open lots times (mark - entry), both from the tracker;
    `equity_change` is the ledger's. All in the settlement asset.
    """

    grid: Decimal
    trend: Decimal
    funding: Decimal
    commission: Decimal
    equity_change: Decimal
    residual: Decimal

    def __str__(self) -> str:
        return (
            f"grid {plain(self.grid)} + trend {plain(self.trend)} + funding {plain(self.funding)} - commission "
            f"{plain(self.commission)} = {plain(EXACT.add(self.equity_change, self.residual))}"
        )


def check_identity(tracker: FillTracker, ledger: Ledger, mark: Exact) -> Identity:
    """Compare the tracker's profit with the ledger's change of equity at `mark`.

    Raises
    ------
    IdentityError
        When they differ at all, or by more than 1e-18 for inverse contracts; the message names each term.
    """
    grid, trend = tracker.level.realised, tracker.level.unrealised(mark)
    explained = EXACT.subtract(EXACT.add(EXACT.add(grid, trend), tracker.funding), tracker.commission)
    equity = ledger.equity(mark)
    identity = Identity(
        grid=grid,
        trend=trend,
        funding=tracker.funding,
        commission=tracker.commission,
        equity_change=equity,
        residual=EXACT.subtract(explained, equity),
    )
    if identity.residual.copy_abs() > (INVERSE_TOLERANCE if ledger.instrument.inverse else 0):
        raise IdentityError(
            f"the books of {ledger.instrument.symbol} do not close at mark {mark}: {identity}, but equity changed by "
            f"{plain(equity)} {ledger.instrument.settle}; residual {plain(identity.residual)}. "
            f"The tracker has commission {plain(tracker.commission)}, funding {plain(tracker.funding)}, "
            f"inventory {plain(tracker.inventory)}; the ledger {plain(ledger.commission)}, {plain(ledger.received)}, "
            f"{plain(ledger.inventory)}"
        )
    return identity
