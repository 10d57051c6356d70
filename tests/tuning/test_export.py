"""Export: one file that runs again as it ran, knows where it came from, names no machine, and replaces nothing unasked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import grinder_kit as gk
from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.model.config_file import load_exported
from grinder_kit.simulation.verdict import Verdict
from grinder_kit.tuning.space import Space
from grinder_kit.tuning.tune import tune
from tests.quiet import complaints

MARKET = gk.synthetic_market(seed=7, minutes=2)
GRID = gk.GridConfig(spacing_bps=5, levels=5, size="0.002", position_limit="0.02")
CORE = Path(__file__).with_name("core_only.py")


@pytest.fixture(scope="module")
def result() -> gk.Result:
    """Return a run that trades."""
    found = gk.replay(MARKET, GRID)
    assert len(found.fills) > 5
    return found


@dataclass(frozen=True)
class AStudysPick:
    """What a study hands over, as far as export looks."""

    config: gk.Config
    score: Verdict | None = None
    window_ns: tuple[int, int] | None = None
    seed: int | None = None
    note: str | None = None


def core(*args: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a fresh process that has no more than the core's packages."""
    command = [sys.executable, str(CORE), *map(str, args)]
    return subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False)


def test_a_fresh_process_without_jupyter_gives_the_same_digest(result: gk.Result, tmp_path: Path) -> None:
    """`grinder replay FILE` where nothing but the core is installed computes the notebook's digest, bit for bit."""
    file = gk.export(result, tmp_path / "deploy" / "synth.toml")
    run = core("replay", file, "--data", "synthetic seed=7 minutes=2", "--json", cwd=tmp_path)
    assert (run.returncode, complaints(run.stderr)) == (0, "")
    assert json.loads(run.stdout)["digest"] == result.digest


def test_export_says_where_it_came_from(result: gk.Result, tmp_path: Path) -> None:
    """Provenance holds market, window, digest, score with words, version, and the hash of the configuration; a comment each."""
    file = gk.export(result, tmp_path / "synth.toml", seed=11, note="the plateau")
    known = gk.load_config(file).provenance
    assert (known.market, known.sha256) == ("synthetic seed=7 minutes=2", None)
    assert known.window_ns == tuple(MARKET.span_ns)
    assert known.window_utc == "2024-01-01 00:00:00.000 to 2024-01-01 00:02:00.000 UTC"
    assert (known.digest, known.version, known.seed, known.note) == (result.digest, gk.__version__, 11, "the plateau")
    assert (known.score, known.score_text) == (result.verdict.per_hour, result.verdict.text)
    assert (known.canonical, known.config_sha256) == (result.config.canonical(), result.config.sha256)
    lines = [line for line in file.read_text().splitlines() if " = " in line]
    assert len(lines) > 40 and all("  # " in line for line in lines)


def test_what_was_exported_is_what_is_read(result: gk.Result, tmp_path: Path) -> None:
    """The file holds the same configuration, counts as not edited, and a second export changes nothing."""
    file = gk.export(result, tmp_path / "synth.toml")
    again = load_exported(file)
    assert again.canonical() == result.config.canonical()
    text = file.read_text()
    assert gk.export(again, file) == file and file.read_text() == text


def test_recording_is_named_without_its_folder(btc_recording: gk.Recording, tmp_path: Path) -> None:
    """A part of a recording is named by file and times, with the hashes of its sources; no absolute path is written."""
    first, last = btc_recording.span_ns
    part = btc_recording.window(last - 40_000_000_000)
    config = gk.Config(grid=gk.GridConfig(spacing_bps=8, levels=3, size="0.002"))
    file = gk.export(config, tmp_path / "btc.toml", market=part)
    known = gk.load_config(file).provenance
    assert known.market == f"{btc_recording.path.name} start_ns={last - 40_000_000_000}"
    assert known.sha256 == tuple(source["sha256"] for source in btc_recording.describe()["source"])
    assert known.window_ns == (last - 40_000_000_000, last)
    assert not re.search(r'"/|\\', file.read_text())
    assert gk.verify(file, btc_recording.path).same
    shifted = gk.verify(file, btc_recording.window(first, last - 50_000_000_000))
    assert not shifted.same and shifted.findings[0].part == "data" and "ns, and this is" in shifted.findings[0].text


