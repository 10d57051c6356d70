"""What a replay reads: the protocol that recordings and synthetic markets share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import polars as pl

    from grinder_kit.model.instrument import Instrument


#: Rows in a batch unless asked otherwise, in a read, and in a row group that we write: 2 MB, so that many files need little
#: more memory than one. What is computed does not depend on it.
BATCH_ROWS = 32_768


@runtime_checkable
class Market(Protocol):
    """Rows of one instrument's market, in the order of their source."""

    @property
    def instrument(self) -> Instrument:
        """What is traded; the steps of `price` and `quantity`."""
        ...

    @property
    def clock_offset_ns(self) -> int:
        """Add this to `local_ns` to put the local clock on the exchange's axis."""
        ...

    @property
    def disorder_ns(self) -> tuple[int, int]:
        """How far back a later row may lie, by the exchange's clock and by the local one."""
        ...

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Yield the recorded columns in row order, at most `rows` at a time, from the start at each call."""
        ...

    def funding(self) -> pl.DataFrame:
        """Return funding times: `ts_ns` i64, `rate` f64, `mark` i64 in ticks (null where unknown); may be empty."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what a report says about its data, as JSON types."""
        ...
