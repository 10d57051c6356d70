"""Everything grinder_kit raises on purpose.

GrinderError
├── ConfigError            a configuration that cannot be used: which key, what was given, what to write instead
│   └── InvalidRequestError    a request that must not be sent; carries it
├── DataError              a recording, file or feed that cannot be trusted: where, and what to do
│   ├── FillConflictError      one fill id came with two contents (execution/fill_tracker.py)
│   ├── PositionReportError    a position report of yesterday, or of two legs (execution/position_syncer.py)
│   └── JournalError           a journal that is damaged, or was written by another session or version
│       └── DamagedJournalError    damaged: what precedes it can be read (execution/journal_file.py)
├── IdentityError          the books do not close: grid + trend + funding - commission is not the change of equity
├── NotArmedError          a live command before the preview was armed
├── SessionError           a session that runs already, does not run, or refused a command
│   └── SessionLostError       its runner does not answer: what is open at the venue is not known
└── VenueError             a venue did not do what was asked; carries the request
    ├── ConnectivityError      the venue could not be reached
    │   └── OutcomeUnknownError    it may or may not have acted: look the order up before sending again
    │       └── MalformedAnswerError   it answered, and the answer cannot be read
    ├── RateLimitError         asked to slow down; `retry_after` in seconds
    │   └── BannedError            told to stop altogether: nothing is sent until the ban ends
    ├── OrderRejectedError     the venue refused the order; `reason`
    │   └── OrderNotFoundError     it knows no such order: look it up, it may have filled
    ├── SupersededError        decided before the session was stopped; it was not sent
    └── OrderFailedError       retries are exhausted
"""

from __future__ import annotations

from typing import Any


class GrinderError(Exception):
    """Base of every error that grinder_kit raises on purpose."""


class ConfigError(GrinderError, ValueError):
    """A configuration that cannot be used."""


class InvalidRequestError(ConfigError):
    """A request that must not be sent: a quantity that is no number, a price off the tick, an id the venue would refuse.

    Parameters
    ----------
    message : str
        What is wrong, and what to write instead.
    request : object
        The request, as it was given.
    """

    def __init__(self, message: str, *, request: Any = None) -> None:
        super().__init__(message)
        self.request = request


class DataError(GrinderError, ValueError):
    """A recording, file or feed that cannot be trusted."""


class JournalError(DataError):
    """A journal that cannot be trusted to its end, or does not belong to this session."""


class IdentityError(GrinderError):
    """Two independent sums of the same profit differ."""


class NotArmedError(GrinderError):
    """A live command before the preview was armed."""


class SessionError(GrinderError):
    """A session runs already, does not run, or refused a command; the message says what to do."""


class SessionLostError(SessionError):
    """The runner of a session does not answer: it has died or hangs, and what is open at the venue is not known."""


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


class MalformedAnswerError(OutcomeUnknownError):
    """The venue answered with something that cannot be read: what it did is unknown.

    Parameters
    ----------
    raw : object
        The answer, as it came.
    """

    def __init__(self, message: str, *, raw: Any = None, request: Any = None) -> None:
        super().__init__(message, request=request)
        self.raw = raw


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


class BannedError(RateLimitError):
    """The venue has banned this address: every further request would make it longer."""


class OrderRejectedError(VenueError):
    """The venue refused the order; sending it again would be refused again."""

    def __init__(self, message: str, *, reason: str, request: Any = None) -> None:
        super().__init__(message, request=request)
        self.reason = reason


class OrderNotFoundError(OrderRejectedError):
    """The venue knows no such open order. It may have filled, ended, or not arrived yet: look it up."""

    def __init__(self, message: str, *, reason: str = "ORDER_NOT_FOUND", request: Any = None) -> None:
        super().__init__(message, reason=reason, request=request)


class SupersededError(VenueError):
    """The request was decided in an earlier epoch of the session, before it was paused or stopped; nothing was sent."""


class OrderFailedError(VenueError):
    """Every attempt failed; the last cause is chained."""
