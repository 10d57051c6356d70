"""Replay: the same result however the market is cut, books that close, funding at its times, and bad input refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import textwrap
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from grinder_kit.errors import ConfigError, DataError, IdentityError
from grinder_kit.execution.ledger import Ledger
from grinder_kit.market.recording import Recording
from grinder_kit.market.schema import METADATA_KEY
from grinder_kit.market.source import Market
from grinder_kit.market.synthetic import START_NS, synthetic_market
from grinder_kit.market.writer import RecordingWriter
from grinder_kit.model.config import Config, ExecutionConfig, GridConfig, InstrumentConfig
from grinder_kit.model.config_file import load_config, parse_config
from grinder_kit.model.fill import Fill
from grinder_kit.simulation.replay import _Run, replay
from tests.simulation.markets import CONFIG, GRID, MS, START, TOY, Script, Wrapped, calm, funding_table, round_trip

BUSY = Config(
    grid=GridConfig(spacing_bps=2, levels=8, size="0.3", position_limit="3", recentre_bps=1, skew_bps_at_limit=1),
    execution=ExecutionConfig(entry_table_ms=[5, 10, 40], response_table_ms=[5, 20], seed=3),
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Return three minutes of the synthetic market, written to a recording."""
    target = tmp_path_factory.mktemp("synthetic") / "market.parquet"
    market = synthetic_market(seed=11, minutes=3)
    with RecordingWriter(target, market.instrument) as writer:
        for batch in market.batches():
            writer.write(batch)
        writer.finish()
    return Recording.open(target)


