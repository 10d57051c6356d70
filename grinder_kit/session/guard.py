"""Lifelines: who would notice if the session went wrong, and what happens when nobody is left.

A lifeline is something that the system itself ends with the process behind it: an inherited pipe, an open connection. How long
ago somebody was heard says nothing; a notebook's cell may hold its interpreter for a minute.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from enum import StrEnum

log = logging.getLogger(__name__)


class Policy(StrEnum):
    """What a session does once its last client is gone."""

    CANCEL = "cancel"  # withdraw all orders and watch the position
    RUN_ON = "run_on"  # as a session that never had a client


class Lifelines:
    """Count the lifelines of a session, and act when there is none for a while.

    Parameters
    ----------
    policy : Policy
    grace_s : float
        Time for another client to come, s of the wall.
    on_alone : callable
        Called with words when the grace has passed without one; not under RUN_ON.

    Attributes
    ----------
    until_wall_ns : int or None
        When the policy acts unless somebody comes, ns UTC; None while somebody is there, and before the first has come.
    """

    def __init__(self, policy: Policy, grace_s: float, on_alone: Callable[[str], None]) -> None:
        self.policy, self.grace_s = policy, grace_s
        self.until_wall_ns: int | None = None
        self._on_alone = on_alone
        self._held: dict[object, str] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, key: object, who: str) -> None:
        """Take a lifeline; `who` is for the log."""
        self._held[key] = who
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self.until_wall_ns = None
            log.info("client is back who=%s", who)

    def let_go(self, key: object) -> None:
        """Forget a lifeline that has ended; the last one starts the grace."""
        who = self._held.pop(key, None)
        if who is None or self._held:
            return
        log.warning("last client is gone who=%s policy=%s grace_s=%g", who, self.policy, self.grace_s)
        if self.policy is Policy.CANCEL:
            self.until_wall_ns = time.time_ns() + round(self.grace_s * 1e9)
            self._timer = asyncio.get_running_loop().call_later(self.grace_s, self._alone)

    def _alone(self) -> None:
        self._timer = self.until_wall_ns = None
        self._on_alone(f"no client for {self.grace_s:g} s")

    def close(self) -> None:
        """Act no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.until_wall_ns = None
        self._held.clear()
