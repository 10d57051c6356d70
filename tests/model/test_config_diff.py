"""What two configurations differ in: every key that has another meaning, and no other."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.model.config import SECTIONS, Config, GridConfig, InstrumentConfig
from grinder_kit.model.config_diff import Difference, differences, unchangeable

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