def regrouped(recording: Recording, target: Path, groups: int) -> Recording:
    """Return the same recording with its rows in so many row groups."""
    rows = pl.concat(list(recording.batches()))
    size = -(-len(rows) // groups)
    metadata = {METADATA_KEY: json.dumps(recording.parts[0].metadata)}
    rows.write_parquet(target, row_group_size=size, metadata=metadata)
    return Recording.open(target)


# --- the same result -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amend", [False, True])
def test_the_same_digest_twice(recorded: Recording, amend: bool) -> None:
    """Two replays of one market agree in every order and fill, and in the digest, whether orders are amended or replaced."""
    config = BUSY.replace(**{"router.amend": amend})
    first, second = replay(recorded, config), replay(recorded, config)
    assert first.digest == second.digest
    assert (first.summary["amended"] > 100 and len(first.fills) > 10) if amend else len(first.fills) > 20
    assert first.fills.equals(second.fills) and first.orders.equals(second.orders)


@pytest.mark.parametrize("changes", [{"grid.levels": 7}, {"execution.seed": 4}, {"execution.maker_fee_bps": 1}])
def test_the_digest_tells_configurations_apart(recorded: Recording, changes: dict[str, Any]) -> None:
    """Another configuration has another digest, also where it changes nothing but a fee."""
    assert replay(recorded, BUSY.replace(**changes)).digest != replay(recorded, BUSY).digest


def test_provenance_is_no_part_of_the_digest(recorded: Recording) -> None:
    """Where a configuration came from does not change what it does."""
    noted = BUSY.replace(**{"provenance.note": "from a notebook"})
    assert replay(recorded, noted).digest == replay(recorded, BUSY).digest


@pytest.mark.parametrize("groups", [1, 7])
def test_row_groups_change_nothing(recorded: Recording, tmp_path: Path, groups: int) -> None:
    """The digest does not depend on how the file's rows were grouped."""
    cut = regrouped(recorded, tmp_path / "regrouped.parquet", groups)
    assert replay(cut, BUSY).digest == replay(recorded, BUSY).digest


def test_row_groups_of_a_real_recording_change_nothing(btc_recording: Recording, root: Path, tmp_path: Path) -> None:
    """The oracle's recording in 1 and in 7 row groups gives one digest; its clocks run backwards between rows."""
    config = load_config(root / "examples" / "hftbacktest_grid.toml")
    digests = {replay(regrouped(btc_recording, tmp_path / f"{n}.parquet", n), config).digest for n in (1, 7)}
    assert len(digests) == 1


@pytest.mark.parametrize("batch", [1_000, 4_999, 131_072])
def test_batches_change_nothing(recorded: Recording, batch: int) -> None:
    """The digest does not depend on how many rows are read at once; batches may end inside a message."""
    assert replay(Wrapped(recorded, batch=batch), BUSY).digest == replay(recorded, BUSY).digest


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_batches_of_single_rows_change_nothing(batch: int) -> None:
    """Even row by row a market is the same market."""
    expected = replay(round_trip(feed_ms=7).market(), CONFIG)
    assert expected.summary["trades"] == 2
    assert replay(round_trip(feed_ms=7).market(batch=batch), CONFIG).digest == expected.digest


def test_a_synthetic_market_and_its_recording_are_one(recorded: Recording) -> None:
    """Streamed from the generator or from the file, the fills are the same."""
    assert replay(synthetic_market(seed=11, minutes=3), BUSY).digest == replay(recorded, BUSY).digest


def test_a_folder_of_files_is_one_recording(recorded: Recording, tmp_path: Path) -> None:
    """The same rows in three files of a folder give the same orders and fills."""
    rows = pl.concat(list(recorded.batches()))
    minute = (rows["exchange_ns"] - START_NS) // (60_000 * MS)
    for n in range(3):
        with RecordingWriter(tmp_path / f"{n}.parquet", recorded.instrument) as writer:
            writer.write(rows.filter(minute == n))
            writer.finish()
    assert replay(Recording.open(tmp_path), BUSY).digest == replay(recorded, BUSY).digest


MEMORY = """
    import re, resource, sys
    from pathlib import Path
    from grinder_kit.market.recording import Recording
    from grinder_kit.model.config import Config, GridConfig
    from grinder_kit.simulation.replay import replay

    result = replay(Recording.open(Path(sys.argv[1])), Config(grid=GridConfig(spacing_bps=2, levels=8, size="0.002")))
    # Linux hands the parent's ru_maxrss on to a new process; VmHWM is its own.
    status = Path("/proc/self/status")
    own = re.search(r"VmHWM:\\s*(\\d+)", status.read_text()) if status.exists() else None
    peak = int(own[1]) if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak, len(result.fills), result.steps)
"""


def _peak(folder: Path) -> tuple[int, int, int]:
    """Return peak memory in KB, fills and steps of a replay in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY), str(folder)], capture_output=True, text=True, check=True
    )
    peak, fills, steps = map(int, run.stdout.split())
    return peak, fills, steps


def _write_files(folder: Path, files: int, minutes: int) -> None:
    """Cut one synthetic market into files of so many minutes."""
    folder.mkdir()
    market = synthetic_market(seed=5, minutes=files * minutes)
    number, writer = 0, RecordingWriter(folder / "00.parquet", market.instrument)
    for batch in market.batches():
        part = (batch["exchange_ns"] - START_NS) // (minutes * 60_000 * MS)
        for n in part.unique().sort().to_list():
            n = min(n, files - 1)
            if n != number:
                writer.finish()
                number, writer = n, RecordingWriter(folder / f"{n:02}.parquet", market.instrument)
            writer.write(batch.filter(part.clip(0, files - 1) == n))
    writer.finish()


def _check_memory(tmp_path: Path, files: int, minutes: int) -> None:
    _write_files(tmp_path / "one", 1, minutes)
    _write_files(tmp_path / "many", files, minutes)
    one, few_fills, few_steps = _peak(tmp_path / "one")
    many, fills, steps = _peak(tmp_path / "many")
    assert steps > 0.99 * files * few_steps and fills > few_fills
    assert many <= 1.2 * one, f"{many:,} KB for {files} files, {one:,} KB for one"


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """Eight five-minute files need at most 1.2 times the memory of one."""
    _check_memory(tmp_path, 8, 5)


@pytest.mark.soak
def test_memory_of_thirty_ten_minute_files_is_that_of_one(tmp_path: Path) -> None:
    """Thirty ten-minute files need at most 1.2 times the memory of one."""
    _check_memory(tmp_path, 30, 10)


# --- what happens in it ----------------------------------------------------------------------------------------------------


def test_a_round_trip_by_hand() -> None:
    """Bought at 99.0 and sold at 101.0 from the queue: 0.02 units earn 0.04 less two fees, and nothing is left over."""
    result = replay(round_trip().market(), CONFIG)
    summary = result.summary
    assert (summary["trades"], summary["round_trips"], summary["position"]) == (2, 1, 0)
    assert summary["grid"] == Decimal("0.04")
    assert summary["trend"] == summary["funding"] == 0
    assert summary["fee"] == Decimal("0.0002") * Decimal("0.02") * 200
    assert summary["equity"] == Decimal("0.04") - Decimal("0.0008")
    assert summary["causes"] == {"queue": 2, "through": 0, "quote": 0, "taken": 0}
    fills = result.fills
    assert fills["ts_ns"].to_list() == [START + 1_000 * MS, START + 3_000 * MS]
    assert fills["seen_ns"].to_list() == [START + 1_010 * MS, START + 3_010 * MS]
    assert fills["level_id"].to_list() == ["BUY_1", "SELL_1"]


def test_the_queue_ahead_must_trade_first() -> None:
    """Five lots stand ahead of ours: a trade of five fills nothing, five and one more fill one lot."""
    assert (
        replay(calm().trade(1_000, "sell", 990, 5).depth(2_000, ("buy", 900, 1)).market(), CONFIG).summary["trades"]
        == 0
    )
    result = replay(calm().trade(1_000, "sell", 990, 6).depth(2_000, ("buy", 900, 1)).market(), CONFIG)
    assert result.fills["quantity_lots"].to_list() == [1]
    assert result.summary["position"] == Decimal("0.01")


def test_latency_ms_sets_both_ways() -> None:
    """An order decided at 100 ms with 35 ms each way rests from 135 ms on, and its fill is seen 35 ms after it happened."""
    early = calm().trade(134, "sell", 990, 8).depth(2_000, ("buy", 900, 1)).market()
    late = calm().trade(135, "sell", 990, 8).trade(136, "sell", 990, 8).depth(2_000, ("buy", 900, 1)).market()
    assert replay(early, CONFIG, latency_ms=35).summary["trades"] == 0
    result = replay(late, CONFIG, latency_ms=35)
    assert result.fills["ts_ns"].to_list() == [START + 136 * MS]  # at 135 market events come before arrivals
    assert result.fills["seen_ns"].to_list() == [START + 171 * MS]
    assert (result.config.execution.entry_ms, result.config.execution.response_ms) == (35, 35)


def test_a_grid_alone_runs_on_the_defaults() -> None:
    """A GridConfig stands for a configuration with everything else at its defaults."""
    market = round_trip().market()
    assert replay(market, GRID).digest == replay(market, Config(grid=GRID)).digest


def test_a_step_happens_only_while_something_is_to_come() -> None:
    """Steps are 100 ms apart from the first event, and end with the market and the last answer."""
    result = replay(calm().depth(1_050, ("buy", 900, 1)).market(), CONFIG)
    assert (result.start_ns, result.steps, result.end_ns) == (START, 10, START + 1_000 * MS)


@pytest.mark.parametrize(("ttl_s", "endless"), [(0.05, True), (0.3, True), (0.5, True), (2.0, False)])
def test_orders_that_expire_end_with_the_market(ttl_s: float, endless: bool) -> None:
    """Where orders expire and are sent again, something is always under way: two round trips after the market are waited for."""
    config = Config(grid=GridConfig(spacing_bps=2, levels=4, size="0.3", recentre_bps=1, step_ms=50)).replace(
        **{"execution.entry_ms": 250, "execution.response_ms": 120, "router.order_ttl_s": ttl_s}
    )
    end_ns, trips_ns = START_NS + 15_000 * MS, 2 * 370 * MS

    class Bounded(_Run):
        def _step(self, now: int) -> None:
            assert now <= end_ns + 2 * trips_ns, "the replay does not end"
            super()._step(now)

    market = synthetic_market(seed=8, minutes=0.25)
    result = Bounded(market, config, market.instrument, None).to_the_end(None)
    assert end_ns - 50 * MS <= result.end_ns <= end_ns + trips_ns
    assert (result.end_ns > end_ns + trips_ns - 50 * MS) == endless
    assert result.orders["sent_ns"].n_unique() > 5


def test_a_gap_in_the_feed_stops_new_orders_for_a_while() -> None:
    """After a gap levels are refused as stale, and quoted again when a snapshot anchors the book."""
    script = calm().gap(1_000)
    script.depth(3_000, ("buy", 900, 1)).book(4_000, {999: 5, 900: 5}, {1_001: 5, 1_100: 5}).depth(
        6_000, ("buy", 900, 2)
    )
    result = replay(script.market(), CONFIG.replace(**{"grid.levels_up": 0, "grid.step_ms": 1_000}))
    refused = result.refusals.select("level", "reason", "episodes", "seconds").sort("level").rows()
    assert refused == [("B1", "STALE_MARKET", 1, 3.0), ("B2", "STALE_MARKET", 1, 3.0)]
    assert set(result.orders["sent_ns"]) == {START + 4_000 * MS}


@pytest.mark.parametrize("engine", ["event", "compiled"])
def test_progress_counts_the_events(engine: str) -> None:
    """The callback hears the number of events of every stretch."""
    heard: list[int] = []
    result = replay(round_trip().market(batch=2), CONFIG, engine=engine, progress=heard.append)
    assert len(heard) > 2
    assert sum(heard) == result.events


def test_the_result_names_its_market_and_engine() -> None:
    """What was run, on what, and by which path."""
    result = replay(round_trip().market(), CONFIG)
    assert result.market["name"] == "script" and result.engine == "compiled" and result.instrument is TOY


# --- the books -------------------------------------------------------------------------------------------------------------


def test_a_fee_doubled_in_one_ledger_breaks_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the two books disagree about a single fee, no result is returned at all."""
    apply = Ledger.apply

    def crooked(ledger: Ledger, fill: Fill) -> bool:
        twice = 2 if fill.fill_id == "2" else 1
        return apply(ledger, dataclasses.replace(fill, commission=fill.commission * twice))

    monkeypatch.setattr(Ledger, "apply", crooked)
    with pytest.raises(IdentityError, match=r"the books of TOYUSDT do not close .* residual 0.000404"):
        replay(round_trip().market(), CONFIG)


def test_the_books_close_on_a_busy_market(recorded: Recording) -> None:
    """Partial fills, skew and drawn latencies leave nothing over: the identity is exact for a linear contract."""
    result = replay(recorded, BUSY)
    assert result.identity.residual == 0
    assert result.fills["quantity_lots"].min() < 300, "some fills are partial"


def test_funding_is_paid_at_its_times_on_what_is_held() -> None:
    """A long position pays a positive rate and receives a negative one, at the mark, or at mid where no mark is known."""
    script = calm().trade(1_000, "sell", 990, 8).trade(6_000, "buy", 1_010, 8).depth(9_000, ("buy", 900, 1))
    table = funding_table(
        [
            (START + 500 * MS, 0.01, 1_000),  # nothing held yet
            (START + 2_000 * MS, 0.01, 1_050),  # 0.02 at 105.0
            (START + 3_000 * MS, -0.02, None),  # 0.02 at mid 100.0
            (START + 8_000 * MS, 0.5, 1_000),  # flat again
        ]
    )
    result = replay(script.market(funding=table), CONFIG)
    tracker = result._engine.tracker
    assert tracker.funding_payments == [
        (START + 2_000 * MS, Decimal("-0.021")),
        (START + 3_000 * MS, Decimal("0.04")),
    ]
    assert result.summary["funding"] == Decimal("0.019")
    assert result.identity.residual == 0
    assert result.identity.equity_change == Decimal("0.04") - Decimal("0.0008") + Decimal("0.019")
    without = replay(script.market(), CONFIG)
    assert result.summary["equity"] - without.summary["equity"] == Decimal("0.019")


def test_a_short_position_receives_a_positive_rate() -> None:
    """The sign of the position decides who pays."""
    script = calm().trade(1_000, "buy", 1_010, 8).depth(9_000, ("buy", 900, 1))
    result = replay(script.market(funding=funding_table([(START + 2_000 * MS, 0.01, 1_000)])), CONFIG)
    assert result.summary["position"] == Decimal("-0.02")
    assert result.summary["funding"] == Decimal("0.02")


def test_funding_of_a_busy_market_enters_the_identity(recorded: Recording) -> None:
    """With funding every ten seconds the books still close to the last digit, and the payments are in them."""
    table = funding_table([(START_NS + s * 1_000 * MS, 0.0001 * (s % 3 - 1), None) for s in range(5, 180, 10)])
    result = replay(Wrapped(recorded, funding=table), BUSY)
    paid = [amount for _, amount in result._engine.tracker.funding_payments]
    assert paid and result.summary["funding"] == sum(paid) != 0
    assert result.identity.residual == 0
    last = result.equity.row(-1, named=True)
    assert last["equity"] == last["grid"] + last["trend"] + last["funding"] - last["commission"]


def test_an_inverse_contract_closes_its_books(coin_recording: Recording) -> None:
    """On COIN-M, where profit is paid in base and 1 / price has no end, the identity holds within 1e-18."""
    grid = GridConfig(spacing_bps=2, levels=10, size="1", position_limit="20")
    result = replay(coin_recording, Config(grid=grid))
    assert result.summary["trades"] > 20 and result.instrument.inverse
    assert abs(result.identity.residual) <= Decimal("1e-18")
    value = Decimal(100) * sum(
        Decimal(lots) / Decimal(price) for lots, price in result.fills["quantity_lots", "price"].iter_rows()
    )
    assert float(result.summary["fee"]) == pytest.approx(float(value) * 0.0002, rel=1e-12)
    assert "BTC" in result.verdict.text


# --- an empty grid says why ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"grid.mode": "PAUSE"}, "mode PAUSE quotes nothing"),
        ({"grid.min_fill_prob": 0.2}, "4 of 4 levels: volatility is not known yet (warm-up) (FEATURE_WARMUP)"),
    ],
)
def test_an_empty_grid_says_why(changes: dict[str, Any], reason: str) -> None:
    """A grid that ends without a level names the reason in the result, in its text and in its HTML."""
    result = replay(calm().depth(2_000, ("buy", 900, 1)).market(), CONFIG.replace(**changes))
    assert result.empty_reason == reason
    assert f"the grid is empty: {reason}" in repr(result)
    assert "The grid is empty" in result._repr_html_()
    assert len(result.orders) == 0


