"""FillTracker (SPEC 9.6): books each fill once and says what was earned, in three views at once.

What the specification's sketch leaves open is decided like this: an exit may close several entries, and a fill may
close and open; both are cut to the quantity they share, and the commission with them; a fill that comes twice is
booked once.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from grinder_kit.errors import DataError
from grinder_kit.execution.money import EXACT, ZERO, Units, check_fill, split
from grinder_kit.execution.pairing import Match, ProfitView
from grinder_kit.model.fill import Fill, PairingView, RoundTrip
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.number import Exact, exact, plain

#: What the venue says about a fill; `level_id` and `policy` are ours and may be missing when it is read a second time.
_VENUE_FIELDS = (
    "order_id",
    "symbol",
    "side",
    "price",
    "quantity",
    "commission",
    "commission_asset",
    "ts_ns",
    "is_maker",
)


class FillConflictError(DataError):
    """A fill came twice with the same id and different content; both are kept.

    Parameters
    ----------
    recorded, given : Fill
        What was booked, and what came later and was not.
    """

    def __init__(self, recorded: Fill, given: Fill) -> None:
        self.recorded, self.given = recorded, given
        differences = "; ".join(
            f"{name} was {getattr(recorded, name)}, is {getattr(given, name)}"
            for name in _VENUE_FIELDS
            if getattr(recorded, name) != getattr(given, name)
        )
        super().__init__(
            f"fill {given.fill_id} of {given.symbol} came again with other content and was not booked: {differences}"
        )

    def __reduce__(self) -> tuple[type[FillConflictError], tuple[Fill, Fill]]:
        """Pickle by the two fills."""
        return type(self), (self.recorded, self.given)


class FillTracker:
    """Fills of one instrument, the round trips they form, and profit in three views.

    Parameters
    ----------
    instrument : Instrument
        Spot, linear or inverse; fees must be in its settlement asset.
    view : PairingView
        The view whose round trips are returned and kept. `average`, `fifo` and `level` give the profit of all three
        views, whatever this is.

    Notes
    -----
    Fills are booked in the order in which they are given. Profit is exact for spot and linear, but that in the average
    view a part of a position costs its share to 24 decimals of a tick-lot. For inverse
    contracts, 1 / price is kept to 40 decimals.

    Examples
    --------
    >>> from decimal import Decimal as D
    >>> from grinder_kit.model.order import Side
    >>> btc = Instrument(symbol="BTCUSDT", venue="paper", base="BTC", quote="USDT", tick=D("0.1"), lot=D("0.001"))
    >>> def fill(n, side, price):
    ...     return Fill(fill_id=n, order_id=n, symbol="BTCUSDT", side=side, price=D(price), quantity=D("0.001"),
    ...                 commission=D("0.01"), commission_asset="USDT", ts_ns=0, is_maker=True)
    >>> tracker = FillTracker(btc)
    >>> tracker.record_fill(fill("1", Side.BUY, "60000"))
    ()
    >>> [trip.net_pnl for trip in tracker.record_fill(fill("2", Side.SELL, "60048"))]
    [Decimal('0.0280')]
    """

    def __init__(self, instrument: Instrument, *, view: PairingView = PairingView.FIFO) -> None:
        self.instrument = instrument
        self.view = PairingView(view)
        self._units = Units(instrument)
        self._views = {kind: ProfitView(kind, self._units, merge=kind is not self.view) for kind in PairingView}
        self._main = self._views[self.view]
        self._others = tuple(book for kind, book in self._views.items() if kind is not self.view)
        self._fills: list[Fill] = []
        self._by_id: dict[str, Fill] = {}
        self._round_trips: list[RoundTrip] = []
        self._funding_payments: list[tuple[int, Decimal]] = []
        self._commission = self._funding = ZERO

    # --- what happened -----------------------------------------------------------------------------------------------

    def record_fill(self, fill: Fill) -> tuple[RoundTrip, ...]:
        """Book a fill and return the round trips that it completes, in the order in which it closes their entries.

        A fill that was booked before is ignored. Nothing is booked when an error is raised.

        Raises
        ------
        FillConflictError
            When the id was booked with other content.
        DataError
            For a fill that cannot be booked: no id, another symbol, a price or quantity that is not above zero or lies
            off the instrument's steps, a fee in another asset.
        """
        recorded = self._by_id.get(fill.fill_id)
        if recorded is not None:
            if recorded is fill or all(getattr(recorded, name) == getattr(fill, name) for name in _VENUE_FIELDS):
                return ()
            raise FillConflictError(recorded, fill)
        check_fill(fill, self.instrument)
        ticks, unit, lots = self._units.read(fill)
        commission = EXACT.add(self._commission, fill.commission)

        self._commission = commission
        self._by_id[fill.fill_id] = fill
        self._fills.append(fill)
        sign = fill.side.sign
        for other in self._others:
            other.book(sign, ticks, unit, lots, fill)

        left, unpaid, trips = lots, fill.commission, []
        for match in self._main.close(sign, ticks, unit, lots):
            paid = split(unpaid, match.taken, left, self._units.quantum)
            trips.append(self._round_trip(match, fill, unit, paid))
            left, unpaid = left - match.taken, EXACT.subtract(unpaid, paid)
        if left:
            self._main.open(sign, ticks, unit, left, unpaid, fill)
        self._round_trips += trips
        return tuple(trips)

    def has(self, fill_id: str) -> bool:
        """Whether a fill was booked."""
        return fill_id in self._by_id

    def record_funding(self, ts_ns: int, amount: Exact) -> None:
        """Book a funding payment in the settlement asset: positive when received, negative when paid."""
        payment = exact(amount, "funding")
        self._funding = EXACT.add(self._funding, payment)
        self._funding_payments.append((ts_ns, payment))

    # --- what it comes to --------------------------------------------------------------------------------------------

    @property
    def fills(self) -> Sequence[Fill]:
        """Every fill that was booked, in that order."""
        return self._fills

    @property
    def round_trips(self) -> Sequence[RoundTrip]:
        """Every round trip of the tracker's view, in the order of their exits."""
        return self._round_trips

    @property
    def pending_entries(self) -> dict[str, list[Fill]]:
        """Entries of the tracker's view that no exit has closed, cut to what is open, by symbol (SPEC 9.6)."""
        return {
            self.instrument.symbol: [
                self._entry(lot.fill, lot.lots, lot.commission, self._main.entry_price(lot, lot.cost, lot.lots))
                for lot in self._main.lots()
            ]
        }

    @property
    def average(self) -> ProfitView:
        """Profit as the exchange counts it: one position at its average cost."""
        return self._views[PairingView.AVERAGE]

    @property
    def fifo(self) -> ProfitView:
        """Profit with the oldest entry closed first."""
        return self._views[PairingView.FIFO]

    @property
    def level(self) -> ProfitView:
        """Grid profit: only what was paired at a profit is realised, the rest is trend."""
        return self._views[PairingView.LEVEL]

    @property
    def commission(self) -> Decimal:
        """Commission paid, rebates subtracted."""
        return self._commission

    @property
    def funding(self) -> Decimal:
        """Funding received, payments subtracted."""
        return self._funding

    @property
    def funding_payments(self) -> Sequence[tuple[int, Decimal]]:
        """Each funding payment as (ts_ns, amount)."""
        return self._funding_payments

    @property
    def inventory(self) -> Decimal:
        """Signed quantity held."""
        return self._main.inventory

    # --- round trips -------------------------------------------------------------------------------------------------

    def _round_trip(self, match: Match, fill: Fill, unit: int, paid: Decimal) -> RoundTrip:
        lot = match.lot
        entry_paid = split(lot.commission, match.taken, match.before, self._units.quantum)
        lot.commission = EXACT.subtract(lot.commission, entry_paid)
        gross, commission = self._main.profit(match, unit), EXACT.add(entry_paid, paid)
        return RoundTrip(
            rt_id=f"{lot.fill.fill_id}-{fill.fill_id}",
            symbol=fill.symbol,
            entry_fill=self._entry(
                lot.fill, match.taken, entry_paid, self._main.entry_price(lot, match.cost, match.taken)
            ),
            exit_fill=self._entry(fill, match.taken, paid, fill.price),
            gross_pnl=gross,
            commission=commission,
            net_pnl=EXACT.subtract(gross, commission),
            policy=lot.fill.policy,
            view=self.view,
        )

    def _entry(self, fill: Fill, lots: int, commission: Decimal, price: Decimal) -> Fill:
        """Return `fill` cut to `lots`.

        In the average view it stands for the position: its first fill, at the mean price.
        """
        quantity = self.instrument.quantity(lots)
        if quantity == fill.quantity and commission == fill.commission and price == fill.price:
            return fill
        return Fill(
            fill_id=fill.fill_id,
            order_id=fill.order_id,
            symbol=fill.symbol,
            side=fill.side,
            price=price,
            quantity=quantity,
            commission=commission,
            commission_asset=fill.commission_asset,
            ts_ns=fill.ts_ns,
            is_maker=fill.is_maker,
            level_id=fill.level_id,
            policy=fill.policy,
        )

    def __repr__(self) -> str:
        views = ", ".join(f"{kind} {plain(book.realised)}" for kind, book in self._views.items())
        return (
            f"FillTracker({self.instrument.symbol}: {len(self._fills)} fills, {len(self._round_trips)} round trips "
            f"by {self.view}, inventory {plain(self.inventory)}; realised {views}; "
            f"commission {plain(self._commission)}, funding {plain(self._funding)} {self.instrument.settle})"
        )
