"""What a grid tuner shows, in numbers: trials of a study as points and as a map, a configuration that is tried, pins side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grinder_kit.decision.economics import profit_bps
from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.interval import Floats
from grinder_kit.model.config import Config
from grinder_kit.model.section import did_you_mean
from grinder_kit.simulation.replay import replay
from grinder_kit.simulation.sweep import run_grid, sweep
from grinder_kit.simulation.verdict import block_profits
from grinder_kit.tuning.design import Design
from grinder_kit.tuning.honesty import Luck
from grinder_kit.tuning.part import Part
from grinder_kit.tuning.pick import Pick, Score, block_matrix, front, hourly_intervals, known_or_none
from grinder_kit.tuning.space import Dimension
from grinder_kit.tuning.study import Study
from grinder_kit.tuning.trial import Outcome, Trial
from grinder_widgets.points import spread
from grinder_widgets.tuner_state import DIFFERENCE, METRICS, TEST, TRAIN, TunerState, Values, full, named

Bools = npt.NDArray[np.bool_]

#: Marks of the front, and cells along each side of the map.
TRIALS, CELLS = 2_000, 20
#: Parameters that may be tried whether the study varied them or not.
ALWAYS = ("min_fill_prob", "size")
#: A pass that takes no longer is run while a slider moves.
FAST_S = 0.06
#: Configurations whose numbers are kept.
KEPT = 256


class Tuned:
    """The complete trials of a study as arrays, and configurations by parameters.

    Parameters
    ----------
    study : Study
        With at least one complete trial.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.dimensions: dict[str, Dimension] = {one.name: one for one in study.about.space.dimensions}
        keys = {one.key for one in self.dimensions.values()}
        self.extra = tuple(
            name
            for name in ALWAYS
            if full(name) not in keys and (name != "size" or study.about.base.grid.size is not None)
        )
        rows = [trial.number for trial in study.complete]
        self._table = study.table.filter(pl.col("trial").is_in(rows))
        self._cache: dict[tuple[str, str], Floats] = {}
        self._drawn: dict[str, tuple[Any, Any]] = {}
        self._row = {trial.places: row for row, trial in enumerate(study.complete)}

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that may be tried."""
        return (*self.dimensions, *self.extra)

    def column(self, name: str, show: str = TEST) -> Floats:
        """Return a metric on a part, or a parameter (a choice by its place), of each trial.

        Raises
        ------
        ConfigError
            For a name that is neither.
        """
        key = (name, show if name in METRICS else "")
        if key not in self._cache:
            self._cache[key] = self._column(name, show)
        return self._cache[key]

    def _column(self, name: str, show: str) -> Floats:
        if name in self.dimensions:
            at, one = list(self.dimensions).index(name), self.dimensions[name]
            places = [trial.places[at] for trial in self.study.complete]
            return np.array([place if one.choices else float(one.value(place)) for place in places], np.float64)
        if name not in METRICS:
            known = (*METRICS, *self.dimensions)
            raise ConfigError(f"there is no '{name}'{did_you_mean(name, known)}; there are {', '.join(known)}")
        if show == DIFFERENCE:
            return self.column(name, TEST) - self.column(name, TRAIN)
        values: Floats = self._table[f"{name}_{show}"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        return values

    def once(self, name: str, asked: Any, make: Callable[[], Any]) -> Any:
        """Return what was made for the same question last time, or make it."""
        before = self._drawn.get(name)
        if before is None or before[0] != asked:
            self._drawn[name] = before = (asked, make())
        return before[1]

    def ends(self) -> tuple[Floats, Floats]:
        """Return the ends of each trial's interval on the test part; NaN where there is none."""
        low, high = (self._table[f"{end}_test"].fill_null(np.nan).to_numpy() for end in ("low", "high"))
        return low, high

    def check(self, state: TunerState) -> None:
        """Refuse a state that a tuner of this study cannot have.

        Raises
        ------
        ConfigError
            For names that the study has not.
        """
        for name in (state.x, state.colour):
            if name is not None:
                self.column(name)
        for name in (
            state.map_x,
            state.map_y,
            *(name for values in (state.what_if, *state.pins) for name, _ in values),
        ):
            if name is not None and name not in self.names:
                known = ", ".join(self.names)
                raise ConfigError(f"unknown parameter '{name}'{did_you_mean(name, self.names)}; the study has {known}")
        for values in (state.what_if, *state.pins):
            self.config(dict(values))

    @cached_property
    def marks(self) -> npt.NDArray[np.int64]:
        """The trials that are drawn as marks, whatever is asked of them: what each says is sent once."""
        usual = [self.row(trial) for trial in self.study.front()]
        return np.union1d(spread(len(self.study.complete), TRIALS), np.array(usual, np.int64))

    @cached_property
    def inside_floor(self) -> Bools:
        """Which trials have a spacing that does not pay the fees of a round trip."""
        return np.array([inside_floor(trial.config) for trial in self.study.complete], np.bool_)

    # --- configurations ----------------------------------------------------------------------------------------------

    def values(self, trial: Trial) -> dict[str, Any]:
        """Return the parameters of a trial, those that a study always lets be tried included."""
        given = {name: named(name, value) for name, value in trial.parameters.items()}
        for name in self.extra:
            section, _, key = full(name).partition(".")
            given[name] = named(name, getattr(getattr(trial.config, section), key))
        return given

    def config(self, values: Mapping[str, Any]) -> Config:
        """Return the study's configuration with these parameters.

        Raises
        ------
        ConfigError
            For values that do not fit.
        """
        return self.study.about.base.replace(**{self._key(name): value for name, value in values.items()})

    def _key(self, name: str) -> str:
        return self.dimensions[name].key if name in self.dimensions else full(name)

    def trial(self, values: Mapping[str, Any]) -> Trial | None:
        """Return the trial that has exactly these parameters."""
        base = self.values(self.study.complete[0])
        if any(values.get(name, base[name]) != base[name] for name in self.extra):
            return None
        places = tuple(_place(one, values[name]) for name, one in self.dimensions.items())
        row = self._row.get(places)  # type: ignore[arg-type]  # None among the places finds none
        return None if row is None else self.study.complete[row]

    def row(self, trial: Trial) -> int:
        """Return the row of a trial in every array here."""
        return self._row[trial.places]

    def nearest(self, values: Mapping[str, Any]) -> Trial:
        """Return the trial that is nearest by the parameters that the study varied, each as a share of its range."""
        away = np.zeros(len(self.study.complete))
        for at, (name, one) in enumerate(self.dimensions.items()):
            places = np.array([trial.places[at] for trial in self.study.complete])
            place = one.nearest(values[name])
            away += (places != place) if one.choices else ((places - place) / max(1, len(one) - 1)) ** 2
        return self.study.complete[int(away.argmin())]


