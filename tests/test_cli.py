"""The `grinder` command: exit codes, what goes to stdout and stderr, and that bad input leaves nothing behind."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from grinder_kit import __version__, cli
from grinder_kit.errors import ConnectivityError, DataError, NotArmedError
from tests.quiet import complaints

GRID = '[grid]\nspacing_bps = 8\nsize = "0.002"\n'


def grinder(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """Run the command in this process; return exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out, complaints(err)


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
        (
            ["tune", "{tmp}/grid.toml", "--space", "{tmp}/torn.toml", "--data", "synthetic minutes=1"],
            "torn.toml: ",
        ),
        (
            ["tune", "{tmp}/grid.toml", "--space", "{tmp}/nope.toml", "--data", "synthetic minutes=1"],
            "nope.toml: no such file; a space holds lines like",
        ),
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

    monkeypatch.setattr("grinder_kit.market.naming.open_market", fail)
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


def test_reader_that_has_seen_enough_is_no_error() -> None:
    """`grinder | head` ends quietly."""
    command = f'"{sys.executable}" -c "from grinder_kit.cli import main; main()" --help | true'
    run = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def _journal(path: Path) -> Path:
    """Write the journal of a short night: three orders, one of them refused, one partly filled and on its way out."""
    from grinder_kit.execution.journal import Journal
    from grinder_kit.model.event import Cancel, OrderFilled, OrderUpdate, OutcomeUnknown, Place
    from grinder_kit.model.order import OrderState, Side

    start = 1_795_000_000_123_000_000
    header = {
        "symbol": "BTCUSDT",
        "venue": "binanceusdm",
        "tag": "r0",
        "config": "ab" * 32,
        "tick": "0.1",
        "lot": "0.001",
    }
    with Journal.open(path, header=header, ts_ns=start) as journal:
        for number, (key, side, ticks) in enumerate(
            [("B3", Side.BUY, 599_900), ("S1", Side.SELL, 600_100), ("B4", Side.BUY, 599_800)]
        ):
            place = Place(
                client_order_id=f"gkr0-{key}-{number}", level_id=f"{side}_{key[1:]}", side=side, price_ticks=ticks,
                quantity_lots=20, reason="NEW_LEVEL",
            )  # fmt: skip
            journal.append_intent(place, start)
        journal.commit()
        journal.append_event(OrderUpdate(client_order_id="gkr0-B3-0", state=OrderState.OPEN, ts_ns=1), start + 10**8)
        said = OutcomeUnknown(client_order_id="gkr0-S1-1", raw="FOO\n\x1b[31m", ts_ns=1)
        journal.append_event(said, start + 2 * 10**8)
        gone = OrderUpdate(client_order_id="gkr0-B4-2", state=OrderState.REJECTED, reason="MIN_NOTIONAL", ts_ns=1)
        journal.append_event(gone, start + 2 * 10**8)
        fill = OrderFilled(
            client_order_id="gkr0-B3-0", trade_id="991", price_ticks=599_900, quantity_lots=5,
            commission=Decimal("0.0060"), commission_asset="USDT", ts_ns=1, is_maker=True,
        )  # fmt: skip
        journal.append_event(fill, start + 10**9)
        journal.append_event(fill, start + 10**9)  # told twice, counted once
        journal.append_intent(Cancel(client_order_id="gkr0-B3-0", reason="OFF_PLAN"), start + 2 * 10**9)
        journal.append_decision("B3", "CANCEL_REPLACE", "LARGE_MOVE", start + 2 * 10**9)
        journal.append_note("adopted an order", start + 3 * 10**9, order="gkr0-B4-2")
    return path


