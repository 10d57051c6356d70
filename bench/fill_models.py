"""Measure the fill models: a ladder of 1,000 levels at one horizon, beside the heuristic and gradient boosting; and a whole fit."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Row = Callable[..., dict[str, Any]]
LEVELS, HORIZON_S, ROUNDS = 1_000, 10.0, 300


def fill_models(row: Row, raw: Path, recording: Path) -> list[dict[str, Any]]:
    """Return the rows; `recording` is what `raw` was imported to."""
    from grinder_kit.fillprob.evaluation import evaluate
    from grinder_kit.fillprob.first_passage import FirstPassageModel
    from grinder_kit.fillprob.heuristic_model import HeuristicModel
    from grinder_kit.fillprob.labels import label
    from grinder_kit.market.binance_ws import import_binance_ws
    from grinder_kit.market.recording import Recording

    x = ladder()
    models = {"first passage": FirstPassageModel(), "heuristic": HeuristicModel()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            start = time.perf_counter()
            model.predict(x, HORIZON_S)
            times[name].append(time.perf_counter() - start)
    ours, heuristic = (statistics.median(times[name][10:]) * 1e6 for name in models)
    evaluate(Recording.open(recording))  # compiles
    fits, labels = [], label(Recording.open(recording))
    for _ in range(5):
        start = time.perf_counter()
        FirstPassageModel().fit(labels)
        fits.append(time.perf_counter() - start)
    whole = []
    for _ in range(3):
        start = time.perf_counter()
        import_binance_ws(raw, recording)
        FirstPassageModel().fit(label(Recording.open(recording)))
        whole.append(time.perf_counter() - start)
    rows = [
        row("fill model: 1,000 levels, one horizon", ours, "us", "the heuristic", heuristic, heuristic / ours),
        row(f"fill model: a fit on {len(labels):,} labels", statistics.median(fits), "s"),
        row("fill model: raw file to fitted model", statistics.median(whole), "s"),
    ]
    boosted = boosting(x)
    if boosted is not None:
        rows.insert(1, row("fill model: the same", ours, "us", "gradient boosting", boosted, boosted / ours))
    return rows


def ladder() -> Any:
    """Return 1,000 levels of a side, up to 60 bps from mid."""
    from grinder_kit.fillprob.model import Inputs

    distance = np.linspace(0.05, 60, LEVELS)
    touch = distance < 0.1
    return Inputs(distance_bps=distance, sigma=1.2, at_touch=touch, queue_s=3.0, imb_own=0.3, natr_bps=33.0)


def boosting(x: Any) -> float | None:
    """Return the microseconds of gradient boosting on the same ladder; None where scikit-learn is not installed."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ModuleNotFoundError:
        return None
    rng = np.random.default_rng(0)
    known = rng.uniform(0, 60, (20_000, 5))
    model = HistGradientBoostingClassifier(max_iter=100).fit(known, rng.random(20_000) < np.exp(-known[:, 0] / 10))
    asked = np.column_stack([x.distance_bps, x.sigma, x.at_touch, x.queue_s, x.imb_own])
    times = []
    for _ in range(50):
        start = time.perf_counter()
        model.predict_proba(asked)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6
