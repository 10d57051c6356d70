"""The book as it stood when a window of a recording opens.

A recording is a stream of changes: a window cut out of it would start with an empty book, and every quantity ahead of an order
would be wrong until its level changes. So the rows before the window are read once, and the window opens with what they left.
"""

from __future__ import annotations

import polars as pl

from grinder_kit.market.schema import COLUMNS


class OpeningBook:
    """Levels that rows in source order leave behind.

    They come back as one snapshot, or, where none anchored the book (since the last gap), as depth rows behind a gap row where
    one was seen, so that an untrusted book stays untrusted.

    Parameters
    ----------
    start_ns : int
        Exchange time of the window's start: the time of the opening rows.
    clock_offset_ns : int
        Local minus this is their local time.
    """

    def __init__(self, start_ns: int, clock_offset_ns: int) -> None:
        self.start_ns = start_ns
        self._local_ns = start_ns - clock_offset_ns
        self._levels = pl.DataFrame(schema={k: COLUMNS[k] for k in ("side", "price", "quantity", "id", "seq")})
        self._anchored = False
        self._gap: pl.DataFrame | None = None
        self._held = pl.DataFrame(schema=COLUMNS)  # the last message: more of it may come

    def add(self, rows: pl.DataFrame) -> None:
        """Take the next rows, in any cut."""
        rows = pl.concat((self._held, rows))
        if rows.height:
            last = pl.col("seq") == rows["seq"][-1]
            self._held = rows.filter(last)
            self._add_whole(rows.filter(~last))

    def _add_whole(self, rows: pl.DataFrame) -> None:
        """Apply whole messages."""
        rows = rows.filter(pl.col("kind").is_in(["depth", "snapshot", "gap"]))
        marks = rows.filter(pl.col("kind") != "depth").group_by("seq", maintain_order=True).agg(pl.col("kind").first())
        for seq, kind in marks.iter_rows():
            self._apply(rows.filter(pl.col("seq") < seq))
            message = rows.filter(pl.col("seq") == seq)
            rows = rows.filter(pl.col("seq") > seq)
            if kind == "gap":
                self._levels, self._anchored, self._gap = self._levels.clear(), False, message
                continue
            lowest_bid = message.filter(pl.col("side") == "buy")["price"].min()
            highest_ask = message.filter(pl.col("side") == "sell")["price"].max()
            spanned = pl.lit(False)
            if lowest_bid is not None:
                spanned |= (pl.col("side") == "buy") & (pl.col("price") >= lowest_bid)
            if highest_ask is not None:
                spanned |= (pl.col("side") == "sell") & (pl.col("price") <= highest_ask)
            self._levels = self._levels.filter(~spanned)
            self._apply(message)
            self._anchored, self._gap = True, None
        self._apply(rows)

    def _apply(self, rows: pl.DataFrame) -> None:
        if rows.height:
            both = pl.concat((self._levels, rows.select(self._levels.columns)))
            latest = both.group_by("side", "price").agg(pl.col("quantity", "id", "seq").last())
            self._levels = latest.filter(pl.col("quantity") > 0).select(self._levels.columns)

    def rows(self, before_seq: int) -> pl.DataFrame:
        """Return the opening rows, bids best first, then asks; `before_seq` is the seq of the window's first own row."""
        self._add_whole(self._held)
        levels = self._levels
        bids = levels.filter(pl.col("side") == "buy").sort("price", descending=True)
        asks = levels.filter(pl.col("side") == "sell").sort("price")
        while (
            bids.height and asks.height and bids["price"][0] >= asks["price"][0]
        ):  # of two that cross, the older is stale
            if bids["seq"][0] < asks["seq"][0]:
                bids = bids[1:]
            else:
                asks = asks[1:]
        newest = levels["id"].max()
        kind = "snapshot" if self._anchored else "depth"
        out = pl.concat((bids, asks)).with_columns(
            kind=pl.lit(kind, dtype=COLUMNS["kind"]), seq=pl.lit(before_seq - 1), id=pl.lit(newest, dtype=pl.Int64)
        )
        if self._gap is not None:
            gap = self._gap.with_columns(seq=pl.lit(before_seq - 2)).select(out.columns)
            out = pl.concat((gap, out))
        stamped = out.with_columns(exchange_ns=pl.lit(self.start_ns), local_ns=pl.lit(self._local_ns))
        return stamped.select(list(COLUMNS)).cast(COLUMNS)
