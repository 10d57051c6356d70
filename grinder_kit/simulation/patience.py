"""How long a replay waits for answers after its market has ended."""

from __future__ import annotations

from grinder_kit.model.config import Config


def patience_ns(config: Config) -> int | None:
    """Return how long after the market's last event answers are waited for; None: until nothing is under way.

    Orders that expire, sent again before the last cancel is answered, would keep something under way for ever. Two round
    trips answer what was under way at the market's end, and what those answers led to.
    """
    trip_ns = max(config.execution.entry_table_ns) + max(config.execution.response_table_ns)
    return None if config.router.order_ttl_s is None or trip_ns <= config.grid.step_ns else 2 * trip_ns
