"""What luck explains: published values, plain loops as references, and what must not change an answer."""

from __future__ import annotations

import dataclasses
import math
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.interval import FEWEST_BLOCKS, block_draws
from grinder_kit.simulation.sweep import sweep
from grinder_kit.tuning.honesty import (
    MOST_BLOCKS,
    RESAMPLES,
    Luck,
    against_neighbours,
    as_blocks,
    deflated_sharpe,
    expected_best,
    judge_best,
    overfitting,
    probabilistic_sharpe,
    sharpe,
)
from tests.simulation.markets import CONFIG, round_trip

Floats = npt.NDArray[np.float64]


def profits(trials: int, blocks: int, seed: int = 0) -> Floats:
    """Return random numbers."""
    return np.random.default_rng(seed).normal(size=(trials, blocks))


# --- the reality check ---------------------------------------------------------------------------------------------------


def test_the_interval_is_that_of_a_plain_loop() -> None:
    """Ends, shrunk value and odds are those of centred trials, drawn block by block, the largest studentised mean of each draw."""
    blocks = profits(7, 12) + 0.3
    blocks[4] += 0.6
    chosen, root = 4, math.sqrt(12)
    less = blocks[chosen] - blocks
    worse = less.mean(axis=1) * root > 2 * less.std(axis=1, ddof=1)
    highest, rivals, own = [], [], []
    for times in block_draws(12, RESAMPLES).astype(int):
        drawn = np.repeat(blocks - blocks.mean(axis=1, keepdims=True), times, axis=1)
        risen = drawn.mean(axis=1) * root / drawn.std(axis=1, ddof=1)
        highest.append(risen.max())
        rivals.append(risen[~worse].max())
        own.append(risen[chosen])
    mean, error = blocks[chosen].mean(), blocks[chosen].std(ddof=1) / root
    luck = judge_best(blocks, chosen)
    assert 1 < luck.rivals == 7 - worse.sum() < 7
    assert luck.per_hour == pytest.approx(60 * mean)
    assert luck.shrunk.value == pytest.approx(60 * (mean - np.median(rivals) * error))
    assert luck.shrunk.low == pytest.approx(60 * (mean - np.quantile(highest, 0.95) * error))
    assert luck.shrunk.high == pytest.approx(60 * (mean - np.quantile(own, 0.05) * error))
    assert luck.odds == pytest.approx((1 + sum(one >= mean / error for one in highest)) / (1 + RESAMPLES))


@settings(max_examples=25)
@given(seed=st.integers(0, 99), factor=st.floats(1e-6, 1e6))
def test_the_unit_of_money_changes_nothing(seed: int, factor: float) -> None:
    """Profits in another unit give the same odds, and values in that unit."""
    blocks = profits(5, 20, seed)
    one, other = judge_best(blocks), judge_best(blocks * factor)
    assert other.odds == one.odds
    assert other.shrunk.value == pytest.approx(one.shrunk.value * factor, rel=1e-9)


@settings(max_examples=25)
@given(seed=st.integers(0, 99))
def test_more_of_the_same_is_no_further_search(seed: int) -> None:
    """Copies of trials, their order and grids that never traded change nothing; trials of another kind cost."""
    blocks = profits(6, 20, seed)
    best = int(blocks.mean(axis=1).argmax())
    luck = judge_best(blocks)
    copies = judge_best(np.vstack([blocks, blocks[::-1], np.zeros((5, 20))]), best)
    assert dataclasses.astuple(copies.shrunk) == pytest.approx(dataclasses.astuple(luck.shrunk))
    assert copies.odds == luck.odds
    assert copies.trials == 17
    wider = judge_best(np.vstack([blocks, profits(60, 20, seed + 1000)]), best)
    assert wider.shrunk.low is not None
    assert luck.shrunk.low is not None
    assert wider.shrunk.low < luck.shrunk.low
    assert wider.shrunk.value <= luck.shrunk.value
    assert wider.shrunk.high == pytest.approx(luck.shrunk.high)


def test_what_is_clearly_worse_takes_nothing_away() -> None:
    """Losers raise the bar of the verdict a little, and leave the value of a clear winner as it was measured."""
    blocks = profits(40, 60)
    blocks[5] += 5
    luck = judge_best(blocks)
    assert luck.rivals == 1
    assert luck.shrunk.value == pytest.approx(luck.per_hour, rel=0.01)
    assert judge_best(blocks - 5 * (np.arange(40) == 5)[:, None]).rivals > 10


