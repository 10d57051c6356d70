"""The panel as HTML: banner, numbers, tables, and how they look."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from grinder_kit.execution.latency import P99_FROM
from grinder_kit.model.fill import PairingView
from grinder_kit.model.number import plain
from grinder_kit.session.snapshot import About, Forecast, Notice, Snapshot, Verdict
from grinder_widgets.markup import Mark, escape, table
from grinder_widgets.panel_words import BannerView, ribbon_lines
from grinder_widgets.rung_words import (
    chance_words,
    decimals,
    price,
    rung_name,
    rung_state,
    rung_why,
    unit,
    value_words,
)
from grinder_widgets.session_ladder import Row
from grinder_widgets.theme import (
    FONT,
    MINUS,
    MISSING,
    UNKNOWN,
    Palette,
    count,
    duration,
    money,
    money_digits,
    number,
    probability,
    utc,
    words,
)

#: Rows of a live table: with a figure beside it, an update stays within 64 KB.
ROWS = 100
#: Letters of the journal: a context can be long.
LETTERS = 20_000
_VERDICTS = {
    Verdict.OK: Mark("✓ OK", "gk-ok"),
    Verdict.WARN: Mark("! WARN", "gk-warn"),
    Verdict.FAIL: Mark("✕ FAIL", "gk-fail"),
}
_LEVELS = {
    "INFO": Mark("i INFO", ""),
    "WARNING": Mark("! WARNING", "gk-warn"),
    "ERROR": Mark("✕ ERROR", "gk-fail"),
    "CRITICAL": Mark("✕ CRITICAL", "gk-fail"),
}
_VIEWS = {
    PairingView.AVERAGE: "average price",
    PairingView.FIFO: "first in, first out",
    PairingView.LEVEL: "grid levels",
}


def ladder_table(rows: Sequence[Row], about: About, forecast: Forecast) -> str:
    """Return the ladder as a table, the highest price first."""
    with_prob = not forecast.no_prob
    columns = [
        ("level", "words"), (f"price, {about.quote}", ""), (f"own, {unit(about)}", ""), ("filled", ""), ("state", "words"),
        (f"ahead, {unit(about)}", ""), ("s of flow", ""),
        *(((f"P(fill {forecast.horizon_s:g} s)", ""), ("at placement", ""), ("expected value, bps", "")) if with_prob else ()),
        ("why", "words long"),
    ]  # fmt: skip
    unknown = {True: MISSING, False: UNKNOWN}  # of a level without an order there is nothing to know
    cells = []
    for _, rung in rows:
        ahead = unknown[rung.refused] if rung.queue_ahead is None else plain(rung.queue_ahead)
        flow = unknown[rung.refused] if rung.queue_s is None else number(rung.queue_s, 1)
        cells.append((
            rung_name(rung), price(rung.price, about), MISSING if rung.quantity is None else plain(rung.quantity),
            plain(rung.filled), rung_state(rung), ahead, flow,
            *((
                chance_words(rung.fill_prob, rung.prob_low, rung.prob_high), probability(rung.placed_prob), value_words(rung),
            ) if with_prob else ()),
            rung_why(rung),
        ))  # fmt: skip
    return table(columns, cells)


def _profit(snapshot: Snapshot) -> str:
    return table([("part", "words"), ("amount", "")], _money_rows(snapshot))


def _money_rows(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return the parts of the profit as a table shows them."""
    told, asset = snapshot.money, snapshot.about.settle
    parts = (
        ("grid: paired fills", told.grid), ("trend: open lots at mid", told.trend), ("fees", -told.commission),
        ("funding", told.funding), ("net: change of equity", told.equity),
    )  # fmt: skip
    digits = money_digits(*(value for _, value in parts))
    rows = [(name, money(value, asset, digits)) for name, value in parts]
    residual = MISSING if told.residual is None else f"{plain(told.residual)} {asset}"
    return [
        *rows,
        ("residual of the identity", residual),
        ("drawdown from the highest equity", f"{number(told.drawdown, digits)} {asset}"),
        ("lost since 00:00 UTC", f"{number(told.day_loss, digits)} {asset}"),
    ]


