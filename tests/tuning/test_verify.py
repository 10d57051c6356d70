"""Verify: silent where all is as it was exported, and otherwise the name of what is not, before anything is run where possible."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import polars as pl
import pytest

import grinder_kit as gk
from grinder_kit import cli
from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.market.source import BATCH_ROWS
from grinder_kit.model.market import EventKind
from grinder_kit.tuning.trace import first_difference, read_trace, save_trace, trace, trace_path
from grinder_kit.tuning.verify import Part
from tests.quiet import complaints

if TYPE_CHECKING:
    from grinder_kit.market.source import Market

MARKET = gk.synthetic_market(seed=7, minutes=2)
GRID = gk.GridConfig(spacing_bps=5, levels=5, size="0.002", position_limit="0.02")


@pytest.fixture(scope="module")
def result() -> gk.Result:
    """Return a run that trades."""
    return gk.replay(MARKET, GRID)


@pytest.fixture
def file(result: gk.Result, tmp_path: Path) -> Path:
    """Return an exported file."""
    return gk.export(result, tmp_path / "synth.toml")


def edited(file: Path, old: str, new: str) -> Path:
    """Edit a file by hand."""
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    return file


def grinder(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """Run the command in this process; return exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(arg) for arg in args])
    assert isinstance(stop.value.code, int)
    out, err = capsys.readouterr()
    return stop.value.code, out, complaints(err)


def test_what_was_exported_is_the_same(file: Path, result: gk.Result) -> None:
    """By the file's own market, by its name, or as a market: nothing is found, and the digest is equal."""
    for data in (None, "synthetic seed=7 minutes=2", MARKET):
        found = gk.verify(file, data)
        assert found.same and found.findings == () and found.result is not None
        assert found.result.digest == result.digest == found.expected
    assert repr(found).splitlines()[0] == f"{file}: the same"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("levels = 5", "levels = 6", "grid.levels: 5 -> 6"),
        ('size = "0.002"', 'size = "0.003"', "grid.size: 0.002 -> 0.003"),
        ('position_limit = "0.02"', "", "grid.position_limit: 0.02 -> not set"),
        ("[router]", '[limits]\nmax_position = "1"\n\n[router]', "limits.max_position: not set -> 1"),
        ("maker_fee_bps = 2", "maker_fee_bps = 1", "execution.maker_fee_bps: 2 -> 1"),
        ('"levels":5', '"levels":6', "grid.levels: 6 -> 5"),
    ],
)  # fmt: skip
def test_edit_is_named_by_its_key_and_nothing_is_run(file: Path, old: str, new: str, said: str) -> None:
    """A value, a key taken out or added, and the canonical text itself: each edit is told, before time is spent."""
    found = gk.verify(edited(file, old, new))
    assert not found.same and found.result is None
    assert found.findings[0].part is Part.CONFIGURATION and found.findings[0].text == f"edited after the export: {said}"
    assert repr(found).startswith(f"{file}: not the same, and not run\nconfiguration  edited after the export: {said}")


