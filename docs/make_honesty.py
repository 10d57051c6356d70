"""Make docs/honesty.png: how often a search with nothing to find is believed, and how large an edge is found.

    .venv/bin/python docs/make_honesty.py [PICTURE]

It needs Chromium, and takes some minutes. Worlds with nothing to find come from three sources: random numbers; and the profits of
real sweeps over a synthetic market, in which no grid earns after fees, either with the sign of each block drawn (one sign for all
trials) or with each trial's mean taken away and blocks drawn. The last two keep how trials depend on each other, the very last also
that they win often and lose much. The chosen is always the trial whose mean is the most standard errors above zero: the choice that
fools most.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

import grinder_kit as gk
from grinder_kit.fillprob.interval import block_mean
from grinder_kit.simulation.sweep import sweep
from grinder_kit.tuning.honesty import deflated_sharpe, judge_best, overfitting, sharpe

Floats = npt.NDArray[np.float64]
World = Callable[[np.random.Generator, int], Floats]

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 1200, 560
SEEDS, TRIALS, MINUTES = 100, 200, 480
LENGTHS = (12, 30, 60)  # blocks
EDGES = (0, 1, 2, 3, 4, 5, 6, 8)  # standard errors of the planted trial
NOISE, SIGNS, CENTRED = "random numbers", "sweep, signs drawn", "sweep, means taken away"
RULES = ("after the search", "its own interval", "deflated Sharpe above .95")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often something was said, with a 95 % binomial interval."""

    said: int
    of: int

    @property
    def share(self) -> float:
        """What was counted."""
        return self.said / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper-Pearson."""
        found = binomtest(self.said, self.of).proportion_ci(0.95)
        return float(found.low), float(found.high)

    @property
    def words(self) -> str:
        """It as text, %."""
        return f"{100 * self.share:.0f} % [{100 * self.interval[0]:.1f}, {100 * self.interval[1]:.1f}]"


def swept_profits(
    minutes: float, seed: int = 11, spacings: tuple[int, ...] = (5, 10, 15, 20, 30, 40, 60, 80)
) -> Floats:
    """Return the profits of grids over a synthetic market, (trials, blocks); spacings in tenths of a bp."""
    grids = [
        gk.GridConfig(
            spacing_bps=Decimal(spacing) / 10, recentre_bps=Decimal(spacing * wide) / 10, levels=levels, size="0.01",
            position_limit=limit,
        )
        for spacing in spacings for wide in (1, 3) for levels in (2, 4, 8) for limit in ("0.02", "0.06", "0.2")
    ]  # fmt: skip
    return np.array(sweep(gk.synthetic_market(seed=seed, minutes=minutes), grids)["blocks"].to_list())


def noise(rng: np.random.Generator, blocks: int, trials: int = TRIALS) -> Floats:
    """Return trials along a line, like their neighbours and with a common part, some six times as large as others."""
    own = _likeness(trials) @ rng.normal(size=(trials, blocks))
    return (own + rng.normal(size=blocks)) * np.linspace(0.5, 3, trials)[:, None]


@cache
def _likeness(trials: int) -> Floats:
    along = np.linspace(0, 1, trials)
    smooth = np.exp(-(((along[:, None] - along) / 0.1) ** 2) / 2) + 1e-6 * np.eye(trials)
    return np.linalg.cholesky(smooth)


def signs_drawn(profits: Floats) -> World:
    """Return worlds in which each block of a stretch of time has a random sign, the same for all trials."""

    def world(rng: np.random.Generator, blocks: int) -> Floats:
        start = rng.integers(0, profits.shape[1] - blocks + 1)
        return profits[:, start : start + blocks] * rng.choice([-1.0, 1.0], blocks)

    return world


def centred(profits: Floats) -> World:
    """Return worlds of blocks drawn from trials whose mean was taken away."""
    around = profits - profits.mean(axis=1, keepdims=True)
    return lambda rng, blocks: around[:, rng.integers(0, profits.shape[1], blocks)]


def best_looking(profits: Floats) -> int:
    """Return the trial whose mean is the most standard errors above zero."""
    return int(sharpe(profits).argmax())


def believed(world: World, blocks: int, *, halves: bool = True) -> tuple[dict[str, Rate], float]:
    """Return how often each rule says that the best earns, and the mean probability of overfitting (`halves`; nan without)."""
    said, overfit = dict.fromkeys(RULES, 0), []
    for seed in range(SEEDS):
        profits = world(np.random.default_rng(seed), blocks)
        best = best_looking(profits)
        luck = judge_best(profits, best)
        alone = block_mean(profits[best], np.arange(blocks))
        answers = (
            luck.distinguishable and luck.shrunk.value > 0,
            alone.distinguishable and alone.value > 0,
            deflated_sharpe(profits, best).deflated > 0.95,
        )
        for rule, answer in zip(RULES, answers, strict=True):
            said[rule] += answer
        overfit.append(overfitting(profits).probability if halves else np.nan)
    return {rule: Rate(said=count, of=SEEDS) for rule, count in said.items()}, float(np.mean(overfit))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of a planted edge: how often something was found, and the error of the best's value in standard errors."""

    edge: float
    rate: Rate
    measured: float
    shrunk: float


