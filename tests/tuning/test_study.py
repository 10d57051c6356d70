"""A study: which trial it takes, what it says of luck, and what it shows first."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from grinder_kit.cli import app
from grinder_kit.errors import ConfigError, DataError
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.config_file import load_config
from grinder_kit.simulation.replay import replay
from grinder_kit.tuning.design import Design
from grinder_kit.tuning.export import export
from grinder_kit.tuning.pick import Pick, front, hourly_intervals, knee
from grinder_kit.tuning.space import Space
from grinder_kit.tuning.storage import About, identity, new_trial
from grinder_kit.tuning.study import Study
from grinder_kit.tuning.trial import Objective, Outcome
from grinder_kit.tuning.tune import tune

MARKET = synthetic_market(seed=7, minutes=5)
GRID = GridConfig(spacing_bps=8, levels=10, size="0.002", position_limit="0.05")
SPACE = Space(spacing_bps=(2, 12, 1), levels=(2, 12))
BLOCKS = 40


def made(
    earns: Callable[[int, int], float], *, spread: float = 1.0, inventory: Callable[[int, int], float] | None = None
) -> Study:
    """Return a study over a whole grid in which each trial earns so much in the mean of its blocks, of one minute.

    The blocks of all trials share their noise, so that differences between trials are exact.
    """
    about = About(
        recording=identity(MARKET), market="by hand", instrument=MARKET.instrument, window_ns=MARKET.span_ns,
        base=Config(grid=GRID), space=SPACE,
        objectives=(Objective.NET,), seed=0, design=Design.GRID, trials=SPACE.combinations, test=0.4, purge_s=10.0, block_s=60.0,
        prune=False,
    )  # fmt: skip
    noise = np.random.default_rng(0).normal(0, spread, BLOCKS)
    noise -= noise.mean()
    trials = []
    for number in range(SPACE.combinations):
        x, y = SPACE.combination(number)
        blocks = noise * (earns(x, y) != 0) + earns(x, y)
        outcome = Outcome(
            hours=BLOCKS / 60, net=Decimal(repr(float(blocks.sum()))), fees=Decimal(0), funding=Decimal(0), fills=BLOCKS, round_trips=9,
            orders=99, drawdown=1.0, inventory_p95=0.01 if inventory is None else inventory(x, y), blocks=array("d", blocks),
        )  # fmt: skip
        trials.append(new_trial(about, number, (x, y), test=outcome, train=outcome))
    return Study(about=about, market=MARKET, trials=tuple(trials))


def places(pick: Pick | None) -> tuple[int, ...]:
    """Return where a pick is."""
    assert pick is not None
    return pick.trial.places


def hill_and_peak(x: int, y: int) -> float:
    """Return a lonely peak at (9, 9) and a broad hill around (2, 3)."""
    return 3.0 if (x, y) == (9, 9) else max(0.01, 2.0 - 0.02 * ((x - 2) ** 2 + (y - 3) ** 2)) if x < 6 else 0.01


# --- which to take ---------------------------------------------------------------------------------------------------


def test_the_stable_region_is_a_plateau_and_the_best_may_be_a_peak() -> None:
    """The best is the highest lower end, wherever it stands; the stable region is where the neighbours earn as much."""
    study = made(hill_and_peak)
    assert (places(study.best), places(study.stable_region)) == ((9, 9), (2, 3))
    assert study.best.fragile and not study.stable_region.fragile
    assert study.fragile(study.best.trial) and not study.fragile(study.stable_region.trial.number)
    assert "fragile: its 4 neighbours earn +0.60 USDT per hour against its +180.00" in study.verdict
    assert study.stable_region.around.words.startswith("plateau: its 4 neighbours earn +118.80")
    assert study.stable_region.config.grid.spacing_bps == 4
    assert study.pick("plateau") == study.stable_region and study.pick("lower_bound") == study.best


def test_the_lower_end_decides_not_the_mean() -> None:
    """A trial that earns more but varies wildly is not picked before one that earns steadily."""
    steady = made(lambda x, y: 1.0)
    trial = steady.trials[60]
    assert trial.test is not None
    blocks = (np.array(trial.test.blocks) - 1) * 20 + 1.5
    wild = replace(trial.test, blocks=array("d", blocks), net=Decimal(repr(float(blocks.sum()))))
    trials = [*steady.trials[:60], replace(trial, test=wild), *steady.trials[61:]]
    study = replace(steady, trials=tuple(trials))
    assert study.per_hour().argmax() == 60
    assert study.best.trial.number != 60


def test_a_trial_that_does_not_trade_is_no_pick() -> None:
    """Doing nothing has no interval, and is not taken before what trades at a loss; it is said that all lose."""
    study = made(lambda x, y: 0.0 if x else -2.0 - y / 10)
    assert places(study.best) == (0, 0)
    assert study.table["low_test"].null_count() == 110
    assert "even the best loses: doing nothing is better" in study.warnings
    assert made(lambda x, y: 0.0).best.score.low is None


def test_the_knee_is_where_the_front_bends() -> None:
    """Profit rises with inventory, steeply at first: the knee is the corner; a dominated trial is not on the front."""
    study = made(lambda x, y: min(x, 3) + 0.1 * x - 0.5 * y + 9, inventory=lambda x, y: (x + 1) / 10)
    assert places(study.pick("knee")) == (3, 0)
    assert [trial.places for trial in study.front()] == [(x, 0) for x in range(11)]


def test_front_and_knee_of_few_points() -> None:
    """One point is its own front; a straight one ends at the highest."""
    assert front(np.array([1.0]), np.array([5.0])) == [0]
    assert knee(np.array([1.0, 2.0]), np.array([5.0, 6.0])) == 1
    assert front(np.array([1.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0, 3.0])) == [1, 3]


def test_rules_have_names() -> None:
    """`none` takes nothing, and a wrong name is answered with the right ones."""
    study = made(hill_and_peak)
    assert study.pick("none") is None
    with pytest.raises(ConfigError, match="unknown rule 'plato'"):
        study.pick("plato")
    with pytest.raises(ConfigError, match="unknown metric 'profit'"):
        study.front("profit")
    with pytest.raises(ConfigError, match=r"trial 500 does not exist; there are 121"):
        study.score(500)
    with pytest.raises(ConfigError, match="part is 'all'; write 'test' or 'train'"):
        study.part("all")


def test_a_configuration_of_the_space_can_be_asked_for() -> None:
    """Parameters go to the nearest value of their range, the others stay at the best's; what was not varied is refused."""
    study = made(hill_and_peak)
    config = study.config_at(spacing_bps=5.4)
    assert (config.grid.spacing_bps, config.grid.levels) == (5, study.best.config.grid.levels)
    with pytest.raises(ConfigError, match="unknown parameter 'spacing'; did you mean 'spacing_bps'"):
        study.config_at(spacing=5)


