"""What luck explains: the odds that the best of many grids is best by chance.

Everything here reads one array, (trials, blocks): the net profit of each trial in each block of time, as `sweep` returns it in its
column `blocks`. All trials have seen the same market, so that a block is drawn for all of them at once, and trials that are nearly
the same count nearly as one. Include every trial that was looked at: a search that hides its failures proves nothing.

`judge_best` decides: White's reality check (2000) with studentised means, the largest over all trials as in Romano and Wolf (2005).
The deflated Sharpe ratio (Bailey, Lopez de Prado 2014) and the probability of back-test overfitting (Bailey, Borwein, Lopez de
Prado, Zhu 2017) are what others publish; they stand beside it. docs/honesty.md measures how often each errs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.interval import FEWEST_BLOCKS, LEVEL, Floats, Interval, block_draws
from grinder_kit.simulation.verdict import BLOCK_S, money_digits

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    Blocks = ArrayLike | pl.Series

RESAMPLES = 1000
MOST_BLOCKS = 2000  # that are drawn; a longer market is drawn in longer blocks
FEWEST_MOVED = 10  # blocks in which a trial has earned or lost: a draw that misses them says that it cannot vary
CLEARLY = 2.0  # standard errors of the difference, from which a trial is clearly worse than the chosen
PARTS = 16
_ROUNDING = 1e-9  # of the largest profit: less than that is what rounding leaves of nothing
_TRIALS_AT_ONCE, _CELLS_AT_ONCE = 2048, 1 << 15  # larger temporary arrays cost more than what is computed on them
_LEAST_SPREAD = 1e-3  # of a draw, against that of the trial: a draw of equal blocks divides by zero otherwise


def fewest_moved(blocks: int) -> int:
    """Return in how many of so many blocks a trial must have earned or lost to be judged."""
    return max(FEWEST_BLOCKS, min(FEWEST_MOVED, blocks // 2))


def as_blocks(blocks: Blocks) -> Floats:
    """Return net profit by trial and block as an array, (trials, blocks); a column of lists is taken too.

    Raises
    ------
    DataError
        For trials of unequal length, fewer than 5 blocks, no trial, or a number that is not finite.
    """
    rows = blocks.to_list() if isinstance(blocks, pl.Series) else blocks
    try:
        profits = np.asarray(rows, np.float64)
    except (TypeError, ValueError):
        lengths = [len(row) if isinstance(row, Sequence | np.ndarray) else 1 for row in np.asarray(rows, object)]
        other = next((row for row, length in enumerate(lengths) if length != lengths[0]), None)
        if other is None:
            raise DataError("blocks are not numbers; give the net profit of each trial in each block") from None
        raise DataError(
            f"trial {other} has {lengths[other]} blocks, trial 0 has {lengths[0]}; give trials of one market and one window"
        ) from None
    if profits.ndim != 2 or not len(profits):
        raise DataError(
            f"blocks have the shape {profits.shape}; give one row for each trial, one column for each block"
        )
    if profits.shape[1] < FEWEST_BLOCKS:
        raise DataError(
            f"{profits.shape[1]} blocks are too few to tell luck from profit; take a longer market, or shorter blocks "
            f"({FEWEST_BLOCKS} at least)"
        )
    wrong = np.argwhere(~np.isfinite(profits))
    if len(wrong):
        trial, block = wrong[0]
        raise DataError(
            f"the profit of trial {trial} in block {block} is {profits[trial, block]}; every one must be finite"
        )
    return profits


def _row(profits: Floats, chosen: int | None) -> int:
    """Return the row of the chosen trial, by default the most profitable."""
    if chosen is None:
        return int(profits.mean(axis=1).argmax())
    if not 0 <= chosen < len(profits):
        raise ConfigError(f"there is no trial {chosen}; write a row from 0 to {len(profits) - 1}")
    return int(chosen)


def _spread(profits: Floats) -> Floats:
    """Return the standard deviation of each trial's blocks; exactly 0 where they are all equal."""
    spread: Floats = profits.std(axis=1, ddof=1)
    spread[profits.max(axis=1) == profits.min(axis=1)] = 0.0
    return spread


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"