def test_a_grid_out_of_the_venues_band_says_why() -> None:
    """Levels that the venue would refuse are counted under its rule."""
    narrow = dataclasses.replace(TOY, band_up=Decimal("1.005"), band_down=Decimal("0.995"))
    result = replay(calm().depth(2_000, ("buy", 900, 1)).market(narrow), CONFIG)
    assert result.empty_reason == "4 of 4 levels: outside the venue's price limits (PRICE_BAND)"
    assert set(result.refusals["reason"]) == {"PRICE_BAND"} and len(result.refusals) == 4


def test_a_quoted_grid_has_no_reason() -> None:
    """A grid with levels is not called empty."""
    result = replay(round_trip().market(), CONFIG)
    assert result.empty_reason is None and "empty" not in repr(result)


# --- bad input -------------------------------------------------------------------------------------------------------------


def on(config: Config, market: Market | None = None) -> None:
    """Replay a configuration on a calm market."""
    replay(market or calm().depth(2_000, ("buy", 900, 1)).market(), config)


def grid(**values: Any) -> Config:
    """Return a configuration with this grid."""
    return Config(grid=GridConfig(**values))


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (grid(spacing_bps=8, size="0.025"), 'size is 0.025, off the lot of 0.01 of TOYUSDT; write "0.02" or "0.03"'),
        (grid(spacing_bps=5, size="0.02"), "spacing_bps is 5, 0.05 at 100: below one tick of 0.1; write 10 or more"),
        (grid(spacing_bps=2000, levels=6, size="0.02"), "levels is 6: buy 6 would stand at -20, at or below zero"),
        (
            grid(planner="lattice", spacing_ticks=400, levels=4, size="0.02"),
            "levels is 4: buy 4 would stand at -40, at or below zero",
        ),
        (grid(spacing_bps=100, size="0.02", position_limit="0.015"), "position_limit is 0.015, off the lot"),
        (
            grid(spacing_bps=100, size="0.02", min_fill_prob=0.05),
            "min_fill_prob is 0.05; the heuristic never says less",
        ),
    ],
)
def test_a_grid_that_cannot_work_is_refused(config: Config, text: str) -> None:
    """What is wrong, where, and what to write instead."""
    with pytest.raises(ConfigError) as error:
        on(config)
    assert text in str(error.value)


