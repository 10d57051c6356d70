"""A space: what it holds, what it refuses, and that it reads back what it writes."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.config_file import load_config
from grinder_kit.tuning.space import Space

BASE = Config(grid=GridConfig(spacing_bps=8, levels=10, size="0.002"))


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"spacing": (2, 40)}, "unknown parameter 'spacing'; did you mean 'spacing_bps'?"),
        ({"order_ttl_s": [1, 2]}, "unknown parameter 'order_ttl_s'; write 'router.order_ttl_s'"),
        ({"rooter.amend": [True]}, "unknown section 'rooter'; did you mean 'router'?"),
        ({"router.amed": [True]}, "unknown key 'amed'; did you mean 'amend'?"),
        ({"retry.max_retries": [1, 2]}, "[retry] changes nothing in a replay"),
        ({"spacing_bps": (40, 2)}, "an inverted range; write (2, 40)"),
        ({"spacing_bps": (2, 2)}, "an empty range"),
        ({"spacing_bps": (2, 40, 0)}, "a step of 0; write a number above zero"),
        ({"spacing_bps": (2, 40, 50)}, "a step of 50 in (2, 40); write a smaller one"),
        ({"spacing_bps": (2, 40, 0.25)}, "bps are read in steps of 0.1"),
        ({"spacing_bps": (2,)}, "write (from, to) or (from, to, step)"),
        ({"spacing_bps": 8}, "write a range such as (2, 40), or choices such as [5, 20]"),
        ({"spacing_bps": []}, "has no choices"),
        ({"levels": [3, 3]}, "names a choice twice"),
        ({"levels": (3, 30, 0.5)}, "counts in whole numbers"),
        ({"levels": (0, 30)}, "write 1 or more"),
        ({"size": (0.002, 0.01)}, 'size is a float; write "0.002"'),
        ({"mode": ("PAUSE", "BILATERAL")}, "write its choices as a list"),
        ({"levels": (3, 30), "grid.levels": (3, 30)}, "grid.levels is given twice"),
        ({}, "the space is empty"),
    ],
)
def test_bad_space_says_what_to_write(parameters: dict[str, Any], text: str) -> None:
    """A space that cannot be used is refused where it is made, with what to write instead."""
    with pytest.raises(ConfigError) as error:
        Space(**parameters)
    assert text in str(error.value)


def test_ranges_go_by_the_step_of_their_key() -> None:
    """Whole numbers go by 1, bps by .1, quantities by their last digit, plain numbers by a round part; both ends are in."""
    space = Space(
        spacing_bps=(2, 40), levels=(3, 30), size=("0.002", "0.01"), min_fill_prob=(0, 0.9),
        **{"router.order_ttl_s": [None, 5, 20]},
    )  # fmt: skip
    assert [len(one) for one in space.dimensions] == [381, 28, 9, 91, 3]
    assert [one.value(1) for one in space.dimensions] == [Decimal("2.1"), 4, Decimal("0.003"), 0.01, 5.0]
    assert [one.value(len(one) - 1) for one in space.dimensions] == [40, 30, Decimal("0.010"), 0.9, 20.0]
    assert space.combinations == 381 * 28 * 9 * 91 * 3


def test_a_step_that_does_not_reach_the_end_stops_before_it() -> None:
    """The last value of a range is the last that its step reaches."""
    assert Space(levels=(3, 30, 10)).dimensions[0].high == 23


def test_every_combination_is_a_configuration_with_its_values() -> None:
    """Numbers run through all combinations once, and a configuration holds what its combination says."""
    space = Space(spacing_bps=(2, 3, 0.5), levels=[1, 5], **{"router.order_ttl_s": [None, 5]})
    found = [space.combination(number) for number in range(space.combinations)]
    assert len(set(found)) == 12
    for places in found:
        values, config = space.values(places), space.config(BASE, places)
        assert (config.grid.spacing_bps, config.grid.levels) == (values["spacing_bps"], values["levels"])
        assert config.router.order_ttl_s == values["router.order_ttl_s"]


def test_values_that_do_not_fit_together_are_named() -> None:
    """A combination that is no configuration says its values."""
    with pytest.raises(ConfigError, match=r"grid\.skew_bps_at_limit 5: .*needs position_limit"):
        Space(skew_bps_at_limit=[0, 5]).config(BASE, (1,))


@settings(max_examples=30)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([0.1, 0.5, 2]), st.integers(1, 20))
def test_file_and_repr_read_back(low: int, span: int, step: float, levels: int) -> None:
    """What `to_toml` writes and what `repr` shows are the same space."""
    space = Space(
        spacing_bps=(low, low + span + 2, step),
        levels=(levels, levels + 3),
        size=(f"{low}", f"{low + span}.50"),
        **{"router.order_ttl_s": [None, 5, 2.5], "execution.queue": ["power", "risk_averse"]},
    )
    assert Space.from_toml(space.to_toml()) == space
    assert eval(repr(space)) == space
    for one in space.dimensions:
        assert [one.nearest(one.value(at)) for at in range(len(one))] == list(range(len(one)))


def test_file_has_the_sections_of_a_configuration(tmp_path: Path) -> None:
    """A range is a table with its ends, a list holds choices, "none" is a key that is not set."""
    file = tmp_path / "space.toml"
    file.write_text(
        '[grid]\nspacing_bps = { from = 2, to = 40, step = 0.5 }\nlevels = [5, 10]\n[router]\norder_ttl_s = ["none", 5]\n'
    )
    space = Space.from_file(file)
    assert space == Space(spacing_bps=(2, 40, 0.5), levels=[5, 10], **{"router.order_ttl_s": [None, 5]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spacing = { from = 2, to = 40 }", "space.toml: unknown parameter 'spacing'; did you mean 'spacing_bps'?"),
        ("levels = { from = 2 }", "space.toml: levels lacks one end"),
        ("levels = 5", "space.toml: levels is 5; write { from = 3, to = 30 }, or choices in a list"),
        ("levels = [", "this is no TOML"),
        ("", "the space is empty"),
    ],
)
def test_bad_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    """A file that holds no space is named with what is wrong."""
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        Space.from_file(tmp_path / "space.toml")
    assert said in str(error.value)
    with pytest.raises(ConfigError, match="no such file"):
        Space.from_file(tmp_path / "other.toml")


def test_the_example_fits_the_example_configuration(root: Path) -> None:
    """examples/space.toml varies examples/grid.toml: every corner of it is a configuration."""
    space = Space.from_file(root / "examples" / "space.toml")
    base = load_config(root / "examples" / "grid.toml")
    assert all(isinstance(space.config(base, corner), Config) for corner in space.corners())
