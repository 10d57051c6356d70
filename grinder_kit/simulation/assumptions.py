"""The assumptions of a run, in the words in which a report says them."""

from __future__ import annotations

from grinder_kit.model.config import (
    CrossBy,
    ExecutionConfig,
    OwnVolume,
    QueueModel,
)

_QUEUE = {
    QueueModel.RISK_AVERSE: "all cancellations at our price happen behind us (risk-averse)",
    QueueModel.PRO_RATA: "cancellations are spread evenly over the queue (pro rata)",
    QueueModel.OPTIMISTIC: "all cancellations at our price happen ahead of us (optimistic)",
}


def in_words(execution: ExecutionConfig) -> tuple[str, ...]:
    """Return the fill assumptions as sentences."""
    queue = _QUEUE.get(
        execution.queue,
        f"cancellations hit the larger part of the queue more often (power model, n = {execution.queue_n:g})",
    )

    def latency(table: tuple[float, ...] | None, constant: float) -> str:
        if table is None:
            return f"{constant:g} ms"
        return f"{min(table):g} to {max(table):g} ms (drawn from {len(table)} values, seed {execution.seed})"

    return (
        f"Orders join the back of the displayed queue; {queue}.",
        "A queue fill takes "
        + ("what a trade leaves for us." if execution.partial_fills else "the whole order at once.")
        + (
            " Own orders at one price share a trade's volume."
            if execution.own_volume is OwnVolume.SHARE
            else " Each own order sees all of a trade's volume."
        ),
        "An order also fills when a trade goes through its price, or when "
        + (
            "the opposite best quote reaches it."
            if execution.cross_by is CrossBy.QUOTE
            else "the opposite best of the depth book moves to it."
        ),
        f"Latency: {latency(execution.entry_table_ms, execution.entry_ms)} to the exchange, "
        f"{latency(execution.response_table_ms, execution.response_ms)} back; the strategy sees the market by its local time.",
        f"Fees: maker {execution.maker_fee_bps:f} bps, taker {execution.taker_fee_bps:f} bps of notional"
        + (" (negative: a rebate)." if min(execution.maker_fee_bps, execution.taker_fee_bps) < 0 else "."),
        "The recorded market does not react to our orders: large sizes look better here than they are.",
    )