def planted(world: World, blocks: int, edge: float, *, seeds: int = SEEDS, alone: bool = False) -> Found:
    """Plant an edge of so many standard errors in one trial, and search; `alone`: that trial is known and no search is needed."""
    said, measured, shrunk = 0, [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        profits = world(rng, blocks).copy()
        trial = int(rng.integers(len(profits)))
        error = profits.std(axis=1, ddof=1) / np.sqrt(blocks)
        profits[trial] += edge * error[trial]
        profits = profits[trial : trial + 1] if alone else profits
        best = 0 if alone else best_looking(profits)
        luck = judge_best(profits, best, block_s=3600)  # so that an hour is a block
        said += luck.distinguishable and luck.shrunk.value > 0
        true, own = (edge, error[trial]) if alone or best == trial else (0.0, error[best])
        measured.append(luck.per_hour / own - true)
        shrunk.append(luck.shrunk.value / own - true)
    rate = Rate(said=said, of=seeds)
    return Found(edge=edge, rate=rate, measured=float(np.mean(measured)), shrunk=float(np.mean(shrunk)))


def figure(
    wrong: dict[tuple[str, int], dict[str, Rate]], power: dict[str, list[Found]], trials: int
) -> Any:  # plotly ships no types
    """Draw who is wrong how often, what is found, and what is left of the best."""
    from plotly.subplots import make_subplots

    from grinder_widgets import theme

    palette = theme.LIGHT
    titles = ("Nothing to find: called a winner", "An edge in one trial: found", "Value of the best, less truth")
    drawn = make_subplots(
        rows=1, cols=3, column_titles=list(titles), horizontal_spacing=0.085, column_widths=[0.4, 0.3, 0.3]
    )
    looks = {
        RULES[0]: (palette.buy, "circle"), RULES[1]: (palette.loss, "x"), RULES[2]: (palette.muted, "diamond-open"),
    }  # fmt: skip
    rows = list(reversed(wrong))
    for number, (rule, (color, symbol)) in enumerate(looks.items()):
        rates = [wrong[row][rule] for row in rows]
        shares = [100 * rate.share for rate in rates]
        drawn.add_scatter(
            x=shares, y=[at + 0.22 * (1 - number) for at in range(len(rows))], mode="markers", name=rule, row=1, col=1,
            marker={"color": color, "symbol": symbol, "size": 9},
            error_x={
                "type": "data", "array": [100 * rate.interval[1] - share for rate, share in zip(rates, shares, strict=True)],
                "arrayminus": [share - 100 * rate.interval[0] for rate, share in zip(rates, shares, strict=True)],
                "color": color, "width": 3, "thickness": 1.2,
            },
        )  # fmt: skip
    drawn.add_vline(x=5, line={"color": palette.text, "width": 1, "dash": "dot"}, row=1, col=1)
    lines = zip(power.items(), (palette.muted, palette.buy, palette.text), ("dash", "solid", "solid"), strict=True)
    for number, ((name, found), color, dash) in enumerate(lines):
        drawn.add_scatter(
            x=[one.edge for one in found], y=[100 * one.rate.share for one in found], mode="lines+markers", row=1, col=2,
            line={"color": color, "dash": dash}, marker={"size": 6}, showlegend=False,
        )  # fmt: skip
        drawn.add_annotation(
            x=EDGES[-1], y=8 + 8 * number, text=f"{name} blocks", showarrow=False, xanchor="right",
            font={"size": 12, "color": color}, row=1, col=2,
        )  # fmt: skip
    searched = list(power.values())[-1]
    for name, color, values in (
        ("as measured", palette.loss, [one.measured for one in searched]),
        ("after the search", palette.buy, [one.shrunk for one in searched]),
    ):
        drawn.add_scatter(
            x=[one.edge for one in searched], y=values, mode="lines+markers", row=1, col=3, showlegend=False,
            line={"color": color}, marker={"size": 6},
        )  # fmt: skip
        drawn.add_annotation(
            x=searched[-1].edge, y=values[-1], text=name, showarrow=False, xanchor="right", yshift=14,
            font={"size": 12, "color": color}, row=1, col=3,
        )  # fmt: skip
    drawn.update_layout(
        width=WIDTH, height=HEIGHT, paper_bgcolor=palette.paper, plot_bgcolor=palette.paper,
        font={"family": theme.FONT, "size": 13, "color": palette.text}, margin={"l": 215, "r": 25, "t": 85, "b": 120},
        title={"text": f"The best of {trials} grids, or of {TRIALS} rows of random numbers, in {SEEDS} worlds each", "x": 0.01, "y": 0.97},
        legend={"orientation": "h", "x": -0.2, "y": -0.17, "xanchor": "left", "yanchor": "top"},
        annotations=[*drawn.layout.annotations, {
            "text": "Bars: 95 % binomial intervals; dotted: the stated 5 %. The chosen is the trial whose mean is the most standard "
            f"errors above zero. Right: blocks of {LENGTHS[-1]} min, signs drawn.",
            "x": -0.205, "y": -0.26, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top", "align": "left",
            "showarrow": False, "font": {"size": 12, "color": palette.muted},
        }],
    )  # fmt: skip
    drawn.update_xaxes(gridcolor=palette.grid, linecolor=palette.line, zeroline=False)
    drawn.update_yaxes(gridcolor=palette.grid, linecolor=palette.line, zeroline=False)
    drawn.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=[f"{name}, {blocks} blocks" for name, blocks in rows], showgrid=False,
        row=1, col=1,
    )  # fmt: skip
    drawn.update_xaxes(title_text="% of worlds", range=[-1, 101], row=1, col=1)
    drawn.update_xaxes(title_text="edge, standard errors", row=1, col=2)
    drawn.update_xaxes(title_text="edge, standard errors", row=1, col=3)
    drawn.update_yaxes(title_text="% of worlds", range=[-2, 102], row=1, col=2)
    drawn.update_yaxes(title_text="standard errors", zeroline=True, zerolinecolor=palette.line, row=1, col=3)
    return drawn


