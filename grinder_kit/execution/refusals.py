"""How often and for how long levels were refused, by level and reason: bounded by the number of distinct levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class _Item(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def side(self) -> int: ...
    @property
    def ticks(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def detail(self) -> str: ...


class RefusalKey(NamedTuple):
    """What a refusal is counted under: a ladder level, or one side of a grid when the levels have no lasting names."""

    key: str
    side: int
    reason: str


@dataclass(slots=True)
class RefusalCount:
    """Episodes, time in them (ns), and price and numbers of the latest one."""

    episodes: int = 0
    total_ns: int = 0
    since_ns: int | None = None
    ticks: int = 0
    detail: str = ""


class RefusalLog:
    """Take the refusals of each step; the same object again means that nothing changed and costs nothing."""

    def __init__(self) -> None:
        self.counts: dict[RefusalKey, RefusalCount] = {}
        self._last: tuple[Sequence[_Item], Sequence[_Item]] = ((), ())
        self._open: set[RefusalKey] = set()

    def update(self, planned: Sequence[_Item], routed: Sequence[_Item], now_ns: int) -> None:
        """Take what the plan refused and what the router blocked."""
        if planned is self._last[0] and not routed and not self._last[1]:
            return
        self._last = (planned, routed)
        now: set[RefusalKey] = set()
        for item in (*planned, *routed):
            key = RefusalKey(item.key, item.side, item.reason)
            now.add(key)
            count = self.counts.setdefault(key, RefusalCount())
            count.ticks, count.detail = item.ticks, item.detail
            if count.since_ns is None:
                count.since_ns = now_ns
                count.episodes += 1
        for key in self._open - now:
            self._close(key, now_ns)
        self._open = now

    def now(self) -> list[tuple[RefusalKey, RefusalCount]]:
        """Return what is refused at present."""
        return [(key, self.counts[key]) for key in self._open]

    def close(self, now_ns: int) -> None:
        """End every open episode at the end of a run."""
        for key in self._open:
            self._close(key, now_ns)
        self._open = set()

    def _close(self, key: RefusalKey, now_ns: int) -> None:
        count = self.counts[key]
        if count.since_ns is not None:
            count.total_ns += now_ns - count.since_ns
            count.since_ns = None