def test_one_trial_needs_no_search() -> None:
    """A grid that was chosen beforehand keeps its profit: nine in ten intervals hold the truth, though blocks are few and skewed."""
    held, shift = 0, []
    for seed in range(300):
        blocks = 1.0 - np.random.default_rng(seed).exponential(size=(1, 15)) + 0.5
        luck = judge_best(blocks, block_s=3600)
        assert luck.shrunk.low is not None
        assert luck.shrunk.high is not None
        held += luck.shrunk.low <= 0.5 <= luck.shrunk.high
        shift.append(luck.shrunk.value - luck.per_hour)
    assert 0.85 <= held / 300 <= 0.95
    assert abs(np.mean(shift)) < 0.05


def test_a_trial_that_hardly_moved_is_not_judged() -> None:
    """A grid with profit in three blocks of 30 has no interval and says why; neither does it raise the bar for others."""
    blocks = profits(4, 30)
    lonely = np.zeros((1, 30))
    lonely[0, 3:6] = 50.0
    luck = judge_best(np.vstack([blocks, lonely]))
    assert luck.shrunk.low is None
    assert luck.odds is None
    assert not luck.distinguishable
    assert "it moved in 3 of 30 blocks of 60 s, too few to judge it" in luck.words
    assert judge_best(np.vstack([blocks, -lonely]), 2).odds == judge_best(blocks, 2).odds


def test_a_long_market_is_drawn_in_longer_blocks() -> None:
    """Beyond the most blocks that are drawn, profit stays per hour and the interval that of the same data."""
    blocks = profits(3, 3 * MOST_BLOCKS) + 0.01
    long, short = judge_best(blocks), judge_best(blocks.reshape(3, MOST_BLOCKS, 3).sum(axis=2), block_s=180)
    assert long.per_hour == pytest.approx(short.per_hour)
    assert long.shrunk.value == pytest.approx(short.shrunk.value)
    assert long.blocks == 3 * MOST_BLOCKS


def test_the_best_is_compared_with_its_neighbours() -> None:
    """A lonely peak is better than its neighbours; the top of a plateau is not told from them."""
    rng = np.random.default_rng(3)
    beside = [[row for row in (trial - 1, trial + 1) if 0 <= row < 20] for trial in range(20)]
    common = rng.normal(size=60)
    flat = 0.2 * rng.normal(size=(20, 60)) + common + 1
    peak = flat.copy()
    peak[8] += 0.5
    assert against_neighbours(peak, beside).distinguishable
    assert not against_neighbours(flat, beside).distinguishable
    luck = against_neighbours(peak, beside, 8, asset="USDT")
    assert luck.per_hour == pytest.approx(60 * (peak[8] - peak[[7, 9]].mean(axis=0)).mean())
    assert "against 2 neighbours" in luck.words
    assert "better than they are" in luck.words
    assert "not distinguishable from them" in against_neighbours(flat, beside).words


def test_rounding_is_no_profit() -> None:
    """What rounding leaves of nothing is nothing: blocks without a position, and a trial less others that are the same."""
    blocks = profits(4, 30)
    still = np.full((1, 30), 1e-13)
    still[0, :3] = 1.0
    assert judge_best(np.vstack([blocks, still]), 4).moved == 3
    same = np.tile(profits(1, 30), (4, 1)) * 1.1
    luck = against_neighbours(same, [[other for other in range(4) if other != trial] for trial in range(4)])
    assert luck.moved == 0
    assert not luck.distinguishable


def test_words() -> None:
    """The sentence has the search, the measured profit, what is left of it, and the odds."""
    blocks = profits(200, 27)
    assert judge_best(blocks, asset="USDT").words == (
        "best of 200 trials: +34.75 USDT per hour; after the search +7.18 [-10.67, +56.01], not distinguishable from zero; "
        "a search with nothing to find looks as good in 33 % of cases (27 blocks of 60 s, 90 % interval)"
    )
    assert (
        ", earns; a search with nothing to find looks as good in less than 1 % of cases" in judge_best(blocks + 9).words
    )
    assert ", loses; " in judge_best(blocks - 9).words
    assert judge_best(blocks[:1] + 9, asset="BTC").words.startswith("one trial: +5")
    assert "+0.0" in judge_best(blocks / 1e6, asset="BTC").words
    assert "." in judge_best(blocks / 1e3, asset="BTC").words


