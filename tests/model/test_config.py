"""The configuration: its rules, its errors, its file."""

from __future__ import annotations

import pickle
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError
from grinder_kit.model.config import (
    SECTIONS,
    Config,
    ExecutionConfig,
    FillModelConfig,
    GridConfig,
    InstrumentConfig,
    Limits,
    Provenance,
    RetryConfig,
    RouterConfig,
)
from grinder_kit.model.config_check import check_against
from grinder_kit.model.config_diff import differences, unchangeable
from grinder_kit.model.config_file import apply_overrides, format_config, load_config, parse_config, save_config
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.section import InvalidConfigError

GRID = GridConfig(spacing_bps=8, levels=10, size="0.002")
BTC = Instrument(
    symbol="BTCUSDT", venue="binanceusdm", base="BTC", quote="USDT", contract=Contract.LINEAR,
    tick=Decimal("0.1"), lot=Decimal("0.001"), min_quantity=Decimal("0.001"), max_quantity=Decimal(1000),
    min_notional=Decimal(100),
)  # fmt: skip


# --- the grid --------------------------------------------------------------------------------------------------------


def test_defaults_are_the_specifications() -> None:
    """The short form means a centred, linear, bilateral grid of post-only orders."""
    assert (GRID.planner, GRID.ladder, GRID.mode, GRID.order_type) == ("centred", "linear", "BILATERAL", "POST_ONLY")
    assert (GRID.spacing_tenths, GRID.n_up, GRID.n_down, GRID.sizes) == (80, 10, 10, (Decimal("0.002"),))
    assert (GRID.recentre_tenths, GRID.skew_tenths, GRID.step_ns, GRID.half_spread) == (400, 0, 100_000_000, None)
    assert RouterConfig().amend_threshold_tenths == 200
    assert (ExecutionConfig().entry_ns, ExecutionConfig().response_table_ns) == (10_000_000, (10_000_000,))


def test_lattice_counts_in_ticks() -> None:
    """A lattice has a spacing in ticks and starts half a spacing from mid unless told otherwise."""
    grid = GridConfig(planner="lattice", spacing_ticks=10, size="0.1")
    assert (grid.spacing_tenths, grid.half_spread, grid.recentre_tenths) == (None, 5, None)
    assert grid.replace(half_spread_ticks=20).half_spread == 20


def test_finest_spacing_still_recentres() -> None:
    """Half of a ladder of a tenth of a bp is no step: the centre moves after one tenth."""
    assert GridConfig(spacing_bps="0.1", levels=1, size="1").recentre_tenths == 1


@pytest.mark.parametrize("bps", [8.5, "8.5", Decimal("8.5"), np.float64(8.5)])
def test_bps_may_be_floats(bps: object) -> None:
    """Spacing is read exactly from text, Decimal and floats that print as a tenth."""
    assert GridConfig(spacing_bps=bps, size="1").spacing_tenths == 85


