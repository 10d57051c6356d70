"""How a session is held against its venue, and what is done about a difference: the section [reconcile] of a configuration."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from grinder_kit.model.section import ExactNumber, Real, Section, Whole


class ReconcileMode(StrEnum):
    """What is done about a difference that lasts."""

    DETECT = "detect"  # it is told
    PLAN = "plan"  # it is told, with what would be done
    CANCEL_ALL = "cancel_all"  # own orders are withdrawn, and the session is paused
    FLATTEN = "flatten"  # own orders are withdrawn, and the session's position is taken out


class ReconcileConfig(Section):
    """How a session is held against its venue; it may change while the session runs."""

    mode: ReconcileMode = Field(
        ReconcileMode.DETECT, description="about a difference: detect, plan, cancel_all, flatten"
    )
    every_s: Annotated[Real, Field(ge=1, le=86_400)] = Field(30.0, description="s between two looks at the venue")
    grace_s: Annotated[Real, Field(ge=0, le=3600)] = Field(5.0, description="s a difference must last to count")
    cooldown_s: Annotated[Real, Field(ge=0, le=86_400)] = Field(60.0, description="s between two actions")
    max_actions_per_run: Annotated[Whole, Field(ge=0)] = Field(3, description="actions since the session was started")
    max_actions_per_day: Annotated[Whole, Field(ge=0)] = Field(
        5, description="actions since 00:00 UTC, restarts included"
    )
    drift_steps: Annotated[Whole, Field(ge=1)] = Field(1, description="lots from which a position differs")
    drift_notional: Annotated[ExactNumber, Field(ge=0)] = Field(
        Decimal(0), description="quote from which a position differs"
    )

    @property
    def grace_ns(self) -> int:
        """Time for which a difference must last, ns."""
        return round(self.grace_s * 1e9)

    @property
    def cooldown_ns(self) -> int:
        """Time between two actions, ns."""
        return round(self.cooldown_s * 1e9)

    @property
    def every_ns(self) -> int:
        """Time between two looks at the venue, ns."""
        return round(self.every_s * 1e9)
