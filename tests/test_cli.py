"""The `grinder` command: exit codes, what goes to stdout and stderr, and that bad input leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from grinder_kit import __version__, cli
from grinder_kit.errors import ConnectivityError, DataError, NotArmedError

GRID = '[grid]\nspacing_bps = 8\nsize = "0.002"\n'


def grinder(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """Run the command in this process; return exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out, err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """--version answers on stdout."""
    assert grinder(capsys, "--version") == (0, f"grinder_kit {__version__}\n", "")


def test_help_without_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """Alone, the command lists what it can do."""
    code, out, err = grinder(capsys)
    assert (code, err) == (0, "")
    assert all(name in out for name in ("demo", "import", "info", "replay"))


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["repley"], "No such command 'repley'"),
        (["replay"], "Missing argument 'CONFIG'"),
        (["demo", "--minutes", "long"], "Invalid value for '--minutes'"),
        (["demo", "--minutes", "0"], "minutes is 0; write a number above 0"),
        (["demo", "--nonsense"], "No such option: --nonsense"),
        (["replay", "{tmp}/nope.toml"], "nope.toml: no such configuration file"),
        (["replay", "{tmp}"], "directory"),
        (["replay", "{tmp}/grid.toml"], "grid.toml: names no market; pass --data RECORDING"),
        (["replay", "{tmp}/grid.toml", "--data", "synthetic sed=1"], "write 'synthetic seed=7 minutes=30'"),
        (["replay", "{tmp}/grid.toml", "--set", "execution.quue=power"], "unknown key 'quue'; did you mean 'queue'?"),
        (["replay", "{tmp}/grid.toml", "--set", "queue=power"], "write section.key=value"),
        (["replay", "{tmp}/typo.toml"], "typo.toml:2: unknown key 'spacing_bp'; did you mean 'spacing_bps'?"),
        (["replay", "{tmp}/float.toml"], 'float.toml:3: size is a float; write "0.002"'),
        (["replay", "{tmp}/torn.toml"], "torn.toml:1: "),
        (["replay", "{tmp}/grid.toml", "--data", "{tmp}/nope.parquet"], "nope.parquet"),
        (
            ["replay", "{tmp}/off.toml", "--data", "synthetic seed=7 minutes=1", "--report", "{tmp}/x/r.html"],
            'off.toml:3: size is 0.0025, off the lot of 0.001 of SYNTH-USDT; write "0.002" or "0.003"',
        ),
        (
            ["replay", "{tmp}/grid.toml", "--data", "synthetic minutes=1", "--set", "grid.size=0.00005"],
            "--set grid.size: size is 0.00005, off the lot",
        ),
        (["import", "binance", "x.gz", "-o", "{tmp}/x.parquet"], "unknown format 'binance'; did you mean"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, args: list[str], text: str
) -> None:
    """Every mistake of the user is explained on stderr with exit code 2, and no file appears."""
    (tmp_path / "grid.toml").write_text(GRID)
    (tmp_path / "typo.toml").write_text(GRID.replace("spacing_bps", "spacing_bp"))
    (tmp_path / "float.toml").write_text(GRID.replace('"0.002"', "0.002"))
    (tmp_path / "off.toml").write_text(GRID.replace("0.002", "0.0025"))
    (tmp_path / "torn.toml").write_text("[grid")
    before = sorted(tmp_path.iterdir())
    code, out, err = grinder(capsys, *(arg.format(tmp=tmp_path) for arg in args))
    assert (code, out) == (2, "")
    assert text in err
    assert err.startswith("error: ") and "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (DataError("x: torn"), 2, "error: x: torn"),
        (NotArmedError("not armed"), 3, "error: not armed"),
        (ConnectivityError("no route"), 4, "error: no route"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "out.html"), 2, "error: out.html: Permission denied"),
        (ZeroDivisionError("division"), 70, "error: ZeroDivisionError: division\nthis is a bug in grinder_kit"),
    ],
)  # fmt: skip
def test_exit_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, said: str
) -> None:
    """Each kind of failure has its code, and none shows a traceback."""

    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(cli, "_market", fail)
    got, out, err = grinder(capsys, "replay", "examples/grid.toml", "--data", "x.parquet")
    assert (got, out) == (code, "")
    assert err.startswith(said) and "Traceback" not in err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """--debug, wherever it stands, lets the exception through."""
    from grinder_kit.errors import ConfigError

    with pytest.raises(ConfigError):
        cli.main(["replay", str(tmp_path / "nope.toml"), "--debug"])


def test_demo_holds_what_runs_it_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`grinder demo` writes a report and a configuration; replaying that gives the same digest, another seed another."""
    code, out, err = grinder(capsys, "demo", "--minutes", 1, "--out", tmp_path)
    assert (code, err) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "grid.toml"}
    assert f"grinder replay {tmp_path / 'grid.toml'}" in out
    code, out, err = grinder(capsys, "replay", tmp_path / "grid.toml")
    assert (code, err) == (0, "")
    assert "the same as the digest in" in out
    code, out, _ = grinder(capsys, "replay", tmp_path / "grid.toml", "--data", "synthetic seed=8 minutes=1")
    assert "another than the digest in" in out


def test_json_is_for_programs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`replay --json` prints one JSON value with the numbers and the digest, and nothing else."""
    (tmp_path / "grid.toml").write_text(GRID)
    args = ["replay", tmp_path / "grid.toml", "--data", "synthetic seed=7 minutes=1", "--json"]
    code, out, err = grinder(capsys, *args)
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert {"trades", "position", "fee", "equity", "digest"} <= result.keys()
    assert json.loads(grinder(capsys, *args, "--set", "execution.entry_ms=500")[1])["digest"] != result["digest"]


def test_draft_becomes_the_file_only_when_all_went_well(tmp_path: Path) -> None:
    """A report that fails half-way leaves the old one, and no draft."""
    target = tmp_path / "deep" / "x.html"
    with cli._draft(target) as draft:
        draft.write_text("whole")
    with pytest.raises(RuntimeError), cli._draft(target) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]
    with pytest.raises(DataError, match="is a folder"), cli._draft(tmp_path):
        pass


def test_reader_that_has_seen_enough_is_no_error() -> None:
    """`grinder | head` ends quietly."""
    command = f'"{sys.executable}" -c "from grinder_kit.cli import main; main()" --help | true'
    run = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
