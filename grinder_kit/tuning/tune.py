"""`gk.tune`: run the trials of a study, in batches that are one sweep each, and keep what is done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.interval import FEWEST_BLOCKS, between, block_draws
from grinder_kit.fillprob.model_file import fitted_for
from grinder_kit.model.config import Config, GridConfig, Provenance
from grinder_kit.model.config_check import check_against
from grinder_kit.model.section import did_you_mean
from grinder_kit.tuning.design import BATCH, Design, Proposals, at_random, lattice
from grinder_kit.tuning.part import Farm, Part, connected
from grinder_kit.tuning.pick import block_matrix
from grinder_kit.tuning.space import Space, told
from grinder_kit.tuning.storage import About, StudyFile, StudyStoppedError, identity, new_trial
from grinder_kit.tuning.study import Study, cut
from grinder_kit.tuning.trial import Objective, Outcome, Trial

if TYPE_CHECKING:
    from distributed import Client

    from grinder_kit.fillprob.model import FillModel
    from grinder_kit.fillprob.model_file import Fitted
    from grinder_kit.tuning.part import Splittable

TRIALS = 200
CHUNK = 256  # trials of a planned design between two commits
FAR_CHUNK = 4096  # the same on a cluster
SLOW_CHUNK = 4  # the same where each is replayed step by step
LONG_BLOCKS_S = (60.0, 300.0, 900.0, 3600.0)  # the first of them that makes no more blocks than can be told apart
SHORT_BLOCKS_S = (60.0, 30.0, 20.0, 10.0, 5.0)  # where even a minute leaves too few: the first that does not
FEWEST_TEST_BLOCKS, MOST_TEST_BLOCKS = 10, 2000
# Shares of the train part after which a clearly bad trial is given up. Each slice is run again from the start by those that stay,
# so that more of them cost more than they save unless half of all trials are bad.
SLICES = (0.25,)
RESAMPLES = 200
_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


def tune(
    market: Splittable,
    grid: GridConfig | Config,
    space: Space,
    *,
    trials: int | None = None,
    objective: str | Iterable[str] = "net",
    seed: int = 0,
    design: Design | str = Design.TPE,
    test: float = 0.4,
    purge_s: float = 10.0,
    block_s: float | None = None,
    model: FillModel | Fitted | None = None,
    storage: Path | str | None = None,
    executor: Client | str | None = None,
    prune: bool | None = None,
    progress: bool | Progress = True,
) -> Study:
    """Search a space of grids on the first part of a market, and judge every trial on the rest.

    Parameters
    ----------
    market : Recording or SyntheticMarket
        Each part is read once for all trials.
    grid : GridConfig or Config
        What the space does not vary.
    space : Space
    trials : int, optional
        By default 200, or all combinations where there are fewer. A grid takes at most so many.
    objective : str or several
        ``net`` (more), ``drawdown`` (less), ``inventory`` (less), ``fill_rate`` (more), on the train part.
    seed : int
        The same seed gives the same trials under the same versions, however often the study was interrupted.
    design : Design or str
        ``tpe`` learns from earlier trials (Optuna); ``random`` draws without replacement; ``grid`` is even. The last two are one sweep.
    test : float
        Share of the time that judges, at the end.
    purge_s : float
        Gap between the parts, s.
    block_s : float, optional
        Length of the blocks of profit that intervals resample, s; by default 60, less where the test part is too short for 10 of
        them, more where it holds more than 2,000.
    model : FillModel or Fitted, optional
        What `grid.min_fill_prob` is held against; by default the one that the configuration names, or the specification's heuristic.
    storage : path, optional
        A file: every batch is written there, and the same call goes on where the last one stopped.
    executor : Client or str, optional
        Of a Dask cluster: its client, the address of its scheduler, or ``dask`` for the client that this process has. Sweeps run there;
        workers must see the recording, and the folder of `storage`, under the same path. By default they run on this machine.
    prune : bool, optional
        Give up trials that are clearly bad on the first quarter of the train part: below the median and, by the interval of
        the difference, below the best. By default for ``tpe`` with the objective ``net``.
    progress : bool or callable
        A bar with trials a second and the best so far; or a function of (done, wanted, best in words).

    Returns
    -------
    Study
        After an interrupt, with what was done.

    Raises
    ------
    ConfigError
        Before anything is computed: for a space that does not fit, more trials than combinations, a combination that the
        instrument refuses.
    DataError
        Before anything is computed: for a file of another study (another recording, space, objective, ...), or one that cannot be
        written.
    StudyStoppedError
        Where the disk fills up on the way; the error has the study as far as it came.
    """
    base = (grid if isinstance(grid, Config) else Config(grid=grid)).replace(provenance=Provenance())
    fitted = fitted_for(base, model)
    if fitted is not None and base.fill_model is None:
        base = base.replace(**{"fill_model.sha256": fitted.sha256})
    about = _about(market, base, space, trials, objective, seed, design, test, purge_s, block_s, prune)
    if executor is not None and storage is None:
        raise ConfigError("executor needs storage: workers leave their rows beside that file")
    farm = (
        None
        if executor is None or storage is None
        else Farm(client=connected(executor), folder=Path(storage).with_name(f"{Path(storage).name}.parts"))
    )
    parts = cut(market, about, fitted, farm)
    corners = [new_trial(about, -1, places) for places in space.corners()]
    plan = _plan(about)
    _check(market, [*corners, *(plan or ())], None)
    file = None if storage is None else StudyFile(Path(storage), about)
    try:
        return _Run(about, market, parts, fitted, file, plan, corners).to_the_end(progress)
    finally:
        if file is not None:
            file.close()


def _about(
    market: Splittable,
    base: Config,
    space: Space,
    trials: int | None,
    objective: str | Iterable[str],
    seed: int,
    design: Design | str,
    test: float,
    purge_s: float,
    block_s: float | None,
    prune: bool | None,
) -> About:
    """Check what can be checked without the market's rows."""
    if not hasattr(market, "split"):
        raise ConfigError(
            f"market is {type(market).__name__}, which cannot be split; give a recording or a synthetic market"
        )
    if not isinstance(space, Space):
        raise ConfigError(f"space is {type(space).__name__}; write gk.Space(spacing_bps=(2, 40), levels=(3, 30))")
    if str(design) not in list(Design):
        raise ConfigError(
            f"unknown design '{design}'{did_you_mean(str(design), Design)}; write one of {', '.join(Design)}"
        )
    design, objectives = Design(design), Objective.read(objective)
    combinations = space.combinations
    wanted = min(TRIALS, combinations) if trials is None else trials
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise ConfigError(f"trials is {wanted!r}; write a whole number above zero")
    if wanted > combinations and design is not Design.GRID:
        raise ConfigError(
            f"trials is {wanted:,}, and the space has {combinations:,} combinations; write {combinations:,} or fewer, or a wider space"
        )
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"seed is {seed!r}; write a whole number")
    if not 0 < test < 1:
        raise ConfigError(f"test is {test!r}; write the share of the time that judges, such as 0.4")
    if not 0 <= purge_s < float("inf"):
        raise ConfigError(f"purge_s is {purge_s!r}; write seconds, such as 10")
    if prune and objectives != (Objective.NET,):
        raise ConfigError("prune works with the objective 'net' alone; leave it out")
    first, last = market.span_ns
    if block_s is None:
        block_s = _blocks_for((last - first) / 1e9 * test - purge_s)
    elif not 0 < block_s < float("inf"):
        raise ConfigError(f"block_s is {block_s!r}; write seconds above 0, such as 60")
    return About(
        recording=identity(market), market=str(market.describe()["name"]), instrument=market.instrument,
        window_ns=(first, last), base=base, space=space,
        objectives=objectives, seed=seed, design=design, trials=wanted, test=test, purge_s=purge_s, block_s=block_s,
        prune=(design is Design.TPE and objectives == (Objective.NET,)) if prune is None else prune,
    )  # fmt: skip


