"""From what a venue raised to a result that is tied to its level: exceptions never sit inside lists of results."""

from __future__ import annotations

from grinder_kit.errors import (
    ConnectivityError,
    InvalidRequestError,
    OrderRejectedError,
    OutcomeUnknownError,
    RateLimitError,
    SupersededError,
    VenueError,
)
from grinder_kit.model.order import OUTCOME_UNKNOWN, AmendRequest, CancelRequest, OrderRequest, OrderResult


def reason_code(error: VenueError | InvalidRequestError) -> str:
    """Return the code under which an error stands in an OrderResult.

    Examples
    --------
    >>> reason_code(OrderRejectedError("post-only would take", reason="POST_ONLY_WOULD_TAKE"))
    'POST_ONLY_WOULD_TAKE'
    """
    match error:
        case OutcomeUnknownError():
            return OUTCOME_UNKNOWN
        case OrderRejectedError():
            return error.reason
        case ConnectivityError():
            return "CONNECTIVITY"
        case RateLimitError():
            return "RATE_LIMIT"
        case SupersededError():
            return "SUPERSEDED"
        case InvalidRequestError():
            return "INVALID_REQUEST"
        case _:
            return "FAILED"


def result_of(
    request: OrderRequest | CancelRequest | AmendRequest, error: VenueError | InvalidRequestError, action: str = ""
) -> OrderResult:
    """Return the result of a request that raised."""
    return OrderResult(
        level_id=request.level_id,
        client_order_id=request.client_order_id,
        ok=False,
        reason=reason_code(error),
        detail=str(error),
        action=action,
    )
