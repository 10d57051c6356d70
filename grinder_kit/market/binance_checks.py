"""What the Binance importer checks from block to block: clock, update ids, crossed quotes; and the columns it makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from grinder_kit.errors import DataError
from grinder_kit.market.binance_scan import BBO, BUY, DEPTH, GAP, NONE, SELL, SNAPSHOT, TRADE, Ints, Lines, Rows
from grinder_kit.market.raw_lines import Block

MAX_CLOCK_STEP_NS = 1_000_000_000  # the local clock may be set back by this much; further back, lines are out of order
MAX_STEP_SHARE = 0.05  # a clock that steps back at more lines than this is no clock: the lines are shuffled


@dataclass(slots=True, kw_only=True)
class Checks:
    """State carried from block to block, and what was found.

    `spot` says that update ids continue as U = previous u + 1 (otherwise pu = previous u) and that snapshots carry no
    exchange time.
    """

    spot: bool
    seq: int = 0
    update_id: int | None = None
    local_ns: int | None = None
    behind_ns: int = 0  # most that the local clock was behind the exchange's, at most 0
    crossed_quotes: int = 0
    stale_snapshots: int = 0  # older than a diff before them: they bring back levels that were gone
    clock_steps: int = 0
    first_step: str = ""
    gaps: list[dict[str, int]] = field(default_factory=list)

    def clock(self, lines: Lines, block: Block) -> None:
        """Count local clock steps backwards and refuse one that no clock makes; take the clock offset."""
        at = np.flatnonzero(lines.local_ns)
        if at.size == 0:
            return
        local = lines.local_ns[at]
        step = np.diff(local, prepend=local[0] if self.local_ns is None else self.local_ns)
        self.local_ns = int(local[-1])
        back = np.flatnonzero(step < 0)
        if back.size:
            worst = int(step.argmin())
            if step[worst] < -MAX_CLOCK_STEP_NS:
                raise DataError(
                    f"{block.where(int(at[worst]))}: local time runs back by {-step[worst] / 1e9:,.3f} s; the lines are shuffled or "
                    "files are joined in the wrong order: sort them by local time (sort -n) and import again"
                )
            self.first_step = self.first_step or block.where(int(at[back[0]]))
            self.clock_steps += back.size
        kinds = (DEPTH, TRADE) if self.spot else (DEPTH, TRADE, SNAPSHOT)
        stamped = np.isin(lines.kind, kinds)
        if stamped.any():
            self.behind_ns = min(self.behind_ns, int((lines.local_ns - lines.exchange_ns)[stamped].min()))

    def shuffled(self, n_lines: int) -> None:
        """Refuse a file whose clock steps back all the time, by however little."""
        if self.clock_steps > max(10, MAX_STEP_SHARE * n_lines):
            raise DataError(
                f"{self.first_step} is the first of {self.clock_steps:,} (of {n_lines:,}) at which local time runs backwards: the lines "
                "are shuffled; sort them by local time (sort -n) and import again"
            )

    def columns(self, lines: Lines, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of a recording, with a gap row before each message whose update ids do not continue."""
        broken = self._continuity(lines)
        opens = (lines.kind >= 0).astype(np.int64)
        opens[broken] += 1  # the gap takes a seq of its own, directly before
        seq = self.seq - 1 + np.cumsum(opens)
        self.seq += int(opens.sum())
        for at, gap in zip(broken.tolist(), self.gaps[len(self.gaps) - broken.size :], strict=True):
            gap["seq"] = int(seq[at]) - 1
        line = rows.line
        out: dict[str, npt.NDArray[Any]] = {
            "exchange_ns": lines.exchange_ns[line],
            "local_ns": lines.local_ns[line],
            "seq": seq[line],
            "kind": lines.kind[line],
            "side": rows.side.copy(),  # the rows' own arrays are used again for the next block
            "price": rows.price.copy(),
            "quantity": rows.lots.copy(),
            "id": lines.id[line],
        }
        if broken.size:
            missing = [gap["from_id"] for gap in self.gaps[-broken.size :]]
            place = np.searchsorted(line, broken)
            gaps: dict[str, Any] = {
                "exchange_ns": lines.exchange_ns[broken], "local_ns": lines.local_ns[broken], "seq": seq[broken] - 1, "kind": GAP,
                "side": NONE, "price": 0, "quantity": 0, "id": missing,
            }  # fmt: skip
            out = {name: np.insert(values, place, gaps[name]) for name, values in out.items()}
        quotes = out["kind"] == BBO
        if quotes.any():
            side, price, lots = out["side"][quotes], out["price"][quotes], out["quantity"][quotes]
            bid, ask = side == BUY, side == SELL
            both = (lots[bid] > 0) & (lots[ask] > 0)
            self.crossed_quotes += int((both & (price[bid] >= price[ask])).sum())
        return out

    def _continuity(self, lines: Lines) -> Ints:
        """Return the lines of depth messages before which something is missing; snapshots do not count."""
        at = np.flatnonzero(lines.kind == DEPTH)
        last = lines.id[at]
        for i in np.flatnonzero(lines.kind == SNAPSHOT):
            earlier = int(np.searchsorted(at, i))
            seen = self.update_id if earlier == 0 else int(last[earlier - 1])
            self.stale_snapshots += seen is not None and int(lines.id[i]) < seen
        if at.size == 0:
            return at
        known = self.update_id is not None
        before: Ints = np.concatenate((np.array([self.update_id or 0], np.int64), last[:-1]))
        upto = lines.first[at] - 1 if self.spot else lines.previous[at]  # the last id that should have come before
        bad = upto != before
        bad[0] &= known
        self.update_id = int(last[-1])
        for i in np.flatnonzero(bad):
            gap = {
                "seq": 0,
                "from_id": int(before[i]) + 1,
                "to_id": int(upto[i]),
                "local_ns": int(lines.local_ns[at[i]]),
            }
            self.gaps.append(gap)
        broken: Ints = at[bad]
        return broken
