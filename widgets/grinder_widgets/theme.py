"""How views look and how they write numbers: palette, banners, plotly template, formats.

Each colour has a role and a second cue beside it (shape, sign, hatch, dash), so that nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif'
UNKNOWN, MISSING = "?", "–"
MINUS = "−"


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """Colours by role.

    Attributes
    ----------
    buy, sell
        Second cue: triangle up and down, below and above mid.
    text
        What was observed: solid lines, circles with bars.
    muted
        Heuristics, refusals, the touch rule: dashed or hollow.
    gain, loss
        Second cue: sign; losses are hatched.
    accent
        A further line that is neither good nor bad (trend profit); the colour of the banner REPLAY in light.
    paper, grid, line
        Background, grid lines, axes.
    """

    buy: str
    sell: str
    text: str
    muted: str
    gain: str
    loss: str
    accent: str
    paper: str
    grid: str
    line: str


LIGHT = Palette(
    buy="#0065A8", sell="#B34A00", text="#1A1D21", muted="#6B737C", gain="#00795C", loss="#B00020", accent="#6A3D7C",
    paper="#FFFFFF", grid="#E8EBEE", line="#A9B0B7",
)  # fmt: skip
DARK = Palette(
    buy="#56B4E9", sell="#F0A04B", text="#E6E9EC", muted="#9AA3AC", gain="#2BBF94", loss="#FF7A85", accent="#C39BD3",
    paper="#111111", grid="#2A2E33", line="#5A626A",
)  # fmt: skip


def to_dark() -> dict[str, str]:
    """Return each light colour with its dark counterpart: a page swaps them without building its figures again."""
    return {getattr(LIGHT, field.name): getattr(DARK, field.name) for field in fields(Palette)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Banner:
    """A state that must be recognised at a glance: icon, word, border style and colour together."""

    word: str
    icon: str
    background: str
    ink: str = "#FFFFFF"
    border: str = "solid"


REPLAY = Banner(word="REPLAY", icon="↻", background="#6A3D7C")
PAPER = Banner(word="PAPER", icon="✎", background="#00568F", border="dotted")
LIVE_ARMED = Banner(word="LIVE ARMED", icon="!", background="#B00020", border="double")
LIVE_UNARMED = Banner(word="LIVE UNARMED", icon="○", background="#F2C14E", ink="#1A1D21", border="double")
LIVE = Banner(word="LIVE", icon="!", background="#B00020", border="double")
STALE = Banner(word="STALE", icon="…", background="#4A5058")
KILLED = Banner(word="KILLED", icon="×", background="#000000")
NO_SESSION = Banner(word="NO SESSION", icon="○", background="#4A5058")
STARTING = Banner(word="STARTING", icon="»", background="#4A5058")
PAUSED = Banner(word="PAUSED", icon="‖", background="#3D4A66")
FLATTENING = Banner(word="FLATTENING", icon="↓", background="#7A4300")
STOPPED = Banner(word="STOPPED", icon="■", background="#2B3036")
UNATTENDED = Banner(word="UNATTENDED", icon="!", background="#F2C14E", ink="#1A1D21")
#: What is open at the venue is not known.
UNKNOWN_ORDERS = Banner(word="NOT ANSWERING", icon="!", background="#B00020")


def template(palette: Palette = LIGHT) -> dict[str, Any]:
    """Return the plotly template of all figures."""
    axis = {
        "gridcolor": palette.grid,
        "linecolor": palette.line,
        "tickcolor": palette.line,
        "zerolinecolor": palette.line,
        "zerolinewidth": 1,
        "ticks": "outside",
        "ticklen": 4,
        "showline": True,
        "separatethousands": True,
        "title": {"standoff": 8, "font": {"size": 12, "color": palette.muted}},
        "tickfont": {"size": 12},
    }
    return {
        "layout": {
            "font": {"family": FONT, "size": 13, "color": palette.text},
            "paper_bgcolor": palette.paper,
            "plot_bgcolor": palette.paper,
            "colorway": [palette.text, palette.buy, palette.sell, palette.gain, palette.accent, palette.muted],
            "title": {
                "font": {"size": 16, "color": palette.text},
                "subtitle": {"font": {"size": 12, "color": palette.muted}},
                "x": 0,
                "xref": "container",
                "xanchor": "left",
                "pad": {"l": 12, "t": 14},
                "y": 1,
                "yanchor": "top",
            },
            "margin": {"l": 64, "r": 24, "t": 92, "b": 48},
            # Each axis makes room only across itself: free to move both margins, plotly sometimes never settles.
            "xaxis": {**axis, "automargin": "height"},
            "yaxis": {**axis, "automargin": "width"},
            "hoverlabel": {
                "bgcolor": palette.paper,
                "bordercolor": palette.line,
                "font": {"family": FONT, "size": 12, "color": palette.text},
                "align": "left",
            },
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"},
            "bargap": 0.25,
            "separators": ".,",
        }
    }


# --- formats ---------------------------------------------------------------------------------------------------------


def number(value: float | Decimal | None, digits: int, *, sign: bool = False) -> str:
    """Return a number with a typographic minus and thousands, ``–`` when there is none; -0.0 is 0.0."""
    if value is None or value != value:
        return MISSING
    text = f"{value:,.{digits}f}"
    if not text.strip("-0.,"):
        return text.lstrip("-")
    if text.startswith("-"):
        return MINUS + text[1:]
    return f"+{text}" if sign else text


def bps(value: float | Decimal | None, *, sign: bool = True) -> str:
    """Return basis points to one decimal.

    Examples
    --------
    >>> bps(2), bps(-0.31), bps(None)
    ('+2.0 bps', '−0.3 bps', '–')
    """
    text = number(value, 1, sign=sign)
    return text if text == MISSING else f"{text} bps"


def money_digits(*values: float | Decimal | None) -> int:
    """Return the decimals in which these amounts can be read: 2, or 6 where all are small (amounts in BTC)."""
    largest = max((abs(float(v)) for v in values if v is not None and v == v), default=0.0)
    return 2 if largest >= 0.1 or largest == 0 else 6


def money(value: float | Decimal | None, asset: str, digits: int | None = None) -> str:
    """Return an amount with its sign and asset.

    Examples
    --------
    >>> money(12.4, "USDT"), money(Decimal("-0.0012"), "BTC"), money(0, "USDT"), money(None, "USDT")
    ('+12.40 USDT', '−0.001200 BTC', '0.00 USDT', '–')
    """
    text = number(value, money_digits(value) if digits is None else digits, sign=True)
    return text if text == MISSING else f"{text} {asset}"


def interval(low: float | None, high: float | None, digits: int) -> str:
    """Return an interval, ``–`` when there is none."""
    if low is None or high is None:
        return MISSING
    return f"[{number(low, digits, sign=True)}, {number(high, digits, sign=True)}]"


def probability(value: float | None) -> str:
    """Return a probability to two decimals, without the zero before the point.

    Examples
    --------
    >>> probability(0.431), probability(1.0), probability(None)
    ('.43', '1.00', '–')
    """
    text = number(value, 2)
    return text[1:] if text.startswith("0.") else text


def count(value: int | None) -> str:
    """Return a count: whole below ten thousand, then in thousands and millions; ``?`` when it is not known.

    Examples
    --------
    >>> count(2000), count(492_312), count(1_250_000), count(None)
    ('2,000', '492k', '1.25M', '?')
    """
    if value is None:
        return UNKNOWN
    if value < 10_000:
        return f"{value:,}"
    return f"{value / 1e3:.0f}k" if value < 999_500 else f"{value / 1e6:.3g}M"


def utc(ts_ns: int | None, *, date: bool = False, ms: bool = True) -> str:
    """Return a time of the day in UTC, to the ms or the second, with the zone; ``?`` where it is not known or no calendar reaches.

    Examples
    --------
    >>> utc(1_723_125_802_418_000_000), utc(1_723_125_802_418_000_000, date=True), utc(None)
    ('14:03:22.418 UTC', '2024-08-08 14:03:22.418 UTC', '?')
    >>> utc(1_723_125_802_418_000_000, ms=False)
    '14:03:22 UTC'
    """
    if ts_ns is None:
        return UNKNOWN
    seconds, rest = divmod(ts_ns, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return UNKNOWN
    return f"{moment:{'%Y-%m-%d ' if date else ''}%H:%M:%S}{f'.{rest // 1_000_000:03d}' if ms else ''} UTC"


def duration(seconds: float) -> str:
    """Return a span in the largest unit that keeps it readable.

    Examples
    --------
    >>> duration(0.4), duration(344.8), duration(7200)
    ('0.4 s', '5.7 min', '2.0 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def words(items: Iterable[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    *first, last = list(items) or [""]
    return f"{', '.join(first)} and {last}" if first else last
