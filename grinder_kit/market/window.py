"""A part of a market by exchange time: its rows, with the book as it stood where it opens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

from grinder_kit.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from grinder_kit.market.opening import OpeningBook


@dataclass(frozen=True, slots=True)
class Window:
    """Exchange time from `start_ns` to before `end_ns`; None reaches to the market's own end."""

    start_ns: int | None = None
    end_ns: int | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is cut off."""
        return self.start_ns is None and self.end_ns is None

    @property
    def words(self) -> str:
        """What stands behind a market's name for this part of it, such as `` start_ns=17``; nothing for the whole."""
        edges = (("start_ns", self.start_ns), ("end_ns", self.end_ns))
        return "".join(f" {name}={at}" for name, at in edges if at is not None)

    def span(self, whole_ns: tuple[int, int]) -> tuple[int, int]:
        """Return the first and last time of what it leaves of a market."""
        first, last = whole_ns
        return max(first, self.start_ns or first), min(last, self.end_ns or last)

    def narrowed(self, start_ns: int | None, end_ns: int | None, whole_ns: tuple[int, int]) -> Window:
        """Return the part of this window that lies in another.

        Raises
        ------
        ConfigError
            When nothing would be left of a market with the times `whole_ns`.
        """
        starts = [t for t in (self.start_ns, start_ns) if t is not None]
        ends = [t for t in (self.end_ns, end_ns) if t is not None]
        start, end = max(starts, default=None), min(ends, default=None)
        first, last = self.span(whole_ns)
        if (start if start is not None else first) >= (end if end is not None else last + 1) or (start or first) > last:
            raise ConfigError(
                f"window [{start_ns}, {end_ns}) ns leaves nothing of [{first}, {last}]; write times inside it"
            )
        return Window(start, end)

    def split(self, fraction: float, purge_ns: int, whole_ns: tuple[int, int]) -> tuple[Window, Window]:
        """Return the first `fraction` of the time, and what comes `purge_ns` after it.

        Raises
        ------
        ConfigError
            For a fraction outside (0, 1) or a purge that leaves no second part.
        """
        if not 0 < fraction < 1:
            raise ConfigError(f"fraction is {fraction:g}; write a number between 0 and 1, such as 0.6")
        first, last = self.span(whole_ns)
        cut = first + int((last - first) * fraction)
        return self.narrowed(None, cut, whole_ns), self.narrowed(cut + purge_ns, None, whole_ns)

    def inside(self, column: str) -> pl.Expr:
        """Return whether the time in a column lies in the window."""
        import polars as pl

        inside = pl.lit(True)
        if self.start_ns is not None:
            inside = inside & (pl.col(column) >= self.start_ns)
        if self.end_ns is not None:
            inside = inside & (pl.col(column) < self.end_ns)
        return inside

    def rows(self, blocks: Iterator[pl.DataFrame], *, clock_offset_ns: int, disorder_ns: int) -> Iterator[pl.DataFrame]:
        """Yield the rows of the window, behind the book that the earlier ones have left.

        Parameters
        ----------
        blocks : iterator of DataFrame
            All rows of the market, in order.
        clock_offset_ns : int
        disorder_ns : int
            How far back a later row may lie, by the exchange's clock.
        """
        if self.whole:
            yield from blocks
            return
        import polars as pl

        from grinder_kit.market.opening import OpeningBook

        opening = OpeningBook(self.start_ns, clock_offset_ns) if self.start_ns is not None else None
        waiting: list[pl.DataFrame] = []
        latest: int | None = None
        for block in blocks:
            peak: int = block["exchange_ns"].max()  # type: ignore[assignment]
            latest = peak if latest is None else max(latest, peak)
            waiting.append(block.filter(self.inside("exchange_ns")))
            if opening is not None:
                opening.add(block.filter(pl.col("exchange_ns") < self.start_ns))
                if latest - disorder_ns < opening.start_ns:
                    continue  # rows of before the window can still come
                yield from _opened(opening, waiting)
                opening = None
            else:
                yield from waiting
            waiting = []
            if self.end_ns is not None and latest - disorder_ns > self.end_ns:
                return  # nothing later can lie in the window
        if opening is not None:
            yield from _opened(opening, waiting)


class Windowed(Protocol):
    """A market of which parts can be taken. Markets, frozen dataclasses, inherit what is written out here."""

    start_ns: int | None
    end_ns: int | None

    @property
    def whole_ns(self) -> tuple[int, int]:
        """First and last exchange time, whatever the window."""
        ...

    @property
    def cut(self) -> Window:
        """The window."""
        return Window(self.start_ns, self.end_ns)

    @property
    def span_ns(self) -> tuple[int, int]:
        """First and last exchange time, or the window's edges where they lie inside."""
        return self.cut.span(self.whole_ns)

    def window(self, start_ns: int | None = None, end_ns: int | None = None) -> Self:
        """Return the part with exchange time in [start_ns, end_ns), cut to this window.

        Raises
        ------
        ConfigError
            When nothing would be left.
        """
        return self._within(self.cut.narrowed(start_ns, end_ns, self.whole_ns))

    def split(self, fraction: float, *, purge_ns: int = 0) -> tuple[Self, Self]:
        """Return (train, test): the first `fraction` of the exchange time, and what comes `purge_ns` after it.

        Raises
        ------
        ConfigError
            For a fraction outside (0, 1) or a purge that leaves no test.
        """
        train, test = self.cut.split(fraction, purge_ns, self.whole_ns)
        return self._within(train), self._within(test)

    def _within(self, window: Window) -> Self:
        return replace(self, start_ns=window.start_ns, end_ns=window.end_ns)  # type: ignore[type-var]


def _opened(opening: OpeningBook, rows: list[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    first = next((block for block in rows if block.height), None)
    if first is not None:
        yield opening.rows(before_seq=int(first["seq"][0]))
        yield from rows


def in_batches(blocks: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Yield blocks of any size as batches of `rows`; the last may have fewer.

    Raises
    ------
    ConfigError
        For less than one row.
    """
    if rows < 1:
        raise ConfigError(f"rows is {rows}; write 1 or more")
    import polars as pl

    held: pl.DataFrame | None = None
    for chunk in blocks:
        held = chunk if held is None else pl.concat((held, chunk))  # nothing is copied
        for _ in range(held.height // rows):
            yield held[:rows]
            held = held[rows:]
        if not held.height:
            held = None  # no rows, but it would keep where they were
    if held is not None:
        yield held