def test_counts_may_come_from_numpy() -> None:
    """A sweep may hand over NumPy integers; the configuration holds plain ones."""
    assert type(GridConfig(spacing_bps=8, size="1", levels=np.int64(5)).levels) is int


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"spacing_bp": 8, "size": "1"}, "unknown key 'spacing_bp'; did you mean 'spacing_bps'?"),
        ({"spacing_bps": 8, "size": 0.002}, 'size is a float; write "0.002"'),
        ({"spacing_bps": 8, "size": np.float64(0.002)}, 'size is a float; write "0.002"'),
        ({"spacing_bps": 8, "size_schedule": ["1", 0.5]}, 'size_schedule is a float; write "0.5"'),
        ({"spacing_bps": 8, "size": "two"}, "size is 'two', which is no number"),
        ({"spacing_bps": 8, "size": "nan"}, "size is NaN; write a finite number"),
        ({"spacing_bps": 8, "size": True}, "size is True; write a number as text"),
        ({"spacing_bps": 8, "size": "0"}, "size is 0; it must be above zero"),
        ({"spacing_bps": 8, "size": "-1"}, "size is -1; it must be above zero"),
        ({"spacing_bps": 8}, "size is missing; write the quantity of one order as text"),
        ({"spacing_bps": 8, "size": "1", "size_schedule": ["1"]}, "size and size_schedule are both set; keep one"),
        ({"spacing_bps": 8, "size_schedule": []}, "size_schedule holds no size above zero"),
        ({"spacing_bps": 8, "size_schedule": ["0", "0"]}, "size_schedule holds no size above zero"),
        ({"spacing_bps": 8, "size_schedule": "1"}, "size_schedule is '1'; write a list"),
        ({"size": "1"}, "spacing_bps is missing; write the bps between two levels, such as 8"),
        ({"spacing_bps": 8.05, "size": "1"}, "spacing_bps is 8.05; bps are read in steps of 0.1: write 8"),
        ({"spacing_bps": 0.1 + 0.2, "size": "1"}, "write 0.3"),
        ({"spacing_bps": 0, "size": "1"}, "spacing_bps is 0; it must be above zero"),
        ({"spacing_bps": float("inf"), "size": "1"}, "spacing_bps is Infinity; write a finite number"),
        ({"spacing_bps": 8, "spacing_ticks": 3, "size": "1"}, "spacing_bps and spacing_ticks are both set; keep one"),
        ({"spacing_ticks": 3, "size": "1"}, 'spacing_ticks belongs to planner "lattice"'),
        ({"planner": "lattice", "spacing_bps": 3, "size": "1"}, 'planner "lattice" counts in ticks'),
        (
            {"planner": "lattice", "spacing_ticks": 3, "size": "1", "ladder": "geometric"},
            'ladder "geometric" belongs to planner "centred"',
        ),
        ({"planner": "lattice", "spacing_ticks": 3, "size": "1", "recentre_bps": 1}, "recentre_bps belongs to"),
        ({"spacing_bps": 8, "size": "1", "half_spread_ticks": 1}, "half_spread_ticks belongs to"),
        ({"planner": "centered", "spacing_bps": 8, "size": "1"}, "planner is 'centered'; write 'centred' or 'lattice'"),
        ({"spacing_bps": 8, "size": "1", "mode": "BILATERL"}, "did you mean 'BILATERAL'?"),
        ({"spacing_bps": 8, "size": "1", "levels": "10"}, "levels is '10'; write a whole number, such as 10"),
        ({"spacing_bps": 8, "size": "1", "levels": 10.0}, "levels is 10.0; write a whole number, such as 10"),
        ({"spacing_bps": 8, "size": "1", "levels": True}, "levels is True; write a whole number"),
        ({"spacing_bps": 8, "size": "1", "levels": 0}, "levels is 0; write 1 or more"),
        ({"spacing_bps": 8, "size": "1", "levels_up": 0, "levels_down": 0}, 'write mode = "PAUSE"'),
        ({"spacing_bps": 8, "size": "1", "min_fill_prob": 0.96}, "min_fill_prob is 0.96; write 0.95 or less"),
        ({"spacing_bps": 8, "size": "1", "min_fill_prob": "0.2"}, "write a number without quotes"),
        ({"spacing_bps": 8, "size": "1", "skew_bps_at_limit": 2}, "skew_bps_at_limit needs position_limit"),
        ({"spacing_bps": 8, "size": "1", "order_type": "IOC"}, "order_type is 'IOC'; write"),
        ({"spacing_bps": 8, "size": "1", "throttle_factor": 0}, "throttle_factor is 0; it must be above zero"),
    ],
)  # fmt: skip
def test_grid_says_what_to_write_instead(values: dict[str, object], text: str) -> None:
    """A grid that cannot be used is refused in one line that names the key."""
    with pytest.raises(ConfigError) as error:
        GridConfig(**values)
    assert text in str(error.value)
    assert "\n" not in str(error.value) and "pydantic" not in str(error.value)


