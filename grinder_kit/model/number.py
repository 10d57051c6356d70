"""Exact numbers at the border: str, int or Decimal in, Decimal out; floats are refused by name."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TypeAlias

from grinder_kit.errors import ConfigError

Exact: TypeAlias = Decimal | int | str


def exact(value: Exact, name: str) -> Decimal:
    """Return `value` as a finite Decimal.

    Raises
    ------
    ConfigError
        For a float (with the string to write instead), a bool, text that is no number, NaN or infinity.

    Examples
    --------
    >>> exact("0.002", "size")
    Decimal('0.002')
    >>> exact(0.002, "size")
    Traceback (most recent call last):
    grinder_kit.errors.ConfigError: size is a float; write "0.002"
    """
    if isinstance(value, float):
        raise ConfigError(f'{name} is a float; write "{float(value)!r}"')
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, str)):
        raise ConfigError(f'{name} is {value!r}; write a number as text, such as "0.002"')
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ConfigError(f'{name} is {value!r}, which is no number; write one as text, such as "0.002"') from None
    if not number.is_finite():
        raise ConfigError(f"{name} is {number}; write a finite number")
    return number


def plain(value: Decimal) -> str:
    """Write a Decimal without exponent and without trailing zeros.

    Examples
    --------
    >>> plain(Decimal("1E+2")), plain(Decimal("0.1000"))
    ('100', '0.1')
    """
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
