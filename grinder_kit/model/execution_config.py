"""What a simulated exchange is assumed to do: the section [execution] of a configuration."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from grinder_kit.errors import ConfigError
from grinder_kit.model.section import NS_PER_MS, Ratio, Real, Section, Whole


class QueueModel(StrEnum):
    """Share of a cancellation that lies behind us in the queue."""

    RISK_AVERSE = "risk_averse"  # all of it
    POWER = "power"  # back ** n / (ahead ** n + back ** n)
    PRO_RATA = "pro_rata"  # power with n = 1
    OPTIMISTIC = "optimistic"  # none of it


class OwnVolume(StrEnum):
    """What several own orders at one price see of one trade."""

    SHARE = "share"  # they share its volume once
    EACH = "each"  # each sees all of it, as the oracle does


class BookSource(StrEnum):
    """What moves the simulated book."""

    DEPTH = "depth"  # depth differences and snapshots only
    FUSED = "fused"  # best quotes too


class MatchClock(StrEnum):
    """Which time of an event moves the simulated exchange."""

    EXCHANGE = "exchange"
    LOCAL = "local"


class Ties(StrEnum):
    """Order of market events at one time."""

    MARKET_ORDER = "market_order"  # as recorded
    TRADE_BBO_DEPTH = "trade_bbo_depth"  # trades, then best quotes, then depth


class QueueFill(StrEnum):
    """How far past the quantity ahead a trade must reach to fill an order whole."""

    HALF_LOT = "half_lot"
    WHOLE_SIZE = "whole_size"


class CrossBy(StrEnum):
    """What fills a resting order by moving through its price."""

    DEPTH_BEST = "depth_best"  # the best of the book that moves to the price
    QUOTE = "quote"  # the opposite best quote at or through the price


class UnknownLevel(StrEnum):
    """Quantity ahead at a price of which the book knows nothing."""

    ZERO = "zero"
    NEIGHBOURS = "neighbours"  # mean of the known levels within 25 ticks


def _no_negative(values: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
    if values is not None and (not values or min(values) < 0):
        raise ConfigError(f"{info.field_name} is {list(values)}; write at least one latency of 0 or more ms")
    return values


Latency = Annotated[Real, Field(ge=0, le=3_600_000)]
LatencyTable = Annotated[tuple[Real, ...] | None, AfterValidator(_no_negative)]


class ExecutionConfig(Section):
    """What a simulated exchange is assumed to do; the defaults are cautious, not flattering."""

    queue: QueueModel = Field(QueueModel.POWER, description="share of cancellations behind us")
    queue_n: Annotated[Real, Field(gt=0, le=20)] = Field(2.0, description="exponent of queue power")
    entry_ms: Latency = Field(10.0, description="ms from a decision to the exchange")
    response_ms: Latency = Field(10.0, description="ms from the exchange back to us")
    entry_table_ms: LatencyTable = Field(None, description="ms: drawn from instead of entry_ms")
    response_table_ms: LatencyTable = Field(None, description="ms: drawn from instead of response_ms")
    partial_fills: bool = Field(True, strict=True, description="fill as much as was traded; false: all or nothing")
    own_volume: OwnVolume = Field(OwnVolume.SHARE, description="own orders at one price share a trade, or each see it")
    book: BookSource = Field(BookSource.DEPTH, description="depth, or fused with best quotes")
    clock: MatchClock = Field(MatchClock.EXCHANGE, description="time that moves the exchange")
    ties: Ties = Field(Ties.MARKET_ORDER, description="order of market events at one time")
    trade_advance_ms: Annotated[Real, Field(ge=0, le=1000)] = Field(
        0.0, description="ms by which trades are moved earlier (spot: 2)"
    )
    queue_fill: QueueFill = Field(QueueFill.HALF_LOT, description="how far past the queue a whole fill needs a trade")
    cross_by: CrossBy = Field(CrossBy.DEPTH_BEST, description="what fills by moving through the price")
    unknown_level: UnknownLevel = Field(UnknownLevel.ZERO, description="quantity ahead where the book knows nothing")
    maker_fee_bps: Annotated[Ratio, Field(gt=-1000, lt=1000)] = Field(
        Decimal(2), description="bps of notional; negative is a rebate"
    )
    taker_fee_bps: Annotated[Ratio, Field(gt=-1000, lt=1000)] = Field(
        Decimal(5), description="bps of notional; negative is a rebate"
    )
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = Field(0, description="of drawn latencies")

    @property
    def entry_ns(self) -> int:
        """Constant latency to the exchange, ns."""
        return round(self.entry_ms * NS_PER_MS)

    @property
    def response_ns(self) -> int:
        """Constant latency of a response, ns."""
        return round(self.response_ms * NS_PER_MS)

    @property
    def entry_table_ns(self) -> tuple[int, ...]:
        """Latencies to the exchange to draw from, ns; one entry when constant."""
        return _table_ns(self.entry_table_ms, self.entry_ms)

    @property
    def response_table_ns(self) -> tuple[int, ...]:
        """Latencies of a response to draw from, ns; one entry when constant."""
        return _table_ns(self.response_table_ms, self.response_ms)

    @property
    def trade_advance_ns(self) -> int:
        """Time by which trades are moved earlier, ns."""
        return round(self.trade_advance_ms * NS_PER_MS)


@lru_cache(maxsize=256)
def _table_ns(table: tuple[float, ...] | None, constant: float) -> tuple[int, ...]:
    return tuple(round(value * NS_PER_MS) for value in (table or (constant,)))