def test_all_problems_are_said_at_once() -> None:
    """Two mistakes give two lines, each with the key that leads to it."""
    with pytest.raises(InvalidConfigError) as error:
        Config(grid={"spacing_bps": 8, "size": 0.1, "levels": -1})
    assert [problem.path for problem in error.value.problems] == [("grid", "levels"), ("grid", "size")]
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_configuration_is_frozen() -> None:
    """A key is changed by a new value, and the error says how."""
    with pytest.raises(ConfigError, match=r"GridConfig is frozen; write .replace\(levels=...\)"):
        GRID.levels = 4
    assert GRID.replace(levels=4).levels == 4
    assert {GRID, GRID.replace()} == {GRID}


def test_replacing_one_of_a_pair_clears_the_other() -> None:
    """A grid in bps becomes a lattice in ticks in one step, and a size becomes a schedule."""
    grid = GRID.replace(planner="lattice", spacing_ticks=5, size_schedule=["1", "2"])
    assert (grid.spacing_bps, grid.size, grid.sizes) == (None, None, (Decimal(1), Decimal(2)))
    with pytest.raises(ConfigError, match="both set"):
        GRID.replace(spacing_bps=8, spacing_ticks=5)


def test_repr_can_be_typed() -> None:
    """The repr shows what differs from the defaults, and evaluates to an equal value."""
    config = Config(
        grid=GRID.replace(mode="UNI_LONG", size_schedule=["1", "2"]),
        execution=ExecutionConfig(maker_fee_bps="-0.5", entry_table_ms=[1, 2.5]),
    )
    assert repr(GRID) == "GridConfig(spacing_bps=8, size='0.002')"
    assert eval(repr(config)) == config


# --- other sections --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "values", "text"),
    [
        (ExecutionConfig, {"queue": "powr"}, "did you mean 'power'?"),
        (ExecutionConfig, {"partial_fills": 1}, "partial_fills is 1; write true or false"),
        (ExecutionConfig, {"entry_ms": -1}, "entry_ms is -1; write 0 or more"),
        (ExecutionConfig, {"entry_ms": float("nan")}, "entry_ms is nan; write a finite number"),
        (ExecutionConfig, {"entry_table_ms": []}, "write at least one latency"),
        (ExecutionConfig, {"entry_table_ms": [1, -1]}, "write at least one latency of 0 or more ms"),
        (ExecutionConfig, {"queue_n": 0}, "queue_n is 0; it must be above zero"),
        (ExecutionConfig, {"seed": -1}, "seed is -1; write 0 or more"),
        (RouterConfig, {"price_tolerance_ticks": -1}, "write 0 or more"),
        (Limits, {"max_position": 0.5}, 'max_position is a float; write "0.5"'),
        (RetryConfig, {"timeout_s": 0}, "timeout_s is 0; it must be above zero"),
        (InstrumentConfig, {"venue": "binance"}, "symbol is missing"),
        (InstrumentConfig, {"symbol": "X", "venue": "binance", "tick": "1"}, "base is missing; write all values"),
        (InstrumentConfig, {"symbol": 5}, "symbol is 5; write text in quotes"),
        (Config, {"grid": 5}, "grid is 5; write a section [grid] with its keys"),
        (Config, {"gird": GRID}, "unknown key 'gird'; did you mean 'grid'?"),
    ],
)  # fmt: skip
def test_sections_say_what_to_write_instead(section: type, values: dict[str, object], text: str) -> None:
    """Every section explains its errors in the same way."""
    with pytest.raises(ConfigError) as error:
        section(**values)
    assert text in str(error.value)


def test_latency_table_replaces_the_constant() -> None:
    """Latencies are drawn from the table where there is one."""
    execution = ExecutionConfig(entry_table_ms=[1, 2.5])
    assert (execution.entry_table_ns, execution.response_table_ns) == ((1_000_000, 2_500_000), (10_000_000,))


