"""FillTracker (SPEC 9.6): books each fill once and says what was earned, in three views at once.

What the specification's sketch leaves open is decided like this: an exit may close several entries, and a fill may
close and open; both are cut to the quantity they share, and the commission with them; a fill that comes twice is
booked once. Fees may be paid in any asset. Fills are booked in the order in which they come, whatever their times.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.fill_archive import FillArchive
from grinder_kit.execution.money import EXACT, ZERO, Units, check_fill, in_kind, settled, split
from grinder_kit.execution.pairing import Match, PaidInKind, ProfitView
from grinder_kit.model.fill import Fill, PairingView, RoundTrip
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.number import Exact, exact, plain

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger(__name__)

_FINGERPRINTS = 1 << 256
#: Of fills that are older than the latest, the first and then one in so many is logged.
_LOGGED = 1_000
#: What the venue says about a fill; `level_id`, `policy` and the rate are ours and may differ when it is read a second time.
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


def _hash(fill: Fill) -> int:
    return int.from_bytes(hashlib.sha256(fill.fill_id.encode()).digest(), "big")


class FillTracker:
    """Fills of one instrument, the round trips they form, and profit in three views.

    Parameters
    ----------
    instrument : Instrument
        Spot, linear or inverse.
    view : PairingView
        The view whose round trips are returned and kept. `average`, `fifo` and `level` give the profit of all three
        views, whatever this is.
    keep : int, optional
        Hold only the latest fills, round trips and funding payments: so many, and at most an eighth more. All sums and counts are
        of everything. The other fills lie in a temporary file, so that one that comes again is known. None holds all.

    Attributes
    ----------
    fill_count, round_trip_count : int
        How many there were, held or not.
    late : int
        Fills that came after one with a later time.

    Raises
    ------
    ConfigError
        For a `keep` below 1.

    Notes
    -----
    Profit is exact for spot and linear, but that in the average view a part of a position costs its share to 24 decimals of a
    tick-lot. For inverse contracts, 1 / price is kept to 40 decimals.

    A fee in the base of a spot instrument is commission at the price of its fill (or the rate that the fill carries), and that
    much less is held. A fee in a third asset is converted at the rate that the fill carries; without one the fill is booked, the
    amount stands in `unconverted`, and round trips say that they do not hold it (`fees_known`).

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
    >>> tracker
    FillTracker(BTCUSDT: 2 fills, 1 round trips by fifo, inventory 0; realised average 0.048, fifo 0.048, level 0.048;
    commission 0.02, funding 0 USDT)
    >>> tracker.views("60100")["view"].to_list(), tracker.to_frame().height, tracker.round_trips_frame().height
    (['average', 'fifo', 'level'], 2, 1)
    """

    def __init__(
        self, instrument: Instrument, *, view: PairingView = PairingView.FIFO, keep: int | None = None
    ) -> None:
        if keep is not None and keep < 1:
            raise ConfigError(f"keep is {keep}; write how many fills to hold, at least 1, or None for all")
        self.instrument = instrument
        self.view = PairingView(view)
        self._settle = instrument.settle
        self.fill_count = self.round_trip_count = self.late = 0
        self._keep = keep
        self._archive = None if keep is None else FillArchive()
        self._units = Units(instrument)
        self._in_kind = PaidInKind()
        self._views = {
            kind: ProfitView(kind, self._units, self._in_kind, merge=kind is not self.view) for kind in PairingView
        }
        self._main = self._views[self.view]
        self._others = tuple(book for kind, book in self._views.items() if kind is not self.view)
        self._fills: list[Fill] = []
        self._by_id: dict[str, Fill] = {}
        self._round_trips: list[RoundTrip] = []
        self._funding_payments: list[tuple[int, Decimal]] = []
        self._commission = self._funding = ZERO
        self._unconverted: dict[str, Decimal] = {}
        self._latest_ns = -(1 << 63)
        self._put_away = 0  # sum of the hashes of the ids that are no longer held

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
            off the instrument's steps, a fee in an unnamed asset.
        """
        recorded = self._recorded(fill.fill_id)
        if recorded is not None:
            if recorded is fill or all(getattr(recorded, name) == getattr(fill, name) for name in _VENUE_FIELDS):
                return ()
            raise FillConflictError(recorded, fill)
        check_fill(fill, self.instrument)
        ticks, unit, lots = self._units.read(fill)
        asset = fill.commission_asset
        known = fill.commission if asset == self._settle else settled(fill, self.instrument)
        unpaid = ZERO if known is None else known
        commission = EXACT.add(self._commission, unpaid)

        self._commission = commission
        self._fills.append(fill)
        self._by_id[fill.fill_id] = fill
        self.fill_count += 1
        if fill.ts_ns >= self._latest_ns:
            self._latest_ns = fill.ts_ns
        else:
            self._note_late(fill)
        if known is None:
            self._unconverted[asset] = EXACT.add(self._unconverted.get(asset, ZERO), fill.commission)
        elif asset != self._settle and in_kind(asset, self.instrument):
            self._in_kind.take(fill.commission, known)
        sign = fill.side.sign
        for other in self._others:
            other.book(sign, ticks, unit, lots, fill)

        left, trips = lots, []
        for match in self._main.close(sign, ticks, unit, lots):
            paid = split(unpaid, match.taken, left, self._units.quantum)
            trips.append(self._round_trip(match, fill, unit, paid, fees_known=known is not None))
            left, unpaid = left - match.taken, EXACT.subtract(unpaid, paid)
        if left:
            self._main.open(sign, ticks, unit, left, unpaid, fill, fees_known=known is not None)
        self._round_trips += trips
        self.round_trip_count += len(trips)
        if self._keep is not None:
            self._let_go(self._keep)
        return tuple(trips)

    def has(self, fill_id: str) -> bool:
        """Whether a fill was booked."""
        return self._recorded(fill_id) is not None

    def record_funding(self, ts_ns: int, amount: Exact) -> None:
        """Book a funding payment in the settlement asset: positive when received, negative when paid."""
        payment = exact(amount, "funding")
        self._funding = EXACT.add(self._funding, payment)
        self._funding_payments.append((ts_ns, payment))
        if self._keep is not None:
            self._let_go(self._keep)

    def _recorded(self, fill_id: str) -> Fill | None:
        fill = self._by_id.get(fill_id)
        if fill is None and self._archive is not None and len(self._fills) < self.fill_count:
            fill = self._archive.find(fill_id)
        return fill

    def _note_late(self, fill: Fill) -> None:
        if self.late % _LOGGED == 0:
            log.warning(
                "fill older than the latest symbol=%s id=%s by_s=%.3f count=%d",
                fill.symbol, fill.fill_id, (self._latest_ns - fill.ts_ns) / 1e9, self.late + 1,
            )  # fmt: skip
        self.late += 1

    def _let_go(self, keep: int) -> None:
        """Hold the latest `keep` of everything; many go at once, as taking one from the front of a list moves the others."""
        most = keep + keep // 8
        if len(self._fills) > most and self._archive is not None:
            old = self._fills[:-keep]
            try:
                self._archive.add(old)
            except sqlite3.Error as error:  # the disk is full: rather too much memory than a fill that is booked twice
                log.error("all fills are held from now on symbol=%s error=%s", self.instrument.symbol, error)
                self._keep = None
                return
            self._put_away += sum(map(_hash, old))
            for fill in old:
                del self._by_id[fill.fill_id]
        for held in (self._fills, self._round_trips, self._funding_payments):
            if len(held) > most:
                del held[:-keep]

    # --- what it comes to --------------------------------------------------------------------------------------------

    @property
    def fills(self) -> Sequence[Fill]:
        """The fills that were booked, in that order: all, or the latest."""
        return self._fills

    @property
    def round_trips(self) -> Sequence[RoundTrip]:
        """The round trips of the tracker's view, in the order of their exits: all, or the latest."""
        return self._round_trips

    @property
    def pending_entries(self) -> dict[str, list[Fill]]:
        """Entries of the tracker's view that no exit has closed, cut to what is open, by symbol (SPEC 9.6).

        As in round trips, their commission is in the settlement asset.
        """
        return {
            self.instrument.symbol: [
                self._part(lot.fill, lot.lots, lot.commission, self._main.entry_price(lot, lot.cost, lot.lots))
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
        """Commission paid in any asset, rebates subtracted, in the settlement asset; without what is `unconverted`."""
        return self._commission

    @property
    def unconverted(self) -> Mapping[str, Decimal]:
        """Commission in assets whose rate nobody knew, by asset: no figure holds it."""
        return MappingProxyType(self._unconverted)

    @property
    def funding(self) -> Decimal:
        """Funding received, payments subtracted."""
        return self._funding

    @property
    def funding_payments(self) -> Sequence[tuple[int, Decimal]]:
        """Funding payments as (ts_ns, amount): all, or the latest."""
        return self._funding_payments

    @property
    def inventory(self) -> Decimal:
        """Signed quantity held, less what fees have taken of the base; so it need not lie on the lot."""
        return self._main.inventory

    @property
    def taken_lots(self) -> int:
        """Lots that fees in base have taken: what was traded less this is what may be sold, or has to be bought back."""
        return self._main.taken_lots

    @property
    def fingerprint(self) -> str:
        """A sum over the ids of all fills, 64 hex digits: equal where the same fills were booked, in whatever order."""
        return format((self._put_away + sum(map(_hash, self._fills))) % _FINGERPRINTS, "064x")

    # --- frames ------------------------------------------------------------------------------------------------------

    def to_frame(self) -> pl.DataFrame:
        """Return the fills that are held as a frame: see :func:`~grinder_kit.execution.frames.fills_frame`."""
        from grinder_kit.execution.frames import fills_frame  # Polars takes a while to load

        return fills_frame(self._fills, self.instrument)

    def round_trips_frame(self) -> pl.DataFrame:
        """Return the round trips that are held as a frame: see :func:`~grinder_kit.execution.frames.round_trips_frame`."""
        from grinder_kit.execution.frames import round_trips_frame

        return round_trips_frame(self._round_trips, self.instrument)

    def views(self, mark: Exact | None = None) -> pl.DataFrame:
        """Return the three views side by side, a row each, with their unrealised profit at `mark` (null without one).

        Raises
        ------
        DataError
            When `mark` is not above zero.
        """
        from grinder_kit.execution.frames import views_frame

        return views_frame(self._views.values(), self.instrument, mark)

    # --- round trips -------------------------------------------------------------------------------------------------

    def _round_trip(self, match: Match, fill: Fill, unit: int, paid: Decimal, *, fees_known: bool) -> RoundTrip:
        lot = match.lot
        entry_paid = split(lot.commission, match.taken, match.before, self._units.quantum)
        lot.commission = EXACT.subtract(lot.commission, entry_paid)
        gross, commission = self._main.profit(match, unit), EXACT.add(entry_paid, paid)
        return RoundTrip(
            rt_id=f"{lot.fill.fill_id}-{fill.fill_id}",
            symbol=fill.symbol,
            entry_fill=self._part(
                lot.fill, match.taken, entry_paid, self._main.entry_price(lot, match.cost, match.taken)
            ),
            exit_fill=self._part(fill, match.taken, paid, fill.price),
            gross_pnl=gross,
            commission=commission,
            net_pnl=EXACT.subtract(gross, commission),
            policy=lot.fill.policy,
            view=self.view,
            fees_known=fees_known and lot.fees_known,
        )

    def _part(self, fill: Fill, lots: int, commission: Decimal, price: Decimal) -> Fill:
        """Return `fill` cut to `lots`, its commission in the settlement asset.

        An entry in the average view stands for the position: its first fill, at the mean price.
        """
        quantity = self.instrument.quantity(lots)
        same = quantity == fill.quantity and commission == fill.commission and price == fill.price
        if same and (fill.commission_asset == self._settle or not commission):
            return fill
        return Fill(
            fill_id=fill.fill_id,
            order_id=fill.order_id,
            symbol=fill.symbol,
            side=fill.side,
            price=price,
            quantity=quantity,
            commission=commission,
            commission_asset=self._settle,
            ts_ns=fill.ts_ns,
            is_maker=fill.is_maker,
            level_id=fill.level_id,
            policy=fill.policy,
        )

    def __repr__(self) -> str:
        views = ", ".join(f"{kind} {plain(book.realised)}" for kind, book in self._views.items())
        unknown = "".join(
            f"; fee of {plain(amount)} {asset} not converted" for asset, amount in self._unconverted.items()
        )
        return (
            f"FillTracker({self.instrument.symbol}: {self.fill_count} fills, {self.round_trip_count} round trips "
            f"by {self.view}, inventory {plain(self.inventory)}; realised {views}; "
            f"commission {plain(self._commission)}, funding {plain(self._funding)} {self.instrument.settle}{unknown})"
        )
