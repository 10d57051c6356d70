"""What two configurations differ in, key by key; and what of it a running session cannot take."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any, NamedTuple

from grinder_kit.errors import ConfigError
from grinder_kit.model.config import SECTIONS, Config
from grinder_kit.model.number import plain
from grinder_kit.model.section import InvalidConfigError, Problem

#: What a running session stands on: its instrument, its venue's fees and latencies, how it sends, the names of its levels,
#: the model that judges them, and the times at which it decides.
FIXED = ("instrument", "fill_model", "execution", "retry", "grid.planner", "grid.step_ms")


class Difference(NamedTuple):
    """A key whose value differs, as in ``grid.levels``; values as JSON types, None where the key is not set."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        """Return the difference in one line: ``grid.levels: 10 -> 5``."""
        return f"{self.path}: {_shown(self.old)} -> {_shown(self.new)}"


def differences(old: Config, new: Config) -> tuple[Difference, ...]:
    """Return the keys in which two configurations differ, in the order of the file; provenance and places are not compared.

    Examples
    --------
    >>> from grinder_kit.model.config import GridConfig
    >>> old = Config(grid=GridConfig(spacing_bps=8, size="0.002"))
    >>> [str(one) for one in differences(old, old.replace(**{"grid.size": "0.0040", "limits.max_position": "0.1"}))]
    ['grid.size: 0.002 -> 0.004', 'limits.max_position: not set -> 0.1']
    """
    found = []
    for section, model in SECTIONS.items():
        if section == "provenance":
            continue
        sides = [getattr(config, section) for config in (old, new)]
        before, after = ({} if side is None else side.to_json() for side in sides)
        found += [
            Difference(f"{section}.{key}", before.get(key), after.get(key))
            for key in model.model_fields
            if key not in model.places and before.get(key) != after.get(key)
        ]
    return tuple(found)


def edits(config: Config) -> tuple[Difference, ...]:
    """Return what was changed by hand in an exported configuration, key by key; nothing for one that never was exported.

    Raises
    ------
    InvalidConfigError
        Where what its provenance says of the export cannot be read.
    """
    exported = config.provenance
    text = config.canonical() if exported.canonical is None else exported.canonical
    try:
        changes = differences(Config.from_canonical(text), config)
    except ConfigError as error:
        path = ("provenance", "canonical")
        said = f"what grinder_kit {exported.version} exported cannot be read here ({error}); export it again"
        raise InvalidConfigError([Problem(path=path, text=said)]) from None
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    if exported.config_sha256 not in (None, sha256):
        changes += (Difference("provenance.config_sha256", exported.config_sha256, sha256),)
    return changes


def refuse_edits(config: Config) -> None:
    """Refuse a configuration that was edited by hand since its export.

    Raises
    ------
    InvalidConfigError
        With every key that was changed.
    """
    problems = [
        Problem(
            path=tuple(change.path.split(".")),
            text=f"edited after the export ({change}); export what you want to run, or take [provenance] out of the file",
        )
        for change in edits(config)
    ]
    if problems:
        raise InvalidConfigError(problems)


def unchangeable(old: Config, new: Config) -> list[Problem]:
    """Return what differs in the parts that cannot change while a session runs."""
    return [
        Problem(
            path=tuple(path.split(".")),
            text=f"{path} cannot change from {_shown(before)} to {_shown(after)} while the session runs: "
            "stop it and start again",
        )
        for path, before, after in differences(old, new)
        if path in FIXED or path.partition(".")[0] in FIXED
    ]


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, float):
        return plain(Decimal(repr(value)))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
