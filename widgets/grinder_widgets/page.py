"""The report of a replay: one HTML file that needs nothing else, neither a network nor a folder beside it."""

from __future__ import annotations

import os
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from plotly.offline import get_plotlyjs

from grinder_kit import __version__
from grinder_kit.model.config_file import format_config
from grinder_kit.model.number import plain
from grinder_kit.simulation.markout import markout_summary
from grinder_widgets import figures, theme
from grinder_widgets.markup import Page, as_json, escape, section, table
from grinder_widgets.points import TABLE_ROWS, spread
from grinder_widgets.theme import MISSING, bps, duration, money, money_digits, number, utc

if TYPE_CHECKING:
    from grinder_kit.simulation.result import Result

# Nothing may be loaded from anywhere: the browser enforces what the file promises.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def report(result: Result, path: str | os.PathLike[str], sensitivity: pl.DataFrame | None = None) -> Path:
    """Write the report of a replay.

    Parameters
    ----------
    result : Result
    path : path
        The HTML file (about 5 MB, most of it plotly.js). It appears whole or not at all.
    sensitivity : DataFrame, optional
        `fill_sensitivity(market, config)`: the same grid under the other queue models and the touch rule.

    Returns
    -------
    Path
        The file.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        draft.write_text(render(result, sensitivity), encoding="utf-8", newline="\n")
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def render(result: Result, sensitivity: pl.DataFrame | None = None) -> str:
    """Return the page as text; the sections stand in the order in which a reader should meet them."""
    page = Page()
    sections = [
        _verdict(result),
        section("assumptions", "What is assumed about fills", _assumptions(result)),
        section("money", "Profit, over time and by source", _money(page, result)),
        section("fills", "Price and fills", _fills(page, result)),
        section("round-trips", "Round trips", _round_trips(page, result)),
        section("trust", "How far can the fills be trusted?", _trust(page, result, sensitivity)),
        section("position", "Position", _position(page, result)),
        section("refused", "Levels that were not quoted", _refused(page, result)),
        section("origin", "Configuration and data", _origin(result)),
    ]
    title = escape(
        f"{result.instrument.symbol}: {money(result.verdict.per_hour, result.verdict.asset)} per hour, replay"
    )
    assets = files("grinder_widgets")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="grinder_kit {__version__}">
<title>{title}</title>
<style>
{assets.joinpath("report.css").read_text(encoding="utf-8")}</style>
</head>
<body>
{_banner(result)}
<main>
{"".join(sections)}</main>
<noscript><p>The figures need JavaScript; the tables hold the same numbers.</p></noscript>
<script type="application/json" id="dark-colours">{as_json(theme.to_dark())}</script>
{page.payload()}<script>{get_plotlyjs()}</script>
<script>
{assets.joinpath("report.js").read_text(encoding="utf-8")}</script>
</body>
</html>
"""


# --- sections --------------------------------------------------------------------------------------------------------


def _banner(result: Result) -> str:
    look = theme.REPLAY
    style = f"--banner:{look.background};--ink:{look.ink};--border:{look.border}"
    first, last = utc(result.start_ns, date=True).split(".")[0], utc(result.end_ns, date=True).split(".")[0]
    last = last[11:] if last[:10] == first[:10] else last
    parts = (
        result.instrument.symbol,
        str(result.market.get("venue") or result.instrument.venue),
        f"{first} to {last} UTC",
    )
    return (
        f'<header class="banner" style="{style}"><strong><span class="icon" aria-hidden="true">{look.icon}</span>'
        f"{look.word}</strong>{''.join(f'<span>{escape(part)}</span>' for part in parts)}"
        "<span>simulated fills, no order was sent</span></header>"
    )


