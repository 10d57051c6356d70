"""A grid as planned and as it stands: GridPlan and GridLevel (SPEC 9.5)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from grinder_kit.errors import ConfigError
from grinder_kit.model.number import exact
from grinder_kit.model.order import Side


class GridMode(StrEnum):
    """Which sides a plan quotes."""

    BILATERAL = "BILATERAL"
    UNI_LONG = "UNI_LONG"  # buys only
    UNI_SHORT = "UNI_SHORT"  # sells only
    THROTTLE = "THROTTLE"  # both sides, sizes times throttle_factor
    PAUSE = "PAUSE"  # no levels; own orders are withdrawn
    EMERGENCY = "EMERGENCY"  # no levels; own orders are withdrawn; leaving the position is a separate act

    @property
    def active(self) -> bool:
        """Whether the mode has levels at all."""
        return self not in (GridMode.PAUSE, GridMode.EMERGENCY)


class ResetAction(StrEnum):
    """What a new plan does to the orders of the last one."""

    NONE = "NONE"
    SOFT = "SOFT"  # cancel what does not conform
    HARD = "HARD"  # cancel everything and rebuild


class Spacing(StrEnum):
    """How levels leave the centre: i * s (the specification's) or (1 + s) ** i."""

    LINEAR = "linear"
    GEOMETRIC = "geometric"


@dataclass(frozen=True, slots=True, kw_only=True)
class GridPlan:
    """Where a grid should stand.

    Parameters
    ----------
    center_price : Decimal
        Quote; above zero.
    spacing_bps : Decimal
        Distance between levels; above zero. Read in tenths of a bp.
    levels_up, levels_down : int
        Sells above and buys below the centre.
    size_schedule : tuple of Decimal
        Base quantity of level 1, 2, ...; the last entry repeats.
    skew_bps : Decimal
        Shift of the centre; negative when long.
    spacing : Spacing
        How levels leave the centre.
    spacing_ticks, half_spread_ticks : int or None
        A lattice: levels are the multiples of `spacing_ticks` at least `half_spread_ticks` from the centre.
    regime, width_bps, reset_action, reason_codes
        As the planner says.

    Raises
    ------
    ConfigError
        For spacing or centre not above zero, negative levels or sizes, an active mode without sizes.
    """

    mode: GridMode = GridMode.BILATERAL
    center_price: Decimal
    spacing_bps: Decimal
    levels_up: int
    levels_down: int
    size_schedule: tuple[Decimal, ...]
    skew_bps: Decimal = Decimal(0)
    spacing: Spacing = Spacing.LINEAR
    spacing_ticks: int | None = None
    half_spread_ticks: int | None = None
    regime: str = "UNKNOWN"
    width_bps: Decimal | None = None
    reset_action: ResetAction = ResetAction.NONE
    reason_codes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("center_price", "spacing_bps", "skew_bps"):
            object.__setattr__(self, name, exact(getattr(self, name), name))
        object.__setattr__(self, "size_schedule", tuple(exact(s, "size_schedule") for s in self.size_schedule))
        if self.center_price <= 0:
            raise ConfigError(f"center_price is {self.center_price}; it must be above zero")
        if self.spacing_bps <= 0:
            raise ConfigError(f"spacing_bps is {self.spacing_bps}; it must be above zero")
        if self.spacing_ticks is not None and self.spacing_ticks < 1:
            raise ConfigError(f"spacing_ticks is {self.spacing_ticks}; write 1 or more, or None for no lattice")
        if self.levels_up < 0 or self.levels_down < 0:
            raise ConfigError(f"levels_up is {self.levels_up}, levels_down {self.levels_down}; write 0 or more")
        if self.mode.active and not self.size_schedule:
            raise ConfigError(f'size_schedule is empty; mode {self.mode} needs at least one size, such as ("0.002",)')
        if any(size < 0 for size in self.size_schedule):
            raise ConfigError(f"size_schedule holds a negative size: {self.size_schedule}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GridLevel:
    """One order that the grid wants (SPEC 9.5): price in quote, size in base or contracts.

    `fill_prob` and `expected_profit_bps` are None where no model gave them. The latter is what a round trip earns given the level's
    fill, by decision/economics.py: spacing less the fees of both sides, and the markout where a model of it was given.
    """

    level_id: str
    side: Side
    price: Decimal
    size: Decimal
    fill_prob: float | None
    expected_profit_bps: float | None
    reason_codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A level that was not quoted, and why: `reason` is a code, `detail` the numbers."""

    level_id: str
    side: Side
    price: Decimal | None
    reason: str
    detail: str