def main(target: Path) -> None:
    """Measure, say the numbers, and draw."""
    from render import save  # beside this script; the tests that read it from elsewhere draw nothing

    profits = swept_profits(MINUTES)
    worlds: dict[str, World] = {NOISE: noise, SIGNS: signs_drawn(profits), CENTRED: centred(profits)}
    wrong: dict[tuple[str, int], dict[str, Rate]] = {}
    for name, world in worlds.items():
        for blocks in LENGTHS:
            wrong[name, blocks], overfit = believed(world, blocks)
            said = "; ".join(f"{rule} {rate.words}" for rule, rate in wrong[name, blocks].items())
            sys.stdout.write(f"{name}, {blocks} blocks: {said}; mean probability of overfitting {overfit:.2f}\n")
    long, short = max(LENGTHS), LENGTHS[1]
    power = {
        f"known, {long}": [planted(worlds[SIGNS], long, edge, alone=True) for edge in EDGES],
        f"searched, {short}": [planted(worlds[SIGNS], short, edge) for edge in EDGES],
        f"searched, {long}": [planted(worlds[SIGNS], long, edge) for edge in EDGES],
    }
    for name, found in power.items():
        for one in found:
            sys.stdout.write(
                f"{name} blocks, edge of {one.edge} standard errors: found in {one.rate.words}; best less truth, standard errors: "
                f"{one.measured:+.2f} measured, {one.shrunk:+.2f} after the search\n"
            )
    save(figure(wrong, power, len(profits)), target)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "honesty.png")