def test_pick_of_a_study_brings_its_score(tmp_path: Path) -> None:
    """Score, seed and note of a pick are written, with its interval; its market gives the digest."""
    score = Verdict(per_hour=1.5, low=-0.25, high=3.0, blocks=27, asset="USDT")
    pick = AStudysPick(
        gk.Config(grid=GRID), score=score, window_ns=(17, 19), seed=3, note="best lower bound of 200 trials"
    )
    known = gk.load_config(gk.export(pick, tmp_path / "a.toml")).provenance
    assert (known.score, known.score_interval, known.seed) == (1.5, (-0.25, 3.0), 3)
    assert (known.digest, known.score_ns, known.note) == (None, (17, 19), "best lower bound of 200 trials")
    known = gk.load_config(gk.export(pick, tmp_path / "b.toml", market="synthetic seed=7 minutes=2", seed=0)).provenance
    assert (known.digest, known.score, known.seed) == (gk.replay(MARKET, GRID).digest, 1.5, 0)


def test_pick_of_a_real_study_is_exported(tmp_path: Path) -> None:
    """From a search to a file that verifies: the trial's configuration, its score out of sample, the study's seed."""
    space = Space(spacing_bps=(4, 8), levels=(3, 5))
    study = tune(MARKET, GRID, space, trials=3, design="random", seed=5, progress=False)
    file = gk.export(study.best, tmp_path / "best.toml", market=MARKET)
    config = load_exported(file)
    assert config.canonical() == study.best.config.canonical()
    assert (config.provenance.score_text, config.provenance.seed) == (study.best.score.text, 5)
    assert gk.verify(file).same


def test_changed_configuration_loses_what_was_known(result: gk.Result, tmp_path: Path) -> None:
    """What is derived from an exported configuration keeps neither score nor digest, however it is written."""
    config = gk.load_config(gk.export(result, tmp_path / "a.toml")).replace(**{"grid.levels": 4})
    for file in (gk.save_config(config, tmp_path / "b.toml"), gk.export(config, tmp_path / "c.toml")):
        known = load_exported(file).provenance
        assert known.digest is known.score is known.window_ns is None


def test_model_lies_beside_the_file(tmp_path: Path) -> None:
    """A fitted model is copied beside the configuration, which names it by file and hash; the pair can be moved."""
    model = FirstPassageModel()
    config = gk.Config(grid=GRID.replace(min_fill_prob=0.2))
    result = gk.replay(MARKET, config, model=model)
    file = gk.export(result, tmp_path / "here" / "a.toml")
    assert sorted(path.name for path in file.parent.iterdir()) == ["a.model.json", "a.toml", "a.trace.parquet"]
    moved = file.parent.rename(tmp_path / "there") / "a.toml"
    assert 'file = "a.model.json"' in moved.read_text()
    assert gk.replay(MARKET, gk.load_config(moved)).digest == result.digest
    copied = gk.export(gk.load_config(moved), tmp_path / "copy" / "b.toml")
    assert copied.with_name("b.model.json").read_bytes() == moved.with_name("a.model.json").read_bytes()
    moved.with_name("a.model.json").unlink()
    with pytest.raises(ConfigError, match=r"a\.model\.json"):
        gk.export(gk.load_config(moved), tmp_path / "c.toml")
    assert not (tmp_path / "c.toml").exists()


def test_nothing_is_replaced_unasked(result: gk.Result, tmp_path: Path) -> None:
    """A file with another configuration, an edited one, or none at all stays, and the message says what differs."""
    file = gk.export(result, tmp_path / "synth.toml")
    text = file.read_text()
    other = result.config.replace(**{"grid.levels": 4})
    with pytest.raises(ConfigError, match=r"holds another configuration \(grid.levels: 5 -> 4\); pass overwrite=True"):
        gk.export(other, file)
    assert file.read_text() == text
    file.write_text(text.replace("levels = 5", "levels = 6"))
    with pytest.raises(ConfigError, match="grid.levels: 6 -> 5"):
        gk.export(result, file)
    file.write_text("notes")
    with pytest.raises(ConfigError, match="is in the way; pass overwrite=True"):
        gk.export(result, file)
    assert load_exported(gk.export(other, file, overwrite=True)).canonical() == other.canonical()
    with pytest.raises(ConfigError, match="is a folder"):
        gk.export(result, tmp_path)


