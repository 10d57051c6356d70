"""TWAP and iceberg: a large order as a schedule of small ones (SPEC 9.1). Pure: no clock, no I/O; whole lots, and ns since the start.

A schedule only says what may leave when. What has left is told to it, so that it can be built again anywhere and goes on.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from grinder_kit.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

SECOND_NS = 1_000_000_000
#: Slices of a schedule that leaves their number open: at most so many, and no two closer together than this.
SLICES, PACE_NS = 60, SECOND_NS
#: More than this no schedule has.
MOST_SLICES = 10_000
#: What was missed makes later slices larger, none of them more than so many times the largest one planned.
CATCH_UP = 2


def lots_text(lots: int) -> str:
    """Write a quantity where lots are all that is known.

    Examples
    --------
    >>> lots_text(1), lots_text(4_000)
    ('1 lot', '4,000 lots')
    """
    return "1 lot" if lots == 1 else f"{lots:,} lots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a schedule has come.

    Attributes
    ----------
    done_lots, total_lots : int
        Lots that are out, and all of them.
    slices_done, slices : int
    wait_ns : int or None
        ns until the next slice is due; None where none has a time of its own.

    Examples
    --------
    >>> Progress(done_lots=4, total_lots=12, slices_done=3, slices=10, wait_ns=12 * SECOND_NS)
    3 of 10 slices, 4 of 12 lots out, next in 12 s
    """

    done_lots: int
    total_lots: int
    slices_done: int
    slices: int
    wait_ns: int | None = None

    def text(self, quantity: Callable[[int], str] = lots_text) -> str:
        """Return it in words; `quantity` writes lots with their unit."""
        total = quantity(self.total_lots)
        unit = total.rpartition(" ")[2]
        done = quantity(self.done_lots).rpartition(" ")[0]
        wait = "" if self.wait_ns is None else f", next in {self.wait_ns / SECOND_NS:.0f} s"
        return f"{self.slices_done} of {self.slices} slices, {done} of {total.rpartition(' ')[0]} {unit} out{wait}"

    def __repr__(self) -> str:
        return self.text()


