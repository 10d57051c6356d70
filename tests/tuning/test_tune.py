"""`gk.tune`: its numbers are a replay's, it stops and goes on, and it refuses bad input before it computes anything."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from distributed import Client
from polars.testing import assert_frame_equal

import grinder_kit as gk
from grinder_kit.errors import ConfigError, DataError
from grinder_kit.market.synthetic import SyntheticMarket, synthetic_market
from grinder_kit.model.config import Config, GridConfig, InstrumentConfig
from grinder_kit.simulation.replay import replay
from grinder_kit.simulation.verdict import block_profits
from grinder_kit.tuning.space import Space
from grinder_kit.tuning.storage import StudyStoppedError, read_study
from grinder_kit.tuning.study import Study
from grinder_kit.tuning.trial import Outcome
from grinder_kit.tuning.tune import clearly_bad, tune

MARKET = synthetic_market(seed=7, minutes=5)
GRID = GridConfig(spacing_bps=8, levels=10, size="0.002", position_limit="0.05")
SPACE = Space(spacing_bps=(2, 12), levels=(2, 12), **{"router.order_ttl_s": [None, 5]})


SEARCH = {"design": "tpe", "trials": 80}
NOTHING = Outcome(
    hours=1.0, net=Decimal(0), fees=Decimal(0), funding=Decimal(0), fills=0, round_trips=0, orders=0, drawdown=0.0,
    inventory_p95=0.0, blocks=array("d"),
)  # fmt: skip


class UnreadMarket(SyntheticMarket):
    """A market that must not be read."""

    def batches(self, rows: int = 0) -> Iterator[pl.DataFrame]:
        """Fail."""
        raise AssertionError("something was computed")


UNREAD = UnreadMarket(seed=7, minutes=5)


def run(**options: Any) -> Study:
    """Return a study without a bar."""
    return tune(MARKET, GRID, SPACE, **{"trials": 40, "design": "random", "progress": False, **options})


@pytest.fixture(scope="module")
def study() -> Study:
    """Return a study at random."""
    return run()


@pytest.fixture(scope="module")
def search() -> Study:
    """Return a search that nothing stopped."""
    return run(**SEARCH)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the file of a small study."""
    file = tmp_path_factory.mktemp("made") / "a.study"
    run(storage=file, trials=2)
    return file.read_bytes()


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_a_replay(study: Study) -> None:
    """On both parts, money is a replay's to the last digit, and so are fills, round trips and blocks."""
    for trial in study.trials[:2]:
        for name, outcome in (("test", trial.test), ("train", trial.train)):
            part = study.part(name)
            result = replay(part.market, trial.config)
            summary, equity = result.summary, result.equity
            assert outcome is not None
            assert (outcome.net, outcome.fees) == (summary["equity"], summary["fee"])
            assert (outcome.fills, outcome.round_trips) == (summary["trades"], summary["round_trips"])
            assert outcome.orders == summary["submitted_buy"] + summary["submitted_sell"]
            curve = equity["equity"].cast(pl.Float64).to_numpy()
            blocks = block_profits(equity["ts_ns"].to_numpy(), curve, study.about.block_s)
            assert np.array(outcome.blocks[:-1]) == pytest.approx(blocks[:-1])
            assert sum(outcome.blocks) == pytest.approx(float(outcome.net)) and len(outcome.blocks) == len(blocks)
            assert outcome.hours == pytest.approx((result.end_ns - result.start_ns) / 3.6e12, rel=0.01)


