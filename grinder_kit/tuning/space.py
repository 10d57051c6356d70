"""What a study may choose from: for each key of a configuration a range in steps, or a list of choices."""

from __future__ import annotations

import functools
import itertools
import math
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import create_model

from grinder_kit.errors import ConfigError
from grinder_kit.model.config import SECTIONS, Config, unknown_key, unknown_section
from grinder_kit.model.number import plain
from grinder_kit.model.section import InvalidConfigError, Section, did_you_mean, exact_as_float

#: Sections that a study may vary; the others do not act in a replay, or say what the market is.
TUNABLE = ("grid", "router", "execution", "limits")
MOST_CORNERS = 1024
_NONE = "none"  # how a file writes a key that is not set
_FEWEST_STEPS = 50  # of a range of plain numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One parameter and all its values, counted from 0.

    Attributes
    ----------
    name : str
        As it was given: a key of [grid], or ``section.key``.
    key : str
        ``section.key``.
    low, high, step
        Of a range, both ends included, in the key's own type; None for choices.
    choices : tuple
        Values of a list, in its order; empty for a range.
    """

    name: str
    key: str
    low: Any = None
    high: Any = None
    step: Any = None
    choices: tuple[Any, ...] = ()

    @property
    def is_range(self) -> bool:
        """Whether the values are numbers in steps, so that near ones are alike."""
        return not self.choices

    def __len__(self) -> int:
        if self.choices:
            return len(self.choices)
        return int((_exactly(self.high) - _exactly(self.low)) / _exactly(self.step)) + 1

    def value(self, index: int) -> Any:
        """Return the value at a place, in the key's own type."""
        if self.choices:
            return self.choices[index]
        value = _exactly(self.low) + index * _exactly(self.step)
        return type(self.low)(value) if isinstance(self.low, int | float) else value

    def nearest(self, value: Any) -> int:
        """Return the place of the value nearest to one.

        Raises
        ------
        ConfigError
            For a choice that is not in the list.
        """
        if self.choices:
            if value not in self.choices:
                raise ConfigError(f"{self.name} is {value!r}; the study chose from {self._shown()}")
            return self.choices.index(value)
        place = (_exactly(value) - _exactly(self.low)) / _exactly(self.step)
        return min(max(round(place), 0), len(self) - 1)

    def _shown(self) -> str:
        if self.choices:
            return f"[{_listed(self.choices, self.key)}]"
        default = _default_step(self.key, self.low, self.high)
        ends = (self.low, self.high) if self.step == default else (self.low, self.high, self.step)
        return f"({_listed(ends, self.key)})"


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Space:
    """What a study may choose from.

    Parameters
    ----------
    **parameters
        By key: a tuple ``(from, to)`` or ``(from, to, step)`` is a range with both ends, a list holds choices. A bare name is a key
        of [grid]; any other is written ``section.key``. Without a step, whole numbers go by 1, bps by 0.1, exact
        quantities by the last digit of what is written, other numbers by a round part of the range.

    Raises
    ------
    ConfigError
        For an unknown key, an empty or inverted range, a value that the key does not take.

    Examples
    --------
    >>> space = Space(spacing_bps=(2, 40), levels=(3, 30), **{"router.order_ttl_s": [None, 5, 20]})
    >>> space
    Space(spacing_bps=(2, 40), levels=(3, 30), **{'router.order_ttl_s': [None, 5.0, 20.0]})
    >>> space.combinations
    32004
    >>> Space(spacing=(2, 40))
    Traceback (most recent call last):
    grinder_kit.errors.ConfigError: unknown parameter 'spacing'; did you mean 'spacing_bps'?
    """

    dimensions: tuple[Dimension, ...]

    def __init__(self, **parameters: tuple[Any, ...] | list[Any]) -> None:
        if not parameters:
            raise ConfigError("the space is empty; give at least one parameter, such as spacing_bps=(2, 40)")
        dimensions = tuple(_dimension(name, given) for name, given in parameters.items())
        keys = [dimension.key for dimension in dimensions]
        for dimension in dimensions:
            if keys.count(dimension.key) > 1:
                raise ConfigError(f"{dimension.key} is given twice; keep one")
        object.__setattr__(self, "dimensions", dimensions)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Space:
        """Read a space from a TOML file: sections and keys as in a configuration.

        A range is ``{ from = 2, to = 40, step = 0.5 }`` (the step may be left out), a list holds choices; in it ``"none"`` is a key
        that is not set.

        Raises
        ------
        ConfigError
            For a file that is missing or no TOML, and whatever the constructor refuses; the file is named.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8")
        except FileNotFoundError:
            raise ConfigError(
                f"{path}: no such file; a space holds lines like levels = {{ from = 3, to = 30 }}"
            ) from None
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not UTF-8 text at byte {error.start}; a space is a TOML file") from None
        try:
            return cls.from_toml(text)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def from_toml(cls, text: str) -> Space:
        """Read the text of such a file."""
        try:
            data = tomllib.loads(text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{error}; this is no TOML") from None
        return cls(**dict(_parameters(data)))

    def to_toml(self) -> str:
        """Return the text of a file that :meth:`from_file` reads back."""
        import tomlkit

        document = tomlkit.document()
        for section in dict.fromkeys(dimension.key.partition(".")[0] for dimension in self.dimensions):
            table = tomlkit.table()
            for one in self.dimensions:
                if one.key.partition(".")[0] != section:
                    continue
                key = one.key.partition(".")[2]
                bare = SECTIONS[section].is_number(key)
                if one.choices:
                    table.add(key, [_in_toml(value, bare) for value in one.choices])
                else:
                    row = tomlkit.inline_table()
                    ends = {"from": one.low, "to": one.high, "step": one.step}
                    row.update({end: _in_toml(value, bare) for end, value in ends.items()})
                    table.add(key, row)
            document.add(section, table)
        return tomlkit.dumps(document)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, as they were given."""
        return tuple(dimension.name for dimension in self.dimensions)

    @property
    def combinations(self) -> int:
        """How many configurations there are."""
        return math.prod(len(dimension) for dimension in self.dimensions)

    def combination(self, number: int) -> tuple[int, ...]:
        """Return the places, one a parameter, of a combination counted from 0; the last parameter runs fastest."""
        places = []
        for dimension in reversed(self.dimensions):
            number, place = divmod(number, len(dimension))
            places.append(place)
        return tuple(reversed(places))

    def values(self, places: Iterable[int]) -> dict[str, Any]:
        """Return the parameters at these places, by name."""
        return {one.name: one.value(place) for one, place in zip(self.dimensions, places, strict=True)}

    def config(self, base: Config, places: Iterable[int]) -> Config:
        """Return a configuration with the parameters at these places.

        Raises
        ------
        ConfigError
            For values that do not fit together; they are named.
        """
        values = {one.key: one.value(place) for one, place in zip(self.dimensions, places, strict=True)}
        try:
            return base.replace(**values)
        except InvalidConfigError as error:
            raise ConfigError(f"{told(values)}: {error}") from None

    def corners(self) -> Iterator[tuple[int, ...]]:
        """Yield the places of the extremes: both ends of ranges, all choices; the first MOST_CORNERS of them."""
        ends = [range(len(one)) if one.choices else (0, len(one) - 1) for one in self.dimensions]
        return itertools.islice(itertools.product(*ends), MOST_CORNERS)

    def __repr__(self) -> str:
        bare = [f"{one.name}={one._shown()}" for one in self.dimensions if "." not in one.name]
        dotted = [f"{one.name!r}: {one._shown()}" for one in self.dimensions if "." in one.name]
        inner = ", ".join(dotted)
        return f"Space({', '.join([*bare, *([f'**{{{inner}}}'] if dotted else [])])})"


