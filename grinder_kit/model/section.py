"""Base of the sections of a configuration: frozen, strict, and with errors in one line that say what to write.

pydantic finds what is wrong; this module says it in the project's words. A problem knows its key, so that
:mod:`grinder_kit.model.config_file` can add the line of the file it came from.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar, NoReturn, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, WithJsonSchema

from grinder_kit.errors import ConfigError
from grinder_kit.model.number import exact, plain

NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: the keys that lead to it, and what to write instead."""

    path: tuple[str, ...]
    text: str


class InvalidConfigError(ConfigError):
    """A configuration with one or more problems, one line each.

    Parameters
    ----------
    problems : iterable of Problem
        What is wrong and where; kept in `problems`.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.text for problem in self.problems))

    def __reduce__(self) -> tuple[type[InvalidConfigError], tuple[tuple[Problem, ...]]]:
        """Pickle by the problems, so that the error survives the way out of a worker process."""
        return type(self), (self.problems,)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `word` was probably meant to be, or None."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return near[0] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest of `known`, or nothing.

    Examples
    --------
    >>> did_you_mean("spacing_bp", ["levels", "spacing_bps"])
    "; did you mean 'spacing_bps'?"
    """
    near = nearest(word, known)
    return f"; did you mean '{near}'?" if near else ""


# --- numbers as they are written in a configuration ----------------------------------------------------------------


def _name(info: ValidationInfo) -> str:
    return info.field_name or "value"


def _exact(value: Any, info: ValidationInfo) -> Decimal:
    return exact(value, _name(info))


def _decimal(value: Any, info: ValidationInfo) -> Decimal:
    """Read a ratio or bps: a float stands for the shortest decimal that prints like it."""
    return exact(repr(float(value)) if isinstance(value, float) else value, _name(info))


def _bps(value: Any, info: ValidationInfo) -> Decimal:
    number = _decimal(value, info)
    tenths = number * 10
    if tenths != tenths.to_integral_value():
        near = plain((number * 10).to_integral_value() / 10)
        raise ConfigError(f"{_name(info)} is {plain(number)}; bps are read in steps of 0.1: write {near}")
    return number


def _whole(value: Any, info: ValidationInfo) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ConfigError(f"{_name(info)} is {value!r}; write a whole number, such as 10")
    return int(value.__index__())


def _real(value: Any, info: ValidationInfo) -> float:
    if isinstance(value, bool) or not (isinstance(value, (float, int, Decimal)) or hasattr(value, "__index__")):
        raise ConfigError(f"{_name(info)} is {value!r}; write a number without quotes, such as 10 or 2.5")
    number = float(value)
    if not math.isfinite(number):
        raise ConfigError(f"{_name(info)} is {number}; write a finite number")
    return number


_TEXT_NUMBER = {"anyOf": [{"type": "string", "pattern": r"^[+-]?\d+(\.\d+)?$"}, {"type": "integer"}]}

#: Money, quantity or price: text, int or Decimal; a float is refused.
ExactNumber = Annotated[Decimal, BeforeValidator(_exact), WithJsonSchema(_TEXT_NUMBER)]
#: The same, above zero.
Positive = Annotated[ExactNumber, Field(gt=0)]
#: Ratio or rate: as :data:`ExactNumber`, and a float stands for its shortest decimal.
Ratio = Annotated[Decimal, BeforeValidator(_decimal), WithJsonSchema({"type": "number"})]
#: Basis points in steps of 0.1.
Bps = Annotated[Decimal, BeforeValidator(_bps), WithJsonSchema({"type": "number", "multipleOf": 0.1})]
#: Whole number; 10.0 and "10" are refused.
Whole = Annotated[int, BeforeValidator(_whole)]
#: Finite number that is only ever used as a float: times for display and options, probabilities.
Real = Annotated[float, BeforeValidator(_real)]


# --- the base ------------------------------------------------------------------------------------------------------