def test_a_size_under_the_minimum_notional_is_refused() -> None:
    """The smallest size that would do is named."""
    dear = dataclasses.replace(TOY, min_notional=Decimal(5))
    with pytest.raises(ConfigError, match=r'size is 0.02, worth 2 USDT at 100; .* from 5 USDT: write "0.05" or more'):
        on(CONFIG, calm().depth(2_000, ("buy", 900, 1)).market(dear))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[grid]\nspacing_bp = 8\nsize = "0.002"\n', "unknown key 'spacing_bp'; did you mean 'spacing_bps'?"),
        ("[grid]\nspacing_bps = 8\nsize = 0.002\n", 'size is a float; write "0.002"'),
    ],
)
def test_a_configuration_file_says_where_it_is_wrong(text: str, message: str) -> None:
    """The issue's own examples, word for word, with the line."""
    with pytest.raises(ConfigError) as error:
        parse_config(text, name="grid.toml")
    assert message in str(error.value) and "grid.toml" in str(error.value)


def test_a_configuration_for_another_symbol_is_refused() -> None:
    """A grid of one market is never run on another by mistake."""
    named = CONFIG.replace(instrument=InstrumentConfig(symbol="BTCUSDT"))
    with pytest.raises(ConfigError, match="symbol is BTCUSDT, and the market is TOYUSDT"):
        on(named)