def test_rebates_are_negative_fees() -> None:
    """A maker fee may be below zero."""
    assert ExecutionConfig(maker_fee_bps=-0.5).maker_fee_bps == Decimal("-0.5")


def test_instrument_survives_its_section() -> None:
    """All values of an instrument can stand in the file; names alone give none."""
    assert InstrumentConfig.of(BTC).instrument() == BTC
    assert InstrumentConfig(symbol="BTCUSDT").instrument() is None


# --- canonical form --------------------------------------------------------------------------------------------------


def test_canonical_form_depends_on_meaning_only() -> None:
    """Spelling of numbers and provenance leave the canonical form as it is; a key that means something changes it."""
    config = Config(grid=GRID, execution=ExecutionConfig(entry_ms=10))
    same = Config(
        grid=GridConfig(spacing_bps="8.0", levels=10, size="0.0020"),
        execution=ExecutionConfig(entry_ms=10.0),
        provenance=Provenance(market="somewhere", digest="abc"),
    )
    assert config.canonical() == same.canonical()
    assert config.canonical() != config.replace(**{"execution.queue": "optimistic"}).canonical()


MODEL = {"fill_model.file": "btc-model.json", "fill_model.sha256": "ab" * 32}


def test_the_model_belongs_to_the_digest_and_its_place_does_not() -> None:
    """A configuration without one is written as it always was; the hash is in the digest, the path in no difference."""
    config = Config(grid=GRID)
    assert "fill_model" not in config.canonical() and Config.from_canonical(config.canonical()) == config
    judged = config.replace(**MODEL)
    moved = judged.replace(**{"fill_model.file": "elsewhere/model.json"})
    assert judged.canonical() == moved.canonical() != config.canonical() and "btc-model" not in judged.canonical()
    assert differences(judged, moved) == () and judged != moved
    assert [str(one) for one in differences(config, judged)] == [f"fill_model.sha256: not set -> {'ab' * 32}"]
    assert Config.from_canonical(judged.canonical()).fill_model == FillModelConfig(sha256="ab" * 32)
    (problem,) = unchangeable(config, judged)
    assert problem.path == ("fill_model", "sha256") and "stop it and start again" in problem.text


@pytest.mark.parametrize("sha256", ["", "ab", "AB" * 32, "zz" * 32, 7])
def test_a_hash_that_is_none_is_refused(sha256: Any) -> None:
    """It says where the right one stands."""
    with pytest.raises(
        ConfigError, match="sha256 is .*write (the 64 hex digits that stand in the last line|text in quotes)"
    ):
        FillModelConfig(sha256=sha256)
    with pytest.raises(ConfigError, match="sha256 is missing"):
        FillModelConfig(file="model.json")


