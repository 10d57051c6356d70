"""What notebooks and sessions run, compiled: where a test looks at the clock, it is not the compiler that it looks at."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from pathlib import Path

from filelock import FileLock

import grinder_kit as gk

GRID = gk.GridConfig(spacing_bps=4, levels=3, size="0.01")
FILTERED = GRID.replace(min_fill_prob=0.2)


@functools.cache
def compile_once() -> None:
    """Call what is compiled on its first call on a machine; a minute or two there, and a second afterwards.

    Tests that run side by side share the work: each begins with another part, and finds the others' in the cache.
    """
    parts = (_replays, _sweeps_and_models)
    first = int("".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", "0"))))
    here = hashlib.sha256(gk.__file__.encode()).hexdigest()[:16]
    for number in range(len(parts)):
        part = parts[(first + number) % len(parts)]
        with FileLock(Path(tempfile.gettempdir()) / f"grinder-compiles-{here}{part.__name__}.lock"):
            part()


def _replays() -> None:
    market = gk.synthetic_market(seed=7, minutes=1)
    for one in (GRID, FILTERED):
        for engine in ("event", None):
            gk.replay(market, one, engine=engine)
    gk.replay(market, FILTERED, model=gk.FirstPassageModel())


def _sweeps_and_models() -> None:
    model = gk.FirstPassageModel()
    gk.sweep(gk.synthetic_market(seed=7, minutes=1), [GRID, FILTERED], model=model)
    train, test = gk.label(gk.synthetic_market(seed=7, minutes=5)).split(0.5)
    model.fit(train).score(test)