def test_a_configuration_for_another_venue_is_refused() -> None:
    """The same symbol at another venue is another instrument."""
    with pytest.raises(ConfigError, match="venue is binance, and the market is of toy"):
        on(CONFIG.replace(instrument=InstrumentConfig(symbol="TOYUSDT", venue="binance")))


@pytest.mark.parametrize(
    ("field", "value"), [("tick", "0.01"), ("lot", "0.001"), ("contract", "inverse"), ("contract_size", "10")]
)
def test_an_instrument_whose_steps_are_not_the_markets_is_refused(field: str, value: str) -> None:
    """A recording counts in its own ticks and lots: read by other steps, every price would be another one."""
    instrument = InstrumentConfig.of(TOY).replace(**{field: value})
    with pytest.raises(ConfigError, match=f"{field} is {value}, and the market was recorded with"):
        on(CONFIG.replace(instrument=instrument))


def test_an_instrument_may_have_other_limits_than_the_markets() -> None:
    """Minimums are the user's to set: a stricter one than the recording's is kept."""
    strict = InstrumentConfig.of(TOY).replace(min_notional="5")
    with pytest.raises(ConfigError, match="takes orders from 5 USDT"):
        on(CONFIG.replace(instrument=strict))


def test_a_market_without_events_is_refused() -> None:
    """Nothing in, no result out."""
    with pytest.raises(DataError, match="the market has no events; import it again, or choose another window"):
        on(CONFIG, Script().market())


