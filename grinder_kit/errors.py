"""Everything grinder_kit raises on purpose.

GrinderError
├── ConfigError            a configuration that cannot be used: which key, what was given, what to write instead
├── DataError              a recording, file or feed that cannot be trusted: where, and what to do
│   └── FillConflictError      one fill id came with two contents (execution/fill_tracker.py)
├── IdentityError          the books do not close: grid + trend + funding - commission is not the change of equity
├── NotArmedError          a live command before the preview was armed
└── VenueError             a venue did not do what was asked; carries the request
    ├── ConnectivityError      the venue could not be reached
    │   └── OutcomeUnknownError    it may or may not have acted: look the order up before sending again
    ├── RateLimitError         asked to slow down; `retry_after` in seconds
    ├── OrderRejectedError     the venue refused the order; `reason`
    └── OrderFailedError       retries are exhausted
"""

from __future__ import annotations

from typing import Any


class GrinderError(Exception):
    """Base of every error that grinder_kit raises on purpose."""


class ConfigError(GrinderError, ValueError):
    """A configuration that cannot be used."""


class DataError(GrinderError, ValueError):
    """A recording, file or feed that cannot be trusted."""


class IdentityError(GrinderError):
    """Two independent sums of the same profit differ."""


class NotArmedError(GrinderError):
    """A live command before the preview was armed."""


class VenueError(GrinderError):
    """A venue did not do what was asked.

    Parameters
    ----------
    message : str
        What happened, in words.
    request : object, optional
        The request that failed, as it was given to the port.
    """

    def __init__(self, message: str, *, request: Any = None) -> None:
        super().__init__(message)
        self.request = request


class ConnectivityError(VenueError):
    """The venue could not be reached."""


class OutcomeUnknownError(ConnectivityError):
    """The request was sent and no answer came: it may have been carried out."""


class RateLimitError(VenueError):
    """The venue asked to slow down.

    Parameters
    ----------
    retry_after : float or None
        Seconds to wait; 0 means at once, None that the venue did not say.
    """

    def __init__(self, message: str, *, retry_after: float | None, request: Any = None) -> None:
        super().__init__(message, request=request)
        self.retry_after = retry_after


class OrderRejectedError(VenueError):
    """The venue refused the order; sending it again would be refused again."""

    def __init__(self, message: str, *, reason: str, request: Any = None) -> None:
        super().__init__(message, request=request)
        self.reason = reason


class OrderFailedError(VenueError):
    """Every attempt failed; the last cause is chained."""
