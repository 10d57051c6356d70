"""Which trial to take: the rules, what is around a trial, and the front of what is given up for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from grinder_kit.fillprob.interval import Floats, Interval, between, block_draws
from grinder_kit.model.config import Config
from grinder_kit.simulation.verdict import hourly, money_digits
from grinder_kit.tuning.honesty import fewest_moved
from grinder_kit.tuning.space import Space
from grinder_kit.tuning.trial import Outcome, Trial

RESAMPLES = 400
PLATEAU = 0.2  # share of the pick by which the neighbours' median may lie below it
NEAR = 0.35  # largest distance of a neighbour along any parameter, as a share of its range
_FEWEST_NEIGHBOURS, _MOST_NEIGHBOURS = 4, 12


class PickRule(StrEnum):
    """How one trial is chosen from all."""

    LOWER_BOUND = "lower_bound"  # the highest lower end of the test interval
    KNEE = "knee"  # where the front of profit over inventory bends most
    PLATEAU = "plateau"  # the highest lower end among trials whose neighbours earn as much
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Net profit an hour in `asset` with a 90 % block-bootstrap interval; None where it moved in too few blocks for one."""

    per_hour: float
    low: float | None
    high: float | None
    blocks: int
    moved: int
    block_s: float
    asset: str

    @property
    def distinguishable(self) -> bool:
        """Whether the interval excludes zero; a search over many trials is not allowed for here."""
        return Interval(value=self.per_hour, low=self.low, high=self.high).distinguishable

    @property
    def text(self) -> str:
        """The score as a sentence."""
        blocks = f"{self.blocks} blocks of {self.block_s:g} s"
        found = Interval(value=self.per_hour, low=self.low, high=self.high)
        return hourly(found, self.asset, blocks, f"it moved in {self.moved} of {blocks}, too few for an interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """A trial and those beside it, on the test part.

    Attributes
    ----------
    trial : Trial
    neighbours : tuple of Trial
        The nearest in the space, at most NEAR of a range away, with the same choices; may be empty.
    value : float
        What the trial earns an hour.
    median : float or None
        What its neighbours earn an hour; None without any.
    """

    trial: Trial
    neighbours: tuple[Trial, ...] = field(repr=False)
    value: float
    median: float | None
    asset: str

    @property
    def plateau(self) -> bool:
        """Whether the neighbours' median is within PLATEAU of the trial, or above it."""
        return self.median is not None and self.median >= self.value - PLATEAU * abs(self.value)

    @property
    def words(self) -> str:
        """It in one line."""
        if self.median is None:
            return f"no trial lies near trial {self.trial.number}: whether it is a plateau is not known"
        digits = money_digits(self.value, self.median)
        earn = f"its {len(self.neighbours)} neighbours earn {self.median:+,.{digits}f} {self.asset} per hour"
        return f"plateau: {earn}" if self.plateau else f"fragile: {earn} against its {self.value:+,.{digits}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A trial that a rule has chosen; `gk.export` takes it.

    Attributes
    ----------
    rule : PickRule
    trial : Trial
    score : Score
        On the test part, as measured: it is the best of many, see `Study.luck`.
    window_ns : tuple of int
        First and last exchange time of that part, ns UTC.
    around : Neighbourhood
    seed : int
        Of the study.
    note : str
        What a file should say of it.
    """

    rule: PickRule
    trial: Trial
    score: Score
    window_ns: tuple[int, int]
    around: Neighbourhood = field(repr=False)
    seed: int
    note: str

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.trial.config

    @property
    def fragile(self) -> bool:
        """Whether its neighbours earn clearly less, or nothing is known of them."""
        return not self.around.plateau

    @property
    def words(self) -> str:
        """The pick as text: what, how much, and what is around it."""
        return f"{self.trial.words}: {self.score.text}; {self.around.words}"


# --- numbers ---------------------------------------------------------------------------------------------------------


def block_matrix(outcomes: Sequence[Outcome]) -> Floats:
    """Return blocks as (outcomes, blocks); where one has more full blocks than another, the last of it are left out."""
    shortest = min((len(one.blocks) for one in outcomes), default=0)
    return np.array([one.blocks[:shortest] for one in outcomes], dtype=np.float64).reshape(len(outcomes), shortest)


def hourly_intervals(blocks: Floats, block_s: float) -> tuple[Floats, Floats]:
    """Return the ends of 90 % intervals of profit an hour, each (trials,).

    The same blocks are drawn for all trials. Where a trial earned or lost in too few blocks, its ends are NaN: draws that miss them
    would say that it cannot lose.
    """
    count = blocks.shape[1]
    moved = np.count_nonzero(blocks, axis=1)
    known = moved >= fewest_moved(count)
    low, high = np.full(len(blocks), np.nan), np.full(len(blocks), np.nan)
    if known.any():
        drawn = block_draws(count, RESAMPLES) @ blocks[known].T * (3600 / block_s / count)
        low[known], high[known] = between(drawn)
    return low, high


def known_or_none(value: float) -> float | None:
    """Return a number, None for NaN."""
    return None if np.isnan(value) else float(value)


def coordinates(space: Space, trials: Sequence[Trial]) -> Floats:
    """Return trials as points: ranges run from 0 to 1; different choices are 1 apart, (trials, columns)."""
    places = np.array([trial.places for trial in trials], dtype=np.int64).reshape(len(trials), len(space.dimensions))
    columns = []
    for one, column in zip(space.dimensions, places.T, strict=True):
        if one.choices:
            columns += [(column == choice).astype(np.float64) for choice in range(len(one))]
        else:
            columns.append(column / max(1, len(one) - 1))
    return np.stack(columns, axis=1)


def nearest(points: Floats, dimensions: int) -> list[list[int]]:
    """Return for each row the rows nearest to it, at most NEAR away along any axis: two for each dimension, within limits."""
    from scipy.spatial import cKDTree

    wanted = min(max(2 * dimensions, _FEWEST_NEIGHBOURS), _MOST_NEIGHBOURS)
    asked = min(
        2 * wanted + 1, len(points)
    )  # rows at equal distances come in any order: more of them, then the first by number
    away, rows = cKDTree(points).query(points, k=asked)
    away, rows = away.reshape(len(points), asked), rows.reshape(len(points), asked)
    found = []
    for at in range(len(points)):
        order = np.lexsort((rows[at], away[at].round(9)))
        near = [row for row in rows[at][order].tolist() if row != at and np.abs(points[row] - points[at]).max() <= NEAR]
        found.append(near[:wanted])
    return found


def front(x: Floats, y: Floats) -> list[int]:
    """Return the rows that no other row beats: none has both less `x` and more `y`; by rising `x`."""
    rows, best = [], -np.inf
    for row in np.lexsort((-y, x)).tolist():
        if y[row] > best:
            rows.append(row)
            best = y[row]
    return rows


def knee(x: Floats, y: Floats) -> int:
    """Return the row of the front that lies farthest above the line between its ends; the highest where it is straight."""
    rows = front(x, y)
    if len(rows) < 3:
        return rows[-1]
    u, v = x[rows], y[rows]
    u, v = (u - u[0]) / (u[-1] - u[0]), (v - v[0]) / (v[-1] - v[0])
    return rows[int(np.argmax(v - u))]