# --- the reality check ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Luck:
    """The chosen of many trials, and what is left of it when the search is allowed for.

    Parameters
    ----------
    per_hour : float
        Net profit as measured, `asset` per hour: of the best of many it is too high.
    shrunk : Interval
        That less the median luck of its rivals: the trials that are not clearly worse, so that luck may have decided; and a 90 %
        interval. Its lower end holds whichever trial is chosen; its upper end is the chosen's own, which a choice for good looks only
        raises. Without ends where the chosen moved in too few blocks.
    odds : float or None
        How often a search with nothing to find shows a trial that looks at least as good.
    trials, rivals, blocks : int
        Trials that were looked at, those among them (the chosen too) that could have been chosen, and blocks of `block_s` seconds.
    moved : int
        Blocks in which the chosen earned or lost anything.
    neighbours : int
        With how many trials it is compared; 0: with zero.
    """

    per_hour: float
    shrunk: Interval
    odds: float | None
    trials: int
    rivals: int
    blocks: int
    moved: int
    neighbours: int = 0
    asset: str = ""
    block_s: float = BLOCK_S

    @property
    def distinguishable(self) -> bool:
        """Whether the interval excludes zero; with nothing to find, it lies above in at most 5 % of searches."""
        return self.shrunk.distinguishable

    @property
    def words(self) -> str:
        """It as a sentence."""
        shrunk = self.shrunk
        digits = money_digits(self.per_hour, shrunk.value, shrunk.low or 0.0, shrunk.high or 0.0)
        found = f"best of {self.trials:,} trials" if self.trials > 1 else "one trial"
        measured = f"{self.per_hour:+,.{digits}f} {self.asset} per hour".replace("  ", " ")
        beside = f" against {self.neighbours} neighbours" if self.neighbours else ""
        blocks = f"{self.blocks} blocks of {self.block_s:g} s"
        if shrunk.low is None or shrunk.high is None or self.odds is None:
            return f"{found}: {measured}{beside}; it moved in {self.moved} of {blocks}, too few to judge it"
        left = f"{shrunk.value:+,.{digits}f} [{shrunk.low:+,.{digits}f}, {shrunk.high:+,.{digits}f}]"
        verdicts = ("better than they are", "worse than they are") if self.neighbours else ("earns", "loses")
        verdict = f"not distinguishable from {'them' if self.neighbours else 'zero'}"
        if self.distinguishable:
            verdict = verdicts[shrunk.low < 0]
        return (
            f"{found}: {measured}{beside}; after the search {left}, {verdict}; a search with nothing to find looks as good in "
            f"{_percent(self.odds)} of cases ({blocks}, 90 % interval)"
        )


def judge_best(blocks: Blocks, chosen: int | None = None, *, asset: str = "", block_s: float = BLOCK_S) -> Luck:
    """Return whether the chosen trial earns, after a search over all trials.

    Blocks are drawn with replacement, for all trials together. In each draw the largest studentised mean of the centred trials is
    what a search finds where there is nothing. Each draw has its own spread (bootstrap-t), for grids win often and little, and
    lose seldom and much: with one spread for all draws, or with random signs, luck is called profit too often.

    Parameters
    ----------
    blocks : array-like
        (trials, blocks), net profit. Blocks are taken to be independent of each other.
    chosen : int, optional
        Its row; by default the most profitable.
    asset : str
        Unit of the profit.
    block_s : float
        Length of a block, s.

    Raises
    ------
    ConfigError
        For a row that is not there.
    DataError
        As `as_blocks`.
    """
    profits = as_blocks(blocks)
    return _judge(profits, _row(profits, chosen), asset, block_s)


def against_neighbours(
    blocks: Blocks,
    neighbours: Sequence[Sequence[int]],
    chosen: int | None = None,
    *,
    asset: str = "",
    block_s: float = BLOCK_S,
) -> Luck:
    """Return whether the chosen trial earns more than the mean of its neighbours, after a search over all trials.

    The best of a search stands above its neighbours by its luck, so that every trial is compared with its own neighbours.

    Parameters
    ----------
    blocks, chosen, asset, block_s
        As in `judge_best`.
    neighbours : sequence of sequence of int
        For each trial the rows of those beside it; may be empty, but not for the chosen.

    Raises
    ------
    ConfigError
        For another number of lists than trials, no neighbours of the chosen, a row that is not there, or a trial beside itself.
    DataError
        As `as_blocks`.
    """
    profits = as_blocks(blocks)
    row = _row(profits, chosen)
    if len(neighbours) != len(profits):
        raise ConfigError(
            f"there are neighbours for {len(neighbours)} trials and {len(profits)} trials; give a list for each"
        )
    if not len(neighbours[row]):
        raise ConfigError(f"trial {row} has no neighbours; give the rows of the trials beside it")
    above = np.zeros_like(profits)  # a trial without neighbours does not move against them, and is not judged
    for trial, beside in enumerate(neighbours):
        if len(beside):
            rows = [_row(profits, int(other)) for other in beside]
            if trial in rows:
                raise ConfigError(f"trial {trial} is beside itself; take it out of its neighbours")
            above[trial] = profits[trial] - profits[rows].mean(axis=0)
    above[np.abs(above) <= _ROUNDING * np.abs(profits).max()] = 0.0  # trials that are the same
    return _judge(above, row, asset, block_s, neighbours=len(neighbours[row]))