def test_other_choices_are_no_neighbours() -> None:
    """Neighbours have the same choices, and lie near along every range."""
    space = Space(levels=(2, 12), **{"router.order_ttl_s": [None, 5]})
    study = tune(MARKET, GRID, space, design="grid", progress=False)
    for trial in study.complete:
        around = study.neighbourhood(trial)
        assert 3 <= len(around.neighbours) <= 4
        assert {one.places[1] for one in around.neighbours} == {trial.places[1]}
        assert max(abs(one.places[0] - trial.places[0]) for one in around.neighbours) <= 3


# --- luck ------------------------------------------------------------------------------------------------------------


def test_a_planted_edge_is_found_and_noise_is_called_so() -> None:
    """What earns in every block is told from zero after the search; what earns by chance is not, and the words say it."""
    edge, noise = made(lambda x, y: 1.0, spread=0.2), made(lambda x, y: 0.1, spread=3.0)
    luck = edge.luck()
    assert luck is not None and luck.distinguishable and luck.trials == 121
    assert "not distinguishable from zero" not in edge.verdict
    assert "the best is not distinguishable from its neighbours" in edge.verdict
    assert "the best is not distinguishable from zero once the search over all trials is allowed for" in noise.warnings
    assert "best of 121 trials" in noise.verdict and "deflated" in noise.verdict and "ways to halve it" in noise.verdict


