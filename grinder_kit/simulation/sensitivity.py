"""How much of a result is an assumption: the same replay under every queue model, and under the rule without a queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl

from grinder_kit.errors import ConfigError
from grinder_kit.model.config import Config, GridConfig, QueueModel
from grinder_kit.simulation.markout import markout_summary
from grinder_kit.simulation.replay import replay

if TYPE_CHECKING:
    from grinder_kit.market.source import Market
    from grinder_kit.simulation.result import Result

#: From the most cautious to the most generous; `touch` (any trade at the price fills) is no model of a queue, and a configuration
#: cannot choose it.
QUEUES = ("risk_averse", "power", "pro_rata", "optimistic", "touch")
TOUCH = "touch"
_MARKOUT_S = 10.0


def fill_sensitivity(
    market: Market,
    config: Config | GridConfig,
    *,
    known: Result | None = None,
    progress: Callable[[int], None] | None = None,
) -> pl.DataFrame:
    """Replay `config` under each queue model and the touch rule; nothing else changes.

    Parameters
    ----------
    market : Market
        Read once a model.
    config : Config or GridConfig
    known : Result, optional
        The result under the configuration's own model, where it is at hand: saves one replay.
    progress : callable, optional
        As in :func:`~grinder_kit.simulation.replay.replay`, for each replay in turn.

    Returns
    -------
    DataFrame
        One row a model, from cautious to generous: queue, chosen (the configuration's own), trades, round_trips, net
        (settlement asset), net_per_hour, low, high (its 90 % interval; null when the market is too short), markout_bps
        (mean, 10 s after a fill).
    """
    whole = config if isinstance(config, Config) else Config(grid=config)
    chosen = whole.execution.queue.value
    if known is not None and known.config.canonical() != whole.canonical():
        raise ConfigError("known is the result of another configuration; leave it out, or pass known.config")
    rows, model = [], None if known is None else known.fitted
    for queue in QUEUES:
        if queue == chosen and known is not None:
            result = known
        elif queue == TOUCH:
            result = replay(market, whole, model=model, progress=progress, _queue=TOUCH)
        else:
            changed = whole.replace(**{"execution.queue": QueueModel(queue)})
            result = replay(market, changed, model=model, progress=progress)
        rows.append(_row(queue, queue == chosen, result))
    return pl.DataFrame(rows, schema_overrides={"low": pl.Float64, "high": pl.Float64, "markout_bps": pl.Float64})


def _row(queue: str, chosen: bool, result: Result) -> dict[str, Any]:
    verdict, summary = result.verdict, result.summary
    markout = markout_summary(result, (_MARKOUT_S,))
    return {
        "queue": queue,
        "chosen": chosen,
        "trades": summary["trades"],
        "round_trips": summary["round_trips"],
        "net": float(summary["equity"]),
        "net_per_hour": verdict.per_hour,
        "low": verdict.low,
        "high": verdict.high,
        "markout_bps": markout["mean_bps"][0],
    }