# --- the deflated Sharpe ratio -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trials", "skew", "kurtosis", "deflated"), [(100, -3, 10, 0.9004), (46, -3, 10, 0.9505), (88, 0, 3, 0.9505)]
)
def test_the_published_example(trials: int, skew: float, kurtosis: float, deflated: float) -> None:
    """Bailey and Lopez de Prado (2014): 2.5 a year over five years of days, the variance of trials a half a year."""
    expected = expected_best(trials, 0.5 / 250)
    found = probabilistic_sharpe(2.5 / math.sqrt(250), expected, 1250, skew=skew, kurtosis=kurtosis)
    assert found == pytest.approx(deflated, abs=5e-5)


def test_the_expected_best_is_that_of_normal_numbers() -> None:
    """The formula is within 2 % of the mean maximum of 10, 100 and 1,000 normal numbers."""
    rng = np.random.default_rng(0)
    for trials in (10, 100, 1000):
        drawn = rng.normal(size=(4000, trials)).max(axis=1).mean()
        assert expected_best(trials, 1.0) == pytest.approx(drawn, rel=0.02)
    assert expected_best(1, 1.0) == expected_best(1.05, 1.0) == 0.0


def test_the_deflated_ratio_comes_from_the_blocks() -> None:
    """Ratio, moments, variance of trials and effective number are those of textbook formulas over the array."""
    blocks = profits(30, 50) + 0.7 * profits(1, 50, seed=5)
    chosen = 11
    found, own = deflated_sharpe(blocks, chosen), blocks[chosen]
    correlation = (np.corrcoef(blocks).sum() - 30) / (30 * 29)
    standard = (own - own.mean()) / own.std()
    ratios = blocks.mean(axis=1) / blocks.std(axis=1, ddof=1)
    assert found.independent == pytest.approx(correlation + (1 - correlation) * 30)
    assert found.sharpe == pytest.approx(ratios[chosen])
    assert (found.skew, found.kurtosis) == pytest.approx(((standard**3).mean(), (standard**4).mean()))
    assert found.expected == pytest.approx(expected_best(found.independent, ratios.var(ddof=1)))
    assert found.deflated == pytest.approx(
        probabilistic_sharpe(found.sharpe, found.expected, 50, found.skew, found.kurtosis)
    )
    assert "30 trials" in found.words
    assert deflated_sharpe(blocks).sharpe == pytest.approx(ratios[blocks.mean(axis=1).argmax()])


def test_copies_are_one_trial_and_idle_ones_none() -> None:
    """Twenty copies count as one independent trial; a grid that never traded has a ratio of 0 and counts as none."""
    copies = np.tile(profits(1, 40), (20, 1))
    assert deflated_sharpe(copies).independent == pytest.approx(1.0)
    idle = np.vstack([profits(4, 40), np.zeros((10, 40))])
    assert deflated_sharpe(idle).independent <= 4.0
    assert deflated_sharpe(idle, 9).sharpe == 0.0
    assert sharpe(np.full((1, 9), 0.1))[0] == 0.0


