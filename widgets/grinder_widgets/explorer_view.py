"""What a fill explorer shows, in numbers: one value for each figure, computed when its tab is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from grinder_kit.decision.economics import LevelEconomics
from grinder_kit.fillprob.interval import Interval
from grinder_kit.fillprob.model import FillModel, Floats
from grinder_kit.fillprob.queue_band import QUEUES, QueueBand
from grinder_kit.fillprob.scoring import HORIZONS_S as SCORED_S
from grinder_kit.fillprob.scoring import Scores, score_observations
from grinder_widgets.explorer_evidence import FEWEST_ORDERS, Evidence, Shares, Waiting
from grinder_widgets.explorer_models import (
    FARTHEST_BPS,
    HEURISTIC,
    Asked,
    Bools,
    Chances,
    Explored,
    chances,
    ignored,
    outside,
    training_of,
    under,
)
from grinder_widgets.explorer_state import ExplorerState

LINE_POINTS, TIME_POINTS = 121, 81
MAP_DISTANCES, MAP_HORIZONS = 61, 41
SHORTEST_S, LONGEST_S = 0.1, 60.0
MAP_SHORTEST_S = 0.5
#: Probabilities of the lines on the map.
CONTOURS = (0.1, 0.25, 0.5, 0.75)
_ENDS_BPS = (1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 30.0, 40.0, FARTHEST_BPS)
#: Half a step of the distance's slider: so near to the best price is at it.
HALF_STEP_BPS = 0.05
TIE = 0.005


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """The numbers beside the controls.

    Attributes
    ----------
    asked : Asked
    model : str
        Its name.
    chance : Chances
        The model's probability, one order.
    heuristic : float
    observed : Shares
        Of orders like this one, one group.
    beyond : bool
        Whether the model speaks of what its data did not hold.
    ignored : frozenset of str
        Inputs that do not move the model's answer.
    ignored_by_heuristic : frozenset of str
        Inputs that do not move the heuristic either.
    worth_bps : Interval or None
        Expected value of the order, bps of its notional; None where no markout is known.
    unvalued : str
        Why it is not.
    """

    asked: Asked
    model: str
    chance: Chances
    heuristic: float
    observed: Shares
    beyond: bool
    ignored: frozenset[str]
    ignored_by_heuristic: frozenset[str]
    worth_bps: Interval | None
    unvalued: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Probability by distance: at the touch, and along the line away from it.

    `observed` begins with the orders at the touch where `touch_seen`.
    """

    answer: Answer
    layers: tuple[str, ...]
    touch_bps: float
    end_bps: float
    touch: Chances
    distance_bps: Floats
    chance: Chances
    beyond: Bools
    heuristic: Floats
    observed: Shares
    touch_seen: bool
    queues: tuple[tuple[str, float | None, str], ...]  # name, probability at the touch, whose
    unseen: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Map:
    """Probability by distance and horizon, the times of `CONTOURS` by distance, and the time by which half have filled."""

    answer: Answer
    distance_bps: Floats
    horizon_s: Floats
    chance: Floats  # (horizons, distances)
    contours_s: Floats  # (distances, contours)
    half_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Time:
    """Probability by time."""

    answer: Answer
    layers: tuple[str, ...]
    time_s: Floats
    chance: Chances
    beyond: Bools
    observed: Waiting
    unseen: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Predicted against observed by bin of probability, at the horizon scored that is nearest to the one asked for."""

    model: str
    asked_s: float
    horizon_s: float
    bins: pl.DataFrame
    table: tuple[tuple[str, ...], ...]  # head first


def asked_by(state: ExplorerState, evidence: Evidence) -> Asked:
    """Return the order that a state asks about; what is not set is the median of the labels."""
    at_touch = state.distance_bps <= evidence.touch_bps + HALF_STEP_BPS
    return Asked(
        side=1 if state.side == "buy" else -1,
        distance_bps=evidence.touch_bps if at_touch else state.distance_bps,
        at_touch=at_touch,
        horizon_s=state.horizon_s,
        queue_s=evidence.queue_s if state.queue_s is None else state.queue_s,
        sigma=evidence.sigma if state.sigma is None else state.sigma,
        imb_own=state.imb_own,
        ofi_z=state.ofi_z,
    )


def answer(name: str, model: Explored, evidence: Evidence, asked: Asked) -> Answer:
    """Return the numbers beside the controls."""
    one = under(model, evidence.queue)
    x = asked.inputs()
    chance = chances(model, evidence.queue, x, asked.horizon_s)
    return Answer(
        asked=asked,
        model=name,
        chance=chance,
        heuristic=float(HEURISTIC.predict(x, asked.horizon_s)[0]),
        observed=evidence.around(asked),
        beyond=bool(outside(one, asked, asked.distance_bps, asked.horizon_s)),
        ignored=ignored(one, asked),
        ignored_by_heuristic=ignored(HEURISTIC, asked),
        worth_bps=worth_bps(chance, evidence, asked),
        unvalued=evidence.unvalued,
    )


def worth_bps(chance: Chances, evidence: Evidence, asked: Asked) -> Interval | None:
    """Return what the order is worth by mid some time after its fill, bps of its notional; None where no markout is known."""
    if evidence.markout is None:
        return None
    middle, low, high = (None if end is None else float(end[0]) for end in chance)
    assert middle is not None  # only the interval may be missing
    level = LevelEconomics(
        size=1.0,  # bps of it are the same for any
        fill_prob=Interval(value=middle, low=low, high=high),
        horizon_s=asked.horizon_s,
        edge_bps=0.0,
        fees_bps=evidence.fee_bps,
        markout_bps=evidence.markout.interval(asked.inputs()),
    )
    return level.value_bps


def curve(said: Answer, model: Explored, evidence: Evidence, layers: tuple[str, ...]) -> Curve:
    """Return probability by distance at the horizon asked for."""
    asked, touch = said.asked, evidence.touch_bps
    far = max(4 * asked.sigma * asked.horizon_s**0.5, 1.25 * asked.distance_bps, 4 * touch)
    end = next((end for end in _ENDS_BPS if end >= far), _ENDS_BPS[-1])
    distance = _line(touch, end, LINE_POINTS)
    x = asked.inputs(distance)
    # The touch and the line in one go: an interval takes hundreds of draws, whatever it is asked for.
    touching = asked.inputs(np.concatenate(([touch], distance)), np.arange(LINE_POINTS + 1) == 0)
    at_touch, along = _split(chances(model, evidence.queue, touching, asked.horizon_s))
    seen = evidence.by_distance(asked)
    return Curve(
        answer=said,
        layers=layers,
        touch_bps=touch,
        end_bps=end,
        touch=at_touch,
        distance_bps=distance,
        chance=along,
        beyond=outside(under(model, evidence.queue), asked, distance, asked.horizon_s),
        heuristic=HEURISTIC.predict(x, asked.horizon_s),
        observed=seen.enough(),
        touch_seen=bool(seen.orders[0] >= FEWEST_ORDERS),
        queues=_at_touch(model, evidence, asked),
        unseen=evidence.unseen,
    )


def _split(both: Chances) -> tuple[Chances, Chances]:
    """Return the first probability with its interval, and the others with theirs."""
    middle, low, high = both
    return (
        Chances(middle[:1], None if low is None else low[:1], None if high is None else high[:1]),
        Chances(middle[1:], None if low is None else low[1:], None if high is None else high[1:]),
    )


def _at_touch(model: Explored, evidence: Evidence, asked: Asked) -> tuple[tuple[str, float | None, str], ...]:
    """Return what each queue model gives at the touch: by the models where each was fitted, else by the labels."""
    if isinstance(model, QueueBand):
        x = asked.inputs([evidence.touch_bps], 1.0)
        found = {name: float(model.models[name].predict(x, asked.horizon_s, extrapolate=True)[0]) for name in QUEUES}
        return tuple((name, value, "model") for name, value in found.items())
    shares = {name: one.enough() for name, one in evidence.at_touch(asked).items()}
    return tuple(
        (name, float(one.share[0]) if len(one.orders) else None,
         f"observed {one.fills[0]:,} of {one.orders[0]:,}" if len(one.orders) else "too few cases")
        for name, one in shares.items()
    )  # fmt: skip


def probability_map(said: Answer, model: Explored, evidence: Evidence) -> Map:
    """Return probability by distance and horizon."""
    asked, one = said.asked, under(model, evidence.queue)
    far = max(3 * asked.sigma * LONGEST_S**0.5, 1.25 * asked.distance_bps)
    end = next((end for end in _ENDS_BPS if end >= far), _ENDS_BPS[-1])
    # Dense near mid, where the probability changes most.
    distance = evidence.touch_bps + (end - evidence.touch_bps) * _line(0, 1, MAP_DISTANCES) ** 2
    horizon = np.exp(_line(np.log(MAP_SHORTEST_S), np.log(LONGEST_S), MAP_HORIZONS))
    x = asked.inputs(distance, np.arange(MAP_DISTANCES) == 0)
    times = one.quantile(x, CONTOURS, extrapolate=True)
    return Map(
        answer=said,
        distance_bps=distance,
        horizon_s=horizon,
        chance=one.predict(x, horizon, extrapolate=True).T,
        contours_s=times,
        half_s=times[:, CONTOURS.index(0.5)],
    )


def time_to_fill(said: Answer, model: Explored, evidence: Evidence, layers: tuple[str, ...]) -> Time:
    """Return probability by time at the distance asked for."""
    asked = said.asked
    times = np.exp(_line(np.log(SHORTEST_S), np.log(LONGEST_S), TIME_POINTS))
    said_of = chances(model, evidence.queue, asked.inputs(), times)
    middle, low, high = (None if values is None else values[0] for values in said_of)
    assert middle is not None  # only the interval may be missing
    return Time(
        answer=said,
        layers=layers,
        time_s=times,
        chance=Chances(middle, low, high),
        beyond=outside(under(model, evidence.queue), asked, asked.distance_bps, times),
        observed=evidence.waiting(asked),
        unseen=evidence.unseen,
    )


def scores(models: Mapping[str, Explored], evidence: Evidence) -> Scores:
    """Return how all models, the heuristic and the first training's Kaplan-Meier curve do on the labels."""
    by_name: dict[str, FillModel] = {name: under(model, evidence.queue) for name, model in models.items()}
    by_name.setdefault("heuristic", HEURISTIC)
    trainings = [training_of(model, evidence.queue) for model in models.values()]
    training = next((one for one in trainings if one is not None), None)
    if training is not None and training.kaplan_meier is not None:
        by_name.setdefault("kaplan_meier", training.kaplan_meier)
    return score_observations(
        by_name,
        evidence.seen,
        sigma=evidence.seen.sigma if training is None else training.sigma,
        symbol=evidence.labels.symbol,
        window_ns=evidence.labels.window_ns,
        in_sample=not evidence.unseen,
    )