def test_the_model_is_found_from_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from anywhere; written beside its configuration it is named from there, so that both can be moved together."""
    (tmp_path / "deploy").mkdir()
    text = f'[grid]\nspacing_bps = 8\nsize = "0.002"\n\n[fill_model]\nfile = "btc-model.json"\nsha256 = "{"ab" * 32}"\n'
    (tmp_path / "deploy" / "btc.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    config = load_config("deploy/btc.toml")
    assert config.fill_model == FillModelConfig(file=str(tmp_path / "deploy" / "btc-model.json"), sha256="ab" * 32)
    again = save_config(config, tmp_path / "deploy" / "again.toml")
    assert 'file = "btc-model.json"' in again.read_text() and load_config(again) == config
    other = save_config(config, tmp_path / "other" / "btc.toml")
    assert str(tmp_path / "deploy" / "btc-model.json") in other.read_text() and load_config(other) == config
    mine = Config(grid=GRID).replace(**{"fill_model.file": "deploy/btc-model.json", "fill_model.sha256": "ab" * 32})
    assert load_config(save_config(mine, tmp_path / "deploy" / "mine.toml")).fill_model == config.fill_model


def test_schema_is_there_for_the_asking() -> None:
    """The JSON schema lists every section and says that an exact number is text or whole."""
    schema = Config.model_json_schema()
    assert set(schema["properties"]) == set(SECTIONS) == set(Config.model_fields)
    size = schema["$defs"]["GridConfig"]["properties"]["size"]
    assert [part["type"] for part in size["anyOf"]] == ["string", "integer", "null"]


# --- the file --------------------------------------------------------------------------------------------------------

exact_text = st.decimals("0.00000001", 10**9, places=8).map(lambda value: format(value, "f"))
tenths = st.integers(1, 100_000).map(lambda value: Decimal(value) / 10)
milliseconds = st.floats(0, 3_600_000, allow_nan=False)


@st.composite
def grids(draw: st.DrawFn) -> GridConfig:
    """Any valid grid."""
    lattice = draw(st.booleans())
    values: dict[str, object] = {"levels": draw(st.integers(1, 1000)), "step_ms": draw(st.integers(1, 10**6))}
    if lattice:
        values |= {"planner": "lattice", "spacing_ticks": draw(st.integers(1, 10**6))}
        values["half_spread_ticks"] = draw(st.none() | st.integers(0, 10**6))
    else:
        values |= {"spacing_bps": draw(tenths), "ladder": draw(st.sampled_from(["linear", "geometric"]))}
        values["recentre_bps"] = draw(st.none() | tenths)
    if draw(st.booleans()):
        values["size"] = draw(exact_text)
    else:
        values["size_schedule"] = draw(st.lists(exact_text, min_size=1, max_size=5))
    values["position_limit"] = draw(exact_text)
    values["skew_bps_at_limit"] = draw(tenths)
    values["mode"] = draw(st.sampled_from(["BILATERAL", "UNI_LONG", "UNI_SHORT", "THROTTLE", "PAUSE", "EMERGENCY"]))
    values["min_fill_prob"] = draw(st.floats(0, 0.95))
    values["throttle_factor"] = draw(st.decimals("0.0000000000000000001", 1, places=19))
    values["levels_up"] = draw(st.none() | st.integers(1, 1000))
    return GridConfig(**values)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any valid configuration."""
    return Config(
        grid=draw(grids()),
        execution=ExecutionConfig(
            queue=draw(st.sampled_from(["risk_averse", "power", "pro_rata", "optimistic"])),
            queue_n=draw(st.floats(0.01, 20)),
            entry_ms=draw(milliseconds),
            entry_table_ms=draw(st.none() | st.lists(milliseconds, min_size=1, max_size=5)),
            partial_fills=draw(st.booleans()),
            maker_fee_bps=draw(st.decimals(-999, 999, places=6)),
            seed=draw(st.integers(0, 2**63 - 1)),
        ),
        limits=Limits(max_drawdown=draw(st.none() | exact_text)),
        retry=RetryConfig(timeout_s=draw(st.floats(0.001, 3600))),
        instrument=draw(st.sampled_from([None, InstrumentConfig(symbol="BTCUSDT"), InstrumentConfig.of(BTC)])),
        provenance=Provenance(
            note=draw(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)),
            window_ns=draw(st.none() | st.tuples(st.integers(0, 2**62), st.integers(0, 2**62))),
        ),
    )


@given(configs())
def test_what_is_written_is_read_back(config: Config) -> None:
    """load(save(c)) == c, with the same canonical form and the same types."""
    again = parse_config(format_config(config))
    assert again == config
    assert again.canonical() == config.canonical()
    assert repr(again) == repr(config)


@given(configs())
def test_the_canonical_text_is_read_back(config: Config) -> None:
    """Everything but the provenance comes back, with the same text."""
    again = Config.from_canonical(config.canonical())
    assert again == config.replace(provenance=Provenance()) and again.canonical() == config.canonical()


