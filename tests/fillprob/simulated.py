"""Labels drawn from known laws: from the first-passage model itself, or from Brownian motion."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import polars as pl

from grinder_kit.fillprob.first_passage import PRIOR, FirstPassageModel, Parameters, Tail
from grinder_kit.fillprob.labels import LabelOptions, LabelSet
from grinder_kit.fillprob.model import Floats, Inputs
from grinder_kit.fillprob.queue_band import QUEUES
from grinder_kit.model.instrument import Instrument

START_NS = 1_723_161_600_000_000_000
DISTANCES = np.array([0.01, 0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 10, 15, 20, 30, 60])
PROXY = np.sqrt(8 / np.pi) * np.sqrt(300)


def orders(steps: int, seed: int) -> Inputs:
    """Return the inputs of both sides' orders at so many steps of time; the first distance stands at the touch."""
    rng = np.random.default_rng(seed)
    each = 2 * len(DISTANCES)
    side = np.tile(np.repeat([1.0, -1.0], len(DISTANCES)), steps)
    distance = np.tile(DISTANCES, 2 * steps)
    sigma = np.repeat(rng.uniform(0.8, 1.8, steps), each)
    return Inputs(
        distance_bps=distance,
        sigma=sigma,
        at_touch=distance == DISTANCES[0],
        queue_s=rng.exponential(3, len(side)),
        imb_own=np.repeat(rng.uniform(-1, 1, steps), each) * side,
        side=side,
        natr_bps=PROXY * sigma,
        ofi_z=np.repeat(rng.normal(0, 1, steps), each),
    )


def passage_times(x: Inputs, seed: int, parameters: Parameters = PRIOR) -> Floats:
    """Return times to the fill, s, drawn from the first-passage model, one order independent of the other."""
    model = FirstPassageModel(parameters=parameters)
    grid = np.linspace(0, 1, 20_001)[1:-1]
    at_one = Inputs(distance_bps=[0.0], sigma=[1.0])
    scale = model.quantile(at_one, grid, extrapolate=True)[0]
    median = model.quantile(x, 0.5, extrapolate=True)
    drawn = np.random.default_rng(seed).uniform(0, 1, len(x))
    return np.asarray(median * np.interp(drawn, grid, scale) / np.interp(0.5, grid, scale))


def brownian_times(x: Inputs, seed: int) -> Floats:
    """Return the times at which Brownian motions of the same volatility have gone the distance: (d / sigma)^2 over chi^2."""
    drawn = np.random.default_rng(seed).standard_normal(len(x))
    return np.asarray((x.distance_bps / x.sigma / drawn) ** 2)


def label_set(
    x: Inputs, times: Floats, *, symbol: str = "BTCUSDT", start_ns: int = START_NS, step_ms: int = 250
) -> LabelSet:
    """Return orders and their times as labels, the same under every queue model, each watched for 60 s."""
    step = np.arange(len(x)) // (2 * len(DISTANCES))
    ts = start_ns + step.astype(np.int64) * step_ms * 1_000_000
    columns = {
        "ts_ns": ts, "side": x.side.astype(np.int8), "distance_bps": x.distance_bps, "at_touch": x.at_touch == 1, "sigma": x.sigma,
        "queue_s": x.queue_s, "imb_own": x.imb_own, "ofi_z": x.ofi_z, "natr_bps": x.natr_bps, "watched_s": np.full(len(x), 60.0),
        "markout_1s_bps": np.zeros(len(x)), "markout_10s_bps": np.zeros(len(x)),
        "block": ((ts - ts[0]) // 60_000_000_000).astype(np.int32),
    }  # fmt: skip
    for queue in QUEUES:
        columns |= {f"filled_{queue}": times <= 60, f"time_s_{queue}": np.minimum(times, 60.0)}
    instrument = Instrument(
        symbol=symbol, venue="binanceusdm", base="BTC", quote="USDT", tick=Decimal("0.1"), lot=Decimal("0.001")
    )
    return LabelSet(
        frame=pl.DataFrame(columns),
        options=LabelOptions(),
        instrument=instrument,
        window_ns=(start_ns, int(ts[-1]) + 60_000_000_000),
        market={"name": "simulated"},
    )


#: A prior that says nothing.
NOTHING = Parameters(b0=10, b1=10, lc=10, ls=10, g0=10, g1=10, k=10)


def normal_model() -> FirstPassageModel:
    """Return the reflection principle."""
    return FirstPassageModel(
        parameters=Parameters(b0=0.0, b1=2.0, lc=-400.0, ls=0.0, g0=0.0, g1=0.0, k=0.0), tail=Tail.NORMAL
    )