def calibration(found: Scores, bins: pl.DataFrame, model: str, horizon_s: float) -> Calibration:
    """Return the bins of a model (`found.reliability(model)`) and the scores of all at a horizon."""
    at = min(SCORED_S, key=lambda scored: abs(np.log(scored / horizon_s)))
    enough = pl.col("orders") >= FEWEST_ORDERS
    mine = bins.filter((pl.col("horizon_s") == at) & pl.col("up_to").is_null() & enough)
    # Where all filled, or none, every resample says the same: that is no certainty.
    mine = mine.with_columns(pl.when(pl.col("observed").is_between(0, 1, "none")).then(pl.col("low", "high")))
    by_model = found.table.filter(pl.col("horizon_s") == at)
    means = found.table.filter(pl.col("horizon_s").is_null())
    names = by_model["model"].to_list()
    columns = {
        f"log loss, {at:g} s": (by_model["log_loss"].to_list(), False),
        f"Brier, {at:g} s": (by_model["brier"].to_list(), False),
        f"ECE, {at:g} s": (by_model["ece"].to_list(), False),
        "RCLL, all": ([dict(zip(means["model"], means["rcll"], strict=True))[name] for name in names], True),
    }
    marked = [best(values, more) for values, more in columns.values()]
    return Calibration(
        model=model,
        asked_s=horizon_s,
        horizon_s=at,
        bins=mine,
        table=(("model", *columns), *((name, *(column[i] for column in marked)) for i, name in enumerate(names))),
    )


def _line(start: float, end: float, points: int) -> Floats:
    return np.linspace(start, end, points, dtype=np.float64)


def best(values: list[float], more_is_better: bool) -> list[str]:
    """Return scores as text; the best is marked, and those within `TIE` of it with it as a tie.

    Examples
    --------
    >>> best([0.481, 0.483, 0.602], False)
    ['.481 tie', '.483 tie', '.602']
    >>> best([-1.2, -1.4], True)
    ['−1.200 best', '−1.400']
    """
    top = max(values) if more_is_better else min(values)
    near = [abs(value - top) <= TIE for value in values]
    word = "tie" if sum(near) > 1 else "best"
    texts = [f"{value:.3f}".replace("-", "−") for value in values]
    texts = [text[1:] if text.startswith("0.") else text for text in texts]
    return [f"{text} {word}" if one else text for text, one in zip(texts, near, strict=True)]
