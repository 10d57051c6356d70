"""Planners: from the market and the position to where the grid should stand.

`centred` is the specification's: ordinal levels around a centre that is set anew when price has left it. `lattice` quotes
absolute prices, multiples of a spacing, and follows mid at every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from grinder_kit.decision.ladder import moved_beyond, skew_at
from grinder_kit.errors import ConfigError
from grinder_kit.model.config import GridConfig, Planner
from grinder_kit.model.grid import GridMode, GridPlan, ResetAction, Spacing
from grinder_kit.model.instrument import Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A GridPlan in whole ticks and lots, as the decision rules take it.

    `centre2` is in half ticks. A plan with `spacing_ticks` is a lattice, otherwise levels stand `spacing_tenths` of a bp apart.
    """

    mode: GridMode
    centre2: int
    n_up: int
    n_down: int
    sizes: tuple[int, ...]
    skew_tenths: int = 0
    spacing_tenths: int = 0
    geometric: bool = False
    spacing_ticks: int = 0
    half_spread_ticks: int = 0
    reset_action: ResetAction = ResetAction.NONE

    @classmethod
    def of(cls, plan: GridPlan, instrument: Instrument) -> Plan:
        """Return the specification's plan in integers: the centre to the nearest half tick, sizes floored to the lot.

        Raises
        ------
        ConfigError
            For a spacing that is 0 to a tenth of a bp.
        """
        tenths = 0 if plan.spacing_ticks else int((plan.spacing_bps * 10).to_integral_value())
        if not tenths and not plan.spacing_ticks:
            raise ConfigError(f"spacing_bps is {plan.spacing_bps}; it is read in tenths of a bp: write 0.1 or more")
        return cls(
            mode=plan.mode,
            centre2=int((plan.center_price * 2 / instrument.tick).to_integral_value()),
            n_up=plan.levels_up,
            n_down=plan.levels_down,
            sizes=tuple(int(size // instrument.lot) for size in plan.size_schedule),
            skew_tenths=int((plan.skew_bps * 10).to_integral_value()),
            spacing_tenths=tenths,
            geometric=plan.spacing is Spacing.GEOMETRIC,
            spacing_ticks=plan.spacing_ticks or 0,
            half_spread_ticks=plan.half_spread_ticks or 0,
            reset_action=plan.reset_action,
        )

    def grid_plan(self, instrument: Instrument) -> GridPlan:
        """Return the plan as the specification's value; a lattice's spacing also stands in bps, to a tenth."""
        tenths = self.spacing_tenths or max(1, self.spacing_ticks * 2 * 100_000 // self.centre2)
        return GridPlan(
            mode=self.mode,
            center_price=instrument.tick * self.centre2 / 2,
            spacing_bps=Decimal(tenths) / 10,
            levels_up=self.n_up,
            levels_down=self.n_down,
            size_schedule=tuple(instrument.quantity(lots) for lots in self.sizes),
            skew_bps=Decimal(self.skew_tenths) / 10,
            spacing=Spacing.GEOMETRIC if self.geometric else Spacing.LINEAR,
            spacing_ticks=self.spacing_ticks or None,
            half_spread_ticks=self.half_spread_ticks if self.spacing_ticks else None,
            reset_action=self.reset_action,
        )


class GridPlanner(Protocol):
    """Anything that says where a grid should stand."""

    def plan(self, bid: int, ask: int, inventory: int) -> Plan:
        """Return the plan for a book (best prices in ticks) and a position in lots; the same object when nothing changed."""
        ...


class _Configured:
    """What both planners take from the configuration."""

    def __init__(self, config: GridConfig, instrument: Instrument) -> None:
        self._config = config
        self._sizes = tuple(instrument.lots(size, "size") for size in config.sizes)
        self._limit = (
            None if config.position_limit is None else instrument.lots(config.position_limit, "position_limit")
        )
        self._last: tuple[int, int, Plan] | None = None

    def _skew(self, inventory: int) -> int:
        tenths = self._config.skew_tenths
        return skew_at(inventory, self._limit or 0, tenths) if tenths else 0

    def _at(self, centre2: int, skew: int, *, fresh: bool = False) -> Plan:
        if self._last is not None and self._last[:2] == (centre2, skew):
            return self._last[2]
        config = self._config
        plan = Plan(
            mode=config.mode,
            centre2=centre2,
            n_up=config.n_up,
            n_down=config.n_down,
            sizes=self._sizes,
            skew_tenths=skew,
            spacing_tenths=config.spacing_tenths or 0,
            geometric=config.ladder is Spacing.GEOMETRIC,
            spacing_ticks=config.spacing_ticks or 0,
            half_spread_ticks=config.half_spread or 0,
            reset_action=config.reset_action if fresh else ResetAction.NONE,
        )
        self._last = (centre2, skew, plan)
        return plan


class CentredPlanner(_Configured):
    """Levels 1, 2, ... around a centre that stays until mid has left it by `recentre_bps`."""

    def __init__(self, config: GridConfig, instrument: Instrument) -> None:
        super().__init__(config, instrument)
        self.centre2: int | None = None  # where the ladder stands, half ticks
        self._recentre_tenths = config.recentre_tenths or 0

    def plan(self, bid: int, ask: int, inventory: int) -> Plan:
        """Return the plan; its reset action is set in the step in which the centre moved."""
        mid2 = bid + ask
        fresh = False
        if self.centre2 is None or moved_beyond(self.centre2, mid2, self._recentre_tenths):
            fresh = self.centre2 is not None
            self.centre2 = mid2
        return self._at(self.centre2, self._skew(inventory), fresh=fresh)


class LatticePlanner(_Configured):
    """Multiples of a spacing around mid, at every step."""

    def plan(self, bid: int, ask: int, inventory: int) -> Plan:
        """Return the plan around the present mid."""
        return self._at(bid + ask, self._skew(inventory))


def planner_for(config: GridConfig, instrument: Instrument) -> GridPlanner:
    """Return the planner that the configuration names."""
    return (CentredPlanner if config.planner is Planner.CENTRED else LatticePlanner)(config, instrument)
