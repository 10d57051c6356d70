"""The facts behind ``grinder info``: what a recording holds and what is wrong with it, as text and as JSON types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from grinder_kit.market.recording import Recording
from grinder_kit.model.market import EventKind
from grinder_kit.model.number import plain

#: Words for what an importer found.
_ISSUES = {
    "crossed": "messages after which the book was crossed",
    "crossed_quotes": "crossed quotes",
    "stale_snapshots": "snapshots older than the diffs before them",
    "clock_steps": "local clock steps backwards",
    "off_lot": "quantities off the lot, rounded half up",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What is known of a recording from its metadata; nothing else is read.

    `events` counts rows and `messages` source messages by kind; `issues`, `left_out` count by name; times in ns.
    """

    name: str
    symbol: str
    venue: str
    tick: str
    lot: str
    files: int
    rows: int
    events: dict[str, int]
    messages: dict[str, int]
    span_ns: tuple[int, int]
    clock_offset_ns: int
    disorder_ns: tuple[int, int]
    exchange_time_is_local: tuple[str, ...]
    gaps: tuple[dict[str, int], ...]
    issues: dict[str, int]
    left_out: dict[str, int]
    partial: tuple[dict[str, Any], ...]
    source: tuple[dict[str, Any], ...]

    @property
    def duration_s(self) -> float:
        """Length in exchange time, seconds."""
        return (self.span_ns[1] - self.span_ns[0]) / 1e9

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON types; `events` first."""
        out: dict[str, Any] = {"events": self.events}
        out |= {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "events"}
        out["duration_s"] = self.duration_s
        return {key: list(value) if isinstance(value, tuple) else value for key, value in out.items()}

    def __str__(self) -> str:
        rows = [
            ("recording", f"{self.name}" + (f" ({self.files} files)" if self.files > 1 else "")),
            ("instrument", f"{self.symbol} at {self.venue}, tick {self.tick}, lot {self.lot}"),
            ("span", f"{_utc(self.span_ns[0])} to {_utc(self.span_ns[1])} UTC, {self.duration_s:,.1f} s"),
            ("rows", f"{self.rows:,}"),
            *((f"  {kind}", f"{n:,} in {self.messages[kind]:,} messages") for kind, n in self.events.items() if n),
            ("clock offset", f"{self.clock_offset_ns:,} ns, added to local time"),
            (
                "disorder",
                f"{self.disorder_ns[0] / 1e6:,.1f} ms by exchange time, {self.disorder_ns[1] / 1e6:,.1f} ms by local time",
            ),
            ("gaps", f"{len(self.gaps)}"),
            *(
                ("  gap", f"{_utc(g['local_ns'])} local, update ids {g['from_id']} to {g['to_id']} missing")
                for g in self.gaps[:10]
            ),
            *((f"  {_ISSUES.get(name, name.replace('_', ' '))}", f"{n:,}") for name, n in self.issues.items() if n),
            *((f"  left out: {name}", f"{n:,}") for name, n in self.left_out.items()),
            *(("  cut off", f"{cut['name']} after line {cut['after_line']:,}") for cut in self.partial),
            *(("source", f"{s['name']}, {s['lines']:,} lines, sha256 {s['sha256'][:12]}...") for s in self.source),
        ]
        if self.exchange_time_is_local:
            rows.append(("no exchange time", f"{', '.join(self.exchange_time_is_local)}: shifted local time is used"))
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)


def recording_info(recording: Recording) -> Info:
    """Return the facts of a recording, summed over its files."""
    metadata = [part.metadata for part in recording.parts]

    def total(key: str, names: Iterable[str] = ()) -> dict[str, int]:
        out = dict.fromkeys((str(name) for name in names), 0)
        for m in metadata:
            for name, n in m.get(key, {}).items():
                out[name] = out.get(name, 0) + int(n)
        return out

    return Info(
        name=recording.path.name,
        symbol=recording.instrument.symbol,
        venue=recording.instrument.venue,
        tick=plain(recording.instrument.tick),
        lot=plain(recording.instrument.lot),
        files=len(recording.parts),
        rows=sum(part.rows for part in recording.parts),
        events=total("counts", EventKind),
        messages=total("messages", EventKind),
        span_ns=recording.span_ns,
        clock_offset_ns=recording.clock_offset_ns,
        disorder_ns=recording.disorder_ns,
        exchange_time_is_local=tuple(dict.fromkeys(k for m in metadata for k in m["exchange_time_is_local"])),
        gaps=tuple(g for m in metadata for g in m["gaps"]),
        issues=total("issues", _ISSUES),
        left_out=total("left_out"),
        partial=tuple(p for m in metadata for p in m.get("partial", ())),
        source=tuple(s for m in metadata for s in m["source"]),
    )


def _utc(ns: int) -> str:
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03d}"
