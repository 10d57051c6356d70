"""From what a venue answered or raised to a result that is tied to its level: exceptions never sit inside lists of results."""

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
from grinder_kit.model.order import OUTCOME_UNKNOWN, AmendRequest, CancelRequest, Order, OrderRequest, OrderResult


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
    request: OrderRequest | CancelRequest | AmendRequest,
    outcome: Order | VenueError | InvalidRequestError,
    action: str = "",
) -> OrderResult:
    """Return the result of a request: of the order that it was answered with, or of what it raised."""
    level, one = request.level_id, request.client_order_id
    if isinstance(outcome, Order):
        return OrderResult(level_id=level, client_order_id=one, ok=True, order=outcome, action=action)
    return OrderResult(
        level_id=level, client_order_id=one, ok=False, reason=reason_code(outcome), detail=str(outcome), action=action
    )