def _verdict(result: Result) -> str:
    verdict, s, asset = result.verdict, result.summary, result.instrument.settle
    digits = money_digits(verdict.per_hour, verdict.low, verdict.high)
    if verdict.low is None or verdict.high is None:
        judged = f"No interval: {verdict.blocks} blocks of 60 s are too few to say how certain this is."
    else:
        words, look = "Not distinguishable from zero", ""
        if verdict.distinguishable:
            words, look = ("Earns", "gain") if verdict.low > 0 else ("Loses", "loss")
        judged = (
            f'<b class="{look}">{words}</b>: 90&nbsp;% interval '
            f"{theme.interval(verdict.low, verdict.high, digits)}, from {verdict.blocks} blocks of 60 s"
        )
    base = "contracts" if result.instrument.inverse else result.instrument.base
    small = money_digits(s["equity"], s["max_drawdown"])
    causes = " · ".join(f"{name}\u00a0{n:,}" for name, n in s["causes"].items() if n)
    tiles = [
        ("Net profit", money(s["equity"], asset, small), f"in {duration(s['duration_s'])}"),
        ("Fills", f"{s['trades']:,}", causes or "none"),
        ("Round trips", f"{s['round_trips']:,}", _median_bps(result)),
        ("Largest drawdown", f"{number(s['max_drawdown'], small)} {asset}", "from the highest equity"),
        ("Position at the end", f"{number(s['position'], _decimals(s['position']), sign=True)} {base}", f"at {s['mark']:,}"),
        ("Orders sent", f"{s['submitted_buy'] + s['submitted_sell']:,}", f"{s['rejected']:,} refused by the venue"),
    ]  # fmt: skip
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for name, value, note in tiles
    )
    callouts = [f"The grid had no level at the end: {result.empty_reason}."] if result.empty_reason else []
    if not s["trades"]:
        callouts.append("Nothing was filled, so there is nothing to judge but the orders.")
    if gaps := len(result.market.get("gaps") or ()):
        callouts.append(
            f"The recording has {gaps} gap{'s' * (gaps > 1)}; after each, nothing new was quoted until the book was whole again."
        )
    callouts += [
        f"{cut['name']} was cut off after line {cut['after_line']:,}; only what precedes was replayed."
        for cut in result.market.get("partial") or ()
    ]
    return (
        '<section id="verdict"><h1>What does this grid earn here?</h1><div class="verdict"><div>'
        f'<p class="rate"><span>{escape(money(verdict.per_hour, verdict.asset, digits))}</span> <small>per hour after fees</small></p>'
        f'<p class="judged">{judged}</p></div>{_interval(result)}</div><dl class="tiles">{shown}</dl>'
        + "".join(f'<div class="callout"><p>{escape(text)}</p></div>' for text in callouts)
        + "</section>\n"
    )


def _interval(result: Result) -> str:
    """Draw the interval beside zero, in plain HTML."""
    v = result.verdict
    if v.low is None or v.high is None:
        return "<div></div>"
    low, high = min(v.low, 0.0, v.per_hour), max(v.high, 0.0, v.per_hour)
    room = (high - low or 1.0) * 0.12

    def at(value: float) -> str:
        return f"{100 * (value - low + room) / (high - low + 2 * room):.2f}%"

    digits = money_digits(v.per_hour, v.low, v.high)
    width = 100 * (v.high - v.low) / (high - low + 2 * room)
    ends = "".join(
        f'<span class="end" style="left:{at(value)}">{number(value, digits, sign=True)}</span>'
        for value in (v.low, v.high)
    )
    return (
        f'<div class="interval" role="img" aria-label="90 % interval {theme.interval(v.low, v.high, digits)}">'
        f'<div class="axis"></div><div class="zero" style="left:{at(0.0)}"></div>'
        f'<div class="bar" style="left:{at(v.low)};width:{width:.2f}%"></div>'
        f'<div class="dot" style="left:{at(v.per_hour)}"></div>'
        f'<span class="at0" style="left:{at(0.0)}">0</span>{ends}</div>'
    )


def _median_bps(result: Result) -> str:
    if result.round_trips.is_empty():
        return f"median {MISSING}"
    return f"median {bps(float(result.round_trips['net_bps'].median()))} net"  # type: ignore[arg-type]


def _assumptions(result: Result) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in result.assumptions)
    return f'<ul class="assumptions">{items}</ul>'