# --- TWAP --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Twap:
    """A quantity in slices over a time, one in each of as many equal intervals.

    Without a seed the slices are equal, to the lot, and each leaves at the beginning of its interval. With one their sizes (half to
    one and a half times the mean, as far as the smallest order allows) and their times within the interval are drawn.

    A slice that was missed (paused, stale market, venue down, process dead) is not sent as a burst afterwards: what is left is
    spread over the slices still to come (:meth:`share`), none of which becomes larger than twice the largest one planned. A
    schedule that has missed too much for that ends late, at the same pace.

    Parameters
    ----------
    total_lots : int
    duration_ns : int
    slices : int, optional
        By default as many as the smallest order allows: at most 60, at least 1 s apart; with a seed each on average twice the smallest.
    least_lots : int
        The smallest order that the venue takes (`Constraints.least_lots`).
    seed : int, optional

    Attributes
    ----------
    sizes, times_ns : tuple of int
        Lots of each slice, and when it is due, ns from the start. Shape ``(slices,)``.

    Raises
    ------
    ConfigError
        For slices below the smallest order; the message says how many would do.

    Examples
    --------
    >>> twap = Twap(total_lots=10, duration_ns=60 * SECOND_NS, slices=4)
    >>> twap
    Twap(10 lots in 4 slices over 60 s)
    >>> twap.sizes, [twap.due(second * SECOND_NS) for second in (0, 14, 15, 59)]
    ((2, 3, 2, 3), [2, 2, 5, 10])
    >>> Twap(total_lots=10, duration_ns=60 * SECOND_NS, slices=4, least_lots=3)
    Traceback (most recent call last):
    grinder_kit.errors.ConfigError: 4 slices of 2 lots are below the smallest order of 3 lots: write at most 3 slices, or flatten at once
    """

    total_lots: int
    duration_ns: int
    slices: int | None = None
    least_lots: int = 1
    seed: int | None = None
    sizes: tuple[int, ...] = field(init=False, compare=False)
    times_ns: tuple[int, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _check_whole(self)
        if self.duration_ns < 1:
            raise ConfigError(f"duration_ns is {self.duration_ns}; write a time above zero")
        count = self.slices
        if count is None:
            count = self.most(self.total_lots, self.duration_ns, self.least_lots, drawn=self.seed is not None)
            object.__setattr__(self, "slices", count)
        check_slices(self.total_lots, count, self.least_lots)
        if count > self.duration_ns:
            raise ConfigError(f"{count} slices in {self.duration_ns} ns: write a longer time, or fewer slices")
        starts = [self.duration_ns * number // count for number in range(count + 1)]
        if self.seed is None:
            sizes, times = _shares(self.total_lots, [1] * count), starts[:-1]
        else:
            rng = random.Random(self.seed)
            spare = self.total_lots - count * self.least_lots
            # The part above the smallest order is drawn, so that none can be too small.
            sizes = [self.least_lots + lots for lots in _shares(spare, [rng.randint(500, 1500) for _ in range(count)])]
            times = [rng.randrange(start, end) for start, end in zip(starts, starts[1:], strict=False)]
        object.__setattr__(self, "sizes", tuple(sizes))
        object.__setattr__(self, "times_ns", tuple(times))

    @staticmethod
    def most(total_lots: int, duration_ns: int, least_lots: int, *, drawn: bool = False) -> int:
        """Return the slices of a schedule that leaves their number open; drawn ones need room above the smallest order."""
        return max(1, min(SLICES, total_lots // (2 * least_lots if drawn else least_lots), duration_ns // PACE_NS))

    def due(self, elapsed_ns: int) -> int:
        """Return the lots that should be out by then."""
        return sum(self.sizes[: bisect_right(self.times_ns, elapsed_ns)])

    def slot(self, elapsed_ns: int) -> int:
        """Return the number of the slice whose turn it is, from 0; -1 before the first. After the end it goes on at the same pace."""
        if elapsed_ns < self.duration_ns:
            return bisect_right(self.times_ns, elapsed_ns) - 1
        return len(self.sizes) + (elapsed_ns - self.duration_ns) // self._interval_ns

    def next_ns(self, elapsed_ns: int) -> int:
        """Return when the next slice is due, ns from the start; after the end, the next that would make up for what was missed."""
        number = self.slot(elapsed_ns) + 1
        if number < len(self.sizes):
            return self.times_ns[number]
        return self.duration_ns + (number - len(self.sizes)) * self._interval_ns

    @property
    def _interval_ns(self) -> int:
        return max(1, self.duration_ns // len(self.sizes))

    def share(self, slot: int, left_lots: int, least_lots: int | None = None) -> int:
        """Return what may leave during a slice's turn.

        Parameters
        ----------
        slot : int
            As :meth:`slot` says.
        left_lots : int
            Lots that were left when its turn began: as planned, or more where slices were missed.
        least_lots : int, optional
            The smallest order now; by default that of the start. A share below it waits, and leaves with a later slice.
        """
        if slot < 0 or left_lots <= 0:
            return 0
        least = max(self.least_lots, least_lots or 1)
        planned = sum(self.sizes[slot:])
        share = left_lots * self.sizes[slot] // planned if planned else left_lots
        share = min(share, max(CATCH_UP * max(self.sizes), least))
        if left_lots < least or (share >= least and left_lots - share < least):
            return left_lots  # what would stay could not be sent
        return share if share >= least else 0

    def progress(self, done_lots: int, elapsed_ns: int, total_lots: int | None = None) -> Progress:
        """Return how far it has come; `total_lots` where that is not what was planned any more."""
        total = self.total_lots if total_lots is None else total_lots
        over = done_lots >= total
        return Progress(
            done_lots=done_lots,
            total_lots=total,
            slices_done=_complete(self.sizes, done_lots, over),
            slices=len(self.sizes),
            wait_ns=None if over else max(0, self.next_ns(elapsed_ns) - elapsed_ns),
        )

    def to_frame(self) -> pl.DataFrame:
        """Return the slices: number, time from the start (ns), lots, and the lots that are out with it."""
        import polars as pl

        columns = {"slice": range(1, len(self.sizes) + 1), "at_ns": self.times_ns, **_columns(self.sizes)}
        return pl.DataFrame(columns, schema_overrides=dict.fromkeys(columns, pl.Int64))

    def __repr__(self) -> str:
        drawn = "" if self.seed is None else f", drawn with seed {self.seed}"
        seconds = self.duration_ns / SECOND_NS
        return f"Twap({lots_text(self.total_lots)} in {len(self.sizes)} slices over {seconds:g} s{drawn})"


# --- iceberg -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Iceberg:
    """A quantity of which only a clip is shown at a time; the next one is shown when it has filled.

    With a seed each clip is drawn between half of `shown_lots` and all of it. A last clip that would be below the smallest order
    leaves with the one before.

    Parameters
    ----------
    total_lots, shown_lots : int
    least_lots : int
        The smallest order that the venue takes.
    seed : int, optional

    Attributes
    ----------
    sizes : tuple of int
        Lots of each clip.

    Raises
    ------
    ConfigError
        For clips that are below the smallest order, or above the whole.

    Examples
    --------
    >>> iceberg = Iceberg(total_lots=10, shown_lots=4)
    >>> iceberg, iceberg.sizes, [iceberg.clip(done) for done in (0, 3, 4, 9)]
    (Iceberg(10 lots, 4 lots shown), (4, 4, 2), [4, 1, 4, 1])
    >>> Iceberg(total_lots=10, shown_lots=4, least_lots=5)
    Traceback (most recent call last):
    grinder_kit.errors.ConfigError: clips of 4 lots are below the smallest order of 5 lots: show at least 5 lots, or flatten at once
    """

    total_lots: int
    shown_lots: int
    least_lots: int = 1
    seed: int | None = None
    sizes: tuple[int, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _check_whole(self)
        check_clip(self.total_lots, self.shown_lots, self.least_lots)
        rng = None if self.seed is None else random.Random(self.seed)
        lowest = max(self.least_lots, -(-self.shown_lots // 2))
        sizes: list[int] = []
        left = self.total_lots
        while left:
            lots = min(left, self.shown_lots if rng is None else rng.randint(lowest, self.shown_lots))
            if left - lots < self.least_lots:
                lots = left
            sizes.append(lots)
            left -= lots
        object.__setattr__(self, "sizes", tuple(sizes))

    def clip(self, done_lots: int, least_lots: int | None = None) -> int:
        """Return what to show once so many lots are out; a rest below the smallest order (`least_lots` now) is shown with the next."""
        least, left = max(self.least_lots, least_lots or 1), self.total_lots - done_lots
        if left <= 0:
            return 0
        ends = list(accumulate(self.sizes))
        at = bisect_right(ends, max(0, done_lots))
        while at < len(ends) - 1 and ends[at] - max(0, done_lots) < least:
            at += 1
        lots = min(left, ends[at] - max(0, done_lots))
        return left if left - lots < least else lots

    def progress(self, done_lots: int, total_lots: int | None = None) -> Progress:
        """Return how far it has come; `total_lots` where that is not what was planned any more."""
        total = self.total_lots if total_lots is None else total_lots
        return Progress(
            done_lots=done_lots,
            total_lots=total,
            slices_done=_complete(self.sizes, done_lots, done_lots >= total),
            slices=len(self.sizes),
        )

    def to_frame(self) -> pl.DataFrame:
        """Return the clips: number, lots, and the lots that are out with it."""
        import polars as pl

        columns = {"slice": range(1, len(self.sizes) + 1), **_columns(self.sizes)}
        return pl.DataFrame(columns, schema_overrides=dict.fromkeys(columns, pl.Int64))

    def __repr__(self) -> str:
        drawn = "" if self.seed is None else f", drawn with seed {self.seed}"
        return f"Iceberg({lots_text(self.total_lots)}, {lots_text(self.shown_lots)} shown{drawn})"


# --- checks ------------------------------------------------------------------------------------------------------------


def check_slices(total_lots: int, slices: int, least_lots: int, quantity: Callable[[int], str] = lots_text) -> None:
    """Refuse a number of slices that the venue would not take; `quantity` writes lots with their unit.

    Raises
    ------
    ConfigError
    """
    most = min(MOST_SLICES, total_lots // least_lots)
    if not most:
        raise ConfigError(_too_small(total_lots, least_lots, quantity))
    if slices < 1:
        raise ConfigError(f"slices is {slices}; write a whole number from 1 to {most}")
    if total_lots // slices < least_lots:
        raise ConfigError(
            f"{slices} slices of {quantity(total_lots // slices)} are below the smallest order of {quantity(least_lots)}: write "
            f"at most {most} {'slice' if most == 1 else 'slices'}, or flatten at once"
        )
    if slices > most:
        raise ConfigError(f"{slices} slices are too many: write at most {most}")


def check_clip(total_lots: int, shown_lots: int, least_lots: int, quantity: Callable[[int], str] = lots_text) -> None:
    """Refuse a clip that the venue would not take, or that hides nothing.

    Raises
    ------
    ConfigError
    """
    if total_lots < least_lots:
        raise ConfigError(_too_small(total_lots, least_lots, quantity))
    if shown_lots < least_lots:
        raise ConfigError(
            f"clips of {quantity(shown_lots)} are below the smallest order of {quantity(least_lots)}: show at least "
            f"{quantity(least_lots)}, or flatten at once"
        )
    if shown_lots > total_lots:
        raise ConfigError(
            f"a clip of {quantity(shown_lots)} shows more than there is, {quantity(total_lots)}: show less, or flatten at once"
        )
    if total_lots > MOST_SLICES * shown_lots:
        raise ConfigError(
            f"clips of {quantity(shown_lots)} would be more than {MOST_SLICES:,}: show at least "
            f"{quantity(-(-total_lots // MOST_SLICES))}"
        )


def _too_small(total_lots: int, least_lots: int, quantity: Callable[[int], str]) -> str:
    return f"{quantity(total_lots)} are below the smallest order of {quantity(least_lots)}: there is nothing to slice"


def _check_whole(schedule: Twap | Iceberg) -> None:
    for name in ("total_lots", "least_lots"):
        if getattr(schedule, name) < 1:
            raise ConfigError(f"{name} is {getattr(schedule, name)}; write a whole number from 1")


# --- whole numbers -----------------------------------------------------------------------------------------------------


def _shares(total: int, weights: list[int]) -> list[int]:
    """Share `total` out by weights, exactly: each share is its part to within one."""
    whole = sum(weights)
    ends = [total * end // whole for end in accumulate(weights)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _complete(sizes: tuple[int, ...], done_lots: int, over: bool) -> int:
    return len(sizes) if over else bisect_right(list(accumulate(sizes)), done_lots)


def _columns(sizes: tuple[int, ...]) -> dict[str, list[int]]:
    return {"lots": list(sizes), "out_lots": list(accumulate(sizes))}