def test_few_blocks_give_no_interval_and_it_is_said() -> None:
    """With fewer than five blocks there is a number and no interval, and nothing pretends otherwise."""
    study = tune(MARKET, GRID, SPACE, trials=20, design="random", block_s=60, progress=False)
    assert study.blocks().shape[1] < 5
    assert study.table["low_test"].null_count() == 20
    assert study.luck() is None and study.overfitting is None
    assert "too few for an interval" in study.best.score.text and "take a longer market" in study.verdict


def test_intervals_are_of_the_blocks() -> None:
    """An interval holds the mean, scales with the hour, and is wider for what varies more."""
    rng = np.random.default_rng(0)
    blocks = np.stack([rng.normal(1, 1, 50), rng.normal(1, 5, 50), np.zeros(50)])
    low, high = hourly_intervals(blocks, 60)
    assert (low[:2] < 60 * blocks[:2].mean(axis=1)).all() and (high[:2] > 60 * blocks[:2].mean(axis=1)).all()
    assert high[1] - low[1] > 3 * (high[0] - low[0])
    assert np.isnan(low[2]) and np.isnan(high[2])
    assert np.allclose(hourly_intervals(blocks, 30)[0][:2], 2 * low[:2])


# --- what it shows ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study() -> Study:
    """Return a small study."""
    base = Config(grid=GRID).replace(**{"execution.entry_ms": 35, "execution.response_ms": 35})
    return tune(MARKET, base, SPACE, trials=30, design="random", progress=False)


def test_out_of_sample_comes_first(study: Study) -> None:
    """Each table begins with what was not searched, and has in sample beside it."""
    columns = study.table.columns
    assert columns[:8] == [
        "trial", "pruned_at", "net_per_hour_test", "low_test", "high_test", "net_per_hour_train", "low_train", "high_train"
    ]  # fmt: skip
    assert columns[8:10] == ["round_trips_test", "round_trips_train"] and columns[-2:] == ["spacing_bps", "levels"]
    low = study.top(30)["low_test"].drop_nulls().to_list()
    assert low == sorted(low, reverse=True)
    shown = repr(study)
    assert shown.index("test/h") < shown.index("train/h") and "30 trials (random, seed 0)" in shown
    assert "<table>" in study._repr_html_() and "test/h" in study._repr_html_()


def test_json_is_json(study: Study) -> None:
    """Everything is there as JSON types."""
    told = json.loads(json.dumps(study.to_json()))
    assert told["done"] == 30 and len(told["trials_table"]) == 30
    assert told["best"]["config"]["grid"]["levels"] == study.best.config.grid.levels


def test_band_holds_the_trial_itself(study: Study) -> None:
    """Twelve assumptions, of which the configuration's own gives the trial's own number."""
    band = study.band()
    assert band.height == 12 and band["latency_ms"].unique().sort().to_list() == [0, 35, 100]
    own = band.filter(queue="power", latency_ms=35.0)
    row = study.table.filter(trial=study.best.trial.number)
    assert own["net_per_hour"].to_list() == row["net_per_hour_test"].to_list()
    assert (own["low"].to_list(), own["fills"].to_list()) == (row["low_test"].to_list(), row["fills_test"].to_list())
    assert study.band(study.trials[3].config).equals(study.band(3))


