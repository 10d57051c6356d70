"""Events and commands as JSON text, and back: every value with the name of its type under ``what``, exactly.

Decimals are text, enums their value, whole numbers themselves. What a field may hold is read from the annotations of
model/event.py, and checked on both ways: what could not be read again is not written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import partial
from math import isfinite
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, cast, get_args, get_origin, get_type_hints

import orjson

from grinder_kit.errors import DataError
from grinder_kit.model import event as model

#: The key of the type's name; ``type`` itself is a field of Place.
WHAT = "what"


class _Field(NamedTuple):
    name: str
    types: tuple[type, ...]  # as in the value; a bool is no whole number
    read: Callable[[Any], Any]
    required: bool


def _reader(kind: type) -> Callable[[Any], Any]:
    """Return what turns the JSON form of `kind` into it."""
    if kind is Decimal or issubclass(kind, Enum):
        return partial(_from_text, kind)
    return partial(_same, kind)


def _from_text(kind: Callable[[str], Any], value: Any) -> Any:
    if type(value) is not str:
        raise ValueError
    return kind(value)


def _same(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError
    return value


def _optional(read: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else read(value)


def _field(name: str, hint: Any, required: bool) -> _Field:
    types: tuple[type, ...] = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    inner = [kind for kind in types if kind is not NoneType]
    if (
        name == WHAT
        or len(inner) != 1
        or not isinstance(inner[0], type)
        or not issubclass(inner[0], (str, int, Decimal, Enum))
    ):
        raise TypeError(f"field {name}: {hint} has no JSON form here")
    read = _reader(inner[0])
    return _Field(name, types, read if len(types) == 1 else partial(_optional, read), required)


def _fields(kind: type) -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    return tuple(_field(f.name, hints[f.name], f.default is MISSING) for f in fields(kind))


#: A tick decides and is not kept: what it decided is.
EVENTS: Mapping[str, type] = {kind.__name__: kind for kind in get_args(model.Event) if kind is not model.Tick}
COMMANDS: Mapping[str, type] = {kind.__name__: kind for kind in get_args(model.Command)}
_KINDS: Mapping[str, type] = {**EVENTS, **COMMANDS}
_FIELDS: Mapping[type, tuple[_Field, ...]] = {kind: _fields(kind) for kind in _KINDS.values()}


def encode(value: model.Event | model.Command) -> str:
    """Write an event or a command as JSON text.

    Raises
    ------
    DataError
        For another type, or a field that holds what its annotation does not allow.

    Examples
    --------
    >>> encode(model.Cancel(client_order_id="gkr0-B3-1", reason="OFF_PLAN"))
    '{"what":"Cancel","client_order_id":"gkr0-B3-1","reason":"OFF_PLAN"}'
    """
    kind = type(value)
    known = _FIELDS.get(kind)
    if known is None:
        raise DataError(f"a {kind.__name__} has no place in a journal; it holds {', '.join(_KINDS)}")
    body: dict[str, Any] = {WHAT: kind.__name__}
    for name, types, _, _ in known:
        held = getattr(value, name)
        if not isinstance(held, types) or (held.__class__ is bool and bool not in types):
            raise DataError(f"{kind.__name__}.{name} is {held!r}, a {type(held).__name__}")
        body[name] = held
    return _text(body)


def decode(body: Mapping[str, Any]) -> model.Event | model.Command:
    """Return the event or command of a JSON object.

    Raises
    ------
    DataError
        For an unknown type, and for a field that is missing, unknown or of another type; it says which.
    """
    name = body.get(WHAT)
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise DataError(f"unknown type {name!r}; this version knows {', '.join(_KINDS)}")
    values: dict[str, Any] = {}
    for field, _, read, required in _FIELDS[kind]:
        if field in body:
            try:
                values[field] = read(body[field])
            except (ValueError, InvalidOperation):
                raise DataError(f"{name}.{field} is {body[field]!r}") from None
        elif required:
            raise DataError(f"{name}.{field} is missing")
    if len(body) > len(values) + 1:
        unknown = body.keys() - {WHAT} - values.keys()
        raise DataError(f"{name} has no field {', '.join(sorted(unknown))}")
    return cast("model.Event | model.Command", kind(**values))


def encode_facts(facts: Mapping[str, Any]) -> str:
    """Write a mapping of plain values as JSON text: Decimals become text, enums their value, tuples lists.

    Raises
    ------
    DataError
        For a value with no exact JSON form, such as NaN; it says where.
    """
    return _text(_plain(facts, "it"))


def _plain(value: Any, where: str) -> Any:
    match value:
        case Enum():
            return _plain(value.value, where)
        case None | bool() | int() | str():
            return value
        case Decimal():
            return str(value)
        case float() if isfinite(value):
            return value
        case Mapping() if all(isinstance(key, str) for key in value):
            return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, f"{where}[{number}]") for number, item in enumerate(value)]
    raise DataError(f"{where} is {value!r}, which has no exact JSON form")


def _text(body: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(body, default=str).decode()
    except TypeError:
        # Whole numbers of more than 64 bits, and halves of characters in what a venue has said.
        return json.dumps(body, default=str, separators=(",", ":"))


def parse(text: str) -> dict[str, Any]:
    """Read the JSON text of one entry.

    Raises
    ------
    DataError
        For text that is not a JSON object.
    """
    try:
        body = json.loads(text)
    except ValueError:
        raise DataError("its text is not JSON") from None
    if not isinstance(body, dict):
        raise DataError("its text is not a JSON object")
    return body
