"""What two configurations differ in: every key that has another meaning, and no other."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.model.config import SECTIONS, Config, GridConfig, InstrumentConfig
from grinder_kit.model.config_diff import Difference, differences, edits, unchangeable
from grinder_kit.model.config_file import format_config, parse_config
from grinder_kit.model.section import InvalidConfigError

CONFIG = Config(grid=GridConfig(spacing_bps=8, levels=10, size="0.002"))
CHANGES: list[tuple[str, Any]] = [
    ("grid.levels", 5), ("grid.size", "0.004"), ("grid.spacing_bps", Decimal("8.5")), ("grid.mode", "UNI_LONG"),
    ("router.amend", False), ("router.order_ttl_s", 7), ("limits.max_drawdown", "10"), ("limits.max_orders_per_s", 5),
    ("execution.maker_fee_bps", 1), ("execution.entry_table_ms", [1, 2]), ("retry.timeout_s", 3.0),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), CHANGES)
def test_a_changed_key_is_the_only_difference(path: str, value: Any) -> None:
    """By its path in the file; the way back is the same with both sides exchanged."""
    new = CONFIG.replace(**{path: value})
    (forth,) = differences(CONFIG, new)
    (back,) = differences(new, CONFIG)
    assert forth.path == back.path == path and (forth.old, forth.new) == (back.new, back.old)
    assert [problem.path for problem in unchangeable(CONFIG, new)] == (
        [tuple(path.split("."))] if path.startswith(("execution", "retry")) else []
    )


@given(st.lists(st.sampled_from(CHANGES), unique_by=lambda change: change[0]))
def test_differences_are_those_that_were_made_in_the_order_of_the_file(changes: list[tuple[str, Any]]) -> None:
    """However many there are."""
    found = [one.path for one in differences(CONFIG, CONFIG.replace(**dict(changes)))]
    keys = [f"{name}.{key}" for name, section in SECTIONS.items() for key in section.model_fields]
    assert found == sorted((path for path, _ in changes), key=keys.index)


def test_what_means_the_same_is_no_difference() -> None:
    """How a number was written, and where a configuration came from."""
    same = CONFIG.replace(**{"grid.size": "0.00200", "provenance.note": "from elsewhere"})
    assert differences(CONFIG, same) == ()


def test_a_difference_says_itself() -> None:
    """In one line; lists are written out."""
    new = CONFIG.replace(**{"grid.size_schedule": ["0.002", "0.004"], "limits.max_position": "0.1"})
    assert [str(one) for one in differences(CONFIG, new)] == [
        "grid.size: 0.002 -> not set",
        "grid.size_schedule: not set -> 0.002, 0.004",
        "limits.max_position: not set -> 0.1",
    ]
    assert (
        differences(CONFIG, new)[2]
        == Difference("limits.max_position", None, "0.1")
        == ("limits.max_position", None, "0.1")
    )


def test_instrument_and_planner_cannot_change_in_a_running_session() -> None:
    """Each key that differs is named, with both values and what to do."""
    new = Config(
        grid=GridConfig(planner="lattice", spacing_ticks=5, size="0.002"), instrument=InstrumentConfig(symbol="BTCUSDT")
    )
    assert [problem.text for problem in unchangeable(CONFIG, new)] == [
        "instrument.symbol cannot change from not set to BTCUSDT while the session runs: stop it and start again",
        "grid.planner cannot change from centred to lattice while the session runs: stop it and start again",
    ]


# --- edits of what was exported --------------------------------------------------------------------------------------


def exported(config: Config = CONFIG) -> Config:
    """Return a configuration as an export leaves it."""
    known = {"canonical": config.canonical(), "config_sha256": config.sha256, "market": "somewhere", "score": 1.5}
    return config.replace(**{f"provenance.{key}": value for key, value in known.items()})


@given(st.lists(st.sampled_from(CHANGES), unique_by=lambda change: change[0]))
def test_edits_are_the_differences_from_the_export(changes: list[tuple[str, Any]]) -> None:
    """Whatever was changed is told by its key, in a configuration that was exported; and nothing in one that never was."""
    changed = dict(changes)
    assert edits(exported().replace(**changed)) == differences(CONFIG, CONFIG.replace(**changed))
    assert edits(CONFIG.replace(**changed)) == ()


@given(st.lists(st.sampled_from(CHANGES), unique_by=lambda change: change[0]))
def test_what_was_changed_is_written_without_what_was_known(changes: list[tuple[str, Any]]) -> None:
    """An exported configuration is read back as it was; a changed one keeps its market and has no edits, since no export."""
    config = exported().replace(**dict(changes))
    again = parse_config(format_config(config))
    assert again.canonical() == config.canonical() and edits(again) == ()
    assert again.provenance.market == "somewhere"
    assert again.provenance.score == (None if changes else 1.5)


def test_export_that_cannot_be_read_is_said() -> None:
    """Canonical text that is no configuration here is an error at its line; one that was tampered with is an edit."""
    broken = exported().replace(**{"provenance.canonical": "{"})
    with pytest.raises(InvalidConfigError, match="cannot be read here") as error:
        edits(broken)
    assert error.value.problems[0].path == ("provenance", "canonical")
    (edit,) = edits(exported().replace(**{"provenance.config_sha256": "ab"}))
    assert edit == Difference("provenance.config_sha256", "ab", CONFIG.sha256)