# --- overfitting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trials", "count", "parts"), [(5, 24, 6), (6, 13, 6), (4, 7, 16)])
def test_overfitting_is_that_of_a_plain_loop(trials: int, count: int, parts: int) -> None:
    """Every way to take half of the parts, the best there, and its rank in the rest; parts of unequal length too."""
    blocks = profits(trials, count, seed=trials)
    parts = min(parts, count - count % 2)
    edges = [count * part // parts for part in range(parts + 1)]
    logits, losses = [], []
    for taken in combinations(range(parts), parts // 2):
        inside = np.zeros(count, bool)
        for part in taken:
            inside[edges[part] : edges[part + 1]] = True
        ratio = [blocks[:, half].mean(axis=1) / blocks[:, half].std(axis=1) for half in (inside, ~inside)]
        best = int(ratio[0].argmax())
        share = ((ratio[1] <= ratio[1][best]).sum()) / (trials + 1)
        logits.append(math.log(share / (1 - share)))
        losses.append(ratio[1][best] < 0)
    found = overfitting(blocks, parts if count >= parts else 16)
    assert found.splits == len(logits)
    assert found.parts == parts
    assert found.probability == pytest.approx(np.mean([logit <= 1e-12 for logit in logits]))
    assert found.loss == pytest.approx(np.mean(losses))


def test_an_edge_is_no_overfitting_and_noise_is() -> None:
    """A trial with a clear edge is best in every half; of noise the best of one half is below the median of the other half the time."""
    blocks = profits(50, 64)
    blocks[7] += 2
    found = overfitting(blocks)
    assert (found.probability, found.loss, found.splits) == (0.0, 0.0, 12_870)
    noise = [overfitting(profits(20, 64, seed), parts=8).probability for seed in range(100)]
    assert 0.45 <= np.mean(noise) <= 0.6


def test_equal_trials_share_their_rank() -> None:
    """Where all trials are the same, the best is at the median and not above it."""
    assert overfitting(np.tile(profits(1, 20), (9, 1))).probability == 1.0
    assert overfitting(np.vstack([profits(1, 20) + 5, np.zeros((8, 20))])).probability == 0.0


# --- bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [judge_best, deflated_sharpe, overfitting, sharpe])
@pytest.mark.parametrize(
    ("blocks", "error"),
    [
        (
            [[1.0] * 4] * 3,
            "4 blocks are too few to tell luck from profit; take a longer market, or shorter blocks (5 at least)",
        ),
        (
            [[1.0] * 9, [1.0] * 9, [1.0] * 8],
            "trial 2 has 8 blocks, trial 0 has 9; give trials of one market and one window",
        ),
        ([[1.0] * 9, [1.0] * 3 + [math.nan] * 6], "the profit of trial 1 in block 3 is nan; every one must be finite"),
        ([[1.0, math.inf, 0, 0, 0]] * 2, "the profit of trial 0 in block 1 is inf"),
        ([1.0] * 9, "blocks have the shape (9,); give one row for each trial"),
        ([], "blocks have the shape (0,)"),
        ([["x"] * 9], "blocks are not numbers"),
    ],
)
def test_bad_blocks_are_refused(call: Any, blocks: Any, error: str) -> None:
    """Each function says what is wrong with its blocks, where, and what to give."""
    with pytest.raises(DataError) as raised:
        call(blocks)
    assert str(raised.value).startswith(error)


def test_bad_questions_are_refused() -> None:
    """A row that is not there, one trial where several are needed, parts that cannot be halved, neighbours that are none."""
    blocks = profits(3, 9)
    with pytest.raises(ConfigError, match=r"there is no trial 3; write a row from 0 to 2"):
        judge_best(blocks, 3)
    with pytest.raises(ConfigError, match="there is no trial -1"):
        deflated_sharpe(blocks, -1)
    for call in (deflated_sharpe, overfitting):
        with pytest.raises(DataError, match="give every trial that was looked at, two at least"):
            call(blocks[:1])
    for parts in (0, 2, 7):
        with pytest.raises(ConfigError, match=f"parts is {parts}; write an even number, 4 at least"):
            overfitting(blocks, parts)
    for beside, error in (
        ([[1], [0]], "neighbours for 2 trials and 3 trials"),
        ([[], [0], [1]], "trial 0 has no neighbours"),
        ([[1], [5], [1]], "there is no trial 5"),
        ([[1], [1], [1]], "trial 1 is beside itself"),
    ):
        with pytest.raises(ConfigError, match=error):
            against_neighbours(blocks, beside, 0)


def test_the_column_of_a_sweep_is_taken_as_it_is() -> None:
    """Blocks come from `sweep` as a column of lists, and from NumPy; answers are frozen."""
    table = sweep(round_trip().market(), [CONFIG, CONFIG], block_s=1)
    blocks = as_blocks(table["blocks"].to_list())
    assert blocks.shape[0] == 2
    assert blocks.shape[1] >= FEWEST_BLOCKS
    assert np.array_equal(as_blocks(table["blocks"]), blocks)
    with pytest.raises(DataError, match="trial 1 has 2 blocks, trial 0 has 5"):
        as_blocks(pl.Series([[0.0] * 5, [0.0] * 2]))
    assert np.array_equal(as_blocks(blocks), blocks)
    luck = judge_best(blocks, block_s=1)
    assert isinstance(luck, Luck)
    with pytest.raises(dataclasses.FrozenInstanceError):
        luck.trials = 1  # type: ignore[misc]