@pytest.mark.parametrize("text", ["", "[]", "17", "{", '{"grid":'])
def test_what_is_no_canonical_text_is_refused(text: str) -> None:
    """It says what it got."""
    with pytest.raises(ConfigError, match="is no configuration in JSON"):
        Config.from_canonical(text)


def test_file_explains_its_keys() -> None:
    """Every key that is written carries its meaning and unit."""
    for line in format_config(GRID).splitlines():
        assert not line or line.startswith(("[", "#")) or "  # " in line


def test_saving_leaves_no_draft(tmp_path: Path) -> None:
    """A file is written whole: nothing else is left in its folder."""
    assert load_config(save_config(GRID, tmp_path / "deep" / "grid.toml")) == Config(grid=GRID)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["grid.toml"]


@pytest.mark.parametrize("name", ["grid.toml", "hftbacktest_grid.toml"])
def test_examples_load(root: Path, name: str) -> None:
    """The examples are valid, and a round trip keeps them."""
    config = load_config(root / "examples" / name)
    assert parse_config(format_config(config)) == config


def test_example_is_the_oracles_grid(root: Path) -> None:
    """examples/hftbacktest_grid.toml holds the oracle's parameters."""
    config = load_config(root / "examples" / "hftbacktest_grid.toml")
    grid, execution = config.grid, config.execution
    assert (grid.spacing_ticks, grid.half_spread, grid.n_up, grid.n_down, grid.step_ms) == (10, 20, 20, 20, 100)
    assert (grid.sizes, grid.position_limit, grid.skew_tenths) == ((Decimal("0.1"),), Decimal(5), 0)
    assert (execution.queue, execution.queue_n, execution.partial_fills) == ("risk_averse", 2, False)
    assert (execution.own_volume, execution.queue_fill, execution.book) == ("each", "half_lot", "depth")
    assert (execution.entry_ns, execution.response_ns) == (10_000_000, 10_000_000)
    assert config.router.price_tolerance_ticks == 0


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            '[grid]\nspacing_bps = 8\n\nsize = 0.002  # a float\nlevels = "10"\n',
            ['g.toml:4: size is a float; write "0.002"', "g.toml:5: levels is '10'; write a whole number, such as 10"],
        ),
        ('[grid]\nspacing_bp = 8\nsize = "1"\n', ["g.toml:2: unknown key 'spacing_bp'; did you mean 'spacing_bps'?"]),
        (
            '[grid]\nspacing_bps = 8\nsize = "1"\nqueue = "power"\n',
            ["g.toml:4: unknown key 'queue'; it belongs in [execution]"],
        ),
        ('[grid]\nspacing_bps = 8\nsize = "1"\n[exec]\n', ["g.toml:4: unknown section 'exec'"]),
        (
            '[gird]\nspacing_bps = 8\n',
            ["g.toml: [grid] is missing; it needs", "g.toml:1: unknown section 'gird'; did you mean 'grid'?"],
        ),
        (
            'spacing_bps = 8\n',
            ["[grid] is missing", "g.toml:1: unknown section 'spacing_bps'; 'spacing_bps' is a key of [grid]"],
        ),
        ('[grid]\nlevels = 3\n', ["g.toml:1: [grid] spacing_bps is missing", "g.toml:1: [grid] size is missing"]),
        ('grid = 3\n', ["g.toml:1: grid is 3; write a section [grid] with its keys"]),
        ('grid.spacing_bps = 8\ngrid.size = 1.5\n', ['g.toml:2: size is a float; write "1.5"']),
        ('[grid]\nspacing_bps = \n', ["g.toml:2: Invalid value (column"]),
        ('[grid]\nlevels = 1\nlevels = 2\n', ["g.toml:3: Cannot overwrite a value"]),
        ("", ["g.toml: [grid] is missing"]),
    ],
)  # fmt: skip
def test_file_errors_name_the_line(text: str, lines: list[str]) -> None:
    """What is wrong in a file is said with its line, one line each, in the order of the file."""
    with pytest.raises(ConfigError) as error:
        parse_config(text, name="g.toml")
    said = str(error.value).splitlines()
    assert len(said) == len(lines)
    assert all(start in line for start, line in zip(lines, said, strict=True)), said