def told(values: Mapping[str, Any]) -> str:
    """Return parameters as people read them: ``spacing_bps 8, levels 10``."""
    return ", ".join(f"{name} {word(value)}" for name, value in values.items())


def word(value: Any) -> str:
    """Return one value of a parameter as people read it."""
    if value is None:
        return _NONE
    if isinstance(value, Decimal):
        return plain(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- what a key takes ------------------------------------------------------------------------------------------------


def _dimension(name: str, given: Any) -> Dimension:
    key = _key(name)
    if isinstance(given, list):
        if not given:
            raise ConfigError(f"{name} has no choices; write such as [5, 20]")
        choices = tuple(_taken(name, key, value) for value in given)
        if len(set(choices)) < len(choices):
            raise ConfigError(f"{name} names a choice twice: [{_listed(choices, key)}]")
        return Dimension(name=name, key=key, choices=choices)
    if not isinstance(given, tuple):
        raise ConfigError(f"{name} is {given!r}; write a range such as (2, 40), or choices such as [5, 20]")
    if len(given) not in (2, 3):
        raise ConfigError(f"{name} is {given!r}; write (from, to) or (from, to, step); choices stand in [ ]")
    low, high = (_taken(name, key, value) for value in given[:2])
    shown = f"({_listed((low, high), key)})"
    if isinstance(low, bool) or not all(isinstance(end, int | float | Decimal) for end in (low, high)):
        raise ConfigError(f"{name} is no number; write its choices as a list, such as [{_listed((low, high), key)}]")
    if low > high:
        raise ConfigError(f"{name} is {shown}, an inverted range; write ({_listed((high, low), key)})")
    if low == high:
        raise ConfigError(f"{name} is {shown}, an empty range; set it in the configuration instead")
    step = _default_step(key, low, high) if len(given) == 2 else _step(name, low, given[2])
    if step > high - low:
        raise ConfigError(f"{name} has a step of {_typed(step, key)} in {shown}; write a smaller one")
    whole = int((_exactly(high) - _exactly(low)) / _exactly(step))
    last = Dimension(name=name, key=key, low=low, high=high, step=step).value(whole)
    found = Dimension(name=name, key=key, low=low, high=last, step=step)
    _taken(name, key, found.value(1))  # a step between what the key can hold is refused here
    return found


def _key(name: str) -> str:
    """Return ``section.key`` for the name of a parameter."""
    section, dot, key = name.rpartition(".")
    section = section if dot else "grid"
    if section not in SECTIONS:
        raise ConfigError(f"parameter '{name}': {unknown_section(section)}")
    if key not in SECTIONS[section].model_fields:
        if not dot:
            known = {k: s for s in reversed(TUNABLE) for k in SECTIONS[s].model_fields}
            meant = did_you_mean(key, known)
            hint = f"; write '{known[key]}.{key}'" if key in known else meant
            raise ConfigError(f"unknown parameter '{name}'{hint}")
        raise ConfigError(f"parameter '{name}': {unknown_key(section, key)}")
    if section not in TUNABLE:
        raise ConfigError(
            f"parameter '{name}': [{section}] changes nothing in a replay; a study varies {', '.join(TUNABLE)}"
        )
    return f"{section}.{key}"


@functools.cache
def _alone(key: str) -> type[Section]:
    """Return a section with this one key, to ask what it takes."""
    section, _, name = key.partition(".")
    field = SECTIONS[section].model_fields[name]
    kind: Any = field.annotation
    for part in field.metadata:
        kind = Annotated[kind, part]
    return create_model("Alone", __base__=Section, **{name: (kind, ...)})  # type: ignore[call-overload, no-any-return]


def _taken(name: str, key: str, value: Any) -> Any:
    """Return a value as the key holds it."""
    field = key.partition(".")[2]
    if isinstance(value, Decimal) and _alone(key).model_json_schema()["properties"][field].get("type") == "integer":
        value = int(value) if value == int(value) else value
    try:
        return getattr(_alone(key)(**{field: value}), field)
    except InvalidConfigError as error:
        raise ConfigError(f"parameter '{name}': {error}") from None


def _step(name: str, low: Any, given: Any) -> Any:
    try:
        step = _exactly(given)
    except ArithmeticError:
        raise ConfigError(f"{name} has a step of {given!r}; write a number above zero") from None
    if not step.is_finite() or step <= 0:
        raise ConfigError(f"{name} has a step of {given!r}; write a number above zero")
    if isinstance(low, int) and step != int(step):
        raise ConfigError(f"{name} counts in whole numbers; write a step such as 1, not {given!r}")
    return type(low)(step) if isinstance(low, int | float) else step


def _default_step(key: str, low: Any, high: Any) -> Any:
    if isinstance(low, int):
        return 1
    section, _, name = key.partition(".")
    schema = SECTIONS[section].model_json_schema()["properties"][name]
    parts = (schema, *schema.get("anyOf", ()))
    if any(part.get("multipleOf") for part in parts):
        return Decimal("0.1")
    if any(part.get("type") == "string" for part in parts):  # exact: prices and quantities
        return Decimal(1).scaleb(min(int(Decimal(plain(end)).as_tuple().exponent) for end in (low, high)))
    step = _round_part(_exactly(high) - _exactly(low))
    return float(step) if isinstance(low, float) else step


def _round_part(span: Decimal) -> Decimal:
    """Return the largest of 1, 2, 5 times a power of ten that fits _FEWEST_STEPS times."""
    part = span / _FEWEST_STEPS
    power = Decimal(1).scaleb(part.adjusted())
    return max(power * digit for digit in (1, 2, 5) if power * digit <= part)


def _exactly(value: Any) -> Decimal:
    """Return a number as the decimal that prints like it."""
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


# --- as text ---------------------------------------------------------------------------------------------------------


def _typed(value: Any, key: str) -> str:
    """Return a value of a key as it may be typed in Python: quantities and prices in quotes."""
    if isinstance(value, Decimal):
        section, _, name = key.partition(".")
        return plain(value) if SECTIONS[section].is_number(name) else repr(plain(value))
    return repr(str(value)) if isinstance(value, str) else repr(value)


def _listed(values: Iterable[Any], key: str) -> str:
    return ", ".join(_typed(value, key) for value in values)


def _in_toml(value: Any, bare: bool) -> Any:
    if value is None:
        return _NONE
    if isinstance(value, Decimal):
        whole = value == value.to_integral_value()
        return (int(value) if whole else float(value)) if bare and exact_as_float(value) else plain(value)
    return str(value) if isinstance(value, str) else value


def _parameters(data: Mapping[str, Any], section: str = "") -> Iterator[tuple[str, tuple[Any, ...] | list[Any]]]:
    """Yield the parameters of a file as the constructor takes them."""
    for key, given in data.items():
        name = f"{section}.{key}" if section and section != "grid" else key
        if isinstance(given, list):
            yield name, [None if value == _NONE else value for value in given]
        elif isinstance(given, dict) and given.keys() <= {"from", "to", "step"}:
            if not {"from", "to"} <= given.keys():
                raise ConfigError(f"{name} lacks one end; write {{ from = 3, to = 30 }}")
            yield name, tuple(given[part] for part in ("from", "to", "step") if part in given)
        elif isinstance(given, dict) and not section:
            yield from _parameters(given, key)
        else:
            raise ConfigError(f"{name} is {given!r}; write {{ from = 3, to = 30 }}, or choices in a list")
