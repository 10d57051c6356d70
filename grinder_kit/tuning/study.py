"""A study: its trials with out-of-sample numbers first, which of them to take, and how likely that is luck."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.interval import FEWEST_BLOCKS, Floats
from grinder_kit.model.config import Config, QueueModel
from grinder_kit.model.section import did_you_mean
from grinder_kit.tuning import study_words as words
from grinder_kit.tuning.design import Design, lattice
from grinder_kit.tuning.honesty import (
    DeflatedSharpe,
    Luck,
    Overfitting,
    against_neighbours,
    deflated_sharpe,
    judge_best,
    overfitting,
)
from grinder_kit.tuning.part import Part, whole_blocks
from grinder_kit.tuning.pick import (
    PLATEAU,
    Neighbourhood,
    Pick,
    PickRule,
    Score,
    block_matrix,
    coordinates,
    front,
    hourly_intervals,
    knee,
    known_or_none,
    nearest,
)
from grinder_kit.tuning.storage import About, identity, read_study
from grinder_kit.tuning.study_table import METRICS, trials_table
from grinder_kit.tuning.trial import Outcome, Trial

if TYPE_CHECKING:
    from grinder_kit.fillprob.model import FillModel
    from grinder_kit.fillprob.model_file import Fitted
    from grinder_kit.tuning.part import Farm, Splittable
    from grinder_kit.tuning.walk_forward import WalkForward

LATENCIES_MS = (0.0, 35.0, 100.0)
SHOWN = 8  # rows of a study's repr


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Study:
    """What `gk.tune` found.

    Attributes
    ----------
    about : About
        What was asked: market, configuration, space, objectives, seed, design.
    market : Recording or SyntheticMarket
        The whole.
    trials : tuple of Trial
        By number. Those that were pruned have neither test nor train.
    interrupted : bool
        Whether it was stopped before all trials were done.
    storage : Path or None
        Its file.

    Examples
    --------
    >>> study = Study.open("btc.study", gk.Recording.open("btc.parquet"))  # doctest: +SKIP
    >>> study.stable_region.config  # doctest: +SKIP
    """

    about: About
    market: Splittable
    trials: tuple[Trial, ...]
    interrupted: bool = False
    storage: Path | None = None
    _parts: dict[str, Part] = field(default_factory=dict)
    _model: Fitted | None = None

    @classmethod
    def open(cls, path: Path | str, market: Splittable, *, model: FillModel | Fitted | None = None) -> Study:
        """Open the file of a study.

        Parameters
        ----------
        path : Path or str
        market : Recording or SyntheticMarket
            What it was made on; `band` and `walk_forward` read it again.
        model : FillModel or Fitted, optional
            The fill model it was made with, where its configuration does not name the file.

        Raises
        ------
        DataError
            For a file that is no study, or another market than the study's.
        """
        from grinder_kit.fillprob.model_file import fitted_for

        about, trials = read_study(Path(path))
        made_on = identity(market)
        if made_on != about.recording:
            raise DataError(
                f"study was made on recording sha256 {about.recording[:8]}... ({about.market}), this one is {made_on[:8]}... "
                f"({market.describe()['name']}); give the market that {path} names"
            )
        fitted = None if model is None else fitted_for(about.base, model)  # only what is run again needs it
        first, last = about.window_ns
        whole = market if market.span_ns == about.window_ns else market.window(first, last + 1)
        wanted = len(lattice(about.space, about.trials)) if about.design is Design.GRID else about.trials
        return cls(
            about=about,
            market=whole,
            trials=tuple(trials),
            interrupted=len(trials) < wanted,
            storage=Path(path),
            _model=fitted,
        )

    # --- parts -------------------------------------------------------------------------------------------------------

    @property
    def windows_ns(self) -> dict[str, tuple[int, int]]:
        """First and last exchange time of the train and of the test part, ns UTC."""
        return {name: self.part(name).market.span_ns for name in ("train", "test")}

    def part(self, name: str = "test") -> Part:
        """Return a part of the market, read once for everything that is run on it: ``test`` or ``train``."""
        if name not in ("test", "train"):
            raise ConfigError(f"part is '{name}'; write 'test' or 'train'")
        if name not in self._parts:
            self._parts.update(cut(self.market, self.about, self._model))
        return self._parts[name]

    # --- numbers -----------------------------------------------------------------------------------------------------

    @property
    def asset(self) -> str:
        """What profits are counted in."""
        return self.market.instrument.settle

    @cached_property
    def complete(self) -> tuple[Trial, ...]:
        """The trials that saw both parts: row i of every array here is `complete[i]`."""
        return tuple(trial for trial in self.trials if trial.complete)

    def outcomes(self, part: str = "test") -> list[Outcome]:
        """Return what the complete trials did on a part."""
        return [outcome for trial in self.complete if (outcome := getattr(trial, part)) is not None]

    @cached_property
    def _blocks(self) -> dict[str, Floats]:
        return {part: block_matrix(self.outcomes(part)) for part in ("test", "train")}

    def blocks(self, part: str = "test") -> Floats:
        """Return the net profit of the complete trials in each block of `about.block_s`, (trials, blocks)."""
        return self._blocks[part]

    @cached_property
    def _intervals(self) -> dict[str, tuple[Floats, Floats]]:
        return {part: hourly_intervals(self.blocks(part), self.about.block_s) for part in ("test", "train")}

    def interval(self, part: str = "test") -> tuple[Floats, Floats]:
        """Return the ends of the 90 % intervals of :meth:`per_hour`, each (trials,); NaN where a trial moved in too few blocks."""
        return self._intervals[part]

    @cached_property
    def _per_hour(self) -> dict[str, Floats]:
        return {part: np.array([outcome.net_per_hour for outcome in self.outcomes(part)]) for part in ("test", "train")}

    def per_hour(self, part: str = "test") -> Floats:
        """Return the net profit an hour of the complete trials, (trials,)."""
        return self._per_hour[part]

    @cached_property
    def _row_of(self) -> dict[int, int]:
        """Number of a complete trial to its row."""
        return {trial.number: row for row, trial in enumerate(self.complete)}

    @cached_property
    def table(self) -> pl.DataFrame:
        """All trials by number: out of sample first, in sample beside it, then the parameters; floats in `asset`.

        trial, pruned_at; net_per_hour, low and high (90 % interval; null with too few blocks) of test, then of train; for each of
        round_trips, fills, fees, drawdown, inventory_p95 and fill_rate the value of test, then of train; one column a parameter.
        """
        return trials_table(self)

    def score(self, trial: Trial | int) -> Score:
        """Return what a complete trial earns on the test part, with its interval."""
        row = self._row(trial)
        low, high = (known_or_none(end[row]) for end in self._intervals["test"])
        blocks = self.blocks()[row]
        return Score(
            per_hour=float(self.per_hour()[row]), low=low, high=high, blocks=len(blocks), moved=int(np.count_nonzero(blocks)),
            block_s=self.about.block_s, asset=self.asset,
        )  # fmt: skip

    def _row(self, trial: Trial | int) -> int:
        number = trial if isinstance(trial, int) else trial.number
        if number in self._row_of:
            return self._row_of[number]
        pruned = any(one.number == number for one in self.trials)
        why = "was pruned: it has no test" if pruned else f"does not exist; there are {len(self.trials):,}"
        raise ConfigError(f"trial {number} {why}")

    def config_at(self, **parameters: Any) -> Config:
        """Return a configuration of the space: the best's, with these parameters changed to the nearest values the study could take.

        Raises
        ------
        ConfigError
            For a parameter that the study did not vary, or a choice that it did not have.
        """
        places = dict(zip(self.about.space.names, self.best.trial.places, strict=True))
        dimensions = {one.name: one for one in self.about.space.dimensions}
        for name, value in parameters.items():
            if name not in dimensions:
                known = ", ".join(dimensions)
                raise ConfigError(
                    f"unknown parameter '{name}'{did_you_mean(name, dimensions)}; the study varied {known}"
                )
            places[name] = dimensions[name].nearest(value)
        return self.about.space.config(self.about.base, places.values())

    # --- which to take -----------------------------------------------------------------------------------------------

    @cached_property
    def _lower(self) -> Floats:
        """Lower ends on the test part, below all others where there is none; the profit itself where no trial has one."""
        low = self._intervals["test"][0]
        return np.where(np.isnan(low), -np.inf, low) if self.judged else self.per_hour()

    @property
    def judged(self) -> bool:
        """Whether any trial has an interval on the test part."""
        return bool(np.isfinite(self._intervals["test"][0]).any())

    @cached_property
    def _beside(self) -> list[list[int]]:
        space = self.about.space
        return nearest(coordinates(space, self.complete), len(space.dimensions))

    def neighbourhood(self, trial: Trial | int) -> Neighbourhood:
        """Return a complete trial and those beside it."""
        row = self._row(trial)
        values, beside = self.per_hour(), self._beside[row]
        return Neighbourhood(
            trial=self.complete[row], neighbours=tuple(self.complete[one] for one in beside), value=float(values[row]),
            median=float(np.median(values[beside])) if beside else None, asset=self.asset,
        )  # fmt: skip

    def fragile(self, trial: Trial | int) -> bool:
        """Whether a trial's neighbours earn clearly less than it does (a lonely peak), or nothing is known of them."""
        return not self.neighbourhood(trial).plateau

    def front(self, x: str = "inventory_p95", y: str = "net_per_hour", part: str = "test") -> list[Trial]:
        """Return the trials that no other beats in both: less `x` and more `y`; by rising `x`."""
        return [self.complete[row] for row in front(self._column(x, part), self._column(y, part))]

    def _column(self, name: str, part: str) -> Floats:
        known = ("net_per_hour", *METRICS)
        if name not in known:
            raise ConfigError(f"unknown metric '{name}'{did_you_mean(name, known)}; write one of {', '.join(known)}")
        return np.array([float(getattr(outcome, name)) for outcome in self.outcomes(part)])

    def pick(self, rule: PickRule | str = PickRule.LOWER_BOUND) -> Pick | None:
        """Return the trial that a rule chooses; None for the rule ``none``.

        Parameters
        ----------
        rule : PickRule or str
            ``lower_bound`` takes the highest lower end of the test interval; ``plateau`` the same among trials whose neighbours'
            median is within 20 % of theirs, counting the neighbours' lower ends too; ``knee`` the bend of the front of profit
            over inventory.

        Raises
        ------
        ConfigError
            For an unknown rule.
        DataError
            Where no trial is complete.
        """
        if str(rule) not in list(PickRule):
            raise ConfigError(
                f"unknown rule '{rule}'{did_you_mean(str(rule), PickRule)}; write one of {', '.join(PickRule)}"
            )
        rule = PickRule(rule)
        if rule is PickRule.NONE:
            return None
        if not self.complete:
            raise DataError("the study has no complete trial; let it run longer")
        if rule is PickRule.LOWER_BOUND:
            row = int(np.argmax(self._lower))
        elif rule is PickRule.KNEE:
            row = knee(self._column("inventory_p95", "test"), self.per_hour())
        else:
            row = self._stable_row()
        trial = self.complete[row]
        seen = f"{rule} of {len(self.trials):,} trials, seed {self.about.seed}"
        return Pick(
            rule=rule,
            trial=trial,
            score=self.score(trial),
            window_ns=self.windows_ns["test"],
            around=self.neighbourhood(trial),
            seed=self.about.seed,
            note=seen,
        )

    def _stable_row(self) -> int:
        """Return the row whose own lower end and whose neighbours' median lower end are the highest, on a plateau where there is one."""
        lower, values = self._lower, self.per_hour()
        beside = np.array([np.median(lower[rows]) if rows else -np.inf for rows in self._beside])
        around = np.array([np.median(values[rows]) if rows else -np.inf for rows in self._beside])
        held = np.minimum(lower, beside)
        flat = around >= values - PLATEAU * np.abs(values)
        held = np.where(flat, held, -np.inf) if flat.any() else held
        return int(np.argmax(held)) if np.isfinite(held).any() else int(np.argmax(lower))

    @property
    def best(self) -> Pick:
        """The highest lower end of the test interval."""
        pick = self.pick(PickRule.LOWER_BOUND)
        assert pick is not None  # the rule always chooses
        return pick

    @property
    def stable_region(self) -> Pick:
        """The best plateau: a trial whose neighbours earn as much, by their lower ends; a lonely peak only where all are."""
        pick = self.pick(PickRule.PLATEAU)
        assert pick is not None  # the rule always chooses
        return pick

    # --- honesty -----------------------------------------------------------------------------------------------------

    @property
    def _enough(self) -> bool:
        """Whether there are blocks enough to judge by."""
        return self.blocks().shape[1] >= FEWEST_BLOCKS

    def luck(self, trial: Trial | int | None = None) -> Luck | None:
        """Return what is left of a trial (the best) when the search over all is allowed for; None with too few blocks."""
        row = self._row(self.best.trial if trial is None else trial)
        if self._enough and row not in self._lucks:
            self._lucks[row] = judge_best(self.blocks(), row, asset=self.asset, block_s=self.about.block_s)
        return self._lucks.get(row)

    @cached_property
    def _lucks(self) -> dict[int, Luck]:
        return {}

    def luck_against_neighbours(self, trial: Trial | int | None = None) -> Luck | None:
        """Return whether a trial (the best) earns more than those beside it; None with too few blocks, or without neighbours."""
        row = self._row(self.best.trial if trial is None else trial)
        if not self._enough or not self._beside[row]:
            return None
        return against_neighbours(self.blocks(), self._beside, row, asset=self.asset, block_s=self.about.block_s)

    def deflated_sharpe(self, trial: Trial | int | None = None) -> DeflatedSharpe | None:
        """Return the deflated Sharpe ratio of a trial (the best); None with too few blocks or trials."""
        row = self._row(self.best.trial if trial is None else trial)
        return deflated_sharpe(self.blocks(), row) if self._enough and len(self.complete) > 1 else None

    @cached_property
    def overfitting(self) -> Overfitting | None:
        """How likely this search picks what does worse than most later; None with too few blocks or trials."""
        return overfitting(self.blocks()) if self._enough and len(self.complete) > 1 else None

    @cached_property
    def slow(self) -> dict[str, int]:
        """Keys that the compiled path does not cover, and how many trials each sent to the slow replay."""
        keys = [
            trial.test.kept_out for trial in self.complete if trial.test is not None and trial.test.kept_out is not None
        ]
        return {key: keys.count(key) for key in dict.fromkeys(keys)}

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before using a number, in sentences."""
        return words.warnings(self)

    @cached_property
    def verdict(self) -> str:
        """What came of it, in words: the best, its odds of being luck, and the warnings."""
        return words.verdict(self)

    # --- how much of it is an assumption, and how it would have gone -------------------------------------------------

    def band(self, trial: Trial | int | Config | None = None) -> pl.DataFrame:
        """Return what a configuration earns on the test part under other queue models and latencies.

        Parameters
        ----------
        trial : Trial, int or Config, optional
            By default the best.

        Returns
        -------
        DataFrame
            12 rows: queue, latency_ms (each way), net_per_hour, low, high (null with too few blocks), fills, round_trips.
        """
        if not isinstance(trial, Config):
            trial = self.best.config if trial is None else self.complete[self._row(trial)].config
        cases = [(queue, latency) for queue in QueueModel for latency in LATENCIES_MS]
        outcomes = self.part().run([_assuming(trial, queue, latency) for queue, latency in cases])
        ends = hourly_intervals(block_matrix(outcomes), self.about.block_s)
        rows = [
            {
                "queue": queue.value, "latency_ms": latency, "net_per_hour": outcome.net_per_hour, "low": known_or_none(low),
                "high": known_or_none(high), "fills": outcome.fills, "round_trips": outcome.round_trips,
            }
            for (queue, latency), outcome, low, high in zip(cases, outcomes, *ends, strict=True)
        ]  # fmt: skip
        return pl.DataFrame(rows, schema_overrides={"low": pl.Float64, "high": pl.Float64})

    def walk_forward(self, folds: int = 4) -> WalkForward:
        """Return how the study's trials would have been picked and have done, fold by fold.

        The whole market is cut into `folds` + 1 stretches. In each fold the trial with the highest lower end on all stretches before
        is judged on the next one, which starts a gap later.

        Raises
        ------
        ConfigError
            For less than one fold.
        """
        from grinder_kit.tuning.walk_forward import walk_forward

        return walk_forward(self, folds)

    # --- words -------------------------------------------------------------------------------------------------------

    def top(self, rows: int = SHOWN) -> pl.DataFrame:
        """Return the first rows of the table by the lower end of the test interval."""
        by = "low_test" if self.judged else "net_per_hour_test"
        return self.table.sort(by, descending=True, nulls_last=True, maintain_order=True).head(rows)

    def to_json(self) -> dict[str, Any]:
        """Return the study as JSON types: what was asked, the picks with their odds, and every trial."""
        return words.as_json(self)

    def __repr__(self) -> str:
        return words.as_text(self)

    def _repr_html_(self) -> str:
        return words.as_html(self)


def _assuming(config: Config, queue: QueueModel, latency_ms: float) -> Config:
    """Return a configuration with another queue model and latency, the same each way."""
    changes = {"queue": queue, "entry_ms": latency_ms, "response_ms": latency_ms}
    drawn = {"entry_table_ms": None, "response_table_ms": None}
    return config.replace(**{f"execution.{key}": value for key, value in (changes | drawn).items()})


def cut(market: Splittable, about: About, model: Fitted | None, farm: Farm | None = None) -> dict[str, Part]:
    """Return the two parts of a study's market: what trains, and after a gap what judges; each is a number of full blocks."""
    train, test = market.split(1 - about.test, purge_ns=round(about.purge_s * 1e9))
    (first, middle), (begin, last) = train.span_ns, test.span_ns
    train = train.window(None, first + whole_blocks(first, middle, about.block_s))
    test = test.window(last + 1 - whole_blocks(begin, last + 1, about.block_s), None)
    return {
        name: Part(part, block_s=about.block_s, model=model, farm=farm)
        for name, part in (("train", train), ("test", test))
    }
