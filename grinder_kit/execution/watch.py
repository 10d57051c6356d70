"""RiskWatch: what a session has lost and sent so far, held against its limits at every step."""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from grinder_kit.decision.risk import RATE_WINDOW_S, Breach, EquityMarks, RiskFacts, find_breach
from grinder_kit.execution.ledger import Ledger
from grinder_kit.execution.money import EXACT
from grinder_kit.model.config import Limits
from grinder_kit.model.instrument import Instrument

_WINDOW_NS = RATE_WINDOW_S * 1_000_000_000


class RiskWatch:
    """The facts that limits are about.

    Parameters
    ----------
    instrument : Instrument
    ledger : Ledger
        Values the position; tell :meth:`booked` when it has changed.
    limits : Limits

    Attributes
    ----------
    marks : EquityMarks
        Highest equity and that at the start of the day; they follow every mid, limits or not.
    breach : Breach or None
        The first limit that was found broken. It stays: what ends a session is not taken back.
    """

    def __init__(self, instrument: Instrument, ledger: Ledger, limits: Limits) -> None:
        self.limits = limits
        self.marks = EquityMarks()
        self.breach: Breach | None = None
        self._instrument = instrument
        self._ledger = ledger
        self._half_tick = instrument.tick / 2
        self._mid2: int | None = None
        self._sent: deque[int] = deque()
        # Equity is a line over mid between two bookings: (at 0, slope). None: ask the ledger.
        self._line: tuple[Decimal, Decimal] | None = None

    @property
    def limits(self) -> Limits:
        """What the facts are held against."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits, self._limited = limits, limits != Limits()

    @property
    def mid(self) -> Decimal | None:
        """The mid that was last known, quote."""
        return None if self._mid2 is None else self._half_tick * self._mid2

    def booked(self) -> None:
        """Take note that the ledger has changed."""
        self._line = None

    def sent(self, now_ns: int) -> None:
        """Count a new order, or an amend."""
        self._forget(now_ns)
        self._sent.append(now_ns)

    def _forget(self, now_ns: int) -> None:
        sent, since = self._sent, now_ns - _WINDOW_NS
        while sent and sent[0] <= since:
            sent.popleft()

    def take(self, mid2: int | None, now_ns: int) -> None:
        """Take the time, and mid in half ticks where there is one."""
        self._forget(now_ns)
        if mid2 is not None:
            self._mid2 = mid2
            self.marks.take(self._equity(mid2), now_ns)

    @property
    def may_send(self) -> bool:
        """Whether one more order keeps to the order rate."""
        most = self._limits.max_orders_per_s
        return most is None or len(self._sent) + 1 <= most * RATE_WINDOW_S

    def find(self, lots: int, *, valued: bool) -> Breach | None:
        """Return the limit that is broken with a position of `lots`, once one is.

        `valued` says whether mid is known now; what must be valued breaks nothing otherwise.
        """
        if self.breach is None and self._limited:
            self.breach = find_breach(self.facts(lots, valued=valued), self._limits, self._instrument)
        return self.breach

    def facts(self, lots: int, *, valued: bool = True) -> RiskFacts:
        """Return how things are, with a position of `lots`; values at the mid that was last known."""
        held, mid = self._instrument.quantity(lots), self.mid if valued else None
        return RiskFacts(
            position=held,
            notional=None if mid is None else self._instrument.notional(mid, abs(held)),
            drawdown=None if mid is None else self.marks.drawdown,
            day_loss=None if mid is None else self.marks.day_loss,
            sent=len(self._sent),
        )

    def _equity(self, mid2: int) -> Decimal:
        if self._line is not None:
            start, slope = self._line
            return EXACT.add(start, EXACT.multiply(slope, mid2)) if slope else start
        instrument, held = self._instrument, self._ledger.inventory
        equity = self._ledger.equity(self._half_tick * mid2)
        if not instrument.inverse or not held:  # the value of inverse contracts is no line
            slope = EXACT.multiply(EXACT.multiply(held, instrument.contract_size), self._half_tick)
            self._line = EXACT.subtract(equity, EXACT.multiply(slope, mid2)), slope
        return equity
