"""What a session knows of its account beside its own orders and fills, and must know again after a restart."""

from __future__ import annotations

from decimal import Decimal

from grinder_kit.decision.constraints import DAY_NS
from grinder_kit.model.event import Rebased, Reconciled
from grinder_kit.model.number import plain


class AccountBooks:
    """What others hold on the account, and what reconciliation has done; moved by events alone, so that a journal rebuilds it.

    Attributes
    ----------
    foreign : Decimal or None
        What the account holds beside the session's own fills, in base or contracts; None until it was first seen.
    this_run : int
        Actions since the session's process was started.
    """

    def __init__(self) -> None:
        self.foreign: Decimal | None = None
        self.this_run = 0
        self._actions: list[int] = []

    def __repr__(self) -> str:
        foreign = "not known yet" if self.foreign is None else plain(self.foreign)
        return f"<AccountBooks: others hold {foreign}; {self.this_run} actions of this run>"

    def apply(self, event: Rebased | Reconciled) -> None:
        """Take an event."""
        if isinstance(event, Rebased):
            self.foreign = event.foreign
            return
        self.this_run += 1
        self._actions = [at for at in self._actions if at >= event.ts_ns - DAY_NS] + [event.ts_ns]

    def restarted(self) -> None:
        """Begin another run."""
        self.this_run = 0

    @property
    def last_action_ns(self) -> int | None:
        """Time of the latest action, ns UTC; None where there was none within a day."""
        return max(self._actions, default=None)

    def actions_on(self, now_ns: int) -> int:
        """Return how many actions there were on the day (UTC) of a time; what a clock that went back puts later counts too."""
        return sum(at // DAY_NS >= now_ns // DAY_NS for at in self._actions)
