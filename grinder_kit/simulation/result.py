"""Result: what a replay came to, as frames, as a summary, and as words."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from grinder_kit.execution.frames import fills_frame, round_trips_frame
from grinder_kit.execution.journal_words import utc
from grinder_kit.model.config import Config
from grinder_kit.model.event import RunState
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.number import plain
from grinder_kit.simulation.assumptions import in_words
from grinder_kit.simulation.verdict import Verdict, judge

if TYPE_CHECKING:
    from grinder_kit.execution.engine import ExecutionEngine
    from grinder_kit.execution.ledger import Identity
    from grinder_kit.execution.refusals import RefusalLog
    from grinder_kit.fillprob.model_file import Fitted
    from grinder_kit.simulation.recorder import Recorder
    from grinder_kit.simulation.retold import Retold


@dataclass(frozen=True, kw_only=True, repr=False)
class Result:
    """A finished replay.

    Attributes
    ----------
    config, instrument
        What was run, on what.
    market : dict
        What the market says of itself: name, span, source hashes or seed.
    identity : Identity
        grid + trend + funding - commission = change of equity, checked.
    mark : Decimal
        Mid at the end, at which open lots are valued.
    steps, events : int
        Decisions made and market events that moved the exchange.
    start_ns, end_ns : int
        Time of the first event and of the last decision, ns UTC.
    engine : str
        Which path computed it: ``compiled`` (whole in compiled code), or ``event`` (the engine, step by step). Both come to the same.
    kept_out : str or None
        What kept it out of compiled code, such as ``grid.min_fill_prob``; None where nothing did.
    fitted : Fitted or None
        What its levels were judged by; None where that was the specification's heuristic.
    """

    config: Config
    instrument: Instrument
    market: dict[str, Any]
    identity: Identity
    mark: Decimal
    steps: int
    events: int
    start_ns: int
    end_ns: int
    engine: str = "event"
    kept_out: str | None = None
    fitted: Fitted | None = None
    _engine: ExecutionEngine | Retold = field(repr=False)
    _recorder: Recorder | Retold = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the configuration (without provenance) and every order and fill, in integers."""
        return self._recorder.digest(self.config.canonical())

    # --- frames -----------------------------------------------------------------------------------------------------

    @cached_property
    def fills(self) -> pl.DataFrame:
        """Fills in the order in which they were seen: those of the tracker, with `seen_ns` and `cause`."""
        frame = fills_frame(self._engine.tracker.fills, self.instrument)
        return pl.concat([frame, self._recorder.fill_rows.frame()], how="horizontal")

    @cached_property
    def round_trips(self) -> pl.DataFrame:
        """Round trips, first in first out."""
        return round_trips_frame(self._engine.tracker.round_trips, self.instrument)

    @property
    def orders(self) -> pl.DataFrame:
        """Every order that was sent, by the time it ended; `ended_ns` is null while it rests."""
        return self._recorder.order_rows.frame()

    @property
    def amends(self) -> pl.DataFrame:
        """Every amend that the exchange confirmed, by when it was seen.

        client_order_id; ts_ns, exchange time; price_before, quantity_before; price, quantity.
        """
        return self._recorder.amend_rows.frame()

    @property
    def equity(self) -> pl.DataFrame:
        """Equity about once a second, as the strategy knew it, with the parts it is made of."""
        return self._recorder.equity_rows.frame()

    @property
    def mids(self) -> pl.DataFrame:
        """Mid of the local book at the decisions where it changed: `ts_ns`, `mid` (quote, float)."""
        half = float(self.instrument.tick) / 2
        return self._recorder.mid_rows.frame().select("ts_ns", (pl.col("mid2") * half).alias("mid"))

    @property
    def refusal_log(self) -> RefusalLog:
        """What the frame of refusals is made of. A compiled replay is repeated by the engine for it, once."""
        return self._engine.refusals

    @cached_property
    def refusals(self) -> pl.DataFrame:
        """Levels that were not quoted: by level and reason, how often and how long (s), with the latest numbers."""
        rows = [
            (key.key, "BUY" if key.side > 0 else "SELL", str(key.reason), c.episodes, c.total_ns / 1e9, c.detail)
            for key, c in self.refusal_log.counts.items()
        ]
        schema = {
            "level": pl.String, "side": pl.String, "reason": pl.String, "episodes": pl.Int64, "seconds": pl.Float64,
            "detail": pl.String,
        }  # fmt: skip
        return pl.DataFrame(rows, schema=schema, orient="row").sort("seconds", descending=True)

    def markout(self, seconds: tuple[float, ...] = (1.0, 10.0)) -> pl.DataFrame:
        """Return each fill's markout in bps: how far mid had gone our way (+) or against us (-) after so many seconds.

        Null where the market ended before.
        """
        fills = self.fills.select("fill_id", "ts_ns", pl.col("side").cast(pl.String), pl.col("price").cast(pl.Float64))
        mids = self.mids
        for horizon in seconds:
            name = f"markout_{horizon:g}s_bps"
            later = fills.with_columns((pl.col("ts_ns") + int(horizon * 1e9)).alias("at")).sort("at")
            joined = later.join_asof(mids.rename({"ts_ns": "at"}).sort("at"), on="at", strategy="backward")
            sign = pl.when(pl.col("side") == "BUY").then(1.0).otherwise(-1.0)
            value = sign * (pl.col("mid") - pl.col("price")) / pl.col("price") * 1e4
            joined = joined.select(
                "fill_id", pl.when(pl.col("at") <= self.end_ns).then(value).otherwise(None).alias(name)
            )
            fills = fills.join(joined, on="fill_id", how="left", maintain_order="left")
        return fills

    # --- numbers ----------------------------------------------------------------------------------------------------

    @property
    def empty_reason(self) -> str | None:
        """Why the grid had no level at the end, None when it had some."""
        return self._engine.empty_reason

    @property
    def killed(self) -> dict[str, Any] | None:
        """When a limit was broken, and which: `ts_ns` and `reason`; None where the run was not killed."""
        engine = self._engine
        if engine.state is not RunState.KILLED:
            return None
        return {"ts_ns": engine.state_since_ns, "reason": engine.state_reason}

    @cached_property
    def verdict(self) -> Verdict:
        """Net profit per hour with its interval, in words."""
        return judge(self.equity, self.instrument.settle)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The numbers that matter, by name; money in the settlement asset as Decimal."""
        tracker, recorder = self._engine.tracker, self._recorder
        equity = self.equity
        values = equity["equity"].cast(pl.Float64)
        position = equity["position"].cast(pl.Float64).abs()
        sent = recorder.sent_count
        return {
            "symbol": self.instrument.symbol,
            "duration_s": (self.end_ns - self.start_ns) / 1e9,
            "steps": self.steps,
            "events": self.events,
            "trades": len(tracker.fills),
            "round_trips": len(tracker.round_trips),
            "position": self._engine.ledger.inventory,
            "mark": self.mark,
            "equity": self.identity.equity_change,
            "grid": self.identity.grid,
            "trend": self.identity.trend,
            "fee": self.identity.commission,
            "funding": self.identity.funding,
            "max_drawdown": _largest(values.cum_max() - values),
            "inventory_p95": float(position.quantile(0.95) or 0.0),
            "submitted_buy": sent[1, False],
            "submitted_sell": sent[-1, False],
            "cancelled_buy": sent[1, True],
            "cancelled_sell": sent[-1, True],
            "amended": recorder.amends,
            "rejected": recorder.rejected,
            "causes": dict(recorder.causes),
            "maker_share": sum(f.is_maker for f in tracker.fills) / max(1, len(tracker.fills)),
        }

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What was assumed about fills, in sentences."""
        return in_words(self.config.execution)

    def to_json(self) -> dict[str, Any]:
        """Return summary, market, configuration and digest as JSON types."""
        summary = {k: float(v) if isinstance(v, Decimal) else v for k, v in self.summary.items()}
        return {
            **summary,
            "engine": self.engine,
            "kept_out": self.kept_out,
            "killed": self.killed,
            "verdict": self.verdict.text,
            "identity_residual": str(self.identity.residual),
            "digest": self.digest,
            "market": self.market,
            "config": self.config.to_json(),
        }

    # --- words ------------------------------------------------------------------------------------------------------

    def rows(self) -> list[tuple[str, str]]:
        """Return the summary as (what, value) for people."""
        s, asset = self.summary, self.instrument.settle

        def money(value: Decimal) -> str:
            return f"{value:+,.4f} {asset}" if self.instrument.inverse else f"{value:+,.2f} {asset}"

        base = "contracts" if self.instrument.inverse else self.instrument.base
        killed = self.killed
        ended = [] if killed is None else [("killed", f"{utc(killed['ts_ns'])} UTC: {killed['reason']}")]
        return [
            *ended,
            ("net profit", money(s["equity"])),
            ("  grid (paired fills)", money(s["grid"])),
            ("  trend (open lots)", money(s["trend"])),
            ("  fees", money(-s["fee"])),
            ("  funding", money(s["funding"])),
            ("fills, round trips", f"{s['trades']:,}, {s['round_trips']:,}"),
            ("position at the end", f"{plain(s['position'])} {base} at {plain(s['mark'])}"),
            ("largest drawdown", f"{s['max_drawdown']:,.4g} {asset}"),
            ("orders, refused by the venue", f"{s['submitted_buy'] + s['submitted_sell']:,}, {s['rejected']:,}"),
            ("market", f"{s['duration_s'] / 60:.1f} min, {s['events']:,} events, {s['steps']:,} decisions"),
            ("digest", self.digest[:16]),
        ]

    def __repr__(self) -> str:
        lines = [f"{self.instrument.symbol}: {self.verdict.text}"]
        lines += [f"{what:<30}{value}" for what, value in self.rows()]
        if self.empty_reason is not None:
            lines.append(f"the grid is empty: {self.empty_reason}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td style='text-align:left;white-space:pre'>{html.escape(what)}</td>"
            f"<td style='text-align:right'>{html.escape(value)}</td></tr>"
            for what, value in self.rows()
        )
        note = f"<p>The grid is empty: {html.escape(self.empty_reason)}</p>" if self.empty_reason else ""
        return (
            f"<p><b>{html.escape(self.instrument.symbol)}</b>: {html.escape(self.verdict.text)}</p>"
            f"<table>{cells}</table>{note}"
        )


def _largest(values: pl.Series) -> float:
    return float(values.to_numpy().max()) if len(values) else 0.0