def _views(snapshot: Snapshot) -> str:
    """Return the three views of profit side by side, and what none of them holds."""
    told, about, mark = snapshot.views, snapshot.about, snapshot.money.mark
    if not told.profits:
        return ""
    sums = [None if one.unrealised is None else one.realised + one.unrealised for one in told.profits]
    digits = money_digits(*(one.realised for one in told.profits), *sums)
    at = "" if mark is None else f" at {price(mark, about, finer=1)}"

    def amounts(values: Sequence[Decimal | None]) -> list[str]:
        return [number(value, digits, sign=True) for value in values]

    views = table(
        [(f"profit before fees, {about.settle}", "words"), *((_VIEWS[one.view], "") for one in told.profits)],
        [("realised", *amounts([one.realised for one in told.profits])),
         (f"unrealised{at}", *amounts([one.unrealised for one in told.profits])),
         ("together", *amounts(sums)),
         (f"held, {unit(about)}", *(number(one.inventory, decimals(about.lot), sign=True) for one in told.profits)),
         ("open lots", *(count(one.open_lots) for one in told.profits))],
    )  # fmt: skip
    notes = []
    if told.unconverted:
        fees = words([f"{plain(amount)} {asset}" for asset, amount in told.unconverted])
        notes.append(f"Fees of {fees} could not be converted: no figure holds them.")
    if told.late:
        late = "1 fill" if told.late == 1 else f"{count(told.late)} fills"
        notes.append(f"{late} came late, after one with a later time; they are booked in the order in which they came.")
    return views + "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def _fills(snapshot: Snapshot) -> str:
    about = snapshot.about
    return table(
        [("time, UTC", "words"), ("side", "words"), ("level", "words"), (f"price, {about.quote}", ""),
         (f"quantity, {unit(about)}", ""), ("as", "words"), ("fee", "")],
        [(utc(fill.ts_ns).removesuffix(" UTC"), fill.side.lower(), fill.key, price(fill.price, about), plain(fill.quantity),
          "maker" if fill.is_maker else "taker", f"{plain(fill.commission)} {fill.commission_asset}")
         for fill in reversed(snapshot.fills[-ROWS:])],
        of=max(snapshot.counts.fills, len(snapshot.fills)),
    )  # fmt: skip


def _round_trips(snapshot: Snapshot) -> str:
    about = snapshot.about
    digits = 8 if about.settle == about.base else 4
    return table(
        [("closed, UTC", "words"), ("from", ""), ("to", ""), (f"quantity, {unit(about)}", ""), ("held", ""),
         (f"net, {about.settle}", ""), ("net, bps", "")],
        [(utc(trip.ts_ns).removesuffix(" UTC"), price(trip.entry_price, about), price(trip.exit_price, about),
          plain(trip.quantity), duration(trip.hold_s), number(trip.net_pnl, digits, sign=True), number(trip.net_bps, 1, sign=True))
         for trip in reversed(snapshot.trips[-ROWS:])],
        of=max(snapshot.counts.round_trips, len(snapshot.trips)),
    )  # fmt: skip


def _ribbon(snapshot: Snapshot) -> str:
    told, horizon = snapshot.ribbon, snapshot.forecast.horizon_s
    cells = [
        (probability(one.predicted), f"{one.orders:,}", f"{one.filled:,}",
         chance_words(one.observed, one.low, one.high) if one.low is not None else f"at least {probability(one.observed)}")
        for one in told.bins
    ]  # fmt: skip
    return table(
        [("predicted", ""), ("orders", ""), (f"filled within {horizon:g} s", ""), ("share (Kaplan-Meier), 90 %", "")],
        cells,
    )


def _ribbon_words(snapshot: Snapshot) -> str:
    return "".join(f'<p class="note">{escape(line)}</p>' for line in ribbon_lines(snapshot.ribbon, snapshot.forecast))


def _latency(snapshot: Snapshot) -> str:
    def ms(value: float | None) -> str:
        return MISSING if value is None else f"{value:.3g}"

    return table(
        [("operation", "words"), ("answered", ""), ("never answered", ""), ("least, ms", ""), ("mean, ms", ""), ("median, ms", ""),
         ("95 %, ms", ""), (f"99 %, ms (from {P99_FROM})", ""), ("most, ms", "")],
        [(one.operation, f"{one.count:,}", f"{one.timeouts:,}",
          *(ms(value) for value in (one.min_ms, one.mean_ms, one.p50_ms, one.p95_ms, one.p99_ms, one.max_ms)))
         for one in snapshot.latency],
    )  # fmt: skip


def _health(snapshot: Snapshot) -> str:
    about, counts = snapshot.about, snapshot.counts
    checks = table(
        [("check", "words"), ("verdict", "words"), ("what was found", "words long")],
        [(one.name, _VERDICTS[one.verdict], one.text) for one in snapshot.health],
    )
    limits = table(
        [("limit", "words"), ("used", ""), ("of", "")],
        [(one.name, UNKNOWN if one.used is None else plain(one.used), plain(one.limit)) for one in snapshot.limits],
    )
    sent = table(
        [("placed", ""), ("amended", ""), ("filled", ""), ("cancelled", ""), ("expired", ""), ("refused by the venue", ""),
         ("fills", ""), ("round trips", "")],
        [tuple(count(one) for one in
               (counts.placed, counts.amended, counts.filled, counts.cancelled, counts.expired, counts.rejected, counts.fills,
                counts.round_trips))],
    )  # fmt: skip
    process = table(
        [("process", "words"), ("value", "words long")],
        [("session", about.name), ("market", about.market), ("account", about.account), ("process id", about.pid),
         ("grinder_kit", about.version), ("configuration", snapshot.status.config_digest), ("folder", about.folder),
         ("notebooks attached", snapshot.status.clients), ("state", f"{snapshot.status.state}, epoch {snapshot.status.epoch}")],
    )  # fmt: skip
    return f"{checks}{_account(snapshot)}{limits if snapshot.limits else ''}{sent}{process}"