def _blocks_for(seconds: float) -> float:
    """Return the length of blocks for a test part of so many seconds, s."""
    if seconds >= FEWEST_TEST_BLOCKS * SHORT_BLOCKS_S[0] + 1:
        return next((one for one in LONG_BLOCKS_S if seconds <= MOST_TEST_BLOCKS * one), LONG_BLOCKS_S[-1])
    return next((one for one in SHORT_BLOCKS_S if seconds >= FEWEST_TEST_BLOCKS * one + 1), SHORT_BLOCKS_S[-1])


def _plan(about: About) -> list[Trial] | None:
    """Return all trials of a design that does not learn, by number."""
    if about.design is Design.TPE:
        return None
    drawn = (
        lattice(about.space, about.trials)
        if about.design is Design.GRID
        else at_random(about.space, about.trials, about.seed)
    )
    return [new_trial(about, number, places) for number, places in enumerate(drawn)]


def _check(market: Splittable, trials: Iterable[Trial], part: Part | None) -> None:
    """Refuse what cannot work on the instrument, at the first price of a part where one is given."""
    for trial in trials:
        try:
            check_against(trial.config, market.instrument, None if part is None else part.first_mid(trial.config))
        except ConfigError as error:
            raise ConfigError(f"the space holds {told(trial.parameters)}: {error}") from None