def test_a_market_that_never_has_two_sides_is_refused() -> None:
    """Without a mid at the end a position cannot be valued."""
    with pytest.raises(DataError, match="the book has no mid at the end"):
        on(CONFIG, Script().depth(0, ("buy", 999, 5)).depth(2_000, ("buy", 998, 5)).market())


def test_a_market_less_ordered_than_it_says_is_refused() -> None:
    """Rows that come back further than the metadata promise are an error, not another result."""
    script = calm().trade(1_000, "sell", 990, 1).trade(1_100, "sell", 990, 1).trade(200, "sell", 990, 1)
    market = script.depth(2_000, ("buy", 900, 1)).market(batch=1)
    market.disorder_ns = (0, 0)
    with pytest.raises(DataError, match="less ordered than its metadata say; import it again"):
        on(CONFIG, market)


def test_a_missing_recording_is_refused(tmp_path: Path) -> None:
    """A path without a recording is named."""
    with pytest.raises(DataError, match="missing.parquet"):
        Recording.open(tmp_path / "missing.parquet")


def test_a_recording_of_a_later_schema_is_refused(recorded: Recording, tmp_path: Path) -> None:
    """A file that a later version wrote is not half read."""
    metadata = recorded.parts[0].metadata | {"schema": 2}
    target = tmp_path / "later.parquet"
    pl.concat(list(recorded.batches())).write_parquet(target, metadata={METADATA_KEY: json.dumps(metadata)})
    with pytest.raises(DataError, match="later.parquet.*schema"):
        Recording.open(target)


