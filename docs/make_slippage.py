"""Make docs/slippage.png: what it costs to take a position out, by one market order, at once, by a TWAP and by an iceberg.

    .venv/bin/python docs/make_slippage.py [RECORDING [PICTURE]]

It needs Chromium. Without a recording it takes a synthetic market. At each of 40 moments five times the displayed best quantity is
sold, and in another run bought, each way, by the session's own engine on the simulated exchange. The cost is against the mid at
that moment, before fees; the mean of selling and buying is free of where the market went meanwhile. The recorded book does not
feel our orders: what one order takes is there again for the next, so that all but the market order are as cheap as they could be.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from render import save

import grinder_kit as gk
from grinder_kit.execution.way_out import How
from grinder_kit.kernel import book as bk
from grinder_kit.market.source import Market
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.event import Event, OrderFilled, Place, RunState, SetState, Tick
from grinder_kit.model.order import OrderType, Side
from grinder_kit.simulation.replay import _Run
from grinder_widgets import theme

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 1200, 560
MOMENTS, TIMES_BEST, OVER_S, SLICES, WARM_UP_S = 40, 5, 60, 12, 5
SECOND = 1_000_000_000
AT_ONCE = SetState(state=RunState.FLATTENING)
#: A grid is not traded here: the session is paused until it flattens.
CONFIG = Config(grid=GridConfig(spacing_bps=8, levels=1, size="0.01"))
WAYS = {
    "one market order<br>through the book": None,
    "at once: IOC at the best,<br>again until it is out": How(),
    f"TWAP, {SLICES} slices<br>in {OVER_S} s": How(twap_s=OVER_S, slices=SLICES),
    f"TWAP, {SLICES} slices<br>in {OVER_S} s, drawn": How(twap_s=OVER_S, slices=SLICES, seed=1),
    f"iceberg, 1/{SLICES} shown;<br>after {OVER_S} s at once": How(show="clip"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One position taken out: cost in bps of the mid at the start, seconds until it was, and the part that was filled as a maker."""

    cost_bps: float
    took_s: float
    maker: float


class _Out(Exception):
    """The position is out; the rest of the market does not matter."""


class _Looker(_Run):
    """A replay that looks at the displayed best quantities, and does nothing."""

    def __init__(self, market: Market) -> None:
        super().__init__(market, CONFIG, market.instrument, None)
        self.seen: list[tuple[int, int]] = []  # ns, lots at the best bid

    def _step(self, now: int) -> None:
        self.steps += 1
        bid, ask = self.simulator.best
        if bid is not None and ask is not None:
            self.recorder.mid(now, bid + ask)
            self.seen.append((now, int(bk.quantity(self.simulator.eyes.book, 1, bid))))


class _Leaver(_Run):
    """A replay of a session that holds a position from a moment on, and takes it out."""

    def __init__(self, market: Market, at_ns: int, lots: int, how: How | None) -> None:
        super().__init__(market, CONFIG, market.instrument, None)
        self._at_ns, self._held, self._how = at_ns, lots, how
        self._mid2 = 0
        self._taken: list[tuple[int, int, int, bool]] = []  # ns, ticks, lots, maker
        self.engine.step(SetState(state=RunState.PAUSED), 0)

    def outcome(self) -> Outcome:
        """Return how it went."""
        try:
            self.to_the_end(None)
        except _Out:
            pass
        else:
            raise SystemExit("the market ends before the position is out; take a longer one")
        lots = sum(lots for _, _, lots, _ in self._taken)
        paid = sum(ticks * lots for _, ticks, lots, _ in self._taken) / lots
        mid = self._mid2 / 2
        return Outcome(
            cost_bps=(mid - paid) / mid * 10_000 * (1 if self._held > 0 else -1),
            took_s=(self._taken[-1][0] - self._at_ns) / SECOND,
            maker=sum(lots for _, _, lots, maker in self._taken if maker) / lots,
        )

    def _step(self, now: int) -> None:
        if now < self._at_ns:
            return
        bid, ask = self.simulator.best
        assert bid is not None and ask is not None
        if not self._mid2:
            self._mid2 = bid + ask
            self._begin(bid, ask, now)
        elif self._how is not None and self._how.show is not None and now >= self._at_ns + OVER_S * SECOND:
            self._take(AT_ONCE, now)
        commands = self.engine.step(Tick(bid_ticks=bid, ask_ticks=ask, stale=self.simulator.stale(now)), now)
        self._execute(commands, now)

    def _begin(self, bid: int, ask: int, now: int) -> None:
        held = self._held
        self._take(
            OrderFilled(
                client_order_id=f"gkr0-{'B' if held > 0 else 'S'}1-1", trade_id="held", price_ticks=bid, quantity_lots=abs(held),
                commission=Decimal(0), commission_asset=self.instrument.settle, ts_ns=now, is_maker=True,
            ),
            now,
        )  # fmt: skip
        if self._how is None:
            side = Side.SELL if held > 0 else Side.BUY
            far = bid // 2 if held > 0 else ask * 2
            order = Place(
                client_order_id=f"gkr0-{side.letter}0-1", level_id=f"{side}_0", side=side, price_ticks=far,
                quantity_lots=abs(held), type=OrderType.IOC,
            )  # fmt: skip
            self._execute((order,), now)
        elif self._how.at_once:
            self._take(AT_ONCE, now)
        else:
            self._take(self._how.plan(self.instrument, held, (bid, ask), CONFIG.grid.step_ns, "the figure"), now)

    def _take(self, event: Event, now: int) -> None:
        super()._take(event, now)
        if isinstance(event, OrderFilled) and event.trade_id != "held":
            self._taken.append((event.ts_ns, event.price_ticks, event.quantity_lots, event.is_maker))
            if not self.engine.position.lots:
                raise _Out