def inside_floor(config: Config) -> bool:
    """Return whether a spacing does not pay the fees of a round trip; False where it is not given in bps."""
    spacing, fee = config.grid.spacing_bps, config.execution.maker_fee_bps
    return spacing is not None and profit_bps(float(spacing), 2 * float(fee)) <= 0


def _place(one: Dimension, value: Any) -> int | None:
    if one.choices:
        return next((at for at, choice in enumerate(one.choices) if named(one.name, choice) == value), None)
    place = one.nearest(value)
    return place if named(one.name, one.value(place)) == value else None


# --- a configuration that is tried ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What one configuration does on the test part.

    Attributes
    ----------
    values : dict
        Its parameters.
    config : Config
    outcome : Outcome
    score : Score
    train : Outcome or None
        Where it is a trial.
    instead : Trial or None
        The trial whose numbers these are, while its own are not there yet.
    """

    values: dict[str, Any]
    config: Config
    outcome: Outcome
    score: Score
    train: Outcome | None = None
    instead: Trial | None = None

    def metric(self, name: str, show: str = TEST) -> float:
        """Return a metric as the front has it; NaN where it is not known."""
        if show != TEST:
            train = math.nan if self.train is None else _metric(name, self.train, math.nan)
            return train if show == TRAIN else self.metric(name) - train
        return _metric(name, self.outcome, math.nan if self.score.low is None else self.score.low)


def _metric(name: str, outcome: Outcome, low: float) -> float:
    return low if name == "low" else float(getattr(outcome, name))


class WhatIf:
    """Runs configurations on the test part, and knows how long that takes.

    Parameters
    ----------
    tuned : Tuned
    """

    def __init__(self, tuned: Tuned) -> None:
        self.tuned = tuned
        self.part: Part = tuned.study.part("test")
        self._took_s = math.inf  # until the market has been read
        self._done: dict[Values, Tried] = {}  # those that were looked at last stand last

    def known(self, values: Mapping[str, Any]) -> Tried | None:
        """Return what is known of a configuration without running it."""
        trial = self.tuned.trial(values)
        if trial is not None:
            assert trial.test is not None  # it is complete
            return self._tried(values, trial.config, trial.test, trial.train)
        key = tuple(values.items())
        if key not in self._done:
            return None
        self._done[key] = done = self._done.pop(key)
        return done

    def fast(self, values: Mapping[str, Any]) -> bool:
        """Whether a configuration can be run while a slider moves."""
        return self._took_s <= FAST_S and self.part.kept_out(self.tuned.config(values)) is None

    def run(self, values: Mapping[str, Any]) -> Tried:
        """Run a configuration through the kernel.

        Raises
        ------
        ConfigError
            For one that does not fit the instrument.
        """
        config = self.tuned.config(values)
        if self.part.kept_out(config) is None:
            self.part.share(config)
        started = time.perf_counter()
        (outcome,) = self.part.run([config])
        if self.part.kept_out(config) is None:
            self._took_s = time.perf_counter() - started
        if len(self._done) >= KEPT:
            del self._done[next(iter(self._done))]
        self._done[tuple(values.items())] = done = self._tried(values, config, outcome)
        return done

    def nearest(self, values: Mapping[str, Any]) -> Tried:
        """Return the numbers of the nearest trial, while those of the configuration are not there."""
        trial = self.tuned.nearest(values)
        assert trial.test is not None  # it is complete
        return self._tried(values, self.tuned.config(values), trial.test, trial.train, instead=trial)

    def _tried(
        self,
        values: Mapping[str, Any],
        config: Config,
        outcome: Outcome,
        train: Outcome | None = None,
        instead: Trial | None = None,
    ) -> Tried:
        study = self.tuned.study
        blocks = block_matrix([outcome])
        low, high = (known_or_none(end[0]) for end in hourly_intervals(blocks, study.about.block_s))
        score = Score(
            per_hour=outcome.net_per_hour, low=low, high=high, blocks=blocks.shape[1], moved=int(np.count_nonzero(blocks)),
            block_s=study.about.block_s, asset=study.asset,
        )  # fmt: skip
        return Tried(values=dict(values), config=config, outcome=outcome, score=score, train=train, instead=instead)


# --- the two figures ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """What a rule has picked, and what is left of it once the search is allowed for."""

    pick: Pick
    luck: Luck | None
    train: Outcome


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axis:
    """A metric or a parameter along an axis: its name, and of a choice what its places stand for."""

    name: str
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Front:
    """Trials as points; NaN where one is hidden.

    `rows` are the trials that are drawn; `front` those that none beats, by rising `x`, and `line` their points: empty where `x` has
    no better direction.
    """

    tuned: Tuned
    show: str
    x: Axis
    y: Axis
    colour: Axis
    rows: npt.NDArray[np.int64]
    values: tuple[Floats, Floats, Floats]  # x, y, colour
    front: tuple[int, ...]
    line: tuple[Floats, Floats]
    hidden: int
    picked: Picked | None
    tried: Tried
    pins: tuple[Tried, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Map:
    """Medians by two parameters, (rows of y, columns of x); NaN where no trial is.

    Attributes
    ----------
    count : ndarray
        Trials in each cell.
    middle : ndarray
        The trial whose value is nearest to the cell's, by its row in `Study.complete`; -1 in an empty cell.
    unsure, floor, plateau : ndarray of bool
        Not distinguishable from zero; below the fee floor; where the pick's plateau is.
    """

    tuned: Tuned
    show: str
    metric: str
    x: Axis
    y: Axis | None
    x_at: Floats
    y_at: Floats
    value: Floats
    count: npt.NDArray[np.int64]
    middle: npt.NDArray[np.int64]
    unsure: Bools
    floor: Bools
    plateau: Bools
    picked: Picked | None
    tried: Tried


def picked(tuned: Tuned, rule: str) -> Picked | None:
    """Return what a rule picks; None for the rule ``none``."""
    pick = tuned.study.pick(rule)
    if pick is None:
        return None
    assert pick.trial.train is not None  # it is complete
    return Picked(pick=pick, luck=tuned.study.luck(pick.trial), train=pick.trial.train)


def axis(tuned: Tuned, name: str) -> Axis:
    """Return a metric or a parameter as an axis."""
    return Axis(name=name, choices=tuned.dimensions[name].choices if name in tuned.dimensions else ())


def points(tuned: Tuned, state: TunerState, found: Picked | None, tried: Tried, pins: Sequence[Tried]) -> Front:
    """Return the trials as points; those are the same while only what is tried changes."""
    asked = (state.x, state.y, state.colour, state.show, state.hide_floor)
    front: Front = tuned.once("front", asked, lambda: _points(tuned, state, tried))
    return replace(front, picked=found, tried=tried, pins=tuple(pins))


def _points(tuned: Tuned, state: TunerState, tried: Tried) -> Front:
    colour = state.colour or next(iter(tuned.dimensions))
    # Of a parameter there is no difference, and along x the test part is what one would have got.
    x = tuned.column(state.x, TRAIN if state.show == TRAIN else TEST)
    y, shade = tuned.column(state.y, state.show), tuned.column(colour, TRAIN if state.show == TRAIN else TEST)
    hidden = tuned.inside_floor & state.hide_floor
    y = np.where(hidden, np.nan, y)
    best: list[int] = []
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if state.x in METRICS and len(known):
        signs = (-1.0 if METRICS[state.x].more else 1.0), (1.0 if METRICS[state.y].more else -1.0)
        best = [int(known[at]) for at in front(signs[0] * x[known], signs[1] * y[known])]
    rows, best = tuned.marks, sorted(best, key=lambda row: x[row])
    return Front(
        tuned=tuned, show=state.show, x=axis(tuned, state.x), y=axis(tuned, state.y), colour=axis(tuned, colour), rows=rows,
        values=(x[rows], y[rows], shade[rows]), front=tuple(best), line=(x[best], y[best]),
        hidden=int(hidden.sum()), picked=None, tried=tried, pins=(),
    )  # fmt: skip


def heat_map(tuned: Tuned, state: TunerState, found: Picked | None, tried: Tried) -> Map:
    """Return the medians by two parameters; those are the same while only what is tried changes."""
    asked = (state.map_x, state.map_y, state.y, state.show, state.hide_floor, state.rule)
    made: Map = tuned.once("map", asked, lambda: _heat_map(tuned, state, found, tried))
    return replace(made, tried=tried)


def _heat_map(tuned: Tuned, state: TunerState, found: Picked | None, tried: Tried) -> Map:
    names = list(tuned.dimensions)
    x_name = state.map_x or names[0]
    y_name = state.map_y or next((name for name in names if name != x_name), None)
    if y_name == x_name:
        y_name = None
    x_at, column = _cells(tuned, x_name)
    y_at, line = (np.zeros(1), np.zeros(len(column), np.int64)) if y_name is None else _cells(tuned, y_name)
    values, floor = tuned.column(state.y, state.show), tuned.inside_floor
    ends = tuned.ends()
    hidden = floor & state.hide_floor
    near = set() if found is None or found.pick.fragile else {trial.number for trial in found.pick.around.neighbours}
    shape = (len(y_at), len(x_at))
    value, count, middle = np.full(shape, np.nan), np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    unsure, below, flat = (np.zeros(shape, np.bool_) for _ in range(3))
    for at in range(len(y_at)):
        for across in range(len(x_at)):
            inside = np.flatnonzero((line == at) & (column == across))
            if not len(inside):
                continue
            below[at, across] = floor[inside].all()
            flat[at, across] = any(tuned.study.complete[row].number in near for row in inside)
            seen = inside[~hidden[inside] & np.isfinite(values[inside])]
            if not len(seen):
                continue
            count[at, across] = len(seen)
            value[at, across] = np.median(values[seen])
            middle[at, across] = seen[np.abs(values[seen] - value[at, across]).argmin()]
            if state.y == "net_per_hour" and state.show == TEST:
                low, high = (np.median(end[seen]) for end in ends)
                unsure[at, across] = not (low > 0 or high < 0)
    return Map(
        tuned=tuned, show=state.show, metric=state.y, x=axis(tuned, x_name), y=None if y_name is None else axis(tuned, y_name),
        x_at=x_at, y_at=y_at, value=value, count=count, middle=middle, unsure=unsure, floor=below, plateau=flat, picked=found,
        tried=tried,
    )  # fmt: skip


def _cells(tuned: Tuned, name: str) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the middles of the cells along a parameter, and the cell of each trial."""
    values = tuned.column(name)
    different = np.unique(values)
    wanted = min(CELLS, max(4, math.isqrt(len(values) // 2)))
    even = len(tuned.dimensions) == 1 or tuned.study.about.design is Design.GRID  # every value has its trials
    if tuned.dimensions[name].choices or len(different) <= (CELLS if even else wanted):
        return different, np.searchsorted(different, values)
    edges = np.linspace(different[0], different[-1], wanted + 1)
    at = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, wanted - 1)
    return (edges[1:] + edges[:-1]) / 2, at


# --- pins side by side -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What a configuration did on the test part, in time and in parts that add up exactly; money in the settlement asset."""

    ts_ns: npt.NDArray[np.int64]
    net: Floats
    blocks: Floats
    grid: Decimal
    trend: Decimal
    fees: Decimal
    funding: Decimal
    equity: Decimal

    @property
    def parts(self) -> dict[str, Decimal]:
        """The summands of the change of equity."""
        return {"grid": self.grid, "trend": self.trend, "fees": -self.fees, "funding": self.funding}


def run(part: Part, config: Config) -> Run:
    """Run a configuration and keep its curve."""
    if part.kept_out(config) is None:
        shared = part.share(config)
        model = None if part.model is None else part.model.model
        row = sweep(shared, [config], model=model, block_s=part.block_s, threads=1).row(0, named=True)
        curve = run_grid(shared, config).equity
        parts = {
            "grid": row["grid_profit"], "trend": row["trend_profit"], "fees": row["fee"], "funding": row["funding"],
            "equity": row["equity"],
        }  # fmt: skip
    else:
        result = replay(part.market, config, model=part.model)
        summary, curve = result.summary, result.equity
        parts = {
            "grid": summary["grid"], "trend": summary["trend"], "fees": summary["fee"], "funding": summary["funding"],
            "equity": summary["equity"],
        }  # fmt: skip
    at, net = curve["ts_ns"].to_numpy(), curve["equity"].cast(pl.Float64).to_numpy()
    return Run(ts_ns=at, net=net, blocks=block_profits(at, net, part.block_s), **parts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """Pins side by side.

    Attributes
    ----------
    labels : tuple of str
        Letter and parameters of each.
    runs : tuple of Run
    less_first : tuple of Score or None
        Profit an hour less that of the first pin, block by block; None for the first.
    """

    labels: tuple[str, ...]
    runs: tuple[Run, ...]
    less_first: tuple[Score | None, ...]
    block_s: float
    asset: str


def compared(tuned: Tuned, labels: Sequence[str], runs: Sequence[Run]) -> Compared:
    """Return pins side by side."""
    block_s, asset = tuned.study.about.block_s, tuned.study.asset
    scores: list[Score | None] = [None]
    for one in runs[1:]:
        shortest = min(len(one.blocks), len(runs[0].blocks))
        less = (one.blocks[:shortest] - runs[0].blocks[:shortest])[None]
        low, high = (known_or_none(end[0]) for end in hourly_intervals(less, block_s))
        scores.append(
            Score(
                per_hour=float(less.mean()) * 3600 / block_s if shortest else math.nan,
                low=low,
                high=high,
                blocks=shortest,
                moved=int(np.count_nonzero(less)),
                block_s=block_s,
                asset=asset,
            )  # fmt: skip
        )
    return Compared(labels=tuple(labels), runs=tuple(runs), less_first=tuple(scores), block_s=block_s, asset=asset)


# --- what is exported ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIfPick:
    """A configuration that a person has chosen by trying; `gk.export` takes it as it takes a pick."""

    config: Config
    score: Score
    window_ns: tuple[int, int]
    seed: int
    note: str


def chosen(tuned: Tuned, tried: Tried, found: Picked | None) -> Pick | WhatIfPick:
    """Return what is to be exported: the pick where nothing else was tried."""
    if found is not None and tried.config == found.pick.config:
        return found.pick
    study = tuned.study
    trial = tuned.trial(tried.values)
    what = "tried by hand" if trial is None else f"trial {trial.number}, chosen by hand"
    return WhatIfPick(
        config=tried.config, score=tried.score, window_ns=study.windows_ns["test"], seed=study.about.seed,
        note=f"{what}, after a study of {len(study.trials):,} trials, seed {study.about.seed}",
    )  # fmt: skip


def as_values(values: Values, pick: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters of a configuration of which some are given; the others are as in the pick."""
    return dict(pick) | dict(values)
