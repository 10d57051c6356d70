"""How often luck is believed where there is nothing to find, and whether an edge is found: the page's script, in small."""

from __future__ import annotations

import importlib.util
import math
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from grinder_kit.fillprob.interval import block_draws
from grinder_kit.tuning.honesty import against_neighbours, judge_best, sharpe

STATED = 0.05


@pytest.fixture(scope="module")
def page(root: Path) -> ModuleType:
    """Return docs/make_honesty.py."""
    spec = importlib.util.spec_from_file_location("make_honesty", root / "docs" / "make_honesty.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def swept(page: ModuleType) -> npt.NDArray[np.float64]:
    """Return the profits of a real sweep."""
    return page.swept_profits(minutes=60, spacings=(10, 20, 40))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["noise", "signs_drawn", "centred"])
def test_nothing_to_find_is_rarely_believed(page: ModuleType, swept: npt.NDArray[np.float64], name: str) -> None:
    """In 100 worlds without an edge the best of all trials is called a winner in at most 5 %, its own interval in many more."""
    world = partial(page.noise, trials=80) if name == "noise" else getattr(page, name)(swept)
    wrong, _ = page.believed(world, 24, halves=False)
    after, alone = wrong["after the search"], wrong["its own interval"]
    assert after.share <= STATED, after.words
    assert after.of == 100
    assert alone.interval[0] > 2 * STATED, alone.words


def test_an_edge_is_found(page: ModuleType, swept: npt.NDArray[np.float64]) -> None:
    """An edge of six standard errors in one of many trials is found, of four where that trial was known beforehand."""
    world = page.signs_drawn(swept)
    assert page.planted(world, 48, 6, seeds=30).rate.share >= 0.9
    assert page.planted(world, 48, 4, seeds=30, alone=True).rate.share >= 0.9


def test_what_is_left_of_the_best_is_near_the_truth(page: ModuleType, swept: npt.NDArray[np.float64]) -> None:
    """Where there is nothing to find, the best is measured a standard error or more too high, and after the search about right."""
    found = page.planted(page.signs_drawn(swept), 48, 0, seeds=100)
    assert found.measured > 1
    assert abs(found.shrunk) < 0.3


def test_a_peak_of_luck_is_not_better_than_its_neighbours(page: ModuleType) -> None:
    """The best of smooth noise stands above its neighbours by luck; in 100 worlds that is believed in at most 5 %."""
    beside = [[row for row in (t - 2, t - 1, t + 1, t + 2) if 0 <= row < 80] for t in range(80)]
    wrong = 0
    for seed in range(100):
        blocks = page.noise(np.random.default_rng(seed), 40, trials=80)
        against = np.array([blocks[t] - blocks[rows].mean(axis=0) for t, rows in enumerate(beside)])
        luck = against_neighbours(blocks, beside, int(sharpe(against).argmax()))
        wrong += luck.distinguishable and luck.shrunk.value > 0
    assert wrong <= 100 * STATED


def test_many_small_gains_and_seldom_a_loss_are_not_believed() -> None:
    """Skewed as grids are, 200 trials and 20 blocks: believed in at most 5 % of worlds; with one spread for all draws in a third."""
    wrong = with_one_spread = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        blocks = 1 - rng.exponential(size=(200, 20))
        best = int(sharpe(blocks).argmax())
        luck = judge_best(blocks, best)
        wrong += luck.distinguishable and luck.shrunk.value > 0
        error = blocks.std(axis=1, ddof=1) / math.sqrt(20)
        centred = blocks - blocks.mean(axis=1, keepdims=True)
        highest = (block_draws(20, 200) @ centred.T / 20 / error).max(axis=1)
        with_one_spread += blocks[best].mean() / error[best] > np.quantile(highest, 0.95)
    assert wrong <= 100 * STATED
    assert with_one_spread > 33