def test_parts_are_apart_and_full_of_blocks(study: Study) -> None:
    """Test comes a gap after train, each is a number of full blocks, and little is left out."""
    spans, block_s = study.windows_ns, study.about.block_s
    assert spans["test"][0] - spans["train"][1] >= 10e9
    for name, (first, last) in spans.items():
        assert study.blocks(name).shape[1] == int((last - first) / 1e9 // block_s) >= 10
    assert spans["test"][1] == MARKET.span_ns[1] and spans["train"][0] == MARKET.span_ns[0]


def test_the_same_seed_gives_the_same_study(study: Study) -> None:
    """A study is decided by its seed."""
    assert_frame_equal(run().table, study.table)
    assert not run(seed=1).table.equals(study.table)


def test_grid_and_search_take_their_objectives() -> None:
    """A grid is even; a search for several objectives runs, and its trials are distinct."""
    grid = run(design="grid", trials=30)
    assert [grid.table[name].n_unique() for name in SPACE.names] == [5, 3, 2]
    assert len(grid.trials) == 30
    search = run(design="tpe", trials=40, objective=("net", "inventory", "drawdown", "fill_rate"))
    assert len({trial.places for trial in search.trials}) == len(search.complete) == 40


def test_clearly_bad_trials_are_given_up(tmp_path: Path) -> None:
    """A search does not run what loses from the start to the end: it has no test, and on the whole train part it is none of the good."""
    market = synthetic_market(seed=7, minutes=12)
    study = tune(market, GRID, SPACE, trials=64, block_s=10, storage=tmp_path / "a.study", progress=False)
    pruned = [trial for trial in study.trials if not trial.complete]
    assert 0 < len(pruned) < 20 and f"({len(pruned)} given up early)" in study.verdict
    assert all(trial.test is None and trial.train is None and trial.pruned_at == 0.25 for trial in pruned)
    assert study.table["net_per_hour_test"].null_count() == len(pruned)
    assert Study.open(tmp_path / "a.study", market).trials == study.trials
    outcomes = study.part("train").run([trial.config for trial in pruned])
    good = np.quantile(study.per_hour("train"), 0.8)
    assert all(outcome.net_per_hour < good for outcome in outcomes)


def test_only_the_clearly_bad_are_given_up() -> None:
    """Below the median and surely below the best: noise around the best stays, a steady loser goes, and few blocks decide nothing."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 1, 40)

    def outcome(mean: float, spread: float, blocks: int = 20) -> Outcome:
        return replace(NOTHING, blocks=array("d", shared[:blocks] + mean + rng.normal(0, spread, blocks)))

    known = [outcome(0.1 * rng.normal(), 0.3, 40) for _ in range(30)]
    fresh = [*(outcome(0.1 * rng.normal(), 0.3) for _ in range(50)), outcome(-1, 0.3), outcome(1, 0.3)]
    bad = clearly_bad(fresh, known)
    assert bad[50:] == [True, False]
    assert sum(bad[:50]) < 25
    assert clearly_bad([outcome(-9, 0.3, 4)], known) == [False]


def test_what_the_compiled_path_does_not_cover_is_replayed_and_named() -> None:
    """A configuration outside the compiled path gives the same numbers slowly, and the study says which key it was."""
    named = InstrumentConfig.of(replace(MARKET.instrument, max_orders=199))
    config = Config(grid=GRID, instrument=named)
    space = Space(spacing_bps=[5, 8])
    slow = tune(MARKET, config, space, design="grid", progress=False)
    fast = tune(MARKET, GRID, space, design="grid", progress=False)
    assert slow.slow == {"instrument": 2} and fast.slow == {}
    assert "instrument kept 2 trials out of the compiled path" in slow.verdict
    assert_frame_equal(slow.table, fast.table)


def test_on_a_cluster_it_is_the_same_study(study: Study, tmp_path: Path) -> None:
    """With a Dask client the sweeps run on its workers, give the same trials, and leave nothing but the file."""
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0"):
        far = run(executor="dask", storage=tmp_path / "far.study")
    assert_frame_equal(far.table, study.table)
    assert [path.name for path in tmp_path.iterdir()] == ["far.study"]
    assert far.band().equals(study.band())
    with pytest.raises(ConfigError, match="executor needs storage"):
        run(executor="dask")
    with pytest.raises(ConfigError, match="there is no client"):
        run(executor="dask", storage=tmp_path / "b.study")


# --- stopping and going on --------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
import grinder_kit as gk
from tests.tuning.test_tune import GRID, MARKET, SPACE

def progress(done, wanted, best):
    if done >= .4 * wanted:
        os.kill(os.getpid(), signal.SIGKILL)

gk.tune(MARKET, GRID, SPACE, trials=80, design="tpe", storage=sys.argv[1], progress=progress)
"""


def test_a_killed_search_goes_on_as_if_it_had_not_been(search: Study, root: Path, tmp_path: Path) -> None:
    """A study that was killed at 40 % and resumed has every trial, and the best, of one that was never killed."""
    file = tmp_path / "killed.study"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(file)], cwd=root, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(read_study(file)[1]) == 32
    resumed = run(**SEARCH, storage=file)
    assert_frame_equal(resumed.table, search.table)
    assert resumed.best.trial == search.best.trial
    opened = Study.open(file, MARKET)
    assert_frame_equal(opened.table, search.table)
    assert (opened.verdict, repr(opened)) == (search.verdict, repr(search))