def _money(page: Page, result: Result) -> str:
    asset, identity = result.instrument.settle, result.identity
    frame = result.equity[spread(result.equity.height, TABLE_ROWS)]
    amounts = ("equity", "grid", "trend", "funding", "commission")
    digits = money_digits(*(value for name in amounts for value in frame[name]))
    over_time = table(
        [("time, UTC", "words"), *((f"{name}, {asset}", "") for name in ("net", "grid", "trend", "funding", "fees")),
         ("position", ""), ("mid", "")],
        [
            (utc(row["ts_ns"]).removesuffix(" UTC"), *(number(row[n], digits, sign=True) for n in amounts[:-1]),
             number(-row["commission"], digits, sign=True), plain(row["position"]), f"{row['mid']:,}")
            for row in frame.iter_rows(named=True)
        ],
        of=result.equity.height,
    )  # fmt: skip
    parts = (
        ("grid: paired fills", identity.grid), ("trend: open lots at the last mid", identity.trend),
        ("fees", -identity.commission), ("funding", identity.funding), ("net: change of equity", identity.equity_change),
    )  # fmt: skip
    exact = table(
        [("part", "words"), (f"exactly, {asset}", "")],
        [(name, f"{plain(value)}".replace("-", "−")) for name, value in parts],
    )
    left = page.figure(figures.equity(result.equity, asset), over_time)
    right = page.figure(figures.waterfall(identity, asset), exact)
    return f'<div class="pair">{left}{right}</div>'


def _fills(page: Page, result: Result) -> str:
    marked = result.markout()
    fills = result.fills.join(marked.drop("ts_ns", "side", "price"), on="fill_id", how="left", maintain_order="left")
    below = table(
        [("time, UTC", "words"), ("side", "words"), ("price", ""), ("quantity", ""), ("level", "words"), ("why it filled", "words"),
         (f"fee, {result.instrument.settle}", ""), ("mid after 1 s, bps", ""), ("after 10 s, bps", "")],
        [
            (utc(row["ts_ns"]).removesuffix(" UTC"), row["side"].lower(), f"{row['price']:,}", row["quantity"], row["level_id"],
             figures.CAUSES.get(row["cause"], row["cause"]), number(row["commission"], 10 if result.instrument.inverse else 6),
             number(row["markout_1s_bps"], 1, sign=True), number(row["markout_10s_bps"], 1, sign=True))
            for row in fills.head(TABLE_ROWS).iter_rows(named=True)
        ],
        of=fills.height,
    )  # fmt: skip
    figure = figures.price_with_fills(result.mids, result.fills, result.instrument, markout=marked)
    return page.figure(figure, below if fills.height else "", heading=False)


def _round_trips(page: Page, result: Result) -> str:
    trips, asset = result.round_trips, result.instrument.settle
    digits = 8 if result.instrument.inverse else 4
    below = table(
        [("closed, UTC", "words"), ("entry", "words"), ("from", ""), ("to", ""), ("quantity", ""), ("held", ""),
         (f"gross, {asset}", ""), (f"fees, {asset}", ""), (f"net, {asset}", ""), ("net, bps", "")],
        [
            (utc(row["exit_ts_ns"]).removesuffix(" UTC"), row["side"].lower(), f"{row['entry_price'].normalize():,f}",
             f"{row['exit_price']:,}", row["quantity"], duration(row["hold_time_ms"] / 1000),
             *(number(value, digits, sign=True) for value in (row["gross_pnl"], -row["commission"], row["net_pnl"])),
             number(row["net_bps"], 1, sign=True))
            for row in trips.head(TABLE_ROWS).iter_rows(named=True)
        ],
        of=trips.height,
    )  # fmt: skip
    return page.figure(figures.round_trips(trips), below if trips.height else "", heading=False)


