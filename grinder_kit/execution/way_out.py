"""A schedule by which a position is taken out, and how far it has come. Moved by events and ticks; no clock of its own.

All that it knows comes from the journal's events, so that a session that is rebuilt goes on where it stood: what is out are fills,
and its time is that of the events. A pause does not count, a time in which the process was dead does: the schedule then spreads
what it has missed over what remains (`Twap.share`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

from grinder_kit.decision.constraints import Constraints
from grinder_kit.decision.slicing import SECOND_NS, Iceberg, Progress, Twap, check_clip, check_slices
from grinder_kit.errors import ConfigError
from grinder_kit.model.event import Flatten
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.number import Exact, exact, plain

#: A clip that is not filled follows the market no more often than this.
FOLLOW_NS = SECOND_NS
LONGEST_S = 7 * 24 * 3600


class WayOut:
    """A schedule under way.

    Parameters
    ----------
    asked : Flatten
    now_ns : int

    Attributes
    ----------
    asked : Flatten
    done : int
        Lots that its orders have taken out.
    """

    def __init__(self, asked: Flatten, now_ns: int) -> None:
        self.asked = asked
        self.done = 0
        self.schedule = schedule_of(asked)
        self._elapsed_ns = 0
        self._last_ns: int | None = now_ns  # None while the session is paused
        self._slot, self._left, self._slot_done = -1, 0, 0
        self._sent_ns, self._sent_done = now_ns - FOLLOW_NS, 0
        self.see(asked.total_lots, now_ns)

    @property
    def iceberg(self) -> bool:
        """Whether clips are shown, rather than taken at once."""
        return isinstance(self.schedule, Iceberg)

    # --- time --------------------------------------------------------------------------------------------------------

    def is_for(self, asked: Flatten) -> bool:
        """Whether it is the schedule that an event asks for, whatever its reason."""
        return replace(asked, reason=self.asked.reason) == self.asked

    def go_on(self, now_ns: int) -> None:
        """Let its time run again, from now."""
        if self._last_ns is None:
            self._last_ns = now_ns

    def stand_still(self, now_ns: int) -> None:
        """Let its time stand from now on."""
        self._pass(now_ns)
        self._last_ns = None

    def _pass(self, now_ns: int) -> None:
        if self._last_ns is not None:
            self._elapsed_ns += max(0, now_ns - self._last_ns)
            self._last_ns = now_ns

    def see(self, held: int, now_ns: int) -> None:
        """Take the time, and what is held then (lots, unsigned): whatever changes it comes after."""
        self._pass(now_ns)
        if isinstance(self.schedule, Twap):
            slot = self.schedule.slot(self._elapsed_ns)
            if slot != self._slot:
                self._slot, self._left, self._slot_done = slot, held, self.done

    # --- what may leave ----------------------------------------------------------------------------------------------

    def due(self, held: int, least: int) -> int:
        """Return the lots that may leave now."""
        if isinstance(self.schedule, Iceberg):
            return min(held, self.schedule.clip(self.schedule.total_lots - held, least))
        share = self.schedule.share(self._slot, self._left, least) - (self.done - self._slot_done)
        # A rest of a slice that could not be sent alone leaves with the next; one that nothing follows is said to remain.
        return min(held, share) if share >= least or share >= held else 0

    def may_follow(self, now_ns: int) -> bool:
        """Whether a clip may be shown or moved: after a fill at once, otherwise at a bounded rate."""
        return self.done > self._sent_done or now_ns - self._sent_ns >= FOLLOW_NS

    def shown(self, now_ns: int) -> None:
        """Note that a clip was sent or moved."""
        self._sent_ns, self._sent_done = now_ns, self.done

    def booked(self, lots: int) -> None:
        """Note that its orders have taken so many lots out."""
        self.done += lots

    def progress(self, held: int) -> Progress:
        """Return how far it has come, where so many lots (unsigned) are still held."""
        total = self.done + held
        if isinstance(self.schedule, Iceberg):
            return self.schedule.progress(self.done, total)
        progress = self.schedule.progress(self.done, self._elapsed_ns, total)
        return replace(progress, wait_ns=0) if self.due(held, self.asked.least_lots) else progress

    def text(self, held: int, instrument: Instrument) -> str:
        """Return the progress in words, with the instrument's units."""
        return self.progress(held).text(partial(amount, instrument))


def schedule_of(asked: Flatten) -> Twap | Iceberg:
    """Return the schedule that an event tells."""
    if asked.shown_lots is not None:
        return Iceberg(
            total_lots=asked.total_lots, shown_lots=asked.shown_lots, least_lots=asked.least_lots, seed=asked.seed
        )
    return Twap(
        total_lots=asked.total_lots,
        duration_ns=asked.duration_ns or 0,
        slices=asked.slices,
        least_lots=asked.least_lots,
        seed=asked.seed,
    )