def test_failed_write_leaves_the_old_file(result: gk.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while the file is written: the old one is there, and no draft."""
    file = gk.export(result, tmp_path / "synth.toml")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self: Path, text: str, **_: Any) -> int:
        self.write_bytes(text[:100].encode())
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        gk.export(result, file, note="second")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        (17, {}, "cannot export int; pass a Config, a Result, or a pick of a study"),
        (GRID.replace(size="0.0025"), {"market": MARKET}, "off the lot of 0.001"),
        (GRID, {"market": "synthetic sed=7"}, "write 'synthetic seed=7 minutes=30'"),
        (GRID, {"model": gk.HeuristicModel()}, "has no file format"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_leaves_nothing(
    tmp_path: Path, source: Any, options: dict[str, Any], said: str
) -> None:
    """Bad input is one error, and no file."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        gk.export(source, tmp_path / "x.toml", **options)
    assert list(tmp_path.iterdir()) == []


def test_result_is_exported_as_it_was_run(result: gk.Result, tmp_path: Path) -> None:
    """Neither another market nor another model can be written over a result."""
    with pytest.raises(ConfigError, match="the result was run on synthetic market, seed 7"):
        gk.export(result, tmp_path / "x.toml", market=MARKET)
    with pytest.raises(ConfigError, match="the result was run without that"):
        gk.export(result, tmp_path / "x.toml", model=FirstPassageModel())
    assert list(tmp_path.iterdir()) == []


def test_a_session_runs_the_exported_file(tmp_path: Path) -> None:
    """`grinder run FILE` without Jupyter trades what the replay traded, and an edited file is refused before it starts."""
    result = gk.replay(gk.synthetic_market(seed=7, minutes=1), GRID)
    file = gk.export(result, tmp_path / "synth.toml")
    home = {"GRINDER_HOME": str(tmp_path / "home")}
    run = core("run", file, "--speed", 60, "--name", "exported", cwd=tmp_path, **home)
    assert run.returncode == 0, run.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRINDER_HOME", home["GRINDER_HOME"])
        fills = gk.Session.attach("exported").fills
    columns = ["ts_ns", "side", "price", "quantity", "commission"]
    assert len(fills) > 2 and fills.select(columns).equals(result.fills.select(columns))
    file.write_text(file.read_text().replace("levels = 5", "levels = 6"))
    run = core("run", file, cwd=tmp_path, **home)
    assert (run.returncode, run.stdout) == (2, "")
    assert re.fullmatch(
        r"error: .*synth.toml:\d+: edited after the export \(grid.levels: 5 -> 6\); export .*\n", run.stderr
    )
    with pytest.raises(ConfigError, match="edited after the export"):
        gk.Session(file)


def test_the_production_script_trades_what_was_exported(result: gk.Result, tmp_path: Path, root: Path) -> None:
    """examples/production.py, ten lines, verifies and then trades; with other data it says what differs and trades nothing."""
    script = root / "examples" / "production.py"
    code = [line for line in script.read_text().split('"""')[2].splitlines() if line]
    assert len(code) <= 10
    file = gk.export(result, tmp_path / "deploy" / "synth.toml")
    home = tmp_path / "home"
    env = os.environ | {"GRINDER_HOME": str(home)}
    command = [sys.executable, str(script), str(file)]
    other = subprocess.run(
        [*command, "synthetic seed=8 minutes=2"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (other.returncode, other.stdout) == (1, "") and "exported on synthetic seed=7 minutes=2" in other.stderr
    assert not home.exists()
    run = subprocess.run(
        [*command, "synthetic seed=7 minutes=2", "60"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, complaints(run.stderr)) == (0, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRINDER_HOME", str(home))
        fills = gk.Session.attach(result.instrument.symbol.lower()).fills
    columns = ["ts_ns", "side", "price", "quantity", "commission"]
    assert fills.select(columns).equals(result.fills.select(columns))