def _account(snapshot: Snapshot) -> str:
    """Return what is held against what should be, and what differs."""
    about, told = snapshot.about, snapshot.account

    def held(quantity: Decimal | None) -> str:
        if quantity is None:
            return UNKNOWN
        return f"{'+' if quantity > 0 else ''}{plain(quantity)}".replace("-", MINUS)

    position = table(
        [(f"position, {unit(about)}", "words"), ("value", "words long")],
        [("should be held", held(told.local)), ("of it not this session's", held(told.foreign)),
         ("the venue's", held(told.exchange)), ("differs by", held(told.diff)),
         ("told at", utc(told.last_sync_ns or None, ms=False)),
         ("about a difference", f"{told.mode or UNKNOWN}; {told.actions_of_run} of {told.max_actions_per_run} actions this run, "
          f"{told.actions_of_day} of {told.max_actions_per_day} today")],
    )  # fmt: skip
    differ = table(
        [("differs", "words"), ("which", "words"), ("ours", "words long"), ("the venue's", "words long"), ("for", "")],
        [(one.kind.lower().replace("_", " "), one.subject, one.ours, one.venues, duration(one.age_s))
         for one in told.mismatches[:ROWS]],
        of=len(told.mismatches),
    )  # fmt: skip
    return f"{position}{differ if told.mismatches else ''}"


def _journal(snapshot: Snapshot) -> str:
    if not snapshot.notices:
        return '<p class="gk-note">Nothing that a person should read has happened.</p>'
    rows: list[tuple[str, Mark | str, str]] = []
    room = LETTERS
    for one in reversed(snapshot.notices[-ROWS:]):
        lines = _lines(one)
        room -= len(lines)
        if room < 0 and rows:
            break
        rows.append((utc(one.ts_ns).removesuffix(" UTC"), _LEVELS.get(one.level, one.level), lines))
    columns = [("time, UTC", "words"), ("level", "words"), ("what", "words long lines")]
    return table(columns, rows, of=len(snapshot.notices))


def _lines(notice: Notice) -> str:
    return "\n".join((notice.text, *(f"{name}: {text}" for name, text in notice.context)))


#: By tab: the parts of a snapshot that its table shows, and the table.
TABLES: dict[str, tuple[tuple[str, ...], Callable[[Snapshot], str]]] = {
    "P&L": (("money",), _profit),
    "Fills": (("fills", "counts"), _fills),
    "Round trips": (("trips", "counts"), _round_trips),
    "Ribbon score": (("ribbon", "forecast"), _ribbon),
    "Latency": (("latency",), _latency),
    "Health": (("health", "account", "limits", "counts", "status"), _health),
    "Journal": (("notices",), _journal),
}
#: By tab: what always stands below its figure.
BELOW: dict[str, tuple[tuple[str, ...], Callable[[Snapshot], str]]] = {
    "P&L": (("views", "money"), _views),
    "Ribbon score": (("ribbon", "forecast"), _ribbon_words),
}


# --- the rest --------------------------------------------------------------------------------------------------------


def rich(text: str) -> str:
    """Return text as HTML, what stands between backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def banner(view: BannerView, facts: Sequence[str]) -> str:
    """Return the banner, with some facts beside its word."""
    look = f"--banner:{view.background};--ink:{view.ink};--border:{view.border}"
    beside = "".join(f"<span>{escape(fact)}</span>" for fact in facts)
    return (
        f'<div class="gk-banner" style="{look}"><div><strong><span class="gk-icon" aria-hidden="true">{escape(view.icon)}</span>'
        f"{escape(view.word)}</strong>{beside}</div><p>{rich(view.text)}</p></div>"
    )


def headline(numbers: Sequence[tuple[str, str]]) -> str:
    """Return a few numbers in large type, each under its name."""
    pairs = "".join(f"<div><span>{escape(name)}</span><b>{escape(value)}</b></div>" for name, value in numbers)
    return f'<div class="gk-headline">{pairs}</div>'


def way_out(share: float, text: str) -> str:
    """Return a thin bar that fills as the position goes out, and what it says."""
    percent = round(100 * share)
    return (
        f'<div class="gk-exit"><div role="progressbar" aria-label="Way out" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}" aria-valuetext="{escape(text)}"><i style="width:{percent}%"></i></div>'
        f"<span>{escape(text)}</span></div>"
    )


def detail(rows: Sequence[tuple[str, str]], title: str) -> str:
    """Return what is known of one row of the ladder."""
    pairs = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return f'<div class="gk-detail"><b>{escape(title)}</b><table>{pairs}</table></div>'


def style(palette: Palette) -> str:
    """Return the style sheet of panels in a palette."""
    return f"""<style>
