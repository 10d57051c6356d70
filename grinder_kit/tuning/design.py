"""Which combinations of a space are tried: all over a lattice, at random, or where earlier trials point."""

from __future__ import annotations

import random
from collections.abc import Container, Iterator, Sequence
from enum import StrEnum
from typing import Any

from grinder_kit.errors import ConfigError
from grinder_kit.tuning.space import Space
from grinder_kit.tuning.trial import Objective, Trial

BATCH = 32  # trials that are proposed together; the same on every machine, since a study depends on it
_BEST, _OTHERS = 32, 256  # trials that a proposal looks at: the best, and a sample of the others
_TRIES = 4 * BATCH  # proposals in vain (known combinations) until the rest of a batch is drawn at random

Places = tuple[int, ...]


class Design(StrEnum):
    """How a study walks through its space."""

    TPE = "tpe"  # a first batch at random, then where earlier trials were good (tree-structured Parzen estimator)
    RANDOM = "random"  # drawn without replacement
    GRID = "grid"  # evenly over every parameter


def at_random(space: Space, trials: int, seed: int) -> list[Places]:
    """Return `trials` different combinations; a longer list begins like a shorter one."""
    return [space.combination(number) for number in _distinct(space, trials, random.Random(seed), set())]


def _distinct(space: Space, count: int, rng: random.Random, known: set[int]) -> Iterator[int]:
    for _ in range(count):
        number = rng.randrange(space.combinations)
        while number in known:
            number = rng.randrange(space.combinations)
        known.add(number)
        yield number


def lattice(space: Space, trials: int) -> list[Places]:
    """Return at most `trials` combinations spread evenly: all choices, and of each range as many values as there is room for.

    Raises
    ------
    ConfigError
        When the ends of the ranges and all choices are more than `trials` already.
    """
    sizes = [len(one) if one.choices else 2 for one in space.dimensions]
    product = _product(sizes)
    if product > trials:
        raise ConfigError(f"a grid over {', '.join(space.names)} has at least {product:,} trials; trials is {trials:,}")
    grown = True
    while grown:
        grown = False
        for at in sorted(range(len(sizes)), key=lambda at: sizes[at]):
            if sizes[at] < len(space.dimensions[at]) and product // sizes[at] * (sizes[at] + 1) <= trials:
                product = product // sizes[at] * (sizes[at] + 1)
                sizes[at] += 1
                grown = True
                break
    taken = [
        [round(k * (len(one) - 1) / max(1, size - 1)) for k in range(size)]
        for one, size in zip(space.dimensions, sizes, strict=True)
    ]
    found: list[Places] = [()]
    for values in taken:
        found = [(*places, value) for places in found for value in values]
    return found


def _product(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


class Proposals:
    """Combinations that Optuna's TPE proposes, a batch at a time.

    What a batch holds depends on the seed, on its number and on the trials before it, and on nothing else: a study that was
    interrupted goes on as if it had not been.

    Parameters
    ----------
    space : Space
    objectives : tuple of Objective
    seed : int

    Raises
    ------
    ConfigError
        Where Optuna is not installed.
    """

    def __init__(self, space: Space, objectives: tuple[Objective, ...], seed: int) -> None:
        self._optuna = _optuna()
        self._space, self._objectives, self._seed = space, objectives, seed
        distributions = self._optuna.distributions
        # A range is a line to Optuna, with the places at whole numbers: whole numbers themselves cost it five times as much.
        self._distributions: dict[str, Any] = {
            one.name: distributions.CategoricalDistribution(tuple(range(len(one))))
            if one.choices
            else distributions.FloatDistribution(-0.5, len(one) - 0.5)
            for one in space.dimensions
        }
        self._told: list[tuple[Trial, Any]] = []

    def ask(self, first: int, count: int, known: Container[Places]) -> list[Places]:
        """Return `count` combinations that are not known; `first` is the number of the first trial of the batch."""
        study = self._study(first)
        batch: list[Places] = []
        for _ in range(_TRIES):
            if len(batch) == count:
                break
            asked = study.ask(self._distributions)
            places = tuple(min(max(round(asked.params[one.name]), 0), len(one) - 1) for one in self._space.dimensions)
            if places in known or places in batch:
                study.tell(asked, state=self._optuna.trial.TrialState.FAIL)
            else:
                batch.append(places)
        rng = random.Random(f"{self._seed}/{first}/rest")
        while len(batch) < count:
            places = self._space.combination(rng.randrange(self._space.combinations))
            if places not in known and places not in batch:
                batch.append(places)
        return batch

    def tell(self, trials: Sequence[Trial]) -> None:
        """Take in what a batch of trials did."""
        self._told += [(trial, self._entered(trial)) for trial in trials]

    def _study(self, first: int) -> Any:
        """Return a study of Optuna that knows what a batch is proposed by."""
        sampler = self._optuna.samplers.TPESampler(
            seed=random.Random(f"{self._seed}/{first}").randrange(2**32), n_startup_trials=BATCH, constant_liar=True
        )
        logging = self._optuna.logging
        level = logging.get_verbosity()
        logging.set_verbosity(logging.WARNING)  # it would announce a study of its own
        directions = ["maximize" if one.maximise else "minimize" for one in self._objectives]
        study = self._optuna.create_study(directions=directions, sampler=sampler)
        logging.set_verbosity(level)
        study.add_trials([entered for _, entered in self._remembered(first)])
        return study

    def _remembered(self, first: int) -> list[tuple[Trial, Any]]:
        """Return what a batch learns from: all earlier trials, and of many the best and a sample of the others.

        A proposal costs time for each trial it looks at, and the others only tell what is not good.
        """
        if len(self._told) <= _BEST + _OTHERS:
            return self._told
        kept: set[int] = set()
        complete = [at for at, (trial, _) in enumerate(self._told) if trial.train is not None]
        for objective in self._objectives:
            values = {at: objective.of(train) for at in complete if (train := self._told[at][0].train) is not None}
            kept |= set(sorted(complete, key=values.__getitem__, reverse=objective.maximise)[:_BEST])
        others = [at for at in range(len(self._told)) if at not in kept]
        kept |= set(random.Random(f"{self._seed}/{first}/others").sample(others, _OTHERS))
        return [self._told[at] for at in sorted(kept)]

    def _entered(self, trial: Trial) -> Any:
        """Return a trial as Optuna knows it."""
        states = self._optuna.trial.TrialState
        given: dict[str, Any] = {}
        if trial.train is not None:
            given = {"state": states.COMPLETE, "values": [one.of(trial.train) for one in self._objectives]}
        elif trial.glimpse is not None and trial.pruned_at is not None:
            step = round(1000 * trial.pruned_at)
            given = {"state": states.PRUNED, "intermediate_values": {step: self._objectives[0].of(trial.glimpse)}}
        params = {
            one.name: place if one.choices else float(place)
            for one, place in zip(self._space.dimensions, trial.places, strict=True)
        }
        return self._optuna.trial.create_trial(params=params, distributions=self._distributions, **given)


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ConfigError(
            "design 'tpe' needs Optuna: pip install 'grinder-kit[tune]', or take design='random'"
        ) from None
    return optuna