# --- from what a person asks for ---------------------------------------------------------------------------------------


class How(NamedTuple):
    """How a position is to be taken out, as it is asked for. Nothing said: at once.

    Parameters
    ----------
    twap_s : float, optional
        Over so many seconds, in slices that take what the market shows.
    slices : int, optional
        So many; by default as many as the smallest order allows, at most 60, at least 1 s apart.
    show : str or Decimal, optional
        Quantity of the post-only orders that are shown one at a time, at the own side's best price.
    seed : int, optional
        Draws sizes and times.
    """

    twap_s: float | None = None
    slices: int | None = None
    show: Exact | None = None
    seed: int | None = None

    @property
    def at_once(self) -> bool:
        """Whether nothing but the market decides how long it takes."""
        return self.twap_s is None and self.show is None

    def check(self) -> None:
        """Refuse what cannot be meant, whatever is held; it may come from outside.

        Raises
        ------
        ConfigError
        """
        if self.twap_s is not None and self.show is not None:
            raise ConfigError("twap_s and show are two ways out: write twap_s (slices over time), or show (an iceberg)")
        if self.twap_s is not None and not _is_seconds(self.twap_s):
            raise ConfigError(f"twap_s is {self.twap_s!r}; write seconds, above 0 and at most {LONGEST_S:,}")
        for name, value, least in (("slices", self.slices, 1), ("seed", self.seed, 0)):
            if value is not None and not _is_whole(value, least):
                raise ConfigError(f"{name} is {value!r}; write a whole number from {least}")
        if self.slices is not None and self.twap_s is None:
            raise ConfigError("slices are those of a TWAP: write twap_s as well, such as twap_s=600")
        if self.seed is not None and self.at_once:
            raise ConfigError("seed draws the slices of a schedule: write twap_s=600, or show, as well")
        if self.show is not None:
            exact(self.show, "show")

    def is_that_of(self, asked: Flatten, instrument: Instrument) -> bool:
        """Whether a schedule is the one asked for; what is left out may be anything."""
        if self.show is not None:
            same = asked.shown_lots == instrument.lots(self.show, "show")
        else:
            same = self.twap_s is not None and asked.duration_ns == round(self.twap_s * SECOND_NS)
        return same and self.slices in (None, asked.slices) and self.seed in (None, asked.seed)

    def plan(
        self, instrument: Instrument, held: int, touch: tuple[int | None, int | None], step_ns: int, reason: str
    ) -> Flatten:
        """Return the event that takes a position out this way; not for one at once.

        Parameters
        ----------
        instrument : Instrument
        held : int
            Lots, signed, not 0.
        touch : tuple
            Best bid and ask, ticks.
        step_ns : int
            Time between two decisions of the session.
        reason : str

        Raises
        ------
        ConfigError
            For a schedule that the venue or the session cannot keep; it says what to write instead.
        """
        self.check()
        ticks = touch[0] if held > 0 else touch[1]
        if ticks is None:
            raise ConfigError("the book has no price to count the smallest order by: try again, or flatten at once")
        constraints = Constraints.of(instrument)
        total, least = abs(held), constraints.least_lots(ticks)
        quantity = partial(amount, instrument)
        asked = Flatten(total_lots=total, least_lots=least, seed=self.seed, reason=reason)
        if self.show is not None:
            shown = instrument.lots(self.show, "show")
            check_clip(total, shown, least, quantity)
            if constraints.max_lots is not None and shown > constraints.max_lots:
                most = quantity(constraints.max_lots)
                raise ConfigError(f"a clip of {quantity(shown)} is above the largest order of {most}: show less")
            return replace(asked, shown_lots=shown)
        assert self.twap_s is not None
        duration = round(self.twap_s * SECOND_NS)
        check_slices(total, self.slices or 1, least, quantity)
        slices, most_slices = self.slices, max(1, duration // step_ns)
        if slices is None:
            slices = min(most_slices, Twap.most(total, duration, least, drawn=self.seed is not None))
        elif slices > most_slices:
            raise ConfigError(
                f"{slices} slices in {self.twap_s:g} s are closer together than the session's steps of {step_ns / SECOND_NS:g} s: "
                f"write at most {most_slices} slices"
            )
        return replace(asked, duration_ns=duration, slices=slices)


def amount(instrument: Instrument, lots: int) -> str:
    """Write a quantity with its unit."""
    return f"{plain(instrument.quantity(lots))} {'contracts' if instrument.inverse else instrument.base}"


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 1e-9 <= value <= LONGEST_S


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
