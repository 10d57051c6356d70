"""What notebooks and sessions run, compiled: where a test looks at the clock, it is not the compiler that it looks at."""

from __future__ import annotations

import functools

import grinder_kit as gk


@functools.cache
def compile_once() -> None:
    """Call what is compiled on its first call on a machine; a minute or two there, and a second afterwards."""
    market = gk.synthetic_market(seed=7, minutes=1)
    grid = gk.GridConfig(spacing_bps=4, levels=3, size="0.01")
    filtered = grid.replace(min_fill_prob=0.2)
    for one in (grid, filtered):
        for engine in ("event", None):
            gk.replay(market, one, engine=engine)
    model = gk.FirstPassageModel()
    gk.replay(market, filtered, model=model)
    gk.sweep(market, [grid, filtered], model=model)
    train, test = gk.label(gk.synthetic_market(seed=7, minutes=5)).split(0.5)
    model.fit(train).score(test)