def _trust(page: Page, result: Result, sensitivity: pl.DataFrame | None) -> str:
    asset = result.instrument.settle
    summary = markout_summary(result)
    below = table(
        [("fills", "words"), ("s after", ""), ("mean, bps", ""), ("90 % interval, bps", ""), ("fills", "")],
        [
            ({"ALL": "all", "BUY": "buys", "SELL": "sells"}[row["side"]], f"{row['horizon_s']:g}",
             number(row["mean_bps"], 1, sign=True), theme.interval(row["low_bps"], row["high_bps"], 1), f"{row['fills']:,}")
            for row in summary.iter_rows(named=True)
        ],
    )  # fmt: skip
    instead = "what mid did after each fill"
    if sensitivity is not None:
        instead += ", and the same grid under other assumptions about the queue"
    note = f'<p class="note">No fitted fill model was used, so there is no calibration to show; instead: {instead}.</p>'
    left = page.figure(figures.markout(summary), below)
    if sensitivity is None:
        code = "gw.report(result, path, sensitivity=fill_sensitivity(market, config))"
        return (
            f'{note}{left}<p class="note">The comparison with other queue models and the touch rule was not computed; '
            f"<code>{escape(code)}</code> adds it.</p>"
        )
    digits = money_digits(*sensitivity["net_per_hour"])
    other = table(
        [("queue model", "words"), ("fills", ""), ("round trips", ""), (f"net, {asset} per hour", ""), ("90 % interval", ""),
         ("mid after 10 s, bps", "")],
        [
            (figures.QUEUE_NAMES.get(row["queue"], row["queue"]) + (" (this run)" if row["chosen"] else ""), f"{row['trades']:,}",
             f"{row['round_trips']:,}", number(row["net_per_hour"], digits, sign=True),
             theme.interval(row["low"], row["high"], digits), number(row["markout_bps"], 1, sign=True))
            for row in sensitivity.iter_rows(named=True)
        ],
    )  # fmt: skip
    right = page.figure(figures.queue_models(sensitivity, asset), other)
    return f'{note}<div class="pair even">{left}{right}</div>'


def _position(page: Page, result: Result) -> str:
    unit = "contracts" if result.instrument.inverse else result.instrument.base
    limit = result.config.grid.position_limit
    figure = figures.inventory(result.fills, result.start_ns, result.end_ns, unit, limit=limit)
    held = result.equity["position"].cast(pl.Float64)

    def share(of: pl.Series) -> str:
        return f"{100 * of.sum() / len(of):.0f} %" if len(of) else MISSING

    rows = [
        ("long, share of the time", share(held > 0)),
        ("short, share of the time", share(held < 0)),
        ("95 % of the time at most", f"{result.summary['inventory_p95']:g} {unit}"),
        ("at the end", f"{plain(result.summary['position'])} {unit}"),
        ("limit of the grid", MISSING if limit is None else f"±{plain(limit)} {unit}"),
    ]
    return page.figure(figure, table([("position", "words"), ("", "")], rows), heading=False)


def _refused(page: Page, result: Result) -> str:
    frame = result.refusals
    below = table(
        [("level", "words"), ("side", "words"), ("reason", "words"), ("times", ""), ("s", ""), ("latest", "words long")],
        [
            (row["level"], row["side"].lower(), figures.reason_text(row["reason"]).replace("<br>", " "), f"{row['episodes']:,}",
             f"{row['seconds']:,.1f}", row["detail"])
            for row in frame.head(TABLE_ROWS).iter_rows(named=True)
        ],
        of=frame.height,
    )  # fmt: skip
    return page.figure(figures.refusals(frame), below if frame.height else "", heading=False)


def _origin(result: Result) -> str:
    market = result.market
    facts: list[tuple[str, str]] = [
        ("market", str(market.get("name", theme.UNKNOWN))),
        ("window", f"{utc(result.start_ns, date=True)} to {utc(result.end_ns, date=True)}"),
        ("events, decisions", f"{result.events:,}, {result.steps:,}"),
    ]
    if market.get("seed") is not None:
        facts.append(("seed", str(market["seed"])))
    facts += [(f"source {source['name']}", f"SHA-256 {source['sha256']}") for source in market.get("source") or ()]
    if market.get("clock_offset_ns") is not None:
        facts.append(("clock offset", f"{market['clock_offset_ns']:,} ns added to local times"))
    if "gaps" in market:
        facts.append(("gaps", f"{len(market['gaps'])}"))
    facts += [("digest", result.digest), ("computed by", f"grinder_kit {__version__}, engine path {result.engine}")]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return (
        f'<dl class="facts">{rows}</dl><p>The configuration; <code>grinder replay</code> runs it again, and the same digest '
        f'means the same orders and fills.</p><pre tabindex="0"><code>{escape(format_config(result.config))}</code></pre>'
    )


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