def test_missing_and_foreign_files_are_configuration_errors(tmp_path: Path) -> None:
    """A path that holds no configuration is refused with its name."""
    with pytest.raises(ConfigError, match="nope.toml: no such configuration file"):
        load_config(tmp_path / "nope.toml")
    (tmp_path / "x.gz").write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(ConfigError, match="not UTF-8 text at byte 1"):
        load_config(tmp_path / "x.gz")
    with pytest.raises(ConfigError, match="directory"):
        load_config(tmp_path)


# --- overrides -------------------------------------------------------------------------------------------------------


def test_overrides_are_read_as_toml() -> None:
    """Numbers, lists and words of the command line change single keys; decimals are exact as written."""
    config = apply_overrides(
        Config(grid=GRID),
        ["execution.queue=risk_averse", 'grid.mode="UNI_LONG"', "grid.size=0.0040", "execution.entry_ms=0.5",
         "execution.entry_table_ms=[1, 2.5]", "execution.partial_fills=false", "limits.max_position = 3"],
    )  # fmt: skip
    assert config.execution.queue == "risk_averse" and config.execution.entry_table_ms == (1.0, 2.5)
    assert (config.grid.size, config.execution.entry_ms, config.limits.max_position) == (Decimal("0.004"), 0.5, 3)
    assert config.execution.partial_fills is False


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("execution.queue", "--set execution.queue: write section.key=value, such as execution.queue=power"),
        ("queue=power", "--set queue=power: write section.key=value"),
        ("grid.size=", "write section.key=value"),
        ("execution.quue=power", "--set execution.quue: unknown key 'quue'; did you mean 'queue'?"),
        ("grid.queue=power", "--set grid.queue: unknown key 'queue'; it belongs in [execution]"),
        ("exec.queue=power", "unknown section 'exec'"),
        ("execution.queue=powr", "--set execution.queue: queue is 'powr'; write"),
        ("grid.levels=1.5", "--set grid.levels: levels is"),
        ("grid.spacing_bps=8.05", "write 8"),
        ("instrument.venue=binance", "symbol is missing"),
    ],
)  # fmt: skip
def test_override_errors_name_the_override(override: str, text: str) -> None:
    """A wrong override is refused like a wrong key of the file."""
    with pytest.raises(ConfigError) as error:
        apply_overrides(Config(grid=GRID), [override])
    assert text in str(error.value)


# --- against an instrument -------------------------------------------------------------------------------------------


