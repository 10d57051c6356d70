"""Which combinations are tried: without repetition, evenly, the same for the same seed, and better where earlier trials point."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from decimal import Decimal

import pytest

from grinder_kit.errors import ConfigError
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.tuning.design import BATCH, Places, Proposals, at_random, lattice
from grinder_kit.tuning.space import Space
from grinder_kit.tuning.trial import Objective, Outcome, Trial

SPACE = Space(spacing_bps=(2, 40), levels=(3, 30), **{"router.order_ttl_s": [None, 5, 20]})
CONFIG = Config(grid=GridConfig(spacing_bps=8, size="0.002"))


def test_random_draws_are_distinct_and_grow() -> None:
    """No combination comes twice, a longer draw begins like a shorter one, and all can be drawn."""
    drawn = at_random(SPACE, 500, seed=3)
    assert len(set(drawn)) == 500
    assert at_random(SPACE, 100, seed=3) == drawn[:100]
    assert at_random(SPACE, 100, seed=4) != drawn[:100]
    small = Space(levels=(3, 12))
    assert sorted(at_random(small, 10, seed=0)) == [(place,) for place in range(10)]


@pytest.mark.parametrize("trials", [12, 100, 1000])
def test_lattice_is_even_and_holds_the_ends(trials: int) -> None:
    """A grid has all choices, both ends of every range, no more than its trials, and cannot grow."""
    found = lattice(SPACE, trials)
    counts = [len({places[at] for places in found}) for at in range(3)]
    assert len(set(found)) == len(found) == counts[0] * counts[1] * counts[2] <= trials
    assert counts[2] == 3
    for at, one in enumerate(SPACE.dimensions):
        assert {0, len(one) - 1} <= {places[at] for places in found}
    assert min((counts[0] + 1) * counts[1], counts[0] * (counts[1] + 1)) * counts[2] > trials


def test_lattice_that_cannot_hold_the_ends_is_refused() -> None:
    """Fewer trials than corners are no grid."""
    with pytest.raises(ConfigError, match="has at least 12 trials; trials is 11"):
        lattice(SPACE, 11)
    assert len(lattice(Space(levels=(3, 12)), 200)) == 10


def trial(number: int, places: Places, value: float) -> Trial:
    """Return a trial that earned so much an hour."""
    outcome = Outcome(
        hours=1.0, net=Decimal(repr(value)), fees=Decimal(0), funding=Decimal(0), fills=0, round_trips=0, orders=0,
        drawdown=0.0, inventory_p95=0.0, blocks=array("d"),
    )  # fmt: skip
    return Trial(number=number, places=places, parameters={}, config=CONFIG, test=outcome, train=outcome)


def searched(batches: int, hill: Callable[[Places], float], told: list[Trial] | None = None) -> list[Trial]:
    """Return what a search finds on a hill; `told` are trials of an earlier process."""
    proposals, found = Proposals(SPACE, (Objective.NET,), seed=1), list(told or ())
    for first in range(0, len(found), BATCH):
        proposals.tell(found[first : first + BATCH])
    while len(found) < batches * BATCH:
        known = {one.places for one in found}
        asked = proposals.ask(len(found), BATCH, known)
        batch = [trial(len(found) + at, places, hill(places)) for at, places in enumerate(asked)]
        proposals.tell(batch)
        found += batch
    return found


def hill(places: Places) -> float:
    """Return a height with its top at (100, 10, 1)."""
    return -((places[0] - 100) ** 2) / 100 - (places[1] - 10) ** 2 - 20.0 * (places[2] != 1)


def test_search_learns_never_repeats_and_goes_on_in_another_process() -> None:
    """Later batches are nearer to the top than the first, no combination comes twice, and a restart changes nothing."""
    whole = searched(11, hill)
    heights = [hill(one.places) for one in whole]
    assert (
        sum(heights[4 * BATCH : 5 * BATCH]) > sum(heights[:BATCH]) / 3
    )  # later it has seen the top, and looks elsewhere
    assert max(heights) > -3
    assert len({one.places for one in whole}) == len(whole)
    assert searched(3, hill, whole[: 2 * BATCH]) == whole[: 3 * BATCH]
    assert searched(11, hill, whole[: 10 * BATCH]) == whole  # where a batch learns from a sample


def test_search_of_a_small_space_ends_with_all_of_it() -> None:
    """Where proposals repeat, the rest of a batch is drawn from what was not tried."""
    space = Space(levels=(3, 12), spacing_bps=[5, 8, 13, 21])
    proposals = Proposals(space, (Objective.NET,), seed=0)
    first = proposals.ask(0, BATCH, set())
    proposals.tell([trial(at, places, float(places[0])) for at, places in enumerate(first)])
    assert sorted(first + proposals.ask(BATCH, 8, set(first))) == [space.combination(n) for n in range(40)]


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search says what to install, and which design needs nothing."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'grinder-kit\[tune\]', or take design='random'"):
        Proposals(SPACE, (Objective.NET,), seed=0)