def test_edit_is_found_without_the_canonical_text(file: Path) -> None:
    """The hash alone still tells that something was edited, though not what."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("canonical")]
    file.write_text("\n".join(lines))
    assert gk.verify(file).same
    found = gk.verify(edited(file, "levels = 5", "levels = 6"))
    assert [one.part for one in found.findings] == [Part.CONFIGURATION] and "config_sha256" in found.findings[0].text


def test_spelling_is_no_edit(file: Path) -> None:
    """Comments, order of the keys and the spelling of a number may be changed by hand."""
    text = edited(file, 'size = "0.002" ', 'size = "0.0020"').read_text()
    file.write_text("# ours\n" + "\n".join(line.partition("  #")[0] for line in text.splitlines()))
    assert gk.verify(file).same


def test_other_data_are_named(file: Path, btc_recording: gk.Recording, tmp_path: Path) -> None:
    """Another market, another part of it, another source: said in its own words, and nothing is run."""
    for data, said in [
        (
            "synthetic seed=8 minutes=2",
            "exported on synthetic seed=7 minutes=2, and this is synthetic seed=8 minutes=2",
        ),
        (MARKET.window(None, MARKET.span_ns[0] + 60_000_000_000), "ns, and this is"),
        (btc_recording, "exported on synthetic seed=7 minutes=2, and this is recording sha256 "),
    ]:
        found = gk.verify(file, data)
        assert not found.same and found.result is None
        assert [one.part for one in found.findings] == [Part.DATA] and said in found.findings[0].text


def test_other_recording_is_named_by_its_hash(
    btc_recording: gk.Recording, eth_recording: gk.Recording, tmp_path: Path
) -> None:
    """Recordings are told apart by the hashes of their sources."""
    grid = gk.Config(grid=gk.GridConfig(spacing_bps=8, levels=2, size="0.01"))
    first = btc_recording.span_ns[0]
    file = gk.export(grid, tmp_path / "btc.toml", market=btc_recording.window(None, first + 20_000_000_000))
    ours, theirs = (market.describe()["source"][0]["sha256"][:12] for market in (btc_recording, eth_recording))
    found = gk.verify(file, eth_recording.path)
    assert found.findings[0].text == f"exported on recording sha256 {ours}..., and this is recording sha256 {theirs}..."
    assert gk.verify(file, btc_recording).same  # the whole of it: the exported part is taken


def test_other_model_is_named(tmp_path: Path) -> None:
    """A model file that was replaced, changed or lost is found before anything is run."""
    config = gk.Config(grid=GRID.replace(min_fill_prob=0.2))
    file = gk.export(config, tmp_path / "a.toml", market=MARKET, model=FirstPassageModel())
    assert gk.verify(file).same
    model = file.with_name("a.model.json")
    before = model.read_text()
    for text in (before.replace('"sha256": "', '"sha256": "0'), None):
        model.unlink() if text is None else model.write_text(text)
        found = gk.verify(file)
        assert not found.same and found.result is None
        assert [one.part for one in found.findings] == [Part.MODEL] and "a.model.json" in found.findings[0].text


def test_other_version_is_said_and_still_compared(file: Path) -> None:
    """Another version of the code is named; where every order and fill is equal all the same, the run is the same."""
    found = gk.verify(edited(file, f'version = "{gk.__version__}"', 'version = "0.0.9"'))
    assert found.same
    assert [one.text for one in found.findings] == [f"exported by grinder_kit 0.0.9, and this is {gk.__version__}"]


class Thinned:
    """The market, without the trades after its first seconds: what it says of itself does not show it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(MARKET, name)

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Yield the rows."""
        until = MARKET.span_ns[0] + 5_000_000_000
        for batch in MARKET.batches(rows):
            yield batch.filter((pl.col("kind") != EventKind.TRADE) | (pl.col("exchange_ns") < until))


def test_first_order_that_differs_is_told(file: Path, result: gk.Result) -> None:
    """Where a run goes another way, the first order or fill that is not as it was stands in the words."""
    found = gk.verify(file, cast("Market", Thinned()))
    assert not found.same and found.result is not None
    expected, other = trace(result).rows(), trace(found.result).rows()
    first = next(old for old, new in zip(expected, other, strict=False) if old != new)
    [run] = found.findings
    assert run.part is Part.RUN and run.text.startswith("first difference: ") and first[2] in run.text
    trace_path(file).unlink()
    [run] = gk.verify(file, cast("Market", Thinned())).findings
    assert run.text.startswith(f"digest {result.digest[:16]}... -> ") and "no synth.trace.parquet beside" in run.text


def test_first_difference_is_the_first_row_that_differs(result: gk.Result) -> None:
    """A row that was changed, taken out or added is the one that is told; equal traces give none."""
    rows = trace(result)
    assert first_difference(rows, rows) is None and len(rows) > 20
    assert first_difference(rows.clear(), rows.clear()) is None
    for at in (0, 17, len(rows) - 1):
        row = rows.row(at, named=True)
        changed = rows.with_row_index("at").with_columns(
            price=pl.when(pl.col("at") == at)
            .then(pl.col("price") * 2)
            .otherwise(pl.col("price"))
            .cast(rows.schema["price"])
        )
        said = first_difference(rows, changed.drop("at"))
        assert (
            said is not None
            and row["client_order_id"] in said
            and f"price {row['price']} -> {2 * row['price']}" in said
        )
        shorter = pl.concat([rows[:at], rows[at + 1 :]])
        missing, extra = first_difference(rows, shorter), first_difference(shorter, rows)
        assert missing is not None and row["client_order_id"] in missing and "expected" in missing
        assert extra is not None and row["client_order_id"] in extra


def test_trace_of_another_run_is_not_compared(result: gk.Result, tmp_path: Path) -> None:
    """A trace counts only for the digest that it was written with; a damaged one counts as none."""
    save_trace(result, tmp_path / "x.trace.parquet")
    found = read_trace(tmp_path / "x.trace.parquet", result.digest)
    assert found is not None and found.equals(trace(result))
    assert read_trace(tmp_path / "x.trace.parquet", "another") is None
    (tmp_path / "x.trace.parquet").write_bytes(b"PAR1")
    assert read_trace(tmp_path / "x.trace.parquet", result.digest) is None
    assert read_trace(tmp_path / "no.parquet", result.digest) is None


def test_file_that_promises_nothing_is_bad_input(tmp_path: Path) -> None:
    """Without a digest there is nothing to compare with; without a market nothing to run on."""
    file = gk.export(GRID, tmp_path / "a.toml")
    with pytest.raises(ConfigError, match="has no digest to compare with; gk.export with a result"):
        gk.verify(file)


def test_exit_codes_say_what_came_of_it(capsys: pytest.CaptureFixture[str], file: Path, result: gk.Result) -> None:
    """`grinder verify` ends with 0 where all is equal, 1 where something differs, 2 on bad input; --json for programs."""
    code, out, err = grinder(capsys, "verify", file)
    assert (code, err) == (0, "") and out.startswith(f"{file}: the same\n") and out.endswith(f"{result.digest}\n")
    code, out, err = grinder(capsys, "verify", file, "--data", "synthetic seed=7 minutes=3", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out) == {
        "file": str(file), "same": False, "digest": {"expected": result.digest, "found": None},
        "findings": [{
            "part": "data", "text": "exported on synthetic seed=7 minutes=2, and this is synthetic seed=7 minutes=3",
        }],
    }  # fmt: skip
    edited(file, "levels = 5", "levels = 6")
    code, out, err = grinder(capsys, "verify", file)
    assert (code, err) == (1, "") and "grid.levels: 5 -> 6" in out
    code, out, err = grinder(capsys, "replay", file, "--json")
    assert code == 0 and err == f"note: {file} was edited after its export: grid.levels: 5 -> 6\n"
    for args in (["verify", file, "--data", "nope.parquet"], ["verify", "nope.toml"]):
        code, out, err = grinder(capsys, *args)
        assert (code, out) == (2, "") and err.startswith("error: nope")