# --- killed ----------------------------------------------------------------------------------------------------------


def a_fall() -> Script:
    """Return a market in which a buy at 990 fills at 1 s and mid falls from 1,000 to 951 at 3 s; it ends at 15 s."""
    script = calm().trade(1_000, "sell", 990, 8)
    script.depth(
        3_000, ("buy", 999, 0), ("buy", 990, 0), ("buy", 980, 0), ("buy", 970, 0), ("buy", 950, 5), ("sell", 952, 5)
    )
    return script.depth(15_000, ("buy", 900, 1))


def test_a_replay_that_breaks_a_limit_is_killed_and_keeps_its_position() -> None:
    """From that step on its orders are withdrawn and nothing is sent; the result says when, and why."""
    config = CONFIG.replace(**{"limits.max_drawdown": "0.05", "grid.levels_down": 1})
    result = replay(a_fall().market(), config)
    assert result.killed == {  # .02 bought at 99.0, marked at 100.0 and then at 95.1
        "ts_ns": START + 3_000 * MS,
        "reason": "drawdown 0.098 USDT is not below max_drawdown 0.05 USDT",
    }
    assert result.summary["position"] == Decimal("0.04"), "the next buy filled in the fall; both are kept to the end"
    assert result.end_ns == START + 14_900 * MS, "the market is played to its end"
    orders = result.orders
    assert orders["ended_ns"].is_not_null().all() and (orders["sent_ns"] < result.killed["ts_ns"]).all()
    line = next(line for line in repr(result).splitlines() if line.startswith("killed"))
    assert "2023-11-14 22:13:23" in line and line.endswith(f"UTC: {result.killed['reason']}")
    assert result.killed["reason"] in result._repr_html_()
    assert json.loads(json.dumps(result.to_json()))["killed"] == result.killed


def test_a_replay_within_its_limits_is_the_same_as_without(recorded: Recording) -> None:
    """Limits that nothing breaks change no order and no fill, and the result says that nothing was killed."""
    wide = {"limits.max_drawdown": "1000", "limits.max_loss_per_day": "1000", "limits.max_orders_per_s": "1000"}
    limited, free = replay(recorded, BUSY.replace(**wide)), replay(recorded, BUSY)
    assert limited.fills.equals(free.fills) and limited.orders.equals(free.orders)
    assert limited.killed is None and limited.to_json()["killed"] is None and "killed" not in repr(limited)