def _judge(profits: Floats, row: int, asset: str, block_s: float, neighbours: int = 0) -> Luck:
    trials, count = profits.shape
    hourly = 3600 / block_s
    moved = np.count_nonzero(np.abs(profits) > _ROUNDING * np.abs(profits).max(), axis=1)
    judged = (moved >= fewest_moved(count)) & (_spread(profits) > 0)
    mean = float(profits[row].mean())
    shrunk, odds, rivals = Interval(value=mean * hourly), None, 1
    if judged[row]:
        joined = _joined(profits)
        error = float(_spread(joined[row : row + 1])[0]) / math.sqrt(joined.shape[1])
        own = int(np.count_nonzero(judged[:row]))
        rival = _rivals(joined[judged], own)
        luckiest, among_rivals, alone = _luckiest(joined[judged], rival, own)
        middle, most = np.median(among_rivals), np.quantile(luckiest, (1 + LEVEL) / 2)
        least = np.quantile(alone, (1 - LEVEL) / 2)
        value, low, high = (float(mean - luck * error) * hourly for luck in (middle, most, least))
        shrunk = Interval(value=value, low=low, high=high)
        rivals = int(np.count_nonzero(rival))
        odds = float((1 + np.count_nonzero(luckiest * error >= mean)) / (1 + RESAMPLES))
    return Luck(
        per_hour=mean * hourly, shrunk=shrunk, odds=odds, rivals=rivals, trials=trials, blocks=count, moved=int(moved[row]),
        neighbours=neighbours, asset=asset, block_s=block_s,
    )  # fmt: skip


