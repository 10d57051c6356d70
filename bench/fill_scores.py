"""Score the fill models on the recordings: `python bench/fill_scores.py` prints the table and writes build/fill_scores.json.

The first 60 % of a recording's time trains, the rest tests. What is only later known is never used: rolling refits see, at each
time, what had happened by then.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from grinder_kit.fillprob.calibration import CalibratedModel
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.heuristic_model import HeuristicModel
from grinder_kit.fillprob.kaplan_meier import KaplanMeierModel
from grinder_kit.fillprob.labels import LabelSet, label
from grinder_kit.fillprob.model import Floats, Inputs
from grinder_kit.fillprob.observations import Observations, observe
from grinder_kit.fillprob.rolling import roll
from grinder_kit.fillprob.scoring import HORIZONS_S, score_observations
from grinder_kit.market.binance_ws import import_binance_ws
from grinder_kit.market.recording import Recording

FRACTION = 0.6
#: Recordings by the start of their names, and the same market of the other coin.
OTHER_COIN = {
    "usdm_btcusdt": "usdm_ethusdt",
    "usdm_ethusdt": "usdm_btcusdt",
    "spot_btcusdt": "spot_ethusdt",
    "spot_ethusdt": "spot_btcusdt",
    "cm_btcusd_perp": None,
}
SCORES = ("log_loss", "brier", "ece", "auc", "rcll")


class Known:
    """Probabilities that were computed elsewhere, as a model of one set of orders."""

    def __init__(self, p: Floats) -> None:
        self.p = p

    def predict(self, x: Inputs, horizon_s: npt.ArrayLike, *, extrapolate: bool = False) -> Floats:
        """Return them."""
        return self.p


def main() -> None:
    """Label, fit, score, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GRINDER_SHARED_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=Path("build/fill_scores.json"))
    arguments = parser.parse_args()
    raw = arguments.data / "ticks" / "hftbacktest"
    if not raw.is_dir():
        sys.exit(f"{raw}: no such folder; set GRINDER_SHARED_DATA to the folder of recordings")
    sets = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in OTHER_COIN:
            target = Path(folder) / f"{name}.parquet"
            import_binance_ws(sorted(raw.glob(f"{name}*.gz")), target)
            sets[name] = label(Recording.open(target))
    means: dict[str, dict[str, list[list[float]]]] = {"mean square": {}, "median": {}}
    tables: dict[str, Any] = {}
    for name, labels in sets.items():
        train, test = (observe(part) for part in labels.split(FRACTION))
        models = fitted(labels, train, test, sets, name)
        for kind, sigma in (("mean square", train.sigma), ("median", float(np.median(train.x.sigma)))):
            scores = score_observations(models, test, sigma=sigma, symbol=name)
            for model in models:
                means[kind].setdefault(model, []).append([scores.mean(model, score) for score in SCORES])
            if kind == "mean square":
                tables[name] = scores.to_json()
                print(f"{scores}\n")
    for kind, by_model in means.items():
        print(f"mean over the instruments, band of 3 sigma root(h), sigma by the {kind} of the training")
        print(f"{'model':<28}{'LL':>8}{'Brier':>8}{'ECE':>8}{'AUC':>8}{'RCLL':>8}   instruments")
        for model, rows in by_model.items():
            print(f"{model:<28}" + "".join(f"{value:8.4f}" for value in np.mean(rows, axis=0)) + f"{len(rows):8d}")
    cross = [name for name, other in OTHER_COIN.items() if other]
    own, there = (
        np.mean([tables[n][m]["log_loss"]["mean"] for n in cross])
        for m in ("first_passage", "trained on the other coin")
    )
    print(f"trained on the other coin: {there - own:+.4f} against own data, where both coins are there")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(tables, indent=1) + "\n")


def fitted(
    labels: LabelSet, train: Observations, test: Observations, sets: dict[str, LabelSet], name: str
) -> dict[str, Any]:
    """Return every model, fitted on what it may know."""
    cut = int(test.ts_ns[0])
    own = FirstPassageModel().fit_observations(train)
    rolling = roll(labels, start_ns=cut, model=own)
    models: dict[str, Any] = {
        "first_passage, rolling": Known(rolling.predict(test.x, test.ts_ns)),
        "first_passage": own,
        "first_passage, calibrated": CalibratedModel(inner=FirstPassageModel()).fit_observations(train),
        "first_passage, prior": FirstPassageModel(),
    }
    other = OTHER_COIN[name]
    if other:
        models["trained on the other coin"] = FirstPassageModel().fit_observations(
            observe(sets[other].split(FRACTION)[0])
        )
    last = train.rows(train.ts_ns >= train.ts_ns[-1] - 30_000_000_000)
    models["first_passage, last 30 s"] = FirstPassageModel().fit_observations(last)
    boosted = boosting(train, test)
    if boosted is not None:
        models["gradient boosting"] = Known(boosted)
    models["kaplan_meier"] = KaplanMeierModel().fit_observations(train)
    models["heuristic"] = HeuristicModel()
    models["base rate"] = Known(base_rate(train, test))
    return models


def base_rate(train: Observations, test: Observations) -> Floats:
    """Return the share that filled within each horizon, in the training's band."""
    shares = []
    for horizon in HORIZONS_S:
        rows = (train.watched_s >= horizon) & (train.x.distance_bps <= 3 * train.sigma * np.sqrt(horizon))
        shares.append(np.mean(train.filled[rows] & (train.time_s[rows] <= horizon)))
    return np.tile(shares, (len(test), 1))


def boosting(train: Observations, test: Observations) -> Floats | None:
    """Return gradient boosting, one model a horizon, monotone in distance; None where scikit-learn is not installed."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ModuleNotFoundError:
        return None

    def columns(x: Inputs) -> Floats:
        queue = np.log1p(np.minimum(x.queue_s, 1e6))
        own_flow = x.ofi_z * x.side
        return np.column_stack(
            [x.distance_bps, x.distance_bps / x.sigma, x.sigma, x.at_touch, queue, x.imb_own, own_flow]
        )

    p = np.empty((len(test), len(HORIZONS_S)))
    for at, horizon in enumerate(HORIZONS_S):
        rows = (train.watched_s >= horizon) & (train.x.distance_bps <= 3 * train.sigma * np.sqrt(horizon))
        model = HistGradientBoostingClassifier(
            max_iter=100,
            learning_rate=0.05,
            max_leaf_nodes=15,
            min_samples_leaf=200,
            monotonic_cst=[-1, -1, 0, 0, 0, 0, 0],
        )
        model.fit(columns(train.x[rows]), train.filled[rows] & (train.time_s[rows] <= horizon))
        p[:, at] = model.predict_proba(columns(test.x))[:, 1]
    return p


if __name__ == "__main__":
    main()