class Section(BaseModel):
    """A frozen part of a configuration that refuses unknown keys and explains itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False, use_enum_values=False)

    #: Pairs of keys of which at most one is set; :meth:`replace` clears the other one.
    exclusive: ClassVar[tuple[tuple[str, str], ...]] = ()
    #: Keys that say where something lies and not what it is: no part of a digest, and no difference.
    places: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InvalidConfigError(_problems(type(self), error)) from None

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise ConfigError(f"{type(self).__name__} is frozen; write .replace({name}=...), which returns a new one")

    def __repr__(self) -> str:
        """Return the call that makes this value: what differs from the defaults, as it may be typed."""
        cls = type(self)
        shown = (
            f"{name}={_typed(value, cls.is_number(name))}"
            for name, field in cls.model_fields.items()
            if (value := getattr(self, name)) != field.get_default(call_default_factory=True, validated_data={})
        )
        return f"{cls.__name__}({', '.join(shown)})"

    __str__ = __repr__

    @classmethod
    def is_number(cls, key: str) -> bool:
        """Whether a key is written as a bare number (bps, ratios, times), not as exact text."""
        schema = _schema(cls)["properties"][key]
        return any(part.get("type") == "number" for part in (schema, *schema.get("anyOf", ())))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some keys changed, validated like a new one.

        Where two keys exclude each other (`spacing_bps` and `spacing_ticks`), setting one clears the other.

        Raises
        ------
        ConfigError
            As the constructor does.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        for pair in self.exclusive:
            for name, other in (pair, pair[::-1]):
                if changes.get(name) is not None and other not in changes:
                    values[other] = None
        return type(self)(**(values | changes))

    def to_json(self) -> dict[str, Any]:
        """Return the values as JSON types: exact numbers as plain text, unset keys left out."""
        return {name: _json(value) for name in type(self).model_fields if (value := getattr(self, name)) is not None}


@functools.cache
def _schema(cls: type[Section]) -> dict[str, Any]:
    return cls.model_json_schema()


def _typed(value: Any, bare: bool) -> str:
    """Return a value as it may be typed in Python."""
    if isinstance(value, Decimal):
        return plain(value) if bare and exact_as_float(value) else repr(plain(value))
    if isinstance(value, tuple):
        return f"[{', '.join(_typed(item, bare) for item in value)}]"
    return repr(str(value)) if isinstance(value, str) else repr(value)


def exact_as_float(value: Decimal) -> bool:
    """Whether a float keeps every digit of `value`, so that it may be written as a bare number."""
    return Decimal(repr(float(value))) == value


def _json(value: Any) -> Any:
    if isinstance(value, Section):
        return value.to_json()
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return value


def _problems(model: type[Section], error: ValidationError) -> list[Problem]:
    found: list[Problem] = []
    for item in error.errors(include_url=False):
        path = tuple(str(part) for part in item["loc"] if isinstance(part, str))
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, InvalidConfigError):
            found += [Problem(path=path + problem.path, text=problem.text) for problem in cause.problems]
        else:
            found.append(Problem(path=path, text=_explain(model, path, item, cause)))
    return found


_BOUNDS = {
    "greater_than": ("gt", "it must be above {}"),
    "greater_than_equal": ("ge", "write {} or more"),
    "less_than": ("lt", "it must be below {}"),
    "less_than_equal": ("le", "write {} or less"),
}


def _explain(model: type[Section], path: tuple[str, ...], item: Mapping[str, Any], cause: Any) -> str:
    kind, ctx, given = item["type"], item.get("ctx", {}), item["input"]
    name = path[-1] if path else model.__name__
    shown = plain(given) if isinstance(given, Decimal) else repr(given)
    if kind == "extra_forbidden":
        return f"unknown key '{name}'{did_you_mean(name, model.model_fields)}"
    if kind == "missing":
        return f"{name} is missing"
    if cause is not None:
        return str(cause)
    if kind in _BOUNDS:
        key, text = _BOUNDS[kind]
        bound = ctx[key]
        return f"{name} is {given if isinstance(given, str) else shown}; " + text.format(
            "zero" if bound == 0 and key in ("gt", "lt") else bound
        )
    if kind in ("enum", "literal_error"):
        hint = did_you_mean(str(given), str(ctx["expected"]).replace("'", "").replace(" or ", ", ").split(", "))
        return f"{name} is {shown}; write {ctx['expected']}{hint}"
    if kind in ("tuple_type", "list_type"):
        return f'{name} is {shown}; write a list, such as ["0.002", "0.004"]'
    if kind == "string_type":
        return f"{name} is {shown}; write text in quotes"
    if kind.startswith("bool"):
        return f"{name} is {shown}; write true or false"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{name} is {shown}; write a section [{name}] with its keys"
    return f"{name} is {shown}; {item['msg'][0].lower()}{item['msg'][1:]}"