def measure(market: Market) -> tuple[int, dict[str, list[tuple[Outcome, Outcome]]]]:
    """Return the lots, and for each way the outcomes of selling and buying them at each moment."""
    looker = _Looker(market)
    looker.to_the_end(None)
    lots = max(SLICES, TIMES_BEST * round(median(best for _, best in looker.seen)))
    first, last = looker.seen[0][0] + WARM_UP_S * SECOND, looker.seen[-1][0] - (OVER_S + 5) * SECOND
    if last <= first:
        raise SystemExit(f"the market must last {WARM_UP_S + OVER_S + 5} s at least, better some minutes")
    moments = [first + (last - first) * number // (MOMENTS - 1) for number in range(MOMENTS)]
    clip = str(market.instrument.quantity(max(1, lots // SLICES)))
    found: dict[str, list[tuple[Outcome, Outcome]]] = {}
    for name, how in WAYS.items():
        way = how._replace(show=clip) if how is not None and how.show is not None else how
        found[name] = [
            (_Leaver(market, at, lots, way).outcome(), _Leaver(market, at, -lots, way).outcome()) for at in moments
        ]
    return lots, found


def interval(costs: Any, span_s: float) -> tuple[float, float]:
    """Return a 95 % interval of the mean: a bootstrap over blocks, as moments that are close see the same market."""
    rng = np.random.default_rng(0)
    block = max(1, min(len(costs) // 3, round(OVER_S / (span_s / len(costs)))))
    starts = rng.integers(0, len(costs), (4_000, -(-len(costs) // block)))
    rows = (starts[:, :, None] + np.arange(block)) % len(costs)
    means = np.asarray(costs)[rows.reshape(len(rows), -1)[:, : len(costs)]].mean(axis=1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def figure(market: Market, lots: int, found: dict[str, list[tuple[Outcome, Outcome]]], span_s: float) -> go.Figure:
    """Draw the ways, one row each: cost, what a single exit may come to, and time."""
    palette, instrument = theme.LIGHT, market.instrument
    titles = ("Cost, free of the market's drift", "One exit, drift included", "Time until it is out")
    drawn = make_subplots(rows=1, cols=3, shared_yaxes=True, column_titles=list(titles), horizontal_spacing=0.035)
    rng = np.random.default_rng(1)
    for row, outcomes in enumerate(reversed(found.values())):
        both = [(sell.cost_bps + buy.cost_bps) / 2 for sell, buy in outcomes]
        each = [one.cost_bps for pair in outcomes for one in pair]
        took = [one.took_s for pair in outcomes for one in pair]
        jitter = row + rng.uniform(-0.16, 0.16, len(each))
        dot = {"size": 5, "color": palette.muted, "opacity": 0.45}
        drawn.add_scatter(x=both, y=jitter[: len(both)], mode="markers", marker=dot, row=1, col=1)
        mean, (low, high) = float(np.mean(both)), interval(both, span_s)
        makers = float(np.mean([one.maker for pair in outcomes for one in pair]))
        fees = makers * float(CONFIG.execution.maker_fee_bps) + (1 - makers) * float(CONFIG.execution.taker_fee_bps)
        drawn.add_scatter(
            x=[mean], y=[row], mode="markers+text", row=1, col=1, cliponaxis=False,
            marker={"size": 10, "color": palette.buy, "symbol": "diamond"},
            error_x={"type": "data", "array": [high - mean], "arrayminus": [mean - low], "color": palette.buy, "width": 6},
            text=[f"{theme.number(mean, 2, sign=True)}, with fees {theme.number(mean + fees, 1, sign=True)}"],
            textposition="top right", textfont={"size": 13, "color": palette.buy},
        )  # fmt: skip
        drawn.add_scatter(x=each, y=jitter, mode="markers", marker=dot, row=1, col=2)
        low, high = np.quantile(each, 0.05), np.quantile(each, 0.95)
        drawn.add_scatter(
            x=[low, high], y=[row, row], mode="lines+markers", row=1, col=2,
            line={"color": palette.accent, "width": 2}, marker={"symbol": "line-ns-open", "size": 11, "color": palette.accent},
        )  # fmt: skip
        drawn.add_scatter(x=took, y=jitter, mode="markers", marker=dot, row=1, col=3)
        middle = float(np.median(took))
        drawn.add_scatter(
            x=[middle], y=[row], mode="markers+text", row=1, col=3, cliponaxis=False,
            marker={"size": 10, "color": palette.text, "symbol": "diamond"},
            text=[f"{theme.number(middle, 2 if middle < 1 else 0)} s"],
            textposition="top center" , textfont={"size": 13, "color": palette.text},
        )  # fmt: skip
    quantity = f"{instrument.quantity(lots):f} {instrument.base}"
    drawn.update_layout(
        template=theme.template(palette), width=WIDTH, height=HEIGHT, showlegend=False, margin={"l": 176, "t": 128, "b": 104},
        title={
            "text": f"Taking {quantity} out, {TIMES_BEST} times the displayed best quantity",
            "subtitle": {"text": (
                f"{instrument.symbol}, {span_s:,.0f} s; sold and bought at {MOMENTS} moments, against the mid at that moment, before "
                f"fees of {CONFIG.execution.taker_fee_bps} bps as a taker, {CONFIG.execution.maker_fee_bps} as a maker"
            )},
        },
        annotations=[*drawn.layout.annotations, {
            "text": (
                "Dots: each moment, left the mean of selling and buying. Diamonds: mean with 95 % interval (blocks of a minute), "
                "right the median. Bars: 5 % to 95 %.<br>The recorded book does not feel our orders: what one takes stands there again "
                "for the next. Only the market order pays for depth; the others are as cheap as they could be."
            ),
            "x": -0.165, "y": -0.185, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top", "align": "left",
            "showarrow": False, "font": {"size": 12, "color": palette.muted},
        }],
    )  # fmt: skip
    drawn.update_yaxes(range=[-0.45, len(found) - 0.45], showgrid=False, zeroline=False)
    drawn.update_yaxes(tickvals=list(range(len(found))), ticktext=list(reversed(found)), row=1, col=1)
    drawn.update_xaxes(title_text="bps lost", zeroline=True, row=1, col=1)
    drawn.update_xaxes(title_text="bps lost", zeroline=True, row=1, col=2)
    drawn.update_xaxes(title_text="s", row=1, col=3)
    return drawn


def main(market: Market, target: Path) -> None:
    """Measure, say the numbers, and draw."""
    lots, found = measure(market)
    rows = _Looker(market)
    rows.to_the_end(None)
    span_s = (rows.seen[-1][0] - rows.seen[0][0]) / SECOND
    for name, outcomes in found.items():
        both = [(sell.cost_bps + buy.cost_bps) / 2 for sell, buy in outcomes]
        low, high = interval(both, span_s)
        spread = np.std([one.cost_bps for pair in outcomes for one in pair])
        took = median(one.took_s for pair in outcomes for one in pair)
        words = name.replace("<br>", " ")
        sys.stdout.write(
            f"{words:56}{np.mean(both):+8.4f} bps [{low:+.4f}, {high:+.4f}], one exit +-{spread:.3f} bps, {took:.2f} s\n"
        )
    save(figure(market, lots, found, span_s), target)


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    main(
        gk.Recording.open(given[0]) if given else gk.synthetic_market(seed=7, minutes=8),
        given[1] if len(given) > 1 else ROOT / "docs" / "slippage.png",
    )