def test_walk_forward_picks_by_the_past_and_is_judged_by_a_replay(study: Study) -> None:
    """Each fold's pick is the best of the stretches before, starts a gap later, and earns there what a replay says."""
    walk = study.walk_forward(folds=3)
    assert walk.table.height == 3 and 0 <= walk.rank <= 1
    for row in walk.table.iter_rows(named=True):
        trial = study.trials[row["trial"]]
        result = replay(MARKET.window(row["start_ns"], row["end_ns"]), trial.config)
        hours = (row["end_ns"] - 1 - row["start_ns"]) / 3.6e12
        assert row["net_per_hour"] == pytest.approx(float(result.summary["equity"]) / hours, rel=1e-6)
        assert (row["spacing_bps"], row["levels"]) == (
            float(trial.parameters["spacing_bps"]),
            trial.parameters["levels"],
        )
    starts, ends = walk.table["start_ns"], walk.table["end_ns"]
    assert (starts[1:] - ends[:-1]).min() >= 10e9  # type: ignore[operator]
    # What comes later changes nothing that was picked before.
    middle = sum(MARKET.span_ns) // 2
    early = replace(
        study, market=MARKET.window(None, middle), about=replace(study.about, window_ns=(MARKET.span_ns[0], middle))
    )
    assert early.walk_forward(folds=1).table["trial"][0] == walk.table["trial"][0]
    assert "folds" in walk.verdict and "rank" in repr(walk) and "<table>" in walk._repr_html_()
    with pytest.raises(ConfigError, match="folds is 0"):
        study.walk_forward(0)
    with pytest.raises(ConfigError, match="write fewer"):
        study.walk_forward(60)


def test_a_pick_goes_to_production(study: Study, tmp_path: Path) -> None:
    """`gk.export` takes a pick, and writes its score with the window it was judged on, its seed and its rule."""
    pick = study.stable_region
    known = load_config(export(pick, tmp_path / "pick.toml")).provenance
    assert (known.seed, known.note) == (0, "plateau of 30 trials, seed 0")
    assert known.config_sha256 == pick.config.sha256
    assert pick.window_ns == study.windows_ns["test"]
    assert pick.score.text in (tmp_path / "pick.toml").read_text()


def test_open_reads_back_and_refuses_another_market(tmp_path: Path) -> None:
    """A file opens as the study it is, on the market it was made on and no other; what is no study is named."""
    file = tmp_path / "a.study"
    study = tune(MARKET, GRID, SPACE, trials=5, design="random", storage=file, progress=False)
    assert Study.open(file, MARKET).trials == study.trials
    with pytest.raises(DataError, match=r"study was made on recording sha256 \w{8}\.\.\..*this one is \w{8}"):
        Study.open(file, synthetic_market(seed=8, minutes=5))
    with pytest.raises(DataError, match="no such study"):
        Study.open(tmp_path / "b.study", MARKET)


# --- the command -----------------------------------------------------------------------------------------------------


def test_command_prints_the_study_and_json(tmp_path: Path) -> None:
    """`grinder tune` prints what a notebook shows; `--json` is one value for programs, the same trials again from the file."""
    (tmp_path / "grid.toml").write_text('[grid]\nspacing_bps = 8\nlevels = 10\nsize = "0.002"\n')
    (tmp_path / "space.toml").write_text("levels = { from = 2, to = 12 }\nspacing_bps = { from = 2, to = 12 }\n")
    args = [
        "tune", str(tmp_path / "grid.toml"), "--space", str(tmp_path / "space.toml"), "--data", "synthetic seed=7 minutes=3",
        "--trials", "20", "--design", "random", "--storage", str(tmp_path / "a.study"),
    ]  # fmt: skip
    shown = CliRunner().invoke(app, args)
    assert shown.exit_code == 0 and "20 trials (random, seed 0) for net" in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*args, "--json"]).stdout)
    assert told["done"] == 20 and told["verdict"].splitlines()[0] in shown.stdout
    assert pl.DataFrame(told["trials_table"]).height == 20
