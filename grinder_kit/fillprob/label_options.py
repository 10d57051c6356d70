"""LabelOptions: which hypothetical orders are placed, and under which rules they fill."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from grinder_kit.errors import ConfigError
from grinder_kit.model.config import (
    BookSource,
    CrossBy,
    ExecutionConfig,
    MatchClock,
    OwnVolume,
    QueueFill,
    QueueModel,
    Ties,
    UnknownLevel,
)
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.number import exact
from grinder_kit.model.section import NS_PER_MS

SECOND_NS = 1_000_000_000
#: An order within so many standard deviations of the horizon's move is worth a question; a farther one flatters every model.
BAND_SIGMAS = 3.0
#: Times come from ns: an order that was watched for the whole of a horizon may seem to lack the last of its digits.
ROUNDING = 1 - 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """Which hypothetical orders are placed, and under which rules they fill.

    On both sides, at every step of time, one order for each distance and size; distances that fall on one tick are one order.

    Parameters
    ----------
    every_ms : int
        Exchange time between two placements.
    ticks : tuple of int
        Distances behind the own best price, in ticks: 0 joins it.
    distances_bps : tuple of float
        Distances from mid in bps; the price is rounded away from mid, and is the own best price at best. With `ticks` these
        are 25 distances from 0 to 60 bps, dense where fills are.
    sizes_quote : tuple of Decimal
        Notional of an order, quote; rounded down to whole lots, one lot at least.
    latency_ms : float
        From the decision, which chooses the price, to the arrival, which joins the queue.
    window_s : float
        How long an order is watched.
    silence_s : float
        A stretch without any event, longer than this, is a gap, like one that the recording names.
    execution : ExecutionConfig, optional
        Other rules than the default ones: depth and best quotes make one book, an order fills when its whole size has
        traded past the queue, when a trade goes through its price or when the opposite best quote reaches it; futures match
        by exchange time (ties: trades, best quotes, depth), spot by local time with trades advanced by 2 ms. Its `queue`,
        latencies and `own_volume` are not read: all queue models are used, and orders do not feel each other.

    Raises
    ------
    ConfigError
        For a value that makes no order, or none that can be watched.
    """

    every_ms: int = 250
    ticks: tuple[int, ...] = (0, 1)
    distances_bps: tuple[float, ...] = (
        0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 20, 25, 30, 40, 50, 60,
    )  # fmt: skip
    sizes_quote: tuple[Decimal, ...] = (Decimal(120),)
    latency_ms: float = 0.0
    window_s: float = 60.0
    silence_s: float = 10.0
    execution: ExecutionConfig | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ticks", tuple(self.ticks))
        object.__setattr__(self, "distances_bps", tuple(float(d) for d in self.distances_bps))
        object.__setattr__(self, "sizes_quote", tuple(exact(size, "sizes_quote") for size in self.sizes_quote))
        if not isinstance(self.every_ms, int) or self.every_ms < 1:
            raise ConfigError(f"every_ms is {self.every_ms}; write whole ms of 1 or more, such as 250")
        if not self.ticks and not self.distances_bps:
            raise ConfigError("ticks and distances_bps are empty; write at least one distance, such as ticks=(0,)")
        if any(not isinstance(t, int) or t < 0 for t in self.ticks):
            raise ConfigError(f"ticks is {self.ticks}; write whole ticks of 0 or more behind the own best price")
        if any(not 0 <= d < 10_000 for d in self.distances_bps):
            raise ConfigError(f"distances_bps is {self.distances_bps}; write bps from 0 to less than 10,000")
        if not self.sizes_quote or min(self.sizes_quote) <= 0:
            raise ConfigError(f"sizes_quote is {self.sizes_quote}; write at least one notional above 0")
        if not 0 <= self.latency_ms <= 60_000:
            raise ConfigError(f"latency_ms is {self.latency_ms}; write ms from 0 to 60,000")
        for name in ("window_s", "silence_s"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}; write seconds above 0")

    @property
    def window_ns(self) -> int:
        """How long an order is watched, ns."""
        return round(self.window_s * SECOND_NS)

    @property
    def latency_ns(self) -> int:
        """From the decision to the arrival, ns."""
        return round(self.latency_ms * NS_PER_MS)

    def rules(self, instrument: Instrument, queue: str = "power") -> ExecutionConfig:
        """Return the rules as a configuration: a simulated venue with them fills each of these orders at the same time.

        The touch rule, which a configuration cannot name, is none of its queues.
        """
        if self.execution is not None:
            given = self.execution.model_dump()
        else:
            spot = instrument.contract is Contract.SPOT
            given = {
                "book": BookSource.FUSED,
                "clock": MatchClock.LOCAL if spot else MatchClock.EXCHANGE,
                "ties": Ties.TRADE_BBO_DEPTH,
                "trade_advance_ms": 2.0 if spot else 0.0,
                "queue_fill": QueueFill.WHOLE_SIZE,
                "cross_by": CrossBy.QUOTE,
                "unknown_level": UnknownLevel.NEIGHBOURS,
            }
        ours = {
            "queue": QueueModel(queue),
            "own_volume": OwnVolume.EACH,
            "entry_ms": self.latency_ms,
            "response_ms": self.latency_ms,
            "entry_table_ms": None,
            "response_table_ms": None,
        }
        return ExecutionConfig(**{**given, **ours})
