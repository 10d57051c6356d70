"""The values of an ExchangePort as JSON, and back; an answer that cannot be read says which field of it."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from grinder_kit import errors
from grinder_kit.errors import MalformedAnswerError, VenueError
from grinder_kit.execution.port import AccountEvent, Balance, Capabilities
from grinder_kit.model.event import Tick
from grinder_kit.model.fill import Fill, Position
from grinder_kit.model.order import (
    AmendRequest,
    CancelRequest,
    InFlight,
    Order,
    OrderRequest,
    OrderResult,
    OrderState,
)

Value = TypeVar("Value")
WHAT = "what"  # the key of a value's type

KINDS: MappingProxyType[str, type] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            *get_args(AccountEvent),
            AmendRequest,
            Balance,
            CancelRequest,
            Capabilities,
            Fill,
            Order,
            OrderRequest,
            OrderResult,
            Position,
            Tick,
        )
    }
)


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(KINDS[name])


def to_json(value: Any) -> Any:
    """Return a value, or a sequence or mapping of them, as JSON types; each value says what it is."""
    if isinstance(value, dict | MappingProxyType):
        return {str(key): to_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    if isinstance(value, VenueError):
        return error_to_json(value)
    kind = type(value)
    if KINDS.get(kind.__name__) is not kind:
        return value
    if kind is Capabilities:
        value = replace(value, weights=dict(value.weights))
    return {WHAT: kind.__name__, **_adapter(kind.__name__).dump_python(value, mode="json")}


def from_json(message: Any, *, request: Any = None) -> Any:
    """Return what :func:`to_json` wrote; the kind of each value is the one it says.

    Raises
    ------
    MalformedAnswerError
        Naming the field that is missing or cannot be read, with the message as `raw`.
    """
    if isinstance(message, list):
        return [from_json(one, request=request) for one in message]
    if not isinstance(message, dict):
        return message
    if WHAT not in message:
        return {key: from_json(one, request=request) for key, one in message.items()}
    kind = KINDS.get(str(message[WHAT]))
    if kind is None:
        raise MalformedAnswerError(
            f"the answer is a {message[WHAT]!r}; nobody here knows one", raw=message, request=request
        )
    return read(kind, message, request=request)


def read(kind: type[Value], message: Any, *, request: Any = None) -> Value:
    """Return a value of a kind; an order whose status nobody has heard of is UNKNOWN, and keeps the message in `raw`.

    Raises
    ------
    MalformedAnswerError
        As :func:`from_json`.
    """
    name = kind.__name__
    if not isinstance(message, dict):
        raise MalformedAnswerError(f"the answer is no {name}: {message!r}", raw=message, request=request)
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in message:
            raise MalformedAnswerError(f"the answer ({name}) lacks {field.name!r}", raw=message, request=request)
    values = {field.name: message[field.name] for field in fields(kind)}  # type: ignore[arg-type]
    if kind is OrderResult and values["order"] is not None:
        values["order"] = read(Order, values["order"], request=request)
    if kind is Order and str(values["state"]) not in OrderState.__members__:
        raw = values["raw"] or json.dumps(message)
        values |= {"state": OrderState.PENDING, "in_flight": InFlight.UNKNOWN, "raw": raw}
    try:
        value: Value = _adapter(name).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or "something"
        raise MalformedAnswerError(
            f"the answer ({name}) has a field {at!r} that cannot be read: {first['msg']}", raw=message, request=request
        ) from error
    if isinstance(value, Capabilities):
        return replace(value, weights=MappingProxyType(dict(value.weights)))
    return value


def error_to_json(error: VenueError) -> dict[str, Any]:
    """Return an error with its class and what it carries, the request apart."""
    carried = {name: v for name in ("reason", "retry_after", "raw") if (v := getattr(error, name, None)) is not None}
    return {"class": type(error).__name__, "message": str(error), **carried}


def error_from_json(message: Any, *, request: Any = None) -> VenueError:
    """Return an error that carries `request`; one that cannot be read is a MalformedAnswerError itself."""
    try:
        kind = getattr(errors, message["class"])
        carried = {key: value for key, value in message.items() if key not in ("class", "message")}
        if issubclass(kind, errors.RateLimitError):
            carried.setdefault("retry_after", None)
        error = kind(message["message"], request=request, **carried)
    except (AttributeError, KeyError, TypeError) as cause:
        return MalformedAnswerError(f"the error cannot be read: {cause}", raw=message, request=request)
    return error if isinstance(error, VenueError) else MalformedAnswerError("no error", raw=message, request=request)


def encode(message: dict[str, Any]) -> bytes:
    """Return one line of the wire."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
