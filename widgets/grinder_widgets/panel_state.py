"""What a person has set in a panel, as a value that can be kept and brought back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from grinder_kit.errors import ConfigError
from grinder_kit.model.section import did_you_mean
from grinder_widgets.session_ladder import LADDER_ROWS

TABS = ("P&L", "Fills", "Round trips", "Ribbon score", "Latency", "Health", "Journal")
#: How Flatten takes the position out: the last one goes on with a schedule that was begun.
AT_ONCE, OVER_TIME, ICEBERG, GO_ON = WAYS = ("at once", "over 5 min", "iceberg", "go on")


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelState:
    """What a person has set in a panel.

    Parameters
    ----------
    level : str or None
        The row of the ladder that is picked: a level's key, such as ``S2``.
    rows : int
        Rows of the ladder, 10 to 60.
    tab : str
        One of `TABS`.
    frozen : bool
        Whether the view stands still.
    tables : bool
        Whether tables are shown beside the figures.
    way : str
        How Flatten takes the position out, one of `WAYS`.

    Raises
    ------
    ConfigError
        For a value that a panel cannot have.
    """

    level: str | None = None
    rows: int = 30
    tab: str = TABS[0]
    frozen: bool = False
    tables: bool = False
    way: str = AT_ONCE

    def __post_init__(self) -> None:
        if isinstance(self.rows, bool) or not isinstance(self.rows, int) or not 10 <= self.rows <= LADDER_ROWS:
            raise ConfigError(f"rows is {self.rows!r}; write a whole number from 10 to {LADDER_ROWS}")
        if self.tab not in TABS:
            raise ConfigError(f"tab is {self.tab!r}; write one of {', '.join(TABS)}")
        if self.way not in WAYS:
            raise ConfigError(f"way is {self.way!r}; write one of {', '.join(WAYS)}")
        if self.level is not None and not isinstance(self.level, str):
            raise ConfigError(f"level is {self.level!r}; write a level's key, such as 'S2', or None")
        for name in ("frozen", "tables"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; write True or False")

    @classmethod
    def of(cls, given: PanelState | Mapping[str, Any] | None) -> PanelState:
        """Return a state from what was given; unknown keys raise ConfigError."""
        if isinstance(given, PanelState):
            return given
        known = [field.name for field in fields(cls)]
        for name in given or {}:
            if name not in known:
                raise ConfigError(f"a panel has no {name!r}{did_you_mean(name, known)}; it has {', '.join(known)}")
        return cls(**(given or {}))

    def changed(self) -> dict[str, object]:
        """Return what differs from a new panel."""
        new = asdict(PanelState())
        return {name: value for name, value in asdict(self).items() if value != new[name]}
