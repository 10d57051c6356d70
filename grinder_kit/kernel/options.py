"""From the configuration's section [execution] to the kernel's options."""

from __future__ import annotations

from functools import lru_cache

from grinder_kit.kernel.feed import FeedOptions
from grinder_kit.kernel.simulator import KernelOptions
from grinder_kit.model.config import (
    BookSource,
    CrossBy,
    ExecutionConfig,
    MatchClock,
    OwnVolume,
    QueueFill,
    Ties,
    UnknownLevel,
)


@lru_cache(maxsize=256)  # every grid of a sweep asks
def kernel_options(execution: ExecutionConfig, *, amend: str = "modify") -> KernelOptions:
    """Return the kernel's options for a configuration; `amend` is the venue's rule (none, reduce, modify)."""
    fused = execution.book is BookSource.FUSED
    by_quote = execution.cross_by is CrossBy.QUOTE
    return KernelOptions(
        queue=execution.queue.value,
        power=execution.queue_n,
        entry_ns=execution.entry_table_ns,
        response_ns=execution.response_table_ns,
        partial_fills=execution.partial_fills,
        share_volume=execution.own_volume is OwnVolume.SHARE,
        whole_size=execution.queue_fill is QueueFill.WHOLE_SIZE,
        fused=fused,
        by_quote=by_quote,
        neighbours=execution.unknown_level is UnknownLevel.NEIGHBOURS,
        seed=execution.seed,
        amend=amend,
        feed=FeedOptions(
            quotes=fused or by_quote,
            by_local_time=execution.clock is MatchClock.LOCAL,
            trades_first=execution.ties is Ties.TRADE_BBO_DEPTH,
            trade_advance_ns=execution.trade_advance_ns,
        ),
    )