def test_an_interrupt_keeps_what_is_done(search: Study, tmp_path: Path) -> None:
    """Ctrl-C returns the study with the trials so far, says so, and the next call finishes it."""

    def impatient(done: int, wanted: int, best: str) -> None:
        if done >= 32:
            raise KeyboardInterrupt

    file = tmp_path / "a.study"
    stopped = run(**SEARCH, storage=file, progress=impatient)
    assert stopped.interrupted and len(stopped.trials) == 32
    assert "stopped after 32 of 80 trials; what is done is kept" in stopped.verdict
    assert Study.open(file, MARKET).interrupted
    finished = run(**SEARCH, storage=file)
    assert not finished.interrupted
    assert_frame_equal(finished.table, search.table)


def test_an_interrupt_before_the_first_trial_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study without a trial says so and breaks nothing."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("grinder_kit.tuning.part.Part.run", interrupted)
    empty = run()
    assert empty.interrupted and empty.table.height == 0
    assert "stopped after 0 of 40 trials" in repr(empty) and "no trial is complete" in empty._repr_html_()
    assert empty.to_json()["done"] == 0
    with pytest.raises(DataError, match="no complete trial"):
        empty.best  # noqa: B018


def test_a_study_can_grow(search: Study, tmp_path: Path) -> None:
    """More trials go on from those that are there, and are what they would have been at once."""
    file = tmp_path / "a.study"
    run(**SEARCH | {"trials": 20}, storage=file)
    assert_frame_equal(run(**SEARCH, storage=file).table, search.table)