.gk-panel {{ --gk-text:{palette.text}; --gk-muted:{palette.muted}; --gk-paper:{palette.paper}; --gk-line:{palette.line};
  --gk-soft:{palette.grid}; --gk-gain:{palette.gain}; --gk-loss:{palette.loss}; --gk-warn:{palette.sell}; --gk-focus:{palette.buy};
  font-family:{FONT}; font-variant-numeric:tabular-nums; color:var(--gk-text); background:var(--gk-paper); }}
.gk-panel .widget-html-content {{ line-height:1.4; }}
.gk-panel button, .gk-panel select {{ min-height:32px; }}
.gk-panel button:focus-visible, .gk-panel select:focus-visible, .gk-panel [tabindex]:focus-visible {{
  outline:2px solid var(--gk-focus); outline-offset:2px; }}
.gk-panel code {{ background:none; color:inherit; font-family:ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace; user-select:all; }}
.gk-banner {{ background:var(--banner); color:var(--ink); border:3px var(--border) var(--ink); padding:5px 12px; font-size:13px; }}
.gk-banner > div {{ display:flex; flex-wrap:wrap; gap:2px 18px; align-items:baseline; }}
.gk-banner strong {{ font-size:15px; letter-spacing:.05em; white-space:nowrap; }}
.gk-banner p {{ margin:2px 0 0; }}
.gk-icon {{ margin-right:8px; }}
.gk-headline {{ display:flex; flex-wrap:wrap; gap:2px 22px; margin:6px 4px; }}
.gk-headline span {{ display:block; font-size:11px; color:var(--gk-muted); }}
.gk-headline b {{ font-size:15px; font-weight:600; white-space:nowrap; }}
.gk-answer, .gk-still {{ padding:4px 12px; border-left:4px solid var(--gk-focus); background:var(--gk-soft); font-size:13px; }}
.gk-still {{ border-left-color:var(--gk-muted); font-weight:600; }}
.gk-exit {{ display:flex; flex-wrap:wrap; align-items:center; gap:2px 12px; margin:2px 4px 6px; font-size:12px; }}
.gk-exit > div {{ flex:1 1 160px; height:6px; border:1px solid var(--gk-muted); background:var(--gk-soft); }}
.gk-exit i {{ display:block; height:100%; background:var(--gk-focus); }}
.gk-note {{ color:var(--gk-muted); margin:4px; }}
.gk-body {{ border:3px solid transparent; }}
.gk-stale {{ border-color:var(--gk-muted); }}
.gk-panel .widget-tab > .widget-tab-contents {{ background:var(--gk-paper); }}
.gk-panel .scroll {{ overflow:auto; max-height:26rem; border:1px solid var(--gk-line); margin:4px; }}
.gk-panel table {{ border-collapse:collapse; width:100%; font-size:12px; color:var(--gk-text); }}
.gk-panel th, .gk-panel td {{ text-align:right; padding:3px 9px; border-bottom:1px solid var(--gk-soft); white-space:nowrap; }}
.gk-panel th {{ position:sticky; top:0; background:var(--gk-soft); }}
.gk-panel .gk-detail > b {{ display:block; margin:8px 0 4px; font-size:14px; }}
.gk-panel .gk-detail th, .gk-panel .gk-detail td {{
  border:0; padding:1px 12px 1px 0; text-align:left; vertical-align:top; font-size:13px; }}
.gk-panel .gk-detail th {{ color:var(--gk-muted); font-weight:400; background:none; position:static; }}
.gk-panel .gk-detail td {{ white-space:normal; overflow-wrap:anywhere; width:100%; padding-right:0; }}
.gk-panel .words {{ text-align:left; }}
.gk-panel .long {{ white-space:normal; min-width:14rem; }}
.gk-panel td.lines {{ white-space:pre-line; overflow-wrap:anywhere; }}
.gk-panel .gk-ok {{ color:var(--gk-gain); }}
.gk-panel .gk-warn {{ color:var(--gk-warn); font-weight:600; }}
.gk-panel .gk-fail {{ color:var(--gk-loss); font-weight:600; }}
.gk-panel .note {{ color:var(--gk-muted); margin:4px; font-size:12px; }}
</style>"""