def test_sound_configuration_fits_its_instrument() -> None:
    """The usual grid passes, with and without a price."""
    check_against(Config(grid=GRID, instrument=InstrumentConfig.of(BTC)), BTC, Decimal(55_000))
    check_against(Config(grid=GRID), BTC, None)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"grid.size": "0.0025"}, 'size is 0.0025, off the lot of 0.001 of BTCUSDT; write "0.002" or "0.003"'),
        ({"grid.size": "0.001"}, 'worth 55 USDT at 55000; BTCUSDT takes orders from 100 USDT: write "0.002" or more'),
        ({"grid.size_schedule": ["0.002", "0.001"]}, 'size_schedule is 0.001, worth 55 USDT at 55000'),
        ({"grid.size": "2000"}, "takes at most 1000 an order"),
        ({"grid.mode": "THROTTLE"}, 'throttled 0.001, worth 55 USDT at 55000; BTCUSDT takes orders from'),
        ({"grid.mode": "THROTTLE"}, 'write "0.004" or more'),
        (
            {"grid.mode": "THROTTLE", "grid.throttle_factor": "0.1"},
            'throttled 0; BTCUSDT takes at least 0.001: write "0.01"',
        ),
        ({"grid.position_limit": "0.0105"}, "position_limit is 0.0105, off the lot"),
        ({"limits.max_position": "0.0105"}, "max_position is 0.0105, off the lot"),
        ({"instrument": InstrumentConfig(symbol="ETHUSDT")}, "symbol is ETHUSDT, and the market is BTCUSDT"),
        ({"instrument": InstrumentConfig(symbol="BTCUSDT", venue="binance")}, "and the market is of binanceusdm"),
        (
            {"grid.spacing_bps": 100, "grid.levels": 100},
            "levels is 100: buy 100 would stand at 0, at or below zero; write levels 99 or fewer",
        ),
        (
            {"grid.spacing_bps": 1000, "grid.levels_down": 12},
            "levels_down is 12: buy 12 would stand at -11000, at or below zero; write levels_down 9 or fewer",
        ),
        (
            {"grid.planner": "lattice", "grid.spacing_ticks": 100_000, "grid.levels": 6},
            "buy 6 would stand at 0, at or below zero; write levels 5 or fewer",
        ),
    ],
)  # fmt: skip
def test_what_cannot_work_on_an_instrument_is_refused(changes: dict[str, object], text: str) -> None:
    """Sizes, spacing and depth are checked against the instrument before anything runs."""
    with pytest.raises(InvalidConfigError) as error:
        check_against(Config(grid=GRID).replace(**changes), BTC, Decimal(55_000))
    assert text in str(error.value)
    assert all(len(problem.path) == 2 for problem in error.value.problems)


def test_spacing_below_one_tick_is_refused() -> None:
    """The smallest spacing that works is named, and works."""
    config = Config(grid=GRID.replace(spacing_bps="0.1", size="1"))
    with pytest.raises(
        ConfigError, match=r"spacing_bps is 0.1, 0.006 at 600: below one tick of 0.1; write 1.7 or more"
    ):
        check_against(config, BTC, Decimal(600))
    check_against(config.replace(**{"grid.spacing_bps": "1.7"}), BTC, Decimal(600))


def test_deep_geometric_levels_are_refused_only_below_a_tick() -> None:
    """A geometric ladder never reaches zero, but may leave the ticks."""
    config = Config(grid=GridConfig(spacing_bps=5000, ladder="geometric", levels=20, size="1"))
    with pytest.raises(ConfigError, match="write levels 19 or fewer"):
        check_against(config, BTC, Decimal(55_000))
    check_against(config.replace(**{"grid.levels": 19}), BTC, Decimal(55_000))


def test_sells_alone_may_be_deep() -> None:
    """A grid that only sells has no level below the market."""
    check_against(Config(grid=GRID.replace(mode="UNI_SHORT", spacing_bps=1000, levels=50)), BTC, Decimal(55_000))


def test_inverse_contracts_are_worth_their_size() -> None:
    """The smallest notional of an inverse contract does not depend on the price."""
    coin = Instrument(
        symbol="BTCUSD_PERP", venue="binancecoinm", base="BTC", quote="USD", contract=Contract.INVERSE,
        contract_size=Decimal(100), tick=Decimal("0.1"), lot=Decimal(1), min_quantity=Decimal(1),
        min_notional=Decimal(300),
    )  # fmt: skip
    with pytest.raises(ConfigError, match='size is 2, worth 200 USD at 55000; .* write "3" or more'):
        check_against(Config(grid=GRID.replace(size="2")), coin, Decimal(55_000))
    check_against(Config(grid=GRID.replace(size="3")), coin, Decimal(55_000))


def test_written_file_is_plain_toml() -> None:
    """Other programs read the same values: sizes as text, bps as numbers."""
    data = tomllib.loads(format_config(GRID))
    assert (data["grid"]["size"], data["grid"]["spacing_bps"], data["grid"]["levels"]) == ("0.002", 8, 10)