def _joined(profits: Floats) -> Floats:
    """Return means over stretches of blocks, so that there are not too many; what is left at the end is left out."""
    width = -(-profits.shape[1] // MOST_BLOCKS)
    stretches = profits.shape[1] // width
    joined: Floats = profits[:, : stretches * width].reshape(len(profits), stretches, width).mean(axis=2)
    return joined


def _rivals(profits: Floats, row: int) -> npt.NDArray[np.bool_]:
    """Return which trials luck could have made the chosen one: those that are not clearly worse, block by block."""
    less = profits[row] - profits
    rivals: npt.NDArray[np.bool_] = less.mean(axis=1) * math.sqrt(profits.shape[1]) <= CLEARLY * _spread(less)
    return rivals


def _luckiest(profits: Floats, rivals: npt.NDArray[np.bool_], row: int) -> tuple[Floats, Floats, Floats]:
    """Return by draw the highest of the centred trials' means, in standard errors; that of the rivals; and that of one row."""
    count = profits.shape[1]
    times = block_draws(count, RESAMPLES)
    highest, among_rivals = np.full(RESAMPLES, -np.inf), np.full(RESAMPLES, -np.inf)
    own = np.zeros(RESAMPLES)
    for start in range(0, len(profits), _TRIALS_AT_ONCE):
        some, rival = profits[start : start + _TRIALS_AT_ONCE], rivals[start : start + _TRIALS_AT_ONCE]
        centred = some - some.mean(axis=1, keepdims=True)
        mean = times @ centred.T / count
        variance = (times @ (centred**2).T / count - mean**2) * (count / (count - 1))
        least = (_LEAST_SPREAD * _spread(some)) ** 2
        drawn = mean * math.sqrt(count) / np.sqrt(np.maximum(variance, least))
        np.maximum(highest, drawn.max(axis=1), out=highest)
        np.maximum(among_rivals, drawn[:, rival].max(axis=1, initial=-np.inf), out=among_rivals)
        if start <= row < start + len(some):
            own = drawn[:, row - start]
    return highest, among_rivals, own


# --- the deflated Sharpe ratio -------------------------------------------------------------------------------------------


def sharpe(blocks: Blocks) -> Floats:
    """Return the Sharpe ratio of each trial, by block and not annualised; 0 where all its blocks are equal.

    Raises
    ------
    DataError
        As `as_blocks`.
    """
    profits = as_blocks(blocks)
    spread = _spread(profits)
    ratios = np.zeros(len(profits))
    np.divide(profits.mean(axis=1), spread, out=ratios, where=spread > 0)
    return ratios


@dataclass(frozen=True, slots=True, kw_only=True)
class DeflatedSharpe:
    """The chosen's Sharpe ratio against that of the best of a search with nothing to find.

    Parameters
    ----------
    sharpe : float
        By block.
    expected : float
        What the best of `independent` trials without an edge shows on average.
    deflated : float
        Probability that the true ratio is above `expected`, given skew, kurtosis and length; .95 is usually asked for.
    trials : int
        That were looked at.
    independent : float
        Effective number of independent ones, from their mean correlation.
    skew, kurtosis : float
        Of the chosen's blocks; a normal distribution has 0 and 3.
    blocks : int
    """

    sharpe: float
    expected: float
    deflated: float
    trials: int
    independent: float
    skew: float
    kurtosis: float
    blocks: int

    @property
    def words(self) -> str:
        """It as a sentence."""
        return (
            f"Sharpe ratio {self.sharpe:.2f} by block, {self.expected:.2f} expected of the best of {self.trials:,} trials "
            f"({self.independent:,.1f} independent ones) with nothing to find; deflated {self.deflated:.2f}"
        )


def deflated_sharpe(blocks: Blocks, chosen: int | None = None) -> DeflatedSharpe:
    """Return the deflated Sharpe ratio of the chosen trial.

    The effective number of independent trials is r + (1 - r) n with the mean correlation r (appendix 3 of the paper). Trials that
    never moved are no trials in this.

    Parameters
    ----------
    blocks : array-like
        (trials, blocks), net profit.
    chosen : int, optional
        Its row; by default the most profitable.

    Raises
    ------
    ConfigError
        For a row that is not there.
    DataError
        For fewer than two trials; and as `as_blocks`.
    """
    profits = as_blocks(blocks)
    row = _row(profits, chosen)
    _several(profits, "has no expected maximum")
    ratios, moving = sharpe(profits), _spread(profits) > 0
    independent = _independent(profits[moving])
    expected = expected_best(independent, float(ratios.var(ddof=1)))
    own = profits[row] - profits[row].mean()
    second = float((own**2).mean()) if moving[row] else 1.0
    skew, kurtosis = float((own**3).mean()) / second**1.5, float((own**4).mean()) / second**2
    skew, kurtosis = (skew, kurtosis) if moving[row] else (0.0, 3.0)
    ratio, count = float(ratios[row]), profits.shape[1]
    return DeflatedSharpe(
        sharpe=ratio, expected=expected, deflated=probabilistic_sharpe(ratio, expected, count, skew, kurtosis),
        trials=len(profits), independent=independent, skew=skew, kurtosis=kurtosis, blocks=count,
    )  # fmt: skip


def expected_best(independent: float, variance: float) -> float:
    """Return the expected maximum of so many independent Sharpe ratios around zero, given their variance; not below 0.

    Examples
    --------
    >>> round(expected_best(100, 1 / 500), 4)
    0.1132
    """
    from scipy.special import ndtri

    if independent <= 1:
        return 0.0
    gamma = np.euler_gamma
    most = (1 - gamma) * ndtri(1 - 1 / independent) + gamma * ndtri(1 - 1 / (independent * math.e))
    return max(0.0, math.sqrt(variance) * float(most))


def probabilistic_sharpe(ratio: float, against: float, blocks: int, skew: float = 0.0, kurtosis: float = 3.0) -> float:
    """Return the probability that a true Sharpe ratio is above another, given one that was measured (Bailey, Lopez de Prado 2012).

    Examples
    --------
    The worked example of 2014: 2.5 a year over 1,250 days, the best of 100 trials.

    >>> daily = 2.5 / 250**0.5
    >>> round(probabilistic_sharpe(daily, expected_best(100, 1 / 500), 1250, skew=-3, kurtosis=10), 4)
    0.9004
    """
    from scipy.special import ndtr

    spread = math.sqrt(max(1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2, 1e-12))
    return float(ndtr((ratio - against) * math.sqrt(blocks - 1) / spread))


def _several(profits: Floats, lack: str) -> None:
    if len(profits) < 2:
        raise DataError(f"one trial {lack}; give every trial that was looked at, two at least")


def _independent(moving: Floats) -> float:
    """Return the effective number of independent trials of those that have moved; correlations need no matrix of them."""
    count = len(moving)
    if count < 2:
        return float(count)
    standard = moving - moving.mean(axis=1, keepdims=True)
    standard /= standard.std(axis=1, keepdims=True)
    correlation = ((standard.sum(axis=0) ** 2).mean() - count) / (count * (count - 1))
    correlation = min(max(float(correlation), 0.0), 1.0)
    return correlation + (1 - correlation) * count


# --- overfitting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Overfitting:
    """How the best in one half of the time does in the other, over every way to halve it (CSCV).

    Parameters
    ----------
    probability : float
        Share of the ways in which it is not above the median there: the probability of back-test overfitting. About a half with
        nothing to find.
    loss : float
        Share of the ways in which it loses there.
    trials, parts, splits : int
        Trials that were looked at, parts of the time, and ways to take half of them.
    """

    probability: float
    loss: float
    trials: int
    parts: int
    splits: int

    @property
    def words(self) -> str:
        """It as a sentence."""
        return (
            f"the best of {self.trials:,} trials in one half of the time is not above the median in the other in "
            f"{_percent(self.probability)} of {self.splits:,} ways to halve it, and loses there in {_percent(self.loss)}"
        )


def overfitting(blocks: Blocks, parts: int = PARTS) -> Overfitting:
    """Return the probability of back-test overfitting.

    Trials are ranked by their Sharpe ratio; those that are equal share their rank.

    Parameters
    ----------
    blocks : array-like
        (trials, blocks), net profit.
    parts : int
        Of about equal length, even, 4 at least; with fewer blocks than that as many parts as there are, less one if odd.

    Raises
    ------
    ConfigError
        For another number of parts.
    DataError
        For fewer than two trials; and as `as_blocks`.
    """
    if parts < 4 or parts % 2:
        raise ConfigError(f"parts is {parts}; write an even number, 4 at least, such as {PARTS}")
    profits = as_blocks(blocks)
    _several(profits, "has no rank")
    count = profits.shape[1]
    parts = min(parts, count - count % 2)
    edges = np.linspace(0, count, parts, endpoint=False).astype(np.int64)
    lengths = np.diff(np.append(edges, count)).astype(np.float64)
    sums, squares = (np.add.reduceat(table, edges, axis=1).T for table in (profits, profits**2))
    splits = below = losses = 0
    for taken in _halves(parts, max(1, _CELLS_AT_ONCE // len(profits))):
        halves = [_ratios(half, sums, squares, lengths) for half in (taken, 1 - taken)]
        for inside, outside in (halves, halves[::-1]):
            best = outside[np.arange(len(outside)), inside.argmax(axis=1)]
            # Twice the mean rank of the best among all, from 2; the median is at trials + 1.
            rank = (outside < best[:, None]).sum(axis=1) + (outside <= best[:, None]).sum(axis=1) + 1
            splits += len(best)
            below += int((rank <= len(profits) + 1).sum())
            losses += int((best < 0).sum())
    return Overfitting(
        probability=below / splits, loss=losses / splits, trials=len(profits), parts=parts, splits=splits
    )


def _halves(parts: int, at_once: int) -> Iterator[Floats]:
    """Yield the ways to take half of the parts, (ways, parts) of 0 and 1, `at_once` at a time; each stands for its complement too."""
    ways = (way for way in combinations(range(parts), parts // 2) if way[0] == 0)
    while some := list(islice(ways, at_once)):
        taken = np.zeros((len(some), parts))
        np.put_along_axis(taken, np.array(some), 1.0, axis=1)
        yield taken


def _ratios(taken: Floats, sums: Floats, squares: Floats, lengths: Floats) -> Floats:
    """Return the Sharpe ratio of every trial, (ways, trials), in the parts that each way takes."""
    count = (taken @ lengths)[:, None]
    mean, square = taken @ sums / count, taken @ squares / count
    variance = square - mean**2
    ratios = np.zeros_like(mean)
    # What rounding leaves of equal blocks is no spread.
    np.divide(mean, np.sqrt(np.maximum(variance, 0.0)), out=ratios, where=variance > 1e-12 * square)
    return ratios
