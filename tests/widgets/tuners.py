"""A study for tests of the grid tuner, made once."""

from __future__ import annotations

from functools import lru_cache

import grinder_kit as gk
from grinder_kit.market.synthetic import SyntheticMarket
from grinder_kit.tuning.study import Study
from grinder_widgets.tuner_view import Tuned

MINUTES = 6
GRID = gk.GridConfig(spacing_bps=8, levels=6, size="0.002")
SPACE = gk.Space(spacing_bps=(2, 30, 0.5), levels=(2, 12))


@lru_cache
def market() -> SyntheticMarket:
    """Return the market of the study."""
    return gk.synthetic_market(seed=7, minutes=MINUTES)


@lru_cache
def study() -> Study:
    """Return a study of two parameters."""
    return gk.tune(market(), GRID, SPACE, trials=80, design="random", progress=False)


@lru_cache
def tuned() -> Tuned:
    """Return it as a tuner asks it."""
    return Tuned(study())