def test_journal_says_what_happened_and_what_is_open(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`grinder journal` prints one line an entry, aligned, in words; then the sum: span, counts, fills, live orders, damage."""
    code, out, err = grinder(capsys, "journal", _journal(tmp_path / "r0.journal"))
    assert (code, err) == (0, "")
    lines, _, rest = out.partition("\n\n")
    assert lines.splitlines() == [
        "2026-11-18 11:06:40.123        1  header          BTCUSDT at binanceusdm, session r0            "
        f"grinder_kit {__version__}, configuration abababababab",
        "2026-11-18 11:06:40.123        2  intent    B3    place BUY 0.02 at 59,990.0, POST_ONLY         "
        "the level has no order  [gkr0-B3-0]",
        "2026-11-18 11:06:40.123        3  intent    S1    place SELL 0.02 at 60,010.0, POST_ONLY        "
        "the level has no order  [gkr0-S1-1]",
        "2026-11-18 11:06:40.123        4  intent    B4    place BUY 0.02 at 59,980.0, POST_ONLY         "
        "the level has no order  [gkr0-B4-2]",
        "2026-11-18 11:06:40.223        5  event     B3    OPEN  [gkr0-B3-0]",
        "2026-11-18 11:06:40.323        6  event     S1    outcome unknown                               "
        r"FOO\n\x1b[31m  [gkr0-S1-1]",
        "2026-11-18 11:06:40.323        7  event     B4    REJECTED                                      "
        "under the venue's minimum notional  [gkr0-B4-2]",
        "2026-11-18 11:06:41.123        8  event     B3    filled 0.005 at 59,990.0                      "
        "fee 0.006 USDT, maker, trade 991  [gkr0-B3-0]",
        "2026-11-18 11:06:41.123        9  event     B3    filled 0.005 at 59,990.0                      "
        "fee 0.006 USDT, maker, trade 991  [gkr0-B3-0]",
        "2026-11-18 11:06:42.123       10  intent    B3    cancel                                        "
        "the plan has no such level any more  [gkr0-B3-0]",
        "2026-11-18 11:06:42.123       11  decision  B3    cancel and replace                            "
        "the price moved too far to amend",
        "2026-11-18 11:06:43.123       12  note            adopted an order                              order=gkr0-B4-2",
    ]
    assert rest.splitlines() == [
        "journal       BTCUSDT at binanceusdm, session r0",
        "span          2026-11-18 11:06:40.123 to 2026-11-18 11:06:43.123 UTC, 3.0 s",
        "entries       12",
        "  header      1",
        "  intent      4",
        "  event       5",
        "  decision    1",
        "  note        1",
        "fills         1: bought 0.005, sold 0",
        "live orders   2 by the journal; the venue may know better",
        "  S1          SELL 0.02 at 60,010.0, PENDING, its state is unknown  [gkr0-S1-1]",
        "  B3          BUY 0.02 at 59,990.0, PARTIALLY_FILLED, 0.005 filled, a cancel is under way  [gkr0-B3-0]",
        "damage        none found",
    ]


def test_journal_as_json_is_one_value_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`grinder journal --json` prints entries, each a JSON object on a line of its own, and nothing else."""
    code, out, err = grinder(capsys, "journal", _journal(tmp_path / "r0.journal"), "--json")
    values = [json.loads(line) for line in out.splitlines()]
    assert (code, err, [value["seq"] for value in values]) == (0, "", list(range(1, 13)))
    assert values[7] == {
        "seq": 8, "ts_ns": 1_795_000_001_123_000_000, "time": "2026-11-18T11:06:41.123Z", "kind": "event", "level": "B3",
        "body": {
            "what": "OrderFilled", "client_order_id": "gkr0-B3-0", "trade_id": "991", "price_ticks": 599_900,
            "quantity_lots": 5, "commission": "0.0060", "commission_asset": "USDT", "ts_ns": 1, "is_maker": True,
            "commission_rate": None,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--kind", "intent"], [2, 3, 4, 10]),
        (["--kind", "header,note"], [1, 12]),
        (["--level", "B3"], [2, 5, 8, 9, 10, 11]),
        (["--level", "sell_1"], [3, 6]),
        (["--last", "2"], [11, 12]),
        (["--kind", "intent,event", "--level", "BUY_3", "--last", "3"], [8, 9, 10]),
        (["--level", "S99"], []),
    ],
)  # fmt: skip
def test_journal_is_filtered(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], shown: list[int]
) -> None:
    """Kinds, a level and the last N narrow what is shown; the sum stays that of the whole."""
    path = _journal(tmp_path / "r0.journal")
    code, out, err = grinder(capsys, "journal", path, "--json", *options)
    assert (code, err, [json.loads(line)["seq"] for line in out.splitlines()]) == (0, "", shown)
    assert f"entries       12, {len(shown)} of them shown" in grinder(capsys, "journal", path, *options)[1]


def test_damaged_journal_is_shown_as_far_as_it_goes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The good part and the damage are shown, with exit code 1; where nothing can be read it is 2. Nothing is written."""
    path = _journal(tmp_path / "r0.journal")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DELETE FROM entry WHERE seq = 6")
    connection.close()
    before = sorted(tmp_path.iterdir()), path.read_bytes()
    said = f"{path}: entries 1 to 5 are good; after that: entry 6 is changed or missing"
    code, out, err = grinder(capsys, "journal", path)
    assert (code, err) == (1, f"error: {said}\n")
    assert out.count("gkr0-") == 7 and out.endswith(f"damage        {said}\n")
    code, out, err = grinder(capsys, "journal", path, "--json")
    assert (code, err, len(out.splitlines())) == (1, f"error: {said}\n", 5)
    assert (sorted(tmp_path.iterdir()), path.read_bytes()) == before
    path.write_bytes(before[1][:50])
    code, out, err = grinder(capsys, "journal", path)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {path}: no entry can be read: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kind", "intents"], "unknown kind 'intents'; did you mean 'intent'?"),
        (["--level", "B"], "level is 'B'; write B3 or BUY_3, S12 or SELL_12"),
        (["--last", "0"], "Invalid value for '--last'"),
    ],
)  # fmt: skip
def test_journal_options_are_checked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], said: str
) -> None:
    """A kind, a level or a number that cannot be is bad input, and so is a file that is missing or no journal."""
    code, out, err = grinder(capsys, "journal", _journal(tmp_path / "r0.journal"), *options)
    assert (code, out) == (2, "") and said in err
    assert grinder(capsys, "journal", tmp_path / "no") == (2, "", f"error: {tmp_path / 'no'}: no such journal\n")
    (tmp_path / "grid.toml").write_text(GRID)
    code, out, err = grinder(capsys, "journal", tmp_path / "grid.toml")
    assert (code, out, err) == (2, "", f"error: {tmp_path / 'grid.toml'}: is no journal\n")