def test_a_full_disk_keeps_what_was_computed(search: Study, tmp_path: Path) -> None:
    """Where the file takes no more, the error has all trials, the file those that fitted, and later the same call goes on."""
    file = tmp_path / "full.study"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with pytest.raises(
            StudyStoppedError, match=r"trials cannot be written.*make room, and the same call goes on"
        ) as error:
            run(**SEARCH, storage=file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    computed = len(error.value.study.trials)
    assert f"{computed} trials are computed and kept" in str(error.value)
    assert 0 < len(read_study(file)[1]) == computed - 32
    assert_frame_equal(run(**SEARCH, storage=file).table, search.table)


def test_progress_is_told() -> None:
    """A function is told how many trials are done, how many are wanted, and the best so far."""
    told: list[tuple[int, int, str]] = []
    run(design="tpe", trials=40, progress=lambda *now: told.append(now))
    assert [now[:2] for now in told] == [(0, 40), (32, 40), (40, 40)]
    assert told[0][2] == "none yet" and "in sample" in told[-1][2]


def test_the_bar_says_how_fast_and_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    """The bar shows trials a second and the best so far."""
    run(progress=True)
    bar = capsys.readouterr().err
    assert "40/40" in bar and "trials/s" in bar and "best net" in bar


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"trials": 5000}, r"trials is 5,000, and the space has 2,222 combinations; write 2,222 or fewer"),
        ({"trials": 0}, r"trials is 0; write a whole number above zero"),
        ({"objective": "profit"}, r"unknown objective 'profit'"),
        ({"objective": "nett"}, r"unknown objective 'nett'; did you mean 'net'\?"),
        ({"objective": ()}, r"write each once"),
        ({"design": "tree"}, r"unknown design 'tree'; did you mean 'tpe'\?|unknown design 'tree'"),
        ({"design": "grid", "trials": 7}, r"has at least 8 trials; trials is 7"),
        ({"test": 1.5}, r"test is 1.5; write the share"),
        ({"purge_s": 500}, r"leaves nothing of"),
        ({"block_s": 0}, r"block_s is 0"),
        ({"seed": 0.5}, r"seed is 0.5; write a whole number"),
        ({"prune": True, "objective": "drawdown"}, r"prune works with the objective 'net' alone"),
        ({"space": Space(size=("0.0005", "0.002"))}, r"the space holds size 0.0005: size is 0.0005, off the lot"),
        ({"space": Space(skew_bps_at_limit=(0, 5)), "grid": GRID.replace(position_limit=None)}, r"grid.skew_bps_at_limit 5.*needs"),
        ({"space": (2, 40)}, r"write gk\.Space"),
        ({"market": 5}, r"cannot be split"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_is_computed(options: dict[str, Any], text: str, tmp_path: Path) -> None:
    """What cannot work is said at once, and no file appears."""
    given = {"market": UNREAD, "grid": GRID, "space": SPACE} | options
    places = [given.pop(name) for name in ("market", "grid", "space")]
    with pytest.raises(ConfigError, match=text):
        tune(*places, **{"design": "random", "storage": tmp_path / "x" / "a.study", **given})
    assert not list(tmp_path.iterdir())


def test_a_combination_that_the_price_forbids_is_refused_before_any_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels below zero are found at the first price, before a configuration is run."""
    monkeypatch.setattr("grinder_kit.tuning.part.Part.run", lambda *_: pytest.fail("something was computed"))
    with pytest.raises(ConfigError, match=r"the space holds spacing_bps 900, levels 12: .*at or below zero"):
        tune(MARKET, GRID, Space(spacing_bps=(2, 900), levels=(2, 12)), trials=5, progress=False)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"market": synthetic_market(seed=8, minutes=5)}, r"study was made on recording sha256 \w{8}\.\.\. .*this one is \w{8}\.\.\."),
        ({"market": MARKET.window(None, MARKET.span_ns[1] - 10**9)}, r"study was made with window_ns"),
        ({"space": Space(spacing_bps=(2, 12), levels=(2, 12))}, r"study was made with space Space\(.*this one is Space\("),
        ({"grid": GRID.replace(size="0.003")}, r"study was made with another configuration: grid.size: 0.002 -> 0.003"),
        ({"objective": "drawdown"}, r"study was made with objectives net, this one is drawdown"),
        ({"seed": 5}, r"study was made with seed 0, this one is 5"),
        ({"design": "tpe", "prune": False}, r"study was made with design random, this one is tpe"),
        ({"test": 0.3}, r"study was made with"),
    ],
)  # fmt: skip
def test_the_file_of_another_study_is_refused(made: bytes, tmp_path: Path, options: dict[str, Any], text: str) -> None:
    """A file goes on only with what it was made of; what differs is said before anything is computed, and the file stays."""
    file = tmp_path / "a.study"
    file.write_bytes(made)
    given = {"market": MARKET, "grid": GRID, "space": SPACE} | options
    market, grid, space = (given.pop(name) for name in ("market", "grid", "space"))
    unread = UnreadMarket(seed=market.seed, minutes=market.minutes, start_ns=market.start_ns, end_ns=market.end_ns)
    with pytest.raises(DataError, match=text):
        tune(unread, grid, space, **{"trials": 2, "design": "random", "storage": file, **given})
    assert file.read_bytes() == made


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    """A folder, a file in no folder, and something that is no study are named before anything is computed."""
    (tmp_path / "file").write_text("no study")
    for path, text in (
        (tmp_path, "is a folder; name a file"),
        (tmp_path / "file" / "a.study", "File exists|Not a directory"),
        (tmp_path / "file", "is no study"),
    ):
        with pytest.raises(DataError, match=text):
            tune(UNREAD, GRID, SPACE, design="random", storage=path)


def test_public_names() -> None:
    """The package has the three names."""
    assert (gk.tune, gk.Space, gk.Study) == (tune, Space, Study)
    assert issubclass(StudyStoppedError, DataError)
    assert Outcome.__dataclass_fields__["kept_out"].default is None