class _Run:
    """A study under way."""

    def __init__(
        self,
        about: About,
        market: Splittable,
        parts: dict[str, Part],
        fitted: Fitted | None,
        file: StudyFile | None,
        plan: list[Trial] | None,
        corners: list[Trial],
    ) -> None:
        self.about, self.market, self.parts, self.fitted, self.file = about, market, parts, fitted, file
        self.plan, self.corners, self.farm = plan, corners, parts["train"].farm
        self.wanted = about.trials if plan is None else len(plan)
        self.trials: dict[int, Trial] = {} if file is None else {one.number: one for one in file.trials()}
        self._proposals = Proposals(about.space, about.objectives, about.seed) if plan is None else None
        self._slices = self._prefixes() if about.prune else {}

    def _prefixes(self) -> dict[float, Part]:
        """Return the beginnings of the train part that are long enough to judge by."""
        train = self.parts["train"]
        first, last = train.market.span_ns
        found = {}
        for share in SLICES:
            end = first + int((last - first) * share)
            if (end - first) / 1e9 > FEWEST_BLOCKS * self.about.block_s + 1:
                found[share] = Part(
                    train.market.window(None, end), block_s=self.about.block_s, model=self.fitted, farm=self.farm
                )
        return found

    def study(self, *, interrupted: bool) -> Study:
        done = tuple(self.trials[number] for number in sorted(self.trials))
        return Study(
            about=self.about, market=self.market, trials=done, interrupted=interrupted,
            storage=None if self.file is None else self.file.path, _parts={} if self.farm else self.parts, _model=self.fitted,
        )  # fmt: skip

    def to_the_end(self, progress: bool | Progress) -> Study:
        try:
            with _reporting(progress, self.wanted, len(self.trials)) as report:
                if len(self.trials) < self.wanted:
                    # Workers look at the price themselves: this process need not read the market.
                    for part in self.parts.values() if self.farm is None else ():
                        _check(self.market, [*self.corners, *(self.plan or ())], part)
                    report(len(self.trials), self.best)
                steps = self._planned() if self.plan is not None else self._learned()
                for _ in steps:
                    report(len(self.trials), self.best)
        except KeyboardInterrupt:
            _log.info("study interrupted done=%d wanted=%d", len(self.trials), self.wanted)
            return self.study(interrupted=len(self.trials) < self.wanted)
        return self.study(interrupted=False)

    @property
    def best(self) -> str:
        """The best so far on the train part, in words."""
        objective = self.about.objectives[0]
        values = [objective.of(one.train) for one in self.trials.values() if one.train is not None]
        if not values:
            return "none yet"
        return f"{objective} {max(values) if objective.maximise else min(values):+.4g} in sample"

    # --- trials ------------------------------------------------------------------------------------------------------

    def _planned(self) -> Iterator[None]:
        assert self.plan is not None
        yield from self._done(self.plan, CHUNK if self.farm is None else FAR_CHUNK)

    def _learned(self) -> Iterator[None]:
        assert self._proposals is not None
        for first in range(0, self.wanted, BATCH):
            count = min(BATCH, self.wanted - first)
            numbers = range(first, first + count)
            if not all(number in self.trials for number in numbers):
                known = {trial.places for number, trial in self.trials.items() if number < first}
                asked = self._proposals.ask(first, count, known)
                for number, places in zip(numbers, asked, strict=True):
                    if number in self.trials and self.trials[number].places != places:
                        raise DataError(
                            f"trial {number} of {self.file and self.file.path} is not the one that this Optuna proposes; "
                            "go on with the version that began, or take another file"
                        )
                yield from self._done(
                    [new_trial(self.about, number, places) for number, places in zip(numbers, asked, strict=True)],
                    BATCH,
                )
            self._proposals.tell([self.trials[number] for number in numbers])

    def _done(self, planned: Sequence[Trial], chunk: int) -> Iterator[None]:
        """Compute the trials that are not done yet, keep them, and yield after each handful.

        What a trial is measured against comes from the chunks before its own, however the study was interrupted.
        """
        rest = [trial for trial in planned if trial.number not in self.trials]
        for start, group in groupby(rest, key=lambda trial: trial.number // chunk * chunk):
            reference = [one for number, one in self.trials.items() if number < start]
            waiting = list(group)
            while waiting:
                slow = self.parts["train"].kept_out(waiting[0].config) is not None
                some = waiting[: SLOW_CHUNK if slow else chunk]
                waiting = waiting[len(some) :]
                self._keep(self._computed(some, reference))
                yield

    def _keep(self, trials: Sequence[Trial]) -> None:
        self.trials |= {trial.number: trial for trial in trials}
        if self.file is None:
            return
        try:
            self.file.add(trials)
        except DataError as error:
            raise StudyStoppedError(
                f"{error}; {len(self.trials):,} trials are computed and kept in this error's `study`: make room, and the same call goes on",
                self.study(interrupted=True),
            ) from None

    def _computed(self, fresh: Sequence[Trial], reference: Sequence[Trial]) -> list[Trial]:
        """Run trials on both parts; those that are clearly bad on a beginning of the train part end there."""
        finished: dict[int, Trial] = {}
        alive = list(fresh)
        for share, part in self._slices.items():
            known = [one.train for one in reference if one.train is not None]
            if len(known) < BATCH // 2 or not alive:
                continue
            outcomes = part.run([trial.config for trial in alive])
            bad = clearly_bad(outcomes, known)
            for trial, outcome, given_up in zip(alive, outcomes, bad, strict=True):
                if given_up:
                    finished[trial.number] = _with(trial, pruned_at=share, glimpse=outcome)
            alive = [trial for trial in alive if trial.number not in finished]
        if alive:
            configs = [trial.config for trial in alive]
            train, test = (self.parts[name].run(configs) for name in ("train", "test"))
            for trial, trained, tested in zip(alive, train, test, strict=True):
                finished[trial.number] = _with(trial, train=trained, test=tested)
        return [finished[trial.number] for trial in fresh]


def _with(trial: Trial, **outcomes: Any) -> Trial:
    return Trial(number=trial.number, places=trial.places, parameters=trial.parameters, config=trial.config, **outcomes)


def clearly_bad(outcomes: Sequence[Outcome], known: Sequence[Outcome]) -> list[bool]:
    """Return which outcomes of a beginning lie below the median of known trials there, and surely below the best of them."""
    blocks = block_matrix(outcomes)
    whole = block_matrix(known)
    count = min(blocks.shape[1], whole.shape[1])
    if count < FEWEST_BLOCKS:
        return [False] * len(outcomes)
    there, best = whole[:, :count].mean(axis=1), whole[int(np.argmax(whole.mean(axis=1))), :count]
    mean = blocks[:, :count].mean(axis=1)
    difference = block_draws(count, RESAMPLES) @ (blocks[:, :count] - best).T / count
    _, high = between(difference)
    bad: list[bool] = ((mean < np.median(there)) & (high < 0)).tolist()
    return bad


# --- progress --------------------------------------------------------------------------------------------------------


@contextmanager
def _reporting(progress: bool | Progress, wanted: int, done: int) -> Iterator[Callable[[int, str], None]]:
    """Give a function of (done, best in words) that shows a bar, or tells the caller's function."""
    if callable(progress):
        told_to = progress
        yield lambda now, best: told_to(now, wanted, best)
        return
    from tqdm.auto import tqdm

    with tqdm(desc="tuning", total=wanted, initial=done, unit=" trials", disable=not progress) as bar:

        def report(now: int, best: str) -> None:
            bar.set_postfix_str(f"best {best}", refresh=False)
            bar.update(now - bar.n)

        yield report
