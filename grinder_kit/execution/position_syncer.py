"""PositionSyncer (SPEC 9.7): what we believe to hold, held against what the venue says.

What the specification's sketch leaves open is decided like this: a symbol that one side does not name is flat there; what we
believe stays as it was until a difference is reconciled; positions are asked for before fills, so that a fill which happens meanwhile
is no difference; missing fills are booked; a question that fails changes nothing and never means flat; thresholds are lots
and quote. One position a symbol: the two legs of an account in hedge mode are refused by name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from grinder_kit.errors import ConfigError, DataError, VenueError
from grinder_kit.execution.alerts import AlertLevel, AlertManager
from grinder_kit.execution.money import EXACT, ZERO
from grinder_kit.execution.port import ExchangePort
from grinder_kit.model.fill import Fill, Position, PositionDiff, SyncAction
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.number import Exact, exact, plain

if TYPE_CHECKING:
    import polars as pl

#: How far back fills are asked for again: exchange times of one account need not come in order.
OVERLAP_NS = 10_000_000_000
#: Ids of the latest fills that are remembered, to know one that comes again.
FILLS_KNOWN = 10_000


class PositionReportError(DataError):
    """A report of positions that cannot be believed: older than the one before, two legs of a symbol, no number."""


class PositionSyncer:
    """Positions as we know them, compared with the venue's.

    Parameters
    ----------
    connector : ExchangePort
        The venue.
    *instruments : Instrument
        What is compared. A spot instrument is compared by the balance of its base asset, what open orders hold included. Without
        any, every position that either side names is, and each difference counts.
    alert_manager : AlertManager, optional
        Told of differences, of questions that failed and of reports that cannot be believed.
    drift_steps : int
        A difference counts from so many lots on; 1 or more.
    drift_notional : Decimal, str or int
        And from so much quote on; where no price is known, it counts.
    now_ns : callable
        Returns the time, ns UTC.
    price : callable, optional
        Returns the price of a symbol, quote, or None. By default that of its latest fill, or the venue's entry price.
    on_fill : callable, optional
        Called with each fill that the venue knows and we did not, once it is booked here.

    Attributes
    ----------
    local_positions : dict of str to Position
        What we believe. Fills move it (:meth:`record_fill`), and :meth:`reconcile` does.
    last_sync_ns : int
        Time of the last comparison that came about, ns UTC; 0 before the first.
    diffs : dict of str to PositionDiff
        What that comparison found.

    Raises
    ------
    ConfigError
        For a threshold below its least, an instrument given twice, or two spot instruments of one base asset, whose balance could
        not be told apart.

    Examples
    --------
    >>> syncer = PositionSyncer(venue, venue.instrument)  # doctest: +SKIP
    >>> for diff in (await syncer.sync()).values():  # doctest: +SKIP
    ...     await syncer.reconcile(diff)
    """

    def __init__(
        self,
        connector: ExchangePort,
        *instruments: Instrument,
        alert_manager: AlertManager | None = None,
        drift_steps: int = 1,
        drift_notional: Exact = 0,
        now_ns: Callable[[], int] = time.time_ns,
        price: Callable[[str], Decimal | None] | None = None,
        on_fill: Callable[[Fill], object] | None = None,
    ) -> None:
        self.connector = connector
        self.alert_manager = alert_manager
        self.local_positions: dict[str, Position] = {}
        self.last_sync_ns = 0
        self.diffs: dict[str, PositionDiff] = {}
        self.set_thresholds(drift_steps, drift_notional)
        self._now_ns, self._price, self._on_fill = now_ns, price, on_fill
        self._instruments = {one.symbol: one for one in instruments}
        bases = [one.base for one in instruments if one.contract is Contract.SPOT]
        if len(self._instruments) < len(instruments):
            raise ConfigError("an instrument is given twice; write each symbol once")
        if len(set(bases)) < len(bases):
            raise ConfigError(f"two spot instruments share a base asset ({', '.join(bases)}); use a syncer for each")
        self._since_ns = self._asked_ns = now_ns()
        self._booked: dict[tuple[str, str], None] = {}  # in the order of their coming
        self._meanwhile: list[Fill] = []  # booked since the last look began
        self._traded: dict[str, Decimal] = {}  # price of the latest fill
        self._reports: dict[str, Position] = {}  # what the venue said last
        self._one_at_a_time = asyncio.Lock()

    @property
    def last_sync_ts(self) -> int:
        """Time of the last comparison in ms (SPEC 9.7)."""
        return self.last_sync_ns // 1_000_000

    def set_thresholds(self, drift_steps: int, drift_notional: Exact) -> None:
        """Take other thresholds.

        Raises
        ------
        ConfigError
            For less than one lot, or a negative value.
        """
        if isinstance(drift_steps, bool) or not isinstance(drift_steps, int) or drift_steps < 1:
            raise ConfigError(f"drift_steps is {drift_steps!r}; write a whole number of lots, 1 or more")
        notional = exact(drift_notional, "drift_notional")
        if notional < 0:
            raise ConfigError(f"drift_notional is {plain(notional)}; write 0 or more")
        self.drift_steps, self.drift_notional = drift_steps, notional

    # --- what we believe ---------------------------------------------------------------------------------------------

    def record_fill(self, fill: Fill) -> bool:
        """Let a fill move what we believe; return whether it was new. A fill that comes again changes nothing."""
        key = (fill.symbol, fill.fill_id)
        if key in self._booked:
            return False
        self._booked[key] = None
        if len(self._booked) > FILLS_KNOWN:
            del self._booked[next(iter(self._booked))]
        self._meanwhile.append(fill)
        self._traded[fill.symbol] = fill.price
        self._move(fill.symbol, self._moved(fill))
        return True

    def _moved(self, fill: Fill) -> Decimal:
        """Return what a fill adds to the position; on spot a fee in the base asset is taken from it."""
        added = fill.quantity * fill.side.sign
        instrument = self._instruments.get(fill.symbol)
        if instrument is None or instrument.contract is not Contract.SPOT or fill.commission_asset != instrument.base:
            return added
        return EXACT.subtract(added, fill.commission)

    def _move(self, symbol: str, added: Decimal) -> None:
        held = self.local_positions.get(symbol, Position(symbol=symbol, quantity=ZERO))
        self.local_positions[symbol] = replace(held, quantity=EXACT.add(held.quantity, added))

    # --- what the venue says -----------------------------------------------------------------------------------------

    async def sync(self) -> dict[str, PositionDiff]:
        """Ask the venue, book the fills that were missing, and return what differs all the same, by symbol.

        Raises
        ------
        VenueError
            Where a question failed: what is held is not known, and nothing has changed but for the fills that were booked.
        PositionReportError
            For a report that cannot be believed; likewise.
        """
        async with self._one_at_a_time:
            self.begin()
            reports = await self.fetch()
            await self._book_missing()
            return await self.compare(reports)

    def begin(self) -> None:
        """Begin a look: fills from here on may or may not be in what the venue reports."""
        self._meanwhile.clear()

    @property
    def quiet(self) -> bool:
        """Whether no fill was booked since the look began."""
        return not self._meanwhile

    async def fetch(self) -> dict[str, Position]:
        """Return what the venue reports for the symbols that are compared.

        Raises
        ------
        VenueError, PositionReportError
            As :meth:`sync`; an alert was sent.
        """
        try:
            reports = self._believable(await self._ask())
        except VenueError as error:
            await self._alert("positions are not known: the venue did not answer", error=f"{error}")
            raise
        except PositionReportError as error:
            await self._alert("positions are not known: the venue's report cannot be believed", error=f"{error}")
            raise
        return reports

    async def _ask(self) -> dict[str, Position]:
        spot = [one for one in self._instruments.values() if one.contract is Contract.SPOT]
        found: dict[str, Position] = {}
        if len(spot) < len(self._instruments) or not self._instruments:
            for key, position in (await self.connector.get_positions()).items():
                if self._instruments and position.symbol not in self._instruments:
                    continue
                if position.symbol in found or position.symbol != key:
                    raise PositionReportError(
                        f"the venue reports {position.symbol} under {key}"
                        f"{' and once more' if position.symbol in found else ''}: an account in hedge mode has two legs "
                        "a symbol, which are not added up here; switch it to one-way mode"
                    )
                found[key] = position
        if spot:
            balances = await self.connector.get_balances()
            for one in spot:
                held = balances[one.base].total if one.base in balances else ZERO
                found[one.symbol] = Position(symbol=one.symbol, quantity=held)
        return found

    def _believable(self, reports: dict[str, Position]) -> dict[str, Position]:
        for symbol, report in reports.items():
            if not report.quantity.is_finite():
                raise PositionReportError(f"the venue reports a position of {report.quantity} {symbol}")
            before, now = self._reports.get(symbol), report.ts_ns
            last = None if before is None else before.ts_ns
            if last is not None and now is not None and now < last:
                raise PositionReportError(
                    f"the report of {symbol} is {(last - now) / 1e9:.3f} s older than the one before"
                )
        return reports

    async def _book_missing(self) -> None:
        symbols = list(self._instruments) or sorted({*self.local_positions, *self._reports})
        latest = self._asked_ns
        for symbol in symbols:
            since = max(self._since_ns, self._asked_ns - OVERLAP_NS)
            try:
                fills = await self.connector.get_fills(symbol, since_ns=since)
            except VenueError as error:
                await self._alert("positions are not known: the venue did not tell its trades", error=f"{error}")
                raise
            missing = [fill for fill in fills if self.record_fill(fill)]
            latest = max(latest, *(fill.ts_ns for fill in fills), 0)
            for fill in missing:
                if self._on_fill is not None:
                    self._on_fill(fill)
        self._asked_ns = latest

    # --- what differs ------------------------------------------------------------------------------------------------

    async def compare(self, reports: Mapping[str, Position]) -> dict[str, PositionDiff]:
        """Compare what :meth:`fetch` returned with what we believe, once the fills since :meth:`begin` are booked."""
        now = self._now_ns()
        if now < self.last_sync_ns:
            back_s = (self.last_sync_ns - now) / 1e9
            await self._alert("the clock went back", back_s=f"{back_s:.3f}")
        symbols = self._instruments or {*self.local_positions, *reports}
        found = {symbol: diff for symbol in sorted(symbols) if (diff := self._diff(symbol, reports)) is not None}
        for symbol in symbols:
            before = self._reports.get(symbol)
            flat = Position(symbol=symbol, quantity=ZERO, ts_ns=None if before is None else before.ts_ns)
            self._reports[symbol] = reports.get(symbol, flat)
        self.last_sync_ns, self.diffs = now, dict(found)
        return found

    def _diff(self, symbol: str, reports: Mapping[str, Position]) -> PositionDiff | None:
        local = self.local_positions.get(symbol)
        ours = ZERO if local is None else local.quantity
        theirs = reports[symbol].quantity if symbol in reports else ZERO
        # The report was made somewhere between the beginning of the look and now: after any of the fills since.
        at, meanwhile = ours, sorted(self._meanwhile, key=lambda fill: fill.ts_ns)
        for fill in reversed(meanwhile):
            if at == theirs:
                return None
            if fill.symbol == symbol:
                at = EXACT.subtract(at, self._moved(fill))
        if at == theirs:
            return None
        diff, notional = EXACT.subtract(theirs, ours), None
        instrument, price = self._instruments.get(symbol), self._price_of(symbol, reports)
        counts = True
        if instrument is not None:
            notional = instrument.notional(price or ZERO, abs(diff)) if price or instrument.inverse else None
            counts = abs(diff) >= self.drift_steps * instrument.lot
        if notional is not None and notional < self.drift_notional:
            counts = False
        action = SyncAction.RECONCILE if counts else SyncAction.IGNORE
        return PositionDiff(
            symbol=symbol, local_qty=ours, exchange_qty=theirs, diff=diff, action=action, notional=notional
        )

    def _price_of(self, symbol: str, reports: Mapping[str, Position]) -> Decimal | None:
        told = None if self._price is None else self._price(symbol)
        entry = reports[symbol].entry_price if symbol in reports else None
        return told or self._traded.get(symbol) or entry

    async def reconcile(self, diff: PositionDiff) -> None:
        """Tell a difference that counts, and take the venue's word for it; one to be ignored changes nothing."""
        if diff.action is SyncAction.IGNORE:
            return
        await self._alert(
            f"Position reconciliation: {diff.symbol}",
            local=plain(diff.local_qty),
            exchange=plain(diff.exchange_qty),
            diff=f"{diff.diff:+f}",
            notional="unknown" if diff.notional is None else plain(diff.notional),
        )
        self.accept(diff)

    def accept(self, diff: PositionDiff) -> None:
        """Take the venue's word for a difference without telling it; fills that were booked since are kept."""
        self._move(diff.symbol, diff.diff)
        report = self._reports.get(diff.symbol)
        if report is not None:
            held = self.local_positions[diff.symbol]
            self.local_positions[diff.symbol] = replace(held, entry_price=report.entry_price, ts_ns=report.ts_ns)
        self.diffs.pop(diff.symbol, None)

    async def _alert(self, message: str, **context: str) -> None:
        if self.alert_manager is not None:
            await self.alert_manager.send_alert(AlertLevel.WARNING, message, context)

    # --- looking -----------------------------------------------------------------------------------------------------

    def to_frame(self) -> pl.DataFrame:
        """Return both sides as a Polars frame, one row a symbol; `exchange_qty` as of the last comparison, `diff` 0 where equal."""
        import polars as pl

        from grinder_kit.execution.frames import rows_frame

        quantity = pl.Decimal(38, 12)
        schema = {
            "symbol": pl.String, "local_qty": quantity, "exchange_qty": quantity, "diff": quantity,
            "action": pl.Enum([action.value for action in SyncAction]),
        }  # fmt: skip
        rows = []
        for symbol in sorted({*self.local_positions, *self._reports}):
            local, report, diff = self.local_positions.get(symbol), self._reports.get(symbol), self.diffs.get(symbol)
            rows.append(
                (
                    symbol,
                    ZERO if local is None else local.quantity,
                    None if report is None else report.quantity,
                    ZERO if diff is None else diff.diff,
                    None if diff is None else diff.action.value,
                )
            )
        return rows_frame(rows, schema)

    def __repr__(self) -> str:
        held = ", ".join(f"{plain(one.quantity)} {symbol}" for symbol, one in sorted(self.local_positions.items()))
        state = "never compared" if not self.last_sync_ns else f"{len(self.diffs)} differ"
        return f"<PositionSyncer: {held or 'flat'}; {state}>"
