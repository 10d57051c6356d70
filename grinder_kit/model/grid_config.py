"""What a grid quotes: the section [grid] of a configuration."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from grinder_kit.model.grid import GridMode, ResetAction, Spacing
from grinder_kit.model.order import OrderType
from grinder_kit.model.section import (
    NS_PER_MS,
    Bps,
    ExactNumber,
    InvalidConfigError,
    Positive,
    Problem,
    Ratio,
    Real,
    Section,
    Whole,
)


class Planner(StrEnum):
    """Who says where the levels stand."""

    CENTRED = "centred"  # around a centre that follows the market in steps of recentre_bps
    LATTICE = "lattice"  # at absolute multiples of spacing_ticks, half_spread_ticks away from mid


class GridConfig(Section):
    """What the grid quotes.

    Exactly one of `spacing_bps` (planner ``centred``) and `spacing_ticks` (planner ``lattice``), and exactly one of
    `size` and `size_schedule`, is set.

    Examples
    --------
    >>> grid = GridConfig(spacing_bps=8, levels=10, size="0.002")
    >>> grid.spacing_tenths, grid.n_up, grid.sizes
    (80, 10, (Decimal('0.002'),))
    >>> GridConfig(spacing_bp=8, size="0.002")
    Traceback (most recent call last):
    grinder_kit.model.section.InvalidConfigError: unknown key 'spacing_bp'; did you mean 'spacing_bps'?
    """

    exclusive: ClassVar[tuple[tuple[str, str], ...]] = (("spacing_bps", "spacing_ticks"), ("size", "size_schedule"))

    planner: Planner = Field(Planner.CENTRED, description="centred: around a centre; lattice: at absolute prices")
    spacing_bps: Annotated[Bps, Field(gt=0, le=10_000)] | None = Field(
        None, description="bps between levels, in steps of 0.1"
    )
    spacing_ticks: Annotated[Whole, Field(ge=1, le=10**9)] | None = Field(
        None, description="ticks between levels of a lattice"
    )
    ladder: Spacing = Field(Spacing.LINEAR, description="linear: i * s; geometric: (1 + s) ** i")
    levels: Annotated[Whole, Field(ge=1, le=1000)] = Field(10, description="levels a side")
    levels_up: Annotated[Whole, Field(ge=0, le=1000)] | None = Field(
        None, description="sells, where they differ from levels"
    )
    levels_down: Annotated[Whole, Field(ge=0, le=1000)] | None = Field(
        None, description="buys, where they differ from levels"
    )
    size: Positive | None = Field(None, description="base (or contracts) an order")
    size_schedule: tuple[Annotated[ExactNumber, Field(ge=0)], ...] | None = Field(
        None, description="base (or contracts) of level 1, 2, ...; the last repeats"
    )
    half_spread_ticks: Annotated[Whole, Field(ge=0, le=10**9)] | None = Field(
        None, description="ticks from mid to the first level of a lattice; half a spacing when left out"
    )
    position_limit: Positive | None = Field(
        None, description="base (or contracts): the side that would go further stops quoting"
    )
    skew_bps_at_limit: Annotated[Bps, Field(ge=0, le=10_000)] = Field(
        Decimal(0), description="bps the centre moves against a full position"
    )
    recentre_bps: Annotated[Bps, Field(ge=0, le=10_000)] | None = Field(
        None, description="bps from the centre at which it is set anew; half the ladder when left out"
    )
    mode: GridMode = Field(GridMode.BILATERAL, description="which sides are quoted")
    reset_action: ResetAction = Field(ResetAction.NONE, description="what a new centre does to standing orders")
    throttle_factor: Annotated[Ratio, Field(gt=0, le=1)] = Field(
        Decimal("0.5"), description="sizes are multiplied by this in mode THROTTLE"
    )
    min_fill_prob: Annotated[Real, Field(ge=0, le=0.95)] = Field(
        0.0, description="levels less likely to fill are refused"
    )
    # One step of the heuristic's OFI factor, or a second's wobble of a fitted model, moves a probability by about so much.
    fill_prob_hysteresis: Annotated[Real, Field(ge=0, le=0.95)] = Field(
        0.05, description="a level that has an order stays until its probability is so far below min_fill_prob"
    )
    fill_horizon_s: Annotated[Real, Field(gt=0, le=86_400)] = Field(
        60.0, description="s within which a fill counts for min_fill_prob"
    )
    step_ms: Annotated[Whole, Field(ge=1, le=86_400_000)] = Field(100, description="ms between two decisions")
    max_orders: Annotated[Whole, Field(ge=1)] | None = Field(None, description="open orders at once")
    order_type: Literal[OrderType.POST_ONLY] = Field(OrderType.POST_ONLY, description="grid orders only ever rest")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        centred = self.planner is Planner.CENTRED
        problems: list[Problem] = []

        def wrong(key: str, text: str) -> None:
            problems.append(Problem(path=(key,), text=text))

        if self.spacing_bps is not None and self.spacing_ticks is not None:
            wrong("spacing_ticks", "spacing_bps and spacing_ticks are both set; keep one")
        elif centred and self.spacing_bps is None:
            if self.spacing_ticks is None:
                wrong("spacing_bps", "spacing_bps is missing; write the bps between two levels, such as 8")
            else:
                wrong("spacing_ticks", 'spacing_ticks belongs to planner "lattice"; write spacing_bps, or that planner')
        elif not centred and self.spacing_ticks is None:
            wrong("spacing_bps", 'planner "lattice" counts in ticks; write spacing_ticks, such as 10')
        if self.size is None and self.size_schedule is None:
            wrong("size", 'size is missing; write the quantity of one order as text, such as "0.002"')
        elif self.size is not None and self.size_schedule is not None:
            wrong("size_schedule", "size and size_schedule are both set; keep one")
        elif self.size_schedule is not None and not any(self.size_schedule):
            wrong("size_schedule", 'size_schedule holds no size above zero; write such as ["0.002", "0.004"]')
        if not centred and self.ladder is Spacing.GEOMETRIC:
            wrong("ladder", 'ladder "geometric" belongs to planner "centred"; write "linear"')
        if centred and self.half_spread_ticks is not None:
            wrong("half_spread_ticks", 'half_spread_ticks belongs to planner "lattice"; take it out')
        if not centred and self.recentre_bps is not None:
            wrong("recentre_bps", 'recentre_bps belongs to planner "centred"; take it out')
        if self.skew_bps_at_limit and self.position_limit is None:
            wrong("skew_bps_at_limit", "skew_bps_at_limit needs position_limit, which says what a full position is")
        if self.n_up == 0 and self.n_down == 0:
            wrong("levels_up", 'levels_up and levels_down are both 0; write mode = "PAUSE" for a grid without levels')
        if problems:
            raise InvalidConfigError(problems)
        return self

    @property
    def spacing_tenths(self) -> int | None:
        """Spacing in tenths of a bp; None for a lattice."""
        return None if self.spacing_bps is None else int(self.spacing_bps * 10)

    @property
    def n_up(self) -> int:
        """Sells wanted."""
        return self.levels if self.levels_up is None else self.levels_up

    @property
    def n_down(self) -> int:
        """Buys wanted."""
        return self.levels if self.levels_down is None else self.levels_down

    @property
    def sizes(self) -> tuple[Decimal, ...]:
        """Quantity of level 1, 2, ...; the last entry repeats. Never empty."""
        if self.size_schedule is not None:
            return self.size_schedule
        assert self.size is not None  # the validator saw to it
        return (self.size,)

    @property
    def half_spread(self) -> int | None:
        """Ticks from mid to the first level of a lattice; None for other planners."""
        if self.spacing_ticks is None:
            return None
        return self.spacing_ticks // 2 if self.half_spread_ticks is None else self.half_spread_ticks

    @property
    def recentre_tenths(self) -> int | None:
        """Tenths of a bp from the centre at which it is set anew; None for a lattice.

        By default the market may use half of the ladder first: a centre that moved before the first level was reached would
        make a grid that runs away from every fill.
        """
        if self.spacing_tenths is None:
            return None
        if self.recentre_bps is not None:
            return int(self.recentre_bps * 10)
        return max(1, self.spacing_tenths * max(self.n_up, self.n_down) // 2)

    @property
    def skew_tenths(self) -> int:
        """Skew at a full position in tenths of a bp."""
        return int(self.skew_bps_at_limit * 10)

    @property
    def step_ns(self) -> int:
        """Time between two decisions, ns."""
        return self.step_ms * NS_PER_MS
